/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "base/arena.h"
#include "base/crypto_key.h"
#include "base/encoding.h"

static struct arena arena;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_finish(&arena);
    /* TLS code on the same thread must not find somebody else's failure. */
    return ERR_peek_error() == 0 ? 0 : 1;
}

static struct span unbase64(const char *text)
{
    struct buffer b = {0};
    if (!decode_base64url(&b, span_str(text)))
        fail_msg("not base64url: %s", text);
    struct span copy = arena_copy(&arena, buffer_span(&b));
    buffer_finish(&b);
    return copy;
}

/* RFC 7515 A.2, A.3, A.4; RFC 7520 4.2; RFC 8037 A.4. */
static const struct vector {
    const char *alg, *kty, *a, *b; /* RSA: n, e; EC and OKP: x, y; `kty` is the curve for the latter */
    const char *message, *signature;
} vectors[] = {
    {"RS256", "RSA",
     "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-"
     "pCgNM"
     "sD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-"
     "UTo7WTBEMa2R2CapHg665xsmtd"
     "VMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
     "AQAB",
     "eyJhbGciOiJSUzI1NiJ9."
     "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
     "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_"
     "O8W2Fp5jujGbds9uJdbF9CUAr7t1d"
     "nZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--"
     "xi12jzDwu"
     "sC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_"
     "IoypGlUPQGe77Rw"},
    {"ES256", "P-256", "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
     "eyJhbGciOiJFUzI1NiJ9."
     "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
     "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"},
    {"ES512", "P-521", "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",
     "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2",
     "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA",
     "AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_"
     "7XdtAG8GaSwFKdCAPZgoXD2YBJZCPE"
     "X3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn"},
    {"PS384", "RSA",
     "n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_"
     "AJmSCpMaJMRBSFKrKb2wqVwGU_"
     "NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-"
     "OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0"
     "ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__"
     "kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw",
     "AQAB",
     "eyJhbGciOiJQUzM4NCIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9."
     "SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUgcm9hZCwgYW5kI"
     "Glm"
     "IHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4",
     "cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2IpN6-tPid6VrklHkqsGqDqHCdP6O8TTB5dDDItllVo6_"
     "1OLPpcbUrh"
     "iUSMxbbXUvdvWXzg-UD8biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqiVJRmBqrYRXe8P_"
     "ijQ7p8Vdz0TTrxUeT3lm8d9shnr2lfJT8ImUjvAA2"
     "Xez2Mlp8cBE5awDzT0qI0n6uiP1aCN_2_jLAeQTlqRHtfa64QQSUmFAAjVKPbByi7xho0uTOcbH510a6GYmJUAfmWjwZ6oD4ifKo8DYM-X72Eaw"},
    {"EdDSA", "Ed25519", "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", NULL,
     "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
     "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"},
};

static struct crypto_key *key_of(const struct vector *v)
{
    struct span kty = span_str(v->kty);
    if (span_equal(kty, SPAN("RSA")))
        return crypto_key_from_rsa(unbase64(v->a), unbase64(v->b));
    if (span_equal(kty, SPAN("Ed25519")))
        return crypto_key_from_okp(kty, unbase64(v->a));
    return crypto_key_from_ec(kty, unbase64(v->a), unbase64(v->b));
}

static void test_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        struct crypto_key *key = key_of(&vectors[i]);
        assert_non_null(key);
        enum crypto_algorithm alg;
        assert_true(crypto_algorithm(span_str(vectors[i].alg), &alg));
        struct span message = span_str(vectors[i].message), signature = unbase64(vectors[i].signature);
        assert_true(crypto_verify(key, alg, message, signature));
        assert_true(crypto_verify(key, alg, message, signature)); /* verifying changes nothing */
        assert_false(crypto_verify(key, alg, span_take(message, message.len - 1), signature));
        crypto_key_free(key);
    }
}

