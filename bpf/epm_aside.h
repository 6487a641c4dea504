/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Suspects only: map requests are held until their response comes, and where that offers the address which was
 * asked, both are counted here and never become records.
 *
 * The reader must come to the same figures as with all records. So only connections are watched of which everything
 * was seen from SYN on, in order, and understood; the first packet that is anything else ends that for good. And the reader
 * sees a stream without holes: sequence and acknowledgment numbers of what follows counted pairs are less by their
 * bytes. What is counted is counted with all bytes that its finding can depend on: the reader judges these once.
 *
 * Packets of the two directions may be on two processors at once. Whoever changes a flow's word has the held record.
 */
#ifndef EPM_ASIDE_H
#define EPM_ASIDE_H

#include "epm_answers.h"
#include "epm_lanes.h"
#include "epm_fill.h"

#define EPM_FLOWS 65536
/* A busy connection has a record at least so often: the decoder forgets it that much too early at most. */
#define EPM_FRESH_NS (EPM_SILENT_NS / 64)

/* What a connection waits for. CALM: a request; the decoder has no open question then. */
enum epm_state { EPM_BOUND, EPM_CALM, EPM_HELD, EPM_ASKED, EPM_CLIENT_DONE, EPM_SERVER_DONE, EPM_LEFT_ALONE };

/* How a connection began: initial sequence numbers, and whether the server's is known. */
struct epm_opening {
	__u32 client;
	__u32 server;
	__u32 answered;
};

BPF_F_TABLE("hash", struct epm_flow_key, struct epm_flow, epm_flows, EPM_FLOWS, 0);
BPF_F_TABLE("lru_hash", struct epm_flow_key, struct epm_opening, epm_openings, EPM_FLOWS, 0);

static __always_inline __u64 epm_word(const struct epm_flow *flow)
{
	return *(volatile const __u64 *)&flow->word;
}

/* Go from one word to a state, with more pairs counted; return whether it was still that word. */
static __always_inline int epm_move(struct epm_flow *flow, __u64 from, enum epm_state state, __u64 more)
{
	return __sync_val_compare_and_swap(&flow->word, from, ((from >> 8) + more) << 8 | state) == from;
}

/* Submit the held record, which is the caller's by a move. */
static __always_inline void epm_release(struct epm_flow *flow, struct epm_counters *counters)
{
	struct epm_place place = epm_reserve_compact();

	if (!place.record) {
		counters->value[EPM_LOST_COMPACT_FULL]++;
		return;
	}
	epm_copy_words((__u64 *)place.record, (const __u64 *)&flow->held, sizeof(flow->held) / 8);
	epm_submit_compact(&place, 0);
	counters->value[EPM_SUBMITTED]++;
}

/* Watch a flow no longer; what is held goes first. A second try, as the other side may have moved meanwhile. */
static __always_inline void epm_leave_alone(struct epm_flow *flow, struct epm_counters *counters)
{
#pragma unroll
	for (int attempt = 0; attempt < 2; attempt++) {
		const __u64 word = epm_word(flow);

		if (!epm_move(flow, word, EPM_LEFT_ALONE, 0))
			continue;
		if ((word & 0xff) == EPM_HELD)
			epm_release(flow, counters);
		return;
	}
}

static __always_inline void epm_opened(struct epm_flow_key *key, const struct epm_packet *packet,
				       const struct epm_span *span)
{
	struct epm_opening *known = epm_openings.lookup(key);
	struct epm_opening opening = { .client = span->sequence };

	if (span->payload_length)
		epm_openings.delete(key);
	else if (!(packet->attributes & EPM_FROM_SERVER) && !(span->flags & EPM_TCP_ACK))
		epm_openings.update(key, &opening);
	else if (!known || !(packet->attributes & EPM_FROM_SERVER) || known->answered ||
		 span->acknowledgment != known->client + 1)
		epm_openings.delete(key);
	else {
		known->server = span->sequence;
		known->answered = 1;
	}
}

