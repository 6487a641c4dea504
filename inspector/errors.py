"""Everything that can go wrong: errors end a command with one line, anomalies are counted and life goes on."""

from __future__ import annotations

import enum


class InspectorError(Exception):
    """Root of every error which a command reports in one line; its text is written for the operator."""


class ConfigError(InspectorError):
    """The configuration file cannot be used; the text names the line or the key."""


class CaptureError(InspectorError):
    """The file is no capture, or of a kind that cannot be read."""


class CaptureTruncatedError(CaptureError):
    """The capture ends in the middle of a packet; everything before it has been read."""


class LiveError(InspectorError):
    """The kernel path cannot be set up."""


class ToolchainError(LiveError):
    """bcc is missing, is another project of that name, or cannot compile the program."""


class PrivilegeError(LiveError):
    """The process lacks a capability which the kernel path needs."""


class NoSuchInterfaceError(LiveError):
    """There is no network interface of that name."""


class NoSuchNamespaceError(LiveError):
    """There is no network namespace of that name."""


class HookTakenError(LiveError):
    """Somebody else's program holds the hook; the text names it."""


class AttachError(LiveError):
    """The kernel refused the program on that interface; the text says why and what to do."""


class ListenError(InspectorError):
    """The address for the metrics server, or the local socket, cannot be had."""


class RunningError(InspectorError):
    """A running inspector cannot be found or asked."""


class LibraryError(InspectorError):
    """A library that only one command needs is not installed; the text names it."""


class OutputError(InspectorError):
    """Findings or evidence cannot be written where they should go."""


class LaboratoryError(InspectorError):
    """The demonstration gateway cannot be built here."""


class DecodeError(Exception):
    """Bytes contradict the specification; carries the anomaly under which that is counted.

    Raised inside `inspector.wire` only, and caught there.
    """

    def __init__(self, anomaly: Anomaly, detail: str = "") -> None:
        super().__init__(f"{anomaly}: {detail}" if detail else str(anomaly))
        self.anomaly = anomaly
        self.detail = detail


class AttachmentLoss(enum.StrEnum):
    """Why an interface has no program any more. A closed set: it labels a metric."""

    DELETED = "interface_deleted"
    MOVED = "interface_moved"
    REPLACED = "interface_replaced"
    DETACHED = "detached"


class Anomaly(enum.StrEnum):
    """Why something could not be read, or was read with doubt. A closed set: it labels a metric."""

    # The packet
    UNREADABLE_FRAME = "unreadable_frame"
    IP_FRAGMENT = "ip_fragment"
    SEGMENT_CUT = "segment_cut"
    # The stream
    STREAM_GAP = "stream_gap"
    STREAM_OVERFLOW = "stream_overflow"
    STREAM_CONFLICT = "stream_conflict"
    STREAM_NOT_RPC = "stream_not_rpc"
    CONNECTION_EVICTED = "connection_evicted"
    DECODER_QUOTA = "decoder_quota"
    # What answers lead to
    OUTCOME_EVICTED = "outcome_evicted"
    OUTCOME_UNDECIDED = "outcome_undecided"
    FOLLOW_UP_QUOTA = "follow_up_quota"
    ONE_WAY_VIEW = "one_way_view"
    # What does not fit the connection: a forger's, or of a connection that was seen in part only
    SYN_NOT_ACCEPTED = "syn_not_accepted"
    RESET_NOT_ACCEPTED = "reset_not_accepted"
    FIN_NOT_ACCEPTED = "fin_not_accepted"
    SEGMENT_NOT_ACCEPTED = "segment_not_accepted"
    DATA_AFTER_END = "data_after_end"
    STREAM_MOVED = "stream_moved"
    REPETITION_NOT_COMPARED = "repetition_not_compared"
    # The PDU
    PDU_MALFORMED = "pdu_malformed"
    FRAGMENT_ORDER = "fragment_order"
    FRAGMENTS_TOO_LARGE = "fragments_too_large"
    AUTH_MALFORMED = "auth_malformed"
    BIND_NOT_SEEN = "bind_not_seen"
    TOO_MANY_CALLS = "too_many_calls"
    TOO_MANY_CONTEXTS = "too_many_contexts"
    CALL_ID_REUSED = "call_id_reused"
    # The stub
    REQUEST_NOT_SEEN = "request_not_seen"
    STUB_MALFORMED = "stub_malformed"
    STUB_TRAILING_BYTES = "stub_trailing_bytes"
    NAME_CUT = "name_cut"
    TOWER_MALFORMED = "tower_malformed"
    TOWER_NULL = "tower_null"
    TOWER_ODD_FLOOR = "tower_odd_floor"
    TOWER_REPEATED = "tower_repeated"
    TOWER_TRAILING_BYTES = "tower_trailing_bytes"
    TOWER_UNKNOWN_FLOOR = "tower_unknown_floor"
    TOWER_COUNT_MISMATCH = "tower_count_mismatch"
    TOWERS_TOO_MANY = "towers_too_many"
    RESPONSE_NOT_VISIBLE = "response_not_visible"
    RESPONSE_UNIDENTIFIED = "response_unidentified"
