#!/bin/busybox sh
# First half of a test guest's way up, in the initrd: the host's files below, a layer of the guest's own above.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module" || echo "guest: module $module does not load"; done </modules/order
fail() { echo "guest: $1"; poweroff -f; }
mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=512000 host /lower || fail "no files of the host"
mount -t tmpfs -o size=75% tmpfs /upper
mkdir /upper/files /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work overlay /new || fail "no layer over the host's files"
mount --move /proc /new/proc
mount --move /sys /new/sys
mount --move /dev /new/dev
script=$(sed -n 's/.*eaves\.script=\([^ ]*\).*/\1/p' /new/proc/cmdline)
exec switch_root /new /bin/bash "$script"
