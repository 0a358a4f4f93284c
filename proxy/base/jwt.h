/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jwt: JSON Web Tokens in JWS compact form (RFC 7515, 7519), with RFC 8725's advice built in: there is no way to ask
 * for less.
 *
 *     struct jwt token;
 *     enum jwt_problem why = jwt_parse(text, &arena, &token);        // form, header, claims are JSON without
 * duplicates if (!why) why = jwt_check_issuer(&token, issuer);              // before keys are looked up: is it meant
 * for us? if (!why) why = jwt_verify(&token, keys, algorithms);          // signature if (!why) why =
 * jwt_check_claims(&token, &rules, now, &expires);
 *
 * Refused always: "alg" none or HMAC in any spelling, JWE (five parts), unsecured tokens, any "crit" (we implement no
 * extension, RFC 7515 4.1.11; so b64:false, RFC 7797, too), members given twice, unknown "typ" forms that are not
 * tokens, base64url that is not canonical, more than JWT_BYTES. Keys, certificates and addresses inside the token (jwk,
 * jku, x5c, x5u, x5t) are never used.
 */
#ifndef POSTERN_BASE_JWT_H
#define POSTERN_BASE_JWT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/compiler.h"
#include "base/crypto_key.h"
#include "base/json_value.h"
#include "base/jwks.h"
#include "base/span.h"

/* Longest token and its longest header part (as text), in bytes; most members of one object. */
#define JWT_BYTES        ((size_t)16 * 1024)
#define JWT_HEADER_BYTES ((size_t)8 * 1024)
#define JWT_MEMBERS      256

/* id, word for counters, what the client is told */
#define JWT_PROBLEM_LIST(X)                                                                                            \
    X(NONE, "none", "")                                                                                                \
    X(MALFORMED, "malformed", "the token is malformed")                                                                \
    X(TOO_LARGE, "too_large", "the token is larger than 16 KiB")                                                       \
    X(ENCRYPTED, "encrypted", "encrypted tokens are not accepted")                                                     \
    X(ALGORITHM, "algorithm", "the token's algorithm is not accepted")                                                 \
    X(CRITICAL, "critical", "the token demands an extension that is not known")                                        \
    X(TYPE, "wrong_type", "this is no access or identity token")                                                       \
    X(ISSUER, "wrong_issuer", "the token is from another issuer")                                                      \
    X(UNKNOWN_KEY, "unknown_key", "the token is signed with an unknown key")                                           \
    X(SIGNATURE, "bad_signature", "the token's signature is wrong")                                                    \
    X(AUDIENCE, "wrong_audience", "the token is for another audience")                                                 \
    X(EXPIRED, "expired", "the token has expired")                                                                     \
    X(NOT_YET, "not_yet_valid", "the token is not valid yet")                                                          \
    X(CLAIM, "missing_claim", "a claim of the token is missing or has the wrong type")

enum jwt_problem {
#define X(id, word, text) JWT_##id,
    JWT_PROBLEM_LIST(X)
#undef X
        JWT_PROBLEM_COUNT
};

/* Static texts; an out-of-range value gives MALFORMED's. */
struct span jwt_problem_word(enum jwt_problem problem);
struct span jwt_problem_text(enum jwt_problem problem);

/* The members of one JSON object, found by the keyed hash of their decoded names (base/hash.h). */
struct jwt_member {
    uint64_t hash;
    struct json_value value;
};
struct jwt_object {
    const struct jwt_member *members;
    unsigned count;
};

/* A parsed token. Spans lie in the text given or in the arena. */
struct jwt {
    struct span message;   /* what is signed: header "." payload, as in the text */
    struct span signature; /* raw */
    struct span kid;       /* empty: none */
    enum crypto_algorithm algorithm;
    struct jwt_object claims; /* no object in it has a member twice */
};

/* Reads form, header and claims; nothing in *ret is to be believed before jwt_verify. Writes *ret only on JWT_NONE. */
MUST_CHECK enum jwt_problem jwt_parse(struct span text, struct arena *arena, struct jwt *ret);
/* ISSUER when "iss" is not exactly `issuer`, CLAIM when it is absent or no string. */
MUST_CHECK enum jwt_problem jwt_check_issuer(const struct jwt *token, struct span issuer);
/*
 * `algorithms`: bits 1 << enum crypto_algorithm that are accepted. ALGORITHM, UNKNOWN_KEY (the token's kid is not in
 * the set: a fresher set may have it) or SIGNATURE.
 */
MUST_CHECK enum jwt_problem jwt_verify(const struct jwt *token, const struct jwks *keys, unsigned algorithms);

struct jwt_rules {
    struct span issuer;
    const struct span *audiences; /* one of them must be in "aud"; not empty */
    size_t audience_count;
    uint64_t skew; /* seconds that clocks may differ by */
};

/*
 * "iss" as above; "aud" (a string or a list of strings) holds one of the audiences; "exp" is there and not past, "nbf"
 * and "iat" if there are not in the future, all as numbers from 0 to 2^53, fractions allowed (RFC 7519 section 2,
 * NumericDate). `now` in seconds since 1970. On success *ret_expires is the second from which on the token is no longer
 * accepted (skew included).
 */
MUST_CHECK enum jwt_problem jwt_check_claims(const struct jwt *token, const struct jwt_rules *rules, uint64_t now,
                                             uint64_t *ret_expires);

/*
 * The claim called `name`: a member of that name, or when it begins with '/' a JSON pointer (RFC 6901) such as
 * /kubernetes.io/serviceaccount/name. False when there is none.
 */
MUST_CHECK bool jwt_claim(const struct jwt *token, struct span name, struct arena *arena, struct json_value *ret);
/* The same as text: strings decoded, numbers as spelled. False for other kinds and for empty text. */
MUST_CHECK bool jwt_claim_text(const struct jwt *token, struct span name, struct arena *arena, struct span *ret);
/* A list of strings, or a string of words separated by spaces (as "scp" and "scope" are). False when absent or of
 * another kind. */
MUST_CHECK bool jwt_claim_words(const struct jwt *token, struct span name, struct arena *arena, struct span **ret_words,
                                size_t *ret_count);

#endif
