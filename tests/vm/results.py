"""What a machine's run was worth: its tests, its kernel's messages, and whether it ran to the end at all."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

# Written among the kernel's messages by tests.vm.plugin: what follows belongs to this test.
MARK: Final = "epm-inspector test: "
BEGIN: Final = "epm-inspector tests begin"
_END: Final = re.compile(r"epm-inspector tests end, status (\d+), tainted (\d+)")

# What kernels say where something is wrong with them (lib/bug.c, kernel/panic.c, kernel/locking/lockdep.c,
# kernel/rcu/tree_stall.h, kernel/watchdog.c, kernel/hung_task.c, mm, net/core/dev.c).
_TROUBLE: Final = re.compile(
    r"\bWARNING: |\bBUG: |\bkernel BUG at|\bOops\b|\bcut here \]|\bgeneral protection fault|\bKernel panic"
    r"|\bINFO: (?:possible|suspicious|task|lockdep)|\bINFO: trying to register non-static key"
    r"|\brefcount_t: |\bUBSAN: |\bKASAN: |\bunregister_netdevice: waiting|\bpage allocation failure|\bOut of memory"
)
# What they say where a processor did nothing for long. An emulated machine cannot know that all below it stood still.
_STALL: Final = re.compile(
    r"\bdetected stalls?\b|\bself-detected stall\b|\bsoft lockup\b|\bhard LOCKUP\b|\bworkqueue lockup\b"
    r"|\bkthread starved\b"
)
# include/linux/panic.h: what a kernel notes of itself after a soft lockup.
_TAINT_SOFT_LOCKUP: Final = 1 << 14
# The kernel speaks of a soft lockup after 20 s, of a stall after 21 s (Debian's configuration).
STILL_SECONDS: Final = 15.0
_CONTEXT_LINES: Final = 40
_STAMP: Final = re.compile(r"^\[\s*\d+\.\d+\]\s*(?:\[[^]]*\]\s*)?")


def end(status: int, taint: str) -> str:
    """Return the line among the kernel's messages that follows the tests: pytest's exit status, the kernel's taint."""
    return f"epm-inspector tests end, status {status}, tainted {taint}"


@dataclass(slots=True)
class Trouble:
    """Something the kernel complained of: during which test, its first line, and the lines after it."""

    test: str
    line: str
    context: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Outcome:
    """A machine's run: tests passed; what failed, by name of the test or of what was looked at, with the reason."""

    passed: int = 0
    failures: dict[str, str] = field(default_factory=dict)


def messages(console: str) -> list[str]:
    """Return the kernel's messages since the tests began, each without its time."""
    lines = [_STAMP.sub("", line.rstrip("\r")) for line in console.split("\n")]
    return lines[lines.index(BEGIN) + 1 :] if BEGIN in lines else []


def find_trouble(lines: list[str], *, stood_still: bool = False) -> list[Trouble]:
    """Return what the kernel complained of, and each complaint once; no stalls where the machine below stood still."""
    found: list[Trouble] = []
    test, quiet_until = "", 0
    for number, line in enumerate(lines):
        if line.startswith(MARK):
            test, quiet_until = line.removeprefix(MARK), 0
        stall = _STALL.search(line) is not None
        if number < quiet_until or (stall and stood_still) or not (stall or _TROUBLE.search(line)):
            continue
        quiet_until = number + _CONTEXT_LINES
        found.append(Trouble(test, line, list(itertools.takewhile(_is_message, lines[number + 1 : quiet_until]))))
    return found


def _is_message(line: str) -> bool:
    return not line.startswith(MARK) and not _END.fullmatch(line)


