/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limits_store: where the counts of limits are kept, seen from a request: reserve in all limits at once, settle once.
 *
 *     struct limits_call call = {.parts = parts, .count = n, .id = ...};
 *     switch (limits_reserve(store, &call, loop, pendings, now, wall)) ...
 *     ... parts[i].units = what it came to ...
 *     limits_settle(store, &call, now, wall);
 *
 * Reserving is all or nothing: when one limit refuses, no limit is charged (a store that must ask several servers
 * returns what some had granted; what that means is in its own header). Parts in shadow are counted when they would
 * have been granted, and never refuse.
 *
 * A call that was granted must be settled exactly once by its owner; a second settle does nothing. Stores outside of
 * this process know a reservation by `id`, so that settling is idempotent there too, and forget one that is neither
 * renewed nor settled within LIMITS_LEASE.
 *
 * A store is a small table of functions, since there are two of them and tests put a scripted one in their place:
 * limits_memory.h is the one of this process, limits_redis.h the one that processes share.
 */
#ifndef POSTERN_GATEWAY_LIMITS_STORE_H
#define POSTERN_GATEWAY_LIMITS_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/span.h"
#include "gateway/limits.h"
#include "net/loop.h"
#include "net/pending.h"

#define LIMITS_ID_BYTES 16
/* Reservations are renewed by their owner this often while a long answer streams, and expire after LIMITS_LEASE. µs. */
#define LIMITS_RENEW (UINT64_C(20) * 1000000)
#define LIMITS_LEASE (UINT64_C(60) * 1000000)

struct limits_call;

/* What a part does while the store that counts it cannot be asked. Stores of this process are never lost in this way.
 */
enum limits_when_lost {
    LIMITS_LOST_LEASE, /* counts here, within a slice of the limit */
    LIMITS_LOST_OPEN,  /* grants */
    LIMITS_LOST_CLOSED /* the call ends as LIMITS_LOST */
};

/* One limit's share in a request. */
struct limits_part {
    /* The caller's: */
    struct limit_law law;
    struct span key; /* who is counted: the same text in every process; printable ASCII without braces or blanks */
    /* Parts with one tag lie together in a sharded store: the consumer's name when it is part of the key, else empty
       (the key is its own tag). The same for each call with this key; any bytes. */
    struct span tag;
    uint64_t hash;  /* hash_bytes(key) */
    uint64_t units; /* to be reserved, at most LIMIT_AMOUNT_MAX; before the settlement: what it came to */
    bool shadow;
    enum limits_when_lost when_lost;
    /* Filled by a reservation, granted or not; the answers of refused calls tell the state without this call. */
    struct limit_answer answer;
    bool local; /* decided by this process, as the store could not be asked */
    /* The store's own: */
    bool taken;
    uint64_t reserved;
    uint32_t slot;
    uint64_t mark, returned;
};

enum limits_result {
    LIMITS_GRANTED, /* charged everywhere; settle later */
    LIMITS_REFUSED, /* charged nowhere; parts[i].answer says by whom and for how long */
    LIMITS_PENDING, /* `done` will be called, from the loop, not from inside limits_reserve */
    LIMITS_LOST     /* the store cannot decide: gone, or full. Charged nowhere */
};

struct limits_call {
    /* The caller's: */
    uint8_t id[LIMITS_ID_BYTES]; /* unique for ever: random, or process and number */
    struct limits_part *parts;   /* must live until the call is settled or has failed */
    unsigned count;
    void (*done)(struct limits_call *call, enum limits_result result); /* GRANTED, REFUSED or LOST */
    /* The store's own: */
    struct pending pending;
    bool granted; /* and not settled */
    bool local;   /* some of it was decided by this process, as the store could not be asked */
    void *private;
};

struct limits_store;

struct limits_store_ops {
    enum limits_result (*reserve)(struct limits_store *store, struct limits_call *call, struct loop *loop,
                                  struct list *pendings, uint64_t now, uint64_t wall);
    void (*settle)(struct limits_store *store, struct limits_call *call, uint64_t now, uint64_t wall);
    /* NULL: reservations do not expire. */
    void (*renew)(struct limits_store *store, struct limits_call *call, uint64_t now, uint64_t wall);
};

/* The first member of every store. Used by one worker's thread; what workers share lies behind it. */
struct limits_store {
    const struct limits_store_ops *ops;
};

/*
 * `now` is loop time, `wall` the time since 1970, both in µs. A pending answer is started on `pendings`: cancelling it
 * gives back whatever the store may have granted. Nothing may be changed in the call or its parts until the answer.
 */
MUST_CHECK enum limits_result limits_reserve(struct limits_store *store, struct limits_call *call, struct loop *loop,
                                             struct list *pendings, uint64_t now, uint64_t wall);
/*
 * Charges parts[i].units in place of what was reserved and gives concurrency back. Never waits and reports nothing: a
 * store that cannot be reached keeps a copy for later. Does nothing for a call that is not granted.
 */
void limits_settle(struct limits_store *store, struct limits_call *call, uint64_t now, uint64_t wall);
/* Tells the store that a granted call is still alive; every LIMITS_RENEW. */
void limits_renew(struct limits_store *store, struct limits_call *call, uint64_t now, uint64_t wall);

/* ---- what the caller makes of the answers ---- */

/*
 * The longest wait among the parts that refuse (LIMIT_NEVER: waiting is useless; 0: others must end first), and with
 * `ret_part` (may be NULL) which one that is.
 */
uint64_t limits_wait(const struct limits_call *call, const struct limits_part **ret_part);

/*
 * How long one who is refused by CONCURRENCY should wait: places become free as others end, one in the mean time that
 * one is `held`, divided among all. Within 50 ms and 10 s; a second when `held` is 0, unknown. µs.
 */
uint64_t limits_place_wait(const struct limit_law *law, uint64_t held);

#endif
