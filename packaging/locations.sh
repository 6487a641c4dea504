# Where everything is installed; sourced by install.sh and uninstall.sh. The Makefile's help names what may be set.
# shellcheck shell=sh
PREFIX=${PREFIX:-/usr/local}
DESTDIR=${DESTDIR:-}
ENVIRONMENT=${ENVIRONMENT:-$PREFIX/lib/epm-inspector}
UNIT_FOLDER=${UNIT_FOLDER:-/etc/systemd/system}
ZSH_FOLDER=${ZSH_FOLDER:-$PREFIX/share/zsh/site-functions}

UNIT=$UNIT_FOLDER/epm-inspector.service
PROGRAM=$PREFIX/bin/epm-inspector
MANUAL=$PREFIX/share/man/man8/epm-inspector.8
BASH_COMPLETION=$PREFIX/share/bash-completion/completions/epm-inspector
ZSH_COMPLETION=$ZSH_FOLDER/_epm-inspector
FISH_COMPLETION=$PREFIX/share/fish/vendor_completions.d/epm-inspector.fish
DOCUMENTS=$PREFIX/share/doc/epm-inspector
# What the administrator edits, and what it was when it was installed.
SETTINGS="/etc/epm-inspector/epm-inspector.toml /etc/default/epm-inspector"
ORIGINALS=$ENVIRONMENT/originals

# Whether this is the running machine, with systemd in charge of it.
has_systemd() { [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; }
