"""Whether there can be compiled code."""

from __future__ import annotations

import subprocess
import sys

from inspector import codecache
from tests.conftest import unavailable

# PR_SET_MDWE with PR_MDWE_REFUSE_EXEC_GAIN (prctl(2), Linux 6.3): what systemd's MemoryDenyWriteExecute does.
SCRIPT = """
import ctypes, sys
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0): sys.exit(9)
from inspector import codecache
print(codecache.has_compiler())
"""


def test_where_new_code_is_forbidden_nothing_is_compiled() -> None:
    """A service's limits, or SELinux, may refuse memory that is written and then executed: no compiler is loaded."""
    assert codecache.has_compiler()
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    if done.returncode == 9:
        unavailable("this kernel cannot forbid it")
    assert (done.stdout, done.stderr) == ("False\n", "")
