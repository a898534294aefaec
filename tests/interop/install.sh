#!/usr/bin/env bash
# Installs the clients of other languages and Kafka's own tools into .tools/. What is there already is left alone.
# Needs a JDK with Maven, Go and Node.js; kcat comes from apt when root runs this.
set -euo pipefail
cd "$(dirname "$0")"
SOURCES=$PWD
TOOLS=$(cd ../.. && pwd)/.tools

# install NAME COMMAND NEEDED_PROGRAM INPUT...: run COMMAND unless it succeeded before with the same INPUT files.
# Returns 1 when it cannot be.
install() {
  local name=$1 command=$2 needed=$3 stamp sum
  shift 3
  stamp=$TOOLS/$name.installed
  sum=$(cat "$@" | sha256sum)
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$sum" ]; then
    return
  fi
  if ! command -v "$needed" >/dev/null; then
    echo "$name is left out: $needed is not installed" >&2
    return 1
  fi
  echo "installing $name ..."
  if ("$command") >"$TOOLS/$name.log" 2>&1; then
    echo "$sum" >"$stamp"
  else
    echo "$name could not be installed; $TOOLS/$name.log ends with" >&2
    tail -n 15 "$TOOLS/$name.log" >&2
    return 1
  fi
}

java_client() {
  local folder=$TOOLS/kafka-4.3.1
  rm -rf "$folder" &&
    mvn -q -B -f "$SOURCES/java/pom.xml" dependency:copy-dependencies -DoutputDirectory="$folder" &&
    javac -d "$folder/classes" -cp "$folder/*" "$SOURCES/java/Interop.java"
}

go_clients() {
  cd "$SOURCES/go" && go build -o "$TOOLS/go/" ./franz ./sarama
}

js_client() {
  cp "$SOURCES/js/package.json" "$SOURCES/js/package-lock.json" "$TOOLS/js/" &&
    cd "$TOOLS/js" && npm ci --no-audit --no-fund
}

kcat_package() {
  if command -v kcat; then
    return
  fi
  if [ "$(id -u)" != 0 ]; then
    echo "kcat is not installed and only root can install it: apt-get install kcat"
    return 1
  fi
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends kcat
}

mkdir -p "$TOOLS/go" "$TOOLS/js"
if ! command -v kcat >/dev/null; then
  rm -f "$TOOLS/kcat.installed"
fi
RUNNING=()
install kcat kcat_package bash /dev/null & RUNNING+=($!)
install kafka java_client mvn java/pom.xml java/Interop.java & RUNNING+=($!)
install go go_clients go go/go.mod go/go.sum go/*/*.go & RUNNING+=($!)
install js js_client npm js/package.json js/package-lock.json & RUNNING+=($!)
FAILED=0
for job in "${RUNNING[@]}"; do
  wait "$job" || FAILED=1
done

# Where nobody reads what is left out, nothing may be.
if [ "$FAILED" = 1 ] && [ "${CI:-}" = true ]; then
  exit 1
fi
