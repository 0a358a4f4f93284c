/* SPDX-License-Identifier: Apache-2.0 */
#include <endian.h>

#include "config/config.h"
#include "filters/cache.h"
#include "gateway/snapshot.h"
#include "openai/canonical.h"

/* Members of a request that are left out, at most. */
#define NAMES_MOST 16
/* Changes with what is fed below, so that no entry is found by what meant something else before. */
#define KEY_VERSION 1

/* ---- pieces: each is preceded by its length, so that no two sequences of them are the same bytes ---- */

/* On the way to the digest in one piece: most calls' small ones fit, and a digest asks more for a call than for bytes.
 */
struct feed {
    struct crypto_mac *mac;
    size_t len;
    char bytes[1024];
};

static void begin(struct feed *feed, struct crypto_mac *mac)
{
    feed->mac = mac;
    feed->len = 0;
    crypto_mac_start(mac);
}

static void flush(struct feed *feed)
{
    crypto_mac_add(feed->mac, span_of(feed->bytes, feed->len));
    feed->len = 0;
}

static void feed_bytes(struct feed *feed, struct span bytes)
{
    if (bytes.len > sizeof(feed->bytes) - feed->len)
        flush(feed);
    if (bytes.len > sizeof(feed->bytes)) {
        crypto_mac_add(feed->mac, bytes);
        return;
    }
    if (bytes.len)
        memcpy(feed->bytes + feed->len, bytes.ptr, bytes.len);
    feed->len += bytes.len;
}

/* Little-endian, whatever the machine: pods of all kinds share a store. */
static void feed_number(struct feed *feed, uint64_t number)
{
    uint64_t bytes = htole64(number);
    feed_bytes(feed, span_of((const char *)&bytes, sizeof(bytes)));
}

static void feed_piece(struct feed *feed, struct span piece)
{
    feed_number(feed, piece.len);
    feed_bytes(feed, piece);
}

static void finish(struct feed *feed, uint8_t *ret)
{
    flush(feed);
    crypto_mac_end(feed->mac, ret);
}

static void sink(void *feed, struct span bytes)
{
    feed_bytes(feed, bytes);
}

/* ---- who answers ---- */

static void feed_pairs(struct feed *feed, const struct setting_pairs *pairs)
{
    feed_number(feed, pairs->count);
    for (size_t i = 0; i < pairs->count; i++) {
        feed_piece(feed, pairs->items[i].name);
        feed_piece(feed, pairs->items[i].value);
    }
}

static void feed_list(struct feed *feed, const struct setting_list *list)
{
    feed_number(feed, list->count);
    for (size_t i = 0; i < list->count; i++)
        feed_piece(feed, list->items[i]);
}

/* Of a target: where it is, and what it does to a request. Its credential, time limits and weight change no answer. */
static void feed_target(struct feed *feed, const struct model_target *to)
{
    const struct target *target = to->target;
    const struct config_target *config = target->config;
    feed_piece(feed, target->name);
    feed_piece(feed, target->url ? target->url->text : (struct span){0});
    feed_number(feed, target->dialect);
    feed_piece(feed, target->api_version);
    feed_piece(feed, to->deployment);
    feed_pairs(feed, &config->parameters.rename);
    feed_list(feed, &config->parameters.drop);
    feed_pairs(feed, &config->parameters.set);
    feed_pairs(feed, &config->headers.set);
    feed_list(feed, &config->headers.remove);
}

static const struct cache_pool *pool_of(struct cache_instance *instance, const struct exchange *exchange)
{
    const struct model_route *route = exchange->model;
    uint64_t generation = exchange->snapshot->generation;
    struct cache_pool *pool = &instance->pools[((uintptr_t)route / sizeof(*route)) % CACHE_POOLS];
    if (pool->route == route && pool->generation == generation)
        return pool;
    struct feed feed;
    *pool = (struct cache_pool){.route = route, .generation = generation};
    begin(&feed, instance->mac);
    feed_number(&feed, route->target_count);
    for (unsigned i = 0; i < route->target_count; i++) {
        feed_target(&feed, &route->targets[i]);
        pool->version_counts |= route->targets[i].target->api_as_client;
    }
    finish(&feed, pool->digest);
    return pool;
}

/* ---- the head ---- */

/* Fields by which the APIs behind choose another behaviour: versions, accounts, content filters, deployments. */
static bool steers(struct span name)
{
    static const struct span beginnings[] = {SPAN_INIT("openai-"),    SPAN_INIT("x-openai-"), SPAN_INIT("azureml-"),
                                             SPAN_INIT("aoai-"),      SPAN_INIT("x-ms-oai-"), SPAN_INIT("x-policy-"),
                                             SPAN_INIT("x-gateway-"), SPAN_INIT("x-mock-")};
    static const struct span whole[] = {SPAN_INIT("extra-parameters"), SPAN_INIT("x-ms-spillover-deployment")};
    for (size_t i = 0; i < ARRAY_LEN(beginnings); i++)
        if (span_starts_with(name, beginnings[i]))
            return true;
    for (size_t i = 0; i < ARRAY_LEN(whole); i++)
        if (span_equal(name, whole[i]))
            return true;
    return false;
}

