/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the HTTP/2 tests: frames made by hand, and an owner that writes down each event as one word, so that a test
 * compares one line of text. Header blocks are literals without indexing or Huffman coding (RFC 7541 6.2.2).
 */
#ifndef POSTERN_TESTS_H2_BYTES_H
#define POSTERN_TESTS_H2_BYTES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "http/h2_session.h"

enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, PADDED = 8 };

#define PREFACE SPAN("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

static inline void put_u32(struct buffer *b, uint32_t value)
{
    char bytes[4] = {(char)(value >> 24), (char)(value >> 16), (char)(value >> 8), (char)value};
    buffer_append(b, span_of(bytes, 4));
}

static inline void put_frame(struct buffer *b, unsigned type, unsigned flags, uint32_t id, struct span payload)
{
    char head[5] = {(char)(payload.len >> 16), (char)(payload.len >> 8), (char)payload.len, (char)type, (char)flags};
    buffer_append(b, span_of(head, 5));
    put_u32(b, id);
    buffer_append(b, payload);
}

/* A frame whose payload is one or two numbers. */
static inline void put_frame_u32(struct buffer *b, unsigned type, uint32_t id, uint32_t value)
{
    struct buffer payload = {0};
    put_u32(&payload, value);
    put_frame(b, type, 0, id, buffer_span(&payload));
    buffer_finish(&payload);
}

/* An integer of RFC 7541 5.1 with a prefix of 7 bits. */
static inline void put_length(struct buffer *b, size_t length)
{
    char byte = (char)(length < 127 ? length : 127);
    buffer_append(b, span_of(&byte, 1));
    if (length < 127)
        return;
    for (length -= 127; length >= 128; length >>= 7) {
        byte = (char)(length | 128);
        buffer_append(b, span_of(&byte, 1));
    }
    byte = (char)length;
    buffer_append(b, span_of(&byte, 1));
}

static inline void put_field(struct buffer *block, struct span name, struct span value)
{
    buffer_append(block, span_of("\0", 1));
    put_length(block, name.len);
    buffer_append(block, name);
    put_length(block, value.len);
    buffer_append(block, value);
}

/* "name=value|name=value": '=' and '|' cannot occur in what is written so. */
static inline void put_fields(struct buffer *block, const char *text)
{
    struct span rest = span_str(text), part;
    while (rest.len && span_split(&rest, '|', &part)) {
        size_t at = span_find(part, '=');
        put_field(block, span_take(part, at), span_skip(part, at + 1));
    }
}

static inline void put_headers(struct buffer *b, unsigned flags, uint32_t id, const char *text)
{
    struct buffer block = {0};
    put_fields(&block, text);
    put_frame(b, HEADERS, flags | END_HEADERS, id, buffer_span(&block));
    buffer_finish(&block);
}

#define GET_ROOT  ":method=GET|:scheme=http|:path=/|:authority=a.example"
#define POST_ROOT ":method=POST|:scheme=http|:path=/|:authority=a.example"

/* Everything a client says first. */
static inline void put_hello(struct buffer *b)
{
    buffer_append(b, PREFACE);
    put_frame(b, SETTINGS, 0, 0, (struct span){0});
}

struct peer {
    struct h2_session *session;
    struct buffer in;  /* to be received */
    struct buffer out; /* sent */
    struct buffer log; /* the events */
    struct h2_stream *last;
    struct h2_stream *opened[4]; /* streams 1, 3, 5, 7 */
    size_t body;                 /* bytes of all bodies */
    bool quiet;                  /* bodies are counted only */
    bool refuse_all;             /* on_open gives no arena */
    bool hold;                   /* do not consume what on_body brings */
    unsigned live;               /* arenas */
    uint64_t now;
};

struct held {
    struct arena arena;
};

static inline struct held *hold_new(struct peer *peer)
{
    struct held *held = calloc(1, sizeof(*held));
    arena_init(&held->arena);
    peer->live++;
    return held;
}

