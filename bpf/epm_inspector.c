/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The program on the hook. It copies the packets of endpoint-mapper conversations into a ring and lets
 * every packet go on, unchanged, whatever it holds.
 *
 * epm_xdp and epm_tc share one body; they differ in how a packet's length and bytes are asked for and
 * in what "go on" is called. Compiled by bcc, which gives the maps their file descriptors. The control
 * plane sets EPM_WITH_XDP, EPM_WITH_TC, EPM_WITH_XDP_BARE, EPM_WITH_TC_BARE (1 for the programs that are wanted; "bare"
 * ones are for devices whose packets begin with the IP header), EPM_TUNNELS (1 to look into tunnels),
 * EPM_FOLLOW_UP (1 to record follow-ups), and
 * the sizes that epm_lanes.h needs: EPM_BULK_PAGES and EPM_COMPACT_PAGES (pages of a BPF ring buffer, powers of two),
 * EPM_LANES, EPM_PREEMPT_RT, EPM_CPUS, EPM_LANE_ENTRIES (a power of two) and EPM_COMPACT_ENTRIES.
 *
 * Conservation: every matched packet is counted once as submitted or as lost, by reason.
 */
#include <linux/types.h>
#include <linux/bpf.h>

#include "epm_record.h"
#include "epm_parse.h"
#include "epm_tunnel.h"
#include "epm_context.h"
#include "epm_fill.h"
#include "epm_lanes.h"
#include "epm_submit.h"
#include "epm_follow.h"

/* The next program of the chain decides. TC_ACT_OK would end the chain, and skip somebody's drop rule. */
#define EPM_TC_NEXT (-1)

/* Mapped by the control plane too, which changes single words of it. */
BPF_F_TABLE("array", __u32, struct epm_options, epm_options, 1, BPF_F_MMAPABLE);
BPF_ARRAY(epm_clock, __u64, 1); /* what to add to bpf_ktime_get_ns() for CLOCK_REALTIME */
BPF_PERCPU_ARRAY(epm_counters, struct epm_counters, EPM_INTERFACES + 1);

/* What is known of a packet within a tunnel before it is read. */
struct epm_carried {
	struct epm_tunnel tunnel;
	__s64 limit;    /* where in the frame it ends at the latest */
	__u64 distance; /* of the tunnel's own header in the frame */
	__u32 fragment; /* EPM_FIRST_FRAGMENT or 0: passes on to it */
	__u32 kind;     /* of the tunnel directly around it */
};

#if EPM_TUNNELS
/*
 * Kept in a map, which the verifier does not look into: whatever the packet around it was, it follows the
 * reading of the packet within only once.
 */
BPF_PERCPU_ARRAY(epm_carried, struct epm_carried, 1);
#endif

static __always_inline struct epm_counters *epm_counters_of(__u32 interface_index, const struct epm_options *options)
{
	const __u32 place = interface_index * options->interface_factor >> (32 - EPM_INTERFACE_BITS);
	__u32 number = options->interface_number[place & ((1 << EPM_INTERFACE_BITS) - 1)] & (EPM_INTERFACES - 1);
	__u32 slot = options->interface_index[number] == interface_index ? number + 1 : 0;

	return epm_counters.lookup(&slot);
}

/* Return what to add to the kernel's clock for the time of the day. */
static __always_inline __u64 epm_clock_offset(void)
{
	__u32 zero = 0;
	__u64 *clock = epm_clock.lookup(&zero);

	return clock ? *clock : 0;
}

static __always_inline void epm_count_result(struct epm_counters *counters, enum epm_counter result)
{
	if (result == EPM_SUBMITTED)
		counters->value[EPM_SUBMITTED]++;
	else if (result == EPM_LOST_COMPACT_FULL)
		counters->value[EPM_LOST_COMPACT_FULL]++;
	else if (result == EPM_LOST_BULK_FULL)
		counters->value[EPM_LOST_BULK_FULL]++;
	else if (EPM_FOLLOW_UP && result == EPM_LOST_ICMP_BUDGET)
		counters->value[EPM_LOST_ICMP_BUDGET]++;
	else
		counters->value[EPM_LOST_COPY]++;
}

/* Count a packet of a served port, or of a follow-up, and say whether it is recorded: a bare acknowledgment is not. */
static __always_inline int epm_is_matched(const struct epm_context *context, const struct epm_cursor *cursor,
					  struct epm_packet *packet, struct epm_options *options,
					  const struct epm_span *span, struct epm_counters *counters)
{
#if EPM_FOLLOW_UP
	if (packet->attributes & EPM_ENDPOINT) {
		const int side = epm_follow_up_side(options, packet, counters, epm_clock_offset());

		if (!side)
			return 0;
		if (side == 2)
			packet->attributes |= EPM_FROM_SERVER;
		counters->value[EPM_ENDPOINT_PACKETS]++;
		return 1;
	}
	epm_note_served(context, cursor, packet, span, counters, epm_clock_offset());
#endif
	if (packet->attributes & EPM_FROM_SERVER)
		counters->value[EPM_PACKETS_FROM_SERVER]++;
	else
		counters->value[EPM_PACKETS_TO_SERVER]++;
	return span->payload_length || span->flags & (EPM_TCP_SYN | EPM_TCP_FIN | EPM_TCP_RST);
}

