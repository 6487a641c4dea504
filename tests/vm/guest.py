"""Inside the machine: `python -m tests.vm.guest RELEASE REPORT PYTEST-ARGUMENTS`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.vm import plugin
from tests.vm.results import BEGIN, end


def main(release: str, report: str, *arguments: str) -> int:
    """Run the tests on the kernel that was meant, and say among its messages where they begin and end."""
    running = os.uname().release
    if running != release:
        print(f"this is Linux {running}, not {release}")
        return 1
    # What boots a whole system would have made /dev/net/tun by now; NAT64 in the laboratory needs it.
    subprocess.run(["modprobe", "tun"], check=True)
    plugin.say(BEGIN)
    status = pytest.main([*arguments, "-p", "no:cacheprovider", f"--junitxml={report}"], plugins=[plugin.Guest()])
    plugin.say(end(status, Path("/proc/sys/kernel/tainted").read_text(encoding="ascii").strip()))
    return int(status)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
