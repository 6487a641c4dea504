#!/bin/sh
# Build the wheel, and gather those of what it needs, into build/wheels; the tools for that, and for the documents, are in an
# environment of their own, build/tools. The network is needed here, and nowhere else.
set -eu
cd "$(dirname "$0")/.."

echo "building the wheel, and gathering those it needs, in build/"
rm -rf build/wheels build/tools
mkdir -p build/wheels
/usr/bin/python3 -m venv build/tools
requirements='import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]
print(*project["optional-dependencies"]["packaging"], sep="\n")'
build/tools/bin/python -c "$requirements" > build/tools/requirements.txt
build/tools/bin/python -m pip install --quiet --disable-pip-version-check --requirement build/tools/requirements.txt
build/tools/bin/python -m pip wheel --quiet --disable-pip-version-check --wheel-dir build/wheels .
