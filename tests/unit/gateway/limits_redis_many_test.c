/* SPDX-License-Identifier: Apache-2.0 */
/* Shared limits in a real Redis Cluster whose slots move under load, and with sentinels whose master dies. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "support/limits_world.h"

#define SERVERS   6
#define CALLERS   20
#define CONSUMERS 8
/* Slots that move, of the first server's. */
#define MOVED 150
#define MONTH (UINT64_C(30) * 86400 * CLOCK_SECOND)

static struct redis_server servers[SERVERS];
static struct limits_world world;

/* ---- callers, driven by the loop alone ---- */

struct caller {
    struct asking asking;
    struct task task;
    unsigned consumer;
};

static struct caller callers[CALLERS];
static char names[CONSUMERS][16], keys[3][CONSUMERS][32];
static uint64_t random_state = 9, came_to[CONSUMERS], everybody, rounds;
static bool stopping;
static unsigned running;

static const struct limit_law month = {LIMIT_CALENDAR, UINT64_C(1) << 40, 0, MONTH, true};
static const struct limit_law minute = {LIMIT_RATE, 100000000, 100000000, 60 * CLOCK_SECOND, false};
static const struct limit_law parallel = {LIMIT_CONCURRENCY, 100000, 0, 0, false};

static void ended(struct asking *asking)
{
    struct caller *caller = CONTAINER_OF(asking, struct caller, asking);
    loop_post(world.base.loop, &caller->task);
}

static void begin(struct caller *caller)
{
    unsigned who = (unsigned)(hash_random(&random_state) % CONSUMERS);
    uint64_t units = 1 + hash_random(&random_state) % 1000;
    caller->asking = (struct asking){.then = ended};
    caller->consumer = who;
    asking_part(&caller->asking, month, keys[0][who], units)->tag = span_str(names[who]);
    asking_part(&caller->asking, minute, keys[1][who], units)->tag = span_str(names[who]);
    asking_part(&caller->asking, parallel, keys[2][who], 1)->tag = span_str(names[who]);
    asking_part(&caller->asking, month, "/t/everybody", units)->tag = (struct span){0};
    asking_start(&world, &caller->asking);
}

/* The answer has come, or a turn has passed that it was held for. */
static void step(struct task *task)
{
    struct caller *caller = CONTAINER_OF(task, struct caller, task);
    if (caller->asking.call.granted && hash_random(&random_state) % 4) {
        loop_at_end(world.base.loop, task);
        return;
    }
    rounds++;
    if (caller->asking.call.granted) {
        uint64_t units = hash_random(&random_state) % 1200;
        came_to[caller->consumer] += units;
        everybody += units;
        asking_settle_to(&caller->asking, units);
    }
    if (stopping)
        running--;
    else
        begin(caller);
}

static uint64_t asked_of_redis(void)
{
    struct limits_redis_counts counts = limits_redis_counts(world.store);
    return counts.asked - counts.local;
}

static void go_on(uint64_t more)
{
    for (uint64_t wanted = asked_of_redis() + more; asked_of_redis() < wanted;)
        loop_turn(world.base.loop, true);
}

/* The slot where limits of that consumer lie. */
static unsigned slot_of(const char *name)
{
    struct limits_part part = {.tag = span_str(name)};
    char text[24];
    (void)snprintf(text, sizeof(text), "{%016llx}", (unsigned long long)limits_tag(&part));
    return redis_slot(span_str(text));
}

/* Half of the consumers lie among those slots that move first. */
static void name_consumers(void)
{
    static const char *const kinds[] = {"month", "minute", "parallel"};
    unsigned number = 0;
    for (unsigned i = 0; i < CONSUMERS; i++) {
        do
            (void)snprintf(names[i], sizeof(names[i]), "consumer-%u", number++);
        while (i % 2 && slot_of(names[i]) >= MOVED);
        for (unsigned k = 0; k < ARRAY_LEN(kinds); k++)
            (void)snprintf(keys[k][i], sizeof(keys[k][i]), "/t/%s/%s", kinds[k], names[i]);
    }
}

