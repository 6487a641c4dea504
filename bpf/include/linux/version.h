/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* bcc writes the version of the kernel it compiles for into the program; packet programs run on any. */
#ifndef EPM_STANDIN_LINUX_VERSION_H
#define EPM_STANDIN_LINUX_VERSION_H
#define LINUX_VERSION_CODE 0
#define KERNEL_VERSION(major, minor, patch) (((major) << 16) + ((minor) << 8) + (patch))
#endif
