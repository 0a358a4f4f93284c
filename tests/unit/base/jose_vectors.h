/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of JWT and JWKS share: keys made on the spot, and tokens put together from any header and any claims.
 */
#ifndef POSTERN_TESTS_UNIT_BASE_JOSE_VECTORS_H
#define POSTERN_TESTS_UNIT_BASE_JOSE_VECTORS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "base/arena.h"
#include "base/crypto_key.h"
#include "base/encoding.h"
#include "base/hash.h"
#include "base/jwks.h"
#include "base/jwt.h"

/* A key pair: one side signs, the other stands in a JWK. */
struct pair {
    EVP_PKEY *pkey;
    struct crypto_key *signer;
};

static inline struct pair pair_of(EVP_PKEY *pkey)
{
    struct pair pair = {.pkey = pkey};
    char *pem;
    BIO *bio = BIO_new(BIO_s_mem());
    assert_non_null(pkey);
    assert_int_equal(PEM_write_bio_PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL), 1);
    long len = BIO_get_mem_data(bio, &pem);
    pair.signer = crypto_key_from_pem(span_of(pem, (size_t)len));
    assert_non_null(pair.signer);
    BIO_free(bio);
    return pair;
}

static inline void pair_free(struct pair *pair)
{
    crypto_key_free(pair->signer);
    EVP_PKEY_free(pair->pkey);
}

static inline void append_number(struct buffer *json, const char *name, const EVP_PKEY *pkey, const char *param,
                                 int width)
{
    BIGNUM *number = NULL;
    unsigned char bytes[1024];
    assert_int_equal(EVP_PKEY_get_bn_param(pkey, param, &number), 1);
    int len = width ? width : BN_num_bytes(number);
    assert_true(BN_bn2binpad(number, bytes, len) == len);
    buffer_format(json, ",\"%s\":\"", name);
    encode_base64url(json, span_of((const char *)bytes, (size_t)len));
    buffer_append(json, SPAN("\""));
    BN_free(number);
}

/* The public part as a JWK; `more` is put in front of it ("\"kid\":\"a\""). */
static inline void append_jwk(struct buffer *json, const struct pair *pair, const char *more)
{
    static const struct {
        const char *group, *name;
        int width;
    } curves[] = {{"prime256v1", "P-256", 32}, {"secp384r1", "P-384", 48}, {"secp521r1", "P-521", 66}};
    char group[32];
    size_t len = 0;
    buffer_format(json, "{%s", more);
    if (EVP_PKEY_is_a(pair->pkey, "RSA")) {
        buffer_append(json, SPAN(",\"kty\":\"RSA\""));
        append_number(json, "n", pair->pkey, OSSL_PKEY_PARAM_RSA_N, 0);
        append_number(json, "e", pair->pkey, OSSL_PKEY_PARAM_RSA_E, 0);
    } else if (EVP_PKEY_is_a(pair->pkey, "EC")) {
        assert_int_equal(EVP_PKEY_get_group_name(pair->pkey, group, sizeof(group), &len), 1);
        for (size_t i = 0; i < 3; i++)
            if (strcmp(group, curves[i].group) == 0) {
                buffer_format(json, ",\"kty\":\"EC\",\"crv\":\"%s\"", curves[i].name);
                append_number(json, "x", pair->pkey, OSSL_PKEY_PARAM_EC_PUB_X, curves[i].width);
                append_number(json, "y", pair->pkey, OSSL_PKEY_PARAM_EC_PUB_Y, curves[i].width);
            }
    } else {
        unsigned char raw[64];
        len = sizeof(raw);
        assert_int_equal(EVP_PKEY_get_raw_public_key(pair->pkey, raw, &len), 1);
        buffer_format(json, ",\"kty\":\"OKP\",\"crv\":\"%s\",\"x\":\"", len == 32 ? "Ed25519" : "Ed448");
        encode_base64url(json, span_of((const char *)raw, len));
        buffer_append(json, SPAN("\""));
    }
    buffer_append(json, SPAN("}"));
}

/* base64url(header) "." base64url(claims) "." base64url(signature), in the arena. */
static inline struct span token_of(struct arena *arena, const char *header, const char *claims, const struct pair *pair,
                                   enum crypto_algorithm algorithm)
{
    struct buffer text = {0}, signature = {0};
    encode_base64url(&text, span_str(header));
    buffer_append(&text, SPAN("."));
    encode_base64url(&text, span_str(claims));
    if (pair && !crypto_sign(pair->signer, algorithm, buffer_span(&text), &signature))
        fail_msg("the key does not sign");
    buffer_append(&text, SPAN("."));
    encode_base64url(&text, buffer_span(&signature));
    struct span token = arena_copy(arena, buffer_span(&text));
    buffer_finish(&text);
    buffer_finish(&signature);
    return token;
}

#endif
