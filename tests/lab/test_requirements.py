"""What the laboratory says where it cannot be built: one line that tells what to do. Needs no root."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from inspector.cli import main
from inspector.errors import LaboratoryError
from inspector.lab import mapper, nat64
from inspector.lab.gateway import Laboratory
from inspector.lab.processes import find_program

if TYPE_CHECKING:
    from pathlib import Path


def build() -> None:
    """Try to build a laboratory."""
    with Laboratory():
        pytest.fail("it was built")


def test_without_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Namespaces need root, which is said first."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LaboratoryError, match=r"needs root.*sudo"):
        build()


def test_without_samba(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is named, and the oldest version that will do."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(mapper, "_FOLDERS", ("nonexistent",))
    with pytest.raises(LaboratoryError, match=r"apt-get install samba \(4\.16 or newer"):
        build()


def test_without_nftables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The package of a missing program is named."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("inspector.lab.gateway.find_mapper", lambda: str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda _name, path=None: None)  # noqa: ARG005 - the signature is shutil's
    with pytest.raises(LaboratoryError, match="'nft' is missing: apt-get install nftables"):
        build()


def test_without_tayga(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a laboratory with NAT64 needs it, and names the package."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("inspector.lab.gateway.find_mapper", str)
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None if name == "tayga" else name)  # noqa: ARG005 - the signature is shutil's
    with pytest.raises(LaboratoryError, match="'tayga' is missing: apt-get install tayga"), Laboratory(nat64=True):
        pytest.fail("it was built")


def test_without_tun_devices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A kernel or a container without them is told from a missing program."""
    monkeypatch.setattr(shutil, "which", lambda name, path=None: name)  # noqa: ARG005 - the signature is shutil's
    monkeypatch.setattr(nat64, "_TUN", tmp_path / "tun")
    with pytest.raises(LaboratoryError, match="NAT64 needs tun devices"):
        nat64.check_requirements()


def test_programs_of_root_are_found_without_roots_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """A PATH without sbin, as plain su gives it, is enough."""
    monkeypatch.setenv("PATH", "/nonexistent")
    try:
        found = find_program("ldconfig", "libc-bin")
    except LaboratoryError:
        pytest.fail("ldconfig is in /sbin or /usr/sbin of every Debian machine")
    assert found.endswith("sbin/ldconfig")


def test_the_demonstration_says_it_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command's error is one line, and its exit status 1."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["demo", "--seconds", "1"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "epm-inspector: building the laboratory needs root, for network namespaces: run it with sudo"
    ]
