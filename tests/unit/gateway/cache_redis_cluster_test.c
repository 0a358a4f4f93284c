/* SPDX-License-Identifier: Apache-2.0 */
/* Two pods and a real Redis Cluster: entries, leases and marks on whichever server their slots lie, and one that dies.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <signal.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "support/cache_calls.h"
#include "support/redis_servers.h"

#define SERVERS 3
#define KEYS    60
#define LIFE    (100 * CLOCK_SECOND)

static struct redis_world world;
static struct redis_server servers[SERVERS];
static struct redis_store store;
static struct cache_redis *here, *there; /* two pods */

static struct cache_redis *pod(void)
{
    /* What is tested is not the speed of this machine. */
    return cache_redis_create(world.loop, &store,
                              &(struct cache_redis_options){
                                  .name = SPAN("answers"), .lookup = 20 * CLOCK_SECOND, .write = 20 * CLOCK_SECOND});
}

static void begin(void)
{
    REDIS_SERVERS_OR_SKIP();
    redis_cluster_start(servers, SERVERS, 0);
    struct redis_address address = {.host = SPAN("127.0.0.1"), .port = servers[0].port};
    redis_world_open(&world, false);
    world.redis = redis_create(world.loop, world.resolver,
                               &(struct redis_options){.name = SPAN("shared"),
                                                       .mode = REDIS_CLUSTER,
                                                       .addresses = &address,
                                                       .address_count = 1,
                                                       .rest_most = 100 * CLOCK_MS,
                                                       .connect = 20 * CLOCK_SECOND});
    store = (struct redis_store){.redis = world.redis};
    struct redis_status status = {0};
    while (status.nodes_ready < SERVERS) {
        loop_turn(world.loop, true);
        redis_status(world.redis, &status);
    }
    here = pod();
    there = pod();
}

static void finish(void)
{
    cache_redis_destroy(here);
    cache_redis_destroy(there);
    redis_world_close(&world);
    for (unsigned i = 0; i < SERVERS; i++)
        redis_server_stop(&servers[i]);
}

struct found {
    struct cache_lookup lookup;
    enum cache_lookup_result result;
    unsigned ends;
    char text[24];
};

static void found(struct cache_lookup *lookup, enum cache_lookup_result result, struct span value)
{
    struct found *f = CONTAINER_OF(lookup, struct found, lookup);
    f->ends++;
    f->result = result;
    (void)snprintf(f->text, sizeof(f->text), "%.*s", SPAN_ARG(span_take(value, sizeof(f->text) - 1)));
}

/* Asks for all keys at once; how many had each result. What is found must be its own. */
static void get_all(struct cache_redis *cache, unsigned ret_counts[3])
{
    static struct found all[KEYS];
    for (uint64_t i = 0; i < KEYS; i++) {
        uint8_t key[CACHE_KEY_BYTES];
        cache_call_key(i, key);
        all[i] = (struct found){0};
        cache_redis_get(cache, &world.pendings, &all[i].lookup, key, found);
    }
    ret_counts[0] = ret_counts[1] = ret_counts[2] = 0;
    for (unsigned i = 0; i < KEYS; i++) {
        char wanted[24];
        (void)snprintf(wanted, sizeof(wanted), "answer %u", i);
        while (!all[i].ends)
            loop_turn(world.loop, true);
        assert_int_equal(all[i].ends, 1);
        ret_counts[all[i].result]++;
        if (all[i].result == CACHE_LOOKUP_FOUND)
            assert_string_equal(all[i].text, wanted);
    }
}

static void put_all(struct cache_redis *cache)
{
    for (uint64_t i = 0; i < KEYS; i++) {
        uint8_t key[CACHE_KEY_BYTES];
        char text[24];
        cache_call_key(i, key);
        (void)snprintf(text, sizeof(text), "answer %u", (unsigned)i);
        (void)cache_redis_put(cache, key, span_str(text), LIFE);
        if (i % 30 == 29) /* writes under way are bounded */
            cache_call_settle(&world, cache);
    }
}

static unsigned keys_on(const struct redis_server *server)
{
    struct buffer out = {0};
    uint64_t number = 0;
    assert_int_equal(redis_cli(server, world.loop, &out, "dbsize"), 0);
    struct span line = span_take(buffer_span(&out), span_find(buffer_span(&out), '\n'));
    assert_true(span_to_u64(line, &number));
    buffer_finish(&out);
    return (unsigned)number;
}

