"""What comes from outside is pinned: packages of Python by version and hash, actions by commit; and it is named."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[2]
LOCKS: Final = sorted((ROOT / "locks").glob("*.txt"))
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())
DECLARED: Final = PROJECT["project"]
GROUPS: Final = PROJECT["dependency-groups"]
# What each lock is written from (packaging/locks.sh).
SOURCES: Final[dict[str, list[Any]]] = {
    "build": GROUPS["build"],
    "dev": [
        *DECLARED["dependencies"],
        *(one for extra in ("dashboards", "lab", "top", "dev") for one in DECLARED["optional-dependencies"][extra]),
        *GROUPS["packaging"],
        *GROUPS["build"],
    ],
    "lab": [*DECLARED["dependencies"], *(one for e in ("lab", "top") for one in DECLARED["optional-dependencies"][e])],
    "locks": GROUPS["locks"],
    "packaging": [*GROUPS["build"], *GROUPS["packaging"]],
    # The package has every command.
    "runtime": [*DECLARED["dependencies"], *DECLARED["optional-dependencies"]["top"]],
    "stack": [
        *DECLARED["dependencies"],
        *(one for e in ("dashboards", "lab", "top") for one in DECLARED["optional-dependencies"][e]),
    ],
}


def entries(lock: Path) -> list[tuple[Requirement, list[str]]]:
    """Return the requirements of a lock with their hashes."""
    text = re.sub(r"^\s*#.*\n", "", lock.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found = []
    for line in text.splitlines():
        requirement, *hashes = line.split(" --hash=")
        found.append((Requirement(requirement.strip()), [one.strip() for one in hashes]))
    return found


def versions(lock: Path) -> dict[str, set[str]]:
    """Return the versions of a lock by the names of packages: several where the versions of Python differ in them."""
    found: dict[str, set[str]] = {}
    for requirement, _ in entries(lock):
        found.setdefault(canonicalize_name(requirement.name), set()).add(str(requirement.specifier))
    return found


def wanted(names: list[Any]) -> set[str]:
    """Return the names of packages that requirements ask for, those of the project itself left out."""
    found: set[str] = {canonicalize_name(Requirement(one).name) for one in names if isinstance(one, str)}
    return found - {DECLARED["name"]}


def test_there_is_a_lock_for_each_use() -> None:
    """None is missing, and none is left over."""
    assert [lock.stem for lock in LOCKS] == sorted(SOURCES)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_every_package_is_pinned(lock: Path) -> None:
    """By one version and the hashes of its files; all that is declared is there, in a version that is declared."""
    found = entries(lock)
    assert found
    for requirement, hashes in found:
        assert re.fullmatch(r"==[^,*]+", str(requirement.specifier)), requirement
        assert hashes
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", one) for one in hashes), requirement
    assert wanted(SOURCES[lock.stem]) <= set(versions(lock)), "make locks KEEP=1"
    for text in SOURCES[lock.stem]:
        if isinstance(text, str) and (declared := Requirement(text)).name != DECLARED["name"]:
            for version in versions(lock)[canonicalize_name(declared.name)]:
                assert declared.specifier.contains(version.removeprefix("==")), "make locks KEEP=1"


@pytest.mark.parametrize("lock", [lock for lock in LOCKS if lock.stem != "locks"], ids=lambda lock: lock.stem)
def test_locks_agree(lock: Path) -> None:
    """What is tested is what is bundled: each lock is a part of the one for tests."""
    everything = versions(ROOT / "locks" / "dev.txt")
    assert {name: of for name, of in versions(lock).items() if everything.get(name) != of} == {}


def test_only_what_is_pinned_is_installed() -> None:
    """Every call of pip checks hashes, or has no network, or neither fetches dependencies nor what builds."""
    pip = re.compile(r"(-m pip|\$pip)\b.* (install|wheel|download)\b|^\s*@?\$\(PIP\)")
    calls = [
        (path.name, line.strip())
        for path in (ROOT / "Makefile", *(ROOT / "packaging").glob("*.sh"))
        for line in path.read_text().splitlines()
        if pip.search(line) and not line.startswith("PIP :=")
    ]
    assert len(calls) >= 8
    for name, line in calls:
        safe = (
            "--require-hashes" in line
            or "--no-index" in line
            or ("--no-deps" in line and "--no-build-isolation" in line)
            # The line goes on: install.sh.
            or (name == "install.sh" and line.endswith("\\"))
        )
        assert safe, (name, line)


def test_actions_are_pinned_by_commit() -> None:
    """A tag can be moved to another commit; the version is in a comment."""
    used = [
        line.strip()
        for path in (ROOT / ".github" / "workflows").glob("*.yml")
        for line in path.read_text().splitlines()
        if "uses:" in line
    ]
    assert used
    for line in used:
        assert re.search(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


def paragraphs() -> list[dict[str, str]]:
    """Return the paragraphs of debian/copyright (DEP-5), by field; what follows a field's first line is with it."""
    text = (ROOT / "packaging" / "debian" / "copyright").read_text()
    found = []
    for block in re.split(r"\n{2,}", text.strip()):
        fields = re.findall(r"^([A-Za-z-]+):[ \t]*((?:.*)(?:\n[ \t].*)*)", block, flags=re.MULTILINE)
        found.append(dict(fields))
    return found


def test_every_bundled_package_is_named_with_its_licence() -> None:
    """The package's copyright file has a paragraph for each distribution of the lock, and the text of each licence."""
    first, *others = paragraphs()
    assert first["Format"] == "https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/"
    named = {}
    for one in others:
        if "Files" in one:
            assert one["Copyright"]
            assert one["License"]
            if match := re.search(r"Distribution: (\S+)", one.get("Comment", "")):
                assert one["Files"].startswith("usr/lib/epm-inspector/lib/python3*/site-packages/")
                named[match[1]] = one["License"]
    assert set(named) == set(versions(ROOT / "locks" / "runtime.txt"))
    texts = {one["License"].splitlines()[0]: one["License"] for one in others if "Files" not in one}
    used = {
        name for one in others if "Files" in one for name in re.split(r" (?:and|or) ", one["License"].splitlines()[0])
    }
    assert used == set(texts)
    assert all(len(text.splitlines()) > 1 for text in texts.values())
