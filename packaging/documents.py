"""Write the manual page and the completions of shells from the command line's own parser: `documents.py FOLDER`.

The parser is the only place where commands and options are described, so that neither can fall behind it; what a parser
does not say (examples, files, exit statuses) is in manual.txt beside this file.
"""

from __future__ import annotations

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import shtab
from argparse_manpage.manpage import Manpage

from inspector import __version__
from inspector.cli import make_parser

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME: Final = "epm-inspector"
# The name under which each shell looks for a completion.
SHELLS: Final = {"bash": NAME, "zsh": f"_{NAME}", "fish": f"{NAME}.fish"}

# What follows an argument, by the word that stands for it in the help.
_COMPLETIONS: Final = {
    "FILE": shtab.FILE,
    "DIR": shtab.DIRECTORY,
    "IFACE": shtab.cmd("ls /sys/class/net"),
    "NAME": shtab.cmd("ls /run/netns 2>/dev/null"),
}


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield all arguments of a parser and of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)


def completion(shell: str) -> str:
    """Return the script which completes commands, options, files and interfaces in this shell."""
    parser = make_parser()
    for action in _actions(parser):
        if isinstance(action.metavar, str) and action.metavar in _COMPLETIONS:
            action.complete = _COMPLETIONS[action.metavar]  # type: ignore[attr-defined] # where shtab looks for it
    return shtab.complete(parser, shell)


def manual_page() -> str:
    """Return the manual page (section 8) with every command and option, dated by SOURCE_DATE_EPOCH if that is set."""
    # The usage of a command is broken into lines of this many columns.
    os.environ["COLUMNS"] = "72"
    page = Manpage(make_parser())
    page.section = "8"
    page.source = f"{NAME} {__version__}"
    page.manual = "System administration"
    page.description = "find endpoint mapper answers that offer another server than was asked"
    if "SOURCE_DATE_EPOCH" in os.environ:
        page.date = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), UTC).date().isoformat()
    page.parse_include(Path(__file__).with_name("manual.txt"))
    return str(page).replace("\n.SH\nPOSITIONAL ARGUMENTS\n", "\n.SH COMMANDS\n")


def main(folder: Path) -> None:
    """Write everything into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{NAME}.8").write_text(manual_page())
    for shell, name in SHELLS.items():
        (folder / name).write_text(completion(shell))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
