"""The JSON form of a finding. The keys and their order are `Finding.as_dict`'s."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inspector.model import Finding


def json_of(finding: Finding) -> str:
    """Return a finding as JSON, without white space."""
    return json.dumps(finding.as_dict(), separators=(",", ":"))
