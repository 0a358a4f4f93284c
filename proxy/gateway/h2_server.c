/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/h2_server.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "gateway/client_conn.h"
#include "gateway/exchange.h"
#include "gateway/h2_keepalive.h"
#include "gateway/h2_server_limits.h"
#include "gateway/metrics.h"
#include "gateway/snapshot.h"
#include "gateway/worker.h"
#include "http/h2_session.h"

/* Most bytes framed ahead of the kernel: what a slow client makes us hold beyond the streams' own queues. */
#define FILL_MAX ((size_t)256 * 1024)
/* A client that answers no PING gets the second GOAWAY of a graceful end this long after the first. */
#define DRAIN_ROUND_TRIP (1 * CLOCK_SECOND)

struct h2_server {
    struct client_conn *conn;
    struct h2_session *session;
    struct list streams; /* struct server_stream.link */
    unsigned open;
    struct task settle; /* ends the connection from the run queue, when it is over or faulty */
    struct h2_keepalive keepalive;
    uint64_t draining_since; /* 0: not draining */
    bool goaway;             /* no new stream is taken any more */
    const char *lost;        /* why streams end, once the connection is going */
};

/*
 * Lies in its own arena, beside the heads that the session reads and the exchange goes on using. Session and exchange
 * end in either order; the second to leave frees it.
 */
struct server_stream {
    struct stream stream;
    struct arena arena;
    struct arena_cleanup cleanup; /* in the exchange's arena */
    unsigned users;
    struct list link;
    struct h2_server *server;
    struct h2_stream *h2; /* NULL: over */
    uint64_t since;       /* loop time of the request's last progress */
    size_t owed;          /* window bytes withheld while more is not wanted */
    uint64_t written;     /* bytes of the answer's body */
    uint64_t sent;        /* of them framed, when the timer last looked */
    uint64_t sent_at;     /* loop time when that number last changed, as the timer sees it */
    bool wants;
    bool request_done, response_begun, response_done;
};

static struct server_stream *of(struct stream *stream)
{
    return CONTAINER_OF(stream, struct server_stream, stream);
}

static struct loop *loop_of(const struct h2_server *server)
{
    return server->conn->worker->loop;
}

static const struct config_timeouts *timeouts(const struct h2_server *server)
{
    return &server->conn->worker->snapshot->config->timeouts;
}

static void settle_later(struct h2_server *server)
{
    if (!server->conn->closed)
        loop_post(loop_of(server), &server->settle);
}

/* The connection's timer looks at `when` at the latest. */
static void arm(struct h2_server *server, uint64_t when)
{
    struct timer *timer = &server->conn->timer;
    if (!server->conn->closed && (!timer_is_set(timer) || timer->deadline > when))
        timer_set(loop_of(server), timer, when);
}

/* ---- one stream's life ---- */

static void leave(void *object)
{
    struct server_stream *s = object;
    if (--s->users > 0)
        return;
    struct arena arena = s->arena;
    arena_finish(&arena);
}

/* The session's stream is over, or is reset next. */
static void over(struct server_stream *s)
{
    struct h2_server *server = s->server;
    s->h2 = NULL;
    list_remove(&s->link);
    server->open--;
    loop_bury(loop_of(server), s, leave);
    if (server->open > 0)
        return;
    client_conn_wait(server->conn, CLIENT_IDLE);
    if (server->goaway)
        settle_later(server);
}

/* Ends it from our side. */
static void abandon(struct server_stream *s, uint32_t code)
{
    struct h2_stream *h2 = s->h2;
    over(s);
    h2_stream_reset(h2, code);
    wire_touch(&s->server->conn->wire);
}

static void give_back(struct server_stream *s)
{
    if (!s->h2 || !s->wants || s->owed == 0)
        return;
    h2_stream_consume(s->h2, s->owed);
    s->owed = 0;
}

/* ---- the request: session events ---- */

static const struct stream_ops server_ops;

