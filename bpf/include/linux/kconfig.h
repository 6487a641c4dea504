/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Included by bcc before anything else: the types of the kernel's tree which bcc's own helpers use. */
#ifndef EPM_STANDIN_KCONFIG_H
#define EPM_STANDIN_KCONFIG_H

#include <linux/types.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s8 s8;
typedef __s16 s16;
typedef __s32 s32;
typedef __s64 s64;
typedef __SIZE_TYPE__ size_t;
typedef __UINTPTR_TYPE__ uintptr_t;
typedef _Bool bool;

/* The C library's package defines it as a mere hint. */
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))

#endif
