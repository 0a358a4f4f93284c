/* SPDX-License-Identifier: Apache-2.0 */
/*
 * redis: one worker's client of one Redis (or Valkey) store: standalone, found by Sentinel, or a Cluster. Commands are
 * pipelined on one connection per node and leave in one write per loop turn; answers are matched in order. RESP2 only
 * (https://redis.io/docs/latest/develop/reference/protocol-spec/).
 *
 *     const struct span argv[] = {SPAN("GET"), key};
 *     call->done = got;
 *     redis_ask(redis, &exchange->pendings, call, key, argv, 2, 0);
 *     ...
 *     static void got(struct redis_call *call, const struct redis_reply *reply)
 *     {
 *         if (reply->error) ... the store cannot tell: redis_error_name(reply->error), reply->detail
 *         else if (reply->value->kind == REDIS_STRING) ... reply->value->text
 *
 * What holds whatever the servers do:
 *   - Each call ends exactly once: by its answer, by an error, or by being cancelled; never inside redis_ask; and not
 *     later than its deadline. A deadline is kept to about a millisecond (the loop's own timers may be 16 ms late).
 *   - A TIMEOUT or LOST does not mean that the command was not carried out. Make commands that can be repeated.
 *   - After some calls in a row without an answer the node's breaker opens: its connection is closed and calls end at
 *     once (LOST) until a new connection has been greeted. The greeting is the probe; it is tried with growing pauses.
 *   - Memory is bounded: commands waiting or unanswered, bytes not yet sent, and the size of one answer.
 *   - Redirections (MOVED, ASK, TRYAGAIN), forgotten scripts (NOSCRIPT) and a connection that turns out to lead to a
 *     replica (READONLY) are dealt with here, within the call's deadline where the call can still be saved.
 *
 * Everything belongs to the loop's thread. No hiredis type is seen outside of redis*.c.
 */
#ifndef POSTERN_GATEWAY_REDIS_H
#define POSTERN_GATEWAY_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/list.h"
#include "base/span.h"
#include "net/loop.h"
#include "net/pending.h"
#include "net/resolver.h"
#include "net/tls.h"

struct redis;

/* ---- making one ---- */

enum redis_mode {
    REDIS_STANDALONE, /* also Azure Managed Redis with the Enterprise or non-clustered policy: one endpoint */
    REDIS_SENTINEL,
    REDIS_CLUSTER
};

struct redis_address {
    struct span host; /* name or IP literal without brackets */
    uint16_t port;
};

/* User and password of the moment; an empty user is the default user, both empty: no AUTH. False: there is none now,
 * do not connect. The spans need to live until the function returns to the loop. */
typedef bool redis_login_fn(void *arg, struct span *ret_username, struct span *ret_password);

/* Copied by redis_create, `tls` by reference. Zero means the default where one is named. */
struct redis_options {
    struct span name; /* for the log */
    enum redis_mode mode;
    const struct redis_address *addresses; /* standalone: the server; cluster: some nodes; sentinel: the sentinels */
    size_t address_count;                  /* at least 1, at most REDIS_ADDRESSES */
    struct span master;                    /* sentinel: the name of the monitored master */
    unsigned database;                     /* SELECT; 0 in a cluster */
    struct span username, password;        /* fixed ones */
    redis_login_fn *login;                 /* in place of fixed ones; NULL: none */
    void *login_arg;
    struct span sentinel_username, sentinel_password;
    struct tls_context *tls; /* NULL: plain. Sentinels are spoken to in the same way */
    struct span server_name; /* SNI and verification, for every node of a cluster; empty: the first address's host (for
                                sentinel: the host of each) */
    uint64_t deadline;       /* µs per call; 0: 20 ms */
    uint64_t connect;        /* µs for a connection with TLS and greeting; 0: 1 s */
    uint64_t rest_most;      /* µs; longest pause between tries; 0: 2 s */
    unsigned breaker;        /* calls in a row without an answer that open the breaker; 0: 5 */
    unsigned queue;          /* commands waiting or unanswered, per node; 0: 4096 */
    size_t reply_most;       /* bytes of one answer; 0: 1 MiB */
};
#define REDIS_ADDRESSES 16

/* Never NULL. Begins to connect in the next turn. `resolver` and `loop` must outlive it. */
MUST_CHECK struct redis *redis_create(struct loop *loop, struct resolver *resolver,
                                      const struct redis_options *options);
/*
 * Closes everything. Calls that are live end as LOST, from the run queue; without any the memory goes at the end of
 * this turn. Not from within a call's `done`. NULL is allowed.
 */
void redis_destroy(struct redis *redis);
/* What `login` gives has changed: authenticates live connections anew and tries at once where it had refused. */
void redis_login_changed(struct redis *redis);

/* ---- answers ---- */

