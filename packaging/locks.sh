#!/bin/sh
# Write locks/: every package of Python that `make` installs or bundles, with version and hashes, for Python 3.11 and later.
# All are renewed; with KEEP set only what pyproject.toml asks for otherwise. The network is needed.
set -eu
cd "$(dirname "$0")/.."

/usr/bin/python3 -m venv build/locker
build/locker/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement locks/locks.txt

lock() {  # lock NAME WHAT...: write what that needs to locks/NAME.txt
	file=locks/$1.txt
	shift
	echo "$file"
	build/locker/bin/uv pip compile --quiet --default-index https://pypi.org/simple --universal \
		--python-version 3.11 --generate-hashes --custom-compile-command 'make locks' $upgrade --output-file "$file" "$@"
}
upgrade=--upgrade
[ -z "${KEEP:-}" ] || upgrade=
lock dev pyproject.toml --extra dev --group packaging
# The others are parts of it: no package has two versions.
lock build --group build --constraint locks/dev.txt
lock packaging --group packaging --constraint locks/dev.txt
lock runtime pyproject.toml --extra top --constraint locks/dev.txt
lock lab pyproject.toml --extra lab --extra top --constraint locks/dev.txt
lock stack pyproject.toml --extra dashboards --extra lab --extra top --constraint locks/dev.txt
lock locks --group locks