static inline void hold_free(struct peer *peer, struct h2_stream *stream)
{
    struct held *held = h2_stream_user(stream);
    arena_finish(&held->arena);
    free(held);
    peer->live--;
    if (peer->last == stream)
        peer->last = NULL;
}

/* What an owner does that wants no more of a stream. */
static inline void drop_stream(struct peer *peer, struct h2_stream *stream, uint32_t code)
{
    struct held *held = h2_stream_user(stream);
    h2_stream_reset(stream, code);
    arena_finish(&held->arena);
    free(held);
    peer->live--;
    peer->last = NULL;
}

static inline struct arena *note_open(void *owner, struct h2_stream *stream)
{
    struct peer *peer = owner;
    if (peer->refuse_all) {
        buffer_format(&peer->log, "refused:%u ", h2_stream_id(stream));
        return NULL;
    }
    struct held *held = hold_new(peer);
    h2_stream_set_user(stream, held);
    peer->last = stream;
    if (h2_stream_id(stream) < 2 * ARRAY_LEN(peer->opened))
        peer->opened[h2_stream_id(stream) / 2] = stream;
    return &held->arena;
}

static inline void note_head(void *owner, struct h2_stream *stream, struct message *m)
{
    struct peer *peer = owner;
    if (m->status)
        buffer_format(&peer->log, "head:%u:%u ", h2_stream_id(stream), m->status);
    else
        buffer_format(&peer->log, "head:%u:%.*s:%.*s%s ", h2_stream_id(stream), SPAN_ARG(m->method_text),
                      SPAN_ARG(m->target), m->expect_continue ? ":expect" : "");
}

static inline void note_refuse(void *owner, struct h2_stream *stream, struct message *m, enum fault fault)
{
    struct peer *peer = owner;
    (void)m;
    buffer_format(&peer->log, "refuse:%u:%u ", h2_stream_id(stream), fault_entry(fault)->status);
}

static inline void note_body(void *owner, struct h2_stream *stream, struct span bytes)
{
    struct peer *peer = owner;
    peer->body += bytes.len;
    if (!peer->quiet)
        buffer_format(&peer->log, "body:%u:%zu ", h2_stream_id(stream), bytes.len);
    if (!peer->hold)
        h2_stream_consume(stream, bytes.len);
}

static inline void note_end(void *owner, struct h2_stream *stream, const struct fields *trailers)
{
    struct peer *peer = owner;
    buffer_format(&peer->log, "end:%u%s ", h2_stream_id(stream), trailers ? ":trailers" : "");
}

static inline void note_reset(void *owner, struct h2_stream *stream, uint32_t code, bool retry_safe)
{
    struct peer *peer = owner;
    buffer_format(&peer->log, "reset:%u:%s%s ", h2_stream_id(stream), h2_code_name(code), retry_safe ? ":safe" : "");
    hold_free(peer, stream);
}

static inline void note_done(void *owner, struct h2_stream *stream)
{
    struct peer *peer = owner;
    buffer_format(&peer->log, "done:%u ", h2_stream_id(stream));
    hold_free(peer, stream);
}

static inline void note_window(void *owner, struct h2_stream *stream)
{
    struct peer *peer = owner;
    buffer_format(&peer->log, "window:%u ", h2_stream_id(stream));
}

static inline void note_goaway(void *owner, uint32_t last_id, uint32_t code)
{
    struct peer *peer = owner;
    buffer_format(&peer->log, "goaway:%u:%s ", last_id, h2_code_name(code));
}

static inline void note_pong(void *owner, uint64_t round_trip)
{
    struct peer *peer = owner;
    buffer_format(&peer->log, "pong:%u ", (unsigned)round_trip);
}

