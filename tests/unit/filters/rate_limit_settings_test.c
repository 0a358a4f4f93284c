/* SPDX-License-Identifier: Apache-2.0 */
/* What the settings of rate_limit become, and what is refused with which words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/clock.h"
#include "config/config.h"
#include "filters/rate_limit.h"
#include "gateway/retry_after.h"

#define DAY (86400 * CLOCK_SECOND)

extern const struct filter_type filter_rate_limit;

static struct config *load_with(const char *filter, const char *rest, struct report *report)
{
    struct settings_registry_entry entry = {.name = "rate_limit", .spec = filter_rate_limit.settings};
    struct settings_registry registry = {.count = 1, .entries = &entry};
    struct buffer text = {0};
    struct config *config = NULL;
    report_init(report);
    buffer_format(&text,
                  "apiVersion: postern/v1\n"
                  "listeners: [{address: \"127.0.0.1:1\", filters: [f]}]\n"
                  "filters: {f: {type: rate_limit, %s}}\n"
                  "targets: [{name: m, mock: {}}]\nmodels: [{name: \"*\", targets: [m]}]\n%s",
                  filter, rest);
    if (!config_load_text(SPAN("c.yaml"), buffer_span(&text), &registry, CONFIG_OFFLINE, report, &config))
        config = NULL;
    buffer_finish(&text);
    return config;
}

static struct config *load(const char *filter, struct report *report)
{
    return load_with(filter, "", report);
}

static void test_laws(void **state)
{
    (void)state;
    static const struct {
        const char *limit;
        enum limit_unit unit;
        struct limit_law law;
    } cases[] = {
        {"requests: 20/second", UNIT_REQUESTS, {LIMIT_RATE, 20, 20, CLOCK_SECOND, false}},
        {"tokens: 100000/minute, burst: 5000", UNIT_TOKENS, {LIMIT_RATE, 100000, 5000, 60 * CLOCK_SECOND, false}},
        {"input_tokens: 7/hour", UNIT_INPUT_TOKENS, {LIMIT_CALENDAR, 7, 7, 3600 * CLOCK_SECOND, false}},
        {"output_tokens: 7/day, window: rolling", UNIT_OUTPUT_TOKENS, {LIMIT_ROLLING, 7, 7, DAY, false}},
        {"tokens: 7/day, window: smooth", UNIT_TOKENS, {LIMIT_RATE, 7, 7, DAY, false}},
        {"requests: 7/month", UNIT_REQUESTS, {LIMIT_CALENDAR, 7, 7, 30 * DAY, true}},
        {"concurrency: 50", UNIT_CONCURRENCY, {LIMIT_CONCURRENCY, 50, 0, 0, false}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct report report;
        char filter[128];
        (void)snprintf(filter, sizeof(filter), "limits: [{name: a, %s}]", cases[i].limit);
        struct config *config = load(filter, &report);
        assert_non_null(config);
        const struct rate_limit_settings *settings = config->filters[0].value;
        const struct limit_settings *limit = &settings->limits[0];
        assert_int_equal(limit->unit, cases[i].unit);
        assert_int_equal(limit->law.kind, cases[i].law.kind);
        assert_int_equal(limit->law.amount, cases[i].law.amount);
        assert_int_equal(limit->law.burst, cases[i].law.burst);
        assert_int_equal(limit->law.period, cases[i].law.period);
        assert_int_equal(limit->law.month, cases[i].law.month);
        assert_int_equal(settings->fields, FIELDS_OPENAI | FIELDS_IETF);
        config_free(config);
        report_finish(&report);
    }
}

static void test_cost_and_prices(void **state)
{
    (void)state;
    struct report report;
    struct config *config =
        load("limits: [{name: spend, cost: 0.5/day}], fields: [ietf], prices: [{model: a, input: 2, "
             "output: 8}, {model: b, input: 1, cached: 0.5, output: 10, reasoning: 4, request: 0.01}]",
             &report);
    assert_non_null(config);
    const struct rate_limit_settings *settings = config->filters[0].value;
    assert_int_equal(settings->limits[0].law.amount, 500000);
    assert_int_equal(settings->fields, FIELDS_IETF);
    assert_true(settings->prices[0].cached == 2 && settings->prices[0].reasoning == 8);
    assert_true(settings->prices[1].cached == 0.5 && settings->prices[1].reasoning == 4);
    assert_true(settings->dearest.input == 2 && settings->dearest.output == 10 && settings->dearest.reasoning == 8 &&
                settings->dearest.request == 0.01);
    config_free(config);
    report_finish(&report);
}

#define STORES "stores: [{name: shared, redis: \"redis://cache\"}]\n"

static void test_stores(void **state)
{
    (void)state;
    struct report report;
    struct config *config = load_with("store: shared, limits: [{name: a, concurrency: 1}, {name: b, concurrency: 1, "
                                      "when_store_lost: open}, {name: c, concurrency: 1, when_store_lost: closed}]",
                                      STORES, &report);
    assert_non_null(config);
    const struct rate_limit_settings *settings = config->filters[0].value;
    assert_true(span_equal(settings->store, SPAN("shared")));
    assert_int_equal(settings->limits[0].when_store_lost, LIMITS_LOST_LEASE);
    assert_int_equal(settings->limits[1].when_store_lost, LIMITS_LOST_OPEN);
    assert_int_equal(settings->limits[2].when_store_lost, LIMITS_LOST_CLOSED);
    config_free(config);
    report_finish(&report);
}

static void assert_refused(struct config *config, struct report *report, const char *filter, const char *words)
{
    struct buffer text = {0};
    report_print(report, &text);
    bool found = span_search(buffer_span(&text), span_str(words)) < buffer_len(&text);
    if (config || !found)
        print_error("%s\n%.*s", filter, SPAN_ARG(buffer_span(&text)));
    assert_null(config);
    assert_true(found);
    buffer_finish(&text);
    report_finish(report);
}

static void test_stores_refused(void **state)
{
    (void)state;
    static const struct {
        const char *filter, *rest, *words;
    } cases[] = {
        {"store: shred, limits: [{name: a, concurrency: 1}]", STORES,
         "c.yaml:3:40: no store is called \"shred\"; allowed: shared; did you mean \"shared\"?"},
        {"store: shared, limits: [{name: a, concurrency: 1}]", "", "no store is called \"shared\"; none is defined"},
        {"limits: [{name: a, concurrency: 1}]", STORES, "c.yaml:6:17: store \"shared\" is used by nothing"},
        {"limits: [{name: a, concurrency: 1, when_store_lost: open}]", "",
         "\"when_store_lost\" has no effect without a \"store\""},
        {"store: shared, limits: [{name: a, concurrency: 1, when_store_lost: shut}]", STORES, "lease, open, closed"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct report report;
        struct config *config = load_with(cases[i].filter, cases[i].rest, &report);
        assert_refused(config, &report, cases[i].filter, cases[i].words);
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *filter, *words;
    } cases[] = {
        {"limits: []", "empty"},
        {"limits: [{name: a}]", "one of"},
        {"limits: [{name: a, requests: 1/second, tokens: 1/second}]", "one of"},
        {"limits: [{name: a, requests: 1/second}, {name: a, tokens: 1/second}]", "a second limit has the name \"a\""},
        {"limits: [{name: \"a b\", requests: 1/second}]", "a limit's name has letters"},
        {"limits: [{name: a, requests: 1/second, per: [consumers]}]", "\"per\" cannot hold \"consumers\""},
        {"limits: [{name: a, requests: 1/second, per: [\"header:\"]}]", "\"per\" cannot hold \"header:\""},
        {"limits: [{name: a, requests: 1/second, per: [\"header:X-Team\"]}]", "\"per\" cannot hold"},
        {"limits: [{name: a, requests: 1/second, operations: [chats]}]", "did you mean \"chat\"?"},
        {"limits: [{name: a, requests: 1/second, window: calendar}]", "\"window: calendar\" is for hours"},
        {"limits: [{name: a, concurrency: 1, window: rolling}]", "\"window\" has no effect on concurrency"},
        {"limits: [{name: a, requests: 1/month, window: smooth, burst: 5}]", "more than 100 days"},
        {"limits: [{name: a, cost: 1000/second, burst: 9000000}], prices: [{model: b}]", "more than 100 days"},
        {"limits: [{name: a, requests: 1/day, burst: 5}]", "\"burst\" has an effect on smooth limits only"},
        {"limits: [{name: a, requests: 1/day, weights: {output: 2}}]", "\"weights\" has an effect on tokens only"},
        {"limits: [{name: a, cost: 1/day}]", "is on cost, but there are no \"prices\""},
        {"limits: [{name: a, requests: 1/day}], prices: [{model: b, input: 1}]", "\"prices\" has no effect"},
        {"limits: [{name: a, cost: 1/day}], prices: [{model: b, input: 1000001}]", "above a million"},
        {"limits: [{name: a, cost: 9000000/day}], prices: [{model: b}]",
         "\"cost\" of limit \"a\" is too large; the most is 8796093"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct report report;
        struct config *config = load(cases[i].filter, &report);
        assert_refused(config, &report, cases[i].filter, cases[i].words);
    }
}

static void test_durations(void **state)
{
    (void)state;
    static const struct {
        uint64_t micros;
        const char *text;
    } cases[] = {{0, "0ms"},
                 {1, "1ms"},
                 {999000, "999ms"},
                 {1000000, "1s"},
                 {1500000, "1.500s"},
                 {360000000, "6m0s"},
                 {86399000001, "23h59m59.001s"}};
    struct arena arena;
    arena_init(&arena);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct span text = retry_after_text(&arena, cases[i].micros);
        assert_true(span_equal(text, span_str(cases[i].text)));
    }
    arena_finish(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_laws),           cmocka_unit_test(test_cost_and_prices), cmocka_unit_test(test_stores),
        cmocka_unit_test(test_stores_refused), cmocka_unit_test(test_refused),         cmocka_unit_test(test_durations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
