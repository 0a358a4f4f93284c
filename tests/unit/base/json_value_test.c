/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/json_value.h"

static struct json_value parsed(struct span text)
{
    struct json_value root;
    assert_true(json_value_parse(text, &root));
    return root;
}

static void finds(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        struct span raw; /* ptr NULL = not found */
    } table[] = {
        {"alg", SPAN_INIT("\"RS256\"")},
        {"keys.0.kid", SPAN_INIT("\"a\\u0062\"")},
        {"keys.1.kid", SPAN_INIT("\"c\"")},
        {"keys.1", SPAN_INIT("{ \"kid\" : \"c\" , \"n\":[ ] }")},
        {"keys.2", {NULL, 0}},
        {"keys.01.kid", SPAN_INIT("\"c\"")},
        {"keys.x", {NULL, 0}},
        {"keys.", {NULL, 0}},
        {"alg.x", {NULL, 0}},
        {"missing", {NULL, 0}},
        {"twice", {NULL, 0}},
        {"deep.a.b", SPAN_INIT("-1.50")},
        {"0", SPAN_INIT("true")},
        {"model", SPAN_INIT("null")},
    };
    struct json_value root =
        parsed(SPAN(" {\"alg\":\"RS256\",\"keys\" : [{\"kid\":\"a\\u0062\"} ,\n{ \"kid\" : \"c\" , "
                    "\"n\":[ ] }],\"twice\":1,\"deep\":{\"a\":{\"b\":-1.50}},\"tw\\u0069ce\":2,"
                    "\"0\":true,\"mo\\u0064el\":null} "));
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct json_value got;
        bool found = json_value_find(root, table[i].path, &got);
        if (found != (table[i].raw.ptr != NULL) || (found && !span_equal(got.raw, table[i].raw)))
            fail_msg("%s: found %d %.*s", table[i].path, found, found ? (int)got.raw.len : 0, found ? got.raw.ptr : "");
    }
}

static void refuses(void **state)
{
    (void)state;
    static const char *const table[] = {"", " ", "{", "{}x", "{\"a\":1,}", "[1 2]", "\"\xFF\"", "nul", "{} []"};
    struct json_value root;
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        assert_false(json_value_parse(span_str(table[i]), &root));
}

static void walks(void **state)
{
    (void)state;
    struct json_value root = parsed(SPAN("{ \"a:b\" : [1, \"]\", {} ,[[]] ] ,\"c\":{\"d\":\",}\"},\"e\":[],\"f\":{}}"));
    static const char *const members[] = {"\"a:b\"", "\"c\"", "\"e\"", "\"f\""};
    static const char *const elements[] = {"1", "\"]\"", "{}", "[[]]"};
    struct json_value value, list = {JSON_BAD, {NULL, 0}}, inner;
    struct span name;
    size_t cursor = 0, count = 0;
    for (; json_value_each(root, &cursor, &name, &value); count++) {
        assert_true(count < ARRAY_LEN(members));
        assert_true(span_equal(name, span_str(members[count])));
        if (count == 0)
            list = value;
        if (count >= 2) {
            size_t none = 0;
            assert_false(json_value_each(value, &none, NULL, &inner));
        }
    }
    assert_int_equal(count, ARRAY_LEN(members));
    for (cursor = count = 0; json_value_each(list, &cursor, &name, &value); count++) {
        assert_true(count < ARRAY_LEN(elements));
        assert_true(span_equal(value.raw, span_str(elements[count])));
        assert_int_equal(name.len, 0);
    }
    assert_int_equal(count, ARRAY_LEN(elements));
    cursor = 0;
    assert_false(json_value_each(parsed(SPAN("\"text\"")), &cursor, NULL, &value));
}

static void texts(void **state)
{
    (void)state;
    struct arena arena;
    struct span text;
    arena_init(&arena);
    assert_true(json_value_text(parsed(SPAN("\"a\\n\\u00e9\\ud83d\\ude00\"")), &arena, &text));
    assert_true(span_equal(text, SPAN("a\n\xC3\xA9\xF0\x9F\x98\x80")));
    assert_true(json_value_text(parsed(SPAN(" \"\" ")), &arena, &text));
    assert_int_equal(text.len, 0);
    assert_false(json_value_text(parsed(SPAN("12")), &arena, &text));
    assert_true(json_value_is(parsed(SPAN("\"none\"")), SPAN("none")));
    assert_true(json_value_is(parsed(SPAN("\"n\\u006fne\"")), SPAN("none")));
    assert_false(json_value_is(parsed(SPAN("\"None\"")), SPAN("none")));
    assert_false(json_value_is(parsed(SPAN("null")), SPAN("null")));
    arena_finish(&arena);
}

static void numbers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool whole;
        uint64_t value;
    } table[] = {
        {"0", true, 0},
        {"18446744073709551615", true, UINT64_MAX},
        {"18446744073709551616", false, 0},
        {"1e3", true, 1000},
        {"5.0", true, 5},
        {"5.5", false, 0},
        {"-1", false, 0},
        {"-0", true, 0},
        {"1e400", false, 0},
        {"1.5e1", true, 15},
        {"9007199254740992", true, UINT64_C(9007199254740992)},
        {"1e16", false, 0},
        {"\"5\"", false, 0},
        {"true", false, 0},
        {"[5]", false, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        uint64_t value = 77;
        bool whole = json_value_u64(parsed(span_str(table[i].text)), &value);
        if (whole != table[i].whole || (whole && value != table[i].value))
            fail_msg("%s: %d %llu", table[i].text, whole, (unsigned long long)value);
    }
    double number = 0;
    assert_true(json_value_double(parsed(SPAN("-2.5e-1")), &number));
    assert_true(number == -0.25);
    assert_false(json_value_double(parsed(SPAN("1e999")), &number));
    assert_false(json_value_double(parsed(SPAN("\"1\"")), &number));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds), cmocka_unit_test(refuses), cmocka_unit_test(walks),
        cmocka_unit_test(texts), cmocka_unit_test(numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