static struct arena *on_open(void *owner, struct h2_stream *h2)
{
    struct h2_server *server = owner;
    struct client_conn *conn = server->conn;
    struct arena arena;
    arena_init(&arena);
    struct server_stream *s = ARENA_NEW(&arena, struct server_stream);
    s->arena = arena;
    s->stream.ops = &server_ops;
    s->stream.role = STREAM_SERVER;
    s->stream.peer_certificate = transport_tls_peer(server->conn->wire.transport);
    s->server = server;
    s->h2 = h2;
    s->wants = true;
    s->since = s->sent_at = loop_now(loop_of(server));
    s->users = 2;
    h2_stream_set_user(h2, s);
    list_append(&server->streams, &s->link);
    if (server->open++ == 0) {
        client_conn_wait(conn, CLIENT_ANSWER);
        h2_keepalive_begin(&server->keepalive, s->since);
        arm(server, s->since + timeouts(server)->header);
    }
    struct exchange *exchange = exchange_create(conn->worker, worker_listener_snapshot(conn->listener),
                                                conn->listener->use, &s->stream, conn->peer_text);
    arena_defer(&exchange->arena, &s->cleanup, leave, s);
    return &s->arena;
}

static void on_head(void *owner, struct h2_stream *h2, struct message *message)
{
    (void)owner;
    struct server_stream *s = h2_stream_user(h2);
    struct exchange *exchange = s->stream.exchange;
    exchange->request = *message;
    stream_arrived_head(&s->stream, &exchange->request, message->framing == BODY_NONE);
}

static void on_refuse(void *owner, struct h2_stream *h2, struct message *message, enum fault fault)
{
    (void)owner;
    struct server_stream *s = h2_stream_user(h2);
    struct exchange *exchange = s->stream.exchange;
    exchange->request = *message;
    exchange_request_bad(exchange, fault, "");
}

static void on_body(void *owner, struct h2_stream *h2, struct span bytes)
{
    struct h2_server *server = owner;
    struct server_stream *s = h2_stream_user(h2);
    s->since = loop_now(loop_of(server));
    s->owed += bytes.len;
    stream_arrived_body(&s->stream, bytes);
    give_back(s);
}

static void on_end(void *owner, struct h2_stream *h2, const struct fields *trailers)
{
    (void)owner;
    struct server_stream *s = h2_stream_user(h2);
    s->request_done = true;
    stream_arrived_end(&s->stream, trailers);
}

static void on_reset(void *owner, struct h2_stream *h2, uint32_t code, bool retry_safe)
{
    (void)retry_safe;
    struct h2_server *server = owner;
    struct server_stream *s = h2_stream_user(h2);
    struct exchange *exchange = s->stream.exchange;
    over(s);
    if (!exchange)
        return;
    if (exchange->state == EXCHANGE_OPEN) { /* no head ever came: there is nothing to tell */
        log_write(LOG_DEBUG, "h2", "%.*s: stream ended before its head: %s", SPAN_ARG(server->conn->peer_text),
                  h2_code_name(code));
        exchange_discard(exchange);
        return;
    }
    bool malformed = code == H2_PROTOCOL_ERROR && !s->request_done;
    stream_arrived_failure(&s->stream, malformed ? FAULT_MALFORMED_REQUEST : FAULT_CLIENT_GONE,
                           server->lost ? server->lost
                           : malformed  ? "stream broke the protocol"
                                        : "stream reset by the client",
                           false);
}

static void on_done(void *owner, struct h2_stream *h2)
{
    struct h2_server *server = owner;
    server->conn->used = true;
    over(h2_stream_user(h2));
}

static void on_window(void *owner, struct h2_stream *h2)
{
    (void)owner;
    struct server_stream *s = h2_stream_user(h2);
    stream_queue_shrank(&s->stream, h2_stream_queued(h2));
}

/* The preface is complete: from here on the connection may be idle. */
static void on_settings(void *owner)
{
    struct h2_server *server = owner;
    if (server->open == 0)
        client_conn_wait(server->conn, CLIENT_IDLE);
}

static void go_away(struct h2_server *server)
{
    if (server->goaway)
        return;
    server->goaway = true;
    h2_session_goaway(server->session, H2_NO_ERROR);
    wire_touch(&server->conn->wire);
    settle_later(server);
}

static void on_pong(void *owner, uint64_t round_trip)
{
    (void)round_trip;
    struct h2_server *server = owner;
    if (server->draining_since)
        go_away(server);
}

static const struct h2_events server_events = {.on_open = on_open,
                                               .on_head = on_head,
                                               .on_refuse = on_refuse,
                                               .on_body = on_body,
                                               .on_end = on_end,
                                               .on_reset = on_reset,
                                               .on_done = on_done,
                                               .on_window = on_window,
                                               .on_settings = on_settings,
                                               .on_pong = on_pong};

/* ---- the answer: stream ops ---- */

