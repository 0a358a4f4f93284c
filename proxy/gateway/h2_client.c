/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/h2_client.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "gateway/attempt.h"
#include "gateway/exchange.h"
#include "gateway/h2_keepalive.h"
#include "gateway/pool_internal.h"
#include "gateway/upstream_conn.h"
#include "gateway/worker.h"
#include "http/h2_session.h"

/* Most bytes framed ahead of the kernel. */
#define FILL_MAX ((size_t)256 * 1024)

struct h2_client {
    struct upstream_conn *conn;
    struct h2_session *session;
    struct list streams; /* struct client_stream.link */
    unsigned open;
    struct task settle; /* after streams have ended: who waits is served, or the connection closes */
    struct h2_keepalive keepalive;
    uint64_t idle_since; /* loop time at which the last stream ended */
    uint64_t inputs;     /* reads that brought something */
    bool going_away;
    enum fault lost_why; /* the connection is going: why */
    const char *lost;    /* and in words; NULL before */
    char reason[64];     /* words for one stream's end */
};

/*
 * One attempt's stream. Its answer's head lies in the exchange's arena: when the attempt leaves, the session's stream
 * is either reset in the same call or has had its peer's last frame, so that nothing touches that arena any more.
 */
struct client_stream {
    struct stream stream;
    struct list link;
    struct h2_client *client;
    struct h2_stream *h2; /* NULL before the head is sent and when over */
    struct task failing;  /* reports that the request could not be submitted */
    size_t owed;          /* window bytes withheld while more is not wanted */
    uint64_t inputs;      /* client->inputs when the request was submitted */
    bool wants;
    bool request_done;
    bool answer_done; /* the answer's head was all of it */
    bool over;
};

static struct client_stream *of(struct stream *stream)
{
    return CONTAINER_OF(stream, struct client_stream, stream);
}

static struct loop *loop_of(const struct h2_client *client)
{
    return client->conn->pool->worker->loop;
}

/* The connection's timer looks at `when` at the latest. */
static void arm(struct h2_client *client, uint64_t when)
{
    struct timer *timer = &client->conn->timer;
    if (!client->conn->closed && (!timer_is_set(timer) || timer->deadline > when))
        timer_set(loop_of(client), timer, when);
}

static uint64_t keepalive_period(const struct h2_client *client)
{
    return client->conn->pool->worker->snapshot->config->timeouts.keepalive;
}

static void touch(struct h2_client *client)
{
    wire_touch(&client->conn->wire);
}

/* ---- one stream's life ---- */

/* The session's stream is over, or is reset next. What follows waits for the run queue: the session still counts it. */
static void over(struct client_stream *s)
{
    struct h2_client *client = s->client;
    s->h2 = NULL;
    if (s->over)
        return;
    s->over = true;
    list_remove(&s->link);
    task_cancel(&s->failing);
    client->open--;
    loop_bury(loop_of(client), s, free);
    if (client->conn->closed)
        return;
    if (client->open == 0) {
        client->idle_since = loop_now(loop_of(client));
        arm(client, client->idle_since + client->conn->pool->idle_timeout);
    }
    loop_post(loop_of(client), &client->settle);
}

/* Ends it from our side: the peer may stop working on it. */
static void abandon(struct client_stream *s)
{
    struct h2_stream *h2 = s->h2;
    over(s);
    if (!h2)
        return;
    h2_stream_reset(h2, H2_CANCEL);
    touch(s->client);
}

static void give_back(struct client_stream *s)
{
    if (!s->h2 || !s->wants || s->owed == 0)
        return;
    h2_stream_consume(s->h2, s->owed);
    s->owed = 0;
}

static void could_not_open(struct task *task)
{
    struct client_stream *s = CONTAINER_OF(task, struct client_stream, failing);
    over(s);
    stream_arrived_failure(&s->stream, FAULT_UPSTREAM_CLOSED, "the connection takes no new streams", true);
}

/* ---- the request: stream ops ---- */

static void op_head(struct stream *stream, struct message *head, bool end)
{
    struct client_stream *s = of(stream);
    struct h2_client *client = s->client;
    struct arena *arena = &stream->attempt->exchange->arena;
    if (!end && head->framing == BODY_LENGTH && !fields_find(&head->fields, FIELD_CONTENT_LENGTH))
        fields_add_id(&head->fields, arena, FIELD_CONTENT_LENGTH,
                      arena_format(arena, "%llu", (unsigned long long)head->body_length));
    s->request_done = end;
    s->inputs = client->inputs;
    s->h2 = h2_submit_request(client->session, head, end, arena, s);
    if (s->h2)
        touch(client);
    else
        loop_post(loop_of(client), &s->failing);
}

static void op_body(struct stream *stream, struct span bytes)
{
    struct client_stream *s = of(stream);
    if (!s->h2 || bytes.len == 0)
        return;
    h2_stream_write(s->h2, bytes);
    stream_queue_grew(stream, h2_stream_queued(s->h2));
    touch(s->client);
}

