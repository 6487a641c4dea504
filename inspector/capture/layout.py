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

# Words of a row: struct epm_record behind one word, the number of the packet in the file.
ROW_FRAME: Final = 0
ROW_TIME: Final = 1
ROW_SOURCE: Final = 2
ROW_DESTINATION: Final = 4
ROW_SEQUENCES: Final = 6
ROW_PORTS: Final = 7
ROW_LENGTHS: Final = 8
ROW_HOP_LIMIT: Final = 9
ROW_PAYLOAD: Final = 10
# Of a row for the tracker the upper half of ROW_HOP_LIMIT is the captured length of the frame.
FOLLOWED: Final = 1024  # such rows are kept until the tracker gets them
FOLLOWED_TIME: Final = 500000000  # and for so long: no timer of tracker and decoder is shorter

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
# Why the loop stopped.
PACKET: Final = 0
ROWS_FULL: Final = 1
TIME_DUE: Final = 2
NEVER: Final = 9223372036854775807

# An entry of the table of connections (inspector.capture.flows), in 64-bit words.
FLOW_CLIENT: Final = 0  # address, two words
FLOW_SERVER: Final = 2
FLOW_PORTS: Final = 4  # client's, server's << 16
FLOW_TAG: Final = 5  # hash of its addresses and ports
FLOW_TOUCHED: Final = 6  # whether a packet came since the table was last searched for a silent one
FLOW_SIGHT: Final = 7  # which row of sights it has, counted from 1
FLOW_LAST: Final = 8  # time of the last packet
FLOW_STATE: Final = 9  # flags below
FLOW_NEXT: Final = 10  # sequence number behind the client's stream, and the server's
FLOW_ACKNOWLEDGED: Final = 12  # of the client's stream, and of the server's
FLOW_FIRST: Final = 14  # time of the SYN
FLOW_AGAIN: Final = 15  # how often the server repeated what the client has not acknowledged, or the client its question
FLOW_HOP_LIMIT: Final = 16  # of the SYN-ACK
FLOW_CONTEXTS: Final = 17  # of the last bind
FLOW_TAIL: Final = 18  # the last bytes of the server's stream
FLOW_INITIAL: Final = 19  # sequence number of the SYN
FLOW_OPENED: Final = 20  # time of the SYN-ACK
FLOW_BINDING: Final = 21  # port + 1 so far, within the brackets of a DCOM string binding; 0 outside
FLOW_WORDS: Final = 22

# Its state.
STATE_PYTHON: Final = 1  # its packets are for the tracker in Python
STATE_ANSWERED: Final = 2  # a SYN-ACK came
STATE_CONFIRMED: Final = 4  # the client acknowledged it
STATE_PENDING: Final = 8  # the client has sent, the server not since
STATE_CLIENT_ENDED: Final = 16  # a FIN came, and one bit higher the server's
STATE_CLIENT_RESET: Final = 64  # a reset came, and one bit higher the server's
STATE_BOUND: Final = 256  # the server accepted a bind
STATE_IGNORED: Final = 512  # no answer can have led to it
STATE_ASKED: Final = 1024  # the client proposed a bind
STATE_ENDED: Final = 240  # either end, by FIN or reset
STATE_ANY_RESET: Final = 192

# What is known of a client, a byte for each hash of an address.
CLIENTS: Final = 4194304
CLIENT_KNOWN: Final = 1  # it has talked to an endpoint mapper
CLIENT_PYTHON: Final = 2  # not all of its connections are healthy
CLIENT_FOLLOWS: Final = 4  # it has connected to an offered port
CLIENT_SEALED: Final = 8  # it has got an authenticated answer, which may offer any port

# Connections to ports that no answer has offered yet, kept until one does.
EARLY: Final = 65536

# Conversations with endpoint mappers, for finding those that may be two sides of one: a row of 64-bit words for each of
# the last ones.
SIGHTS: Final = 65536  # as in inspector.outcomes.sightings
SIGHT_SERIAL: Final = 0
SIGHT_CLIENT: Final = 1
SIGHT_SERVER: Final = 3
SIGHT_PORTS: Final = 5
SIGHT_FIRST: Final = 6  # time of the first packet
SIGHT_STATE: Final = 7  # flags below
SIGHT_START: Final = 8  # sequence number of the client's first byte
SIGHT_BIND: Final = 9  # hash of the client's first segment
SIGHT_BIND_AT: Final = 10  # its sequence number
SIGHT_BIND_TIME: Final = 11
SIGHT_QUESTION: Final = 12  # hash of the client's second segment
SIGHT_REPLY_TIME: Final = 13  # of the server's first segment
SIGHT_WORDS: Final = 14
SIGHT_CLIENT_KNOWN: Final = 1  # the start of the client's stream is known, and one bit higher the server's
SIGHT_WROTE: Final = 4  # the first segment is known
SIGHT_BOUND: Final = 8  # it begins with a bind
SIGHT_ASKED: Final = 16  # the second segment is known
SIGHT_REPLIED: Final = 32  # the server's first segment came

# What happened, for the tracker: a row of 64-bit words.
EVENTS: Final = 4096
EVENT_KIND: Final = 0
EVENT_FRAME: Final = 1
EVENT_TIME: Final = 2
EVENT_CLIENT: Final = 3
EVENT_SERVER: Final = 5
EVENT_PORTS: Final = 7
EVENT_HOP_LIMIT: Final = 8
EVENT_CONTEXTS: Final = 9
EVENT_SIZE: Final = 10
EVENT_WAITED: Final = 10  # from SYN to SYN-ACK, of EVENT_REACHED
EVENT_WORDS: Final = 11
EVENT_OPENED: Final = 1  # a SYN of a follow-up
EVENT_REACHED: Final = 2  # its bind was accepted
EVENT_SERVER_SEEN: Final = 3  # facts of a server of port 135 have changed

SERVERS: Final = 1024  # whose facts are compared, by hash
SERVER_WORDS: Final = 5  # address, two words; hop limit + 1; contexts; size of an answer
SMALL: Final = 512  # as in inspector.outcomes.servers
# A floor of a tower, up to its port: lengths are little-endian.
FLOOR_TCP: Final = 4295426560
FLOOR_HTTP: Final = 4296999424
FLOOR_MASK: Final = 72057594037927935
BRACKET: Final = 91  # of `host[port]`, a string binding of DCOM, and the closing one
BRACKET_END: Final = 93
DIGIT_0: Final = 48

FIN: Final = 1
SYN: Final = 2
RST: Final = 4
ACK: Final = 16
ICMP: Final = 1
ICMP6: Final = 58
LATEST_TIME: Final = 8070450532247928832  # as in inspector.record
HALF: Final = 2147483648  # of the sequence numbers
LOW: Final = 4294967295
SOON: Final = 1000000000  # a healthy connection is open, and acknowledges, within this time
COPY: Final = 1000000  # the same packet within this time is a copy
PATIENCE: Final = 5000000000  # a healthy mapper answers within this time
JUMP: Final = 1048576  # how far a segment may be ahead of the others

# PDU types.
PDU_RESPONSE: Final = 2
PDU_FAULT: Final = 3
PDU_BIND: Final = 11
PDU_BIND_ACK: Final = 12
PDU_BIND_NAK: Final = 13
PDU_ALTER: Final = 14
PDU_ALTER_ACK: Final = 15
PDU_HEADER: Final = 16
PDU_LAST: Final = 20
PDUS: Final = 16  # of a segment that are read

# Results of the triage of a segment.
OF_OTHERS: Final = 0
FOR_PYTHON: Final = 1
HEALTHY: Final = 2
