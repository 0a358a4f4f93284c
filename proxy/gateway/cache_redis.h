/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache_redis: one worker's way to the answers that all pods share, in a Redis store (gateway/redis.h): look-ups with a
 * deadline, writes that nobody waits for, a lease so that one pod asks upstream while others wait, and purges that
 * reach every pod. Nothing here fails a request: what does not work is a miss, or a write that is dropped and counted.
 *
 * Keys (NAME is the cache's; entries spread over the slots of a cluster, there is no {tag}):
 *
 *     postern:cache:NAME:e:KEY     an entry in its wire form; KEY is base64url of the 32 bytes; expires by PX
 *     postern:cache:NAME:l:KEY     a lease: a random text of its holder; expires by PX
 *     postern:cache:NAME:purges    a hash: scope (a letter and a hash of its name) -> ms since 1970
 *
 * Commands, for the user's ACL: getrange set unlink get del hset hget hlen hdel hgetall pexpire pttl evalsha
 * script|load.
 *
 * Everything belongs to the worker's thread.
 */
#ifndef POSTERN_GATEWAY_CACHE_REDIS_H
#define POSTERN_GATEWAY_CACHE_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/list.h"
#include "base/span.h"
#include "gateway/cache_entry.h"
#include "gateway/cache_memory.h"
#include "gateway/redis_stores.h"
#include "net/loop.h"

struct cache_redis;

/* Zero means the default where one is named. */
struct cache_redis_options {
    struct span name;     /* of the cache, copied; no '{' or '}' */
    uint64_t lookup;      /* µs for a look-up or a lease; 0: 10 ms */
    uint64_t write;       /* µs for a write; 0: 1 s */
    size_t value_most;    /* bytes of a wire form; 0: 768 KiB. Must stay below the store's reply_most */
    unsigned writes_most; /* writes under way; 0: 64 */
    size_t bytes_most;    /* their bytes together; 0: 4 MiB */
};

/* The store outlives it (gateway/redis_stores.h); its `redis` may come and go. Never NULL. */
MUST_CHECK struct cache_redis *cache_redis_create(struct loop *loop, struct redis_store *store,
                                                  const struct cache_redis_options *options);
/* Forgets what is under way; no look-up or lease of a caller may be live. NULL is allowed. */
void cache_redis_destroy(struct cache_redis *cache);

/* ---- look-ups ---- */

enum cache_lookup_result {
    CACHE_LOOKUP_FOUND,
    CACHE_LOOKUP_ABSENT,
    CACHE_LOOKUP_FAILED /* slow, gone or refused: `error` says why */
};

/* Private: a command to the store, or the news that there is none. */
struct cache_call {
    struct redis_call call;
    struct task absent;
    struct cache_redis *cache;
    void (*ended)(struct cache_call *call, const struct redis_reply *reply);
};

struct cache_lookup;
/* From an event or the run queue, never inside cache_redis_get. `value` lives during the call; it is empty unless
 * FOUND. */
typedef void cache_lookup_fn(struct cache_lookup *lookup, enum cache_lookup_result result, struct span value);

/* Lives inside its owner; zeroed is ready. */
struct cache_lookup {
    struct cache_call call;
    cache_lookup_fn *done;
    enum redis_error error; /* of FAILED */
};

/*
 * Asks for the wire form under that key. `list`: where the pending is linked (of the exchange); cancelling it is fine.
 * Many at once leave in one write. An answer never exceeds value_most + 1 bytes, whatever lies there.
 */
void cache_redis_get(struct cache_redis *cache, struct list *list, struct cache_lookup *lookup,
                     const uint8_t key[CACHE_KEY_BYTES], cache_lookup_fn *done);
/* Whether a look-up asked now would be sent rather than end at once: the breaker is closed. */
bool cache_redis_is_up(const struct cache_redis *cache);

/* ---- writes: nobody hears how they end ---- */

/* Keeps `wire` (copied) for `life` µs, rounded up to a ms. False: dropped, for a reason that is counted. */
bool cache_redis_put(struct cache_redis *cache, const uint8_t key[CACHE_KEY_BYTES], struct span wire, uint64_t life);
/* Forgets the entry. The same. */
bool cache_redis_remove(struct cache_redis *cache, const uint8_t key[CACHE_KEY_BYTES]);
/* Bytes of a wire form that cache_redis_put takes. */
size_t cache_redis_value_most(const struct cache_redis *cache);

/* ---- leases: one pod at a time ---- */

enum cache_lease_result {
    CACHE_LEASE_HELD,   /* ours for `life`: ask upstream, put the entry, release */
    CACHE_LEASE_OTHERS, /* somebody asks already: look again in a while */
    CACHE_LEASE_FAILED  /* cannot tell: go on as if it were held, but do not release */
};

#define CACHE_LEASE_TOKEN 22
struct cache_lease;
typedef void cache_lease_fn(struct cache_lease *lease, enum cache_lease_result result);

/* Lives inside its owner; zeroed is ready. */
struct cache_lease {
    struct cache_call call;
    cache_lease_fn *done;
    uint8_t key[CACHE_KEY_BYTES];
    char token[CACHE_LEASE_TOKEN]; /* random: who holds it */
};

/* Tries to get the lease of a key for `life` µs. Cancelling the pending leaves it to run out. */
void cache_redis_lease(struct cache_redis *cache, struct list *list, struct cache_lease *lease,
                       const uint8_t key[CACHE_KEY_BYTES], uint64_t life, cache_lease_fn *done);
/* Gives back a lease that is HELD, unless it has run out and is another's now. A write like the others. */
void cache_redis_release(struct cache_redis *cache, const struct cache_lease *lease);

/* ---- purges ---- */

/*
 * A purge writes a mark; all pods read the marks each second, and take entries that a mark
 * covers for misses, also those in their own memory. A mark covers what was created before it and up to
 * CACHE_PURGE_SLACK after: so far may the clocks of two pods be apart. So a purge holds within about a second, and what
 * is stored in the first seconds after it does not last.
 */
#define CACHE_PURGE_SLACK (5 * CLOCK_SECOND)
/* Marks that are kept; when another one has no place among them everything is purged in its stead. */
#define CACHE_PURGE_MARKS 1024

struct cache_purge;
/* `error` NONE: all pods will know within about a second. */
typedef void cache_purge_fn(struct cache_purge *purge, enum redis_error error);
struct cache_purge {
    struct cache_call call;
    cache_purge_fn *done;
};

/*
 * Marks the scope (`name`: cache_memory_purge) as purged now, here at once and for all others by the store. `life` µs:
 * how long entries may live at most; the mark stays as long. Deadline: that of a write.
 */
void cache_redis_purge(struct cache_redis *cache, struct list *list, struct cache_purge *purge, enum cache_scope scope,
                       struct span name, uint64_t life, cache_purge_fn *done);
/*
 * Whether a mark covers the entry of that key: then it is a miss. Of another name a mark may cover an entry once in
 * 2^64. Until the marks have been read for the first time, everything older than this cache_redis is covered. While the
 * store cannot be reached, purges of other pods are not seen.
 */
MUST_CHECK bool cache_redis_is_purged(struct cache_redis *cache, const uint8_t key[CACHE_KEY_BYTES],
                                      const struct cache_facts *facts);

/* ---- counts ---- */

struct cache_redis_counts {
    uint64_t lookups, found, absent, failed;
    uint64_t writes, written;
    uint64_t dropped_busy;        /* too many under way */
    uint64_t dropped_large;       /* above value_most */
    uint64_t dropped_down;        /* the store could not be reached or refused */
    uint64_t kept, refused, lost; /* entries sent: what became of them, as far as it is known */
    uint64_t leases, leases_held;
    uint64_t purged;     /* entries that a mark made a miss */
    uint64_t marks_read; /* answers of the store to the reading of marks */
    unsigned writing;    /* writes under way */
    size_t writing_bytes;
    unsigned marks; /* known */
};
void cache_redis_counts(const struct cache_redis *cache, struct cache_redis_counts *ret);

#endif
