/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Public keys that verify JOSE signatures (RFC 7515, 7517, 7518, 8037) and private keys that make them. A key is
 * immutable once made and may be used by several threads at once; whoever made it frees it with crypto_key_free.
 *
 * A key takes only algorithms of its own type and, for elliptic curves, of its own curve: a signature under any other
 * is refused, whatever the token's header says. HMAC is not among the algorithms, so a public key can never serve as a
 * MAC key.
 */
#ifndef POSTERN_BASE_CRYPTO_KEY_H
#define POSTERN_BASE_CRYPTO_KEY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/compiler.h"
#include "base/span.h"

/* name as in "alg" (RFC 7518 section 3.1, RFC 8037 section 3.1) */
#define CRYPTO_ALGORITHM_LIST(X)                                                                                       \
    X(RS256, "RS256")                                                                                                  \
    X(RS384, "RS384")                                                                                                  \
    X(RS512, "RS512")                                                                                                  \
    X(PS256, "PS256")                                                                                                  \
    X(PS384, "PS384")                                                                                                  \
    X(PS512, "PS512")                                                                                                  \
    X(ES256, "ES256")                                                                                                  \
    X(ES384, "ES384")                                                                                                  \
    X(ES512, "ES512")                                                                                                  \
    X(EDDSA, "EdDSA")

enum crypto_algorithm {
#define X(id, name) CRYPTO_##id,
    CRYPTO_ALGORITHM_LIST(X)
#undef X
        CRYPTO_ALGORITHM_COUNT
};

/* Finds the algorithm by its exact name. False for every other, "none" and "HS256" included. */
MUST_CHECK bool crypto_algorithm(struct span name, enum crypto_algorithm *ret);
struct span crypto_algorithm_name(enum crypto_algorithm algorithm);

struct crypto_key;

/*
 * The parts are the raw bytes that stand base64url-encoded in a JWK. NULL when the key is not valid or too weak or too
 * costly: RSA moduli have 2048 to 8192 bits (RFC 7518 section 3.3 asks for 2048) and exponents are odd, from 3 to 2^32;
 * coordinates are exactly as long as the curve's field (section 6.2.1.2) and name a point on the curve.
 */
MUST_CHECK struct crypto_key *crypto_key_from_rsa(struct span n, struct span e);
/* `curve`: P-256, P-384 or P-521. */
MUST_CHECK struct crypto_key *crypto_key_from_ec(struct span curve, struct span x, struct span y);
/* `curve`: Ed25519 or Ed448. */
MUST_CHECK struct crypto_key *crypto_key_from_okp(struct span curve, struct span x);
/* The first private key of a PEM text (PKCS #8 or traditional, not encrypted): signs and verifies. NULL when there is
 * none. */
MUST_CHECK struct crypto_key *crypto_key_from_pem(struct span pem);
/* Private parts are wiped. NULL is allowed. */
void crypto_key_free(struct crypto_key *key);

/* Whether the key can be used with this algorithm at all. */
bool crypto_key_suits(const struct crypto_key *key, enum crypto_algorithm algorithm);

/*
 * Whether `signature` (raw bytes, not base64url) is one of `message` (for a JWS: ASCII(header) "." ASCII(payload)).
 * ECDSA signatures are r || s, each as long as the curve's order; zero or too large an r or s is refused. RSASSA-PSS
 * salts are as long as the digest (RFC 7518 section 3.5).
 */
MUST_CHECK bool crypto_verify(const struct crypto_key *key, enum crypto_algorithm algorithm, struct span message,
                              struct span signature);
/* Appends the raw signature. False when the key has no private part or does not suit the algorithm. */
MUST_CHECK bool crypto_sign(const struct crypto_key *key, enum crypto_algorithm algorithm, struct span message,
                            struct buffer *out);

/*
 * Digest over the DER form of the first certificate in a PEM text, raw: 20 bytes of SHA-1 for the JOSE header "x5t", 32
 * of SHA-256 for "x5t#S256" (RFC 7515 sections 4.1.7, 4.1.8). False when there is no certificate.
 */
MUST_CHECK bool crypto_thumbprint_sha1(struct span certificate_pem, uint8_t ret[20]);
MUST_CHECK bool crypto_thumbprint_sha256(struct span certificate_pem, uint8_t ret[32]);

#endif
