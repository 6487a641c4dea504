"""DCOM on the endpoint mapper's port: stubs of IObjectExporter, IRemoteSCMActivator and IActivation (MS-DCOM 3.1.2.5).

Every reader takes a joined stub and returns a value or raises DecodeError. An answer offers string bindings, as an
answer of the endpoint mapper offers towers; clients connect to their addresses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple
from uuid import UUID

from inspector.errors import Anomaly, DecodeError
from inspector.wire import activation
from inspector.wire.bindings import (
    NO_BINDINGS,
    DualStrings,
    SecurityBinding,
    StringBinding,
    read_conformant_dual_strings,
)
from inspector.wire.ndr import NdrReader

OBJECT_EXPORTER: Final = UUID("99fcfec4-5260-101b-bbcb-00aa0021347a")
SCM_ACTIVATOR: Final = UUID("000001a0-0000-0000-c000-000000000046")
ACTIVATION: Final = UUID("4d9f4ab8-7d1c-11cf-861e-0020af6e7c57")
INTERFACES: Final = (OBJECT_EXPORTER, SCM_ACTIVATOR, ACTIVATION)

OPERATIONS: Final = {
    OBJECT_EXPORTER: {
        0: "ResolveOxid",
        1: "SimplePing",
        2: "ComplexPing",
        3: "ServerAlive",
        4: "ResolveOxid2",
        5: "ServerAlive2",
    },
    SCM_ACTIVATOR: {3: "RemoteGetClassObject", 4: "RemoteCreateInstance"},
    ACTIVATION: {0: "RemoteActivation"},
}
ACTIVATIONS: Final = frozenset({"RemoteGetClassObject", "RemoteCreateInstance", "RemoteActivation"})

_FAILURE: Final = 0x80000000
_COM_MAJOR: Final = 5
_MOST_PROTOCOLS: Final = 16


class Request(NamedTuple):
    """[in] parameters that tell what is asked for; None and () where the operation has none, or none was sent."""

    class_id: UUID | None = None
    interfaces: tuple[UUID, ...] = ()
    server_name: str | None = None
    oxid: int | None = None
    protocols: tuple[int, ...] = ()


class Response(NamedTuple):
    """[out] parameters. `status` is an HRESULT, or the error status of IObjectExporter's operations.

    `strings` are the bindings of the object exporter (of the object resolver, in answers of ServerAlive2),
    `resolvers` those of the resolvers in returned object references. `results` are interfaces with their HRESULT.
    """

    status: int
    strings: tuple[StringBinding, ...] = ()
    securities: tuple[SecurityBinding, ...] = ()
    resolvers: tuple[StringBinding, ...] = ()
    oxid: int | None = None
    ipid: UUID | None = None
    authentication_hint: int | None = None
    version: tuple[int, int] | None = None
    results: tuple[tuple[UUID, int], ...] = ()
    anomalies: tuple[Anomaly, ...] = ()


def operation_of(interface: UUID, opnum: int) -> str:
    """Return the name of an operation."""
    return OPERATIONS[interface].get(opnum, f"opnum {opnum}")


def is_failure(interface: UUID, status: int) -> bool:
    """Return whether a status says that the call failed: an HRESULT by its severity, an error status if not zero."""
    return status != 0 if interface == OBJECT_EXPORTER else status >= _FAILURE


def read_request(
    interface: UUID, opnum: int, stub: bytes, transfer_syntax: str, *, little_endian: bool = True
) -> Request:
    """Return what a request asks for; nothing for operations without such parameters. Raises DecodeError."""
    read = _REQUESTS.get((interface, opnum))
    return read(NdrReader(stub, transfer_syntax, little_endian=little_endian)) if read is not None else Request()


def read_response(
    interface: UUID, opnum: int, stub: bytes, transfer_syntax: str, *, little_endian: bool = True
) -> Response:
    """Return what an answer says; the last four bytes of operations that offer nothing are the status.

    Raises DecodeError.
    """
    reader = NdrReader(stub, transfer_syntax, little_endian=little_endian)
    read = _RESPONSES.get((interface, opnum))
    if read is None:
        if len(stub) < 4:
            raise DecodeError(Anomaly.STUB_MALFORMED, f"stub of {len(stub)} bytes")
        reader.take(len(stub) - 4)
        return Response(reader.long())
    response = read(reader)
    if reader.has_trailing_bytes:
        if not response.strings and not response.resolvers:
            raise reader.fail(f"{reader.left} bytes left")
        return response._replace(anomalies=(*response.anomalies, Anomaly.STUB_TRAILING_BYTES))
    return response


def is_telling(response: Response) -> bool:
    """Return whether an answer cannot be another interface's by chance: it offers bindings, and nothing is odd."""
    return bool(response.strings or response.resolvers) and Anomaly.STUB_TRAILING_BYTES not in response.anomalies


