"""Attached to every kind of interface: a real conversation through it is read, or one line says why not."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from inspector.decode.batch import singly
from inspector.errors import AttachError
from inspector.judge.policy import Policy
from inspector.live import proof
from inspector.live.attach import drivers, preflight
from inspector.live.process.namespaces import inside
from inspector.model import Verdict
from inspector.pipeline import Pipeline
from inspector.record import LOSS_REASONS, Attribute, KernelCounter, unpack_record
from tests.build import pdu
from tests.build.blocks import findings_of_batch
from tests.build.epm import SAMR, map_request, map_response, tcp_tower
from tests.kernel import frames
from tests.kernel.conftest import Cable, wait_until_up
from tests.kernel.kinds import ANSWERS, DEVICE, KINDS, NO_NATIVE, TUN, Kind, ip, laid, open_tuntap
from tests.kernel.live import HAS_TCX, TC_WAYS, attached, collect, conserved, records_of, stream

if TYPE_CHECKING:
    from inspector.live.attach.attachment import Attachment
    from inspector.live.session import Session
    from inspector.model import Mode

pytestmark = [pytest.mark.kernel]

DIP: Final = "10.11.2.7"
REQUEST: Final = pdu.request(map_request(tcp_tower(SAMR)))
ANSWER: Final = pdu.response(map_response([tcp_tower(SAMR, 49152, DIP)]))
MODES: Final[tuple[Mode, ...]] = ("auto", "native", "generic", "tc")


def converse(session: Session, cable: Cable, request: bytes, answer: bytes) -> list[bytes]:
    """Let the two ends talk, and return the records of it."""
    cable.converse(request, answer)
    found = collect(session, 100_000, timeout_s=0.3)
    session.detach()
    return found + records_of(session.drain())


def check_records(records: list[bytes], wanted: dict[bool, bytes]) -> None:
    """Compare both directions' bytes (by: from the server), of which each must have been seen once."""
    segments = [unpack_record(record) for record in records]
    for from_server, data in wanted.items():
        mine = [s for s in segments if bool(s.attributes & Attribute.FROM_SERVER) == from_server]
        if data:
            assert stream(segments, from_server=from_server) == data
            # What is sent again for want of an acknowledgment may come twice, not all of it.
            assert sum(len(s.payload) for s in mine) < 2 * len(data)
        else:
            assert mine == []


def check_finding(records: list[bytes], cable: Cable) -> None:
    """Decode, and compare the finding with what was said through the device."""
    pipeline = Pipeline(Policy(), lambda _: cable.near)
    found = [one for record in records for one in findings_of_batch(pipeline, record)] + list(singly(pipeline.flush()))
    [finding] = found
    said = finding.as_dict()
    assert (said["source"], said["client"], said["asked"]) == (cable.near, cable.near_address, cable.far_address)
    assert (finding.verdict, said["mappings"][0]["address"]) == (Verdict.MISMATCH, DIP)
    assert "tunnel" not in said


def visible(
    kind: Kind, attachment: Attachment, mode: Mode, cable: Cable, request: bytes, answer: bytes
) -> dict[bool, bytes]:
    """Return what must be seen of a conversation: XDP sees what arrives, and on the loopback all does."""
    arriving = attachment.hook == "xdp" or (mode == "auto" and kind.auto == "ingress")
    sees_requests = cable.near == "lo" or not (arriving or kind.sees == ANSWERS)
    return {True: answer, False: request if sees_requests else b""}


def refused(device: Cable, mode: Mode, words: str) -> None:
    """Check that a mode is refused by one line with these words, and that `check` says so before, where it can tell."""
    with pytest.raises(AttachError, match=words) as error:
        attached(device, mode)
    assert "\n" not in str(error.value)
    assert device.near in str(error.value)
    failed = [check.name for check in preflight.run_checks(device.near, mode, device.here) if check.level == "fail"]
    with inside(device.here):
        cannot_tell = words == NO_NATIVE and drivers.find_xdp_features(device.device().index) is None
    assert failed == ([] if cannot_tell else ["mode"])


