/* SPDX-License-Identifier: Apache-2.0 */
#include "filters/rate_limit.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/memory.h"
#include "gateway/limits_redis.h"
#include "gateway/metrics_series.h"
#include "gateway/redis_stores.h"
#include "gateway/retry_after.h"
#include "gateway/snapshot.h"
#include "gateway/worker.h"

/* After which it is worth while to ask again whether the limits can be counted. */
#define LOST_WAIT (1 * CLOCK_SECOND)

/* ---- instance ---- */

static struct redis_store *named_store(struct worker *worker, const struct rate_limit_settings *settings)
{
    return redis_store_get(worker->stores, settings->store);
}

/* What has been learned and who waits go on, and so do counts; numbers come from the exchange's settings. */
static void *attach(struct worker *worker, const void *settings, struct span name, void *previous)
{
    const struct rate_limit_settings *given = settings;
    struct rate_limit_instance *before = previous;
    bool shared = given->store.len > 0;
    if (before && shared == (before->shared != NULL)) {
        if (shared)
            limits_redis_use(before->shared, named_store(worker, given));
        return before;
    }
    /* Counts that move between memory and a store: what was granted by one is settled there. */
    struct rate_limit_instance *instance = memory_zalloc(sizeof(*instance));
    instance->worker = worker;
    instance->table = limits_table_get(name, given->keys);
    limits_memory_init(&instance->memory, instance->table);
    instance->store = &instance->memory.store;
    if (shared) {
        instance->shared = limits_redis_create(worker, named_store(worker, given), name, given->keys);
        instance->store = instance->shared;
    }
    crypto_random(&instance->id_prefix, sizeof(instance->id_prefix));
    rate_limit_queue_init(instance);
    return instance;
}

static void detach(struct worker *worker, void *detached)
{
    struct rate_limit_instance *instance = detached;
    timer_clear(worker->loop, &instance->timer);
    task_cancel(&instance->look);
    limits_redis_destroy(instance->shared);
    limits_table_unref(instance->table);
    free(instance);
}

/* ---- reservation ---- */

void rate_limit_count(const struct filter *filter, struct span limit, struct span result)
{
    const struct exchange *exchange = filter->exchange;
    struct span labels[] = {filter->name, limit, result};
    metrics_add(metrics_series_find(exchange->worker->metrics, exchange->snapshot->generation, METRIC_LIMIT, labels),
                1);
}

static void renew(struct timer *timer)
{
    struct rate_limit_state *state = CONTAINER_OF(timer, struct rate_limit_state, renew);
    const struct rate_limit_instance *instance = state->filter->instance;
    struct loop *loop = instance->worker->loop;
    limits_renew(instance->store, &state->call, loop_now(loop), loop_wall(loop));
    timer_set(loop, timer, loop_now(loop) + LIMITS_RENEW);
}

static void granted(struct filter *filter)
{
    struct rate_limit_state *state = filter->state;
    const struct rate_limit_instance *instance = filter->instance;
    state->granted_at = loop_now(instance->worker->loop);
    for (unsigned i = 0; i < state->call.count; i++)
        if (state->call.parts[i].shadow && !state->call.parts[i].answer.granted)
            rate_limit_count(filter, state->of[i]->name, SPAN("shadow"));
    rate_limit_set_budget(filter);
    if (!instance->store->ops->renew)
        return;
    state->renew.fire = renew;
    timer_set(instance->worker->loop, &state->renew, state->granted_at + LIMITS_RENEW);
}

/* How often the store could not be asked; the parts of one limit lie together. */
static void note_local(const struct filter *filter)
{
    const struct rate_limit_state *state = filter->state;
    const struct limit_settings *noted = NULL;
    for (unsigned i = 0; state->call.local && i < state->call.count; i++) {
        if (!state->call.parts[i].local || state->of[i] == noted)
            continue;
        noted = state->of[i];
        rate_limit_count(filter, noted->name, SPAN("local"));
    }
}

static void answered(struct limits_call *call, enum limits_result result);

enum limits_result rate_limit_reserve(struct filter *filter)
{
    struct rate_limit_state *state = filter->state;
    struct rate_limit_instance *instance = filter->instance;
    struct loop *loop = instance->worker->loop;
    uint64_t id[2] = {instance->id_prefix, ++instance->id_count};
    memcpy(state->call.id, id, sizeof(id));
    state->call.done = answered;
    enum limits_result result =
        limits_reserve(instance->store, &state->call, loop, filter_pendings(filter), loop_now(loop), loop_wall(loop));
    state->asking = result == LIMITS_PENDING;
    if (!state->asking)
        note_local(filter);
    if (result == LIMITS_GRANTED)
        granted(filter);
    return result;
}

static enum verdict refuse_or_wait(struct filter *filter)
{
    return rate_limit_wait(filter) ? FILTER_WAIT : rate_limit_refuse(filter);
}

enum verdict rate_limit_lost(struct filter *filter)
{
    rate_limit_count(filter, (struct span){0}, SPAN("lost"));
    retry_after_fields(filter->exchange, LOST_WAIT);
    filter_fail(filter, FAULT_OVERLOADED, SPAN("The limits cannot be counted at the moment; try again."),
                (struct span){0});
    return FILTER_FAIL;
}

