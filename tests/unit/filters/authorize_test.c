/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filters/authorize: one table of rules, and who may do what under them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/hash.h"
#include "config/config.h"
#include "gateway/exchange.h"
#include "gateway/snapshot.h"

extern const struct filter_type filter_authorize;

static const char rules[] =
    "apiVersion: postern/v1\n"
    "listeners:\n"
    "  - {name: own, address: \"127.0.0.1:1\", filters: [authorize]}\n"
    "  - {name: shared, address: \"10.0.0.1:1\", anonymous: true, filters: [authorize]}\n"
    "filters:\n"
    "  authorize:\n"
    "    denied_model: not_found\n"
    "    rules:\n"
    "      - {groups: [research], models: [gpt-4o, \"phi-*\"]}\n"
    "      - {consumers: [\"ops-*\"]}\n"
    "      - {consumers: [keeper], operations: [files, responses_stored, responses, model, passthrough]}\n"
    "      - {consumers: [starter], operations: [responses]}\n"
    "      - {consumers: [local], listeners: [own]}\n"
    "      - {consumers: [both], groups: [research], operations: [embeddings]}\n"
    "targets: [{name: m, mock: {}}]\n"
    "models: [{name: \"*\", targets: [m]}]\n";

static struct config *config;

static int setup(void **state)
{
    (void)state;
    static struct settings_registry_entry all[1];
    static struct settings_registry registry = {.count = 1, .entries = all};
    struct report report;
    struct buffer text = {0};
    hash_start();
    all[0] = (struct settings_registry_entry){.name = "authorize", .spec = filter_authorize.settings};
    report_init(&report);
    bool good = config_load_text(SPAN("c.yaml"), span_str(rules), &registry, 0, &report, &config);
    report_print(&report, &text);
    if (!good)
        print_error("%.*s", SPAN_ARG(buffer_span(&text)));
    buffer_finish(&text);
    report_finish(&report);
    return good ? 0 : 1;
}

static int teardown(void **state)
{
    (void)state;
    config_free(config);
    return 0;
}

struct caller {
    const char *name, *group;
};

static void expect(struct caller caller, bool shared, const char *method, const char *path, const char *model,
                   bool continues, unsigned status)
{
    struct arena arena;
    struct listener_use listener = {.config = &config->listeners[shared], .name = config->listeners[shared].name};
    struct passthrough_route route = {.path = SPAN("/tokenize")};
    struct span group = span_str(caller.group);
    arena_init(&arena);
    struct exchange *exchange = ARENA_NEW(&arena, struct exchange);
    arena_init(&exchange->arena);
    exchange->listener = &listener;
    exchange->in_hook = true;
    exchange->request.method = http_method(span_str(method));
    exchange->consumer =
        (struct consumer){.name = span_str(caller.name), .groups = &group, .group_count = group.len ? 1 : 0};
    if (span_equal(span_str(path), route.path))
        exchange->passthrough = &route;
    else
        assert_int_equal(
            operation_match(span_str(method), span_str(path), (struct span){0}, &exchange->arena, &exchange->call),
            FAULT_NONE);
    struct filter filter = {.type = &filter_authorize, .settings = config->filters[0].value, .exchange = exchange};
    enum verdict verdict = filter_authorize.on_request_head(&filter);
    if (verdict == FILTER_PASS) {
        exchange->inspected = exchange->call.operation && (exchange->call.operation->flags & OPERATION_INSPECTED);
        exchange->info.previous_response_id = continues;
        exchange->model_asked = span_str(model);
        verdict = filter_authorize.on_request(&filter);
    }
    unsigned got = verdict == FILTER_PASS ? 200 : fault_entry(exchange->fault)->status;
    if (got != status)
        fail_msg("%s/%s %s %s %s %s: %u, not %u", caller.name, caller.group, shared ? "shared" : "own", method, path,
                 model, got, status);
    struct buffer sentence = {0};
    filter_authorize.explain(&filter, &sentence);
    assert_true(buffer_len(&sentence) > 0);
    if (verdict == FILTER_PASS && caller.name[0])
        assert_true(span_starts_with(buffer_span(&sentence), SPAN("Permits")));
    buffer_finish(&sentence);
    arena_finish(&exchange->arena);
    arena_finish(&arena);
}

#define CHAT "/v1/chat/completions"

