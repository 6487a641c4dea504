"""Two sides, one question: the same conversation seen at two points of capture is tied together.

- NAT and NAT64 keep the client's port and both sequence numbers, whatever the addresses become.
- A proxy or an application filter opens a connection of its own and writes the same bytes: the same bind, the same
  request. Such a pair is tied where one lies within the other in time, both go to the same server, and no other
  conversation could be meant. While packets come both have to ask the same; a bind alone ties nothing.

What follows: a server address that differs is a server behind the asked one (a learned pool); an answer that came in
on the servers' side and did not leave on the clients' side was dropped in between; and a question that was seen twice
is one question. Nothing is said of an answer that the other point could not see: its capture had ended, or the client
acknowledged the bytes.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from inspector.judge.addresses import address_of, server_address, undeclared_nat64
from inspector.judge.evidence import Delivery, OtherSide
from inspector.outcomes.connection import Flow
from inspector.protocols import IPV4_MAPPED
from inspector.wire.pdu import PduType

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from ipaddress import IPv6Network

    from inspector.model import Finding, IPAddress
    from inspector.outcomes.sightings import Conversation, Message, Sightings

PROXY_NS: Final = 2_000_000_000
"""A proxy passes a bind on within this time."""

LIVE_PROXY_NS: Final = 700_000_000
"""The same while packets come: answers are held a little longer than that."""

_ANSWERS: Final = frozenset({PduType.RESPONSE, PduType.FAULT})
_AFTER_NS: Final = 200_000_000
"""The other side's capture must go on for so long behind an answer that is called dropped, or show the end."""
_COPIES: Final = 3
"""An answer of which so many copies were sent, and none came through, is no victim of chance."""
_POINTS: Final = 8
"""Points that may see one conversation; more of the same numbers are forged."""
CANDIDATES: Final = 32
"""Conversations of one moment that are compared with each other: among more, none could be told apart."""
Sight: TypeAlias = "tuple[str, IPAddress, int, IPAddress]"
"""A conversation as findings name it: side, client's address and port, server's address."""

_NAMES: Final[dict[int, str]] = {PduType.BIND_NAK: "bind_nak", PduType.FAULT: "fault", PduType.RESPONSE: "response"}


class Pair(NamedTuple):
    """One conversation, seen nearer to the clients (`here`) and nearer to the servers (`there`)."""

    here: Conversation
    there: Conversation
    proxied: bool


@dataclass(frozen=True, slots=True)
class Ties:
    """What is known from two sides.

    `learned` are the servers behind an asked address. `over_nat64` has, by the address that the servers' side sees, the
    one that clients ask through a NAT64 whose prefix is not declared. `dropped` has the answers that did not come out
    again, by side, flow and time of the packet that completed them. `repeated` are the conversations, by side, client's
    address and port and server's address, that another side shows better; `shown` are those that show one better.
    """

    learned: dict[IPAddress, tuple[IPv4Address, ...]] = field(default_factory=dict)
    dropped: dict[tuple[str, Flow, int], OtherSide] = field(default_factory=dict)
    repeated: Collection[Sight] = frozenset()
    over_nat64: dict[IPAddress, IPv6Address] = field(default_factory=dict)
    shown: Collection[Sight] = frozenset()

    def hides(self, finding: Finding) -> bool:
        """Return whether a finding is about a question that is shown better elsewhere."""
        consequence, port = finding.consequence, finding.client_port
        if consequence is not None and consequence.answer is not None:
            port = consequence.answer.client_port
        return (finding.source, finding.client, port, finding.asked_raw) in self.repeated

    def clients(self) -> Iterator[bytes]:
        """Yield the addresses, 16 bytes, of clients whose conversations are tied."""
        for _, client, _, _ in self.repeated:
            yield IPV4_MAPPED + client.packed if client.version == 4 else client.packed
        for _, flow, _ in self.dropped:
            yield flow.client

    def as_of(self, source: str) -> Ties:
        """Return what interfaces say of each other as said of the one source that findings name."""
        return replace(
            self,
            dropped={(source, flow, time_ns): other for (_, flow, time_ns), other in self.dropped.items()},
            repeated=frozenset((source, client, port, server) for _, client, port, server in self.repeated),
            shown=frozenset(),
        )

    def __bool__(self) -> bool:
        """Return whether anything was tied."""
        return bool(self.learned or self.dropped or self.repeated)


