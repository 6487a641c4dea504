"""Templates of findings: what the scalar decoder says of an answer, asked once for each content."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from inspector.decode import layout
from inspector.decode.exchange import export, flow_at
from inspector.decode.quota import Credit
from inspector.errors import Anomaly
from inspector.model import Direction
from inspector.protocols import IPV4_MAPPED
from inspector.wire.association import Association
from inspector.wire.body import NDR20, NDR64
from inspector.wire.epm import OPERATIONS
from inspector.wire.exchange import Exchange, Flow, Observed, Outcome
from inspector.wire.pdu import split_pdu

if TYPE_CHECKING:
    from collections.abc import Callable

    from inspector.decode.engine import Engine
    from inspector.decode.quota import Quota
    from inspector.model import Finding
    from inspector.wire.conversations import Conversations

_NO_CLIENT: Final = IPV4_MAPPED + bytes(4)
_SYNTAXES: Final = {layout.TRANSFER_NDR20: NDR20, layout.TRANSFER_NDR64: NDR64}
# Stands in the list of templates where a reading is refused: no row of findings has its number.
_NOTHING: Final = Observed(
    Flow(_NO_CLIENT, 0, _NO_CLIENT, 0), 0, Direction.FROM_SERVER, Exchange(Outcome.MALFORMED, 0, None)
)


class Judged:
    """The templates of an engine, by number, and the anomalies that come with each."""

    MOST: Final = layout.TEMPLATES

    def __init__(
        self,
        engine: Engine,
        conversations: Conversations,
        judge: Callable[[Observed], Finding],
        quota: Quota | None,
    ) -> None:
        self._engine = engine
        self._conversations = conversations
        self._judge = judge
        # Of keys that are met for the first time, and of those that come again.
        self._quotas = (quota.of_answers(), quota.of_answers()) if quota is not None else None
        self._credit = Credit()
        self._anomalies: dict[int, tuple[tuple[Anomaly, int], ...]] = {}
        self.templates: list[Finding] = []

    @property
    def full(self) -> bool:
        """Whether there is no room for one more."""
        return bool(self._engine.full) or len(self.templates) >= self.MOST

    def forget(self) -> None:
        """Forget all; batches keep those which they have."""
        self.count()
        self._engine.forget()
        self.templates = []
        self._anomalies = {}

    def count(self) -> None:
        """Count the anomalies of the templates that were met."""
        engine = self._engine
        if engine.anomalous:
            engine.anomalous = False
            for number, kinds in self._anomalies.items():
                times = int(engine.counted[number])
                engine.counted[number] = 0
                self._conversations.anomalies.update({anomaly: times * count for anomaly, count in kinds if times})

    def decide(self) -> Observed | bool:
        """Let the scalar decoder say what the PDU at which the engine stopped ends in.

        Return what was observed; True where the engine knows now and takes the PDU again; False where the PDU is not
        plain. What comes again becomes a template; a forged answer comes once, and is not worth one. The quota bounds
        how often the scalar decoder is asked.
        """
        engine = self._engine
        if self._is_over_quota():
            self._conversations.anomalies[Anomaly.DECODER_QUOTA] += 1
            engine.once = True
            return True
        anomalies: Counter[Anomaly] = Counter()
        is_plain, exchange = self._ask(anomalies)
        if not is_plain:
            return False
        observed = None
        if exchange is not None:
            flow, interface = flow_at(engine, int(engine.slot)), int(engine.interface)
            observed = Observed(flow, interface, Direction.FROM_SERVER, exchange)
        if engine.repeated and self._credit.take(int(engine.order)) and self._populate(observed, anomalies):
            return True
        self._conversations.anomalies.update(anomalies)
        engine.once = True
        return True if observed is None else observed

    def _is_over_quota(self) -> bool:
        engine = self._engine
        if self._quotas is None:
            return False
        kind = layout.QUOTA_AGAIN if engine.repeated else layout.QUOTA_FIRST
        slot = int(engine.slot)
        client = flow_at(engine, slot).client_address
        return not self._quotas[bool(engine.repeated)].take_noted(engine, kind, slot, client, int(engine.time))

    def _ask(self, anomalies: Counter[Anomaly]) -> tuple[bool, Exchange | None]:
        """Return whether the PDU is plain, and what it ends in, None for nothing."""
        engine, limits = self._engine, self._conversations.limits
        connection = export(engine, int(engine.slot), limits, anomalies, None)
        association = connection.association or Association(limits, anomalies)
        pdu = split_pdu(engine.pdu_bytes())
        if pdu is None or not engine.from_server:
            return False, None
        exchanges = list(association.feed(Direction.FROM_SERVER, pdu, int(engine.time)))
        if association.answer_lost or len(exchanges) > 1:
            return False, None
        if not exchanges:
            return self._kind in {layout.KIND_INFERRED, layout.KIND_FAULT}, None
        return True, exchanges[0]

    @property
    def _kind(self) -> int:
        return int(self._engine.key[0]) & 0xFF

    def _counts(self, observed: Observed | None) -> bool:
        """Return whether an answer was read as the engine's key has it."""
        if observed is None or self._kind != layout.KIND_INFERRED:
            return observed is not None
        exchange, first = observed.exchange, int(self._engine.key[0])
        return (
            exchange.outcome is Outcome.ANSWERED
            and exchange.operation == OPERATIONS[first >> 8 & 0xFFFF]
            and exchange.transfer_syntax == _SYNTAXES[first >> 24 & 0xF]
        )

    def _populate(self, observed: Observed | None, anomalies: Counter[Anomaly]) -> bool:
        """Keep the finding on an answer as a template, or that it is not read so; False where there is no room."""
        if self.full:
            return False
        is_template = self._counts(observed)
        counted = (0 if anomalies else layout.NOT_COUNTED) if is_template else layout.REFUSED
        number = self._engine.add(counted)
        if number is None:
            return False
        template = observed if observed is not None and is_template else _NOTHING
        flow = template.flow._replace(client_address=_NO_CLIENT, client_port=0)
        self.templates.append(self._judge(template._replace(flow=flow)))
        if anomalies and is_template:
            self._anomalies[number] = tuple(anomalies.items())
        return True
