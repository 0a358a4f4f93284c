/* SPDX-License-Identifier: Apache-2.0 */
/*
 * identity: a configured credential made ready to be used: the environment's defaults filled in, trust loaded, proxy
 * chosen. Immutable, owned by the snapshot. What it opens at a moment (the token, the key in a file) is a worker's
 * credential (gateway/credentials.h), found by `key`, so that it outlives a reload that does not change the identity.
 *
 * The environment is the one that the azure-workload-identity webhook makes: AZURE_CLIENT_ID, AZURE_TENANT_ID,
 * AZURE_FEDERATED_TOKEN_FILE, AZURE_AUTHORITY_HOST; and that of AKS identity bindings: AZURE_KUBERNETES_TOKEN_PROXY,
 * AZURE_KUBERNETES_SNI_NAME, AZURE_KUBERNETES_CA_FILE or AZURE_KUBERNETES_CA_DATA.
 */
#ifndef POSTERN_GATEWAY_IDENTITY_H
#define POSTERN_GATEWAY_IDENTITY_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/compiler.h"
#include "config/config.h"
#include "gateway/egress.h"
#include "net/tls.h"

struct report;
struct snapshot;

/* id, word */
#define IDENTITY_KIND_LIST(X)                                                                                          \
    X(API_KEY, "api_key")                                                                                              \
    X(WORKLOAD, "workload_identity")                                                                                   \
    X(MANAGED, "managed_identity")                                                                                     \
    X(CLIENT_SECRET, "client_secret")                                                                                  \
    X(CLIENT_CERTIFICATE, "client_certificate")                                                                        \
    X(TOKEN_FILE, "service_account_token")                                                                             \
    X(CLIENT, "client")

enum identity_kind {
#define X(id, word) IDENTITY_##id,
    IDENTITY_KIND_LIST(X)
#undef X
        IDENTITY_KIND_COUNT
};

struct identity {
    const struct config_credential *config;
    enum identity_kind kind;
    struct span name; /* as configured; of one written at its target, the target's */
    struct span key;  /* equal for identities that are the same, whatever their names; holds no secret */
    /* kinds that get tokens (identity_asks): */
    struct span scope;
    struct span client_id;
    struct span token_file;    /* workload: what is exchanged; a NUL follows */
    struct span audience;      /* whom a signed assertion is for: the token endpoint of the authority */
    struct span url;           /* where to ask; of the metadata service without its query */
    struct tls_context *trust; /* NULL: the system's authorities, or plain */
    struct span server_name;   /* empty: the URL's host */
    struct egress proxy;
};

/* The word of the configuration: "workload_identity". */
struct span identity_kind_word(enum identity_kind kind);
/* Whether it gets tokens from somebody, for a time: all but keys, files and the application's own. */
static inline bool identity_asks(const struct identity *identity)
{
    return identity->kind == IDENTITY_WORKLOAD || identity->kind == IDENTITY_MANAGED ||
           identity->kind == IDENTITY_CLIENT_SECRET || identity->kind == IDENTITY_CLIENT_CERTIFICATE;
}

/*
 * Fills *ret; texts in the arena or the configuration. `name`: for messages, when the credential has none of its own.
 * With `offline` neither the environment nor files are looked at, and what depends on them stays empty. Problems go
 * to `report`; *ret can be finished either way.
 */
void identity_init(struct identity *ret, const struct config *config, const struct config_credential *credential,
                   struct span name, bool offline, struct arena *arena, struct report *report);
void identity_finish(struct identity *identity);

/* The identity that an entry of config.credentials became; NULL when there is none of that name. */
const struct identity *identity_find(const struct snapshot *snapshot, struct span name);

#endif
