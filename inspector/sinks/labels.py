"""What of a finding becomes a label of a metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inspector.model import Verdict

if TYPE_CHECKING:
    from inspector.model import Finding


def is_mismatch(finding: Finding) -> bool:
    """Return whether a finding is, or has among its mappings, a mismatch."""
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
