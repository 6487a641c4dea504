/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * From a frame to its TCP header: a cursor over the packet, and one reader for each layer.
 *
 * Pure: no maps, no helpers, nothing but the bytes between two pointers. Every access goes
 * through epm_take(), so the bounds check stands in one place. inspector/wire/frame.py reads
 * the same frames by the same rules; a test feeds both and compares.
 */
#ifndef EPM_PARSE_H
#define EPM_PARSE_H

#include <linux/types.h>

#define EPM_VLAN_TAGS 2
#define EPM_EXTENSION_HEADERS 8

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define EPM_BIG16(value) ((__u16)__builtin_bswap16(value))
#define EPM_BIG32(value) ((__u32)__builtin_bswap32(value))
#else
#define EPM_BIG16(value) ((__u16)(value))
#define EPM_BIG32(value) ((__u32)(value))
#endif

/* What a frame turned out to be. */
enum epm_outcome {
	EPM_NOT_TCP,     /* nothing for this program */
	EPM_TCP,         /* a whole TCP header was read */
	EPM_LATER,       /* a TCP fragment that carries no TCP header */
	EPM_UNREADABLE,  /* IP or TCP headers cut short or inconsistent */
	EPM_LINK_CUT,    /* Ethernet header or tags cut short: nothing either, if that was all of it */
};

enum epm_ethertype {
	EPM_ETHERTYPE_IPV4 = 0x0800,
	EPM_ETHERTYPE_VLAN = 0x8100,
	EPM_ETHERTYPE_IPV6 = 0x86dd,
	EPM_ETHERTYPE_SERVICE_VLAN = 0x88a8,
	EPM_ETHERTYPE_OLD_QINQ = 0x9100,
};

/* RFC 8200 section 4; the numbers are IANA's. */
enum epm_next_header {
	EPM_HOP_BY_HOP = 0,
	EPM_PROTOCOL_TCP = 6,
	EPM_ROUTING = 43,
	EPM_FRAGMENT = 44,
	EPM_AUTHENTICATION = 51,
	EPM_DESTINATION_OPTIONS = 60,
	EPM_MOBILITY = 135,
};

struct epm_ethernet_header {
	__u8 destination[6];
	__u8 source[6];
	__u16 ethertype;
};

struct epm_vlan_tag {
	__u16 control;
	__u16 ethertype;
};

/* RFC 791 section 3.1 */
struct epm_ipv4_header {
	__u8 version_and_length;
	__u8 service;
	__u16 total_length;
	__u16 identification;
	__u16 flags_and_offset;
	__u8 time_to_live;
	__u8 protocol;
	__u16 checksum;
	__u32 source;
	__u32 destination;
};

#define EPM_IPV4_MORE_FRAGMENTS 0x2000
#define EPM_IPV4_OFFSET 0x1fff

/* RFC 8200 section 3 */
struct epm_ipv6_header {
	__u8 version_and_class;
	__u8 class_and_label[3];
	__u16 payload_length;
	__u8 next_header;
	__u8 hop_limit;
	__u64 source[2];
	__u64 destination[2];
};

/* The first 8 bytes of any extension header; the fragment header (RFC 8200 section 4.5) has the offset. */
struct epm_extension_header {
	__u8 next_header;
	__u8 length;
	__u16 offset_and_flags;
	__u32 more;
};

#define EPM_IPV6_MORE_FRAGMENTS 0x0001
#define EPM_IPV6_OFFSET 0xfff8

/* RFC 9293 section 3.1 */
struct epm_tcp_header {
	__u16 source;
	__u16 destination;
	__u32 sequence;
	__u32 acknowledgment;
	__u8 data_offset;
	__u8 flags;
	__u16 window;
	__u16 checksum;
	__u16 urgent;
};

struct epm_cursor {
	const __u8 *at;
	const __u8 *end;
};

/* What was read of a packet. Pointers point into the packet. */
struct epm_packet {
	const struct epm_ipv4_header *ipv4; /* valid unless attributes has EPM_IPV6 */
	const struct epm_ipv6_header *ipv6; /* valid if it has */
	const struct epm_tcp_header *tcp;
	__s64 remaining;                    /* bytes behind the headers so far, by the IP header's length */
	__u32 attributes;
};

/*
 * `remaining` starts from this where the IP header gives no length, which means "up to the end of the
 * frame": more than headers can take off, so what is left is above EPM_NO_LENGTH / 2.
 */
