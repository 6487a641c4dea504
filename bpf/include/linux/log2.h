/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Asked for by bcc; nothing of it is used here. */
#ifndef EPM_STANDIN_LINUX_LOG2_H
#define EPM_STANDIN_LINUX_LOG2_H
#endif
