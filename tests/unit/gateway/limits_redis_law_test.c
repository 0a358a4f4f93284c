/* SPDX-License-Identifier: Apache-2.0 */
/* The scripts in a real Redis against the memory store: the same requests at the same times get the same answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/hash.h"
#include "support/limits_world.h"

#define MINUTE (60 * CLOCK_SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define START  (1000 * CLOCK_SECOND)
#define WALL   (UINT64_C(495000) * HOUR)
#define OPEN   40

static struct redis_server server;
static struct limits_world world;
static struct limits_memory memory;
static unsigned histories;

static int open_world(void **state)
{
    (void)state;
    if (!redis_servers_there())
        return 0;
    redis_server_start(&server, "");
    limits_world_open(&world, (struct redis_options){.deadline = 10 * CLOCK_SECOND}, &server, "one");
    limits_world_greet(&world);
    limits_memory_init(&memory, limits_table_get(SPAN("oracle"), 4096));
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    if (!redis_servers_there())
        return 0;
    limits_table_unref(memory.table);
    limits_world_until(&world, limits_world_is_quiet);
    limits_world_close(&world);
    redis_server_stop(&server);
    return 0;
}

struct both {
    struct asking redis;
    struct limits_call call;
    struct limits_part parts[LIMITS_WORLD_PARTS];
    uint64_t end, units[LIMITS_WORLD_PARTS];
    bool open;
};

static void compare_answers(const struct both *both)
{
    for (unsigned i = 0; i < both->call.count; i++) {
        const struct limit_answer *a = &both->parts[i].answer, *b = &both->redis.parts[i].answer;
        if (a->granted != b->granted || a->remaining != b->remaining || a->reset != b->reset || a->wait != b->wait)
            fail_msg("part %u: granted %d %d, remaining %llu %llu, reset %llu %llu, wait %llu %llu", i, a->granted,
                     b->granted, (unsigned long long)a->remaining, (unsigned long long)b->remaining,
                     (unsigned long long)a->reset, (unsigned long long)b->reset, (unsigned long long)a->wait,
                     (unsigned long long)b->wait);
    }
}

static bool reserve_both(struct both *both, uint64_t at)
{
    both->call.parts = both->parts;
    both->call.count = both->redis.call.count;
    memcpy(both->parts, both->redis.parts, sizeof(both->parts));
    limits_world_set_clock(&world, WALL + at);
    enum limits_result there = asking_do(&world, &both->redis);
    enum limits_result here = limits_reserve(&memory.store, &both->call, NULL, NULL, START + at, WALL + at);
    assert_int_equal(there, here);
    compare_answers(both);
    return here == LIMITS_GRANTED;
}

static void settle_both(struct both *both, uint64_t at)
{
    limits_world_set_clock(&world, WALL + at);
    for (unsigned i = 0; i < both->call.count; i++)
        both->parts[i].units = both->redis.parts[i].units = both->units[i];
    asking_settle(&both->redis);
    limits_settle(&memory.store, &both->call, START + at, WALL + at);
    both->open = false;
    limits_world_until(&world, limits_world_is_quiet);
}

static void settle_due(struct both *all, uint64_t at)
{
    for (unsigned i = 0; i < OPEN; i++)
        if (all[i].open && all[i].end <= at)
            settle_both(&all[i], at);
}

static struct both *a_free_one(struct both *all, uint64_t at)
{
    for (;; at = UINT64_MAX / 4) {
        for (unsigned i = 0; i < OPEN; i++)
            if (!all[i].open) {
                all[i] = (struct both){0};
                return &all[i];
            }
        settle_both(&all[0], at);
    }
}

static const struct limit_law laws[] = {
    {LIMIT_RATE, 100000, 100000, MINUTE, false},
    {LIMIT_RATE, 100000, 6000, MINUTE, false},
    {LIMIT_RATE, 7, 3, CLOCK_SECOND, false},
    {LIMIT_RATE, 1000000000, 2000000000, 30 * DAY, false},
    {LIMIT_RATE, LIMIT_AMOUNT_MAX, LIMIT_AMOUNT_MAX, CLOCK_SECOND, false},
    {LIMIT_CALENDAR, 50000, 0, HOUR, false},
    {LIMIT_CALENDAR, 500000, 0, 0, true},
    {LIMIT_ROLLING, 50000, 0, HOUR, false},
    {LIMIT_ROLLING, 500, 0, MINUTE, false},
    {LIMIT_CONCURRENCY, 5, 0, 0, false},
};
static const uint64_t spans[] = {10 * MINUTE, 10 * MINUTE, MINUTE,   40 * DAY,   MINUTE,
                                 5 * HOUR,    90 * DAY,    5 * HOUR, 5 * MINUTE, 10 * MINUTE};
static const uint64_t mosts[] = {20000, 5000, 4, 300000000, LIMIT_AMOUNT_MAX, 4000, 30000, 4000, 30, 2};

/* Requests of one limit that come, last and settle as they like: to less, to as much, to more. */
static void one_history(unsigned which, uint64_t seed)
{
    enum { REQUESTS = 250 };
    static struct both all[OPEN];
    char key[64];
    uint64_t random = seed, at = 0;
    unsigned granted = 0, refused = 0;
    (void)snprintf(key, sizeof(key), "/t/one-%u/%u", which, histories++);
    memset(all, 0, sizeof(all));
    for (unsigned n = 0; n < REQUESTS; n++) {
        at += hash_random(&random) % (2 * spans[which] / REQUESTS);
        settle_due(all, at);
        struct both *both = a_free_one(all, at);
        uint64_t units = hash_random(&random) % (mosts[which] + 1);
        if (laws[which].kind == LIMIT_CONCURRENCY)
            units++;
        asking_part(&both->redis, laws[which], key, units);
        both->units[0] = hash_random(&random) % 4 ? hash_random(&random) % (units + 1) : units + units / 8;
        both->end =
            at + hash_random(&random) % (laws[which].kind == LIMIT_CONCURRENCY ? 50 * CLOCK_SECOND : spans[which] / 20);
        both->open = reserve_both(both, at);
        *(both->open ? &granted : &refused) += 1;
    }
    settle_due(all, UINT64_MAX / 4);
    assert_true(granted > 20 && refused > 5);
}

