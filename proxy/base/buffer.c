/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"

static void release(struct buffer *b)
{
    if (b->cap == MEMORY_BLOCK)
        memory_block_put(b->ptr);
    else
        free(b->ptr);
    *b = (struct buffer){0};
}

static void grow(struct buffer *b, size_t size)
{
    size_t len = buffer_len(b), need;
    if (__builtin_add_overflow(len, size, &need))
        need = SIZE_MAX; /* memory_alloc ends the process */
    size_t cap = MEMORY_BLOCK;
    while (cap < need)
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    /* Consumed bytes made just enough room: a full pipe would be copied at every append if that were all it got. */
    if (cap == b->cap && cap <= SIZE_MAX / 2)
        cap *= 2;
    char *ptr = cap == MEMORY_BLOCK ? memory_block_get() : memory_alloc(cap);
    if (len)
        memcpy(ptr, b->ptr + b->start, len);
    release(b);
    *b = (struct buffer){.ptr = ptr, .start = 0, .end = len, .cap = cap};
}

char *buffer_reserve(struct buffer *b, size_t size)
{
    if (LIKELY(b->cap - b->end >= size && b->ptr))
        return b->ptr + b->end;
    if (b->ptr && b->cap - buffer_len(b) >= size && b->start >= b->cap / 2) {
        size_t len = buffer_len(b);
        memmove(b->ptr, b->ptr + b->start, len);
        b->start = 0;
        b->end = len;
    } else {
        grow(b, size);
    }
    return b->ptr + b->end;
}

void buffer_commit(struct buffer *b, size_t written)
{
    b->end += written;
}

void buffer_append_growing(struct buffer *b, struct span bytes)
{
    if (bytes.len == 0)
        return;
    memcpy(buffer_reserve(b, bytes.len), bytes.ptr, bytes.len);
    b->end += bytes.len;
}

void buffer_consume(struct buffer *b, size_t size)
{
    b->start += size < buffer_len(b) ? size : buffer_len(b);
    if (b->start == b->end && b->ptr)
        release(b);
}

void buffer_splice(struct buffer *b, size_t at, size_t old_len, struct span with)
{
    size_t len = buffer_len(b);
    size_t tail = len - at - old_len;
    if (old_len == 0 && with.len == 0)
        return;
    if (with.len > old_len)
        (void)!buffer_reserve(b, with.len - old_len);
    char *place = b->ptr + b->start + at;
    memmove(place + with.len, place + old_len, tail);
    if (with.len)
        memcpy(place, with.ptr, with.len);
    b->end = b->start + at + with.len + tail;
}

void buffer_format(struct buffer *b, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    char *room = buffer_reserve(b, 128);
    size_t have = b->cap - b->end;
    int len = vsnprintf(room, have, format, args);
    if (len >= 0 && (size_t)len >= have) {
        room = buffer_reserve(b, (size_t)len + 1);
        len = vsnprintf(room, (size_t)len + 1, format, again);
    }
    va_end(again);
    va_end(args);
    if (len > 0)
        b->end += (size_t)len;
}

/* Length of the valid UTF-8 sequence at s, or 0. */
static size_t utf8_sequence(struct span s)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    if (p[0] >= 0xC2 && p[0] <= 0xDF)
        return s.len >= 2 && (p[1] & 0xC0) == 0x80 ? 2 : 0;
    if ((p[0] & 0xF0) == 0xE0) {
        if (s.len < 3 || (p[1] & 0xC0) != 0x80 || (p[2] & 0xC0) != 0x80)
            return 0;
        if ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F))
            return 0;
        return 3;
    }
    if (p[0] >= 0xF0 && p[0] <= 0xF4) {
        if (s.len < 4 || (p[1] & 0xC0) != 0x80 || (p[2] & 0xC0) != 0x80 || (p[3] & 0xC0) != 0x80)
            return 0;
        if ((p[0] == 0xF0 && p[1] < 0x90) || (p[0] == 0xF4 && p[1] > 0x8F))
            return 0;
        return 4;
    }
    return 0;
}

static void append_json_escape(struct buffer *b, unsigned char c)
{
    switch (c) {
    case '"':
        buffer_append(b, SPAN("\\\""));
        break;
    case '\\':
        buffer_append(b, SPAN("\\\\"));
        break;
    case '\n':
        buffer_append(b, SPAN("\\n"));
        break;
    case '\r':
        buffer_append(b, SPAN("\\r"));
        break;
    case '\t':
        buffer_append(b, SPAN("\\t"));
        break;
    default:
        buffer_format(b, "\\u%04x", c);
    }
}

void buffer_append_json(struct buffer *b, struct span s)
{
    size_t plain = 0, i = 0;
    while (i < s.len) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c >= 0x20 && c < 0x7F && c != '"' && c != '\\') {
            i++;
            continue;
        }
        size_t sequence = c >= 0x80 ? utf8_sequence(span_skip(s, i)) : 0;
        if (sequence) {
            i += sequence;
            continue;
        }
        buffer_append(b, span_of(s.ptr + plain, i - plain));
        if (c >= 0x80)
            buffer_append(b, SPAN("\\ufffd"));
        else
            append_json_escape(b, c);
        plain = ++i;
    }
    if (s.len > plain)
        buffer_append(b, span_of(s.ptr + plain, s.len - plain));
}

void buffer_move(struct buffer *to, struct buffer *from)
{
    if (buffer_len(to) == 0) {
        release(to);
        *to = *from;
        *from = (struct buffer){0};
        return;
    }
    buffer_append(to, buffer_span(from));
    release(from);
}

void buffer_finish(struct buffer *b)
{
    release(b);
}

void buffer_wipe(struct buffer *b)
{
    if (b->ptr)
        memory_wipe(b->ptr, b->cap);
    release(b);
}
