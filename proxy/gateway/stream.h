/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream: one HTTP message pair, whatever carries it: an HTTP/1.1 turn, one HTTP/2 stream, or a source inside the
 * process (the mock model, a cached answer). A stream has two faces:
 *
 *   down: the `stream_ops` below. They take what is to be sent and never call back from inside the call.
 *   up:   what arrived is reported by the stream_arrived_* functions, from event callbacks or the run queue only. In
 * server role they reach the exchange's request side, in client role the attempt, for a local answer the exchange's
 * response side.
 *
 * A stream belongs to its connection (or to the arena of its exchange, if local). After `reset`, or after both
 * directions have ended, the stream no longer knows its user and reports nothing more.
 */
#ifndef POSTERN_GATEWAY_STREAM_H
#define POSTERN_GATEWAY_STREAM_H

#include "base/fault.h"
#include "http/message.h"

struct attempt;
struct exchange;
struct stream;
struct tls_peer;

struct stream_ops {
    const char *name; /* "h1", "h2", "local": log and access log */
    /*
     * Sends the head: a response in server role (also interim ones, status 1xx), a request in client role. `end`: no
     * body follows. The message's spans need to live only during the call.
     */
    void (*head)(struct stream *, struct message *head, bool end);
    /* Sends body bytes; takes all of them (copying what cannot leave at once). Look at `queued` to see the backlog. */
    void (*body)(struct stream *, struct span bytes);
    /* Ends this side's message. `trailers` may be NULL. */
    void (*end)(struct stream *, const struct fields *trailers);
    /* Whether more incoming body bytes are welcome. Bytes already read may still arrive once. Idempotent. */
    void (*want)(struct stream *, bool more);
    /*
     * The user gives up: the peer sees a reset (HTTP/2) or a close (HTTP/1). The user is forgotten at once. In client
     * role with why == FAULT_NONE the answer is complete but its tail may still be read, so that the connection stays
     * reusable.
     */
    void (*reset)(struct stream *, enum fault why);
};

enum stream_role {
    STREAM_SERVER, /* we answer */
    STREAM_CLIENT, /* we ask: reports to an attempt */
    STREAM_ANSWER  /* a local source that answers an exchange in place of an attempt */
};

struct stream {
    const struct stream_ops *ops;
    enum stream_role role;
    struct exchange *exchange;               /* STREAM_SERVER, STREAM_ANSWER; NULL when forgotten */
    struct attempt *attempt;                 /* STREAM_CLIENT; NULL when forgotten */
    size_t queued;                           /* bytes taken by body() that have not reached the kernel */
    bool reused;                             /* STREAM_CLIENT: the connection has carried a message pair before */
    const struct tls_peer *peer_certificate; /* STREAM_SERVER: net/tls.h; NULL when the client gave none */
    bool congested;                          /* queued went over the high mark; stream_arrived_room will be called */
};

/*
 * High and low marks of bytes waiting in one direction of one exchange: above HIGH the source is no longer read, below
 * LOW it is again. One 64 KiB read may come on top. (issue: "buffered bytes per direction")
 */
#define STREAM_HIGH_MARK ((size_t)128 * 1024)
#define STREAM_LOW_MARK  ((size_t)48 * 1024)

/* The head is complete in *message (the one handed to the codec when the stream was opened). */
void stream_arrived_head(struct stream *, struct message *head, bool end);
/* Body bytes; valid during the call. */
void stream_arrived_body(struct stream *, struct span bytes);
/* The peer's message is complete. `trailers` may be NULL; valid during the call. */
void stream_arrived_end(struct stream *, const struct fields *trailers);
/*
 * The stream is over before its time: reset, connection lost, malformed message. `reason` is a short static text for
 * the log. `retry_safe`: the peer has certainly not begun to work on it (REFUSED_STREAM, above GOAWAY's last id, reused
 * connection closed before the first byte). The stream has forgotten its user when this is called.
 */
void stream_arrived_failure(struct stream *, enum fault why, const char *reason, bool retry_safe);
/* A congested stream has room again (queued below STREAM_LOW_MARK). */
void stream_arrived_room(struct stream *);

/* For implementations: keeps `queued` and `congested` and reports room. */
void stream_queue_grew(struct stream *, size_t queued_now);
void stream_queue_shrank(struct stream *, size_t queued_now);

#endif
