/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
#include_next <linux/if_ether.h>
