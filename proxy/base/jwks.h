/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jwks: a JSON Web Key Set (RFC 7517 section 5) as public keys that verify. Pure: text in, keys out; where the text
 * comes from and how long it is good is gateway/issuer_keys.h's business.
 *
 * Taken: RSA, EC and OKP keys that crypto_key.h takes, with use absent or "sig" and key_ops absent or with "verify".
 * Every other member of the set is left out, as section 5 asks: private or symmetric keys (oct), keys for encryption,
 * weak keys, unknown types. x5c, x5u and the like are not looked at: the set itself is what is trusted.
 */
#ifndef POSTERN_BASE_JWKS_H
#define POSTERN_BASE_JWKS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "base/crypto_key.h"
#include "base/span.h"

/* Longest text, most keys taken (more are left out), longest kid. Entra's set is about 20 KiB with a dozen keys. */
#define JWKS_BYTES     ((size_t)256 * 1024)
#define JWKS_KEYS      64
#define JWKS_KID_BYTES 256

struct jwk {
    struct span kid;     /* empty: none */
    unsigned algorithms; /* 1 << enum crypto_algorithm: those of "alg" when given, else all that suit */
    struct crypto_key *key;
};

/* Immutable once made. */
struct jwks {
    size_t count, left_out;
    struct jwk keys[];
};

/*
 * Reads a set. NULL when the text is no JSON object with a list "keys", is larger than JWKS_BYTES, or holds no usable
 * key; then *ret_reason is a short static text. Free with jwks_free.
 */
MUST_CHECK struct jwks *jwks_parse(struct span text, const char **ret_reason);
/* NULL is allowed. */
void jwks_free(struct jwks *keys);

/* Whether the set holds a key of that (not empty) kid. */
bool jwks_has(const struct jwks *keys, struct span kid);
/*
 * Whether a key of the set verifies the signature. With a kid only keys of that kid are tried, without one at most
 * JWKS_TRIES keys that suit the algorithm.
 */
#define JWKS_TRIES 8
MUST_CHECK bool jwks_verify(const struct jwks *keys, struct span kid, enum crypto_algorithm algorithm,
                            struct span message, struct span signature);

#endif
