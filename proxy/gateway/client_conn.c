/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/client_conn.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "gateway/exchange.h"
#include "gateway/h2_server.h"
#include "gateway/snapshot.h"
#include "gateway/worker.h"
#include "http/h1_reader.h"

static const struct config_timeouts *timeouts(const struct client_conn *conn)
{
    return &conn->worker->snapshot->config->timeouts;
}

static bool is_ending(const struct client_conn *conn)
{
    return conn->listener->leaving || (conn->worker->draining && !conn->listener->use->admin);
}

/* ---- protocols ---- */

static void start_h1(struct client_conn *conn)
{
    conn->protocol = CLIENT_H1;
    h1_server_init(&conn->h1, conn);
}

static void start_h2(struct client_conn *conn)
{
    conn->protocol = CLIENT_H2;
    conn->h2 = h2_server_create(conn);
    if (is_ending(conn))
        h2_server_drain(conn->h2);
}

static void deliver(struct client_conn *conn, struct span bytes)
{
    if (conn->protocol == CLIENT_H1)
        h1_server_input(&conn->h1, bytes);
    else
        h2_server_input(conn->h2, bytes);
}

/* What came before the protocol was known. */
static void deliver_first(struct client_conn *conn)
{
    struct buffer first = conn->first;
    conn->first = (struct buffer){0};
    deliver(conn, buffer_span(&first));
    buffer_finish(&first);
}

/* ---- time ---- */

/* A connection that is to end but has not asked anything yet may do so for this long: its request may be on the way. */
#define LAST_CALL (1 * CLOCK_SECOND)

static uint64_t patience(const struct client_conn *conn)
{
    switch (conn->waits) {
    case CLIENT_IDLE:
        return is_ending(conn) ? LAST_CALL : timeouts(conn)->idle;
    case CLIENT_HEADER:
        return timeouts(conn)->header;
    case CLIENT_BODY:
        return timeouts(conn)->body;
    case CLIENT_ANSWER:
        break;
    }
    return UINT64_MAX; /* the exchange has its own deadlines */
}

static void overdue(struct client_conn *conn)
{
    log_write(LOG_DEBUG, "client", "%.*s timed out (%d)", SPAN_ARG(conn->peer_text), (int)conn->waits);
    if (conn->protocol == CLIENT_DETECT && buffer_len(&conn->first)) {
        start_h1(conn);
        deliver_first(conn);
    }
    if (conn->protocol == CLIENT_H1 && conn->waits != CLIENT_IDLE)
        h1_server_overdue(&conn->h1);
    else if (conn->protocol == CLIENT_H2)
        h2_server_overdue(conn->h2);
    else
        client_conn_close(conn);
}

/* The timer looks every so often; progress only writes `since`, so a passing message touches no timer. */
static void fire(struct timer *timer)
{
    struct client_conn *conn = CONTAINER_OF(timer, struct client_conn, timer);
    uint64_t now = loop_now(conn->worker->loop), limit = patience(conn);
    uint64_t write_limit = timeouts(conn)->write;
    if (conn->wire.blocked && now >= conn->wire.blocked_since + write_limit) {
        client_conn_close(conn);
        return;
    }
    if (limit != UINT64_MAX && now >= conn->since + limit) {
        overdue(conn);
        if (conn->retired)
            return;
        limit = patience(conn);
    }
    uint64_t next = now + write_limit;
    if (limit != UINT64_MAX && conn->since + limit > now && conn->since + limit < next)
        next = conn->since + limit;
    if (conn->protocol == CLIENT_H2 && !conn->closed)
        next = h2_server_tick(conn->h2, now, next);
    if (!conn->retired)
        timer_set(conn->worker->loop, timer, next);
}

void client_conn_wait(struct client_conn *conn, enum client_waits what)
{
    conn->waits = what;
    conn->since = loop_now(conn->worker->loop);
    uint64_t limit = patience(conn);
    /* Only a deadline earlier than the one set needs the timer. */
    if (limit != UINT64_MAX && !conn->retired &&
        (!timer_is_set(&conn->timer) || conn->timer.deadline > conn->since + limit))
        timer_set(conn->worker->loop, &conn->timer, conn->since + limit);
}

/* ---- bytes ---- */

/* Prior knowledge: HTTP/2 begins with a preface that no HTTP/1 request begins with (RFC 9113 3.3). */
static void detect(struct client_conn *conn, struct span bytes)
{
    buffer_append(&conn->first, bytes);
    struct span all = buffer_span(&conn->first);
    enum h1_preface preface =
        conn->listener->use->config && !conn->listener->use->config->http2 ? H1_PREFACE_NO : h1_looks_like_h2(all);
    if (preface == H1_PREFACE_MORE) {
        client_conn_wait(conn, CLIENT_HEADER);
        return;
    }
    if (preface == H1_PREFACE_YES)
        start_h2(conn);
    else
        start_h1(conn);
    deliver_first(conn);
}

static void eof(struct client_conn *conn)
{
    if (conn->closed)
        return;
    if (conn->protocol == CLIENT_H1)
        h1_server_eof(&conn->h1);
    else
        client_conn_close(conn);
}