def inspected(device: Cable, kind: Kind, mode: Mode, *, tcx: bool) -> None:
    """Check that a mode attaches as it should, and that a conversation is read and judged."""
    checks = list(preflight.run_checks(device.near, mode, device.here))
    assert [check.text for check in checks if check.level == "fail"] == []
    with attached(device, mode, tcx=tcx) as session:
        [attachment] = session.attachments
        way = {"auto": kind.auto, "tc": "tcx"}.get(mode, mode)
        links = "tcx" if tcx and HAS_TCX else "clsact"
        assert attachment.mode == (links if way in ("tcx", "ingress") else way)
        assert kind.said in attachment.explanation
        records = converse(session, device, REQUEST, ANSWER)
        assert conserved(session)[device.near][KernelCounter.UNREADABLE_HEADERS] == 0
    check_records(records, visible(kind, attachment, mode, device, REQUEST, ANSWER))
    check_finding(records, device)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(cable: Cable, kind: str) -> None:
    """In every mode a conversation through the device is read whole, once, and judged; or one line says why not."""
    wait_until_up(cable)
    expected = KINDS[kind]
    with laid(cable, kind) as device:
        for mode in MODES:
            words = expected.refusal(mode)
            if words is not None:
                refused(device, mode, words)
                continue
            for tcx in TC_WAYS.values() if mode == "tc" else (True,):
                inspected(device, expected, mode, tcx=tcx)


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.refusal("tc") is None])
def test_jumbo_frames(cable: Cable, kind: str) -> None:
    """At a large MTU, with packets of several buffers and merged ones, what was said is read to the last byte."""
    cable.set_mtu(9000)
    wait_until_up(cable)
    request, answer = frames.payload(40_000), frames.payload(300_000)
    with laid(cable, kind) as device:
        if device.near not in ("lo", cable.near):
            for namespace, name in ((device.here, device.near), (device.there, device.far)):
                ip(namespace, f"link set {name} mtu {KINDS[kind].mtu}")
        modes: tuple[Mode, ...] = ("auto", "tc")
        for mode in modes:
            # Nobody reads before the end, and a merged packet takes 64 KiB of the ring whatever its length.
            with attached(device, mode, bulk_ring_bytes=1 << 24) as session:
                [attachment] = session.attachments
                records = converse(session, device, request, answer)
                assert sum(conserved(session)[device.near][reason] for reason in LOSS_REASONS) == 0
            check_records(records, visible(KINDS[kind], attachment, mode, device, request, answer))


@pytest.mark.parametrize(("kind", "mode"), [("veth", "auto"), ("tun", "auto"), ("tun", "tc"), ("ifb", "auto")])
def test_the_proof(cable: Cable, kind: str, mode: Mode) -> None:
    """`check` attaches, finds its own packet in the ring, however packets begin there, and leaves nothing."""
    with laid(cable, kind) as device:
        checks = proof.prove(device.near, mode, device.here)
        assert [check.level for check in checks] == ["ok"] * 4
        assert device.programs() == []


@pytest.mark.parametrize(("link_type", "of"), [(32, "InfiniBand"), (280, "CAN"), (803, "IEEE 802.11, radiotap")])
def test_other_link_types(cable: Cable, link_type: int, of: str) -> None:
    """What begins with neither an Ethernet nor an IP header is refused in every mode, by one line."""
    fd = open_tuntap(cable.here, TUN, link_type)
    try:
        device = replace(cable, near=DEVICE)
        for mode in MODES:
            with pytest.raises(AttachError, match=f"layer: link type {link_type} .*not supported") as error:
                attached(device, mode)
            assert "\n" not in str(error.value), of
            failed = [c.name for c in preflight.run_checks(DEVICE, mode, cable.here) if c.level == "fail"]
            assert failed == ["mode"]
        assert device.programs() == []
    finally:
        os.close(fd)