static void test_one_limit(void **state)
{
    (void)state;
    REDIS_SERVERS_OR_SKIP();
    for (unsigned which = 0; which < ARRAY_LEN(laws); which++)
        for (uint64_t seed = 1; seed <= 3; seed++)
            one_history(which, seed * 1000 + which);
}

/*
 * Several limits at once, some in shadow: what one refuses is charged nowhere. What a rate gives back depends on when
 * it was last granted, which the memory store moves for a refused call too, on the strict side: rates settle in full
 * here.
 */
static void test_many_limits(void **state)
{
    (void)state;
    REDIS_SERVERS_OR_SKIP();
    static struct both all[OPEN];
    static char keys[ARRAY_LEN(laws)][32];
    uint64_t random = 77, at = 0;
    unsigned granted = 0, refused = 0;
    for (unsigned i = 0; i < ARRAY_LEN(laws); i++)
        (void)snprintf(keys[i], sizeof(keys[i]), "/t/many-%u", i);
    for (unsigned n = 0; n < 1200; n++) {
        at += hash_random(&random) % (3 * CLOCK_SECOND);
        settle_due(all, at);
        struct both *both = a_free_one(all, at);
        unsigned first = (unsigned)(hash_random(&random) % ARRAY_LEN(laws)), count = 1 + (unsigned)(n % 5);
        for (unsigned i = 0; i < count; i++) {
            unsigned which = (first + 3 * i) % (unsigned)ARRAY_LEN(laws);
            uint64_t units = 1 + hash_random(&random) % mosts[which];
            struct limits_part *part = asking_part(&both->redis, laws[which], keys[which], units);
            part->shadow = hash_random(&random) % 5 == 0;
            both->units[i] = laws[which].kind == LIMIT_RATE ? units : hash_random(&random) % (units + 1);
        }
        both->end = at + hash_random(&random) % (40 * CLOCK_SECOND);
        both->open = reserve_both(both, at);
        *(both->open ? &granted : &refused) += 1;
    }
    settle_due(all, UINT64_MAX / 4);
    assert_true(granted > 100 && refused > 100);
}

