#!/bin/sh
# Build the Debian package out of build/wheels, in a copy of the sources, and have lintian judge it: build/*.deb.
# The same commit gives the same bytes, with the same wheels: times are those of the commit.
set -eu
cd "$(dirname "$0")/.."

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat --format=%Y pyproject.toml)}
export SOURCE_DATE_EPOCH
umask 022
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' inspector/__init__.py)
source=build/deb/epm-inspector-$version
rm -rf build/deb build/epm-inspector_*.deb build/epm-inspector_*.cdx.json
mkdir -p "$source/build"
cp -r --preserve=mode packaging docs README.md LICENSE CHANGELOG.md epm-inspector.example.toml "$source/"
mkdir "$source/dashboards"
cp -r --preserve=mode dashboards/grafana dashboards/prometheus dashboards/provisioning "$source/dashboards/"
mv "$source/packaging/debian" "$source/debian"
for made in tools wheels; do
	ln -s "$PWD/build/$made" "$source/build/$made"
done
cat > "$source/debian/changelog" <<-END
	epm-inspector ($version-1) unstable; urgency=medium

	  * Built from the project's sources; CHANGELOG.md has what is new.

	 -- epm-inspector maintainers <maintainers@epm-inspector.example>  $(LC_ALL=C date --utc --rfc-email --date="@$SOURCE_DATE_EPOCH")
END
(cd "$source" && dpkg-buildpackage --build=binary --no-sign) > build/deb/log 2>&1 || { tail -40 build/deb/log >&2; exit 1; }
mv build/deb/epm-inspector_*.deb build/
# What the package bundles, beside it.
cp build/epm-inspector.cdx.json "build/epm-inspector_$version.cdx.json"
[ -n "${UNJUDGED:-}" ] || lintian --fail-on error,warning --suppress-tags bad-distribution-in-changes-file build/epm-inspector_*.deb
ls -l build/epm-inspector_*.deb build/epm-inspector_*.cdx.json
