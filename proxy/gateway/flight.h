/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flight: one upstream call shared by identical requests. The call is an exchange of its own (the *flown* exchange): it
 * runs what lies behind the filter that began it in the chain, and the attempts; its client is a sink inside this
 * process that keeps what comes in the flight's log. Every client, the first included, *follows*: its exchange is
 * answered by a local source that hands out the log from its beginning and then what comes live.
 *
 *   - Anybody may leave at any time. With the last one the call ends, unless the answer has had its last event already
 *     or the flight runs in the background (nobody need follow then).
 *   - If the call fails before its answer began, each follower gets the same error answer; if it breaks off, each gets
 *     the same error event, or its message is cut where an event had begun.
 *   - The log is bounded (plan.bound). Up to there it keeps everything, so that newcomers may join and the whole answer
 *     can be had at the end. An answer that grows beyond it takes nobody in any more, and the log keeps only what some
 *     follower has not had; when that reaches the bound, the slowest is dealt with by plan.slow.
 *
 * Threads: a flight belongs to the worker that began it; followers may be on any worker of the process. They read the
 * published log and are woken by loop mail. A mutex per flight guards what is published; it is held to look at a few
 * numbers, never while bytes are copied. (A departure from "no locks on the data path": it is taken once per piece that
 * arrives, and once per follower and turn.)
 *
 * What the flown exchange may not do, it cannot: it writes no access-log line and counts no request; its attempts,
 * tokens and durations count in the metrics as anybody's.
 */
#ifndef POSTERN_GATEWAY_FLIGHT_H
#define POSTERN_GATEWAY_FLIGHT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/list.h"
#include "gateway/filter.h"
#include "gateway/stream.h"
#include "net/loop.h"

struct answer_facts;
struct exchange;
struct flight;
struct flight_chunk;
struct flight_desk;
struct flight_follower;
struct flights;
struct worker;

#define FLIGHT_KEY 32

/* What happens when the log is full of what one follower has not taken yet. */
enum flight_slow {
    FLIGHT_SLOW_WAIT, /* the target is read no further until it has */
    FLIGHT_SLOW_CUT   /* its answer breaks off, for the others' sake */
};

/* What whoever begins a flight does with it. All but `finish` may be NULL. */
struct flight_ops {
    /* Owner's thread: the answer's head is in flown->response, nobody has seen it. May call flight_hold, flight_give.
     */
    void (*head)(struct flight *flight, struct exchange *flown);
    /*
     * Owner's thread: the flown exchange has ended, its facts and fault are known, the followers do not know yet.
     * `complete`: the message came to its end; flight_bytes has all of it unless it grew beyond the bound. May call
     * flight_give.
     */
    void (*end)(struct flight *flight, struct exchange *flown, bool complete);
    /* Follower's thread: exchange->response is a copy of the answer's head and may be changed; x-request-id is not
     * among its fields. */
    void (*dress)(struct flight_follower *follower);
    /*
     * Follower's thread: `given` is what flight_give was called with. Fills exchange->response and `body`; false
     * answers with INTERNAL. *ret_pause, when set, is the time in µs between two events of it.
     */
    bool (*answer)(struct flight_follower *follower, void *given, struct buffer *body, uint64_t *ret_pause);
    /* Any thread, once: nobody knows the flight any more. Frees flight_state and the result that was given. */
    void (*finish)(void *state, void *result);
};

struct flight_plan {
    uint8_t key[FLIGHT_KEY]; /* equal for requests that may share: it covers all that matters */
    size_t bound;            /* bytes of the log */
    enum flight_slow slow;
    const struct flight_ops *ops;
    void *state;     /* of a flight that begins: passes to it */
    bool alone;      /* begins in any case, and nobody may join */
    bool background; /* begins without a follower, unless there is one already */
    bool unhidden;   /* this follower wants hidden pieces (usage chunks), too */
};

struct flight_follower {
    struct stream stream;
    struct flight *flight; /* a reference; NULL when it has left */
    struct filter *filter; /* that answers its exchange */
    struct exchange *exchange;
    bool first; /* its request began the flight */
    /* flight's own */
    struct list link;
    struct task task;
    struct flight_chunk *chunk;
    _Atomic uint64_t position; /* bytes of the log it has had */
    unsigned ranges;           /* hidden ranges behind it */
    bool unhidden, unwanted, began, told, cut;
};

enum flight_role { FLIGHT_JOINED, FLIGHT_BEGAN };

/* ---- the process's flights under one name, shared by all workers ---- */

MUST_CHECK struct flights *flights_get(struct span name);
void flights_unref(struct flights *flights);
/* Random bytes of this process, for keys that mean nothing elsewhere; the same for all workers. */
#define FLIGHTS_SECRET 32
struct span flights_secret(const struct flights *flights);
/*
 * A worker's part, with one reference; the worker must outlive it. It passes from an instance to the next one. No
 * follower or flight of the worker may be left when the last reference goes.
 */
MUST_CHECK struct flight_desk *flight_desk_create(struct worker *worker, struct flights *flights);
struct flight_desk *flight_desk_ref(struct flight_desk *desk);
void flight_desk_unref(struct flight_desk *desk);

/*
 * Joins the flight of plan->key, or begins it: then filter's exchange gives its collected body to the flown exchange.
 * Either way (not with plan->background) the exchange is answered by the flight: filter_answer_stream has been called,
 * inside a hook the verdict is FILTER_ANSWERED. plan->state is taken when FLIGHT_BEGAN, else still the caller's.
 */
MUST_CHECK enum flight_role flight_board(struct flight_desk *desk, struct filter *filter,
                                         const struct flight_plan *plan);

/* ---- from flight_ops and from hooks of the flown exchange ---- */

void *flight_state(const struct flight *flight);
/* Followers get nothing before the end. Before or in `head`. */
void flight_hold(struct flight *flight);
/*
 * `result` takes the answer's place for all who have had nothing of it; what the flown exchange goes on to say is for
 * nobody. Before or in `head`, or, when the flight is held, in `end`. Passes to the flight; only once.
 */
void flight_give(struct flight *flight, void *result);
/* It goes on when its followers have left. Before or in `head`. */
void flight_stay(struct flight *flight);
/* The hidden and other bytes of the whole answer, appended to `bytes`. False: it grew beyond the bound. Owner's thread.
 */
MUST_CHECK bool flight_bytes(const struct flight *flight, struct buffer *bytes);

/* ---- from the flown exchange, by exchange.c and respond.c ---- */

/* A piece that is hidden from clients. */
void flight_hidden(struct flight *flight, struct span bytes);
/* It has ended, its on_end hooks have run; gives back exchange->client. */
void flight_ended(struct exchange *flown);

/* Flights that have not ended, in the whole process: zero after every test. */
unsigned flight_count(void);

#endif