static void id_of(const struct redis_server *server, char ret[41])
{
    struct buffer out = {0};
    assert_int_equal(redis_cli(server, world.loop, &out, "cluster myid"), 0);
    assert_true(buffer_len(&out) >= 40);
    (void)snprintf(ret, 41, "%.40s", buffer_span(&out).ptr);
    buffer_finish(&out);
}

static void entries_lie_on_all_servers(void **state)
{
    (void)state;
    unsigned results[3];
    begin();
    get_all(there, results);
    assert_int_equal(results[CACHE_LOOKUP_ABSENT], KEYS);
    put_all(here);
    assert_int_equal(cache_call_counts(here).written, KEYS);
    for (unsigned i = 0; i < SERVERS; i++)
        assert_in_range(keys_on(&servers[i]), 1, KEYS - 2);
    get_all(there, results);
    assert_int_equal(results[CACHE_LOOKUP_FOUND], KEYS);
    /* Slots change their server: the way there is learnt, and nothing is lost. */
    char words[300], from[41], to[41];
    id_of(&servers[0], from);
    id_of(&servers[1], to);
    (void)snprintf(words, sizeof(words),
                   "--cluster reshard 127.0.0.1:%u --cluster-from %s --cluster-to %s --cluster-slots 2000 "
                   "--cluster-yes --cluster-pipeline 10",
                   servers[0].port, from, to);
    unsigned before = keys_on(&servers[0]);
    assert_int_equal(redis_cli(&servers[0], world.loop, NULL, words), 0);
    assert_true(keys_on(&servers[0]) < before);
    get_all(there, results);
    assert_int_equal(results[CACHE_LOOKUP_FOUND], KEYS);
    finish();
}

/* Given back by a script, which each server has to learn. */
static void leases_on_all_servers(void **state)
{
    (void)state;
    static struct leased first, second;
    begin();
    for (uint64_t i = 0; i < 12; i++) {
        assert_int_equal(cache_call_lease(&world, here, i, LIFE, &first), CACHE_LEASE_HELD);
        assert_int_equal(cache_call_lease(&world, there, i, LIFE, &second), CACHE_LEASE_OTHERS);
        cache_redis_release(here, &first.lease);
        cache_call_settle(&world, here);
        assert_int_equal(cache_call_lease(&world, there, i, LIFE, &second), CACHE_LEASE_HELD);
    }
    assert_int_equal(cache_call_counts(here).dropped_down, 0);
    finish();
}

static void a_purge_reaches_every_pod(void **state)
{
    (void)state;
    uint8_t key[CACHE_KEY_BYTES] = {1};
    begin();
    const struct cache_facts mine = {.model = SPAN("gpt-4o"), .created = loop_wall(world.loop)},
                             other = {.model = SPAN("o1"), .created = loop_wall(world.loop)};
    cache_call_until_marks(&world, there);
    assert_false(cache_redis_is_purged(there, key, &mine));
    assert_int_equal(cache_call_purge(&world, here, CACHE_SCOPE_MODEL, SPAN("gpt-4o"), LIFE), REDIS_ERROR_NONE);
    cache_call_until_marks(&world, there);
    assert_true(cache_redis_is_purged(there, key, &mine));
    assert_false(cache_redis_is_purged(there, key, &other));
    finish();
}

/* With one of three servers gone its entries are misses and the others' are found; nobody waits for ever. */
static void a_dead_server(void **state)
{
    (void)state;
    unsigned results[3];
    begin();
    put_all(here);
    unsigned lost = keys_on(&servers[2]);
    redis_server_signal(&servers[2], SIGKILL);
    get_all(there, results);
    assert_int_equal(results[CACHE_LOOKUP_FOUND] + results[CACHE_LOOKUP_FAILED], KEYS);
    assert_true(results[CACHE_LOOKUP_FAILED] >= lost);
    put_all(here);
    assert_true(cache_call_counts(here).dropped_down >= lost);
    assert_int_equal(cache_call_counts(here).writing, 0);
    assert_int_equal(cache_call_counts(here).writing_bytes, 0);
    finish();
}

int main(void)
{
    log_configure(LOG_ERROR, LOG_TEXT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_lie_on_all_servers),
        cmocka_unit_test(leases_on_all_servers),
        cmocka_unit_test(a_purge_reaches_every_pod),
        cmocka_unit_test(a_dead_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
