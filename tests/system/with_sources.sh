#!/bin/bash
# Put a copy of the sources, with what has been built there, at /source of the root that is filled: `with_sources.sh SOURCE`.
# What is written there is in memory; the machine has a power of its own over it, and none over the original.
set -euo pipefail
mkdir ../written ../scratch source
mount -t overlay overlay -o "lowerdir=$1,upperdir=../written,workdir=../scratch" source
