/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The benchmarks' source of packets: each run by BPF_PROG_TEST_RUN turns the test frame into the next packet of
 * a workload and hands it to the program under test by a tail call. The frame's bytes stay between the
 * repetitions of one call, so only what changes is written.
 *
 * tests/bench/producer.py compiles it and sets PRODUCER_FRAME_BYTES (a multiple of 8) and PRODUCER_TEMPLATES.
 * It runs on one CPU at a time: the state is not locked.
 */
#include <linux/types.h>
#include <linux/bpf.h>

#define BIG16(value) __builtin_bswap16(value)
#define BIG32(value) __builtin_bswap32(value)

/* Where things stand in an Ethernet frame of TCP over IPv4, both headers without options. */
#define MARK 6 /* within the source's hardware address, which nobody reads: template in the frame, plus one */
#define SOURCE_ADDRESS 26
#define DESTINATION_ADDRESS 30
#define SOURCE_PORT 34
#define DESTINATION_PORT 36
#define SEQUENCE 38
#define CALL_ID (54 + 12)

/* Clients: so many ports for each address, counted from here. */
#define PORT_BITS 15
#define FIRST_PORT 1024
#define FIRST_ADDRESS 0x0a400000 /* 10.64.0.0 */

/* A conversation's packets; and how many neighbours are at the same one at the same time, as a power of two. */
#define STEP_BITS 3
#define RUN_BITS 3

struct producer_template {
	__u64 words[PRODUCER_FRAME_BYTES / 8];
	__u32 from_server;
	__u32 is_response;
};

struct producer_state {
	__u64 made;            /* packets handed over */
	__u64 responses;       /* map responses among them */
	__u32 slots;           /* connections, or conversations open at a time */
	__u32 slot;            /* of the next packet */
	__u32 round;           /* how often each slot had its turn */
	__u32 slots_each;      /* neighbouring slots which have the same template */
	__u32 template;        /* of the next packet */
	__u32 left;            /* slots of that template until the next one's */
	__u32 first_sequence;  /* of each connection's server */
	__u32 step;            /* payload bytes of a response */
	__u32 first_client;    /* number of the first client */
	__u32 first_call;
};

BPF_ARRAY(producer_templates, struct producer_template, PRODUCER_TEMPLATES);
BPF_ARRAY(producer_state, struct producer_state, 1);
BPF_PROG_ARRAY(producer_target, 1);

#define WRITE32(data, offset, value) (*(volatile __u32 *)((data) + (offset)) = (value))
#define WRITE16(data, offset, value) (*(volatile __u16 *)((data) + (offset)) = (value))

/* Put a template into the frame unless it is there; return it, or 0 if there is none of that number. */
static __always_inline const struct producer_template *lay(__u8 *data, __u32 number)
{
	const struct producer_template *template = producer_templates.lookup(&number);

	if (!template)
		return 0;
	if (*(volatile __u32 *)(data + MARK) == number + 1)
		return template;
#pragma unroll
	for (int word = 0; word < PRODUCER_FRAME_BYTES / 8; word++)
		*(volatile __u64 *)(data + 8 * word) = template->words[word];
	WRITE32(data, MARK, number + 1);
	return template;
}

static __always_inline void write_client(__u8 *data, __u32 number, __u32 from_server)
{
	const __u32 address = BIG32(FIRST_ADDRESS + (number >> PORT_BITS));
	const __u16 port = BIG16(FIRST_PORT + (number & ((1 << PORT_BITS) - 1)));

	if (from_server) {
		WRITE32(data, DESTINATION_ADDRESS, address);
		WRITE16(data, DESTINATION_PORT, port);
	} else {
		WRITE32(data, SOURCE_ADDRESS, address);
		WRITE16(data, SOURCE_PORT, port);
	}
}

/* Workload "responses": each connection's next map response in turn. */
int produce_responses(struct xdp_md *frame)
{
	__u8 *data = (__u8 *)(long)frame->data;
	__u32 zero = 0, round;
	struct producer_state *state = producer_state.lookup(&zero);

	if (!state || data + PRODUCER_FRAME_BYTES > (__u8 *)(long)frame->data_end)
		return XDP_ABORTED;
	if (!lay(data, state->template))
		return XDP_ABORTED;
	round = state->round;
	write_client(data, state->first_client + state->slot, 1);
	WRITE32(data, SEQUENCE, BIG32(state->first_sequence + round * state->step));
	WRITE32(data, CALL_ID, state->first_call + round);
	state->made++;
	state->responses++;
	if (++state->slot == state->slots) {
		state->slot = 0;
		state->round = round + 1;
		state->template = 0;
		state->left = state->slots_each;
	} else if (!--state->left) {
		state->template++;
		state->left = state->slots_each;
	}
	producer_target.call(frame, 0);
	return XDP_ABORTED;
}

/* Workload "calls": whole conversations, `slots` of them open, neighbours one packet behind each other. */
int produce_calls(struct xdp_md *frame)
{
	__u8 *data = (__u8 *)(long)frame->data;
	const struct producer_template *template;
	struct producer_state *state;
	__u32 zero = 0, slot;
	__s32 turn;

	state = producer_state.lookup(&zero);
	if (!state || data + PRODUCER_FRAME_BYTES > (__u8 *)(long)frame->data_end)
		return XDP_ABORTED;
	slot = state->slot;
	turn = state->round - (slot >> RUN_BITS & ((1 << STEP_BITS) - 1));
	if (++state->slot == state->slots) {
		state->slot = 0;
		state->round++;
	}
	if (turn < 0)
		return XDP_PASS;
	template = lay(data, turn & ((1 << STEP_BITS) - 1));
	if (!template)
		return XDP_ABORTED;
	write_client(data, state->first_client + (turn >> STEP_BITS) * state->slots + slot, template->from_server);
	state->made++;
	state->responses += template->is_response;
	producer_target.call(frame, 0);
	return XDP_ABORTED;
}
