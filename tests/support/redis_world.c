/* SPDX-License-Identifier: Apache-2.0 */
#include "support/redis_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/hash.h"

/* A command and its answer take about four turns; a connection before it about six. */
#define TURNS 40
#define STEP  (10 * CLOCK_MS)

void redis_world_open(struct redis_world *world, bool fake_clock)
{
    hash_start();
    if (fake_clock)
        clock_fake(1000 * CLOCK_SECOND, 1000 * CLOCK_SECOND);
    *world = (struct redis_world){.loop = loop_create()};
    world->resolver = resolver_create(world->loop, NULL);
    list_init(&world->pendings);
}

void redis_world_close(struct redis_world *world)
{
    assert_true(list_empty(&world->pendings));
    redis_destroy(world->redis);
    loop_turn(world->loop, false);
    resolver_destroy(world->resolver);
    loop_destroy(world->loop);
    assert_int_equal(pending_count(), 0);
    assert_int_equal(transport_count(), 0);
    clock_real();
}

void redis_world_settle(struct redis_world *world)
{
    for (unsigned i = 0; i < TURNS; i++)
        loop_turn(world->loop, false);
}

void redis_world_pass(struct redis_world *world, uint64_t us)
{
    /* In small steps: loopback must not be overtaken by the deadlines of what goes over it. */
    while (us) {
        uint64_t step = us < STEP ? us : STEP;
        us -= step;
        loop_advance(world->loop, step);
        for (unsigned i = 0; i < TURNS / 4; i++)
            loop_turn(world->loop, false);
    }
    redis_world_settle(world);
}

static void ended(struct redis_call *call, const struct redis_reply *reply)
{
    struct asked *asked = CONTAINER_OF(call, struct asked, call);
    struct span text = reply->detail;
    asked->ends++;
    asked->error = reply->error;
    asked->ended = loop_now(asked->world->loop);
    /* Never inside the call that started it. */
    assert_int_not_equal(asked->sequence, loop_sequence(asked->world->loop));
    assert_false(redis_call_is_live(call));
    if (reply->error) {
        assert_null(reply->value);
        assert_true(text.len > 0);
    } else {
        asked->kind = reply->value->kind;
        if (asked->kind == REDIS_INTEGER)
            asked->integer = reply->value->integer;
        else if (asked->kind == REDIS_STRING || asked->kind == REDIS_STATUS)
            text = reply->value->text;
    }
    (void)snprintf(asked->text, sizeof(asked->text), "%.*s", SPAN_ARG(text));
    if (asked->then)
        asked->then(asked);
}

static void prepare(struct redis_world *world, struct asked *asked)
{
    void (*then)(struct asked *) = asked->then;
    *asked = (struct asked){.world = world, .then = then, .call.done = ended};
    asked->sequence = loop_sequence(world->loop);
    /* Outside of any event the loop does not count: nothing can end there either. */
    if (!asked->sequence)
        asked->sequence = UINT64_MAX;
}

void asked_start(struct redis_world *world, struct asked *asked, const char *key, const char *words)
{
    struct span argv[16], rest = span_str(words);
    unsigned argc = 0;
    while (argc < ARRAY_LEN(argv) && span_split(&rest, ' ', &argv[argc]))
        argc++;
    prepare(world, asked);
    redis_ask(world->redis, &world->pendings, &asked->call, span_str(key), argv, argc, 0);
    assert_int_equal(asked->ends, 0);
}

void asked_eval(struct redis_world *world, struct asked *asked, const struct redis_script *script, const char *key,
                const char *argument)
{
    const struct span keys[] = {span_str(key)}, args[] = {span_str(argument)};
    prepare(world, asked);
    redis_eval(world->redis, &world->pendings, &asked->call, script, keys, 1, args, 1, 0);
    assert_int_equal(asked->ends, 0);
}

void asked_wait(struct asked *asked)
{
    while (!asked->ends)
        loop_turn(asked->world->loop, !clock_is_fake());
}
