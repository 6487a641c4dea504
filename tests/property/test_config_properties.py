"""The configuration file: whatever bytes it holds, there is a configuration within its bounds, or one line."""

from __future__ import annotations

import math

from hypothesis import example, given
from hypothesis import strategies as st

from inspector.bounds import GAP_SECONDS, IDLE_SECONDS, UNANSWERED_SECONDS
from inspector.config import Config, EvidenceSettings, LimitSettings
from tests.fuzz.targets import configuration

_KEYS = [
    *Config.model_fields,
    *(f"limits.{key}" for key in LimitSettings.model_fields),
    *(f"evidence.{key}" for key in EvidenceSettings.model_fields),
    "vip.address",
    "vip.pool",
]
_NUMBERS = st.integers() | st.integers(min_value=10**300, max_value=10**310) | st.floats()
_TEXTS = st.sampled_from(["", "10.0.0.1", "::1", "[::1]:1", "64:ff9b::/96", "a:1", "match"]) | st.text(max_size=20)


def _toml(value: object) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(one):08x}" for one in value) + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(key)} = {_toml(one)}" for key, one in value.items()) + "}"
    return str(value)


_VALUES = st.recursive(
    st.booleans() | _NUMBERS | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=2),
    max_leaves=5,
)


@given(st.binary(max_size=200) | st.text().map(lambda text: text.encode(errors="surrogatepass")))
@example(b"a = " + b"[" * 3000)
@example(b"ports = [" + b"9" * 5000 + b"]")
@example(b"a" + b".a" * 1000 + b" = 1")
def test_any_bytes(data: bytes) -> None:
    """No other exception leaves."""
    configuration(data)


@given(st.dictionaries(st.sampled_from(_KEYS), _VALUES, max_size=4))
def test_any_values(values: dict[str, object]) -> None:
    """The same for what is TOML: each key with values of each type."""
    configuration("\n".join(f"{key} = {_toml(value)}" for key, value in values.items()).encode())


@given(st.floats() | st.integers())
def test_any_time(number: float) -> None:
    """A time is taken if it is finite and within bounds, and what is taken fits into nanoseconds."""
    text = f"[limits]\nidle_seconds = {number!r}\ngap_seconds = {number!r}\nunanswered_seconds = {number!r}\n"
    limits = (IDLE_SECONDS, GAP_SECONDS, UNANSWERED_SECONDS)
    fits = math.isfinite(number) and all(one.least <= number <= one.most for one in limits)
    assert configuration(text.encode()) is fits


def test_what_the_target_reads() -> None:
    """The target says whether a file was taken: it would hold for a loader that takes none."""
    assert configuration(b"")
    assert not configuration(b"ports = 5")