static void add_fields(struct server_stream *s, struct message *head)
{
    struct arena *arena = &s->stream.exchange->arena;
    if (!fields_find(&head->fields, FIELD_DATE))
        fields_add_id(&head->fields, arena, FIELD_DATE, worker_date(s->server->conn->worker));
    if (head->framing == BODY_LENGTH && head->status != 204 && !fields_find(&head->fields, FIELD_CONTENT_LENGTH))
        fields_add_id(&head->fields, arena, FIELD_CONTENT_LENGTH,
                      arena_format(arena, "%llu", (unsigned long long)head->body_length));
}

static void op_head(struct stream *stream, struct message *head, bool end)
{
    struct server_stream *s = of(stream);
    if (!s->h2)
        return;
    if (head->status < 200) {
        if (!s->request_done && !s->response_begun)
            h2_submit_interim(s->h2, head->status);
    } else {
        s->response_begun = true;
        add_fields(s, head);
        h2_submit_response(s->h2, head, end);
        if (end)
            stream->ops->end(stream, NULL);
    }
    wire_touch(&s->server->conn->wire);
}

static void op_body(struct stream *stream, struct span bytes)
{
    struct server_stream *s = of(stream);
    if (!s->h2 || bytes.len == 0)
        return;
    h2_stream_write(s->h2, bytes);
    s->written += bytes.len;
    stream_queue_grew(stream, h2_stream_queued(s->h2));
    wire_touch(&s->server->conn->wire);
}

static void op_end(struct stream *stream, const struct fields *trailers)
{
    struct server_stream *s = of(stream);
    if (s->response_done)
        return;
    s->response_done = true;
    if (stream->exchange)
        stream->exchange->client = NULL;
    stream->exchange = NULL;
    stream->congested = false;
    if (!s->h2)
        return;
    h2_stream_finish(s->h2, trailers);
    wire_touch(&s->server->conn->wire);
}

static void op_want(struct stream *stream, bool more)
{
    struct server_stream *s = of(stream);
    if (s->wants == more)
        return;
    s->wants = more;
    s->since = loop_now(loop_of(s->server));
    if (s->owed == 0)
        return;
    give_back(s);
    wire_touch(&s->server->conn->wire);
}

static void op_reset(struct stream *stream, enum fault why)
{
    struct server_stream *s = of(stream);
    stream->exchange = NULL;
    stream->congested = false;
    if (s->h2)
        abandon(s, why == FAULT_CLIENT_GONE ? H2_CANCEL : H2_INTERNAL_ERROR);
}

static const struct stream_ops server_ops = {
    .name = "h2", .head = op_head, .body = op_body, .end = op_end, .want = op_want, .reset = op_reset};

/* ---- the connection ---- */

static void pump(struct h2_server *server)
{
    struct buffer *out = &server->conn->wire.out;
    size_t pending = buffer_len(out);
    if (pending < FILL_MAX)
        (void)h2_session_send(server->session, out, FILL_MAX - pending);
}

/* Bystanders of a fault are streams of other connections; those of this one end with it. */
static void fail(struct h2_server *server)
{
    struct h2_fault fault = h2_session_fault(server->session);
    bool calm = fault.code == H2_ENHANCE_YOUR_CALM;
    log_write(calm ? LOG_INFO : LOG_DEBUG, "h2", "%.*s: %s (%s); connection closed", SPAN_ARG(server->conn->peer_text),
              fault.name, h2_code_name(fault.code));
    if (calm)
        metrics_http2_limit(server->conn->worker, fault.name);
    server->lost = fault.name;
    pump(server);
    client_conn_finish(server->conn);
}

static bool is_over(const struct h2_server *server)
{
    return h2_session_over(server->session) ||
           (server->goaway && server->open == 0 && !h2_session_wants_write(server->session));
}

static void settle(struct task *task)
{
    struct h2_server *server = CONTAINER_OF(task, struct h2_server, settle);
    struct client_conn *conn = server->conn;
    if (conn->closed)
        return;
    if (h2_session_fault(server->session).name)
        fail(server);
    else if (is_over(server) && wire_pending(&conn->wire) == 0)
        client_conn_finish(conn);
}

static void fill(struct wire *wire)
{
    struct h2_server *server = CONTAINER_OF(wire, struct client_conn, wire)->h2;
    pump(server);
    if (h2_session_fault(server->session).name || is_over(server))
        settle_later(server);
}

static void sent(struct wire *wire)
{
    struct h2_server *server = CONTAINER_OF(wire, struct client_conn, wire)->h2;
    if (wire->blocked)
        return;
    if (h2_session_wants_write(server->session))
        wire_touch(wire);
    else if (is_over(server))
        settle_later(server);
}

