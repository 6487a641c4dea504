"""Findings in a real journal: systemd's own program takes them, and `journalctl` shows them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from inspector.output.journal import MESSAGE_ID
from tests.conftest import require_tools, unavailable

pytestmark = pytest.mark.lab

ROOT = Path(__file__).parents[2]
DAEMON = Path("/usr/lib/systemd/systemd-journald")

# A journal of its own, in a mount namespace of its own; it leaves the kernel's log and audit alone.
SCRIPT = """
set -e
mount --make-rprivate /
mount -t tmpfs journal-test /run
mkdir -p /run/systemd/journald.conf.d
printf '[Journal]\\nAudit=no\\nReadKMsg=no\\nStorage=volatile\\n' > /run/systemd/journald.conf.d/test.conf
[ -s /etc/machine-id ] || { echo 0123456789abcdef0123456789abcdef > /run/id; mount --bind /run/id /etc/machine-id; }
$DAEMON > /dev/null 2>&1 &
journal=$!
trap 'kill $journal' EXIT
for _ in $(seq 100); do [ -S /run/systemd/journal/socket ] && break; sleep 0.1; done
$PYTHON -c "$SENDER"
for _ in $(seq 100); do
    journalctl --no-pager --all -o json MESSAGE_ID=$MESSAGE_ID > /run/found
    [ "$(wc -l < /run/found)" -ge 2 ] && break
    sleep 0.1
done
cat /run/found
"""
SENDER = """
from inspector.output.journal import Journal
from tests.build.blocks import batch_of
from tests.unit.test_console import FINDING
from tests.unit.test_journal import LARGE
sink = Journal(print)
sink.show(batch_of(FINDING))
sink.show(batch_of(LARGE))
assert not sink.failed
"""


def parts_of(entry: dict[str, Any]) -> list[str]:
    """Return the lines of a finding: journalctl makes a list of a field that comes several times."""
    field = entry["EPM_FINDING"]
    return field if isinstance(field, list) else [field]


@pytest.mark.usefixtures("root")
def test_a_real_journal() -> None:
    """A finding as a datagram, and one of half a megabyte through sealed memory, come out as they went in."""
    require_tools(["journalctl", "unshare", "mount"])
    if not DAEMON.exists():
        unavailable("not installed: systemd (for its journal)")
    variables = {"DAEMON": str(DAEMON), "PYTHON": sys.executable, "SENDER": SENDER, "MESSAGE_ID": MESSAGE_ID}
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", SCRIPT],
        env=os.environ | variables | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    small, large = (json.loads(line) for line in done.stdout.splitlines())
    for entry in (small, large):
        for finding in map(json.loads, parts_of(entry)):
            assert entry["EPM_VIP"] == finding["asked"] == "10.11.2.2"
        assert entry["_TRANSPORT"] == "journal"
        assert entry["PRIORITY"] == "4"
        assert entry["MESSAGE"].startswith("mismatch: client 10.1.1.1, service MAPI: ")
    assert sum(map(len, parts_of(large))) > 500_000
