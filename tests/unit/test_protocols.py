"""Numbers of protocols which compiled code has in a layout of its own are those which the other modules use."""

from __future__ import annotations

import pytest

from inspector import protocols
from inspector.decode import layout
from inspector.record import Attribute
from inspector.wire.pdu import PduType


@pytest.mark.parametrize("name", ["FIN", "SYN", "RST", "ACK"])
def test_tcp_flags(name: str) -> None:
    """Flags of TCP."""
    assert getattr(layout, name) == getattr(protocols, name)


@pytest.mark.parametrize("name", ["FROM_SERVER", "IPV6", "UDP"])
def test_attributes(name: str) -> None:
    """Attributes of a record."""
    assert getattr(layout, name) == Attribute[name]


@pytest.mark.parametrize("kind", [kind for kind in PduType if hasattr(layout, kind.name)], ids=lambda kind: kind.name)
def test_pdu_types(kind: PduType) -> None:
    """Types of PDUs."""
    assert getattr(layout, kind.name) == kind
