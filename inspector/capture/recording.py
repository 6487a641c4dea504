"""What `attach --write` keeps: every packet that is inspected, without the values of authentication verifiers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from inspector import __version__
from inspector.capture.capturefile import CaptureFile
from inspector.capture.redaction import Redactor
from inspector.losses import Loss
from inspector.record import unpack_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from inspector.capture.redaction import Redacted
    from inspector.config import Config

REDACTED: Final = (
    "The values of authentication verifiers (tokens and signatures of NTLM, Kerberos and the like), and bytes which "
    "may be some since the start of their PDU was not seen, are blanked: set to 0. Checksums are those of what is here."
)
NOT_REDACTED: Final = "The values of authentication verifiers are here: passwords can be guessed from them."


def redaction_comment(config: Config) -> str:
    """Return what a file says of credentials in it."""
    return NOT_REDACTED if config.keep_credentials else REDACTED


class Recording:
    """Writes records to the file of `--write`. Raises OutputError as `CaptureFile` does; later failures are counted."""

    def __init__(
        self, path: Path, config: Config, interface_names: Mapping[int, str], warn: Callable[[str], None]
    ) -> None:
        self._redactor = None if config.keep_credentials else Redactor()
        self._file = CaptureFile(
            path,
            interface_names,
            warn,
            max_bytes=config.write_max_bytes,
            files=config.write_files,
            comment=f"epm-inspector {__version__}\n{redaction_comment(config)}",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def write(self, record: bytes | memoryview) -> None:
        """Take one record; it is written when it is known what its bytes are, two seconds later at last."""
        segment = unpack_record(record)
        if self._redactor is None:
            self._file.write(segment)
        else:
            self._put(self._redactor.feed(segment))

    def flush(self, now_ns: int) -> None:
        """Write what need not wait any longer, at a time."""
        if self._redactor is not None:
            self._put(self._redactor.advance(now_ns))
        self._file.flush()

    def reopen(self) -> None:
        """Open the file of that name anew, as after a rotation."""
        self._file.reopen()

    def close(self) -> None:
        """Write all that is there; doing it twice is harmless."""
        if self._redactor is not None:
            self._put(self._redactor.flush())
        self._file.close()

    def losses(self) -> Iterator[tuple[Loss, int]]:
        """Yield how many packets could not be written."""
        yield Loss.CAPTURE_FAILED, self._file.lost

    def _put(self, found: Iterable[Redacted]) -> None:
        for one in found:
            self._file.write(one.segment, one.note)