/* Each way to damage a signature: any byte, cut, longer, empty. */
static void test_damaged_signatures(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        struct crypto_key *key = key_of(&vectors[i]);
        enum crypto_algorithm alg;
        assert_true(crypto_algorithm(span_str(vectors[i].alg), &alg));
        struct span message = span_str(vectors[i].message), good = unbase64(vectors[i].signature);
        char *bytes = arena_bytes(&arena, good.len + 1);
        memcpy(bytes, good.ptr, good.len);
        bytes[good.len] = 0;
        for (size_t at = 0; at < good.len; at += 7) {
            bytes[at] ^= 1;
            assert_false(crypto_verify(key, alg, message, span_of(bytes, good.len)));
            bytes[at] ^= 1;
        }
        assert_true(crypto_verify(key, alg, message, span_of(bytes, good.len)));
        assert_false(crypto_verify(key, alg, message, span_of(bytes, good.len - 1)));
        assert_false(crypto_verify(key, alg, message, span_of(bytes, good.len + 1)));
        assert_false(crypto_verify(key, alg, message, span_of(bytes, 0)));
        crypto_key_free(key);
    }
}

/* The token's header must not choose: a key works with its own type and curve only. */
static void test_algorithm_confusion(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        struct crypto_key *key = key_of(&vectors[i]);
        struct span kty = span_str(vectors[i].kty), signature = unbase64(vectors[i].signature);
        for (int a = 0; a < CRYPTO_ALGORITHM_COUNT; a++) {
            enum crypto_algorithm alg = (enum crypto_algorithm)a;
            bool rsa = a <= CRYPTO_PS512;
            bool suits = span_equal(kty, SPAN("RSA"))       ? rsa
                         : span_equal(kty, SPAN("P-256"))   ? alg == CRYPTO_ES256
                         : span_equal(kty, SPAN("P-521"))   ? alg == CRYPTO_ES512
                         : span_equal(kty, SPAN("Ed25519")) ? alg == CRYPTO_EDDSA
                                                            : false;
            assert_int_equal(crypto_key_suits(key, alg), suits);
            bool own = span_equal(crypto_algorithm_name(alg), span_str(vectors[i].alg));
            assert_int_equal(crypto_verify(key, alg, span_str(vectors[i].message), signature), own);
        }
        assert_false(crypto_key_suits(key, CRYPTO_ALGORITHM_COUNT));
        crypto_key_free(key);
    }
    static const char *const never[] = {"none",   "None", "HS256",  "HS512",  "rs256",
                                        "RS256 ", "",     "ES256K", "RSA1_5", "ED25519"};
    for (size_t i = 0; i < ARRAY_LEN(never); i++) {
        enum crypto_algorithm alg = CRYPTO_ES384;
        assert_false(crypto_algorithm(span_str(never[i]), &alg));
        assert_int_equal(alg, CRYPTO_ES384);
    }
}

/* The signature that a broken verifier takes for any message: r = s = 0 (CVE-2022-21449), and values out of range. */
static void test_ecdsa_range(void **state)
{
    (void)state;
    const struct vector *v = &vectors[1];
    struct crypto_key *key = key_of(v);
    struct span good = unbase64(v->signature), message = span_str(v->message);
    struct span order = unbase64("_____wAAAAD__________7zm-q2nF56E87nKwvxjJVE"); /* of P-256 */
    assert_int_equal(order.len, 32);
    const struct {
        bool zero_r, zero_s, order_r, order_s;
    } cases[] = {{true, true, false, false},  {true, false, false, false}, {false, true, false, false},
                 {false, false, true, false}, {false, false, false, true}, {false, false, true, true}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char raw[64];
        memcpy(raw, good.ptr, 64);
        if (cases[i].zero_r)
            memset(raw, 0, 32);
        if (cases[i].zero_s)
            memset(raw + 32, 0, 32);
        if (cases[i].order_r)
            memcpy(raw, order.ptr, 32);
        if (cases[i].order_s)
            memcpy(raw + 32, order.ptr, 32);
        assert_false(crypto_verify(key, CRYPTO_ES256, message, span_of(raw, 64)));
    }
    /* DER, which other libraries use, is not what JOSE says. */
    static const unsigned char der[] = {0x30, 0x06, 0x02, 0x01, 0x01, 0x02, 0x01, 0x01};
    assert_false(crypto_verify(key, CRYPTO_ES256, message, span_of((const char *)der, sizeof(der))));
    crypto_key_free(key);
}

