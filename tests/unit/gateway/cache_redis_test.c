/* SPDX-License-Identifier: Apache-2.0 */
/* Two pods and one real Redis server: what they share, and what becomes of it when the server does not answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/memory.h"
#include "support/cache_calls.h"
#include "support/redis_servers.h"

#define LIFE (100 * CLOCK_SECOND)

static struct redis_world world;
static struct redis_server server;
static struct redis_store store;
static struct cache_redis *here, *there; /* two pods */

static struct cache_redis *pod(const struct cache_redis_options *more)
{
    struct cache_redis_options options = *more;
    options.name = SPAN("answers");
    /* What is tested is not the speed of this machine. */
    if (!options.lookup)
        options.lookup = 20 * CLOCK_SECOND;
    if (!options.write)
        options.write = 20 * CLOCK_SECOND;
    return cache_redis_create(world.loop, &store, &options);
}

static bool is_greeted(void)
{
    struct redis_status status;
    redis_status(world.redis, &status);
    return status.nodes_ready == 1;
}

static void begin(const struct cache_redis_options *options)
{
    REDIS_SERVERS_OR_SKIP();
    redis_server_start(&server, "");
    struct redis_address address = {.host = SPAN("127.0.0.1"), .port = server.port};
    redis_world_open(&world, false);
    world.redis = redis_create(world.loop, world.resolver,
                               &(struct redis_options){.name = SPAN("shared"),
                                                       .addresses = &address,
                                                       .address_count = 1,
                                                       .rest_most = 100 * CLOCK_MS,
                                                       .connect = 20 * CLOCK_SECOND});
    store = (struct redis_store){.redis = world.redis};
    while (!is_greeted())
        loop_turn(world.loop, true);
    here = pod(options);
    there = pod(options);
}

static void finish(void)
{
    cache_redis_destroy(here);
    cache_redis_destroy(there);
    redis_world_close(&world);
    redis_server_stop(&server);
}

/* ---- look-ups ---- */

struct found {
    struct cache_lookup lookup;
    enum cache_lookup_result result;
    unsigned ends;
    char text[64];
    size_t len;
};

static void found(struct cache_lookup *lookup, enum cache_lookup_result result, struct span value)
{
    struct found *f = CONTAINER_OF(lookup, struct found, lookup);
    f->ends++;
    f->result = result;
    f->len = value.len;
    (void)snprintf(f->text, sizeof(f->text), "%.*s", SPAN_ARG(span_take(value, 60)));
    assert_int_equal(result == CACHE_LOOKUP_FAILED, lookup->error != REDIS_ERROR_NONE);
}

static void get_start(struct cache_redis *cache, uint64_t number, struct found *f)
{
    uint8_t key[CACHE_KEY_BYTES];
    cache_call_key(number, key);
    *f = (struct found){0};
    cache_redis_get(cache, &world.pendings, &f->lookup, key, found);
    assert_int_equal(f->ends, 0);
}

static struct found get(struct cache_redis *cache, uint64_t number)
{
    static struct found f;
    get_start(cache, number, &f);
    while (!f.ends)
        loop_turn(world.loop, true);
    assert_int_equal(f.ends, 1);
    return f;
}

static bool put(struct cache_redis *cache, uint64_t number, struct span wire, uint64_t life)
{
    uint8_t key[CACHE_KEY_BYTES];
    cache_call_key(number, key);
    return cache_redis_put(cache, key, wire, life);
}

