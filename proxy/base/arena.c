/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"

struct arena_chunk {
    struct arena_chunk *next;
    size_t size;
};

#define CHUNK_HEAD sizeof(struct arena_chunk)
/* A request larger than this gets a chunk of its own and leaves the current one in use. */
#define BIG (MEMORY_BLOCK / 4)
/* The second chunk is small: most arenas that outgrow the first one do so by little. */
#define SECOND 1024

void arena_init(struct arena *arena)
{
    *arena = (struct arena){0};
}

void arena_finish(struct arena *arena)
{
    while (arena->cleanups) {
        struct arena_cleanup *cleanup = arena->cleanups;
        arena->cleanups = cleanup->next;
        cleanup->run(cleanup->arg);
    }
    while (arena->chunks) {
        struct arena_chunk *chunk = arena->chunks;
        arena->chunks = chunk->next;
        if (chunk->size == MEMORY_BLOCK)
            memory_block_put(chunk);
        else
            free(chunk);
    }
    arena_init(arena);
}

static char *own_chunk(struct arena *arena, size_t size)
{
    size_t whole;
    if (__builtin_add_overflow(size, CHUNK_HEAD, &whole))
        whole = SIZE_MAX;
    struct arena_chunk *chunk = memory_alloc(whole);
    chunk->size = whole;
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    arena->bytes += whole;
    return (char *)chunk + CHUNK_HEAD;
}

static void use_chunk(struct arena *arena, struct arena_chunk *chunk, size_t size)
{
    chunk->size = size;
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    arena->bytes += size;
    arena->at = (char *)chunk + CHUNK_HEAD;
    arena->limit = (char *)chunk + size;
}

/* Makes room for `size`, at most BIG. */
static void next_chunk(struct arena *arena, size_t size)
{
    bool second = arena->chunks && !arena->grown && size <= SECOND - CHUNK_HEAD;
    arena->grown = arena->chunks != NULL;
    if (second)
        use_chunk(arena, memory_alloc(SECOND), SECOND);
    else
        use_chunk(arena, memory_block_get(), MEMORY_BLOCK);
}

char *arena_bytes(struct arena *arena, size_t size)
{
    if (LIKELY((size_t)(arena->limit - arena->at) >= size && arena->at)) {
        char *at = arena->at;
        arena->at += size;
        return at;
    }
    if (size > BIG)
        /* +8 keeps the size from ever equalling a block's, which tells the two kinds apart. */
        return own_chunk(arena, size + CHUNK_HEAD == MEMORY_BLOCK ? size + 8 : size);
    next_chunk(arena, size);
    char *at = arena->at;
    arena->at += size;
    return at;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    size_t pad = (size_t)(0 - (uintptr_t)arena->at) & (alignof(max_align_t) - 1);
    if (LIKELY(arena->at && (size_t)(arena->limit - arena->at) >= size + pad && size <= MEMORY_BLOCK)) {
        char *at = arena->at + pad;
        arena->at = at + size;
        return at;
    }
    /* A fresh chunk begins aligned. */
    if (size > BIG)
        return own_chunk(arena, size + CHUNK_HEAD == MEMORY_BLOCK ? size + 8 : size);
    next_chunk(arena, size);
    char *at = arena->at;
    arena->at += size;
    return at;
}

void *arena_zalloc(struct arena *arena, size_t size)
{
    return memset(arena_alloc(arena, size), 0, size);
}

void *arena_zarray(struct arena *arena, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        bytes = SIZE_MAX / 2; /* memory_alloc refuses it */
    return arena_zalloc(arena, bytes);
}

struct span arena_copy(struct arena *arena, struct span s)
{
    char *copy = arena_bytes(arena, s.len + 1);
    if (s.len)
        memcpy(copy, s.ptr, s.len);
    copy[s.len] = '\0';
    return span_of(copy, s.len);
}

struct span arena_vformat(struct arena *arena, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    if (len < 0)
        len = 0;
    char *text = arena_bytes(arena, (size_t)len + 1);
    if (vsnprintf(text, (size_t)len + 1, format, again) < 0)
        text[0] = '\0';
    va_end(again);
    return span_of(text, (size_t)len);
}

struct span arena_format(struct arena *arena, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct span text = arena_vformat(arena, format, args);
    va_end(args);
    return text;
}

void arena_defer(struct arena *arena, struct arena_cleanup *record, void (*run)(void *arg), void *arg)
{
    *record = (struct arena_cleanup){.run = run, .arg = arg, .next = arena->cleanups};
    arena->cleanups = record;
}
