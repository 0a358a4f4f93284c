/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buffer: a growable run of bytes with a read end and a write end, always contiguous.
 *
 *     ptr        start            end          cap
 *      | consumed  | content ...   | free       |
 *
 * Holds no memory while empty (buffer_consume of the last byte gives it back), so idle connections cost nothing.
 * Up to MEMORY_BLOCK it uses recycled blocks, above that malloc, doubling. Bounds are the owner's business: check
 * buffer_len before appending. Zero-initialised is a valid empty buffer.
 */
#ifndef POSTERN_BASE_BUFFER_H
#define POSTERN_BASE_BUFFER_H

#include "base/compiler.h"
#include "base/span.h"

struct buffer {
    char *ptr;
    size_t start, end, cap;
};

static inline size_t buffer_len(const struct buffer *b)
{
    return b->end - b->start;
}

/* The content; valid until the buffer is next changed. */
static inline struct span buffer_span(const struct buffer *b)
{
    return (struct span){.ptr = b->ptr ? b->ptr + b->start : NULL, .len = b->end - b->start};
}

/* buffer_append where there is no room yet. */
void buffer_append_growing(struct buffer *b, struct span bytes);
static inline void buffer_append(struct buffer *b, struct span bytes)
{
    if (LIKELY(b->cap - b->end >= bytes.len && b->ptr && bytes.len)) {
        memcpy(b->ptr + b->end, bytes.ptr, bytes.len);
        b->end += bytes.len;
        return;
    }
    buffer_append_growing(b, bytes);
}
/* Room for at least `size` more bytes; write there, then buffer_commit what was written. */
MUST_CHECK char *buffer_reserve(struct buffer *b, size_t size);
void buffer_commit(struct buffer *b, size_t written);
/* Drops `size` bytes (at most the length) from the front. */
void buffer_consume(struct buffer *b, size_t size);
/* Replaces `old_len` bytes at offset `at` of the content by `with`. */
void buffer_splice(struct buffer *b, size_t at, size_t old_len, struct span with);
/* printf at the end. */
void buffer_format(struct buffer *b, const char *format, ...) PRINTF_LIKE(2, 3);
/* Appends `s` as the inside of a JSON string (quotes, backslash and control bytes escaped; bad UTF-8 becomes U+FFFD).
 */
void buffer_append_json(struct buffer *b, struct span s);
/* Moves the content of `from` to the end of `to`, without copying when `to` is empty. `from` is empty after. */
void buffer_move(struct buffer *to, struct buffer *from);
/* Gives the memory back; the buffer is empty and usable afterwards. */
void buffer_finish(struct buffer *b);
/* The same, overwriting the bytes first: for secrets. */
void buffer_wipe(struct buffer *b);

#endif
