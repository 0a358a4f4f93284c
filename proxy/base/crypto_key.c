/* SPDX-License-Identifier: Apache-2.0 */
#include "base/crypto_key.h"

#include <limits.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdlib.h>

#include "base/memory.h"

#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 8192
#define FIELD_MAX    66 /* bytes of a P-521 coordinate */

enum key_kind { KIND_RSA, KIND_EC, KIND_ED };

struct curve {
    struct span name;    /* as in a JWK */
    const char *openssl; /* as OpenSSL says it */
    size_t bytes;        /* of a coordinate, and of r and s */
};

static const struct curve curves[] = {
    {SPAN_INIT("P-256"), "prime256v1", 32},
    {SPAN_INIT("P-384"), "secp384r1", 48},
    {SPAN_INIT("P-521"), "secp521r1", FIELD_MAX},
};

static const struct rule {
    struct span name;
    enum key_kind kind;
    const char *digest; /* NULL: the scheme has its own */
    size_t field;       /* KIND_EC: the curve it belongs to */
    bool pss;
} rules[] = {
    [CRYPTO_RS256] = {SPAN_INIT("RS256"), KIND_RSA, "SHA256", 0, false},
    [CRYPTO_RS384] = {SPAN_INIT("RS384"), KIND_RSA, "SHA384", 0, false},
    [CRYPTO_RS512] = {SPAN_INIT("RS512"), KIND_RSA, "SHA512", 0, false},
    [CRYPTO_PS256] = {SPAN_INIT("PS256"), KIND_RSA, "SHA256", 0, true},
    [CRYPTO_PS384] = {SPAN_INIT("PS384"), KIND_RSA, "SHA384", 0, true},
    [CRYPTO_PS512] = {SPAN_INIT("PS512"), KIND_RSA, "SHA512", 0, true},
    [CRYPTO_ES256] = {SPAN_INIT("ES256"), KIND_EC, "SHA256", 32, false},
    [CRYPTO_ES384] = {SPAN_INIT("ES384"), KIND_EC, "SHA384", 48, false},
    [CRYPTO_ES512] = {SPAN_INIT("ES512"), KIND_EC, "SHA512", FIELD_MAX, false},
    [CRYPTO_EDDSA] = {SPAN_INIT("EdDSA"), KIND_ED, NULL, 0, false},
};
_Static_assert(ARRAY_LEN(rules) == CRYPTO_ALGORITHM_COUNT, "every algorithm has a rule");

struct crypto_key {
    EVP_PKEY *pkey;
    enum key_kind kind;
    size_t field;  /* KIND_EC: bytes of r and of s */
    bool can_sign; /* has a private part */
};

bool crypto_algorithm(struct span name, enum crypto_algorithm *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        if (span_equal(rules[i].name, name)) {
            *ret = (enum crypto_algorithm)i;
            return true;
        }
    }
    return false;
}

struct span crypto_algorithm_name(enum crypto_algorithm algorithm)
{
    return (unsigned)algorithm < ARRAY_LEN(rules) ? rules[algorithm].name : SPAN("");
}

/* Takes the pkey over; NULL gives NULL. A refusal must not leave its reason in OpenSSL's queue for TLS to trip over. */
static struct crypto_key *key_new(EVP_PKEY *pkey, enum key_kind kind, size_t field, bool can_sign)
{
    ERR_clear_error();
    if (!pkey)
        return NULL;
    struct crypto_key *key = memory_alloc(sizeof(*key));
    *key = (struct crypto_key){.pkey = pkey, .kind = kind, .field = field, .can_sign = can_sign};
    return key;
}

static EVP_PKEY *pkey_from_params(const char *type, OSSL_PARAM *params)
{
    EVP_PKEY *pkey = NULL;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    if (!context || !params || EVP_PKEY_fromdata_init(context) != 1 ||
        EVP_PKEY_fromdata(context, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
        pkey = NULL;
    EVP_PKEY_CTX_free(context);
    return pkey;
}

static BIGNUM *number(struct span bytes)
{
    return bytes.len && bytes.len <= RSA_BITS_MAX / 8 + 1
               ? BN_bin2bn((const unsigned char *)bytes.ptr, (int)bytes.len, NULL)
               : NULL;
}

static bool rsa_parts_allowed(const BIGNUM *n, const BIGNUM *e)
{
    int bits = n ? BN_num_bits(n) : 0;
    if (!e || bits < RSA_BITS_MIN || bits > RSA_BITS_MAX || !BN_is_odd(n))
        return false;
    return BN_is_odd(e) && !BN_is_one(e) && BN_num_bits(e) <= 33;
}

struct crypto_key *crypto_key_from_rsa(struct span n, struct span e)
{
    BIGNUM *modulus = number(n), *exponent = number(e);
    EVP_PKEY *pkey = NULL;
    if (rsa_parts_allowed(modulus, exponent)) {
        OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
        OSSL_PARAM *params = NULL;
        if (build && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, modulus) == 1 &&
            OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, exponent) == 1)
            params = OSSL_PARAM_BLD_to_param(build);
        pkey = pkey_from_params("RSA", params);
        OSSL_PARAM_free(params);
        OSSL_PARAM_BLD_free(build);
    }
    BN_free(modulus);
    BN_free(exponent);
    return key_new(pkey, KIND_RSA, 0, false);
}

