"""Samba's real endpoint mapper, with settings and directories of its own: nothing of the machine's Samba is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from inspector.errors import LaboratoryError

# Distributions disagree on where programs go that only other programs start.
_FOLDERS: Final = ("usr/libexec/samba", "usr/lib/samba", "usr/lib/*/samba", "usr/sbin")
# Of the endpoint mapper's interface, in NDR20 (C706 section 12.6.4.3).
BIND: Final = bytes.fromhex(
    "05000b03 10000000 4800 0000 01000000 b810 b810 00000000 01000000 0000 0100"
    "0883afe11f5dc91191a408002b14a0fa 03000000 045d888aeb1cc9119fe808002b104860 02000000"
)
_DIRECTORIES: Final = {
    "private dir": "private",
    "lock directory": "lock",
    "state directory": "state",
    "cache directory": "cache",
    "pid directory": "pid",
    "ncalrpc dir": "ncalrpc",
    "binddns dir": "dns",
}


def find_mapper() -> str:
    """Return the path of `samba-dcerpcd`; raises LaboratoryError when Samba is missing or older than 4.16."""
    for folder in _FOLDERS:
        for program in Path("/").glob(f"{folder}/samba-dcerpcd"):
            return str(program)
    raise LaboratoryError(
        "Samba's RPC server 'samba-dcerpcd' is missing: apt-get install samba (4.16 or newer; Debian 12, Ubuntu 24.04)"
    )


def write_settings(folder: Path, address: str) -> Path:
    """Make a folder with every directory Samba writes to, and a smb.conf bound to that address; return its path."""
    folder.mkdir(mode=0o700)
    lines = [
        "[global]",
        "netbios name = LABORATORY",
        "workgroup = LABORATORY",
        "server role = standalone server",
        f"interfaces = {address}",
        "bind interfaces only = yes",
        # Without this the endpoint mapper would wait for smbd to ask for it.
        "rpc start on demand helpers = no",
        "load printers = no",
        "disable spoolss = yes",
        f"log file = {folder}/log",
    ]
    for setting, name in _DIRECTORIES.items():
        # Samba insists on this mode for ncalrpc; the folder above lets nobody else in anyway.
        (folder / name).mkdir()
        (folder / name).chmod(0o755)
        lines.append(f"{setting} = {folder}/{name}")
    settings = folder / "smb.conf"
    settings.write_text("\n".join(lines) + "\n")
    return settings


def mapper_command(settings: Path) -> list[str]:
    """Return the command that runs the endpoint mapper in the foreground, logging to standard output."""
    return [
        find_mapper(),
        "--libexec-rpcds",
        "--foreground",
        f"--configfile={settings}",
        "--debug-stdout",
        "--debuglevel=1",
    ]
