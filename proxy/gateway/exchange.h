/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exchange: one request and its answer. Its life:
 *
 *   OPEN       created by the client connection with the first byte of a request; the codec fills `request`
 *   HEAD       head hooks run (gateway/chain.c); nothing of the body has been accepted
 *   COLLECT    the body is collected and inspected (inspected operations), or streamed (all others; goes on beside
 * ATTEMPT) REQUEST    operation, model and body are known; request hooks run ATTEMPT    targets are tried
 * (gateway/attempt.c), nothing has been sent to the client RESPOND    an answer is committed and flows to the client
 *   DONE       on_end has run, the access log is written; buried at the end of the turn
 *
 * Everything an exchange allocates lies in its arena. It keeps the snapshot it started with. It is owned by the worker
 * and ends in exchange_end, on every path.
 */
#ifndef POSTERN_GATEWAY_EXCHANGE_H
#define POSTERN_GATEWAY_EXCHANGE_H

#include "base/arena.h"
#include "base/buffer.h"
#include "base/fault.h"
#include "base/list.h"
#include "gateway/filter.h"
#include "gateway/stream.h"
#include "http/message.h"
#include "net/loop.h"
#include "openai/operations.h"
#include "openai/request.h"
#include "openai/answer_scan.h"

struct attempts;
struct estimate;
struct listener_use;
struct model_route;
struct passthrough_route;
struct snapshot;
struct worker;

enum exchange_state {
    EXCHANGE_OPEN,
    EXCHANGE_HEAD,
    EXCHANGE_COLLECT,
    EXCHANGE_REQUEST,
    EXCHANGE_ATTEMPT,
    EXCHANGE_RESPOND,
    EXCHANGE_DONE
};

/* Where one direction stands in the chain. */
struct channel {
    unsigned next; /* request: index of the filter to run next; response: one above it */
    bool parked;   /* a filter waits */
    bool runnable; /* it has continued; the run queue goes on */
    bool last;     /* the message's end has entered the chain */
    int phase;     /* which hooks run; chain.c's own */
};

/* Who calls, set by an authenticating filter; empty name = nobody known. All spans in the exchange's arena or the
 * snapshot. */
struct consumer {
    struct span name;
    struct span method; /* "api_key", "jwt", ...: for logs */
    struct span *groups;
    unsigned group_count;
    struct fields attributes; /* name, value */
};

struct exchange {
    struct arena arena;
    struct arena scratch; /* what only the request needs: given back at commit */
    struct worker *worker;
    struct snapshot *snapshot; /* a reference */
    const struct listener_use *listener;
    struct list link;     /* on worker->exchanges */
    struct task task;     /* continues a parked channel */
    struct list pendings; /* cancelled when the exchange ends */
    struct list starved;  /* on worker->starved while no held bytes are to be had */
    struct timer starve_timer;
    uint64_t starved_until; /* loop time */
    enum exchange_state state;

    /* the client's side */
    struct stream *client; /* NULL when it has left or everything has been sent */
    struct span peer;      /* address text, for X-Forwarded-For and the log */
    struct message request;
    struct span id;        /* x-request-id */
    bool request_complete; /* the client's message has ended */
    bool request_discard;  /* answered early: the rest of the body is thrown away */

    /* what it asks for */
    struct api_call call;
    enum fault call_fault; /* why the path is not an operation, FAULT_NONE if it is */
    const struct passthrough_route *passthrough;
    const struct model_route *model; /* NULL until known */
    struct request_info info;
    struct request_reader *reader; /* while the body is collected */
    struct span model_asked;       /* the name the client used */
    struct consumer consumer;
    bool inspected;      /* the body is collected in `body` */
    struct buffer body;  /* collected request body; freed at commit */
    size_t held;         /* bytes counted against the process-wide budget */
    bool streaming_body; /* the body goes to the target as it comes */
    bool stateful;       /* must go to one certain target */

    struct flight *flight; /* runs for those who follow it (gateway/flight.h), not for a client of its own; or NULL */

    /* the chain */
    struct filter *filters;
    unsigned filter_count;
    unsigned filters_seen; /* how many have seen the request: these see the response */
    struct channel in, out;
    bool in_body_hooks, out_body_hooks; /* some joined filter has a body hook */
    bool in_hook;                       /* a hook is running: answers are taken from its verdict */
    bool answered_late;                 /* a filter answered from a completion */

    /* the answer */
    struct attempts *attempts; /* NULL until ATTEMPT */
    struct stream *source;     /* a local answer's stream, or NULL */
    struct message response;
    unsigned answer_status;              /* local answer given as bytes; 0: none */
    struct span answer_type;             /* its content type */
    struct fields answer_fields;         /* added by filters for a local answer */
    struct buffer answer;                /* body of a local answer given as bytes */
    struct buffer in_buffer, out_buffer; /* body bytes inside the chain, above all while a filter waits */
    bool out_hidden;
    struct out_piece *waiting, **waiting_end; /* pieces that came while a response filter waits */
    bool response_is_stream;                  /* text/event-stream */
    bool response_started;                    /* the head has gone to the client's stream */
    bool response_complete;                   /* the end has, too */
    bool error_in_stream;                     /* an SSE error event was written by us */

