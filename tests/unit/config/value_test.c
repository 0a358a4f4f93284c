/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The spellings of single values, and the nearest word.
 */
#include "unit/config/config_support.h"

#include "base/clock.h"
#include "config/suggest.h"
#include "config/value.h"

#define BAD UINT64_MAX

static const struct {
    const char *text;
    uint64_t value;
    const char *printed; /* the shortest spelling; NULL: not a value */
} sizes[] = {
    {"0", 0, "0"},
    {"0B", 0, "0"},
    {"1B", 1, "1B"},
    {"1024B", 1024, "1KiB"},
    {"64KiB", 65536, "64KiB"},
    {"3MiB", 3 << 20, "3MiB"},
    {"16777215GiB", UINT64_C(16777215) << 30, "16777215GiB"},
    {"17179869184GiB", BAD, NULL},
    {"", BAD, NULL},
    {"KiB", BAD, NULL},
    {"1", BAD, NULL},
    {"1kib", BAD, NULL},
    {"1 KiB", BAD, NULL},
    {"1KB", BAD, NULL},
    {"1.5KiB", BAD, NULL},
    {"-1B", BAD, NULL},
    {"+1B", BAD, NULL},
    {"1KiB1B", BAD, NULL},
    {"1KiB ", BAD, NULL},
    {"99999999999999999999B", BAD, NULL},
};

static void sizes_are_parsed(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        uint64_t value = 7;
        bool good = value_size(span_str(sizes[i].text), &value);
        assert_int_equal(good, sizes[i].printed != NULL);
        assert_true(value == (good ? sizes[i].value : 7));
        struct buffer text = {0};
        if (good) {
            value_print_size(value, &text);
            assert_true(span_equal(buffer_span(&text), span_str(sizes[i].printed)));
        }
        buffer_finish(&text);
    }
}

static const struct {
    const char *text;
    uint64_t value;
    const char *printed;
} durations[] = {
    {"0s", 0, "0s"},
    {"0ms", 0, "0s"},
    {"500ms", 500 * CLOCK_MS, "500ms"},
    {"1500ms", 1500 * CLOCK_MS, "1500ms"},
    {"90s", 90 * CLOCK_SECOND, "90s"},
    {"1m30s", 90 * CLOCK_SECOND, "90s"},
    {"120s", 120 * CLOCK_SECOND, "2m"},
    {"1d2h3m4s5ms", 93784005 * CLOCK_MS, "93784005ms"},
    {"24h", 86400 * CLOCK_SECOND, "1d"},
    {"", BAD, NULL},
    {"0", BAD, NULL},
    {"5", BAD, NULL},
    {"s", BAD, NULL},
    {"1s1s", BAD, NULL},
    {"1s1m", BAD, NULL},
    {"1ms1s", BAD, NULL},
    {"1.5s", BAD, NULL},
    {"1S", BAD, NULL},
    {"1min", BAD, NULL},
    {"-1s", BAD, NULL},
    {"1s ", BAD, NULL},
    {"1s2", BAD, NULL},
    {"300000000d", BAD, NULL},
    {"213503982d24h", BAD, NULL},
};

static void durations_are_parsed(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(durations); i++) {
        uint64_t value = 7;
        bool good = value_duration(span_str(durations[i].text), &value);
        assert_int_equal(good, durations[i].printed != NULL);
        assert_true(value == (good ? durations[i].value : 7));
        struct buffer text = {0};
        if (good) {
            value_print_duration(value, &text);
            assert_true(span_equal(buffer_span(&text), span_str(durations[i].printed)));
        }
        buffer_finish(&text);
    }
}

