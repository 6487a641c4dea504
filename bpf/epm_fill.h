/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * From a packet that was read to the record which describes it, but for the payload.
 */
#ifndef EPM_FILL_H
#define EPM_FILL_H

#include "epm_context.h"

/* Two loads, which memcpy() would not make: struct in6_addr is 4-byte aligned. */
static __always_inline void epm_copy_address(__u8 *to, const struct in6_addr *from)
{
	((__u64 *)to)[0] = ((const __u64 *)from)[0];
	((__u64 *)to)[1] = ((const __u64 *)from)[1];
}

/* Both addresses are 16 bytes, and 8-byte aligned. */
static __always_inline void epm_fill_addresses(__u8 *source, __u8 *destination, const struct epm_packet *packet)
{
	if (packet->attributes & EPM_IPV6) {
		epm_copy_address(source, &packet->ipv6->saddr);
		epm_copy_address(destination, &packet->ipv6->daddr);
		return;
	}
	*(__u64 *)&source[0] = 0;
	*(__u32 *)&source[8] = __cpu_to_be32(0xffff);
	*(__u32 *)&source[12] = packet->ipv4->saddr;
	*(__u64 *)&destination[0] = 0;
	*(__u32 *)&destination[8] = __cpu_to_be32(0xffff);
	*(__u32 *)&destination[12] = packet->ipv4->daddr;
}

/* What the record says beside the packet's own fields. */
struct epm_span {
	__u64 time_ns;
	const __u8 *start; /* of the payload */
	__u32 offset;      /* of it in the frame */
	__u32 payload_length;
	__u32 captured_length;
	__u32 sequence; /* these three are 0 in a datagram */
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
	record->source_port = __be16_to_cpu(packet->ports->source);
	record->destination_port = __be16_to_cpu(packet->ports->destination);
	record->payload_length = span->payload_length;
	record->captured_length = span->captured_length;
	record->tcp_flags = span->flags;
	record->attributes = packet->attributes + packet->fragment;
	record->interface_index = epm_interface_index(context);
	*(__u64 *)&record->hop_limit = 0;
	record->hop_limit = packet->attributes & EPM_IPV6 ? packet->ipv6->hop_limit : packet->ipv4->ttl;
}

/* Both are 8-byte aligned, which memcpy() would not know. */
static __always_inline void epm_copy_tunnel(void *to, const struct epm_tunnel *tunnel)
{
	const __u64 *from = (const __u64 *)tunnel;

#pragma unroll
	for (int word = 0; word < sizeof(*tunnel) / sizeof(*from); word++)
		((__u64 *)to)[word] = from[word];
}

#define EPM_COPY_BLOCK 32

static __always_inline void epm_copy_block(__u8 *to, const __u8 *from)
{
#pragma unroll
	for (int word = 0; word < EPM_COPY_BLOCK / 8; word++)
		((__u64 *)to)[word] = ((const volatile __u64 *)from)[word];
}

/*
 * Copy a payload of the compact class; return 0 or a negative error. One in the linear area is copied here, in blocks
 * of which the last overlaps: a call costs more than all of it. What follows a short payload in the frame may come
 * with it; nobody reads past the captured length. Where tunnels are looked into the verifier has enough to do, so
 * the call is made, and the length is read back from the record, which makes it forget how that came about. The
 * length is hidden from the compiler, which knows that it is in bounds and would leave out what tells the verifier so.
 */
static __always_inline long epm_copy_compact(struct epm_compact_record *record, const struct epm_context *context,
					     const struct epm_span *span)
{
	const __u8 *from = span->start;
	__u64 last = (__u64)span->captured_length - 1;
	__u64 rest;

#if EPM_TUNNELS
	asm volatile("" ::: "memory");
	last = (__u64)record->header.captured_length - 1;
#endif
	rest = last + 1 - EPM_COPY_BLOCK;
	asm volatile("" : "+r"(last), "+r"(rest));
	if (last >= EPM_COMPACT_PAYLOAD)
		return 0;
	if (EPM_TUNNELS || rest > EPM_COMPACT_PAYLOAD - EPM_COPY_BLOCK ||
	    from + rest + EPM_COPY_BLOCK > context->data_end)
		return epm_load(context, span->offset, record->payload, last + 1);
	epm_copy_block(record->payload + rest, from + rest);
#pragma unroll
	for (int block = 0; block < EPM_COMPACT_PAYLOAD / EPM_COPY_BLOCK; block++) {
		if (from + (block + 1) * EPM_COPY_BLOCK > context->data_end)
			break;
		epm_copy_block(record->payload + block * EPM_COPY_BLOCK, from + block * EPM_COPY_BLOCK);
	}
	return 0;
}

/* Return where the payload lies, how long it is by the headers and how much of it is here; for TCP, its place. */
static __always_inline struct epm_span epm_find_payload(const struct epm_context *context,
							const struct epm_packet *packet,
							const struct epm_cursor *cursor, enum epm_outcome outcome)
{
	struct epm_span span = { .start = cursor->at, .offset = cursor->at - context->data };
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
		span.sequence = __be32_to_cpu(packet->tcp->seq);
		span.acknowledgment = __be32_to_cpu(packet->tcp->ack_seq);
		span.flags = epm_tcp_flags(packet->tcp);
	}
	return span;
}

#endif