    /* what is known about it, for log and metrics */
    enum fault fault;
    struct span fault_message, fault_param, fault_detail;
    bool local_answer;
    bool operation_streams;          /* the request asked for a stream */
    const struct estimate *estimate; /* of the input; NULL until tokens_estimate */
    bool budget_ended;               /* the answer ends where output_budget did, not where the target's would */
    uint64_t output_budget;    /* tokens; a stream that delivers more is ended (openai/stream_end.h). 0: no bound */
    struct answer_facts facts; /* usage, model, finish reasons, delivered text; of the attempt that served */
    bool usage_estimated;      /* the answer passed opaque (compressed): its usage is not known */
    bool answer_whole;         /* a local source has given the last event: a client may leave */
    struct span cache;         /* what a cache made of it: "hit", "miss" ...; static; empty: none saw it */
    bool usage_free;           /* `facts.usage` tells what an answer cost once; this exchange cost nothing */
    bool mid_event;            /* the beginning of an event has gone out: a broken stream can only be cut */
    uint64_t bytes_in, bytes_out;
    uint64_t content_events; /* of an event stream, so far */
    /*
     * Monotonic clock, µs; 0 = has not happened. First byte of the request; its head; its end; the last byte to the
     * serving target; first and last byte of its answer; first content event; end of ours. Own overhead is (sent_at -
     * body_at) + (ended - answer_end_at).
     */
    uint64_t started, head_at, body_at, sent_at, first_byte_at, first_content_at, answer_end_at, ended;
};

/* A new exchange on the chain of a listener of that snapshot, to which it takes a reference. `client` reports to it.
 */
struct exchange *exchange_create(struct worker *worker, struct snapshot *snapshot, const struct listener_use *listener,
                                 struct stream *client, struct span peer);
/* The only way the state changes. */
void exchange_enter(struct exchange *exchange, enum exchange_state state);
/* Ends it: attempts and pendings cancelled, on_end, access log, memory buried. Nothing if it is DONE already. */
void exchange_end(struct exchange *exchange, enum outcome outcome);
/* Gives the collected body and its share of the held bytes back: at commit. */
void exchange_free_body(struct exchange *exchange);
/* No held bytes are to be had: collect_resume is called when there are, or the exchange fails as OVERLOADED. */
void exchange_starve(struct exchange *exchange);
/* It has them, or needs none any more. */
void exchange_sated(struct exchange *exchange);
/* Nothing has arrived yet: give it back without log line or hooks (an idle connection closed). */
void exchange_discard(struct exchange *exchange);

/* ---- called by the client's stream (through stream_arrived_*) ---- */
void exchange_request_head(struct exchange *exchange, bool end);
void exchange_request_body(struct exchange *exchange, struct span bytes);
void exchange_request_end(struct exchange *exchange, const struct fields *trailers);
void exchange_client_failed(struct exchange *exchange, enum fault why, const char *reason);
void exchange_client_room(struct exchange *exchange);

/* ---- called by the codec ---- */
/* The message is not acceptable (malformed, timeout): answers with the fault and ends the connection's use. */
void exchange_request_bad(struct exchange *exchange, enum fault why, const char *reason);

/* ---- called by attempts and local answers ---- */
/* The committed head is in exchange->response. Runs the response hooks. */
void exchange_response_head(struct exchange *exchange);
/*
 * A piece of the committed body. Always taken; afterwards exchange_wants_response says whether more is welcome.
 * `hidden`: the filters see it, the client does not.
 */
void exchange_response_body(struct exchange *exchange, struct span bytes, bool hidden);
void exchange_response_end(struct exchange *exchange, const struct fields *trailers);
/* No answer can be had, or it broke off: before the head an error answer, after it an error event in a stream, else a
 * reset. */
void exchange_fail(struct exchange *exchange, enum fault why, struct span message, struct span param);
/* Another answer takes the place of the local source's: it is reset and forgotten. Nothing if there is none. */
void exchange_drop_source(struct exchange *exchange);
/* ---- called by a local source in STREAM_ANSWER role ---- */
void exchange_source_failed(struct exchange *exchange, enum fault why, const char *reason);

/* ---- called by chain.c when hooks are through ---- */
void exchange_head_passed(struct exchange *exchange);
void exchange_request_passed(struct exchange *exchange);
void exchange_response_head_passed(struct exchange *exchange);
void exchange_response_body_passed(struct exchange *exchange, struct span bytes, bool hidden, bool last);
void exchange_request_body_passed(struct exchange *exchange, struct span bytes, bool last);
/* A filter has answered or failed from a hook or completion. */
void exchange_answered(struct exchange *exchange);

/* A parked direction has gone through: its source may send again. */
void exchange_channel_free(struct exchange *exchange, struct channel *channel);

/* The response side may take more bytes now: neither parked nor congested. */
bool exchange_wants_response(const struct exchange *exchange);

const char *exchange_state_name(enum exchange_state state);

#endif
