"""The project on a clean Debian 13 (Python 3.13, bcc 0.31, LLVM 19): set-up, demonstration, tests of programs.

The kernel is this machine's. `make test` runs a short choice of tests there, `make debian13` many.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.conftest import require_tools

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[2]
SCRIPT: Final = Path(__file__).with_name("debian13.sh")
MIRROR: Final = "http://deb.debian.org/debian"
# What a checkout needs to say `make`, and what compiles the decoder.
PACKAGES: Final = "ca-certificates,gcc,make,python3,python3-dev"
PIP: Final = ".venv/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes --no-build-isolation"
KERNEL_TESTS: Final = "tests/kernel/test_toolchain.py tests/kernel/test_program.py tests/kernel/test_tunnels.py"
DECODER_TESTS: Final = "tests/property/test_decode.py -k 'not both_decoders_agree or golden or long'"
# Set-up, and tests.
SHORT: Final = (f"make .venv/run.stamp; {PIP} --requirement locks/dev.txt", f"{KERNEL_TESTS} {DECODER_TESTS}")
WHOLE: Final = ("make .venv/test.stamp", "tests/unit tests/kernel tests/golden tests/property tests/fuzz")
# A process with threads that forks is warned of since Python 3.12.
WARNINGS: Final = "export PYTHONWARNINGS='error:This process:DeprecationWarning'"

# A minute for a Debian, two for the set-up, and many on a busy machine.
pytestmark = pytest.mark.timeout(7200 if "DEBIAN13" in os.environ else 2400)


@pytest.fixture(scope="module")
def debian(root: None, bpf: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:  # noqa: ARG001 - asked for first
    """Make a clean Debian 13 in a folder."""
    require_tools(["mmdebstrap", "unshare"])
    folder = tmp_path_factory.mktemp("debian13") / "root"
    command = ["mmdebstrap", "--quiet", "--variant=apt", f"--include={PACKAGES}", "trixie", str(folder), MIRROR]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    yield folder
    shutil.rmtree(folder)


def inside(debian: Path, *commands: str) -> str:
    """Run shell commands there, the first with this machine's network, and return what they print."""
    unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", str(SCRIPT)]
    done = subprocess.run(
        [*unshare, str(debian), str(ROOT), *commands],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:]
    return done.stdout


def test_the_project_works_there(debian: Path) -> None:
    """It is set up by make, compiles its decoder, demonstrates the mismatch, and passes tests."""
    set_up, tests = WHOLE if "DEBIAN13" in os.environ else SHORT
    output = inside(
        debian,
        f"{set_up}; .venv/bin/python -c 'from inspector import decode; assert decode.is_compiled()'",
        f"{WARNINGS}; make demo DEMO_SECONDS=15",
        f"{WARNINGS}; .venv/bin/python -m pytest -q -p no:cacheprovider {tests}",
    )
    assert "The expected verdicts came." in output
    assert " passed" in output
