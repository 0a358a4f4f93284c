/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define KEEP_BLOCKS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KEEP_BLOCKS 0
#endif
#endif
#ifndef KEEP_BLOCKS
#define KEEP_BLOCKS 1
#endif

static _Thread_local void *kept[MEMORY_BLOCKS_KEPT];
static _Thread_local unsigned kept_count;

static NO_RETURN void out_of_memory(void)
{
    static const char line[] = "postern: out of memory\n";
    if (write(STDERR_FILENO, line, sizeof(line) - 1) < 0)
        _exit(70);
    abort();
}

void *memory_alloc(size_t size)
{
    void *p = malloc(size ? size : 1);
    if (UNLIKELY(!p))
        out_of_memory();
    return p;
}

void *memory_zalloc(size_t size)
{
    void *p = calloc(1, size ? size : 1);
    if (UNLIKELY(!p))
        out_of_memory();
    return p;
}

void *memory_realloc(void *old, size_t size)
{
    void *p = realloc(old, size ? size : 1);
    if (UNLIKELY(!p))
        out_of_memory();
    return p;
}

void *memory_array(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        out_of_memory();
    return memory_zalloc(bytes);
}

char *memory_string(struct span s)
{
    char *copy = memory_alloc(s.len + 1);
    if (s.len)
        memcpy(copy, s.ptr, s.len);
    copy[s.len] = '\0';
    return copy;
}

void memory_wipe(void *ptr, size_t size)
{
    if (size)
        explicit_bzero(ptr, size);
}

/* Under AddressSanitizer blocks are not recycled, so that use after free is seen. */
void *memory_block_get(void)
{
    if (KEEP_BLOCKS && kept_count > 0)
        return kept[--kept_count];
    return memory_alloc(MEMORY_BLOCK);
}

void memory_block_put(void *block)
{
    if (!block)
        return;
    if (KEEP_BLOCKS && kept_count < MEMORY_BLOCKS_KEPT)
        kept[kept_count++] = block;
    else
        free(block);
}

void memory_blocks_drop(void)
{
    while (kept_count > 0)
        free(kept[--kept_count]);
}
