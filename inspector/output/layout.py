"""Constants of the compiled writer of lines.

setup.py writes `layout.pxd` from this file, so that the compiled writer has the same numbers as C constants: it may
contain nothing but integer constants.
"""

from __future__ import annotations

from typing import Final

# Pieces of a text: before the time, the client, its port, the call identifier, the frame and the latency, and the rest.
PIECES: Final = 7
# Texts of a template: with latency and frame, without latency, without frame, without both.
VARIANTS: Final = 4

# More characters than the differing parts can have: time 30, address 39, port 5, call identifier 10, frame 18,
# latency 17.
LONGEST: Final = 128

SECOND: Final = 1000000000
SECOND_LENGTH: Final = 19  # of the text of a second
DAY: Final = 86400
LOW: Final = 0xFFFFFFFF
MAPPED: Final = 0xFFFF0000
# Python writes shorter latencies with an exponent, and of longer ones the last digits are not exact.
SHORTEST_LATENCY: Final = 100
LONGEST_LATENCY: Final = 1000000000000000
ZERO: Final = 48
COLON: Final = 58
LETTER: Final = 87  # "a", less ten