void h2_server_input(struct h2_server *server, struct span bytes)
{
    uint64_t now = loop_now(loop_of(server));
    h2_keepalive_heard(&server->keepalive, now);
    if (h2_session_receive(server->session, bytes, now) == H2_FAULT) {
        fail(server);
        return;
    }
    if (h2_session_wants_write(server->session))
        wire_touch(&server->conn->wire);
    else if (is_over(server))
        settle_later(server);
}

/* ---- time ---- */

static void say_goodbye(struct h2_server *server, uint32_t code, const char *why)
{
    server->lost = why;
    h2_session_goaway(server->session, code);
    pump(server);
    client_conn_finish(server->conn);
}

void h2_server_overdue(struct h2_server *server)
{
    say_goodbye(server, H2_NO_ERROR, "connection timed out");
}

/* Whether the client has taken nothing of a waiting answer for too long. */
static bool is_stuck(struct server_stream *s, uint64_t now)
{
    size_t queued = h2_stream_queued(s->h2);
    uint64_t sent_now = s->written - queued;
    if (queued == 0 || sent_now != s->sent) {
        s->sent = sent_now;
        s->sent_at = now;
        return false;
    }
    return now >= s->sent_at + timeouts(s->server)->write;
}

static void look_at(struct server_stream *s, uint64_t now)
{
    struct exchange *exchange = s->stream.exchange;
    bool uploads = exchange && exchange->state != EXCHANGE_OPEN && !s->request_done && s->wants;
    bool late = uploads && now >= s->since + timeouts(s->server)->body;
    if (late && !s->response_begun) {
        exchange_request_bad(exchange, FAULT_REQUEST_TIMEOUT, "");
        return;
    }
    bool stuck = is_stuck(s, now);
    if (!stuck && !late)
        return;
    abandon(s, H2_CANCEL);
    stream_arrived_failure(&s->stream, FAULT_CLIENT_GONE, stuck ? "the client does not read" : "request body timed out",
                           false);
}

uint64_t h2_server_tick(struct h2_server *server, uint64_t now, uint64_t next)
{
    const struct config_timeouts *limits = timeouts(server);
    if (server->draining_since && now >= server->draining_since + DRAIN_ROUND_TRIP)
        go_away(server);
    uint64_t head_since = h2_session_head_since(server->session);
    if (head_since && now >= head_since + limits->header) {
        say_goodbye(server, H2_ENHANCE_YOUR_CALM, "request head timed out");
        return next;
    }
    if (server->open == 0)
        return next;
    LIST_EACH(&server->streams, link)
    look_at(CONTAINER_OF(link, struct server_stream, link), now);
    if (!h2_keepalive_look(&server->keepalive, server->session, now, limits->keepalive, &next)) {
        server->lost = "keepalive PING unanswered";
        client_conn_close(server->conn);
        return next;
    }
    if (h2_session_wants_write(server->session))
        wire_touch(&server->conn->wire);
    return next < now + limits->header ? next : now + limits->header;
}

/* ---- life ---- */

struct h2_server *h2_server_create(struct client_conn *conn)
{
    struct h2_server *server = memory_zalloc(sizeof(*server));
    struct h2_limits limits;
    h2_server_limits(&limits, &conn->worker->snapshot->config->limits);
    server->conn = conn;
    server->settle.run = settle;
    list_init(&server->streams);
    server->session = h2_session_create(H2_SERVER, &limits, &server_events, server);
    conn->wire.fill = fill;
    conn->wire.sent = sent;
    wire_touch(&conn->wire);
    return server;
}

void h2_server_destroy(struct h2_server *server)
{
    if (!server)
        return;
    h2_session_destroy(server->session);
    free(server);
}

void h2_server_finish(struct h2_server *server, const char *reason)
{
    server->conn->wire.fill = NULL;
    server->conn->wire.sent = NULL;
    if (!server->lost)
        server->lost = reason;
    h2_session_lost(server->session);
    task_cancel(&server->settle);
}

void h2_server_drain(struct h2_server *server)
{
    if (server->draining_since)
        return;
    uint64_t now = loop_now(loop_of(server));
    server->draining_since = now ? now : 1;
    h2_session_shutdown_notice(server->session);
    (void)h2_session_ping(server->session, now);
    arm(server, now + DRAIN_ROUND_TRIP);
    wire_touch(&server->conn->wire);
}
