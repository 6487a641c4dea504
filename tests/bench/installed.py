"""What an installation takes on the disk: a fresh virtual environment with the wheel and all run-time dependencies.

The system's packages (Python itself, bcc with its LLVM) are not counted. Baseline: the environment without anything.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]

_BLOCK: Final = 512
_MB: Final = 10**6
_TIMEOUT_S: Final = 240


def disk_mb(folder: Path) -> float:
    """Return what a folder takes on the disk in MB of a million bytes; a file with several names counts once."""
    sizes = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        sizes[status.st_dev, status.st_ino] = status.st_blocks * _BLOCK
    return sum(sizes.values()) / _MB


def measure(source: str = str(ROOT)) -> dict[str, float]:
    """Install `source`, a folder or a wheel, and return the sizes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "environment"
        venv.create(folder, symlinks=True, with_pip=False)
        empty = disk_mb(folder)
        pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "install", "--quiet"]
        subprocess.run([*pip, source], check=True, capture_output=True, timeout=_TIMEOUT_S)
        whole = disk_mb(folder)
    return {"installed_mb": round(whole, 1), "installed_empty_mb": round(empty, 1)}


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
