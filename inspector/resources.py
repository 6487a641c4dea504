"""Limits of this process that a command needs to be higher than they may be."""

from __future__ import annotations

import resource
from typing import Final

from inspector.errors import InspectorError

# Compiler's maps and programs, rings of each processor, netlink, servers' sockets: about thirty are open at once.
_DESCRIPTORS: Final = 64
_EACH_INTERFACE: Final = 4


def require_descriptors(interfaces: int) -> None:
    """Raise the limit of open files as far as this process may; InspectorError where too few are left for attaching.

    Said before anything is begun: libraries that run out of descriptors halfway say it in many ways.
    """
    needed = _DESCRIPTORS + _EACH_INTERFACE * interfaces
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise InspectorError(
            f"limit of open files is {hard}, {needed} are needed; raise it with ulimit -n or LimitNOFILE="
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