#define EPM_NO_LENGTH (1LL << 40)

/* Return the next `length` bytes and step over them, or 0 where the frame is shorter. */
static __always_inline const void *epm_take(struct epm_cursor *cursor, __u32 length)
{
	const __u8 *start = cursor->at;

	if (start + length > cursor->end)
		return 0;
	cursor->at = start + length;
	return start;
}

/*
 * Step over `length` bytes, which the packet itself said; return 0 where the frame is shorter. No header
 * reaches EPM_LONGEST_SKIP, so the mask changes nothing; hidden from the compiler, it tells the verifier so.
 */
#define EPM_LONGEST_SKIP 0xfff
static __always_inline const void *epm_skip(struct epm_cursor *cursor, __u64 length)
{
	asm volatile("" : "+r"(length));
	return epm_take(cursor, length & EPM_LONGEST_SKIP);
}

static __always_inline int epm_is_vlan(__u16 ethertype)
{
	return ethertype == EPM_ETHERTYPE_VLAN || ethertype == EPM_ETHERTYPE_SERVICE_VLAN ||
	       ethertype == EPM_ETHERTYPE_OLD_QINQ;
}

/* Return the ethertype below at most EPM_VLAN_TAGS tags, of which `tags` were taken off by the
 * device; 0 where the frame ends before. */
static __always_inline __u16 epm_read_ethernet(struct epm_cursor *cursor, __u32 tags)
{
	const struct epm_ethernet_header *ethernet = epm_take(cursor, sizeof(*ethernet));
	__u16 ethertype;

	if (!ethernet)
		return 0;
	ethertype = EPM_BIG16(ethernet->ethertype);
#pragma unroll
	for (int tag_number = 0; tag_number < EPM_VLAN_TAGS; tag_number++) {
		const struct epm_vlan_tag *tag;

		if (!epm_is_vlan(ethertype) || tags + tag_number >= EPM_VLAN_TAGS)
			break;
		tag = epm_take(cursor, sizeof(*tag));
		if (!tag)
			return 0;
		ethertype = EPM_BIG16(tag->ethertype);
	}
	return ethertype;
}

static __always_inline enum epm_outcome epm_read_ipv4(struct epm_cursor *cursor, struct epm_packet *packet)
{
	const struct epm_ipv4_header *ipv4 = epm_take(cursor, sizeof(*ipv4));
	__u32 header_length;
	__u16 fragment;

	if (!ipv4 || ipv4->version_and_length >> 4 != 4)
		return EPM_UNREADABLE;
	header_length = (ipv4->version_and_length & 15) * 4;
	if (header_length < sizeof(*ipv4) || !epm_skip(cursor, header_length - sizeof(*ipv4)))
		return EPM_UNREADABLE;
	packet->ipv4 = ipv4;
	packet->remaining = ipv4->total_length ? EPM_BIG16(ipv4->total_length) : EPM_NO_LENGTH;
	packet->remaining -= header_length;
	if (packet->remaining < 0)
		return EPM_UNREADABLE;
	if (ipv4->protocol != EPM_PROTOCOL_TCP)
		return EPM_NOT_TCP;
	fragment = EPM_BIG16(ipv4->flags_and_offset);
	if (fragment & EPM_IPV4_OFFSET)
		return EPM_LATER;
	if (fragment & EPM_IPV4_MORE_FRAGMENTS)
		packet->attributes |= EPM_FIRST_FRAGMENT;
	return EPM_TCP;
}

/* One bit for each kind of extension header, so that a kind is tested without a branch for each. */
#define EPM_KIND_BIT(kind) (1ULL << (kind))
#define EPM_EXTENSIONS                                                                       \
	(EPM_KIND_BIT(EPM_HOP_BY_HOP) | EPM_KIND_BIT(EPM_ROUTING) | EPM_KIND_BIT(EPM_FRAGMENT) | \
	 EPM_KIND_BIT(EPM_AUTHENTICATION) | EPM_KIND_BIT(EPM_DESTINATION_OPTIONS))

/*
 * Step over one extension header; EPM_TCP means "go on with *next_header".
 *
 * All kinds are 8 bytes at least and read by the same arithmetic: every branch here would double the
 * paths which the verifier follows for each of the eight headers.
 */
