/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What lies in a frame. The headers of Ethernet, IP, TCP and UDP, and their numbers, are those of the kernel's
 * public headers (linux-libc-dev). Declared here is what these lack. Network byte order throughout.
 */
#ifndef EPM_FORMATS_H
#define EPM_FORMATS_H

#include <asm/byteorder.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

/* IEEE 802.1Q */
struct epm_vlan_tag {
	__be16 control;
	__be16 ethertype;
};

/* RFC 791 section 3.1 */
#define EPM_IPV4_MORE_FRAGMENTS 0x2000
#define EPM_IPV4_OFFSET 0x1fff
/* The first byte of a header without options: version 4, 5 words. */
#define EPM_IPV4_PLAIN 0x45

/*
 * The first 8 bytes of any IPv6 extension header (struct ipv6_opt_hdr is 2 bytes of it); the fragment header (RFC 8200
 * section 4.5) has the offset.
 */
struct epm_extension_header {
	__u8 next_header;
	__u8 length;
	__be16 offset_and_flags;
	__u32 more;
};

#define EPM_IPV6_MORE_FRAGMENTS 0x0001
#define EPM_IPV6_OFFSET 0xfff8

/* How struct tcphdr and struct udphdr begin. */
struct epm_ports {
	__be16 source;
	__be16 destination;
};

#define EPM_TCP_FIN 0x01
#define EPM_TCP_SYN 0x02
#define EPM_TCP_RST 0x04
#define EPM_TCP_ACK 0x10

/* Byte 13 of a TCP header: eight flags, which struct tcphdr has as bit-fields (RFC 9293 section 3.1). */
static __always_inline __u8 epm_tcp_flags(const struct tcphdr *tcp)
{
	return ((const __u8 *)tcp)[13];
}

/* RFC 792, RFC 4443 section 2.1; both versions. linux/icmp.h needs the C library's headers. */
struct epm_icmp_header {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be32 rest; /* next link's MTU in some errors, else unused */
};

#define EPM_ICMP_UNREACHABLE 3
#define EPM_ICMP_FRAGMENTATION_NEEDED 4
#define EPM_ICMP_TIME_EXCEEDED 11
#define EPM_ICMPV6_UNREACHABLE 1
#define EPM_ICMPV6_TOO_BIG 2
#define EPM_ICMPV6_TIME_EXCEEDED 3

/* What an ICMP error quotes of a TCP header at least. */
struct epm_quoted_tcp {
	struct epm_ports ports;
	__be32 sequence;
};

enum epm_tunnel_port {
	EPM_PORT_TEREDO = 3544,
	EPM_PORT_VXLAN = 4789,
	EPM_PORT_GENEVE = 6081,
};

/*
 * RFC 2784 section 2.1, RFC 2890 section 2: the optional fields are 4 bytes each. linux/if_tunnel.h has the flags, but
 * needs the C library's headers.
 */
struct epm_gre_header {
	__be16 flags_and_version;
	__be16 protocol;
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
	__be32 network;
};

#define EPM_VXLAN_NETWORK_VALID 0x08

/* RFC 8926 section 3.4: options are counted in words of 4 bytes. */
struct epm_geneve_header {
	__u8 version_and_options;
	__u8 flags;
	__be16 protocol;
	__be32 network;
};

/* RFC 4380 section 5.1.1: two zero bytes, or 0 and 1, where an IPv6 packet has its version. */
struct epm_teredo_indication {
	__be16 kind;
	__u8 identifier_length;
	__u8 value_length;
};

#define EPM_TEREDO_ORIGIN 0
#define EPM_TEREDO_AUTHENTICATION 1
#define EPM_TEREDO_ORIGIN_LENGTH 8
/* The indication's first 4 bytes, a nonce of 8 and the confirmation byte. */
#define EPM_TEREDO_AUTHENTICATION_LENGTH 13

#endif
