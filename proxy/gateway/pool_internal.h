/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What pool.c and upstream_conn.c need of each other.
 */
#ifndef POSTERN_GATEWAY_POOL_INTERNAL_H
#define POSTERN_GATEWAY_POOL_INTERNAL_H

#include "base/list.h"
#include "gateway/pool.h"
#include "net/connector.h"

struct upstream_conn;

struct pool {
    struct list link; /* on worker->retired_pools */
    struct worker *worker;
    struct snapshot *snapshot; /* keeps `target` alive; replaced when a newer one has the same endpoint */
    const struct target *target;
    struct span name; /* own copy, the key in worker->pools */
    struct list idle, busy,
        draining;           /* struct upstream_conn.link; idle: newest first. HTTP/2 without streams is on busy too */
    struct list connecting; /* struct connecting.link */
    struct list waiters;    /* struct lease.link, first come first */
    unsigned idle_count, busy_count, draining_count, connecting_count, waiting_count;
    uint64_t idle_timeout;
    unsigned most; /* connections, all lists but draining */
    bool is_h2;    /* the last connection spoke HTTP/2: one at a time is made */
    bool retired;
    struct task serve; /* hands connections to waiters */
    uint64_t opened, reused, failed, stale;
};

void pool_conn_idle(struct pool *pool, struct upstream_conn *conn);
void pool_conn_room(struct pool *pool, struct upstream_conn *conn);
void pool_conn_draining(struct pool *pool, struct upstream_conn *conn);
void pool_conn_gone(struct pool *pool, struct upstream_conn *conn);

#endif
