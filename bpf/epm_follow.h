/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Follow-ups: what a client does with the answer of an endpoint mapper.
 *
 * Of a connection to an endpoint only SYN, FIN and RST are recorded, and segments whose first PDU opens or refuses an
 * association. Endpoints come from the control plane, which reads them from answers, and from here: a client may
 * connect before the control plane has read the answer. So addresses that answer as an endpoint mapper are noted in
 * epm_servers, and a SYN to a high port of one of them makes that port an endpoint. Bulk data costs a look at the
 * bitmap of ports, flags and four bytes.
 *
 * All maps forget what was not used for longest. inspector/wire/followups.py is the twin, for capture files.
 */
#ifndef EPM_FOLLOW_H
#define EPM_FOLLOW_H

#include "epm_fill.h"
#include "epm_lanes.h"

#if EPM_FOLLOW_UP
/* bcc wants plain numbers here: EPM_SERVERS, EPM_ENDPOINTS, EPM_FLOWS. */
BPF_TABLE("lru_hash", struct epm_server, struct epm_noted, epm_servers, 4096);
BPF_TABLE("lru_hash", struct epm_endpoint, struct epm_noted, epm_endpoints, 16384);
BPF_TABLE("lru_hash", struct epm_flow, struct epm_acknowledged, epm_acknowledged, 16384);
BPF_PERCPU_ARRAY(epm_budget, struct epm_budget, 1);

/* PDU types of C706 section 12.6.4: fault, bind, bind_ack, bind_nak, alter_context and its answer, auth3. */
#define EPM_OPENING_PDUS (1 << 3 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 15 | 1 << 16)

/* Say whether a payload starts with a PDU that opens or refuses an association: bytes 05 00, and its type. */
static __always_inline int epm_opens_association(const struct epm_context *context, const struct epm_cursor *cursor,
						 const struct epm_packet *packet)
{
	const __u8 *start = cursor->at;
	const __u64 offset = start - context->data;
	__u8 head[4] = {};

	if (packet->remaining < (__s64)sizeof(head))
		return 0;
	if (EPM_TUNNELS && packet->attributes & EPM_TUNNELLED && packet->limit - (__s64)offset < (__s64)sizeof(head))
		return 0;
	if (start + sizeof(head) <= cursor->end) {
		head[0] = start[0];
		head[1] = start[1];
		head[2] = start[2];
	} else if (epm_load(context, offset, head, sizeof(head))) {
		return 0;
	}
	return head[0] == 5 && !head[1] && head[2] < 32 && EPM_OPENING_PDUS >> head[2] & 1;
}

/* The clock of records, within some milliseconds: for what is noted, the exact one costs too much. */
static __always_inline __u64 epm_coarse_time(__u64 offset)
{
	return bpf_ktime_get_coarse_ns() + offset;
}

/* Note the source of an answer as a server. */
static __always_inline void epm_note_server(const struct epm_packet *packet, struct epm_counters *counters, __u64 clock)
{
	struct epm_server ends[2] __attribute__((aligned(8)));
	struct epm_noted noted;

	epm_fill_addresses(ends[0].address, ends[1].address, packet);
	if (epm_servers.lookup(&ends[0]))
		return;
	noted.time_ns = epm_coarse_time(clock);
	epm_servers.update(&ends[0], &noted);
	counters->value[EPM_SERVERS_NOTED]++;
}

/* Forget or raise what a client has acknowledged: a SYN begins another connection between the same ports. */
static __always_inline void epm_note_acknowledgment(const struct epm_packet *packet, const struct epm_span *span,
						    struct epm_counters *counters, __u64 clock)
{
	struct epm_flow flow __attribute__((aligned(8))) = {};
	struct epm_acknowledged *known, noted = {};

