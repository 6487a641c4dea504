"""TLS for the metrics server, from files: read when it starts, and again when they have changed."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from inspector.errors import ListenError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    State = tuple[tuple[int, int, int] | None, ...]


# For TLS 1.2: ECDHE with AEAD only (RFC 9325 section 4.2). Recorded traffic stays secret when the key is stolen later.
# TLS 1.3 always exchanges keys so.
_TLS12_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the certificate with what leads to its issuer, its key, and whose clients' certificates are asked for.

    Without `client_ca` every client is served.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None


class Certificates:
    """The TLS context of PEM files that may be renewed while the server runs.

    Raises ListenError when the files cannot be used at the start. Later errors go to `report`, in one line, and the
    previous certificate stays in use: a renewal often writes one file after the other.
    """

    def __init__(self, files: TlsFiles, report: Callable[[str], None]) -> None:
        self._files = files
        self._report = report
        self._seen = self._look()
        self._context = _make_context(files)

    def context(self) -> ssl.SSLContext:
        """Return the context for one more connection."""
        state = self._look()
        if state != self._seen:
            self._seen = state
            try:
                self._context = _make_context(self._files)
            except ListenError as error:
                self._report(f"{error}; still using the previous certificate")
            else:
                self._report(f"{self._files.certificate}: certificate and key reloaded")
        return self._context

    def _look(self) -> State:
        """Return what shows that a file is another one, or has changed."""
        files = self._files
        return tuple(_state_of(path) for path in (files.certificate, files.key, files.client_ca) if path is not None)


def _state_of(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _make_context(files: TlsFiles) -> ssl.SSLContext:
    # A distribution may have changed the standard library's choice: Debian's allows key exchange by RSA.
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_TLS12_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        # A password that does not fit keeps an encrypted key from asking for one on the terminal.
        context.load_cert_chain(files.certificate, files.key, password="")
    except (OSError, ValueError) as error:
        raise ListenError(f"TLS: {files.certificate} with {files.key} cannot be used: {_why(error)}") from error
    if files.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(files.client_ca)
        except (OSError, ValueError) as error:
            raise ListenError(f"TLS: {files.client_ca} cannot be used: {_why(error)}") from error
    return context


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    return getattr(error, "strerror", None) or str(error)
