/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The program on the hook. It copies the packets of endpoint-mapper connections into a ring and lets
 * every packet go on, unchanged, whatever it holds.
 *
 * epm_xdp and epm_tc share one body; they differ in how a packet's length and bytes are asked for and
 * in what "go on" is called. Compiled by bcc, which gives the maps their file descriptors. The control
 * plane sets EPM_COMPACT_PAGES and EPM_BULK_PAGES (pages of a ring, powers of two).
 *
 * Conservation: every matched packet is counted once as submitted or as lost, by reason.
 */
#include <linux/types.h>
#include <linux/bpf.h>

#include "epm_record.h"
#include "epm_parse.h"

/* RFC 9293 section 3.1, byte 13 */
#define EPM_TCP_FIN 0x01
#define EPM_TCP_SYN 0x02
#define EPM_TCP_RST 0x04

/* How far into a packet headers may reach on tc, where they can lie outside the linear area. */
#define EPM_PULL 256

/* The next program of the chain decides. TC_ACT_OK would end the chain, and skip somebody's drop rule. */
#define EPM_TC_NEXT (-1)

enum epm_hook { EPM_HOOK_XDP, EPM_HOOK_TC };

BPF_ARRAY(epm_options, struct epm_options, 1);
BPF_ARRAY(epm_clock, __u64, 1); /* what to add to bpf_ktime_get_ns() for CLOCK_REALTIME */
BPF_PERCPU_ARRAY(epm_counters, struct epm_counters, EPM_INTERFACES + 1);
BPF_RINGBUF_OUTPUT(epm_compact, EPM_COMPACT_PAGES);
BPF_RINGBUF_OUTPUT(epm_bulk, EPM_BULK_PAGES);

/* Whether a submitted record wakes the reader: the kernel's default, which wakes it when it had read all. */
#define EPM_WAKE_UP 0

/* The packet as the hook presents it. */
struct epm_context {
	void *of_hook; /* struct xdp_md or struct __sk_buff */
	enum epm_hook hook;
	const __u8 *data;
	const __u8 *data_end;
	__u32 tags; /* VLAN tags taken off by the device */
};

/* Return the whole packet's length in bytes, also of what lies outside the linear area. */
static __always_inline __u32 epm_frame_length(const struct epm_context *context)
{
	if (context->hook == EPM_HOOK_XDP)
		return bpf_xdp_get_buff_len(context->of_hook);
	return ((struct __sk_buff *)context->of_hook)->len;
}

/* Asked for only when it is needed: it is three loads away. */
static __always_inline __u32 epm_interface_index(const struct epm_context *context)
{
	if (context->hook == EPM_HOOK_XDP)
		return ((struct xdp_md *)context->of_hook)->ingress_ifindex;
	return ((struct __sk_buff *)context->of_hook)->ifindex;
}

/* Copy packet bytes, linear or not; return 0 or a negative error. */
static __always_inline long epm_load(const struct epm_context *context, __u32 offset, void *to, __u32 length)
{
	if (context->hook == EPM_HOOK_XDP)
		return bpf_xdp_load_bytes(context->of_hook, offset, to, length);
	return bpf_skb_load_bytes(context->of_hook, offset, to, length);
}

static __always_inline struct epm_counters *epm_counters_of(__u32 interface_index, const struct epm_options *options)
{
	__u32 slot = 0;

#pragma nounroll
	for (int number = 0; number < EPM_INTERFACES; number++) {
		__u32 known = options->interface_index[number];

		if (!known)
			break;
		if (known == interface_index) {
			slot = number + 1;
			break;
		}
	}
	return epm_counters.lookup(&slot);
}

static __always_inline int epm_is_served(const struct epm_options *options, __u16 port)
{
	return options->ports[port >> 5] >> (port & 31) & 1;
}

static __always_inline void epm_fill_addresses(struct epm_record *record, const struct epm_packet *packet)
{
	if (packet->attributes & EPM_IPV6) {
		__builtin_memcpy(record->source_address, packet->ipv6->source, 16);
		__builtin_memcpy(record->destination_address, packet->ipv6->destination, 16);
		return;
	}
	*(__u64 *)&record->source_address[0] = 0;
	*(__u32 *)&record->source_address[8] = EPM_BIG32(0xffff);
	*(__u32 *)&record->source_address[12] = packet->ipv4->source;
	*(__u64 *)&record->destination_address[0] = 0;
	*(__u32 *)&record->destination_address[8] = EPM_BIG32(0xffff);
	*(__u32 *)&record->destination_address[12] = packet->ipv4->destination;
}

