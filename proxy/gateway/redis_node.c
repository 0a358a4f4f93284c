/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/redis_internal.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "net/connector.h"

#define FIRST_PAUSE (UINT64_C(50) * CLOCK_MS)

static const char *const state_names[REDIS_STATES] = {"idle", "connecting", "greeting", "ready", "resting"};

static void enter(struct redis_node *node, enum redis_state state)
{
    if (node->state == state)
        return;
    log_write(LOG_DEBUG, "redis", "%s:%u: %s -> %s", node->host, node->port, state_names[node->state],
              state_names[state]);
    node->state = state;
}

/* ---- making and dropping ---- */

static void pause_over(struct timer *timer);

static struct redis_node *find(struct redis *redis, struct redis_address address, bool sentinel, unsigned *ret_free)
{
    *ret_free = redis->node_cap;
    for (unsigned i = 0; i < redis->node_cap; i++) {
        struct redis_node *node = redis->nodes[i];
        if (!node)
            *ret_free = *ret_free < i ? *ret_free : i;
        else if (node->port == address.port && node->sentinel == sentinel &&
                 span_equal(span_str(node->host), address.host))
            return node;
    }
    return NULL;
}

struct redis_node *redis_node_get(struct redis *redis, struct redis_address address, bool sentinel)
{
    unsigned index;
    struct redis_node *node = find(redis, address, sentinel, &index);
    if (node || index == REDIS_NODES)
        return node;
    if (index == redis->node_cap) {
        redis->node_cap = redis->node_cap ? redis->node_cap * 2 : 8;
        redis->nodes = memory_realloc(redis->nodes, redis->node_cap * sizeof(struct redis_node *));
        for (unsigned i = index; i < redis->node_cap; i++)
            redis->nodes[i] = NULL;
    }
    node = memory_zalloc(sizeof(*node));
    node->redis = redis;
    node->index = (uint16_t)index;
    node->host = memory_string(address.host);
    node->port = address.port;
    node->sentinel = sentinel;
    node->timer.fire = pause_over;
    list_init(&node->queue);
    list_init(&node->flight);
    redis->nodes[index] = node;
    return node;
}

static void free_reader(void *reader)
{
    redis_reader_destroy(reader);
}

static void free_node(void *object)
{
    struct redis_node *node = object;
    free(node->host);
    free(node);
}

static void end_all(struct list *list, enum redis_error error)
{
    while (!list_empty(list))
        redis_request_end(LIST_FIRST(list, struct redis_request, link), error);
}

/* Whatever connection there is or is being made. */
static void disconnect(struct redis_node *node, enum redis_error error)
{
    struct loop *loop = node->redis->loop;
    timer_clear(loop, &node->timer);
    if (node->connector) {
        connector_cancel(node->connector);
        node->connector = NULL;
    }
    wire_close(&node->wire);
    node->wire = (struct wire){0};
    if (node->reader) /* it may be what we are called from */
        loop_bury(loop, node->reader, free_reader);
    node->reader = NULL;
    end_all(&node->flight, error);
    end_all(&node->queue, error);
}

void redis_node_drop(struct redis_node *node)
{
    disconnect(node, REDIS_ERROR_LOST);
    node->redis->nodes[node->index] = NULL;
    loop_bury(node->redis->loop, node, free_node);
}

void redis_node_leave(struct redis_node *node)
{
    if (node->flying || node->queued)
        return;
    disconnect(node, REDIS_ERROR_LOST);
    node->failures = 0;
    enter(node, REDIS_IDLE);
}

/* ---- failing ---- */

/* Doubles from 50 ms on. */
static uint64_t pause_after(struct redis_node *node)
{
    unsigned doublings = node->failures > 1 ? node->failures - 1 : 0;
    uint64_t pause = FIRST_PAUSE << (doublings < 16 ? doublings : 16);
    uint64_t most = node->redis->options.rest_most;
    return redis_jitter(node->redis, pause < most ? pause : most);
}

static void say_lost(struct redis_node *node, const char *why)
{
    struct redis *redis = node->redis;
    (void)snprintf(redis->why, sizeof(redis->why), "%s:%u: ", node->host, node->port);
    size_t place = strlen(redis->why);
    /* A connector's words begin with the address that it tried; where the host is one that is said already. */
    if (strncmp(why, redis->why, place) == 0)
        why += place;
    (void)snprintf(redis->why + place, sizeof(redis->why) - place, "%s", why);
    if (!node->told)
        log_write(LOG_WARNING, "redis", "store %.*s: %s", SPAN_ARG(redis->options.name), redis->why);
    node->told = true;
}

