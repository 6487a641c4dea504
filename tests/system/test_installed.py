"""Installed on a clean Debian, as its package and by `make install`: used, upgraded, and removed without a trace.

A Debian of its own is made for it, with what the package depends on and nothing else; systemd starts it.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from packaging.utils import canonicalize_name

from inspector import __version__
from inspector.lab.scrape import scrape
from tests.conftest import NOBODY, require_tools
from tests.system.box import ROOT, SERVICE, Box

if TYPE_CHECKING:
    from collections.abc import Iterator

# Making a Debian, wheels and a package takes a minute, and several on a busy machine.
pytestmark = pytest.mark.timeout(1200)

ADDRESS: Final = "127.0.0.1:10135"
# What the Debian package depends on and a machine with systemd has; what `make install` needs; what shows manuals and
# completes words.
PACKAGES: Final = "python3-bpfcc linux-libc-dev systemd iproute2 python3-venv make man-db bash-completion"
# What Debian's own tools keep of every installation, and what runs meanwhile writes; everything else is compared.
OTHERS: Final = "/dev /proc /source /sys /run /tmp /var/tmp /var/log /var/cache/man /var/lib/dpkg"

INSTALL: Final = {"package": "dpkg --install /source/build/*.deb", "make": "make --directory=/source install"}
REMOVE: Final = {"package": "dpkg --remove epm-inspector", "make": "make --directory=/source uninstall"}
PURGE: Final = {"package": "dpkg --purge epm-inspector", "make": "make --directory=/source uninstall PURGE=1"}


@pytest.fixture(scope="module")
def debian(root: None, bpf: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:  # noqa: ARG001 - asked for first
    """Make a clean Debian of this machine's release in a folder, and both ways to install."""
    require_tools(["mmdebstrap", "dpkg-buildpackage", "lintian", "make"])
    system = platform.freedesktop_os_release()
    components = "main,universe" if system["ID"] == "ubuntu" else "main"
    folder = tmp_path_factory.mktemp("debian") / "root"
    included = ",".join(PACKAGES.split())
    for command in (
        ["make", f"--directory={ROOT}", "deb"],
        [
            *("mmdebstrap", "--quiet", "--variant=apt", f"--components={components}", f"--include={included}"),
            *(system["VERSION_CODENAME"], str(folder)),
        ],
    ):
        # Not as tight as it can be, but soon.
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=os.environ | {"COMPRESSION": "gzip"}
        )
        assert done.returncode == 0, done.stdout + done.stderr
    yield folder
    shutil.rmtree(folder)


@pytest.mark.usefixtures("debian")
def test_what_is_bundled_is_listed() -> None:
    """Beside the package is a list of all wheels in it, in their versions, with a licence of each (CycloneDX)."""
    [listed] = (ROOT / "build").glob("epm-inspector_*.cdx.json")
    content = json.loads(listed.read_text())
    assert content["bomFormat"] == "CycloneDX"
    assert content["metadata"]["component"]["name"] == "epm-inspector"
    found = {
        (canonicalize_name(component["name"]).replace("-", "_"), component["version"])
        for component in content["components"]
        if component["licenses"]
    }
    wheels = {tuple(path.name.lower().split("-")[:2]) for path in (ROOT / "build" / "wheels").glob("*.whl")}
    assert found == {(name, version) for name, version in wheels if name != "epm_inspector"}


@pytest.fixture(scope="module", params=list(INSTALL))
def way(request: pytest.FixtureRequest) -> str:
    """Return one way to install."""
    return str(request.param)


@pytest.fixture(scope="module")
def before() -> set[str]:
    """Return what was there before; the box fills it in."""
    return set()


