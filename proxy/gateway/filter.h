/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The filter contract. A filter is one const table (struct filter_type) in one file under filters/, which exports
 * nothing else; filters/registry.c lists them all. Filters know no neighbour: gateway/chain.c drives.
 *
 * Four structs, never mixed:
 *   settings   const, filled from the configuration, owned by the snapshot, shared by all exchanges and workers
 *   instance   long-lived per worker (keys, counts, caches, timers): made by `attach`, handed from one snapshot to the
 * next by name state      one zeroed block per exchange, in its arena type       this code
 *
 * Waiting: a hook that answers FILTER_WAIT has started at least one `struct pending` (net/pending.h) with
 * filter_pending(filter)'s list, so that it is cancelled when the exchange ends. Its completion calls exactly one of
 * filter_continue, filter_answer..., filter_fail; these only mark the exchange runnable, the loop's run queue goes on
 * *after* the waiting filter (its hook is not called again).
 *
 * A filter behind one that shares calls (gateway/flight.h) also runs in the shared call's own exchange: with another
 * state, and without on_request_head if it has seen the first client's head.
 */
#ifndef POSTERN_GATEWAY_FILTER_H
#define POSTERN_GATEWAY_FILTER_H

#include "base/buffer.h"
#include "base/fault.h"
#include "base/list.h"
#include "config/schema.h"
#include "http/message.h"

struct channel;
struct exchange;
struct filter;
struct report;
struct stream;
struct worker;

enum verdict {
    FILTER_PASS,     /* done here, go on; for bodies: what is left in the buffer goes on */
    FILTER_WAIT,     /* a pending operation is under way */
    FILTER_ANSWERED, /* filter_answer... was called inside this hook */
    FILTER_FAIL      /* filter_fail was called inside this hook */
};

/* What a filter needs from filters before it, and gives to those behind it; orders that cannot work are refused at
 * load. */
enum filter_bits {
    FILTER_IDENTITY = 1, /* exchange->consumer is set */
    FILTER_KEPT = 2,     /* given by who answers from what is kept: not every request reaches those behind it */
};

/* A piece of a body on its way. */
struct filter_body {
    struct buffer *bytes; /* take out or replace what you like; the rest goes on */
    bool last;            /* nothing follows */
    bool hidden;          /* the client will not see these bytes (a usage chunk that we asked for, not the client) */
};

/* How an exchange ended, for on_end. */
enum outcome { OUTCOME_COMPLETED, OUTCOME_ANSWERED, OUTCOME_FAILED, OUTCOME_CANCELLED };

struct filter_type {
    const char *name;
    const struct settings_spec *settings;
    size_t state_size;
    unsigned needs, gives; /* filter_bits */
    unsigned shuns;        /* filter_bits that no filter before it may give */
    bool authenticates;    /* a listener that is not loopback must name one of these */
    /*
     * The listener is there for this filter: every request is its own, whatever the path, and no model is behind it. It
     * stands last in the listener's list. Its bodies are collected whole, within limits.body, and lie in exchange->body
     * at on_request, which must answer or fail.
     */
    bool serves;

    /*
     * Once per instance when a snapshot is built, before any worker sees it: cross-checks that the settings table
     * cannot express. `offline`: the settings are somebody else's, for another machine; no file they name is opened,
     * for what this one holds is not theirs to learn. Problems go to `report` with the place of the settings; returns
     * false when there was one.
     */
    bool (*prepare)(const void *settings, bool offline, struct report *report);
    /*
     * Once per worker and named instance. `previous` is the instance of the same name and type from the snapshot
     * before, or NULL; the new one takes over what it wants from it (detach is then called for the old one with its
     * settings when it is unused). Returns the instance, or NULL when the type has none (leave attach NULL then).
     */
    void *(*attach)(struct worker *worker, const void *settings, struct span name, void *previous);
    void (*detach)(struct worker *worker, void *instance);

    /* About once a second, per worker and instance: copies what it has counted to the metrics (metrics_copy). */
    void (*collect)(struct worker *worker, void *instance, struct span name);

    /* Pure; once per exchange when the head is known. NULL = always. A filter that declines is not part of the
     * exchange. */
    bool (*applies)(const void *settings, const struct exchange *exchange);

    enum verdict (*on_request_head)(struct filter *filter);
    enum verdict (*on_request)(struct filter *filter);
    enum verdict (*on_request_body)(struct filter *filter, struct filter_body *body); /* streamed bodies only */
    enum verdict (*on_response_head)(struct filter *filter);                          /* exchange->response */
    enum verdict (*on_response_body)(struct filter *filter, struct filter_body *body);
    /* Exactly once for each filter that joined, in reverse order, before the access-log line. May not start anything.
     */
    void (*on_end)(struct filter *filter, enum outcome outcome);
    /*
     * Whether these settings trust whoever can connect: then a listener that others than this machine or pod can reach
     * may not use the filter. Pure; NULL = no.
     */
    bool (*local_only)(const void *settings);
    /*
     * Whether these settings tell callers apart by who they are, and which setting does: where nobody has found that
     * out all are one, which is warned of at load. Pure; NULL = no.
     */
    bool (*tells_callers)(const void *settings, struct place *ret_place);
    /* Whether the caller may know of that model: asked for each one when models are listed. Pure; NULL = yes. */
    bool (*shows_model)(const struct filter *filter, struct span model);
    /* For `postern simulate`: appends one sentence: what this filter would do with this exchange and why. */
    void (*explain)(const struct filter *filter, struct buffer *sentence);
};

struct filter {
    const struct filter_type *type;
    const void *settings;
    void *instance;
    void *state;
    struct exchange *exchange;
    struct span name; /* of the instance */
    /* chain.c's own */
    struct channel *waiting;
    bool head_seen;
};

/* The list a pending must be started on. */
struct list *filter_pendings(struct filter *filter);
/* From a completion: the waiting filter is done; the exchange goes on after it in the next run of the queue. */
void filter_continue(struct filter *filter);
/*
 * The answer to the client, in place of an upstream's. Inside a hook, which then returns FILTER_ANSWERED, or from a
 * completion. `content_type` may be empty (no body then). The bytes are copied. More header fields may be added before
 * by filter_answer_field.
 */
void filter_answer(struct filter *filter, unsigned status, struct span content_type, struct span body);
void filter_answer_field(struct filter *filter, struct span lower_name, struct span value);
/*
 * An answer that is produced over time: `source` is a stream with role STREAM_ANSWER which reports head, body and end
 * itself; its first report must come from the run queue, not from inside this call.
 */
void filter_answer_stream(struct filter *filter, struct stream *source);
/*
 * The fault decides status and log. `message` replaces the table's text towards the client and must hold no secret;
 * empty = the table's; `param` names the offending parameter or is empty. Both are copied. Fields added by
 * filter_answer_field are kept.
 */
void filter_fail(struct filter *filter, enum fault why, struct span message, struct span param);

#endif
