/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "gateway/limits_redis_internal.h"
#include "gateway/redis_stores.h"
#include "gateway/worker.h"

/* Kept ones that are under way at a time: they must not push aside the calls of the moment. */
#define AGAIN 256
/* Patience with a server that is there: settlements are asked in nobody's time. */
#define DEADLINE CLOCK_SECOND
/* Times that the server may call one wrong before it is given up. */
#define TRIES 8

/* A command with its own copy of its words: `keys` and then `args` of them, their ends in `ends`, bytes behind. */
struct limits_delivery {
    struct list link;
    struct redis_call call;
    struct limits_redis *store;
    enum limits_script script;
    unsigned keys, args;
    unsigned tries;
    uint32_t ends[];
};

static char *bytes_of(struct limits_delivery *delivery)
{
    return (char *)&delivery->ends[delivery->keys + delivery->args];
}

static void add(struct limits_delivery *delivery, unsigned index, struct span word)
{
    uint32_t start = index ? delivery->ends[index - 1] : 0;
    memcpy(bytes_of(delivery) + start, word.ptr, word.len);
    delivery->ends[index] = start + (uint32_t)word.len;
}

static struct limits_delivery *copy(struct limits_redis *store, enum limits_script script,
                                    const struct limits_words *words)
{
    size_t size = sizeof(struct limits_delivery) + (words->keys + words->args) * sizeof(uint32_t);
    for (unsigned i = 0; i < words->keys; i++)
        size += words->key[i].len;
    for (unsigned i = 0; i < words->args; i++)
        size += words->arg[i].len;
    struct limits_delivery *delivery = memory_alloc(size);
    *delivery = (struct limits_delivery){.store = store, .script = script, .keys = words->keys, .args = words->args};
    for (unsigned i = 0; i < words->keys; i++)
        add(delivery, i, words->key[i]);
    for (unsigned i = 0; i < words->args; i++)
        add(delivery, words->keys + i, words->arg[i]);
    return delivery;
}

static void drop(struct limits_delivery *delivery)
{
    struct limits_redis *store = delivery->store;
    if (store->counts.dropped++ == 0)
        log_write(LOG_WARNING, "limits", "%s: settlements are dropped: the store takes none, or refuses them",
                  store->name);
    list_remove(&delivery->link);
    free(delivery);
}

static void keep(struct limits_delivery *delivery)
{
    struct limits_redis *store = delivery->store;
    list_remove(&delivery->link);
    list_append(&store->kept, &delivery->link);
    limits_redis_look_soon(store);
    if (++store->kept_count <= LIMITS_REDIS_KEPT)
        return;
    store->kept_count--;
    drop(LIST_FIRST(&store->kept, struct limits_delivery, link));
}

static bool is_wrong(enum redis_error error)
{
    return error == REDIS_ERROR_WRONGTYPE || error == REDIS_ERROR_CROSSSLOT || error == REDIS_ERROR_OTHER;
}

static void answered(struct redis_call *call, const struct redis_reply *reply)
{
    struct limits_delivery *delivery = CONTAINER_OF(call, struct limits_delivery, call);
    struct limits_redis *store = delivery->store;
    if (delivery->tries > 1)
        store->tries--;
    store->worker->delivery_count--;
    if (reply->error) {
        if (is_wrong(reply->error) && delivery->tries >= TRIES)
            drop(delivery);
        else
            keep(delivery);
        return;
    }
    store->counts.delivered++;
    store->well |= delivery->script == LIMITS_SCRIPT_CHARGE;
    store->counts.again += delivery->tries > 1;
    list_remove(&delivery->link);
    free(delivery);
    if (store->kept_count)
        limits_deliver_kept(store);
}

static void send_delivery(struct limits_delivery *delivery)
{
    struct limits_redis *store = delivery->store;
    struct span words[REDIS_ARGUMENTS];
    unsigned count = delivery->keys + delivery->args;
    for (unsigned i = 0; i < count; i++) {
        uint32_t start = i ? delivery->ends[i - 1] : 0;
        words[i] = span_of(bytes_of(delivery) + start, delivery->ends[i] - start);
    }
    if (++delivery->tries > 1)
        store->tries++;
    delivery->call.done = answered;
    store->worker->delivery_count++;
    list_append(&store->sent, &delivery->link);
    redis_eval(store->redis->redis, NULL, &delivery->call, &store->scripts.script[delivery->script], words,
               delivery->keys, words + delivery->keys, delivery->args, DEADLINE);
}

void limits_deliver(struct limits_redis *store, enum limits_script script, const struct limits_words *words)
{
    struct limits_delivery *delivery = copy(store, script, words);
    if (store->redis && store->redis->redis && redis_is_up(store->redis->redis, words->key[0]))
        send_delivery(delivery);
    else
        keep(delivery);
}

void limits_deliver_kept(struct limits_redis *store)
{
    while (store->tries < AGAIN && !list_empty(&store->kept) && limits_redis_is_up(store)) {
        struct limits_delivery *delivery = LIST_FIRST(&store->kept, struct limits_delivery, link);
        list_remove(&delivery->link);
        store->kept_count--;
        if (delivery->tries == 0)
            delivery->tries = 1; /* kept without having been sent: it counts among those all the same */
        send_delivery(delivery);
    }
}

void limits_deliver_finish(struct limits_redis *store)
{
    LIST_EACH(&store->sent, link)
    {
        pending_cancel(&CONTAINER_OF(link, struct limits_delivery, link)->call.pending);
        store->worker->delivery_count--;
    }
    struct list *lists[] = {&store->sent, &store->kept};
    for (unsigned i = 0; i < ARRAY_LEN(lists); i++)
        while (!list_empty(lists[i])) {
            struct limits_delivery *delivery = LIST_FIRST(lists[i], struct limits_delivery, link);
            list_remove(&delivery->link);
            free(delivery);
        }
    store->kept_count = 0;
}
