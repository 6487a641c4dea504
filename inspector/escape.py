"""Text from outside, made harmless for terminals, logs and pages: endpoint names, interfaces, files, addresses."""

from __future__ import annotations

from typing import Final

_MOST: Final = 200


def harmless(text: str) -> str:
    """Return text in which everything that does not print is shown as an escape.

    What comes from outside could otherwise move the cursor or change colours (Unicode category Cc), make one name look
    like another by marks of direction (Cf), begin a new line (Zl, Zp), or be no text at all (Cs: bytes of a file name).
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def display_name(raw: bytes) -> str:
    """Return a name of the kernel's, any bytes, as printable text; what is no UTF-8 in hexadecimal."""
    return harmless(raw.decode(errors="backslashreplace"))


def shorten(text: str, most: int = _MOST) -> str:
    """Return text, cut after `most` characters with the number of those that are missing."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text) - most:,} characters more)"
