/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The record: the one definition of what passes between the kernel program and
 * the control plane. inspector/record.py declares the same layout for Python;
 * tests/unit/test_record.py compiles this header and compares every offset,
 * size, type and constant with it.
 *
 * A record describes one packet of an endpoint-mapper conversation: a TCP segment
 * or a UDP datagram. Integers are in the byte order of the machine. Padding is explicit.
 */
#ifndef EPM_RECORD_H
#define EPM_RECORD_H

#include <linux/types.h>

/* Payload bytes which each size class of record can hold. */
#define EPM_COMPACT_PAYLOAD 176
#define EPM_BULK_SMALL_PAYLOAD 1472
#define EPM_BULK_MEDIUM_PAYLOAD 9088
#define EPM_BULK_LARGE_PAYLOAD 65472

/* Interfaces whose packets one running inspector counts apart, and the bits of a hash of their indexes. */
#define EPM_INTERFACES 16
#define EPM_INTERFACE_BITS 8

/* Each port has two bits, of enum epm_port_class: at 2 * (port & 31) of word (port >> 5), read as it is in the packet. */
#define EPM_PORT_WORDS 2048

enum epm_port_class {
	EPM_PORT_SERVED = 1,   /* an endpoint mapper's */
	EPM_PORT_ENDPOINT = 2, /* follow-ups: of an endpoint, at some address */
};

/* Follow-ups: entries of the maps, the lowest port of an endpoint that is noted here, ICMP errors a second and processor. */
#define EPM_SERVERS 4096
#define EPM_ENDPOINTS 16384
#define EPM_FLOWS 16384
#define EPM_LOWEST_ENDPOINT 1024
#define EPM_ICMP_BUDGET 256

/* Tunnels looked into, one within the other; and how many bytes into the frame the packet within may begin. */
#define EPM_TUNNEL_DEPTH 2
#define EPM_TUNNEL_REACH 12288

/* The comments of the layouts below stand in one column: */
/* clang-format off */

/* Bits of epm_record.attributes. */
enum epm_attribute {
	EPM_FROM_SERVER = 1,    /* the source port is the endpoint mapper's */
	EPM_IPV6 = 2,           /* the addresses are IPv6 on the wire */
	EPM_FIRST_FRAGMENT = 4, /* IP fragment: the payload goes on elsewhere */
	EPM_UDP = 8,            /* a UDP datagram: sequence, acknowledgment and flags are 0 */
	EPM_TUNNELLED = 16,     /* struct epm_tunnel stands between record and payload; bulk ring only */
	EPM_ENDPOINT = 32,      /* of a connection to an endpoint, which is the server */
	EPM_ICMP = 64,          /* an ICMP error: flow and sequence are quoted, the payload is struct epm_icmp_error */
};

/* How a packet was carried within another. */
enum epm_tunnel_kind {
	EPM_TUNNEL_IPIP = 1,        /* IPv4 in IPv4, RFC 2003 */
	EPM_TUNNEL_SIX_IN_FOUR = 2, /* IPv6 in IPv4, RFC 4213 */
	EPM_TUNNEL_FOUR_IN_SIX = 3, /* IPv4 in IPv6, RFC 2473 */
	EPM_TUNNEL_SIX_IN_SIX = 4,  /* IPv6 in IPv6, RFC 2473 */
	EPM_TUNNEL_GRE = 5,         /* RFC 2784, RFC 2890 */
	EPM_TUNNEL_VXLAN = 6,       /* RFC 7348 */
	EPM_TUNNEL_GENEVE = 7,      /* RFC 8926 */
	EPM_TUNNEL_TEREDO = 8,      /* RFC 4380 */
};

struct epm_record {
	__u64 time_ns;                 /* since 1970-01-01 UTC */
	__u8 source_address[16];       /* IPv4 as ::ffff:a.b.c.d, RFC 4291 2.5.5.2 */
	__u8 destination_address[16];
	__u32 sequence;                /* of the first payload byte; of SYN in a SYN */
	__u32 acknowledgment;
	__u16 source_port;
	__u16 destination_port;
	__u32 payload_length;          /* TCP or UDP payload bytes on the wire */
	__u16 captured_length;         /* of those, bytes which follow this header */
	__u8 tcp_flags;                /* byte 13 of the TCP header */
	__u8 attributes;               /* enum epm_attribute */
	__u32 interface_index;         /* where the packet was seen */
	__u8 hop_limit;                /* of IP: IPv4's time to live; within a tunnel, of the packet in it */
	__u8 padding[7];               /* zero */
};

/* The tunnel which carried the packet: the outermost, where there were several. */
struct epm_tunnel {
	__u8 source_address[16];       /* as in the record */
	__u8 destination_address[16];
	__u8 kind;                     /* enum epm_tunnel_kind */
	__u8 depth;                    /* tunnels one within the other */
	__u8 padding[6];               /* zero */
};

