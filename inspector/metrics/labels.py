"""What of a finding, of an error or of the kernel program's counters becomes a label of a metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from inspector.errors import (
    Anomaly,
    AttachError,
    HookTakenError,
    LiveError,
    NoSuchInterfaceError,
    PrivilegeError,
    ToolchainError,
)
from inspector.model import Direction, Verdict
from inspector.record import KernelCounter

if TYPE_CHECKING:
    from inspector.model import Finding

OTHER: Final = "other"
LOST: Final = {
    KernelCounter.LOST_COMPACT_FULL: "compact_full",
    KernelCounter.LOST_BULK_FULL: "bulk_full",
    KernelCounter.LOST_COPY: "copy",
    KernelCounter.LOST_ICMP_BUDGET: "icmp_budget",
}
DIRECTIONS: Final = {
    KernelCounter.PACKETS_TO_SERVER: Direction.TO_SERVER,
    KernelCounter.PACKETS_FROM_SERVER: Direction.FROM_SERVER,
}
ANOMALIES: Final = {
    KernelCounter.LATER_FRAGMENTS: Anomaly.IP_FRAGMENT,
    KernelCounter.UNREADABLE_HEADERS: Anomaly.UNREADABLE_FRAME,
}
ATTACH_FAILURES: Final[dict[type[LiveError], str]] = {
    NoSuchInterfaceError: "no_such_interface",
    HookTakenError: "hook_taken",
    PrivilegeError: "privilege",
    ToolchainError: "toolchain",
    AttachError: "refused",
}


def attach_failure_reason(error: LiveError) -> str:
    """Return the value of the label `reason` for an error that kept the program off an interface."""
    for kind, reason in ATTACH_FAILURES.items():
        if isinstance(error, kind):
            return reason
    return OTHER


def is_mismatch(finding: Finding) -> bool:
    """Return whether a finding is, or has among its mappings, a mismatch.

    Of DCOM's bindings others may name other networks of the server, as long as one leads to the asked address.
    """
    if finding.dcom is not None:
        return finding.verdict is Verdict.MISMATCH
    return finding.verdict is Verdict.MISMATCH or any(
        mapping.verdict is Verdict.MISMATCH for mapping in finding.mappings
    )


def service_name(finding: Finding) -> str | None:
    """Return the well-known name of what a finding is about: of the first mismatching mapping, or of the request."""
    mismatching = [mapping.interface for mapping in finding.mappings if mapping.verdict is Verdict.MISMATCH]
    for interface in (*mismatching, finding.requested, *(mapping.interface for mapping in finding.mappings)):
        if interface is not None and interface.name is not None:
            return interface.name
    return None
