/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "openai/dialect.h"

struct target {
    const char *method, *path, *query; /* as the client sent it */
    enum dialect upstream;
    const char *base, *model, *version;
    const char *expected; /* "" = cannot be written */
};

#define CHAT "POST", "/v1/chat/completions"

static const struct target targets[] = {
    /* any form in, any form out */
    {CHAT, "", DIALECT_OPENAI, "/v1", "m", "", "/v1/chat/completions"},
    {CHAT, "", DIALECT_OPENAI, "", "m", "", "/chat/completions"},
    {CHAT, "", DIALECT_OPENAI, "/team/a/", "m", "", "/team/a/chat/completions"},
    {CHAT, "", DIALECT_AZURE_V1, "", "m", "", "/openai/v1/chat/completions"},
    {CHAT, "", DIALECT_AZURE_V1, "/apim", "m", "preview", "/apim/openai/v1/chat/completions?api-version=preview"},
    {CHAT, "", DIALECT_AZURE_DATED, "", "gpt-4o", "2024-10-21",
     "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"},
    {"POST", "/openai/deployments/d/chat/completions", "api-version=2024-10-21", DIALECT_OPENAI, "/v1", "m", "",
     "/v1/chat/completions"},
    {"POST", "/openai/deployments/d/chat/completions", "api-version=2024-10-21", DIALECT_AZURE_V1, "", "m", "",
     "/openai/v1/chat/completions"},
    {"POST", "/openai/deployments/d/chat/completions", "api-version=2024-06-01", DIALECT_AZURE_DATED, "", "m",
     "2024-10-21", "/openai/deployments/m/chat/completions?api-version=2024-10-21"},
    {"POST", "/v1/responses", "", DIALECT_AZURE_DATED, "", "m", "2025-04-01-preview",
     "/openai/responses?api-version=2025-04-01-preview"},
    {"GET", "/openai/models", "api-version=2024-10-21", DIALECT_OPENAI, "/v1", "", "", "/v1/models"},
    {"GET", "/v1/responses/resp_1/input_items", "limit=2", DIALECT_AZURE_V1, "", "", "",
     "/openai/v1/responses/resp_1/input_items?limit=2"},
    {"POST", "/openai/deployments/d/batches", "api-version=2024-10-21", DIALECT_AZURE_DATED, "", "d", "2024-10-21",
     "/openai/batches?api-version=2024-10-21"},
    /* a base that already says it */
    {CHAT, "", DIALECT_AZURE_V1, "/openai/v1", "m", "", "/openai/v1/chat/completions"},
    {CHAT, "", DIALECT_AZURE_V1, "/openai/v1///", "m", "", "/openai/v1/chat/completions"},
    {CHAT, "", DIALECT_AZURE_V1, "/openai", "m", "", "/openai/v1/chat/completions"},
    {CHAT, "", DIALECT_AZURE_DATED, "/x/openai/", "m", "v", "/x/openai/deployments/m/chat/completions?api-version=v"},
    {CHAT, "", DIALECT_AZURE_DATED, "/openai/v1", "m", "v", "/openai/deployments/m/chat/completions?api-version=v"},
    {CHAT, "", DIALECT_AZURE_DATED, "/myopenai", "m", "v",
     "/myopenai/openai/deployments/m/chat/completions?api-version=v"},
    /* names in paths */
    {CHAT, "", DIALECT_AZURE_DATED, "", "org/m x\xc3\xa9?#%", "v",
     "/openai/deployments/org%2Fm%20x%C3%A9%3F%23%25/chat/completions?api-version=v"},
    {CHAT, "", DIALECT_AZURE_DATED, "", "...", "v", "/openai/deployments/.../chat/completions?api-version=v"},
    {CHAT, "", DIALECT_AZURE_DATED, "", "", "v", ""},
    {CHAT, "", DIALECT_AZURE_DATED, "", ".", "v", ""},
    {CHAT, "", DIALECT_AZURE_DATED, "", "..", "v", ""},
    {CHAT, "", DIALECT_AZURE_DATED, "", "a/../b", "v", ""},
    {CHAT, "", DIALECT_AZURE_DATED, "", "a/..", "v", ""},
    {CHAT, "", DIALECT_AZURE_DATED, "", "..\\b", "v", ""},
    {CHAT, "", DIALECT_AZURE_DATED, "", "a\r\nb", "v", ""},
    {CHAT, "", DIALECT_OPENAI, "/v1", "..", "", "/v1/chat/completions"},
    /* the query */
    {CHAT, "a=1&b=%2f&&c", DIALECT_OPENAI, "/v1", "m", "", "/v1/chat/completions?a=1&b=%2f&&c"},
    {CHAT, "a=1&api-version=x", DIALECT_OPENAI, "/v1", "m", "", "/v1/chat/completions?a=1"},
    {CHAT, "api-version=x&a=1", DIALECT_AZURE_V1, "", "m", "v1", "/openai/v1/chat/completions?a=1&api-version=v1"},
    {CHAT, "api%2Dkey=secret&API-KEY2=x", DIALECT_OPENAI, "/v1", "m", "", "/v1/chat/completions?API-KEY2=x"},
    {CHAT, "Api-Key=secret", DIALECT_OPENAI, "/v1", "m", "", "/v1/chat/completions"},
    {CHAT, "model=x", DIALECT_OPENAI, "/v1", "m", "", "/v1/chat/completions?model=x"},
    {CHAT, "", DIALECT_AZURE_DATED, "", "m", "a&b=c", "/openai/deployments/m/chat/completions?api-version=a%26b%3Dc"},
    /* the model in the query */
    {"GET", "/v1/realtime", "model=a&x=1", DIALECT_OPENAI, "/v1", "b/c", "", "/v1/realtime?x=1&model=b%2Fc"},
    {"GET", "/v1/realtime", "model=a", DIALECT_AZURE_DATED, "", "d", "v",
     "/openai/realtime?deployment=d&api-version=v"},
    {"GET", "/v1/realtime", "", DIALECT_AZURE_V1, "", "", "", ""},
};

