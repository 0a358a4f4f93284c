/* SPDX-License-Identifier: Apache-2.0 */
#include "support/cache_calls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/crypto.h"

void cache_call_key(uint64_t number, uint8_t key[CACHE_KEY_BYTES])
{
    crypto_sha256(span_of((const char *)&number, sizeof(number)), key);
}

struct cache_redis_counts cache_call_counts(const struct cache_redis *cache)
{
    struct cache_redis_counts counts;
    cache_redis_counts(cache, &counts);
    return counts;
}

static void leased(struct cache_lease *lease, enum cache_lease_result result)
{
    struct leased *l = CONTAINER_OF(lease, struct leased, lease);
    l->result = result;
    l->ends++;
}

enum cache_lease_result cache_call_lease(struct redis_world *world, struct cache_redis *cache, uint64_t number,
                                         uint64_t life, struct leased *ret)
{
    uint8_t key[CACHE_KEY_BYTES];
    cache_call_key(number, key);
    *ret = (struct leased){0};
    cache_redis_lease(cache, &world->pendings, &ret->lease, key, life, leased);
    assert_int_equal(ret->ends, 0);
    while (!ret->ends)
        loop_turn(world->loop, true);
    return ret->result;
}

struct purged {
    struct cache_purge purge;
    enum redis_error error;
    unsigned ends;
};

static void purged(struct cache_purge *purge, enum redis_error error)
{
    struct purged *p = CONTAINER_OF(purge, struct purged, purge);
    p->error = error;
    p->ends++;
}

enum redis_error cache_call_purge(struct redis_world *world, struct cache_redis *cache, enum cache_scope scope,
                                  struct span name, uint64_t life)
{
    struct purged p = {0};
    cache_redis_purge(cache, &world->pendings, &p.purge, scope, name, life, purged);
    assert_int_equal(p.ends, 0);
    while (!p.ends)
        loop_turn(world->loop, true);
    return p.error;
}

void cache_call_settle(struct redis_world *world, const struct cache_redis *cache)
{
    while (cache_call_counts(cache).writing)
        loop_turn(world->loop, true);
}

void cache_call_until_marks(struct redis_world *world, const struct cache_redis *cache)
{
    uint64_t wanted = cache_call_counts(cache).marks_read + 2; /* the first one may have been under way */
    while (cache_call_counts(cache).marks_read < wanted)
        loop_turn(world->loop, true);
}
