"""What tshark reads in a capture, from its PDML: one element per field, with the bytes it was read from."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID
from xml.etree.ElementTree import Element, fromstring

from tests.oracle.facts import AnswerFact, PduFact, QuestionFact, Reading, ResultFact, SyntaxFact, TowerFact, reading_of

# Segments that come early are not put in order unless one asks for it.
_PREFERENCES = ("tcp.reassemble_out_of_order:TRUE",)
_EPM_PORTS = (135, 593)
_BIND, _BIND_ACK, _BIND_NAK, _REQUEST, _RESPONSE, _FAULT = (11, 14), (12, 15), 13, 0, 2, 3
_PORTS = ("epm.proto.tcp_port", "epm.proto.udp_port", "epm.proto.http_port")
_NAMES = ("epm.proto.named_pipe", "epm.proto.netbios_name")


def read_capture(path: Path) -> Reading:
    """Return what tshark reads in a capture."""
    command = ["tshark", "-n", "-r", str(path), "-T", "pdml"]
    # Its heuristics take a connectionless request, which begins with 4, for WireGuard.
    command += ["--disable-protocol", "wg"]
    for port in _EPM_PORTS:
        command += ["-d", f"tcp.port=={port},dcerpc"]
    for preference in _PREFERENCES:
        command += ["-o", preference]
    text = subprocess.run(command, check=True, capture_output=True).stdout
    pdus: list[PduFact] = []
    answers: list[AnswerFact] = []
    questions: list[QuestionFact] = []
    for packet in fromstring(text).iter("packet"):  # noqa: S314  # tshark wrote it
        if _number(packet, "frame.cap_len") < _number(packet, "frame.len"):
            continue  # what a capture has cut is shown as far as it goes
        for ports, pdu, stub in _calls(packet):
            if not set(ports) & set(_EPM_PORTS):
                continue
            to_server = ports[1] in _EPM_PORTS
            client_port = ports[0] if to_server else ports[1]
            if _all(pdu, "dcerpc.dg_seqnum"):
                kind, call_id = _number(pdu, "dcerpc.pkt_type"), _number(pdu, "dcerpc.dg_seqnum")
            else:
                fact = _pdu_fact(pdu, to_server=to_server)
                kind, call_id = fact.type, fact.call_id
                pdus.append(fact)
            if stub is None or _all(stub, "epm.opnum") == []:
                continue
            opnum = _number(stub, "epm.opnum")
            if opnum not in (2, 3):
                continue
            if kind == _RESPONSE and _all(stub, "epm.rc"):
                status = int(_show(stub, "epm.rc"), 16)
                answers.append(AnswerFact(client_port, call_id, opnum, status, tuple(_towers(stub))))
            elif kind == _REQUEST:
                questions.append(QuestionFact(client_port, call_id, opnum, _requested(stub, opnum)))
    return reading_of(pdus, answers, questions)


def _calls(packet: Element) -> Iterator[tuple[tuple[int, int], Element, Element | None]]:
    """Yield source and destination port, the PDU, and its stub where tshark reads that as the endpoint mapper's."""
    ports = (0, 0)
    pdu: Element | None = None
    stub: Element | None = None
    for protocol in packet:
        name = protocol.get("name")
        if name in ("tcp", "udp"):
            ports = (_number(protocol, f"{name}.srcport"), _number(protocol, f"{name}.dstport"))
        elif name == "epm":
            stub = protocol
        elif name == "dcerpc":
            if pdu is not None:
                yield ports, pdu, stub
            pdu, stub = protocol, None
    if pdu is not None:
        yield ports, pdu, stub


def _all(element: Element, *names: str) -> list[Element]:
    """Return the fields of these names, in the order of the packet; tshark's hidden copies left out."""
    return [one for one in element.iter("field") if one.get("name") in names and one.get("hide") != "yes"]


def _show(element: Element, name: str) -> str:
    return _all(element, name)[0].get("show", "")


def _number(element: Element, name: str) -> int:
    return int(_show(element, name), 0)


def _little(field: Element) -> int:
    """Return the integer of a field's bytes in a tower, which are little-endian whatever tshark shows."""
    return int.from_bytes(bytes.fromhex(field.get("value", "")), "little")


def _uuid(field: Element) -> UUID:
    return UUID(field.get("show", ""))


def _pdu_fact(pdu: Element, *, to_server: bool) -> PduFact:
    kind = _number(pdu, "dcerpc.pkt_type")
    return PduFact(
        to_server,
        kind,
        _number(pdu, "dcerpc.cn_flags"),
        _number(pdu, "dcerpc.drep.byteorder") == 1,
        _number(pdu, "dcerpc.cn_frag_len"),
        _number(pdu, "dcerpc.cn_call_id"),
        _body_of(pdu, kind),
    )


