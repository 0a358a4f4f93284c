/* SPDX-License-Identifier: Apache-2.0 */
/* A real Redis Cluster and real sentinels: slots that move under load, masters that die. */
#include <setjmp.h>
#include <stdarg.h>
#include <signal.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "gateway/redis.h"
#include "support/redis_servers.h"
#include "support/redis_world.h"

#define SERVERS 6
#define KEYS    30
#define CALLERS 60

static struct redis_world world;
static struct redis_server servers[SERVERS];
static struct redis_script twice;

/* Two keys of one slot, so that a slot on the move is met with half of its keys. */
static const char twice_text[] = "redis.call('incr', KEYS[1]) return redis.call('incr', KEYS[2])";

static void make(struct redis_options *options, const struct redis_server *at)
{
    struct redis_address address = {.host = SPAN("127.0.0.1"), .port = at->port};
    options->name = SPAN("shared");
    options->addresses = &address;
    options->address_count = 1;
    options->rest_most = 200 * CLOCK_MS;
    options->deadline = 10 * CLOCK_SECOND;
    options->connect = 2 * CLOCK_SECOND;
    redis_world_open(&world, false);
    world.redis = redis_create(world.loop, world.resolver, options);
}

static void stop(unsigned count)
{
    redis_world_close(&world);
    for (unsigned i = 0; i < count; i++)
        redis_server_stop(&servers[i]);
}

/* ---- callers that always have a command under way ---- */

struct caller {
    struct redis_call call;
    unsigned key, rounds;
    bool stopping;
};

static struct caller callers[CALLERS];
static uint64_t done[KEYS], failed[REDIS_ERRORS], answers;
static char first_trouble[160];

static void answered(struct redis_call *call, const struct redis_reply *reply);

static void call_again(struct caller *caller)
{
    char names[2][32];
    caller->key = (caller->key + 7) % KEYS;
    for (unsigned i = 0; i < 2; i++)
        (void)snprintf(names[i], sizeof(names[i]), "{consumer-%u}.%u", caller->key, i);
    const struct span keys[] = {span_str(names[0]), span_str(names[1])};
    caller->call.done = answered;
    redis_eval(world.redis, &world.pendings, &caller->call, &twice, keys, 2, NULL, 0, 0);
}

static void answered(struct redis_call *call, const struct redis_reply *reply)
{
    struct caller *caller = CONTAINER_OF(call, struct caller, call);
    failed[reply->error]++;
    if (!reply->error) {
        answers++;
        done[caller->key]++;
    } else if (!first_trouble[0])
        (void)snprintf(first_trouble, sizeof(first_trouble), "%s: %.*s", redis_error_name(reply->error),
                       SPAN_ARG(reply->detail));
    if (!caller->stopping)
        call_again(caller);
}

static void callers_start(void)
{
    memset(done, 0, sizeof(done));
    memset(failed, 0, sizeof(failed));
    answers = 0;
    first_trouble[0] = '\0';
    redis_script_init(&twice, span_str(twice_text));
    for (unsigned i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.key = i % KEYS};
        call_again(&callers[i]);
    }
}

static void callers_stop(void)
{
    for (unsigned i = 0; i < CALLERS; i++)
        callers[i].stopping = true;
    for (unsigned i = 0; i < CALLERS; i++)
        while (redis_call_is_live(&callers[i].call))
            loop_turn(world.loop, true);
}

static void until_answers(uint64_t more)
{
    uint64_t wanted = answers + more;
    while (answers < wanted)
        loop_turn(world.loop, true);
}

static int64_t counted(unsigned key)
{
    struct asked asked = {0};
    char name[32], words[48];
    (void)snprintf(name, sizeof(name), "{consumer-%u}.1", key);
    (void)snprintf(words, sizeof(words), "GET %s", name);
    asked_start(&world, &asked, name, words);
    asked_wait(&asked);
    assert_int_equal(asked.error, REDIS_ERROR_NONE);
    uint64_t number = 0;
    if (asked.kind == REDIS_STRING)
        assert_true(span_to_u64(span_str(asked.text), &number));
    return (int64_t)number;
}

/* ---- Cluster ---- */

static void id_of(const struct redis_server *server, char ret[41])
{
    struct buffer out = {0};
    (void)redis_cli(server, world.loop, &out, "cluster myid");
    assert_true(buffer_len(&out) >= 40);
    (void)snprintf(ret, 41, "%.40s", buffer_span(&out).ptr);
    buffer_finish(&out);
}

/* Nothing is lost and nothing is done twice while slots with their keys move from one master to another. */
static void slots_move_under_load(void **state)
{
    (void)state;
    char from[41], to[41], words[300];
    REDIS_SERVERS_OR_SKIP();
    redis_cluster_start(servers, 3, 0);
    make(&(struct redis_options){.mode = REDIS_CLUSTER}, &servers[1]);
    callers_start();
    until_answers(1000);
    id_of(&servers[0], from);
    id_of(&servers[2], to);
    (void)snprintf(words, sizeof(words),
                   "--cluster reshard 127.0.0.1:%u --cluster-from %s --cluster-to %s --cluster-slots 5000 "
                   "--cluster-yes --cluster-pipeline 1",
                   servers[0].port, from, to);
    struct buffer out = {0};
    int status = redis_cli(&servers[0], world.loop, &out, words);
    if (status)
        print_message("%.*s\n", SPAN_ARG(buffer_span(&out)));
    assert_int_equal(status, 0);
    buffer_finish(&out);
    until_answers(1000);
    callers_stop();
    struct redis_status now;
    redis_status(world.redis, &now);
    print_message("%llu answers, %llu moved, %llu asked on, %llu again, %llu maps\n", (unsigned long long)answers,
                  (unsigned long long)now.counters.moved, (unsigned long long)now.counters.asks,
                  (unsigned long long)now.counters.again, (unsigned long long)now.counters.refreshes);
    assert_string_equal(first_trouble, "");
    assert_true(now.counters.moved > 0);
    for (unsigned i = 0; i < KEYS; i++)
        assert_int_equal(counted(i), done[i]);
    stop(3);
}

