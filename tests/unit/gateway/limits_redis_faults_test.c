/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits in a real Redis that fails under load. Callers reserve, hold, give up and settle without pause while something
 * happens to the server; afterwards the calendar must hold exactly what all of them came to, wherever it was decided,
 * and nothing may be reserved any more.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/hash.h"
#include "support/limits_world.h"

#define CALLERS 50
#define MONTH   (UINT64_C(30) * 86400 * CLOCK_SECOND)

static struct redis_server server;
static struct limits_world world;

/* ---- callers ---- */

struct caller {
    struct asking asking;
    bool holds;
};

static struct caller callers[CALLERS];
static uint64_t random_state = 5, came_to, granted, gave_up, rounds;
static bool stopping;

static void begin(struct caller *caller);

static void ended(struct asking *asking)
{
    struct caller *caller = CONTAINER_OF(asking, struct caller, asking);
    caller->holds = asking->result == LIMITS_GRANTED;
    granted += caller->holds;
    rounds++;
}

/* Half of the limits are of all consumers: two scripts, on their way at the same time. */
static void begin(struct caller *caller)
{
    static const struct limit_law month = {LIMIT_CALENDAR, UINT64_C(1) << 40, 0, MONTH, true};
    static const struct limit_law minute = {LIMIT_RATE, 100000000, 100000000, 60 * CLOCK_SECOND, false};
    static const struct limit_law rolling = {LIMIT_ROLLING, UINT64_C(1) << 40, 0, 3600 * CLOCK_SECOND, false};
    static const struct limit_law parallel = {LIMIT_CONCURRENCY, 100000, 0, 0, false};
    *caller = (struct caller){.asking.then = ended};
    uint64_t units = 1 + hash_random(&random_state) % 1000;
    asking_part(&caller->asking, month, "/t/month", units);
    asking_part(&caller->asking, minute, "/t/minute", units);
    asking_part(&caller->asking, parallel, "/t/parallel", 1);
    asking_part(&caller->asking, rolling, "/t/rolling", units)->tag = (struct span){0};
    asking_part(&caller->asking, parallel, "/t/everybody", 1)->tag = (struct span){0};
    asking_start(&world, &caller->asking);
}

static void settle(struct caller *caller)
{
    uint64_t units = hash_random(&random_state) % 1200;
    caller->holds = false;
    came_to += units;
    asking_settle_to(&caller->asking, units);
}

static void step(struct caller *caller)
{
    unsigned dice = (unsigned)(hash_random(&random_state) % 100);
    if (!caller->asking.ended) {
        if (dice == 0) {
            pending_cancel(&caller->asking.call.pending);
            gave_up++;
            begin(caller);
        }
    } else if (caller->holds) {
        if (dice < 20)
            settle(caller);
    } else if (!stopping) {
        begin(caller);
    }
}

/* Sleeps while the server has the word: it needs the processor, too. */
static void turn_once(void)
{
    bool waits = stopping && !limits_world_is_quiet(&world);
    for (unsigned i = 0; i < CALLERS; i++)
        waits |= !callers[i].asking.ended;
    loop_turn(world.base.loop, waits);
    for (unsigned i = 0; i < CALLERS; i++)
        step(&callers[i]);
}

static void go_on(uint64_t more)
{
    for (uint64_t wanted = rounds + more; rounds < wanted;)
        turn_once();
}

static bool local_decisions(uint64_t more)
{
    return limits_redis_counts(world.store).local >= more;
}

static void go_on_local(uint64_t more)
{
    for (uint64_t wanted = limits_redis_counts(world.store).local + more; !local_decisions(wanted);)
        turn_once();
}

static uint64_t asked_of_redis(void)
{
    struct limits_redis_counts counts = limits_redis_counts(world.store);
    return counts.asked - counts.local;
}

/* Decisions are the server's again. */
static void go_on_shared(uint64_t more)
{
    for (uint64_t wanted = asked_of_redis() + more; asked_of_redis() < wanted;)
        turn_once();
}

