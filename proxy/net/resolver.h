/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resolver: host names to addresses by c-ares, one per worker. Answers are cached for their TTL, at least `floor` and
 * at most `ceiling`; failures shortly. When DNS fails after a good answer, the last good one is used again and again
 * asked for; who has such an answer waits half a second at most. Lookups of one name share one query. IP literals,
 * localhost and /etc/hosts need no query.
 */
#ifndef POSTERN_NET_RESOLVER_H
#define POSTERN_NET_RESOLVER_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/span.h"
#include "net/address.h"
#include "net/pending.h"

struct resolver;

/* Most addresses kept per name. */
#define RESOLVER_ADDRESSES 16

struct resolver_options {
    const char *servers;               /* "10.0.0.10:53,10.0.0.11" instead of /etc/resolv.conf; NULL: the system's */
    uint64_t floor, ceiling, negative; /* µs; 0: 5 s, 300 s, 2 s */
    uint64_t timeout;                  /* of one lookup, all servers together, µs; 0: 5 s */
    size_t names;                      /* most names cached; 0: 1024; the least recently used goes */
};

/* `options` NULL: all defaults. c-ares is started at the first query. Never NULL. */
MUST_CHECK struct resolver *resolver_create(struct loop *loop, const struct resolver_options *options);
/* No lookup may be live. NULL is allowed. */
void resolver_destroy(struct resolver *resolver);

/*
 * One question. Lives inside its owner until done, cancelled or timed out. `done` gets the addresses (ports 0, IPv6
 * first where DNS gave both, valid during the call), or count 0 and why not ("no such host", "dns timed out").
 */
struct lookup {
    struct pending pending;
    struct list link; /* resolver's */
    struct task task; /* resolver's */
    struct resolver *resolver;
    struct lookup_name *name; /* resolver's */
    struct address literal;
    void (*done)(struct lookup *lookup, const struct address *addresses, size_t count, const char *why);
};

/*
 * Starts; `done` must be set, all else zero. Never calls back within the call. `list` and `pending` as in
 * net/pending.h; its deadline is the resolver's timeout. End it early with
 * pending_cancel(&lookup->pending).
 */
void resolver_lookup(struct resolver *resolver, struct lookup *lookup, struct span host, struct list *list);
/* Other bounds for answers and lookups to come, µs; 0: the defaults. Servers are asked at the first timeout's pace. */
void resolver_adopt(struct resolver *resolver, uint64_t floor, uint64_t ceiling, uint64_t timeout);
/* Forgets cached answers (names keep being usable if DNS fails next). */
void resolver_flush(struct resolver *resolver);

#endif
