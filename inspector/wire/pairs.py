"""A request and its response which the kernel program counted, decoded as any other.

The kernel program counts pairs only of connections whose bind it saw, so their context is known.
"""

from __future__ import annotations

from collections import Counter

from inspector.errors import Anomaly
from inspector.model import CountedPairs, Direction
from inspector.wire.association import EPM_UUID, Association, Context
from inspector.wire.body import Syntax
from inspector.wire.exchange import Exchange, Flow, Observed
from inspector.wire.limits import Limits
from inspector.wire.pdu import split_pdu

_EPM = Syntax(EPM_UUID, 3, 0)


def observed_of(pairs: CountedPairs, anomalies: Counter[Anomaly]) -> Observed | None:
    """Return what such a pair is observed as, without client, call id and times; None if it is nothing.

    Raises DecodeError where a payload is no PDU, which the kernel program does not count.
    """
    association = Association(Limits(), anomalies)
    association.contexts[pairs.context_id] = Context(_EPM, pairs.transfer_syntax)
    exchanges: list[Exchange] = []
    for direction, payload in ((Direction.TO_SERVER, pairs.request), (Direction.FROM_SERVER, pairs.response)):
        pdu = split_pdu(payload)
        if pdu is not None:
            exchanges += association.feed(direction, pdu, 0)
    flow = Flow(pairs.server_address, 0, pairs.server_address, pairs.server_port)
    for exchange in exchanges:
        return Observed(flow, pairs.interface_index, Direction.FROM_SERVER, exchange, None)
    return None
