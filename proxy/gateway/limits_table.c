/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/limits_table.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/memory.h"

#define FREE 0 /* never used */
#define BUSY 1 /* changes hands */
#define LINE 64
/* Looks at a bucket that changes under our eyes before it counts as full. */
#define TRIES 1000

/* Touched when workers attach and detach filters only. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct limits_table *all;

/* ---- life ---- */

static void *carve(char **at, size_t bytes)
{
    void *part = *at;
    *at += (bytes + LINE - 1) & ~(size_t)(LINE - 1);
    return part;
}

static struct limits_table *create(struct span name, size_t places)
{
    struct limits_table *table = memory_zalloc(sizeof(*table));
    table->name = memory_string(name);
    table->buckets = 1;
    while (table->buckets * LIMITS_BUCKET < places && table->buckets < SIZE_MAX / 4096)
        table->buckets *= 2;
    size_t count = table->buckets * LIMITS_BUCKET;
    size_t bytes = count * (sizeof(*table->keys) + sizeof(*table->places)) + table->buckets + (size_t)4 * LINE;
    table->memory = memory_zalloc(bytes);
    uintptr_t start = (uintptr_t)table->memory;
    char *at = (char *)table->memory + (LINE - start % LINE) % LINE;
    table->keys = carve(&at, count * sizeof(*table->keys));
    table->places = carve(&at, count * sizeof(*table->places));
    table->guards = carve(&at, table->buckets);
    return table;
}

struct limits_table *limits_table_get(struct span name, size_t places)
{
    pthread_mutex_lock(&lock);
    struct limits_table *table = all;
    while (table && !span_equal(span_str(table->name), name))
        table = table->next;
    if (!table) {
        table = create(name, places);
        table->next = all;
        all = table;
    }
    table->refs++;
    pthread_mutex_unlock(&lock);
    return table;
}

void limits_table_unref(struct limits_table *table)
{
    if (!table)
        return;
    pthread_mutex_lock(&lock);
    bool last = --table->refs == 0;
    if (last) {
        struct limits_table **link = &all;
        while (*link != table)
            link = &(*link)->next;
        *link = table->next;
    }
    pthread_mutex_unlock(&lock);
    if (!last)
        return;
    free(table->memory);
    free(table->name);
    free(table);
}

/* ---- places ---- */

static size_t bucket_of(const struct limits_table *table, uint64_t key)
{
    return (size_t)(key >> 8) & (table->buckets - 1);
}

bool limits_find(const struct limits_table *table, uint64_t key, uint32_t *ret_slot)
{
    size_t first = bucket_of(table, key) * LIMITS_BUCKET;
    for (size_t i = first; i < first + LIMITS_BUCKET; i++) {
        uint64_t found = atomic_load(&table->keys[i]);
        if (found == key) {
            *ret_slot = (uint32_t)i;
            return true;
        }
        if (found == FREE)
            return false;
    }
    return false;
}

void limits_raise(_Atomic uint64_t *word, uint64_t value)
{
    uint64_t now = atomic_load(word);
    while (now < value && !atomic_compare_exchange_weak(word, &now, value)) {
    }
}

void limits_unpin(struct limits_table *table, uint32_t slot, uint64_t forget_at)
{
    struct limits_place *place = &table->places[slot];
    limits_raise(&place->forget_at, forget_at);
    atomic_fetch_sub(&place->pins, 1);
}

/* Pins a place if it still is the key's. */
static bool pin_slot(struct limits_table *table, uint64_t key, uint32_t slot)
{
    struct limits_place *place = &table->places[slot];
    atomic_fetch_add(&place->pins, 1);
    if (LIKELY(atomic_load(&table->keys[slot]) == key))
        return true;
    atomic_fetch_sub(&place->pins, 1);
    return false;
}

/* Takes the first place that nobody ever had. False: there is none, or another key was faster. */
static bool take_free(struct limits_table *table, uint64_t key)
{
    size_t first = bucket_of(table, key) * LIMITS_BUCKET;
    for (size_t i = first; i < first + LIMITS_BUCKET; i++) {
        uint64_t expected = FREE;
        if (atomic_load(&table->keys[i]) == FREE)
            return atomic_compare_exchange_strong(&table->keys[i], &expected, key);
    }
    return false;
}

static bool bucket_is_full(const struct limits_table *table, uint64_t key)
{
    size_t last = bucket_of(table, key) * LIMITS_BUCKET + LIMITS_BUCKET - 1;
    return atomic_load(&table->keys[last]) != FREE;
}

static bool is_idle(struct limits_place *place, uint64_t now)
{
    return atomic_load(&place->pins) == 0 && atomic_load(&place->forget_at) <= now;
}

/* Gives the place to `key` if nobody uses it. Under the bucket's guard. */
static bool hand_over(struct limits_table *table, size_t slot, uint64_t key, uint64_t now)
{
    struct limits_place *place = &table->places[slot];
    uint64_t old = atomic_load(&table->keys[slot]);
    if (!is_idle(place, now) || !atomic_compare_exchange_strong(&table->keys[slot], &old, BUSY))
        return false;
    if (!is_idle(place, now)) {
        atomic_store(&table->keys[slot], old);
        return false;
    }
    for (unsigned i = 0; i < LIMIT_SLICES; i++)
        atomic_store_explicit(&place->words[i], 0, memory_order_relaxed);
    atomic_store(&place->forget_at, 0);
    atomic_store(&table->keys[slot], key);
    atomic_fetch_add_explicit(&table->forgotten, 1, memory_order_relaxed);
    return true;
}

enum eviction { EVICTED, AGAIN, ALL_BUSY };

static enum eviction take_idle(struct limits_table *table, uint64_t key, uint64_t now)
{
    size_t bucket = bucket_of(table, key), first = bucket * LIMITS_BUCKET;
    uint32_t slot;
    if (atomic_exchange(&table->guards[bucket], 1))
        return AGAIN;
    enum eviction result = limits_find(table, key, &slot) ? AGAIN : ALL_BUSY;
    for (size_t i = first; i < first + LIMITS_BUCKET && result == ALL_BUSY; i++)
        if (hand_over(table, i, key, now))
            result = EVICTED;
    atomic_store(&table->guards[bucket], 0);
    return result;
}

bool limits_pin(struct limits_table *table, uint64_t key, uint64_t now, uint32_t *ret_slot)
{
    for (unsigned tries = 0; tries < TRIES; tries++) {
        if (LIKELY(limits_find(table, key, ret_slot))) {
            if (pin_slot(table, key, *ret_slot))
                return true;
        } else if (!bucket_is_full(table, key)) {
            (void)take_free(table, key);
        } else if (take_idle(table, key, now) == ALL_BUSY) {
            break;
        }
    }
    atomic_fetch_add_explicit(&table->lost, 1, memory_order_relaxed);
    return false;
}

struct limits_table_counts limits_table_counts(const struct limits_table *table)
{
    struct limits_table_counts counts = {.places = table->buckets * LIMITS_BUCKET};
    for (size_t i = 0; i < counts.places; i++) {
        if (atomic_load(&table->keys[i]) == FREE)
            continue;
        counts.keys++;
        counts.open += (size_t)atomic_load(&table->places[i].pins);
    }
    counts.forgotten = atomic_load(&table->forgotten);
    counts.lost = atomic_load(&table->lost);
    return counts;
}
