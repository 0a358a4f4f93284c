/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/jwt: what is accepted, and above all what is not: the classes of attack that RFC 8725 lists and libraries have
 * fallen for.
 */
#include "unit/base/jose_vectors.h"

#define NOW          UINT64_C(1800000000)
#define ISSUER       "https://issuer.example/t/v2.0"
#define HEADER       "{\"alg\":\"ES256\",\"kid\":\"one\",\"typ\":\"JWT\"}"
#define CLAIMS(more) "{\"iss\":\"" ISSUER "\",\"aud\":\"us\",\"sub\":\"app\"" more "}"
#define GOOD         CLAIMS(",\"exp\":1800000600,\"nbf\":1799999990,\"iat\":1799999990")

static struct arena arena;
static struct pair ec, rsa;
static struct jwks *keys;
static const struct span audiences[] = {SPAN_INIT("others"), SPAN_INIT("us")};
static const struct jwt_rules rules = {
    .issuer = SPAN_INIT(ISSUER), .audiences = audiences, .audience_count = 2, .skew = 60};
#define ALL ((1u << CRYPTO_ALGORITHM_COUNT) - 1)

static int setup(void **state)
{
    (void)state;
    struct buffer json = {0};
    const char *reason;
    hash_start();
    arena_init(&arena);
    ec = pair_of(EVP_EC_gen("P-256"));
    rsa = pair_of(EVP_RSA_gen(2048));
    buffer_append(&json, SPAN("{\"keys\":["));
    append_jwk(&json, &ec, "\"kid\":\"one\"");
    buffer_append(&json, SPAN(","));
    append_jwk(&json, &rsa, "\"kid\":\"two\"");
    buffer_append(&json, SPAN("]}"));
    keys = jwks_parse(buffer_span(&json), &reason);
    buffer_finish(&json);
    return keys && keys->count == 2 ? 0 : 1;
}

static int teardown(void **state)
{
    (void)state;
    jwks_free(keys);
    pair_free(&ec);
    pair_free(&rsa);
    arena_finish(&arena);
    return 0;
}

static enum jwt_problem check(struct span text, uint64_t now, uint64_t *expires)
{
    struct jwt token;
    enum jwt_problem problem = jwt_parse(text, &arena, &token);
    if (problem == JWT_NONE)
        problem = jwt_check_issuer(&token, rules.issuer);
    if (problem == JWT_NONE)
        problem = jwt_verify(&token, keys, ALL);
    return problem != JWT_NONE ? problem : jwt_check_claims(&token, &rules, now, expires);
}

static void expect(const char *header, const char *claims, enum jwt_problem expected)
{
    uint64_t expires;
    enum jwt_problem problem = check(token_of(&arena, header, claims, &ec, CRYPTO_ES256), NOW, &expires);
    if (problem != expected)
        fail_msg("%s %s: %s, not %s", header, claims, jwt_problem_word(problem).ptr, jwt_problem_word(expected).ptr);
}

static void accepts_a_good_token(void **state)
{
    (void)state;
    uint64_t expires = 0;
    assert_int_equal(check(token_of(&arena, HEADER, GOOD, &ec, CRYPTO_ES256), NOW, &expires), JWT_NONE);
    assert_int_equal(expires, 1800000660);
    assert_int_equal(
        check(token_of(&arena, "{\"alg\":\"PS256\",\"kid\":\"two\"}", GOOD, &rsa, CRYPTO_PS256), NOW, &expires),
        JWT_NONE);
    assert_int_equal(check(token_of(&arena, "{\"alg\":\"RS256\"}", GOOD, &rsa, CRYPTO_RS256), NOW, &expires), JWT_NONE);
}

