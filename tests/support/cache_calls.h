/* SPDX-License-Identifier: Apache-2.0 */
/* cache_calls: calls to a shared cache on a redis_world that turn the loop until they have ended. */
#ifndef POSTERN_TESTS_CACHE_CALLS_H
#define POSTERN_TESTS_CACHE_CALLS_H

#include "gateway/cache_redis.h"
#include "support/redis_world.h"

/* The key of a test's n-th answer. */
void cache_call_key(uint64_t number, uint8_t key[CACHE_KEY_BYTES]);
struct cache_redis_counts cache_call_counts(const struct cache_redis *cache);

struct leased {
    struct cache_lease lease;
    enum cache_lease_result result;
    unsigned ends;
};
enum cache_lease_result cache_call_lease(struct redis_world *world, struct cache_redis *cache, uint64_t number,
                                         uint64_t life, struct leased *ret);
enum redis_error cache_call_purge(struct redis_world *world, struct cache_redis *cache, enum cache_scope scope,
                                  struct span name, uint64_t life);
/* Until no write is under way. */
void cache_call_settle(struct redis_world *world, const struct cache_redis *cache);
/* Until that pod has read the marks that are there now. */
void cache_call_until_marks(struct redis_world *world, const struct cache_redis *cache);

#endif
