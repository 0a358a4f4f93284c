/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What credentials.c (who holds and wants them) and credential_refresh.c (getting and renewing) need of each other.
 */
#ifndef POSTERN_GATEWAY_CREDENTIAL_INTERNAL_H
#define POSTERN_GATEWAY_CREDENTIAL_INTERNAL_H

#include "base/table.h"
#include "gateway/credential_ask.h"
#include "gateway/credential_policy.h"
#include "gateway/credentials.h"
#include "gateway/fetch.h"
#include "gateway/secret_file.h"
#include "net/loop.h"

#define CREDENTIAL_OBJECT_ID 64

struct credential {
    struct worker *worker;
    struct snapshot *snapshot; /* keeps `identity` alive */
    const struct identity *identity;
    struct span key;   /* own copy: identity key, scope */
    struct span scope; /* its end */
    bool named;        /* by the worker's present snapshot */

    /* what it is: "Bearer " and the secret; empty: nothing */
    char *value;
    size_t value_len;
    uint64_t generation;               /* 1, 2, ... */
    uint64_t obtained_at;              /* loop time */
    uint64_t usable_until, expires_at; /* loop time; 0: no end */
    char object_id[CREDENTIAL_OBJECT_ID];

    /* getting it */
    struct fetch fetch;
    struct timer timer;          /* when to renew, or to try again */
    struct task unasked;         /* the request could not even be made: reported from the queue */
    uint64_t asked_at, retry_at; /* loop time; retry_at 0: not backing off */
    struct credential_failure failure;
    char detail[320];                                    /* of the last failure */
    struct secret_mark mark;                             /* file kinds */
    struct secret_mark asked_with[CREDENTIAL_ASK_FILES]; /* the files as they were when it was last asked */
    uint64_t looked_at;

    struct list waiters; /* credential_wait.link */
    struct list watches;
    struct task settle; /* tells those who wait in vain */

    enum credential_state state;
    uint64_t code;
    const struct token_trouble *trouble;
    uint64_t role_logged_at;
    uint64_t obtained, failed;
};

struct credentials {
    struct worker *worker;
    struct snapshot *snapshot;    /* the one by_index is of; not a reference, the worker has one */
    struct table by_key;          /* key -> struct credential */
    struct credential **by_index; /* of the identities of `snapshot`; NULL: the client's own */
    struct task ahead;            /* asks for the tokens that targets need */
};

/* ---- credential_refresh.c ---- */

/* Sets up timer and tasks. */
void credential_refresh_init(struct credential *credential);
/* Ends whatever is under way. */
void credential_refresh_finish(struct credential *credential);
/* Asks for a token now, unless that is under way. The outcome comes by credential_settle. */
void credential_ask_now(struct credential *credential);
/* File kinds: looks whether the file has changed, at most once a second unless `now`; true: the value is another one.
 */
bool credential_look(struct credential *credential, bool now);
/* Another value. Told to watches. */
void credential_set(struct credential *credential, struct span secret);

/* ---- credentials.c ---- */

/* Something was obtained or failed: tells those who wait for it. */
void credential_settle(struct credential *credential);
/* Whether the value can be sent now. */
bool credential_usable(const struct credential *credential);

#endif