	epm_fill_addresses(flow.client_address, flow.server_address, packet);
	flow.client_port = __be16_to_cpu(packet->ports->source);
	flow.server_port = __be16_to_cpu(packet->ports->destination);
	if (span->flags & EPM_TCP_SYN) {
		epm_acknowledged.delete(&flow);
		return;
	}
	known = epm_acknowledged.lookup(&flow);
	if (!known) {
		noted.time_ns = epm_coarse_time(clock);
		noted.acknowledgment = span->acknowledgment;
		epm_acknowledged.update(&flow, &noted);
		counters->value[EPM_FLOWS_NOTED]++;
	} else if ((__s32)(span->acknowledgment - known->acknowledgment) > 0) {
		known->acknowledgment = span->acknowledgment;
		known->time_ns = epm_coarse_time(clock);
	}
}

/* Keep what follow-ups need of a packet of an endpoint mapper. */
static __always_inline void epm_note_served(const struct epm_context *context, const struct epm_cursor *cursor,
					    const struct epm_packet *packet, const struct epm_span *span,
					    struct epm_counters *counters, __u64 clock)
{
	if (packet->attributes & EPM_UDP)
		return;
	if (packet->attributes & EPM_FROM_SERVER) {
		if (span->flags & EPM_TCP_SYN || epm_opens_association(context, cursor, packet))
			epm_note_server(packet, counters, clock);
	} else if (span->flags & EPM_TCP_SYN ||
		   (!span->payload_length &&
		    (span->flags & (EPM_TCP_ACK | EPM_TCP_FIN | EPM_TCP_RST)) == EPM_TCP_ACK)) {
		epm_note_acknowledgment(packet, span, counters, clock);
	}
}

/* Say which side of a packet is a known endpoint: 0 for none, 1 for the destination, 2 for the source. */
static __always_inline int epm_endpoint_side(const struct epm_packet *packet)
{
	struct epm_endpoint ends[2] __attribute__((aligned(8))) = {};

	epm_fill_addresses(ends[1].address, ends[0].address, packet);
	ends[0].port = __be16_to_cpu(packet->ports->destination);
	ends[1].port = __be16_to_cpu(packet->ports->source);
	if (epm_endpoints.lookup(&ends[0]))
		return 1;
	return epm_endpoints.lookup(&ends[1]) ? 2 : 0;
}

/* Make the destination of a SYN, or the source of its answer, an endpoint if it is a high port of a server. */
static __always_inline int epm_note_endpoint(struct epm_options *options, const struct epm_packet *packet,
					     struct epm_counters *counters, __u64 clock)
{
	const int answer = epm_tcp_flags(packet->tcp) & EPM_TCP_ACK;
	const __be16 port = answer ? packet->ports->source : packet->ports->destination;
	struct epm_endpoint ends[2] __attribute__((aligned(8))) = {};
	struct epm_endpoint *endpoint = &ends[0];
	struct epm_noted noted;

	if (__be16_to_cpu(port) < EPM_LOWEST_ENDPOINT)
		return 0;
	if (answer)
		epm_fill_addresses(ends[0].address, ends[1].address, packet);
	else
		epm_fill_addresses(ends[1].address, ends[0].address, packet);
	if (!epm_servers.lookup((struct epm_server *)endpoint))
		return 0;
	endpoint->port = __be16_to_cpu(port);
	noted.time_ns = epm_coarse_time(clock);
	epm_endpoints.update(endpoint, &noted);
	__sync_fetch_and_or(&options->ports[port >> 5], (__u64)EPM_PORT_ENDPOINT << (port & 31) * 2);
	counters->value[EPM_ENDPOINTS_NOTED]++;
	return answer ? 2 : 1;
}

/* Say whether a packet is of the few which are recorded of a follow-up. */
static __always_inline int epm_is_recorded(const struct epm_context *context, const struct epm_cursor *cursor,
					   const struct epm_packet *packet)
{
	return epm_tcp_flags(packet->tcp) & (EPM_TCP_SYN | EPM_TCP_FIN | EPM_TCP_RST) ||
	       epm_opens_association(context, cursor, packet);
}