static void refuses_headers(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        enum jwt_problem problem;
    } cases[] = {
        {"{\"alg\":\"none\"}", JWT_ALGORITHM},
        {"{\"alg\":\"None\"}", JWT_ALGORITHM},
        {"{\"alg\":\"NONE\"}", JWT_ALGORITHM},
        {"{\"alg\":\"nOnE\"}", JWT_ALGORITHM},
        {"{\"alg\":\"n\\u006fne\"}", JWT_ALGORITHM},
        {"{\"alg\":\"\"}", JWT_ALGORITHM},
        {"{\"alg\":\"HS256\",\"kid\":\"two\"}", JWT_ALGORITHM},
        {"{\"alg\":\"HS512\"}", JWT_ALGORITHM},
        {"{\"alg\":\"es256\",\"kid\":\"one\"}", JWT_ALGORITHM},
        {"{\"alg\":\"ES256K\",\"kid\":\"one\"}", JWT_ALGORITHM},
        {"{\"alg\":\"RS1\"}", JWT_ALGORITHM},
        {"{\"alg\":\"ES256 \",\"kid\":\"one\"}", JWT_ALGORITHM},
        {"{\"alg\":null}", JWT_MALFORMED},
        {"{\"alg\":[\"ES256\"]}", JWT_MALFORMED},
        {"{\"kid\":\"one\"}", JWT_MALFORMED},
        {"{}", JWT_MALFORMED},
        {"[]", JWT_MALFORMED},
        {"", JWT_MALFORMED},
        {"{\"alg\":\"ES256\",\"kid\":\"one\"} ", JWT_NONE},
        {"{\"alg\":\"ES256\",\"kid\":\"one\"}x", JWT_MALFORMED},
        /* a member twice: one reader takes the first, one the last */
        {"{\"alg\":\"ES256\",\"alg\":\"none\",\"kid\":\"one\"}", JWT_MALFORMED},
        {"{\"alg\":\"ES256\",\"a\\u006cg\":\"ES256\",\"kid\":\"one\"}", JWT_MALFORMED},
        {"{\"alg\":\"ES256\",\"kid\":\"one\",\"kid\":\"one\"}", JWT_MALFORMED},
        {"{\"alg\":\"ES256\",\"kid\":\"one\",\"x\":{\"a\":1,\"a\":2}}", JWT_MALFORMED},
        {"{\"alg\":\"ES256\",\"kid\":\"one\",\"x\":[{\"a\":1},{\"a\":2}]}", JWT_NONE},
        /* crit: we know no extension */
        {"{\"alg\":\"ES256\",\"kid\":\"one\",\"crit\":[\"exp\"],\"exp\":1}", JWT_CRITICAL},
        {"{\"alg\":\"ES256\",\"kid\":\"one\",\"crit\":[]}", JWT_CRITICAL},
        {"{\"alg\":\"ES256\",\"kid\":\"one\",\"crit\":null}", JWT_CRITICAL},
        {"{\"alg\":\"ES256\",\"kid\":\"one\",\"crit\":[\"b64\"],\"b64\":false}", JWT_CRITICAL},
        /* kid that a careless look-up would take for a path, a query or a wildcard */
        {"{\"alg\":\"ES256\",\"kid\":\"\"}", JWT_UNKNOWN_KEY},
        {"{\"alg\":\"ES256\",\"kid\":\"../../dev/null\"}", JWT_UNKNOWN_KEY},
        {"{\"alg\":\"ES256\",\"kid\":\"x' OR '1'='1\"}", JWT_UNKNOWN_KEY},
        {"{\"alg\":\"ES256\",\"kid\":\"one\\u0000\"}", JWT_UNKNOWN_KEY},
        {"{\"alg\":\"ES256\",\"kid\":\"*\"}", JWT_UNKNOWN_KEY},
        {"{\"alg\":\"ES256\",\"kid\":\"ONE\"}", JWT_UNKNOWN_KEY},
        {"{\"alg\":\"ES256\",\"kid\":1}", JWT_MALFORMED},
        {"{\"alg\":\"ES256\",\"kid\":null}", JWT_MALFORMED},
        {"{\"alg\":\"ES256\",\"kid\":\"two\"}", JWT_SIGNATURE},
        /* other kinds of tokens of the same issuer */
        {"{\"alg\":\"ES256\",\"kid\":\"one\",\"typ\":\"logout+jwt\"}", JWT_TYPE},
        {"{\"alg\":\"ES256\",\"kid\":\"one\",\"typ\":\"dpop+jwt\"}", JWT_TYPE},
        {"{\"alg\":\"ES256\",\"kid\":\"one\",\"typ\":7}", JWT_TYPE},
        {"{\"alg\":\"ES256\",\"kid\":\"one\",\"typ\":\"jwt\"}", JWT_NONE},
        {"{\"alg\":\"ES256\",\"kid\":\"one\",\"typ\":\"application/at+JWT\"}", JWT_NONE},
        {"{\"alg\":\"ES256\",\"kid\":\"one\"}", JWT_NONE},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        expect(cases[i].header, GOOD, cases[i].problem);
}

