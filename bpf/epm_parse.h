/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * From a frame to its TCP or UDP header: one reader for each layer.
 *
 * Pure: no maps, no helpers, nothing but the bytes under the cursor of epm_cursor.h. inspector/wire/frame.py reads
 * the same frames by the same rules; a test feeds both and compares. epm_tunnel.h adds what
 * lies within tunnels.
 */
#ifndef EPM_PARSE_H
#define EPM_PARSE_H

#include "epm_cursor.h"

#define EPM_VLAN_TAGS 2
#define EPM_EXTENSION_HEADERS 8

static __always_inline int epm_is_vlan(__u16 ethertype)
{
	return ethertype == ETH_P_8021Q || ethertype == ETH_P_8021AD || ethertype == ETH_P_QINQ1;
}

/* Return the ethertype below at most EPM_VLAN_TAGS tags, of which `tags` were taken off by the
 * device; 0 where the frame ends before. */
static __always_inline __u16 epm_read_ethernet(struct epm_cursor *cursor, __u32 tags)
{
	const struct ethhdr *ethernet = epm_take(cursor, sizeof(*ethernet));
	__u16 ethertype;

	if (!ethernet)
		return 0;
	ethertype = __be16_to_cpu(ethernet->h_proto);
#pragma unroll
	for (int tag_number = 0; tag_number < EPM_VLAN_TAGS; tag_number++) {
		const struct epm_vlan_tag *tag;

		if (!epm_is_vlan(ethertype) || tags + tag_number >= EPM_VLAN_TAGS)
			break;
		tag = epm_take(cursor, sizeof(*tag));
		if (!tag)
			return 0;
		ethertype = __be16_to_cpu(tag->ethertype);
	}
	return ethertype;
}

/* One bit for each protocol number below 64, so that a kind is tested without a branch for each. */
#define EPM_KIND_BIT(kind) (1ULL << (kind))
#define EPM_TRANSPORTS (EPM_KIND_BIT(IPPROTO_TCP) | EPM_KIND_BIT(IPPROTO_UDP))
#define EPM_CARRIERS (EPM_KIND_BIT(IPPROTO_IPIP) | EPM_KIND_BIT(IPPROTO_IPV6) | EPM_KIND_BIT(IPPROTO_GRE))
#define EPM_ERRORS (EPM_KIND_BIT(IPPROTO_ICMP) | EPM_KIND_BIT(IPPROTO_ICMPV6))
#define EPM_EXTENSIONS                                                                                    \
	(EPM_KIND_BIT(IPPROTO_HOPOPTS) | EPM_KIND_BIT(IPPROTO_ROUTING) | EPM_KIND_BIT(IPPROTO_FRAGMENT) | \
	 EPM_KIND_BIT(IPPROTO_AH) | EPM_KIND_BIT(IPPROTO_DSTOPTS))

static __always_inline int epm_is_transport(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP;
}

/* Whether this is a protocol that is read. Most packets are TCP, and the shortest way is theirs. */
static __always_inline int epm_is_carried(__u8 protocol)
{
	const __u64 read = EPM_TRANSPORTS | (EPM_TUNNELS ? EPM_CARRIERS : 0) | (EPM_FOLLOW_UP ? EPM_ERRORS : 0);

	return __builtin_expect(protocol == IPPROTO_TCP, 1) || (protocol < 64 && read >> protocol & 1);
}

static __always_inline enum epm_outcome epm_read_ipv4(struct epm_cursor *cursor, struct epm_packet *packet)
{
	const struct iphdr *ipv4 = epm_take(cursor, sizeof(*ipv4));
	__u32 header_length;
	__u16 fragment;

	if (!ipv4 || ipv4->version != 4)
		return EPM_UNREADABLE;
	header_length = ipv4->ihl * 4;
	if (header_length < sizeof(*ipv4) || !epm_skip(cursor, header_length - sizeof(*ipv4)))
		return EPM_UNREADABLE;
	packet->ipv4 = ipv4;
	packet->remaining = epm_said_length(ipv4->tot_len) - header_length;
	packet->protocol = ipv4->protocol;
	/* Whether TCP and UDP with a false length are of interest is told by their ports. */
	if (packet->remaining < 0 && !epm_is_transport(packet->protocol))
		return EPM_UNREADABLE;
	if (!epm_is_carried(packet->protocol))
		return EPM_IGNORED;
	fragment = __be16_to_cpu(ipv4->frag_off);
	if (fragment & EPM_IPV4_OFFSET)
		return epm_is_transport(packet->protocol) ? EPM_LATER : EPM_IGNORED;
	if (fragment & EPM_IPV4_MORE_FRAGMENTS)
		packet->fragment = EPM_FIRST_FRAGMENT;
	return EPM_READ;
}