/* Payload of a record with EPM_ICMP. */
struct epm_icmp_error {
	__u8 reporter[16];             /* who sent the error; as in the record */
	__u8 type;                     /* of ICMP or, with EPM_IPV6, ICMPv6 */
	__u8 code;
	__u8 padding[2];               /* zero */
	__u32 mtu;                     /* of the next link, if the error says so, else 0 */
};

/*
 * Follow-ups: keys and values of the maps. epm_servers: addresses that answered as an endpoint mapper. epm_endpoints:
 * what an answer offered, or a client tried. epm_acknowledged: what a client acknowledged without payload.
 */
struct epm_server {
	__u8 address[16];              /* as in the record */
};

struct epm_endpoint {
	__u8 address[16];
	__u16 port;
	__u8 padding[6];               /* zero */
};

struct epm_noted {
	__u64 time_ns;                 /* when; of the clock of records, within some milliseconds */
};

struct epm_flow {
	__u8 client_address[16];
	__u8 server_address[16];
	__u16 client_port;
	__u16 server_port;
	__u8 padding[4];               /* zero */
};

struct epm_acknowledged {
	__u64 time_ns;                 /* of the highest; as above */
	__u32 acknowledgment;          /* the highest, in sequence order */
	__u32 padding;                 /* zero */
};

/* ICMP errors of one processor in one span of 2^30 ns. */
struct epm_budget {
	__u64 span;
	__u64 used;
};

/* What is counted, per CPU and per interface slot. */
enum epm_counter {
	EPM_PACKETS_TO_SERVER,    /* packets to a port of the endpoint mapper */
	EPM_PACKETS_FROM_SERVER,  /* and from one */
	EPM_MATCHED,              /* of both: with payload, SYN, FIN or RST */
	EPM_SUBMITTED,            /* matched, and now in a ring */
	EPM_LOST_COMPACT_FULL,    /* matched, but the compact ring had no room */
	EPM_LOST_BULK_FULL,       /* matched, but the bulk ring had no room */
	EPM_LOST_COPY,            /* matched, but the payload could not be copied */
	EPM_LATER_FRAGMENTS,      /* TCP or UDP fragments that carry no such header */
	EPM_UNREADABLE_HEADERS,   /* IP, TCP, UDP or tunnel headers cut short or inconsistent */
	EPM_LOST_ICMP_BUDGET,     /* matched, but there were more ICMP errors in that second than EPM_ICMP_BUDGET */
	EPM_ENDPOINT_PACKETS,     /* matched: of a connection to an endpoint */
	EPM_ICMP_ERRORS,          /* matched: errors that quote a packet of an endpoint mapper or an endpoint */
	EPM_SERVERS_NOTED,        /* addresses written into epm_servers */
	EPM_ENDPOINTS_NOTED,      /* endpoints written into epm_endpoints by the program */
	EPM_FLOWS_NOTED,          /* connections written into epm_acknowledged */
	EPM_COUNTERS
};

struct epm_counters {
	__u64 value[EPM_COUNTERS];
};

/*
 * Filled by the control plane before the program is attached. An interface's number stands at the upper bits of its
 * index times the factor, which is chosen so that no two of them meet there.
 */
struct epm_options {
	__u64 ports[EPM_PORT_WORDS];
	__u32 interface_index[EPM_INTERFACES]; /* slot n + 1 counts number n; slot 0 the rest */
	__u32 interface_factor;
	__u32 padding;
	__u8 interface_number[1 << EPM_INTERFACE_BITS];
};

/* The compact ring holds records of one size only, so that they can be read as columns. */
struct epm_compact_record {
	struct epm_record header;
	__u8 payload[EPM_COMPACT_PAYLOAD];
};

/*
 * An entry of a lane of the compact ring. The mark is written last: how often the lane was begun, from 1 on, modulo
 * EPM_DISCARDED, which is added where there is no record after all.
 */
struct epm_compact_entry {
	__u32 mark;
	__u32 padding;
	struct epm_compact_record record;
};

#define EPM_DISCARDED 0x40000000

/*
 * A lane: the compact ring of one processor, which alone fills it. `reserved` is the processor's, and counts all
 * entries that were ever begun; `consumed` is the reader's, and counts those which it gave back. The reader sets
 * `waiting` before it sleeps; the processor clears it and wakes the reader. EPM_LANE_MARGIN entries stay free.
 */
struct epm_lane {
	__u64 reserved;
	__u64 padding[7];
	__u64 consumed;
	__u64 waiting;
	__u64 more_padding[6];
};

/* clang-format on */

#define EPM_LANE_MARGIN 4

_Static_assert(sizeof(struct epm_record) == 72, "the record's header is 72 bytes");
_Static_assert(sizeof(struct epm_tunnel) == 40, "what a tunnel adds to it is 40 bytes");
_Static_assert(sizeof(struct epm_compact_entry) == 256, "entries of the compact ring are 256 bytes");
_Static_assert(sizeof(struct epm_lane) == 128, "the two sides of a lane are in cache lines of their own");

#endif
