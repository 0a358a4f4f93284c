/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What both HTTP/1 fuzz targets do: the bytes go through one reader whole and through another in pieces, and the events
 * must be the same; a head that was accepted must be writable, and read back must say the same framing.
 */
#ifndef POSTERN_TESTS_H1_FUZZ_H
#define POSTERN_TESTS_H1_FUZZ_H

#include <stdlib.h>

#include "base/hash.h"
#include "base/memory.h"
#include "http/h1_reader.h"
#include "http/h1_writer.h"

static inline void must(bool holds)
{
    if (!holds)
        abort();
}

/* Writes an accepted head and reads it again: one message, of the same framing. */
static inline void fuzz_rewrite(enum h1_role role, struct message *m, struct arena *arena)
{
    struct buffer out = {0};
    struct message again = {0};
    struct h1_reader reader;
    struct span authority = m->authority.len ? m->authority : SPAN("h"), body;
    if (role == H1_CLIENT && (m->status < 200 || m->version == HTTP_1_0))
        return;
    enum body_framing framing = m->framing;
    message_remove_hop_by_hop(m);
    fields_remove(&m->fields, FIELD_EXPECT); /* a gateway answers it itself; HTTP/1.0 ignores even unknown ones */
    must(role == H1_SERVER ? h1_write_request(&out, m, authority) : h1_write_response(&out, m, SPAN("")));
    h1_reader_init(&reader, role, &(struct h1_limits){1 << 20, 1 << 20, 1000, 1, 1, 1});
    h1_reader_start(&reader, arena, &again, m->method);
    struct span in = buffer_span(&out);
    must(h1_reader_next(&reader, &in, &body) == H1_HEAD && in.len == 0);
    must(again.framing == framing || (framing == BODY_NONE && again.body_length == 0));
    must(again.body_length == m->body_length || framing != BODY_LENGTH);
    h1_reader_finish(&reader);
    buffer_finish(&out);
}

/* Mixes an event into *digest; joins what only the split decides. */
static inline void fuzz_note(uint64_t *digest, struct h1_reader *r, const struct message *m, enum h1_event event,
                             struct span body)
{
    static const uint8_t key[16] = {1};
    if (event == H1_BODY) {
        for (size_t i = 0; i < body.len; i++)
            *digest = *digest * 31 + (unsigned char)body.ptr[i];
        return;
    }
    *digest = *digest * 1000003 + (uint64_t)event + 256;
    if (event == H1_BAD)
        *digest ^= hash_bytes_keyed(key, span_str(r->reason)) + (uint64_t)r->fault;
    const struct fields *fields = event == H1_END ? &r->trailers : &m->fields;
    for (unsigned i = 0; (event == H1_HEAD || event == H1_END) && i < fields->count; i++)
        *digest =
            *digest * 31 + (hash_bytes_keyed(key, fields->at[i].name) ^ hash_bytes_keyed(key, fields->at[i].value));
}

/* Runs all of `data`, in pieces of up to `piece` bytes (0: whole); the digest of what happened. */
static inline uint64_t fuzz_run(enum h1_role role, enum http_method asked, struct span data, size_t piece)
{
    uint64_t digest = 0;
    struct arena arena;
    struct message message = {0};
    struct h1_reader reader;
    arena_init(&arena);
    h1_reader_init(&reader, role, &h1_limits_default);
    h1_reader_start(&reader, &arena, &message, asked);
    enum h1_event event = H1_MORE;
    while (data.len && event != H1_BAD) {
        struct span part = span_take(data, piece ? piece : data.len), body = {NULL, 0};
        char *copy = memory_alloc(part.len);
        memcpy(copy, part.ptr, part.len);
        struct span in = span_of(copy, part.len);
        data = span_skip(data, part.len);
        while ((event = h1_reader_next(&reader, &in, &body)) != H1_MORE && event != H1_BAD) {
            fuzz_note(&digest, &reader, &message, event, body);
            if (event == H1_HEAD && !piece)
                fuzz_rewrite(role, &message, &arena);
            if (event == H1_END && in.len == 0 && data.len == 0)
                break;
            if (event == H1_END)
                h1_reader_start(&reader, &arena, &message, asked);
        }
        free(copy);
    }
    if (event == H1_MORE)
        event = h1_reader_eof(&reader);
    if (event == H1_BAD || event == H1_MORE)
        fuzz_note(&digest, &reader, &message, event, SPAN(""));
    h1_reader_finish(&reader);
    arena_finish(&arena);
    return digest;
}

#endif