/* A packet of interest: count it, and record it unless it is a bare acknowledgment. */
static __always_inline void epm_handle(const struct epm_context *context, const struct epm_cursor *cursor,
				       struct epm_packet *packet, const struct epm_tunnel *tunnel,
				       struct epm_options *options, struct epm_span span)
{
	struct epm_counters *counters = epm_counters_of(epm_interface_index(context), options);

	if (!counters || !epm_is_matched(context, cursor, packet, options, &span, counters))
		return;
	counters->value[EPM_MATCHED]++;
	span.time_ns = bpf_ktime_get_ns() + epm_clock_offset();
	epm_count_result(counters, epm_record_packet(context, packet, tunnel, &span));
}

#if EPM_FOLLOW_UP
/* An ICMP error: count and record it if it quotes a packet of an endpoint mapper or of an endpoint. */
static __always_inline void epm_handle_error(const struct epm_context *context, struct epm_packet *packet,
					     const struct epm_options *options)
{
	const int side = epm_quoted_side(options, packet);
	struct epm_counters *counters;

	if (!side)
		return;
	counters = epm_counters_of(epm_interface_index(context), options);
	if (!counters)
		return;
	/* The record of an error has no room for the tunnel that it came through. */
	packet->attributes &= ~EPM_TUNNELLED;
	packet->attributes |= side == 2 ? EPM_ICMP | EPM_FROM_SERVER : EPM_ICMP;
	counters->value[EPM_ICMP_ERRORS]++;
	counters->value[EPM_MATCHED]++;
	epm_count_result(counters, epm_record_error(context, packet, bpf_ktime_get_ns() + epm_clock_offset()));
}
#endif

static __always_inline void epm_count(const struct epm_context *context, enum epm_counter counter)
{
	__u32 zero = 0;
	struct epm_options *options = epm_options.lookup(&zero);
	struct epm_counters *counters;

	if (!options)
		return;
	counters = epm_counters_of(epm_interface_index(context), options);
	if (counters)
		counters->value[counter]++;
}

#if EPM_TUNNELS
/* Return what kind of tunnel a packet is, 0 if it is none or of interest as it is. */
static __always_inline __u8 epm_tunnel_kind_of(enum epm_outcome outcome, const struct epm_options *options,
					       struct epm_packet *packet)
{
	if (outcome == EPM_CARRIER)
		return epm_carrier_kind(packet);
	if (outcome != EPM_DATAGRAM || epm_is_of_interest(options, packet))
		return 0;
	return epm_port_kind(packet);
}

/* Note what matters of a packet for the one which it carries; the cursor stands on the tunnel's own header. */
static __always_inline void epm_note_carrier(struct epm_carried *carried, const struct epm_cursor *cursor, __u8 kind,
					     const struct epm_packet *packet, int depth)
{
	const __u64 distance = cursor->at - cursor->start;
	const __s64 end = packet->remaining + (__s64)distance;

	if (depth == 1) {
		epm_fill_addresses(carried->tunnel.source_address, carried->tunnel.destination_address, packet);
		carried->tunnel.kind = kind;
	}
	carried->tunnel.depth = depth;
	carried->limit = depth == 1 || end < carried->limit ? end : carried->limit;
	carried->distance = distance;
	carried->fragment = packet->fragment;
	carried->kind = kind;
}

/* Replace a packet that is none of an endpoint mapper's by the one which it carries, while it carries one. */
static __always_inline enum epm_outcome epm_leave_tunnels(enum epm_outcome outcome, struct epm_carried *carried,
							  struct epm_context *context,
							  const struct epm_options *options, struct epm_cursor *cursor,
							  struct epm_packet *packet)
{
#pragma nounroll
	for (int depth = 1; depth <= EPM_TUNNEL_DEPTH; depth++) {
		const __u8 kind = epm_tunnel_kind_of(outcome, options, packet);

		if (!kind)
			break;
		epm_note_carrier(carried, cursor, kind, packet, depth);
		asm volatile("" ::: "memory");
		epm_locate(context);
		epm_start(cursor, context);
		if (carried->distance > EPM_FARTHEST)
			return EPM_UNREADABLE;
		cursor->at += carried->distance;
		*packet = (struct epm_packet){
			.attributes = EPM_TUNNELLED,
			.fragment = carried->fragment,
			.limit = carried->limit,
		};
		outcome = epm_read_carried(cursor, carried->kind, packet);
	}
	return outcome;
}
#endif

/* Say whether a TCP or UDP header with a false length is of a packet which would have been of interest. */
static __always_inline int epm_is_loss(const struct epm_options *options, struct epm_packet *packet)
{
	if (epm_is_of_interest(options, packet))
		return 1;
	return EPM_TUNNELS && packet->attributes & EPM_UDP && epm_port_kind(packet);
}

