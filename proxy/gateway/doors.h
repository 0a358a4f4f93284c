/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doors: the addresses a process listens on, across reloads. A door is one address with a socket per worker; it stays
 * open as long as the configuration names the address, whatever else changes there (name, filters, TLS, PROXY protocol,
 * mode of a socket file). An address that is new is bound before the configuration is taken, so one that cannot be had
 * refuses it; an address that is gone is closed after what waits there has been accepted, and its connections end after
 * what they do, served as the last configuration that knew them says.
 *
 * The process's own thread opens doors and hands rounds (a snapshot and its doors) to the workers, each of which takes
 * what is its own and keeps a reference to the round it serves. A round that a worker missed costs nothing: sockets
 * wait in their door until they are taken.
 */
#ifndef POSTERN_GATEWAY_DOORS_H
#define POSTERN_GATEWAY_DOORS_H

#include <stdatomic.h>

#include "config/report.h"
#include "gateway/snapshot.h"
#include "net/listener.h"

struct worker;

/* One address. Counted by the rounds that have it. */
struct door {
    atomic_uint refs;
    struct listen_address address;
    bool admin; /* the first worker's alone */
    unsigned worker_count;
    _Atomic int *fds; /* one per worker, -1: taken or none */
};

struct round_door {
    struct door *door;
    struct tls_context *tls; /* NULL: plain */
};

/* A snapshot and the doors of its listeners, in their order. Immutable, counted. */
struct round {
    atomic_uint refs;
    struct snapshot *snapshot;
    unsigned count;
    struct round_door *doors;
};

/* How many listeners a snapshot has, admin and control among them: snapshot->listeners[0..]. */
unsigned doors_count(const struct snapshot *snapshot);
/*
 * Opens what `before` (NULL: nothing) does not have and takes over the rest. One reference; takes one to the snapshot.
 * NULL, with everything as it was, after at least one report_error at the listener's place.
 */
MUST_CHECK struct round *round_create(struct snapshot *snapshot, unsigned worker_count, const struct round *before,
                                      struct report *report);
struct round *round_ref(struct round *round);
/* NULL is allowed. Closes sockets that nobody has taken. */
void round_unref(struct round *round);
/* The worker's own thread: serves the round's snapshot and listens on its doors, and on no others. */
void round_take(struct round *round, struct worker *worker);
/* Loads certificates whose files have changed, and says so in the log. About once a second. */
void round_reload_certificates(const struct round *round);

#endif