def tie(
    sightings: Sequence[Sightings],
    nat64_prefixes: tuple[IPv6Network, ...] = (),
    *,
    together: bool = False,
    now_ns: int | None = None,
) -> Ties:
    """Return what the sides say of each other.

    `together`: one decoder reads all sides. So what has the same addresses is one question already, and proxies are
    not looked for. `now_ns`: it does so while packets come, up to that time. More of each conversation may come then,
    as another copy of an answer that was lost once, and a proxy is known once nobody else can be meant any more.
    """
    ends_ns = {one.side: one.last_ns for one in sightings}
    everything = [conversation for one in sightings for conversation in one.conversations()]
    pairs = list(_translated(everything))
    tied = {id(conversation) for pair in pairs for conversation in (pair.here, pair.there)}
    if now_ns is not None or not together:
        pairs += _proxied([one for one in everything if id(one) not in tied], nat64_prefixes, now_ns)
    learned: dict[IPAddress, dict[IPv4Address, None]] = defaultdict(dict)
    dropped: dict[tuple[str, Flow, int], OtherSide] = {}
    over_nat64: dict[IPAddress, IPv6Address] = {}
    repeated, shown = set(), set()
    for pair in pairs:
        asked, asked_there = (server_address(one.flow.server, nat64_prefixes) for one in (pair.here, pair.there))
        if isinstance(asked, IPv6Address) and undeclared_nat64(asked, asked_there) is not None:
            over_nat64[asked_there] = asked
        elif asked != asked_there and isinstance(asked_there, IPv4Address):
            learned[asked][asked_there] = None
        lost = {message.time_ns: _other_side(pair, message, asked_there) for message in _lost(pair, ends_ns)}
        if now_ns is not None:
            lost = {time_ns: other for time_ns, other in lost.items() if _is_final(pair, other)}
        dropped |= {(pair.there.side, pair.there.flow, time_ns): side for time_ns, side in lost.items()}
        if together and pair.here.flow == pair.there.flow:
            continue
        less, more = (pair.here, pair.there) if lost else (pair.there, pair.here)
        if more.cut and not less.cut:
            # What cannot be read shows nothing better.
            less, more = more, less
        repeated.add(_sight_of(less))
        shown.add(_sight_of(more))
    servers = {asked: tuple(known) for asked, known in learned.items()}
    return Ties(servers, dropped, frozenset(repeated), over_nat64, frozenset(shown - repeated))


def _sight_of(conversation: Conversation) -> Sight:
    flow = conversation.flow
    return conversation.side, address_of(flow.client), flow.client_port, address_of(flow.server)


def _translated(everything: Iterable[Conversation]) -> Iterator[Pair]:
    """Yield conversations with the same port and sequence numbers, of different sides or different addresses."""
    groups: dict[tuple[int, int], list[Conversation]] = defaultdict(list)
    for conversation in everything:
        start = conversation.starts[0]
        if start is not None:
            groups[conversation.flow.client_port, start].append(conversation)
    for group in groups.values():
        if len(group) > _POINTS:
            continue
        group.sort(key=_nearness)
        for here, there in pairwise(group):
            if _same_stream(here, there):
                yield Pair(here, there, proxied=False)


def _nearness(conversation: Conversation) -> tuple[int, int]:
    """Return what sorts conversations from the clients to the servers.

    A point nearer to the server waits less for its SYN-ACK, whatever its clock says.
    """
    waited_ns = conversation.handshake_ns
    if waited_ns is None:
        waited_ns = _answer_ns(conversation)
    return -(waited_ns or 0), conversation.first_ns


def _answer_ns(conversation: Conversation) -> int | None:
    """Return how long the first message of the client waited for one of the server."""
    asked = next((one.time_ns for one in conversation.messages if not one.from_server), None)
    found = next((one.time_ns for one in conversation.messages if one.from_server), None)
    return found - asked if asked is not None and found is not None else None


def _same_stream(one: Conversation, other: Conversation) -> bool:
    if (one.side, one.flow) == (other.side, other.flow):
        return False
    starts = one.starts[1], other.starts[1]
    if None not in starts:
        return starts[0] == starts[1]
    # One point or both saw no server: two SYNs of the same number at two points are no coincidence.
    return one.opened and other.opened and one.side != other.side


def _proxied(
    everything: Sequence[Conversation], nat64_prefixes: tuple[IPv6Network, ...], now_ns: int | None
) -> Iterator[Pair]:
    """Yield pairs of connections of which one passes on what the other says."""
    groups: dict[bytes, list[Conversation]] = defaultdict(list)
    for conversation in everything:
        first = next(iter(conversation.of_client()), None)
        if first is not None and first.type == PduType.BIND:
            groups[first.digest].append(conversation)
    for group in groups.values():
        if len(group) > 1:
            yield from _pairs_of(sorted(group, key=_bound_ns), nat64_prefixes, now_ns)


def _bound_ns(conversation: Conversation) -> int:
    """Return when the client wrote its first message."""
    return conversation.of_client()[0].time_ns


