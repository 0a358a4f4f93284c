/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "gateway/access_log.h"
#include "gateway/client_conn.h"
#include "gateway/collect.h"
#include "gateway/credentials.h"
#include "gateway/exchange.h"
#include "gateway/local_stream.h"
#include "gateway/metrics.h"
#include "gateway/pool.h"
#include "gateway/pool_internal.h"
#include "gateway/redis_stores.h"
#include "gateway/target_limits.h"

/* ---- held bytes ---- */

bool worker_hold(struct worker *worker, size_t bytes, size_t spare)
{
    struct process *process = worker->process;
    size_t limit = worker->snapshot->config->limits.held;
    size_t before = atomic_fetch_add_explicit(&process->held, bytes, memory_order_relaxed);
    if (before + bytes + spare <= limit)
        return true;
    atomic_fetch_sub_explicit(&process->held, bytes, memory_order_relaxed);
    return false;
}

static void feed_starved(struct task *task)
{
    struct worker *worker = CONTAINER_OF(task, struct worker, feed_starved);
    /* In order: who came later does not overtake. */
    while (!list_empty(&worker->starved))
        if (!collect_resume(LIST_FIRST(&worker->starved, struct exchange, starved)))
            break;
}

void worker_release(struct worker *worker, size_t bytes)
{
    atomic_fetch_sub_explicit(&worker->process->held, bytes, memory_order_relaxed);
    if (!list_empty(&worker->starved))
        loop_post(worker->loop, &worker->feed_starved);
}

/* ---- filter instances ---- */

void *worker_instance(struct worker *worker, const struct snapshot *snapshot, const struct filter_use *use)
{
    if (use->index >= snapshot->instance_count)
        return NULL;
    if (snapshot == worker->snapshot)
        return worker->instances[use->index];
    LIST_EACH(&worker->retired_instances, link)
    {
        const struct retired_instances *retired = CONTAINER_OF(link, struct retired_instances, link);
        if (retired->snapshot == snapshot)
            return retired->instances[use->index];
    }
    return NULL;
}

static void *previous_instance(struct worker *worker, const struct snapshot *before, const struct filter_use *use)
{
    for (unsigned i = 0; before && i < before->instance_count; i++)
        if (before->instances[i].type == use->type && span_equal(before->instances[i].name, use->name))
            return worker->instances[i];
    return NULL;
}

/* Attaches the instances of `snapshot`; each is offered its predecessor of the same name and type. */
static void attach_instances(struct worker *worker, const struct snapshot *before, const struct snapshot *snapshot)
{
    void **instances = memory_array(snapshot->instance_count + 1, sizeof(void *));
    for (unsigned i = 0; i < snapshot->instance_count; i++) {
        const struct filter_use *use = &snapshot->instances[i];
        if (use->type->attach)
            instances[i] = use->type->attach(worker, use->settings, use->name, previous_instance(worker, before, use));
    }
    worker->instances = instances;
    worker->instance_count = snapshot->instance_count;
}

static bool in_use(const struct worker *worker, const struct snapshot *snapshot)
{
    LIST_EACH(&worker->exchanges, link)
    if (CONTAINER_OF(link, struct exchange, link)->snapshot == snapshot)
        return true;
    for (const struct worker_listener *listener = worker->listeners; listener; listener = listener->next)
        if (listener->leaving == snapshot)
            return true;
    return false;
}

static bool is_among(void *const *instances, unsigned count, const void *instance)
{
    for (unsigned i = 0; i < count; i++)
        if (instances[i] == instance)
            return true;
    return false;
}

/* An instance that another snapshot has, too, lives on under its name until the last of them goes. */
static bool held_elsewhere(const struct worker *worker, const struct retired_instances *retired, const void *instance)
{
    if (is_among(worker->instances, worker->instance_count, instance))
        return true;
    LIST_EACH(&worker->retired_instances, link)
    {
        const struct retired_instances *other = CONTAINER_OF(link, struct retired_instances, link);
        if (other != retired && is_among(other->instances, other->snapshot->instance_count, instance))
            return true;
    }
    return false;
}

static void detach_retired(struct worker *worker, struct retired_instances *retired)
{
    const struct snapshot *snapshot = retired->snapshot;
    for (unsigned i = 0; i < snapshot->instance_count; i++)
        if (retired->instances[i] && !held_elsewhere(worker, retired, retired->instances[i]))
            snapshot->instances[i].type->detach(worker, retired->instances[i]);
    list_remove(&retired->link);
    snapshot_unref(retired->snapshot);
    free(retired->instances);
    free(retired);
}

#define RETIRE_PERIOD (1 * CLOCK_SECOND)

static void retire_instances(struct timer *timer)
{
    struct worker *worker = CONTAINER_OF(timer, struct worker, retire_timer);
    LIST_EACH(&worker->retired_instances, link)
    {
        struct retired_instances *retired = CONTAINER_OF(link, struct retired_instances, link);
        if (!in_use(worker, retired->snapshot))
            detach_retired(worker, retired);
    }
    if (!list_empty(&worker->retired_instances))
        timer_set(worker->loop, timer, loop_now(worker->loop) + RETIRE_PERIOD);
}

