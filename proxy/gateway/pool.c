/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/pool.h"

#include <stdlib.h>

#include "base/memory.h"
#include "gateway/attempt.h"
#include "gateway/exchange.h"
#include "gateway/pool_internal.h"
#include "gateway/upstream_conn.h"
#include "gateway/worker.h"

/* A connection being made. */
struct connecting {
    struct list link;
    struct pool *pool;
    struct connector *connector;
};

static void serve(struct task *task);
static void move(struct pool *pool, struct upstream_conn *conn, enum conn_list to);

static void serve_later(struct pool *pool)
{
    if (pool->waiting_count)
        loop_post(pool->worker->loop, &pool->serve);
}

/* ---- making connections ---- */

static void fail_waiters(struct pool *pool, enum fault why, const char *detail)
{
    /* Only those that no connection under way can serve; each gets the same reason. */
    unsigned spare = pool->connecting_count;
    if (pool->is_h2 && spare)
        return;
    while (pool->waiting_count > spare) {
        struct lease *lease = LIST_FIRST(&pool->waiters, struct lease, link);
        list_remove(&lease->link);
        pool->waiting_count--;
        pending_complete(&lease->pending);
        lease->done(lease, NULL, why, detail);
    }
}

static void connected(void *arg, struct transport *transport, enum fault fault, const char *detail)
{
    struct connecting *connecting = arg;
    struct pool *pool = connecting->pool;
    list_remove(&connecting->link);
    pool->connecting_count--;
    free(connecting);
    if (!transport) {
        pool->failed++;
        log_write(LOG_DEBUG, "pool", "%.*s: %s", SPAN_ARG(pool->name), detail);
        fail_waiters(pool, fault, detail);
        return;
    }
    pool->opened++;
    pool->is_h2 = pool->target->h2_prior_knowledge || span_equal(transport_alpn(transport), SPAN("h2"));
    struct upstream_conn *conn = upstream_conn_create(pool, transport, pool->is_h2);
    upstream_conn_idle(conn);
}

static void connect_one(struct pool *pool)
{
    const struct target *target = pool->target;
    struct connecting *connecting = memory_zalloc(sizeof(*connecting));
    connecting->pool = pool;
    list_append(&pool->connecting, &connecting->link);
    pool->connecting_count++;
    struct endpoint endpoint = {.host = target->url->host,
                                .port = target->url->port,
                                .tls = target->tls,
                                .server_name = target->config->tls.server_name,
                                .alpn = target->alpn,
                                .proxy_host = target->proxy.host,
                                .proxy_port = target->proxy.port,
                                .proxy_authorization = target->proxy.authorization};
    connecting->connector = connector_start(pool->worker->loop, pool->worker->resolver, &endpoint,
                                            target->config->timeouts.connect, NULL, connected, connecting);
}

static void connect_more(struct pool *pool)
{
    unsigned live = pool->idle_count + pool->busy_count + pool->connecting_count;
    unsigned wanted = pool->is_h2 ? 1 : pool->waiting_count;
    while (pool->waiting_count && pool->connecting_count < wanted && live < pool->most) {
        connect_one(pool);
        live++;
    }
}

/* ---- leases ---- */

static struct upstream_conn *usable(struct pool *pool, bool fresh)
{
    LIST_EACH(&pool->idle, link)
    {
        struct upstream_conn *conn = CONTAINER_OF(link, struct upstream_conn, link);
        if (upstream_conn_can_open(conn) && !(fresh && conn->served))
            return conn;
    }
    if (!pool->is_h2)
        return NULL;
    LIST_EACH(&pool->busy, link)
    {
        struct upstream_conn *conn = CONTAINER_OF(link, struct upstream_conn, link);
        if (conn->is_h2 && upstream_conn_can_open(conn) && !(fresh && conn->served))
            return conn;
    }
    return NULL;
}

static struct stream *open_on(struct pool *pool, struct upstream_conn *conn, struct attempt *attempt)
{
    if (conn->on == CONN_IDLE)
        move(pool, conn, CONN_BUSY);
    if (conn->served)
        pool->reused++;
    return upstream_conn_open(conn, attempt);
}

static void lease_cancelled(struct pending *pending)
{
    struct lease *lease = CONTAINER_OF(pending, struct lease, pending);
    list_remove(&lease->link);
    lease->pool->waiting_count--;
}

