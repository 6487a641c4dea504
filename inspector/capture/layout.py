"""Constants of the compiled loop over packets.

setup.py writes `layout.pxd` from this file, so that the compiled loop has the same numbers as C constants: it may
contain nothing but integer constants.
"""

from __future__ import annotations

from typing import Final

# Columns of the table of interfaces, whose clocks started in 1970.
LINK_ETHERTYPE_AT: Final = 0  # offset of the ethertype; or BY_VERSION
LINK_NETWORK_AT: Final = 1  # offset of the network header
NANOSECONDS: Final = 2  # of a tick
LAST_TICK: Final = 3  # latest time that fits; -1: the loop does not read packets of this interface
SECOND: Final = 4  # ticks of a second; used in the classic format
INTERFACE_WORDS: Final = 5
BY_VERSION: Final = -1  # no ethertype: the first half-byte of the network header tells

# Words of a row: struct epm_record behind one word.
ROW_TIME: Final = 1
ROW_SOURCE: Final = 2
ROW_DESTINATION: Final = 4
ROW_SEQUENCES: Final = 6
ROW_PORTS: Final = 7
ROW_LENGTHS: Final = 8
ROW_HOP_LIMIT: Final = 9
ROW_PAYLOAD: Final = 10

IPV4: Final = 0x0800
IPV6: Final = 0x86DD
VLAN: Final = 0x8100
VLAN_SERVICE: Final = 0x88A8
VLAN_OLD: Final = 0x9100
LOWEST_TYPE: Final = 0x0600  # below it an ethertype is a length, and LLC follows
MPLS: Final = 0x8847
MPLS_UPSTREAM: Final = 0x8848
PPPOE: Final = 0x8864
PBB: Final = 0x88E7
# Of a port.
OF_INTEREST: Final = 1  # an endpoint mapper's
OF_TUNNELS: Final = 2  # of UDP
TCP: Final = 6
UDP: Final = 17
MAPPED: Final = 0xFFFF0000
FIN_SYN_RST: Final = 7
# As in inspector.record.Attribute.
FROM_SERVER: Final = 1
OF_IPV6: Final = 2

CLASSIC_HEADER: Final = 16
ENHANCED_PACKET: Final = 6
ENHANCED_HEADER: Final = 28
BLOCK_OVERHEAD: Final = 32
HIGHEST_TICKS: Final = 0x7FFFFFFF  # upper half of a time, beyond which it fits no signed integer
MAXIMUM_PIECE: Final = 16777216  # as in inspector.capture.stored
# The loop reads up to eight bytes at any offset that is in a frame.
SLACK: Final = 8

# Results of reading a frame.
SKIPPED: Final = 0
WRITTEN: Final = 1
UNUSUAL: Final = 2
