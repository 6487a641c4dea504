"""Healthy networks in captures that begin late, end early, lose or copy a packet, or mix up two: none is harm."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from inspector import cli
from inspector.consequence import HARMFUL
from tests.cases.all import CASES
from tests.cases.network import Network
from tests.golden.layers import Frame, pcapng_of

HEALTHY = ("keep-alives", "both-towers", "leaves-at-once", "other-interface", "security", "fast-open")
_LATER_NS = 4_000_000


def without(frames: list[Frame], number: int) -> list[Frame]:
    """Return a capture that lost one packet."""
    return frames[:number] + frames[number + 1 :]


def copied(frames: list[Frame], number: int) -> list[Frame]:
    """Return a capture that has one packet twice, four milliseconds apart."""
    copy = replace(frames[number], time_ns=frames[number].time_ns + _LATER_NS)
    return sorted([*frames, copy], key=lambda frame: frame.time_ns)


def mixed_up(frames: list[Frame], number: int) -> list[Frame]:
    """Return a capture that has one packet before the one that it follows at once."""
    first, second = frames[max(0, number - 1)], frames[number]
    if second.time_ns - first.time_ns > _LATER_NS:
        return frames
    found = list(frames)
    found[max(0, number - 1)] = replace(second, time_ns=first.time_ns)
    found[number] = replace(first, time_ns=second.time_ns)
    return found


WAYS: dict[str, Callable[[list[Frame], int], list[Frame]]] = {
    "begins late": lambda frames, number: frames[number:],
    "ends early": lambda frames, number: frames[: number + 1],
    "loses one": without,
    "copies one": copied,
    "mixes up two": mixed_up,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", HEALTHY)
def test_a_capture_of_a_healthy_network_is_no_harm(
    name: str, way: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At each packet."""
    network = Network()
    CASES[f"healthy-{name}"].build(network)
    frames = sorted(network.scenes[0].frames, key=lambda frame: frame.time_ns)
    names = []
    for number in range(len(frames)):
        names.append(str(tmp_path / f"{number}.pcapng"))
        Path(names[-1]).write_bytes(b"".join(pcapng_of(WAYS[way](frames, number), 1)))
    for one in names:
        assert cli.main(["read", "--json", one]) == 0
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [finding for finding in found if finding.get("outcome") in HARMFUL] == [], one
