/* SPDX-License-Identifier: Apache-2.0 */
/* What a process grants while the store is lost: its slice to the unit, and what it owes to the unit afterwards. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/clock.h"
#include "support/fake_redis.h"
#include "support/limits_world.h"

#define HOUR  (UINT64_C(3600) * CLOCK_SECOND)
#define MONTH (30 * 24 * HOUR)
#define CALLS 300

/* A month, so that nothing drains during a test. */
#define RATE                                                                                                           \
    {                                                                                                                  \
        LIMIT_RATE, 1000, 100, MONTH, false                                                                            \
    }
#define CALENDAR                                                                                                       \
    {                                                                                                                  \
        LIMIT_CALENDAR, 100, 0, MONTH, true                                                                            \
    }
#define ROLLING                                                                                                        \
    {                                                                                                                  \
        LIMIT_ROLLING, 100, 0, MONTH, false                                                                            \
    }
#define CONCURRENCY                                                                                                    \
    {                                                                                                                  \
        LIMIT_CONCURRENCY, 20, 0, 0, false                                                                             \
    }

static const struct limit_law rate = RATE, calendar = CALENDAR;

static struct redis_server server;
static struct limits_world world;
static struct asking askings[CALLS];
static unsigned asked;

static bool knows_four(struct limits_world *of)
{
    return limits_redis_counts(of->store).instances == 4;
}

/* Four instances: this one and three that are said to live. */
static int open_world(void **state)
{
    (void)state;
    if (!redis_servers_there())
        return 0;
    redis_server_start(&server, "");
    assert_int_equal(redis_cli(&server, NULL, NULL, "zadd postern:n{team} 9e15 two 9e15 three 9e15 four"), 0);
    limits_world_open(&world,
                      (struct redis_options){.deadline = 300 * CLOCK_MS, .connect = 300 * CLOCK_MS, .breaker = 1},
                      &server, "one");
    limits_world_until(&world, knows_four);
    asked = 0;
    return 0;
}

static void settle_all(void)
{
    for (unsigned i = 0; i < asked; i++)
        if (askings[i].call.granted)
            asking_settle(&askings[i]);
    asked = 0;
}

static int close_world(void **state)
{
    (void)state;
    if (!redis_servers_there())
        return 0;
    settle_all();
    limits_world_close(&world);
    redis_server_stop(&server);
    return 0;
}

static struct asking *ask(struct limit_law law, const char *key, uint64_t units, enum limits_when_lost when_lost)
{
    assert_true(asked < CALLS);
    struct asking *asking = &askings[asked++];
    *asking = (struct asking){0};
    asking_part(asking, law, key, units)->when_lost = when_lost;
    (void)asking_do(&world, asking);
    return asking;
}

/* How many of so many calls are granted. Only those of CONCURRENCY keep their places. */
static unsigned grants(struct limit_law law, const char *key, unsigned calls)
{
    unsigned granted = 0;
    while (calls--) {
        struct asking *asking = ask(law, key, 1, LIMITS_LOST_LEASE);
        granted += asking->result == LIMITS_GRANTED;
        if (asking->call.granted && law.kind != LIMIT_CONCURRENCY)
            asking_settle(asking);
        if (!asking->call.granted)
            asked--;
    }
    return granted;
}

static bool is_up(struct limits_world *of)
{
    return redis_is_up(of->redis.redis, SPAN("x"));
}

/* Frozen, so that what it holds is there afterwards. Whoever finds out asks for what is of no interest. */
static void lose(void)
{
    redis_server_signal(&server, SIGSTOP);
    while (is_up(&world)) {
        struct asked probe = {0};
        asked_start(&world.base, &probe, "x", "PING");
        asked_wait(&probe);
    }
}

static bool all_is_told(struct limits_world *of)
{
    return is_up(of) && limits_world_is_quiet(of);
}

static void come_back(void)
{
    redis_server_signal(&server, SIGCONT);
    limits_world_until(&world, all_is_told);
}

static uint64_t remaining(struct limit_law law, const char *key)
{
    struct asking asking = {0};
    asking_part(&asking, law, key, 0);
    (void)asking_do(&world, &asking); /* refused when more was charged than there is */
    asking_settle(&asking);
    return asking.parts[0].answer.remaining;
}

