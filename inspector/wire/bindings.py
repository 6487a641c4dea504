"""String and security bindings of DCOM: DUALSTRINGARRAY, MS-DCOM section 2.2.19.

An array is a sequence of 16-bit units in the byte order of what holds it: string bindings up to the security offset,
then security bindings. Each string ends with a zero, each sequence with an empty element. What is read is bounded: of
more than MAX_BINDINGS different bindings the first are kept, an equal one is counted, and names are cut.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final, NamedTuple

from inspector.errors import Anomaly, DecodeError
from inspector.wire.tower import CUT, NAME_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inspector.wire.ndr import NdrReader

MAX_BINDINGS: Final = 64
"""String bindings of an answer, and security bindings: a server has a few addresses, each in a few protocols."""

_KEPT_BYTES: Final = 1024
_KEPT_ARRAYS: Final = 256
_HIGHEST_PORT: Final = 65_535
_PORT_DIGITS: Final = 5

# Protocol sequences by tower identifier: C706 appendix I, MS-RPCE section 2.1.
_PROTOCOLS: Final = {
    0x04: "ncacn_dnet_nsp",
    0x07: "ncacn_ip_tcp",
    0x08: "ncadg_ip_udp",
    0x09: "ncacn_ip",
    0x0C: "ncacn_spx",
    0x0D: "ncacn_nb_ipx",
    0x0E: "ncadg_ipx",
    0x0F: "ncacn_np",
    0x10: "ncalrpc",
    0x12: "ncacn_nb_nb",
    0x1F: "ncacn_http",
}

# Authentication services: MS-RPCE section 2.2.1.1.7, and those of Windows beyond it.
_SERVICES: Final = {
    0: "none",
    9: "negotiate",
    10: "ntlm",
    14: "schannel",
    16: "kerberos",
    20: "kernel",
    21: "digest",
    30: "negoextender",
    31: "pku2u",
    68: "netlogon",
}


class StringBinding(NamedTuple):
    """One STRINGBINDING: `network_address` is its text, `host` and `endpoint` are the parts of `host[endpoint]`.

    `address` is that of a host which is one, `port` the endpoint's number where it is one. `references` is how often
    the answer has the binding.
    """

    tower_id: int
    network_address: str
    host: str
    endpoint: str | None
    address: IPv4Address | IPv6Address | None
    port: int | None
    references: int = 1

    @property
    def protocol(self) -> str:
        """The protocol sequence."""
        return _PROTOCOLS.get(self.tower_id, "unknown")


class SecurityBinding(NamedTuple):
    """One SECURITYBINDING: authentication service, the reserved value (0xffff), name of the principal."""

    service: int
    authorization: int
    principal: str

    @property
    def service_name(self) -> str:
        """The authentication service in words."""
        return service_name(self.service)


class DualStrings(NamedTuple):
    """A DUALSTRINGARRAY: its count of units, and what it holds."""

    entries: int
    strings: tuple[StringBinding, ...]
    securities: tuple[SecurityBinding, ...]
    anomalies: frozenset[Anomaly]


NO_BINDINGS: Final = DualStrings(0, (), (), frozenset())


def service_name(service: int) -> str:
    """Return the name of an authentication service (MS-RPCE section 2.2.1.1.7)."""
    return _SERVICES.get(service, f"service {service}")


def read_conformant_dual_strings(reader: NdrReader) -> DualStrings:
    """Return the array as the target of a pointer: its conformance precedes it. Raises DecodeError."""
    conformance = reader.count()
    strings = read_dual_strings(reader)
    if conformance != strings.entries:
        raise reader.fail(f"bindings of {strings.entries} units in an array of {conformance}")
    return strings


def read_dual_strings(reader: NdrReader) -> DualStrings:
    """Return the array as it is in object references; raises DecodeError."""
    entries, offset = reader.shorts(2)
    data = reader.take(2 * entries)
    if offset > entries:
        raise reader.fail(f"security bindings at unit {offset} of {entries}")
    read = _read_kept if len(data) <= _KEPT_BYTES else _read
    return read(data, offset, reader.little_endian)


def _read(data: bytes, offset: int, little_endian: bool) -> DualStrings:
    units = struct.unpack(f"{'<' if little_endian else '>'}{len(data) // 2}H", data)
    doubts: set[Anomaly] = set()
    strings: dict[tuple[int, str], StringBinding] = {}
    at = 0
    while at < offset and units[at]:
        text, after = _read_text(units, at + 1, offset)
        key = (units[at], text)
        at = after
        if key in strings:
            strings[key] = strings[key]._replace(references=strings[key].references + 1)
            doubts.add(Anomaly.BINDING_REPEATED)
        elif len(strings) < MAX_BINDINGS:
            strings[key] = binding_of(*key)
        else:
            doubts.add(Anomaly.BINDINGS_TOO_MANY)
    securities: dict[SecurityBinding, None] = {}
    at = offset
    while at + 1 < len(units) and units[at]:
        principal, after = _read_text(units, at + 2, len(units))
        if len(securities) < MAX_BINDINGS:
            securities[SecurityBinding(units[at], units[at + 1], principal)] = None
        else:
            doubts.add(Anomaly.BINDINGS_TOO_MANY)
        at = after
    if any(text.endswith(CUT) for _, text in strings) or any(one.principal.endswith(CUT) for one in securities):
        doubts.add(Anomaly.NAME_CUT)
    return DualStrings(len(units), tuple(strings.values()), tuple(securities), frozenset(doubts))


# A server has the same bindings in most of its answers.
_read_kept: Final = lru_cache(maxsize=_KEPT_ARRAYS)(_read)


def _read_text(units: Sequence[int], start: int, end: int) -> tuple[str, int]:
    """Return the string from `start` up to a zero before `end`, and where the next element starts."""
    at = start
    while at < end and units[at]:
        at += 1
    if at >= end:
        raise DecodeError(Anomaly.STUB_MALFORMED, f"a string from unit {start} on without end")
    return text_of_units(units[start:at]), at + 1


def text_of_units(units: Sequence[int]) -> str:
    """Return the text of UTF-16 units before the first zero; a longer one than NAME_CHARACTERS ends in CUT."""
    kept = units[: NAME_CHARACTERS + 1]
    if 0 in kept:
        kept = kept[: kept.index(0)]
    is_cut = len(kept) > NAME_CHARACTERS
    data = b"".join(unit.to_bytes(2, "little") for unit in kept[: NAME_CHARACTERS - 1 if is_cut else None])
    # Only a cut name ends in CUT.
    return data.decode("utf-16-le", "replace").replace(CUT, "?") + (CUT if is_cut else "")


@lru_cache(maxsize=1024)
def binding_of(tower_id: int, text: str) -> StringBinding:
    """Return the binding of a network address: `host[endpoint]`, where a host may be an IPv6 address in brackets."""
    host, endpoint = text, None
    opening = text.rfind("[")
    if text.endswith("]") and opening >= 0:
        inner = text[opening + 1 : -1]
        if opening or _address_of(inner) is None:
            host, endpoint = text[:opening], inner
        else:
            host = inner
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    return StringBinding(tower_id, text, host, endpoint, _address_of(host), _port_of(endpoint))


def _port_of(endpoint: str | None) -> int | None:
    if endpoint is None or not endpoint.isascii() or not endpoint.isdecimal() or len(endpoint) > _PORT_DIGITS:
        return None
    port = int(endpoint)
    return port if port <= _HIGHEST_PORT else None


def _address_of(host: str) -> IPv4Address | IPv6Address | None:
    """Return the address that a host is; the zone of a link-local one is left out."""
    try:
        return IPv6Address(host.partition("%")[0]) if ":" in host else IPv4Address(host)
    except AddressValueError:
        return None
