/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What lies in a frame: the headers of each layer as they are on the wire, in network byte order.
 */
#ifndef EPM_FORMATS_H
#define EPM_FORMATS_H

#include <linux/types.h>

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define EPM_BIG16(value) ((__u16)__builtin_bswap16(value))
#define EPM_BIG32(value) ((__u32)__builtin_bswap32(value))
#else
#define EPM_BIG16(value) ((__u16)(value))
#define EPM_BIG32(value) ((__u32)(value))
#endif

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
	EPM_PROTOCOL_IPV4 = 4,
	EPM_PROTOCOL_TCP = 6,
	EPM_PROTOCOL_UDP = 17,
	EPM_PROTOCOL_IPV6 = 41,
	EPM_ROUTING = 43,
	EPM_FRAGMENT = 44,
	EPM_PROTOCOL_GRE = 47,
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

/* How the headers of TCP and UDP begin. */
struct epm_ports {
	__u16 source;
	__u16 destination;
};

/* RFC 9293 section 3.1 */
struct epm_tcp_header {
	struct epm_ports ports;
	__u32 sequence;
	__u32 acknowledgment;
	__u8 data_offset;
	__u8 flags;
	__u16 window;
	__u16 checksum;
	__u16 urgent;
};

/* RFC 768 */
struct epm_udp_header {
	struct epm_ports ports;
	__u16 length;
	__u16 checksum;
};

/* A whole Ethernet frame follows (IEEE's number for transparent Ethernet bridging). */
#define EPM_ETHERTYPE_ETHERNET 0x6558

enum epm_tunnel_port {
	EPM_PORT_TEREDO = 3544,
	EPM_PORT_VXLAN = 4789,
	EPM_PORT_GENEVE = 6081,
};

/* RFC 2784 section 2.1, RFC 2890 section 2: the optional fields are 4 bytes each. */
struct epm_gre_header {
	__u16 flags_and_version;
	__u16 protocol;
};

#define EPM_GRE_CHECKSUM 0x8000
#define EPM_GRE_ROUTING 0x4000
#define EPM_GRE_KEY 0x2000
#define EPM_GRE_SEQUENCE 0x1000
#define EPM_GRE_VERSION 0x0007

/* RFC 7348 section 5 */
struct epm_vxlan_header {
	__u8 flags;
	__u8 reserved[3];
	__u32 network;
};

#define EPM_VXLAN_NETWORK_VALID 0x08

/* RFC 8926 section 3.4: options are counted in words of 4 bytes. */
struct epm_geneve_header {
	__u8 version_and_options;
	__u8 flags;
	__u16 protocol;
	__u32 network;
};

/* RFC 4380 section 5.1.1: two zero bytes, or 0 and 1, where an IPv6 packet has its version. */
struct epm_teredo_indication {
	__u16 kind;
	__u8 identifier_length;
	__u8 value_length;
};

#define EPM_TEREDO_ORIGIN 0
#define EPM_TEREDO_AUTHENTICATION 1
#define EPM_TEREDO_ORIGIN_LENGTH 8
/* The indication's first 4 bytes, a nonce of 8 and the confirmation byte. */
#define EPM_TEREDO_AUTHENTICATION_LENGTH 13

#endif