def _body_of(pdu: Element, kind: int) -> tuple[object, ...]:
    if kind in _BIND:
        return tuple(_proposal(item) for item in _all(pdu, "dcerpc.cn_ctx_item"))
    if kind in _BIND_ACK:
        return tuple(_result(item) for item in pdu.iter("field") if item.get("show", "").startswith("Ctx Item["))
    if kind == _BIND_NAK:
        majors, minors = (_all(pdu, f"dcerpc.cn_protocol_ver_{part}") for part in ("major", "minor"))
        versions = tuple(
            (int(major.get("show", "")), int(minor.get("show", "")))
            for major, minor in zip(majors, minors, strict=True)
        )
        return (_number(pdu, "dcerpc.cn_reject_reason"), versions)
    if kind == _REQUEST:
        objects = _all(pdu, "dcerpc.obj_id")
        context = _number(pdu, "dcerpc.cn_ctx_id")
        object_uuid = _uuid(objects[0]) if objects else None
        return (_number(pdu, "dcerpc.cn_alloc_hint"), context, _number(pdu, "dcerpc.opnum"), object_uuid)
    if kind == _RESPONSE:
        return (_number(pdu, "dcerpc.cn_alloc_hint"), _number(pdu, "dcerpc.cn_ctx_id"))
    if kind == _FAULT:
        return (_number(pdu, "dcerpc.cn_ctx_id"), _number(pdu, "dcerpc.cn_status"))
    return ()


def _proposal(item: Element) -> tuple[object, ...]:
    abstract = SyntaxFact(
        _uuid(_all(item, "dcerpc.cn_bind_to_uuid")[0]),
        _number(item, "dcerpc.cn_bind_if_ver"),
        _number(item, "dcerpc.cn_bind_if_ver_minor"),
    )
    transfers = tuple(
        _versioned(identifier, version)
        for identifier, version in zip(
            _all(item, "dcerpc.cn_bind_trans_id"), _all(item, "dcerpc.cn_bind_trans_ver"), strict=True
        )
    )
    return (_number(item, "dcerpc.cn_ctx_id"), abstract, transfers)


def _versioned(identifier: Element, version: Element) -> SyntaxFact:
    number = int(version.get("show", ""), 0)
    return SyntaxFact(_uuid(identifier), number & 0xFFFF, number >> 16)


def _result(item: Element) -> ResultFact:
    result = _number(item, "dcerpc.cn_ack_result")
    # The field is a reason for a rejection, and the negotiated features in a negotiate_ack.
    reason = _all(item, "dcerpc.cn_ack_reason", "dcerpc.cn_bind_trans_btfn")
    transfer = _versioned(_all(item, "dcerpc.cn_ack_trans_id")[0], _all(item, "dcerpc.cn_ack_trans_ver")[0])
    return ResultFact(result, int(reason[0].get("show", ""), 0) if reason else 0, transfer)


def _requested(stub: Element, opnum: int) -> SyntaxFact | None:
    if opnum == 2:
        interfaces = _all(stub, "epm.if_id")
        if not interfaces:
            return None
        return SyntaxFact(_uuid(interfaces[0]), _number(stub, "epm.ver_maj"), _number(stub, "epm.ver_min"))
    towers = list(_towers(stub))
    return towers[0].interface if towers else None


def _towers(stub: Element) -> Iterator[TowerFact]:
    """Yield the towers in the order of the packet, each with the annotation of its entry in a listing."""
    annotations = iter(_all(stub, "epm.annotation"))
    listing = _show(stub, "epm.opnum") == "2"
    for parent in [stub, *stub.iter("field")]:
        floors = [one for one in parent if one.get("show", "").startswith("Floor ")]
        if any(one.get("name") == "epm.tower.num_floors" for one in parent):
            yield _tower(floors, next(annotations).get("show", "") if listing else None)


def _tower(floors: list[Element], annotation: str | None) -> TowerFact:
    syntaxes = []
    ports, addresses, names = [], [], []
    for floor in floors:
        identifiers = _all(floor, "epm.uuid")
        if identifiers:
            version, minor = _all(floor, "epm.uuid_version")[0], _all(floor, "epm.ver_min")
            syntaxes.append(SyntaxFact(_uuid(identifiers[0]), _little(version), _little(minor[0]) if minor else 0))
        ports += [int(one.get("show", "")) for one in _all(floor, *_PORTS)]
        addresses += [one.get("show", "") for one in _all(floor, "epm.proto.ip")]
        names += [one.get("show", "") for one in _all(floor, *_NAMES)]
    spans = tuple(bytes.fromhex(floor.get("value", "")) for floor in floors)
    interface, transfer = (*syntaxes, None, None)[:2]
    return TowerFact(
        spans,
        interface,
        transfer,
        ports[-1] if ports else None,
        addresses[-1] if addresses else None,
        tuple(names),
        annotation,
    )
