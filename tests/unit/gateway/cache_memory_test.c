/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/crypto.h"
#include "base/hash.h"
#include "base/memory.h"
#include "gateway/cache_memory.h"

#define MIB ((size_t)1024 * 1024)
#define NOW UINT64_C(1000) /* of purges, where it does not matter */

static void key_of(uint64_t number, uint8_t key[CACHE_KEY_BYTES])
{
    crypto_sha256(span_of((const char *)&number, sizeof(number)), key);
}

/* An answer of `len` bytes that says which it is. */
static struct cache_entry *entry_of(uint64_t number, size_t len, const char *model, const char *consumer)
{
    char *body = memory_zalloc(len + sizeof(number));
    memcpy(body, &number, sizeof(number));
    const struct cache_facts facts = {.operation = OPERATION_CHAT,
                                      .status = 200,
                                      .created = number,
                                      .model = span_str(model),
                                      .consumer = span_str(consumer)};
    struct cache_entry *entry = cache_entry_create(&facts, span_of(body, len + sizeof(number)));
    free(body);
    return entry;
}

static bool put(struct cache_memory *memory, uint64_t number, size_t len, const char *model, const char *consumer)
{
    uint8_t key[CACHE_KEY_BYTES];
    key_of(number, key);
    struct cache_entry *entry = entry_of(number, len, model, consumer);
    bool kept = cache_memory_put(memory, key, entry);
    cache_entry_unref(entry);
    return kept;
}

static struct cache_entry *get(struct cache_memory *memory, uint64_t number)
{
    uint8_t key[CACHE_KEY_BYTES];
    key_of(number, key);
    return cache_memory_get(memory, key);
}

static bool has(struct cache_memory *memory, uint64_t number)
{
    struct cache_entry *entry = get(memory, number);
    if (entry)
        assert_memory_equal(entry->body.ptr, &number, sizeof(number));
    cache_entry_unref(entry);
    return entry != NULL;
}

static struct cache_memory_counts counts_of(struct cache_memory *memory)
{
    struct cache_memory_counts counts;
    cache_memory_counts(memory, &counts);
    return counts;
}

static void test_keeping(void **state)
{
    (void)state;
    uint8_t key[CACHE_KEY_BYTES];
    struct cache_memory *memory = cache_memory_open(SPAN("answers"), MIB, 0);
    assert_false(has(memory, 1));
    assert_true(put(memory, 1, 100, "m", "c"));
    assert_true(put(memory, 2, 100, "m", "c"));
    assert_true(has(memory, 1));
    assert_true(has(memory, 2));

    /* What is held lives on when it is replaced or removed. */
    struct cache_entry *held = get(memory, 1), *other = entry_of(7, 10, "m", "c");
    key_of(1, key);
    assert_true(cache_memory_put(memory, key, other));
    struct cache_entry *now = get(memory, 1);
    assert_ptr_equal(now, other);
    assert_int_equal(held->facts.created, 1);
    assert_false(cache_memory_remove(memory, key, held)); /* it is another one now */
    assert_true(cache_memory_remove(memory, key, now));
    assert_false(cache_memory_remove(memory, key, NULL));
    assert_false(has(memory, 1));
    assert_int_equal(now->facts.created, 7);
    cache_entry_unref(held);
    cache_entry_unref(other);
    cache_entry_unref(now);

    struct cache_memory_counts counts = counts_of(memory);
    assert_int_equal(counts.entries, 1);
    assert_int_equal(counts.inserted, 2);
    assert_int_equal(counts.replaced, 1);
    assert_int_equal(counts.removed, 1);
    assert_int_equal(counts.hits, 4);
    assert_int_equal(counts.misses, 2);
    cache_memory_close(memory);
    cache_memory_close(NULL);
}

/* One memory to a name, for as long as somebody has it; the last to open says how large it is. */
static void test_names(void **state)
{
    (void)state;
    struct cache_memory *a = cache_memory_open(SPAN("a"), 8 * MIB, 0), *b = cache_memory_open(SPAN("b"), 8 * MIB, 0);
    assert_ptr_not_equal(a, b);
    for (uint64_t i = 0; i < 4000; i++)
        assert_true(put(a, i, 1024, "m", "c"));
    assert_int_equal(counts_of(a).entries, 4000);
    assert_int_equal(counts_of(b).entries, 0);
    struct cache_memory *again = cache_memory_open(SPAN("a"), 2 * MIB, 0);
    assert_ptr_equal(again, a);
    struct cache_memory_counts counts = counts_of(a);
    assert_true(counts.bytes <= 2 * MIB && counts.bytes > MIB);
    assert_true(counts.limit <= 2 * MIB);
    assert_int_equal(counts.entries + counts.evicted, 4000);
    cache_memory_close(again);
    assert_true(counts_of(a).entries > 0);
    cache_memory_close(a);
    a = cache_memory_open(SPAN("a"), MIB, 0);
    assert_int_equal(counts_of(a).entries, 0);
    cache_memory_close(a);
    cache_memory_close(b);
}

