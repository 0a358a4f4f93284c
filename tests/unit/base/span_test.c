/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/span.h"

static const struct span none = {NULL, 0};

static void test_equality(void **state)
{
    (void)state;
    assert_true(span_equal(none, SPAN("")));
    assert_true(span_equal(SPAN("a\0b"), span_of("a\0b", 3)));
    assert_false(span_equal(SPAN("a\0b"), SPAN("a\0c")));
    assert_false(span_equal(SPAN("a"), SPAN("ab")));
    assert_true(span_equal(span_str(NULL), none));
    assert_true(span_equal(span_str("chat"), SPAN("chat")));

    assert_true(span_equal_nocase(SPAN("Content-TYPE"), SPAN("content-type")));
    assert_false(span_equal_nocase(SPAN("@["), SPAN("`{"))); /* neighbours of the letters differ by 0x20 too */
    assert_false(span_equal_nocase(SPAN("\xC4"), SPAN("\xE4")));
    assert_true(span_equal_nocase(none, SPAN("")));

    assert_true(span_equal_secret(SPAN("key"), SPAN("key")));
    assert_true(span_equal_secret(none, SPAN("")));
    assert_false(span_equal_secret(SPAN("key"), SPAN("kez")));
    assert_false(span_equal_secret(SPAN("key"), SPAN("jey")));
    assert_false(span_equal_secret(SPAN("key"), SPAN("keys")));
    assert_false(span_equal_secret(SPAN("\x80"), SPAN("\x00")));
}

static void test_parts(void **state)
{
    (void)state;
    assert_true(span_equal(span_skip(SPAN("abc"), 1), SPAN("bc")));
    assert_int_equal(span_skip(SPAN("abc"), 99).len, 0);
    assert_int_equal(span_skip(none, 5).len, 0);
    assert_null(span_skip(none, 5).ptr);
    assert_true(span_equal(span_take(SPAN("abc"), 2), SPAN("ab")));
    assert_true(span_equal(span_take(SPAN("abc"), 99), SPAN("abc")));
    assert_true(span_starts_with(SPAN("abc"), SPAN("ab")));
    assert_true(span_starts_with(SPAN("abc"), none));
    assert_false(span_starts_with(SPAN("a"), SPAN("ab")));
    assert_true(span_ends_with(SPAN("abc"), SPAN("bc")));
    assert_true(span_ends_with(SPAN("abc"), SPAN("abc")));
    assert_false(span_ends_with(SPAN("c"), SPAN("bc")));
    assert_false(span_ends_with(SPAN("abd"), SPAN("bc")));
}

static void test_find(void **state)
{
    (void)state;
    assert_int_equal(span_find(SPAN("a,b,c"), ','), 1);
    assert_int_equal(span_find(SPAN("abc"), ','), 3);
    assert_int_equal(span_find(none, ','), 0);
    assert_int_equal(span_find(SPAN("ab\0c"), '\0'), 2);
    assert_int_equal(span_search(SPAN("abcabd"), SPAN("abd")), 3);
    assert_int_equal(span_search(SPAN("abcab"), SPAN("abd")), 5);
    assert_int_equal(span_search(SPAN("ab"), SPAN("abd")), 2);
    assert_int_equal(span_search(SPAN("ab"), none), 0);
    assert_int_equal(span_search(none, SPAN("x")), 0);
}

static void test_trim(void **state)
{
    (void)state;
    assert_true(span_equal(span_trim(SPAN(" \t a b\t ")), SPAN("a b")));
    assert_int_equal(span_trim(SPAN(" \t ")).len, 0);
    assert_int_equal(span_trim(none).len, 0);
    assert_true(span_equal(span_trim(SPAN("\r\na\n")), SPAN("\r\na\n"))); /* line ends are not OWS */
}

