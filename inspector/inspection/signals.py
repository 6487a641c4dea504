"""What signals ask of a running inspection: SIGINT and SIGTERM to end, SIGHUP to read the configuration again.

SIGHUP also comes when the terminal has gone. Whoever runs an inspection in a terminal expects it to end then; so it
does, unless it was started by nohup.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_ENDING: Final = (signal.SIGINT, signal.SIGTERM)
_STANDARD_STREAMS: Final = (0, 1, 2)


class Signals:
    """Takes the signals over while its context lasts; before `attend` an end is a KeyboardInterrupt, as of Ctrl-C.

    `ending` stays True once the end was asked for; `take_reload` says whether the configuration is to be read again.
    """

    def __init__(self) -> None:
        self.ending = False
        self._reload = False
        self._wake: Callable[[], None] | None = None
        self._terminals = [fd for fd in _STANDARD_STREAMS if os.isatty(fd)]
        self._had_terminal = _has_terminal()
        self._ignores_hangup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        handlers = dict.fromkeys(_ENDING, self._end) | {signal.SIGHUP: self._hang_up}
        self._before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        return self

    def __exit__(self, *_exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def attend(self, wake: Callable[[], None]) -> None:
        """From now on only note what is asked, and call `wake`, which must be fit for a signal handler."""
        self._wake = wake
        if self.ending or self._reload:
            wake()

    def take_reload(self) -> bool:
        """Return whether the configuration was asked to be read again since the last call."""
        asked, self._reload = self._reload, False
        return asked

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self.ending = True
        if self._wake is None:
            raise KeyboardInterrupt
        self._wake()

    def _hang_up(self, number: int, frame: FrameType | None) -> None:
        if self._had_terminal and not _has_terminal():
            self._had_terminal = False
            self._leave_terminal()
            if not self._ignores_hangup:
                self._end(number, frame)
            return
        self._reload = True
        if self._wake is not None:
            self._wake()

    def _leave_terminal(self) -> None:
        """Let what is still to be said go nowhere: writing to a terminal that has gone is an error."""
        with contextlib.suppress(OSError):
            nowhere = os.open(os.devnull, os.O_RDWR)
            for fd in self._terminals:
                os.dup2(nowhere, fd)
            os.close(nowhere)


def _has_terminal() -> bool:
    """Return whether there is a controlling terminal (tty(4))."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
