"""The configuration file: what it means, and how mistakes are named."""

from __future__ import annotations

import os
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path

import pytest

from inspector import bounds
from inspector.config import Config, load_config, split_listen
from inspector.errors import ConfigError

PATHS = ("runtime_directory", "findings_file", "write", "tls_certificate", "tls_key", "tls_client_ca", "directory")
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


def test_what_attach_is_told_by_file(tmp_path: Path) -> None:
    """Interfaces, mode, namespace, outputs and privileges; an empty namespace is the inspector's own."""
    text = 'interfaces = ["eth0", "eth1"]\nmode = "tc"\nnetns = "blue"\nfindings_json = true\n'
    config = load(tmp_path, text + 'write = "/w"\ndrop_all = true')
    assert (config.interfaces, config.mode, config.netns) == (["eth0", "eth1"], "tc", "blue")
    assert (config.findings_json, config.write, config.drop_all) == (True, Path("/w"), True)
    assert load(tmp_path, 'netns = ""\ninterfaces = []\nmode = "auto"') == Config()


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
        ('hosts = ["gateway1.example:10135"]', "hosts[0]"),
        ('hosts = ["[2001:db8::1]"]', "hosts[0]"),
        ('hosts = [""]', "hosts[0]"),
        ('scrapers = ["prometheus.example"]', "scrapers[0]"),
        ('scrapers = ["192.0.2.20/24"]', "scrapers[0]"),
        ('interfaces = "eth0"', "interfaces"),
        ('interfaces = ["eth0", ""]', "interfaces[1]"),
        ('interfaces = ["eth0 eth1"]', "interfaces[0]"),
        ('interfaces = ["net/eth0"]', "interfaces[0]"),
        ('interfaces = ["eth\\u0000"]', "interfaces[0]"),
        (f'interfaces = ["{"e" * (bounds.NAME + 1)}"]', "interfaces[0]"),
        ("interfaces = [" + '"e",\n' * (bounds.LIST + 1) + "]", "interfaces"),
        ('mode = "fast"', "mode"),
        ('netns = "../net"', "netns"),
        ("netns = 1", "netns"),
        ("drop_all = 1", "drop_all"),
        ('findings_json = "yes"', "findings_json"),
        ("write = true", "write"),
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


def test_who_may_ask_and_under_which_name(tmp_path: Path) -> None:
    """Addresses and networks of scrapers, names and addresses of hosts; findings are served unless switched off."""
    text = 'scrapers = ["192.0.2.20", "2001:db8::/64"]\nhosts = ["gateway1.example", "gateway_1", "2001:db8::1"]\n'
    config = load(tmp_path, text + "serve_findings = false")
    assert config.scrapers == [IPv4Network("192.0.2.20/32"), IPv6Network("2001:db8::/64")]
    assert config.hosts == ["gateway1.example", "gateway_1", "2001:db8::1"]
    assert (config.serve_findings, Config().serve_findings) == (False, True)