static void entries_are_shared(void **state)
{
    (void)state;
    uint8_t key[CACHE_KEY_BYTES];
    begin(&(struct cache_redis_options){0});
    assert_int_equal(get(here, 1).result, CACHE_LOOKUP_ABSENT);
    assert_true(put(here, 1, SPAN("one"), LIFE));
    assert_true(put(here, 2, SPAN("t\0o\r\n"), LIFE));
    cache_call_settle(&world, here);
    struct found f = get(there, 1);
    assert_int_equal(f.result, CACHE_LOOKUP_FOUND);
    assert_string_equal(f.text, "one");
    assert_int_equal(get(there, 2).len, 5);
    assert_true(put(there, 1, SPAN("uno"), LIFE));
    cache_call_settle(&world, there);
    assert_string_equal(get(here, 1).text, "uno");
    cache_call_key(1, key);
    assert_true(cache_redis_remove(here, key));
    cache_call_settle(&world, here);
    assert_int_equal(get(there, 1).result, CACHE_LOOKUP_ABSENT);
    /* They go by themselves. */
    assert_true(put(here, 3, SPAN("short"), 1));
    cache_call_settle(&world, here);
    while (get(there, 3).result != CACHE_LOOKUP_ABSENT)
        loop_turn(world.loop, false);
    struct cache_redis_counts counts = cache_call_counts(here);
    assert_int_equal(counts.lookups, 2);
    assert_int_equal(counts.absent, 1);
    assert_int_equal(counts.found, 1);
    assert_int_equal(counts.writes, 4);
    assert_int_equal(counts.written, 4);
    assert_int_equal(counts.writing_bytes, 0);
    finish();
}

/* Whatever the keys are, they lie in many slots, and begin alike for an ACL. */
static void keys_spread(void **state)
{
    (void)state;
    enum { KEYS = 40 };
    begin(&(struct cache_redis_options){0});
    for (uint64_t i = 0; i < KEYS; i++)
        assert_true(put(here, i, SPAN("x"), LIFE));
    cache_call_settle(&world, here);
    struct buffer out = {0};
    assert_int_equal(redis_cli(&server, world.loop, &out, "keys *"), 0);
    struct span rest = buffer_span(&out), line;
    unsigned seen = 0, slots[KEYS], different = 0;
    while (rest.len && span_split(&rest, '\n', &line)) {
        if (!line.len)
            continue;
        assert_true(span_starts_with(line, SPAN("postern:cache:answers:e:")));
        assert_int_equal(line.len, 24 + 43);
        assert_true(seen < KEYS);
        slots[seen] = redis_slot(line);
        unsigned same = 0;
        for (unsigned i = 0; i < seen; i++)
            same += slots[i] == slots[seen];
        different += same == 0;
        seen++;
    }
    assert_int_equal(seen, KEYS);
    assert_true(different > KEYS - 5);
    buffer_finish(&out);
    finish();
}

static void many_lookups_leave_together(void **state)
{
    (void)state;
    enum { LOOKUPS = 500 };
    static struct found all[LOOKUPS];
    begin(&(struct cache_redis_options){0});
    for (uint64_t i = 0; i < LOOKUPS; i += 2) {
        char text[24];
        assert_true(put(here, i, span_of(text, (size_t)snprintf(text, sizeof(text), "%u", (unsigned)i)), LIFE));
        cache_call_settle(&world, here);
    }
    struct redis_status before, after;
    redis_status(world.redis, &before);
    for (uint64_t i = 0; i < LOOKUPS; i++)
        get_start(there, i, &all[i]);
    for (uint64_t i = 0; i < LOOKUPS; i++) {
        while (!all[i].ends)
            loop_turn(world.loop, true);
        assert_int_equal(all[i].result, i % 2 ? CACHE_LOOKUP_ABSENT : CACHE_LOOKUP_FOUND);
        if (i % 2 == 0)
            assert_int_equal(strtoul(all[i].text, NULL, 10), i);
    }
    redis_status(world.redis, &after);
    assert_true(after.counters.writes - before.counters.writes < 10);
    finish();
}

