/* SPDX-License-Identifier: Apache-2.0 */
/* Which limits a request counts in, under which keys, with how much; and what it is charged in the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/memory.h"
#include "config/config.h"
#include "filters/rate_limit.h"
#include "gateway/metrics.h"
#include "gateway/snapshot.h"
#include "gateway/worker.h"

extern const struct filter_type filter_rate_limit;

struct scene {
    struct report report;
    struct config *config;
    struct metrics_hub *hub;
    struct worker worker;
    struct snapshot snapshot;
    struct model_route model;
    struct span groups[2];
    struct exchange exchange;
    struct rate_limit_instance instance;
    struct rate_limit_state state;
    struct filter filter;
};

static void set_scene(struct scene *s, const char *settings)
{
    struct settings_registry_entry entry = {.name = "rate_limit", .spec = filter_rate_limit.settings};
    struct settings_registry registry = {.count = 1, .entries = &entry};
    struct buffer text = {0};
    *s = (struct scene){.groups = {SPAN_INIT("red"), SPAN_INIT("blue")}, .model = {.name = SPAN_INIT("gpt-*")}};
    report_init(&s->report);
    buffer_format(&text,
                  "apiVersion: postern/v1\nlisteners: [{address: \"127.0.0.1:1\", filters: [f]}]\n"
                  "filters: {f: {type: rate_limit, %s}}\ntargets: [{name: m, mock: {}}]\n"
                  "models: [{name: \"*\", targets: [m]}]\n",
                  settings);
    assert_true(config_load_text(SPAN("c"), buffer_span(&text), &registry, CONFIG_OFFLINE, &s->report, &s->config));
    buffer_finish(&text);
    s->hub = metrics_hub_create();
    s->worker.metrics = metrics_create(s->hub);
    s->worker.loop = loop_create();
    struct exchange *exchange = &s->exchange;
    arena_init(&exchange->arena);
    exchange->worker = &s->worker;
    exchange->snapshot = &s->snapshot;
    exchange->model = &s->model;
    exchange->model_asked = SPAN("gpt-4o");
    exchange->call.operation = operation_entry(OPERATION_CHAT);
    exchange->peer = SPAN("10.1.2.3");
    exchange->consumer.name = SPAN("team/a {1}");
    exchange->consumer.groups = s->groups;
    exchange->consumer.group_count = 2;
    fields_add(&exchange->consumer.attributes, &exchange->arena, SPAN("tpm"), SPAN("7000"));
    fields_add(&exchange->consumer.attributes, &exchange->arena, SPAN("none"), SPAN("0"));
    fields_add(&exchange->consumer.attributes, &exchange->arena, SPAN("words"), SPAN("many"));
    fields_add(&exchange->request.fields, &exchange->arena, SPAN("x-team"), SPAN("sea"));
    exchange->inspected = true;
    buffer_append(&exchange->body, SPAN("{\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}"));
    struct request_reader reader;
    request_init(&reader, REQUEST_JSON, (struct span){0}, &exchange->arena, &exchange->info);
    assert_int_equal(request_feed(&reader, buffer_span(&exchange->body)), FAULT_NONE);
    assert_int_equal(request_finish(&reader), FAULT_NONE);
    s->instance.worker = &s->worker;
    s->instance.table = limits_table_get(SPAN("parts"), 64);
    s->filter = (struct filter){.type = &filter_rate_limit,
                                .settings = s->config->filters[0].value,
                                .instance = &s->instance,
                                .state = &s->state,
                                .exchange = exchange,
                                .name = SPAN("f")};
    s->state.filter = &s->filter;
}

static void strike(struct scene *s)
{
    limits_table_unref(s->instance.table);
    buffer_finish(&s->exchange.body);
    arena_finish(&s->exchange.arena);
    loop_destroy(s->worker.loop);
    metrics_hub_destroy(s->hub);
    config_free(s->config);
    report_finish(&s->report);
}

static void test_keys(void **state)
{
    (void)state;
    static const struct {
        const char *per, *key;
    } cases[] = {
        {"[]", "/f/a"},
        {"[consumer]", "/f/a/team%2Fa%20%7B1%7D"},
        {"[model, operation]", "/f/a/gpt-*/chat"},
        {"[client_address, \"header:x-team\"]", "/f/a/10.1.2.3/sea"},
        {"[\"attribute:tpm\", \"attribute:absent\", \"header:x-none\"]", "/f/a/7000//"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct scene s;
        char settings[200];
        (void)snprintf(settings, sizeof(settings), "limits: [{name: a, per: %s, requests: 1/second}]", cases[i].per);
        set_scene(&s, settings);
        assert_true(rate_limit_parts(&s.filter));
        assert_int_equal(s.state.call.count, 1);
        assert_true(span_equal(s.state.call.parts[0].key, span_str(cases[i].key)));
        assert_int_equal(s.state.call.parts[0].hash, hash_bytes(s.state.call.parts[0].key));
        strike(&s);
    }
}