/* The store's answer came later: the exchange waits at this filter, perhaps in the queue. */
static void answered(struct limits_call *call, enum limits_result result)
{
    struct rate_limit_state *state = CONTAINER_OF(call, struct rate_limit_state, call);
    struct filter *filter = state->filter;
    state->asking = false;
    note_local(filter);
    if (result == LIMITS_GRANTED)
        granted(filter);
    if (state->queued)
        rate_limit_queue_answered(state, result);
    else if (result == LIMITS_GRANTED)
        filter_continue(filter);
    else if (result == LIMITS_LOST)
        (void)rate_limit_lost(filter);
    else
        (void)refuse_or_wait(filter);
}

static enum verdict on_request(struct filter *filter)
{
    const struct rate_limit_settings *settings = filter->settings;
    struct rate_limit_state *state = filter->state;
    state->filter = filter;
    if (rate_limit_exempt(settings, &filter->exchange->consumer) || !rate_limit_parts(filter))
        return FILTER_PASS;
    if (rate_limit_must_queue(filter)) {
        for (unsigned i = 0; i < state->call.count; i++)
            state->call.parts[i].answer = (struct limit_answer){.granted = true};
        return rate_limit_wait(filter) ? FILTER_WAIT : rate_limit_turn_away(filter);
    }
    switch (rate_limit_reserve(filter)) {
    case LIMITS_GRANTED:
        return FILTER_PASS;
    case LIMITS_PENDING:
        return FILTER_WAIT;
    case LIMITS_REFUSED:
        return refuse_or_wait(filter);
    case LIMITS_LOST:
        break;
    }
    return rate_limit_lost(filter);
}

/* ---- the answer and the end ---- */

static enum verdict on_response_head(struct filter *filter)
{
    const struct rate_limit_state *state = filter->state;
    if (state->call.granted)
        rate_limit_answer_fields(filter);
    return FILTER_PASS;
}

static void on_end(struct filter *filter, enum outcome outcome)
{
    (void)outcome; /* what happened is in the exchange */
    struct rate_limit_state *state = filter->state;
    struct rate_limit_instance *instance = filter->instance;
    if (!state->call.granted)
        return;
    struct loop *loop = instance->worker->loop;
    uint64_t now = loop_now(loop), held = now - state->granted_at;
    timer_clear(loop, &state->renew);
    rate_limit_charge(filter);
    limits_settle(instance->store, &state->call, now, loop_wall(loop));
    instance->hold = instance->hold ? instance->hold - instance->hold / 8 + held / 8 : held;
    rate_limit_queue_wake(filter);
}

/* ---- metrics ---- */

/* How many processes there are is the same on every worker. */
static void collect(struct worker *worker, void *collected, struct span name)
{
    const struct rate_limit_instance *instance = collected;
    if (!instance->shared)
        return;
    struct limits_redis_counts counts = limits_redis_counts(instance->shared);
    metrics_copy(worker->metrics, METRIC_LIMIT_OWED, &name, counts.waiting);
    metrics_copy(worker->metrics, METRIC_LIMIT_DROPPED, &name, counts.dropped);
    if (worker->index == 0)
        metrics_copy(worker->metrics, METRIC_LIMIT_INSTANCES, &name, counts.instances);
}

/* ---- load ---- */

static bool tells_callers(const void *settings, struct place *ret_place)
{
    const struct rate_limit_settings *all = settings;
    for (size_t i = 0; i < all->limit_count; i++) {
        const struct limit_settings *limit = &all->limits[i];
        for (size_t k = 0; k < limit->per.count; k++) {
            struct span word = limit->per.items[k];
            if (!span_equal(word, SPAN("consumer")) && !span_equal(word, SPAN("group")) &&
                !span_starts_with(word, SPAN("attribute:")))
                continue;
            *ret_place = settings_place_at(&limit->settings, "per", k);
            return true;
        }
    }
    return false;
}

/* ---- simulate ---- */

static void explain(const struct filter *filter, struct buffer *sentence)
{
    const struct rate_limit_settings *settings = filter->settings;
    if (rate_limit_exempt(settings, &filter->exchange->consumer)) {
        buffer_append(sentence, SPAN("does not limit this caller, who is exempt."));
        return;
    }
    unsigned count = 0;
    for (size_t i = 0; i < settings->limit_count; i++) {
        const struct limit_settings *limit = &settings->limits[i];
        if (!rate_limit_fits(limit, filter->exchange))
            continue;
        buffer_append(sentence, count++ ? SPAN(", ") : SPAN("counts this request in "));
        buffer_format(sentence, "\"%.*s\"%s", SPAN_ARG(limit->name), limit->shadow ? " (shadow)" : "");
    }
    buffer_append(sentence, count ? SPAN(".") : SPAN("has no limit that fits this request."));
}

extern const struct filter_type filter_rate_limit;
const struct filter_type filter_rate_limit = {
    .name = "rate_limit",
    .settings = &rate_limit_spec,
    .state_size = sizeof(struct rate_limit_state),
    .attach = attach,
    .detach = detach,
    .collect = collect,
    .tells_callers = tells_callers,
    .on_request = on_request,
    .on_response_head = on_response_head,
    .on_end = on_end,
    .explain = explain,
};