/* What does not fit, and what others have put there: no look-up may cost us the connection. */
static void large_values(void **state)
{
    (void)state;
    begin(&(struct cache_redis_options){.value_most = 1000});
    char *text = memory_zalloc(1001);
    memset(text, 'x', 1001);
    assert_int_equal(cache_redis_value_most(here), 1000);
    assert_true(put(here, 1, span_of(text, 1000), LIFE));
    assert_false(put(here, 2, span_of(text, 1001), LIFE));
    cache_call_settle(&world, here);
    assert_int_equal(get(there, 1).len, 1000);
    assert_int_equal(get(there, 2).result, CACHE_LOOKUP_ABSENT);
    assert_int_equal(cache_call_counts(here).dropped_large, 1);
    struct buffer out = {0}, words = {0};
    assert_int_equal(redis_cli(&server, world.loop, &out, "keys *"), 0);
    struct span name = span_take(buffer_span(&out), span_find(buffer_span(&out), '\n'));
    buffer_format(&words, "setrange %.*s 5000000 x%c", SPAN_ARG(name), 0);
    assert_int_equal(redis_cli(&server, world.loop, NULL, words.ptr + words.start), 0);
    assert_int_equal(get(there, 1).result, CACHE_LOOKUP_ABSENT);
    buffer_finish(&words);
    buffer_format(&words, "del %.*s%c", SPAN_ARG(name), 0);
    assert_int_equal(redis_cli(&server, world.loop, NULL, words.ptr + words.start), 0);
    buffer_finish(&words);
    buffer_format(&words, "lpush %.*s x%c", SPAN_ARG(name), 0);
    assert_int_equal(redis_cli(&server, world.loop, NULL, words.ptr + words.start), 0);
    struct found f = get(there, 1);
    assert_int_equal(f.result, CACHE_LOOKUP_FAILED);
    assert_int_equal(f.lookup.error, REDIS_ERROR_WRONGTYPE);
    struct redis_status status;
    redis_status(world.redis, &status);
    assert_int_equal(status.counters.losses, 0);
    buffer_finish(&words);
    buffer_finish(&out);
    free(text);
    finish();
}

/* ---- leases ---- */

static void one_pod_has_the_lease(void **state)
{
    (void)state;
    struct leased a, b, c;
    begin(&(struct cache_redis_options){0});
    assert_int_equal(cache_call_lease(&world, here, 1, LIFE, &a), CACHE_LEASE_HELD);
    assert_int_equal(cache_call_lease(&world, there, 1, LIFE, &b), CACHE_LEASE_OTHERS);
    assert_int_equal(cache_call_lease(&world, there, 2, LIFE, &c), CACHE_LEASE_HELD);
    assert_int_equal(get(here, 1).result, CACHE_LOOKUP_ABSENT); /* it is not the entry */
    cache_redis_release(there, &b.lease);                       /* not its own */
    cache_call_settle(&world, there);
    assert_int_equal(cache_call_lease(&world, there, 1, LIFE, &b), CACHE_LEASE_OTHERS);
    cache_redis_release(here, &a.lease);
    cache_call_settle(&world, here);
    assert_int_equal(cache_call_lease(&world, there, 1, 1, &b), CACHE_LEASE_HELD);
    /* It runs out; then it is another's, and the first can give back what is no longer its own. */
    while (cache_call_lease(&world, here, 1, LIFE, &a) != CACHE_LEASE_HELD)
        loop_turn(world.loop, false);
    cache_redis_release(there, &b.lease);
    cache_call_settle(&world, there);
    assert_int_equal(cache_call_lease(&world, there, 1, LIFE, &b), CACHE_LEASE_OTHERS);
    assert_int_equal(cache_call_counts(there).leases_held, 2);
    finish();
}

/* ---- purges ---- */

static bool is_purged(struct cache_redis *cache, const char *model, const char *consumer, uint64_t created)
{
    const struct cache_facts facts = {.model = span_str(model), .consumer = span_str(consumer), .created = created};
    return cache_redis_is_purged(cache, (const uint8_t[CACHE_KEY_BYTES]){7}, &facts);
}

