/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limits_memory: the limits of one process, shared by its workers: a table of atomics with a fixed number of places, no
 * locks on the way of a request. The law is gateway/limits.h's; between workers it holds exactly but for the difference
 * of their clocks, at most one turn of a loop.
 *
 * A key has a place in one of the table's buckets of eight. A place whose key charges nothing any more (all drained,
 * its period over, no reservation open) may be given to another key; with eight busy keys in one bucket a ninth is
 * LOST. So the table should have twice as many places as there are keys at a time.
 *
 * A place is pinned while a reservation stands in it: what is settled is always what was reserved. Reservations need no
 * renewal; when the process dies, the table dies with it.
 */
#ifndef POSTERN_GATEWAY_LIMITS_MEMORY_H
#define POSTERN_GATEWAY_LIMITS_MEMORY_H

#include <stddef.h>

#include "base/compiler.h"
#include "base/span.h"
#include "gateway/limits_store.h"

/* Keys of one bucket; one more that is busy finds no place. */
#define LIMITS_BUCKET 8

struct limits_table;

/* One worker's view of a table. */
struct limits_memory {
    struct limits_store store;
    struct limits_table *table;
};

/*
 * The table of that name in this process, with a reference: made with `places` places (rounded up to a power of two)
 * when nobody holds it yet, else as it is, whatever `places` says. Any thread. Memory is touched only as keys come, 136
 * bytes each.
 */
MUST_CHECK struct limits_table *limits_table_get(struct span name, size_t places);
/* The last one frees it. NULL is allowed. */
void limits_table_unref(struct limits_table *table);

/* Makes `memory` a store on the table, whose reference stays the caller's. */
void limits_memory_init(struct limits_memory *memory, struct limits_table *table);

/* ---- learned figures: a moving average per key, in the same table ---- */

/* The average for that key, or `fallback` when nothing has been learned. */
uint64_t limits_learned(struct limits_table *table, uint64_t hash, uint64_t fallback);
/* Takes one more value into the average, with a weight of 1/8. Lost when the table has no place. */
void limits_learn(struct limits_table *table, uint64_t hash, uint64_t value, uint64_t now);

/* ---- for tests and metrics ---- */

struct limits_table_counts {
    size_t places, keys; /* keys: places that were ever used; a forgotten key counts until its place is given away */
    size_t open;         /* reservations not settled */
    uint64_t forgotten, lost; /* places given to another key; calls that found none */
};
/* Looks at every place: not on the way of a request. */
struct limits_table_counts limits_table_counts(const struct limits_table *table);

#endif
