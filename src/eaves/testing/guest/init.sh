#!/bin/bash
# Second half of a test guest's way up, on the host's files: what a booted Debian has, then the command, then power off.
word() { sed -n "s/.*eaves\.$1=\([^ ]*\).*/\1/p" /proc/cmdline; }
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 EAVES_IN_GUEST=1
mount -t tmpfs -o mode=755 tmpfs /run
# The checkout may be in /tmp, so that stays as the host has it.
mkdir -p /dev/pts /dev/shm /run/results /run/lock
mkdir -m 1777 /run/tmp
export TMPDIR=/run/tmp
mount -t devpts -o gid=5,mode=620 devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
# The one hierarchy, as a Debian with systemd has it.
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t debugfs debug /sys/kernel/debug
cp -r "$(word runtime)/usr" /
modules=$(word modules)
mkdir -p /lib/modules
mount -t tmpfs tmpfs /lib/modules
mkdir -p "/lib/modules/$(uname -r)"
mount --bind "$modules/lib/modules/$(uname -r)" "/lib/modules/$(uname -r)"
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 results /run/results
modprobe virtio_blk; modprobe ext4; modprobe virtio_net; modprobe virtio_rng
# The tools' database of where image layers are known to be: the host's is written while we would copy it.
mkdir -p /var/lib/containers
mount -t tmpfs tmpfs /var/lib/containers
# Podman does not stack its layers on a stack: its storage gets a disk.
mkfs.ext4 -q -O quota,project /dev/vda && mount -o prjquota /dev/vda /var/tmp && chmod 1777 /var/tmp
ip link set lo up
hostname guest
mkdir -p /sys/fs/cgroup/init
echo $$ >/sys/fs/cgroup/init/cgroup.procs
for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control; done
off() { sync; poweroff -f 2>/dev/null || /bin/busybox poweroff -f; }
cd "$(word folder)" || off
echo "guest: up after $(cut -d' ' -f1 /proc/uptime) s: kernel $(uname -r)"
bash /run/results/command.sh </dev/null
echo $? >/run/results/code
echo "guest: done after $(cut -d' ' -f1 /proc/uptime) s"
off
