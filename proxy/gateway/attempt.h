/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attempt: one try of an exchange at one target, below the filter chain. `struct attempts` is the series of them for
 * one exchange.
 *
 * For each target in the router's order: apply its dialect, credential and body edits, lease a stream, send. An attempt
 * commits when its answer may go to the client: at the first content event of a stream, at the head of everything else,
 * or at once when no other target is left. Before that, a connect error, 408, 429, 5xx or an error event sends the
 * exchange to the next target; so does a credential that cannot be had. A target whose limits have no room is passed
 * over (gateway/target_limits.h), which does not count as an attempt. A 401 to a token that has aged is answered once
 * by the same request with a new one. A reused connection that dies before the answer's first byte is replaced once by
 * a fresh one; that does not count as an attempt.
 *
 * Stream answers pass through a tap (openai/sse.h, openai/usage.h) that learns usage and hides the usage chunk if we
 * asked for it and the client did not. Bytes are passed on in the turn they arrive; held are only events that may have
 * to be hidden and, before the commit, what has come so far (ATTEMPT_HELD_MAX).
 */
#ifndef POSTERN_GATEWAY_ATTEMPT_H
#define POSTERN_GATEWAY_ATTEMPT_H

#include "base/arena.h"
#include "base/buffer.h"
#include "base/fault.h"
#include "gateway/credentials.h"
#include "gateway/pool.h"
#include "gateway/snapshot.h"
#include "gateway/stream.h"
#include "net/loop.h"
#include "openai/edits.h"
#include "openai/sse.h"
#include "openai/stream_end.h"
#include "openai/stream_tap.h"
#include "openai/usage.h"

struct exchange;
struct target_hold;

/* Most bytes of an answer kept back before the commit, or of one event that may have to be hidden; beyond it they go
 * on. */
#define ATTEMPT_HELD_MAX ((size_t)64 * 1024)

/* A finished or current try, for the access log. */
struct attempt_record {
    struct span target, deployment;
    unsigned status;        /* 0: no answer */
    enum fault fault;       /* why it did not serve; FAULT_NONE if it did */
    struct span detail;     /* words for the log; in the arena */
    struct span request_id; /* the target's own, of its answer; in the arena; may be empty */
    uint64_t started, ended;
    struct attempt_record *next;
};

/* What is learned from the answer as it passes. */
enum answer_watch {
    WATCH_NOTHING,
    WATCH_JSON,  /* tap.json, once bytes have come */
    WATCH_KNOWN, /* JSON that came in one piece and has been read */
    WATCH_EVENTS
};

enum attempt_state {
    ATTEMPT_CREDENTIAL, /* waits for the token that opens the target */
    ATTEMPT_LEASING,    /* waits for a connection */
    ATTEMPT_SENDING,    /* head sent, body on its way */
    ATTEMPT_WAITING,    /* request sent, no answer yet */
    ATTEMPT_HOLDING,    /* answer has begun, not committed */
    ATTEMPT_PASSING,    /* committed: bytes go to the client as they come */
    ATTEMPT_OVER
};

struct attempt {
    struct attempts *all;
    struct exchange *exchange;
    enum attempt_state state;
    const struct model_target *to;
    struct attempt_record *record;
    struct stream *stream;    /* NULL before the lease and after the end */
    struct target_hold *hold; /* what it has reserved in the target's limits; NULL: nothing */
    struct credential_wait credential;
    uint64_t credential_generation; /* which one was sent; 0: none */
    struct lease lease;
    struct timer timer;
    uint64_t patience;       /* µs of silence in the present phase */
    uint64_t deadline_total; /* loop time; 0: none */

    /* request */
    struct edits edits;
    struct edits_walk walk;
    struct span piece; /* what is left of the walk's current piece */
    bool usage_added;  /* include_usage was added by us */
    bool request_sent;
    bool body_begun;     /* bytes of a streamed body have gone out */
    struct buffer early; /* came through the filters while there was no connection to send it on */
    bool early_last;
    bool fresh;   /* this try is the second one, on a fresh connection */
    bool plain;   /* this try is the second one, without stream_options */
    bool renewed; /* this try is the second one, with a new token */

    /* answer */
    struct message response;
    bool answered;      /* a byte of the answer has come */
    bool hide;          /* the usage chunk is ours to hide */
    bool committed;     /* the answer is the client's */
    bool check_error;   /* a 400 whose body may name stream_options */
    bool check_refusal; /* a 401 to our token whose body says whether a new one can help */
    enum answer_watch watch;
    struct sse_reader *sse; /* WATCH_EVENTS */
    union {
        struct stream_tap *events;  /* WATCH_EVENTS */
        struct answer_tap *json;    /* WATCH_JSON */
        struct answer_facts *facts; /* WATCH_KNOWN */
    } tap;
    struct buffer held;    /* before the commit: bytes of the answer; or an error body that is looked at */
    struct buffer partial; /* the beginning of an event that may have to be hidden */
    /* Only while exchange->output_budget is set: data of the stream's first event, in the arena; choices that ended. */
    struct span first_event;
    struct stream_end_finished finished;
    uint64_t last_byte_at; /* loop time */
};

struct attempts {
    struct exchange *exchange;
    const struct model_target **order;
    unsigned count, next; /* order[next] would be tried next */
    unsigned made, most;
    const struct model_target **passed; /* those whose limits had no room; NULL: none */
    unsigned passed_count;
    struct attempt *current;
    struct attempt_record *first, *last;
    const struct model_target *to; /* of the last try; NULL: there was none */
    struct target_hold *pending;   /* for order[next]: the store of its limits is being asked; no attempt is current */
    uint64_t limit_wait;           /* targets were passed over: until the first of them has room; 0: none was */
    bool replayable;               /* the request can be sent again: its body is held, or it has none */
    bool finished_well;            /* the answer was complete: [DONE], a terminal event, or the message's end */
};

/* Begins: exchange->model (or passthrough, or stateful target) says where to; the answer comes by exchange_response_*,
 * or exchange_fail when none could be had. */
void attempts_start(struct exchange *exchange, const struct model_target *const *order, unsigned count);
/* Ends whatever is under way; the upstream is reset in this turn. NULL is allowed. */
void attempts_cancel(struct attempts *all);
/* target_limits.h's answer for order[next]: room, held by `hold`, or none (NULL) for `wait` µs. */
void attempts_reserved(struct attempts *all, struct target_hold *hold, uint64_t wait);
/* The exchange can take more of the answer (again). */
void attempts_resume(struct attempts *all);
/* The client's body goes on (streamed bodies): takes `bytes`; see attempts_wants_body for back-pressure. */
void attempts_request_body(struct attempts *all, struct span bytes, bool last);
bool attempts_wants_body(const struct attempts *all);
/* Whether the target has not had all of the request yet: what is held of the body is still needed. */
bool attempts_sending(const struct attempts *attempts);
/* Whether the answer had been complete when the client left (Python closes right after [DONE]). */
bool attempts_finished_well(const struct attempts *all);

/*
 * What the attempt's target wants changed in the collected body: sets attempt->edits and usage_added. Needs of the
 * exchange only arena, call, info and model_asked; `postern simulate` asks it, too.
 */
void attempt_prepare_edits(struct attempt *attempt);

/* ---- from the stream ---- */
void attempt_response_head(struct attempt *attempt, struct message *head, bool end);
void attempt_response_body(struct attempt *attempt, struct span bytes);
void attempt_response_end(struct attempt *attempt, const struct fields *trailers);
void attempt_failed(struct attempt *attempt, enum fault why, const char *reason, bool retry_safe);
void attempt_room(struct attempt *attempt);

#endif