/*
 * Step over one extension header; EPM_READ means "go on with packet->protocol".
 *
 * All kinds are 8 bytes at least and read by the same arithmetic: every branch here would double the
 * paths which the verifier follows for each of the eight headers.
 */
static __always_inline enum epm_outcome epm_read_extension(struct epm_cursor *cursor, struct epm_packet *packet)
{
	__u64 kind = packet->protocol == IPPROTO_MH ? IPPROTO_DSTOPTS : packet->protocol;
	const struct epm_extension_header *extension;
	__u64 is_authentication, is_fragment, length;
	__u64 fragment;

	if (kind > 63 || !(EPM_EXTENSIONS >> kind & 1))
		return EPM_IGNORED;
	is_authentication = EPM_KIND_BIT(IPPROTO_AH) >> kind & 1;
	is_fragment = EPM_KIND_BIT(IPPROTO_FRAGMENT) >> kind & 1;
	extension = epm_take(cursor, sizeof(*extension));
	if (!extension)
		return EPM_UNREADABLE;
	/* The fragment header has no length: 8 bytes, as if its length were 0. */
	length = extension->length & (is_fragment - 1);
	/* RFC 4302 section 2.2 counts in words of 4 bytes, minus 2; all others in words of 8, minus 1. */
	length = (length + 1 + is_authentication) * (8 - 4 * is_authentication);
	if (!epm_skip(cursor, length - sizeof(*extension)) || !epm_settle(cursor))
		return EPM_UNREADABLE;
	packet->remaining = epm_forget_range(packet->remaining - (__s64)length);
	packet->protocol = extension->next_header;
	fragment = __be16_to_cpu(extension->offset_and_flags) & (0 - is_fragment);
	if (fragment & EPM_IPV6_OFFSET)
		return epm_is_transport(packet->protocol) ? EPM_LATER : EPM_IGNORED;
	packet->fragment |= (fragment & EPM_IPV6_MORE_FRAGMENTS) * EPM_FIRST_FRAGMENT;
	return EPM_READ;
}

static __always_inline enum epm_outcome epm_read_ipv6(struct epm_cursor *cursor, struct epm_packet *packet)
{
	const struct ipv6hdr *ipv6 = epm_take(cursor, sizeof(*ipv6));

	if (!ipv6 || ipv6->version != 6)
		return EPM_UNREADABLE;
	packet->ipv6 = ipv6;
	packet->attributes |= EPM_IPV6;
	packet->remaining = epm_said_length(ipv6->payload_len);
	packet->protocol = ipv6->nexthdr;
#pragma nounroll
	for (int number = 0; number < EPM_EXTENSION_HEADERS && !epm_is_carried(packet->protocol); number++) {
		enum epm_outcome outcome = epm_read_extension(cursor, packet);

		if (outcome != EPM_READ)
			return outcome;
	}
	return epm_is_carried(packet->protocol) ? EPM_READ : EPM_IGNORED;
}

/* Return bits of enum epm_port_class; `port` as it is in the packet. */
static __always_inline __u32 epm_class_of(const struct epm_options *options, __be16 port)
{
	return options->ports[port >> 5] >> (port & 31) * 2 & 3;
}

static __always_inline int epm_is_served(const struct epm_options *options, __be16 port)
{
	return epm_class_of(options, port) & EPM_PORT_SERVED;
}

