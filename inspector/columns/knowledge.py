"""What the compiled loop looks up, and how it is filled: payloads, states, transitions, judgements.

Everything is bounded. Where a table is full, all that is known is forgotten but for the states that connections are
in; it comes back with the traffic.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import numpy as np

from inspector.columns import layout
from inspector.columns.automaton import EMPTY, State, Step, read_whole, step
from inspector.columns.payloads import FROM_SERVER, LENGTH_MASK, MASKED, keep_payload, place_of
from inspector.model import Direction
from inspector.wire.checksum import KEYS
from inspector.wire.exchange import Flow, Observed

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from inspector.errors import Anomaly
    from inspector.model import Finding
    from inspector.wire.exchange import Exchange
    from inspector.wire.limits import Limits

    Words = npt.NDArray[np.int64]
    Halves = npt.NDArray[np.int32]

PAYLOADS: Final = 8192
STATES: Final = 32768
_PLACES: Final = 1 << 16
_NOBODY: Final = bytes(10) + b"\xff\xff" + bytes(4)


class Knowledge:
    """The tables, as arrays for compiled code and as objects; `judge` makes a finding of what was observed."""

    def __init__(self, limits: Limits, judge: Callable[[Observed], Finding]) -> None:
        self._limits = limits
        self._judge = judge
        self.payload_index: Halves = np.zeros(4 * PAYLOADS, np.int32)
        self.payloads: Words = np.zeros((PAYLOADS + 1, layout.KEPT_WORDS), np.int64)
        self.states: Words = np.zeros((STATES, layout.STATE_WORDS), np.int64)
        self.transition_keys: Words = np.zeros(_PLACES, np.int64)
        self.transitions: Words = np.zeros(_PLACES, np.int64)
        self.counted: Words = np.zeros(_PLACES, np.int64)
        self.judgement_keys: Words = np.zeros((_PLACES, 4), np.int64)
        self.judgement_numbers: Halves = np.zeros(_PLACES, np.int32)
        self.judgements: list[Finding] = []
        self.scratch: Words = np.zeros(layout.SCRATCH_WORDS, np.int64)
        self.scratch[layout.CHECKSUM_KEYS :] = KEYS.view(np.int64)[: layout.SCRATCH_WORDS - layout.CHECKSUM_KEYS]
        # State 0 is that of a connection of which no PDU was read.
        self._states: dict[State, int] = {EMPTY: 0}
        self._state_of: dict[int, State] = {0: EMPTY}
        self._free_states: list[int] = []
        self._payloads = 0
        self._transitions = 0
        self._outcomes: list[tuple[Exchange, Direction]] = []
        self._anomalies: dict[int, tuple[tuple[Anomaly, int], ...]] = {}

    @property
    def full(self) -> bool:
        """Whether a table has no room for what may come next."""
        return (
            self._payloads >= PAYLOADS
            or self._transitions >= _PLACES // 2
            or len(self.judgements) >= _PLACES // 2
            or (len(self._states) >= STATES - 1 and not self._free_states)
        )

    def state(self, number: int) -> State:
        """Return a state by its number."""
        return self._state_of[number]

    def number_of(self, state: State) -> int | None:
        """Return a state's number, a new one if need be; None where there is none left."""
        if state in self._states:
            return self._states[state]
        number = self._free_states.pop() if self._free_states else len(self._states)
        if number >= STATES:
            return None
        self._states[state] = number
        self._state_of[number] = state
        self.states[number, layout.STATE_WAITING] = state.question is not None
        self.states[number, layout.STATE_BUFFERED] = state.buffered
        return number

    def learn_payload(self) -> None:
        """Keep the payload in `scratch`."""
        self._payloads += 1
        keep_payload(self.scratch, self.payload_index, self.payloads, self._payloads)
        _, payload, _ = self._payload(self._payloads)
        self.payloads[self._payloads, layout.KEPT_REFUSED] = read_whole(payload) is None

    def learn_transition(self, key: int) -> None:
        """Find out what a payload does in a state, both in the key."""
        direction, payload, masked = self._payload(key >> 1 & 0xFFFFFFFF)
        found = step(
            self._state_of[key >> 33],
            direction,
            payload,
            answers_question=bool(key & 1),
            masked=masked,
            limits=self._limits,
        )
        place = place_of(self.transition_keys, key)
        self.transition_keys[place] = key
        self.transitions[place] = layout.REFUSED if found is None else self._pack(place, found, direction)
        self._transitions += 1

    def learn_judgement(self, place: int, outcome: int, interface: int, server: bytes) -> None:
        """Judge an outcome (with the server's port in its upper half) for an asked address of 16 bytes."""
        exchange, direction = self._outcomes[(outcome & 0xFFFFFFFF) - 1]
        flow = Flow(_NOBODY, 0, server, outcome >> 32)
        self.judgement_keys[place] = (*np.frombuffer(server, np.int64), outcome, interface)
        self.judgement_numbers[place] = len(self.judgements)
        self.judgements.append(self._judge(Observed(flow, interface, direction, exchange)))

    def take_anomalies(self) -> Counter[Anomaly]:
        """Return what the transitions taken since the last time count."""
        counts: Counter[Anomaly] = Counter()
        for place, anomalies in self._anomalies.items():
            times = int(self.counted[place])
            if times:
                self.counted[place] = 0
                counts.update({anomaly: times * count for anomaly, count in anomalies})
        return counts

    def forget_judgements(self) -> None:
        """Forget what was said of outcomes, and nothing else. Batches which hold the judgements keep theirs."""
        self.judgement_keys[...] = 0
        self.judgements = []

    def forget(self, slots: Words) -> None:
        """Forget all but the states which slots are in; anomalies must have been taken."""
        for table in (self.payload_index, self.transition_keys):
            table[...] = 0
        self.forget_judgements()
        self._payloads = self._transitions = 0
        self._outcomes, self._anomalies = [], {}
        used = {0, *np.unique(slots[:, layout.SLOT_STATE]).tolist()}
        self._state_of = {number: state for number, state in self._state_of.items() if number in used}
        self._states = {state: number for number, state in self._state_of.items()}
        self._free_states = [number for number in range(1, STATES) if number not in used]

    def _payload(self, number: int) -> tuple[Direction, bytes, bool]:
        """Return direction, bytes and whether they were masked, of a kept payload; its call id is 0."""
        words = self.payloads[number]
        meta = int(words[layout.KEPT_META])
        direction = Direction.FROM_SERVER if meta & FROM_SERVER else Direction.TO_SERVER
        return direction, words[layout.KEPT_PAYLOAD :].tobytes()[: meta & LENGTH_MASK], bool(meta & MASKED)

    def _pack(self, place: int, found: Step, direction: Direction) -> int:
        number = self.number_of(found.state)
        if number is None:
            return layout.REFUSED
        packed = number
        packed |= layout.QUESTION_SET if found.asks else 0
        packed |= layout.ANSWERS if found.answers else 0
        if found.anomalies:
            packed |= layout.COUNTED
            self._anomalies[place] = found.anomalies
        if found.exchange is not None:
            self._outcomes.append((found.exchange, direction))
            packed |= len(self._outcomes) << layout.OUTCOME_SHIFT
        return packed
