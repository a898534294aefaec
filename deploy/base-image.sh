#!/usr/bin/env bash
# base-image.sh IMAGE PYTHON
#
# Makes an image for `docker build --build-arg BASE=IMAGE` without any registry: this machine's own Python, a shell, a
# few programs, and the libraries that they are linked with. PYTHON is an interpreter that has pip.
set -euo pipefail
IMAGE=$1
PYTHON=$2

PROGRAMS="sh cat chown env install ls mkdir rm sleep uname"

ROOT=$(mktemp -d)
trap 'rm -rf "$ROOT"' EXIT
chmod 755 "$ROOT"

# Debian's merged layout, so that a library is found under both of its names.
mkdir -p "$ROOT"/usr/{bin,sbin,lib,lib64} "$ROOT"/usr/local/{bin,lib} "$ROOT"/{etc/ssl/certs,dev,proc,root,sys,var/lib}
mkdir -m 1777 "$ROOT/tmp"
for folder in bin sbin lib lib64; do
  ln -s "usr/$folder" "$ROOT/$folder"
done

# Python, with its standard library and pip.
{ read -r INTERPRETER && read -r STDLIB && read -r PIP && read -r VERSION; } < <("$PYTHON" -c '
import os, pip, sys, sysconfig
print(os.path.realpath(sys.executable))
print(sysconfig.get_path("stdlib"))
print(os.path.dirname(pip.__file__))
print("python%d.%d" % sys.version_info[:2])')
LIBRARY=$ROOT/usr/local/lib/$VERSION
cp "$INTERPRETER" "$ROOT/usr/local/bin/$VERSION"
ln -s "$VERSION" "$ROOT/usr/local/bin/python3"
ln -s "$VERSION" "$ROOT/usr/local/bin/python"
mkdir "$LIBRARY"
tar -C "$STDLIB" -cf - --exclude=__pycache__ --exclude=./site-packages --exclude=./dist-packages --exclude=./test \
  --exclude='./config-*' --exclude=./idlelib --exclude=./ensurepip . | tar -C "$LIBRARY" -xf -
mkdir "$LIBRARY/site-packages"
cp -r "$PIP" "$LIBRARY/site-packages/"

for program in $PROGRAMS; do
  cp -L "$(command -v "$program")" "$ROOT/usr/bin/"
done

# Every library that any of these wants, and the ones that wheels may count on.
libraries() {
  find "$LIBRARY" -name '*.so' -print0 | xargs -0 ldd "$ROOT"/usr/bin/* "$ROOT/usr/local/bin/$VERSION" 2>/dev/null |
    awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\/.*ld-linux/ { print $1 }'
  ldconfig -p | awk '/lib(c|m|dl|rt|pthread|resolv|gcc_s|stdc\+\+|nss_dns|nss_files)\.so/ && /64/ { print $NF }'
}
libraries | sort -u | while read -r library; do
  case $library in
    /lib*/ld-linux* | /usr/lib*/ld-linux*) target=$ROOT/lib64 ;;
    *) target=$ROOT/usr/local/lib ;;
  esac
  cp -L "$library" "$target/"
done
echo /usr/local/lib >"$ROOT/etc/ld.so.conf"
ldconfig -r "$ROOT"

cp -L /etc/ssl/certs/ca-certificates.crt "$ROOT/etc/ssl/certs/"
printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' >"$ROOT/etc/pip.conf"
printf 'root:x:0:0:root:/root:/bin/sh\n' >"$ROOT/etc/passwd"
printf 'root:x:0:\n' >"$ROOT/etc/group"

tar -C "$ROOT" --numeric-owner --owner=0 --group=0 -cf - . |
  docker import --change 'ENV LANG=C.UTF-8' --change 'CMD ["python3"]' - "$IMAGE" >/dev/null