static __always_inline int epm_has_endpoint_port(const struct epm_options *options, const struct epm_ports *ports)
{
	return (epm_class_of(options, ports->destination) | epm_class_of(options, ports->source)) & EPM_PORT_ENDPOINT;
}

/* Say whether a TCP packet may be of a follow-up, by its ports, or because it opens a connection. */
static __always_inline int epm_may_be_follow_up(const struct epm_options *options, const struct tcphdr *tcp)
{
	return epm_tcp_flags(tcp) & EPM_TCP_SYN || epm_has_endpoint_port(options, (const struct epm_ports *)tcp);
}

/* Say whether a packet is to or from an endpoint mapper, and mark it in the latter case. */
static __always_inline int epm_is_of_interest(const struct epm_options *options, struct epm_packet *packet)
{
	if (epm_is_served(options, packet->ports->destination))
		return 1;
	if (!epm_is_served(options, packet->ports->source))
		return 0;
	packet->attributes |= EPM_FROM_SERVER;
	return 1;
}

static __always_inline enum epm_outcome epm_read_tcp(struct epm_cursor *cursor, struct epm_packet *packet)
{
	const struct tcphdr *tcp = epm_take(cursor, sizeof(*tcp));
	__u32 header_length;

	if (!tcp)
		return EPM_UNREADABLE;
	packet->ports = (const struct epm_ports *)tcp;
	packet->tcp = tcp;
	header_length = tcp->doff * 4;
	if (header_length < sizeof(*tcp) || !epm_skip(cursor, header_length - sizeof(*tcp)))
		return EPM_BAD_LENGTH;
	packet->remaining -= header_length;
	return packet->remaining < 0 ? EPM_BAD_LENGTH : EPM_SEGMENT;
}

/* A length of 0 means "the rest of the IP packet"; that of a first fragment is the whole datagram's. */
static __always_inline enum epm_outcome epm_read_udp(struct epm_cursor *cursor, struct epm_packet *packet)
{
	const struct udphdr *udp = epm_take(cursor, sizeof(*udp));
	__s64 length;

	if (!udp)
		return EPM_UNREADABLE;
	packet->ports = (const struct epm_ports *)udp;
	packet->attributes |= EPM_UDP;
	packet->remaining -= sizeof(*udp);
	length = udp->len ? __be16_to_cpu(udp->len) - (__s64)sizeof(*udp) : packet->remaining;
	if (packet->remaining < 0 || length < 0)
		return EPM_BAD_LENGTH;
	if (length > packet->remaining)
		return packet->fragment ? EPM_DATAGRAM : EPM_BAD_LENGTH;
	packet->remaining = length;
	return EPM_DATAGRAM;
}

/* Read an ICMP header; `errors` has a bit for each type that is an error, below 32. */
static __always_inline enum epm_outcome epm_read_icmp_header(struct epm_cursor *cursor, struct epm_packet *packet,
							     const void *outer, __u32 errors)
{
	const struct epm_icmp_header *icmp = epm_take(cursor, sizeof(*icmp));

	if (!icmp)
		return EPM_UNREADABLE;
	if (icmp->type > 31 || !(errors >> icmp->type & 1))
		return EPM_IGNORED;
	packet->icmp = icmp;
	packet->outer = outer;
	packet->remaining -= sizeof(*icmp);
	return EPM_READ;
}

/* Read the TCP header which an ICMP error quotes, behind an IP header of `length` bytes. */
static __always_inline enum epm_outcome epm_read_quoted_tcp(struct epm_cursor *cursor, struct epm_packet *packet,
							    __u32 length)
{
	const struct epm_quoted_tcp *quoted = epm_take(cursor, sizeof(*quoted));

	if (!quoted)
		return EPM_UNREADABLE;
	packet->ports = &quoted->ports;
	packet->remaining -= length + sizeof(*quoted);
	return packet->remaining < 0 ? EPM_UNREADABLE : EPM_ICMP_ERROR;
}