/* OpenSSL checks on import that the point lies on the curve; EVP_PKEY_public_check says it again, with the order. */
static bool public_part_valid(EVP_PKEY *pkey)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
    bool valid = context && EVP_PKEY_public_check(context) == 1;
    EVP_PKEY_CTX_free(context);
    return valid;
}

struct crypto_key *crypto_key_from_ec(struct span name, struct span x, struct span y)
{
    const struct curve *curve = NULL;
    for (size_t i = 0; i < ARRAY_LEN(curves); i++)
        if (span_equal(curves[i].name, name))
            curve = &curves[i];
    if (!curve || x.len != curve->bytes || y.len != curve->bytes)
        return NULL;
    unsigned char point[1 + 2 * FIELD_MAX] = {POINT_CONVERSION_UNCOMPRESSED};
    memcpy(point + 1, x.ptr, x.len);
    memcpy(point + 1 + x.len, y.ptr, y.len);

    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    OSSL_PARAM *params = NULL;
    if (build && OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, curve->openssl, 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, 1 + x.len + y.len) == 1)
        params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY *pkey = pkey_from_params("EC", params);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    if (pkey && !public_part_valid(pkey)) {
        EVP_PKEY_free(pkey);
        pkey = NULL;
    }
    return key_new(pkey, KIND_EC, curve->bytes, false);
}

struct crypto_key *crypto_key_from_okp(struct span curve, struct span x)
{
    const char *type = span_equal(curve, SPAN("Ed25519")) && x.len == 32 ? "ED25519"
                       : span_equal(curve, SPAN("Ed448")) && x.len == 57 ? "ED448"
                                                                         : NULL;
    if (!type)
        return NULL;
    EVP_PKEY *pkey = EVP_PKEY_new_raw_public_key_ex(NULL, type, NULL, (const unsigned char *)x.ptr, x.len);
    return key_new(pkey, KIND_ED, 0, false);
}

static const struct curve *curve_of(EVP_PKEY *pkey)
{
    char group[32];
    size_t len = 0;
    if (EVP_PKEY_get_group_name(pkey, group, sizeof(group), &len) != 1)
        return NULL;
    for (size_t i = 0; i < ARRAY_LEN(curves); i++)
        if (span_equal(span_str(curves[i].openssl), span_of(group, len)))
            return &curves[i];
    return NULL;
}

/* An encrypted key must fail instead of asking on the terminal for its password. */
static int no_password(char *into, int size, int writing, void *arg)
{
    (void)into, (void)size, (void)writing, (void)arg;
    return -1;
}

struct crypto_key *crypto_key_from_pem(struct span pem)
{
    BIO *bio = pem.len && pem.len < INT_MAX ? BIO_new_mem_buf(pem.ptr, (int)pem.len) : NULL;
    EVP_PKEY *pkey = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL) : NULL;
    BIO_free(bio);
    if (!pkey)
        return key_new(NULL, KIND_RSA, 0, false);
    int bits = EVP_PKEY_get_bits(pkey);
    if (EVP_PKEY_is_a(pkey, "RSA") && bits >= RSA_BITS_MIN && bits <= RSA_BITS_MAX)
        return key_new(pkey, KIND_RSA, 0, true);
    if (EVP_PKEY_is_a(pkey, "EC") && curve_of(pkey))
        return key_new(pkey, KIND_EC, curve_of(pkey)->bytes, true);
    if (EVP_PKEY_is_a(pkey, "ED25519") || EVP_PKEY_is_a(pkey, "ED448"))
        return key_new(pkey, KIND_ED, 0, true);
    EVP_PKEY_free(pkey);
    return key_new(NULL, KIND_RSA, 0, false);
}

void crypto_key_free(struct crypto_key *key)
{
    if (!key)
        return;
    EVP_PKEY_free(key->pkey);
    free(key);
}

bool crypto_key_suits(const struct crypto_key *key, enum crypto_algorithm algorithm)
{
    if ((unsigned)algorithm >= ARRAY_LEN(rules))
        return false;
    const struct rule *rule = &rules[algorithm];
    return rule->kind == key->kind && (rule->kind != KIND_EC || rule->field == key->field);
}

