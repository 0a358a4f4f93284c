/* SPDX-License-Identifier: Apache-2.0 */
/* What the settings of the cache become, what is refused with which words, and how a request's wishes are read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "config/config.h"
#include "filters/cache.h"

#define STORES "stores: [{name: shared, redis: \"redis://cache\"}]\n"
#define RULE   "rules: [{operations: [chat]}]"

static struct config *load(const char *filter, const char *rest, struct report *report)
{
    struct settings_registry_entry entry = {.name = "cache", .spec = &cache_spec};
    struct settings_registry registry = {.count = 1, .entries = &entry};
    struct buffer text = {0};
    struct config *config = NULL;
    report_init(report);
    buffer_format(&text,
                  "apiVersion: postern/v1\n"
                  "listeners: [{address: \"127.0.0.1:1\", filters: [f]}]\n"
                  "filters: {f: {type: cache, %s}}\n"
                  "targets: [{name: m, mock: {}}]\nmodels: [{name: \"*\", targets: [m]}]\n%s",
                  filter, rest);
    if (!config_load_text(SPAN("c.yaml"), buffer_span(&text), &registry, CONFIG_OFFLINE, report, &config))
        config = NULL;
    buffer_finish(&text);
    return config;
}

static void test_defaults(void **state)
{
    (void)state;
    struct report report;
    struct config *config = load("rules: [{models: [\"gpt-4o*\"], max_temperature: 0.5, ttl: 2m, max_size: 4KiB}, "
                                 "{listeners: [\"127.0.0.1:1\"]}], "
                                 "stale_if_error: 1h",
                                 "", &report);
    assert_non_null(config);
    const struct cache_settings *settings = config->filters[0].value;
    assert_int_equal(settings->memory, 64 * 1024 * 1024);
    assert_int_equal(settings->ttl, 3600 * CLOCK_SECOND);
    assert_int_equal(settings->scope, CACHE_TENANT_CONSUMER);
    assert_int_equal(settings->hits, CACHE_HITS_FREE);
    assert_int_equal(settings->slow_follower, FLIGHT_SLOW_WAIT);
    assert_true(settings->rules[0].max_temperature > 0.4);
    assert_true(settings->rules[1].max_temperature <= 0);
    assert_int_equal(cache_rule_ttl(settings, &settings->rules[0]), 120 * CLOCK_SECOND);
    assert_int_equal(cache_rule_ttl(settings, &settings->rules[1]), 3600 * CLOCK_SECOND);
    assert_int_equal(cache_rule_size(settings, &settings->rules[0]), 4096);
    assert_int_equal(cache_rule_size(settings, &settings->rules[1]), 512 * 1024);
    assert_int_equal(cache_life_most(settings), 7200 * CLOCK_SECOND);
    assert_int_equal(cache_size_most(settings), 512 * 1024);
    config_free(config);
    report_finish(&report);
}

static void test_seal(void **state)
{
    (void)state;
    struct report report;
    struct config *config = load("store: shared, seal: off, " RULE, STORES, &report);
    assert_non_null(config);
    const struct cache_settings *settings = config->filters[0].value;
    assert_int_equal(settings->seal->mode, CACHE_SEAL_OFF);
    config_free(config);
    report_finish(&report);
    config = load("store: shared, seal: {keys: {file: /run/keys}}, " RULE, STORES, &report);
    assert_non_null(config);
    settings = config->filters[0].value;
    assert_int_equal(settings->seal->mode, CACHE_SEAL_ON);
    assert_true(span_equal(settings->seal->keys->file, SPAN("/run/keys")));
    config_free(config);
    report_finish(&report);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *filter, *rest, *message;
    } cases[] = {
        {"ttl: 1h", "", "rules"},
        {"rules: []", "", "rules"},
        {"rules: [{operations: [files]}]", "", "answers of \"files\" are never kept"},
        {"rules: [{max_temperature: 2.5}]", "", "a temperature is at most 2"},
        {"rules: [{operations: [embeddings], max_temperature: 1}]", "", "no effect on embeddings"},
        {"store: shared, " RULE, STORES, "write `seal: off`"},
        {"store: shared, seal: /run/keys, " RULE, STORES,
         "\"seal\" must be on, off, or a map of settings (mode, keys)"},
        {"store: shared, seal: on, " RULE, STORES, "sealing needs \"keys\""},
        {"store: shared, seal: {mode: off, keys: {file: /k}}, " RULE, STORES, "\"keys\" has no effect"},
        {"seal: off, " RULE, "", "\"seal\" has no effect without \"store\""},
        {"lease: 5s, " RULE, "", "\"lease\" has no effect without \"store\""},
        {"lookup_timeout: 5ms, " RULE, "", "\"lookup_timeout\" has no effect without \"store\""},
        {"memory: 1MiB, max_size: 257KiB, " RULE, "", "\"max_size\" is more than a quarter of \"memory\""},
        {"memory: 1MiB, rules: [{max_size: 2MiB}]", "", "\"max_size\" is more than a quarter of \"memory\""},
        {"store: other, seal: off, " RULE, STORES, "other"},
        {"scope: tenant, " RULE, "", "scope"},
        {"ttl: 0s, " RULE, "", "ttl"},
        {"rules: [{listeners: [apps]}]", "", "no listener is called \"apps\"; allowed: 127.0.0.1:1\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct report report;
        struct buffer printed = {0};
        struct config *config = load(cases[i].filter, cases[i].rest, &report);
        report_print(&report, &printed);
        struct span text = buffer_span(&printed);
        if (config || span_search(text, span_str(cases[i].message)) == text.len)
            fail_msg("%s: %.*s", cases[i].filter, SPAN_ARG(text));
        buffer_finish(&printed);
        report_finish(&report);
    }
}

/* ---- Cache-Control ---- */

static struct cache_wishes read(struct arena *arena, const char *const *values, unsigned count)
{
    struct fields fields = {0};
    struct cache_wishes wishes;
    for (unsigned i = 0; i < count; i++)
        fields_add_id(&fields, arena, FIELD_CACHE_CONTROL, span_str(values[i]));
    cache_wishes_read(&fields, &wishes);
    return wishes;
}

static void test_wishes(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    struct cache_wishes w = read(&arena, NULL, 0);
    assert_false(cache_wishes_special(&w));
    w = read(&arena, (const char *const[]){" no-cache , max-age = 5", "ONLY-IF-CACHED"}, 2);
    assert_true(w.no_cache && w.only_if_cached && !w.no_store);
    assert_int_equal(w.max_age, 5 * CLOCK_SECOND);
    w = read(&arena, (const char *const[]){"min-fresh=\"7\",stale-if-error=3"}, 1);
    assert_int_equal(w.min_fresh, 7 * CLOCK_SECOND);
    assert_true(w.has_stale_if_error);
    assert_int_equal(w.stale_if_error, 3 * CLOCK_SECOND);
    /* What is no number asks for the strictest. */
    w = read(&arena, (const char *const[]){"max-age=-1, min-fresh=, stale-if-error"}, 1);
    assert_int_equal(w.max_age, 0);
    assert_true(w.min_fresh > 365 * 86400 * CLOCK_SECOND);
    assert_int_equal(w.stale_if_error, 0);
    /* Beyond any number there is none that overflows. */
    w = read(&arena, (const char *const[]){"max-age=18446744073709551615"}, 1);
    assert_true(w.max_age > 365 * 86400 * CLOCK_SECOND && w.max_age < UINT64_MAX / 2);
    w = read(&arena, (const char *const[]){"x, , =, \"", ""}, 2);
    assert_false(cache_wishes_special(&w));
    arena_finish(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_seal),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_wishes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
