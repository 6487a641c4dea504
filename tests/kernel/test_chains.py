"""Our place among other programs on tc: whoever ends the chain for a packet, we have seen it; theirs still decide."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

import pytest
from pyroute2 import IPRoute

from inspector.live.attach.links import CLSACT_HOOKS, Link
from inspector.live.bpf import syscalls
from inspector.live.process.namespaces import inside
from tests.kernel import frames
from tests.kernel.conftest import Cable, constant_program
from tests.kernel.kinds import run
from tests.kernel.live import EVERY_TC_WAY, HAS_TCX, TC_SHOT, attached, collect
from tests.kernel.test_coexistence import arrives

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.kernel]

TC_OK: Final = 0
ALL, IPV4 = 0x0003, 0x0800
TCX_HOOKS: Final = {"ingress": syscalls.AttachType.TCX_INGRESS, "egress": syscalls.AttachType.TCX_EGRESS}
DIRECTIONS = pytest.mark.parametrize("direction", TCX_HOOKS)
# Where the foreign program is: a link, or a filter of some priority. A link is before every filter.
PLACES: Final[dict[str, list[int | None]]] = {"tcx": [None, 1, 7], "clsact": [1, 7]}
OURS_AND_THEIRS = pytest.mark.parametrize(
    ("tcx", "priority"),
    [(ours == "tcx", place) for ours, places in PLACES.items() for place in places if HAS_TCX or ours == "clsact"],
)


@contextlib.contextmanager
def foreign(cable: Cable, direction: str, verdict: int, priority: int | None, protocol: int = ALL) -> Iterator[None]:
    """Keep somebody's program of one verdict on a hook of the near interface: by a link, or as a filter."""
    program = constant_program(syscalls.ProgramType.SCHED_CLS, verdict, "someones")
    index = cable.device().index
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, program)
        stack.enter_context(inside(cable.here))
        if priority is None:
            stack.callback(Link.create(program, index, TCX_HOOKS[direction]).close)
        else:
            rtnetlink = stack.enter_context(IPRoute())
            with contextlib.suppress(Exception):
                rtnetlink.tc("add", "clsact", index)
            parent = CLSACT_HOOKS[direction]
            settings = {"name": "someones", "classid": 1, "direct_action": True, "prio": priority}
            rtnetlink.tc("add-filter", "bpf", index, fd=program, parent=parent, protocol=protocol, **settings)
        yield


def shown(cable: Cable, direction: str) -> str:
    """Return the filters of a direction as `tc` shows them."""
    return run("tc", "-n", cable.here, "filter", "show", "dev", cable.near, direction)


@DIRECTIONS
@OURS_AND_THEIRS
def test_somebody_ends_the_chain(cable: Cable, tcx: bool, priority: int | None, direction: str) -> None:
    """A program that says TC_ACT_OK hides packets from those behind it: we are before it, though it came first."""
    with foreign(cable, direction, TC_OK, priority):
        before = shown(cable, direction)
        with attached(cable, "tc", tcx=tcx) as session:
            assert "are not seen" not in session.attachments[0].explanation
            cable.send_frame(frames.FRAMES["response"], outwards=direction == "egress")
            assert len(collect(session, 1)) == 1
        assert shown(cable, direction) == before


@DIRECTIONS
@OURS_AND_THEIRS
def test_somebody_drops(cable: Cable, tcx: bool, priority: int | None, direction: str) -> None:
    """A program that drops everything behind us drops on, and goes on when we have gone."""
    assert arrives(cable, direction)
    with foreign(cable, direction, TC_SHOT, priority):
        before = shown(cable, direction)
        with attached(cable, "tc", tcx=tcx):
            assert not arrives(cable, direction)
        assert shown(cable, direction) == before
        assert not arrives(cable, direction)


@DIRECTIONS
@pytest.mark.parametrize("kind", ["u32", "bpf"])
def test_somebody_is_first_in_spite_of_all(cable: Cable, direction: str, kind: str) -> None:
    """Before a filter of another kind, or protocol, of the very first priority there is no place: that is said."""
    with contextlib.ExitStack() as stack:
        if kind == "u32":
            run("tc", "-n", cable.here, "qdisc", "add", "dev", cable.near, "clsact")
            command = f"tc -n {cable.here} filter add dev {cable.near} {direction} prio 1"
            run(*f"{command} u32 match u32 0 0 flowid 1:1".split())
        else:
            stack.enter_context(foreign(cable, direction, TC_OK, 1, IPV4))
        stack.enter_context(foreign(cable, direction, TC_OK, 2))
        before = shown(cable, direction)
        session = stack.enter_context(attached(cable, "tc", tcx=False))
        said = session.attachments[0].explanation
        assert f"a filter of kind {kind} at priority 1" in said
        assert "pref 3 bpf" in shown(cable, direction)
        cable.send_frame(frames.FRAMES["response"], outwards=direction == "egress")
        assert collect(session, 1, timeout_s=0.3) == []
        session.close()
        assert shown(cable, direction) == before


@EVERY_TC_WAY
def test_beside_ourselves(cable: Cable, tcx: bool) -> None:
    """A third inspector goes before the first two, and each sees every packet once."""
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(attached(cable, "tc", tcx=tcx)) for _ in range(3)]
        cable.send_frame(frames.FRAMES["response"])
        cable.send_frame(frames.FRAMES["response"], outwards=True)
        assert [len(collect(session, 3, timeout_s=0.5)) for session in sessions] == [2, 2, 2]
