/* SPDX-License-Identifier: Apache-2.0 */
/*
 * credential_policy: when a token is renewed, and when somebody who did not give one is asked again. Pure; all times in
 * µs.
 */
#ifndef POSTERN_GATEWAY_CREDENTIAL_POLICY_H
#define POSTERN_GATEWAY_CREDENTIAL_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "gateway/token_reply.h"

/*
 * After how long, from when it was asked for, a token is renewed: at refresh_in when the reply says so, else at half of
 * a life of two hours or more, else five minutes before its end (half-way when it lives for less than ten). Up to 10 %
 * to either side, so that the pods of a deployment do not ask together, but never in the last quarter of those five
 * minutes.
 */
uint64_t credential_renew_after(const struct token_reply *reply, uint64_t *random);

/* How long a token is used, from when it was asked for: its life less a tenth, at most ten seconds, for the way to the
 * target. */
uint64_t credential_use_for(const struct token_reply *reply);

/* Who was asked in vain. */
struct credential_failure {
    enum token_action action;
    unsigned count;       /* failures in a row, this one included: 1, 2, ... */
    uint64_t retry_after; /* what the answer asked for; 0: nothing. Obeyed up to an hour */
    bool imds;            /* the metadata service, with delays of its own */
    unsigned status;      /* 0: no answer */
};

/* How long to wait before asking again. 0 only for a token file that is to be read again at once. */
uint64_t credential_retry_after(const struct credential_failure *failure, uint64_t *random);

/* Whether a request that waits should go on waiting for the next try. */
bool credential_passes(const struct credential_failure *failure);

#endif
