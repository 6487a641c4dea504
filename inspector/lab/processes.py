"""Child processes that end with the process which started them, in whatever namespace they run."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING, Any, Final

from inspector.errors import LaboratoryError
from inspector.live.process.namespaces import inside

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
_SYSTEM_FOLDERS: Final = "/usr/local/sbin:/usr/sbin:/sbin"
_PATIENCE_SECONDS: Final = 5.0


def find_program(name: str, package: str) -> str:
    """Return the path of a program, also from the folders which only root's PATH has.

    Raises LaboratoryError naming the Debian package when there is no such program.
    """
    path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_FOLDERS}")
    if path is None:
        raise LaboratoryError(f"the program {name!r} is missing: apt-get install {package}")
    return path


def start(namespace: str | None, arguments: Sequence[str], **options: Any) -> subprocess.Popen[str]:
    """Start a program inside a network namespace (None: here); `options` are those of subprocess.Popen.

    It is killed when the calling thread ends, however that happens, and has a process group of
    its own, so that Ctrl-C reaches only the owner, who then ends everything in order.
    """
    with inside(namespace):
        return subprocess.Popen(  # noqa: S603 - every program started here is named by the laboratory itself
            arguments,
            text=True,
            process_group=0,
            preexec_fn=_dying_with(os.getpid()),
            **options,
        )


def stop(process: subprocess.Popen[str], patience_seconds: float = _PATIENCE_SECONDS) -> int:
    """Ask a program to end (SIGTERM), kill it when it takes too long; return its exit status."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        return process.wait(patience_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _dying_with(parent: int) -> Callable[[], None]:
    def ask_for_signal() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # The owner may have died before the request was made.
        if os.getppid() != parent:
            os._exit(1)

    return ask_for_signal