static void cli(const struct redis_server *server, const char *form, unsigned slot_or_port, const char *text)
{
    char words[300];
    struct buffer out = {0};
    (void)snprintf(words, sizeof(words), form, slot_or_port, text);
    (void)redis_cli(server, world.loop, &out, words);
    if (!span_starts_with(buffer_span(&out), SPAN("OK")))
        fail_msg("%s: %.*s", words, SPAN_ARG(buffer_span(&out)));
    buffer_finish(&out);
}

static enum redis_error call_twice(void)
{
    const struct span keys[] = {SPAN("{foo}.0"), SPAN("{foo}.1")};
    struct asked asked = {0};
    asked_start(&world, &asked, "", "PING"); /* makes it ready for use */
    asked_wait(&asked);
    asked.ends = 0;
    redis_eval(world.redis, &world.pendings, &asked.call, &twice, keys, 2, NULL, 0, 0);
    asked_wait(&asked);
    return asked.error;
}

/* One slot, moved by hand, with a look at every step. */
static void half_moved_slots_are_asked_for(void **state)
{
    (void)state;
    char from[41], to[41];
    REDIS_SERVERS_OR_SKIP();
    redis_cluster_start(servers, 3, 0);
    make(&(struct redis_options){.mode = REDIS_CLUSTER}, &servers[0]);
    redis_script_init(&twice, span_str(twice_text));
    const struct redis_server *source = &servers[2], *target = &servers[0];
    unsigned slot = redis_slot(SPAN("{foo}"));
    assert_true(slot > 10922); /* redis-cli gives the last third to the third */
    id_of(source, from);
    id_of(target, to);
    assert_int_equal(call_twice(), REDIS_ERROR_NONE);
    cli(target, "cluster setslot %u importing %s", slot, from);
    cli(source, "cluster setslot %u migrating %s", slot, to);
    assert_int_equal(call_twice(), REDIS_ERROR_NONE);
    cli(source, "migrate 127.0.0.1 %u %s 0 5000", target->port, "{foo}.0");
    assert_int_equal(call_twice(), REDIS_ERROR_TRYAGAIN);
    cli(source, "migrate 127.0.0.1 %u %s 0 5000", target->port, "{foo}.1");
    assert_int_equal(call_twice(), REDIS_ERROR_NONE);
    struct redis_status status;
    redis_status(world.redis, &status);
    assert_int_equal(status.counters.moved, 0);
    assert_true(status.counters.asks >= 1);
    assert_true(status.counters.again >= 1);
    cli(target, "cluster setslot %u node %s", slot, to);
    cli(source, "cluster setslot %u node %s", slot, to);
    assert_int_equal(call_twice(), REDIS_ERROR_NONE);
    redis_status(world.redis, &status);
    assert_int_equal(status.counters.moved, 1);
    stop(3);
}

static void a_replica_takes_over(void **state)
{
    (void)state;
    REDIS_SERVERS_OR_SKIP();
    redis_cluster_start(servers, 6, 1);
    make(&(struct redis_options){.mode = REDIS_CLUSTER}, &servers[0]);
    callers_start();
    until_answers(1000);
    /* Also the node that the configuration names may be the one that dies. */
    redis_server_signal(&servers[0], SIGKILL);
    redis_cli_until(&servers[1], world.loop, "cluster info", "cluster_state:fail");
    redis_cli_until(&servers[1], world.loop, "cluster info", "cluster_state:ok");
    /* Every key is served again. */
    for (unsigned i = 0; i < KEYS; i++) {
        uint64_t before = done[i];
        while (done[i] == before)
            loop_turn(world.loop, true);
    }
    callers_stop();
    assert_true(failed[REDIS_ERROR_LOST] > 0);
    assert_int_equal(failed[REDIS_ERROR_PROTOCOL], 0);
    stop(6);
}

/* ---- Sentinel ---- */

static void sentinels_promote_a_replica(void **state)
{
    (void)state;
    char words[600];
    struct redis_options options = {.mode = REDIS_SENTINEL, .master = SPAN("main")};
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
    make(&options, &servers[2]);
    callers_start();
    until_answers(1000);
    redis_server_signal(&servers[0], SIGKILL);
    redis_cli_until(&servers[1], world.loop, "info replication", "role:master");
    until_answers(1000);
    callers_stop();
    assert_true(failed[REDIS_ERROR_LOST] > 0);
    /* And by order, with the old master alive: it refuses writes from then on, or hangs up. */
    redis_server_restart(&servers[0]);
    redis_cli_until(&servers[0], world.loop, "info replication", "master_link_status:up");
    redis_cli_until(&servers[2], world.loop, "sentinel failover main", "OK");
    callers_start();
    redis_cli_until(&servers[0], world.loop, "info replication", "role:master");
    until_answers(1000);
    callers_stop();
    stop(5);
}

int main(void)
{
    log_configure(LOG_ERROR, LOG_TEXT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_move_under_load),
        cmocka_unit_test(half_moved_slots_are_asked_for),
        cmocka_unit_test(a_replica_takes_over),
        cmocka_unit_test(sentinels_promote_a_replica),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
