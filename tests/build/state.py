"""The state which an inspector serves, with two interfaces."""

from __future__ import annotations

from typing import Any

from inspector.consequence import Outcome
from inspector.model import Verdict

STATE: dict[str, Any] = {
    "version": "1.0",
    "pid": 42,
    "started": "2026-11-25T09:00:00.000000000Z",
    "time": "2026-11-25T09:00:10.000000000Z",
    "interfaces": [
        {
            "name": "eth0",
            "netns": None,
            "attached": True,
            "since": "2026-11-25T09:00:01.000000000Z",
            "explanation": "native XDP",
            "hook": "xdp",
            "mode": "native",
            "packets": {"to_server": 1000, "from_server": 234},
        },
        {
            "name": "eth1",
            "netns": "inner",
            "attached": False,
            "since": "2026-11-25T09:00:02.000000000Z",
            "explanation": "it has gone",
            "hook": None,
            "mode": None,
            "packets": None,
        },
    ],
    "packets": {"to_server": 1000, "from_server": 234},
    "lost": {"compact_full": 0, "bulk_full": 7, "copy": 0},
    "records_consumed": 1200,
    "ring": {"used_bytes": 1, "size_bytes": 100},
    "tracked_connections": 3,
    "verdicts": {str(verdict): 0 for verdict in Verdict} | {"mismatch": 3},
    "outcomes": {str(outcome): 0 for outcome in Outcome if outcome is not Outcome.NOT_FOLLOWED},
    "causes": {},
    "anomalies": {"stream_gap": 2},
}
