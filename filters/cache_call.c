/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "filters/cache.h"
#include "gateway/snapshot.h"
#include "net/pending.h"
#include "openai/replay.h"

/* How often one looks whether another pod has put its answer into the store. */
#define LEASE_LOOK (50 * CLOCK_MS)

/* ---- beginning ---- */

static struct cache_errand *create(const struct filter *filter, const uint8_t *key, struct cache_entry *stale)
{
    const struct cache_settings *settings = filter->settings;
    const struct cache_state *state = filter->state;
    struct cache_errand *call = memory_zalloc(sizeof(*call));
    uint64_t longer = settings->stale_while_revalidate > settings->stale_if_error ? settings->stale_while_revalidate
                                                                                  : settings->stale_if_error;
    memcpy(call->key, key, CACHE_KEY_BYTES);
    call->ttl = cache_rule_ttl(settings, state->rule);
    call->life = call->ttl + longer;
    call->max_size = cache_rule_size(settings, state->rule);
    call->wishes = state->wishes;
    call->skip = state->wishes.no_cache;
    call->stale = stale;
    return call;
}

static void free_call(void *state, void *result)
{
    struct cache_errand *call = state;
    cache_entry_unref(result);
    cache_entry_unref(call->stale);
    free(call);
}

static struct flight_plan plan_for(const struct filter *filter, struct cache_errand *call)
{
    const struct cache_settings *settings = filter->settings;
    const struct exchange *exchange = filter->exchange;
    const struct cache_state *state = filter->state;
    /* A batch is put together when all of it has come, and kept in parts: none that the memory has no room for. */
    size_t batch = state->inputs * CACHE_EMBEDDING_MOST;
    batch = batch < settings->memory ? batch : settings->memory;
    struct flight_plan plan = {.bound = batch > call->max_size ? batch : call->max_size,
                               .slow = settings->slow_follower,
                               .ops = &cache_flight_ops,
                               .state = call,
                               .unhidden = exchange->info.include_usage == TRI_TRUE};
    memcpy(plan.key, call->key, FLIGHT_KEY);
    /* Live bytes serve one form only; what is kept of them serves both. */
    plan.key[0] ^= exchange->operation_streams ? 1 : 0;
    /* What is fresh enough for one rule may be too old for another. */
    for (unsigned i = 0; i < sizeof(call->ttl); i++)
        plan.key[1 + i] ^= (uint8_t)(call->ttl >> (8 * i));
    return plan;
}

enum verdict cache_call_board(struct filter *filter, const uint8_t *key, struct cache_entry *stale)
{
    struct cache_state *state = filter->state;
    const struct cache_instance *instance = filter->instance;
    struct cache_errand *call = create(filter, key, stale);
    struct flight_plan plan = plan_for(filter, call);
    plan.alone = cache_wishes_special(&state->wishes);
    bool began = flight_board(instance->desk, filter, &plan) == FLIGHT_BEGAN;
    if (!began)
        free_call(call, NULL);
    state->collapsed = !began;
    cache_note(filter, began ? CACHE_MISS : CACHE_COLLAPSED);
    return FILTER_ANSWERED;
}

void cache_call_revalidate(struct filter *filter, const uint8_t *key)
{
    const struct cache_instance *instance = filter->instance;
    struct cache_errand *call = create(filter, key, NULL);
    struct flight_plan plan = plan_for(filter, call);
    plan.background = true;
    if (flight_board(instance->desk, filter, &plan) != FLIGHT_BEGAN)
        free_call(call, NULL);
}

/* ---- giving what is kept ---- */

void cache_call_give(struct flight *flight, struct cache_errand *call, struct cache_entry *entry,
                     enum cache_result result)
{
    call->given = true;
    call->result = result;
    flight_give(flight, entry);
}

enum verdict cache_call_finish(struct filter *filter)
{
    filter_answer(filter, 200, (struct span){0}, (struct span){0});
    return FILTER_ANSWERED;
}

/* ---- the shared store, before the target ---- */

struct cache_visit {
    struct filter *filter;
    struct cache_errand *call;
    struct cache_lookup lookup;
    struct cache_lease lease;
    struct pending pause; /* while another pod fetches the answer */
    uint64_t patience;    /* loop time until when it is waited for */
    bool leased, waited;
};