/* Say as epm_endpoint_side() of a packet that may be a follow-up's, and make a new endpoint of a server one. */
static __always_inline int epm_follow_up_side(struct epm_options *options, const struct epm_packet *packet,
					      struct epm_counters *counters, __u64 clock)
{
	int side = 0;

	/* Most SYNs are others': theirs is no look-up. */
	if (epm_has_endpoint_port(options, packet->ports))
		side = epm_endpoint_side(packet);
	if (side || !(epm_tcp_flags(packet->tcp) & EPM_TCP_SYN))
		return side;
	return epm_note_endpoint(options, packet, counters, clock);
}

/* Take one ICMP error from the budget; say whether there was one left. */
static __always_inline int epm_take_budget(void)
{
	const __u64 span = bpf_ktime_get_coarse_ns() >> 30;
	struct epm_budget *budget;
	__u32 zero = 0;

	budget = epm_budget.lookup(&zero);
	if (!budget)
		return 0;
	if (budget->span != span) {
		budget->span = span;
		budget->used = 0;
	}
	if (budget->used >= EPM_ICMP_BUDGET)
		return 0;
	budget->used++;
	return 1;
}

/* Say which side of the packet that an ICMP error quotes is an endpoint mapper or an endpoint; as epm_endpoint_side(). */
static __always_inline int epm_quoted_side(const struct epm_options *options, struct epm_packet *packet)
{
	if (epm_is_served(options, packet->ports->destination))
		return 1;
	if (epm_is_served(options, packet->ports->source))
		return 2;
	if (!epm_has_endpoint_port(options, packet->ports))
		return 0;
	packet->attributes |= EPM_ENDPOINT;
	return epm_endpoint_side(packet);
}

/* Write what an ICMP error says as the payload of its record. */
static __always_inline void epm_fill_error(struct epm_icmp_error *error, const struct epm_packet *packet)
{
	const struct epm_icmp_header *icmp = packet->icmp;
	const struct ipv6hdr *ipv6 = packet->outer;
	const struct iphdr *ipv4 = packet->outer;

	*(__u64 *)&error->type = 0;
	error->type = icmp->type;
	error->code = icmp->code;
	if (packet->attributes & EPM_IPV6) {
		epm_copy_address(error->reporter, &ipv6->saddr);
		if (icmp->type == EPM_ICMPV6_TOO_BIG)
			error->mtu = __be32_to_cpu(icmp->rest);
		return;
	}
	*(__u64 *)&error->reporter[0] = 0;
	*(__u32 *)&error->reporter[8] = __cpu_to_be32(0xffff);
	*(__u32 *)&error->reporter[12] = ipv4->saddr;
	if (icmp->type == EPM_ICMP_UNREACHABLE && icmp->code == EPM_ICMP_FRAGMENTATION_NEEDED)
		error->mtu = __be32_to_cpu(icmp->rest) & 0xffff;
}

/* Record an ICMP error; return the counter under which it goes. */
static __always_inline enum epm_counter epm_record_error(const struct epm_context *context,
							 const struct epm_packet *packet, __u64 time_ns)
{
	const struct epm_quoted_tcp *quoted = (const void *)packet->ports;
	const struct epm_span span = {
		.time_ns = time_ns,
		.payload_length = sizeof(struct epm_icmp_error),
		.captured_length = sizeof(struct epm_icmp_error),
		.sequence = __be32_to_cpu(quoted->sequence),
	};
	struct epm_place place;

	if (!epm_take_budget())
		return EPM_LOST_ICMP_BUDGET;
	place = epm_reserve_compact();
	if (!place.record)
		return EPM_LOST_COMPACT_FULL;
	epm_fill(&place.record->header, context, packet, &span);
	place.record->header.hop_limit = packet->attributes & EPM_IPV6 ?
						 ((const struct ipv6hdr *)packet->outer)->hop_limit :
						 ((const struct iphdr *)packet->outer)->ttl;
	epm_fill_error((struct epm_icmp_error *)place.record->payload, packet);
	epm_submit_compact(&place, 0);
	return EPM_SUBMITTED;
}
#endif

#endif
