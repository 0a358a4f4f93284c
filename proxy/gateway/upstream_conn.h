/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upstream_conn: a connection to a target, owned by its pool. It finds out by ALPN (or configuration) which HTTP is
 * spoken and hands bytes to h1_client or h2_client. On which list of the pool it is, and when it changes, is pool.c's
 * business.
 */
#ifndef POSTERN_GATEWAY_UPSTREAM_CONN_H
#define POSTERN_GATEWAY_UPSTREAM_CONN_H

#include "base/list.h"
#include "gateway/h1_client.h"
#include "gateway/wire.h"
#include "net/loop.h"
#include "net/transport.h"

struct attempt;
struct h2_client;
struct pool;

/* The pool's list it is on. */
enum conn_list { CONN_NOWHERE, CONN_IDLE, CONN_BUSY, CONN_DRAINING };

struct upstream_conn {
    struct list link; /* on one of the pool's lists */
    struct pool *pool;
    struct wire wire;
    struct timer timer;  /* pool_idle while idle; drain limit while draining; HTTP/2 keepalive */
    struct task failing; /* upstream_conn_fail_later */
    enum fault fail_fault;
    const char *fail_reason;
    bool closed;
    bool is_h2;
    enum conn_list on;
    uint64_t served; /* message pairs begun */
    struct h1_client h1;
    struct h2_client *h2; /* NULL for HTTP/1 */
};

/* Takes a transport that is connected and secured. */
MUST_CHECK struct upstream_conn *upstream_conn_create(struct pool *pool, struct transport *transport, bool is_h2);
/* Whether another stream can be opened now: HTTP/1 idle, HTTP/2 below the peer's limit and not going away. */
bool upstream_conn_can_open(const struct upstream_conn *conn);
/* Opens a stream for the attempt; only when upstream_conn_can_open. */
MUST_CHECK struct stream *upstream_conn_open(struct upstream_conn *conn, struct attempt *attempt);
/* Closes at once without telling anyone (the attempt has been told or has left). */
void upstream_conn_close(struct upstream_conn *conn);
/* Closes; attempts on it are told. */
void upstream_conn_fail(struct upstream_conn *conn, enum fault why, const char *reason);
/* The same from the run queue: for failures found inside a stream op. */
void upstream_conn_fail_later(struct upstream_conn *conn, enum fault why, const char *reason);

/* ---- for the protocols ---- */
/* The last message pair has ended; the connection can serve the next. */
void upstream_conn_idle(struct upstream_conn *conn);
/* An HTTP/2 connection takes no new streams any more; closed when the last ends. */
void upstream_conn_going_away(struct upstream_conn *conn);
/* A stream of an HTTP/2 connection has ended: waiters may be served. */
void upstream_conn_stream_ended(struct upstream_conn *conn);
/* The rest of an answer nobody wants is read for at most a short while. */
void upstream_conn_wait_drain(struct upstream_conn *conn);
/* wire_send_parts, whose failure is reported from the run queue. */
void upstream_conn_send_parts(struct upstream_conn *conn, const struct span *parts, unsigned count);

#endif
