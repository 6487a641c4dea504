"""How many files of evidence are granted, and under which reason the others are counted."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest

from inspector.evidence import quota as module
from inspector.evidence.quota import MINUTE_NS, Allowance, LeftOut

START = 1_700_000_000_000_000_000


def clients(*numbers: int) -> npt.NDArray[np.int64]:
    """Return the addresses of clients: of each pair of words the second tells them apart."""
    return np.array([(7, number) for number in numbers], np.int64).reshape(-1, 2)


def made(per_minute: int = 100, per_vip: int = 5, per_client: int = 2) -> tuple[Allowance, Counter[LeftOut]]:
    """Return an allowance and what it counts."""
    left_out: Counter[LeftOut] = Counter()
    return Allowance(per_minute, per_vip, per_client, left_out), left_out


def test_the_first_of_each_client() -> None:
    """In the order of the findings; the client's limit goes before the VIP's."""
    allowance, left_out = made()
    assert allowance.grant("a", clients(1, 1, 1, 2, 1, 3, 3, 4), START) == [0, 1, 3, 5, 6]
    assert left_out == {LeftOut.CLIENT_LIMIT: 2, LeftOut.VIP_LIMIT: 1}
    assert allowance.grant("a", clients(9, 9), START) == []
    assert left_out == {LeftOut.CLIENT_LIMIT: 2, LeftOut.VIP_LIMIT: 3}
    assert allowance.grant("b", clients(1), START) == [0]
    assert allowance.grant("b", clients(), START) == []


def test_clients_differ_in_either_word() -> None:
    """An address has two words."""
    allowance, _ = made(per_client=1)
    assert allowance.grant("a", np.array([(1, 1), (1, 2), (2, 1), (1, 1)], np.int64), START) == [0, 1, 2]


@pytest.mark.parametrize(("later", "granted"), [(MINUTE_NS - 1, 0), (MINUTE_NS, 2), (-1, 0), (-MINUTE_NS, 2)])
def test_a_minute_begins_with_its_first(later: int, granted: int) -> None:
    """Another minute, later or long before (another capture), has files of its own; a moment before has not."""
    allowance, left_out = made(per_minute=2)
    assert len(allowance.grant("a", clients(1, 2, 3), START)) == 2
    assert len(allowance.grant("a", clients(1, 2, 3), START + later)) == granted
    assert left_out == {LeftOut.TOTAL_LIMIT: 4 - granted}


def test_virtual_addresses_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are made up, few are remembered; those of a past minute make room."""
    monkeypatch.setattr(module, "_MOST_VIPS", 10)
    allowance, left_out = made(per_minute=1000)
    granted = [len(allowance.grant(vip, clients(1), START)) for vip in range(15)]
    assert granted == [1] * 10 + [0] * 5
    assert left_out == {LeftOut.TOTAL_LIMIT: 5}
    assert len(allowance.grant("new", clients(1), START + MINUTE_NS)) == 1
    assert len(allowance._vips) == 1


def test_a_large_storm_is_looked_through_quickly() -> None:
    """Of a million findings of two clients the comparisons are few: as many as files, not as findings."""
    allowance, left_out = made()
    many = clients(1, 2)[np.arange(1_000_000) % 2]
    assert allowance.grant("a", many, START) == [0, 1, 2, 3]
    assert left_out == {LeftOut.CLIENT_LIMIT: 999_996}
