#!/bin/sh
# Install what `make wheels` has put into build/: `make install` calls it, and the Debian package is filled by it.
set -eu
cd "$(dirname "$0")/.."
. packaging/locations.sh

tools=$PWD/build/tools
environment=$DESTDIR$ENVIRONMENT
umask 022

[ -z "$DESTDIR" ] || mkdir -p "$DESTDIR"
# Which folders were not there before: uninstalling removes them when nothing else has come into them.
folders=$PWD/build/folders
cat "$DESTDIR$ORIGINALS/folders" > "$folders" 2>/dev/null || : > "$folders"
note_folders() {  # of a file or folder that is going to be installed
	folder=$(dirname "$1")
	while [ ! -e "$DESTDIR$folder" ]; do
		echo "$folder" >> "$folders"
		folder=$(dirname "$folder")
	done
}

# Made apart from the distribution's packages, so that none of them stands in for one of the wheels; bcc is found among
# them later.
rm -rf "$environment"
note_folders "$ENVIRONMENT"
/usr/bin/python3 -m venv --without-pip "$environment"
# Settings of the machine or the user for pip do not count.
PIP_CONFIG_FILE=/dev/null "$tools/bin/python" -m pip --python "$environment/bin/python3" install --isolated --quiet \
	--disable-pip-version-check --no-index --find-links build/wheels --no-compile 'epm-inspector[top]'
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$(echo "$tools"/lib/python3.*/site-packages) \
	"$environment/bin/python3" packaging/documents.py build/documents
# Programs of the libraries, scripts that make a shell enter the environment: of no use here. So are libraries' tests.
find "$environment/bin" -mindepth 1 ! -name 'python*' ! -name epm-inspector -delete
find "$environment"/lib/python3.*/site-packages -mindepth 2 -type d -name tests -prune -exec rm -rf {} +
find "$environment" -type d -name include -empty -delete
rm -f "$environment/lib64"
sed -i "1s|.*|#!$ENVIRONMENT/bin/python3|" "$environment/bin/epm-inspector"
sed -i -e 's/^include-system-site-packages = .*/include-system-site-packages = true/' -e '/^command = /d' \
	"$environment/pyvenv.cfg"

put() {  # put MODE FROM TO
	note_folders "$3"
	install -D -m "$1" "$2" "$DESTDIR$3"
}
note_folders "$PROGRAM"
install -d "$DESTDIR$PREFIX/bin"
ln -srf "$environment/bin/epm-inspector" "$DESTDIR$PROGRAM"
put 644 build/documents/epm-inspector.8 "$MANUAL"
put 644 build/documents/epm-inspector "$BASH_COMPLETION"
put 644 build/documents/_epm-inspector "$ZSH_COMPLETION"
put 644 build/documents/epm-inspector.fish "$FISH_COMPLETION"
put 644 README.md "$DOCUMENTS/README.md"
put 644 LICENSE "$DOCUMENTS/LICENSE"
put 644 CHANGELOG.md "$DOCUMENTS/CHANGELOG.md"
put 644 epm-inspector.example.toml "$DOCUMENTS/examples/epm-inspector.example.toml"
for page in docs/*.md; do
	put 644 "$page" "$DOCUMENTS/$page"
done
for folder in grafana prometheus provisioning; do
	find "dashboards/$folder" -type f | while read -r file; do put 644 "$file" "$DOCUMENTS/$file"; done
done
sed "s|/opt/epm-inspector/|$ENVIRONMENT/|" packaging/epm-inspector.service > build/epm-inspector.service
put 644 build/epm-inspector.service "$UNIT"

# The settings as they are shipped: every key is there, and none is in force. Those which exist are left alone.
sed -E 's/^([^#])/#\1/' epm-inspector.example.toml > build/epm-inspector.toml
put 644 build/epm-inspector.toml "$ORIGINALS/epm-inspector.toml"
put 644 packaging/epm-inspector.default "$ORIGINALS/epm-inspector"
for setting in $SETTINGS; do
	if [ -e "$DESTDIR$setting" ]; then
		echo "kept as it is: $DESTDIR$setting"
	else
		put 644 "$DESTDIR$ORIGINALS/$(basename "$setting")" "$setting"
	fi
done
sort -u "$folders" > "$environment/originals/folders"

[ -z "$DESTDIR" ] || exit 0
/usr/bin/python3 -c 'import bcc' 2>/dev/null || echo "missing, for 'attach' and 'check': python3-bpfcc (apt install python3-bpfcc linux-libc-dev)"
"$ENVIRONMENT/bin/python3" -m compileall -q -j 0 "$ENVIRONMENT"/lib/python3.*/site-packages || echo "some of the libraries' code could not be compiled" >&2
if has_systemd; then
	systemctl daemon-reload
	systemctl try-restart epm-inspector.service
fi
echo "installed. Next: interfaces in /etc/epm-inspector/epm-inspector.toml, or EPM_INTERFACES in /etc/default/epm-inspector; then: systemctl enable --now epm-inspector"