static void op_end(struct stream *stream, const struct fields *trailers)
{
    struct client_stream *s = of(stream);
    s->request_done = true;
    if (!s->h2)
        return;
    h2_stream_finish(s->h2, trailers);
    touch(s->client);
}

static void op_want(struct stream *stream, bool more)
{
    struct client_stream *s = of(stream);
    if (s->wants == more)
        return;
    s->wants = more;
    if (!more || s->owed == 0)
        return;
    give_back(s);
    touch(s->client);
}

/* The rest of an unwanted answer costs more than a reset, which leaves the connection as it is. */
static void op_reset(struct stream *stream, enum fault why)
{
    struct client_stream *s = of(stream);
    stream->attempt = NULL;
    stream->congested = false;
    bool ends_itself = why == FAULT_NONE && s->answer_done && s->request_done && h2_stream_queued(s->h2) == 0;
    if (!ends_itself)
        abandon(s);
}

static const struct stream_ops client_ops = {
    .name = "h2", .head = op_head, .body = op_body, .end = op_end, .want = op_want, .reset = op_reset};

/* ---- the answer: session events ---- */

static void on_head(void *owner, struct h2_stream *h2, struct message *message)
{
    (void)owner;
    struct client_stream *s = h2_stream_user(h2);
    struct attempt *attempt = s->stream.attempt;
    if (!attempt || message->status < 200)
        return;
    attempt->response = *message;
    attempt->response.method = attempt->exchange->request.method;
    s->answer_done = message->framing == BODY_NONE;
    stream_arrived_head(&s->stream, &attempt->response, s->answer_done);
}

static void on_body(void *owner, struct h2_stream *h2, struct span bytes)
{
    (void)owner;
    struct client_stream *s = h2_stream_user(h2);
    s->owed += bytes.len;
    stream_arrived_body(&s->stream, bytes);
    give_back(s);
}

static void on_end(void *owner, struct h2_stream *h2, const struct fields *trailers)
{
    (void)owner;
    struct client_stream *s = h2_stream_user(h2);
    bool unsent = !s->request_done || h2_stream_queued(h2) > 0;
    stream_arrived_end(&s->stream, trailers);
    s->stream.attempt = NULL;
    s->stream.congested = false;
    if (unsent && s->h2) /* answered early: the rest of the request is of no use */
        abandon(s);
}

static const char *reset_reason(struct h2_client *client, uint32_t code)
{
    (void)snprintf(client->reason, sizeof(client->reason), "stream reset by the target: %s", h2_code_name(code));
    return client->reason;
}

/*
 * A connection that has been used before and dies without a byte since the request was most likely closed before that
 * came, as with HTTP/1.
 */
static bool was_untouched(const struct client_stream *s)
{
    return s->stream.reused && s->inputs == s->client->inputs;
}

static void on_reset(void *owner, struct h2_stream *h2, uint32_t code, bool retry_safe)
{
    struct h2_client *client = owner;
    struct client_stream *s = h2_stream_user(h2);
    over(s);
    if (client->lost)
        stream_arrived_failure(&s->stream, client->lost_why, client->lost, retry_safe || was_untouched(s));
    else
        stream_arrived_failure(&s->stream, code == H2_PROTOCOL_ERROR ? FAULT_UPSTREAM_PROTOCOL : FAULT_UPSTREAM_CLOSED,
                               reset_reason(client, code), retry_safe);
}

static void on_done(void *owner, struct h2_stream *h2)
{
    (void)owner;
    over(h2_stream_user(h2));
}

static void on_window(void *owner, struct h2_stream *h2)
{
    (void)owner;
    struct client_stream *s = h2_stream_user(h2);
    stream_queue_shrank(&s->stream, h2_stream_queued(h2));
}

static void on_goaway(void *owner, uint32_t last_id, uint32_t code)
{
    struct h2_client *client = owner;
    log_write(LOG_DEBUG, "h2", "%.*s: GOAWAY after stream %u: %s", SPAN_ARG(client->conn->pool->name), last_id,
              h2_code_name(code));
    if (client->going_away)
        return;
    client->going_away = true;
    upstream_conn_going_away(client->conn);
    loop_post(loop_of(client), &client->settle);
}

/* The limit of streams may have grown. */
static void on_settings(void *owner)
{
    struct h2_client *client = owner;
    loop_post(loop_of(client), &client->settle);
}

static const struct h2_events client_events = {.on_head = on_head,
                                               .on_body = on_body,
                                               .on_end = on_end,
                                               .on_reset = on_reset,
                                               .on_done = on_done,
                                               .on_window = on_window,
                                               .on_goaway = on_goaway,
                                               .on_settings = on_settings};

/* ---- the connection ---- */

