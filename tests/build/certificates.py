"""Certificates for tests, made by openssl: issuers, and what they issue."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

KeyKind = Literal["ec", "rsa"]

_KEYS: dict[KeyKind, tuple[str, ...]] = {
    "ec": ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"),
    "rsa": ("-newkey", "rsa:2048", "-noenc"),
}
# RFC 5280 sections 4.2.1.1 to 4.2.1.3; Python 3.13 verifies strictly and refuses certificates without them.
_ISSUER_USAGE = "keyUsage=critical,keyCertSign,cRLSign"
_IDENTIFIERS = "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
_ISSUED = f"subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n{_IDENTIFIERS}"
# An RSA key may encrypt another key, so that only the server's choice of ciphers forbids it.
_USAGE: dict[KeyKind, str] = {
    "ec": "keyUsage=critical,digitalSignature\n",
    "rsa": "keyUsage=critical,digitalSignature,keyEncipherment\n",
}


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, in PEM files."""

    certificate: Path
    key: Path


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def make_issuer(folder: Path, name: str) -> Pair:
    """Make an issuer of certificates."""
    pair = Pair(folder / f"{name}.crt", folder / f"{name}.key")
    _openssl(
        *("req", "-x509", *_KEYS["ec"], "-keyout", pair.key, "-out", pair.certificate),
        *("-days", 2, "-subj", f"/CN={name}", "-addext", _ISSUER_USAGE),
    )
    return pair


def issue(folder: Path, name: str, issuer: Pair, *, kind: KeyKind = "ec") -> Pair:
    """Make a certificate for 127.0.0.1 and for clients; files of the same name are written over."""
    pair, request, extensions = Pair(folder / f"{name}.crt", folder / f"{name}.key"), folder / "request", folder / "ext"
    extensions.write_text(_ISSUED + _USAGE[kind])
    _openssl("req", *_KEYS[kind], "-keyout", pair.key, "-out", request, "-subj", f"/CN={name}")
    _openssl(
        *("x509", "-req", "-in", request, "-CA", issuer.certificate, "-CAkey", issuer.key, "-CAcreateserial"),
        *("-extfile", extensions, "-days", 2, "-out", pair.certificate),
    )
    return pair
