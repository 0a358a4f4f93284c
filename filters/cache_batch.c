/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "filters/cache.h"
#include "gateway/snapshot.h"
#include "net/pending.h"

/* A batch as it is answered: from what is kept, and from what the target is asked for. Lies in the exchange's arena. */
struct cache_batch {
    struct filter *filter;
    struct cache_errand *call;
    struct embeddings_batch inputs;
    const uint8_t *keys;
    struct cache_entry **entries;    /* one for each input; NULL: missing */
    struct embeddings_answer *parts; /* what the entries hold; void where there is none */
    struct arena_cleanup cleanup;
    size_t *wanted; /* the inputs that the target is asked for */
    size_t wanted_count;
    size_t waiting;
};

static const uint8_t *key_of(const struct cache_batch *batch, size_t i)
{
    return batch->keys + i * CACHE_KEY_BYTES;
}

static void let_go(void *arg)
{
    struct cache_batch *batch = arg;
    for (size_t i = 0; i < batch->inputs.count; i++)
        cache_entry_unref(batch->entries[i]);
}

/* NULL: not of a form that can be taken apart. */
static struct cache_batch *split(struct filter *filter, bool flown)
{
    struct exchange *exchange = filter->exchange;
    struct cache_batch *batch = ARENA_NEW(&exchange->arena, struct cache_batch);
    const struct request_member *input = request_member(&exchange->info, SPAN("input"));
    /* What it finds points into the body, which is given back when the answer comes. */
    struct span body = buffer_span(&exchange->body);
    if (flown)
        body = arena_copy(&exchange->arena, body);
    if (!input || !embeddings_split(body, input->value_start, input->value_end, &exchange->arena, &batch->inputs))
        return NULL;
    batch->filter = filter;
    batch->keys = cache_keys_of(filter, &batch->inputs, &exchange->arena);
    if (!batch->keys)
        return NULL;
    batch->entries = ARENA_ARRAY(&exchange->arena, struct cache_entry *, batch->inputs.count);
    batch->parts = ARENA_ARRAY(&exchange->arena, struct embeddings_answer, batch->inputs.count);
    arena_defer(&exchange->arena, &batch->cleanup, let_go, batch);
    return batch;
}

/* ---- putting together ---- */

/* Takes the reference to an input's entry; one that does not hold an embedding is a miss. */
static void set_entry(struct cache_batch *batch, size_t i, struct cache_entry *entry)
{
    struct arena *arena = &batch->filter->exchange->arena;
    if (entry && !embeddings_answer_read(entry->body, 1, arena, &batch->parts[i])) {
        cache_entry_unref(entry);
        entry = NULL;
    }
    batch->entries[i] = entry;
}

/* One entry of all inputs: what is served, not what is kept. */
static struct cache_entry *join(struct cache_batch *batch, struct arena *arena)
{
    struct embeddings_item *items = ARENA_ARRAY(arena, struct embeddings_item, batch->inputs.count);
    struct cache_facts facts = batch->entries[0]->facts;
    facts.usage = (struct usage){.reported = true};
    for (size_t i = 0; i < batch->inputs.count; i++) {
        const struct cache_entry *entry = batch->entries[i];
        items[i] = batch->parts[i].items[0];
        facts.usage.input += entry->facts.usage.input;
        facts.usage.total += entry->facts.usage.total;
        facts.usage.reported &= entry->facts.usage.reported;
        /* As old as its oldest part, and fresh as long as all of them are. */
        uint64_t until = facts.created + facts.fresh, ends = entry->facts.created + entry->facts.fresh;
        facts.created = entry->facts.created < facts.created ? entry->facts.created : facts.created;
        until = ends < until ? ends : until;
        facts.fresh = until > facts.created ? until - facts.created : 0;
    }
    struct buffer text = {0};
    embeddings_answer_write(&batch->parts[0], items, batch->inputs.count, facts.usage.input, facts.usage.total, &text);
    struct cache_entry *whole = cache_entry_create(&facts, buffer_span(&text));
    buffer_finish(&text);
    return whole;
}

/* ---- what memory has ---- */

/* How many inputs are missing. */
static size_t recall(struct cache_batch *batch, const struct cache_wishes *wishes)
{
    struct cache_instance *instance = batch->filter->instance;
    size_t missing = 0;
    for (size_t i = 0; i < batch->inputs.count; i++) {
        struct cache_entry *entry = wishes->no_cache ? NULL : cache_recall(batch->filter, key_of(batch, i));
        if (entry && !cache_is_fresh(instance, &entry->facts, wishes)) {
            cache_entry_unref(entry);
            entry = NULL;
        }
        set_entry(batch, i, entry);
        missing += batch->entries[i] == NULL;
    }
    return missing;
}

