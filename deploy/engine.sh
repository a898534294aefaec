# A Docker engine of one's own in a folder, for machines that run none. To be sourced; needs root and a Debian with apt.
# shellcheck shell=bash

# engine_start DIR: installs what is missing, starts the engine, points DOCKER_HOST at it.
engine_start() {
  local folder=$1 missing="" _
  command -v dockerd >/dev/null || missing="docker.io iptables ca-certificates"
  command -v docker-compose >/dev/null || docker compose version >/dev/null 2>&1 || missing="$missing docker-compose"
  if [ -n "$missing" ]; then
    if [ "$(id -u)" != 0 ]; then
      echo "no Docker engine runs here, and only root can install one: apt-get install $missing" >&2
      return 1
    fi
    echo "installing $missing ..."
    # shellcheck disable=SC2086
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
      apt-get install -y -qq --no-install-recommends $missing; } >"$folder/apt.log" 2>&1 || {
      tail -n 15 "$folder/apt.log" >&2
      return 1
    }
  fi
  ENGINE_FORWARD=$(iptables -S FORWARD 2>/dev/null | head -n 1)
  export DOCKER_HOST=unix://$folder/docker.sock DOCKER_BUILDKIT=0 COMPOSE_DOCKER_CLI_BUILD=0
  dockerd --host "$DOCKER_HOST" --data-root "$folder/data" --exec-root "$folder/exec" \
    --pidfile "$folder/docker.pid" >"$folder/dockerd.log" 2>&1 &
  ENGINE_PID=$!
  for _ in $(seq 300); do
    if docker info >/dev/null 2>&1; then
      return
    fi
    if ! kill -0 "$ENGINE_PID" 2>/dev/null; then
      break
    fi
    sleep 0.1
  done
  echo "the Docker engine does not start; its log ends with" >&2
  tail -n 15 "$folder/dockerd.log" >&2
  return 1
}

# engine_stop DIR: ends the engine that engine_start began, if it did; a bridge and chains of iptables stay, unused.
engine_stop() {
  local folder=$1 mount
  if [ -z "${ENGINE_PID:-}" ]; then
    return
  fi
  kill "$ENGINE_PID" 2>/dev/null || true
  wait "$ENGINE_PID" 2>/dev/null || true
  # The engine drops what it does not know from being forwarded, and leaves it so.
  if [[ $ENGINE_FORWARD == "-P FORWARD ACCEPT" ]]; then
    iptables -P FORWARD ACCEPT
  fi
  awk -v folder="$folder/" 'index($2, folder) == 1 { print $2 }' /proc/mounts | sort -r | while read -r mount; do
    umount "$mount" || true
  done
}