static bool set_padding(EVP_PKEY_CTX *context, const struct rule *rule)
{
    if (rule->kind != KIND_RSA)
        return true;
    if (!rule->pss)
        return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PADDING) == 1;
    return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) == 1 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST) == 1;
}

/* r || s to the DER SEQUENCE OpenSSL wants; NULL when refused. Caller frees with OPENSSL_free. */
static unsigned char *der_from_raw(struct span raw, size_t field, size_t *ret_len)
{
    if (raw.len != 2 * field)
        return NULL;
    unsigned char *der = NULL;
    ECDSA_SIG *pair = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn((const unsigned char *)raw.ptr, (int)field, NULL);
    BIGNUM *s = BN_bin2bn((const unsigned char *)raw.ptr + field, (int)field, NULL);
    bool taken = pair && r && s && !BN_is_zero(r) && !BN_is_zero(s) && ECDSA_SIG_set0(pair, r, s) == 1;
    if (taken) {
        int len = i2d_ECDSA_SIG(pair, &der);
        *ret_len = len > 0 ? (size_t)len : 0;
    } else {
        BN_free(r);
        BN_free(s);
    }
    ECDSA_SIG_free(pair);
    return der;
}

static bool verify(const struct crypto_key *key, const struct rule *rule, struct span message,
                   const unsigned char *signature, size_t len)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_PKEY_CTX *inner = NULL; /* belongs to context */
    bool good = context && EVP_DigestVerifyInit_ex(context, &inner, rule->digest, NULL, NULL, key->pkey, NULL) == 1 &&
                set_padding(inner, rule) &&
                EVP_DigestVerify(context, signature, len, (const unsigned char *)message.ptr, message.len) == 1;
    EVP_MD_CTX_free(context);
    ERR_clear_error();
    return good;
}

bool crypto_verify(const struct crypto_key *key, enum crypto_algorithm algorithm, struct span message,
                   struct span signature)
{
    if (!crypto_key_suits(key, algorithm) || signature.len == 0)
        return false;
    const struct rule *rule = &rules[algorithm];
    if (rule->kind != KIND_EC)
        return verify(key, rule, message, (const unsigned char *)signature.ptr, signature.len);
    size_t len = 0;
    unsigned char *der = der_from_raw(signature, key->field, &len);
    bool good = der && verify(key, rule, message, der, len);
    OPENSSL_free(der);
    return good;
}

/* Appends r and s, each padded to the field's length. */
static bool append_raw(struct buffer *out, const unsigned char *der, size_t len, size_t field)
{
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &der, (long)len);
    if (!pair)
        return false;
    unsigned char *to = (unsigned char *)buffer_reserve(out, 2 * field);
    bool fits = BN_bn2binpad(ECDSA_SIG_get0_r(pair), to, (int)field) >= 0 &&
                BN_bn2binpad(ECDSA_SIG_get0_s(pair), to + field, (int)field) >= 0;
    if (fits)
        buffer_commit(out, 2 * field);
    ECDSA_SIG_free(pair);
    return fits;
}

bool crypto_sign(const struct crypto_key *key, enum crypto_algorithm algorithm, struct span message, struct buffer *out)
{
    if (!key->can_sign || !crypto_key_suits(key, algorithm))
        return false;
    const struct rule *rule = &rules[algorithm];
    unsigned char signature[RSA_BITS_MAX / 8];
    size_t len = sizeof(signature);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_PKEY_CTX *inner = NULL; /* belongs to context */
    bool good = context && EVP_DigestSignInit_ex(context, &inner, rule->digest, NULL, NULL, key->pkey, NULL) == 1 &&
                set_padding(inner, rule) &&
                EVP_DigestSign(context, signature, &len, (const unsigned char *)message.ptr, message.len) == 1;
    if (good && rule->kind == KIND_EC)
        good = append_raw(out, signature, len, key->field);
    else if (good)
        buffer_append(out, span_of((const char *)signature, len));
    EVP_MD_CTX_free(context);
    ERR_clear_error();
    return good;
}

static bool thumbprint(struct span pem, const EVP_MD *digest, uint8_t *ret)
{
    BIO *bio = pem.len && pem.len < INT_MAX ? BIO_new_mem_buf(pem.ptr, (int)pem.len) : NULL;
    X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, no_password, NULL) : NULL;
    bool good = certificate && X509_digest(certificate, digest, ret, NULL) == 1;
    X509_free(certificate);
    BIO_free(bio);
    ERR_clear_error();
    return good;
}

bool crypto_thumbprint_sha1(struct span certificate_pem, uint8_t ret[20])
{
    return thumbprint(certificate_pem, EVP_sha1(), ret);
}

bool crypto_thumbprint_sha256(struct span certificate_pem, uint8_t ret[32])
{
    return thumbprint(certificate_pem, EVP_sha256(), ret);
}