static void start_callers(struct redis_options options, const struct redis_server *at)
{
    limits_world_open(&world, options, at, "one");
    limits_world_greet(&world);
    memset(came_to, 0, sizeof(came_to));
    everybody = rounds = 0;
    stopping = false;
    name_consumers();
    running = CALLERS;
    for (unsigned i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.task.run = step};
        begin(&callers[i]);
    }
    go_on(1000);
}

static void stop_callers(void)
{
    stopping = true;
    while (running || !limits_world_is_quiet(&world))
        loop_turn(world.base.loop, true);
    struct limits_redis_counts counts = limits_redis_counts(world.store);
    print_message("%llu asked, %llu decided here, %llu given back, %llu sent again\n", (unsigned long long)counts.asked,
                  (unsigned long long)counts.local, (unsigned long long)counts.returned,
                  (unsigned long long)counts.again);
    assert_int_equal(counts.open, 0);
    assert_int_equal(counts.dropped, 0);
}

static void stop_servers(unsigned count)
{
    limits_world_close(&world);
    for (unsigned i = 0; i < count; i++)
        redis_server_stop(&servers[i]);
}

/* ---- what stands in the servers ---- */

/* What a request would find used of a month. */
static uint64_t used(const char *key, const char *tag)
{
    struct asking asking = {0};
    asking_part(&asking, month, key, 0)->tag = span_str(tag);
    uint64_t local = limits_redis_counts(world.store).local;
    assert_int_equal(asking_do(&world, &asking), LIMITS_GRANTED);
    assert_int_equal(limits_redis_counts(world.store).local, local);
    asking_settle(&asking);
    return month.amount - asking.parts[0].answer.remaining;
}

static void check_charged(void)
{
    for (unsigned i = 0; i < CONSUMERS; i++)
        assert_int_equal(used(keys[0][i], names[i]), came_to[i]);
    assert_int_equal(used("/t/everybody", ""), everybody);
}

static void check_no_places(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct buffer out = {0};
        assert_int_equal(redis_cli(&servers[i], world.base.loop, &out, "--raw keys postern:p*"), 0);
        assert_true(buffer_len(&out) <= 1);
        buffer_finish(&out);
    }
}

/* ---- Cluster ---- */

static void make_cluster(unsigned count)
{
    char words[512];
    int len = snprintf(words, sizeof(words), "--cluster create");
    for (unsigned i = 0; i < count; i++) {
        redis_server_start(&servers[i],
                           "--cluster-enabled yes --cluster-config-file nodes.conf --cluster-node-timeout 1000");
        len += snprintf(words + len, sizeof(words) - (size_t)len, " 127.0.0.1:%u", servers[i].port);
    }
    (void)snprintf(words + len, sizeof(words) - (size_t)len, " --cluster-replicas 0 --cluster-yes");
    assert_int_equal(redis_cli(&servers[0], NULL, NULL, words), 0);
    for (unsigned i = 0; i < count; i++)
        redis_cli_until(&servers[i], NULL, "cluster info", "cluster_state:ok");
}

static void id_of(const struct redis_server *server, char ret[41])
{
    struct buffer out = {0};
    (void)redis_cli(server, world.base.loop, &out, "cluster myid");
    assert_true(buffer_len(&out) >= 40);
    (void)snprintf(ret, 41, "%.40s", buffer_span(&out).ptr);
    buffer_finish(&out);
}

/*
 * Slots move with what stands in them. What is asked of a slot on its way is sent on, or asked again, or decided here.
 * In the end nothing is missing and nothing is counted twice.
 */
