/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * From a packet that was read to the record which describes it, but for the payload.
 */
#ifndef EPM_FILL_H
#define EPM_FILL_H

#include "epm_context.h"

/* Both addresses are 16 bytes, and 8-byte aligned. */
static __always_inline void epm_fill_addresses(__u8 *source, __u8 *destination, const struct epm_packet *packet)
{
	if (packet->attributes & EPM_IPV6) {
		__builtin_memcpy(source, packet->ipv6->source, 16);
		__builtin_memcpy(destination, packet->ipv6->destination, 16);
		return;
	}
	*(__u64 *)&source[0] = 0;
	*(__u32 *)&source[8] = EPM_BIG32(0xffff);
	*(__u32 *)&source[12] = packet->ipv4->source;
	*(__u64 *)&destination[0] = 0;
	*(__u32 *)&destination[8] = EPM_BIG32(0xffff);
	*(__u32 *)&destination[12] = packet->ipv4->destination;
}

/* What the record says beside the packet's own fields. */
struct epm_span {
	__u64 time_ns;
	__u32 offset;          /* of the payload in the frame */
	__u32 payload_length;
	__u32 captured_length;
	__u32 sequence;        /* these three are 0 in a datagram */
	__u32 acknowledgment;
	__u8 flags;
};

static __always_inline void epm_fill(struct epm_record *record, const struct epm_context *context,
				     const struct epm_packet *packet, const struct epm_span *span)
{
	record->time_ns = span->time_ns;
	epm_fill_addresses(record->source_address, record->destination_address, packet);
	record->sequence = span->sequence;
	record->acknowledgment = span->acknowledgment;
	record->source_port = EPM_BIG16(packet->ports->source);
	record->destination_port = EPM_BIG16(packet->ports->destination);
	record->payload_length = span->payload_length;
	record->captured_length = span->captured_length;
	record->tcp_flags = span->flags;
	record->attributes = packet->attributes + packet->fragment;
	record->interface_index = epm_interface_index(context);
}

/* Both are 8-byte aligned, which memcpy() would not know. */
static __always_inline void epm_copy_tunnel(void *to, const struct epm_tunnel *tunnel)
{
	const __u64 *from = (const __u64 *)tunnel;

#pragma unroll
	for (int word = 0; word < sizeof(*tunnel) / sizeof(*from); word++)
		((__u64 *)to)[word] = from[word];
}

/* Return where the payload lies, how long it is by the headers and how much of it is here; for TCP, its place. */
static __always_inline struct epm_span epm_find_payload(const struct epm_context *context,
							const struct epm_packet *packet,
							const struct epm_cursor *cursor,
							enum epm_outcome outcome)
{
	struct epm_span span = { .offset = cursor->at - context->data };
	__s64 left = cursor->end - cursor->at;

	/* What lies outside the linear area counts too; finding out costs a call. */
	if (packet->remaining > left)
		left = (__s64)epm_frame_length(context) - span.offset;
	if (EPM_TUNNELS && packet->attributes & EPM_TUNNELLED && left > packet->limit - span.offset)
		left = packet->limit - span.offset;
	span.payload_length = packet->remaining < EPM_NO_LENGTH / 2 ? packet->remaining : left;
	span.captured_length = span.payload_length < left ? span.payload_length : left;
	if (span.captured_length > EPM_BULK_LARGE_PAYLOAD)
		span.captured_length = EPM_BULK_LARGE_PAYLOAD;
	if (outcome == EPM_SEGMENT) {
		span.sequence = EPM_BIG32(packet->tcp->sequence);
		span.acknowledgment = EPM_BIG32(packet->tcp->acknowledgment);
		span.flags = packet->tcp->flags;
	}
	return span;
}

#endif