static void start_callers_as(const char *arguments, struct redis_options options)
{
    redis_server_start(&server, arguments);
    limits_world_open(&world, options, &server, "one");
    limits_world_greet(&world);
    came_to = granted = gave_up = rounds = 0;
    stopping = false;
    for (unsigned i = 0; i < CALLERS; i++)
        begin(&callers[i]);
    go_on(500);
}

static void start_callers(const char *arguments, uint64_t deadline)
{
    start_callers_as(arguments, (struct redis_options){.deadline = deadline});
}

static bool at_rest(void)
{
    for (unsigned i = 0; i < CALLERS; i++)
        if (!callers[i].asking.ended || callers[i].holds)
            return false;
    return limits_world_is_quiet(&world);
}

static void stop_callers(void)
{
    stopping = true;
    while (!at_rest())
        turn_once();
    struct limits_redis_counts counts = limits_redis_counts(world.store);
    assert_int_equal(counts.open, 0);
    assert_int_equal(counts.dropped, 0);
    print_message("%llu asked, %llu decided here, %llu granted, %llu given back, %llu sent again\n",
                  (unsigned long long)counts.asked, (unsigned long long)counts.local, (unsigned long long)granted,
                  (unsigned long long)counts.returned, (unsigned long long)counts.again);
}

/* ---- what stands in the server ---- */

static void ask_text(const char *words, char *ret, size_t size)
{
    struct asked asked = {.error = REDIS_ERROR_LOST};
    while (asked.error) { /* the deadline is short for a busy machine */
        asked_start(&world.base, &asked, "x", words);
        asked_wait(&asked);
    }
    if (asked.kind == REDIS_INTEGER)
        (void)snprintf(ret, size, "%lld", (long long)asked.integer);
    else
        (void)snprintf(ret, size, "%s", asked.kind == REDIS_STRING ? asked.text : "");
}

/* Of each key that begins so: the text of a command about it. */
static unsigned each_key(const char *pattern, const char *command, char ret[][128], unsigned most)
{
    struct buffer out = {0};
    char words[256];
    unsigned count = 0;
    (void)snprintf(words, sizeof(words), "--raw keys %s", pattern);
    assert_int_equal(redis_cli(&server, world.base.loop, &out, words), 0);
    struct span rest = buffer_span(&out), key;
    while (span_split(&rest, '\n', &key)) {
        if (!key.len || count == most)
            continue;
        (void)snprintf(words, sizeof(words), "%s %.*s", command, SPAN_ARG(key));
        ask_text(words, ret[count++], 128);
    }
    buffer_finish(&out);
    return count;
}

static void check_nothing_reserved(void)
{
    static char texts[4096][128];
    /* Empty sets do not exist; a reservation that was settled before it came leaves a stone. */
    unsigned count = each_key("postern:p*", "ZCARD", texts, 4096);
    assert_int_equal(count, 0);
    count = each_key("postern:i*", "GET", texts, 4096);
    for (unsigned i = 0; i < count; i++)
        assert_string_equal(texts[i], "-");
}

static void check_charged(void)
{
    char texts[2][128];
    unsigned long long window, count;
    assert_int_equal(each_key("postern:c*", "GET", texts, 2), 1);
    assert_int_equal(sscanf(texts[0], "%llu %llu", &window, &count), 2);
    assert_int_equal(count, came_to);
}

static void end(void)
{
    limits_world_close(&world);
    redis_server_stop(&server);
}

/* ---- what may happen ---- */

static void cli(const char *words)
{
    assert_int_equal(redis_cli(&server, world.base.loop, NULL, words), 0);
}

static void test_nothing_happens(void **state)
{
    (void)state;
    REDIS_SERVERS_OR_SKIP();
    start_callers("", 10 * CLOCK_SECOND);
    go_on(3000);
    stop_callers();
    assert_true(gave_up > 0);
    assert_int_equal(limits_redis_counts(world.store).local, 0);
    check_charged();
    check_nothing_reserved();
    end();
}

