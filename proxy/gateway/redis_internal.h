/* SPDX-License-Identifier: Apache-2.0 */
/*
 * redis_internal: what the files of the Redis client share.
 *
 *     redis.c          making one, asking, which node a command goes to
 *     redis_request.c  the record of a command: its deadline, its end
 *     redis_node.c     a server and the connection to it: connecting, pausing, sending, reading
 *     redis_greeting.c what a new connection begins with
 *     redis_answer.c   what an answer leads to: the caller, another node, a script to load
 *     redis_finder.c   Sentinel and Cluster: asking who the servers are
 */
#ifndef POSTERN_GATEWAY_REDIS_INTERNAL_H
#define POSTERN_GATEWAY_REDIS_INTERNAL_H

#include "gateway/redis.h"
#include "gateway/redis_protocol.h"
#include "gateway/redis_slots.h"
#include "gateway/wire.h"

struct connector;
struct redis_node;
struct watch;

/* Times a command is sent anew (MOVED, ASK, TRYAGAIN, NOSCRIPT) before its caller is told. */
#define REDIS_TURNS 8
/* Bytes of commands that wait to be taken by the kernel, per node. */
#define REDIS_UNSENT ((size_t)4 << 20)
/* A connection that ends younger than this counts as a failed one: else a server that greets and hangs up is asked
 * without pause. µs. */
#define REDIS_SOUND UINT64_C(1000000)
/* Scripts per connection whose loading is remembered; more are loaded more often. */
#define REDIS_SCRIPTS 8
/* No slot: any node will do. */
#define REDIS_ANY_SLOT UINT32_MAX

struct redis_request;
typedef void redis_internal_fn(struct redis_request *request, const struct redis_reply *reply);

/* Which list a record is on. */
enum redis_place { REDIS_NOWHERE, REDIS_UNROUTED, REDIS_QUEUED, REDIS_FLYING, REDIS_ENDED };

/* A command, from redis_ask until its answer or the end of the connection: longer than its caller may wait for it. */
struct redis_request {
    struct list link; /* a node's queue or flight, or redis->unrouted, ->ended, ->spare */
    struct list due;  /* on redis->due while somebody waits */
    struct redis *redis;
    struct redis_node *node;
    struct redis_call *call;     /* NULL: nobody waits any more, or it is ours */
    redis_internal_fn *internal; /* ours: told the outcome; NULL: not interested */
    const struct redis_script *script;
    struct redis_command command;
    uint64_t deadline;
    uint64_t number; /* among what was sent on its connection */
    uint32_t slot;
    uint8_t turns;
    bool asking; /* goes behind an ASKING */
    bool asked;  /* by a caller, who may have gone */
    bool secret; /* wiped after use */
    enum redis_place place;
    enum redis_error error; /* while in redis->ended */
};

enum redis_state {
    REDIS_IDLE,       /* no connection, none wanted */
    REDIS_CONNECTING, /* name, TCP, TLS */
    REDIS_GREETING,   /* AUTH, SELECT, PING */
    REDIS_READY,
    REDIS_RESTING, /* a pause after failure: the breaker is open */
    REDIS_STATES
};

struct redis_loaded {
    const struct redis_script *script;
    uint64_t number; /* of the SCRIPT LOAD */
};

struct redis_node {
    struct redis *redis;
    uint16_t index; /* in redis->nodes */
    char *host;
    uint16_t port;
    bool sentinel;
    bool seed;           /* from the configuration: kept when no longer listed */
    bool listed;         /* serves slots, or is the master: connected without being asked */
    bool told;           /* the log knows that it is gone */
    bool cannot_load;    /* the log knows that it takes no scripts */
    uint64_t refused;    /* when the log was last told that it refuses commands */
    uint32_t refused_as; /* with which errors since, a bit for each */
    enum redis_state state;
    struct connector *connector;
    struct wire wire;
    struct redis_reader *reader;
    struct list queue, flight; /* until READY; sent, in order */
    unsigned queued, flying;
    struct timer timer;  /* the end of the greeting, or of the pause */
    unsigned failures;   /* in a row */
    unsigned unanswered; /* deadlines passed in a row */
    uint64_t heard;      /* when anything last came */
    uint64_t ready_since;
    uint64_t sent; /* requests on this connection */
    struct redis_loaded loaded[REDIS_SCRIPTS];
    unsigned loaded_next;
};

