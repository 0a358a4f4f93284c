/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/target_limits.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/hash.h"
#include "base/memory.h"
#include "gateway/attempt.h"
#include "gateway/exchange.h"
#include "gateway/limits_memory.h"
#include "gateway/limits_redis.h"
#include "gateway/metrics_series.h"
#include "gateway/redis_stores.h"
#include "gateway/tokens.h"
#include "gateway/worker.h"

/* No filter can have this name. */
#define TABLE_NAME SPAN("/targets")
/* Two for each limit of a target or deployment, and the averages of models. */
#define PLACES 65536
/* Of an answer whose request sets no maximum, until answers have been seen. */
#define ASSUMED_OUTPUT 500
/* While a store is lost that must not be. */
#define LOST_WAIT (1 * CLOCK_SECOND)

/* ---- of a worker ---- */

struct shared {
    struct list link; /* on target_limits.shared */
    struct span name; /* own copy */
    struct limits_store *store;
};

struct target_limits {
    struct worker *worker;
    struct limits_table *table; /* NULL until there is a limit */
    struct limits_memory memory;
    struct list shared;
    uint64_t id_prefix, id_count; /* reservation ids */
};

struct target_limits *target_limits_create(struct worker *worker)
{
    struct target_limits *limits = memory_zalloc(sizeof(*limits));
    limits->worker = worker;
    list_init(&limits->shared);
    crypto_random(&limits->id_prefix, sizeof(limits->id_prefix));
    return limits;
}

void target_limits_destroy(struct target_limits *limits)
{
    if (!limits)
        return;
    while (!list_empty(&limits->shared)) {
        struct shared *shared = LIST_FIRST(&limits->shared, struct shared, link);
        limits_redis_destroy(shared->store);
        list_remove(&shared->link);
        free((char *)(uintptr_t)shared->name.ptr);
        free(shared);
    }
    limits_table_unref(limits->table);
    free(limits);
}

/* The store of that name, as long as the worker lives: a reload may change what is behind the name, not this. */
static struct limits_store *shared_store(struct target_limits *limits, struct span name)
{
    LIST_EACH(&limits->shared, link)
    {
        struct shared *shared = CONTAINER_OF(link, struct shared, link);
        if (span_equal(shared->name, name))
            return shared->store;
    }
    struct shared *shared = memory_zalloc(sizeof(*shared));
    shared->name = span_of(memory_string(name), name.len);
    shared->store =
        limits_redis_create(limits->worker, redis_store_get(limits->worker->stores, name), TABLE_NAME, PLACES);
    list_append(&limits->shared, &shared->link);
    return shared->store;
}

static struct limits_store *store_of(struct target_limits *limits, const struct model_target *to)
{
    if (!limits->table) {
        limits->table = limits_table_get(TABLE_NAME, PLACES);
        limits_memory_init(&limits->memory, limits->table);
    }
    return to->limit_store.len ? shared_store(limits, to->limit_store) : &limits->memory.store;
}

/* ---- reservation ---- */

struct target_hold {
    struct attempts *all;
    struct target_limits *limits;
    const struct model_target *to;
    struct limits_store *store;
    struct limits_call call;
    uint64_t output; /* tokens reserved for the answer */
    uint64_t granted_at;
    struct timer renew;
};

static void count(const struct target_hold *hold, const struct target_limit *limit, struct span result)
{
    const struct exchange *exchange = hold->all->exchange;
    struct span labels[] = {hold->to->target->name, limit->deployment, limit->what, result};
    metrics_add(
        metrics_series_find(exchange->worker->metrics, exchange->snapshot->generation, METRIC_TARGET_LIMIT, labels), 1);
}

static void renew(struct timer *timer)
{
    struct target_hold *hold = CONTAINER_OF(timer, struct target_hold, renew);
    struct loop *loop = hold->limits->worker->loop;
    limits_renew(hold->store, &hold->call, loop_now(loop), loop_wall(loop));
    timer_set(loop, timer, loop_now(loop) + LIMITS_RENEW);
}

static void granted(struct target_hold *hold)
{
    struct loop *loop = hold->limits->worker->loop;
    hold->granted_at = loop_now(loop);
    if (!hold->store->ops->renew)
        return;
    hold->renew.fire = renew;
    timer_set(loop, &hold->renew, hold->granted_at + LIMITS_RENEW);
}

static uint64_t model_hash(const struct exchange *exchange)
{
    return hash_bytes(exchange->model ? exchange->model->name : SPAN(""));
}

static uint64_t tokens_at_most(struct target_hold *hold)
{
    struct exchange *exchange = hold->all->exchange;
    const struct estimate *estimate = tokens_estimate(exchange);
    hold->output =
        tokens_output_most(exchange, limits_learned(hold->limits->table, model_hash(exchange), ASSUMED_OUTPUT));
    uint64_t most = estimate->tokens + hold->output;
    return most < LIMIT_AMOUNT_MAX ? most : LIMIT_AMOUNT_MAX;
}

