"""Follow-ups of healthy clients, told in summary: a SYN, and an accepted bind. Their packets do not come here.

What is decided of them is what `inspector.outcomes.follow` decides of such packets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from inspector.consequence import Endpoint, FindingKind, Outcome
from inspector.judge.addresses import address_of, server_address
from inspector.judge.evidence import Attempt
from inspector.outcomes.facts import Facts
from inspector.outcomes.offers import HealthyFollowUp

if TYPE_CHECKING:
    from inspector.judge.policy import Policy
    from inspector.model import Finding
    from inspector.outcomes.connection import Flow
    from inspector.outcomes.limits import OutcomeLimits
    from inspector.outcomes.making import Maker
    from inspector.outcomes.offers import Accepted, Offers
    from inspector.outcomes.servers import Servers


_Key = TypeVar("_Key")


class HealthyFollowUps:
    """Follow-ups by flow, bounded; where `shown` is False outcomes are counted, and no findings are made."""

    def __init__(self, policy: Policy, servers: Servers, offers: Offers, maker: Maker, limits: OutcomeLimits) -> None:
        self._policy = policy
        self._servers = servers
        self._offers = offers
        self._maker = maker
        self._limits = limits
        self._open: dict[Flow, HealthyFollowUp] = {}
        self._early: dict[tuple[bytes, int], HealthyFollowUp] = {}
        self.shown = True

    def __len__(self) -> int:
        return len(self._open) + len(self._early)

    def opened(self, flow: Flow, time_ns: int, frame: int) -> None:
        """Take a SYN."""
        one = HealthyFollowUp(flow, time_ns, frame)
        if not self._adopt(one):
            _put(self._early, (flow.client, flow.server_port), one, self._limits.strangers)
        _put(self._open, flow, one, self._limits.connections)

    def reached(self, flow: Flow, accepted: Accepted, found: list[Finding]) -> None:
        """Take the acceptance of a bind."""
        one = self._open.pop(flow, None)
        if one is not None:
            one.accepted = accepted
            self._tell(one, found)

    def expect(self, client: bytes, ports: list[int], found: list[Finding]) -> None:
        """Adopt connections that were seen before the answer which led to them."""
        for port in ports:
            one = self._early.get((client, port))
            if one is not None and self._adopt(one):
                del self._early[client, port]
                self._tell(one, found)

    def _adopt(self, one: HealthyFollowUp) -> bool:
        """Give a connection the offer that it follows; return whether there is one."""
        flow = one.flow
        asked = self._offers.asked_of(flow.client, flow.server_port)
        if asked is None:
            return False
        self._servers.refresh()
        address = server_address(flow.server, self._policy.nat64_prefixes)
        one.offer = self._offers.find(flow.client, address, flow.server_port, one.first_ns, self._servers.of(asked))
        if one.offer is None:
            return False
        one.offer.answer.follow(one)
        return True

    def _tell(self, one: HealthyFollowUp, found: list[Finding]) -> None:
        offer, accepted = one.offer, one.accepted
        if offer is None or accepted is None:
            return
        server = self._servers.of(offer.answer.finding.server)
        if server_address(one.flow.server, self._policy.nat64_prefixes) == server.asked:
            server.note_reached(one.flow.server_port)
        if not self.shown:
            self._maker.count(offer.answer.finding, Outcome.REACHED)
            return
        flow = one.flow
        attempt = Attempt(
            address=server_address(flow.server, self._policy.nat64_prefixes),
            port=flow.server_port,
            syns=1,
            answered=True,
            syn_ack_ttl=accepted.hop_limit,
            bind_contexts=accepted.contexts,
            syn_acks=1,
        )
        facts = Facts(
            outcome=Outcome.REACHED,
            target=offer.target,
            mapping=offer.mapping,
            endpoint=Endpoint(address_of(flow.server), flow.server_port),
            attempt=attempt,
        )
        offer.answer.tell(self._maker.later(FindingKind.FOLLOW_UP, offer.answer, facts, one, accepted.time_ns), found)


def _put(table: dict[_Key, HealthyFollowUp], key: _Key, value: HealthyFollowUp, most: int) -> None:
    """Put a value at the end of a table of a fixed size."""
    table.pop(key, None)
    table[key] = value
    if len(table) > most:
        del table[next(iter(table))]
