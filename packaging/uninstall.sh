#!/bin/sh
# Remove what install.sh has installed. Settings which were changed, and what the service has kept, go with PURGE=1 only.
set -eu
cd "$(dirname "$0")/.."
. packaging/locations.sh

if has_systemd; then
	systemctl disable --quiet --now epm-inspector.service 2>/dev/null || true
fi
for setting in $SETTINGS; do
	[ -e "$DESTDIR$setting" ] || continue
	if [ -n "${PURGE:-}" ] || cmp -s "$DESTDIR$setting" "$DESTDIR$ORIGINALS/$(basename "$setting")"; then
		rm "$DESTDIR$setting"
	else
		echo "kept, because it was changed (PURGE=1 removes it): $DESTDIR$setting"
	fi
done
# The folder of settings is known by its name also when the rest was removed before.
folders="$(sort -r "$DESTDIR$ORIGINALS/folders" 2>/dev/null || true) /etc/epm-inspector"
rm -rf "$DESTDIR$ENVIRONMENT" "$DESTDIR$DOCUMENTS"
rm -f "$DESTDIR$PROGRAM" "$DESTDIR$MANUAL" "$DESTDIR$BASH_COMPLETION" "$DESTDIR$ZSH_COMPLETION" "$DESTDIR$FISH_COMPLETION" "$DESTDIR$UNIT"
for kept in "$DESTDIR/var/lib/epm-inspector" "$DESTDIR/var/lib/private/epm-inspector"; do
	if [ -n "${PURGE:-}" ]; then
		rm -rf "$kept"
	elif [ -d "$kept" ] && [ ! -L "$kept" ]; then
		rmdir "$kept" 2>/dev/null || echo "kept, because it has captures or evidence (PURGE=1 removes it): $kept"
	fi
done
# A link of systemd's to a folder that has gone.
[ -e "$DESTDIR/var/lib/epm-inspector" ] || rm -f "$DESTDIR/var/lib/epm-inspector"
# Folders which the installation made, the innermost first; one that is still in use stays.
for folder in $folders; do
	rmdir "$DESTDIR$folder" 2>/dev/null || true
done
has_systemd && systemctl daemon-reload
exit 0
