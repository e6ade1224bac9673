#!/usr/bin/env bash
# Run a Docker Engine with mounts, network and control groups of its own; called by `unshare`, with its folder.
set -euo pipefail
ip link set lo up
mount -t proc proc /proc
for mounted in $(awk '$2 ~ "^/sys/fs/cgroup/" {print $2}' /proc/mounts | sort -r); do umount "$mounted"; done
! mountpoint -q /sys/fs/cgroup || umount /sys/fs/cgroup
mount -t tmpfs tmpfs /sys/fs/cgroup
mount -t tmpfs tmpfs /run
for controller in cpu cpuacct cpuset memory devices freezer blkio pids; do
    mkdir "/sys/fs/cgroup/$controller"
    mount -t cgroup -o "$controller" cgroup "/sys/fs/cgroup/$controller"
done
exec dockerd --data-root "$1/docker" --exec-root "$1/exec" --pidfile "$1/pid" -H "unix://$1/docker.sock" \
    --storage-driver overlay2 --cgroup-parent /image-test >"$1/dockerd.log" 2>&1