static void permits_what_a_rule_says(void **state)
{
    (void)state;
    static const struct {
        struct caller caller;
        bool shared;
        const char *method, *path, *model;
        bool continues;
        unsigned status;
    } cases[] = {
        /* nobody, and whom no rule names */
        {{"", ""}, true, "POST", CHAT, "gpt-4o", false, 403},
        {{"", "research"}, true, "POST", CHAT, "gpt-4o", false, 403},
        {{"guest", ""}, true, "POST", CHAT, "gpt-4o", false, 403},
        {{"guest", "Research"}, true, "POST", CHAT, "gpt-4o", false, 403},
        {{"research", ""}, true, "POST", CHAT, "gpt-4o", false, 403},
        /* a group and its models */
        {{"guest", "research"}, true, "POST", CHAT, "gpt-4o", false, 200},
        {{"guest", "research"}, true, "POST", CHAT, "phi-4", false, 200},
        {{"guest", "research"}, true, "POST", CHAT, "phi-", false, 200},
        {{"guest", "research"}, true, "POST", CHAT, "gpt-4o-mini", false, 404},
        {{"guest", "research"}, true, "POST", CHAT, "GPT-4o", false, 404},
        {{"guest", "research"}, true, "POST", "/v1/moderations", "", false, 403}, /* names no model */
        /* embeddings: a second rule of the same group has no models, so every model */
        {{"guest", "research"}, true, "POST", "/v1/embeddings", "any", false, 200},
        {{"both", ""}, true, "POST", "/v1/embeddings", "any", false, 200},
        {{"both", ""}, true, "POST", CHAT, "any", false, 403},
        /* a pattern of names */
        {{"ops-1", ""}, true, "POST", CHAT, "any", false, 200},
        {{"ops", ""}, true, "POST", CHAT, "any", false, 403},
        {{"x-ops-1", ""}, true, "POST", CHAT, "any", false, 403},
        /* stored objects: on a shared listener by name only, where nobody else gets in as well */
        {{"ops-1", ""}, true, "GET", "/v1/files", "", false, 403},
        {{"ops-1", ""}, false, "GET", "/v1/files", "", false, 200},
        {{"ops-1", ""}, true, "POST", "/v1/responses", "any", false, 200},
        {{"ops-1", ""}, true, "POST", "/v1/responses", "any", true, 403},
        {{"ops-1", ""}, false, "POST", "/v1/responses", "any", true, 200},
        {{"ops-1", ""}, true, "DELETE", "/v1/responses/resp_1", "", false, 403},
        {{"ops-1", ""}, true, "POST", "/v1/batches", "", false, 403},
        {{"ops-1", ""}, true, "DELETE", "/v1/models/ft-1", "", false, 403},
        {{"ops-1", ""}, true, "POST", "/tokenize", "", false, 403},
        {{"ops-1", ""}, false, "POST", "/tokenize", "", false, 200},
        {{"keeper", ""}, true, "GET", "/v1/files/f_1", "", false, 200},
        {{"keeper", ""}, true, "GET", "/v1/responses/resp_1", "", false, 200},
        {{"keeper", ""}, true, "POST", "/v1/responses", "any", true, 200},
        {{"keeper", ""}, true, "DELETE", "/v1/models/ft-1", "", false, 200},
        {{"keeper", ""}, true, "POST", "/tokenize", "", false, 200},
        {{"keeper", ""}, true, "POST", "/v1/batches", "", false, 403},
        /* responses alone: beginning is permitted, going on from a stored one is reading it */
        {{"starter", ""}, true, "POST", "/v1/responses", "any", false, 200},
        {{"starter", ""}, true, "POST", "/v1/responses", "any", true, 403},
        {{"starter", ""}, true, "GET", "/v1/responses/resp_1", "", false, 403},
        /* listeners */
        {{"local", ""}, false, "POST", CHAT, "any", false, 200},
        {{"local", ""}, true, "POST", CHAT, "any", false, 403},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        expect(cases[i].caller, cases[i].shared, cases[i].method, cases[i].path, cases[i].model, cases[i].continues,
               cases[i].status);
}

static void shows_models(void **state)
{
    (void)state;
    static const struct {
        struct caller caller;
        const char *model;
        bool shown;
    } cases[] = {
        {{"", ""}, "gpt-4o", false},          {{"guest", ""}, "gpt-4o", false}, {{"ops-1", ""}, "anything", true},
        {{"starter", "x"}, "anything", true}, {{"local", ""}, "gpt-4o", false}, {{"local", "research"}, "gpt-4o", true},
    };
    struct listener_use listener = {.config = &config->listeners[1], .name = config->listeners[1].name};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct span group = span_str(cases[i].caller.group);
        struct exchange exchange = {
            .listener = &listener,
            .consumer = {.name = span_str(cases[i].caller.name), .groups = &group, .group_count = 1}};
        struct filter filter = {.type = &filter_authorize, .settings = config->filters[0].value, .exchange = &exchange};
        if (filter_authorize.shows_model(&filter, span_str(cases[i].model)) != cases[i].shown)
            fail_msg("%s %s", cases[i].caller.name, cases[i].model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(permits_what_a_rule_says), cmocka_unit_test(shows_models)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
