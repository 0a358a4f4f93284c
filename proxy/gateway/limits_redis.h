/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limits_redis: limits that several processes share through a Redis store (gateway/redis_stores.h). The law is
 * gateway/limits.h's and so are its numbers: scripts on the server only compare and add, everything else is computed
 * here. The clock is the server's, so it does not matter how far those of the hosts are apart.
 *
 * What is atomic: all parts of a call with one tag, in one script. What is compensated: parts with different tags are
 * asked at the same time, and what was granted to one is given back when another refuses. Meanwhile (one round trip)
 * a limit may look fuller than it is; never emptier.
 *
 * What is idempotent: everything, by the call's id. A reservation that is given up before its answer has come (a
 * deadline, a client that left, a lost connection) is settled with nothing, and that settlement also stops a
 * reservation that arrives after it. Settlements that could not be delivered are kept, at most LIMITS_REDIS_KEPT, and
 * sent when the store is back; beyond that the oldest is dropped and counted.
 *
 * What expires: each key, when what stands in it does not matter any more. A place of a CONCURRENCY limit whose call
 * is neither renewed nor settled is free after LIMITS_LEASE. What a process that died had reserved of other limits
 * stays charged as it was reserved: nobody knows what became of it.
 *
 * While the store cannot answer (its deadline passed, its breaker is open, it refuses writes) each part says what
 * happens, see enum limits_when_lost:
 *   CLOSED  nothing is granted (LIMITS_LOST);
 *   OPEN    everything is granted, and counted;
 *   LEASE   this process grants from its slice: what was left by the last answer, divided by the instances that
 *           were known to live, drained and refilled at 1/N of the limit's rate.
 * Worst case of LEASE, N instances, nobody having lied about N: RATE, in any window of length T that holds an outage:
 * 2 * burst + amount * T / period + N units; CALENDAR, ROLLING and CONCURRENCY: twice the amount + N. That is when
 * all of the limit was spent at the moment of the outage by calls of which no other instance had heard; between
 * instances that see calls for a key all the time it is what they had under way, since each starts from the same
 * remainder. While only M of N instances are cut off, they add at most M/N of the limit to what the others are
 * granted. An instance that has never reached the store reckons with LIMITS_REDIS_UNKNOWN instances.
 *
 * When the store is back, what was granted here and is settled is charged there before anything else is asked, and the
 * answers of the store replace what was known. Calls that are still open then are charged when they settle.
 *
 * Everything belongs to the worker's thread, but for the slices, which the workers of a process share (limits_table).
 */
#ifndef POSTERN_GATEWAY_LIMITS_REDIS_H
#define POSTERN_GATEWAY_LIMITS_REDIS_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/span.h"
#include "gateway/limits_store.h"

struct redis_store;
struct worker;

/* Settlements that wait for the store, per instance and worker; some 300 bytes each. */
#define LIMITS_REDIS_KEPT 16384
/* Keys whose charges wait for the store, per instance and worker. */
#define LIMITS_REDIS_OWED 16384
/* Instances reckoned with by one that has never reached the store. */
#define LIMITS_REDIS_UNKNOWN 10
/* Each process shows that it lives this often, and counts as living for three times as long. µs. */
#define LIMITS_REDIS_BEAT (UINT64_C(3) * 1000000)

/*
 * A store for one instance of a filter on one worker. `redis` NULL: lost until limits_redis_use. `name`, the filter's:
 * instances that count the same have the same one in all processes; copied. `places`: of the table with the slices,
 * made by whichever worker comes first. Never NULL. The worker must outlive it.
 */
MUST_CHECK struct limits_store *limits_redis_create(struct worker *worker, struct redis_store *redis, struct span name,
                                                    size_t places);
/* From now on that store is asked (a reload has changed its name). Open calls settle there. */
void limits_redis_use(struct limits_store *store, struct redis_store *redis);
/*
 * Before the worker's stores (redis_stores_destroy). No call may be open; settlements under way are not waited for
 * here: a worker that ends does so before (worker.delivery_count).
 * NULL is allowed.
 */
void limits_redis_destroy(struct limits_store *store);

/* ---- for metrics and tests ---- */

struct limits_redis_counts {
    uint64_t asked;     /* calls of limits_reserve */
    uint64_t local;     /* of them decided here, the store being lost */
    uint64_t returned;  /* given back to one tag because another refused, or because nobody wanted it any more */
    uint64_t delivered; /* settlements and charges that the store has taken */
    uint64_t again;     /* of them, sent more than once */
    uint64_t dropped;   /* settlements and charges that were given up */
    unsigned waiting;   /* settlements and charges under way or kept */
    unsigned open;      /* calls granted and not settled */
    unsigned instances; /* as known; 0: never told */
};
struct limits_redis_counts limits_redis_counts(const struct limits_store *store);

#endif