enum step { STEP_FETCH, STEP_GIVEN, STEP_LEASE };

/* Whether what the store had can be said in the form asked for: who wrote it may have been of another version. */
static bool serves(const struct filter *filter, const struct cache_entry *entry)
{
    bool events = entry->facts.form == CACHE_FORM_EVENTS;
    struct replay_facts seen;
    if (entry->facts.operation != filter->exchange->call.operation->id)
        return false;
    if (events == filter->exchange->operation_streams)
        return true;
    replay_scan(entry->facts.operation, events ? REPLAY_EVENTS : REPLAY_JSON, entry->body, &seen);
    return seen.flaw == REPLAY_SOUND;
}

/* What to do with what the store had. The reference is taken. */
static enum step use(struct filter *filter, struct cache_errand *call, struct cache_entry *entry)
{
    struct flight *flight = filter->exchange->flight;
    if (!serves(filter, entry)) {
        (void)cache_memory_remove(((struct cache_instance *)filter->instance)->memory, call->key, entry);
        cache_entry_unref(entry);
        return STEP_LEASE;
    }
    if (cache_is_fresh(filter->instance, &entry->facts, &call->wishes)) {
        cache_call_give(flight, call, entry, CACHE_HIT);
        return STEP_GIVEN;
    }
    if (cache_may_revalidate(filter, &entry->facts, &call->wishes)) {
        flight_stay(flight);
        call->revalidates = true;
        cache_call_give(flight, call, entry, CACHE_STALE);
        return STEP_FETCH;
    }
    cache_entry_unref(call->stale);
    call->stale = entry;
    return STEP_LEASE;
}

/* Nothing that serves is kept. */
static void fetch(struct cache_visit *visit)
{
    if (visit->call->wishes.only_if_cached && !visit->call->given)
        filter_fail(visit->filter, FAULT_NOT_CACHED, (struct span){0}, (struct span){0});
    else
        filter_continue(visit->filter);
}

static void looked_up(struct cache_lookup *lookup, enum cache_lookup_result result, struct span value);

static void look_up(struct cache_visit *visit)
{
    struct cache_instance *instance = visit->filter->instance;
    cache_redis_get(instance->redis, filter_pendings(visit->filter), &visit->lookup, visit->call->key, looked_up);
}

static void paused(struct pending *pause)
{
    look_up(CONTAINER_OF(pause, struct cache_visit, pause));
}

static void forget(struct pending *pause)
{
    (void)pause; /* nothing is under way but time */
}

static void lease_answered(struct cache_lease *lease, enum cache_lease_result result)
{
    struct cache_visit *visit = CONTAINER_OF(lease, struct cache_visit, lease);
    const struct cache_settings *settings = visit->filter->settings;
    struct loop *loop = visit->filter->exchange->worker->loop;
    uint64_t now = loop_now(loop);
    visit->leased = result == CACHE_LEASE_HELD;
    if (!visit->patience)
        visit->patience = now + settings->lease;
    if (result != CACHE_LEASE_OTHERS || now >= visit->patience) {
        fetch(visit);
        return;
    }
    pending_start(filter_pendings(visit->filter), &visit->pause, loop, now + LEASE_LOOK, paused, forget);
}

static void go_on(struct cache_visit *visit, enum step step)
{
    struct filter *filter = visit->filter;
    const struct cache_settings *settings = filter->settings;
    struct cache_instance *instance = filter->instance;
    bool lease = step == STEP_LEASE && settings->lease && !cache_wishes_special(&visit->call->wishes);
    if (step == STEP_GIVEN)
        (void)cache_call_finish(filter);
    else if (lease && cache_store_is_up(instance))
        cache_redis_lease(instance->redis, filter_pendings(filter), &visit->lease, visit->call->key, settings->lease,
                          lease_answered);
    else
        fetch(visit);
}

static void looked_up(struct cache_lookup *lookup, enum cache_lookup_result result, struct span value)
{
    struct cache_visit *visit = CONTAINER_OF(lookup, struct cache_visit, lookup);
    struct filter *filter = visit->filter;
    struct cache_entry *entry = NULL;
    if (result == CACHE_LOOKUP_FOUND)
        entry = cache_open(filter, visit->call->key, value);
    else
        cache_count(filter, METRIC_CACHE_READ, result == CACHE_LOOKUP_ABSENT ? SPAN("absent") : SPAN("failed"));
    enum step step = result == CACHE_LOOKUP_FAILED ? STEP_FETCH : STEP_LEASE;
    go_on(visit, entry ? use(filter, visit->call, entry) : step);
}

