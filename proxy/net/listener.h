/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listener: accepts connections on one address for one worker and hands over transports that are ready: PROXY header
 * read, TLS handshake done. Peers that are slow or wrong in that never reach the owner.
 *
 *     struct listen_address address;               "127.0.0.1:4610", "[::1]:4610", "unix:/run/postern/postern.sock"
 *     int fd = listener_bind(&address, &error);    the first worker: an address that somebody else has is an error
 *     int fd2 = listener_bind_again(fd, &error);   each further worker
 *     struct listener *l = listener_create(loop, fd, &options, on_accept, owner);
 */
#ifndef POSTERN_NET_LISTENER_H
#define POSTERN_NET_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

#include "base/compiler.h"
#include "base/list.h"
#include "base/span.h"
#include "net/address.h"
#include "net/tls.h"

struct listener;
struct loop;

struct listen_address {
    struct address ip; /* family ADDRESS_UNIX: see path */
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    unsigned mode; /* of the Unix-domain socket, e.g. 0660; 0: as the umask leaves it */
};

/*
 * False and *error when it is neither form. Port 0 takes a free one (tests). Host names and "*" are not accepted.
 * "[::]:4610" takes IPv6 only, "0.0.0.0:4610" IPv4 only.
 */
MUST_CHECK bool listen_address_parse(struct span text, struct listen_address *ret, struct net_error *error);

/*
 * Binds and listens. TCP: after a probe without SO_REUSEPORT, so that another process on the address is an error and
 * not a silent sharer. Unix: a socket file on which nobody listens is removed, one on which somebody does is an error.
 * Returns a descriptor, or -1 and *error.
 */
MUST_CHECK int listener_bind(const struct listen_address *address, struct net_error *error);
/* The same for an address that overlaps with one this process listens on (its port on all hosts, and on one): no probe,
 * which would only find that. */
MUST_CHECK int listener_bind_beside(const struct listen_address *address, struct net_error *error);
/* Another descriptor for the same address, to give to another worker: SO_REUSEPORT, or the same socket for Unix. */
MUST_CHECK int listener_bind_again(int first, struct net_error *error);

/* Connections open on one worker, all its listeners together. Owned by the worker; must outlive listeners and
 * transports. */
struct accept_limit {
    unsigned open, most;
    struct list waiting; /* listeners that paused at the limit */
};
void accept_limit_init(struct accept_limit *limit, unsigned most);
/* For transport_close: one connection less; lets paused listeners go on. */
void accept_limit_release(struct accept_limit *limit);

/* How long PROXY header and TLS handshake may take together, µs. */
#define LISTENER_HANDSHAKE_TIMEOUT UINT64_C(10000000)

struct listener_options {
    struct accept_limit *limit; /* required: at its limit accepting pauses and clients wait in the kernel's queue */
    struct tls_context *tls;    /* NULL: plain; a reference is taken */
    /* PROXY protocol (v1, v2) is required of peers within these ranges and not looked for from others. Copied. */
    const struct address_range *proxy_trusted;
    size_t proxy_trusted_count;
    uint64_t handshake_timeout; /* µs; 0: LISTENER_HANDSHAKE_TIMEOUT */
};

/*
 * A new connection; the receiver owns the transport (transport_own it) and no interest stands. transport->peer is the
 * client (the original one behind a trusted PROXY header).
 */
typedef void listener_fn(void *owner, struct listener *listener, struct transport *transport);

/* Takes the descriptor. Accepts from the next turn on. */
MUST_CHECK struct listener *listener_create(struct loop *loop, int fd, const struct listener_options *options,
                                            listener_fn *accepted, void *owner);
/* Stops and resumes accepting; the kernel keeps queueing. */
void listener_pause(struct listener *listener, bool pause);
/* Uses other options for connections to come (reload); the limit must be the same. */
void listener_adopt(struct listener *listener, const struct listener_options *options);
/* The local address; the port is the real one when 0 was asked for. */
struct address listener_address(const struct listener *listener);
/*
 * Takes what waits in the kernel's queue, then closes the socket: whoever got through to it is served. The file of a
 * Unix socket is removed if `unlink_path`. What has arrived goes on to the owner; listener_close is still due. Twice is
 * once, NULL is allowed.
 */
void listener_finish(struct listener *listener, bool unlink_path);
/* Whether PROXY headers or handshakes are awaited. */
bool listener_arriving(const struct listener *listener);
/*
 * Stops for good and drops handshakes under way; connections handed over are not touched. The file of a Unix socket is
 * removed if `unlink_path` (by the worker that bound it). NULL is allowed.
 */
void listener_close(struct listener *listener, bool unlink_path);
/* Counters since creation. */
struct listener_counts {
    uint64_t accepted, handshake_failed, proxy_refused, out_of_files;
};
struct listener_counts listener_counts(const struct listener *listener);

#endif
