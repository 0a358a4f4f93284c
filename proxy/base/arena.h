/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena: memory of one lifetime. Allocations are never freed singly; arena_finish gives everything back at once, after
 * running the registered clean-ups, newest first. The first chunk is a recycled block (base/memory.h), taken
 * at the first allocation; an arena that was never used costs nothing.
 * Not thread-safe. Pointers stay valid until arena_finish.
 */
#ifndef POSTERN_BASE_ARENA_H
#define POSTERN_BASE_ARENA_H

#include <stdarg.h>
#include <stddef.h>

#include "base/compiler.h"
#include "base/span.h"

struct arena_chunk;

/* A clean-up; the record is supplied by the caller (usually inside an arena object) and lives until it has run. */
struct arena_cleanup {
    void (*run)(void *arg);
    void *arg;
    struct arena_cleanup *next;
};

struct arena {
    char *at, *limit;
    struct arena_chunk *chunks;
    struct arena_cleanup *cleanups;
    size_t bytes; /* taken from malloc, for accounting */
    bool grown;   /* beyond its first chunk */
};

void arena_init(struct arena *arena);
/* Runs clean-ups newest first, frees all memory, leaves the arena as after arena_init. */
void arena_finish(struct arena *arena);

/* Aligned for any type. Never NULL. */
MUST_CHECK void *arena_alloc(struct arena *arena, size_t size);
MUST_CHECK void *arena_zalloc(struct arena *arena, size_t size);
#define ARENA_NEW(arena, type)          ((type *)arena_zalloc((arena), sizeof(type)))
#define ARENA_ARRAY(arena, type, count) ((type *)arena_zarray((arena), (count), sizeof(type)))
/* count * size with overflow check, zeroed. */
MUST_CHECK void *arena_zarray(struct arena *arena, size_t count, size_t size);
/* Unaligned bytes: for text. */
MUST_CHECK char *arena_bytes(struct arena *arena, size_t size);
/* A copy; a NUL follows it (not counted), so ret.ptr can be handed to C functions. */
struct span arena_copy(struct arena *arena, struct span s);
/* printf into the arena; a NUL follows. */
struct span arena_format(struct arena *arena, const char *format, ...) PRINTF_LIKE(2, 3);
struct span arena_vformat(struct arena *arena, const char *format, va_list args);
void arena_defer(struct arena *arena, struct arena_cleanup *record, void (*run)(void *arg), void *arg);

#endif
