#!/bin/sh
# Build the wheel for one Python, 3.11 or later: `wheel.sh PYTHON FOLDER`. PYTHON has what locks/build.txt names. Where there is
# a C compiler, the wheel has the compiled modules, which are for that minor version and architecture.
set -eu
cd "$(dirname "$0")/.."

# Whatever setuptools finds there goes into the wheel, also modules whose sources are gone.
rm -rf build/lib.* build/bdist.*
"$1" -m pip --quiet --disable-pip-version-check wheel --no-deps --no-build-isolation --wheel-dir "$2" .