/* Nobody is on it. */
static void close_politely(struct h2_client *client)
{
    h2_session_goaway(client->session, H2_NO_ERROR);
    (void)wire_flush(&client->conn->wire);
    upstream_conn_close(client->conn);
}

static void settle(struct task *task)
{
    struct h2_client *client = CONTAINER_OF(task, struct h2_client, settle);
    struct upstream_conn *conn = client->conn;
    if (conn->closed)
        return;
    if (client->open == 0 && (client->going_away || conn->pool->retired))
        close_politely(client);
    else
        upstream_conn_stream_ended(conn);
}

static void fill(struct wire *wire)
{
    struct upstream_conn *conn = CONTAINER_OF(wire, struct upstream_conn, wire);
    struct h2_session *session = conn->h2->session;
    size_t pending = wire_pending(wire);
    if (pending < FILL_MAX)
        (void)h2_session_send(session, &wire->out, FILL_MAX - pending);
    struct h2_fault fault = h2_session_fault(session);
    if (fault.name)
        upstream_conn_fail_later(conn, FAULT_UPSTREAM_PROTOCOL, fault.name);
}

static void sent(struct wire *wire)
{
    struct upstream_conn *conn = CONTAINER_OF(wire, struct upstream_conn, wire);
    if (!wire->blocked && h2_session_wants_write(conn->h2->session))
        wire_touch(wire);
}

void h2_client_input(struct h2_client *client, struct span bytes)
{
    struct upstream_conn *conn = client->conn;
    uint64_t now = loop_now(loop_of(client));
    h2_keepalive_heard(&client->keepalive, now);
    client->inputs++;
    if (h2_session_receive(client->session, bytes, now) == H2_FAULT) {
        (void)wire_flush(&conn->wire);
        upstream_conn_fail(conn, FAULT_UPSTREAM_PROTOCOL, h2_session_fault(client->session).name);
        return;
    }
    if (h2_session_wants_write(client->session))
        touch(client);
}

void h2_client_tick(struct h2_client *client)
{
    struct upstream_conn *conn = client->conn;
    uint64_t now = loop_now(loop_of(client)), next = UINT64_MAX;
    if (client->open == 0) {
        next = client->idle_since + conn->pool->idle_timeout;
        if (now >= next) {
            close_politely(client);
            return;
        }
    } else if (!h2_keepalive_look(&client->keepalive, client->session, now, keepalive_period(client), &next)) {
        upstream_conn_fail(conn, FAULT_UPSTREAM_CLOSED, "keepalive PING unanswered");
        return;
    }
    if (h2_session_wants_write(client->session))
        touch(client);
    timer_set(loop_of(client), &conn->timer, next);
}

/* ---- life ---- */

struct h2_client *h2_client_create(struct upstream_conn *conn)
{
    struct h2_client *client = memory_zalloc(sizeof(*client));
    struct h2_limits limits;
    h2_limits_client(&limits);
    limits.queue_high = STREAM_HIGH_MARK;
    limits.queue_low = STREAM_LOW_MARK;
    client->conn = conn;
    client->settle.run = settle;
    list_init(&client->streams);
    client->session = h2_session_create(H2_CLIENT, &limits, &client_events, client);
    client->idle_since = loop_now(loop_of(client));
    arm(client, client->idle_since + conn->pool->idle_timeout);
    conn->wire.fill = fill;
    conn->wire.sent = sent;
    touch(client);
    return client;
}

void h2_client_destroy(struct h2_client *client)
{
    if (!client)
        return;
    h2_session_destroy(client->session);
    free(client);
}

bool h2_client_can_open(const struct h2_client *client)
{
    return !client->going_away && h2_session_can_open(client->session);
}

struct stream *h2_client_start(struct h2_client *client, struct attempt *attempt)
{
    struct client_stream *s = memory_zalloc(sizeof(*s));
    s->stream.ops = &client_ops;
    s->stream.role = STREAM_CLIENT;
    s->stream.attempt = attempt;
    s->client = client;
    s->failing.run = could_not_open;
    s->wants = true;
    list_append(&client->streams, &s->link);
    if (client->open++ == 0) {
        uint64_t now = loop_now(loop_of(client));
        h2_keepalive_begin(&client->keepalive, now);
        arm(client, now + keepalive_period(client));
    }
    return &s->stream;
}

void h2_client_finish(struct h2_client *client, enum fault why, const char *reason)
{
    client->conn->wire.fill = NULL;
    client->conn->wire.sent = NULL;
    client->lost_why = why;
    client->lost = reason;
    h2_session_lost(client->session);
    while (!list_empty(&client->streams)) { /* those that the session never took */
        struct client_stream *s = LIST_FIRST(&client->streams, struct client_stream, link);
        over(s);
        stream_arrived_failure(&s->stream, why, reason, true);
    }
    task_cancel(&client->settle);
}
