#!/bin/sh
# Build the wheel for a Python, 3.11 or later, into a folder, and test it: `try-wheel.sh PYTHON FOLDER`. What builds and tests
# comes from locks/, into an environment of its own below build/.
set -eu
cd "$(dirname "$0")/.."

environment=build/wheel-$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
"$1" -m venv --clear "$environment"
pip="$environment/bin/python -m pip --quiet --disable-pip-version-check"
$pip install --require-hashes --requirement locks/build.txt
$pip install --require-hashes --no-build-isolation --requirement locks/dev.txt
packaging/wheel.sh "$environment/bin/python" "$2"
"$environment/bin/python" -m pytest -q -p no:cacheprovider tests/system/test_wheel.py