struct redis {
    struct loop *loop;
    struct resolver *resolver;
    struct redis_options options; /* its texts are in `arena` */
    struct arena arena;
    uint64_t random;
    bool closing;              /* destroyed, but for those who must still be told */
    struct redis_node **nodes; /* with holes */
    unsigned node_cap;
    uint16_t *map;             /* cluster: slot -> index of node + 1; 0: nobody */
    struct redis_node *master; /* standalone, sentinel: where commands go; NULL: not known */
    struct list unrouted;      /* until the servers are known */
    unsigned unrouted_count;
    struct list ended; /* to be told from the run queue */
    struct task deliver;
    struct list spare;
    unsigned spare_count;
    struct list due; /* by deadline */
    struct timer coarse;
    struct watch *sharp; /* a timerfd: the loop's timers are coarser than our deadlines */
    int sharp_fd;
    uint64_t sharp_at; /* what it is set to; 0: not set */
    /* the search for servers */
    struct timer search_timer;
    struct redis_request *search; /* under way */
    uint64_t search_next;         /* not before */
    unsigned search_turn;
    unsigned search_failures; /* in a row */
    struct redis_counters counters;
    char why[200]; /* the latest trouble, for callers that get LOST */
};

/* ---- redis_request.c ---- */

MUST_CHECK struct redis_request *redis_request_create(struct redis *redis);
/* Off its list, uncounted there. */
void redis_request_take(struct redis_request *request);
/* The same, and back to the spare ones. */
void redis_request_free(struct redis_request *request);
/* From now on somebody waits until `deadline` (loop time). */
void redis_request_wait(struct redis_request *request, uint64_t deadline);
/* Tells whoever waits, now. The record is the caller's to free. */
void redis_request_tell(struct redis_request *request, const struct redis_reply *reply);
/* Ends it with an error, told from the run queue. Off whatever list it was on. */
void redis_request_end(struct redis_request *request, enum redis_error error);
/* Nobody wants to know any more. */
void redis_request_forget(struct redis_request *request);
void redis_requests_init(struct redis *redis);
void redis_requests_finish(struct redis *redis);

/* ---- redis_node.c ---- */

/* The node at that address, made if need be; NULL when there are too many. */
struct redis_node *redis_node_get(struct redis *redis, struct redis_address address, bool sentinel);
/* Connection closed, what was on it ended as LOST, memory buried. */
void redis_node_drop(struct redis_node *node);
/* Sends the request, or lets it wait for the greeting, or ends it. */
void redis_node_send(struct redis_node *node, struct redis_request *request);
/* Puts it on the connection, which must be there: for the greeting and what goes before others. */
void redis_node_push(struct redis_node *node, struct redis_request *request);
/* The connection is of no use any more. `failure`: pause before the next one. */
void redis_node_lost(struct redis_node *node, const char *why, bool failure);
/* Connects when idle: a pause is kept. */
void redis_node_connect(struct redis_node *node);
/* Closes without complaint when nothing is under way on it. */
void redis_node_leave(struct redis_node *node);
/* The greeting is over, from redis_greeting.c. */
void redis_node_greeted(struct redis_node *node);
/* A deadline has passed on a command it had been sent. */
void redis_node_unanswered(struct redis_node *node);
/* Whether a command sent now would wait or go rather than end at once. */
bool redis_node_takes(const struct redis_node *node);

/* ---- redis_answer.c ---- */

/* The answer to the oldest command on the connection. May close it. */
void redis_answer(struct redis_node *node, struct redis_request *request, const struct redis_value *value);

/* ---- redis_greeting.c ---- */

/* AUTH, SELECT, PING. False: there is no login now. */
MUST_CHECK bool redis_greet(struct redis_node *node);
/* AUTH on a connection in use. */
void redis_greet_again(struct redis_node *node);

/* ---- redis_finder.c ---- */

/* The servers may have changed: look, now or as soon as it may be done again. Nothing for standalone. */
void redis_search(struct redis *redis);
void redis_search_init(struct redis *redis);
void redis_search_finish(struct redis *redis);

/* ---- redis.c ---- */

/* Frees it at the end of the turn: all has been told. */
void redis_bury(struct redis *redis);
/* Sends it where its slot is, or lets it wait until that is known, or ends it. */
void redis_route(struct redis *redis, struct redis_request *request);
/* Sends on what waited for the servers to be known; with `failed` ends it instead. */
void redis_routes_known(struct redis *redis, bool failed);
/* A number of microseconds between half of `most` and `most`. */
uint64_t redis_jitter(struct redis *redis, uint64_t most);

#endif
