"""Where fields stand in the decoder's arrays, and its other constants.

`layout.pxd`, from which the compiled modules take the same numbers as C constants, is written from this file by
setup.py: it may contain nothing but integer constants.
"""

from __future__ import annotations

from typing import Final

# A row of a block: one 64-bit word of the ring's own, struct epm_record, payload. 64-bit words:
ROW_TIME: Final = 1
ROW_SOURCE: Final = 2
ROW_DESTINATION: Final = 4
ROW_PAYLOAD: Final = 10
# The same row in 32-bit words:
ROW_SEQUENCE: Final = 12
ROW_ACKNOWLEDGMENT: Final = 13
ROW_PORTS: Final = 14  # source, destination << 16
ROW_LENGTH: Final = 15  # of the payload on the wire
ROW_FLAGS: Final = 16  # captured length, TCP flags << 16, attributes << 24
ROW_INTERFACE: Final = 17
ROW_HOP_LIMIT: Final = 18  # 8 bits

# An entry of the connection table: 192 bytes, three cache lines, the last for contexts. Entry 0 is reserved.
SLOT_WORDS: Final = 24
SLOT_CLIENT: Final = 0  # address, two words
SLOT_SERVER: Final = 2
SLOT_PORTS: Final = 4  # client's, server's << 16
SLOT_FLAGS: Final = 5
SLOT_POSITION: Final = 6  # next byte of the client's stream, and of the server's
SLOT_ACKNOWLEDGED: Final = 8  # of the client's stream, and of the server's
SLOT_ORDER: Final = 10  # number of the record which touched it last
SLOT_LAST: Final = 11  # the decoder's time at that record
# The same entry in 32-bit words:
SLOT_HALVES: Final = 48
HALF_QUESTIONS: Final = 24  # its first pending question, 0 for none
HALF_INTERFACE: Final = 25  # on which it was first seen
HALF_PARTIAL: Final = 26  # reassembly buffer of the client's stream, and of the server's; 0 for none
HALF_PARTIAL_LENGTH: Final = 28
HALF_INITIAL: Final = 30  # sequence number of the client's SYN
HALF_TAG: Final = 31  # hash of its addresses and ports
HALF_CONTEXTS: Final = 32  # number of contexts, then one word for each
CONTEXTS: Final = 7
# In 64-bit words again, of the client's stream and of the server's:
SLOT_ORIGIN: Final = 20  # from there on everything was delivered
SLOT_DELIVERED: Final = 22  # checksum of the whole PDUs that were delivered last, and << 32 their length; 0 for none
WINDOW: Final = 1048576  # as in inspector.wire.stream

# Flags of a connection; those of the client's side, and one bit higher those of the server's.
VISIBLE: Final = 1
FINISHED: Final = 4
READ: Final = 16  # at least one PDU was read
CLOSED: Final = 64
HAS_INITIAL: Final = 128
SCALAR: Final = 256  # owned by the scalar decoder: the entry only says so
FREE: Final = 512
LOST: Final = 1024  # bytes of the client's side were not seen, or not read
SKIPPED: Final = 16384  # its client is over its quota: nothing of it is read
ASTRAY: Final = 4096  # where the next PDU of the client's side starts is not known

# A context: its identifier, the abstract syntax << 16, the transfer syntax << 20.
ABSTRACT_UNKNOWN: Final = 0
ABSTRACT_EPM: Final = 1
ABSTRACT_OTHER: Final = 2
TRANSFER_NONE: Final = 0
TRANSFER_NDR20: Final = 1
TRANSFER_NDR64: Final = 2

