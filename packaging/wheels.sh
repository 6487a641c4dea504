#!/bin/sh
# Build the wheel, and gather those of what it needs, into build/wheels: the versions and hashes of locks/. The tools for that,
# and for the documents, are in an environment of their own, build/tools. The network is needed here, and nowhere else.
# build/epm-inspector.cdx.json lists what is bundled (CycloneDX), with versions and licences.
set -eu
cd "$(dirname "$0")/.."

echo "building the wheel, and gathering those it needs, in build/"
rm -rf build/wheels build/tools build/bundle
mkdir -p build/wheels
/usr/bin/python3 -m venv build/tools
pip="build/tools/bin/python -m pip --quiet --disable-pip-version-check"
$pip install --require-hashes --requirement locks/build.txt
$pip install --require-hashes --no-build-isolation --requirement locks/packaging.txt
$pip wheel --require-hashes --only-binary :all: --wheel-dir build/wheels --requirement locks/runtime.txt
packaging/wheel.sh build/tools/bin/python build/wheels

/usr/bin/python3 -m venv --without-pip build/bundle
$pip --python build/bundle/bin/python install --isolated --no-index --find-links build/wheels --no-compile 'epm-inspector[top]'
build/tools/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type application --output-reproducible \
	--output-file build/epm-inspector.cdx.json build/bundle/bin/python 2>build/cyclonedx.log || {
	cat build/cyclonedx.log >&2
	exit 1
}
rm -rf build/bundle
