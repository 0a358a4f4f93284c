/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limits_world: the store of limits in a real Redis, with as much of a worker around it as it needs, and calls of it
 * that remember how they ended. The clock is real; that of the server may be set.
 */
#ifndef POSTERN_TESTS_LIMITS_WORLD_H
#define POSTERN_TESTS_LIMITS_WORLD_H

#include "gateway/limits_redis_internal.h"
#include "gateway/redis_stores.h"
#include "gateway/worker.h"
#include "support/redis_servers.h"
#include "support/redis_world.h"

#define LIMITS_WORLD_PARTS 8

struct limits_world {
    struct redis_world base;
    struct process process;
    struct worker worker;
    struct redis_store redis;
    struct limits_store *store;
};

/* One request: its parts, and what became of it. */
struct asking {
    struct limits_call call;
    struct limits_part parts[LIMITS_WORLD_PARTS];
    struct limits_world *world;
    bool ended;
    enum limits_result result;
    void (*then)(struct asking *asking); /* may be NULL */
};

/* `instance`: at most 16 characters, the process's name among instances. Options without addresses: `at` is taken. */
void limits_world_open(struct limits_world *world, struct redis_options options, const struct redis_server *at,
                       const char *instance);
/* All that is under way has ended or ends now; nothing may be left. */
void limits_world_close(struct limits_world *world);
/* From now on the scripts go by the number in the key "clock". */
void limits_world_set_clock(struct limits_world *world, uint64_t wall);
/* Turns until `ready` says so. */
void limits_world_until(struct limits_world *world, bool (*ready)(struct limits_world *world));
/* Turns until the server has answered a beat. */
void limits_world_greet(struct limits_world *world);
/* Nothing is on its way to the server or kept for it. */
bool limits_world_is_quiet(struct limits_world *world);

/* One more part of a call that has not been asked; `key` must stay. */
struct limits_part *asking_part(struct asking *asking, struct limit_law law, const char *key, uint64_t units);
void asking_start(struct limits_world *world, struct asking *asking);
/* Turns until it has ended. */
enum limits_result asking_wait(struct asking *asking);
enum limits_result asking_do(struct limits_world *world, struct asking *asking);
/* To what was reserved, or to so many units of each part. */
void asking_settle(struct asking *asking);
void asking_settle_to(struct asking *asking, uint64_t units);

#endif
