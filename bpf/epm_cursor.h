/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * A cursor over a frame, and what is read there of a packet. Every access to the bytes goes through epm_take(), so the
 * bounds check stands in one place.
 */
#ifndef EPM_CURSOR_H
#define EPM_CURSOR_H

#include "epm_formats.h"
#include "epm_record.h"

/* Whether tunnels are looked into: a constant, so that the program is no slower where they are not. */
#ifndef EPM_TUNNELS
#define EPM_TUNNELS 0
#endif

/* Whether follow-ups are recorded; a constant for the same reason. */
#ifndef EPM_FOLLOW_UP
#define EPM_FOLLOW_UP 0
#endif

/* What a header, or a whole frame, turned out to be. */
enum epm_outcome {
	EPM_IGNORED,    /* nothing for this program */
	EPM_READ,       /* a header, and the cursor stands behind it */
	EPM_SEGMENT,    /* the headers of a TCP packet, and the cursor stands behind them */
	EPM_DATAGRAM,   /* the same of a UDP packet */
	EPM_CARRIER,    /* the same of an IP packet which carries another packet */
	EPM_ICMP_ERROR, /* an ICMP error which quotes a TCP packet: address and ports are the quoted ones */
	EPM_LATER,      /* a TCP or UDP fragment that carries no such header */
	EPM_UNREADABLE, /* headers cut short or inconsistent */
	EPM_BAD_LENGTH, /* a TCP or UDP header with a false length: its ports are known, if they are of interest */
	EPM_UNSERVED,   /* a TCP or UDP packet without a port of interest */
	EPM_LINK_CUT,   /* Ethernet header or tags cut short: nothing either, if that was all of it */
};

/* What a device's packets begin with. */
enum epm_link {
	EPM_LINK_ETHERNET,
	EPM_LINK_IP, /* the IP header: tunnels, PPP and other devices without a link layer of their own */
};

struct epm_cursor {
	const __u8 *start; /* of the frame */
	const __u8 *at;
	const __u8 *end;
};

/*
 * What was read of a packet. Pointers point into the frame. The verifier must know each bit of the attributes
 * to know which pointers are valid; that of Linux 6.1 forgets them all when an unknown value is or-ed in, so
 * what becomes of fragment headers is kept apart.
 */
struct epm_packet {
	const struct iphdr *ipv4;           /* valid unless attributes has EPM_IPV6 */
	const struct ipv6hdr *ipv6;         /* valid if it has */
	const struct epm_ports *ports;      /* valid in a segment or datagram, and with EPM_BAD_LENGTH */
	const struct tcphdr *tcp;           /* valid in a segment */
	const struct epm_icmp_header *icmp; /* these two are valid in an ICMP error */
	const void *outer;                  /* IP header of the error itself */
	__s64 remaining;                    /* bytes behind the headers so far, by the IP header's length */
	__s64 limit;                        /* within a tunnel: where in the frame the enclosing packet ends */
	__u32 attributes;                   /* of enum epm_attribute, but for the next */
	__u32 fragment;                     /* EPM_FIRST_FRAGMENT or 0 */
	__u8 protocol;                      /* of IP; one that epm_is_carried() */
};

/*
 * `remaining` starts from this where the IP header gives no length, which means "up to the end of the
 * frame": more than headers can take off, so what is left is above EPM_NO_LENGTH / 2.
 */
#define EPM_NO_LENGTH_BIT 40
#define EPM_NO_LENGTH (1LL << EPM_NO_LENGTH_BIT)

/*
 * Return what an IP header's length of so many bytes says. Within tunnels without a branch: on a path of its
 * own EPM_NO_LENGTH would be a constant, so that the verifier knew what comes of every comparison with what
 * is left of it, and would follow each value of that apart. Without tunnels it can afford that, and the
 * branch is faster.
 */
static __always_inline __s64 epm_said_length(__u16 big_endian)
{
	__u64 length = __be16_to_cpu(big_endian);

	if (!EPM_TUNNELS)
		return length ? length : EPM_NO_LENGTH;
	asm volatile("" : "+r"(length));
	return length + ((length - 1) >> 63 << EPM_NO_LENGTH_BIT);
}

/*
 * Return `remaining` unchanged, with one range for the verifier, however many extension headers it was reduced by. The
 * verifier would otherwise follow what comes behind once for each number of headers: with LLVM 19 these were four
 * fifths of all its steps. `remaining` is above -EPM_NO_LENGTH and below twice that, so the mask changes nothing.
 */
static __always_inline __s64 epm_forget_range(__s64 remaining)
{
	__u64 shifted = (__u64)remaining + EPM_NO_LENGTH;

	asm volatile("" : "+r"(shifted));
	return (__s64)(shifted & (4 * EPM_NO_LENGTH - 1)) - EPM_NO_LENGTH;
}

/* Return the next `length` bytes and step over them, or 0 where the frame is shorter. */
static __always_inline const void *epm_take(struct epm_cursor *cursor, __u32 length)
{
	const __u8 *start = cursor->at;

	/* A packet is never at address 0: without this, what is returned would be compared with it again. */
	if (!start)
		__builtin_unreachable();

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

/*
 * Put the cursor where it is already, as a distance from the frame's start. That makes all the ways which
 * lead there one for the verifier, which would follow what comes behind once for each of them. Return 0 at
 * more than EPM_FARTHEST, which EPM_TUNNEL_REACH and what one packet's headers can take never add up to.
 *
 * The compiler may keep the distance on the stack and read it back after the comparison: the verifier of Linux 6.1
 * then knows nothing of it any more. So it is masked where it is used, and asm hides that this changes nothing.
 */
#define EPM_FARTHEST 0x7fff
static __always_inline int epm_settle(struct epm_cursor *cursor)
{
	__u64 distance = cursor->at - cursor->start;

	asm volatile("" : "+r"(distance));
	if (distance > EPM_FARTHEST)
		return 0;
	asm volatile("" : "+r"(distance));
	cursor->at = cursor->start + (distance & EPM_FARTHEST);
	return 1;
}

#endif