def _pairs_of(group: list[Conversation], nat64_prefixes: tuple[IPv6Network, ...], now_ns: int | None) -> Iterator[Pair]:
    """Yield the pairs of conversations with the same bind where each has one possible other.

    While packets come a bind alone ties nothing, and others may still come for a while.
    """
    within_ns = PROXY_NS if now_ns is None else LIVE_PROXY_NS
    possible: dict[int, list[int]] = defaultdict(list)
    backwards: dict[int, list[int]] = defaultdict(list)
    for first, outer in enumerate(group):
        bind_ns = _bound_ns(outer)
        for second in range(first + 1, min(first + CANDIDATES, len(group))):
            if _bound_ns(group[second]) - bind_ns > within_ns:
                break
            if _passes_on(outer, group[second], nat64_prefixes, asked=now_ns is not None):
                possible[first].append(second)
                backwards[second].append(first)
    for first, seconds in possible.items():
        is_settled = now_ns is None or _bound_ns(group[first]) + within_ns <= now_ns
        if is_settled and len(seconds) == 1 and len(backwards[seconds[0]]) == 1 and first not in backwards:
            yield Pair(group[first], group[seconds[0]], proxied=True)


def _passes_on(
    outer: Conversation, inner: Conversation, nat64_prefixes: tuple[IPv6Network, ...], *, asked: bool
) -> bool:
    """Return whether `inner` can be what a proxy made of `outer`: it lies within it, and says the same.

    With `asked` both have to ask something, too.
    """
    # A firewall on the way that draws sequence numbers of its own leaves addresses and ports as they are.
    rerouted = outer.flow == inner.flow and outer.side != inner.side
    if (outer.flow.client == inner.flow.client and not rerouted) or inner.first_ns < outer.first_ns:
        return False
    if outer.side == inner.side and outer.flow.server == inner.flow.server:
        return False
    servers = [server_address(one.flow.server, nat64_prefixes) for one in (outer, inner)]
    questions = [[one.digest for one in conversation.of_client()[1:]] for conversation in (outer, inner)]
    both = all(questions)
    if (both and questions[0][0] != questions[1][0]) or (asked and not both):
        return False
    if servers[0] != servers[1] and undeclared_nat64(*servers) is None and not both:
        return False
    replies = [next(iter(one.of_server()), None) for one in (outer, inner)]
    return replies[0] is None or (replies[1] is not None and replies[1].time_ns <= replies[0].time_ns)


def _lost(pair: Pair, ends_ns: dict[str, int]) -> Iterator[Message]:
    """Yield the answers of the servers' side that the clients' side never saw, and would have seen."""
    here = pair.here.of_server()
    if pair.here.starts[1] is None:
        # A point that shows nothing of a server does not show what it drops.
        return
    for answer in pair.there.of_server():
        if answer.type not in _ANSWERS or not _could_see(pair, answer, ends_ns):
            continue
        if pair.proxied:
            seen = any(one.type in _ANSWERS and one.call_id == answer.call_id for one in here)
        else:
            seen = pair.here.acknowledged >= answer.offset + answer.length or _covered(answer, here)
        if not seen:
            yield answer


def _could_see(pair: Pair, answer: Message, ends_ns: dict[str, int]) -> bool:
    """Return whether the clients' side was still there: the capture goes on, or shows how the conversation ended."""
    if ends_ns[pair.here.side] >= answer.time_ns + _AFTER_NS:
        return True
    ended_ns = pair.here.ended_ns
    return ended_ns is not None and ended_ns > answer.time_ns


def _is_final(pair: Pair, other: OtherSide) -> bool:
    """Return whether no copy of a lost answer is likely to come through any more."""
    delivery = other.delivery
    sent_again = delivery is not None and delivery.sent >= _COPIES
    return sent_again or other.replaced_by is not None or pair.here.ended_ns is not None


def _covered(answer: Message, here: Sequence[Message]) -> bool:
    """Return whether segments of the clients' side have all bytes of an answer, wherever they were cut."""
    at, end = answer.offset, answer.offset + answer.length
    for one in sorted(here, key=lambda message: message.offset):
        if one.offset == answer.offset and one.length == answer.length:
            return one.digest == answer.digest
        if one.offset <= at < one.offset + one.length:
            at = one.offset + one.length
    return at >= end


def _other_side(pair: Pair, answer: Message, asked_there: IPAddress) -> OtherSide:
    """Return what became of a dropped answer at the clients' side."""
    theirs = {one.digest for one in pair.there.of_server()}
    later = (one for one in pair.here.of_server() if one.digest not in theirs and one.time_ns >= answer.time_ns)
    instead = next(later, None)
    words = None
    if instead is not None:
        words = f"{_NAMES.get(instead.type, 'message')} of {instead.length} bytes"
    return OtherSide(
        here=pair.here.side,
        there=pair.there.side,
        asked_there=asked_there,
        dropped=True,
        replaced_by=words,
        after_ns=instead.time_ns - answer.time_ns if instead is not None else None,
        client=address_of(pair.here.flow.client),
        delivery=Delivery(answer.sent, answer.last_ns - answer.time_ns, answer.length, acknowledged=False),
    )
