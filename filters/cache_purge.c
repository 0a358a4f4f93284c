/* SPDX-License-Identifier: Apache-2.0 */
#include "filters/cache.h"

#include "base/encoding.h"
#include "gateway/snapshot.h"
#include "openai/query.h"

/* What is to go. */
struct wanted {
    enum cache_scope scope;
    struct span name;   /* the model or consumer, or the bytes of the key */
    struct span filter; /* empty: every cache */
};

/* A purge under way: the answer waits for the stores' word. Lies in the exchange's arena. */
struct purge {
    struct filter *filter;
    struct wanted wanted;
    unsigned waiting;
    unsigned shown; /* caches that the page tells of */
    struct buffer page;
    struct arena_cleanup cleanup;
};

struct store_purge {
    struct cache_purge purge;
    struct purge *all;
    struct span name;
    size_t removed;
};

/* ---- what is asked for ---- */

static bool read_key(struct span text, struct arena *arena, struct span *ret)
{
    struct buffer bytes = {0};
    bool good = decode_base64url(&bytes, text) && buffer_len(&bytes) == CACHE_KEY_BYTES;
    if (good)
        *ret = arena_copy(arena, buffer_span(&bytes));
    buffer_finish(&bytes);
    return good;
}

/* NULL, or what is wrong with it. */
static const char *read_wanted(struct exchange *exchange, struct wanted *ret)
{
    struct span rest = exchange->request.query, value;
    struct query_param param;
    unsigned scopes = 0;
    *ret = (struct wanted){.scope = CACHE_SCOPE_ALL};
    while (rest.len && query_next(&rest, &param)) {
        if (!percent_decode(param.value, true, &exchange->arena, &value) || value.len == 0)
            return "a parameter has no value, or a bad escape in it";
        if (query_is(param.name, SPAN("filter"))) {
            ret->filter = value;
            continue;
        }
        scopes++;
        ret->name = value;
        if (query_is(param.name, SPAN("model")))
            ret->scope = CACHE_SCOPE_MODEL;
        else if (query_is(param.name, SPAN("consumer")))
            ret->scope = CACHE_SCOPE_CONSUMER;
        else if (!query_is(param.name, SPAN("key")))
            return "the parameters are filter, model, consumer and key";
        else if (!read_key(value, &exchange->arena, &ret->name))
            return "key is what Cache-Status says of an answer: 43 letters, digits, - and _";
        else
            ret->scope = CACHE_SCOPE_KEY;
    }
    return scopes > 1 ? "give one of model, consumer and key, or none for everything" : NULL;
}

/* ---- the page ---- */

static void show(struct purge *all, struct span name, size_t removed, const char *store)
{
    buffer_format(&all->page, "%s{\"filter\":\"", all->shown++ ? "," : "");
    buffer_append_json(&all->page, name);
    buffer_format(&all->page, "\",\"removed\":%zu,\"store\":\"%s\"}", removed, store);
}

static enum verdict finish(struct purge *all)
{
    buffer_append(&all->page, SPAN("]}\n"));
    filter_answer(all->filter, 200, SPAN("application/json"), buffer_span(&all->page));
    return FILTER_ANSWERED;
}

static void free_page(void *arg)
{
    struct purge *all = arg;
    buffer_finish(&all->page);
}

/* ---- one cache ---- */

static void marked(struct cache_purge *purge, enum redis_error error)
{
    struct store_purge *one = CONTAINER_OF(purge, struct store_purge, purge);
    struct purge *all = one->all;
    show(all, one->name, one->removed, error == REDIS_ERROR_NONE ? "marked" : "failed");
    if (--all->waiting == 0)
        (void)finish(all);
}

static void purge_store(struct purge *all, struct cache_instance *instance, const struct cache_settings *settings,
                        size_t removed)
{
    struct filter *filter = all->filter;
    struct store_purge *one = ARENA_NEW(&filter->exchange->arena, struct store_purge);
    one->all = all;
    one->name = arena_copy(&filter->exchange->arena, instance->name);
    one->removed = removed;
    all->waiting++;
    cache_redis_purge(instance->redis, filter_pendings(filter), &one->purge, all->wanted.scope, all->wanted.name,
                      cache_life_most(settings), marked);
}

static void purge_cache(struct purge *all, struct cache_instance *instance, const struct cache_settings *settings)
{
    const struct wanted *wanted = &all->wanted;
    uint64_t now = loop_wall(instance->worker->loop);
    size_t removed = cache_memory_purge(instance->memory, wanted->scope, wanted->name, now);
    /* What the mark makes a miss anyhow need not lie there till it has run out. */
    if (wanted->scope == CACHE_SCOPE_KEY && instance->redis)
        (void)cache_redis_remove(instance->redis, (const uint8_t *)wanted->name.ptr);
    if (instance->redis)
        purge_store(all, instance, settings, removed);
    else
        show(all, instance->name, removed, "none");
}

extern const struct filter_type filter_cache;

enum verdict cache_purge_page(struct filter *filter)
{
    struct exchange *exchange = filter->exchange;
    const struct snapshot *snapshot = exchange->snapshot;
    struct purge *all = ARENA_NEW(&exchange->arena, struct purge);
    const char *wrong = read_wanted(exchange, &all->wanted);
    unsigned caches = 0;
    all->filter = filter;
    arena_defer(&exchange->arena, &all->cleanup, free_page, all);
    buffer_append(&all->page, SPAN("{\"caches\":["));
    for (unsigned i = 0; !wrong && i < snapshot->instance_count; i++) {
        const struct filter_use *use = &snapshot->instances[i];
        struct cache_instance *instance =
            use->type == &filter_cache ? worker_instance(exchange->worker, snapshot, use) : NULL;
        if (!instance || (all->wanted.filter.len && !span_equal(all->wanted.filter, use->name)))
            continue;
        caches++;
        purge_cache(all, instance, use->settings);
    }
    if (!wrong && all->wanted.filter.len && !caches)
        wrong = "there is no cache of that name";
    if (wrong) {
        filter_fail(filter, FAULT_BAD_PARAMETER, span_str(wrong), (struct span){0});
        return FILTER_FAIL;
    }
    return all->waiting ? FILTER_WAIT : finish(all);
}
