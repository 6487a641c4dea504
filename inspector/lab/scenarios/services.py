"""What the clients of scenarios ask for, and what they write while they wait."""

from __future__ import annotations

from typing import Final

SERVICES: Final = {
    "SAMR": ("12345778-1234-abcd-ef00-0123456789ac", "1.0"),
    "WKSSVC": ("6bffd098-a112-3610-9833-46c3f87e345a", "1.0"),
    "WINREG": ("338cd001-2244-31f1-aaaa-900038001003", "1.0"),
}
"""Interfaces which Samba registers over TCP, each served by another process, at a port of its own."""

BOUND: Final = "bound"
"""What a client writes, with `--pause`, when its bind was answered; a line of standard input lets it go on."""
