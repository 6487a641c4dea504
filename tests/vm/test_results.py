"""What makes a machine's run fail: a test, a skipped test, a complaint of the kernel, an end that is none."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest

from tests.vm.results import BEGIN, MARK, conclude, end, find_trouble, write_missing

if TYPE_CHECKING:
    from pathlib import Path

BOOT = "[    0.000000] Linux version 6.1.0\r\n[    0.100000] WARNING: the firmware is strange\r\n"
REPORT = """<testsuites><testsuite name="pytest" tests="2" failures="0" skipped="0" errors="0">
<testcase classname="tests.kernel.test_a" name="test_one"/><testcase classname="tests.kernel.test_a" name="test_two"/>
</testsuite></testsuites>"""
WARNING = [
    "------------[ cut here ]------------",
    "WARNING: CPU: 0 PID: 812 at net/core/dev.c:9999 dev_xdp_uninstall+0x1/0x2",
    "Call Trace:",
    " bpf_xdp_link_release+0x1/0x2",
    "---[ end trace 0000000000000000 ]---",
]
STALL = "rcu: INFO: rcu_preempt self-detected stall on CPU"


def console(*lines: str, status: int = 0, taint: int = 0) -> str:
    """Return what the serial console shows of a run with these messages among the tests'."""
    said = [BEGIN, f"{MARK}test_one", *lines, f"{MARK}test_two", end(status, str(taint)), "reboot: Power down"]
    return BOOT + "".join(f"[  {number + 5}.000001] {line}\r\n" for number, line in enumerate(said))


def suite_of(report: Path) -> ET.Element:
    """Return a report's one suite."""
    [suite] = ET.parse(report).getroot()  # noqa: S314 - written here
    return suite


def failures(report: Path) -> dict[str | None, str | None]:
    """Return the names of the tests which a report says failed, with the reasons."""
    cases = suite_of(report).iter("testcase")
    return {case.get("name"): found.get("message") for case in cases if (found := case.find("failure")) is not None}


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """Return a report of two tests that passed."""
    path = tmp_path / "vm-6.1.xml"
    path.write_text(REPORT, encoding="utf-8")
    return path


def test_clean_run(report: Path) -> None:
    """Two tests passed; what was said before the tests is not theirs; four more things were looked at."""
    outcome = conclude("6.1", "6.1.0-56-amd64", console("near: link becomes ready"), report, in_time=True)
    assert (outcome.passed, outcome.failures) == (2, {})
    assert suite_of(report).attrib == {
        "name": "Linux 6.1 (6.1.0-56-amd64)",
        "tests": "6",
        "failures": "0",
        "skipped": "0",
        "errors": "0",
    }


@pytest.mark.parametrize("kind", ["failure", "error", "skipped"])
def test_one_of_two(report: Path, kind: str) -> None:
    """A failed test fails the run, and so does one that was skipped."""
    one = 'name="test_one"/>'
    report.write_text(REPORT.replace(one, f'name="test_one"><{kind} message="no gre&#10;more"/></testcase>'))
    outcome = conclude("6.1", "", console(), report, in_time=True)
    assert outcome.passed == 1
    [(name, why)] = outcome.failures.items()
    assert name == "tests/kernel/test_a.py::test_one"
    assert why == ("skipped on a kernel of the list: no gre" if kind == "skipped" else "no gre")


@pytest.mark.parametrize(
    "line",
    [
        "WARNING: CPU: 1 PID: 1 at kernel/bpf/verifier.c:1 check+0x1/0x2",
        "BUG: kernel NULL pointer dereference, address: 0000000000000008",
        "Oops: 0000 [#1] PREEMPT SMP NOPTI",
        "INFO: possible circular locking dependency detected",
        "INFO: task python:12 blocked for more than 120 seconds.",
        "WARNING: suspicious RCU usage",
        "UBSAN: array-index-out-of-bounds in net/core/filter.c:1:2",
        "unregister_netdevice: waiting for near to become free. Usage count = 2",
        "refcount_t: underflow; use-after-free.",
        "Kernel panic - not syncing: Fatal exception",
    ],
)
def test_complaint_of_the_kernel(report: Path, line: str) -> None:
    """What a kernel says where something is wrong fails the run, and names the test during which it came."""
    outcome = conclude("6.1", "", console(line), report, in_time=True)
    assert list(outcome.failures) == ["the kernel's messages"]
    assert f"during test_one: {line}" in outcome.failures["the kernel's messages"]
    assert failures(report) == {"the kernel's messages": f"during test_one: {line}"}


