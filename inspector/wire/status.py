"""Status codes in words: C706 appendices E and N, MS-RPCE section 3.1.1.5.5, MS-ERREF, MS-DCOM section 2.2.10."""

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


_HRESULT: Final = {
    0x00000000: "success",
    0x00000005: "access denied",
    0x00000776: "the object exporter is not known (1910)",
    0x00000777: "the object is not known (1911)",
    0x00000778: "the ping set is not known (1912)",
    0x80004001: "not implemented",
    0x80004002: "no such interface",
    0x80004005: "unspecified error",
    0x8000401A: "the server process cannot log on as its identity",
    0x80004015: "the class is configured for another identity",
    0x80010108: "the object has disconnected from its clients",
    0x80010110: "the COM versions do not match",
    0x80040111: "the class object is not available",
    0x80040153: "invalid registry entry of the class",
    0x80040154: "the class is not registered",
    0x80070002: "file not found",
    0x80070005: "access denied",
    0x8007000E: "no memory on the server",
    0x80070057: "invalid argument",
    0x80070422: "the service is disabled",
    0x800706BA: "the RPC server is unavailable (1722)",
    0x800706BE: "the remote procedure call failed (1726)",
    0x80070721: "security package error",
    0x80070776: "the object exporter is not known (1910)",
    0x80080005: "the server process did not start",
}


def hresult_text(status: int) -> str:
    """Return the words for an HRESULT, or an error status of IObjectExporter, with its number."""
    words = _HRESULT.get(status)
    number = f"{status:#x}" if status < 0x10000 else f"{status:#010X}".replace("X", "x")
    return f"{words} ({number})" if words else f"status {number}"


def epm_status_text(status: int) -> str:
    """Return the words for a status of the endpoint mapper; empty for success."""
    return _EPM.get(status, f"status {status:#010x}")


def fault_status_text(status: int) -> str:
    """Return the words for the status of a fault PDU."""
    return _FAULT.get(status, f"status {status:#010x}")