static bool answer_all(struct filter *filter, struct cache_batch *batch)
{
    struct cache_entry *whole = join(batch, &filter->exchange->arena);
    struct cache_body body;
    bool good = cache_answer(filter, whole, CACHE_HIT, &filter->exchange->answer_fields, &body);
    if (good) {
        filter_answer(filter, whole->facts.status, body.type, body.parts[0]);
        buffer_finish(&body.made);
    }
    cache_entry_unref(whole);
    return good;
}

bool cache_batch_answer(struct filter *filter, enum verdict *ret)
{
    struct cache_state *state = filter->state;
    struct cache_batch *batch = split(filter, false);
    state->forward = state->wishes.no_cache ? "request" : "uri-miss";
    *ret = FILTER_ANSWERED;
    if (!batch) {
        state->bypass = CACHE_BYPASS_INPUT;
        cache_note(filter, CACHE_BYPASS);
        *ret = FILTER_PASS;
        return true;
    }
    state->inputs = (unsigned)batch->inputs.count;
    if (recall(batch, &state->wishes) == 0 && answer_all(filter, batch))
        return true;
    if (!state->wishes.only_if_cached || cache_store_is_up(filter->instance))
        return false;
    cache_note(filter, CACHE_ABSENT);
    filter_fail(filter, FAULT_NOT_CACHED, (struct span){0}, (struct span){0});
    *ret = FILTER_FAIL;
    return true;
}

/* ---- the flown exchange ---- */

/* What is kept is worth less than the room that the rest would need until all of it has come: the target is asked for
 * everything, and what comes goes on at once. */
static void forget_when_large(struct cache_batch *batch, size_t missing)
{
    const struct cache_settings *settings = batch->filter->settings;
    if (missing * CACHE_EMBEDDING_MOST <= settings->memory)
        return;
    for (size_t i = 0; i < batch->inputs.count; i++) {
        cache_entry_unref(batch->entries[i]);
        batch->entries[i] = NULL;
    }
}

/* The body that asks for the missing inputs takes the client's place. */
static bool ask_for_missing(struct cache_batch *batch)
{
    struct exchange *exchange = batch->filter->exchange;
    struct buffer body = {0};
    batch->wanted = ARENA_ARRAY(&exchange->arena, size_t, batch->inputs.count);
    for (size_t i = 0; i < batch->inputs.count; i++)
        if (!batch->entries[i])
            batch->wanted[batch->wanted_count++] = i;
    if (batch->wanted_count == batch->inputs.count)
        return true;
    flight_hold(exchange->flight); /* its answer is only a part of what is given */
    embeddings_request_write(&batch->inputs, batch->wanted, batch->wanted_count, &body);
    buffer_finish(&exchange->body);
    exchange->body = body;
    struct request_reader *reader = ARENA_NEW(&exchange->scratch, struct request_reader);
    request_init(reader, REQUEST_JSON, (struct span){0}, &exchange->scratch, &exchange->info);
    return request_feed(reader, buffer_span(&exchange->body)) == FAULT_NONE && request_finish(reader) == FAULT_NONE;
}

/* Everything that is kept has been found: answers, or lets the target be asked for the rest. */
static enum verdict found_all(struct cache_batch *batch)
{
    struct filter *filter = batch->filter;
    struct flight *flight = filter->exchange->flight;
    size_t missing = 0;
    for (size_t i = 0; i < batch->inputs.count; i++)
        missing += batch->entries[i] == NULL;
    if (missing == 0) {
        cache_call_give(flight, batch->call, join(batch, &filter->exchange->arena), CACHE_HIT);
        return cache_call_finish(filter);
    }
    if (batch->call->wishes.only_if_cached) {
        filter_fail(filter, FAULT_NOT_CACHED, (struct span){0}, (struct span){0});
        return FILTER_FAIL;
    }
    forget_when_large(batch, missing);
    if (!ask_for_missing(batch)) {
        filter_fail(filter, FAULT_INTERNAL, (struct span){0}, (struct span){0});
        return FILTER_FAIL;
    }
    return FILTER_PASS;
}

struct batch_lookup {
    struct cache_lookup lookup;
    struct cache_batch *batch;
    size_t input;
};