static void rates_are_parsed(void **state)
{
    (void)state;
    struct setting_rate rate;
    assert_true(value_rate(SPAN("100000/minute"), false, &rate));
    assert_true(rate.given && rate.period == PERIOD_MINUTE && rate.amount > 99999 && rate.amount < 100001);
    assert_true(value_rate(SPAN("0.5/month"), true, &rate));
    assert_int_equal(rate.micros, UINT64_C(30) * 86400 * CLOCK_SECOND);
    static const char *const bad[] = {
        "",          "1",       "/",        "1/",     "0/second",    "0.0/day",
        "0.5/month", "-1/hour", "1/Minute", "1/min",  "1/minute/s",  "1e3/second",
        "1 /second", "./day",   "1./day",   ".5/day", "1/secondsss", "999999999999999999999999999999999/day"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(value_rate(span_str(bad[i]), false, &rate));
}

static void numbers_are_told_apart(void **state)
{
    (void)state;
    static const char *const json[] = {"0", "-0", "10", "1.5", "-1.5e+3", "1E9", "0.0"};
    static const char *const yaml[] = {"010", "0x1F", "0o17",  "0b101", "1_000", ".5",
                                       "+1",  ".inf", "-.INF", ".nan",  "1."};
    static const char *const words[] = {"",   "-",        "a",   "2024-10-21", "1.2.3", "10.0.0.1",
                                        "1s", "infinity", "nan", "e5",         "0x"};
    for (size_t i = 0; i < ARRAY_LEN(json); i++)
        assert_true(value_is_json_number(span_str(json[i])));
    for (size_t i = 0; i < ARRAY_LEN(yaml); i++) {
        assert_false(value_is_json_number(span_str(yaml[i])));
        assert_true(value_is_yaml_number(span_str(yaml[i])));
    }
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        assert_false(value_is_json_number(span_str(words[i])));
        assert_false(value_is_yaml_number(span_str(words[i])));
    }
}

static void networks_are_parsed(void **state)
{
    (void)state;
    struct setting_network n;
    assert_true(value_network(SPAN("10.128.0.0/9"), &n));
    assert_true(!n.ip6 && n.bits == 9 && n.address[1] == 128);
    assert_true(value_network(SPAN("::/0"), &n));
    assert_true(n.ip6 && n.bits == 0);
    assert_true(value_network(SPAN("2001:db8::1"), &n));
    assert_int_equal(n.bits, 128);
    static const char *const bad[] = {"",           "/8",     "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/8/8", "10.1.0.0/8",
                                      "::1/64",     "::/129", "10/8",      "host",        "10.0.0.0/-1",  "[::1]",
                                      "010.0.0.0/8"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(value_network(span_str(bad[i]), &n));
}

static void addresses_are_parsed(void **state)
{
    (void)state;
    struct arena arena;
    struct setting_address a;
    const char *reason;
    arena_init(&arena);
    assert_true(value_address(&arena, SPAN("127.9.9.9:0"), &a, &reason));
    assert_true(a.local && a.port == 0);
    assert_true(value_address(&arena, SPAN("[::1]:65535"), &a, &reason));
    assert_true(a.local && a.port == 65535);
    assert_true(value_address(&arena, SPAN("10.0.0.1:80"), &a, &reason));
    assert_false(a.local);
    char longest[120] = "unix:/";
    memset(longest + 6, 'x', 106);
    assert_true(value_address(&arena, span_of(longest, 5 + 107), &a, &reason));
    assert_int_equal(a.path.len, 107);
    assert_false(value_address(&arena, span_of(longest, 5 + 108), &a, &reason));
    arena_finish(&arena);
}

static void slips_are_counted(void **state)
{
    (void)state;
    assert_int_equal(suggest_distance(SPAN("listeners"), SPAN("listeners"), 3), 0);
    assert_int_equal(suggest_distance(SPAN("listner"), SPAN("listener"), 3), 1);
    assert_int_equal(suggest_distance(SPAN("lsitener"), SPAN("listener"), 3), 1);
    assert_int_equal(suggest_distance(SPAN("apiversion"), SPAN("apiVersion"), 3), 0);
    assert_int_equal(suggest_distance(SPAN("ca"), SPAN("abc"), 3), 3);
    assert_int_equal(suggest_distance(SPAN(""), SPAN("abc"), 9), 3);
    assert_int_equal(suggest_distance(SPAN("abc"), SPAN("xyz"), 1), 2);
    char word[SUGGEST_LENGTH + 1];
    memset(word, 'a', sizeof(word));
    assert_int_equal(suggest_distance(span_of(word, sizeof(word)), span_of(word, sizeof(word)), 2), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_parsed),    cmocka_unit_test(durations_are_parsed),
        cmocka_unit_test(rates_are_parsed),    cmocka_unit_test(numbers_are_told_apart),
        cmocka_unit_test(networks_are_parsed), cmocka_unit_test(addresses_are_parsed),
        cmocka_unit_test(slips_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
