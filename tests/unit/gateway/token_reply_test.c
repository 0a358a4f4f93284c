/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/encoding.h"
#include "gateway/token_reply.h"

#define WALL (UINT64_C(1500000000) * CLOCK_SECOND)

struct good_case {
    const char *body, *token;
    uint64_t expires_in, refresh_in;
};

static const struct good_case good_cases[] = {
    /* Entra ID */
    {"{\"token_type\":\"Bearer\",\"expires_in\":3599,\"ext_expires_in\":3599,\"access_token\":\"eyJ.a.b\"}", "eyJ.a.b",
     3599, 0},
    {"{\"token_type\":\"Bearer\",\"expires_in\":86399,\"refresh_in\":43199,\"access_token\":\"t\"}", "t", 86399, 43199},
    /* the metadata service: all strings */
    {"{\"access_token\":\"t\",\"refresh_token\":\"\",\"expires_in\":\"3599\",\"expires_on\":\"1506484173\","
     "\"token_type\":\"Bearer\"}",
     "t", 3599, 0},
    {"{\"access_token\":\"t\",\"expires_on\":\"1500000100\",\"token_type\":\"bearer\"}", "t", 100, 0},
    {"{\"access_token\":\"t\",\"expires_on\":1500000100}", "t", 100, 0},
    /* a refresh that makes no sense is none */
    {"{\"access_token\":\"t\",\"expires_in\":100,\"refresh_in\":100}", "t", 100, 0},
    {"{\"access_token\":\"t\",\"expires_in\":100,\"refresh_in\":\"soon\"}", "t", 100, 0},
    /* escapes, as PHP writes them */
    {"{\"access_token\":\"a\\/b\\u002fc\",\"expires_in\":5}", "a/b/c", 5, 0},
    {"{\"access_token\":\"t\",\"expires_in\":18446744073709551615}", "t", UINT64_C(315360000), 0},
};

static void test_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good_cases); i++) {
        const struct good_case *one = &good_cases[i];
        struct arena arena;
        struct token_reply reply;
        const char *reason;
        arena_init(&arena);
        assert_true(token_reply_read(span_str(one->body), WALL, &arena, &reply, &reason));
        assert_true(span_equal(reply.token, span_str(one->token)));
        assert_int_equal(reply.expires_in, one->expires_in);
        assert_int_equal(reply.refresh_in, one->refresh_in);
        arena_finish(&arena);
    }
}

static const struct {
    const char *body, *reason;
} bad_cases[] = {
    {"", "is no JSON object"},
    {"<html>", "is no JSON object"},
    {"[]", "is no JSON object"},
    {"{\"access_token\":\"t\",\"expires_in\":1}x", "is no JSON object"},
    {"{}", "has no access_token"},
    {"{\"access_token\":null,\"expires_in\":1}", "has no access_token"},
    {"{\"access_token\":\"a\",\"access_token\":\"b\",\"expires_in\":1}", "has no access_token"},
    {"{\"access_token\":\"\",\"expires_in\":1}", "has a token with bytes that no header field may have"},
    {"{\"access_token\":\"a b\",\"expires_in\":1}", "has a token with bytes that no header field may have"},
    {"{\"access_token\":\"a\\r\\nx: y\",\"expires_in\":1}", "has a token with bytes that no header field may have"},
    {"{\"access_token\":\"\xc3\xa9\",\"expires_in\":1}", "has a token with bytes that no header field may have"},
    {"{\"access_token\":\"t\",\"token_type\":\"pop\",\"expires_in\":1}", "has a token of another type than Bearer"},
    {"{\"access_token\":\"t\",\"token_type\":1,\"expires_in\":1}", "has a token of another type than Bearer"},
    {"{\"access_token\":\"t\"}", "does not say when the token expires"},
    {"{\"access_token\":\"t\",\"expires_in\":-1}", "does not say when the token expires"},
    {"{\"access_token\":\"t\",\"expires_in\":\"1h\"}", "does not say when the token expires"},
    {"{\"access_token\":\"t\",\"expires_in\":0}", "has a token that has expired already"},
    {"{\"access_token\":\"t\",\"expires_on\":1499999999}", "has a token that has expired already"},
};

static void test_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad_cases); i++) {
        struct arena arena;
        struct token_reply reply;
        const char *reason = "";
        arena_init(&arena);
        assert_false(token_reply_read(span_str(bad_cases[i].body), WALL, &arena, &reply, &reason));
        assert_string_equal(reason, bad_cases[i].reason);
        arena_finish(&arena);
    }
}

static void test_too_long(void **state)
{
    (void)state;
    for (size_t extra = 0; extra < 2; extra++) {
        struct buffer body = {0};
        struct arena arena;
        struct token_reply reply;
        const char *reason = "";
        buffer_append(&body, SPAN("{\"expires_in\":9,\"access_token\":\""));
        for (size_t i = 0; i < TOKEN_BYTES_MAX + extra; i++)
            buffer_append(&body, SPAN("x"));
        buffer_append(&body, SPAN("\"}"));
        arena_init(&arena);
        assert_int_equal(token_reply_read(buffer_span(&body), WALL, &arena, &reply, &reason), extra == 0);
        arena_finish(&arena);
        buffer_finish(&body);
    }
}

/* ---- errors ---- */

