"""Imports go down only, and `live` is loaded by the commands that need it, when they need it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "inspector"
FOUNDATION = {"errors", "model", "record"}
# Who may import whom, by the first component under `inspector`.
ALLOWED = {
    "errors": set(),
    "model": set(),
    "record": {"model"},
    "ahead": set(),
    "machinecode": set(),
    "codecache": {"machinecode"},
    "compiled": {"codecache"},
    "objectfile": {"machinecode"},
    "rehearsal": FOUNDATION | {"columns", "judge", "live", "sinks", "sources", "wire"},
    "notify": set(),
    "wire": FOUNDATION | {"wire"},
    "judge": FOUNDATION | {"judge", "wire"},
    "columns": FOUNDATION | {"columns", "compiled", "judge", "wire"},
    "decode": FOUNDATION | {"columns", "decode", "judge", "wire"},
    "sources": FOUNDATION | {"codecache", "compiled", "sources", "wire"},
    "live": FOUNDATION | {"codecache", "compiled", "live"},
    "sinks": FOUNDATION | {"compiled", "sinks"},
    "pipeline": FOUNDATION | {"codecache", "columns", "decode", "wire", "judge"},
    "prepare": {"codecache", "compiled", "objectfile", "rehearsal"},
    "runtime": {"errors"},
    "config": FOUNDATION | {"wire", "judge"},
    "lab": {"errors", "model", "config", "lab", "live"},
    "commands": FOUNDATION
    | {
        "ahead",
        "codecache",
        "commands",
        "config",
        "decode",
        "notify",
        "pipeline",
        "runtime",
        "sources",
        "live",
        "sinks",
    },
    "cli": {"errors", "model", "config", "commands", "lab", "notify"},
    "__main__": {"cli"},
    "__init__": set(),
}
FILES = sorted(PACKAGE.rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    """Return the full names of the modules a file imports, at any depth of the code."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    """Each module imports only what the layout allows."""
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    ours = {name.split(".")[1] for name in imports_of(path) if name.startswith("inspector.")}
    assert ours - {"__version__"} <= ALLOWED[part]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_live_and_lab_know_kernel_libraries(path: Path) -> None:
    """The module bcc is imported by `live` alone; pyroute2 by `live`, and by the laboratory for its namespaces."""
    part = path.relative_to(PACKAGE).parts[0]
    libraries = {name.split(".")[0] for name in imports_of(path)}
    if part != "live":
        assert "bcc" not in libraries
    if part not in ("live", "lab"):
        assert "pyroute2" not in libraries


def test_reading_a_capture_loads_neither_bcc_nor_netlink(tmp_path: Path) -> None:
    """`read` runs where neither is installed."""
    (tmp_path / "bcc.py").write_text("raise SystemError('imported')\n")
    (tmp_path / "pyroute2.py").write_text("raise SystemError('imported')\n")
    capture = tmp_path / "empty.pcap"
    capture.write_bytes(bytes.fromhex("d4c3b2a1020004000000000000000000ffff000001000000"))
    run = subprocess.run(
        [sys.executable, "-m", "inspector", "read", "--json", str(capture)],
        env={"PYTHONPATH": f"{tmp_path}:{PACKAGE.parent}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout) == (0, ""), run.stderr