static void test_compare(void **state)
{
    (void)state;
    assert_int_equal(span_compare(SPAN("abc"), SPAN("abc")), 0);
    assert_true(span_compare(SPAN("ab"), SPAN("abc")) < 0);
    assert_true(span_compare(SPAN("abc"), SPAN("ab")) > 0);
    assert_true(span_compare(SPAN("b"), SPAN("abc")) > 0);
    assert_true(span_compare(SPAN("\xFF"), SPAN("a")) > 0); /* bytes, not signed characters */
    assert_int_equal(span_compare(none, SPAN("")), 0);
    assert_true(span_compare(none, SPAN("a")) < 0);
}

static void check_split(struct span text, const char *const *parts)
{
    struct span part;
    for (; *parts; parts++) {
        assert_true(span_split(&text, ',', &part));
        assert_true(span_equal(part, span_str(*parts)));
    }
    assert_false(span_split(&text, ',', &part));
    assert_false(span_split(&text, ',', &part));
}

static void test_split(void **state)
{
    (void)state;
    check_split(SPAN("a,,b"), (const char *const[]){"a", "", "b", NULL});
    check_split(SPAN(""), (const char *const[]){"", NULL});
    check_split(SPAN(","), (const char *const[]){"", "", NULL});
    check_split(SPAN("abc"), (const char *const[]){"abc", NULL});
    check_split(SPAN("abc,"), (const char *const[]){"abc", "", NULL});
    check_split(none, (const char *const[]){NULL});
}

static void test_to_u64(void **state)
{
    (void)state;
    static const struct {
        struct span text;
        uint64_t value;
    } good[] = {
        {SPAN_INIT("0"), 0},
        {SPAN_INIT("7"), 7},
        {SPAN_INIT("007"), 7},
        {SPAN_INIT("18446744073709551615"), UINT64_MAX},
        {SPAN_INIT("09999999999999999999"), 9999999999999999999u},
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        uint64_t value = 1;
        assert_true(span_to_u64(good[i].text, &value));
        assert_true(value == good[i].value);
    }
    static const struct span bad[] = {
        SPAN_INIT(""),     SPAN_INIT("-1"),
        SPAN_INIT("+1"),   SPAN_INIT(" 1"),
        SPAN_INIT("1 "),   SPAN_INIT("0x10"),
        SPAN_INIT("1e3"),  SPAN_INIT("18446744073709551616"),
        SPAN_INIT("1\0"),  SPAN_INIT("/"),
        SPAN_INIT(":"),    SPAN_INIT("99999999999999999999"),
        SPAN_INIT("\xB2"), SPAN_INIT("000000000000000000001"),
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        uint64_t value = 42;
        assert_false(span_to_u64(bad[i], &value));
        assert_true(value == 42);
    }
}

static void test_matches(void **state)
{
    (void)state;
    static const struct {
        const char *text, *pattern;
        bool match;
    } cases[] = {
        {"", "", true},
        {"", "*", true},
        {"a", "", false},
        {"", "a", false},
        {"phi-4", "phi-*", true},
        {"phi", "phi-*", false},
        {"phi-", "phi-*", true},
        {"gpt-4o", "*4*", true},
        {"gpt", "*4*", false},
        {"aaab", "*aab", true},
        {"ab", "a*b*", true},
        {"abcbd", "a*bd", true},
        {"abcbde", "a*bd", false},
        {"a", "**", true},
        {"a?c", "a?c", true},
        {"abc", "a?c", false},
        {"GPT", "gpt", false},
        {"ababab", "*ab*ab*ab", true},
        {"abab", "*ab*ab*ab", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(span_matches(span_str(cases[i].text), span_str(cases[i].pattern)), cases[i].match);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equality), cmocka_unit_test(test_parts),   cmocka_unit_test(test_find),
        cmocka_unit_test(test_trim),     cmocka_unit_test(test_compare), cmocka_unit_test(test_split),
        cmocka_unit_test(test_to_u64),   cmocka_unit_test(test_matches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
