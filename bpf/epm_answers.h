/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Suspects only: what was counted, by all that a finding can depend on.
 */
#ifndef EPM_ANSWERS_H
#define EPM_ANSWERS_H

#include "epm_suspects.h"

#define EPM_ANSWERS 1024
#define EPM_POOLS 1024
#define EPM_LATENCIES 16
/* Both payloads of struct epm_answer and what follows them. */
#define EPM_ALIKE_WORDS (2 * EPM_WORDS + 2)

struct epm_flow_key {
	__u32 client;
	__u32 server;
	__u16 client_port;
	__u16 server_port;
};

/* A watched connection. */
struct epm_flow {
	__u64 word;         /* enum epm_state, and << 8 how many pairs were counted and not recorded */
	__u64 submitted_ns; /* time of the last record */
	__u32 next[2];      /* sequence numbers expected of client and server */
	__u32 initial;      /* of the client's SYN */
	__u32 call_id;
	__u16 context;
	__u8 wide;
	__u8 contexts;
	__u32 padding;
	struct epm_compact_record held;
};

/* Pairs alike: all that their findings depend on, how many there were, and their latencies. */
struct epm_answer {
	__u64 count;
	__u64 latency_ns;
	__u64 latencies[EPM_LATENCIES]; /* up to each bound of the histogram, and above */
	__u64 request[EPM_WORDS];
	__u64 response[EPM_WORDS];
	__u32 server;
	__u32 interface_index;
	__u16 server_port;
	__u16 context;
	__u32 wide;
};

struct epm_pool_key {
	__u32 length;
	__u32 asked;
	__u32 offered;
};

/* Too large for the stack. */
struct epm_scratch {
	struct epm_compact_record record;
	struct epm_flow flow;
	struct epm_answer answer;
};

BPF_F_TABLE("percpu_hash", __u64, struct epm_answer, epm_answers, EPM_ANSWERS, 0);
BPF_F_TABLE("lpm_trie", struct epm_pool_key, __u32, epm_pools, EPM_POOLS, 1 /* BPF_F_NO_PREALLOC */);
BPF_PERCPU_ARRAY(epm_scratch, struct epm_scratch, 1);

/* 1 if a latency is above a bound, without a branch: the verifier of Linux 6.1 would follow each way of all of them. */
#define EPM_IS_ABOVE(latency_ns, bound_ns) ((bound_ns##ULL - (latency_ns)) >> 63)

/* Upper bounds of the latency histogram in nanoseconds: LATENCY_BUCKETS of inspector/sinks/families.py. */
static __always_inline __u64 epm_latency_place(__u64 latency_ns)
{
	__u64 place = 0;

	asm volatile("" : "+r"(latency_ns));
	place += EPM_IS_ABOVE(latency_ns, 250000);
	place += EPM_IS_ABOVE(latency_ns, 500000);
	place += EPM_IS_ABOVE(latency_ns, 1000000);
	place += EPM_IS_ABOVE(latency_ns, 2500000);
	place += EPM_IS_ABOVE(latency_ns, 5000000);
	place += EPM_IS_ABOVE(latency_ns, 10000000);
	place += EPM_IS_ABOVE(latency_ns, 25000000);
	place += EPM_IS_ABOVE(latency_ns, 50000000);
	place += EPM_IS_ABOVE(latency_ns, 100000000);
	place += EPM_IS_ABOVE(latency_ns, 250000000);
	place += EPM_IS_ABOVE(latency_ns, 500000000);
	place += EPM_IS_ABOVE(latency_ns, 1000000000);
	place += EPM_IS_ABOVE(latency_ns, 2500000000);
	place += EPM_IS_ABOVE(latency_ns, 5000000000);
	place += EPM_IS_ABOVE(latency_ns, 10000000000);
	return place;
}

static __always_inline void epm_copy_words(__u64 *to, const __u64 *from, const int count)
{
#pragma unroll
	for (int number = 0; number < count; number++)
		to[number] = from[number];
}

/* Return what counts pairs like this one, 0 where there is no room for more kinds. */
static __always_inline struct epm_answer *epm_answer_of(struct epm_scratch *scratch, const struct epm_flow *flow,
							const struct epm_flow_key *key)
{
	struct epm_answer *mine = &scratch->answer, *answer;
	__u64 differs = 0;
	__u64 hash = (__u64)key->server << 32 | scratch->record.header.interface_index;

	hash ^= (__u64)key->server_port << 16 | flow->context;
	hash = epm_mask(mine->request, (const __u64 *)flow->held.payload, epm_request_length(flow->wide), flow->wide,
			1, hash);
	hash = epm_mask(mine->response, (const __u64 *)scratch->record.payload, epm_response_length(flow->wide),
			flow->wide, 0, hash);
	mine->server = key->server;
	mine->interface_index = scratch->record.header.interface_index;
	mine->server_port = key->server_port;
	mine->context = flow->context;
	mine->wide = flow->wide;
	answer = epm_answers.lookup(&hash);
	if (!answer) {
		epm_answers.insert(&hash, mine);
		answer = epm_answers.lookup(&hash);
		if (!answer)
			return 0;
	}
	/* Each processor has a value of its own, which is empty where another made it. */
	if (!answer->count) {
		epm_copy_words(answer->request, mine->request, EPM_ALIKE_WORDS);
		return answer;
	}
#pragma unroll
	for (int number = 0; number < EPM_ALIKE_WORDS; number++)
		differs |= answer->request[number] ^ mine->request[number];
	return differs ? 0 : answer;
}

static __always_inline int epm_is_expected(const struct epm_flow_key *key, __u32 offered)
{
	struct epm_pool_key pool = { .length = 64, .asked = key->server, .offered = offered };

	return offered == key->server || !offered || epm_pools.lookup(&pool);
}

#endif
