/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limits_table: the places behind limits_memory.h, and who stands in which. What the words mean is limits_memory.c's.
 *
 * A place belongs to the key that stands in keys[]. Taking part in it: pin, look whether the key still stands there,
 * and only then read or write words. Giving it to another key: swap the key for BUSY, look whether anybody has pinned
 * it meanwhile, and only then clear it. Both sides write first and read then, in one order for all threads, so never
 * both go on. Places that were never used are taken in rising order, by whoever is first; used ones are given away
 * under the bucket's guard, so that a key never gets two.
 */
#ifndef POSTERN_GATEWAY_LIMITS_TABLE_H
#define POSTERN_GATEWAY_LIMITS_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "gateway/limits.h"
#include "gateway/limits_memory.h"

/* Two cache lines. */
struct limits_place {
    _Atomic uint64_t pins;      /* reservations that stand here */
    _Atomic uint64_t forget_at; /* µs, loop time: from then on an unpinned place is free */
    _Atomic uint64_t words[LIMIT_SLICES];
    uint64_t unused;
};
_Static_assert(sizeof(struct limits_place) == 128, "a place is two cache lines");

struct limits_table {
    char *name;
    unsigned refs;             /* under the registry's lock */
    struct limits_table *next; /* in the registry */
    size_t buckets;            /* a power of two */
    _Atomic uint64_t *keys;
    struct limits_place *places;
    atomic_uchar *guards; /* per bucket */
    void *memory;
    _Atomic uint64_t forgotten, lost;
};

/*
 * What the words of a place are. RATE: virtual time, ticks given back in all, time of the last grant. CALENDAR: one
 * word. ROLLING: one per slice. CONCURRENCY: the count. A learned figure: the average, in 256ths. LIMITS_KNOWN is
 * limits_redis's: what the shared store last said, RATE: its virtual time, CALENDAR: its count.
 */
enum { LIMITS_ARRIVAL, LIMITS_RETURNED, LIMITS_LAST_GRANT, LIMITS_KNOWN };

/* A limit that a reload makes another kind of limit begins anew; keys 0 and 1 mean something to the table. */
static inline uint64_t limits_place_key(uint64_t hash, unsigned kind)
{
    return (hash ^ (kind * UINT64_C(0x9e3779b97f4a7c15))) | 2;
}

/* Pins the place of a key, giving it one if it has none. False: all of its bucket are busy. */
MUST_CHECK bool limits_pin(struct limits_table *table, uint64_t key, uint64_t now, uint32_t *ret_slot);
/* Nobody may look at words after this. `forget_at`: what stands there now matters until then. */
void limits_unpin(struct limits_table *table, uint32_t slot, uint64_t forget_at);
/* The slot of a key that has a place, without pinning it. */
MUST_CHECK bool limits_find(const struct limits_table *table, uint64_t key, uint32_t *ret_slot);

/* Raises a word to at least `value`. */
void limits_raise(_Atomic uint64_t *word, uint64_t value);

#endif