/* azure-facts: what each code asks for. The numbers are Entra's own. */
static const struct {
    uint64_t code;
    unsigned status;
    enum token_action action;
    uint64_t known; /* the code of the entry; 0: by status */
} actions[] = {
    {70021, 400, TOKEN_PROPAGATE, 70021},
    {700213, 400, TOKEN_PROPAGATE, 700213},
    {7002138, 400, TOKEN_PROPAGATE, 7002138},
    {700211, 400, TOKEN_PROPAGATE, 700211},
    {700212, 400, TOKEN_CONFIGURE, 700212},
    {700024, 400, TOKEN_REREAD, 700024},
    {700024, 401, TOKEN_REREAD, 700024},
    {90061, 400, TOKEN_RETRY, 90061},
    {70011, 400, TOKEN_CONFIGURE, 70011},
    {700016, 400, TOKEN_CONFIGURE, 700016},
    {7000215, 401, TOKEN_CONFIGURE, 7000215},
    {500011, 400, TOKEN_CONFIGURE, 500011},
    {70021, 429, TOKEN_RETRY, 0},
    {123, 400, TOKEN_CONFIGURE, 0},
    {0, 400, TOKEN_CONFIGURE, 0},
    {0, 404, TOKEN_CONFIGURE, 0},
    {0, 302, TOKEN_CONFIGURE, 0},
    {0, 408, TOKEN_RETRY, 0},
    {0, 500, TOKEN_RETRY, 0},
    {123, 503, TOKEN_RETRY, 0},
};

static void test_actions(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
        const struct token_trouble *trouble = token_trouble(actions[i].code, actions[i].status);
        assert_int_equal(trouble->action, actions[i].action);
        assert_int_equal(trouble->code, actions[i].known);
        assert_true(*trouble->meaning && *trouble->remedy);
    }
    static const unsigned passing[] = {404, 410, 429, 500, 503};
    for (size_t i = 0; i < ARRAY_LEN(passing); i++)
        assert_int_equal(token_trouble_imds(passing[i])->action, TOKEN_RETRY);
    assert_int_equal(token_trouble_imds(400)->action, TOKEN_CONFIGURE);
    assert_int_equal(token_trouble_imds(403)->action, TOKEN_CONFIGURE);
    assert_int_equal(token_trouble_unreachable()->action, TOKEN_RETRY);
}

static const struct {
    const char *body, *error;
    uint64_t code;
} refusals[] = {
    {"{\"error\":\"invalid_client\",\"error_description\":\"AADSTS700213: No ...\",\"error_codes\":[700213]}",
     "invalid_client", 700213},
    {"{\"error\":\"invalid_client\",\"error_codes\":[1,700024,70021]}", "invalid_client", 700024},
    {"{\"error_codes\":[12,13]}", "", 12},
    {"{\"error_codes\":[\"x\",-1,13]}", "", 13},
    {"{\"error_codes\":70021}", "", 0},
    /* words are not believed: only the list is */
    {"{\"error\":\"x\",\"error_description\":\"AADSTS70021: ...\"}", "x", 0},
    {"{\"error\":\"two words\"}", "", 0},
    {"{\"error\":\"line\\nbreak\"}", "", 0},
    {"{\"error\":{\"code\":\"x\"}}", "", 0},
    {"<html>", "", 0},
    {"", "", 0},
};

static void test_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        struct arena arena;
        struct token_refusal refusal;
        arena_init(&arena);
        token_refusal_read(span_str(refusals[i].body), &arena, &refusal);
        assert_int_equal(refusal.code, refusals[i].code);
        assert_true(span_equal(refusal.error, span_str(refusals[i].error)));
        arena_finish(&arena);
    }
}

/* ---- the object id ---- */

static void test_object_id(void **state)
{
    (void)state;
    static const struct {
        const char *claims, *oid; /* oid NULL: none */
    } cases[] = {
        {"{\"oid\":\"1b5f\",\"exp\":1}", "1b5f"},
        {"{\"exp\":1}", NULL},
        {"{\"oid\":5}", NULL},
        {"{\"oid\":\"\"}", NULL},
        {"{\"oid\":\"a b\"}", NULL},
        {"{\"oid\":\"a\",\"oid\":\"b\"}", NULL},
        {"[]", NULL},
        {"x", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buffer token = {0};
        struct arena arena;
        struct span oid;
        arena_init(&arena);
        buffer_append(&token, SPAN("e30."));
        encode_base64url(&token, span_str(cases[i].claims));
        buffer_append(&token, SPAN(".c2ln"));
        assert_int_equal(token_object_id(buffer_span(&token), &arena, &oid), cases[i].oid != NULL);
        if (cases[i].oid)
            assert_true(span_equal(oid, span_str(cases[i].oid)));
        arena_finish(&arena);
        buffer_finish(&token);
    }
    struct arena arena;
    struct span oid;
    arena_init(&arena);
    static const char *const opaque[] = {"", "opaque", "a.", "a.!.c", "..."};
    for (size_t i = 0; i < ARRAY_LEN(opaque); i++)
        assert_false(token_object_id(span_str(opaque[i]), &arena, &oid));
    arena_finish(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),    cmocka_unit_test(test_bad),      cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_actions), cmocka_unit_test(test_refusals), cmocka_unit_test(test_object_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