/* Entries of all sizes: the bound holds after each step, and what is too large takes its elder along. */
static void test_bound(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, MIB / 3, MIB, 3 * MIB, 20 * MIB};
    for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
        struct cache_memory *memory = cache_memory_open(SPAN("bound"), sizes[s], 0);
        uint64_t random = 42;
        for (unsigned i = 0; i < 2500; i++) {
            uint64_t number = hash_random(&random) % 3000;
            size_t len = hash_random(&random) % (1 + (size_t)(hash_random(&random) % 200000));
            bool kept = put(memory, number, len, "m", "c");
            struct cache_memory_counts counts = counts_of(memory);
            assert_true(counts.bytes <= sizes[s]);
            assert_true(counts.bytes >= counts.entries * sizeof(struct cache_entry));
            assert_int_equal(has(memory, number), kept);
            if (hash_random(&random) % 4 == 0)
                (void)has(memory, hash_random(&random) % 3000);
        }
        struct cache_memory_counts counts = counts_of(memory);
        assert_true(sizes[s] == 0 ? counts.refused == 2500 : counts.inserted > 1000);
        assert_int_equal(counts.inserted, counts.entries + counts.evicted + counts.removed);
        if (sizes[s]) {
            size_t most = cache_memory_entry_most(memory) - sizeof(struct cache_entry) - 2 - sizeof(uint64_t);
            assert_true(put(memory, 1, most, "m", "c"));
            assert_false(put(memory, 1, most + 1, "m", "c"));
            assert_false(has(memory, 1));
        }
        cache_memory_close(memory);
    }
}

static void test_purge(void **state)
{
    (void)state;
    static const char *const models[] = {"gpt-4o", "gpt-4o-mini", ""}, *const consumers[] = {"search", "chat"};
    struct cache_memory *memory = cache_memory_open(SPAN("purge"), 16 * MIB, 0);
    for (uint64_t i = 0; i < 600; i++) {
        assert_true(put(memory, i, 10, models[i % 3], consumers[i % 2]));
        if (i % 5 == 0)
            assert_true(has(memory, i));
    }
    assert_int_equal(cache_memory_purge(memory, CACHE_SCOPE_MODEL, SPAN("gpt-4"), NOW), 0);
    assert_int_equal(cache_memory_purge(memory, CACHE_SCOPE_MODEL, SPAN("gpt-4o"), NOW), 200);
    for (uint64_t i = 0; i < 600; i++)
        assert_int_equal(has(memory, i), i % 3 != 0);
    assert_int_equal(cache_memory_purge(memory, CACHE_SCOPE_CONSUMER, SPAN("chat"), NOW), 200);
    for (uint64_t i = 0; i < 600; i++)
        assert_int_equal(has(memory, i), i % 3 != 0 && i % 2 == 0);
    uint8_t key[CACHE_KEY_BYTES];
    key_of(4, key);
    assert_int_equal(cache_memory_purge(memory, CACHE_SCOPE_KEY, span_of((const char *)key, sizeof(key)), NOW), 1);
    assert_false(has(memory, 4));
    assert_int_equal(cache_memory_purge(memory, CACHE_SCOPE_ALL, SPAN(""), NOW), 199);
    assert_int_equal(counts_of(memory).entries, 0);
    assert_int_equal(counts_of(memory).bytes, 0);
    cache_memory_close(memory);
}

static bool is_purged(struct cache_memory *memory, uint64_t number, uint64_t created, const char *model,
                      const char *consumer)
{
    uint8_t key[CACHE_KEY_BYTES];
    const struct cache_facts facts = {.created = created, .model = span_str(model), .consumer = span_str(consumer)};
    key_of(number, key);
    return cache_memory_is_purged(memory, key, &facts);
}

