/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The benchmarks' source of packets that were built before: each run by BPF_PROG_TEST_RUN copies the next frame of a
 * mix into the test frame and hands it to the program under test by a tail call. After the last frame comes the first
 * again, in a new round: with other client addresses, and with other bytes where a conversation has its own.
 *
 * tests/bench/producer.py compiles it and sets PRODUCER_FRAME_BYTES (a multiple of 64), PRODUCER_TEMPLATES (how many
 * frames) and PRODUCER_CHANGES. It runs on one CPU at a time: the state is not locked.
 */
#include <linux/types.h>
#include <linux/bpf.h>

#define BIG32(value) __builtin_bswap32(value)

#define SOURCE_ADDRESS 26
#define DESTINATION_ADDRESS 30
/* Each round has the addresses of a /16 of its own. */
#define ROUND_SHIFT 16
#define CHUNK_WORDS 8
#define OFFSET_MASK 2047
#define SPREAD 0x9e3779b97f4a7c15ULL

/* Bytes at `offset` which are a conversation's own: those of `mask` change with the round, everywhere alike. */
struct producer_change {
	__u64 offset;
	__u64 mask;
};

struct producer_frame {
	__u64 words[PRODUCER_FRAME_BYTES / 8];
	struct producer_change changes[PRODUCER_CHANGES];
	__u32 length; /* in words */
	__u32 change_count;
	__u32 from_server;
	__u32 answers;
};

struct producer_state {
	__u64 made;      /* packets handed over */
	__u64 responses; /* answers among them which the metrics must count */
	__u32 frame;     /* number of the next one */
	__u32 round;
};

BPF_ARRAY(producer_templates, struct producer_frame, PRODUCER_TEMPLATES);
BPF_ARRAY(producer_state, struct producer_state, 1);
BPF_PROG_ARRAY(producer_target, 1);

static __always_inline void move_client(__u8 *data, __u32 offset, __u32 round)
{
	volatile __u32 *address = (volatile __u32 *)(data + offset);

	*address = BIG32(BIG32(*address) + (round << ROUND_SHIFT));
}

int produce_frames(struct xdp_md *frame)
{
	__u8 *data = (__u8 *)(long)frame->data, *end = (__u8 *)(long)frame->data_end;
	const struct producer_frame *next;
	struct producer_state *state;
	__u32 zero = 0, number;
	__u64 key;

	state = producer_state.lookup(&zero);
	if (!state || data + PRODUCER_FRAME_BYTES > end)
		return XDP_ABORTED;
	number = state->frame;
	next = producer_templates.lookup(&number);
	if (!next)
		return XDP_ABORTED;
#pragma unroll
	for (int chunk = 0; chunk < PRODUCER_FRAME_BYTES / 8; chunk += CHUNK_WORDS) {
		if (chunk >= next->length)
			break;
#pragma unroll
		for (int word = 0; word < CHUNK_WORDS; word++)
			*(volatile __u64 *)(data + 8 * (chunk + word)) = next->words[chunk + word];
	}
	if (next->from_server)
		move_client(data, DESTINATION_ADDRESS, state->round);
	else
		move_client(data, SOURCE_ADDRESS, state->round);
	key = state->round * SPREAD;
#pragma unroll
	for (int change = 0; change < PRODUCER_CHANGES; change++) {
		__u8 *place = data + (next->changes[change].offset & OFFSET_MASK);

		if (change >= next->change_count || place + 8 > end)
			break;
		*(volatile __u64 *)place ^= key & next->changes[change].mask;
	}
	state->made++;
	state->responses += next->answers;
	if (++state->frame == PRODUCER_TEMPLATES) {
		state->frame = 0;
		state->round++;
	}
	producer_target.call(frame, 0);
	return XDP_ABORTED;
}
