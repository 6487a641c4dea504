"""The proof that attaching works: attach, run a packet through the program, watch for a moment, detach, look again."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Final

from inspector.errors import NoSuchInterfaceError
from inspector.live.attach import devices, hooks
from inspector.live.attach.holders import tcx_programs
from inspector.live.attach.preflight import Check
from inspector.live.bpf import syscalls
from inspector.live.process.namespaces import inside
from inspector.live.session import Session, open_session
from inspector.record import KernelCounter, unpack_row

if TYPE_CHECKING:
    from inspector.model import Mode

_WATCH_S: Final = 1.0

# One map request's first segment, to the endpoint mapper, between addresses that are for documentation
# (RFC 5737): Ethernet, IPv4 of 48 bytes, TCP with push and acknowledgment, 8 bytes of payload.
_PROOF_SEQUENCE: Final = 0x45504D31
_PROOF_LINK: Final = bytes.fromhex("0200000000010200000000020800")
_PROOF_PACKET: Final = bytes.fromhex(
    "450000300001400040060000c0000201c0000202"
    "c3500087" + f"{_PROOF_SEQUENCE:08x}" + "00000001501801000000000005000b0310000000"
)


def prove(interface: str, mode: Mode = "auto", netns: str | None = None, *, tunnels: bool = False) -> list[Check]:
    """Attach as `attach` does by default, show that a packet is recorded, watch for a second, detach, and look again.

    Nothing is sent: the packet runs through the program by the kernel's test call. Raises what `open_session` raises.
    """
    with open_session([interface], mode=mode, netns=netns, tunnels=tunnels, follow_up=True) as session:
        attachment = session.attachments[0]
        with inside(netns):
            bare = hooks.is_bare(devices.find_device(interface))
        frame = _PROOF_PACKET if bare else _PROOF_LINK + _PROOF_PACKET
        checks = [
            Check("attach", "ok", attachment.explanation),
            _prove_record(session, frame),
            _watch(session, attachment.interface),
        ]
    checks.append(_prove_detached(interface, attachment.program_id, netns))
    return checks


def _total(session: Session, counter: KernelCounter) -> int:
    return sum(counters[counter] for counters in session.counters().values())


def _packets(session: Session, interface: str) -> int:
    counters = session.counters()[interface]
    return counters[KernelCounter.PACKETS_TO_SERVER] + counters[KernelCounter.PACKETS_FROM_SERVER]


def _prove_record(session: Session, frame: bytes) -> Check:
    before = _total(session, KernelCounter.SUBMITTED)
    run = syscalls.run_program(session.program_fd, frame)
    after = _total(session, KernelCounter.SUBMITTED)
    if run.data != frame:
        return Check("program", "fail", "the program changed a packet")
    # Real packets may be counted meanwhile.
    if after <= before:
        return Check("program", "fail", f"a test packet was not counted ({before} before, {after} after)")
    deadline = time.monotonic() + _WATCH_S
    while time.monotonic() < deadline:
        for row in itertools.chain.from_iterable(session.poll(_WATCH_S)):
            segment = unpack_row(row)
            if segment.sequence == _PROOF_SEQUENCE and segment.payload == frame[-8:]:
                return Check("program", "ok", "a test packet was counted, recorded and read back, and not changed")
    return Check("program", "fail", "a test packet was counted, but its record did not arrive")


def _watch(session: Session, interface: str) -> Check:
    before = _packets(session, interface)
    deadline = time.monotonic() + _WATCH_S
    while (left := deadline - time.monotonic()) > 0:
        session.poll(left)
    seen = _packets(session, interface) - before
    if not seen:
        return Check("traffic", "ok", f"no packet of an endpoint mapper within {_WATCH_S:g} s; that can be normal")
    return Check("traffic", "ok", f"{seen} packets of endpoint mappers within {_WATCH_S:g} s")


def _prove_detached(interface: str, program_id: int, netns: str | None) -> Check:
    with inside(netns):
        try:
            device = devices.find_device(interface)
        except NoSuchInterfaceError as error:
            return Check("detach", "warn", str(error))
        left = [*device.xdp_program_ids.values(), *tcx_programs(device.index)]
    if program_id in left:
        return Check("detach", "fail", f"program id {program_id} is still on {interface}")
    return Check("detach", "ok", "detached cleanly")
