"""A TCP connection whose two ends write PDUs: the segments which an observer sees, with true sequence numbers."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address

from inspector.model import Segment
from inspector.record import Attribute

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
START_NS = 1_700_000_000_000_000_000
STEP_NS = 1_000_000


def raw_address(text: str) -> bytes:
    """Return the 16 bytes which the record carries for an address."""
    address = ip_address(text)
    return bytes(10) + b"\xff\xff" + address.packed if isinstance(address, IPv4Address) else address.packed


def udp(
    payload: bytes,
    *,
    from_server: bool = False,
    client: str = "10.1.1.1",
    server: str = "10.11.2.2",
    client_port: int = 40000,
    time_ns: int = START_NS,
) -> Segment:
    """Return a datagram to or from the endpoint mapper."""
    ends = [(raw_address(client), client_port), (raw_address(server), 135)]
    (source, source_port), (destination, destination_port) = ends[::-1] if from_server else ends
    attributes = Attribute.UDP | (Attribute.FROM_SERVER if from_server else Attribute(0))
    attributes |= Attribute.IPV6 if ":" in server else Attribute(0)
    return Segment(
        time_ns, source, destination, 0, 0, source_port, destination_port, len(payload), 0, int(attributes), 1, payload
    )


class Wire:
    """Collects the segments of one connection in `segments`; every write is one segment unless `mss` cuts it."""

    def __init__(
        self,
        client: str = "10.1.1.1",
        server: str = "10.11.2.2",
        *,
        client_port: int = 33654,
        server_port: int = 135,
        client_sequence: int = 1000,
        server_sequence: int = 5000,
        start_ns: int = START_NS,
        interface_index: int = 1,
    ) -> None:
        self.segments: list[Segment] = []
        self.time_ns = start_ns
        self.interface_index = interface_index
        self._ends = ((raw_address(client), client_port), (raw_address(server), server_port))
        self._next = [client_sequence, server_sequence]
        self._version = Attribute.IPV6 if ":" in server else Attribute(0)

    def _add(self, sender: int, flags: int, payload: bytes = b"") -> None:
        (source, source_port), (destination, destination_port) = self._ends[sender], self._ends[1 - sender]
        attributes = self._version | (Attribute.FROM_SERVER if sender else Attribute(0))
        acknowledgment = self._next[1 - sender] % 2**32 if flags & ACK else 0
        self.segments.append(
            Segment(
                self.time_ns, source, destination, self._next[sender] % 2**32, acknowledgment,
                source_port, destination_port, len(payload), flags, int(attributes), self.interface_index, payload,
            )
        )  # fmt: skip
        self.time_ns += STEP_NS
        self._next[sender] += len(payload) + bool(flags & SYN) + bool(flags & FIN)

    def open(self) -> Wire:
        """Exchange SYN and SYN-ACK."""
        self._add(0, SYN)
        self._add(1, SYN | ACK)
        return self

    def client(self, data: bytes, mss: int = 65000) -> Wire:
        """Let the client write."""
        for start in range(0, len(data), mss):
            self._add(0, PSH | ACK, data[start : start + mss])
        return self

    def server(self, data: bytes, mss: int = 65000) -> Wire:
        """Let the server write."""
        for start in range(0, len(data), mss):
            self._add(1, PSH | ACK, data[start : start + mss])
        return self

    def client_fin(self) -> Wire:
        """Let the client close its direction."""
        self._add(0, FIN | ACK)
        return self

    def server_fin(self) -> Wire:
        """Let the server close its direction."""
        self._add(1, FIN | ACK)
        return self

    def reset(self) -> Wire:
        """Let the server reset the connection."""
        self._add(1, RST | ACK)
        return self

    def wait(self, seconds: float) -> Wire:
        """Let time pass."""
        self.time_ns += round(seconds * 1e9)
        return self
