"""A small file system of its own, which can be filled and made read-only for real."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.conftest import unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator


class Disk:
    """A mounted file system in memory: `path` is where."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self) -> None:
        """Leave no room."""
        with contextlib.suppress(OSError), (self.path / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(bytes(1024))

    def make_room(self) -> None:
        """Take away what filled it."""
        (self.path / "ballast").unlink()

    def remount(self, option: str) -> None:
        """Make it read-only (`ro`) or writable (`rw`)."""
        subprocess.run(["mount", "-o", f"remount,{option}", self.path], check=True)


@contextlib.contextmanager
def small_disk(path: Path, kilobytes: int = 64) -> Iterator[Disk]:
    """Mount a file system of that size; needs root."""
    path.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={kilobytes}k,mode=755", "evidence-test", str(path)]
    done = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if done.returncode:
        unavailable(f"a file system cannot be mounted here: {done.stderr.strip()}")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "-l", path], check=True)
