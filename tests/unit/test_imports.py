"""Imports go down only and never in a circle; `live` is loaded by the commands that need it, when they need it."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "inspector"
FOUNDATION = {"consequence", "dcom", "errors", "model", "protocols", "record"}
# Who may import whom: rooms, the packages under `inspector` (under `inspector.live`: each of its packages, and what is
# beside these), and the modules beside them. Modules of a room may import each other.
ALLOWED = {
    "__init__": set(),
    "errors": set(),
    "escape": set(),
    "consequence": set(),
    "dcom": set(),
    "model": {"consequence", "dcom"},
    "protocols": set(),
    "record": {"model"},
    "ordered": {"record"},
    "bounds": {"escape"},
    "log": {"escape"},
    "losses": set(),
    "resources": {"errors"},
    "stdio": {"errors"},
    "systemd": {"escape"},
    "wire": FOUNDATION,
    "judge": FOUNDATION | {"wire"},
    "outcomes": FOUNDATION | {"judge", "wire"},
    "config": FOUNDATION | {"bounds", "escape", "judge", "wire"},
    "decode": FOUNDATION | {"judge", "ordered", "wire"},
    "pipeline": FOUNDATION | {"decode", "judge", "wire"},
    "capture": FOUNDATION | {"config", "decode", "losses", "wire"},
    "live.process": FOUNDATION,
    "live.bpf": FOUNDATION,
    "live.rings": FOUNDATION | {"decode", "live.bpf", "ordered"},
    "live.attach": FOUNDATION | {"escape", "live.bpf", "live.process"},
    "live": FOUNDATION | {"live.attach", "live.bpf", "live.process", "live.rings", "ordered"},
    "output": FOUNDATION | {"decode", "escape", "losses"},
    "evidence": FOUNDATION | {"capture", "config", "decode", "losses", "outcomes", "output", "pipeline", "wire"},
    "metrics": FOUNDATION | {"decode", "evidence", "losses"},
    "http": FOUNDATION | {"decode", "escape", "metrics", "output"},
    "inspection": FOUNDATION
    | {
        "capture",
        "config",
        "decode",
        "evidence",
        "http",
        "losses",
        "metrics",
        "ordered",
        "output",
        "outcomes",
        "pipeline",
        "systemd",
        "wire",
    }
    | {"live", "live.attach", "live.bpf", "live.process", "live.rings"},
    "probing": FOUNDATION | {"capture", "judge", "pipeline", "wire"},
    "reading": FOUNDATION
    | {"capture", "config", "decode", "escape", "evidence", "log", "outcomes", "output", "pipeline", "wire"},
    "liveview": FOUNDATION | {"escape"},
    "lab": FOUNDATION | {"bounds", "config", "live.process", "log", "wire"},
    "commands": FOUNDATION
    | {"capture", "config", "decode", "escape", "evidence", "http", "inspection", "log", "metrics", "output"}
    | {"live", "live.attach", "liveview", "probing", "reading"},
    "argumenttypes": FOUNDATION | {"config"},
    "probeoptions": FOUNDATION | {"argumenttypes", "bounds", "commands", "config"},
    "cli": FOUNDATION
    | {
        "probeoptions",
        "argumenttypes",
        "bounds",
        "commands",
        "config",
        "escape",
        "lab",
        "log",
        "reading",
        "resources",
        "stdio",
    },
    "__main__": {"cli"},
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


def module_of(path: Path, package: Path) -> str:
    """Return the full name of the module in a file of a package."""
    parts = (package.name, *path.relative_to(package).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """Return the room of a module: a key of `ALLOWED`."""
    parts = module.split(".")[1:] or ["__init__"]
    pair = ".".join(parts[:2])
    return pair if pair in ALLOWED else parts[0]


MODULES = {module_of(path, PACKAGE): path for path in FILES}


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    """Each module imports only what the layout allows."""
    ours = {name for name in imports_of(MODULES[module]) if name in MODULES and name.count(".") > 0}
    packages = {other for other in ours if any(name.startswith(f"{other}.") for name in ours)}
    assert {room_of(other) for other in ours - packages} - {room_of(module)} <= ALLOWED[room_of(module)]


def test_no_room_needs_itself_by_way_of_others() -> None:
    """What the layout allows has no circle, and names rooms that are there."""
    assert {room_of(module) for module in MODULES} == set(ALLOWED)
    TopologicalSorter(ALLOWED).prepare()


def circle_in(package: Path) -> list[str]:
    """Return modules of a package of which each is imported by the next, the first being the last; none: no circle.

    Every import statement counts, also those for the type checker only and those within functions: whoever reads one
    of two such modules has to read the other.
    """
    modules = {module_of(path, package): imports_of(path) for path in package.rglob("*.py")}
    graph = {name: {other for other in found if other in modules and other != name} for name, found in modules.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_module_imports_itself_by_way_of_others() -> None:
    """No two modules need each other, whatever their packages may import."""
    assert circle_in(PACKAGE) == []


@pytest.mark.parametrize(
    "back",
    [
        "import made.sub.first",
        "from made.sub import first",
        "from made.sub.first import anything",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from made.sub.first import Anything",
        "def late() -> None:\n    from made.sub.first import anything",
    ],
)
def test_every_kind_of_circle_is_found(tmp_path: Path, back: str) -> None:
    """Whole names of modules are compared, and every import statement counts."""
    folder = tmp_path / "made" / "sub"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "first.py").write_text("from made.sub.second import something")
    (folder / "second.py").write_text("from made.sub import third")
    (folder / "third.py").write_text("from made import first")
    assert circle_in(tmp_path / "made") == []
    (folder / "third.py").write_text(back)
    circle = circle_in(tmp_path / "made")
    assert circle[0] == circle[-1]
    assert set(circle) == {"made.sub.first", "made.sub.second", "made.sub.third"}


def test_every_package_is_installed() -> None:
    """Those are named one by one, since the kernel program's sources are one of them."""
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())
    installed = set(project["tool"]["setuptools"]["packages"]) - {"inspector._bpf"}
    assert installed == {name for name, path in MODULES.items() if path.name == "__init__.py"}


@pytest.mark.parametrize("module", MODULES)
def test_only_live_and_lab_know_kernel_libraries(module: str) -> None:
    """The module bcc is imported by `live` alone; pyroute2 by `live`, and by the laboratory for its namespaces."""
    room = room_of(module).partition(".")[0]
    libraries = {name.split(".")[0] for name in imports_of(MODULES[module])}
    if room != "live":
        assert "bcc" not in libraries
    if room not in ("live", "lab"):
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
