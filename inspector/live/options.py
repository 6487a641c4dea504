"""What the kernel program is told: struct epm_options."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from inspector.errors import LiveError
from inspector.record import INTERFACES, OPTIONS_DTYPE

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


def pack_options(interface_indexes: Sequence[int], ports: Collection[int]) -> bytes:
    """Return `struct epm_options` for these interfaces (the first 16 have counters of their own) and ports."""
    options = np.zeros((), OPTIONS_DTYPE)
    known = interface_indexes[:INTERFACES]
    options["interface_index"][: len(known)] = known
    for port in ports:
        if not 0 < port < 1 << 16:
            raise LiveError(f"{port} is no port of TCP or UDP")
        options["ports"][port >> 5] |= np.uint32(1 << (port & 31))
    return options.tobytes()
