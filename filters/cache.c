/* SPDX-License-Identifier: Apache-2.0 */
#include "filters/cache.h"

#include "base/clock.h"
#include "gateway/paced_stream.h"
#include "gateway/snapshot.h"

/* ---- freshness ---- */

uint64_t cache_age(const struct cache_instance *instance, const struct cache_facts *facts)
{
    uint64_t now = loop_wall(instance->worker->loop);
    /* Another pod's clock is ahead, or this one's was put back: nobody knows, so it is as old as it is ahead. */
    return now > facts->created ? now - facts->created : facts->created - now;
}

uint64_t cache_fresh_for(const struct cache_facts *facts, const struct cache_wishes *wishes)
{
    return facts->fresh < wishes->ttl ? facts->fresh : wishes->ttl;
}

bool cache_is_fresh(const struct cache_instance *instance, const struct cache_facts *facts,
                    const struct cache_wishes *wishes)
{
    uint64_t age = cache_age(instance, facts), fresh = cache_fresh_for(facts, wishes);
    return age < fresh && age <= wishes->max_age && fresh - age >= wishes->min_fresh;
}

bool cache_may_revalidate(const struct filter *filter, const struct cache_facts *facts,
                          const struct cache_wishes *wishes)
{
    const struct cache_settings *settings = filter->settings;
    bool undemanding = wishes->max_age == UINT64_MAX && !wishes->min_fresh && !wishes->only_if_cached;
    return undemanding &&
           cache_age(filter->instance, facts) < cache_fresh_for(facts, wishes) + settings->stale_while_revalidate;
}

bool cache_may_console(const struct filter *filter, const struct cache_facts *facts, const struct cache_wishes *wishes)
{
    const struct cache_settings *settings = filter->settings;
    bool undemanding = wishes->max_age == UINT64_MAX && !wishes->min_fresh && !wishes->no_cache;
    uint64_t longer = wishes->has_stale_if_error ? wishes->stale_if_error : undemanding ? settings->stale_if_error : 0;
    return longer && cache_age(filter->instance, facts) < cache_fresh_for(facts, wishes) + longer;
}

/* ---- how it went ---- */

static const struct span words[] = {
#define X(name, word) [CACHE_##name] = SPAN_INIT(word),
    CACHE_RESULT_LIST(X)
#undef X
};

void cache_note(struct filter *filter, enum cache_result result)
{
    struct cache_state *state = filter->state;
    state->result = result;
    filter->exchange->cache = words[result];
}

static enum verdict bypass(struct filter *filter, enum cache_bypass why)
{
    struct cache_state *state = filter->state;
    state->bypass = why;
    if (why != CACHE_BYPASS_RULE)
        cache_note(filter, CACHE_BYPASS);
    return FILTER_PASS;
}

/* ---- a client's exchange ---- */

static void answer_paced(struct filter *filter, unsigned status, struct cache_body *body, uint64_t pause)
{
    struct exchange *exchange = filter->exchange;
    struct message head = {.version = HTTP_1_1, .status = status, .keep_alive = true};
    head.fields = exchange->answer_fields;
    fields_add_id(&head.fields, &exchange->arena, FIELD_CONTENT_TYPE, arena_copy(&exchange->arena, body->type));
    if (!buffer_len(&body->made))
        buffer_append(&body->made, body->parts[0]);
    filter_answer_stream(filter, paced_stream_create(exchange, &head, &body->made, pause));
}

/* True: answered. False: it could not be put into the form that the client wants, and is forgotten. */
static bool answer_now(struct filter *filter, const uint8_t *key, struct cache_entry *entry, enum cache_result result)
{
    struct cache_instance *instance = filter->instance;
    struct cache_body body;
    if (!cache_answer(filter, entry, result, &filter->exchange->answer_fields, &body)) {
        (void)cache_memory_remove(instance->memory, key, entry);
        return false;
    }
    if (body.parts[1].len && !buffer_len(&body.made)) {
        buffer_append(&body.made, body.parts[0]);
        buffer_append(&body.made, body.parts[1]);
        body.parts[0] = buffer_span(&body.made);
    }
    const struct cache_settings *settings = filter->settings;
    if (settings->pace && filter->exchange->operation_streams)
        answer_paced(filter, entry->facts.status, &body, settings->pace);
    else
        filter_answer(filter, entry->facts.status, body.type, body.parts[0]);
    buffer_finish(&body.made);
    return true;
}

static enum verdict absent(struct filter *filter)
{
    cache_note(filter, CACHE_ABSENT);
    filter_fail(filter, FAULT_NOT_CACHED, (struct span){0}, (struct span){0});
    return FILTER_FAIL;
}

/* `entry` is the caller's reference to what memory has, or NULL. */
static enum verdict answer_or_fetch(struct filter *filter, const uint8_t *key, struct cache_entry *entry)
{
    struct cache_state *state = filter->state;
    struct cache_instance *instance = filter->instance;
    const struct cache_wishes *wishes = &state->wishes;
    bool usable = entry && !wishes->no_cache;
    bool fresh = usable && cache_is_fresh(instance, &entry->facts, wishes);
    bool stale = usable && !fresh && cache_may_revalidate(filter, &entry->facts, wishes);
    if (fresh || stale) {
        bool answered = answer_now(filter, key, entry, fresh ? CACHE_HIT : CACHE_STALE);
        cache_entry_unref(entry);
        entry = NULL;
        if (answered && stale)
            cache_call_revalidate(filter, key);
        if (answered)
            return FILTER_ANSWERED;
    }
    state->forward = wishes->no_cache ? "request" : entry ? "stale" : "uri-miss";
    if (wishes->only_if_cached && (wishes->no_cache || !cache_store_is_up(instance))) {
        cache_entry_unref(entry);
        return absent(filter);
    }
    return cache_call_board(filter, key, entry);
}

