"""Kernels out of Debian's packages: named by apt, unpacked and never installed."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class UnavailableError(Exception):
    """A kernel cannot be had: the text says which, and what to do."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel ready to be booted: the series of the list, what `uname -r` will say, its package and its image."""

    series: str
    release: str
    package: str
    image: Path


def is_stock(name: str, series: str, architecture: str) -> bool:
    """Say whether a package is a stock kernel of a series: of no flavour, and not its symbols nor unsigned.

    `linux-image-6.1.0-56-amd64` and `linux-image-6.12.117+deb12-amd64` are of the series 6.1 and 6.12.
    """
    number = rf"{re.escape(series)}\.[0-9]+[0-9.+~]*"
    # Parts such as bpo, deb12 or 56; a flavour is a word without a digit, but for Debian's backports.
    part = r"[+-](?:bpo|[a-z]*[0-9][0-9a-z.~]*)"
    return re.fullmatch(rf"linux-image-{number}(?:{part})*-{re.escape(architecture)}", name) is not None


def is_newer(version: str, other: str) -> bool:
    """Say whether a package's version is newer than another, by Debian's rules."""
    return subprocess.run(["dpkg", "--compare-versions", version, "gt", other], check=False).returncode == 0


def newest(offered: Iterable[tuple[str, str]], series: str, architecture: str) -> tuple[str, str] | None:
    """Return name and version of the newest stock kernel of a series among the packages offered; None without any."""
    found = [(name, version) for name, version in offered if is_stock(name, series, architecture)]
    if not found:
        return None
    return functools.reduce(lambda one, other: other if is_newer(other[1], one[1]) else one, found)


def refresh() -> None:
    """Let apt look what its sources offer now; what it knew before must do where that fails."""
    if os.geteuid() == 0 and subprocess.run(["apt-get", "update", "-qq"], check=False).returncode:
        print("apt-get update failed: kernels are looked for in what apt knew before", flush=True)


def fetch(series: str, found_in: str, folder: Path) -> Kernel:
    """Return the newest kernel of a series, downloaded and unpacked into `folder`; what is there already is kept.

    Raises UnavailableError when apt's sources have none; `found_in` says in which they are.
    """
    # Debian's, from outside the virtual environment: nothing else in the project needs it.
    import apt
    import apt_pkg

    cache = apt.Cache()
    architecture = apt_pkg.config.find("APT::Architecture")
    chosen = newest(((p.name, p.candidate.version) for p in cache if p.candidate), series, architecture)
    if chosen is None:
        raise UnavailableError(f"apt's sources offer no kernel {series} ({architecture}) of Debian's: see {found_in}")
    name, version = chosen
    release = name.removeprefix("linux-image-")
    unpacked = folder / f"{name}_{version}"
    if not unpacked.exists():
        apt_pkg.config.set("APT::Sandbox::User", "root")
        folder.mkdir(parents=True, exist_ok=True)
        try:
            archive = cache[name].candidate.fetch_binary(str(folder))  # type: ignore[union-attr]  # it was chosen by it
        except apt.package.FetchError as error:
            raise UnavailableError(f"{name} cannot be fetched: {error}") from error
        _unpack(archive, release, unpacked)
    return Kernel(series, release, f"{name} {version}", unpacked / "boot" / f"vmlinuz-{release}")


def _unpack(archive: str, release: str, unpacked: Path) -> None:
    """Unpack a package with its modules' dependencies listed; the folder appears only when it is complete."""
    partial = unpacked.with_name(f"{unpacked.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    subprocess.run(["dpkg-deb", "--extract", archive, partial], check=True)
    subprocess.run(["depmod", "--basedir", partial, release], check=True)
    partial.rename(unpacked)
    Path(archive).unlink()