# A pending question (a bind, alter_context or request without answer), in 64-bit words. Entry 0 is reserved.
QUESTION_WORDS: Final = 40
QUESTION_NEXT: Final = 0  # of the same connection, or of the free list
QUESTION_SLOT: Final = 1
QUESTION_TIME: Final = 2
QUESTION_CALL: Final = 3  # call identifier
QUESTION_KIND: Final = 4
QUESTION_CONTEXT: Final = 5  # context of a request, number of context elements of a bind
QUESTION_OPNUM: Final = 6
QUESTION_SEALED: Final = 7
QUESTION_LENGTH: Final = 8  # bytes of the stub
QUESTION_ASKED_AT: Final = 9  # where in the stub the tower (or interface) that is asked for starts
QUESTION_ASKED_LENGTH: Final = 10  # and its length; 0 for none
QUESTION_READING: Final = 11  # how the stub reads: the bits below
QUESTION_BYTES: Final = 12  # stub of a request; one 32-bit context word for each element of a bind
STUB_BYTES: Final = 224
ELEMENTS: Final = 15
ELEMENT_BYTES: Final = 256  # which an element of a bind counts, as in inspector.wire.association
# Bits of a reading, which are those of a key's flags too.
CONTINUED: Final = 1  # the request carries an entry handle
SEALED_CALL: Final = 2  # the request was sealed
CALL_SEEN: Final = 4
EPM_KNOWN: Final = 8  # the context is known to be the endpoint mapper's
READS_AS: Final = 4  # shift: the one transfer syntax in which the stub reads, where any may be meant
EPM_LIKE: Final = 64  # parameters of ept_lookup are in their ranges
AGREED: Final = 8  # shift: the context's transfer syntax
QUESTIONS: Final = 8  # for each connection
PROPOSAL: Final = 1
CALL: Final = 2

# Reassembly of PDUs that come in several segments. Buffer 0 is reserved.
PARTIAL_BYTES: Final = 8192
PAYLOAD_BYTES: Final = 65536  # of a record, at most
PARTIALS: Final = 1024

# Templates of findings: bounds of a key and of all keys, in 64-bit words, and of their number.
KEY_WORDS: Final = 8192
ALL_KEY_WORDS: Final = 524288
TEMPLATES: Final = 16384
TEMPLATE_PLACES: Final = 65536
TEMPLATE_PROBES: Final = 64
SEEN: Final = 65536  # hashes of keys that were met without a template
SEEN_WAYS: Final = 4
TOWERS: Final = 512
# Kinds of answers.
KIND_RESPONSE: Final = 1
KIND_STATUS: Final = 2
KIND_SEALED: Final = 3
KIND_FAULT: Final = 4
KIND_NAK: Final = 5
KIND_REJECTED: Final = 6
KIND_INFERRED: Final = 7  # a reading of a response whose bind or request was not seen
KIND_UNREADABLE: Final = 8  # none of them fits
HANDLE_AND_STATUS: Final = 24  # a stub of so many bytes is these
# What is in `counted` of a template, if not how often it was met.
NOT_COUNTED: Final = -1
REFUSED: Final = -2  # no template: the scalar decoder does not read an answer so

# Findings of one call of the loop, and what a row of them holds.
FINDINGS: Final = 65536
FOUND_TEMPLATE: Final = 0
FOUND_CLIENT: Final = 1  # address, two words
FOUND_PORT: Final = 3
FOUND_CALL: Final = 4
FOUND_TIME: Final = 5
FOUND_ASKED: Final = 6  # time of the question, or -1
FOUND_WORDS: Final = 7

# As in inspector.record: a later time counts as this one.
LATEST_TIME: Final = 8070450532247928832

# Sequence numbers have 32 bits.
SPAN: Final = 4294967296
LOW: Final = 4294967295
HALF: Final = 2147483647

# Records between a hash and its use: memory takes as long to come as some records to be read.
ROW_AHEAD: Final = 24
AHEAD: Final = 12
NEAR: Final = 6
TAGS: Final = 16

BURST: Final = 100000000  # nanoseconds of its rate which the quota of the scalar decoder allows at once
BURST_OF_ANSWERS: Final = 500000000
SECOND: Final = 1000000000  # the burst of a client: the longest
# Quotas: of records, of answers that are met for the first time, and of those that come again. The engine notes until
# when each takes nothing: of nobody, and of the clients of one of so many buckets.
QUOTA_RECORDS: Final = 0
QUOTA_FIRST: Final = 1
QUOTA_AGAIN: Final = 2
QUOTAS: Final = 3
REFUSALS: Final = 16384