static void looked_up(struct cache_lookup *lookup, enum cache_lookup_result result, struct span value)
{
    struct batch_lookup *one = CONTAINER_OF(lookup, struct batch_lookup, lookup);
    struct cache_batch *batch = one->batch;
    struct filter *filter = batch->filter;
    if (result == CACHE_LOOKUP_FOUND) {
        struct cache_entry *entry = cache_open(filter, key_of(batch, one->input), value);
        if (entry && !cache_is_fresh(filter->instance, &entry->facts, &batch->call->wishes)) {
            cache_entry_unref(entry);
            entry = NULL;
        }
        set_entry(batch, one->input, entry);
    } else {
        cache_count(filter, METRIC_CACHE_READ, result == CACHE_LOOKUP_ABSENT ? SPAN("absent") : SPAN("failed"));
    }
    if (--batch->waiting == 0 && found_all(batch) == FILTER_PASS)
        filter_continue(filter);
}

/* Inputs of one batch that the store is asked for: its connections are everybody's. */
#define LOOKUPS_MOST 256

static void look_up(struct cache_batch *batch)
{
    struct filter *filter = batch->filter;
    struct cache_instance *instance = filter->instance;
    struct batch_lookup *lookups = ARENA_ARRAY(&filter->exchange->arena, struct batch_lookup, batch->inputs.count);
    for (size_t i = 0; i < batch->inputs.count && batch->waiting < LOOKUPS_MOST; i++) {
        if (batch->entries[i])
            continue;
        lookups[i].batch = batch;
        lookups[i].input = i;
        batch->waiting++;
        cache_redis_get(instance->redis, filter_pendings(filter), &lookups[i].lookup, key_of(batch, i), looked_up);
    }
}

enum verdict cache_batch_request(struct filter *filter, struct cache_errand *call)
{
    struct cache_batch *batch = split(filter, true);
    if (!batch) /* it was of that form for its client */
        return FILTER_PASS;
    batch->call = call;
    call->batch = batch;
    size_t missing = recall(batch, &call->wishes);
    if (missing == 0 || call->skip || !cache_store_is_up(filter->instance))
        return found_all(batch);
    look_up(batch);
    return FILTER_WAIT;
}

/* ---- the answer for what was missing ---- */

static void keep_items(struct cache_batch *batch, const struct embeddings_answer *answer)
{
    struct filter *filter = batch->filter;
    const struct cache_errand *call = batch->call;
    struct cache_facts facts = cache_call_facts(call, filter);
    uint64_t *tokens = ARENA_ARRAY(&filter->exchange->arena, uint64_t, batch->wanted_count);
    embeddings_share(&batch->inputs, batch->wanted, batch->wanted_count, answer->prompt_tokens.value, tokens);
    for (size_t i = 0; i < batch->wanted_count; i++) {
        struct buffer text = {0};
        embeddings_answer_write(answer, &answer->items[i], 1, tokens[i], tokens[i], &text);
        facts.usage =
            (struct usage){.input = tokens[i], .total = tokens[i], .reported = answer->prompt_tokens.end != 0};
        facts.fresh = cache_call_fresh(call, filter);
        size_t input = batch->wanted[i];
        struct cache_entry *entry = cache_entry_create(&facts, buffer_span(&text));
        buffer_finish(&text);
        cache_keep(filter, key_of(batch, input), entry, call->life);
        set_entry(batch, input, entry);
    }
}

/* Of the inputs that the target was not asked for. */
static uint64_t kept_tokens(const struct cache_batch *batch)
{
    uint64_t tokens = 0;
    for (size_t i = 0; i < batch->inputs.count; i++)
        tokens += batch->entries[i] ? batch->entries[i]->facts.usage.input : 0;
    return tokens;
}

void cache_batch_end(struct flight *flight, struct exchange *flown, struct cache_errand *call, bool complete)
{
    struct cache_batch *batch = call->batch;
    const struct filter *filter = &flown->filters[0];
    struct embeddings_answer answer;
    struct buffer bytes = {0};
    call->batch = NULL;
    if (!batch || call->given)
        return;
    bool good = complete && flown->response.status == 200;
    bool partial = batch->wanted_count < batch->inputs.count;
    if (!good) {
        cache_count(filter, METRIC_CACHE_STORED, complete ? SPAN("error") : SPAN("unfinished"));
        return; /* followers get the error as it came */
    }
    bool read = flight_bytes(flight, &bytes) &&
                embeddings_answer_read(buffer_span(&bytes), batch->wanted_count, &flown->arena, &answer);
    if (read) {
        struct usage saved = {.input = kept_tokens(batch)};
        keep_items(batch, &answer);
        if (partial) {
            call->spent = flown->facts.usage;
            cache_count_saved(filter, &saved, 0);
            cache_call_give(flight, call, join(batch, &flown->arena), CACHE_PARTIAL);
        }
    } else {
        cache_count(filter, METRIC_CACHE_STORED, SPAN("malformed"));
        if (partial) /* part of an answer is none */
            cache_call_give(flight, call, NULL, CACHE_MISS);
    }
    buffer_finish(&bytes);
}