def _read_version(reader: NdrReader) -> tuple[int, int]:
    reader.align(2)
    version = reader.short(), reader.short()
    if version[0] != _COM_MAJOR:
        raise reader.fail(f"COM version {version[0]}.{version[1]}")
    return version


def _skip_extensions(reader: NdrReader) -> None:
    """Pass over the ORPC_EXTENT_ARRAY behind a header's pointer (MS-DCOM section 2.2.21.1)."""
    if not reader.count():
        return
    reader.long()
    reader.aligned_long()
    if not reader.count():
        return
    for referent in reader.counts(_bounded(reader, reader.count(), 4)):
        if referent:
            conformance = reader.count()
            reader.take(20)
            reader.take(conformance)


def _bounded(reader: NdrReader, count: int, size: int) -> int:
    """Return a count of elements; raises DecodeError where the stub has no room for them."""
    if count > reader.left // size:
        raise reader.fail(f"{count} elements in {reader.left} bytes")
    return count


def _skip_this(reader: NdrReader) -> None:
    """Pass over ORPCTHIS (MS-DCOM section 2.2.13.3)."""
    _read_version(reader)
    reader.take(24)
    _skip_extensions(reader)


def _skip_that(reader: NdrReader) -> None:
    """Pass over ORPCTHAT (MS-DCOM section 2.2.13.4)."""
    reader.long()
    _skip_extensions(reader)


def _read_protocols(reader: NdrReader) -> tuple[int, ...]:
    reader.align(2)
    reader.short()
    count = _bounded(reader, reader.count(), 2)
    return reader.shorts(count)[:_MOST_PROTOCOLS]


def _read_resolve_request(reader: NdrReader) -> Request:
    reader.align(8)
    return Request(oxid=reader.hyper(), protocols=_read_protocols(reader))


def _read_activator_request(reader: NdrReader) -> Request:
    _skip_this(reader)
    return _read_properties_in(reader)


def _read_create_request(reader: NdrReader) -> Request:
    _skip_this(reader)
    if reader.count():
        activation.read_interface_pointer(reader)
    return _read_properties_in(reader)


def _read_properties_in(reader: NdrReader) -> Request:
    if not reader.count():
        return Request()
    data = activation.read_interface_pointer(reader)
    asked = activation.read_asked(activation.read_properties(data, activation.PROPERTIES_IN))
    return Request(asked.class_id, asked.interfaces, asked.server_name)


def _read_activation_request(reader: NdrReader) -> Request:
    _skip_this(reader)
    class_id = reader.uuid()
    if reader.count():
        activation.read_string(reader)
    if reader.count():
        activation.read_interface_pointer(reader)
    reader.aligned_long()
    reader.long()
    count = reader.long()
    interfaces: tuple[UUID, ...] = ()
    if reader.count():
        conformance = _bounded(reader, reader.count(), 16)
        if conformance != count:
            raise reader.fail(f"{count} interfaces in an array of {conformance}")
        interfaces = activation.read_interfaces(reader, count)
    return Request(class_id, interfaces, protocols=_read_protocols(reader))


def _read_bindings(reader: NdrReader) -> DualStrings:
    return read_conformant_dual_strings(reader) if reader.count() else NO_BINDINGS