MISTAKES = {
    "infinite": ("[limits]\nidle_seconds = inf", "limits.idle_seconds"),
    "no number": ("[limits]\ngap_seconds = nan", "limits.gap_seconds"),
    "no time": ("[limits]\nidle_seconds = 1e300", "limits.idle_seconds"),
    "3,000 years": ("[limits]\nidle_seconds = 1e11", "limits.idle_seconds"),
    "too short": ("[limits]\nunanswered_seconds = 1e-300", "limits.unanswered_seconds"),
    "no memory": ("[limits]\nconnections = 1_000_000_000_000", "limits.connections"),
    "no byte": ("[limits]\nbuffered_bytes = 0", "limits.buffered_bytes"),
    "300 digits": (f"[limits]\nidle_seconds = {'9' * 300}", "limits.idle_seconds"),
    "400 digits": (f"[limits]\nidle_seconds = {'9' * 400}", "limits.idle_seconds"),
    "5,000 digits": (f"learned_vips = {'9' * 5000}", "not valid TOML"),
    "nested": (f"ports = {'[' * 3000}", "nested too deep"),
    "many parts": (f"a{'.a' * 2000} = 1", "line 1"),
    "long line": (f"# {'a' * 5000}", "line 1"),
    "huge": ("# a line\n" * 40_000, "262,144 bytes"),
    "true as a number": ("[limits]\nidle_seconds = true", "limits.idle_seconds"),
    "true as a port": ("ports = [true]", "ports[0]"),
    "true as an address": ("[[vip]]\naddress = [true]", "vip[0].address[0]"),
    "true as a network": ('[[vip]]\naddress = "10.0.0.1"\npool = [true]', "vip[0].pool[0]"),
    "number as a switch": ("tunnels = 1", "tunnels"),
    "text as a number": ('[evidence]\nmost_files = "7"', "evidence.most_files"),
    "files": ("[evidence]\nmost_files = 1_000_001", "evidence.most_files"),
    "rate": ("[evidence]\nper_minute = 0", "evidence.per_minute"),
    "zone": ('[[vip]]\naddress = "fe80::1%eth0"', "vip[0].address[0]"),
    "NUL": ('findings_file = "a\\u0000"', "findings_file"),
    "long path": ("\n".join(['findings_file = """', *["a" * 4000] * 2, '"""']), "findings_file"),
    "no machine": ('listen = "a..b:80"', "listen"),
    "port of 5,000 digits": (f'listen = "a:{"9" * 4000}"', "listen"),
    "escapes": ('"\\u001b[31m\\u202e" = 1', "\\x1b[31m\\u202e"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_numbers_have_bounds(tmp_path: Path, name: str) -> None:
    """What no counter holds, no machine has room for, or is of another type, is a mistake in one short line."""
    text, message = MISTAKES[name]
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    said = str(caught.value)
    assert message in said
    assert said.isprintable()
    assert len(said) < 700


@pytest.mark.parametrize("key", PATHS)
def test_an_empty_path_is_none(tmp_path: Path, key: str) -> None:
    """It never means the current folder, as it would by itself."""
    text = '[evidence]\ndirectory = ""' if key == "directory" else f'{key} = ""'
    assert load(tmp_path, text) == Config()


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ('"10.0.0.1"', '"10.0.0.1"', "10.0.0.1"),
        ('["10.0.0.9", "10.0.0.1"]', '"64:ff9b::10.0.0.1"', "10.0.0.1 and 64:ff9b::a00:1"),
        ('"::ffff:10.0.0.1"', '"64:ff9b::10.0.0.1"', "::ffff:a00:1 and 64:ff9b::a00:1 are 10.0.0.1"),
        ('"2001:db8:64::10.0.0.1"', '"10.0.0.1"', "2001:db8:64::a00:1 and 10.0.0.1"),
        ('"2001:DB8::1"', '"2001:db8:0::1"', "2001:db8::1"),
    ],
)
def test_an_address_has_one_pool(tmp_path: Path, one: str, other: str, said: str) -> None:
    """Two virtual addresses that are one after unmapping are a mistake that names both."""
    text = f'nat64_prefixes = ["2001:db8:64::/96"]\n[[vip]]\naddress = {one}\n[[vip]]\naddress = {other}\n'
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert f"vip[0] and vip[1] have the same address: {said}" in str(caught.value)


def test_one_vip_may_have_an_address_in_two_forms(tmp_path: Path) -> None:
    """They have one pool."""
    config = load(tmp_path, '[[vip]]\naddress = ["10.0.0.1", "64:ff9b::10.0.0.1"]\n')
    assert config.vip_labels() == ["10.0.0.1"]


def test_only_a_regular_file_is_read(tmp_path: Path) -> None:
    """A folder, a FIFO nobody writes to, a device, bytes that are no text: one line each, at once."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\0p")
    expected = {
        tmp_path: "Is a directory",
        tmp_path / "fifo": "not a regular file",
        Path("/dev/zero"): "not a regular file",
        tmp_path / "binary": "not UTF-8",
        Path("a\0b"): "null",
        tmp_path / ("a" * 300): "File name too long",
    }
    for path, message in expected.items():
        with pytest.raises(ConfigError, match=message):
            load_config(path)


def test_the_example_names_the_bounds() -> None:
    """What the comments promise is what is checked."""
    text = EXAMPLE.read_text()
    for limits in (
        bounds.CONNECTIONS,
        bounds.BUFFERED_BYTES,
        bounds.IDLE_SECONDS,
        bounds.GAP_SECONDS,
        bounds.UNANSWERED_SECONDS,
    ):
        assert f"[{limits.least:,} to {limits.most:,}]" in text
    for limits in (bounds.EVIDENCE_FILES, bounds.EVIDENCE_RATE, bounds.LEARNED_VIPS, bounds.PORT):
        assert f"[{limits.least:,} to {limits.most:,}" in text
