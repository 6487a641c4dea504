"""Host names under which the metrics server answers: the defence against DNS rebinding.

A web page may let its own name resolve to the server's address; the browser then reads from the server as if it were
the page's own. The name is in the header Host (RFC 9110 section 7.2), which a page cannot change.
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Address

_AUTHORITY: Final = re.compile(r"(?:\[(?P<address>[^\[\]]*)\]|(?P<name>[^:\[\]]*))(?::[0-9]*)?")


class HostNames:
    """Names and addresses that may be in a header Host; the port may be any, since tunnels change it.

    Besides `names`: this machine's host name, whole and its first label, `localhost` and names below it (RFC 6761
    section 6.3), loopback addresses, and the address to which the client is connected.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        own = socket.gethostname()
        self._accepted = {_canonical(name) for name in (*names, own, own.partition(".")[0], "localhost")} - {""}

    def accept(self, header: str, local_address: str) -> bool:
        """Return whether a connection to `local_address` may be served under the value of its header Host."""
        match = _AUTHORITY.fullmatch(header)
        if match is None:
            return False
        host = _canonical(match["address"] or match["name"] or "")
        if isinstance(host, str):
            return host in self._accepted or host.endswith(".localhost")
        return host.is_loopback or host == _canonical(local_address) or host in self._accepted


def _canonical(text: str) -> str | IPv4Address | IPv6Address:
    """Return an address, without zone and unmapped from IPv6; or a name in lower case, without its last dot."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return text.lower().removesuffix(".")
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
