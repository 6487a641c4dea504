#!/bin/sh
# Compile what is compiled, in the environment that is named: Python's code for everybody, and, for this very processor,
# what numba compiles.
set -eu
"$1/bin/python3" -m compileall -q -j 0 "$1"/lib/python3.*/site-packages || echo "some of the libraries' code could not be compiled" >&2
cd /
"$1/bin/python3" -m inspector.prepare
