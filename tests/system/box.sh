#!/bin/bash
# Become a small machine whose init is systemd: `unshare --mount --pid --fork ... box.sh FOLDER SOURCE PACKAGES`.
# Its root is an overlay over this machine's, which it can only read; what it writes is in memory, and gone with it.
set -euo pipefail
FOLDER=$1 SOURCE=$2 PACKAGES=$3

mount --make-rprivate /
mount -t tmpfs tmpfs "$FOLDER"
mkdir "$FOLDER"/{upper,work,root}
mount -t overlay overlay -o "lowerdir=/,upperdir=$FOLDER/upper,workdir=$FOLDER/work" "$FOLDER/root"
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

# The inspector where the unit looks for it: an environment of its own, with the sources and packages of this one.
opt=opt/epm-inspector
mkdir -p "$opt/bin" "$opt/source" "$opt/packages"
mount --bind -o ro "$SOURCE" "$opt/source"
mount --bind -o ro "$PACKAGES" "$opt/packages"
ln -sf /usr/bin/python3 "$opt/bin/python3"
printf 'home = /usr/bin\ninclude-system-site-packages = true\n' > "$opt/pyvenv.cfg"
printf '#!/%s/bin/python3\nimport sys\nfrom inspector.cli import main\nsys.exit(main())\n' "$opt" > "$opt/bin/epm-inspector"
chmod +x "$opt/bin/epm-inspector"
cp "$SOURCE/packaging/epm-inspector.service" etc/systemd/system/
cat > etc/default/epm-inspector <<-END
	EPM_INTERFACES="near"
	PYTHONPATH="/$opt/source:/$opt/packages"
END
: > etc/epm-inspector.toml

# Of what a machine starts, the journal is enough.
rm -f etc/fstab
for wanted in {lib,etc}/systemd/system/{sysinit,basic,sockets,local-fs,multi-user,timers,graphical}.target.wants/*; do
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