static void fill(struct target_hold *hold, enum limits_when_lost when_lost)
{
    const struct model_target *to = hold->to;
    struct arena *arena = &hold->all->exchange->arena;
    hold->call.parts = ARENA_ARRAY(arena, struct limits_part, to->limit_count);
    for (unsigned i = 0; i < to->limit_count; i++) {
        const struct target_limit *limit = &to->limits[i];
        hold->call.parts[i] = (struct limits_part){.law = limit->law,
                                                   .key = limit->key,
                                                   .hash = limit->hash,
                                                   .tag = to->target->name,
                                                   .when_lost = when_lost,
                                                   .units = limit->unit == TARGET_TOKENS ? tokens_at_most(hold) : 1};
    }
    hold->call.count = to->limit_count;
}

static uint64_t refused(const struct target_hold *hold, enum limits_result result)
{
    if (result == LIMITS_LOST) {
        count(hold, &hold->to->limits[0], SPAN("lost"));
        return LOST_WAIT;
    }
    const struct limits_part *part;
    uint64_t wait = limits_wait(&hold->call, &part);
    if (!part) /* what refused had room again when it was looked at */
        return 1;
    count(hold, &hold->to->limits[part - hold->call.parts], SPAN("refused"));
    if (part->law.kind != LIMIT_CONCURRENCY)
        return wait;
    return limits_place_wait(&part->law, limits_learned(hold->limits->table, part->hash, 0));
}

static void answered(struct limits_call *call, enum limits_result result)
{
    struct target_hold *hold = CONTAINER_OF(call, struct target_hold, call);
    if (result == LIMITS_GRANTED) {
        granted(hold);
        attempts_reserved(hold->all, hold, 0);
    } else {
        attempts_reserved(hold->all, NULL, refused(hold, result));
    }
}

static enum limits_when_lost when_lost_of(const struct model_target *to)
{
    static const enum limits_when_lost of[] = {[CONFIG_STORE_LOST_LEASE] = LIMITS_LOST_LEASE,
                                               [CONFIG_STORE_LOST_OPEN] = LIMITS_LOST_OPEN,
                                               [CONFIG_STORE_LOST_CLOSED] = LIMITS_LOST_CLOSED};
    const struct config_target_limits *limits = to->target->config->limits;
    return limits ? of[limits->when_store_lost] : LIMITS_LOST_LEASE;
}

enum limits_result target_limits_reserve(struct attempts *all, const struct model_target *to, struct target_hold **ret,
                                         uint64_t *ret_wait)
{
    struct exchange *exchange = all->exchange;
    struct loop *loop = exchange->worker->loop;
    *ret = NULL;
    if (LIKELY(!to->limit_count))
        return LIMITS_GRANTED;
    struct target_limits *limits = exchange->worker->target_limits;
    struct target_hold *hold = ARENA_NEW(&exchange->arena, struct target_hold);
    hold->all = all;
    hold->limits = limits;
    hold->to = to;
    hold->store = store_of(limits, to);
    fill(hold, when_lost_of(to));
    uint64_t id[2] = {limits->id_prefix, ++limits->id_count};
    memcpy(hold->call.id, id, sizeof(id));
    hold->call.done = answered;
    enum limits_result result =
        limits_reserve(hold->store, &hold->call, loop, &exchange->pendings, loop_now(loop), loop_wall(loop));
    if (result == LIMITS_GRANTED)
        granted(hold);
    if (result == LIMITS_GRANTED || result == LIMITS_PENDING)
        *ret = hold;
    else
        *ret_wait = refused(hold, result);
    return result;
}

void target_limits_cancel(struct target_hold *hold)
{
    if (hold)
        pending_cancel(&hold->call.pending);
}

/* ---- settlement ---- */

/* Tokens of the attempt, as far as they can be known. */
static uint64_t tokens_used(const struct target_hold *hold, const struct target_use *use, uint64_t now)
{
    const struct exchange *exchange = hold->all->exchange;
    struct tokens used;
    if (!use->reached || use->refused)
        return 0;
    if (!use->delivered) /* it may have read the question */
        return exchange->estimate ? exchange->estimate->tokens : 0;
    if (!tokens_reported(exchange, &used)) {
        used = tokens_guess(exchange, hold->output);
    } else if (tokens_are_written(exchange)) {
        uint64_t choices = tokens_choices(exchange);
        limits_learn(hold->limits->table, model_hash(exchange), used.output / choices + (used.output % choices != 0),
                     now);
    }
    uint64_t all = used.input + used.output;
    return all < LIMIT_AMOUNT_MAX ? all : LIMIT_AMOUNT_MAX;
}

void target_limits_settle(struct target_hold *hold, const struct target_use *use)
{
    if (!hold)
        return;
    struct loop *loop = hold->limits->worker->loop;
    uint64_t now = loop_now(loop);
    timer_clear(loop, &hold->renew);
    for (unsigned i = 0; i < hold->call.count; i++) {
        const struct target_limit *limit = &hold->to->limits[i];
        struct limits_part *part = &hold->call.parts[i];
        if (limit->unit == TARGET_TOKENS)
            part->units = tokens_used(hold, use, now);
        else
            part->units = use->reached;
        if (limit->unit == TARGET_CONCURRENCY)
            limits_learn(hold->limits->table, part->hash, now - hold->granted_at, now);
    }
    limits_settle(hold->store, &hold->call, now, loop_wall(loop));
}
