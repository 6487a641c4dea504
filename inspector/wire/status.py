"""Status codes in words: C706 appendices E and N, MS-RPCE section 3.1.1.5.5, MS-ERREF."""

from __future__ import annotations

from typing import Final

_EPM: Final = {
    0x00000000: "",
    0x00000005: "access denied",
    0x000006BB: "the server is too busy (1723)",
    0x000006D8: "the endpoint mapper cannot perform the operation (1752)",
    0x000006D9: "no such interface is registered (1753)",
    0x16C9A0CD: "the endpoint mapper cannot perform the operation (1752)",
    0x16C9A0D6: "no such interface is registered (1753)",
}

_FAULT: Final = {
    0x00000005: "access denied",
    0x000006BB: "the server is too busy (1723)",
    0x000006BE: "the call failed (1726)",
    0x000006C0: "protocol error (1728)",
    0x000006D3: "the authentication service is unknown",
    0x000006F7: "the server could not read the request's stub (1783)",
    0x00000721: "security package error",
    0x1C000006: "invalid tag",
    0x1C000007: "invalid bound",
    0x1C000008: "the RPC versions do not match",
    0x1C000009: "rejected without a reason",
    0x1C00000D: "the call was cancelled",
    0x1C000012: "failed without a reason",
    0x1C00001A: "the context handle is not the server's",
    0x1C00001B: "no memory on the server",
    0x1C00001C: "invalid presentation context",
    0x1C00001D: "unsupported authentication level",
    0x1C010001: "communication failure",
    0x1C010002: "the operation number is out of range",
    0x1C010003: "unknown interface",
    0x1C010006: "the server has restarted",
    0x1C01000B: "protocol error",
    0x1C010013: "the response is too big",
    0x1C010014: "the server is too busy",
    0x1C010017: "unsupported type",
}


def epm_status_text(status: int) -> str:
    """Return the words for a status of the endpoint mapper; empty for success."""
    return _EPM.get(status, f"status {status:#010x}")


def fault_status_text(status: int) -> str:
    """Return the words for the status of a fault PDU."""
    return _FAULT.get(status, f"status {status:#010x}")