void redis_node_lost(struct redis_node *node, const char *why, bool failure)
{
    struct redis *redis = node->redis;
    bool was_ready = node->state == REDIS_READY;
    uint64_t now = loop_now(redis->loop);
    if (was_ready && now - node->ready_since >= REDIS_SOUND)
        node->failures = 0;
    else
        failure = true;
    if (was_ready)
        redis->counters.losses++;
    say_lost(node, why);
    disconnect(node, REDIS_ERROR_LOST);
    if (failure) {
        redis->counters.breaker_opened += node->failures == 0;
        node->failures++;
        enter(node, REDIS_RESTING);
        timer_set(redis->loop, &node->timer, now + pause_after(node));
    } else {
        enter(node, REDIS_IDLE);
        if (node->listed)
            redis_node_connect(node);
    }
    if (!node->sentinel)
        redis_search(redis);
}

void redis_node_unanswered(struct redis_node *node)
{
    struct redis *redis = node->redis;
    if (node->state != REDIS_READY || ++node->unanswered < redis->options.breaker)
        return;
    /* Many commands of one moment fail together: what counts is that nothing at all has come for a while. */
    if (loop_now(redis->loop) - node->heard >= 2 * redis->options.deadline)
        redis_node_lost(node, "does not answer", true);
}

static void pause_over(struct timer *timer)
{
    struct redis_node *node = CONTAINER_OF(timer, struct redis_node, timer);
    if (node->state == REDIS_GREETING) {
        node->redis->counters.connect_failures++;
        redis_node_lost(node, "connected, but does not answer", true);
        return;
    }
    enter(node, REDIS_IDLE);
    if (node->listed)
        redis_node_connect(node);
}

/* ---- connecting ---- */

static void read_some(struct redis_node *node)
{
    struct redis *redis = node->redis;
    struct transport *transport = node->wire.transport;
    char *scratch = loop_scratch(redis->loop);
    ssize_t got = transport_read(transport, scratch, LOOP_SCRATCH);
    if (got == 0)
        return;
    if (got < 0) {
        redis_node_lost(node, got == TRANSPORT_EOF ? "closed the connection" : transport_error(transport), false);
        return;
    }
    redis->counters.bytes_in += (uint64_t)got;
    node->heard = loop_now(redis->loop);
    node->unanswered = 0;
    struct redis_reader *reader = node->reader;
    enum redis_read read = redis_reader_feed(reader, span_of(scratch, (size_t)got)) ? REDIS_READ_VALUE : REDIS_READ_BAD;
    const struct redis_value *value = NULL;
    while (read == REDIS_READ_VALUE && node->reader == reader) {
        read = redis_reader_next(reader, &value);
        if (read != REDIS_READ_VALUE)
            break;
        struct redis_request *request = LIST_FIRST(&node->flight, struct redis_request, link);
        if (!request) {
            redis_node_lost(node, "answers what was not asked", true);
            return;
        }
        redis_answer(node, request, value);
    }
    if (read == REDIS_READ_BAD && node->reader == reader) {
        char why[120];
        (void)snprintf(why, sizeof(why), "not the Redis protocol: %s", redis_reader_error(reader));
        end_all(&node->flight, REDIS_ERROR_PROTOCOL);
        redis_node_lost(node, why, true);
    }
}

static void notified(struct transport *transport, enum transport_event event)
{
    struct redis_node *node = transport->owner;
    if (event == TRANSPORT_READABLE)
        read_some(node);
    else if (event == TRANSPORT_WRITABLE)
        wire_writable(&node->wire);
    else
        redis_node_lost(node, event == TRANSPORT_CLOSED ? "closed the connection" : transport_error(transport), false);
}

static void wrote(struct wire *wire)
{
    CONTAINER_OF(wire, struct redis_node, wire)->redis->counters.writes++;
}

static void write_failed(struct wire *wire)
{
    struct redis_node *node = CONTAINER_OF(wire, struct redis_node, wire);
    redis_node_lost(node, transport_error(wire->transport), false);
}

