"""Which tests are run, and where: all of them, or with `--brief` the choice of CI; with `-n` in how many processes.

What `--brief` leaves to the nightly run is listed in tests/nightly.toml, each with its reason; the number is in
pytest's closing line, and the reasons are above it. Properties get fewer examples, fuzz targets fewer runs.

With `-n` (pytest-xdist) all tests that take the machine for themselves are run one after the other, in one process:
they make namespaces, load programs, start servers on fixed ports, or measure. All others are spread file by file.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Sequence

LIST: Final = Path(__file__).with_name("nightly.toml")
# They take the machine for themselves.
OF_THE_MACHINE: Final = (
    "tests/bench/",
    "tests/dashboards/test_servers.py",
    "tests/dashboards/test_stack.py",
    "tests/kernel/",
    "tests/lab/",
    "tests/soak/",
    "tests/system/",
)
# In a brief run properties get one in so many examples, and fuzz targets one in so many mutations.
BRIEF_DIVISOR: Final = 5
_WHOLE: Final = pytest.Config.ArgsSource.TESTPATHS
_LEFT_OUT: Final = "left_to_nightly"
_COUNTS: Final = pytest.StashKey[Counter[str]]()


class Entry(NamedTuple):
    """An entry of the list: tests whose names begin with one of `names` are left out, `but` for some of them."""

    names: tuple[str, ...]
    but: tuple[str, ...]
    why: str

    def covers(self, name: str) -> bool:
        """Return whether a test of that name is left out."""
        return name.startswith(self.names) and not name.startswith(self.but)


def entries() -> list[Entry]:
    """Return the list."""
    listed = tomllib.loads(LIST.read_text(encoding="utf-8"))["without"]
    return [Entry(tuple(one["names"]), tuple(one.get("but", ())), one["why"]) for one in listed]


def reason_of(name: str, listed: Sequence[Entry]) -> str | None:
    """Return why a test of that name is left to the nightly run, or None."""
    return next((entry.why for entry in listed if entry.covers(name)), None)


def stale(names: Sequence[str], listed: Sequence[Entry]) -> list[str]:
    """Return what the list says of tests that do not exist (any more)."""
    said = [beginning for entry in listed for beginning in (*entry.names, *entry.but)]
    return [beginning for beginning in said if not any(name.startswith(beginning) for name in names)]


def scope_of(name: str) -> str:
    """Return what is run in one process, one test after the other: the machine's tests, or a test's file."""
    return "machine" if name.startswith(OF_THE_MACHINE) else name.partition("::")[0]


def examples(count: int) -> settings:
    """Return the settings of a property that is tried with `count` examples in a whole run, with a part in a brief one.

    Hypothesis' default of 100 examples is the measure: it is smaller in a brief run.
    """
    return settings(max_examples=max(1, count * settings().max_examples // 100), deadline=None)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that chooses."""
    parser.addoption("--brief", action="store_true", help="leave out what tests/nightly.toml lists, as CI does")


def pytest_configure(config: pytest.Config) -> None:
    """Let properties have fewer examples in a brief run."""
    settings.register_profile("brief", max_examples=100 // BRIEF_DIVISOR)
    if config.getoption("brief"):
        settings.load_profile("brief")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the list names."""
    if not config.getoption("brief"):
        return
    listed = entries()
    left: Counter[str] = Counter()
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        why = reason_of(item.nodeid, listed)
        (kept if why is None else left_out).append(item)
        if why is not None:
            left[why] += 1
    gone = stale([item.nodeid for item in items], listed) if config.args_source is _WHOLE else []
    if gone:
        raise pytest.UsageError(f"{LIST.name} names tests that do not exist: {', '.join(gone)}")
    items[:] = kept
    config.stash[_COUNTS] = left
    output: dict[str, Any] | None = getattr(config, "workeroutput", None)
    if output is not None:
        output[_LEFT_OUT] = dict(left)
    elif left_out:
        config.hook.pytest_deselected(items=left_out)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over from the first process that ends what all of them have left out, for the closing line."""
    left = getattr(node, "workeroutput", {}).get(_LEFT_OUT)
    if left and _COUNTS not in node.config.stash:
        node.config.stash[_COUNTS] = Counter(left)
        node.config.hook.pytest_deselected(items=[SimpleNamespace() for _ in range(sum(left.values()))])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was left out, and why."""
    left = config.stash.get(_COUNTS, Counter[str]())
    if left:
        terminalreporter.section("left to the nightly run (tests/nightly.toml)")
        for why, count in left.most_common():
            terminalreporter.line(f"{count:5}  {why}")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Give each process one scope at a time."""
    from xdist.scheduler import LoadScopeScheduling

    class ByScope(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return scope_of(nodeid)

    return ByScope(config, log)