enum verdict cache_call_request(struct filter *filter)
{
    struct exchange *exchange = filter->exchange;
    struct cache_errand *call = flight_state(exchange->flight);
    struct cache_instance *instance = filter->instance;
    if (exchange->call.operation->id == OPERATION_EMBEDDINGS)
        return cache_batch_request(filter, call);
    if (call->wishes.only_if_cached && !cache_store_is_up(instance)) { /* it was up a moment ago */
        filter_fail(filter, FAULT_NOT_CACHED, (struct span){0}, (struct span){0});
        return FILTER_FAIL;
    }
    if (call->skip || !cache_store_is_up(instance))
        return FILTER_PASS;
    call->visit = ARENA_NEW(&exchange->arena, struct cache_visit);
    call->visit->filter = filter;
    call->visit->call = call;
    look_up(call->visit);
    return FILTER_WAIT;
}

/* ---- keeping what comes ---- */

/* The filter of the flown exchange that began the flight. */
static const struct filter *filter_of(const struct exchange *flown)
{
    return &flown->filters[0];
}

uint64_t cache_call_fresh(const struct cache_errand *call, const struct filter *filter)
{
    const struct cache_settings *settings = filter->settings;
    uint64_t part = call->ttl / 100 * settings->ttl_jitter;
    return part ? call->ttl - hash_random(&filter->exchange->worker->random) % part : call->ttl;
}

struct cache_facts cache_call_facts(const struct cache_errand *call, const struct filter *filter)
{
    const struct cache_settings *settings = filter->settings;
    const struct exchange *flown = filter->exchange;
    uint64_t end = flown->answer_end_at, latency = end > flown->body_at ? end - flown->body_at : 0;
    return (struct cache_facts){.operation = flown->call.operation->id,
                                .status = flown->response.status,
                                /* When it was asked for (RFC 9111 4.2.3), so that a purge meanwhile covers it. */
                                .created = loop_wall(flown->worker->loop) - latency,
                                .fresh = cache_call_fresh(call, filter),
                                .latency = latency,
                                .type = fields_value(&flown->response.fields, FIELD_CONTENT_TYPE),
                                .served = flown->facts.model,
                                .model = flown->model_asked,
                                .consumer =
                                    settings->scope == CACHE_TENANT_CONSUMER ? flown->consumer.name : (struct span){0}};
}

/*
 * Whether what was learned as the answer went by says that it is good, so that nobody need look through it before it is
 * wanted. What goes to a store is judged first: others rely on it.
 */
static bool seems_sound(const struct filter *filter)
{
    const struct exchange *flown = filter->exchange;
    const struct answer_facts *facts = &flown->facts;
    const unsigned good = FINISH_STOP | FINISH_LENGTH | FINISH_TOOL_CALLS;
    const struct cache_instance *instance = filter->instance;
    return !instance->redis && !flown->response_is_stream && !facts->error && facts->finish &&
           !(facts->finish & ~good) && facts->usage.reported && !flown->usage_estimated;
}

static struct cache_entry *judged(const struct filter *filter, struct cache_facts *facts, struct span bytes)
{
    struct replay_facts seen;
    replay_scan(facts->operation, facts->form == CACHE_FORM_EVENTS ? REPLAY_EVENTS : REPLAY_JSON, bytes, &seen);
    if (seen.flaw != REPLAY_SOUND) {
        cache_count(filter, METRIC_CACHE_STORED, span_str(replay_flaw_name(seen.flaw)));
        return NULL;
    }
    facts->usage = seen.usage;
    facts->usage_start = seen.usage_start;
    facts->usage_end = seen.usage_end;
    return cache_entry_create(facts, bytes);
}