static const struct h2_events note_events = {
    .on_open = note_open,
    .on_head = note_head,
    .on_refuse = note_refuse,
    .on_body = note_body,
    .on_end = note_end,
    .on_reset = note_reset,
    .on_done = note_done,
    .on_window = note_window,
    .on_goaway = note_goaway,
    .on_pong = note_pong,
};

static inline void peer_start(struct peer *peer, enum h2_role role, const struct h2_limits *limits)
{
    *peer = (struct peer){.now = 1000000};
    struct h2_limits standard;
    if (role == H2_SERVER)
        h2_limits_server(&standard);
    else
        h2_limits_client(&standard);
    peer->session = h2_session_create(role, limits ? limits : &standard, &note_events, peer);
}

/* Ends the connection and checks that every stream was told. */
static inline void peer_stop(struct peer *peer)
{
    h2_session_lost(peer->session);
    assert_int_equal(h2_session_streams(peer->session), 0);
    assert_int_equal(h2_session_queued(peer->session), 0);
    assert_int_equal(peer->live, 0);
    h2_session_destroy(peer->session);
    buffer_finish(&peer->in);
    buffer_finish(&peer->out);
    buffer_finish(&peer->log);
}

static inline enum h2_status peer_receive(struct peer *peer)
{
    enum h2_status status = h2_session_receive(peer->session, buffer_span(&peer->in), peer->now);
    buffer_finish(&peer->in);
    return status;
}

/* Receives what stands in `in`, then sends; the fault's name, or NULL. */
static inline const char *peer_turn(struct peer *peer)
{
    (void)!peer_receive(peer);
    h2_session_send(peer->session, &peer->out, 1024 * 1024);
    return h2_session_fault(peer->session).name;
}

static inline void expect_log(struct peer *peer, const char *want)
{
    struct span have = buffer_span(&peer->log);
    char *text = calloc(1, have.len + 1);
    if (have.len)
        memcpy(text, have.ptr, have.len);
    assert_string_equal(text, want);
    free(text);
    buffer_finish(&peer->log);
}

struct sent {
    size_t length;
    unsigned type, flags;
    uint32_t id, first; /* the payload's first four bytes */
    struct span payload;
};

static inline uint32_t get_u32(const char *at)
{
    const unsigned char *p = (const unsigned char *)at;
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Splits off the next frame of what was sent. */
static inline bool next_sent(struct span *rest, struct sent *ret)
{
    if (rest->len < 9)
        return false;
    ret->length = get_u32(rest->ptr) >> 8;
    ret->type = (unsigned char)rest->ptr[3];
    ret->flags = (unsigned char)rest->ptr[4];
    ret->id = get_u32(rest->ptr + 5);
    ret->payload = span_take(span_skip(*rest, 9), ret->length);
    assert_int_equal(ret->payload.len, ret->length);
    ret->first = ret->length >= 4 ? get_u32(ret->payload.ptr) : 0;
    *rest = span_skip(*rest, 9 + ret->length);
    return true;
}

/* How many frames of a type on a stream were sent since; *ret is the last. */
static inline unsigned count_sent(const struct peer *peer, unsigned type, uint32_t id, struct sent *ret)
{
    struct span rest = buffer_span(&peer->out);
    struct sent frame;
    unsigned count = 0;
    while (next_sent(&rest, &frame))
        if (frame.type == type && frame.id == id) {
            count++;
            if (ret)
                *ret = frame;
        }
    return count;
}

/* The code of the RST_STREAM sent for the stream, or of GOAWAY for stream 0; -1 when there is none. */
static inline int sent_code(const struct peer *peer, uint32_t id)
{
    struct sent frame;
    if (!count_sent(peer, id ? RST_STREAM : GOAWAY, id, &frame))
        return -1;
    return (int)(id ? frame.first : get_u32(frame.payload.ptr + 4));
}

static inline void respond(struct h2_stream *stream, unsigned status, bool end)
{
    struct message m = {.status = status};
    h2_submit_response(stream, &m, end);
}

#endif