def _response_of(status: int, bindings: DualStrings | None) -> Response:
    found = bindings or NO_BINDINGS
    return Response(status, found.strings, found.securities, anomalies=tuple(sorted(found.anomalies)))


def _read_ipid(reader: NdrReader) -> UUID:
    reader.align(4)
    return reader.uuid()


def _read_resolve_response(reader: NdrReader) -> Response:
    return _read_resolved(reader, has_version=False)


def _read_resolve_2_response(reader: NdrReader) -> Response:
    return _read_resolved(reader, has_version=True)


def _read_resolved(reader: NdrReader, *, has_version: bool) -> Response:
    bindings = _read_bindings(reader)
    ipid, hint = _read_ipid(reader), reader.long()
    # Zero where the call failed.
    version = (reader.short(), reader.short()) if has_version else None
    response = _response_of(reader.aligned_long(), bindings)
    return response._replace(ipid=ipid, authentication_hint=hint, version=version)


def _read_alive_2_response(reader: NdrReader) -> Response:
    version = _read_version(reader)
    bindings = _read_bindings(reader)
    reader.aligned_long()
    return _response_of(reader.aligned_long(), bindings)._replace(version=version)


def _read_activator_response(reader: NdrReader) -> Response:
    _skip_that(reader)
    if not reader.count():
        return Response(reader.aligned_long())
    data = activation.read_interface_pointer(reader)
    status = reader.aligned_long()
    properties = activation.read_properties(data, activation.PROPERTIES_OUT)
    reply = results = None
    if activation.SCM_REPLY_INFO in properties:
        reply = activation.read_reply(properties[activation.SCM_REPLY_INFO])
    if activation.PROPS_OUT_INFO in properties:
        results = activation.read_results(properties[activation.PROPS_OUT_INFO])
    response = _response_of(status, reply.bindings if reply is not None else None)
    if reply is not None:
        response = response._replace(
            oxid=reply.oxid, ipid=reply.ipid, authentication_hint=reply.authentication_hint, version=reply.version
        )
    return _with_results(response, results) if results is not None else response


def _with_results(response: Response, results: activation.Results) -> Response:
    anomalies = tuple(sorted({*response.anomalies, *results.anomalies}))
    return response._replace(resolvers=results.resolvers, results=results.interfaces, anomalies=anomalies)


def _read_activation_response(reader: NdrReader) -> Response:
    _skip_that(reader)
    reader.align(8)
    oxid, bindings = reader.hyper(), _read_bindings(reader)
    ipid, hint = _read_ipid(reader), reader.long()
    version, status = (reader.short(), reader.short()), reader.aligned_long()
    results = activation.read_pointers(reader, _bounded(reader, reader.count(), 4))
    reader.longs(_bounded(reader, reader.count(), 4))
    error = reader.aligned_long()
    response = _response_of(status or error, bindings)
    response = response._replace(oxid=oxid, ipid=ipid, authentication_hint=hint, version=version)
    return _with_results(response, results)


_REQUESTS: Final[dict[tuple[UUID, int], Callable[[NdrReader], Request]]] = {
    (OBJECT_EXPORTER, 0): _read_resolve_request,
    (OBJECT_EXPORTER, 4): _read_resolve_request,
    (SCM_ACTIVATOR, 3): _read_activator_request,
    (SCM_ACTIVATOR, 4): _read_create_request,
    (ACTIVATION, 0): _read_activation_request,
}
_RESPONSES: Final[dict[tuple[UUID, int], Callable[[NdrReader], Response]]] = {
    (OBJECT_EXPORTER, 0): _read_resolve_response,
    (OBJECT_EXPORTER, 4): _read_resolve_2_response,
    (OBJECT_EXPORTER, 5): _read_alive_2_response,
    (SCM_ACTIVATOR, 3): _read_activator_response,
    (SCM_ACTIVATOR, 4): _read_activator_response,
    (ACTIVATION, 0): _read_activation_response,
}
OFFERING: Final = tuple(_RESPONSES)
"""Interface and number of the operations whose answers offer bindings."""
