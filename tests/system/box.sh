#!/bin/bash
# Become a small machine whose init is systemd: `unshare --mount --pid --fork ... box.sh FOLDER BELOW [FILL ...]`. Its root is
# an overlay over the folder BELOW, / or another Debian's, which it can only read; what it writes is in memory, and gone
# with it. FILL, a command, is run in the root before the machine starts.
set -euo pipefail
FOLDER=$1 BELOW=$2
shift 2

mount --make-rprivate /
mount -t tmpfs tmpfs "$FOLDER"
mkdir "$FOLDER"/{upper,work,root}
mount -t overlay overlay -o "lowerdir=$BELOW,upperdir=$FOLDER/upper,workdir=$FOLDER/work" "$FOLDER/root"
cd "$FOLDER/root"
for place in tmp run dev; do
	mount -t tmpfs tmpfs "./$place"
done
chmod 1777 tmp
chmod 0755 run dev
mkdir dev/pts dev/shm run/old
for node in null zero full random urandom tty; do
	touch "dev/$node"
	mount --bind "/dev/$node" "dev/$node"
done
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs tmpfs dev/shm
mount -t proc proc proc
# What /proc/sys says is said of the whole machine.
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup

"$@"

# Of what a machine starts, the journal is enough.
rm -f etc/fstab
for wanted in {lib,etc}/systemd/system/{sysinit,basic,sockets,local-fs,multi-user,timers,graphical}.target.wants/*; do
	[ -L "$wanted" ] || continue
	case ${wanted##*/} in
	systemd-journald*) ;;
	*) ln -sf /dev/null "etc/systemd/system/${wanted##*/}" ;;
	esac
done
printf '[Unit]\nDescription=A machine for tests\nDefaultDependencies=no\n' > etc/systemd/system/box.target

pivot_root . run/old
umount -l /run/old
export container=box
exec /lib/systemd/systemd --system --unit=box.target --show-status=no
