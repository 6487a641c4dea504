"""Which of Debian's packages is the kernel that is meant."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.vm.__main__ import LIST, left_out, main
from tests.vm.packages import is_stock, newest

ROOT = Path(__file__).parents[2]
OFFERED = [
    ("linux-image-amd64", "6.1.192-2"),
    ("linux-image-6.1.0-9-amd64", "6.1.27-1"),
    ("linux-image-6.1.0-56-amd64", "6.1.192-2"),
    ("linux-image-6.1.0-50-amd64", "6.1.176-1"),
    ("linux-image-6.1.0-57-rt-amd64", "6.1.193-1"),
    ("linux-image-6.1.0-57-cloud-amd64", "6.1.193-1"),
    ("linux-image-6.1.0-57-amd64-unsigned", "6.1.193-1"),
    ("linux-image-6.12-amd64", "6.12.117-1~deb12u1"),
    ("linux-image-6.12.99+deb12-amd64", "6.12.99-1~deb12u1"),
    ("linux-image-6.12.117+deb12-amd64", "6.12.117-1~deb12u1"),
    ("linux-image-6.12.9+bpo-amd64", "6.12.9-1~bpo12+1"),
]


@pytest.mark.parametrize(
    ("name", "series"),
    [
        ("linux-image-6.1.0-56-amd64", "6.1"),
        ("linux-image-6.1.0-0.deb11.35-amd64", "6.1"),
        ("linux-image-6.12.9+bpo-amd64", "6.12"),
        ("linux-image-6.12.117+deb12-amd64", "6.12"),
        ("linux-image-6.16.3+deb14-amd64", "6.16"),
    ],
)
def test_stock_kernels(name: str, series: str) -> None:
    """Stock kernels are of their own series, and of no other."""
    assert is_stock(name, series, "amd64")
    assert not any(
        is_stock(name, other, "amd64") for other in ("6.1", "6.12", "6.16", "6.11", "5.1") if other != series
    )
    assert not is_stock(name, series, "arm64")


@pytest.mark.parametrize("name", [name for name, _ in OFFERED if any(w in name for w in ("rt-", "cloud", "unsigned"))])
def test_flavours_are_not_stock(name: str) -> None:
    """Real-time, cloud and unsigned kernels are left out."""
    assert not is_stock(name, "6.1", "amd64")


def test_names_for_the_newest_are_not_kernels() -> None:
    """A package which only depends on the newest kernel has nothing to boot."""
    assert not is_stock("linux-image-6.12-amd64", "6.12", "amd64")


def test_newest_by_debians_rules() -> None:
    """The newest is so by the package's version, not by the alphabet."""
    assert newest(OFFERED, "6.1", "amd64") == ("linux-image-6.1.0-56-amd64", "6.1.192-2")
    assert newest(OFFERED, "6.12", "amd64") == ("linux-image-6.12.117+deb12-amd64", "6.12.117-1~deb12u1")
    assert newest(OFFERED, "6.6", "amd64") is None


def test_list_is_what_the_readme_says() -> None:
    """Each kernel of the list is named in the README."""
    listed = tomllib.loads(LIST.read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    [sentence] = [line for line in readme.splitlines() if "make vm-test" in line and "boots" in line]
    assert all(entry["series"] in sentence for entry in listed["kernels"])


def test_what_the_list_names_exists() -> None:
    """A test that was renamed would be run, or left out, without a word."""
    listed = tomllib.loads(LIST.read_text(encoding="utf-8"))
    for name in (*listed["tests"]["run"], *left_out(listed)):
        path, _, function = name.partition("::")
        assert (ROOT / path).exists(), name
        assert not function or f"def {function}(" in (ROOT / path).read_text(encoding="utf-8"), name


def test_unknown_kernel(capsys: pytest.CaptureFixture[str]) -> None:
    """A kernel that is not in the list is refused, before anything is fetched."""
    with pytest.raises(SystemExit):
        main(["5.10"])
    assert "kernels.toml: 5.10" in capsys.readouterr().err
