"""Messages: one printable line each on standard error, with a priority where that is the journal."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from typing import TYPE_CHECKING

import pytest

from inspector import log
from inspector.escape import display_name, harmless, shorten

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "a\x1b[31m\u202eb\u2066c\u2028d\x9be\nf\udcff"
ESCAPED = "a\\x1b[31m\\u202eb\\u2066c\\u2028d\\x9be\\nf\\udcff"
SAY = "import logging; from inspector import log; log.set_up({}); logger = logging.getLogger('inspector.test'); "


def written(journal_stream: str | None, target: Path, script: str, settings: str = "") -> list[str]:
    """Return what a process logs whose standard error is a file, and maybe the journal."""
    with target.open("wb") as errors:
        status = os.fstat(errors.fileno())
        variables = dict(os.environ)
        if journal_stream is not None:
            variables["JOURNAL_STREAM"] = journal_stream.format(status=status)
        command = [sys.executable, "-c", SAY.format(settings) + script]
        subprocess.run(command, env=variables, stderr=errors, check=True)
    return target.read_text().splitlines()


def test_priorities_are_for_the_journal_only(tmp_path: Path) -> None:
    """Each line has its level's priority where standard error is the journal's stream, and no line has it elsewhere."""
    script = "logger.error('%s', 1); logger.warning(2); logger.info(3); logger.debug(4); logging.error('5\\n6')"
    lines = ["epm-inspector: 1", "epm-inspector: warning: 2", "3", "epm-inspector: 5\\n6"]
    assert written("{status.st_dev}:1", tmp_path / "b", script) == lines
    assert written(None, tmp_path / "c", script) == lines
    expected = [f"<{priority}>{line}" for priority, line in zip((3, 4, 5, 3), lines, strict=True)]
    assert written("{status.st_dev}:{status.st_ino}", tmp_path / "a", script) == expected
    expected.insert(3, "<7>4")
    assert written("{status.st_dev}:{status.st_ino}", tmp_path / "d", script, "verbose=True") == expected


def test_warnings_of_libraries_are_for_developers(tmp_path: Path) -> None:
    """They are shown with `--verbose` only; errors of libraries always are."""
    script = "library = logging.getLogger('pyroute2.x'); library.warning('hidden'); library.error('shown')"
    assert written(None, tmp_path / "a", script) == ["epm-inspector: shown"]
    shown = ["epm-inspector: warning: hidden", "epm-inspector: shown"]
    assert written(None, tmp_path / "b", script, "verbose=True") == shown


def test_a_message_is_one_printable_line(tmp_path: Path) -> None:
    """Whatever it quotes: controls, marks of direction, line separators, bytes that are no text, a very long name."""
    assert written(None, tmp_path / "a", f"logger.info('of %s', {HOSTILE!r})") == [f"of {ESCAPED}"]
    [line] = written(None, tmp_path / "b", "logger.info('x' * 100_000)")
    assert len(line) < 10_000
    assert "characters more" in line


def test_an_exception_is_short_unless_more_is_wanted(tmp_path: Path) -> None:
    """As of a library: its last line ends the message; the traceback is for `--verbose`."""
    script = "\ntry: 1 / 0\nexcept ZeroDivisionError: logging.getLogger('asyncio').exception('lost')"
    assert written(None, tmp_path / "a", script) == ["epm-inspector: lost: ZeroDivisionError: division by zero"]
    lines = written(None, tmp_path / "b", script, "verbose=True")
    assert lines[1] == "Traceback (most recent call last):"


def test_the_last_lines_of_what_an_error_quotes(tmp_path: Path) -> None:
    """A verifier's log ends with the reason; all of it is shown where it is asked for."""
    script = (
        "error = ValueError('refused'); error.add_note('\\n'.join(f'line {n}' for n in range(100)));"
        "log.report(logger, error)"
    )
    lines = written(None, tmp_path / "a", script)
    assert lines[0] == "epm-inspector: refused"
    assert "80 earlier lines" in lines[1]
    assert lines[2:] == [f"  line {number}" for number in range(80, 100)]
    assert written(None, tmp_path / "b", script, "verbose=True")[1:101] == [f"  line {number}" for number in range(100)]


def test_closed_standard_error_is_no_journal() -> None:
    """A descriptor that is not open goes nowhere."""
    assert not log.is_journal(987)


@pytest.mark.parametrize(
    "how", ["os.close(2); os.open('/dev/full', os.O_WRONLY)", "sys.stderr.close()", "sys.stderr = None"]
)
def test_standard_error_that_was_taken_away_ends_nothing(how: str) -> None:
    """As when a terminal has gone: messages go nowhere, least of all to standard output."""
    script = f"import os, sys; {how}; logger.info('x'); print(1)"
    done = subprocess.run([sys.executable, "-c", SAY.format("") + script], capture_output=True, text=True, check=False)
    assert done.stdout == "1\n"


def test_every_character_that_does_not_print_is_escaped() -> None:
    """All of the Unicode categories of controls, marks of format, surrogates and line separators; nothing else."""
    for number in range(sys.maxunicode + 1):
        character = chr(number)
        if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
            assert harmless(character).isascii(), hex(number)
        elif unicodedata.category(character)[0] in "LMNPS":
            assert harmless(character) == character


def test_names_and_lengths() -> None:
    """Names of the kernel are bytes; what is too long says by how much."""
    assert display_name(b"e\xff\x1b\xe2\x80\xae") == "e\\xff\\x1b\\u202e"
    assert display_name("größe".encode()) == "größe"
    assert shorten("x" * 1300, 300) == "x" * 300 + "... (1,000 characters more)"