/* Read a frame, and on what is in tunnels; `carried` is needed for the latter only. */
static __always_inline enum epm_outcome epm_read_frame(struct epm_context *context, const struct epm_options *options,
						       struct epm_carried *carried, struct epm_cursor *cursor,
						       struct epm_packet *packet)
{
	enum epm_outcome outcome;

	epm_start(cursor, context);
	outcome = epm_read_packet(cursor, context->link, context->tags, packet);
#if EPM_TUNNELS
	outcome = epm_leave_tunnels(outcome, carried, context, options, cursor, packet);
#endif
	if (outcome == EPM_BAD_LENGTH)
		return epm_is_loss(options, packet) ? EPM_UNREADABLE : EPM_UNSERVED;
	return outcome;
}

/* Read any frame, on tc again after more of it was made readable; count what cannot be read. */
static __always_inline enum epm_outcome epm_read_anything(struct epm_context *context,
							  const struct epm_options *options,
							  struct epm_carried *carried, struct epm_cursor *cursor,
							  struct epm_packet *packet)
{
	enum epm_outcome outcome = epm_read_frame(context, options, carried, cursor, packet);

	if (context->hook == EPM_HOOK_TC && (outcome == EPM_UNREADABLE || outcome == EPM_LINK_CUT) && epm_pull(context))
		outcome = epm_read_frame(context, options, carried, cursor, packet);
	if (outcome == EPM_SEGMENT || outcome == EPM_DATAGRAM) {
		if (epm_is_of_interest(options, packet))
			return outcome;
		if (!EPM_FOLLOW_UP || outcome != EPM_SEGMENT || !epm_may_be_follow_up(options, packet->tcp))
			return EPM_UNSERVED;
		packet->attributes |= EPM_ENDPOINT;
		return outcome;
	}
	if (outcome == EPM_LATER || outcome == EPM_UNREADABLE)
		epm_count(context, outcome == EPM_LATER ? EPM_LATER_FRAGMENTS : EPM_UNREADABLE_HEADERS);
	return outcome;
}

static __always_inline void epm_inspect(struct epm_context *context)
{
	const struct epm_tunnel *tunnel = 0;
	struct epm_carried *carried = 0;
	struct epm_options *options = 0;
	struct epm_cursor cursor;
	struct epm_packet packet;
	enum epm_outcome outcome;
	struct epm_span span;
	__u32 zero = 0;

	options = epm_options.lookup(&zero);
	if (!options)
		return;
	epm_start(&cursor, context);
	outcome = context->link == EPM_LINK_ETHERNET ? epm_read_common(options, &cursor, &packet) : EPM_IGNORED;
	if (outcome == EPM_UNSERVED)
		return;
#if EPM_TUNNELS
	carried = epm_carried.lookup(&zero);
	if (!carried)
		return;
	tunnel = &carried->tunnel;
#endif
	if (outcome == EPM_IGNORED)
		outcome = epm_read_anything(context, options, carried, &cursor, &packet);
#if EPM_FOLLOW_UP
	if (outcome == EPM_ICMP_ERROR) {
		epm_handle_error(context, &packet, options);
		return;
	}
#endif
	if ((outcome != EPM_SEGMENT && outcome != EPM_DATAGRAM) || !epm_settle(&cursor))
		return;
#if EPM_FOLLOW_UP
	if (packet.attributes & EPM_ENDPOINT && !epm_is_recorded(context, &cursor, &packet))
		return;
#endif
	span = epm_find_payload(context, &packet, &cursor, outcome);
	if (EPM_TUNNELS && packet.attributes & EPM_TUNNELLED)
		epm_handle(context, &cursor, &packet, tunnel, options, span);
	else
		epm_handle(context, &cursor, &packet, 0, options, span);
}

static __always_inline int epm_on_xdp(struct xdp_md *frame, enum epm_link link)
{
	struct epm_context context = {
		.of_hook = frame,
		.hook = EPM_HOOK_XDP,
		.link = link,
	};

	epm_locate(&context);
	epm_inspect(&context);
	return XDP_PASS;
}

static __always_inline int epm_on_tc(struct __sk_buff *packet, enum epm_link link)
{
	struct epm_context context = {
		.of_hook = packet,
		.hook = EPM_HOOK_TC,
		.link = link,
		.tags = packet->vlan_present ? 1 : 0,
	};

	epm_locate(&context);
	epm_inspect(&context);
	return EPM_TC_NEXT;
}

#if EPM_WITH_XDP
int epm_xdp(struct xdp_md *frame)
{
	return epm_on_xdp(frame, EPM_LINK_ETHERNET);
}
#endif

#if EPM_WITH_TC
int epm_tc(struct __sk_buff *packet)
{
	return epm_on_tc(packet, EPM_LINK_ETHERNET);
}
#endif

#if EPM_WITH_XDP_BARE
int epm_xdp_bare(struct xdp_md *frame)
{
	return epm_on_xdp(frame, EPM_LINK_IP);
}
#endif

#if EPM_WITH_TC_BARE
int epm_tc_bare(struct __sk_buff *packet)
{
	return epm_on_tc(packet, EPM_LINK_IP);
}
#endif