/* The worker's present instances belong to `before` from now on. */
static void set_aside(struct worker *worker, struct snapshot *before)
{
    struct retired_instances *retired = memory_zalloc(sizeof(*retired));
    retired->snapshot = snapshot_ref(before);
    retired->instances = worker->instances;
    list_append(&worker->retired_instances, &retired->link);
    timer_set(worker->loop, &worker->retire_timer, loop_now(worker->loop) + RETIRE_PERIOD);
}

/* ---- life ---- */

struct worker *worker_create(struct process *process, unsigned index, struct snapshot *snapshot)
{
    struct worker *worker = memory_zalloc(sizeof(*worker));
    worker->index = index;
    worker->process = process;
    worker->loop = loop_create();
    const struct config *config = snapshot->config;
    struct resolver_options dns = {
        .floor = config->dns.min_ttl, .ceiling = config->dns.max_ttl, .timeout = config->dns.timeout};
    worker->resolver = resolver_create(worker->loop, &dns);
    worker->snapshot = snapshot_ref(snapshot);
    list_init(&worker->exchanges);
    list_init(&worker->clients);
    list_init(&worker->starved);
    list_init(&worker->retired_pools);
    list_init(&worker->retired_instances);
    worker->retire_timer.fire = retire_instances;
    worker->feed_starved.run = feed_starved;
    accept_limit_init(&worker->accepting, config->limits.connections);
    table_init(&worker->pools);
    worker->pool_of = memory_array(snapshot->target_count + 1, sizeof(struct pool *));
    table_init(&worker->mocks);
    worker->metrics = metrics_create(process->metrics);
    worker->log = access_log_create(worker, &config->log);
    worker->random = clock_wall() ^ ((uint64_t)index << 32);
    (void)hash_random(&worker->random);
    worker->credentials = credentials_create(worker);
    credentials_adopt(worker->credentials, snapshot);
    worker->stores = redis_stores_create(worker);
    redis_stores_adopt(worker->stores, snapshot);
    worker->target_limits = target_limits_create(worker);
    attach_instances(worker, NULL, snapshot);
    return worker;
}

static void destroy_pools(struct worker *worker)
{
    size_t cursor = 0;
    struct pool *pool;
    while ((pool = table_next(&worker->pools, &cursor)) != NULL)
        list_append(&worker->retired_pools, &pool->link);
    table_finish(&worker->pools);
    free(worker->pool_of);
    worker->pool_of = NULL;
    LIST_EACH(&worker->retired_pools, link)
    pool_destroy(CONTAINER_OF(link, struct pool, link));
}

void worker_destroy(struct worker *worker)
{
    if (!worker)
        return;
    LIST_EACH(&worker->clients, link)
    client_conn_close(CONTAINER_OF(link, struct client_conn, link));
    worker_free_listeners(worker);
    destroy_pools(worker);
    mock_memories_free(worker);
    struct snapshot *snapshot = worker->snapshot;
    set_aside(worker, snapshot);
    worker->instance_count = 0;
    LIST_EACH(&worker->retired_instances, link)
    detach_retired(worker, CONTAINER_OF(link, struct retired_instances, link));
    timer_clear(worker->loop, &worker->retire_timer);
    target_limits_destroy(worker->target_limits);
    redis_stores_destroy(worker->stores);
    credentials_destroy(worker->credentials);
    access_log_destroy(worker->log);
    task_cancel(&worker->feed_starved);
    resolver_destroy(worker->resolver);
    loop_destroy(worker->loop); /* buries what is waiting, which may still use the snapshot */
    snapshot_unref(snapshot);
    free(worker);
}

void worker_adopt(struct worker *worker, struct snapshot *snapshot)
{
    struct snapshot *before = worker->snapshot;
    set_aside(worker, before);
    credentials_adopt(worker->credentials, snapshot);
    redis_stores_adopt(worker->stores, snapshot); /* instances look their stores up */
    attach_instances(worker, before, snapshot);
    worker->snapshot = snapshot_ref(snapshot);
    free(worker->pool_of);
    worker->pool_of = memory_array(snapshot->target_count + 1, sizeof(struct pool *));
    worker->accepting.most = snapshot->config->limits.connections;
    access_log_adopt(worker->log, &snapshot->config->log);
    const struct config_dns *dns = &snapshot->config->dns;
    resolver_adopt(worker->resolver, dns->min_ttl, dns->max_ttl, dns->timeout);
    snapshot_unref(before);
}

/* ---- date ---- */

struct span worker_date(struct worker *worker)
{
    uint64_t second = loop_wall(worker->loop) / CLOCK_SECOND;
    if (second != worker->date_second) {
        struct tm utc;
        time_t at = (time_t)second;
        gmtime_r(&at, &utc);
        (void)strftime(worker->date, sizeof(worker->date), "%a, %d %b %Y %H:%M:%S GMT", &utc);
        worker->date_second = second;
    }
    return span_str(worker->date);
}