static void test_long_values_by_digest(void **state)
{
    (void)state;
    static char name[300];
    struct scene s;
    memset(name, 'x', sizeof(name));
    set_scene(&s, "limits: [{name: a, per: [consumer], requests: 1/second}]");
    s.exchange.consumer.name = span_of(name, sizeof(name));
    assert_true(rate_limit_parts(&s.filter));
    struct span key = s.state.call.parts[0].key;
    assert_int_equal(key.len, 4 + 2 + 64);
    assert_true(span_starts_with(key, SPAN("/f/a/#")));
    strike(&s);
}

static void test_groups(void **state)
{
    (void)state;
    struct scene s;
    set_scene(&s, "limits: [{name: each, per: [group], requests: 1/second}, {name: blue, per: [group], groups: [blue], "
                  "requests: 1/second}, {name: green, groups: [green], requests: 1/second}]");
    assert_true(rate_limit_parts(&s.filter));
    assert_int_equal(s.state.call.count, 3);
    assert_true(span_equal(s.state.call.parts[0].key, SPAN("/f/each/red")));
    assert_true(span_equal(s.state.call.parts[1].key, SPAN("/f/each/blue")));
    assert_true(span_equal(s.state.call.parts[2].key, SPAN("/f/blue/blue")));
    s.exchange.consumer.group_count = 0;
    s.state = (struct rate_limit_state){.filter = &s.filter};
    assert_true(rate_limit_parts(&s.filter));
    assert_int_equal(s.state.call.count, 1);
    assert_true(span_equal(s.state.call.parts[0].key, SPAN("/f/each/")));
    strike(&s);
}

static void test_who_is_meant(void **state)
{
    (void)state;
    static const struct {
        const char *limit;
        bool fits;
    } cases[] = {{"consumers: [\"team/*\"]", true},
                 {"consumers: [\"team\"]", false},
                 {"models: [\"gpt-4*\"]", true},
                 {"models: [\"gpt-3*\"]", false},
                 {"operations: [chat]", true},
                 {"operations: [embeddings]", false},
                 {"groups: [blue], models: [\"*\"]", true},
                 {"groups: [blue], models: [x]", false}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct scene s;
        char settings[200];
        (void)snprintf(settings, sizeof(settings), "limits: [{name: a, requests: 1/second, %s}]", cases[i].limit);
        set_scene(&s, settings);
        assert_int_equal(rate_limit_parts(&s.filter), cases[i].fits);
        strike(&s);
    }
    struct scene s;
    set_scene(&s, "limits: [{name: a, requests: 1/second}], exempt: {consumers: [ops], groups: [blue]}");
    const struct rate_limit_settings *settings = s.filter.settings;
    assert_true(rate_limit_exempt(settings, &s.exchange.consumer));
    s.exchange.consumer.group_count = 1;
    assert_false(rate_limit_exempt(settings, &s.exchange.consumer));
    s.exchange.consumer.name = SPAN("ops");
    assert_true(rate_limit_exempt(settings, &s.exchange.consumer));
    strike(&s);
}

static void test_amounts_of_callers(void **state)
{
    (void)state;
    static const struct {
        const char *limit;
        uint64_t amount, burst;
    } cases[] = {{"amount_attribute: tpm", 7000, 7000},
                 {"amount_attribute: tpm, burst: 50", 7000, 50},
                 {"amount_attribute: absent", 100, 100},
                 {"amount_attribute: words", 100, 100}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct scene s;
        char settings[200];
        (void)snprintf(settings, sizeof(settings), "limits: [{name: a, tokens: 100/minute, %s}]", cases[i].limit);
        set_scene(&s, settings);
        assert_true(rate_limit_parts(&s.filter));
        assert_int_equal(s.state.call.parts[0].law.amount, cases[i].amount);
        assert_int_equal(s.state.call.parts[0].law.burst, cases[i].burst);
        strike(&s);
    }
    struct scene s;
    set_scene(&s, "limits: [{name: a, tokens: 100/minute, amount_attribute: none}]");
    assert_true(rate_limit_parts(&s.filter));
    assert_true(s.state.call.parts[0].units > s.state.call.parts[0].law.burst); /* nothing passes */
    strike(&s);
}

static const char all_units[] =
    "assumed_output: 50, prices: [{model: other, input: 100}, {model: \"gpt-*\", input: 2, cached: 1, output: 8, "
    "request: 0.5}], limits: [{name: r, requests: 9/second}, {name: t, tokens: 9/second}, {name: i, input_tokens: "
    "9/second, "
    "weights: {cached: 0.5}}, {name: o, output_tokens: 9/second, weights: {reasoning: 3}}, {name: c, cost: 9/day}, "
    "{name: p, "
    "concurrency: 5}]";

