/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/clock.h"
#include "base/encoding.h"
#include "filters/cache.h"
#include "filters/rate_limit.h"
#include "gateway/snapshot.h"
#include "openai/replay.h"

#define TYPE_JSON   "application/json"
#define TYPE_EVENTS "text/event-stream; charset=utf-8"

/* ---- forms ---- */

static bool as_events(const struct exchange *exchange, const struct cache_entry *entry, struct cache_body *ret)
{
    const struct cache_facts *facts = &entry->facts;
    bool usage = exchange->info.include_usage == TRI_TRUE;
    if (facts->form == CACHE_FORM_EVENTS) {
        ret->parts[0] = entry->body;
        if (!usage)
            replay_without_usage(entry->body, (size_t)facts->usage_start, (size_t)facts->usage_end, ret->parts);
        return true;
    }
    struct replay_options options = {.include_usage = usage, .judged = cache_entry_was_judged(entry)};
    ret->type = SPAN(TYPE_EVENTS);
    bool made = replay_events(facts->operation, entry->body, &options, &ret->made);
    ret->parts[0] = buffer_span(&ret->made);
    return made;
}

static bool as_json(const struct cache_entry *entry, struct cache_body *ret)
{
    if (entry->facts.form == CACHE_FORM_JSON) {
        ret->parts[0] = entry->body;
        return true;
    }
    ret->type = SPAN(TYPE_JSON);
    bool made = replay_json(entry->facts.operation, entry->body, &ret->made);
    ret->parts[0] = buffer_span(&ret->made);
    return made;
}

/* ---- fields ---- */

/* Room for the longest Cache-Status there is, and then some. */
#define STATUS_MOST 192

/* A field's value as it grows; on every hit, so without printf. */
struct value {
    char *at;
};

static void put(struct value *value, struct span text)
{
    memcpy(value->at, text.ptr, text.len);
    value->at += text.len;
}

static void put_number(struct value *value, uint64_t number)
{
    char digits[20];
    size_t count = 0;
    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    while (count)
        *value->at++ = digits[--count];
}

/* `; key="..."`, for a purge of this very answer. A digest: it says nothing of what was asked. */
static void put_key(struct value *value, const struct cache_state *state)
{
    if (!state->has_key)
        return;
    put(value, SPAN("; key=\""));
    value->at = encode_base64url_at(value->at, span_of((const char *)state->key, sizeof(state->key)));
    put(value, SPAN("\""));
}

static void add(const struct filter *filter, struct fields *fields, enum field_id id, char *start, struct value end)
{
    fields_add_id(fields, &filter->exchange->arena, id, span_of(start, (size_t)(end.at - start)));
}

/* RFC 9111 5.1 and RFC 9211. */
static void add_fields(const struct filter *filter, const struct cache_facts *facts, enum cache_result result,
                       struct fields *fields)
{
    const struct cache_state *state = filter->state;
    struct arena *arena = &filter->exchange->arena;
    if (result != CACHE_HIT && result != CACHE_STALE) {
        cache_status_forwarded(filter, fields);
        return;
    }
    uint64_t age = cache_age(filter->instance, facts), fresh = cache_fresh_for(facts, &state->wishes);
    char *start = arena_bytes(arena, 20);
    struct value value = {start};
    put_number(&value, age / CLOCK_SECOND);
    add(filter, fields, FIELD_AGE, start, value);
    value.at = start = arena_bytes(arena, STATUS_MOST);
    put(&value, SPAN("postern; hit"));
    /* Given after the targets had failed: the request was forwarded. */
    if (result == CACHE_STALE && state->forward)
        put(&value, SPAN("; fwd=stale"));
    put(&value, age > fresh ? SPAN("; ttl=-") : SPAN("; ttl="));
    put_number(&value, (age > fresh ? age - fresh : fresh - age) / CLOCK_SECOND);
    put_key(&value, state);
    add(filter, fields, FIELD_CACHE_STATUS, start, value);
}

void cache_status_forwarded(const struct filter *filter, struct fields *fields)
{
    const struct cache_state *state = filter->state;
    char *start = arena_bytes(&filter->exchange->arena, STATUS_MOST);
    struct value value = {start};
    put(&value, SPAN("postern; fwd="));
    if (state->result == CACHE_BYPASS) {
        put(&value, SPAN("bypass; detail="));
        put(&value, cache_bypass_word(state->bypass));
    } else {
        put(&value, span_str(state->forward ? state->forward : "uri-miss"));
        if (state->collapsed)
            put(&value, SPAN("; collapsed"));
        if (state->result == CACHE_PARTIAL)
            put(&value, SPAN("; detail=partial"));
        put_key(&value, state);
    }
    add(filter, fields, FIELD_CACHE_STATUS, start, value);
}

/* ---- what it cost, and what was saved ---- */

void cache_count_saved(const struct filter *filter, const struct usage *usage, uint64_t latency)
{
    const struct exchange *exchange = filter->exchange;
    struct metrics *metrics = exchange->worker->metrics;
    uint64_t generation = exchange->snapshot->generation;
    struct span labels[] = {filter->name, exchange->model->name, SPAN("input")};
    metrics_add(metrics_series_find(metrics, generation, METRIC_CACHE_TOKENS, labels), usage->input);
    labels[2] = SPAN("output");
    metrics_add(metrics_series_find(metrics, generation, METRIC_CACHE_TOKENS, labels), usage->output);
    metrics_add(metrics_series_find(metrics, generation, METRIC_CACHE_TIME, labels), latency);
    uint64_t cost = rate_limit_cost(exchange, usage);
    if (cost)
        metrics_add(metrics_series_find(metrics, generation, METRIC_CACHE_COST, labels), cost);
}

bool cache_answer(struct filter *filter, const struct cache_entry *entry, enum cache_result result,
                  struct fields *fields, struct cache_body *ret)
{
    const struct cache_settings *settings = filter->settings;
    const struct cache_facts *facts = &entry->facts;
    struct exchange *exchange = filter->exchange;
    *ret = (struct cache_body){.type = facts->type};
    if (!(exchange->operation_streams ? as_events(exchange, entry, ret) : as_json(entry, ret))) {
        buffer_finish(&ret->made);
        return false;
    }
    cache_note(filter, result);
    add_fields(filter, facts, result, fields);
    exchange->facts.usage = facts->usage;
    exchange->facts.model = arena_copy(&exchange->arena, facts->served);
    exchange->usage_free = settings->hits == CACHE_HITS_FREE;
    if (result == CACHE_HIT || result == CACHE_STALE)
        cache_count_saved(filter, &facts->usage, facts->latency);
    return true;
}
