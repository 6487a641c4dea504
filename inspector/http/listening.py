"""Listening TCP sockets: one for everybody, and one with an accept queue of its own for clients of named networks.

Both are bound to the same address and port (SO_REUSEPORT, socket(7)). A classic BPF program, which the kernel runs for
each SYN, chooses by source address (Documentation/networking/filter.rst; SO_ATTACH_REUSEPORT_CBPF, Linux 4.5).
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Final

from inspector.errors import ListenError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Network = IPv4Network | IPv6Network

BACKLOG: Final = 128

_LAST_PORT: Final = 65535

# include/uapi/asm-generic/socket.h; the socket module has no name for it.
_SO_ATTACH_REUSEPORT_CBPF: Final = 51
# include/uapi/linux/filter.h and bpf_common.h. Offsets from SKF_NET_OFF count from the beginning of the IP header.
_SKF_NET_OFF: Final = -0x100000 & 0xFFFFFFFF
_LOAD_BYTE, _LOAD_WORD, _AND, _JUMP_EQUAL, _RETURN = 0x30, 0x20, 0x54, 0x15, 0x06
# Offset of the source address (RFC 791 section 3.1, RFC 8200 section 3).
_SOURCE: Final = {4: 12, 6: 8}

_EVERYBODY, _RESERVED = 0, 1


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on exactly that address. Raises ListenError."""
    try:
        listener = _bind(host, port)
        listener.listen(BACKLOG)
    except (OSError, ValueError) as error:
        raise _refusal(host, port, error) from None
    return listener


def listen_with_reserve(host: str, port: int, networks: Sequence[Network]) -> tuple[socket.socket, socket.socket]:
    """Return two sockets that listen on that address: for everybody else, and for clients of `networks`.

    Raises ListenError, also where another process listens there: only the second socket may share the port.
    """
    with contextlib.ExitStack() as stack:
        try:
            everybody = stack.enter_context(_bind(host, port))
            reserved = stack.enter_context(socket.socket(everybody.family, everybody.type, everybody.proto))
            # Set after bind(), which must fail where another process, of whatever user, has the port.
            everybody.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            reserved.bind(everybody.getsockname())
            # The program returns an index into the group, whose order is that of listen().
            everybody.listen(BACKLOG)
            reserved.listen(BACKLOG)
            _choose_by_source(everybody, networks)
        except (OSError, ValueError) as error:
            raise _refusal(host, port, error) from None
        stack.pop_all()
    return everybody, reserved


def authority(host: str, port: int) -> str:
    """Return host and port as a URL has them: IPv6 addresses in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _refusal(host: str, port: int, error: OSError | ValueError) -> ListenError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return ListenError(
        f"cannot listen on {authority(host, port)}: {reason}; "
        "end what listens there, or choose another address with --listen ADDRESS:PORT"
    )


def _bind(host: str, port: int) -> socket.socket:
    # The resolver takes a port modulo 65536, and something would listen where nobody looks.
    if not 0 <= port <= _LAST_PORT:
        raise ValueError(f"ports end at {_LAST_PORT}")
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except BaseException:
        listener.close()
        raise
    return listener


def _choose_by_source(group: socket.socket, networks: Iterable[Network]) -> None:
    """Attach the program to the group of sockets to which one belongs."""
    instructions = [one for network in networks for one in _block(network)] + [(_RETURN, 0, 0, _EVERYBODY)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in instructions))
    # struct sock_fprog: number of instructions, and where they are.
    option = struct.pack("@HP", len(instructions), ctypes.addressof(program))
    group.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, option)


def _block(network: Network) -> list[tuple[int, int, int, int]]:
    """Return instructions (code, jump if true, jump if false, operand) that return `_RESERVED` for a network's packets.

    For all other packets the next block follows.
    """
    address, mask = network.network_address.packed, network.netmask.packed
    tests = [(_LOAD_BYTE, 0, 0xF0, network.version << 4)]
    for at in range(0, len(address), 4):
        (value,), (bits,) = struct.unpack_from("!I", address, at), struct.unpack_from("!I", mask, at)
        if bits:
            tests.append((_LOAD_WORD, _SOURCE[network.version] + at, bits, value))
    block = []
    for number, (load, offset, bits, value) in enumerate(tests):
        rest = 3 * (len(tests) - number - 1) + 1
        block += [
            (load, 0, 0, (_SKF_NET_OFF + offset) & 0xFFFFFFFF),
            (_AND, 0, 0, bits),
            (_JUMP_EQUAL, 0, rest, value),
        ]
    return [*block, (_RETURN, 0, 0, _RESERVED)]
