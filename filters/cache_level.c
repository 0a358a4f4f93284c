/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "filters/cache.h"
#include "gateway/secret_file.h"

/* ---- what is checked when a configuration is loaded ---- */

bool cache_prepare(const void *given, bool offline, struct report *report)
{
    const struct cache_settings *settings = given;
    const struct cache_seal_keys *keys = settings->seal ? settings->seal->keys : NULL;
    struct buffer text = {0};
    const char *reason;
    if (!keys || offline || access(keys->file.ptr, F_OK) != 0) /* the settings table says so */
        return true;
    if (!secret_file_read(keys->file, true, &text, &reason)) {
        report_error(report, settings_place(&keys->settings, "file"), "the file cannot be used: %s", reason);
        return false;
    }
    struct cache_keys *read = cache_keys_parse(keys->file, buffer_span(&text), report);
    buffer_wipe(&text);
    cache_keys_destroy(read);
    return read != NULL;
}

/* ---- instance ---- */

static struct span keys_path(const struct cache_settings *settings)
{
    return settings->seal && settings->seal->keys ? settings->seal->keys->file : (struct span){0};
}

/* Whether everything that an instance was made from is the same. */
static bool is_same(const struct cache_instance *instance, const struct cache_settings *settings)
{
    struct span path = instance->keys ? cache_key_file_path(instance->keys) : (struct span){0};
    struct span store = instance->store ? instance->store->name : (struct span){0};
    return span_equal(store, settings->store) && span_equal(path, keys_path(settings)) &&
           instance->lookup_timeout == settings->lookup_timeout;
}

static void open_store(struct cache_instance *instance, const struct cache_settings *settings)
{
    struct worker *worker = instance->worker;
    struct span path = keys_path(settings);
    if (!settings->store.len || !worker->stores)
        return;
    if (path.len) {
        instance->keys = cache_key_file_open(worker->loop, path);
        if (!instance->keys) /* never in plain text instead */
            return;
    }
    instance->store = redis_store_get(worker->stores, settings->store);
    if (!instance->store)
        return;
    struct cache_redis_options options = {.name = instance->name, .lookup = settings->lookup_timeout};
    instance->redis = cache_redis_create(worker->loop, instance->store, &options);
}

void *cache_attach(struct worker *worker, const void *given, struct span name, void *previous)
{
    const struct cache_settings *settings = given;
    struct cache_instance *before = previous;
    if (before && is_same(before, settings)) {
        cache_memory_close(cache_memory_open(name, settings->memory,
                                             cache_size_most(settings))); /* its size is the newest configuration's */
        return before;
    }
    struct cache_instance *instance = memory_zalloc(sizeof(*instance));
    instance->worker = worker;
    instance->name = span_of(memory_string(name), name.len);
    instance->flights = flights_get(name);
    instance->desk = before ? flight_desk_ref(before->desk) : flight_desk_create(worker, instance->flights);
    instance->memory = cache_memory_open(name, settings->memory, cache_size_most(settings));
    instance->lookup_timeout = settings->lookup_timeout;
    instance->codec = cache_codec_create();
    open_store(instance, settings);
    return instance;
}

void cache_detach(struct worker *worker, void *detached)
{
    (void)worker;
    struct cache_instance *instance = detached;
    cache_redis_destroy(instance->redis);
    cache_key_file_close(instance->keys);
    crypto_mac_destroy(instance->mac);
    cache_codec_destroy(instance->codec);
    cache_memory_close(instance->memory);
    flight_desk_unref(instance->desk);
    flights_unref(instance->flights);
    free((void *)(uintptr_t)instance->name.ptr);
    free(instance);
}

/* What the store said of the entries that were sent comes later than the exchanges that they are from. */
static void collect_sent(struct worker *worker, const struct cache_instance *instance, struct span name)
{
    struct cache_redis_counts counts;
    cache_redis_counts(instance->redis, &counts);
    const struct {
        struct span result;
        uint64_t count;
    } ends[] = {{SPAN_INIT("store"), counts.kept},
                {SPAN_INIT("store_refused"), counts.refused},
                {SPAN_INIT("store_lost"), counts.lost}};
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        const struct span labels[] = {name, ends[i].result};
        metrics_copy(worker->metrics, METRIC_CACHE_STORED, labels, ends[i].count);
    }
}

