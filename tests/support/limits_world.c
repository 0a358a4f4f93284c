/* SPDX-License-Identifier: Apache-2.0 */
#include "support/limits_world.h"

#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/hash.h"

void limits_world_open(struct limits_world *world, struct redis_options options, const struct redis_server *at,
                       const char *instance)
{
    struct redis_address address = {.host = SPAN("127.0.0.1"), .port = at ? at->port : 0};
    *world = (struct limits_world){0};
    redis_world_open(&world->base, false);
    options.name = SPAN("shared");
    if (at) {
        options.addresses = &address;
        options.address_count = 1;
    }
    if (!options.rest_most)
        options.rest_most = 200 * CLOCK_MS;
    world->base.redis = redis_create(world->base.loop, world->base.resolver, &options);
    world->redis.redis = world->base.redis;
    world->worker = (struct worker){.loop = world->base.loop, .process = &world->process};
    crypto_random(&world->worker.random, sizeof(world->worker.random));
    (void)snprintf(world->process.instance_id, sizeof(world->process.instance_id), "%s", instance);
    world->store = limits_redis_create(&world->worker, &world->redis, SPAN("team"), 1024);
}

void limits_world_close(struct limits_world *world)
{
    assert_int_equal(limits_redis_counts(world->store).open, 0);
    limits_redis_destroy(world->store);
    redis_world_close(&world->base);
}

void limits_world_set_clock(struct limits_world *world, uint64_t wall)
{
    struct limits_redis *store = (struct limits_redis *)(void *)world->store;
    struct asked asked = {0};
    char words[64];
    if (store->scripts.script[0].text.len == 0 || !span_starts_with(store->scripts.script[0].text, SPAN("local now"))) {
        limits_scripts_finish(&store->scripts);
        limits_scripts_init(&store->scripts, SPAN("local now = tonumber(redis.call('GET', 'clock'))\n"));
    }
    (void)snprintf(words, sizeof(words), "SET clock %llu", (unsigned long long)wall);
    asked_start(&world->base, &asked, "clock", words);
    asked_wait(&asked);
    assert_int_equal(asked.error, REDIS_ERROR_NONE);
    store->ahead = (int64_t)wall - (int64_t)loop_wall(world->base.loop);
}

void limits_world_until(struct limits_world *world, bool (*ready)(struct limits_world *world))
{
    while (!ready(world))
        loop_turn(world->base.loop, true);
}

static bool is_greeted(struct limits_world *world)
{
    return limits_redis_counts(world->store).instances > 0;
}

void limits_world_greet(struct limits_world *world)
{
    limits_world_until(world, is_greeted);
}

bool limits_world_is_quiet(struct limits_world *world)
{
    return limits_redis_counts(world->store).waiting == 0;
}

/* ---- calls ---- */

struct limits_part *asking_part(struct asking *asking, struct limit_law law, const char *key, uint64_t units)
{
    assert(asking->call.count < LIMITS_WORLD_PARTS);
    struct limits_part *part = &asking->parts[asking->call.count++];
    *part = (struct limits_part){.law = law, .key = span_str(key), .units = units};
    part->hash = hash_bytes(part->key);
    part->tag = SPAN("alice");
    return part;
}

static void done(struct limits_call *call, enum limits_result result)
{
    struct asking *asking = CONTAINER_OF(call, struct asking, call);
    assert_false(asking->ended);
    asking->ended = true;
    asking->result = result;
    if (asking->then)
        asking->then(asking);
}

void asking_start(struct limits_world *world, struct asking *asking)
{
    asking->world = world;
    asking->ended = false;
    asking->call.parts = asking->parts;
    asking->call.done = done;
    crypto_random(asking->call.id, sizeof(asking->call.id));
    struct loop *loop = world->base.loop;
    enum limits_result result =
        limits_reserve(world->store, &asking->call, loop, &world->base.pendings, loop_now(loop), loop_wall(loop));
    if (result != LIMITS_PENDING)
        done(&asking->call, result);
}

enum limits_result asking_wait(struct asking *asking)
{
    while (!asking->ended)
        loop_turn(asking->world->base.loop, true);
    return asking->result;
}

enum limits_result asking_do(struct limits_world *world, struct asking *asking)
{
    asking_start(world, asking);
    return asking_wait(asking);
}

void asking_settle(struct asking *asking)
{
    struct loop *loop = asking->world->base.loop;
    limits_settle(asking->world->store, &asking->call, loop_now(loop), loop_wall(loop));
}

void asking_settle_to(struct asking *asking, uint64_t units)
{
    for (unsigned i = 0; i < asking->call.count; i++)
        asking->parts[i].units = units;
    asking_settle(asking);
}
