/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/redis.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/decimal.h"
#include "base/hash.h"
#include "base/memory.h"
#include "gateway/redis_internal.h"

/* ---- scripts ---- */

void redis_script_init(struct redis_script *script, struct span text)
{
    uint8_t digest[CRYPTO_SHA1_BYTES];
    crypto_sha1(text, digest);
    script->text = text;
    for (size_t i = 0; i < sizeof(digest); i++) {
        script->sha1[2 * i] = "0123456789abcdef"[digest[i] >> 4];
        script->sha1[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
    }
    script->sha1[2 * sizeof(digest)] = '\0';
}

/* ---- making one ---- */

uint64_t redis_jitter(struct redis *redis, uint64_t most)
{
    return most / 2 + hash_random(&redis->random) % (most / 2 + 1);
}

static uint64_t or_default(uint64_t value, uint64_t fallback)
{
    return value ? value : fallback;
}

static void copy_options(struct redis *redis, const struct redis_options *from)
{
    struct redis_options *to = &redis->options;
    *to = *from;
    to->name = arena_copy(&redis->arena, from->name);
    to->master = arena_copy(&redis->arena, from->master);
    to->username = arena_copy(&redis->arena, from->username);
    to->password = arena_copy(&redis->arena, from->password);
    to->sentinel_username = arena_copy(&redis->arena, from->sentinel_username);
    to->sentinel_password = arena_copy(&redis->arena, from->sentinel_password);
    to->server_name = arena_copy(&redis->arena, from->server_name);
    /* The nodes of a managed cluster show the certificate of the cache, whatever their addresses are. */
    if (from->mode == REDIS_CLUSTER && from->server_name.len == 0)
        to->server_name = arena_copy(&redis->arena, from->addresses[0].host);
    if (to->tls)
        (void)tls_context_ref(to->tls);
    to->deadline = or_default(from->deadline, 20 * CLOCK_MS);
    to->connect = or_default(from->connect, CLOCK_SECOND);
    to->rest_most = or_default(from->rest_most, 2 * CLOCK_SECOND);
    to->breaker = (unsigned)or_default(from->breaker, 5);
    to->queue = (unsigned)or_default(from->queue, 4096);
    to->reply_most = (size_t)or_default(from->reply_most, (size_t)1 << 20);
}

static void make_seeds(struct redis *redis, const struct redis_options *options)
{
    bool standalone = options->mode == REDIS_STANDALONE;
    for (size_t i = 0; i < options->address_count && !(standalone && i); i++) {
        struct redis_node *node = redis_node_get(redis, options->addresses[i], options->mode == REDIS_SENTINEL);
        node->seed = true;
        node->listed = standalone;
        if (standalone)
            redis->master = node;
    }
    redis->options.addresses = NULL; /* the caller's; the nodes know them now */
}

struct redis *redis_create(struct loop *loop, struct resolver *resolver, const struct redis_options *options)
{
    assert(options->address_count >= 1 && options->address_count <= REDIS_ADDRESSES);
    struct redis *redis = memory_zalloc(sizeof(*redis));
    redis->loop = loop;
    redis->resolver = resolver;
    crypto_random(&redis->random, sizeof(redis->random));
    arena_init(&redis->arena);
    copy_options(redis, options);
    redis_requests_init(redis);
    redis_search_init(redis);
    make_seeds(redis, options);
    (void)snprintf(redis->why, sizeof(redis->why), "not connected yet");
    if (redis->master)
        redis_node_connect(redis->master);
    redis_search(redis);
    return redis;
}

static void free_redis(void *object)
{
    struct redis *redis = object;
    tls_context_unref(redis->options.tls);
    memory_wipe((char *)(uintptr_t)redis->options.password.ptr, redis->options.password.len);
    memory_wipe((char *)(uintptr_t)redis->options.sentinel_password.ptr, redis->options.sentinel_password.len);
    arena_finish(&redis->arena);
    free(redis->nodes);
    free(redis);
}

void redis_bury(struct redis *redis)
{
    redis_requests_finish(redis);
    loop_bury(redis->loop, redis, free_redis);
}

void redis_destroy(struct redis *redis)
{
    if (!redis)
        return;
    redis->closing = true;
    redis_search_finish(redis);
    redis->master = NULL;
    redis_routes_known(redis, true);
    for (unsigned i = 0; i < redis->node_cap; i++)
        if (redis->nodes[i])
            redis_node_drop(redis->nodes[i]);
    if (list_empty(&redis->ended))
        redis_bury(redis);
}

void redis_login_changed(struct redis *redis)
{
    for (unsigned i = 0; i < redis->node_cap; i++) {
        struct redis_node *node = redis->nodes[i];
        if (!node || node->sentinel)
            continue;
        if (node->state == REDIS_READY || node->state == REDIS_GREETING)
            redis_greet_again(node);
        else if (node->state == REDIS_RESTING)
            timer_set(redis->loop, &node->timer, loop_now(redis->loop));
    }
}

/* ---- which node ---- */

static struct redis_node *any_node(const struct redis *redis)
{
    struct redis_node *taking = NULL;
    for (unsigned i = 0; i < redis->node_cap; i++) {
        struct redis_node *node = redis->nodes[i];
        if (!node || !node->listed)
            continue;
        if (node->state == REDIS_READY)
            return node;
        if (redis_node_takes(node))
            taking = node;
    }
    return taking;
}

static struct redis_node *node_for(const struct redis *redis, uint32_t slot)
{
    if (redis->options.mode != REDIS_CLUSTER)
        return redis->master;
    if (slot == REDIS_ANY_SLOT || !redis->map)
        return any_node(redis);
    return redis->map[slot] ? redis->nodes[redis->map[slot] - 1] : NULL;
}

/* The servers are being looked for the first time. */
static bool may_wait(const struct redis *redis)
{
    return !redis->closing && !redis->map && !redis->master && redis->search_failures == 0 &&
           redis->unrouted_count < redis->options.queue;
}

void redis_route(struct redis *redis, struct redis_request *request)
{
    struct redis_node *node = node_for(redis, request->slot);
    if (node) {
        redis_node_send(node, request);
        return;
    }
    redis_search(redis);
    if (!may_wait(redis)) {
        redis_request_end(request, REDIS_ERROR_LOST);
        return;
    }
    request->place = REDIS_UNROUTED;
    redis->unrouted_count++;
    list_append(&redis->unrouted, &request->link);
}

void redis_routes_known(struct redis *redis, bool failed)
{
    while (!list_empty(&redis->unrouted)) {
        struct redis_request *request = LIST_FIRST(&redis->unrouted, struct redis_request, link);
        redis_request_take(request);
        if (failed || !node_for(redis, request->slot))
            redis_request_end(request, REDIS_ERROR_LOST);
        else
            redis_route(redis, request);
    }
}

static uint32_t slot_of(const struct redis *redis, struct span key)
{
    return redis->options.mode == REDIS_CLUSTER && key.len ? redis_slot(key) : REDIS_ANY_SLOT;
}

bool redis_is_up(const struct redis *redis, struct span key)
{
    const struct redis_node *node = node_for(redis, slot_of(redis, key));
    return node ? redis_node_takes(node) : may_wait(redis);
}

/* ---- asking ---- */

static void cancelled(struct pending *pending)
{
    struct redis_call *call = CONTAINER_OF(pending, struct redis_call, pending);
    struct redis_request *request = call->request;
    call->request = NULL;
    request->redis->counters.cancelled++;
    redis_request_forget(request);
}

static void start(struct redis *redis, struct list *list, struct redis_call *call, struct redis_request *request,
                  uint64_t deadline)
{
    redis->counters.asked++;
    request->call = call;
    request->asked = true;
    call->request = request;
    /* The deadline is the record's, which outlives the pending. */
    pending_start(list, &call->pending, redis->loop, 0, NULL, cancelled);
    redis_request_wait(request, loop_now(redis->loop) + or_default(deadline, redis->options.deadline));
    redis_route(redis, request);
}

void redis_ask(struct redis *redis, struct list *list, struct redis_call *call, struct span key,
               const struct span *argv, unsigned argc, uint64_t deadline)
{
    assert(argc >= 1 && argc <= REDIS_ARGUMENTS);
    struct redis_request *request = redis_request_create(redis);
    request->slot = slot_of(redis, key);
    redis_command_format(&request->command, argv, argc);
    start(redis, list, call, request, deadline);
}

void redis_eval(struct redis *redis, struct list *list, struct redis_call *call, const struct redis_script *script,
                const struct span *keys, unsigned key_count, const struct span *args, unsigned arg_count,
                uint64_t deadline)
{
    struct span argv[REDIS_ARGUMENTS];
    char number[DECIMAL_MAX];
    assert(key_count <= REDIS_ARGUMENTS - 3 && arg_count <= REDIS_ARGUMENTS - 3 - key_count);
    argv[0] = SPAN("EVALSHA");
    argv[1] = span_of(script->sha1, sizeof(script->sha1) - 1);
    argv[2] = span_of(number, (size_t)(decimal_write(number, key_count, 0) - number));
    for (unsigned i = 0; i < key_count; i++)
        argv[3 + i] = keys[i];
    for (unsigned i = 0; i < arg_count; i++)
        argv[3 + key_count + i] = args[i];
    struct redis_request *request = redis_request_create(redis);
    request->slot = key_count ? slot_of(redis, keys[0]) : REDIS_ANY_SLOT;
    request->script = script;
    redis_command_format(&request->command, argv, 3 + key_count + arg_count);
    start(redis, list, call, request, deadline);
}

/* ---- status ---- */

void redis_status(const struct redis *redis, struct redis_status *ret)
{
    *ret = (struct redis_status){.counters = redis->counters, .waiting = redis->unrouted_count, .why = redis->why};
    for (unsigned i = 0; i < redis->node_cap; i++) {
        const struct redis_node *node = redis->nodes[i];
        if (!node || node->sentinel)
            continue;
        ret->nodes++;
        ret->nodes_ready += node->state == REDIS_READY;
        ret->waiting += node->queued;
        ret->unanswered += node->flying;
    }
}

const char *redis_state_word(const struct redis_status *status)
{
    if (status->nodes_ready == 0)
        return "down";
    return status->nodes_ready < status->nodes ? "partial" : "up";
}