static void lease_timed_out(struct pending *pending)
{
    struct lease *lease = CONTAINER_OF(pending, struct lease, pending);
    list_remove(&lease->link);
    lease->pool->waiting_count--;
    lease->done(lease, NULL, FAULT_CONNECT_TIMEOUT, "no connection was free in time");
}

struct stream *pool_lease(struct pool *pool, struct lease *lease, struct attempt *attempt, bool fresh, lease_fn *done)
{
    struct upstream_conn *conn = pool->waiting_count ? NULL : usable(pool, fresh);
    if (conn)
        return open_on(pool, conn, attempt);
    *lease = (struct lease){.pool = pool, .attempt = attempt, .done = done, .fresh = fresh};
    if (fresh)
        pool->stale++;
    struct loop *loop = pool->worker->loop;
    uint64_t deadline = loop_now(loop) + pool->target->config->timeouts.connect + TIMER_GRAIN;
    pending_start(&attempt->exchange->pendings, &lease->pending, loop, deadline, lease_timed_out, lease_cancelled);
    list_append(&pool->waiters, &lease->link);
    pool->waiting_count++;
    connect_more(pool);
    return NULL;
}

static void serve(struct task *task)
{
    struct pool *pool = CONTAINER_OF(task, struct pool, serve);
    while (pool->waiting_count) {
        struct lease *lease = LIST_FIRST(&pool->waiters, struct lease, link);
        struct upstream_conn *conn = usable(pool, lease->fresh);
        if (!conn)
            break;
        list_remove(&lease->link);
        pool->waiting_count--;
        struct stream *stream = open_on(pool, conn, lease->attempt);
        pending_complete(&lease->pending);
        lease->done(lease, stream, FAULT_NONE, NULL);
    }
    connect_more(pool);
}

/* ---- changes of connections ---- */

/* The only place where a connection changes its list. */
static void move(struct pool *pool, struct upstream_conn *conn, enum conn_list to)
{
    unsigned *const counts[] = {[CONN_NOWHERE] = NULL,
                                [CONN_IDLE] = &pool->idle_count,
                                [CONN_BUSY] = &pool->busy_count,
                                [CONN_DRAINING] = &pool->draining_count};
    struct list *const lists[] = {
        [CONN_NOWHERE] = NULL, [CONN_IDLE] = &pool->idle, [CONN_BUSY] = &pool->busy, [CONN_DRAINING] = &pool->draining};
    if (conn->on != CONN_NOWHERE) {
        list_remove(&conn->link);
        (*counts[conn->on])--;
    }
    conn->on = to;
    if (to != CONN_NOWHERE) {
        list_prepend(lists[to], &conn->link);
        (*counts[to])++;
    }
}

void pool_conn_idle(struct pool *pool, struct upstream_conn *conn)
{
    if (pool->retired && !pool->waiting_count) {
        upstream_conn_close(conn);
        return;
    }
    move(pool, conn, conn->is_h2 ? CONN_BUSY : CONN_IDLE);
    serve_later(pool);
}

void pool_conn_room(struct pool *pool, struct upstream_conn *conn)
{
    if (upstream_conn_can_open(conn))
        serve_later(pool);
}

void pool_conn_draining(struct pool *pool, struct upstream_conn *conn)
{
    move(pool, conn, CONN_DRAINING);
    serve_later(pool);
}

void pool_conn_gone(struct pool *pool, struct upstream_conn *conn)
{
    move(pool, conn, CONN_NOWHERE);
    serve_later(pool);
}

/* ---- life ---- */

static bool same_endpoint(const struct target *a, const struct target *b)
{
    return span_equal(a->url->text, b->url->text) && span_equal(a->config->tls.ca, b->config->tls.ca) &&
           span_equal(a->alpn, b->alpn) && a->h2_prior_knowledge == b->h2_prior_knowledge &&
           span_equal(a->proxy.host, b->proxy.host) && a->proxy.port == b->proxy.port &&
           span_equal(a->config->tls.server_name, b->config->tls.server_name);
}

static void adopt_target(struct pool *pool, struct snapshot *snapshot, const struct target *target)
{
    struct snapshot *old = pool->snapshot;
    pool->snapshot = snapshot_ref(snapshot);
    pool->target = target;
    pool->idle_timeout = target->config->timeouts.pool_idle;
    pool->most = target->config->max_connections;
    snapshot_unref(old);
}