/* A place is kept as long as it is renewed in time, and then free for others; it is not given back twice. */
static void test_leases(void **state)
{
    (void)state;
    REDIS_SERVERS_OR_SKIP();
    static const struct limit_law one = {LIMIT_CONCURRENCY, 1, 0, 0, false};
    const uint64_t start = WALL + 1000 * HOUR;
    static const struct {
        uint64_t at;
        bool renewed, granted;
    } steps[] = {{LIMITS_RENEW, true, false},
                 {LIMITS_LEASE + LIMITS_RENEW - 1, false, false},
                 {LIMITS_LEASE + LIMITS_RENEW - 1, true, false},
                 {2 * LIMITS_LEASE, false, false},
                 {2 * LIMITS_LEASE + LIMITS_RENEW, false, true}};
    struct asking first = {0}, last = {0};
    struct loop *loop = world.base.loop;
    limits_world_set_clock(&world, start);
    asking_part(&first, one, "/t/lease", 1);
    assert_int_equal(asking_do(&world, &first), LIMITS_GRANTED);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        limits_world_set_clock(&world, start + steps[i].at);
        if (steps[i].renewed)
            limits_renew(world.store, &first.call, loop_now(loop), loop_wall(loop));
        last = (struct asking){0};
        asking_part(&last, one, "/t/lease", 1);
        assert_int_equal(asking_do(&world, &last), steps[i].granted ? LIMITS_GRANTED : LIMITS_REFUSED);
    }
    asking_settle(&first);
    limits_world_until(&world, limits_world_is_quiet);
    struct asking third = {0};
    asking_part(&third, one, "/t/lease", 1);
    assert_int_equal(asking_do(&world, &third), LIMITS_REFUSED);
    asking_settle(&last);
    limits_world_until(&world, limits_world_is_quiet);
}

/* Settled to nothing, everything is there again; nothing but limits is left in the store, and no key without an end. */
static void test_everything_expires(void **state)
{
    (void)state;
    REDIS_SERVERS_OR_SKIP();
    struct buffer out = {0};
    assert_int_equal(redis_cli(&server, world.base.loop, &out, "--raw keys postern:i*"), 0);
    assert_true(buffer_len(&out) <= 1); /* at most the end of the line */
    buffer_finish(&out);
    assert_int_equal(redis_cli(&server, world.base.loop, &out, "--raw keys postern:*"), 0);
    struct span rest = buffer_span(&out), key;
    unsigned keys = 0;
    while (span_split(&rest, '\n', &key)) {
        struct asked asked = {0};
        char words[256];
        if (!key.len)
            continue;
        (void)snprintf(words, sizeof(words), "PTTL %.*s", SPAN_ARG(key));
        asked_start(&world.base, &asked, "x", words);
        asked_wait(&asked);
        assert_int_equal(asked.kind, REDIS_INTEGER);
        assert_true(asked.integer == -2 || asked.integer > 0); /* gone, or going */
        keys++;
    }
    assert_true(keys > 5);
    buffer_finish(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_limit),
        cmocka_unit_test(test_many_limits),
        cmocka_unit_test(test_leases),
        cmocka_unit_test(test_everything_expires),
    };
    return cmocka_run_group_tests(tests, open_world, close_world);
}