/* A packet of no watched flow: the bind, directly after the handshake, begins one. */
static __always_inline void epm_begin(struct epm_scratch *scratch, struct epm_flow_key *key,
				      const struct epm_packet *packet, const struct epm_span *span, int copied)
{
	struct epm_opening *opening = epm_openings.lookup(key);
	const __u64 *words = (const __u64 *)scratch->record.payload;
	struct epm_flow *flow = &scratch->flow;

	if (!opening)
		return;
	flow->contexts = copied ? epm_bind_contexts(words, span->payload_length) : 0;
	if (flow->contexts && opening->answered && !(packet->attributes & EPM_FROM_SERVER) &&
	    span->sequence == opening->client + 1 && span->acknowledgment == opening->server + 1) {
		flow->word = EPM_BOUND;
		flow->submitted_ns = span->time_ns;
		flow->next[0] = span->sequence + span->payload_length;
		flow->next[1] = span->acknowledgment;
		flow->initial = opening->client;
		flow->call_id = epm_call_id(words);
		epm_flows.insert(key, flow);
	}
	epm_openings.delete(key);
}

/* A response to the held request: count both, return whether that was done. */
static __always_inline int epm_count_pair(struct epm_scratch *scratch, struct epm_flow *flow,
					  struct epm_flow_key *key, const struct epm_span *span, __u64 word,
					  struct epm_counters *counters)
{
	const __u64 *words = (const __u64 *)scratch->record.payload;
	const __s64 latency_ns = span->time_ns - flow->held.header.time_ns;
	struct epm_answer *answer;
	__u32 offered;

	if (latency_ns < 0 ||
	    !epm_is_map_response(words, span->payload_length, flow->context, flow->wide, &offered) ||
	    !epm_is_expected(key, offered))
		return 0;
	answer = epm_answer_of(scratch, flow, key);
	if (!answer || !epm_move(flow, word, EPM_CALM, 1))
		return 0;
	answer->latency_ns += latency_ns;
	answer->latencies[epm_latency_place(latency_ns) & (EPM_LATENCIES - 1)]++;
	asm volatile("" ::: "memory");
	answer->count++;
	counters->value[EPM_COUNTED] += 2;
	return 1;
}

/* Hold a request; return whether that was done. */
static __always_inline int epm_hold(struct epm_scratch *scratch, struct epm_flow *flow, __u64 word)
{
	struct epm_record *header = &scratch->record.header;

	header->sequence -= (word >> 8) * epm_request_length(flow->wide);
	header->acknowledgment -= (word >> 8) * epm_response_length(flow->wide);
	epm_copy_words((__u64 *)&flow->held, (const __u64 *)&scratch->record, sizeof(flow->held) / 8);
	return epm_move(flow, word, EPM_HELD, 0);
}

/* A request in its place: hold it, or once in a while let it go on, as the decoder forgets silent connections. */
static __always_inline int epm_take_request(struct epm_scratch *scratch, struct epm_flow *flow,
					    const struct epm_span *span, __u64 word, int *understood)
{
	const __u64 *words = (const __u64 *)scratch->record.payload;
	const __s64 silent_ns = span->time_ns - flow->submitted_ns;

	if ((word & 0xff) != EPM_CALM || silent_ns > EPM_SILENT_NS ||
	    !epm_is_map_request(words, span->payload_length, flow->context, flow->wide))
		return 0;
	flow->call_id = epm_call_id(words);
	flow->next[0] += span->payload_length;
	if (silent_ns <= EPM_FRESH_NS && epm_hold(scratch, flow, word))
		return 1;
	*understood = epm_move(flow, word, EPM_ASKED, 0);
	return 0;
}

/* A PDU of the server in its place; return whether it was counted. */
static __always_inline int epm_take_answer(struct epm_scratch *scratch, struct epm_flow *flow,
					   struct epm_flow_key *key, const struct epm_span *span, __u64 word,
					   struct epm_counters *counters, int *understood)
{
	const __u64 *words = (const __u64 *)scratch->record.payload;
	const __u32 state = word & 0xff;

	if (epm_call_id(words) != flow->call_id)
		return 0;
	if (state == EPM_BOUND) {
		if (!epm_bind_result(words, span->payload_length, flow->contexts, &flow->context, &flow->wide))
			return 0;
		flow->next[1] += span->payload_length;
		*understood = epm_move(flow, word, EPM_CALM, 0);
		return 0;
	}
	if ((state != EPM_HELD && state != EPM_ASKED) ||
	    !epm_is_plain_pdu(words, span->payload_length, EPM_PDU_RESPONSE) || span->payload_length < 24)
		return 0;
	flow->next[1] += span->payload_length;
	if (state == EPM_HELD && epm_count_pair(scratch, flow, key, span, word, counters))
		return 1;
	/* The request may just have been collected. */
	word = epm_word(flow);
	*understood = epm_move(flow, word, EPM_CALM, 0);
	if (*understood && (word & 0xff) == EPM_HELD)
		epm_release(flow, counters);
	return 0;
}

