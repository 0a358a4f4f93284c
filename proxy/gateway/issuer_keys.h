/* SPDX-License-Identifier: Apache-2.0 */
/*
 * issuer_keys: the key set of one token issuer as one worker knows it, kept fresh in the background: from a file, from
 * a URL, or by discovery (OpenID Connect Discovery 1.0 section 4, RFC 8414 in its OpenID form). What was once had stays
 * in use while the issuer cannot be reached. Never more than one fetch at a time, and not more often than `floor` on
 * behalf of tokens with an unknown key.
 */
#ifndef POSTERN_GATEWAY_ISSUER_KEYS_H
#define POSTERN_GATEWAY_ISSUER_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/jwks.h"
#include "base/list.h"
#include "base/span.h"
#include "net/pending.h"

struct issuer_keys;
struct worker;

/* Texts are copied. One of file, url and, for discovery, issuer decides, in this order. */
struct issuer_options {
    struct span issuer; /* the exact "iss" */
    struct span file;   /* a JWKS; looked at every second */
    struct span url;    /* a JWKS */
    struct span ca;     /* PEM file; empty: the system's */
    struct span
        token_file; /* its content goes as a bearer token to the issuer's host (Kubernetes' API server); empty: none */
    uint64_t refresh; /* µs between fetches */
    uint64_t floor;   /* µs */
};

/*
 * One reference. The first fetch begins at once; a file is read before this returns. With `previous` (may be NULL) of
 * equal options that one is used on, with another reference.
 */
MUST_CHECK struct issuer_keys *issuer_keys_open(struct worker *worker, const struct issuer_options *options,
                                                struct issuer_keys *previous);
/* NULL is allowed. The last one cancels a fetch under way; nobody may be waiting then. */
void issuer_keys_close(struct issuer_keys *keys);

/* Whether they are those of that issuer. */
bool issuer_keys_is_of(const struct issuer_keys *keys, struct span issuer);
/* The set in force, NULL before there is one; valid until the next turn of the loop. */
const struct jwks *issuer_keys_now(const struct issuer_keys *keys);
/* Rises with every change of the set. */
uint64_t issuer_keys_generation(const struct issuer_keys *keys);

/* Someone who waits for a set, or for a newer one. Zeroed before the start. */
struct issuer_wait {
    struct pending pending;
    struct list link;
    void (*done)(struct issuer_wait *wait); /* look at issuer_keys_now again */
};

/*
 * Waits for what the next fetch brings, and starts it unless one is under way. False when it must not be started: there
 * was one less than `floor` ago; then what is known is all. `done` is called when a fetch has ended well, or has failed
 * while there is an older set, or at the deadline (loop time).
 */
MUST_CHECK bool issuer_keys_wait(struct issuer_keys *keys, struct list *pendings, struct issuer_wait *wait,
                                 uint64_t deadline, void (*done)(struct issuer_wait *wait));

/* A discovery document's key set URL, in the arena. False: *ret_reason says why in a few words. For tests and fuzzing
 * as well. */
MUST_CHECK bool issuer_discovery(struct span document, struct span issuer, struct arena *arena, struct span *ret_url,
                                 const char **ret_reason);

#endif