static void test_bad_keys(void **state)
{
    (void)state;
    struct span n = unbase64(vectors[0].a), e = SPAN("\x01\x00\x01");
    assert_null(crypto_key_from_rsa(span_skip(n, 1), e)); /* 2040 bits */
    assert_null(crypto_key_from_rsa(n, SPAN("\x01")));    /* e = 1: the signature is the message */
    assert_null(crypto_key_from_rsa(n, SPAN("\x02")));    /* even */
    assert_null(crypto_key_from_rsa(n, SPAN("")));        /* none */
    assert_null(crypto_key_from_rsa(SPAN(""), e));
    assert_null(crypto_key_from_rsa(n, n)); /* an exponent made to burn time */
    char *large = arena_bytes(&arena, 4096);
    memset(large, 0xFF, 4096);
    assert_null(crypto_key_from_rsa(span_of(large, 1025), e));
    assert_null(crypto_key_from_rsa(span_of(large, 4096), e));
    char *even = arena_bytes(&arena, n.len);
    memcpy(even, n.ptr, n.len);
    even[n.len - 1] &= (char)0xFE;
    assert_null(crypto_key_from_rsa(span_of(even, n.len), e));

    struct span x = unbase64(vectors[1].a), y = unbase64(vectors[1].b), zero = span_of(memset(large, 0, 66), 32);
    assert_null(crypto_key_from_ec(SPAN("P-256"), y, x)); /* no point of the curve */
    assert_null(crypto_key_from_ec(SPAN("P-256"), zero, zero));
    assert_null(crypto_key_from_ec(SPAN("P-256"), span_take(x, 31), y));
    assert_null(crypto_key_from_ec(SPAN("P-256"), x, SPAN("")));
    assert_null(crypto_key_from_ec(SPAN("P-384"), x, y));
    assert_null(crypto_key_from_ec(SPAN("secp256k1"), x, y));
    assert_null(crypto_key_from_ec(SPAN("prime256v1"), x, y));
    assert_null(crypto_key_from_okp(SPAN("Ed25519"), span_take(x, 31)));
    assert_null(crypto_key_from_okp(SPAN("Ed448"), x));
    assert_null(crypto_key_from_okp(SPAN("X25519"), x));
    crypto_key_free(NULL);
}

static struct span pem_of(EVP_PKEY *pkey, const EVP_CIPHER *cipher)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text;
    assert_int_equal(
        PEM_write_bio_PKCS8PrivateKey(bio, pkey, cipher, cipher ? "pass" : NULL, cipher ? 4 : 0, NULL, NULL), 1);
    long len = BIO_get_mem_data(bio, &text);
    struct span copy = arena_copy(&arena, span_of(text, (size_t)len));
    BIO_free(bio);
    return copy;
}

static void check_signing(struct span pem, const enum crypto_algorithm *algorithms, size_t count)
{
    struct crypto_key *key = crypto_key_from_pem(pem);
    assert_non_null(key);
    for (size_t i = 0; i < count; i++) {
        struct buffer signature = {0};
        assert_true(crypto_sign(key, algorithms[i], SPAN("header.payload"), &signature));
        assert_true(crypto_verify(key, algorithms[i], SPAN("header.payload"), buffer_span(&signature)));
        assert_false(crypto_verify(key, algorithms[i], SPAN("header.payloae"), buffer_span(&signature)));
        buffer_finish(&signature);
    }
    struct buffer none = {0};
    assert_false(crypto_sign(key, algorithms[0] == CRYPTO_EDDSA ? CRYPTO_RS256 : CRYPTO_EDDSA, SPAN("x"), &none));
    assert_int_equal(buffer_len(&none), 0);
    crypto_key_free(key);
}

