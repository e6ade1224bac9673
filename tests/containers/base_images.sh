#!/usr/bin/env bash
# Build stand-ins for the two base images from Debian's packages and PyPI, where no registry of images is reached.
# Usage: base_images.sh CACHE VALKEY_SERVER BUILDAH...; what they stand for is described in tests/containers/README.md.
set -euo pipefail
CACHE=$1 VALKEY=$2; shift 2; BUILDAH=("$@")
WORK=$(mktemp -d); trap 'rm -rf "$WORK"' EXIT
mkdir -p "$CACHE"
if [ ! -f "$CACHE/base.tar" ]; then
    packages=ca-certificates,python3.11-venv,python3-distutils,libjemalloc2,liblua5.1-0,liblzf1,libatomic1
    debootstrap --variant=minbase --include="$packages" bookworm "$WORK/rootfs"
    ln -s python3.11 "$WORK/rootfs/usr/bin/python"; ln -sf python3.11 "$WORK/rootfs/usr/bin/python3"
    rm -rf "$WORK"/rootfs/var/cache/apt/archives/*.deb "$WORK"/rootfs/var/lib/apt/lists/*
    tar -C "$WORK/rootfs" --exclude='./dev/*' --exclude='./proc/*' --exclude='./sys/*' -cf "$CACHE/base.tar.part" .
    mv "$CACHE/base.tar.part" "$CACHE/base.tar"
fi
c=$("${BUILDAH[@]}" from scratch)
"${BUILDAH[@]}" add -q "$c" "$CACHE/base.tar" /
"${BUILDAH[@]}" config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --env LANG=C.UTF-8 --cmd python3 "$c"
"${BUILDAH[@]}" commit -q "$c" docker.io/library/python:3.11-slim

# What the real image's entry point does: as root it takes the folder and drops to user 999, else it just starts.
cat >"$WORK/entrypoint" <<'SH'
#!/bin/sh
set -e
if [ "$1" = valkey-server ] && [ "$(id -u)" = 0 ]; then
    find . \! -user valkey -exec chown valkey '{}' +
    exec setpriv --reuid=valkey --regid=valkey --clear-groups -- "$0" "$@"
fi
exec "$@" $VALKEY_EXTRA_FLAGS
SH
"${BUILDAH[@]}" run --isolation chroot "$c" -- sh -c \
    'echo valkey:x:999:1000::/data:/usr/sbin/nologin >>/etc/passwd; echo valkey:x:1000: >>/etc/group; install -d -o 999 -g 1000 /data'
"${BUILDAH[@]}" copy -q --chmod 755 "$c" "$VALKEY" /usr/local/bin/valkey-server
"${BUILDAH[@]}" copy -q --chmod 755 "$c" "$(command -v redis-cli)" /usr/local/bin/valkey-cli
"${BUILDAH[@]}" copy -q --chmod 755 "$c" "$WORK/entrypoint" /usr/local/bin/docker-entrypoint.sh
# Upstream's image turns protected mode off, as a container is reached from others.
"${BUILDAH[@]}" config --workingdir /data --volume /data --env VALKEY_EXTRA_FLAGS='--protected-mode no' \
    --entrypoint '["docker-entrypoint.sh"]' --cmd valkey-server "$c"
"${BUILDAH[@]}" commit -q "$c" docker.io/valkey/valkey:9-alpine
