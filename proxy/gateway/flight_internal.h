/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of flight share: flight.c (life, who is aboard, waking), flight_log.c (the bytes), flight_follow.c (a
 * follower's stream), flight_take_off.c (the flown exchange and its sink).
 */
#ifndef POSTERN_GATEWAY_FLIGHT_INTERNAL_H
#define POSTERN_GATEWAY_FLIGHT_INTERNAL_H

#include <pthread.h>

#include "base/arena.h"
#include "base/table.h"
#include "gateway/flight.h"
#include "http/message.h"
#include "openai/answer_scan.h"

/* Pieces of one answer that are hidden from clients; what would be more is not kept at all. */
#define FLIGHT_RANGES_MAX 8

/* A part of the log. All but the last are full, so a chunk ends where the next one begins. */
struct flight_chunk {
    struct flight_chunk *next;
    uint64_t start; /* offset of its first byte in the answer */
    size_t cap;
    char bytes[];
};

struct flight_range {
    uint64_t start, end;
};

/* A try of the flown exchange, for its first follower's log line. */
struct flight_record {
    struct span target, deployment, detail, request_id;
    unsigned status;
    enum fault fault;
    uint64_t started, ended;
};

/* The followers on one worker. */
struct flight_branch {
    struct flight *flight;
    struct flight_desk *desk; /* valid while it has followers, or is the owner's */
    struct list followers;    /* by the flight's mutex */
    struct list dirty;        /* on desk->dirty, by the desk's mutex: the flight has news; holds a reference */
};

struct flight_log {
    struct flight_chunk *first, *last;
    uint64_t written; /* the owner's */
};

struct flight {
    atomic_uint refs;
    struct flights *flights; /* a reference */
    struct flight_desk *owner;
    uint8_t key[FLIGHT_KEY];
    size_t bound;
    enum flight_slow slow;
    const struct flight_ops *ops;
    void *state;

    /* the owner's thread alone */
    struct exchange *flown; /* NULL when it has ended */
    struct stream sink;     /* its client */
    struct task look;
    struct flight_log log;
    bool sink_ended, too_large;

    pthread_mutex_t mutex; /* guards what follows; what is marked * does not change once it may be read */
    struct arena arena;
    void *result;              /* *with given */
    struct message head;       /* *with has_head */
    struct answer_facts facts; /* *with known, as are the next */
    enum fault fault;
    struct span fault_detail;
    struct flight_record *records;
    unsigned record_count;
    uint64_t sent_at, answer_end_at;
    bool usage_estimated;
    bool has_head, held, given, done;
    bool known;      /* the answer is whole, or done: what is known of it */
    bool broken;     /* done, but the message has no end */
    bool closed;     /* nobody may join any more */
    bool background; /* goes on without followers */
    bool choked;     /* the log is full */
    uint64_t total;  /* bytes of the log that followers may read */
    unsigned follower_count;
    struct flight_range ranges[FLIGHT_RANGES_MAX];
    unsigned range_count;
    unsigned branch_count;
    struct flight_branch branches[];
};

struct flights {
    char *name;
    unsigned refs;
    struct flights *next;
    uint8_t secret[FLIGHTS_SECRET];
    pthread_mutex_t mutex;
    struct table joinable; /* key -> struct flight */
};

struct flight_desk {
    struct worker *worker;
    struct flights *flights;
    unsigned refs;
    pthread_mutex_t mutex;
    struct list dirty; /* struct flight_branch.dirty */
    struct mail mail;
    bool mailed;
    struct task burial;
};

/* ---- flight.c ---- */

struct flight *flight_ref(struct flight *flight);
void flight_unref(struct flight *flight);
/* Owner's thread: every follower looks at what is new. */
void flight_wake(struct flight *flight);
/* Any worker's thread: the owner looks at who is left and how much room there is. */
void flight_tell_owner(struct flight *flight, const struct worker *from);
/* Nobody may find it any more. */
void flight_forget(struct flight *flight);

/* ---- flight_log.c; the owner's thread ---- */

/* Appends without telling anybody. */
void flight_log_write(struct flight *flight, struct span bytes, uint64_t expected);
/* Gives back what every follower has had, once the answer is larger than the bound. True: the log is full. */
bool flight_log_trim(struct flight *flight);
void flight_log_free(struct flight *flight);

/* ---- flight_follow.c ---- */

/* By the flight's mutex: adds filter's exchange as a follower; the caller then hands its stream over. */
struct flight_follower *flight_follower_add(struct flight *flight, struct flight_desk *desk, struct filter *filter,
                                            const struct flight_plan *plan);

/* ---- flight_take_off.c ---- */

/* What the attempts have learned by now; owner's thread. */
const struct answer_facts *flight_facts_now(const struct exchange *flown);

/* Begins the flown exchange with the body of filter's. */
void flight_take_off(struct flight *flight, struct filter *filter);

#endif
