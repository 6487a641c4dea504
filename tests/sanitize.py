"""`python -m tests.sanitize [--brief] [pytest options]`: run tests of the compiled modules under gcc's sanitizers.

The modules are built with AddressSanitizer and UndefinedBehaviorSanitizer into a folder of their own, build/sanitize,
and get hostile input there. Python allocates its objects by malloc, so that each has guarded ends. The first fault ends
the run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
BUILD: Final = ROOT / "build" / "sanitize"
TREE: Final = BUILD / "tree"

TESTS: Final = (
    "tests/property/test_decode.py",
    "tests/property/test_inferred.py",
    "tests/property/test_bounds.py",
    "tests/property/test_mutated_captures.py",
    "tests/property/test_read_batches.py",
    "tests/property/test_triage.py",
    "tests/property/test_partners.py",
    "tests/property/test_json_batches.py",
    "tests/fuzz/test_fuzz.py::test_corpus",
)
# The sanitizer's own memory is in what some tests measure; others run Python's sources, or are there for the fuzzer.
UNSUITED: Final = "memory or not_compiled"
# Left out by --brief: what takes longest of each file; every trace, and all that was ever found, is run. Properties get
# fewer examples (tests/choice.py).
LONGER: Final = "limits or forged or lost or reconfigured or long or stays_in or cut_everywhere or bounds"


def build() -> None:
    """Compile the modules into build/sanitize, and put beside them what tests need."""
    shutil.rmtree(TREE, ignore_errors=True)
    folders = [f"--build-base={BUILD}", f"--build-lib={TREE}"]
    command = [sys.executable, "setup.py", "--quiet", "build", *folders, "build_ext", f"--parallel={os.cpu_count()}"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"SANITIZE": "1"}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    for name in ("tests", "pyproject.toml", "locks", "packaging"):
        (TREE / name).symlink_to(ROOT / name)


def environment() -> dict[str, str]:
    """Return the environment in which an interpreter that was built without sanitizers has them."""
    library = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    # The interpreter never frees all; what it leaves is no leak of ours.
    address = "detect_leaks=0:detect_stack_use_after_return=1:strict_string_checks=1:abort_on_error=1"
    return os.environ | {
        "ASAN_OPTIONS": address,
        "LD_PRELOAD": library,
        "PYTHONMALLOC": "malloc",
        "PYTHONDONTWRITEBYTECODE": "1",
        "UBSAN_OPTIONS": "print_stacktrace=1:abort_on_error=1",
    }


def run(options: list[str]) -> int:
    """Run tests against the build, and return pytest's status."""
    check = "from inspector.decode import engine; assert '/build/sanitize/' in engine.__file__, engine.__file__"
    subprocess.run([sys.executable, "-c", check], cwd=TREE, env=environment(), check=True)
    # A report goes to the descriptor of standard error, and the process ends at once: pytest would keep it for itself.
    pytest = ["pytest", "--capture=sys", "-p", "no:cacheprovider"]
    command = [sys.executable, "-X", "faulthandler", "-m", *pytest, *options]
    return subprocess.run(command, cwd=TREE, env=environment(), check=False).returncode


def main() -> None:
    """Build, and run the tests that are asked for."""
    options = sys.argv[1:]
    brief = "--brief" in options
    if brief:
        options.remove("--brief")
    build()
    left_out = f"{UNSUITED} or {LONGER}" if brief else UNSUITED
    sys.exit(run([*TESTS, "-k", f"not ({left_out})", *(["--brief"] if brief else []), *options]))


if __name__ == "__main__":
    main()
