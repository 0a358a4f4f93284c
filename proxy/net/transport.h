/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transport: a byte stream to a peer, plain or TLS, that is already connected (and, for TLS, has its handshake behind
 * it) when its owner gets it from a listener or a connector. The owner holds it alone and ends it by transport_close.
 *
 * A failure or the peer's end is told exactly once: by the return value of a read or write, or by an event.
 * After TRANSPORT_EOF reading is over (interest drops by itself) while writing may go on; after TRANSPORT_ERROR both
 * are.
 *
 * Reading: on TRANSPORT_READABLE read once into loop_scratch; again only when the buffer came back full, since a short
 * read means there is nothing more now. Writing: write at once what there is; after a short write keep the rest and
 * wait for TRANSPORT_WRITABLE, which comes once.
 */
#ifndef POSTERN_NET_TRANSPORT_H
#define POSTERN_NET_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/compiler.h"
#include "base/span.h"
#include "net/address.h"

struct loop;
struct transport;
struct accept_limit;
struct tls_peer;

enum transport_event {
    TRANSPORT_SECURED,  /* the TLS handshake is done; seen only by whoever called tls_start */
    TRANSPORT_READABLE, /* bytes, or the end, can be read; comes only while read interest stands */
    TRANSPORT_WRITABLE, /* once after a short write */
    TRANSPORT_CLOSED,   /* the peer ended its direction while nobody wanted to read (a half close looks the same) */
    TRANSPORT_FAILED,   /* reset, timed out, or a TLS failure; transport_error says what */
};

enum { TRANSPORT_EOF = -1, TRANSPORT_ERROR = -2 };

typedef void transport_fn(struct transport *transport, enum transport_event event);

/* Most iovecs that one transport_write looks at; more are left for the next call. */
#define TRANSPORT_IOVECS 64

struct transport_ops {
    const char *name;
    ssize_t (*read)(struct transport *t, char *into, size_t size);
    ssize_t (*write)(struct transport *t, const struct iovec *iov, int count);
    void (*want)(struct transport *t, bool read);
    void (*shutdown)(struct transport *t);
    void (*close)(struct transport *t);
    struct span (*alpn)(const struct transport *t);                /* NULL: none */
    const struct tls_peer *(*tls_peer)(const struct transport *t); /* NULL: not TLS */
    const char *(*error)(const struct transport *t);
};

/* The part all transports have; the implementations embed it first. Fields are read-only for owners, save `owner`,
 * `notify`. */
struct transport {
    const struct transport_ops *ops;
    struct loop *loop;
    void *owner;
    transport_fn *notify;
    struct address peer;        /* who is at the other end; behind a PROXY header the original peer */
    struct accept_limit *limit; /* accepted ones: counted there until closed; else NULL */
    int fd;                     /* for diagnostics; -1 if none */
    bool secure;                /* TLS */
    bool want_read;
    bool closed;
};

/* Hands events to another owner from now on. */
void transport_own(struct transport *t, void *owner, transport_fn *notify);

/*
 * Up to `size` bytes into `into`. > 0: bytes; 0: nothing now; TRANSPORT_EOF: the peer ended its direction;
 * TRANSPORT_ERROR. For TLS a record end does not make a short read: a short one still means nothing more now.
 */
MUST_CHECK ssize_t transport_read(struct transport *t, char *into, size_t size);
/* Bytes taken (they are sent or will be), fewer than asked when the peer is slow, or TRANSPORT_ERROR. Never raises
 * SIGPIPE. */
MUST_CHECK ssize_t transport_write(struct transport *t, const struct iovec *iov, int count);
/*
 * Interest in reading. Off costs nothing at once: only when bytes arrive unwanted is the descriptor disarmed; a peer
 * that leaves in the meantime, with nothing unread before its end, is told as TRANSPORT_CLOSED. Transports start
 * without interest.
 */
void transport_want(struct transport *t, bool read);
/* Ends our direction (FIN; close_notify before it for TLS). Everything written before still arrives. */
void transport_shutdown(struct transport *t);
/* Ends it: no event comes any more, the descriptor is closed now, the memory is buried. NULL is allowed. */
void transport_close(struct transport *t);
/*
 * Ends it so that the peer can still read what was written even if it is sending: our direction is shut, what arrives
 * is thrown away until its end, `timeout` µs or LINGER_BYTES. The transport belongs to net from here on.
 */
#define LINGER_BYTES (256 * 1024)
void transport_linger(struct transport *t, uint64_t timeout);

/* The protocol agreed by ALPN ("h2", "http/1.1") or empty; valid as long as the transport. */
struct span transport_alpn(const struct transport *t);
/* What a client's certificate says (net/tls.h), or NULL when it gave none; valid as long as the transport. */
const struct tls_peer *transport_tls_peer(const struct transport *t);
/* Why it failed, in a few words for the log; "" while it has not. */
const char *transport_error(const struct transport *t);

/*
 * A transport over a connected, non-blocking stream socket, which it owns from here on. TCP sockets get TCP_NODELAY and
 * keepalive (first probe after 60 s, then each 10 s, dead after 6).
 */
MUST_CHECK struct transport *transport_socket(struct loop *loop, int fd, const struct address *peer);

/* How many transports are open in the whole process: zero after every test. */
unsigned transport_count(void);
/* For implementations: counts one in and sets the common part (fd -1, not secure, no interest, no owner). */
void transport_init(struct transport *t, const struct transport_ops *ops, struct loop *loop);
/* For implementations: hands the event to the owner unless closed. */
void transport_notify(struct transport *t, enum transport_event event);

#endif