static void keep(const struct filter *filter, const struct cache_errand *call, struct span bytes)
{
    struct cache_facts facts = cache_call_facts(call, filter);
    struct cache_entry *entry;
    facts.form = filter->exchange->response_is_stream ? CACHE_FORM_EVENTS : CACHE_FORM_JSON;
    facts.usage = filter->exchange->facts.usage;
    if (seems_sound(filter)) {
        entry = cache_entry_create(&facts, bytes);
        cache_entry_put_off(entry);
    } else {
        entry = judged(filter, &facts, bytes);
    }
    if (!entry)
        return;
    cache_keep(filter, call->key, entry, call->life);
    cache_entry_unref(entry);
}

static bool is_encoded(const struct message *response)
{
    struct span encoding = fields_value(&response->fields, FIELD_CONTENT_ENCODING);
    return encoding.len && !span_equal_nocase(encoding, SPAN("identity"));
}

/* A word when what came must not be kept. */
static struct span unfit(const struct exchange *flown, bool complete)
{
    if (!complete)
        return SPAN("unfinished");
    if (flown->response.status != 200)
        return SPAN("error");
    if (flown->budget_ended) /* what one caller could afford is not the answer */
        return SPAN("over_budget");
    return is_encoded(&flown->response) ? SPAN("compressed") : (struct span){0};
}

static void end(struct flight *flight, struct exchange *flown, bool complete)
{
    struct cache_errand *call = flight_state(flight);
    const struct filter *filter = filter_of(flown);
    if (flown->call.operation->id == OPERATION_EMBEDDINGS) {
        cache_batch_end(flight, flown, call, complete);
        return;
    }
    struct span why = unfit(flown, complete);
    struct buffer bytes = {0};
    if (call->given && !call->revalidates)
        why = (struct span){0};
    else if (why.len)
        cache_count(filter, METRIC_CACHE_STORED, why);
    else if (!flight_bytes(flight, &bytes))
        cache_count(filter, METRIC_CACHE_STORED, SPAN("too_large"));
    else
        keep(filter, call, buffer_span(&bytes));
    buffer_finish(&bytes);
    const struct cache_instance *instance = filter->instance;
    if (call->visit && call->visit->leased)
        cache_redis_release(instance->redis, &call->visit->lease);
    call->visit = NULL;
}

/* An error of the targets, and an answer is kept that may stand in for it. */
static void head(struct flight *flight, struct exchange *flown)
{
    struct cache_errand *call = flight_state(flight);
    struct cache_entry *stale = call->stale;
    if (call->given || !stale || flown->response.status < 500 || flown->fault == FAULT_NOT_CACHED ||
        !cache_may_console(filter_of(flown), &stale->facts, &call->wishes))
        return;
    call->stale = NULL;
    cache_call_give(flight, call, stale, CACHE_STALE);
}

/* ---- followers ---- */

static void dress(struct flight_follower *follower)
{
    struct filter *filter = follower->filter;
    const struct cache_settings *settings = filter->settings;
    filter->exchange->usage_free = !follower->first && settings->hits == CACHE_HITS_FREE;
    cache_status_forwarded(filter, &filter->exchange->response.fields);
}

static bool answer(struct flight_follower *follower, void *given, struct buffer *ret, uint64_t *ret_pause)
{
    struct filter *filter = follower->filter;
    struct exchange *exchange = filter->exchange;
    const struct cache_errand *call = flight_state(follower->flight);
    const struct cache_entry *entry = given;
    struct cache_state *state = filter->state;
    struct cache_body body;
    enum cache_result result = call->result == CACHE_MISS ? state->result : call->result;
    if (result == CACHE_HIT)
        state->forward = NULL;
    if (!entry || !cache_answer(filter, entry, result, &exchange->response.fields, &body))
        return false;
    exchange->response.status = entry->facts.status;
    fields_add_id(&exchange->response.fields, &exchange->arena, FIELD_CONTENT_TYPE,
                  arena_copy(&exchange->arena, body.type));
    const struct cache_settings *settings = filter->settings;
    if (exchange->operation_streams)
        *ret_pause = settings->pace;
    buffer_append(ret, body.parts[0]);
    buffer_append(ret, body.parts[1]);
    buffer_finish(&body.made);
    if (follower->first && call->spent.reported) { /* what was missing of a batch has been paid for */
        exchange->facts.usage = call->spent;
        exchange->usage_free = false;
    }
    return true;
}

const struct flight_ops cache_flight_ops = {
    .head = head, .end = end, .dress = dress, .answer = answer, .finish = free_call};