/* name, the word for logs and metrics */
#define REDIS_ERROR_LIST(X)                                                                                            \
    X(NONE, "none")                                                                                                    \
    /* ours: no answer was had */                                                                                      \
    X(LOST, "lost")         /* no connection, or it ended before the answer; also while the breaker is open */         \
    X(TIMEOUT, "timeout")   /* the deadline passed */                                                                  \
    X(FULL, "full")         /* too many commands wait already */                                                       \
    X(PROTOCOL, "protocol") /* what came is not RESP2, or too large: the connection is closed */                       \
    /* the server's */                                                                                                 \
    X(READONLY, "readonly")                                                                                            \
    X(LOADING, "loading")                                                                                              \
    X(MASTERDOWN, "masterdown")                                                                                        \
    X(CLUSTERDOWN, "clusterdown")                                                                                      \
    X(MOVED, "moved") /* MOVED and ASK after too many turns */                                                         \
    X(TRYAGAIN, "tryagain")                                                                                            \
    X(CROSSSLOT, "crossslot")                                                                                          \
    X(OOM, "oom")                                                                                                      \
    X(NOAUTH, "noauth") /* NOAUTH, WRONGPASS */                                                                        \
    X(NOPERM, "noperm")                                                                                                \
    X(NOSCRIPT, "noscript") /* although it was loaded */                                                               \
    X(WRONGTYPE, "wrongtype")                                                                                          \
    X(BUSY, "busy") /* BUSY, MISCONF, NOREPLICAS: it does not take writes now */                                       \
    X(OTHER, "other")

enum redis_error {
#define X(name, word) REDIS_ERROR_##name,
    REDIS_ERROR_LIST(X)
#undef X
        REDIS_ERRORS
};
const char *redis_error_name(enum redis_error error);
/* Whether the command cannot have been carried out: the server itself refused it, or it was never sent. */
bool redis_error_is_refusal(enum redis_error error);

enum redis_kind { REDIS_NIL, REDIS_STATUS, REDIS_STRING, REDIS_INTEGER, REDIS_ARRAY, REDIS_FAILURE };

struct redis_value {
    enum redis_kind kind;
    union {
        int64_t integer;  /* INTEGER */
        struct span text; /* STRING, STATUS, and FAILURE (an error inside of an array) */
        struct {          /* ARRAY */
            const struct redis_value *items;
            size_t count;
        };
    };
};

/* Lives during the callback. */
struct redis_reply {
    enum redis_error error;
    struct span detail;              /* with an error: words for the log, without what the command held */
    const struct redis_value *value; /* NULL with an error */
};

/* The number in an INTEGER, or in a STRING of decimal digits with or without minus sign. */
MUST_CHECK bool redis_value_integer(const struct redis_value *value, int64_t *ret);

/* ---- asking ---- */

struct redis_call;
/* From an event or the run queue, never inside redis_ask. The call is over: it may be asked again from within. */
typedef void redis_fn(struct redis_call *call, const struct redis_reply *reply);

/* Lives inside its owner; zeroed with `done` set is ready. */
struct redis_call {
    struct pending pending;
    redis_fn *done;
    struct redis_request *request; /* private */
};

/* A server-side script. The table must stay in place; `sha1` is its hex digest, of redis_script_init. */
struct redis_script {
    struct span text;
    char sha1[41];
};
/* Sets `sha1` from `text`. */
void redis_script_init(struct redis_script *script, struct span text);

/* Most arguments of one command. */
#define REDIS_ARGUMENTS 128

/*
 * Sends a command; argv is copied. `key`: what decides the node in a cluster (with its {tag}); empty: any node.
 * `list`: where the pending is linked (NULL: nowhere); cancelling it drops the late answer, the command may be carried
 * out all the same. `deadline` in µs from now; 0: the store's own.
 */
void redis_ask(struct redis *redis, struct list *list, struct redis_call *call, struct span key,
               const struct span *argv, unsigned argc, uint64_t deadline);
/*
 * EVALSHA of a script: `keys` of one slot, then `args`. Loads it where it is unknown, without the caller's noticing.
 * The user needs the commands evalsha and script|load.
 */
void redis_eval(struct redis *redis, struct list *list, struct redis_call *call, const struct redis_script *script,
                const struct span *keys, unsigned key_count, const struct span *args, unsigned arg_count,
                uint64_t deadline);
static inline bool redis_call_is_live(const struct redis_call *call)
{
    return call->pending.live;
}

/* The slot of a key, by what stands in its first {...} if that is not empty. 0..16383. */
unsigned redis_slot(struct span key);

/* ---- status ---- */

/* Whether a command asked now for this key (empty: any) would be sent rather than ended at once. */
bool redis_is_up(const struct redis *redis, struct span key);

struct redis_counters {
    uint64_t asked, answered, timeouts, cancelled, late; /* late: answers that nobody wanted any more */
    uint64_t errors[REDIS_ERRORS];                       /* as reported to callers */
    uint64_t connects, connect_failures, losses;         /* losses: greeted connections that ended */
    uint64_t breaker_opened;
    uint64_t moved, asks, again, script_loads, refreshes, logins;
    uint64_t writes, bytes_out, bytes_in;
};
struct redis_status {
    struct redis_counters counters;
    unsigned nodes, nodes_ready; /* known, with a greeted connection */
    unsigned waiting, unanswered;
    const char *why; /* the latest trouble, without what commands held; of interest unless all is up. Valid until the
                        turn ends */
};
void redis_status(const struct redis *redis, struct redis_status *ret);
/* "up": all servers known are connected; "partial": some; "down": none. */
const char *redis_state_word(const struct redis_status *status);

#endif
