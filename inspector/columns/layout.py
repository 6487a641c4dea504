"""Where things stand in the arrays of the column path: all are 64-bit integers unless said otherwise.

A block has one row for each record: the ring's entry header, the record's header of 64 bytes, the payload.
Compiled code needs plain integers; that is why these are not enumerations.
"""

from __future__ import annotations

from typing import Final

# Words of a row (struct epm_record behind one word of the ring's own).
ROW_TIME: Final = 1
ROW_SOURCE: Final = 2
ROW_DESTINATION: Final = 4
ROW_SEQUENCES: Final = 6  # sequence, acknowledgment
ROW_PORTS: Final = 7  # source and destination port, payload length
ROW_LENGTHS: Final = 8  # captured length, TCP flags, attributes, interface index
ROW_PAYLOAD: Final = 9
COMPACT_WORDS: Final = 32

# Words of a connection's slot: 128 bytes, two cache lines. Slot 0 is nobody's; its first word is the secret of the
# hash, without which one could choose connections that all go into one bucket.
SLOT_WORDS: Final = 16
SECRET: Final = 0
SLOT_CLIENT: Final = 0  # address, two words
SLOT_SERVER: Final = 2
SLOT_PORTS: Final = 4  # client's, server's << 16
SLOT_FLAGS: Final = 5  # below, and << 16 the number of the record which touched it last
SLOT_POSITION: Final = 6  # next byte of the client's stream, and of the server's
SLOT_ACKNOWLEDGED: Final = 8  # of the client's stream, and of the server's
SLOT_LAST: Final = 10  # the decoder's time when it was touched last
SLOT_STATE: Final = 11
SLOT_ASKED: Final = 12  # time of the open question
SLOT_CALL: Final = 13  # its call id
# Halves of the last two words, as indexes of 32-bit integers.
HALF_OLDER: Final = 28  # neighbours in the order of last touch
HALF_NEWER: Final = 29
HALF_CHAIN: Final = 30  # next slot of the same bucket, or of the free list
HALF_INTERFACE: Final = 31  # on which it was first seen
HALF_INITIAL: Final = 27  # sequence number of the client's SYN: upper half of SLOT_CALL

# Words of a connection's history: of the client's stream, and of the server's.
HISTORY_ORIGIN: Final = 0  # from there on everything was delivered
HISTORY_LAST: Final = 2  # checksum of the payload that was delivered last, and << 32 its length
HISTORY_WORDS: Final = 4
WINDOW: Final = 1 << 20  # as in inspector.wire.stream

# Flags of a slot; those of the client's side, and one bit higher those of the server's.
VISIBLE: Final = 1
FINISHED: Final = 4
READ: Final = 16  # at least one PDU came
CLOSED: Final = 64
HAS_INITIAL: Final = 128
SCALAR: Final = 256  # belongs to the scalar path: the slot only says so
FREE: Final = 512
LOST: Final = 1024  # bytes of the client's side were not seen; of the server's, one bit higher
ORDER_SHIFT: Final = 16

# Registers: what one call of the compiled loop leaves for the next.
NOW: Final = 0
DUE: Final = 1  # the scalar path has something to do at that time
FAST: Final = 2  # connections in slots of this path
ELSEWHERE: Final = 3  # connections of the scalar path
LIMIT: Final = 4
OLDEST: Final = 5  # slots by last touch
NEWEST: Final = 6
FREE_SLOT: Final = 7
HIGH_WATER: Final = 8  # slots ever used
BUFFERED: Final = 9
BUFFERED_ELSEWHERE: Final = 10
BUFFERED_LIMIT: Final = 11
IDLE: Final = 12
ORDER: Final = 13
OLDEST_ELSEWHERE: Final = 14  # order of the scalar path's oldest connection
EVICTED: Final = 15
FINDINGS: Final = 16  # rows of findings written
SLOT: Final = 17  # of the record at which the loop stopped
MISSING: Final = 18  # what it did not know there: two words
CALL: Final = 20  # call id of the payload
INTERFACE: Final = 21  # on which it was seen
SWEEP: Final = 22  # time at which questions must be looked at, and how long after they were asked
PATIENCE: Final = 23
LOSING: Final = 24  # nobody waits for missing bytes
GAPS: Final = 25  # which were given up
FIRST_ASKED: Final = 26  # no question that waits was asked before
ANOMALIES: Final = 27  # 1 if transitions were taken that count any
REGISTERS: Final = 28

# Why the loop stopped.
DONE: Final = 0
HAND_OVER: Final = 1  # this record, with its connection, is for the scalar path
ALONE: Final = 2  # this record is, and has no connection
ADVANCE: Final = 3  # time must move on the scalar path first
MAKE_ROOM: Final = 4  # the connection to be evicted is not this path's, or has an open question
NEW_PAYLOAD: Final = 5
NEW_TRANSITION: Final = 6
NEW_JUDGEMENT: Final = 7
FULL: Final = 8  # of findings
EXPIRE: Final = 9  # a connection that was silent for too long has an open question

# Columns of a finding.
FOUND_JUDGEMENT: Final = 0
FOUND_CLIENT: Final = 1  # address, two words
FOUND_PORT: Final = 3
FOUND_CALL: Final = 4
FOUND_TIME: Final = 5
FOUND_ASKED: Final = 6  # time of the question, or -1
FOUND_WORDS: Final = 7

# Words of a kept payload: length, direction and whether it can be canonical; then its bytes.
KEPT_META: Final = 0
KEPT_REFUSED: Final = 1  # 1 if such payloads are for the scalar path
KEPT_PAYLOAD: Final = 2
LONGEST_PAYLOAD: Final = 448
KEPT_WORDS: Final = KEPT_PAYLOAD + LONGEST_PAYLOAD // 8
# Behind a payload being read: its checksum, and the keys of checksums, two for each word.
CHECKSUM: Final = KEPT_WORDS
CHECKSUM_KEYS: Final = CHECKSUM + 1
SCRATCH_WORDS: Final = CHECKSUM_KEYS + 2 * (LONGEST_PAYLOAD // 8)

# A transition: next state, what becomes of the question, whether it counts anomalies, the outcome.
NEXT_MASK: Final = (1 << 24) - 1
QUESTION_SET: Final = 1 << 25
REFUSED: Final = 1 << 26
COUNTED: Final = 1 << 27
ANSWERS: Final = 1 << 28  # the outcome has the time of the question
OUTCOME_SHIFT: Final = 32  # 0: none

# Words about a state.
STATE_WAITING: Final = 0
STATE_BUFFERED: Final = 1
STATE_WORDS: Final = 2
