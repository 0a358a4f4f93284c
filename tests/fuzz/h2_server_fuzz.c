/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An HTTP/2 session fed with anything. The first byte says how: bit 0 puts a good preface and SETTINGS in front, bit 1
 * takes the client role with two requests under way, bits 2-3 what the owner does with a request (answer at the end,
 * answer at the head, reset at the head, hold all), bits 4-6 the size of the pieces. Checked: every stream is told its
 * end or was ended by the owner, what is sent is whole frames, and nothing grows beyond its limit.
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "http/h2_session.h"

enum manner { ANSWER_AT_END, ANSWER_AT_HEAD, RESET_AT_HEAD, HOLD };

struct owner {
    enum manner manner;
    unsigned live;
};

struct held {
    struct arena arena;
};

static const uint8_t hello[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";

static struct held *hold(struct owner *owner)
{
    struct held *held = calloc(1, sizeof(*held));
    if (!held)
        abort();
    arena_init(&held->arena);
    owner->live++;
    return held;
}

static void let_go(struct owner *owner, struct h2_stream *stream)
{
    struct held *held = h2_stream_user(stream);
    arena_finish(&held->arena);
    free(held);
    owner->live--;
}

static void answer(struct h2_stream *stream, unsigned status)
{
    static const char body[20000];
    struct message m = {.status = status};
    h2_submit_interim(stream, 100);
    h2_submit_response(stream, &m, false);
    h2_stream_write(stream, span_of(body, sizeof(body)));
    h2_stream_finish(stream, NULL);
}

static struct arena *on_open(void *arg, struct h2_stream *stream)
{
    struct held *held = hold(arg);
    h2_stream_set_user(stream, held);
    return &held->arena;
}

static void reset(struct owner *owner, struct h2_stream *stream)
{
    struct held *held = h2_stream_user(stream);
    h2_stream_reset(stream, H2_CANCEL);
    arena_finish(&held->arena);
    free(held);
    owner->live--;
}

/* Nothing that could end a line may get through: it would split a head when sent over HTTP/1.1. */
static void check_text(struct span text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] == '\r' || text.ptr[i] == '\n' || text.ptr[i] == '\0')
            abort();
}

static void on_head(void *arg, struct h2_stream *stream, struct message *m)
{
    struct owner *owner = arg;
    check_text(m->target);
    check_text(m->authority);
    check_text(m->method_text);
    for (unsigned i = 0; i < m->fields.count; i++) {
        check_text(m->fields.at[i].name);
        check_text(m->fields.at[i].value);
    }
    if (!m->status && (m->target.len == 0 || m->authority.len == 0))
        abort();
    if (owner->manner == ANSWER_AT_HEAD && !m->status)
        answer(stream, 200);
    else if (owner->manner == RESET_AT_HEAD)
        reset(owner, stream);
}

static void on_refuse(void *arg, struct h2_stream *stream, struct message *m, enum fault fault)
{
    (void)arg, (void)m;
    answer(stream, fault_entry(fault)->status);
}

static void on_body(void *arg, struct h2_stream *stream, struct span bytes)
{
    struct owner *owner = arg;
    if (owner->manner != HOLD)
        h2_stream_consume(stream, bytes.len);
}

static void on_end(void *arg, struct h2_stream *stream, const struct fields *trailers)
{
    struct owner *owner = arg;
    (void)trailers;
    if (owner->manner == ANSWER_AT_END)
        answer(stream, 200);
}

static void on_reset(void *arg, struct h2_stream *stream, uint32_t code, bool retry_safe)
{
    (void)code, (void)retry_safe;
    let_go(arg, stream);
}

static void on_done(void *arg, struct h2_stream *stream)
{
    let_go(arg, stream);
}

static const struct h2_events events = {
    .on_open = on_open,
    .on_head = on_head,
    .on_refuse = on_refuse,
    .on_body = on_body,
    .on_end = on_end,
    .on_reset = on_reset,
    .on_done = on_done,
};

static void request(struct h2_session *session, struct owner *owner)
{
    struct held *held = hold(owner);
    struct message m = {
        .method_text = SPAN("POST"), .scheme = SPAN("http"), .authority = SPAN("a"), .target = SPAN("/")};
    struct h2_stream *stream = h2_submit_request(session, &m, false, &held->arena, held);
    if (!stream)
        abort();
    h2_stream_write(stream, SPAN("{}"));
    h2_stream_finish(stream, NULL);
}

static void check_frames(struct span sent)
{
    while (sent.len) {
        const uint8_t *p = (const uint8_t *)sent.ptr;
        if (sent.len < 9)
            abort();
        size_t size = 9 + ((size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2]);
        if (size > sent.len)
            abort();
        sent = span_skip(sent, size);
    }
}

static void feed(struct h2_session *session, struct span in, size_t piece, bool client)
{
    uint64_t now = 1000000;
    bool preface = client;
    while (in.len) {
        struct span some = span_take(in, piece);
        in = span_skip(in, some.len);
        struct buffer out = {0};
        (void)!h2_session_receive(session, some, now);
        h2_session_send(session, &out, 1 << 20);
        check_frames(span_skip(buffer_span(&out), preface ? 24 : 0));
        preface = false;
        buffer_finish(&out);
        now += 1000;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    bool client = data[0] & 2;
    struct owner owner = {.manner = (enum manner)(data[0] >> 2 & 3)};
    size_t piece = (size_t[]){1, 2, 9, 10, 100, 1000, 16384, 1 << 20}[data[0] >> 4 & 7];
    struct h2_limits limits;
    if (client)
        h2_limits_client(&limits);
    else
        h2_limits_server(&limits);
    limits.header_bytes = 4096;
    struct h2_session *session = h2_session_create(client ? H2_CLIENT : H2_SERVER, &limits, &events, &owner);
    if (client) {
        request(session, &owner);
        request(session, &owner);
    }
    size_t skip = client ? 24 : 0;
    if (data[0] & 1)
        feed(session, span_of((const char *)hello + skip, sizeof(hello) - 1 - skip), piece, client);
    feed(session, span_of((const char *)data + 1, size - 1), piece, client && !(data[0] & 1));
    if (h2_session_streams(session) != owner.live || owner.live > 400)
        abort();
    h2_session_lost(session);
    h2_session_destroy(session);
    if (owner.live)
        abort();
    return 0;
}
