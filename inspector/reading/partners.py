"""Which conversations can be one of two sides: only these are read in whole and compared (`inspector.outcomes.sides`).

What is told here is necessary, not sufficient: a conversation without a partner has none in `sides` either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from inspector.capture import layout
from inspector.outcomes.sides import CANDIDATES, PROXY_NS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Sights = npt.NDArray[np.uint64]
    Flags = npt.NDArray[np.bool_]

_FLOW: Final = slice(layout.SIGHT_CLIENT, layout.SIGHT_PORTS + 1)
_CLIENT: Final = slice(layout.SIGHT_CLIENT, layout.SIGHT_SERVER)
_SERVER: Final = slice(layout.SIGHT_SERVER, layout.SIGHT_PORTS)
_MAPPED: Final = np.uint64(layout.MAPPED)


def connections_with_partner(files: Sequence[Sights]) -> list[list[list[int]]]:
    """Return of each file the connections, as `Flows.lookup` takes them, of conversations that may have a partner.

    `files` are the `sights` of surveys with one secret.
    """
    rows = np.concatenate(files) if files else np.zeros((0, layout.SIGHT_WORDS), np.uint64)
    sides = np.repeat(np.arange(len(files)), [len(one) for one in files])
    found = _translated(rows, sides) | _proxied(rows, sides)
    return [np.unique(rows[found & (sides == side), _FLOW], axis=0).tolist() for side in range(len(files))]


def _translated(rows: Sights, sides: npt.NDArray[np.int64]) -> Flags:
    """Return which rows have the client's port and first sequence number of another one."""
    found = np.zeros(len(rows), np.bool_)
    known = np.flatnonzero(rows[:, layout.SIGHT_STATE] & np.uint64(layout.SIGHT_CLIENT_KNOWN))
    keys = rows[known, layout.SIGHT_PORTS] << np.uint64(32) | rows[known, layout.SIGHT_START]
    keys &= np.uint64(0xFFFF_FFFF_FFFF)
    order = np.argsort(keys)
    keys, known = keys[order], known[order]
    same = keys[1:] == keys[:-1]
    one, other = known[:-1][same], known[1:][same]
    differs = (rows[one, _FLOW] != rows[other, _FLOW]).any(axis=1) | (sides[one] != sides[other])
    found[known] = np.isin(keys, keys[1:][same][differs])
    return found


def _proxied(rows: Sights, sides: npt.NDArray[np.int64]) -> Flags:
    """Return which rows begin with the bind of another one, near enough in time, and may say the same as that."""
    found = np.zeros(len(rows), np.bool_)
    bound = np.flatnonzero(rows[:, layout.SIGHT_STATE] & np.uint64(layout.SIGHT_BOUND))
    order = bound[np.lexsort((rows[bound, layout.SIGHT_BIND_TIME], rows[bound, layout.SIGHT_BIND]))]
    for distance in range(1, CANDIDATES):
        one, other = order[:-distance], order[distance:]
        near = rows[one, layout.SIGHT_BIND] == rows[other, layout.SIGHT_BIND]
        near &= rows[other, layout.SIGHT_BIND_TIME] - rows[one, layout.SIGHT_BIND_TIME] <= np.uint64(PROXY_NS)
        if not near.any():
            break
        one, other = one[near], other[near]
        passes = _may_pass_on(rows[one], rows[other], sides[one] == sides[other])
        found[one[passes]] = found[other[passes]] = True
    return found


def _may_pass_on(outer: Sights, inner: Sights, same_side: Flags) -> Flags:
    """Return which inner rows may be what a proxy made of the outer ones, as far as rows tell."""

    def has(rows: Sights, flag: int) -> Flags:
        flags: Flags = (rows[:, layout.SIGHT_STATE] & np.uint64(flag)) != 0
        return flags

    same_client = (outer[:, _CLIENT] == inner[:, _CLIENT]).all(axis=1)
    same_server = (outer[:, _SERVER] == inner[:, _SERVER]).all(axis=1)
    rerouted = (outer[:, _FLOW] == inner[:, _FLOW]).all(axis=1) & ~same_side
    both_ask = has(outer, layout.SIGHT_ASKED) & has(inner, layout.SIGHT_ASKED)
    same_question = outer[:, layout.SIGHT_QUESTION] == inner[:, layout.SIGHT_QUESTION]
    # Of two servers one may be behind a NAT64, which both of IPv4 are not.
    of_ipv4 = [
        (one[:, layout.SIGHT_SERVER] == 0) & ((one[:, layout.SIGHT_SERVER + 1] & np.uint64(layout.LOW)) == _MAPPED)
        for one in (outer, inner)
    ]
    in_time = has(inner, layout.SIGHT_REPLIED) & (
        inner[:, layout.SIGHT_REPLY_TIME] <= outer[:, layout.SIGHT_REPLY_TIME]
    )
    passes: Flags = (
        (~same_client | rerouted)
        & ~(same_side & same_server)
        & (inner[:, layout.SIGHT_FIRST] >= outer[:, layout.SIGHT_FIRST])
        & (~both_ask | same_question)
        & (same_server | both_ask | ~(of_ipv4[0] & of_ipv4[1]))
        & (~has(outer, layout.SIGHT_REPLIED) | in_time)
    )
    return passes