static void writes_targets(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        const struct target *c = &targets[i];
        struct arena arena;
        struct api_call call;
        arena_init(&arena);
        assert_int_equal(operation_match(span_str(c->method), span_str(c->path), span_str(c->query), &arena, &call),
                         FAULT_NONE);
        struct span target =
            dialect_target(&arena, &call, c->upstream, span_str(c->base), span_str(c->model), span_str(c->version));
        if (!span_equal(target, span_str(c->expected)))
            fail_msg("case %zu: expected \"%s\", got \"%.*s\"", i, c->expected, SPAN_ARG(target));
        arena_finish(&arena);
    }
}

static void model_goes_where_it_is_read(void **state)
{
    (void)state;
    const struct operation *chat = operation_entry(OPERATION_CHAT), *responses = operation_entry(OPERATION_RESPONSES),
                           *files = operation_entry(OPERATION_FILES);
    assert_true(dialect_model_in_body(DIALECT_OPENAI, chat));
    assert_true(dialect_model_in_body(DIALECT_AZURE_V1, chat));
    assert_false(dialect_model_in_body(DIALECT_AZURE_DATED, chat));
    assert_true(dialect_model_in_body(DIALECT_AZURE_DATED, responses));
    assert_true(dialect_model_in_body(DIALECT_OPENAI, operation_entry(OPERATION_TRANSCRIPTIONS)));
    assert_false(dialect_model_in_body(DIALECT_OPENAI, files));
    assert_false(dialect_model_in_body(DIALECT_OPENAI, operation_entry(OPERATION_REALTIME)));
}

static void include_usage_by_version(void **state)
{
    (void)state;
    static const struct {
        enum dialect upstream;
        const char *version;
        bool expected;
    } cases[] = {
        {DIALECT_OPENAI, "", true},
        {DIALECT_AZURE_V1, "", true},
        {DIALECT_AZURE_V1, "preview", true},
        {DIALECT_AZURE_DATED, "2024-09-01-preview", true},
        {DIALECT_AZURE_DATED, "2025-04-01-preview", true},
        {DIALECT_AZURE_DATED, "2024-08-01-preview", false},
        {DIALECT_AZURE_DATED, "2024-10-21", false},
        {DIALECT_AZURE_DATED, "", false},
        {DIALECT_AZURE_DATED, "preview", false},
        {DIALECT_AZURE_DATED, "9999-preview", false},
    };
    const struct operation *chat = operation_entry(OPERATION_CHAT);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        bool got = dialect_supports_include_usage(cases[i].upstream, span_str(cases[i].version), chat);
        if (got != cases[i].expected)
            fail_msg("case %zu (%s)", i, cases[i].version);
    }
    assert_true(dialect_supports_include_usage(DIALECT_OPENAI, SPAN(""), operation_entry(OPERATION_COMPLETIONS)));
    assert_false(dialect_supports_include_usage(DIALECT_OPENAI, SPAN(""), operation_entry(OPERATION_RESPONSES)));
    assert_false(dialect_supports_include_usage(DIALECT_OPENAI, SPAN(""), operation_entry(OPERATION_EMBEDDINGS)));
}

static void dated_form(void **state)
{
    (void)state;
    static const char *const dated[] = {"2024-10-21", "2024-09-01-preview"};
    static const char *const other[] = {"",   "2024-10-2",  "2024-10-211", "2024-10-21-beta",
                                        "v1", "2024_10_21", "-024-10-21"};
    for (size_t i = 0; i < ARRAY_LEN(dated); i++)
        assert_true(dialect_is_dated(span_str(dated[i])));
    for (size_t i = 0; i < ARRAY_LEN(other); i++)
        assert_false(dialect_is_dated(span_str(other[i])));
    assert_true(span_equal(dialect_name(DIALECT_AZURE_V1), SPAN("azure-v1")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_targets),
        cmocka_unit_test(model_goes_where_it_is_read),
        cmocka_unit_test(include_usage_by_version),
        cmocka_unit_test(dated_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