static void test_slices(void **state)
{
    (void)state;
    REDIS_SERVERS_OR_SKIP();
    static const struct {
        struct limit_law law;
        const char *key;
        unsigned before, slice; /* granted by the store, then here */
        unsigned left;          /* by the store's count when it is back */
    } cases[] = {
        {RATE, "/t/rate", 40, 15, 45},
        {RATE, "/t/rate-new", 0, 25, 75},
        {RATE, "/t/rate-spent", 100, 0, 0},
        {CALENDAR, "/t/calendar", 41, 15, 44}, /* a fourth of 59, rounded up */
        {CALENDAR, "/t/calendar-new", 0, 25, 75},
        {CALENDAR, "/t/calendar-spent", 100, 0, 0},
        {ROLLING, "/t/rolling", 10, 15, 75}, /* of what it has used itself */
        {ROLLING, "/t/rolling-new", 0, 25, 75},
        {CONCURRENCY, "/t/parallel", 3, 2, 17}, /* granted here, they are not told */
        {CONCURRENCY, "/t/parallel-new", 0, 5, 20},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(grants(cases[i].law, cases[i].key, cases[i].before), cases[i].before);
    lose();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(grants(cases[i].law, cases[i].key, 40), cases[i].slice);
    come_back();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(remaining(cases[i].law, cases[i].key), cases[i].left);
    assert_int_equal(limits_redis_counts(world.store).dropped, 0);
}

/* What was granted here and comes to less or more is told as it came, before the store is back and after. */
static void test_settled_later(void **state)
{
    (void)state;
    REDIS_SERVERS_OR_SKIP();
    static const struct limit_law laws[] = {{LIMIT_CALENDAR, 100000, 0, MONTH, true},
                                            {LIMIT_ROLLING, 100000, 0, MONTH, false}};
    for (size_t i = 0; i < ARRAY_LEN(laws); i++) {
        const char *key = i ? "/t/r" : "/t/c";
        lose();
        struct asking *less = ask(laws[i], key, 1000, LIMITS_LOST_LEASE);
        struct asking *more = ask(laws[i], key, 1000, LIMITS_LOST_LEASE);
        struct asking *late = ask(laws[i], key, 1000, LIMITS_LOST_LEASE);
        struct asking *later = ask(laws[i], key, 1000, LIMITS_LOST_LEASE);
        asking_settle_to(less, 100);
        asking_settle_to(more, 1500);
        come_back();
        assert_int_equal(remaining(laws[i], key), 100000 - 100 - 1500 - 1000 - 1000);
        asking_settle_to(late, 300);
        asking_settle_to(later, 2000);
        limits_world_until(&world, limits_world_is_quiet);
        assert_int_equal(remaining(laws[i], key), 100000 - 100 - 1500 - 300 - 2000);
        asked = 0;
    }
}

static void test_when_lost(void **state)
{
    (void)state;
    REDIS_SERVERS_OR_SKIP();
    lose();
    assert_int_equal(ask(calendar, "/t/closed", 1, LIMITS_LOST_CLOSED)->result, LIMITS_LOST);
    assert_int_equal(ask(calendar, "/t/open", 90, LIMITS_LOST_OPEN)->result, LIMITS_GRANTED);
    assert_int_equal(ask(calendar, "/t/open", 90, LIMITS_LOST_OPEN)->result, LIMITS_GRANTED);
    assert_int_equal(ask(rate, "/t/rate-open", 90, LIMITS_LOST_OPEN)->result, LIMITS_GRANTED);
    assert_int_equal(ask(rate, "/t/rate-open", 90, LIMITS_LOST_OPEN)->result, LIMITS_GRANTED);
    settle_all();
    /* Shadow never refuses, whatever it would say. */
    struct asking shadow = {0};
    struct limits_part *part = asking_part(&shadow, calendar, "/t/closed", 1);
    part->shadow = true;
    part->when_lost = LIMITS_LOST_CLOSED;
    asking_part(&shadow, rate, "/t/other", 1);
    assert_int_equal(asking_do(&world, &shadow), LIMITS_GRANTED);
    assert_false(part->answer.granted);
    asking_settle(&shadow);
    come_back();
    assert_int_equal(remaining(calendar, "/t/open"), 0);
    assert_int_equal(remaining(rate, "/t/rate-open"), 0);
    assert_int_equal(remaining(calendar, "/t/closed"), 100);
    assert_int_equal(remaining(rate, "/t/other"), 99);
}

/* What is larger than a slice, but not than the limit, is told to come again; what one part refuses is charged nowhere.
 */
static void test_refused(void **state)
{
    (void)state;
    REDIS_SERVERS_OR_SKIP();
    lose();
    struct asking *large = ask(rate, "/t/rate", 26, LIMITS_LOST_LEASE);
    assert_int_equal(large->result, LIMITS_REFUSED);
    assert_true(large->parts[0].answer.wait > 0 && large->parts[0].answer.wait <= CLOCK_SECOND);
    assert_true(ask(rate, "/t/rate", 101, LIMITS_LOST_LEASE)->parts[0].answer.wait == LIMIT_NEVER);
    struct asking both = {0};
    asking_part(&both, calendar, "/t/calendar", 10);
    asking_part(&both, rate, "/t/rate", 26)->tag = SPAN("bob");
    assert_int_equal(asking_do(&world, &both), LIMITS_REFUSED);
    assert_true(both.parts[0].answer.granted);
    assert_int_equal(grants(calendar, "/t/calendar", 30), 25);
    come_back();
    assert_int_equal(remaining(rate, "/t/rate"), 100);
    assert_int_equal(remaining(calendar, "/t/calendar"), 75);
}

/* One that has never heard of the store reckons with ten. */
static void test_never_told(void **state)
{
    (void)state;
    REDIS_SERVERS_OR_SKIP();
    struct limits_redis *store = (struct limits_redis *)(void *)world.store;
    store->counts.instances = 0;
    limits_redis_use(world.store, NULL);
    assert_int_equal(grants(rate, "/t/rate", 30), 10);
    assert_int_equal(grants(calendar, "/t/calendar", 30), 10);
    limits_redis_use(world.store, &world.redis);
    limits_world_until(&world, all_is_told);
}

/* Outage after outage: what stands in the store in the end is what was granted. */
static void test_again_and_again(void **state)
{
    (void)state;
    REDIS_SERVERS_OR_SKIP();
    static const struct limit_law month = {LIMIT_CALENDAR, 100000, 0, MONTH, true};
    unsigned granted = 0;
    for (unsigned i = 0; i < 10; i++) {
        granted += grants(month, "/t/month", 5);
        lose();
        granted += grants(month, "/t/month", 5);
        come_back();
    }
    assert_int_equal(granted, 100);
    assert_int_equal(remaining(month, "/t/month"), 100000 - granted);
}

/* ---- a server that breaks off within its answer ---- */

static struct fake_redis *fake;

static void script_words(enum limits_script which, char ret[64])
{
    const struct limits_redis *store = (const struct limits_redis *)(const void *)world.store;
    (void)snprintf(ret, 64, "EVALSHA %s", store->scripts.script[which].sha1);
}

static bool is_settled(struct limits_world *of)
{
    char words[64];
    script_words(LIMITS_SCRIPT_SETTLE, words);
    return fake_redis_count(fake, words) > 0 && limits_world_is_quiet(of);
}

/* What it may have granted is given back when it is there again, once; the call goes on at once by the slice. */
static void test_broken_off(void **state)
{
    (void)state;
    static const char *const pieces[] = {
        "*3\r\n:1\r\n:17",     "*3\r\n:1\r\n:17000000\r\n", "*",      "*3\r\n:1\r\n:17\r\n+x\r\n", ":7\r\n",
        "*2\r\n:1\r\n:17\r\n", "*3\r\n:2\r\n:17\r\n:0\r\n", "$-1\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        char words[64];
        struct redis_options options = {.connect = 300 * CLOCK_MS};
        limits_world_open(&world, options, &(struct redis_server){.port = 1}, "one");
        fake = fake_redis_start(world.base.loop, NULL);
        struct redis_address address = {.host = SPAN("127.0.0.1"), .port = fake->port};
        options.name = SPAN("fake");
        options.addresses = &address;
        options.address_count = 1;
        options.deadline = 5 * CLOCK_SECOND;
        options.rest_most = 50 * CLOCK_MS;
        world.redis.redis = redis_create(world.base.loop, world.base.resolver, &options);
        script_words(LIMITS_SCRIPT_RESERVE, words);
        fake_redis_reply(fake, words, pieces[i]);
        asked = 1;
        askings[0] = (struct asking){0};
        asking_part(&askings[0], calendar, "/t/calendar", 3);
        asking_start(&world, &askings[0]);
        while (fake_redis_count(fake, words) == 0)
            loop_turn(world.base.loop, true);
        redis_world_settle(&world.base);
        fake_redis_hang_up(fake);
        assert_int_equal(asking_wait(&askings[0]), LIMITS_GRANTED);
        assert_int_equal(limits_redis_counts(world.store).local, 1);
        asking_settle(&askings[0]);
        limits_world_until(&world, is_settled);
        assert_int_equal(limits_redis_counts(world.store).returned, 1);
        fake_redis_stop(fake);
        limits_redis_use(world.store, NULL);
        redis_destroy(world.redis.redis);
        loop_turn(world.base.loop, false);
        limits_world_close(&world);
    }
}

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, open_world, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_WORLD(test_slices),          IN_WORLD(test_settled_later),
        IN_WORLD(test_when_lost),       cmocka_unit_test(test_broken_off),
        IN_WORLD(test_refused),         IN_WORLD(test_never_told),
        IN_WORLD(test_again_and_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
