"""The configuration file: what it means, and how mistakes are named."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path

import pytest

from inspector.config import Config, load_config, split_listen
from inspector.errors import ConfigError

EXAMPLE = Path(__file__).parents[2] / "epm-inspector.example.toml"


def load(tmp_path: Path, text: str) -> Config:
    """Return the configuration of a text."""
    path = tmp_path / "c.toml"
    path.write_text(text)
    return load_config(path)


def test_the_example_ships_and_is_valid() -> None:
    """The example uses every key, and says what the README says."""
    config = load_config(EXAMPLE)
    assert set(config.model_fields_set) == set(Config.model_fields)
    assert config.policy().pools[IPv4Address("10.11.2.2")] == (
        IPv4Network("10.11.2.7/32"),
        IPv4Network("10.11.2.8/29"),
    )
    assert config.nat64_prefixes == [IPv6Network("2002:a01:86e8:8001::/96")]


def test_an_empty_file_is_the_default(tmp_path: Path) -> None:
    """Every key is optional."""
    assert load(tmp_path, "") == Config()
    assert (Config().ports, Config().listen, Config().tunnels) == ([135, 593], "127.0.0.1:10135", False)


def test_tunnels_are_switched_on_by_file(tmp_path: Path) -> None:
    """One key, off by default."""
    assert load(tmp_path, "tunnels = true").tunnels


def test_a_vip_may_be_declared_behind_its_nat64_address(tmp_path: Path) -> None:
    """Pools are found by the unmapped address."""
    config = load(tmp_path, '[[vip]]\naddress = ["64:ff9b::10.11.2.2", "10.0.0.9"]\npool = ["10.11.2.7"]\n')
    assert set(config.policy().pools) == {IPv4Address("10.11.2.2"), IPv4Address("10.0.0.9")}
    assert config.vip_labels() == ["10.11.2.2", "10.0.0.9"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ports = [135\nlisten", "line 2"),
        ("ports = [0]", "ports[0]"),
        ("prots = [135]", "prots"),
        ("suspects_only = true", "suspects_only"),
        ('listen = "nowhere"', "listen"),
        ('nat64_prefixes = ["2001:db8::/80"]', "nat64_prefixes[0]"),
        ('[[vip]]\naddress = "10.11.2.2"\npool = ["10.11.2.7", "10.11.2.300"]', "vip[0].pool[1]"),
        ('[[vip]]\npool = ["10.11.2.7"]', "vip[0].address"),
        ("[limits]\nidle_seconds = -1", "limits.idle_seconds"),
    ],
)
def test_mistakes_are_named_by_line_or_key(tmp_path: Path, text: str, message: str) -> None:
    """One line: file, line or key, and what is wrong."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert message in str(caught.value)
    assert str(tmp_path / "c.toml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The operating system's reason is kept."""
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("127.0.0.1:10135", ("127.0.0.1", 10135)), ("[::1]:0", ("::1", 0)), ("localhost:80", ("localhost", 80))],
)
def test_split_listen(text: str, expected: tuple[str, int]) -> None:
    """Host and port, with brackets around IPv6."""
    assert split_listen(text) == expected


@pytest.mark.parametrize(
    "text", ['tls_certificate = "a"', 'tls_key = "a"', 'tls_client_ca = "a"', 'tls_certificate = "a"\ntls_key = ""']
)
def test_half_a_tls_is_a_mistake(tmp_path: Path, text: str) -> None:
    """Certificate and key come together, and an issuer of clients' certificates not without them."""
    with pytest.raises(ConfigError, match="tls_certificate and tls_key"):
        load(tmp_path, text)


def test_tls_is_off_where_it_is_empty(tmp_path: Path) -> None:
    """As in the example."""
    assert load(tmp_path, 'tls_certificate = ""\ntls_key = ""\ntls_client_ca = ""') == Config()
    assert load(tmp_path, 'tls_certificate = "a"\ntls_key = "b"').tls_key == Path("b")