static enum verdict on_request(struct filter *filter)
{
    struct exchange *exchange = filter->exchange;
    struct cache_state *state = filter->state;
    uint8_t key[CACHE_KEY_BYTES];
    if (exchange->flight && filter == exchange->filters)
        return cache_call_request(filter);
    cache_wishes_read(&exchange->request.fields, &state->wishes);
    enum cache_bypass why = cache_rule_for(filter, &state->rule);
    if (why == CACHE_BYPASS_NONE)
        why = cache_key(filter, key);
    if (why != CACHE_BYPASS_NONE)
        return bypass(filter, why);
    state->wishes.ttl = cache_rule_ttl(filter->settings, state->rule);
    memcpy(state->key, key, sizeof(key));
    state->has_key = exchange->call.operation->id != OPERATION_EMBEDDINGS;
    if (!state->has_key) {
        enum verdict verdict;
        if (cache_batch_answer(filter, &verdict))
            return verdict;
        return cache_call_board(filter, key, NULL);
    }
    return answer_or_fetch(filter, key, cache_recall(filter, key));
}

static enum verdict on_response_head(struct filter *filter)
{
    const struct cache_state *state = filter->state;
    if (state->result == CACHE_BYPASS)
        cache_status_forwarded(filter, &filter->exchange->response.fields);
    return FILTER_PASS;
}

static void on_end(struct filter *filter, enum outcome outcome)
{
    (void)outcome; /* it is told of what the cache did, whatever came of it */
    const struct cache_state *state = filter->state;
    if (state->result != CACHE_NONE)
        cache_count(filter, METRIC_CACHE, words[state->result]);
    if (state->bypass != CACHE_BYPASS_NONE)
        cache_count(filter, METRIC_CACHE_BYPASS, cache_bypass_word(state->bypass));
}

/* ---- simulate ---- */

static bool tells_caller(const struct filter_list *list)
{
    for (unsigned i = 0; i < list->count; i++)
        if (list->uses[i].type->gives & FILTER_IDENTITY)
            return true;
    return false;
}

static void explain(const struct filter *filter, struct buffer *sentence)
{
    static const char *const reasons[] = {
        [CACHE_BYPASS_NONE] = "",
        [CACHE_BYPASS_RULE] = "no rule is for it",
        [CACHE_BYPASS_TEMPERATURE] = "its temperature is above what the rules for it allow (absent means 1)",
        [CACHE_BYPASS_NO_STORE] = "its Cache-Control forbids it",
        [CACHE_BYPASS_STATEFUL] = "the target keeps its answer, or it continues what the target keeps",
        [CACHE_BYPASS_TOOLS] = "it uses tools that the target carries out",
        [CACHE_BYPASS_CONSUMER] = "nobody knows whose it is, and \"scope\" is consumer",
        [CACHE_BYPASS_CREDENTIAL] = "a target of its model is given the client's own credential",
        [CACHE_BYPASS_QUERY] = "its query has parameters whose meaning is not known",
        [CACHE_BYPASS_BODY] = "its body has no sure meaning (a name twice in one object)",
        [CACHE_BYPASS_INPUT] = "its input is of no known form"};
    _Static_assert(ARRAY_LEN(reasons) == CACHE_BYPASSES, "every reason is told");
    struct filter copy = *filter;
    struct cache_state state = {0};
    const struct cache_settings *settings = filter->settings;
    copy.state = &state;
    state.caller_expected = tells_caller(&filter->exchange->listener->filters) ||
                            (filter->exchange->model && tells_caller(&filter->exchange->model->filters));
    cache_wishes_read(&filter->exchange->request.fields, &state.wishes);
    enum cache_bypass why = cache_rule_for(&copy, &state.rule);
    if (why != CACHE_BYPASS_NONE) {
        buffer_format(sentence, "lets it pass: %s.", reasons[why]);
        return;
    }
    buffer_format(
        sentence,
        "looks for an answer that is at most %llu s old, of %s; if there is none, the request shares one call "
        "with those that are the same, and a complete answer of up to %zu bytes is kept%s.",
        (unsigned long long)(cache_rule_ttl(settings, state.rule) / CLOCK_SECOND),
        settings->scope == CACHE_TENANT_SHARED ? "anybody" : "this caller", cache_rule_size(settings, state.rule),
        settings->store.len ? " here and in the store" : "");
}

extern const struct filter_type filter_cache;
const struct filter_type filter_cache = {
    .name = "cache",
    .settings = &cache_spec,
    .state_size = sizeof(struct cache_state),
    .gives = FILTER_KEPT,
    .prepare = cache_prepare,
    .attach = cache_attach,
    .detach = cache_detach,
    .collect = cache_collect,
    .on_request = on_request,
    .on_response_head = on_response_head,
    .on_end = on_end,
    .explain = explain,
};
