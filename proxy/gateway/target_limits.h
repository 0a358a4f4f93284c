/* SPDX-License-Identifier: Apache-2.0 */
/*
 * target_limits: what may be sent to a target and to its deployments (`limits` of a target and of a model's entry).
 * Each attempt reserves in all limits of its way before anything else; one that is refused is no attempt, the next
 * target is tried. The law is gateway/limits.h's; counts lie in memory that all workers share, or in the store that the
 * target names.
 *
 * A reservation is a `struct target_hold`. It is settled exactly once, at whatever end the attempt has; an attempt that
 * goes on by the same request on another connection takes its hold along. Charged are the reported tokens; without a
 * report the estimate of the input and of what was delivered; no tokens when the target answered with an error; nothing
 * at all when the request never reached it.
 */
#ifndef POSTERN_GATEWAY_TARGET_LIMITS_H
#define POSTERN_GATEWAY_TARGET_LIMITS_H

#include "base/arena.h"
#include "base/table.h"
#include "config/config.h"
#include "gateway/limits_store.h"
#include "gateway/snapshot.h"

struct attempts;
struct exchange;
struct worker;

/* ---- in a snapshot ---- */

enum target_limit_unit { TARGET_REQUESTS, TARGET_TOKENS, TARGET_CONCURRENCY };

struct target_limit {
    struct limit_law law;
    enum target_limit_unit unit;
    struct span what;       /* "requests", "tokens", "concurrency" */
    struct span deployment; /* empty: of the target as a whole */
    struct span key;
    uint64_t hash;
};

/*
 * The limits of deployments that a configuration has, by target and deployment: `written` is initialized and filled.
 * Reports limits that are written twice for the same deployment.
 */
void target_limits_written(const struct config *config, struct arena *arena, struct table *written,
                           struct report *report);
/* Sets limits, limit_count and limit_store of a way to serve `model` (empty: a way without a deployment). */
void target_limits_bind(struct model_target *to, struct span model, const struct table *written, struct arena *arena);

/* ---- of a worker ---- */

struct target_limits;

MUST_CHECK struct target_limits *target_limits_create(struct worker *worker);
/* After all exchanges, before the worker's stores. NULL is allowed. */
void target_limits_destroy(struct target_limits *limits);

/* ---- of an attempt ---- */

struct target_hold;

/* What became of an attempt. */
struct target_use {
    bool reached;   /* the target may have got the request */
    bool refused;   /* it answered with an error */
    bool delivered; /* its answer is the client's */
};

/*
 * Reserves for a try of all->exchange at `to`. GRANTED: *ret is the hold (NULL when there are no limits). PENDING: *ret
 * is to be kept for target_limits_cancel; attempts_reserved(all, hold, result) will be called, not from inside this
 * call. REFUSED or LOST: *ret_wait says for how long (µs, LIMIT_NEVER: for ever).
 */
MUST_CHECK enum limits_result target_limits_reserve(struct attempts *all, const struct model_target *to,
                                                    struct target_hold **ret, uint64_t *ret_wait);
/* While it is pending: nobody wants it any more. NULL is allowed. */
void target_limits_cancel(struct target_hold *hold);
/* After the exchange's facts are known. NULL is allowed. */
void target_limits_settle(struct target_hold *hold, const struct target_use *use);

#endif
