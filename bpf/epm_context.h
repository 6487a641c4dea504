/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The packet as its hook presents it: where its bytes are, and how to ask for more of them. All that differs
 * between XDP and tc is here.
 */
#ifndef EPM_CONTEXT_H
#define EPM_CONTEXT_H

#include <linux/bpf.h>

#include "epm_parse.h"

/* How far into a packet headers may reach on tc, where they can lie outside the linear area. */
#define EPM_PULL (EPM_TUNNELS ? 1024 : 256)

enum epm_hook { EPM_HOOK_XDP, EPM_HOOK_TC };

/* The packet as the hook presents it. */
struct epm_context {
	void *of_hook; /* struct xdp_md or struct __sk_buff */
	enum epm_hook hook;
	enum epm_link link;
	const __u8 *data;
	const __u8 *data_end;
	__u32 tags; /* VLAN tags taken off by the device */
};

/* Ask the hook for the packet's place, again where it was asked before. */
static __always_inline void epm_locate(struct epm_context *context)
{
	if (context->hook == EPM_HOOK_XDP) {
		const volatile struct xdp_md *frame = context->of_hook;

		context->data = (const __u8 *)(long)frame->data;
		context->data_end = (const __u8 *)(long)frame->data_end;
	} else {
		const volatile struct __sk_buff *packet = context->of_hook;

		context->data = (const __u8 *)(long)packet->data;
		context->data_end = (const __u8 *)(long)packet->data_end;
	}
}

/* Return the whole packet's length in bytes, also of what lies outside the linear area. */
static __always_inline __u32 epm_frame_length(const struct epm_context *context)
{
	if (context->hook == EPM_HOOK_XDP)
		return bpf_xdp_get_buff_len(context->of_hook);
	return ((struct __sk_buff *)context->of_hook)->len;
}

/* Asked for only when it is needed: it is three loads away. */
static __always_inline __u32 epm_interface_index(const struct epm_context *context)
{
	if (context->hook == EPM_HOOK_XDP)
		return ((struct xdp_md *)context->of_hook)->ingress_ifindex;
	return ((struct __sk_buff *)context->of_hook)->ifindex;
}

/* Copy packet bytes, linear or not; return 0 or a negative error. */
static __always_inline long epm_load(const struct epm_context *context, __u32 offset, void *to, __u32 length)
{
	if (context->hook == EPM_HOOK_XDP)
		return bpf_xdp_load_bytes(context->of_hook, offset, to, length);
	return bpf_skb_load_bytes(context->of_hook, offset, to, length);
}

static __always_inline void epm_start(struct epm_cursor *cursor, const struct epm_context *context)
{
	cursor->start = cursor->at = context->data;
	cursor->end = context->data_end;
}

/*
 * On tc the headers may lie outside the linear area: move them there, which changes no byte of the packet.
 * It can cost a copy, so it is done for those packets only which could not be read otherwise. Return whether
 * there is more to read now.
 */
static __always_inline int epm_pull(struct epm_context *context)
{
	struct __sk_buff *packet = context->of_hook;
	__u32 wanted = packet->len < EPM_PULL ? packet->len : EPM_PULL;

	if (context->data_end - context->data >= wanted || bpf_skb_pull_data(packet, wanted))
		return 0;
	epm_locate(context);
	return 1;
}

#endif
