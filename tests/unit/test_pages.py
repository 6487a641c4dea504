"""The pages for contributors name files, functions and make targets that exist, and none of their links is dead."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ["docs/architecture.md", "docs/development.md", "docs/compatibility.md", "CONTRIBUTING.md", "SECURITY.md"]
FOLDERS = ("", "inspector", "inspector/live", "docs")


def words_of(page: str) -> list[str]:
    """Return everything between backticks, code blocks apart."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", text)


@pytest.mark.parametrize("page", PAGES)
def test_every_file_exists(page: str) -> None:
    """A word that looks like a path is one, from the repository's root or from `inspector/`."""
    paths = [word for word in words_of(page) if re.fullmatch(r"[\w.-]*[\w-]+/[\w/.-]*", word)]
    # What is in build/ is made by a command.
    paths = [path for path in paths if not path.startswith("build/")]
    missing = [path for path in paths if not any((ROOT / folder / path).exists() for folder in FOLDERS)]
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_every_target_of_make_exists(page: str) -> None:
    """`make NAME` is in the Makefile."""
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z0-9-]+)", text, re.MULTILINE))
    assert named - targets == set()


@pytest.mark.parametrize("page", PAGES)
def test_no_link_is_dead(page: str) -> None:
    """A link leads to a file beside the page, and to a heading that is there."""
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", (ROOT / page).read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.is_file(), target
        headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
        anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor in anchors, target


@pytest.mark.parametrize("page", PAGES)
def test_lines_are_short(page: str) -> None:
    """Prose has at most 120 characters in a line; the row of a table cannot be divided."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []
