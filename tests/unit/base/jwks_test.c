/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/base/jose_vectors.h"

#include <stdio.h>
#include <stdlib.h>

static struct arena arena;

static int setup(void **state)
{
    (void)state;
    hash_start();
    arena_init(&arena);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_finish(&arena);
    return 0;
}

/* A set of the one key given, or of whatever `json` says. */
static struct jwks *set_of(const struct pair *pair, const char *more)
{
    struct buffer json = {0};
    const char *reason;
    buffer_append(&json, SPAN("{\"keys\":["));
    append_jwk(&json, pair, more);
    buffer_append(&json, SPAN("]}"));
    struct jwks *keys = jwks_parse(buffer_span(&json), &reason);
    buffer_finish(&json);
    return keys;
}

static void verifies_with_every_algorithm(void **state)
{
    (void)state;
    const struct {
        EVP_PKEY *pkey;
        enum crypto_algorithm first, last;
    } kinds[] = {
        {EVP_RSA_gen(2048), CRYPTO_RS256, CRYPTO_PS512},
        {EVP_EC_gen("P-256"), CRYPTO_ES256, CRYPTO_ES256},
        {EVP_EC_gen("P-384"), CRYPTO_ES384, CRYPTO_ES384},
        {EVP_EC_gen("P-521"), CRYPTO_ES512, CRYPTO_ES512},
        {EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), CRYPTO_EDDSA, CRYPTO_EDDSA},
        {EVP_PKEY_Q_keygen(NULL, NULL, "ED448"), CRYPTO_EDDSA, CRYPTO_EDDSA},
    };
    static const struct span message = SPAN_INIT("header.claims");
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct pair pair = pair_of(kinds[i].pkey);
        struct jwks *keys = set_of(&pair, "\"kid\":\"k\"");
        assert_non_null(keys);
        for (unsigned a = 0; a < CRYPTO_ALGORITHM_COUNT; a++) {
            struct buffer signature = {0};
            enum crypto_algorithm algorithm = (enum crypto_algorithm)a;
            bool ours = algorithm >= kinds[i].first && algorithm <= kinds[i].last;
            assert_int_equal(crypto_sign(pair.signer, algorithm, message, &signature), ours);
            assert_int_equal(jwks_verify(keys, SPAN("k"), algorithm, message, buffer_span(&signature)), ours);
            assert_int_equal(jwks_verify(keys, SPAN(""), algorithm, message, buffer_span(&signature)), ours);
            assert_false(jwks_verify(keys, SPAN("l"), algorithm, message, buffer_span(&signature)));
            buffer_finish(&signature);
        }
        jwks_free(keys);
        pair_free(&pair);
    }
}

/* What a key says of itself narrows what it may do. */
static void believes_what_a_key_is_for(void **state)
{
    (void)state;
    struct pair pair = pair_of(EVP_RSA_gen(2048));
    static const struct {
        const char *more;
        bool taken;
    } cases[] = {
        {"\"kid\":\"a\"", true},
        {"\"use\":\"sig\"", true},
        {"\"use\":\"enc\"", false},
        {"\"use\":\"\"", true},
        {"\"use\":1", false},
        {"\"use\":\"sig\",\"use\":\"enc\"", false},
        {"\"key_ops\":[\"verify\"]", true},
        {"\"key_ops\":[\"sign\",\"verify\"]", true},
        {"\"key_ops\":[\"encrypt\"]", false},
        {"\"key_ops\":[]", false},
        {"\"alg\":\"RS512\"", true},
        {"\"alg\":\"ES256\"", false},
        {"\"alg\":\"HS256\"", false},
        {"\"alg\":\"none\"", false},
        {"\"alg\":\"RSA-OAEP\"", false},
        {"\"alg\":1", false},
        {"\"kid\":1", false},
        {"\"kid\":\"a\",\"kid\":\"b\"", false},
        {"\"kty\":\"oct\"", false}, /* twice, that is */
        {"\"x5c\":[\"MIIB\"],\"x5t\":\"abc\",\"issuer\":\"https://x\"", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct jwks *keys = set_of(&pair, cases[i].more);
        if ((keys != NULL) != cases[i].taken)
            fail_msg("key with %s", cases[i].more);
        jwks_free(keys);
    }
    struct jwks *keys = set_of(&pair, "\"alg\":\"RS512\"");
    assert_int_equal(keys->keys[0].algorithms, 1u << CRYPTO_RS512);
    jwks_free(keys);
    pair_free(&pair);
}

static void leaves_out_what_is_no_public_key(void **state)
{
    (void)state;
    static const char *const sets[] = {
        "{\"keys\":[]}",
        "{\"keys\":[1,null,\"k\",[],{}]}",
        "{\"keys\":[{\"kty\":\"oct\",\"k\":\"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0\",\"kid\":\"a\"}]}",
        "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}",
        "{\"keys\":[{\"kty\":\"RSA\",\"e\":\"AQAB\"}]}",
        "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AA\",\"y\":\"AA\"}]}",
        "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"secp256k1\",\"x\":\"AA\",\"y\":\"AA\"}]}",
        "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"AA\"}]}",
        "{\"keys\":[{\"kty\":\"rsa\"}]}",
        /* off the curve: RFC 7515 A.3's point with another y */
        ("{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
         "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a1\"}]}"),
    };
    const char *reason = NULL;
    for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
        assert_null(jwks_parse(span_str(sets[i]), &reason));
        assert_string_equal(reason, "no key in it can verify signatures");
    }
    static const char *const no_sets[] = {"",
                                          "null",
                                          "[]",
                                          "{}",
                                          "{\"keys\":{}}",
                                          "{\"keys\":[]",
                                          "{\"keys\":[],\"keys\":[]}",
                                          "<html>",
                                          "{\"error\":\"x\"}"};
    for (size_t i = 0; i < ARRAY_LEN(no_sets); i++) {
        assert_null(jwks_parse(span_str(no_sets[i]), &reason));
        assert_string_equal(reason, "not a JSON Web Key Set");
    }
}

static void one_bad_key_spoils_nothing(void **state)
{
    (void)state;
    struct pair pair = pair_of(EVP_EC_gen("P-256"));
    struct buffer json = {0};
    const char *reason;
    buffer_append(&json, SPAN("{\"more\":1,\"keys\":[{\"kty\":\"oct\"},"));
    append_jwk(&json, &pair, "\"kid\":\"a\"");
    buffer_append(&json, SPAN(",7]}"));
    struct jwks *keys = jwks_parse(buffer_span(&json), &reason);
    assert_non_null(keys);
    assert_int_equal(keys->count, 1);
    assert_int_equal(keys->left_out, 2);
    assert_true(jwks_has(keys, SPAN("a")));
    assert_false(jwks_has(keys, SPAN("b")));
    jwks_free(keys);
    /* every cut of the text is refused, and nothing is read beyond it */
    for (size_t i = 0; i < buffer_len(&json); i++) {
        char *cut = malloc(i + 1);
        memcpy(cut, buffer_span(&json).ptr, i);
        assert_null(jwks_parse(span_of(cut, i), &reason));
        free(cut);
    }
    buffer_finish(&json);
    pair_free(&pair);
}

/* A token without kid must not make us try hundreds of keys. */
static void bounds_keys_and_tries(void **state)
{
    (void)state;
    struct pair pair = pair_of(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"));
    struct pair late = pair_of(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"));
    struct buffer json = {0}, signature = {0};
    const char *reason;
    static const struct span message = SPAN_INIT("m");
    buffer_append(&json, SPAN("{\"keys\":["));
    for (unsigned i = 0; i < JWKS_KEYS + 5; i++) {
        char kid[32];
        (void)snprintf(kid, sizeof(kid), "\"kid\":\"k%u\"", i);
        append_jwk(&json, i == JWKS_TRIES ? &late : &pair, kid);
        buffer_append(&json, i < JWKS_KEYS + 4 ? SPAN(",") : SPAN("]}"));
    }
    struct jwks *keys = jwks_parse(buffer_span(&json), &reason);
    assert_non_null(keys);
    assert_int_equal(keys->count, JWKS_KEYS);
    assert_int_equal(keys->left_out, 5);
    assert_true(crypto_sign(late.signer, CRYPTO_EDDSA, message, &signature));
    assert_false(jwks_verify(keys, SPAN(""), CRYPTO_EDDSA, message, buffer_span(&signature)));
    assert_true(jwks_verify(keys, SPAN("k8"), CRYPTO_EDDSA, message, buffer_span(&signature)));
    jwks_free(keys);
    buffer_finish(&json);
    buffer_finish(&signature);
    pair_free(&pair);
    pair_free(&late);
    char *large = malloc(JWKS_BYTES + 1);
    memset(large, ' ', JWKS_BYTES + 1);
    assert_null(jwks_parse(span_of(large, JWKS_BYTES + 1), &reason));
    assert_string_equal(reason, "larger than 256 KiB");
    free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verifies_with_every_algorithm),
        cmocka_unit_test(believes_what_a_key_is_for),
        cmocka_unit_test(leaves_out_what_is_no_public_key),
        cmocka_unit_test(one_bad_key_spoils_nothing),
        cmocka_unit_test(bounds_keys_and_tries),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