static bool counts(const struct field *field, const struct setting_list *vary)
{
    if (field->id == FIELD_OTHER && steers(field->name))
        return true;
    for (size_t i = 0; i < vary->count; i++)
        if (span_equal(field->name, vary->items[i]))
            return true;
    return false;
}

static void feed_fields(struct feed *feed, const struct fields *fields, const struct setting_list *vary)
{
    for (unsigned i = 0; i < fields->count; i++) {
        const struct field *field = &fields->at[i];
        if (field->name.len == 0 || (field->id != FIELD_OTHER && vary->count == 0) || !counts(field, vary))
            continue;
        feed_piece(feed, field->name);
        feed_piece(feed, field->value);
    }
    feed_piece(feed, (struct span){0});
}

/* Everything but the body. */
static void begin_call(struct feed *feed, const struct filter *filter)
{
    struct crypto_mac *mac = cache_mac(filter->instance);
    const struct cache_settings *settings = filter->settings;
    const struct exchange *exchange = filter->exchange;
    /* It may need the digest's own context: first. */
    const struct cache_pool *pool = pool_of(filter->instance, exchange);
    begin(feed, mac);
    feed_number(feed, (uint64_t)KEY_VERSION << 32 | CANONICAL_VERSION);
    feed_piece(feed, exchange->call.operation->name); /* its number may be another's in the next version */
    feed_piece(feed, exchange->model_asked);
    feed_bytes(feed, span_of((const char *)pool->digest, sizeof(pool->digest)));
    feed_piece(feed, pool->version_counts ? exchange->call.api_version : (struct span){0});
    feed_number(feed, settings->scope);
    feed_piece(feed, settings->scope == CACHE_TENANT_CONSUMER ? exchange->consumer.name : (struct span){0});
    feed_number(feed, settings->ignore);
    feed_fields(feed, &exchange->request.fields, &settings->vary);
}

/* ---- the body ---- */

/*
 * Members of the request that do not count: how the answer is to travel, the name (the alias that it leads to counts
 * above), and what the configuration says.
 */
static size_t without(const struct cache_settings *settings, struct span *names)
{
    static const struct span ignorable[] = {SPAN_INIT("user"), SPAN_INIT("metadata"), SPAN_INIT("safety_identifier"),
                                            SPAN_INIT("prompt_cache_key")};
    size_t count = 0;
    names[count++] = SPAN("model");
    names[count++] = SPAN("stream");
    names[count++] = SPAN("stream_options");
    for (size_t i = 0; i < ARRAY_LEN(ignorable); i++)
        if (settings->ignore & (UINT64_C(1) << i))
            names[count++] = ignorable[i];
    return count;
}

enum cache_bypass cache_key(const struct filter *filter, uint8_t ret[CACHE_KEY_BYTES])
{
    struct feed feed;
    struct span names[NAMES_MOST];
    size_t count = without(filter->settings, names);
    begin_call(&feed, filter);
    enum canonical_result result = canonical_feed(buffer_span(&filter->exchange->body), names, count, sink, &feed);
    finish(&feed, ret);
    return result == CANONICAL_GOOD ? CACHE_BYPASS_NONE : CACHE_BYPASS_BODY;
}

/* An input's key: what the inputs have in common, then the input. */
const uint8_t *cache_keys_of(const struct filter *filter, const struct embeddings_batch *batch, struct arena *arena)
{
    struct feed feed;
    struct span names[NAMES_MOST];
    uint8_t common[CRYPTO_SHA256_BYTES];
    size_t count = without(filter->settings, names);
    names[count++] = SPAN("input");
    begin_call(&feed, filter);
    feed_piece(&feed, SPAN("input"));
    enum canonical_result result = canonical_feed(buffer_span(&filter->exchange->body), names, count, sink, &feed);
    finish(&feed, common);
    if (result != CANONICAL_GOOD)
        return NULL;
    uint8_t *keys = ARENA_ARRAY(arena, uint8_t, batch->count * CACHE_KEY_BYTES);
    for (size_t i = 0; i < batch->count; i++) {
        begin(&feed, cache_mac(filter->instance));
        feed_bytes(&feed, span_of((const char *)common, sizeof(common)));
        bool good = canonical_feed(batch->inputs[i].json, NULL, 0, sink, &feed) == CANONICAL_GOOD;
        finish(&feed, keys + i * CACHE_KEY_BYTES);
        if (!good)
            return NULL;
    }
    return keys;
}
