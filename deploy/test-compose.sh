#!/usr/bin/env bash
# Three containers under load; one is killed and comes back; nothing that was acknowledged may be lost.
#
# Uses the Docker engine of this machine, or one of its own where none runs; and the image python:3.11-slim, or one made
# from this machine where no registry answers. PYTHON is an interpreter with confluent-kafka (default .venv/bin/python).
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
WORK=$(mktemp -d)
export COMPOSE_PROJECT_NAME=blumfeld-test COMPOSE_FILE=deploy/docker-compose.yml BASE=python:3.11-slim

. deploy/engine.sh

cleanup() {
  local code=$?
  trap - EXIT
  if [ "$code" != 0 ] && [ -n "${COMPOSE:-}" ]; then
    $COMPOSE logs --no-color --tail 20 || true
  fi
  if [ -n "${COMPOSE:-}" ]; then
    $COMPOSE down -v --remove-orphans >"$WORK/down.log" 2>&1 || tail -n 5 "$WORK/down.log"
  fi
  engine_stop "$WORK"
  rm -rf "$WORK"
  [ "$code" = 0 ] && echo "passed after $SECONDS s" || echo "failed after $SECONDS s"
  exit "$code"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# quietly LOG COMMAND...: show what a command wrote only when it fails.
quietly() {
  local log=$WORK/$1
  shift
  "$@" >"$log" 2>&1 || {
    echo "failed: $*" >&2
    tail -n 30 "$log" >&2
    return 1
  }
}

if ! docker info >/dev/null 2>&1; then
  engine_start "$WORK"
  echo "$SECONDS s  a Docker engine runs"
fi

if docker compose version >/dev/null 2>&1; then
  COMPOSE="docker compose"
else
  COMPOSE="docker-compose"
fi

if ! docker image inspect "$BASE" >/dev/null 2>&1 && ! timeout 60 docker pull -q "$BASE" >/dev/null 2>&1; then
  BASE=blumfeld-base
  quietly base.log deploy/base-image.sh "$BASE" "$PYTHON"
  echo "$SECONDS s  no registry answers: the base image is made from this machine"
fi
quietly build.log docker build --build-arg "BASE=$BASE" -f deploy/Dockerfile -t blumfeld .
echo "$SECONDS s  the image is built: $(docker image inspect -f '{{.Size}}' blumfeld | awk '{ printf "%d MB", $1 / 1e6 }')"

read -r PORT_1 PORT_2 PORT_3 < <("$PYTHON" -c '
import socket
probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(probe.getsockname()[1] for probe in probes))')
export PORT_1 PORT_2 PORT_3
quietly up.log $COMPOSE up -d --no-build

# healthy NAME: wait until the health check of a container passes.
healthy() {
  local container _
  container=$($COMPOSE ps -q "$1")
  for _ in $(seq 300); do
    if [ "$(docker inspect -f '{{.State.Health.Status}}' "$container")" = healthy ]; then
      return
    fi
    sleep 0.1
  done
  echo "$1 is not healthy: $(docker inspect -f '{{json .State.Health}}' "$container")" >&2
  return 1
}
for node in node-1 node-2 node-3; do
  healthy "$node"
done
echo "$SECONDS s  three containers are healthy"

# What clients say of broken connections is of interest only when the story ends badly.
"$PYTHON" -m deploy.failover "127.0.0.1:$PORT_1,127.0.0.1:$PORT_2,127.0.0.1:$PORT_3" $COMPOSE 2>"$WORK/failover.log" || {
  tail -n 30 "$WORK/failover.log" >&2
  exit 1
}