static __always_inline enum epm_outcome epm_read_icmp(struct epm_cursor *cursor, struct epm_packet *packet)
{
	const __u32 errors = 1 << EPM_ICMP_UNREACHABLE | 1 << EPM_ICMP_TIME_EXCEEDED;
	enum epm_outcome outcome = epm_read_icmp_header(cursor, packet, packet->ipv4, errors);
	const struct iphdr *quoted;
	__u32 length;

	if (outcome != EPM_READ)
		return outcome;
	quoted = epm_take(cursor, sizeof(*quoted));
	if (!quoted || quoted->version != 4)
		return EPM_UNREADABLE;
	length = quoted->ihl * 4;
	if (length < sizeof(*quoted) || !epm_skip(cursor, length - sizeof(*quoted)))
		return EPM_UNREADABLE;
	if (quoted->protocol != IPPROTO_TCP || quoted->frag_off & __cpu_to_be16(EPM_IPV4_OFFSET))
		return EPM_IGNORED;
	packet->ipv4 = quoted;
	return epm_read_quoted_tcp(cursor, packet, length);
}

/* A quoted packet with extension headers is left alone. */
static __always_inline enum epm_outcome epm_read_icmpv6(struct epm_cursor *cursor, struct epm_packet *packet)
{
	const __u32 errors = 1 << EPM_ICMPV6_UNREACHABLE | 1 << EPM_ICMPV6_TOO_BIG | 1 << EPM_ICMPV6_TIME_EXCEEDED;
	enum epm_outcome outcome = epm_read_icmp_header(cursor, packet, packet->ipv6, errors);
	const struct ipv6hdr *quoted;

	if (outcome != EPM_READ)
		return outcome;
	quoted = epm_take(cursor, sizeof(*quoted));
	if (!quoted || quoted->version != 6)
		return EPM_UNREADABLE;
	if (quoted->nexthdr != IPPROTO_TCP)
		return EPM_IGNORED;
	packet->ipv6 = quoted;
	return epm_read_quoted_tcp(cursor, packet, sizeof(*quoted));
}

/* Read an IP packet with its TCP or UDP header: EPM_SEGMENT, EPM_DATAGRAM, EPM_CARRIER, or why not. */
static __always_inline enum epm_outcome epm_read_network(struct epm_cursor *cursor, __u16 ethertype,
							 struct epm_packet *packet)
{
	enum epm_outcome outcome;

	if (ethertype == ETH_P_IP)
		outcome = epm_read_ipv4(cursor, packet);
	else if (ethertype == ETH_P_IPV6)
		outcome = epm_read_ipv6(cursor, packet);
	else
		return EPM_IGNORED;
	if (outcome != EPM_READ)
		return outcome;
	if (__builtin_expect(packet->protocol == IPPROTO_TCP, 1))
		return epm_read_tcp(cursor, packet);
	if (packet->protocol == IPPROTO_UDP)
		return epm_read_udp(cursor, packet);
	if (EPM_FOLLOW_UP && packet->protocol == IPPROTO_ICMP)
		return packet->attributes & EPM_IPV6 ? EPM_IGNORED : epm_read_icmp(cursor, packet);
	if (EPM_FOLLOW_UP && packet->protocol == IPPROTO_ICMPV6)
		return packet->attributes & EPM_IPV6 ? epm_read_icmpv6(cursor, packet) : EPM_IGNORED;
	return EPM_TUNNELS ? EPM_CARRIER : EPM_IGNORED;
}

/*
 * Read the transport header of a common packet: TCP's, with options, or UDP's, unless that may be a tunnel's. Most
 * packets end with the ports, so these come first.
 */
