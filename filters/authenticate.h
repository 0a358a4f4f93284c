/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the filter `authenticate` share: authenticate.c (the filter), authenticate_settings.c (its
 * settings) and authenticate_jwt.c (the method jwt with its memory of verified tokens).
 */
#ifndef POSTERN_FILTERS_AUTHENTICATE_H
#define POSTERN_FILTERS_AUTHENTICATE_H

#include "base/arena.h"
#include "config/schema.h"
#include "gateway/filter.h"
#include "gateway/issuer_keys.h"
#include "gateway/keys.h"

/* ---- settings ---- */

struct api_keys_settings {
    struct settings settings;
    struct span file;
    struct setting_secret pepper;
    struct setting_list headers; /* beside Authorization and api-key */
};

struct jwt_settings {
    struct settings settings;
    struct span issuer;
    struct setting_list audience;
    struct setting_url jwks_url;
    struct span jwks_file, ca, token_file;
    struct span consumer_claim, groups_claim;
    struct setting_pairs attributes; /* attribute -> claim */
    uint64_t algorithms;             /* bits 1 << enum crypto_algorithm; 0: all */
    uint64_t skew, refresh, floor, wait;
};

enum certificate_name { CERTIFICATE_SUBJECT, CERTIFICATE_SAN_URI, CERTIFICATE_SAN_DNS };
struct certificate_settings {
    struct settings settings;
    enum certificate_name consumer;
    struct setting_list match, groups;
};

struct peer_settings {
    struct settings settings;
    struct setting_secret consumer;
    struct span name;
    struct setting_list groups;
};

/* Exactly one is not NULL. */
struct method_settings {
    struct settings settings;
    const struct api_keys_settings *api_keys;
    const struct jwt_settings *jwt;
    const struct certificate_settings *client_certificate;
    const struct peer_settings *peer;
};

struct authenticate_settings {
    struct settings settings;
    const struct method_settings *methods;
    size_t method_count;
};

extern const struct settings_spec authenticate_spec;

/* ---- methods ---- */

enum method_kind { METHOD_API_KEY, METHOD_JWT, METHOD_CLIENT_CERTIFICATE, METHOD_PEER, METHOD_KIND_COUNT };

enum method_result {
    METHOD_GOOD,        /* exchange->consumer is set */
    METHOD_ABSENT,      /* nothing that this method could judge */
    METHOD_REFUSED,     /* *why says why */
    METHOD_WAIT,        /* a pending is under way */
    METHOD_UNAVAILABLE, /* it cannot be judged at the moment */
};

/* Static texts: a word for counters and logs, a clause for the caller. Never hold anything of the credential. */
struct refusal {
    struct span word, text;
};

/* Who was found, wherever the texts lie; caller_enter copies them. */
struct caller {
    struct span name;
    const struct span *groups;
    unsigned group_count;
    const struct setting_pair *attributes;
    unsigned attribute_count;
};

/* Makes it the exchange's consumer. `method` is static. */
void caller_enter(struct exchange *exchange, struct span method, const struct caller *caller);
/* Whether the text can be a name: 1 to 512 bytes without control characters. */
bool caller_name_is_usable(struct span text);

/* ---- jwt: one worker's part ---- */

struct jwt_method;

MUST_CHECK struct jwt_method *jwt_method_create(struct worker *worker, const struct jwt_settings *settings,
                                                const struct jwt_method *previous);
/* NULL is allowed. Wipes what it remembers. */
void jwt_method_destroy(struct jwt_method *method);
/* The issuer's keys, to hand on to a successor. */
struct issuer_keys *jwt_method_keys(const struct jwt_method *method);
/*
 * Judges a bearer token. METHOD_WAIT: `wait` is under way on the exchange's pendings and calls `done`; then call again
 * with `waited`, which never waits.
 */
enum method_result jwt_method_try(struct jwt_method *method, struct exchange *exchange, struct span token, bool waited,
                                  struct issuer_wait *wait, void (*done)(struct issuer_wait *wait),
                                  struct refusal *why);

#endif
