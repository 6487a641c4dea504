#!/bin/bash
# Put the inspector where its unit looks for it, as an environment of its own with the sources and packages of this machine:
# `from_sources.sh SOURCE PACKAGES`, in the root that is filled.
set -euo pipefail
SOURCE=$1 PACKAGES=$2

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
mkdir etc/epm-inspector
: > etc/epm-inspector/epm-inspector.toml
