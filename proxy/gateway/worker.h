/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker: one thread with one loop, and everything that belongs to it: client connections, exchanges, upstream pools,
 * filter instances, counters. Nothing here is touched by another thread, except through loop_call mail and the metrics'
 * atomics.
 */
#ifndef POSTERN_GATEWAY_WORKER_H
#define POSTERN_GATEWAY_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/table.h"
#include "gateway/reload.h"
#include "gateway/snapshot.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/resolver.h"

struct access_log;
struct credentials;
struct exchange;
struct metrics;
struct redis_stores;
struct target_limits;

/* Filter instances that a reload has left behind; live exchanges may still use them. */
struct retired_instances {
    struct list link; /* on worker->retired_instances */
    struct snapshot *snapshot;
    void **instances;
};

/* What all workers of a process share. */
struct process {
    _Atomic size_t held;          /* bytes of collected bodies, process-wide; bounded by limits.held */
    _Atomic(const void *) elder;  /* the exchange for whose body the rest it needs is kept free; collect.c */
    _Atomic size_t elder_needs;   /* that rest, bytes */
    _Atomic uint64_t elder_came;  /* when it last got some, loop time */
    _Atomic bool ready;           /* /readyz */
    _Atomic bool drain_requested; /* by the control socket; lifecycle.c looks */
    struct worker **workers;
    unsigned worker_count;
    struct metrics_hub *metrics; /* renders all workers' metrics */
    struct reload_status reload; /* all zero where the configuration does not change */
    uint64_t started_wall;
    char instance_id[17]; /* random, for request ids */
};

/* A listener of this worker. Lives as long as its connections, which point to it. */
struct worker_listener {
    struct worker *worker;
    struct listener *net;           /* NULL: there is none (tests) */
    const struct listener_use *use; /* in the current snapshot; if it is leaving, in the last one that had it */
    const struct door *door;        /* whose socket it has; only compared */
    struct snapshot *leaving;       /* not NULL: it accepts no more, and its last connections are served by this */
    struct worker_listener *next;
};

struct worker {
    unsigned index;
    struct process *process;
    struct loop *loop;
    struct resolver *resolver;
    struct snapshot *snapshot; /* current: new exchanges take a reference */
    void **instances;          /* filter instances of `snapshot`, by filter_use.index */
    unsigned instance_count;
    struct list retired_instances;
    struct timer retire_timer;
    struct list exchanges; /* struct exchange.link */
    struct list clients;   /* struct client_conn.link */
    struct list starved;   /* exchanges that wait for held bytes: exchange.starved */
    struct accept_limit accepting;
    struct worker_listener *listeners;
    struct timer leave_timer;  /* frees listeners that have left */
    struct table pools;        /* name of target -> struct pool */
    struct pool **pool_of;     /* by target index of `snapshot`; NULL until looked up in `pools` */
    struct list retired_pools; /* struct pool.link: endpoints that a reload has moved away from */
    struct credentials *credentials;
    struct redis_stores *stores; /* never NULL; named ones are there before instances are attached */
    struct target_limits *target_limits;
    struct table mocks; /* name of target -> what its mock model remembers; local_stream.c's own */
    struct metrics *metrics;
    struct access_log *log;
    uint64_t random; /* hash_random state */
    uint64_t request_count;
    uint64_t date_second; /* of `date` */
    char date[32];
    struct task feed_starved; /* hands freed held bytes to those who wait */
    bool leaving;             /* answers ask clients to come back on another connection */
    bool draining;            /* no connection is accepted or kept for more than what it does now */
    unsigned flight_count;    /* flown exchanges: they have no client whose leaving ends them */
    unsigned delivery_count;  /* settlements under way to a store of limits: the worker's end waits a little for them */
    /* counts for tests and metrics */
    unsigned exchange_count, client_count, upstream_count;
};

/* One worker of the process, with its loop. The snapshot is referenced; filter instances are attached. */
MUST_CHECK struct worker *worker_create(struct process *process, unsigned index, struct snapshot *snapshot);
/* Everything must have ended: no exchanges, no clients. Pools are closed, instances detached. */
void worker_destroy(struct worker *worker);
/* Own thread: switches to another snapshot. Instances and pools pass on by name; live exchanges keep theirs. */
void worker_adopt(struct worker *worker, struct snapshot *snapshot);
/* The long-lived instance of a filter use of `snapshot`, the current or an older one; NULL when the type has none. */
void *worker_instance(struct worker *worker, const struct snapshot *snapshot, const struct filter_use *use);

/* ---- listeners, in worker_listener.c ---- */

/*
 * Serves `use` (of the current snapshot) on the descriptor from listener_bind or listener_bind_again. `tls` NULL:
 * plain.
 */
struct worker_listener *worker_listen(struct worker *worker, const struct listener_use *use, int fd,
                                      struct tls_context *tls);
/* The same socket serves another `use` from now on, live connections included; `tls` is for those to come. */
void worker_relisten(struct worker_listener *listener, const struct listener_use *use, struct tls_context *tls);
/*
 * Takes what waits to be accepted, then closes the socket (and removes its file); connections end after what they do.
 * What they still ask is served as `last` says, the snapshot of its `use`.
 */
void worker_unlisten(struct worker_listener *listener, struct snapshot *last, bool unlink_path);
/* Whether connections of this listener are to end after what they do; it is among those told to leave. */
static inline bool worker_listener_leaves(const struct worker_listener *listener)
{
    return listener->leaving != NULL || listener->worker->leaving;
}
/* What an exchange that begins there is served by. */
static inline struct snapshot *worker_listener_snapshot(const struct worker_listener *listener)
{
    return listener->leaving ? listener->leaving : listener->worker->snapshot;
}
/* Handshakes of accepted connections are under way. */
bool worker_is_arriving(const struct worker *worker);
/* Stops accepting after what waits there, tells idle connections to close and live ones to end after what they do. */
void worker_drain(struct worker *worker);
/* Closes the sockets after taking what waits there; connections stay. */
void worker_stop_listening(struct worker *worker, bool unlink_paths);
/* Frees them all, at the end of the worker. */
void worker_free_listeners(struct worker *worker);
/* The value of a Date field now; valid until the next call. */
struct span worker_date(struct worker *worker);

/*
 * Bytes held for collected bodies. worker_hold: false when less than `spare` of the process-wide limit would be left;
 * nothing is counted then.
 */
MUST_CHECK bool worker_hold(struct worker *worker, size_t bytes, size_t spare);
void worker_release(struct worker *worker, size_t bytes);

#endif