/* The end of one direction, after everything before it; return whether it was the end of both. */
static __always_inline int epm_take_end(struct epm_flow *flow, __u64 word, int from_server, int *understood)
{
	const __u32 state = word & 0xff;

	if (state == (from_server ? EPM_CLIENT_DONE : EPM_SERVER_DONE))
		return *understood = 1;
	if (state == EPM_CALM)
		*understood = epm_move(flow, word, from_server ? EPM_SERVER_DONE : EPM_CLIENT_DONE, 0);
	return 0;
}

/* Fill in and copy a packet, if it is small, whole and plain; return whether it was. */
static __always_inline int epm_copy_aside(struct epm_scratch *scratch, const struct epm_context *context,
					  const struct epm_packet *packet, const struct epm_span *span)
{
	if (span->payload_length < 16 || span->payload_length > EPM_COMPACT_PAYLOAD ||
	    span->captured_length != span->payload_length ||
	    (span->flags & (EPM_TCP_ACK | EPM_TCP_FIN | EPM_TCP_RST)) != EPM_TCP_ACK)
		return 0;
	epm_fill(&scratch->record.header, context, packet, span);
	return !epm_copy_compact(&scratch->record, context, span);
}

/* Take a packet of a watched flow; return whether there is nothing to record. */
static __always_inline int epm_follow(struct epm_scratch *scratch, struct epm_flow *flow,
				      struct epm_flow_key *key, const struct epm_packet *packet,
				      struct epm_span *span, struct epm_counters *counters, int copied)
{
	const int from_server = packet->attributes & EPM_FROM_SERVER;
	__u64 word = epm_word(flow), pairs;
	int understood = 0, ended = 0;

	if (span->sequence == flow->next[from_server ? 1 : 0]) {
		if (copied && span->acknowledgment == flow->next[from_server ? 0 : 1]) {
			if (from_server && epm_take_answer(scratch, flow, key, span, word, counters, &understood))
				return 1;
			if (!from_server && epm_take_request(scratch, flow, span, word, &understood))
				return 1;
		} else if (!span->payload_length && span->flags & EPM_TCP_FIN) {
			ended = epm_take_end(flow, word, from_server, &understood);
		}
	}
	if (!understood)
		epm_leave_alone(flow, counters);
	flow->submitted_ns = span->time_ns;
	pairs = epm_word(flow) >> 8;
	span->sequence -= pairs * (from_server ? epm_response_length(flow->wide) : epm_request_length(flow->wide));
	span->acknowledgment -= pairs * (from_server ? epm_request_length(flow->wide) : epm_response_length(flow->wide));
	/* What is left alone stays for its numbers only. */
	if (ended || span->flags & EPM_TCP_RST || (!understood && !pairs))
		epm_flows.delete(key);
	return 0;
}

/* Take any packet that was matched, after `span->time_ns` was set; return whether there is nothing to record. */
static __always_inline int epm_set_aside(const struct epm_context *context, const struct epm_packet *packet,
					 struct epm_span *span, struct epm_counters *counters)
{
	struct epm_flow_key key;
	struct epm_scratch *scratch;
	struct epm_flow *flow;
	__u32 zero = 0;
	int copied;

	if (packet->attributes & ~EPM_FROM_SERVER)
		return 0;
	scratch = epm_scratch.lookup(&zero);
	if (!scratch)
		return 0;
	if (packet->attributes & EPM_FROM_SERVER)
		key = (struct epm_flow_key){ packet->ipv4->destination, packet->ipv4->source,
					     packet->ports->destination, packet->ports->source };
	else
		key = (struct epm_flow_key){ packet->ipv4->source, packet->ipv4->destination,
					     packet->ports->source, packet->ports->destination };
	flow = epm_flows.lookup(&key);
	if (span->flags & EPM_TCP_SYN) {
		const int again = flow && !(packet->attributes & EPM_FROM_SERVER) && span->sequence == flow->initial;

		if (flow)
			epm_leave_alone(flow, counters);
		if (flow && !(packet->attributes & EPM_FROM_SERVER) && !again)
			epm_flows.delete(&key);
		if (!flow || (!(packet->attributes & EPM_FROM_SERVER) && !again))
			epm_opened(&key, packet, span);
		return 0;
	}
	copied = !packet->fragment && epm_copy_aside(scratch, context, packet, span);
	if (flow)
		return epm_follow(scratch, flow, &key, packet, span, counters, copied);
	epm_begin(scratch, &key, packet, span, copied);
	return 0;
}

#endif
