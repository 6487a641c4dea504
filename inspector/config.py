"""The configuration file: TOML, every key optional, every mistake named by line or key."""

from __future__ import annotations

import tomllib
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    IPvAnyAddress,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from inspector.errors import ConfigError
from inspector.judge.addresses import NAT64_PREFIX_LENGTHS, unmap
from inspector.judge.policy import Policy
from inspector.model import NOTEWORTHY, Verdict
from inspector.wire.limits import Limits

DEFAULT_LISTEN = "127.0.0.1:10135"


def _check_prefix_length(network: IPv6Network) -> IPv6Network:
    if network.prefixlen not in NAT64_PREFIX_LENGTHS:
        lengths = ", ".join(f"/{length}" for length in NAT64_PREFIX_LENGTHS)
        raise ValueError(f"a NAT64 prefix is one of {lengths} (RFC 6052 section 2.2), not /{network.prefixlen}")
    return network


def split_listen(text: str) -> tuple[str, int]:
    """Return host and port of `ADDRESS:PORT` or `[IPv6]:PORT`; raises ValueError."""
    host, separator, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"an address to listen on is ADDRESS:PORT, as {DEFAULT_LISTEN}, not {text!r}")
    return host, int(port)


def _check_listen(text: str) -> str:
    split_listen(text)
    return text


def _one_or_many(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _path_or_none(value: object) -> object:
    return None if value == "" else value


Listen = Annotated[str, AfterValidator(_check_listen)]
Nat64Prefix = Annotated[IPv6Network, AfterValidator(_check_prefix_length)]
OptionalPath = Annotated[Path | None, BeforeValidator(_path_or_none)]
Port = Annotated[int, Field(ge=1, le=65535)]
Addresses = Annotated[list[IPvAnyAddress], BeforeValidator(_one_or_many), Field(min_length=1)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class VirtualAddress(_Table):
    """`[[vip]]`: the addresses clients ask, and the networks of the real servers behind them."""

    name: str | None = None
    address: Addresses
    pool: list[IPv4Network] = []


class LimitSettings(_Table):
    """`[limits]`: bounds of the decoder's state; times in seconds."""

    connections: PositiveInt = Limits().connections
    buffered_bytes: PositiveInt = Limits().buffered_bytes
    idle_seconds: PositiveFloat = Limits().idle_ns / 1e9
    gap_seconds: PositiveFloat = Limits().gap_ns / 1e9
    unanswered_seconds: PositiveFloat = Limits().unanswered_ns / 1e9


class EvidenceSettings(_Table):
    """`[evidence]`: where the packets of mismatching conversations are kept, and how much of them."""

    directory: Path | None = None
    most_files: PositiveInt = 1000
    most_bytes: PositiveInt = 256 << 20
    memory_bytes: Annotated[int, Field(ge=1 << 20)] = 64 << 20
    per_minute: PositiveInt = 60
    per_vip_minute: PositiveInt = 10
    per_client_minute: PositiveInt = 2


class Config(_Table):
    """The whole file."""

    ports: Annotated[list[Port], Field(min_length=1, max_length=64)] = [135, 593]
    tunnels: bool = False
    suspects_only: bool = False
    listen: Listen = DEFAULT_LISTEN
    runtime_directory: Path | None = None
    user: Annotated[str, Field(min_length=1)] | None = None
    findings_file: Path | None = None
    findings_journal: bool = False
    journal_verdicts: list[Verdict] = sorted(NOTEWORTHY)
    tls_certificate: OptionalPath = None
    tls_key: OptionalPath = None
    tls_client_ca: OptionalPath = None
    nat64_prefixes: list[Nat64Prefix] = []
    learned_vips: Annotated[int, Field(ge=0, le=1024)] = 64
    vip: list[VirtualAddress] = []
    limits: LimitSettings = LimitSettings()
    evidence: EvidenceSettings = EvidenceSettings()

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key come together")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError("tls_client_ca needs tls_certificate and tls_key")
        return self

    def policy(self) -> Policy:
        """Return what the verdicts need: pools by unmapped VIP, and NAT64 prefixes."""
        prefixes = tuple(self.nat64_prefixes)
        pools = {unmap(address, prefixes): tuple(virtual.pool) for virtual in self.vip for address in virtual.address}
        return Policy(pools, prefixes)

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


def _key_of(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def load_config(path: Path) -> Config:
    """Return the configuration of a file; raises ConfigError, whose text names file and line or key."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        # What several keys say together is at no key.
        key = f"{_key_of(first['loc'])}: " if first["loc"] else ""
        raise ConfigError(f"{path}: {key}{first['msg']}{more}") from error
