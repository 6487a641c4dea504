/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Canonical map requests and responses, recognised: pure functions over a payload that was copied already.
 *
 * Everything here is stricter than the decoder (inspector/wire, inspector/columns/payloads.py): what is not exactly
 * so is not recognised, and goes into the ring. Offsets are those of C706 chapter 12 and of MS-RPCE section 2.2.5.
 */
#ifndef EPM_SUSPECTS_H
#define EPM_SUSPECTS_H

#include "epm_record.h"

#define EPM_WORDS (EPM_COMPACT_PAYLOAD / 8)
#define EPM_BIND_CONTEXTS 3
#define EPM_TOWER 75

enum epm_pdu_type { EPM_PDU_REQUEST = 0, EPM_PDU_RESPONSE = 2, EPM_PDU_BIND = 11, EPM_PDU_BIND_ACK = 12 };

/* Lengths of a canonical map request and of its response with one tower. */
static __always_inline __u32 epm_request_length(int wide)
{
	return wide ? 168 : 156;
}

static __always_inline __u32 epm_response_length(int wide)
{
	return wide ? 172 : 152;
}

/* Version 5.0, one fragment, little-endian, no verifier, and as long as the segment. */
static __always_inline int epm_is_plain_pdu(const __u64 *words, __u32 length, __u64 type)
{
	return words[0] == (0x1003000005 | type << 16) && (words[1] & 0xffffffff) == length;
}

static __always_inline __u32 epm_call_id(const __u64 *words)
{
	return words[1] >> 32;
}

static __always_inline int epm_is_syntax(const __u32 *at, __u32 first, __u32 second, __u32 third, __u32 fourth,
					 __u32 version)
{
	return at[0] == first && at[1] == second && at[2] == third && at[3] == fourth && at[4] == version;
}

static __always_inline int epm_is_ndr20(const __u32 *at)
{
	return epm_is_syntax(at, 0x8a885d04, 0x11c91ceb, 0x0008e89f, 0x6048102b, 2);
}

static __always_inline int epm_is_ndr64(const __u32 *at)
{
	return epm_is_syntax(at, 0x71710533, 0x4937beba, 0xdbb51983, 0x36cc9cef, 1);
}

/*
 * Return how many contexts a bind proposes, all of them the endpoint mapper's with one transfer syntax each and
 * numbered from 0; or 0.
 */
static __always_inline __u32 epm_bind_contexts(const __u64 *words, __u32 length)
{
	const __u32 *halves = (const __u32 *)words;
	const __u32 count = halves[6] & 0xff;

	if (!epm_is_plain_pdu(words, length, EPM_PDU_BIND) || count > EPM_BIND_CONTEXTS || length != 28 + 44 * count)
		return 0;
#pragma unroll
	for (__u32 number = 0; number < EPM_BIND_CONTEXTS; number++) {
		const __u32 *element = halves + 7 + 11 * number;

		if (number < count &&
		    (element[0] != (number | 1 << 16) ||
		     !epm_is_syntax(element + 1, 0xe1af8308, 0x11c95d1f, 0x0008a491, 0xfaa0142b, 3)))
			return 0;
	}
	return count;
}

/*
 * Say whether a bind_ack answers that many contexts, and which of them is to be watched: the last accepted one, and
 * whether it is NDR64. The secondary address is a port of three digits, so that the results are where they are.
 */
static __always_inline int epm_bind_result(const __u64 *words, __u32 length, __u32 count, __u16 *context, __u8 *wide)
{
	const __u32 *halves = (const __u32 *)words;
	int found = 0;

	if (!epm_is_plain_pdu(words, length, EPM_PDU_BIND_ACK) || length != 36 + 24 * count ||
	    (halves[6] & 0xffff) != 4 || (halves[8] & 0xff) != count)
		return 0;
#pragma unroll
	for (__u32 number = 0; number < EPM_BIND_CONTEXTS; number++) {
		const __u32 *result = halves + 9 + 6 * number;

		if (number >= count || result[0] & 0xffff)
			continue;
		if (!epm_is_ndr20(result + 1) && !epm_is_ndr64(result + 1))
			return 0;
		*wide = epm_is_ndr64(result + 1);
		*context = number;
		found = 1;
	}
	return found;
}

static __always_inline int epm_is_map_request(const __u64 *words, __u32 length, __u16 context, int wide)
{
	if (length != epm_request_length(wide) || !epm_is_plain_pdu(words, length, EPM_PDU_REQUEST))
		return 0;
	/* Context and operation number 3. */
	if (words[2] >> 32 != (3 << 16 | context))
		return 0;
	if (wide)
		return words[3] && words[6] && words[7] == EPM_TOWER && (words[8] & 0xffffffff) == EPM_TOWER;
	return words[3] & 0xffffffff && words[5] >> 32 && words[6] == ((__u64)EPM_TOWER << 32 | EPM_TOWER);
}

/* With one tower, of five floors of which the last is an IPv4 address: that is put into `offered`. */
static __always_inline int epm_is_map_response(const __u64 *words, __u32 length, __u16 context, int wide,
					       __u32 *offered)
{
	const __u8 *tower = (const __u8 *)words + (wide ? 92 : 72);

	/* The number of towers at 44, and the context. */
	if (length != epm_response_length(wide) || words[5] >> 32 != 1 || (words[2] >> 32 & 0xffff) != context)
		return 0;
	if (wide && (words[7] || words[8] != 1 || !words[9] || words[10] != EPM_TOWER ||
		     (words[11] & 0xffffffff) != EPM_TOWER))
		return 0;
	if (!wide && (words[6] >> 32 || (words[7] & 0xffffffff) != 1 || !(words[7] >> 32) ||
		      words[8] != ((__u64)EPM_TOWER << 32 | EPM_TOWER)))
		return 0;
	if (tower[0] != 5 || tower[1] || tower[66] != 1 || tower[67] || tower[68] != 9 || tower[69] != 4 || tower[70])
		return 0;
	__builtin_memcpy(offered, tower + 71, 4);
	return 1;
}

/*
 * Copy a canonical request or response without what its finding does not depend on: call id, allocation hint and
 * referents, which become 1 and 2; and without what follows it. Return a hash of it.
 */
static __always_inline __u64 epm_mask(__u64 *to, const __u64 *from, __u32 length, int wide, int is_request, __u64 hash)
{
#pragma unroll
	for (int number = 0; number < EPM_WORDS; number++) {
		__u64 word = from[number];

		if (number == 1)
			word &= 0xffffffff;
		else if (number == 2)
			word &= ~0xffffffffULL;
		else if (is_request && number == 3)
			word = wide ? 1 : (word & ~0xffffffffULL) | 1;
		else if (is_request && number == (wide ? 6 : 5))
			word = wide ? 2 : (word & 0xffffffff) | 2ULL << 32;
		else if (!is_request && number == (wide ? 9 : 7))
			word = wide ? 1 : (word & 0xffffffff) | 1ULL << 32;
		if (number * 8 >= length)
			word = 0;
		else if (number * 8 + 4 == length)
			word &= 0xffffffff;
		to[number] = word;
		hash = (hash ^ word) * 0x9e3779b97f4a7c15;
		hash ^= hash >> 29;
	}
	return hash;
}

#endif