static struct pool *create(struct worker *worker, struct snapshot *snapshot, const struct target *target)
{
    struct pool *pool = memory_zalloc(sizeof(*pool));
    pool->worker = worker;
    pool->name = span_of(memory_string(target->name), target->name.len);
    list_init(&pool->idle);
    list_init(&pool->busy);
    list_init(&pool->draining);
    list_init(&pool->connecting);
    list_init(&pool->waiters);
    pool->serve.run = serve;
    pool->is_h2 = target->h2_prior_knowledge;
    adopt_target(pool, snapshot, target);
    return pool;
}

static bool is_empty(const struct pool *pool)
{
    return pool->idle_count + pool->busy_count + pool->draining_count + pool->connecting_count + pool->waiting_count ==
           0;
}

static void destroy(void *object)
{
    pool_destroy(object);
}

/* Out of the way of its name; those set aside before that have nothing left to do are freed. */
static void set_aside(struct worker *worker, struct pool *pool)
{
    LIST_EACH(&worker->retired_pools, link)
    {
        struct pool *before = CONTAINER_OF(link, struct pool, link);
        if (!is_empty(before))
            continue;
        list_remove(&before->link);
        loop_bury(worker->loop, before, destroy);
    }
    list_append(&worker->retired_pools, &pool->link);
    pool_retire(pool);
}

/* For exchanges of an older snapshot, whose name leads elsewhere by now: theirs alone, and it keeps no connection. */
static struct pool *former(struct worker *worker, struct snapshot *snapshot, const struct target *target)
{
    LIST_EACH(&worker->retired_pools, link)
    {
        struct pool *pool = CONTAINER_OF(link, struct pool, link);
        if (pool->target == target)
            return pool;
    }
    struct pool *pool = create(worker, snapshot, target);
    set_aside(worker, pool);
    return pool;
}

static struct pool *look_up(struct worker *worker, struct snapshot *snapshot, const struct target *target)
{
    bool current = snapshot == worker->snapshot;
    struct pool *pool = table_get(&worker->pools, target->name);
    if (pool && pool->target == target)
        return pool;
    /* An exchange of an older snapshot uses what the newer one has made of the name, unless it leads elsewhere. */
    if (pool && same_endpoint(pool->target, target)) {
        if (current)
            adopt_target(pool, snapshot, target);
        return pool;
    }
    if (pool && !current)
        return former(worker, snapshot, target);
    if (pool) {
        (void)table_remove(&worker->pools, target->name);
        set_aside(worker, pool);
    }
    pool = create(worker, snapshot, target);
    (void)table_put(&worker->pools, pool->name, pool);
    return pool;
}

struct pool *pool_get(struct worker *worker, struct snapshot *snapshot, const struct target *target)
{
    bool current = snapshot == worker->snapshot;
    if (current && worker->pool_of[target->index])
        return worker->pool_of[target->index];
    struct pool *pool = look_up(worker, snapshot, target);
    if (current)
        worker->pool_of[target->index] = pool;
    return pool;
}

void pool_retire(struct pool *pool)
{
    pool->retired = true;
    LIST_EACH(&pool->idle, link)
    upstream_conn_close(CONTAINER_OF(link, struct upstream_conn, link));
}

void pool_destroy(struct pool *pool)
{
    pool->retired = true;
    LIST_EACH(&pool->connecting, link)
    {
        struct connecting *connecting = CONTAINER_OF(link, struct connecting, link);
        connector_cancel(connecting->connector);
        free(connecting);
    }
    struct list *lists[] = {&pool->idle, &pool->busy, &pool->draining};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        LIST_EACH(lists[i], link)
    upstream_conn_close(CONTAINER_OF(link, struct upstream_conn, link));
    task_cancel(&pool->serve);
    list_remove(&pool->link);
    snapshot_unref(pool->snapshot);
    free((void *)(uintptr_t)pool->name.ptr);
    free(pool);
}

struct pool_counts pool_counts(const struct pool *pool)
{
    return (struct pool_counts){.idle = pool->idle_count,
                                .busy = pool->busy_count + pool->draining_count,
                                .connecting = pool->connecting_count,
                                .waiting = pool->waiting_count,
                                .opened = pool->opened,
                                .reused = pool->reused,
                                .failed = pool->failed,
                                .stale = pool->stale};
}

struct span pool_name(const struct pool *pool)
{
    return pool->name;
}