/* Answers that were asked for before a purge must not be kept after it. */
static void test_purge_of_what_comes(void **state)
{
    (void)state;
    uint8_t key[CACHE_KEY_BYTES];
    struct cache_memory *memory = cache_memory_open(SPAN("comes"), MIB, 0);
    assert_false(is_purged(memory, 1, 5, "a", "b"));
    (void)cache_memory_purge(memory, CACHE_SCOPE_MODEL, SPAN("a"), 10);
    assert_true(is_purged(memory, 1, 10, "a", "b"));
    assert_false(is_purged(memory, 1, 11, "a", "b"));
    assert_false(is_purged(memory, 1, 5, "b", "a"));
    (void)cache_memory_purge(memory, CACHE_SCOPE_CONSUMER, SPAN("c"), 20);
    assert_true(is_purged(memory, 1, 20, "b", "c"));
    assert_false(is_purged(memory, 1, 5, "c", "b"));
    key_of(7, key);
    (void)cache_memory_purge(memory, CACHE_SCOPE_KEY, span_of((const char *)key, sizeof(key)), 30);
    assert_true(is_purged(memory, 7, 30, "x", "y"));
    assert_false(is_purged(memory, 8, 5, "x", "y"));
    (void)cache_memory_purge(memory, CACHE_SCOPE_ALL, SPAN(""), 40);
    assert_true(is_purged(memory, 8, 40, "x", "y"));
    assert_false(is_purged(memory, 7, 41, "a", "c"));
    /* Only the last ones are remembered. */
    for (uint64_t i = 0; i < 64; i++)
        (void)cache_memory_purge(memory, CACHE_SCOPE_MODEL, SPAN("z"), 50 + i);
    assert_false(is_purged(memory, 8, 40, "x", "y"));
    assert_true(is_purged(memory, 8, 113, "z", "y"));
    cache_memory_close(memory);
}

/* Whatever the room, a quarter of it is what a body may be when it was named. */
static void test_largest(void **state)
{
    (void)state;
    static const size_t rooms[] = {2 * MIB, 3 * MIB, 8 * MIB, 16 * MIB, 33 * MIB, 64 * MIB};
    for (size_t i = 0; i < ARRAY_LEN(rooms); i++) {
        struct cache_memory *memory = cache_memory_open(SPAN("largest"), rooms[i], 512 * 1024);
        for (uint64_t number = 0; number < 8; number++) {
            assert_true(put(memory, number, 512 * 1024 - sizeof(number), "gpt-4o", "search"));
            assert_true(has(memory, number));
        }
        assert_true(counts_of(memory).bytes <= rooms[i]);
        cache_memory_close(memory);
    }
}

/* ---- against LRU ---- */

enum { LOAD_ENTRY = 2000, LOAD_ROOM = 4 * 1024 * 1024, LOAD_REQUESTS = 120000 };

/* A cache that puts out what was asked for longest ago, of as many entries as have room. */
struct lru {
    struct lru_node {
        struct list link;
        bool in;
    } * nodes;
    struct list order;
    size_t count, most;
};

static bool lru_ask(struct lru *lru, uint64_t number)
{
    struct lru_node *node = &lru->nodes[number];
    bool hit = node->in;
    list_remove(&node->link);
    list_prepend(&lru->order, &node->link);
    if (!hit) {
        node->in = true;
        lru->count++;
    }
    if (lru->count > lru->most) {
        struct lru_node *last = LIST_LAST(&lru->order, struct lru_node, link);
        list_remove(&last->link);
        last->in = false;
        lru->count--;
    }
    return hit;
}

struct load {
    const char *name;
    double skew;         /* of the zipf distribution */
    unsigned objects;    /* different ones */
    unsigned scan_every; /* so many requests, 0: never ... */
    unsigned scan_len;   /* ... so many objects are asked for once */
    double least_gain;   /* hits more than LRU's, as a part of these */
};

