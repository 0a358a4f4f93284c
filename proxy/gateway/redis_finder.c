/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sentinel and Cluster: a server is asked who the servers are, one question at a time and not more often than the
 * pause allows, from whoever answers: nodes with a connection first, then others in turn.
 */
#include "gateway/redis_internal.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

/* Between two questions, µs: half of it to all of it. */
#define SEARCH_PAUSE (UINT64_C(500) * CLOCK_MS)

static void found(struct redis_request *request, const struct redis_reply *reply);

/* ---- whom to ask ---- */

static bool can_be_asked(const struct redis *redis, const struct redis_node *node, bool connected)
{
    if (!node || node->sentinel != (redis->options.mode == REDIS_SENTINEL))
        return false;
    return connected ? node->state == REDIS_READY : node->state != REDIS_RESTING && redis_node_takes(node);
}

static struct redis_node *source(struct redis *redis)
{
    for (unsigned connected = 2; connected-- > 0;)
        for (unsigned i = 0; i < redis->node_cap; i++) {
            struct redis_node *node = redis->nodes[(redis->search_turn + i) % redis->node_cap];
            if (can_be_asked(redis, node, connected != 0)) {
                redis->search_turn = node->index + 1u;
                return node;
            }
        }
    return NULL;
}

static void ask(struct redis *redis)
{
    uint64_t now = loop_now(redis->loop);
    redis->search_next = now + redis_jitter(redis, SEARCH_PAUSE);
    struct redis_node *node = source(redis);
    if (!node) {
        redis_routes_known(redis, true);
        timer_set(redis->loop, &redis->search_timer, redis->search_next);
        return;
    }
    const struct span cluster[] = {SPAN("CLUSTER"), SPAN("SLOTS")};
    const struct span sentinel[] = {SPAN("SENTINEL"), SPAN("GET-MASTER-ADDR-BY-NAME"), redis->options.master};
    struct redis_request *request = redis_request_create(redis);
    bool is_cluster = redis->options.mode == REDIS_CLUSTER;
    redis_command_format(&request->command, is_cluster ? cluster : sentinel, is_cluster ? 2 : 3);
    request->internal = found;
    redis->search = request;
    redis->counters.refreshes++;
    redis_request_wait(request, now + redis->options.connect);
    redis_node_send(node, request);
}

void redis_search(struct redis *redis)
{
    if (redis->options.mode == REDIS_STANDALONE || redis->search || redis->closing)
        return;
    uint64_t now = loop_now(redis->loop);
    if (now < redis->search_next)
        timer_set(redis->loop, &redis->search_timer, redis->search_next);
    else if (!timer_is_set(&redis->search_timer))
        timer_set(redis->loop, &redis->search_timer, now);
}

static void search_fired(struct timer *timer)
{
    struct redis *redis = CONTAINER_OF(timer, struct redis, search_timer);
    if (!redis->search)
        ask(redis);
}

/* ---- Cluster ---- */

static struct redis_node *listed_node(struct redis *redis, const struct redis_node *from,
                                      const struct redis_range *range, size_t index)
{
    struct redis_address address = redis_range_node(range, index);
    if (address.host.len == 0)
        address.host = span_str(from->host);
    return redis_node_get(redis, address, false);
}

/* Those that hold slots are connected at once; replicas are only known, to be asked when all masters are gone. */
static void drop_unlisted(struct redis *redis, const bool *known)
{
    for (unsigned i = 0; i < redis->node_cap; i++) {
        struct redis_node *node = redis->nodes[i];
        if (!node)
            continue;
        if (node->listed)
            redis_node_connect(node);
        else if (node->seed || known[i])
            redis_node_leave(node);
        else if (!node->flying && !node->queued)
            redis_node_drop(node);
    }
}

static bool apply_slots(struct redis *redis, struct redis_node *from, const struct redis_value *value)
{
    bool known[REDIS_NODES] = {false};
    if (!redis_ranges_check(value))
        return false;
    if (!redis->map)
        redis->map = memory_array(REDIS_SLOTS, sizeof(uint16_t));
    memset(redis->map, 0, REDIS_SLOTS * sizeof(uint16_t));
    for (unsigned i = 0; i < redis->node_cap; i++)
        if (redis->nodes[i])
            redis->nodes[i]->listed = false;
    for (size_t i = 0; i < value->count; i++) {
        struct redis_range range = redis_range(value, i);
        for (size_t n = 0; n < range.node_count; n++) {
            struct redis_node *node = listed_node(redis, from, &range, n);
            if (!node)
                continue;
            known[node->index] = true;
            node->listed |= n == 0;
            for (unsigned slot = range.first; n == 0 && slot <= range.last; slot++)
                redis->map[slot] = (uint16_t)(node->index + 1);
        }
    }
    drop_unlisted(redis, known);
    return true;
}

/* ---- Sentinel ---- */

static bool apply_master(struct redis *redis, struct redis_node *from, const struct redis_value *value)
{
    uint64_t port;
    if (value->kind != REDIS_ARRAY || value->count != 2 || value->items[0].kind != REDIS_STRING ||
        value->items[1].kind != REDIS_STRING || !span_to_u64(value->items[1].text, &port) || port == 0 ||
        port > UINT16_MAX || value->items[0].text.len == 0 || value->items[0].text.len > 255)
        return false;
    struct redis_address address = {.host = value->items[0].text, .port = (uint16_t)port};
    struct redis_node *master = redis_node_get(redis, address, false), *old = redis->master;
    if (!master)
        return false;
    redis->master = master;
    master->listed = true;
    if (old && old != master) {
        log_write(LOG_INFO, "redis", "store %.*s: the master is now %s:%u", SPAN_ARG(redis->options.name), master->host,
                  master->port);
        redis_node_drop(old);
    }
    redis_node_connect(master);
    redis_node_leave(from);
    return true;
}

/* ---- the answer ---- */

/* As long as one who should serve does not, the answer may not have been the last word. */
static bool all_well(const struct redis *redis)
{
    for (unsigned i = 0; i < redis->node_cap; i++)
        if (redis->nodes[i] && redis->nodes[i]->listed && redis->nodes[i]->failures &&
            redis->nodes[i]->state != REDIS_READY)
            return false;
    return true;
}

static void found(struct redis_request *request, const struct redis_reply *reply)
{
    struct redis *redis = request->redis;
    struct redis_node *from = request->node;
    redis->search = NULL;
    bool good = !reply->error && (redis->options.mode == REDIS_CLUSTER ? apply_slots(redis, from, reply->value)
                                                                       : apply_master(redis, from, reply->value));
    if (good) {
        redis->search_failures = 0;
        redis_routes_known(redis, false);
    } else {
        if (redis->search_failures++ == 0)
            log_write(LOG_WARNING, "redis", "store %.*s: who serves is not known: %.*s", SPAN_ARG(redis->options.name),
                      SPAN_ARG(reply->error ? reply->detail : SPAN("the answer names nobody")));
        redis_routes_known(redis, true);
    }
    if (!good || !all_well(redis))
        redis_search(redis);
}

void redis_search_init(struct redis *redis)
{
    redis->search_timer.fire = search_fired;
}

void redis_search_finish(struct redis *redis)
{
    timer_clear(redis->loop, &redis->search_timer);
    redis->search = NULL;
    free(redis->map);
    redis->map = NULL;
}