static void test_reserved_and_charged(void **state)
{
    (void)state;
    struct scene s;
    set_scene(&s, all_units);
    s.exchange.info.n = (struct request_count){.present = true, .value = 2};
    assert_true(rate_limit_parts(&s.filter));
    uint64_t input = s.state.input;
    assert_true(input >= 7 && input <= 9);
    const uint64_t reserved[] = {1, input + 100, input, 300, input * 2 + 800 + 500000, 1};
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(s.state.call.parts[i].units, reserved[i]);
    s.exchange.facts.usage = (struct usage){.input = 30, .cached = 20, .output = 11, .reasoning = 5, .reported = true};
    rate_limit_charge(&s.filter);
    const uint64_t charged[] = {1, 41, 20, 21, 10 * 2 + 20 * 1 + 11 * 8 + 500000, 1};
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(s.state.call.parts[i].units, charged[i]);
    /* What was learned is reserved next; a maximum that is given comes before it. */
    s.state = (struct rate_limit_state){.filter = &s.filter};
    assert_true(rate_limit_parts(&s.filter));
    assert_int_equal(s.state.output, 12);
    s.state = (struct rate_limit_state){.filter = &s.filter};
    s.exchange.info.max_tokens = (struct request_count){.present = true, .value = 40};
    s.exchange.info.max_completion_tokens = (struct request_count){.present = true, .value = 30};
    assert_true(rate_limit_parts(&s.filter));
    assert_int_equal(s.state.output, 80); /* servers differ in which of the two counts */
    s.state = (struct rate_limit_state){.filter = &s.filter};
    s.exchange.info.max_completion_tokens.value = UINT64_MAX;
    assert_true(rate_limit_parts(&s.filter));
    assert_int_equal(s.state.output, LIMIT_AMOUNT_MAX);
    /* Never sent: a request was let in, nothing else was used. */
    s.exchange.facts.usage = (struct usage){0};
    rate_limit_charge(&s.filter);
    const uint64_t unused[] = {1, 0, 0, 0, 0, 1};
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(s.state.call.parts[i].units, unused[i]);
    strike(&s);
}

/* A maximum by a name that the operation does not have bounds no answer, so it makes no reservation smaller. */
static void test_maxima_of_other_operations(void **state)
{
    (void)state;
    static const struct {
        enum operation_id operation;
        uint64_t newer, responses, older, output; /* 0: not given */
    } cases[] = {
        {OPERATION_CHAT, 0, 1, 0, 50},       {OPERATION_CHAT, 0, 1, 9, 9},       {OPERATION_CHAT, 7, 1, 0, 7},
        {OPERATION_CHAT, 7, 0, 9, 9},        {OPERATION_CHAT, 9, 0, 7, 9},       {OPERATION_COMPLETIONS, 1, 1, 0, 50},
        {OPERATION_COMPLETIONS, 1, 1, 9, 9}, {OPERATION_RESPONSES, 1, 0, 1, 50}, {OPERATION_RESPONSES, 1, 9, 1, 9},
        {OPERATION_EMBEDDINGS, 1, 1, 1, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct scene s;
        set_scene(&s, all_units);
        struct request_info *info = &s.exchange.info;
        s.exchange.call.operation = operation_entry(cases[i].operation);
        info->max_completion_tokens = (struct request_count){.present = cases[i].newer, .value = cases[i].newer};
        info->max_output_tokens = (struct request_count){.present = cases[i].responses, .value = cases[i].responses};
        info->max_tokens = (struct request_count){.present = cases[i].older, .value = cases[i].older};
        assert_true(rate_limit_parts(&s.filter));
        assert_int_equal(s.state.output, cases[i].output);
        strike(&s);
    }
}

/* A target that reports nonsense is charged as far as numbers go, and never nothing. */
static void test_reported_nonsense(void **state)
{
    (void)state;
    struct scene s;
    set_scene(&s, all_units);
    assert_true(rate_limit_parts(&s.filter));
    s.exchange.facts.usage = (struct usage){.input = UINT64_MAX / 2 + 1,
                                            .cached = UINT64_MAX,
                                            .output = UINT64_MAX / 2 + 1,
                                            .reasoning = UINT64_MAX,
                                            .reported = true};
    rate_limit_charge(&s.filter);
    for (unsigned i = 1; i < 5; i++)
        assert_in_range(s.state.call.parts[i].units, LIMIT_AMOUNT_MAX / 2, LIMIT_AMOUNT_MAX);
    strike(&s);
}

static void test_unknown_models_cost_most(void **state)
{
    (void)state;
    struct scene s;
    set_scene(&s, "prices: [{model: a, input: 3}, {model: b, output: 9}], limits: [{name: c, cost: 9/day}]");
    s.exchange.info.max_tokens = (struct request_count){.present = true, .value = 10};
    assert_true(rate_limit_parts(&s.filter));
    assert_int_equal(s.state.call.parts[0].units, s.state.input * 3 + 90);
    strike(&s);
}

int main(void)
{
    hash_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_long_values_by_digest),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_who_is_meant),
        cmocka_unit_test(test_amounts_of_callers),
        cmocka_unit_test(test_reserved_and_charged),
        cmocka_unit_test(test_maxima_of_other_operations),
        cmocka_unit_test(test_reported_nonsense),
        cmocka_unit_test(test_unknown_models_cost_most),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    memory_blocks_drop();
    return failed;
}
