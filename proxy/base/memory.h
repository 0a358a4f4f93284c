/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Allocation that cannot fail: out of memory prints one line and ends the process (memory is bounded by limits, not
 * by failing allocations). Free with free(). memory_block_* recycles fixed-size blocks per thread, for objects
 * that come and go with every request.
 */
#ifndef POSTERN_BASE_MEMORY_H
#define POSTERN_BASE_MEMORY_H

#include <stddef.h>

#include "base/compiler.h"
#include "base/span.h"

/* Uninitialised / zeroed / resized memory, never NULL for size > 0. */
MUST_CHECK void *memory_alloc(size_t size) __attribute__((malloc, alloc_size(1)));
MUST_CHECK void *memory_zalloc(size_t size) __attribute__((malloc, alloc_size(1)));
MUST_CHECK void *memory_realloc(void *old, size_t size);
/* count * size with an overflow check (overflow ends the process like out of memory). */
MUST_CHECK void *memory_array(size_t count, size_t size);
/* A NUL-terminated copy. Caller frees. */
MUST_CHECK char *memory_string(struct span s);
/* Overwrites before free, for secrets; the compiler may not remove it. */
void memory_wipe(void *ptr, size_t size);

/* Size of a recycled block in bytes; an arena's first chunk and small buffers are one block. */
#define MEMORY_BLOCK 4096
/* Free blocks that a thread keeps with their pages; those beyond give their pages back to the kernel at once. */
#define MEMORY_BLOCKS_KEPT 256

MUST_CHECK void *memory_block_get(void);
/* NULL is allowed. */
void memory_block_put(void *block);
/* Leaves this thread's free blocks to other threads: call before a thread ends. */
void memory_blocks_drop(void);

#endif
