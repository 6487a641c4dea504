"""What cannot be written, said once: when it begins, when it changes, and when it is over."""

from __future__ import annotations

import enum
import errno
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_OF_THE_DISK: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.ETIMEDOUT})


def reason_of(error: OSError) -> str:
    """Return what the system says of an error."""
    return error.strerror or str(error)


def is_of_the_disk(error: OSError) -> bool:
    """Return whether an error comes from the state of a disk, which may be another later, and not from a mistake."""
    return error.errno in _OF_THE_DISK


class Trouble:
    """Tells, through `warn`, that `what` cannot be written; not for every attempt, but when there is news."""

    def __init__(self, what: str, warn: Callable[[str], None]) -> None:
        self._what = what
        self._warn = warn
        self._reason: str | None = None

    def failed(self, reason: str) -> None:
        """Note that an attempt failed."""
        if reason != self._reason:
            self._reason = reason
            self._warn(
                f"{self._what} cannot be written: {reason}; inspection continues, losses are counted in the metrics"
            )

    def succeeded(self) -> None:
        """Note that an attempt succeeded."""
        if self._reason is not None:
            self._reason = None
            self._warn(f"{self._what} can be written again")


class Loss(enum.Enum):
    """What did not get where it should go: the place, and the reason. A closed set: it labels a metric.

    They are findings, but for those of the place `capture`, which are packets.
    """

    STDOUT_FAILED = ("stdout", "failed")
    FILE_FAILED = ("file", "failed")
    JOURNAL_FAILED = ("journal", "failed")
    JOURNAL_RATE = ("journal", "rate")
    CAPTURE_FAILED = ("capture", "failed")
