"""Endpoints that answers offered, and which connection of the client is the one that an answer led to."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final, NamedTuple

from inspector.consequence import AnswerReference, FindingKind, Outcome, Target
from inspector.model import Verdict, format_time
from inspector.outcomes.connection import Connection, Flow
from inspector.outcomes.facts import Facts
from inspector.protocols import TCP_SEQUENCES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inspector.model import Finding, IPAddress, OfferedEndpoint
    from inspector.outcomes.limits import OutcomeLimits
    from inspector.outcomes.servers import Server

_SEALED_FROM: Final = 1024
_ANY: Final = 0
_OTHER_SERVICES: Final = frozenset({1433, 2049, 3268, 3269, 3306, 3389, 5985, 5986, 8080, 8443, 9389})
"""Ports of SQL, NFS, the global catalog, RDP, WinRM, HTTP and AD's web services: no endpoints of RPC."""
_FOLLOW_UPS: Final = 4
"""Follow-ups of one answer whose outcome can still become part of its finding."""


def followed_mappings(finding: Finding, most: int) -> tuple[OfferedEndpoint, ...]:
    """Return the mappings whose endpoints are followed: those of the first `most` TCP ports, twice as many in all."""
    ports: set[int] = set()
    found: list[OfferedEndpoint] = []
    for mapping in finding.mappings:
        port = mapping.port
        if not port or mapping.protocol not in TCP_SEQUENCES or (port not in ports and len(ports) >= most):
            continue
        ports.add(port)
        found.append(mapping)
        if len(found) >= 2 * most:
            break
    return tuple(found)


class Answer:
    """An answer that is followed: its finding, and whether the client connected (`followed`).

    `forgotten`: some of its offers had to go, so that nobody knows whether the client connected. `undelivered`: the
    client never had it.

    `held` says that its finding has not been given out, which it is at `due_ns`: until then the finding of an outcome
    (`told`) may go with it. `fragments` and `frame` are those of the packets that carried it, `facts` what is known of
    the answer itself. `connections` are its follow-ups.
    """

    __slots__ = (
        "connections", "due_ns", "facts", "finding", "followed", "forgotten", "fragments", "frame", "held", "told",
        "undelivered",
    )  # fmt: skip

    def __init__(self, finding: Finding, frame: int | None, fragments: int, due_ns: int) -> None:
        self.finding = finding
        self.frame = frame
        self.fragments = fragments
        self.due_ns = due_ns
        self.followed = self.forgotten = self.undelivered = False
        self.held = True
        self.facts = Facts()
        self.told: Finding | None = None
        self.connections: list[FollowUp | HealthyFollowUp] = []

    def follow(self, connection: FollowUp | HealthyFollowUp) -> None:
        """Note a connection that follows the answer."""
        self.followed = True
        if len(self.connections) < _FOLLOW_UPS:
            self.connections.append(connection)

    def tell(self, finding: Finding, found: list[Finding]) -> None:
        """Tell what became of the answer: together with it where it is held, once; else at once."""
        self.undelivered |= finding.kind is FindingKind.DELIVERY
        if self.held and self.told is None:
            self.told = finding
        else:
            found.append(finding)

    @property
    def reference(self) -> AnswerReference:
        """What a later finding refers to it by."""
        finding = self.finding
        return AnswerReference(format_time(finding.time_ns), finding.client_port, finding.call_id, self.frame or None)


class Offer(NamedTuple):
    """One endpoint of an answer; `mapping` is None after an encrypted answer, and `target` where a client went."""

    answer: Answer
    mapping: OfferedEndpoint | None
    target: Target = Target.ASKED


def _is_presumed(offer: Offer, port: int) -> bool:
    """Return whether an encrypted answer can have named a port: it is the first that the client goes to."""
    if port < _SEALED_FROM or port in _OTHER_SERVICES:
        return False
    before = offer.answer.connections
    return not before or any(one.flow.server_port == port for one in before)


class FollowUp(Connection):
    """A connection that may follow an answer: `offer` is the one that it follows, once that is known."""

    __slots__ = ("offer", "outcome")

    def __init__(self, flow: Flow, time_ns: int, frame: int, interface: int = 0) -> None:
        super().__init__(flow, time_ns, frame, interface)
        self.offer: Offer | None = None
        self.outcome: Outcome | None = None


class Accepted(NamedTuple):
    """A bind that an endpoint accepted: when, how many contexts were proposed, and what its SYN-ACK said.

    `connect_ns` is the time from the SYN to that.
    """

    time_ns: int
    connect_ns: int
    hop_limit: int
    contexts: int


class HealthyFollowUp:
    """A connection whose SYN was seen; `accepted` and `offer` are None until they are known."""

    __slots__ = ("accepted", "first_ns", "flow", "frame", "offer")

    def __init__(self, flow: Flow, first_ns: int, frame: int) -> None:
        self.flow = flow
        self.first_ns = first_ns
        self.frame = frame
        self.offer: Offer | None = None
        self.accepted: Accepted | None = None

    @property
    def connect_ns(self) -> int | None:
        """The time from SYN to SYN-ACK, once the bind was accepted."""
        return self.accepted.connect_ns if self.accepted is not None else None


