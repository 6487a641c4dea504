"""The configuration file: TOML, every key optional, every mistake named by line or key."""

from __future__ import annotations

import errno
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    IPvAnyAddress,
    IPvAnyNetwork,
    StrictBool,
    StringConstraints,
    ValidationError,
    model_validator,
)

from inspector import bounds
from inspector.errors import ConfigError
from inspector.escape import harmless, shorten
from inspector.judge.addresses import NAT64_PREFIX_LENGTHS, unmap
from inspector.judge.policy import Policy
from inspector.model import NOTEWORTHY, IPAddress, Mode, Verdict
from inspector.protocols import EPM_PORTS
from inspector.wire.limits import Limits

DEFAULT_LISTEN = "127.0.0.1:10135"


# Labels of RFC 1123 section 2.1, and the underscore that some networks have.
_NAME: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?", re.ASCII | re.IGNORECASE)
_PORT: Final = re.compile(r"[0-9]{1,5}")
# What is no dot between the parts of a key.
_QUOTED: Final = re.compile(rb"\"(?:[^\"\\]|\\.)*\"|'[^']*'|#.*")


def _check_prefix_length(network: IPv6Network) -> IPv6Network:
    if network.prefixlen not in NAT64_PREFIX_LENGTHS:
        lengths = ", ".join(f"/{length}" for length in NAT64_PREFIX_LENGTHS)
        raise ValueError(f"a NAT64 prefix is one of {lengths} (RFC 6052 section 2.2), not /{network.prefixlen}")
    return network


def split_listen(text: str) -> tuple[str, int]:
    """Return host and port of `ADDRESS:PORT` or `[IPv6]:PORT`; raises ValueError."""
    host, separator, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (separator and _is_host(host) and _PORT.fullmatch(port)) or int(port) > bounds.PORT.most:
        raise ValueError(f"an address to listen on is ADDRESS:PORT, as {DEFAULT_LISTEN}, not {shorten(repr(text))}")
    return host, int(port)


def _is_host(text: str) -> bool:
    """Return whether a text is an address or a name of a machine."""
    try:
        return ip_address(text) is not None and text.isprintable()
    except ValueError:
        return _NAME.fullmatch(text) is not None


def _check_listen(text: str) -> str:
    split_listen(text)
    return text


def _check_host(text: str) -> str:
    if not _is_host(text):
        raise ValueError(f"a host is a name or an address, without port and brackets, not {shorten(repr(text))}")
    return text


def _check_text(value: object) -> object:
    """Let text pass only: `ipaddress` takes numbers for addresses too, and `true` for the number 1."""
    if not isinstance(value, str):
        raise ValueError("it is not text")  # noqa: TRY004 - pydantic reports ValueError by key
    if "%" in value:
        raise ValueError("an address with a zone (%) is one on this machine only")
    return value


def _check_file_name(text: str) -> str:
    """Return the name of an interface or a namespace: one that the kernel, or a folder, may have. ValueError."""
    if text in (".", "..") or "/" in text or not text.isprintable() or any(character.isspace() for character in text):
        raise ValueError(f"a name has neither white space nor a slash, unlike {shorten(repr(text))}")
    return text


def _empty_to_none(value: object) -> object:
    return None if value == "" else value


def _one_or_many(value: object) -> object:
    return [value] if isinstance(value, str) else value


def check_path(value: object) -> object:
    """Return what names a file or folder, None for an empty text: that never is the current folder. ValueError."""
    if value == "":
        return None
    if isinstance(value, str) and ("\0" in value or len(os.fsencode(value)) > bounds.PATH_BYTES):
        raise ValueError(f"a path has no NUL character and at most {bounds.PATH_BYTES:,} bytes")
    return value


