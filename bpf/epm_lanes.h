/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The rings. Almost every record goes into the compact ring, and so the cost of a record is there.
 *
 * A BPF ring buffer is shared by all processors, behind a lock, and asks for two calls a record. So where EPM_LANES is
 * 1, each processor has a lane of its own in a map which the reader has mapped too: no lock, no call. That relies on a
 * processor's stores being seen in their order, as on x86-64. Elsewhere the compact ring is a BPF ring buffer, with
 * records of the same size.
 *
 * Programs on one processor do not interrupt each other, as they run with bottom halves disabled: a lane's counter
 * needs no atomic addition, which costs 5 ns. On a kernel with PREEMPT_RT they do: there (EPM_PREEMPT_RT) the addition
 * is atomic, which keeps their entries apart, and the margin takes what several of them found free at once.
 */
#ifndef EPM_LANES_H
#define EPM_LANES_H

#include "epm_record.h"

/* Whether a submitted record wakes the reader: the kernel's default, which wakes it when it had read all. */
#define EPM_WAKE_UP 0

BPF_RINGBUF_OUTPUT(epm_bulk, EPM_BULK_PAGES);

/* A record of the compact ring which was reserved, and what is needed to submit it. */
struct epm_place {
	struct epm_compact_record *record; /* 0 where the ring is full */
#if EPM_LANES
	struct epm_compact_entry *entry;
	struct epm_lane *lane;
	__u64 number;
#endif
};

#if EPM_LANES
/* bcc wants plain numbers here: EPM_COMPACT_ENTRIES is EPM_CPUS * EPM_LANE_ENTRIES. */
BPF_F_TABLE("array", __u32, struct epm_lane, epm_lanes, EPM_CPUS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", __u32, struct epm_compact_entry, epm_compact, EPM_COMPACT_ENTRIES, BPF_F_MMAPABLE);

static __always_inline struct epm_place epm_reserve_compact(void)
{
	struct epm_place place = {};
	__u32 processor = bpf_get_smp_processor_id();
	__u32 index;

	place.lane = epm_lanes.lookup(&processor);
	if (!place.lane)
		return place;
	if (place.lane->reserved - *(volatile __u64 *)&place.lane->consumed >= EPM_LANE_ENTRIES - EPM_LANE_MARGIN)
		return place;
#if EPM_PREEMPT_RT
	place.number = __sync_fetch_and_add(&place.lane->reserved, 1);
#else
	place.number = *(volatile __u64 *)&place.lane->reserved;
	*(volatile __u64 *)&place.lane->reserved = place.number + 1;
#endif
	index = processor * EPM_LANE_ENTRIES + (place.number & (EPM_LANE_ENTRIES - 1));
	place.entry = epm_compact.lookup(&index);
	if (place.entry)
		place.record = &place.entry->record;
	return place;
}

/*
 * Let the reader have a record, or nothing on an error. The reader may be asleep: it wakes when something is put into
 * a BPF ring buffer, be it discarded. For an instant a processor may look at `waiting` before others see the
 * mark; the reader allows for that.
 */
static __always_inline void epm_submit_compact(const struct epm_place *place, long error)
{
	__u32 mark = (place->number / EPM_LANE_ENTRIES + 1) & (EPM_DISCARDED - 1);
	void *bell;

	asm volatile("" ::: "memory");
	*(volatile __u32 *)&place->entry->mark = error ? mark | EPM_DISCARDED : mark;
	asm volatile("" ::: "memory");
	if (!*(volatile __u64 *)&place->lane->waiting)
		return;
	*(volatile __u64 *)&place->lane->waiting = 0;
	bell = epm_bulk.ringbuf_reserve(sizeof(__u64));
	if (bell)
		bpf_ringbuf_discard(bell, BPF_RB_FORCE_WAKEUP);
}
#else
BPF_RINGBUF_OUTPUT(epm_compact, EPM_COMPACT_PAGES);

static __always_inline struct epm_place epm_reserve_compact(void)
{
	struct epm_place place = {};

	place.record = epm_compact.ringbuf_reserve(sizeof(*place.record));
	return place;
}

static __always_inline void epm_submit_compact(const struct epm_place *place, long error)
{
	if (error)
		bpf_ringbuf_discard(place->record, EPM_WAKE_UP);
	else
		bpf_ringbuf_submit(place->record, EPM_WAKE_UP);
}
#endif

#endif