static void uses_no_key_of_the_token(void **state)
{
    (void)state;
    struct pair own = pair_of(EVP_EC_gen("P-256"));
    struct buffer header = {0};
    uint64_t expires;
    /* CVE-2018-0114: the token brings the key that signs it. */
    buffer_append(&header, SPAN("{\"alg\":\"ES256\",\"kid\":\"one\",\"jwk\":"));
    append_jwk(&header, &own, "\"kid\":\"one\"");
    buffer_append(
        &header, SPAN(",\"jku\":\"https://evil.example/keys\",\"x5u\":\"https://evil.example/c\",\"x5c\":[\"MIIB\"]}"));
    buffer_append(&header, span_of("", 1));
    struct span forged = token_of(&arena, buffer_span(&header).ptr, GOOD, &own, CRYPTO_ES256);
    assert_int_equal(check(forged, NOW, &expires), JWT_SIGNATURE);
    /* The same header over an honest signature is merely ignored. */
    struct span honest = token_of(&arena, buffer_span(&header).ptr, GOOD, &ec, CRYPTO_ES256);
    assert_int_equal(check(honest, NOW, &expires), JWT_NONE);
    buffer_finish(&header);
    pair_free(&own);
}

static void refuses_forms(void **state)
{
    (void)state;
    uint64_t expires;
    struct span good = token_of(&arena, HEADER, GOOD, &ec, CRYPTO_ES256);
    size_t first = span_find(good, '.'), second = first + 1 + span_find(span_skip(good, first + 1), '.');
    struct span message = span_take(good, second);
    static const char *const zero_signatures[] = {
        /* CVE-2022-21449: r and s zero */
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "A",
        "AA",
        "AAA",
        "MAYCAQACAQA", /* a DER sequence of two zeros */
    };
    for (size_t i = 0; i < ARRAY_LEN(zero_signatures); i++) {
        enum jwt_problem problem =
            check(arena_format(&arena, "%.*s.%s", SPAN_ARG(message), zero_signatures[i]), NOW, &expires);
        assert_true(problem == JWT_SIGNATURE || problem == JWT_MALFORMED);
    }
    const struct {
        struct span text;
        enum jwt_problem problem;
    } cases[] = {
        {SPAN(""), JWT_MALFORMED},
        {SPAN("."), JWT_MALFORMED},
        {SPAN(".."), JWT_MALFORMED},
        {SPAN("a.b"), JWT_MALFORMED},
        {SPAN("...."), JWT_ENCRYPTED},
        {SPAN("eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ.a.b.c.d"), JWT_ENCRYPTED},
        {SPAN("eyJhbGciOiJub25lIn0.e30."), JWT_ALGORITHM},
        {message, JWT_MALFORMED},
        {arena_format(&arena, "%.*s.", SPAN_ARG(message)), JWT_MALFORMED},
        {arena_format(&arena, "%.*s=", SPAN_ARG(good)), JWT_MALFORMED},
        {arena_format(&arena, "%.*s\n", SPAN_ARG(good)), JWT_MALFORMED},
        {arena_format(&arena, " %.*s", SPAN_ARG(good)), JWT_MALFORMED},
        {arena_format(&arena, "%.*s.", SPAN_ARG(good)), JWT_MALFORMED},
        {arena_format(&arena, "=%.*s", SPAN_ARG(good)), JWT_MALFORMED},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (check(cases[i].text, NOW, &expires) != cases[i].problem)
            fail_msg("form %zu: %s", i, jwt_problem_word(check(cases[i].text, NOW, &expires)).ptr);
}

/* No byte of a token can be changed: not even the spare bits of base64url, which would make a second spelling. */
static void every_byte_counts(void **state)
{
    (void)state;
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=. ";
    struct span good = token_of(&arena, HEADER, GOOD, &ec, CRYPTO_ES256);
    uint64_t expires;
    for (size_t i = 0; i < good.len; i++) {
        struct arena round;
        arena_init(&round);
        struct span changed = arena_copy(&round, good);
        char *at = (char *)(uintptr_t)changed.ptr + i;
        for (size_t k = 0; k < sizeof(letters) - 1; k += i % 7 + 1) {
            if (letters[k] == good.ptr[i])
                continue;
            *at = letters[k];
            assert_int_not_equal(check(changed, NOW, &expires), JWT_NONE);
        }
        arena_finish(&round);
        assert_int_not_equal(check(span_take(good, i), NOW, &expires), JWT_NONE);
    }
}

static void refuses_what_is_too_large(void **state)
{
    (void)state;
    struct buffer claims = {0}, header = {0};
    uint64_t expires;
    buffer_append(&claims, SPAN("{\"pad\":\""));
    for (int i = 0; i < 1300; i++)
        buffer_append(&claims, SPAN("0123456789"));
    buffer_append(&claims, span_of("\"}", 3));
    struct span large = token_of(&arena, HEADER, buffer_span(&claims).ptr, &ec, CRYPTO_ES256);
    assert_int_equal(check(large, NOW, &expires), JWT_TOO_LARGE);
    buffer_finish(&claims);
    buffer_append(&header, SPAN("{\"alg\":\"ES256\",\"kid\":\"one\",\"pad\":\""));
    for (int i = 0; i < 700; i++)
        buffer_append(&header, SPAN("0123456789"));
    buffer_append(&header, span_of("\"}", 3));
    expect(buffer_span(&header).ptr, GOOD, JWT_MALFORMED);
    buffer_finish(&header);
    /* many members, deep nesting */
    buffer_append(&claims, SPAN("{\"a\":1"));
    for (int i = 0; i < JWT_MEMBERS; i++)
        buffer_format(&claims, ",\"%d\":1", i);
    buffer_append(&claims, span_of("}", 2));
    expect(HEADER, buffer_span(&claims).ptr, JWT_MALFORMED);
    buffer_finish(&claims);
    buffer_append(&claims, SPAN("{\"a\":"));
    for (int i = 0; i < 40; i++)
        buffer_append(&claims, SPAN("["));
    for (int i = 0; i < 40; i++)
        buffer_append(&claims, SPAN("]"));
    buffer_append(&claims, span_of("}", 2));
    expect(HEADER, buffer_span(&claims).ptr, JWT_MALFORMED);
    buffer_finish(&claims);
}

static void checks_claims(void **state)
{
    (void)state;
    static const struct {
        const char *claims;
        enum jwt_problem problem;
    } cases[] = {
        /* issuer: exactly, and one string */
        {"{\"aud\":\"us\",\"exp\":1800000600}", JWT_CLAIM},
        {"{\"iss\":\"https://issuer.example/t/v2.0/\",\"aud\":\"us\",\"exp\":1800000600}", JWT_ISSUER},
        {"{\"iss\":\"https://ISSUER.example/t/v2.0\",\"aud\":\"us\",\"exp\":1800000600}", JWT_ISSUER},
        {"{\"iss\":[\"" ISSUER "\"],\"aud\":\"us\",\"exp\":1800000600}", JWT_CLAIM},
        {"{\"iss\":\"" ISSUER "\",\"iss\":\"x\",\"aud\":\"us\",\"exp\":1800000600}", JWT_MALFORMED},
        {"{\"iss\":\"https:\\/\\/issuer.example\\/t\\/v2.0\",\"aud\":\"us\",\"exp\":1800000600}", JWT_NONE},
        /* audience */
        {"{\"iss\":\"" ISSUER "\",\"exp\":1800000600}", JWT_CLAIM},
        {"{\"iss\":\"" ISSUER "\",\"exp\":1800000600,\"aud\":\"them\"}", JWT_AUDIENCE},
        {"{\"iss\":\"" ISSUER "\",\"exp\":1800000600,\"aud\":\"us them\"}", JWT_AUDIENCE},
        {"{\"iss\":\"" ISSUER "\",\"exp\":1800000600,\"aud\":[]}", JWT_AUDIENCE},
        {"{\"iss\":\"" ISSUER "\",\"exp\":1800000600,\"aud\":[\"them\",\"they\"]}", JWT_AUDIENCE},
        {"{\"iss\":\"" ISSUER "\",\"exp\":1800000600,\"aud\":[\"them\",\"us\"]}", JWT_NONE},
        {"{\"iss\":\"" ISSUER "\",\"exp\":1800000600,\"aud\":[\"us\",1]}", JWT_CLAIM},
        {"{\"iss\":\"" ISSUER "\",\"exp\":1800000600,\"aud\":[[\"us\"]]}", JWT_CLAIM},
        {"{\"iss\":\"" ISSUER "\",\"exp\":1800000600,\"aud\":{\"us\":1}}", JWT_CLAIM},
        {"{\"iss\":\"" ISSUER "\",\"exp\":1800000600,\"aud\":null}", JWT_CLAIM},
        /* exp: a number, not past; 60 s of skew */
        {CLAIMS(""), JWT_CLAIM},
        {CLAIMS(",\"exp\":\"1800000600\""), JWT_CLAIM},
        {CLAIMS(",\"exp\":null"), JWT_CLAIM},
        {CLAIMS(",\"exp\":true"), JWT_CLAIM},
        {CLAIMS(",\"exp\":-1"), JWT_CLAIM},
        {CLAIMS(",\"exp\":1e400"), JWT_CLAIM},
        {CLAIMS(",\"exp\":9007199254740993000"), JWT_CLAIM},
        {CLAIMS(",\"exp\":9007199254740992"), JWT_NONE},
        {CLAIMS(",\"exp\":0"), JWT_EXPIRED},
        {CLAIMS(",\"exp\":1799999940"), JWT_EXPIRED},
        {CLAIMS(",\"exp\":1799999940.9"), JWT_EXPIRED},
        {CLAIMS(",\"exp\":1799999941"), JWT_NONE},
        {CLAIMS(",\"exp\":1800000600.5"), JWT_NONE},
        {CLAIMS(",\"exp\":1.8000006e9"), JWT_NONE},
        {CLAIMS(",\"exp\":1800000600,\"exp\":9000000000"), JWT_MALFORMED},
        /* nbf and iat: not in the future */
        {CLAIMS(",\"exp\":1800000600,\"nbf\":1800000060"), JWT_NONE},
        {CLAIMS(",\"exp\":1800000600,\"nbf\":1800000061"), JWT_NOT_YET},
        {CLAIMS(",\"exp\":1800000600,\"nbf\":1800000060.5"), JWT_NOT_YET},
        {CLAIMS(",\"exp\":1800000600,\"nbf\":\"0\""), JWT_CLAIM},
        {CLAIMS(",\"exp\":1800000600,\"iat\":1800000061"), JWT_NOT_YET},
        {CLAIMS(",\"exp\":1800000600,\"iat\":-5"), JWT_CLAIM},
        {CLAIMS(",\"exp\":1800000600,\"iat\":[]"), JWT_CLAIM},
        {"[]", JWT_MALFORMED},
        {"\"" ISSUER "\"", JWT_MALFORMED},
        {"", JWT_MALFORMED},
        {"{\"iss\":\"" ISSUER "\",}", JWT_MALFORMED},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        expect(HEADER, cases[i].claims, cases[i].problem);
}

static void restricts_algorithms(void **state)
{
    (void)state;
    struct jwt token;
    struct span text = token_of(&arena, HEADER, GOOD, &ec, CRYPTO_ES256);
    assert_int_equal(jwt_parse(text, &arena, &token), JWT_NONE);
    assert_int_equal(jwt_verify(&token, keys, 1u << CRYPTO_ES256), JWT_NONE);
    assert_int_equal(jwt_verify(&token, keys, ALL & ~(1u << CRYPTO_ES256)), JWT_ALGORITHM);
    assert_int_equal(jwt_verify(&token, keys, 0), JWT_ALGORITHM);
}

/* RFC 7515 appendix A.3 under the key printed there; its exp is 1300819380. */
static void reads_the_rfc_example(void **state)
{
    (void)state;
    static const char set[] =
        "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
        "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}";
    static const char text[] =
        "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9p"
        "c19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-"
        "Kg6NU1Q";
    const char *reason;
    struct jwt token;
    struct jwks *one = jwks_parse(span_str(set), &reason);
    assert_non_null(one);
    assert_int_equal(jwt_parse(span_str(text), &arena, &token), JWT_NONE);
    assert_int_equal(jwt_verify(&token, one, ALL), JWT_NONE);
    assert_int_equal(jwt_check_issuer(&token, SPAN("joe")), JWT_NONE);
    assert_int_equal(jwt_check_issuer(&token, SPAN("jo")), JWT_ISSUER);
    jwks_free(one);
}

static void finds_claims(void **state)
{
    (void)state;
    static const char claims[] = "{\"sub\":\"system:serviceaccount:apps:search\",\"n\":42,\"empty\":\"\",\"roles\":["
                                 "\"a\",\"b c\"],\"scp\":\" read  write \","
                                 "\"mixed\":[\"a\",1],\"kubernetes.io\":{\"namespace\":\"apps\",\"serviceaccount\":{"
                                 "\"name\":\"search\"}},\"a/b\":{\"c~d\":\"e\"}}";
    struct jwt token;
    struct span text, *words;
    size_t count;
    struct span raw = token_of(&arena, HEADER, claims, &ec, CRYPTO_ES256);
    assert_int_equal(jwt_parse(raw, &arena, &token), JWT_NONE);
    static const struct {
        const char *name, *value; /* NULL: none */
    } texts[] = {{"sub", "system:serviceaccount:apps:search"},
                 {"n", "42"},
                 {"empty", NULL},
                 {"roles", NULL},
                 {"nothing", NULL},
                 {"kubernetes.io", NULL},
                 {"/kubernetes.io/namespace", "apps"},
                 {"/kubernetes.io/serviceaccount/name", "search"},
                 {"/kubernetes.io/serviceaccount/name/x", NULL},
                 {"/a~1b/c~0d", "e"},
                 {"/", NULL}};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        bool found = jwt_claim_text(&token, span_str(texts[i].name), &arena, &text);
        if (found != (texts[i].value != NULL) || (found && !span_equal(text, span_str(texts[i].value))))
            fail_msg("claim %s", texts[i].name);
    }
    assert_true(jwt_claim_words(&token, SPAN("roles"), &arena, &words, &count));
    assert_int_equal(count, 2);
    assert_true(span_equal(words[1], SPAN("b c")));
    assert_true(jwt_claim_words(&token, SPAN("scp"), &arena, &words, &count));
    assert_int_equal(count, 2);
    assert_true(span_equal(words[0], SPAN("read")) && span_equal(words[1], SPAN("write")));
    assert_false(jwt_claim_words(&token, SPAN("mixed"), &arena, &words, &count));
    assert_false(jwt_claim_words(&token, SPAN("n"), &arena, &words, &count));
    assert_false(jwt_claim_words(&token, SPAN("nothing"), &arena, &words, &count));
}

static void every_problem_has_words(void **state)
{
    (void)state;
    for (int i = 1; i < JWT_PROBLEM_COUNT; i++) {
        assert_true(jwt_problem_word((enum jwt_problem)i).len > 0);
        assert_true(jwt_problem_text((enum jwt_problem)i).len > 0);
    }
    assert_true(span_equal(jwt_problem_word(JWT_PROBLEM_COUNT), SPAN("malformed")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_a_good_token),
        cmocka_unit_test(refuses_headers),
        cmocka_unit_test(uses_no_key_of_the_token),
        cmocka_unit_test(refuses_forms),
        cmocka_unit_test(every_byte_counts),
        cmocka_unit_test(refuses_what_is_too_large),
        cmocka_unit_test(checks_claims),
        cmocka_unit_test(restricts_algorithms),
        cmocka_unit_test(reads_the_rfc_example),
        cmocka_unit_test(finds_claims),
        cmocka_unit_test(every_problem_has_words),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
