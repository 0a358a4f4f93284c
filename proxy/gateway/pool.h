/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool: the connections of one worker to one target. Each connection is on exactly one list:
 *
 *   idle      HTTP/1.1, unused, waiting for the next lease; the newest is used first; closed after the target's
 * pool_idle busy      HTTP/1.1 with an exchange, or HTTP/2 with open streams (more may be opened up to the peer's
 * limit) spare     HTTP/2 without streams draining  no new streams (GOAWAY, Connection: close, reload); closed when the
 * last stream ends
 *
 * Connections being made are counted, and serve whoever waits first. Waiters are served in order; a waiter is a lease,
 * which can be cancelled.
 */
#ifndef POSTERN_GATEWAY_POOL_H
#define POSTERN_GATEWAY_POOL_H

#include "base/list.h"
#include "gateway/snapshot.h"
#include "gateway/stream.h"
#include "net/loop.h"
#include "net/pending.h"

struct attempt;
struct lease;
struct pool;
struct worker;

/*
 * The outcome of waiting: a stream that belongs to lease->attempt, or NULL with the fault and a detail for the log
 * (valid during the call). Called from the run queue or an event, never inside pool_lease.
 */
typedef void lease_fn(struct lease *lease, struct stream *stream, enum fault why, const char *detail);

struct lease {
    struct pending pending; /* on the exchange's list: cancelled with it */
    struct list link;       /* on the pool's waiters */
    struct pool *pool;
    struct attempt *attempt;
    lease_fn *done;
    bool fresh; /* only a new connection will do: a reused one has just failed */
};

/*
 * The worker's pool for this target of `snapshot`, of which the pool takes a reference; made at first use, matched by
 * name and endpoint across reloads. It may be gone in a later turn: look it up for each lease.
 */
struct pool *pool_get(struct worker *worker, struct snapshot *snapshot, const struct target *target);
/*
 * Asks for a stream for `attempt` (whose exchange->arena and response message the stream will use). An idle connection
 * gives it at once; then the stream is returned and `lease` is not used. Otherwise NULL: `done` comes later, unless the
 * lease is cancelled (pending_cancel(&lease->pending)). With `fresh`, no used connection.
 */
MUST_CHECK struct stream *pool_lease(struct pool *pool, struct lease *lease, struct attempt *attempt, bool fresh,
                                     lease_fn *done);
/* Closes idle connections and lets the others drain: the target is gone from the configuration, or the worker ends. */
void pool_retire(struct pool *pool);
/* All connections closed now; frees the pool. */
void pool_destroy(struct pool *pool);

struct pool_counts {
    unsigned idle, busy, connecting, waiting, streams;
    uint64_t opened, reused, failed, stale;
};
struct pool_counts pool_counts(const struct pool *pool);
struct span pool_name(const struct pool *pool);

#endif