/* The rights that filters/README.md names are enough. */
static void test_few_rights(void **state)
{
    (void)state;
    REDIS_SERVERS_OR_SKIP();
    start_callers_as(
        "--user limits on >secret ~postern:* +evalsha +script|load +get +set +del +exists +pexpire +time "
        "+zadd +zcard +zcount +zrem +zremrangebyscore +ping",
        (struct redis_options){.deadline = 10 * CLOCK_SECOND, .username = SPAN("limits"), .password = SPAN("secret")});
    go_on(500);
    stop_callers();
    assert_int_equal(limits_redis_counts(world.store).local, 0);
    check_charged();
    check_nothing_reserved();
    end();
}

static void test_scripts_forgotten(void **state)
{
    (void)state;
    REDIS_SERVERS_OR_SKIP();
    start_callers("", 10 * CLOCK_SECOND);
    for (unsigned i = 0; i < 5; i++) {
        cli("script flush");
        go_on(500);
    }
    stop_callers();
    assert_int_equal(limits_redis_counts(world.store).local, 0);
    check_charged();
    check_nothing_reserved();
    end();
}

/* What the frozen server has read is carried out when it goes on, long after it was given up here. */
static void test_frozen(void **state)
{
    (void)state;
    REDIS_SERVERS_OR_SKIP();
    start_callers("", 20 * CLOCK_MS);
    for (unsigned i = 0; i < 3; i++) {
        redis_server_signal(&server, SIGSTOP);
        go_on_local(2000);
        redis_server_signal(&server, SIGCONT);
        go_on_shared(500);
    }
    stop_callers();
    assert_true(limits_redis_counts(world.store).again > 0);
    check_charged();
    check_nothing_reserved();
    end();
}

static void test_connections_cut(void **state)
{
    (void)state;
    REDIS_SERVERS_OR_SKIP();
    start_callers("", 20 * CLOCK_MS);
    for (unsigned i = 0; i < 10; i++) {
        cli("client kill type normal");
        go_on_shared(200);
    }
    stop_callers();
    check_charged();
    check_nothing_reserved();
    end();
}

static void test_out_of_memory(void **state)
{
    (void)state;
    REDIS_SERVERS_OR_SKIP();
    start_callers("--maxmemory-policy noeviction", 20 * CLOCK_MS);
    cli("config set maxmemory 1");
    go_on_local(2000);
    cli("config set maxmemory 0");
    go_on_shared(500);
    stop_callers();
    check_charged();
    check_nothing_reserved();
    end();
}

static void test_readonly(void **state)
{
    (void)state;
    REDIS_SERVERS_OR_SKIP();
    start_callers("", 20 * CLOCK_MS);
    cli("replicaof 127.0.0.1 1");
    go_on_local(2000);
    cli("replicaof no one");
    go_on_shared(500);
    stop_callers();
    check_charged();
    check_nothing_reserved();
    end();
}

/* All that stood in the server is gone with it; what comes after must come out even. */
static void test_killed(void **state)
{
    (void)state;
    REDIS_SERVERS_OR_SKIP();
    start_callers("", 20 * CLOCK_MS);
    redis_server_signal(&server, SIGKILL);
    go_on_local(2000);
    redis_server_restart(&server);
    go_on_shared(500);
    stop_callers();
    check_nothing_reserved();
    end();
}

/* Without a store at all: decided here at once, and nothing waits. */
static void test_never_there(void **state)
{
    (void)state;
    REDIS_SERVERS_OR_SKIP();
    redis_server_start(&server, "");
    redis_server_signal(&server, SIGKILL);
    limits_world_open(&world, (struct redis_options){0}, &server, "one");
    limits_redis_use(world.store, NULL);
    stopping = false;
    for (unsigned i = 0; i < CALLERS; i++)
        begin(&callers[i]);
    go_on(1000);
    assert_int_equal(asked_of_redis(), 0);
    redis_server_restart(&server);
    limits_redis_use(world.store, &world.redis);
    go_on_shared(500);
    stop_callers();
    check_nothing_reserved();
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_happens),   cmocka_unit_test(test_few_rights),
        cmocka_unit_test(test_scripts_forgotten), cmocka_unit_test(test_frozen),
        cmocka_unit_test(test_connections_cut),   cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_readonly),          cmocka_unit_test(test_killed),
        cmocka_unit_test(test_never_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
