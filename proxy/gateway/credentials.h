/* SPDX-License-Identifier: Apache-2.0 */
/*
 * credentials: how Postern proves itself to a target. What is added here never reaches the application, a log or an
 * error, and is wiped when it is replaced.
 *
 * A credential is what a worker holds of one identity (gateway/identity.h) for one scope: a token with its end, the key
 * in a file, or nothing yet. It is found by what the identity is, not by its name, so all targets with the same
 * identity share it, and it outlives a reload that does not change it. At most one request for a token is under way for
 * each (single flight); it is renewed ahead of its end while the old one goes on being used; failures are answered by
 * waiting as long as their kind asks for (gateway/credential_policy.h). Requests that come before the first token wait
 * for it.
 *
 * Each worker has its own: one request per token life and core is nothing to an authority, and the data path needs no
 * lock. Readiness of the process does not depend on any of this: an outage of the authority must not take application
 * pods away.
 */
#ifndef POSTERN_GATEWAY_CREDENTIALS_H
#define POSTERN_GATEWAY_CREDENTIALS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fault.h"
#include "base/list.h"
#include "gateway/identity.h"
#include "gateway/snapshot.h"
#include "gateway/token_reply.h"
#include "http/fields.h"
#include "net/pending.h"

struct credential;
struct credentials;
struct worker;

/* ---- for attempts ---- */

/* Whether a 401 or 403 of this target speaks of our credential and not of the client's. */
bool credential_is_ours(const struct target *target);
/* Whether the client's own credential goes on to this target. */
bool credential_is_clients(const struct target *target);

struct credential_wait;
/*
 * NONE: it is there now. CREDENTIAL_UNAVAILABLE: it cannot be had, or not in time; `detail` is for the log and names
 * identity, cause and remedy (valid during the call). From the run queue or an event, never inside credential_start.
 */
typedef void credential_fn(struct credential_wait *wait, enum fault why, const char *detail);

/* One who waits; lives in its owner, zeroed but for what is set by it. */
struct credential_wait {
    struct pending pending;
    credential_fn *done;
    uint64_t timeout; /* µs to wait at most */
    uint64_t beyond;  /* a token newer than this generation is wanted; 0: any */
    bool patient;     /* waits through failures that pass by themselves; else the first one is reported */
    /* private */
    struct list link;
    struct credential *credential;
    uint64_t deadline;
    bool hopeless;
};

/* Whether the target's credential is there and newer than `beyond` (0: any), or none is needed. If not:
 * credential_start. */
MUST_CHECK bool credential_ready(struct worker *worker, struct snapshot *snapshot, const struct target *target,
                                 uint64_t beyond);
/* Waits for it: linked on `pendings`, ended early by pending_cancel(&wait->pending). Only when it is not ready. */
void credential_start(struct worker *worker, struct snapshot *snapshot, const struct target *target,
                      struct list *pendings, struct credential_wait *wait);
/*
 * Adds the target's credential: `api-key` for a key to Azure OpenAI, `Authorization: Bearer` else; nothing if it has
 * none. The value lives until the loop's turn ends. *ret_generation: which one it was (0: none). False when there is
 * none after all: it has ended meanwhile.
 */
MUST_CHECK bool credential_apply(struct worker *worker, struct snapshot *snapshot, const struct target *target,
                                 struct arena *arena, struct fields *fields, uint64_t *ret_generation);
/*
 * The target answered 401 to that generation: whether a newer one can be had (it has been replaced meanwhile, is a
 * token older than a minute, or its file has changed). Then wait for one with `beyond`.
 */
bool credential_may_renew(struct worker *worker, struct snapshot *snapshot, const struct target *target,
                          uint64_t generation);
/* The target's answer says that the identity lacks a role there: logged, with the remedy, at most once a minute. */
void credential_lacks_role(struct worker *worker, struct snapshot *snapshot, const struct target *target,
                           unsigned status);

/* ---- for others that prove themselves: Redis ---- */

/* The credential of an identity for a scope (empty: the identity's own), made at first use. */
struct credential *credential_get(struct worker *worker, struct snapshot *snapshot, const struct identity *identity,
                                  struct span scope);
/* The token, and the object id in it (empty when it has none). False: there is none now. Valid until the turn ends. */
MUST_CHECK bool credential_token(struct credential *credential, struct span *ret_token, struct span *ret_object_id);

/*
 * Told of every new token, from an event or the run queue: the time to authenticate live connections anew. While there
 * is a watch the credential is kept, and asked for if there is no token yet. Remove it before its memory goes.
 */
struct credential_watch {
    struct list link;
    void (*changed)(struct credential_watch *watch, struct credential *credential);
};
void credential_watch(struct credential *credential, struct credential_watch *watch);
void credential_unwatch(struct credential_watch *watch);

/* ---- status ---- */

enum credential_state {
    CREDENTIAL_STARTING, /* nothing has been asked for or answered yet */
    CREDENTIAL_GOOD,
    CREDENTIAL_AILING, /* renewing fails, the old one still serves */
    CREDENTIAL_FAILING /* there is none */
};
const char *credential_state_name(enum credential_state state);

struct credential_status {
    struct span name, kind, scope;
    enum credential_state state;
    uint64_t code;                       /* AADSTS number; 0: none */
    const struct token_trouble *trouble; /* of the last failure; NULL while good */
    const char *detail;                  /* words about it; "" while good */
    uint64_t expires_in, retry_in;       /* µs from now; 0: does not apply */
    uint64_t obtained, failed;           /* counts since the start */
};
/* All of this worker: start with *cursor = 0, false at the end. Spans live until the turn ends. */
bool credentials_status(struct worker *worker, size_t *cursor, struct credential_status *ret);

/* ---- life, for worker.c ---- */

MUST_CHECK struct credentials *credentials_create(struct worker *worker);
/* The worker serves `snapshot` from now on: tokens its targets need are asked for ahead of the first request. */
void credentials_adopt(struct credentials *all, struct snapshot *snapshot);
/* Nobody may wait any more. NULL is allowed. */
void credentials_destroy(struct credentials *all);

#endif
