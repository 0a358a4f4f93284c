/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define OWN_BLOCKS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define OWN_BLOCKS 0
#endif
#endif
#ifndef OWN_BLOCKS
#define OWN_BLOCKS 1
#endif

/* Blocks come from slabs of this many; a slab is never given back, its free blocks' pages are. */
#define SLAB_BLOCKS 64

/*
 * A thread's free blocks: hot[0..hot_count) are as they were left, cold[0..cold_count) have lost their pages to the
 * kernel. Pointers are kept apart from the blocks, since a link inside a block would keep its page.
 */
struct free_blocks {
    void *hot[MEMORY_BLOCKS_KEPT];
    unsigned hot_count;
    void **cold;
    size_t cold_count, cold_cap;
};

static _Thread_local struct free_blocks blocks;

/*
 * Cold blocks that no thread keeps: of threads that have ended, and of one that is given more than it takes, as by a
 * reload, whose memory one thread takes and another gives back. Taken and given by the slab, so the lock is rare.
 */
static struct {
    pthread_mutex_t lock;
    void **blocks;
    size_t count, cap;
} orphans = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* More cold blocks than this are another thread's to use. */
#define COLD_KEPT ((size_t)8 * SLAB_BLOCKS)

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

static void push_cold(void *block)
{
    if (blocks.cold_count == blocks.cold_cap) {
        blocks.cold_cap = blocks.cold_cap ? blocks.cold_cap * 2 : SLAB_BLOCKS;
        blocks.cold = memory_realloc(blocks.cold, blocks.cold_cap * sizeof(void *));
    }
    blocks.cold[blocks.cold_count++] = block;
}

/* Gives the last `count` cold blocks away. */
static void orphan_cold(size_t count)
{
    pthread_mutex_lock(&orphans.lock);
    if (orphans.cap - orphans.count < count) {
        orphans.cap = orphans.count + count + SLAB_BLOCKS;
        orphans.blocks = memory_realloc(orphans.blocks, orphans.cap * sizeof(void *));
    }
    for (; count > 0; count--)
        orphans.blocks[orphans.count++] = blocks.cold[--blocks.cold_count];
    pthread_mutex_unlock(&orphans.lock);
}

static void adopt_orphans(void)
{
    pthread_mutex_lock(&orphans.lock);
    for (unsigned i = 0; i < SLAB_BLOCKS && orphans.count > 0; i++)
        push_cold(orphans.blocks[--orphans.count]);
    pthread_mutex_unlock(&orphans.lock);
}

static void *from_slab(void)
{
    adopt_orphans();
    if (blocks.cold_count > 0)
        return blocks.cold[--blocks.cold_count];
    char *slab =
        mmap(NULL, (size_t)SLAB_BLOCKS * MEMORY_BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (slab == MAP_FAILED)
        out_of_memory();
    for (unsigned i = SLAB_BLOCKS - 1; i > 0; i--)
        push_cold(slab + (size_t)i * MEMORY_BLOCK);
    return slab;
}

/* Under AddressSanitizer blocks come from malloc, so that use after free is seen. */
void *memory_block_get(void)
{
    if (!OWN_BLOCKS)
        return memory_alloc(MEMORY_BLOCK);
    if (LIKELY(blocks.hot_count > 0))
        return blocks.hot[--blocks.hot_count];
    return blocks.cold_count > 0 ? blocks.cold[--blocks.cold_count] : from_slab();
}

/* A burst has passed: its memory goes back at once. Where pages are larger than a block the call fails, and the page
 * stays. */
static void chill(void *block)
{
    (void)madvise(block, MEMORY_BLOCK, MADV_DONTNEED);
    push_cold(block);
}

void memory_block_put(void *block)
{
    if (!block)
        return;
    if (!OWN_BLOCKS) {
        free(block);
    } else if (LIKELY(blocks.hot_count < MEMORY_BLOCKS_KEPT)) {
        blocks.hot[blocks.hot_count++] = block;
    } else {
        chill(block);
        if (UNLIKELY(blocks.cold_count > COLD_KEPT))
            orphan_cold(COLD_KEPT / 2);
    }
}

void memory_blocks_drop(void)
{
    while (blocks.hot_count > 0)
        chill(blocks.hot[--blocks.hot_count]);
    if (blocks.cold_count > 0)
        orphan_cold(blocks.cold_count);
    free(blocks.cold);
    blocks.cold = NULL;
    blocks.cold_cap = 0;
}
