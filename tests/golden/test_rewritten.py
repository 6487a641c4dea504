"""What a load balancer does: the server's address in the IP header changes, the payload does not."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Address

import pytest

from inspector.capture.pcap import read_records
from inspector.decode.batch import singly
from inspector.judge.policy import Policy
from inspector.model import Finding, Segment, Verdict
from inspector.pipeline import Pipeline
from inspector.record import pack_record, unpack_record
from tests.build.blocks import findings_of_batch
from tests.build.connection import raw_address
from tests.golden.store import GOLDEN, config_of, trace_names


def behind_vip(segment: Segment, vips: dict[bytes, bytes]) -> Segment:
    """Return the segment with the server's address replaced by a VIP of its own."""
    server = segment.source_address if segment.from_server else segment.destination_address
    vip = vips.setdefault(server, raw_address(f"198.51.100.{len(vips) + 1}"))
    return segment._replace(source_address=vip) if segment.from_server else segment._replace(destination_address=vip)


def findings_of(name: str, *, rewritten: bool) -> list[Finding]:
    """Return the findings of a trace, as it is or behind VIPs, without any declared pool."""
    config = config_of(name, GOLDEN)
    pipeline = Pipeline(Policy(), str, config.decoder_limits())
    path = GOLDEN / "traces" / f"{name}.pcapng"
    findings: list[Finding] = []
    vips: dict[bytes, bytes] = {}
    for record in read_records(path, ports=config.ports, counters=Counter()):
        segment = unpack_record(record)
        findings += findings_of_batch(pipeline, pack_record(behind_vip(segment, vips) if rewritten else segment))
    return findings + list(singly(pipeline.flush()))


@pytest.mark.parametrize("name", trace_names())
def test_every_offered_address_becomes_a_mismatch(name: str) -> None:
    """Every address that leads somewhere is a mismatch behind a VIP; 0.0.0.0 and the rest stay what they were."""
    before, after = (findings_of(name, rewritten=rewritten) for rewritten in (False, True))
    offered = [[mapping.address for mapping in finding.mappings] for finding in before]
    assert [[mapping.address for mapping in finding.mappings] for finding in after] == offered
    for finding in after:
        for mapping in finding.mappings:
            if isinstance(mapping.address, IPv4Address) and mapping.verdict is not Verdict.MISMATCH:
                assert mapping.address.is_unspecified or mapping.verdict is Verdict.UNROUTABLE
