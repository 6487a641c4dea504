/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * From a packet that was read to its record in one of the rings: which one, of what size, and the counter under which
 * it goes there.
 */
#ifndef EPM_SUBMIT_H
#define EPM_SUBMIT_H

#include "epm_fill.h"
#include "epm_lanes.h"

/*
 * Fill a record of the bulk ring, copy the payload to where it goes and submit it; return the counter which the
 * packet goes under. `capacity` is a constant at every call. The length is read back from the record, so
 * that the verifier knows nothing of it: it would remember all that the length was made of, and follow each
 * value apart. For the same reason the second asm keeps the comparison, which the compiler knows to be true;
 * it is with the last byte's number, since "not 0" tells the verifier of Linux 6.1 nothing.
 */
static __always_inline enum epm_counter epm_complete_bulk(struct epm_record *record, void *payload,
							  const __u32 capacity, const struct epm_context *context,
							  const struct epm_packet *packet, const struct epm_span *span)
{
	__u64 last;
	long error = 0;

	epm_fill(record, context, packet, span);
	asm volatile("" ::: "memory");
	last = (__u64)record->captured_length - 1;
	asm volatile("" : "+r"(last));
	if (last < capacity)
		error = epm_load(context, span->offset, payload, last + 1);
	if (error) {
		bpf_ringbuf_discard(record, EPM_WAKE_UP);
		return EPM_LOST_COPY;
	}
	bpf_ringbuf_submit(record, EPM_WAKE_UP);
	return EPM_SUBMITTED;
}

/* Reserve a record of the bulk ring. `capacity` is a constant at every call: the verifier asks for that. */
static __always_inline enum epm_counter epm_record_bulk(const __u32 capacity, const struct epm_context *context,
							const struct epm_packet *packet,
							const struct epm_tunnel *tunnel, const struct epm_span *span)
{
	struct epm_record *record =
		epm_bulk.ringbuf_reserve(sizeof(*record) + (tunnel ? sizeof(*tunnel) : 0) + capacity);
	struct epm_tunnel *copy = (struct epm_tunnel *)(record + 1);

	if (!record)
		return EPM_LOST_BULK_FULL;
	if (!tunnel)
		return epm_complete_bulk(record, record + 1, capacity, context, packet, span);
	epm_copy_tunnel(record + 1, tunnel);
	return epm_complete_bulk(record, copy + 1, capacity, context, packet, span);
}

static __always_inline enum epm_counter epm_record_compact(const struct epm_context *context,
							   const struct epm_packet *packet, const struct epm_span *span)
{
	struct epm_place place = epm_reserve_compact();
	long error;

	if (!place.record)
		return EPM_LOST_COMPACT_FULL;
	epm_fill(&place.record->header, context, packet, span);
	error = epm_copy_compact(place.record, context, span);
	epm_submit_compact(&place, error);
	return error ? EPM_LOST_COPY : EPM_SUBMITTED;
}

/* Reserve the smallest size class which holds the payload. `tunnel` is 0 unless the packet came through one. */
static __always_inline enum epm_counter epm_record_packet(const struct epm_context *context,
							  const struct epm_packet *packet,
							  const struct epm_tunnel *tunnel, const struct epm_span *span)
{
	if (!span->time_ns)
		return EPM_LOST_COPY;
	if (!tunnel && span->captured_length <= EPM_COMPACT_PAYLOAD)
		return epm_record_compact(context, packet, span);
	if (span->captured_length <= EPM_BULK_SMALL_PAYLOAD)
		return epm_record_bulk(EPM_BULK_SMALL_PAYLOAD, context, packet, tunnel, span);
	if (span->captured_length <= EPM_BULK_MEDIUM_PAYLOAD)
		return epm_record_bulk(EPM_BULK_MEDIUM_PAYLOAD, context, packet, tunnel, span);
	return epm_record_bulk(EPM_BULK_LARGE_PAYLOAD, context, packet, tunnel, span);
}

#endif