static void slots_move_under_load(void **state)
{
    (void)state;
    char ids[3][41], words[300];
    REDIS_SERVERS_OR_SKIP();
    make_cluster(3);
    start_callers((struct redis_options){.mode = REDIS_CLUSTER, .deadline = CLOCK_SECOND}, &servers[1]);
    for (unsigned i = 0; i < 3; i++)
        id_of(&servers[i], ids[i]);
    /* There and back, in keys of one at a time. */
    for (unsigned i = 0; i < 2; i++) {
        (void)snprintf(words, sizeof(words),
                       "--cluster reshard 127.0.0.1:%u --cluster-from %s --cluster-to %s --cluster-slots %u "
                       "--cluster-yes --cluster-pipeline 1",
                       servers[0].port, ids[2 * i], ids[2 - 2 * i], MOVED);
        assert_int_equal(redis_cli(&servers[0], world.base.loop, NULL, words), 0);
    }
    go_on(1000);
    struct redis_status now;
    redis_status(world.redis.redis, &now);
    assert_true(now.counters.moved > 0);
    stop_callers();
    check_charged();
    check_no_places(3);
    stop_servers(3);
}

/* A third of the cluster freezes: only those whose limits lie there are decided here. */
static void one_master_freezes(void **state)
{
    (void)state;
    REDIS_SERVERS_OR_SKIP();
    make_cluster(3);
    start_callers((struct redis_options){.mode = REDIS_CLUSTER, .deadline = 50 * CLOCK_MS}, &servers[1]);
    uint64_t before = limits_redis_counts(world.store).local;
    redis_server_signal(&servers[2], SIGSTOP);
    while (limits_redis_counts(world.store).local < before + 300)
        loop_turn(world.base.loop, true);
    redis_server_signal(&servers[2], SIGCONT);
    for (unsigned i = 0; i < 3; i++)
        redis_cli_until(&servers[i], world.base.loop, "cluster info", "cluster_state:ok");
    go_on(1000);
    stop_callers();
    check_charged();
    check_no_places(3);
    stop_servers(3);
}

/* ---- Sentinel ---- */

/* What the old master had not yet passed on is lost with it; nothing else is, and nobody is stuck. */
static void a_replica_takes_over(void **state)
{
    (void)state;
    char words[600];
    REDIS_SERVERS_OR_SKIP();
    redis_server_start(&servers[0], "--repl-diskless-sync-delay 0");
    (void)snprintf(words, sizeof(words), "--repl-diskless-sync-delay 0 --replicaof 127.0.0.1 %u", servers[0].port);
    redis_server_start(&servers[1], words);
    redis_cli_until(&servers[1], NULL, "info replication", "master_link_status:up");
    (void)snprintf(words, sizeof(words),
                   "sentinel monitor main 127.0.0.1 %u 2\nsentinel down-after-milliseconds main 1000\n"
                   "sentinel failover-timeout main 4000\n",
                   servers[0].port);
    for (unsigned i = 2; i < 5; i++)
        redis_sentinel_start(&servers[i], words);
    for (unsigned i = 2; i < 5; i++) {
        redis_cli_until(&servers[i], NULL, "sentinel master main", "num-other-sentinels\n2");
        redis_cli_until(&servers[i], NULL, "sentinel master main", "num-slaves\n1");
    }
    start_callers((struct redis_options){.mode = REDIS_SENTINEL, .master = SPAN("main"), .deadline = 50 * CLOCK_MS},
                  &servers[2]);
    redis_server_signal(&servers[0], SIGKILL);
    redis_cli_until(&servers[1], world.base.loop, "info replication", "role:master");
    go_on(1000);
    stop_callers();
    assert_true(limits_redis_counts(world.store).local > 0);
    uint64_t counted = used("/t/everybody", "");
    print_message("%llu of %llu units are counted\n", (unsigned long long)counted, (unsigned long long)everybody);
    assert_true(counted > everybody / 2);
    stop_servers(5);
}

int main(void)
{
    log_configure(LOG_ERROR, LOG_TEXT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_move_under_load),
        cmocka_unit_test(one_master_freezes),
        cmocka_unit_test(a_replica_takes_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