Name = Annotated[str, StringConstraints(min_length=1, max_length=bounds.NAME), AfterValidator(_check_file_name)]
OptionalName = Annotated[Name | None, BeforeValidator(_empty_to_none)]
Listen = Annotated[str, AfterValidator(_check_listen)]
HostName = Annotated[str, AfterValidator(_check_host)]
Address = Annotated[IPvAnyAddress, BeforeValidator(_check_text)]
AnyNetwork = Annotated[IPvAnyNetwork, BeforeValidator(_check_text)]
Network = Annotated[IPv4Network, BeforeValidator(_check_text)]
Nat64Prefix = Annotated[IPv6Network, BeforeValidator(_check_text), AfterValidator(_check_prefix_length)]
OptionalPath = Annotated[Path | None, BeforeValidator(check_path)]
Port = Annotated[int, bounds.PORT.field]
Addresses = Annotated[list[Address], BeforeValidator(_one_or_many), Field(min_length=1, max_length=bounds.LIST)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class VirtualAddress(_Table):
    """`[[vip]]`: the addresses clients ask, and the networks of the real servers behind them."""

    name: Annotated[str, StringConstraints(max_length=bounds.NAME)] | None = None
    address: Addresses
    pool: Annotated[list[Network], Field(max_length=bounds.LIST)] = []


class LimitSettings(_Table):
    """`[limits]`: bounds of the decoder's state; times in seconds."""

    connections: Annotated[int, bounds.CONNECTIONS.field] = Limits().connections
    buffered_bytes: Annotated[int, bounds.BUFFERED_BYTES.field] = Limits().buffered_bytes
    idle_seconds: Annotated[float, bounds.IDLE_SECONDS.field] = Limits().idle_ns / 1e9
    gap_seconds: Annotated[float, bounds.GAP_SECONDS.field] = Limits().gap_ns / 1e9
    unanswered_seconds: Annotated[float, bounds.UNANSWERED_SECONDS.field] = Limits().unanswered_ns / 1e9


class EvidenceSettings(_Table):
    """`[evidence]`: where the packets of mismatching conversations are kept, and how much of them."""

    directory: OptionalPath = None
    most_files: Annotated[int, bounds.EVIDENCE_FILES.field] = 1000
    most_bytes: Annotated[int, bounds.EVIDENCE_BYTES.field] = 256 << 20
    memory_bytes: Annotated[int, bounds.EVIDENCE_MEMORY_BYTES.field] = 64 << 20
    per_minute: Annotated[int, bounds.EVIDENCE_RATE.field] = 60
    per_vip_minute: Annotated[int, bounds.EVIDENCE_RATE.field] = 10
    per_client_minute: Annotated[int, bounds.EVIDENCE_RATE.field] = 2


class Config(_Table):
    """The whole file."""

    interfaces: Annotated[list[Name], Field(max_length=bounds.LIST)] = []
    mode: Mode = "auto"
    netns: OptionalName = None
    ports: Annotated[list[Port], Field(min_length=1, max_length=64)] = list(EPM_PORTS)
    tunnels: StrictBool = False
    follow_up: StrictBool = True
    listen: Listen = DEFAULT_LISTEN
    serve_findings: StrictBool = True
    hosts: Annotated[list[HostName], Field(max_length=bounds.LIST)] = []
    scrapers: Annotated[list[AnyNetwork], Field(max_length=bounds.SCRAPERS)] = []
    runtime_directory: OptionalPath = None
    user: Annotated[str, Field(min_length=1, max_length=bounds.NAME)] | None = None
    drop_all: StrictBool = False
    findings_json: StrictBool = False
    findings_file: OptionalPath = None
    findings_journal: StrictBool = False
    journal_verdicts: Annotated[list[Verdict], Field(max_length=bounds.LIST)] = sorted(NOTEWORTHY)
    write: OptionalPath = None
    write_max_bytes: Annotated[int, bounds.WRITE_BYTES.field] = 64 << 20
    write_files: Annotated[int, bounds.WRITE_FILES.field] = 8
    keep_credentials: StrictBool = False
    tls_certificate: OptionalPath = None
    tls_key: OptionalPath = None
    tls_client_ca: OptionalPath = None
    nat64_prefixes: Annotated[list[Nat64Prefix], Field(max_length=bounds.NAT64_PREFIXES)] = []
    learned_vips: Annotated[int, bounds.LEARNED_VIPS.field] = 64
    vip: list[VirtualAddress] = []
    limits: LimitSettings = LimitSettings()
    evidence: EvidenceSettings = EvidenceSettings()

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key must both be set")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError("tls_client_ca needs tls_certificate and tls_key")
        return self

    @model_validator(mode="after")
    def _check_addresses(self) -> Self:
        """See that no address, in whatever form, has two pools: the later one would silently count."""
        seen: dict[IPAddress, tuple[int, IPAddress]] = {}
        for number, address, plain in self._addresses():
            other, written = seen.setdefault(plain, (number, address))
            if other != number:
                raise ValueError(
                    f"vip[{other}] and vip[{number}] have the same address: {_both(written, address, plain)}"
                )
        return self

    def _addresses(self) -> Iterator[tuple[int, IPAddress, IPAddress]]:
        """Yield number of the VIP, address as written, and what it is without translation, for all addresses."""
        prefixes = tuple(self.nat64_prefixes)
        for number, virtual in enumerate(self.vip):
            for address in virtual.address:
                yield number, address, unmap(address, prefixes)

    def policy(self) -> Policy:
        """Return what the verdicts need: pools by unmapped VIP, and NAT64 prefixes."""
        pools = {plain: tuple(self.vip[number].pool) for number, _, plain in self._addresses()}
        return Policy(pools, tuple(self.nat64_prefixes))

    def vip_labels(self) -> list[str]:
        """Return the declared VIPs as the metrics label them: the unmapped address."""
        return [str(address) for address in self.policy().pools]

    def decoder_limits(self) -> Limits:
        """Return the decoder's limits."""
        settings = self.limits
        return Limits(
            connections=settings.connections,
            buffered_bytes=settings.buffered_bytes,
            idle_ns=round(settings.idle_seconds * 1e9),
            gap_ns=round(settings.gap_seconds * 1e9),
            unanswered_ns=round(settings.unanswered_seconds * 1e9),
        )


def _both(one: IPAddress, other: IPAddress, plain: IPAddress) -> str:
    """Return two ways to write an address in words."""
    return str(one) if one == other else f"{one} and {other}" + (f" are {plain}" if plain not in (one, other) else "")


def _key_of(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return shorten(harmless(text))


def _read(path: Path) -> bytes:
    """Return what is in a file; raises OSError, and ValueError where its name has a NUL.

    Only a regular file is read: a FIFO without a writer would look like an empty file, or hold the inspection up.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - by descriptor
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file")
        data = file.read(bounds.CONFIG_BYTES + 1)
    if len(data) > bounds.CONFIG_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {bounds.CONFIG_BYTES:,} bytes")
    return data


def _check_lines(data: bytes) -> None:
    """Refuse what would hold the inspection up: a key of n parts costs the parser a time of n * n. ValueError."""
    for number, line in enumerate(data.splitlines(), 1):
        if len(line) > bounds.CONFIG_LINE_BYTES:
            raise ValueError(f"line {number} has more than {bounds.CONFIG_LINE_BYTES:,} bytes")
        if line.count(b".") > bounds.CONFIG_KEY_PARTS and _QUOTED.sub(b"", line).count(b".") > bounds.CONFIG_KEY_PARTS:
            raise ValueError(f"line {number} has a key of more than {bounds.CONFIG_KEY_PARTS} parts")


def _parse(path: Path) -> Mapping[str, Any]:
    """Return the values of a file; raises ConfigError."""
    try:
        data = _read(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        _check_lines(data)
        return tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: cannot be read: not UTF-8 text (byte {error.start})") from error
    except RecursionError:
        raise ConfigError(f"{path}: not valid TOML: nested too deep") from None
    except ValueError as error:
        # TOMLDecodeError, and what Python says of a number of too many digits.
        raise ConfigError(f"{path}: not valid TOML: {shorten(harmless(str(error)))}") from error


def load_config(path: Path) -> Config:
    """Return the configuration of a file; raises ConfigError, whose one line names file and line or key."""
    content = _parse(path)
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        # What several keys say together is at no key.
        key = f"{_key_of(first['loc'])}: " if first["loc"] else ""
        text = shorten(harmless(first["msg"].removeprefix("Value error, ")), bounds.MESSAGE)
        raise ConfigError(f"{path}: {key}{text}{more}") from error
