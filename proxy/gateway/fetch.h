/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fetch: one HTTP/1.1 request of Postern's own with a small answer: tokens, key sets, discovery documents, IMDS. One
 * connection per fetch (Connection: close); redirects are not followed, compressed answers are not asked for. The
 * answer is collected whole, within a limit of size and a limit of time. Not for anything a client waits on by the
 * thousand.
 *
 *     struct fetch_request request = {.method = HTTP_GET, .url = SPAN("https://issuer.example/keys"), .tls = trust,
 *                                     .timeout = 10 * CLOCK_SECOND, .body_most = 256 * 1024};
 *     fetch_start(worker, NULL, &keys->fetch, &request, keys_fetched);
 *     ...
 *     static void keys_fetched(struct fetch *fetch, const struct fetch_answer *answer)
 *     {
 *         struct keys *keys = CONTAINER_OF(fetch, struct keys, fetch);
 *         if (answer->status == 0) log_write(LOG_WARNING, "keys", "%s", answer->detail);
 *         ...
 */
#ifndef POSTERN_GATEWAY_FETCH_H
#define POSTERN_GATEWAY_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/fault.h"
#include "base/list.h"
#include "base/span.h"
#include "gateway/egress.h"
#include "http/h1_reader.h"
#include "http/message.h"
#include "net/pending.h"

struct connector;
struct fetch;
struct loop;
struct resolver;
struct tls_context;
struct transport;
struct worker;

/* Everything is copied by fetch_start (`tls` by reference), and wiped with the fetch: bodies hold secrets. */
struct fetch_request {
    enum http_method method;     /* GET or POST */
    struct span url;             /* absolute, http or https, with any query; no user, no fragment */
    const struct fields *fields; /* added to host, accept, user-agent, connection and the length; NULL: none. Names in
                                    lower case; `accept` replaces ours (application/json) */
    struct span body;            /* of a POST; with its content-type among `fields` */
    struct tls_context *tls;     /* https: whom to trust. NULL: the system's authorities */
    struct span server_name;     /* SNI and verification; empty: the URL's host */
    struct egress proxy;         /* gateway/egress.h; zero: directly */
    size_t body_most;            /* of the answer, in bytes; 0: 64 KiB. Larger: UPSTREAM_TOO_LARGE */
    uint64_t timeout;            /* µs for everything together, from the name to the last byte; 0: 10 s */
};

/* The spans live during the callback. */
struct fetch_answer {
    unsigned status;             /* 0: no answer was had */
    const struct fields *fields; /* of the answer; NULL when status is 0 */
    struct span body;            /* whole; empty when status is 0 */
    enum fault fault; /* status 0: UPSTREAM_RESOLVE, _CONNECT, _TLS, _CLOSED, _PROTOCOL, _TOO_LARGE, CONNECT_TIMEOUT or
                         TOTAL_TIMEOUT; INTERNAL for a URL or field that cannot be sent; else NONE */
    const char *detail; /* a few words for the log, "" when there is an answer; never holds body, query or fields */
};

/*
 * Exactly one call, unless cancelled; never within fetch_start. The fetch is over when it is called: it may be started
 * again from within, or its memory be freed (by loop_bury).
 */
typedef void fetch_fn(struct fetch *fetch, const struct fetch_answer *answer);

/* Lives inside its owner, zeroed before the first start; may be used again when over. */
struct fetch {
    struct pending pending; /* live while it runs */
    /* private */
    struct loop *loop;
    struct connector *connector;
    struct transport *transport;
    struct tls_context *tls;
    struct task failing; /* what is known at once is told from the run queue */
    fetch_fn *done;
    struct buffer out; /* the request */
    size_t sent;
    struct buffer body; /* the answer's, so far */
    struct arena arena; /* the answer's head */
    struct message message;
    struct h1_reader reader;
    size_t body_most;
    char detail[192];
};

/*
 * Starts. `list`: where its pending is linked (an exchange's pendings; NULL: nowhere). End it early with fetch_cancel
 * or by cancelling the pending: `done` is not called then.
 */
void fetch_start(struct worker *worker, struct list *list, struct fetch *fetch, const struct fetch_request *request,
                 fetch_fn *done);
/* Nothing if it is not running. Its memory may be freed by loop_bury afterwards. */
void fetch_cancel(struct fetch *fetch);

/*
 * The value of a Retry-After among `fields` in µs from `wall` (µs since 1970), at most a day; 0 when there is none or
 * it is not understood.
 */
uint64_t fetch_retry_after(const struct fields *fields, uint64_t wall);

#endif