@pytest.fixture(scope="module")
def box(debian: Path, way: str, before: set[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """Start the clean machine, and install on it."""
    fill = ["bash", str(Path(__file__).with_name("with_sources.sh")), str(ROOT)]
    with Box(tmp_path_factory.mktemp("box"), below=debian, fill=fill) as machine:
        machine.connect()
        before.clear()
        before.update(everything(machine))
        machine.run("sh", "-c", INSTALL[way])
        yield machine


def everything(box: Box) -> set[str]:
    """Return a line for each file of the machine: place, kind, rights, owner, size, and where a link leads."""
    pruned = " -o ".join(f"-path {place}" for place in OTHERS.split())
    # A folder's size is the file system's matter.
    shown = "-type d -printf '%p %y %m %U %G\\n' -o -printf '%p %y %m %U %G %s %l\\n'"
    return set(box.run("sh", "-c", f"find / \\( {pruned} \\) -prune -o {shown}").splitlines())


def test_the_command_is_there_for_everybody(box: Box) -> None:
    """An ordinary user reads a capture file with it."""
    assert box.run("epm-inspector", "--version") == f"epm-inspector {__version__}"
    [finding] = box.run(
        *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
        *("epm-inspector", "read", "--json", "/source/tests/golden/traces/mapper-original-case-inner.pcapng"),
    ).splitlines()
    assert '"verdict":"mismatch"' in finding


def test_manual_and_completion(box: Box) -> None:
    """The manual page is found and has every command; the shell completes them."""
    manual = box.run("sh", "-c", "MANPAGER=cat MANWIDTH=80 man epm-inspector")
    for word in ("EPM-INSPECTOR(8)", "attach", "--evidence DIR", "EXIT STATUS", "/etc/default/epm-inspector"):
        assert word in manual
    script = """
        . /usr/share/bash-completion/bash_completion; _completion_loader epm-inspector
        COMP_WORDS=(epm-inspector at); COMP_CWORD=1
        "$(complete -p epm-inspector | sed -E 's/.*-F ([^ ]+).*/\\1/')" epm-inspector at epm-inspector
        echo "${COMPREPLY[*]}"
    """
    assert box.run("bash", "-c", script) == "attach"


def test_nothing_is_inspected_unasked(box: Box) -> None:
    """The service is there, neither enabled nor running; without an interface it says what is wrong, once."""
    assert box.run("systemctl", "is-enabled", SERVICE, check=False) == "disabled"
    assert box.property("ActiveState") == "inactive"
    box.run("systemctl", "start", SERVICE, check=False)
    assert box.property("ActiveState") == "failed"
    assert "IFACE" in box.journal()


def test_the_service_finds_the_mismatch(box: Box) -> None:
    """With an interface named it attaches, and decodes in compiled code."""
    box.run("sed", "-i", 's/^EPM_INTERFACES=.*/EPM_INTERFACES="near"/', "/etc/default/epm-inspector")
    box.run("systemctl", "enable", "--now", SERVICE)
    assert len(box.attached()) == 1
    box.converse(40001)
    box.wait_for(lambda: [finding["client_port"] for finding in box.findings()] == [40001])
    with box.network():
        families = scrape(ADDRESS)
    assert sum(sample.value for sample in families["epm_inspector_mismatches"].samples) == 1
    [build] = families["epm_inspector_build_info"].samples
    assert build.labels["decoder"] == "compiled"
    assert "near" in box.run("epm-inspector", "status")


def test_a_pool_is_declared(box: Box) -> None:
    """The settings are edited where the page says, and a reload puts them in force."""
    pool = '[[vip]]\\naddress = "10.11.2.2"\\npool = ["10.11.2.7"]\\n'
    box.run("sh", "-c", f"printf '{pool}' >> /etc/epm-inspector/epm-inspector.toml")
    box.run("systemctl", "reload", SERVICE)
    box.wait_for(lambda: "reloaded; changed: vip" in box.journal())


def test_an_upgrade_keeps_settings_and_restarts(box: Box, way: str) -> None:
    """Installed once more: another program is attached, on the interface which was named."""
    [program] = box.attached()
    box.run("sh", "-c", INSTALL[way])
    box.wait_for(lambda: box.property("ActiveState") == "active" and box.attached() not in ([], [program]))
    assert "10.11.2.7" in box.run("cat", "/etc/epm-inspector/epm-inspector.toml")


def test_removed_but_for_what_was_edited(box: Box, way: str, before: set[str]) -> None:
    """Nothing is attached any more; of files there remain the settings, and what captured packets there are."""
    box.run("sh", "-c", "echo packets > /var/lib/private/epm-inspector/captured.pcapng")
    box.run("sh", "-c", REMOVE[way])
    assert box.attached() == []
    left = {line.split()[0] for line in everything(box) - before}
    assert {"/etc/default/epm-inspector", "/etc/epm-inspector/epm-inspector.toml"} < left
    assert "/var/lib/private/epm-inspector/captured.pcapng" in left
    assert not [path for path in left if path.startswith(("/usr", "/lib", "/opt", "/var/cache"))]


def test_purged_without_a_trace(box: Box, way: str, before: set[str]) -> None:
    """Every file of the machine is as it was."""
    box.run("sh", "-c", PURGE[way])
    after = everything(box)
    assert (sorted(after - before), sorted(before - after)) == ([], [])