def test_one_complaint_is_told_once() -> None:
    """The lines of one complaint are its context; the next test's complaint is another."""
    found = find_trouble([f"{MARK}test_one", *WARNING, f"{MARK}test_two", *WARNING])
    assert [one.test for one in found] == ["test_one", "test_two"]
    assert WARNING[3] in found[0].context


@pytest.mark.parametrize("stall", [STALL, "watchdog: BUG: soft lockup - CPU#0 stuck for 33s! [python:341]"])
@pytest.mark.parametrize(("seconds", "excused"), [(33.0, True), (2.0, False)])
def test_stalls(report: Path, stall: str, seconds: float, excused: bool) -> None:
    """A processor that did nothing is no complaint where the whole machine stood still; a warning beside it is one."""
    for lines, expected in (([stall], not excused), ([stall, *WARNING], True)):
        report.write_text(REPORT, encoding="utf-8")
        said = console(*lines, taint=1 << 14)
        outcome = conclude("6.1", "", said, report, in_time=True, still_seconds=seconds)
        assert ("the kernel's messages" in outcome.failures) == expected
        assert ("the kernel's taint" in outcome.failures) == (not excused)


@pytest.mark.parametrize("said", [BOOT, BOOT + f"[  5.0] {BEGIN}\r\n[  6.0] {MARK}test_one\r\n", ""])
def test_machine_that_does_not_reach_the_end(report: Path, said: str) -> None:
    """A machine which crashed fails the run, also when the tests had left a report."""
    outcome = conclude("6.1", "", said, report, in_time=True)
    assert "it did not run to the end" in outcome.failures["the machine"]


def test_machine_that_does_not_come_in_time(tmp_path: Path) -> None:
    """What took too long is a failure, and has a report though the tests left none."""
    report = tmp_path / "vm-6.1.xml"
    outcome = conclude("6.1", "", console(), report, in_time=False)
    assert outcome.passed == 0
    assert set(outcome.failures) == {"the report", "the machine"}
    assert failures(report)["the machine"] == "it took longer than it may, and was stopped"


def test_taint(report: Path) -> None:
    """A kernel that has noted a warning for itself is not clean, whatever it said."""
    outcome = conclude("6.1", "", console(taint=512), report, in_time=True)
    assert list(outcome.failures) == ["the kernel's taint"]


def test_pytest_itself_fails(report: Path) -> None:
    """A failure of pytest's which is no test's fails the run; one that the report tells is not told again."""
    failed = REPORT.replace('name="test_one"/>', 'name="test_one"><failure message="no"/></testcase>')
    for text, status, names in (
        (REPORT, 1, ["the tests"]),
        (REPORT, 3, ["the tests"]),
        (failed, 1, ["tests/kernel/test_a.py::test_one"]),
        (failed, 3, ["tests/kernel/test_a.py::test_one", "the tests"]),
    ):
        report.write_text(text, encoding="utf-8")
        assert list(conclude("6.1", "", console(status=status), report, in_time=True).failures) == names


def test_nothing_ran(report: Path) -> None:
    """No test is no success."""
    report.write_text("<testsuites><testsuite/></testsuites>", encoding="utf-8")
    assert list(conclude("6.1", "", console(), report, in_time=True).failures) == ["the tests"]


def test_kernel_that_cannot_be_had(tmp_path: Path) -> None:
    """It has a report of one failure."""
    report = tmp_path / "build" / "vm-6.1.xml"
    write_missing("6.1", "apt's sources offer none", report)
    assert failures(report) == {"the kernel": "apt's sources offer none"}