static void test_signing(void **state)
{
    (void)state;
    static const enum crypto_algorithm rsa[] = {CRYPTO_RS256, CRYPTO_RS384, CRYPTO_RS512,
                                                CRYPTO_PS256, CRYPTO_PS384, CRYPTO_PS512};
    static const enum crypto_algorithm others[] = {CRYPTO_ES256, CRYPTO_ES384, CRYPTO_ES512, CRYPTO_EDDSA,
                                                   CRYPTO_EDDSA};
    EVP_PKEY *pkeys[] = {EVP_EC_gen("P-256"), EVP_EC_gen("P-384"), EVP_EC_gen("P-521"),
                         EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), EVP_PKEY_Q_keygen(NULL, NULL, "ED448")};
    for (size_t i = 0; i < ARRAY_LEN(pkeys); i++) {
        struct span pem = pem_of(pkeys[i], NULL);
        for (int round = 0; round < 20; round++) /* r and s now and then begin with zero bytes */
            check_signing(pem, &others[i], 1);
        EVP_PKEY_free(pkeys[i]);
    }
    EVP_PKEY *large = EVP_RSA_gen(2048), *small = EVP_RSA_gen(1024);
    check_signing(pem_of(large, NULL), rsa, ARRAY_LEN(rsa));
    assert_null(crypto_key_from_pem(pem_of(small, NULL)));
    assert_null(crypto_key_from_pem(pem_of(large, EVP_aes_128_cbc()))); /* and does not ask for the password */
    assert_null(crypto_key_from_pem(SPAN("")));
    assert_null(crypto_key_from_pem(SPAN("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")));
    EVP_PKEY_free(large);
    EVP_PKEY_free(small);

    struct crypto_key *public = key_of(&vectors[0]);
    struct buffer out = {0};
    assert_false(crypto_sign(public, CRYPTO_RS256, SPAN("x"), &out));
    crypto_key_free(public);
}

static void test_thumbprint(void **state)
{
    (void)state;
    EVP_PKEY *pkey = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1), 1);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(certificate), 0));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(certificate), 3600));
    assert_int_equal(X509_set_pubkey(certificate, pkey), 1);
    assert_true(X509_sign(certificate, pkey, EVP_sha256()) > 0);
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509(bio, certificate), 1);
    char *text;
    long len = BIO_get_mem_data(bio, &text);
    /* A key before it, as in files that hold both. */
    struct span both = arena_format(&arena, "%s%.*s", pem_of(pkey, NULL).ptr, (int)len, text);
    unsigned char *der = NULL;
    int der_len = i2d_X509(certificate, &der);
    assert_true(der_len > 0);
    uint8_t sha1[20], sha256[32], expected[32];
    assert_true(crypto_thumbprint_sha1(both, sha1));
    assert_int_equal(EVP_Digest(der, (size_t)der_len, expected, NULL, EVP_sha1(), NULL), 1);
    assert_memory_equal(sha1, expected, sizeof(sha1));
    assert_true(crypto_thumbprint_sha256(both, sha256));
    assert_int_equal(EVP_Digest(der, (size_t)der_len, expected, NULL, EVP_sha256(), NULL), 1);
    assert_memory_equal(sha256, expected, sizeof(sha256));
    assert_false(crypto_thumbprint_sha1(pem_of(pkey, NULL), sha1));
    assert_false(crypto_thumbprint_sha256(SPAN(""), sha256));
    OPENSSL_free(der);
    BIO_free(bio);
    X509_free(certificate);
    EVP_PKEY_free(pkey);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_vectors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_signatures, setup, teardown),
        cmocka_unit_test_setup_teardown(test_algorithm_confusion, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ecdsa_range, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_signing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_thumbprint, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
