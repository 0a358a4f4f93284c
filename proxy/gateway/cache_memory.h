/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache_memory: answers kept in this process, for all of its workers, bounded in bytes. What goes when room is needed
 * is chosen by S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023): a small queue for
 * what is new, a large one for what was asked for again, and a memory of what has just been put out, so that answers
 * that nobody asks for twice do not push out those that many ask for.
 *
 * A table in parts, each behind a mutex that is held for a look-up, an insertion or the choice of what goes: some
 * hundred nanoseconds, never while bytes are copied, compressed or sent, nor for longer than one part of the table in a
 * purge. (Departure from "no locks on the data path": an index owned by one worker would cost each hit two wake-ups
 * between threads, some microseconds each, and the turn of a loop.)
 *
 * What somebody still replays when it is put out lives on until he lets go; it does not count any more.
 */
#ifndef POSTERN_GATEWAY_CACHE_MEMORY_H
#define POSTERN_GATEWAY_CACHE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/span.h"
#include "gateway/cache_entry.h"

struct cache_memory;

/*
 * The memory of that name in this process, with a reference: made with room for `bytes` when nobody holds it yet, else
 * as it is but with room for `bytes` from now on (what exceeds it is put out). It is made of so few parts that a body
 * of `body` bytes fits, which cannot be more than a quarter of `bytes`. Any thread.
 */
MUST_CHECK struct cache_memory *cache_memory_open(struct span name, size_t bytes, size_t body);
/* The last one frees it and lets its entries go. NULL is allowed. Any thread. */
void cache_memory_close(struct cache_memory *memory);

/* ---- any worker's thread ---- */

/* The entry, with a reference for the caller; NULL: none. Whether it is fresh is the caller's to judge. */
MUST_CHECK struct cache_entry *cache_memory_get(struct cache_memory *memory, const uint8_t key[CACHE_KEY_BYTES]);
/*
 * Keeps the entry (with a reference of its own) in place of an older one under that key. False: it is larger than
 * cache_memory_entry_most, nothing is kept and an older one is gone.
 */
bool cache_memory_put(struct cache_memory *memory, const uint8_t key[CACHE_KEY_BYTES], struct cache_entry *entry);
/* Forgets what is under that key; with `entry`, only if it is that one still. False: nothing was. */
bool cache_memory_remove(struct cache_memory *memory, const uint8_t key[CACHE_KEY_BYTES],
                         const struct cache_entry *entry);
/* The most that an entry's `bytes` may be: a quarter of a part of the table for its body. */
size_t cache_memory_entry_most(const struct cache_memory *memory);

/* What a purge is for; pods tell each other by these numbers. */
enum cache_scope { CACHE_SCOPE_ALL, CACHE_SCOPE_MODEL, CACHE_SCOPE_CONSUMER, CACHE_SCOPE_KEY };
/*
 * Forgets all entries with that tag (`name` empty for ALL, the CACHE_KEY_BYTES for KEY); how many. Looks at every entry
 * but for KEY: seldom, please. `now`: µs since 1970.
 */
size_t cache_memory_purge(struct cache_memory *memory, enum cache_scope scope, struct span name, uint64_t now);
/*
 * Whether one of the last 64 purges is for that entry, and came after it was created: an answer that was on its way
 * then must not be kept.
 */
MUST_CHECK bool cache_memory_is_purged(struct cache_memory *memory, const uint8_t key[CACHE_KEY_BYTES],
                                       const struct cache_facts *facts);

struct cache_memory_counts {
    size_t entries, bytes, limit;
    uint64_t hits, misses;
    uint64_t inserted, replaced;
    uint64_t evicted;    /* put out for room */
    uint64_t removed;    /* by remove and purge */
    uint64_t refused;    /* too large */
    uint64_t readmitted; /* had been put out lately, and came into the large queue at once */
};
void cache_memory_counts(struct cache_memory *memory, struct cache_memory_counts *ret);

#endif
