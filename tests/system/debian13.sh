#!/bin/bash
# Set the project up on a Debian and run commands there, in a mount namespace of its own:
# `unshare --mount --pid --fork --kill-child debian13.sh ROOT SOURCE COMMAND [OFFLINE ...]`. ROOT is an unpacked Debian, SOURCE
# is copied into it, without what was built. COMMAND has the network, resolver and certificate authorities of this machine.
# Each OFFLINE command has a network of its own with nothing in it but a loopback interface.
set -euo pipefail
ROOT=$1 SOURCE=$2
shift 2

mount --make-rprivate /
mount --rbind "$ROOT" "$ROOT"
cd "$ROOT"
mount -t proc proc proc
mount --rbind /dev dev
mount --rbind /sys sys
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
chmod 1777 tmp
for file in /etc/resolv.conf /etc/ssl/certs/ca-certificates.crt; do
	touch ".$file"
	mount --bind -o ro "$(readlink --canonicalize "$file")" ".$file"
done
mkdir -p source
others=(.git .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build)
tar --create --directory="$SOURCE" "${others[@]/#/--exclude=./}" --exclude='*.so' --exclude=__pycache__ . |
	tar --extract --directory=source

inside=(chroot . /usr/bin/env --chdir=/source HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin bash -euc)
"${inside[@]}" "$1"
shift
for command in "$@"; do
	unshare --net "${inside[@]}" "ip link set lo up; $command"
done