# Why the loop stopped.
DONE: Final = 0
HAND_OVER: Final = 1  # this record, with its connection, is for the scalar decoder
ALONE: Final = 2  # this record is, and has no connection
ADVANCE: Final = 3  # time must move in the scalar decoder first
MAKE_ROOM: Final = 4  # the connection to be evicted is the scalar decoder's, or has a pending question
NEW_TEMPLATE: Final = 5
FULL: Final = 6  # of findings
EXPIRE: Final = 7  # a connection that was silent for too long has a pending question
# What an array of towers may be: none that a strict reader accepts, one, or what only the scalar decoder can tell.
NO_ARRAY: Final = 0
ARRAY: Final = 1
UNSURE: Final = 2
NOT_READ: Final = 8  # by found_template: REFUSED
MATCHED: Final = 9  # by match_call

# TCP flags and attributes of a record.
FIN: Final = 1
SYN: Final = 2
RST: Final = 4
PSH: Final = 8
ACK: Final = 16
FROM_SERVER: Final = 1
IPV6: Final = 2
UDP: Final = 8
ENDPOINT: Final = 32
ICMP: Final = 64
TUNNEL_BYTES: Final = 40

# An entry of the connections that are followed, in 64-bit words; then, in 32-bit words from FOLLOWED_HALVES on, the
# interface and the end of what was seen, of the client's side and the server's.
FOLLOWED_WORDS: Final = 5
FOLLOWED_TIME: Final = 1
FOLLOWED_STATE: Final = 2
FOLLOWED_HALVES: Final = 6
FOLLOWED: Final = 1
FOLLOWED_SYN: Final = 2  # it was refused when its SYN came
FOLLOWED_CLOSED: Final = 4
FOLLOWED_SEEN: Final = 8  # of the client's side, and one bit higher the server's
FOLLOWED_RESET: Final = 32
FOLLOWED_COPY: Final = 1073741824
FOLLOWED_PROBES: Final = 8
FOLLOWED_CLIENTS: Final = 16384
FOLLOWED_BUCKETS: Final = 16384
FOLLOWED_IDLE: Final = 60000000000
FOLLOWED_LINGER: Final = 10000000000  # of a connection that has ended

# PDU types.
REQUEST: Final = 0
RESPONSE: Final = 2
FAULT: Final = 3
BIND: Final = 11
BIND_ACK: Final = 12
BIND_NAK: Final = 13
ALTER_CONTEXT: Final = 14
ALTER_CONTEXT_RESPONSE: Final = 15
AUTH3: Final = 16
RTS: Final = 20
HEADER: Final = 16
# What a PDU's header may be instead of a length: of a kind which only the scalar decoder reads, or none at all.
NOT_PLAIN: Final = -1
NO_PDU: Final = -2
GREETING: Final = 110  # the first letter of that of ncacn_http
PRIVACY: Final = 6
EPT_LOOKUP: Final = 2
EPT_MAP: Final = 3
# UUIDs as four little-endian integers: the endpoint mapper's, and those of the transfer syntaxes.
EPM_UUID_0: Final = 0xE1AF8308
EPM_UUID_1: Final = 0x11C95D1F
EPM_UUID_2: Final = 0x0008A491
EPM_UUID_3: Final = 0xFAA0142B
NDR20_UUID_0: Final = 0x8A885D04
NDR20_UUID_1: Final = 0x11C91CEB
NDR20_UUID_2: Final = 0x0008E89F
NDR20_UUID_3: Final = 0x6048102B
NDR64_UUID_0: Final = 0x71710533
NDR64_UUID_1: Final = 0x4937BEBA
NDR64_UUID_2: Final = 0xDBB51983
NDR64_UUID_3: Final = 0x36CC9CEF