static void a_purge_reaches_every_pod(void **state)
{
    (void)state;
    begin(&(struct cache_redis_options){0});
    uint64_t now = loop_wall(world.loop), later = now + 60 * CLOCK_SECOND;
    cache_call_until_marks(&world, there);
    cache_call_until_marks(&world, here);
    assert_false(is_purged(there, "gpt-4o", "a", now));
    assert_int_equal(cache_call_purge(&world, here, CACHE_SCOPE_MODEL, SPAN("gpt-4o"), LIFE), REDIS_ERROR_NONE);
    assert_true(is_purged(here, "gpt-4o", "a", now)); /* at once */
    cache_call_until_marks(&world, there);
    assert_true(is_purged(there, "gpt-4o", "a", now));
    assert_true(is_purged(there, "gpt-4o", "", now - 1000 * CLOCK_SECOND));
    assert_true(is_purged(there, "gpt-4o", "", now + 2 * CLOCK_SECOND)); /* clocks differ */
    assert_false(is_purged(there, "gpt-4o", "a", later));
    assert_false(is_purged(there, "gpt-4o-mini", "gpt-4o", now));
    assert_int_equal(cache_call_purge(&world, there, CACHE_SCOPE_CONSUMER, SPAN("a"), LIFE), REDIS_ERROR_NONE);
    cache_call_until_marks(&world, here);
    assert_true(is_purged(here, "gpt-4o-mini", "a", now));
    assert_false(is_purged(here, "gpt-4o-mini", "b", now));
    assert_int_equal(cache_call_purge(&world, there, CACHE_SCOPE_ALL, SPAN("whatever"), LIFE), REDIS_ERROR_NONE);
    cache_call_until_marks(&world, here);
    assert_true(is_purged(here, "gpt-4o-mini", "b", now));
    assert_false(is_purged(here, "gpt-4o-mini", "b", later));
    assert_int_equal(cache_call_counts(here).marks, 3);
    /* A pod that comes later takes nothing older than itself until it knows. */
    struct cache_redis *third = pod(&(struct cache_redis_options){0});
    assert_true(is_purged(third, "x", "y", now));
    assert_false(is_purged(third, "x", "y", later));
    cache_call_until_marks(&world, third);
    assert_true(is_purged(third, "x", "y", now));
    cache_redis_destroy(third);
    finish();
}

static bool is_key_purged(struct cache_redis *cache, uint64_t number, uint64_t created)
{
    uint8_t key[CACHE_KEY_BYTES];
    const struct cache_facts facts = {.model = SPAN("m"), .consumer = SPAN("c"), .created = created};
    cache_call_key(number, key);
    return cache_redis_is_purged(cache, key, &facts);
}

/* One answer, which another pod may have in its memory; its neighbours stay. */
static void a_purge_by_key_reaches_every_pod(void **state)
{
    (void)state;
    uint8_t key[CACHE_KEY_BYTES];
    begin(&(struct cache_redis_options){0});
    uint64_t now = loop_wall(world.loop);
    cache_call_until_marks(&world, there);
    cache_call_key(5, key);
    assert_false(is_key_purged(there, 5, now));
    assert_int_equal(cache_call_purge(&world, here, CACHE_SCOPE_KEY, span_of((const char *)key, sizeof(key)), LIFE),
                     REDIS_ERROR_NONE);
    cache_call_until_marks(&world, there);
    assert_true(is_key_purged(there, 5, now));
    assert_false(is_key_purged(there, 5, now + 60 * CLOCK_SECOND));
    assert_false(is_key_purged(there, 6, now));
    finish();
}

