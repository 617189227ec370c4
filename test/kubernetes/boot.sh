#!/bin/bash
# boot.sh DIRECTORY NAME BOOT_ID CGROUPS: the first process of a node, in namespaces of its own (mount, PID, UTS, network). Gives the node its
# own name, /proc, /sys, /run and disks, starts the units that its kubelet requires, creates $DIRECTORY/up, and then reaps orphaned processes.
set -euo pipefail
directory=$1

echo "$2" >/proc/sys/kernel/hostname
mount -t proc proc /proc
# A new sysfs shows the interfaces of this network namespace, but has no cgroups.
mkdir -p "$directory"/{cgroup,lib,log,sysctl}
mount --rbind /sys/fs/cgroup "$directory/cgroup"
mount -t sysfs sysfs /sys
mount --rbind "$directory/cgroup" /sys/fs/cgroup
umount --lazy "$directory/cgroup"
# Mounted over whatever is there; the machine keeps its own.
[ "${4-}" != v2 ] || mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /run/netns
mount --bind "$directory/lib" /var/lib
mount --bind "$directory/log" /var/log
# What is written to /etc belongs to the node and survives its reboots.
mkdir -p "$directory"/etc/{upper,work}
mount -t overlay -o "lowerdir=/etc,upperdir=$directory/etc/upper,workdir=$directory/etc/work" overlay /etc
mkdir -p /etc/systemd/system

# bind TEXT FILE: gives the file this content in this node.
bind() {
  echo "$1" >"$directory/sysctl/$(basename "$2")"
  mount --bind "$directory/sysctl/$(basename "$2")" "$2"
}
bind "$3" /proc/sys/kernel/random/boot_id
[ ! -e /etc/machine-id ] || bind "$(tr -d - <<<"$3")" /etc/machine-id
# These settings, which a kubelet would change on the machine, already have the values that it wants.
bind 1 /proc/sys/vm/overcommit_memory
bind 0 /proc/sys/vm/panic_on_oom
bind 10 /proc/sys/kernel/panic
bind 1 /proc/sys/kernel/panic_on_oops
bind 1000000 /proc/sys/kernel/keys/root_maxkeys
bind 25000000 /proc/sys/kernel/keys/root_maxbytes
# Mounts of volumes propagate between containers, as on a node.
mount --make-rshared /

# This is before there is a network or a kubelet; if it fails, this node does not come up.
"$(dirname "$0")/systemd/systemctl" boot

echo "$3" >"$directory/up"
trap 'exit 0' TERM
sleep infinity &
while :; do wait -n || true; done