class Offers:
    """What clients were offered, by client and port. `expired` yields answers whose time to be followed is over."""

    def __init__(self, limits: OutcomeLimits) -> None:
        self._limits = limits
        self._clients: OrderedDict[bytes, OrderedDict[int, Offer]] = OrderedDict()
        # Offers of other asked addresses, of which a later one has the same client and port.
        self._replaced: OrderedDict[tuple[bytes, int, IPAddress], Offer] = OrderedDict()
        self._answers: deque[Answer] = deque()
        self.evicted = 0

    def __len__(self) -> int:
        offers = sum(map(len, self._clients.values()))
        return len(self._clients) + offers + len(self._replaced) + len(self._answers)

    def add(self, answer: Answer, client: bytes) -> list[int]:
        """Take what an answer offers to a client; return the ports."""
        offers = {port: Offer(answer, mapping) for port, mapping in self.of(answer.finding).items()}
        if not offers:
            return []
        table = self._clients.setdefault(client, OrderedDict())
        self._clients.move_to_end(client)
        for port, offer in offers.items():
            before = table.get(port)
            if before is not None and before.answer.finding.server != answer.finding.server:
                self._keep(client, port, before)
            table[port] = offer
            table.move_to_end(port)
        while len(table) > self._limits.per_client:
            self._forget(table.popitem(last=False)[1])
        if len(self._clients) > self._limits.clients:
            for offer in self._clients.popitem(last=False)[1].values():
                self._forget(offer)
        self._answers.append(answer)
        if len(self._answers) > self._limits.answers:
            self._answers.popleft()
            self.evicted += 1
        return list(offers)

    def _keep(self, client: bytes, port: int, offer: Offer) -> None:
        """Keep an offer of another asked address beside the one that replaces it."""
        key = (client, port, offer.answer.finding.server)
        self._replaced[key] = offer
        self._replaced.move_to_end(key)
        if len(self._replaced) > self._limits.clients:
            self._replaced.popitem(last=False)

    def of(self, finding: Finding) -> dict[int, OfferedEndpoint | None]:
        """Return what an answer offers by port; after an encrypted one it is any port, without a mapping."""
        if finding.verdict is Verdict.SEALED:
            return {_ANY: None}
        offers: dict[int, OfferedEndpoint | None] = {}
        for mapping in followed_mappings(finding, self._limits.per_answer):
            if mapping.port is not None:
                offers.setdefault(mapping.port, mapping)
        return offers

    def _forget(self, offer: Offer) -> None:
        self.evicted += 1
        offer.answer.forgotten = True

    def clear(self) -> None:
        """Let go of all offers."""
        self.evicted += len(self._answers)
        self._clients.clear()
        self._replaced.clear()
        self._answers.clear()

    def find(self, client: bytes, address: IPAddress, port: int, time_ns: int, server: Server | None) -> Offer | None:
        """Return the offer that a connection follows, with its target; `server` is that of the offer's asked address.

        An offer counts for `follow_up_ns`, and before its time where packets of two interfaces are out of order.
        """
        table = self._clients.get(client)
        if table is None:
            return None
        for number in (port, _ANY):
            offer = table.get(number)
            if offer is not None and offer.answer.finding.server != address:
                offer = self._replaced.get((client, number, address), offer)
            if offer is None or abs(time_ns - offer.answer.finding.time_ns) > self._limits.follow_up_ns:
                continue
            if number == _ANY and not _is_presumed(offer, port):
                continue
            target = self._target(offer, address, port, server)
            if target is not None:
                return Offer(offer.answer, _binding_at(offer, address, port), target)
        return None

    def asked_of(self, client: bytes, port: int) -> IPAddress | None:
        """Return which address had been asked by the client that was offered a port."""
        table = self._clients.get(client)
        offer = table.get(port) or table.get(_ANY) if table else None
        return offer.answer.finding.server if offer is not None else None

    @staticmethod
    def _target(offer: Offer, address: IPAddress, port: int, server: Server | None) -> Target | None:
        finding, mapping = offer.answer.finding, offer.mapping
        if address == finding.server:
            return Target.ASKED
        if mapping is None:
            return None
        others = {one.address for one in finding.mappings if one.port == port}
        if address in others:
            return Target.OFFERED
        return Target.OTHER if server is not None and address in server.addresses else None

    def has_expired(self, now_ns: int) -> bool:
        """Return whether `expired` yields something."""
        return bool(self._answers) and self._answers[0].finding.time_ns + self._limits.follow_up_ns < now_ns

    def expired(self, now_ns: int) -> Iterator[Answer]:
        """Yield the answers which were offered too long ago, each once."""
        while self.has_expired(now_ns):
            yield self._answers.popleft()


def _binding_at(offer: Offer, address: IPAddress, port: int) -> OfferedEndpoint | None:
    """Return the string binding of DCOM that names an address; the offered endpoint itself where none does."""
    if offer.mapping is None or offer.mapping.binding is None:
        return offer.mapping
    found = (one for one in offer.answer.finding.mappings if one.port == port and one.address == address)
    return next(found, offer.mapping)
