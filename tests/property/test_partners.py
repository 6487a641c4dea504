"""Files of which only conversations with a possible partner are compared are tied as if all of them were."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.capture.survey import mapper_headers, survey_file
from inspector.config import Config
from inspector.decode import is_compiled
from inspector.escape import display_name
from inspector.outcomes.sides import Ties, tie
from inspector.outcomes.sightings import Sightings
from inspector.reading.partners import connections_with_partner
from inspector.reading.sighting import survey_files
from inspector.wire.headers import Header
from tests.cases import gateways  # noqa: F401  # registers its cases
from tests.cases.case import CASES
from tests.cases.dialogue import CLIENT, DIP, NETLOGON, SAMR, VIP, acceptance_of, bind_of, map_answer, map_question
from tests.cases.network import Network, Scene
from tests.property.test_triage import conversations

CONFIG = Config(follow_up=True)
GATEWAYS = sorted(number for number, case in CASES.items() if case.gateway)
needs_compiled = pytest.mark.skipif(not is_compiled(), reason="without compiled code there is no survey")


def _ties_of_all(paths: list[Path]) -> Ties:
    """Return what the files say of each other where each conversation is read in Python."""
    sides = []
    for path in paths:
        side = Sightings(display_name(bytes(path)), CONFIG.ports)
        for header in mapper_headers(path, CONFIG.ports):
            if isinstance(header, Header):
                side.take(header)
            else:
                side.last_ns = max(side.last_ns, header)
        sides.append(side)
    return tie(sides, CONFIG.policy().nat64_prefixes)


def _proxy(network: Network, random: Random) -> None:
    """Let a proxy pass conversations on, some of them at once."""
    for _ in range(random.randint(1, 4)):
        servers = random.choice(((VIP, DIP), (VIP, VIP), ("2002:a14:168:8001::a1e:114", VIP), (DIP, DIP)))
        outer = network.connect(random.choice((CLIENT, "10.20.1.16")), servers[0]).open()
        inner = network.connect(random.choice(("10.30.1.5", "10.30.1.5", CLIENT)), servers[1])
        question = map_question(random.choice((SAMR, NETLOGON)), wide=False)
        outer.say(0, bind_of(wide=False))
        inner.open().ask(bind_of(wide=random.random() < 0.1), acceptance_of(wide=False))
        if random.random() < 0.2:
            inner.ask(question, answer := map_answer(SAMR, (DIP, 49152), wide=False))
        outer.say(1, acceptance_of(wide=False))
        if random.random() < 0.8:
            answer = map_answer(SAMR, (DIP, 49152), wide=False)
            outer.say(0, question)
            inner.ask(question, answer)
            if random.random() < 0.8:
                outer.say(1, answer)
        network.wait(random.choice((0, 0.5, 3)))


def _captures(random: Random) -> list[bytes]:
    """Return the captures of a gateway, one for each port or one for both, and sometimes another file."""
    network = Network(gateway=True)
    if random.random() < 0.5:
        CASES[random.choice(GATEWAYS)].build(network)
    else:
        _proxy(network, random)
    for scene in network.scenes:
        for number, frame in enumerate(scene.frames):
            kind = random.random()
            # What is cut within its headers, or in its data, is read in Python.
            if kind < 0.02:
                scene.frames[number] = frame.cut(random.choice((60, 70)))
            elif kind < 0.04:
                scene.frames.append(frame)
    if random.random() < 0.5:
        both = Scene([frame for scene in network.scenes for frame in scene.frames])
        found = [both.capture()]
    else:
        found = [scene.capture(random.choice((None, None, 80))) for scene in network.scenes]
    if random.random() < 0.3:
        found.insert(random.randint(0, len(found)), conversations(random))
    if random.random() < 0.1:
        found[0] = found[0][:-10]
    return found


@needs_compiled
@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_ties_are_those_of_all_conversations(seed: int) -> None:
    """Whatever is tied, learned, dropped or shown twice."""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number, capture in enumerate(_captures(Random(seed))):  # noqa: S311 - traffic, no secret
            paths.append(Path(folder) / f"{number}.pcap")
            paths[-1].write_bytes(capture)
        assert survey_files(paths, CONFIG).ties == _ties_of_all(paths)


@needs_compiled
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_clients_of_one_server_have_no_partner(seed: int) -> None:
    """A file without a second side is read no third time: conversations that differ are told apart."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.pcap"
        path.write_bytes(conversations(Random(seed)))  # noqa: S311 - traffic, no secret
        survey = survey_file(path, ports=(135,), tunnels=False)
        servers = {tuple(row) for row in survey.sights[:, 3:5].tolist()}
        found = connections_with_partner([survey.sights])
    assert len(servers) > 1 or found == [[]]