static void connected(void *arg, struct transport *transport, enum fault fault, const char *detail)
{
    struct redis_node *node = arg;
    struct redis *redis = node->redis;
    node->connector = NULL;
    if (!transport) {
        (void)fault;
        redis->counters.connect_failures++;
        redis_node_lost(node, detail, true);
        return;
    }
    redis->counters.connects++;
    wire_init(&node->wire, transport);
    node->wire.sent = wrote;
    node->wire.failed = write_failed;
    transport_own(transport, node, notified);
    transport_want(transport, true);
    node->reader = redis_reader_create(redis->options.reply_most);
    node->unanswered = 0;
    node->sent = 0;
    node->heard = loop_now(redis->loop);
    for (unsigned i = 0; i < REDIS_SCRIPTS; i++)
        node->loaded[i] = (struct redis_loaded){0};
    enter(node, REDIS_GREETING);
    timer_set(redis->loop, &node->timer, loop_now(redis->loop) + redis->options.connect);
    if (!redis_greet(node))
        redis_node_lost(node, "there is no credential for it yet", true);
}

/* Certificates are renewed while we run: a few stat calls before a handshake. */
static void look_for_new_files(struct redis *redis)
{
    struct net_error error;
    if (redis->options.tls && tls_context_reload(redis->options.tls, &error) == TLS_KEPT)
        log_write(LOG_WARNING, "redis", "store %.*s: the former TLS files stay in use: %s",
                  SPAN_ARG(redis->options.name), error.text);
}

void redis_node_connect(struct redis_node *node)
{
    struct redis *redis = node->redis;
    if (node->state != REDIS_IDLE)
        return;
    enter(node, REDIS_CONNECTING);
    look_for_new_files(redis);
    struct endpoint to = {.host = span_str(node->host), .port = node->port, .tls = redis->options.tls};
    to.server_name = redis->options.server_name;
    node->connector = connector_start(redis->loop, redis->resolver, &to, redis->options.connect, NULL, connected, node);
}

void redis_node_greeted(struct redis_node *node)
{
    struct redis *redis = node->redis;
    timer_clear(redis->loop, &node->timer);
    node->ready_since = loop_now(redis->loop);
    enter(node, REDIS_READY);
    if (node->told)
        log_write(LOG_INFO, "redis", "store %.*s: %s:%u is back", SPAN_ARG(redis->options.name), node->host,
                  node->port);
    node->told = false;
    while (!list_empty(&node->queue)) {
        struct redis_request *request = LIST_FIRST(&node->queue, struct redis_request, link);
        redis_request_take(request);
        redis_node_send(node, request);
    }
}

/* ---- sending ---- */

void redis_node_push(struct redis_node *node, struct redis_request *request)
{
    request->node = node;
    request->place = REDIS_FLYING;
    request->number = ++node->sent;
    list_append(&node->flight, &request->link);
    node->flying++;
    node->redis->counters.bytes_out += request->command.len;
    wire_send(&node->wire, span_of(request->command.bytes, request->command.len));
}

static void push_asking(struct redis_node *node)
{
    static const struct span argv[] = {SPAN_INIT("ASKING")};
    struct redis_request *request = redis_request_create(node->redis);
    redis_command_format(&request->command, argv, 1);
    redis_node_push(node, request);
}

bool redis_node_takes(const struct redis_node *node)
{
    if (node->queued + node->flying >= node->redis->options.queue)
        return false;
    return node->state == REDIS_READY || node->state == REDIS_IDLE ||
           (node->state != REDIS_RESTING && node->failures == 0);
}

void redis_node_send(struct redis_node *node, struct redis_request *request)
{
    if (node->queued + node->flying >= node->redis->options.queue || wire_pending(&node->wire) > REDIS_UNSENT) {
        redis_request_end(request, REDIS_ERROR_FULL);
        return;
    }
    if (node->state == REDIS_READY) {
        if (request->asking)
            push_asking(node);
        redis_node_push(node, request);
        return;
    }
    if (!redis_node_takes(node)) {
        redis_request_end(request, REDIS_ERROR_LOST);
        return;
    }
    request->node = node;
    request->place = REDIS_QUEUED;
    list_append(&node->queue, &request->link);
    node->queued++;
    redis_node_connect(node);
}
