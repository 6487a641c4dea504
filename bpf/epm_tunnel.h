/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * From a packet to the packet which it carries: IP in IP, GRE, VXLAN, Geneve, Teredo.
 *
 * Pure, like epm_parse.h, whose readers it uses for the packet within. inspector/wire/tunnels.py
 * reads the same headers by the same rules.
 */
#ifndef EPM_TUNNEL_H
#define EPM_TUNNEL_H

#include "epm_parse.h"

/* Return what kind of tunnel an IP protocol makes. */
static __always_inline __u8 epm_carrier_kind(const struct epm_packet *packet)
{
	if (packet->protocol == IPPROTO_GRE)
		return EPM_TUNNEL_GRE;
	if (packet->protocol == IPPROTO_IPIP)
		return packet->attributes & EPM_IPV6 ? EPM_TUNNEL_FOUR_IN_SIX : EPM_TUNNEL_IPIP;
	return packet->attributes & EPM_IPV6 ? EPM_TUNNEL_SIX_IN_SIX : EPM_TUNNEL_SIX_IN_FOUR;
}

/* Return what kind of tunnel a UDP datagram's ports make, 0 if they make none. */
static __always_inline __u8 epm_port_kind(const struct epm_packet *packet)
{
	const __u16 destination = __be16_to_cpu(packet->ports->destination);

	if (destination == EPM_PORT_VXLAN)
		return EPM_TUNNEL_VXLAN;
	if (destination == EPM_PORT_GENEVE)
		return EPM_TUNNEL_GENEVE;
	if (destination == EPM_PORT_TEREDO || __be16_to_cpu(packet->ports->source) == EPM_PORT_TEREDO)
		return EPM_TUNNEL_TEREDO;
	return 0;
}

/* Step over a GRE header. Source routes are long gone; another version is PPTP's. */
static __always_inline enum epm_outcome epm_read_gre(struct epm_cursor *cursor, __u16 *ethertype)
{
	const struct epm_gre_header *gre = epm_take(cursor, sizeof(*gre));
	__u32 flags, fields;

	if (!gre)
		return EPM_UNREADABLE;
	flags = __be16_to_cpu(gre->flags_and_version);
	if (flags & (EPM_GRE_ROUTING | EPM_GRE_VERSION))
		return EPM_IGNORED;
	*ethertype = __be16_to_cpu(gre->protocol);
	fields = (flags / EPM_GRE_CHECKSUM & 1) + (flags / EPM_GRE_KEY & 1) + (flags / EPM_GRE_SEQUENCE & 1);
	return epm_skip(cursor, fields * 4) ? EPM_READ : EPM_UNREADABLE;
}

static __always_inline enum epm_outcome epm_read_vxlan(struct epm_cursor *cursor, __u16 *ethertype)
{
	const struct epm_vxlan_header *vxlan = epm_take(cursor, sizeof(*vxlan));

	if (!vxlan)
		return EPM_UNREADABLE;
	*ethertype = ETH_P_TEB;
	return vxlan->flags & EPM_VXLAN_NETWORK_VALID ? EPM_READ : EPM_IGNORED;
}

static __always_inline enum epm_outcome epm_read_geneve(struct epm_cursor *cursor, __u16 *ethertype)
{
	const struct epm_geneve_header *geneve = epm_take(cursor, sizeof(*geneve));

	if (!geneve)
		return EPM_UNREADABLE;
	if (geneve->version_and_options >> 6)
		return EPM_IGNORED;
	*ethertype = __be16_to_cpu(geneve->protocol);
	return epm_skip(cursor, (geneve->version_and_options & 63) * 4) ? EPM_READ : EPM_UNREADABLE;
}

/* Step over an authentication and an origin indication, in this order. */
static __always_inline enum epm_outcome epm_read_teredo(struct epm_cursor *cursor, __u16 *ethertype)
{
	*ethertype = ETH_P_IPV6;
#pragma unroll
	for (int kind = EPM_TEREDO_AUTHENTICATION; kind >= EPM_TEREDO_ORIGIN; kind--) {
		const struct epm_teredo_indication *indication = epm_take(cursor, sizeof(*indication));
		__u32 length;

		if (!indication)
			return EPM_UNREADABLE;
		cursor->at = (const __u8 *)indication;
		if (__be16_to_cpu(indication->kind) != kind)
			continue;
		length = EPM_TEREDO_ORIGIN_LENGTH;
		if (kind == EPM_TEREDO_AUTHENTICATION)
			length = EPM_TEREDO_AUTHENTICATION_LENGTH + indication->identifier_length +
				 indication->value_length;
		if (!epm_skip(cursor, length))
			return EPM_UNREADABLE;
	}
	return EPM_READ;
}

/* Step over a tunnel's own header, and say what follows it. */
static __always_inline enum epm_outcome epm_read_tunnel_header(struct epm_cursor *cursor, __u8 kind, __u16 *ethertype)
{
	if (kind == EPM_TUNNEL_GRE)
		return epm_read_gre(cursor, ethertype);
	if (kind == EPM_TUNNEL_VXLAN)
		return epm_read_vxlan(cursor, ethertype);
	if (kind == EPM_TUNNEL_GENEVE)
		return epm_read_geneve(cursor, ethertype);
	if (kind == EPM_TUNNEL_TEREDO)
		return epm_read_teredo(cursor, ethertype);
	*ethertype = kind == EPM_TUNNEL_IPIP || kind == EPM_TUNNEL_FOUR_IN_SIX ? ETH_P_IP : ETH_P_IPV6;
	return EPM_READ;
}

/*
 * Read the packet which a tunnel of this kind carries, from the tunnel's own header on; outcomes as of
 * epm_read_network(). What lies behind packet->limit, as Ethernet's padding does, belongs to no packet.
 * packet->fragment passes on to it.
 */
static __always_inline enum epm_outcome epm_read_carried(struct epm_cursor *cursor, __u8 kind,
							 struct epm_packet *packet)
{
	enum epm_outcome outcome;
	__u16 ethertype;

	outcome = epm_read_tunnel_header(cursor, kind, &ethertype);
	if (outcome != EPM_READ)
		return outcome;
	if (ethertype == ETH_P_TEB)
		ethertype = epm_read_ethernet(cursor, 0);
	if (!ethertype || !epm_settle(cursor) || cursor->at - cursor->start > EPM_TUNNEL_REACH ||
	    cursor->at - cursor->start > packet->limit)
		return EPM_UNREADABLE;
	outcome = epm_read_network(cursor, ethertype, packet);
	if ((outcome == EPM_SEGMENT || outcome == EPM_DATAGRAM) && cursor->at - cursor->start > packet->limit)
		return EPM_UNREADABLE;
	return outcome;
}

#endif
