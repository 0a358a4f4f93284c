/* SPDX-License-Identifier: Apache-2.0 */
/*
 * redis_world: a loop with a Redis client on it, and calls that remember how they ended. With a fake clock nothing
 * passes but what redis_world_pass lets pass.
 */
#ifndef POSTERN_TESTS_REDIS_WORLD_H
#define POSTERN_TESTS_REDIS_WORLD_H

#include "base/buffer.h"
#include "gateway/redis.h"

struct redis_world {
    struct loop *loop;
    struct resolver *resolver;
    struct redis *redis;
    struct list pendings;
};

/* How a call ended. */
struct asked {
    struct redis_call call;
    struct redis_world *world;
    unsigned ends;
    enum redis_error error;
    enum redis_kind kind;
    int64_t integer;
    char text[128]; /* of the value, or the detail of the error */
    uint64_t ended; /* loop time */
    uint64_t sequence;
    void (*then)(struct asked *asked); /* from within the call's end; may be NULL */
};

/* Loop and resolver; the client is made by the test. */
void redis_world_open(struct redis_world *world, bool fake_clock);
/* Destroys the client too; nothing may be left: pendings, transports. */
void redis_world_close(struct redis_world *world);
/* Turns until nothing more can be expected of loopback. */
void redis_world_settle(struct redis_world *world);
/* The fake clock goes on by `us`, then as above. */
void redis_world_pass(struct redis_world *world, uint64_t us);

/* Asks; the words are parted by blanks. */
void asked_start(struct redis_world *world, struct asked *asked, const char *key, const char *words);
/* The same with a server-side script of one key. */
void asked_eval(struct redis_world *world, struct asked *asked, const struct redis_script *script, const char *key,
                const char *argument);
/* Asks and turns until it has ended (real clock: sleeping in between). */
void asked_wait(struct asked *asked);

#endif
