/* SPDX-License-Identifier: Apache-2.0 */
/*
 * credential_ask: the request by which an identity asks for a token: to Entra ID's token endpoint (a form, as the Azure
 * SDKs send it) or to the instance metadata service. Files are read here, each time anew.
 */
#ifndef POSTERN_GATEWAY_CREDENTIAL_ASK_H
#define POSTERN_GATEWAY_CREDENTIAL_ASK_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/compiler.h"
#include "gateway/fetch.h"
#include "gateway/identity.h"

/* What a request points to, until it has been started. */
struct credential_ask {
    struct fetch_request request;
    struct arena arena;
    struct fields fields;
    struct buffer body; /* holds secrets */
};

/*
 * Prepares the request for a token of that scope. `wall`: µs since 1970. False: *ret_reason says what cannot be read,
 * in the arena of *ret, without its content. credential_ask_finish either way.
 */
MUST_CHECK bool credential_ask_init(struct credential_ask *ret, const struct identity *identity, struct span scope,
                                    uint64_t wall, struct span *ret_reason);
/* Wipes it. */
void credential_ask_finish(struct credential_ask *ask);

/*
 * The files that such a request is made of, at most CREDENTIAL_ASK_FILES; returns how many. When one is another, asking
 * again may bring something else.
 */
#define CREDENTIAL_ASK_FILES 2
unsigned credential_ask_files(const struct identity *identity, struct span ret[CREDENTIAL_ASK_FILES]);

#endif