static __always_inline enum epm_outcome epm_read_extension(struct epm_cursor *cursor, struct epm_packet *packet,
							   __u8 *next_header)
{
	__u64 kind = *next_header == EPM_MOBILITY ? EPM_DESTINATION_OPTIONS : *next_header;
	const struct epm_extension_header *extension;
	__u64 is_authentication, is_fragment, length;
	__u64 fragment;

	if (kind > 63 || !(EPM_EXTENSIONS >> kind & 1))
		return EPM_NOT_TCP;
	is_authentication = EPM_KIND_BIT(EPM_AUTHENTICATION) >> kind & 1;
	is_fragment = EPM_KIND_BIT(EPM_FRAGMENT) >> kind & 1;
	extension = epm_take(cursor, sizeof(*extension));
	if (!extension)
		return EPM_UNREADABLE;
	/* The fragment header has no length: 8 bytes, as if its length were 0. */
	length = extension->length & (is_fragment - 1);
	/* RFC 4302 section 2.2 counts in words of 4 bytes, minus 2; all others in words of 8, minus 1. */
	length = (length + 1 + is_authentication) * (8 - 4 * is_authentication);
	if (!epm_skip(cursor, length - sizeof(*extension)))
		return EPM_UNREADABLE;
	packet->remaining -= length;
	*next_header = extension->next_header;
	fragment = EPM_BIG16(extension->offset_and_flags) & (0 - is_fragment);
	if (fragment & EPM_IPV6_OFFSET)
		return *next_header == EPM_PROTOCOL_TCP ? EPM_LATER : EPM_NOT_TCP;
	packet->attributes |= (fragment & EPM_IPV6_MORE_FRAGMENTS) * EPM_FIRST_FRAGMENT;
	return EPM_TCP;
}

static __always_inline enum epm_outcome epm_read_ipv6(struct epm_cursor *cursor, struct epm_packet *packet)
{
	const struct epm_ipv6_header *ipv6 = epm_take(cursor, sizeof(*ipv6));
	__u8 next_header;

	if (!ipv6 || ipv6->version_and_class >> 4 != 6)
		return EPM_UNREADABLE;
	packet->ipv6 = ipv6;
	packet->attributes |= EPM_IPV6;
	packet->remaining = ipv6->payload_length ? EPM_BIG16(ipv6->payload_length) : EPM_NO_LENGTH;
	next_header = ipv6->next_header;
#pragma nounroll
	for (int number = 0; number < EPM_EXTENSION_HEADERS && next_header != EPM_PROTOCOL_TCP; number++) {
		enum epm_outcome outcome = epm_read_extension(cursor, packet, &next_header);

		if (outcome != EPM_TCP)
			return outcome;
	}
	return next_header == EPM_PROTOCOL_TCP ? EPM_TCP : EPM_NOT_TCP;
}

static __always_inline enum epm_outcome epm_read_tcp(struct epm_cursor *cursor, struct epm_packet *packet)
{
	const struct epm_tcp_header *tcp = epm_take(cursor, sizeof(*tcp));
	__u32 header_length;

	if (!tcp)
		return EPM_UNREADABLE;
	header_length = (tcp->data_offset >> 4) * 4;
	if (header_length < sizeof(*tcp) || !epm_skip(cursor, header_length - sizeof(*tcp)))
		return EPM_UNREADABLE;
	packet->tcp = tcp;
	packet->remaining -= header_length;
	return packet->remaining < 0 ? EPM_UNREADABLE : EPM_TCP;
}

/* Read a frame up to and over its TCP header: afterwards the cursor stands on the first payload byte. */
static __always_inline enum epm_outcome epm_read_packet(struct epm_cursor *cursor, __u32 tags,
							struct epm_packet *packet)
{
	__u16 ethertype = epm_read_ethernet(cursor, tags);
	enum epm_outcome outcome;

	packet->attributes = 0;
	if (ethertype == EPM_ETHERTYPE_IPV4)
		outcome = epm_read_ipv4(cursor, packet);
	else if (ethertype == EPM_ETHERTYPE_IPV6)
		outcome = epm_read_ipv6(cursor, packet);
	else
		return ethertype ? EPM_NOT_TCP : EPM_LINK_CUT;
	if (outcome != EPM_TCP)
		return outcome;
	return epm_read_tcp(cursor, packet);
}

#endif