/* Marks are as long there as entries may be; too many of them become one for everything. */
static void marks_are_bounded(void **state)
{
    (void)state;
    begin(&(struct cache_redis_options){0});
    uint64_t now = loop_wall(world.loop);
    cache_call_until_marks(&world, there);
    struct buffer out = {0};
    for (unsigned i = 0; i < CACHE_PURGE_MARKS; i++) {
        char name[24];
        (void)snprintf(name, sizeof(name), "consumer-%u", i);
        assert_int_equal(cache_call_purge(&world, here, CACHE_SCOPE_CONSUMER, span_str(name), LIFE), REDIS_ERROR_NONE);
    }
    cache_call_until_marks(&world, there);
    assert_int_equal(cache_call_counts(there).marks, CACHE_PURGE_MARKS);
    assert_true(is_purged(there, "m", "consumer-17", now));
    assert_false(is_purged(there, "m", "another", now));
    assert_int_equal(cache_call_purge(&world, here, CACHE_SCOPE_CONSUMER, SPAN("one more"), LIFE), REDIS_ERROR_NONE);
    cache_call_until_marks(&world, there);
    assert_true(is_purged(there, "m", "another", now));
    assert_true(is_purged(here, "m", "another", now));
    assert_int_equal(redis_cli(&server, world.loop, &out, "hlen postern:cache:answers:purges"), 0);
    assert_true(span_equal(buffer_span(&out), SPAN("1\n")));
    buffer_finish(&out);
    /* Strange things in the hash are passed over. */
    assert_int_equal(redis_cli(&server, world.loop, NULL,
                               "hset postern:cache:answers:purges x 1 0123456789abcdef never 00000000000000zz 5 "
                               "0000000000000001 99999999999999999 0000000000000002 -5"),
                     0);
    unsigned marks = cache_call_counts(there).marks;
    cache_call_until_marks(&world, there);
    assert_int_equal(cache_call_counts(there).marks, marks);
    /* The hash goes when nothing that it covers can be alive. */
    assert_int_equal(redis_cli(&server, world.loop, NULL, "del postern:cache:answers:purges"), 0);
    assert_int_equal(cache_call_purge(&world, here, CACHE_SCOPE_CONSUMER, SPAN("c"), 1), REDIS_ERROR_NONE);
    redis_cli_until(&server, world.loop, "exists postern:cache:answers:purges", "0");
    finish();
}

/* ---- without a server ---- */

static void frozen_server(void **state)
{
    (void)state;
    begin(&(struct cache_redis_options){
        .lookup = 10 * CLOCK_MS, .write = 300 * CLOCK_MS, .writes_most = 3, .bytes_most = 1000});
    struct leased l;
    char text[600] = {0};
    redis_server_signal(&server, SIGSTOP);
    /* Writes: three at a time, or so many bytes; the rest is dropped. */
    unsigned kept = 0;
    for (uint64_t i = 0; i < 10; i++)
        kept += put(here, i, SPAN("x"), LIFE);
    assert_int_equal(kept, 3);
    assert_int_equal(cache_call_counts(here).dropped_busy, 7);
    assert_true(put(there, 1, span_of(text, 600), LIFE));
    assert_false(put(there, 2, span_of(text, 600), LIFE));
    assert_true(put(there, 2, span_of(text, 400), LIFE));
    /* Look-ups: nobody waits beyond the deadline; after some the breaker ends them at once. */
    struct found f = get(here, 1);
    assert_int_equal(f.result, CACHE_LOOKUP_FAILED);
    assert_int_equal(cache_call_lease(&world, here, 1, LIFE, &l), CACHE_LEASE_FAILED);
    assert_int_not_equal(cache_call_purge(&world, here, CACHE_SCOPE_ALL, SPAN(""), LIFE), REDIS_ERROR_NONE);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(get(there, i).result, CACHE_LOOKUP_FAILED);
    assert_false(cache_redis_is_up(here));
    assert_false(put(here, 1, SPAN("x"), LIFE));
    cache_call_settle(&world, here);
    cache_call_settle(&world, there);
    struct cache_redis_counts counts = cache_call_counts(here);
    assert_int_equal(counts.writes, counts.written + counts.dropped_busy + counts.dropped_down);
    assert_int_equal(counts.written, 0);
    assert_true(counts.failed > 0);
    /* And on. */
    redis_server_signal(&server, SIGCONT);
    while (!is_greeted())
        loop_turn(world.loop, true);
    while (!put(here, 7, SPAN("seven"), LIFE))
        loop_turn(world.loop, true);
    while (get(there, 7).result != CACHE_LOOKUP_FOUND)
        loop_turn(world.loop, false);
    finish();
}