/* What the record says beside the packet's own fields. */
struct epm_span {
	__u64 time_ns;
	__u32 offset;          /* of the payload in the frame */
	__u32 payload_length;
	__u32 captured_length;
};

static __always_inline void epm_fill(struct epm_record *record, const struct epm_context *context,
				     const struct epm_packet *packet, const struct epm_span *span)
{
	record->time_ns = span->time_ns;
	epm_fill_addresses(record, packet);
	record->sequence = EPM_BIG32(packet->tcp->sequence);
	record->acknowledgment = EPM_BIG32(packet->tcp->acknowledgment);
	record->source_port = EPM_BIG16(packet->tcp->source);
	record->destination_port = EPM_BIG16(packet->tcp->destination);
	record->payload_length = span->payload_length;
	record->captured_length = span->captured_length;
	record->tcp_flags = packet->tcp->flags;
	record->attributes = packet->attributes;
	record->interface_index = epm_interface_index(context);
}

/*
 * Fill a reserved record, copy the payload behind it and submit it; return the counter which the packet
 * goes under. `capacity` is a constant at every call. The empty asm keeps the compiler from dropping the
 * comparison that it knows to be true: the verifier needs to see it.
 */
static __always_inline enum epm_counter epm_complete(struct epm_record *record, const __u32 capacity,
						     const struct epm_context *context,
						     const struct epm_packet *packet, const struct epm_span *span)
{
	__u64 length = span->captured_length;
	long error = 0;

	epm_fill(record, context, packet, span);
	asm volatile("" : "+r"(length));
	if (length && length <= capacity)
		error = epm_load(context, span->offset, record + 1, length);
	if (error) {
		bpf_ringbuf_discard(record, EPM_WAKE_UP);
		return EPM_LOST_COPY;
	}
	bpf_ringbuf_submit(record, EPM_WAKE_UP);
	return EPM_SUBMITTED;
}

/* Reserve the smallest size class which holds the payload. Sizes are constants: the verifier asks for that. */
static __always_inline enum epm_counter epm_record_packet(const struct epm_context *context,
							  const struct epm_packet *packet, struct epm_span *span)
{
	__u32 zero = 0;
	__u64 *clock = epm_clock.lookup(&zero);
	void *record;

	if (!clock)
		return EPM_LOST_COPY;
	span->time_ns = bpf_ktime_get_ns() + *clock;
	if (span->captured_length <= EPM_COMPACT_PAYLOAD) {
		record = epm_compact.ringbuf_reserve(sizeof(struct epm_compact_record));
		if (!record)
			return EPM_LOST_COMPACT_FULL;
		return epm_complete(record, EPM_COMPACT_PAYLOAD, context, packet, span);
	}
	if (span->captured_length <= EPM_BULK_SMALL_PAYLOAD) {
		record = epm_bulk.ringbuf_reserve(sizeof(struct epm_record) + EPM_BULK_SMALL_PAYLOAD);
		if (!record)
			return EPM_LOST_BULK_FULL;
		return epm_complete(record, EPM_BULK_SMALL_PAYLOAD, context, packet, span);
	}
	if (span->captured_length <= EPM_BULK_MEDIUM_PAYLOAD) {
		record = epm_bulk.ringbuf_reserve(sizeof(struct epm_record) + EPM_BULK_MEDIUM_PAYLOAD);
		if (!record)
			return EPM_LOST_BULK_FULL;
		return epm_complete(record, EPM_BULK_MEDIUM_PAYLOAD, context, packet, span);
	}
	record = epm_bulk.ringbuf_reserve(sizeof(struct epm_record) + EPM_BULK_LARGE_PAYLOAD);
	if (!record)
		return EPM_LOST_BULK_FULL;
	return epm_complete(record, EPM_BULK_LARGE_PAYLOAD, context, packet, span);
}