/* The memory is the process's: one worker tells of it. */
void cache_collect(struct worker *worker, void *collected, struct span name)
{
    const struct cache_instance *instance = collected;
    struct cache_memory_counts counts;
    if (instance->redis)
        collect_sent(worker, instance, name);
    if (worker->index != 0)
        return;
    cache_memory_counts(instance->memory, &counts);
    metrics_copy(worker->metrics, METRIC_CACHE_BYTES, &name, counts.bytes);
    metrics_copy(worker->metrics, METRIC_CACHE_ENTRIES, &name, counts.entries);
    metrics_copy(worker->metrics, METRIC_CACHE_EVICTED, &name, counts.evicted);
}

struct crypto_mac *cache_mac(struct cache_instance *instance)
{
    uint64_t generation = instance->keys ? cache_key_file_generation(instance->keys) : 1;
    if (instance->mac && instance->keys_generation == generation)
        return instance->mac;
    crypto_mac_destroy(instance->mac);
    /* Entries that other pods are to find are named under a secret that they have, or, unsealed, under none. */
    struct span secret = instance->keys    ? cache_keys_naming(cache_key_file_now(instance->keys))
                         : instance->redis ? instance->name
                                           : flights_secret(instance->flights);
    instance->mac = crypto_mac_create(secret);
    instance->keys_generation = generation;
    memset(instance->pools, 0, sizeof(instance->pools));
    return instance->mac;
}

bool cache_store_is_up(const struct cache_instance *instance)
{
    return instance->redis && cache_redis_is_up(instance->redis);
}

/* ---- entries ---- */

struct cache_entry *cache_recall(const struct filter *filter, const uint8_t *key)
{
    struct cache_instance *instance = filter->instance;
    struct cache_entry *entry = cache_memory_get(instance->memory, key);
    if (!entry)
        return NULL;
    enum replay_flaw flaw = cache_entry_flaw(entry);
    if (flaw == REPLAY_SOUND && (!instance->redis || !cache_redis_is_purged(instance->redis, key, &entry->facts)))
        return entry;
    if (flaw != REPLAY_SOUND)
        cache_count(filter, METRIC_CACHE_STORED, span_str(replay_flaw_name(flaw)));
    (void)cache_memory_remove(instance->memory, key, entry);
    cache_entry_unref(entry);
    return NULL;
}

void cache_count(const struct filter *filter, enum metrics_family_id family, struct span word)
{
    const struct exchange *exchange = filter->exchange;
    struct span labels[] = {filter->name, word};
    metrics_add(metrics_series_find(exchange->worker->metrics, exchange->snapshot->generation, family, labels), 1);
}

static const struct cache_keys *keys_now(const struct cache_instance *instance)
{
    return instance->keys ? cache_key_file_now(instance->keys) : NULL;
}

struct cache_entry *cache_open(const struct filter *filter, const uint8_t *key, struct span wire)
{
    struct cache_instance *instance = filter->instance;
    const struct cache_settings *settings = filter->settings;
    struct cache_entry *entry = NULL;
    enum cache_read read =
        cache_entry_read(instance->codec, keys_now(instance), key, wire, cache_size_most(settings), &entry);
    cache_count(filter, METRIC_CACHE_READ, span_str(cache_read_name(read)));
    if (read != CACHE_READ_GOOD)
        return NULL;
    if (cache_redis_is_purged(instance->redis, key, &entry->facts)) {
        cache_entry_unref(entry);
        return NULL;
    }
    (void)cache_memory_put(instance->memory, key, entry);
    return entry;
}

void cache_keep(const struct filter *filter, const uint8_t *key, struct cache_entry *entry, uint64_t life)
{
    struct cache_instance *instance = filter->instance;
    if (cache_memory_is_purged(instance->memory, key, &entry->facts) ||
        (instance->redis && cache_redis_is_purged(instance->redis, key, &entry->facts))) {
        cache_count(filter, METRIC_CACHE_STORED, SPAN("purged"));
        return;
    }
    bool kept = cache_memory_put(instance->memory, key, entry);
    cache_count(filter, METRIC_CACHE_STORED, kept ? SPAN("memory") : SPAN("memory_too_large"));
    if (!cache_store_is_up(instance)) {
        if (instance->redis)
            cache_count(filter, METRIC_CACHE_STORED, SPAN("store_down"));
        return;
    }
    struct buffer wire = {0};
    cache_entry_write(instance->codec, keys_now(instance), key, entry, &wire);
    if (!cache_redis_put(instance->redis, key, buffer_span(&wire), life))
        cache_count(filter, METRIC_CACHE_STORED, SPAN("store_dropped"));
    buffer_finish(&wire);
}