/* A server that takes no more says so when the write has been sent already. */
static void full_server(void **state)
{
    (void)state;
    begin(&(struct cache_redis_options){0});
    assert_true(put(here, 1, SPAN("one"), LIFE));
    cache_call_settle(&world, here);
    (void)redis_cli(&server, world.loop, NULL, "config set maxmemory 1");
    assert_true(put(here, 2, SPAN("two"), LIFE));
    cache_call_settle(&world, here);
    struct cache_redis_counts counts = cache_call_counts(here);
    assert_true(counts.kept == 1 && counts.refused == 1 && counts.lost == 0);
    assert_int_equal(counts.dropped_down, 1);
    (void)redis_cli(&server, world.loop, NULL, "config set maxmemory 0");
    finish();
}

static void dead_server(void **state)
{
    (void)state;
    begin(&(struct cache_redis_options){0});
    assert_true(put(here, 1, SPAN("one"), LIFE));
    cache_call_settle(&world, here);
    redis_server_signal(&server, SIGKILL);
    while (cache_redis_is_up(here))
        loop_turn(world.loop, true);
    assert_false(put(here, 2, SPAN("two"), LIFE));
    struct found f = get(here, 1);
    assert_int_equal(f.result, CACHE_LOOKUP_FAILED);
    assert_int_equal(f.lookup.error, REDIS_ERROR_LOST);
    assert_int_equal(cache_call_counts(here).dropped_down, 1);
    redis_server_restart(&server);
    while (!is_greeted())
        loop_turn(world.loop, true);
    assert_int_equal(get(here, 1).result, CACHE_LOOKUP_ABSENT);
    finish();
}

/* A reload has taken the store out of the configuration. */
static void no_store(void **state)
{
    (void)state;
    struct found f, dropped;
    struct leased l;
    begin(&(struct cache_redis_options){0});
    store.redis = NULL;
    assert_false(cache_redis_is_up(here));
    assert_false(put(here, 1, SPAN("x"), LIFE));
    get_start(here, 1, &f);
    get_start(here, 2, &dropped);
    pending_cancel(&dropped.lookup.call.call.pending);
    while (!f.ends)
        loop_turn(world.loop, true);
    assert_int_equal(f.result, CACHE_LOOKUP_FAILED);
    assert_int_equal(f.lookup.error, REDIS_ERROR_LOST);
    assert_int_equal(dropped.ends, 0);
    assert_int_equal(cache_call_lease(&world, here, 1, LIFE, &l), CACHE_LEASE_FAILED);
    cache_redis_release(here, &l.lease);
    assert_int_equal(cache_call_purge(&world, here, CACHE_SCOPE_ALL, SPAN(""), LIFE), REDIS_ERROR_LOST);
    assert_true(is_purged(here, "m", "c", loop_wall(world.loop))); /* here at least */
    store.redis = world.redis;
    assert_int_equal(get(here, 1).result, CACHE_LOOKUP_ABSENT);
    finish();
}

/* Whoever leaves hears nothing any more; a cache that ends leaves nothing behind. */
static void leaving(void **state)
{
    (void)state;
    struct found f;
    begin(&(struct cache_redis_options){0});
    get_start(here, 1, &f);
    loop_turn(world.loop, false);
    pending_cancel(&f.lookup.call.call.pending);
    for (uint64_t i = 0; i < 5; i++)
        assert_true(put(there, i, SPAN("x"), LIFE));
    assert_int_equal(get(here, 9).result, CACHE_LOOKUP_ABSENT);
    assert_int_equal(f.ends, 0);
    for (uint64_t i = 0; i < 5; i++)
        assert_true(put(here, i, SPAN("x"), LIFE));
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_are_shared),
        cmocka_unit_test(keys_spread),
        cmocka_unit_test(many_lookups_leave_together),
        cmocka_unit_test(large_values),
        cmocka_unit_test(one_pod_has_the_lease),
        cmocka_unit_test(a_purge_reaches_every_pod),
        cmocka_unit_test(a_purge_by_key_reaches_every_pod),
        cmocka_unit_test(marks_are_bounded),
        cmocka_unit_test(frozen_server),
        cmocka_unit_test(full_server),
        cmocka_unit_test(dead_server),
        cmocka_unit_test(no_store),
        cmocka_unit_test(leaving),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
