"""`python -m tests.fuzz TARGET [libFuzzer options] [FOLDER ...]`: fuzz one target with atheris.

New inputs go to the first folder (default build/fuzz/TARGET); the committed corpus is always read.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["inspector"]):
    from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"


def main() -> None:
    """Run the fuzzer until its options end it."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"python -m tests.fuzz {{{','.join(TARGETS)}}} [libFuzzer options]")
    name = sys.argv.pop(1)
    options = [argument for argument in sys.argv[1:] if argument.startswith("-")]
    folders = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    if not folders:
        folders = [f"build/fuzz/{name}"]
        Path(folders[0]).mkdir(parents=True, exist_ok=True)
    atheris.Setup([sys.argv[0], *options, *folders, str(CORPUS / name)], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
