/* SPDX-License-Identifier: Apache-2.0 */
/*
 * redis_stores: a worker's clients of the stores that the configuration names, one each. They outlive a reload that
 * does not change them, and log in with the worker's credentials, anew with every new token.
 *
 * A filter's setting names one by `.refers = "stores"` (config/schema.h), and `attach` looks it up:
 *
 *     struct redis_store *store = redis_store_get(worker->stores, settings->store);    once
 *     if (store->redis) redis_ask(store->redis, ...);                                   each time: a reload may change
 * it
 */
#ifndef POSTERN_GATEWAY_REDIS_STORES_H
#define POSTERN_GATEWAY_REDIS_STORES_H

#include "gateway/credentials.h"
#include "gateway/redis.h"

struct redis_stores;
struct snapshot;
struct worker;

/* Stays in its place as long as the worker's stores, whatever becomes of the configuration. */
struct redis_store {
    struct list link;    /* private, as all but the next two */
    struct span name;    /* own copy */
    struct redis *redis; /* NULL: the configuration does not name it any more, or its TLS files are broken */
    struct redis_stores *stores;
    uint8_t fingerprint[32]; /* of the settings that it was made from */
    struct tls_context *tls; /* what `redis` connects with; NULL: plain */
    struct credential *credential;
    struct credential_watch watch;
    struct span username; /* own copy; empty: the object id in the token */
    bool named;
    struct redis_counters past; /* of clients that reloads have replaced */
};

/* Never NULL; without stores until redis_stores_adopt. */
MUST_CHECK struct redis_stores *redis_stores_create(struct worker *worker);
/*
 * The worker serves `snapshot` from now on: connects to its stores. Stores that have changed are made anew; calls live
 * on the old one end as LOST.
 */
void redis_stores_adopt(struct redis_stores *stores, struct snapshot *snapshot);
/* Looks whether certificates and authorities have changed in their files: connections from now on have the new ones. */
void redis_stores_reload_certificates(struct redis_stores *stores);
/* Before the worker's credentials. No calls may be live. NULL is allowed. */
void redis_stores_destroy(struct redis_stores *stores);

/* NULL when no snapshot so far has named it. */
struct redis_store *redis_store_get(struct redis_stores *stores, struct span name);
/* As redis_status; counters go on over reloads. Zero but for them when there is no client. */
void redis_store_status(const struct redis_store *store, struct redis_status *ret);
/* All of them, for metrics: start with NULL, NULL at the end. `stores` NULL: there are none. */
struct redis_store *redis_store_next(struct redis_stores *stores, struct redis_store *store);

#endif