static __always_inline enum epm_outcome epm_read_common_transport(const struct epm_options *options,
								  struct epm_cursor *cursor, __u8 protocol,
								  const void *header, struct epm_packet *packet)
{
	const struct tcphdr *tcp = header;
	const struct udphdr *udp = header;
	__u32 header_length;
	__s64 length;

	if (!epm_is_transport(protocol) || (EPM_TUNNELS && protocol == IPPROTO_UDP))
		return EPM_IGNORED;
	packet->ports = header;
	if (!epm_is_of_interest(options, packet)) {
		if (!EPM_FOLLOW_UP || protocol != IPPROTO_TCP || !epm_may_be_follow_up(options, tcp))
			return EPM_UNSERVED;
		packet->attributes |= EPM_ENDPOINT;
	}
	if (__builtin_expect(protocol == IPPROTO_TCP, 1)) {
		header_length = tcp->doff * 4;
		packet->remaining -= header_length;
		if (header_length < sizeof(*tcp) || packet->remaining < 0 ||
		    (const __u8 *)header + header_length > cursor->end)
			return EPM_IGNORED;
		cursor->at = (const __u8 *)header + header_length;
		packet->tcp = tcp;
		return EPM_SEGMENT;
	}
	length = __be16_to_cpu(udp->len) - (__s64)sizeof(*udp);
	if (length < 0 || length > packet->remaining - (__s64)sizeof(*udp))
		return EPM_IGNORED;
	cursor->at = (const __u8 *)(udp + 1);
	packet->attributes |= EPM_UDP;
	packet->remaining = length;
	return EPM_DATAGRAM;
}

/*
 * Read the most common packets of all: TCP and UDP over IPv4 without IP options, over IPv6 without extension
 * headers, without VLAN tags, whole and sound. It finds what epm_read_packet() would, and returns EPM_UNSERVED without
 * a port of interest; of any other packet it reads nothing, and returns EPM_IGNORED.
 */
static __always_inline enum epm_outcome epm_read_common(const struct epm_options *options, struct epm_cursor *cursor,
							struct epm_packet *packet)
{
	const struct ethhdr *ethernet = (const void *)cursor->at;
	const struct iphdr *ipv4 = (const void *)(ethernet + 1);
	const struct ipv6hdr *ipv6 = (const void *)(ethernet + 1);

	if ((const __u8 *)(ipv4 + 1) + sizeof(struct tcphdr) > cursor->end)
		return EPM_IGNORED;
	if (__builtin_expect(ethernet->h_proto == __cpu_to_be16(ETH_P_IP), 1)) {
		if (*(const __u8 *)ipv4 != EPM_IPV4_PLAIN ||
		    ipv4->frag_off & __cpu_to_be16(EPM_IPV4_MORE_FRAGMENTS | EPM_IPV4_OFFSET))
			return EPM_IGNORED;
		*packet = (struct epm_packet){
			.ipv4 = ipv4,
			.remaining = __be16_to_cpu(ipv4->tot_len) - (__s64)sizeof(*ipv4),
		};
		return epm_read_common_transport(options, cursor, ipv4->protocol, ipv4 + 1, packet);
	}
	if (ethernet->h_proto != __cpu_to_be16(ETH_P_IPV6) || ipv6->version != 6 ||
	    (const __u8 *)(ipv6 + 1) + sizeof(struct tcphdr) > cursor->end)
		return EPM_IGNORED;
	*packet = (struct epm_packet){
		.ipv6 = ipv6,
		.attributes = EPM_IPV6,
		.remaining = __be16_to_cpu(ipv6->payload_len),
	};
	return epm_read_common_transport(options, cursor, ipv6->nexthdr, ipv6 + 1, packet);
}

/* Read a packet which begins with its IP header, as epm_read_network() does; one of neither version is unreadable. */
static __always_inline enum epm_outcome epm_read_bare(struct epm_cursor *cursor, struct epm_packet *packet)
{
	const __u8 *version = epm_take(cursor, 1);

	if (!version)
		return EPM_UNREADABLE;
	cursor->at = version;
	return epm_read_network(cursor, *version >> 4 == 6 ? ETH_P_IPV6 : ETH_P_IP, packet);
}

/* Read a packet's link layer and its IP packet, as epm_read_network() does. */
static __always_inline enum epm_outcome epm_read_packet(struct epm_cursor *cursor, enum epm_link link, __u32 tags,
							struct epm_packet *packet)
{
	__u16 ethertype;

	*packet = (struct epm_packet){};
	if (link == EPM_LINK_IP)
		return epm_read_bare(cursor, packet);
	ethertype = epm_read_ethernet(cursor, tags);
	return ethertype ? epm_read_network(cursor, ethertype, packet) : EPM_LINK_CUT;
}

#endif
