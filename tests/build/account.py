"""The account which root's inspections go on as, and its way into a test's folder."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def let_in(folder: Path) -> None:
    """Let all users pass to a folder of root's: pytest's are closed to them."""
    if os.geteuid() != 0:
        return
    for path in (folder, *folder.parents):
        mode = path.stat().st_mode & 0o7777
        if mode & 0o001:
            continue
        path.chmod(mode | 0o011)
