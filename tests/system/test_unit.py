"""The unit file by itself, as systemd's own tools judge it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import require_tools

UNIT = Path(__file__).parents[2] / "packaging" / "epm-inspector.service"
PROGRAM = "/opt/epm-inspector/bin/epm-inspector"
# Tenths of the scale from 0 (locked up) to 10 (may do anything); without any directive it is 9.6.
MOST_EXPOSURE = 20


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """Return a copy of the unit in which the program is one that exists here."""
    require_tools(["systemd-analyze"])
    text = UNIT.read_text()
    assert PROGRAM in text
    copy = tmp_path / UNIT.name
    copy.write_text(text.replace(PROGRAM, str(shutil.which("true"))))
    return copy


def test_verify(unit: Path) -> None:
    """Every directive is known, every value is one, every program is there."""
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_exposure(unit: Path) -> None:
    """What the service could do to the machine stays below a threshold, which a forgotten directive would pass."""
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSURE}"]
    done = subprocess.run([*command, str(unit)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    for directive in ("DynamicUser=yes\n", "RestrictNamespaces=yes\n", "SystemCallFilter=@system-service\n"):
        weaker = unit.with_name("weaker.service")
        weaker.write_text(unit.read_text().replace(directive, ""))
        assert subprocess.run([*command, str(weaker)], capture_output=True, check=False).returncode != 0, directive
