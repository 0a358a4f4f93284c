/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/encoding.h"
#include "filters/cache.h"
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
    struct replay_options options = {.include_usage = usage};
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

/* `; key="..."`, for a purge of this very answer. A digest: it says nothing of what was asked. */
static struct span key_part(const struct filter *filter)
{
    const struct cache_state *state = filter->state;
    struct buffer key = {0};
    if (!state->has_key)
        return (struct span){0};
    buffer_append(&key, SPAN("; key=\""));
    encode_base64url(&key, span_of((const char *)state->key, sizeof(state->key)));
    buffer_append(&key, SPAN("\""));
    struct span part = arena_copy(&filter->exchange->arena, buffer_span(&key));
    buffer_finish(&key);
    return part;
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
    uint64_t age = cache_age(filter->instance, facts);
    long long left = ((long long)facts->fresh - (long long)age) / (long long)CLOCK_SECOND;
    fields_add_id(fields, arena, FIELD_AGE, arena_format(arena, "%llu", (unsigned long long)(age / CLOCK_SECOND)));
    /* Given after the targets had failed: the request was forwarded. */
    bool consoles = result == CACHE_STALE && state->forward;
    fields_add_id(fields, arena, FIELD_CACHE_STATUS,
                  arena_format(arena, "postern; hit%s; ttl=%lld%.*s", consoles ? "; fwd=stale" : "", left,
                               SPAN_ARG(key_part(filter))));
}

void cache_status_forwarded(const struct filter *filter, struct fields *fields)
{
    const struct cache_state *state = filter->state;
    struct arena *arena = &filter->exchange->arena;
    struct span value;
    if (state->result == CACHE_BYPASS)
        value = arena_format(arena, "postern; fwd=bypass; detail=%.*s", SPAN_ARG(cache_bypass_word(state->bypass)));
    else
        value = arena_format(arena, "postern; fwd=%s%s%s%.*s", state->forward ? state->forward : "uri-miss",
                             state->collapsed ? "; collapsed" : "",
                             state->result == CACHE_PARTIAL ? "; detail=partial" : "", SPAN_ARG(key_part(filter)));
    fields_add_id(fields, arena, FIELD_CACHE_STATUS, value);
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
    metrics_add(metrics_series_find(metrics, generation, METRIC_CACHE_TIME, labels), latency / CLOCK_MS);
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