static unsigned zipf(const double *sums, unsigned objects, uint64_t *random)
{
    double at = (double)(hash_random(random) >> 11) / 9007199254740992.0 * sums[objects - 1];
    unsigned low = 0, high = objects - 1;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (sums[middle] < at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void run_load(const struct load *load)
{
    unsigned all = load->objects + LOAD_REQUESTS;
    double *sums = memory_array(load->objects, sizeof(*sums)), sum = 0;
    for (unsigned i = 0; i < load->objects; i++)
        sums[i] = sum += 1 / pow(i + 1, load->skew);
    struct cache_memory *memory = cache_memory_open(SPAN("load"), LOAD_ROOM, 0);
    struct lru lru = {.nodes = memory_zalloc(all * sizeof(*lru.nodes))};
    list_init(&lru.order);
    uint64_t random = 1, hits = 0, lru_hits = 0, fresh = load->objects;
    for (unsigned pass = 0; pass < 2; pass++) { /* first to see how many have room: LRU gets as many */
        random = 1;
        hits = lru_hits = 0;
        fresh = load->objects;
        for (unsigned i = 0; i < LOAD_REQUESTS; i++) {
            bool scan = load->scan_every && i % load->scan_every < load->scan_len;
            uint64_t number = scan ? fresh++ : zipf(sums, load->objects, &random);
            bool hit = has(memory, number);
            if (!hit)
                (void)put(memory, number, LOAD_ENTRY, "m", "c");
            hits += hit;
            lru_hits += pass && lru_ask(&lru, number);
        }
        if (pass == 0) {
            lru.most = counts_of(memory).entries;
            cache_memory_close(memory);
            memory = cache_memory_open(SPAN("load"), LOAD_ROOM, 0);
        }
    }
    print_message("%s: %llu hits of %d, LRU of as many entries (%zu): %llu\n", load->name, (unsigned long long)hits,
                  LOAD_REQUESTS, lru.most, (unsigned long long)lru_hits);
    assert_true((double)hits >= (double)lru_hits * (1 + load->least_gain));
    cache_memory_close(memory);
    free(lru.nodes);
    free(sums);
}

static void test_better_than_lru(void **state)
{
    (void)state;
    static const struct load loads[] = {
        {"zipf 0.8", 0.8, 30000, 0, 0, 0.15},
        {"zipf 1.0", 1.0, 30000, 0, 0, 0.06},
        {"zipf 1.2", 1.2, 30000, 0, 0, 0.01},
        {"zipf 1.0 with scans", 1.0, 30000, 10000, 3000, 0.10},
        {"zipf 0.9, every second once", 0.9, 20000, 2, 1, 0.20},
    };
    for (size_t i = 0; i < ARRAY_LEN(loads); i++)
        run_load(&loads[i]);
}

/* ---- several workers ---- */

enum { THREADS = 4, THREAD_ROUNDS = 15000, THREAD_KEYS = 1500 };

static void *work(void *arg)
{
    uint64_t random = (uint64_t)(uintptr_t)arg + 1;
    struct cache_memory *memory = cache_memory_open(SPAN("threads"), 2 * MIB, 0);
    for (unsigned i = 0; i < THREAD_ROUNDS; i++) {
        uint64_t number = hash_random(&random) % THREAD_KEYS, what = hash_random(&random) % 100;
        if (what < 60) {
            if (!has(memory, number))
                (void)put(memory, number, hash_random(&random) % 4000, number % 2 ? "odd" : "even", "c");
        } else if (what < 90) {
            (void)put(memory, number, hash_random(&random) % 4000, number % 2 ? "odd" : "even", "c");
        } else if (what < 98) {
            struct cache_entry *entry = get(memory, number);
            uint8_t key[CACHE_KEY_BYTES];
            key_of(number, key);
            if (entry)
                (void)cache_memory_remove(memory, key, entry);
            cache_entry_unref(entry);
        } else if (i % 50 == 0) {
            (void)cache_memory_purge(memory, CACHE_SCOPE_MODEL, SPAN("odd"), NOW);
        } else {
            struct cache_memory_counts counts = counts_of(memory);
            assert_true(counts.bytes <= counts.limit && counts.limit <= 2 * MIB);
        }
        if (i % 1000 == 0) { /* a reload in another worker */
            struct cache_memory *again = cache_memory_open(SPAN("threads"), i % 2000 ? MIB : 2 * MIB, 0);
            cache_memory_close(again);
        }
    }
    cache_memory_close(memory);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    struct cache_memory *memory = cache_memory_open(SPAN("threads"), 2 * MIB, 0);
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, (void *)i), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    struct cache_memory_counts counts = counts_of(memory);
    assert_int_equal(counts.inserted, counts.entries + counts.evicted + counts.removed);
    assert_true(counts.hits > 0 && counts.evicted > 0 && counts.removed > 0 && counts.replaced > 0);
    cache_memory_close(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keeping),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_purge),
        cmocka_unit_test(test_purge_of_what_comes),
        cmocka_unit_test(test_largest),
        cmocka_unit_test(test_better_than_lru),
        cmocka_unit_test(test_threads),
    };
    hash_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
