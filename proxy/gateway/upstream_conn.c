/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/upstream_conn.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "gateway/h2_client.h"
#include "gateway/pool_internal.h"
#include "gateway/worker.h"

/* How long the tail of an unwanted answer may take to arrive. */
#define DRAIN_TIME (2 * CLOCK_SECOND)

static struct loop *loop_of(const struct upstream_conn *conn)
{
    return conn->pool->worker->loop;
}

/* ---- bytes ---- */

static void eof(struct upstream_conn *conn)
{
    if (conn->is_h2)
        upstream_conn_fail(conn, FAULT_UPSTREAM_CLOSED, "connection closed by the target");
    else
        h1_client_eof(&conn->h1);
}

static void readable(struct upstream_conn *conn)
{
    char *scratch = loop_scratch(loop_of(conn));
    ssize_t got = transport_read(conn->wire.transport, scratch, LOOP_SCRATCH);
    if (got > 0) {
        struct span bytes = span_of(scratch, (size_t)got);
        if (conn->is_h2)
            h2_client_input(conn->h2, bytes);
        else
            h1_client_input(&conn->h1, bytes);
    } else if (got == TRANSPORT_EOF) {
        eof(conn);
    } else if (got == TRANSPORT_ERROR) {
        upstream_conn_fail(conn, FAULT_UPSTREAM_CLOSED, transport_error(conn->wire.transport));
    }
}

static void notify(struct transport *transport, enum transport_event event)
{
    struct upstream_conn *conn = transport->owner;
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
        upstream_conn_fail(conn, FAULT_UPSTREAM_CLOSED, transport_error(transport));
        break;
    case TRANSPORT_SECURED:
        break;
    }
}

static void wire_sent(struct wire *wire)
{
    struct upstream_conn *conn = CONTAINER_OF(wire, struct upstream_conn, wire);
    if (!conn->is_h2)
        stream_queue_shrank(&conn->h1.stream, wire_pending(wire));
}

/* May be inside a stream op: the report comes from the run queue. */
static void wire_failed(struct wire *wire)
{
    struct upstream_conn *conn = CONTAINER_OF(wire, struct upstream_conn, wire);
    upstream_conn_fail_later(conn, FAULT_UPSTREAM_CLOSED, "write failed");
}

void upstream_conn_send_parts(struct upstream_conn *conn, const struct span *parts, unsigned count)
{
    /* Behind a head that could not be written a body would be read as a request. */
    if (!task_queued(&conn->failing))
        wire_send_parts(&conn->wire, parts, count);
}

/* ---- life ---- */

static void fire(struct timer *timer)
{
    struct upstream_conn *conn = CONTAINER_OF(timer, struct upstream_conn, timer);
    if (conn->is_h2)
        h2_client_tick(conn->h2);
    else
        upstream_conn_close(conn);
}

static void fail_now(struct task *task)
{
    struct upstream_conn *conn = CONTAINER_OF(task, struct upstream_conn, failing);
    upstream_conn_fail(conn, conn->fail_fault, conn->fail_reason);
}

struct upstream_conn *upstream_conn_create(struct pool *pool, struct transport *transport, bool is_h2)
{
    struct upstream_conn *conn = memory_zalloc(sizeof(*conn));
    conn->pool = pool;
    conn->is_h2 = is_h2;
    conn->timer.fire = fire;
    conn->failing.run = fail_now;
    wire_init(&conn->wire, transport);
    conn->wire.sent = wire_sent;
    conn->wire.failed = wire_failed;
    transport_own(transport, conn, notify);
    pool->worker->upstream_count++;
    if (is_h2)
        conn->h2 = h2_client_create(conn);
    else
        h1_client_init(&conn->h1, conn);
    transport_want(transport, true);
    return conn;
}

bool upstream_conn_can_open(const struct upstream_conn *conn)
{
    if (conn->closed || task_queued(&conn->failing))
        return false;
    return conn->is_h2 ? h2_client_can_open(conn->h2) : !conn->h1.busy;
}

struct stream *upstream_conn_open(struct upstream_conn *conn, struct attempt *attempt)
{
    struct stream *stream = conn->is_h2 ? h2_client_start(conn->h2, attempt) : h1_client_start(&conn->h1, attempt);
    stream->reused = conn->served++ > 0;
    if (!conn->is_h2)
        timer_clear(loop_of(conn), &conn->timer);
    return stream;
}

static void free_conn(void *object)
{
    struct upstream_conn *conn = object;
    h2_client_destroy(conn->h2);
    free(conn);
}

void upstream_conn_fail(struct upstream_conn *conn, enum fault why, const char *reason)
{
    if (conn->closed)
        return;
    conn->closed = true;
    struct loop *loop = loop_of(conn);
    timer_clear(loop, &conn->timer);
    task_cancel(&conn->failing);
    wire_close(&conn->wire);
    conn->pool->worker->upstream_count--;
    pool_conn_gone(conn->pool, conn);
    if (conn->is_h2)
        h2_client_finish(conn->h2, why, reason);
    else
        h1_client_finish(&conn->h1, why, reason);
    loop_bury(loop, conn, free_conn);
}

void upstream_conn_close(struct upstream_conn *conn)
{
    upstream_conn_fail(conn, FAULT_UPSTREAM_CLOSED, "connection closed");
}

void upstream_conn_fail_later(struct upstream_conn *conn, enum fault why, const char *reason)
{
    if (conn->closed || task_queued(&conn->failing))
        return;
    conn->fail_fault = why;
    conn->fail_reason = reason;
    loop_post(loop_of(conn), &conn->failing);
}

void upstream_conn_idle(struct upstream_conn *conn)
{
    if (!conn->is_h2) {
        timer_set(loop_of(conn), &conn->timer, loop_now(loop_of(conn)) + conn->pool->idle_timeout);
        transport_want(conn->wire.transport, true);
    }
    pool_conn_idle(conn->pool, conn);
}

void upstream_conn_going_away(struct upstream_conn *conn)
{
    pool_conn_draining(conn->pool, conn);
}

void upstream_conn_stream_ended(struct upstream_conn *conn)
{
    pool_conn_room(conn->pool, conn);
}

void upstream_conn_wait_drain(struct upstream_conn *conn)
{
    timer_set(loop_of(conn), &conn->timer, loop_now(loop_of(conn)) + DRAIN_TIME);
}