static void readable(struct client_conn *conn)
{
    char *scratch = loop_scratch(conn->worker->loop);
    ssize_t got = transport_read(conn->wire.transport, scratch, LOOP_SCRATCH);
    if (got > 0) {
        struct span bytes = span_of(scratch, (size_t)got);
        if (conn->protocol == CLIENT_DETECT && !conn->closed)
            detect(conn, bytes);
        else if (!conn->closed)
            deliver(conn, bytes);
    } else if (got == TRANSPORT_EOF) {
        eof(conn);
    } else if (got == TRANSPORT_ERROR) {
        client_conn_close(conn);
    }
}

static void notify(struct transport *transport, enum transport_event event)
{
    struct client_conn *conn = transport->owner;
    switch (event) {
    case TRANSPORT_READABLE:
        readable(conn);
        break;
    case TRANSPORT_WRITABLE:
        wire_writable(&conn->wire);
        break;
    case TRANSPORT_CLOSED:
        eof(conn);
        break;
    case TRANSPORT_FAILED:
        client_conn_close(conn);
        break;
    case TRANSPORT_SECURED:
        break;
    }
}

static void wire_failed(struct wire *wire)
{
    client_conn_close(CONTAINER_OF(wire, struct client_conn, wire));
}

/* ---- life ---- */

void client_conn_accept(struct worker *worker, struct worker_listener *listener, struct transport *transport)
{
    struct client_conn *conn = memory_zalloc(sizeof(*conn));
    conn->worker = worker;
    conn->listener = listener;
    wire_init(&conn->wire, transport);
    conn->wire.failed = wire_failed;
    conn->timer.fire = fire;
    conn->peer_text = span_str(address_format(&transport->peer, conn->peer));
    list_append(&worker->clients, &conn->link);
    worker->client_count++;
    transport_own(transport, conn, notify);
    struct span alpn = transport_alpn(transport);
    if (span_equal(alpn, SPAN("h2")))
        start_h2(conn);
    else if (alpn.len)
        start_h1(conn);
    client_conn_wait(conn, conn->protocol == CLIENT_H2 ? CLIENT_HEADER : CLIENT_IDLE);
    transport_want(transport, true);
}

static void free_conn(void *object)
{
    struct client_conn *conn = object;
    h2_server_destroy(conn->h2);
    free(conn);
}

/* Off all lists, to be freed at the end of the turn. */
static void retire(struct client_conn *conn)
{
    conn->closed = conn->retired = true;
    timer_clear(conn->worker->loop, &conn->timer);
    buffer_finish(&conn->first);
    list_remove(&conn->link);
    conn->worker->client_count--;
    loop_bury(conn->worker->loop, conn, free_conn);
}

static void finish_protocol(struct client_conn *conn, const char *reason)
{
    conn->closed = true;
    if (conn->protocol == CLIENT_H1)
        h1_server_finish(&conn->h1, reason);
    else if (conn->protocol == CLIENT_H2)
        h2_server_finish(conn->h2, reason);
}

void client_conn_close(struct client_conn *conn)
{
    if (conn->retired)
        return;
    bool spoken = !conn->closed;
    conn->closed = conn->retired = true;
    wire_close(&conn->wire);
    if (spoken)
        finish_protocol(conn, "connection lost");
    retire(conn);
}

static void leave(struct client_conn *conn)
{
    conn->retired = true;
    wire_close_gently(&conn->wire);
    retire(conn);
}

static void leaving_sent(struct wire *wire)
{
    struct client_conn *conn = CONTAINER_OF(wire, struct client_conn, wire);
    if (!conn->retired && wire_pending(wire) == 0)
        leave(conn);
}

void client_conn_finish(struct client_conn *conn)
{
    if (conn->closed)
        return;
    finish_protocol(conn, "connection closed");
    (void)wire_flush(&conn->wire);
    if (conn->retired)
        return;
    if (wire_pending(&conn->wire) == 0) {
        leave(conn);
        return;
    }
    /* The timer looks after a peer that does not read (timeouts.write); what it sends is thrown away. */
    conn->wire.sent = leaving_sent;
    client_conn_wait(conn, CLIENT_ANSWER);
    transport_want(conn->wire.transport, true);
}

/* HTTP/1, and nothing is asked. */
static bool is_quiet(const struct client_conn *conn)
{
    return conn->waits == CLIENT_IDLE && (conn->protocol == CLIENT_DETECT || h1_server_idle(&conn->h1));
}

void client_conn_drain(struct client_conn *conn)
{
    if (conn->closed)
        return;
    if (conn->protocol == CLIENT_H2) {
        h2_server_drain(conn->h2);
        return;
    }
    if (!is_quiet(conn))
        return;
    /* What the kernel holds was asked before anybody was told to go. */
    readable(conn);
    if (conn->closed || conn->protocol == CLIENT_H2 || !is_quiet(conn))
        return;
    if (conn->used)
        client_conn_finish(conn);
    else
        client_conn_wait(conn, CLIENT_IDLE);
}