def judge_console(console: str, still_seconds: float, *, some_failed: bool) -> dict[str, str]:
    """Return what is wrong by the console, by what was looked at: an end in good order, messages, taint.

    `still_seconds` is how long the machine below stood still at a time, at most; `some_failed` what the report says.
    """
    lines = messages(console)
    stood_still = still_seconds >= STILL_SECONDS
    wrong = {}
    ends = [found for line in lines if (found := _END.fullmatch(line))]
    status, taint = map(int, ends[-1].groups()) if ends else (0, 0)
    if not ends:
        wrong["the machine"] = "it did not run to the end; its last words:\n" + "\n".join(console.splitlines()[-30:])
    # 1 is that tests failed.
    if status > int(some_failed):
        wrong["the tests"] = f"pytest ended with status {status}"
    if taint & ~(_TAINT_SOFT_LOCKUP if stood_still else 0):
        wrong["the kernel's taint"] = f"/proc/sys/kernel/tainted is {taint}: something was wrong"
    trouble = find_trouble(lines, stood_still=stood_still)
    if trouble:
        wrong["the kernel's messages"] = "\n\n".join(
            "\n    ".join([f"during {one.test or 'no test'}: {one.line}", *one.context]) for one in trouble
        )
    return wrong


def conclude(
    series: str, release: str, console: str, report: Path, *, in_time: bool, still_seconds: float = 0
) -> Outcome:
    """Complete the report (JUnit) which the tests left, or write one where they left none; return the outcome.

    A test that was skipped failed: on a kernel of the list everything has to be there.
    """
    outcome = Outcome()
    suite = _suite_of(report, outcome)
    suite.set("name", f"Linux {series} ({release})")
    for case in suite.iter("testcase"):
        _judge_case(case, outcome)
    wrong = judge_console(console, still_seconds, some_failed=bool(outcome.failures))
    if not in_time:
        wrong["the machine"] = "it took longer than it may, and was stopped"
    if not outcome.passed and "the machine" not in wrong:
        wrong.setdefault("the tests", "none passed")
    for name in ("the machine", "the tests", "the kernel's messages", "the kernel's taint"):
        case = ET.SubElement(suite, "testcase", classname="tests.vm", name=name)
        if name in wrong:
            outcome.failures[name] = wrong[name]
            ET.SubElement(case, "failure", message=wrong[name].split("\n", 1)[0]).text = _printable(wrong[name])
    cases = list(suite.iter("testcase"))
    suite.attrib.update(tests=str(len(cases)), failures=str(len(outcome.failures)), errors="0", skipped="0")
    root = ET.Element("testsuites")
    root.append(suite)
    ET.ElementTree(root).write(report, encoding="utf-8", xml_declaration=True)
    return outcome


def write_missing(series: str, why: str, report: Path) -> None:
    """Write the report (JUnit) of a kernel that could not be had."""
    root = ET.Element("testsuites")
    suite = ET.SubElement(root, "testsuite", name=f"Linux {series}", tests="1", failures="1", errors="0", skipped="0")
    case = ET.SubElement(suite, "testcase", classname="tests.vm", name="the kernel")
    ET.SubElement(case, "failure", message=why)
    report.parent.mkdir(parents=True, exist_ok=True)
    ET.ElementTree(root).write(report, encoding="utf-8", xml_declaration=True)


def _suite_of(report: Path, outcome: Outcome) -> ET.Element:
    try:
        suite = ET.parse(report).getroot().find("testsuite")  # noqa: S314 - our own tests wrote it
    except (OSError, ET.ParseError) as error:
        outcome.failures["the report"] = f"the tests left none that can be read: {error}"
        suite = None
    return ET.Element("testsuite") if suite is None else suite


def _judge_case(case: ET.Element, outcome: Outcome) -> None:
    """Count one test; what was skipped becomes a failure."""
    name = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
    for skipped in case.findall("skipped"):
        skipped.tag = "failure"
        skipped.set("message", f"skipped on a kernel of the list: {skipped.get('message', '')}")
    wrong = [*case.findall("failure"), *case.findall("error")]
    if wrong:
        outcome.failures[name] = (wrong[0].get("message") or "").split("\n", 1)[0]
    else:
        outcome.passed += 1


def _printable(text: str) -> str:
    """Return a text with what XML cannot hold replaced."""
    return re.sub(r"[^\t\n\x20-\uD7FF\uE000-\uFFFD]", "?", text)