/* A packet of a served port: count it, and record it unless it is a bare acknowledgment. */
static __always_inline void epm_handle_served(const struct epm_context *context, const struct epm_packet *packet,
					      const struct epm_options *options, struct epm_span span)
{
	struct epm_counters *counters = epm_counters_of(epm_interface_index(context), options);
	enum epm_counter result;

	if (!counters)
		return;
	if (packet->attributes & EPM_FROM_SERVER)
		counters->value[EPM_PACKETS_FROM_SERVER]++;
	else
		counters->value[EPM_PACKETS_TO_SERVER]++;
	if (!span.payload_length && !(packet->tcp->flags & (EPM_TCP_SYN | EPM_TCP_FIN | EPM_TCP_RST)))
		return;
	counters->value[EPM_MATCHED]++;
	result = epm_record_packet(context, packet, &span);
	if (result == EPM_SUBMITTED)
		counters->value[EPM_SUBMITTED]++;
	else if (result == EPM_LOST_COMPACT_FULL)
		counters->value[EPM_LOST_COMPACT_FULL]++;
	else if (result == EPM_LOST_BULK_FULL)
		counters->value[EPM_LOST_BULK_FULL]++;
	else
		counters->value[EPM_LOST_COPY]++;
}

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

/* Return where the payload lies, how long it is by the IP header and how much of it is here. */
static __always_inline struct epm_span epm_find_payload(const struct epm_context *context,
							const struct epm_packet *packet,
							const struct epm_cursor *cursor)
{
	struct epm_span span = { .offset = cursor->at - context->data };
	__s64 left = cursor->end - cursor->at;

	/* What lies outside the linear area counts too; finding out costs a call. */
	if (packet->remaining > left)
		left = (__s64)epm_frame_length(context) - span.offset;
	span.payload_length = packet->remaining < EPM_NO_LENGTH / 2 ? packet->remaining : left;
	span.captured_length = span.payload_length < left ? span.payload_length : left;
	if (span.captured_length > EPM_BULK_LARGE_PAYLOAD)
		span.captured_length = EPM_BULK_LARGE_PAYLOAD;
	return span;
}

/*
 * On tc the headers may lie outside the linear area: move them there, which changes no byte of the packet.
 * It can cost a copy, so it is done for those packets only which could not be read otherwise. Return whether
 * there is more to read now.
 */
static __always_inline int epm_pull(struct epm_context *context)
{
	struct __sk_buff *packet = context->of_hook;
	__u32 wanted = packet->len < EPM_PULL ? packet->len : EPM_PULL;

	if (context->data_end - context->data >= wanted || bpf_skb_pull_data(packet, wanted))
		return 0;
	context->data = (const __u8 *)(long)packet->data;
	context->data_end = (const __u8 *)(long)packet->data_end;
	return 1;
}

static __always_inline void epm_inspect(struct epm_context *context)
{
	struct epm_cursor cursor = { context->data, context->data_end };
	struct epm_packet packet;
	enum epm_outcome outcome = epm_read_packet(&cursor, context->tags, &packet);
	struct epm_options *options;
	__u32 zero = 0;

	if (context->hook == EPM_HOOK_TC && (outcome == EPM_UNREADABLE || outcome == EPM_LINK_CUT) &&
	    epm_pull(context)) {
		cursor.at = context->data;
		cursor.end = context->data_end;
		outcome = epm_read_packet(&cursor, context->tags, &packet);
	}

	if (outcome != EPM_TCP) {
		if (outcome == EPM_LATER || outcome == EPM_UNREADABLE)
			epm_count(context, outcome == EPM_LATER ? EPM_LATER_FRAGMENTS : EPM_UNREADABLE_HEADERS);
		return;
	}
	options = epm_options.lookup(&zero);
	if (!options)
		return;
	if (!epm_is_served(options, EPM_BIG16(packet.tcp->destination))) {
		if (!epm_is_served(options, EPM_BIG16(packet.tcp->source)))
			return;
		packet.attributes |= EPM_FROM_SERVER;
	}
	epm_handle_served(context, &packet, options, epm_find_payload(context, &packet, &cursor));
}

int epm_xdp(struct xdp_md *frame)
{
	struct epm_context context = {
		.of_hook = frame,
		.hook = EPM_HOOK_XDP,
		.data = (const __u8 *)(long)frame->data,
		.data_end = (const __u8 *)(long)frame->data_end,
	};

	epm_inspect(&context);
	return XDP_PASS;
}

int epm_tc(struct __sk_buff *packet)
{
	struct epm_context context = {
		.of_hook = packet,
		.hook = EPM_HOOK_TC,
		.data = (const __u8 *)(long)packet->data,
		.data_end = (const __u8 *)(long)packet->data_end,
		.tags = packet->vlan_present ? 1 : 0,
	};

	epm_inspect(&context);
	return EPM_TC_NEXT;
}
