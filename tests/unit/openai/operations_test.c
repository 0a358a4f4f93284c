/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "openai/operations.h"

#define assert_span(span, text) assert_span_equal((span), (text), __LINE__)

static void assert_span_equal(struct span span, const char *text, int line)
{
    if (!span_equal(span, span_str(text)))
        fail_msg("line %d: expected \"%s\", got \"%.*s\"", line, text, SPAN_ARG(span));
}

struct good {
    const char *method, *path, *query, *name;
    enum dialect dialect;
    const char *deployment, *resource, *version, *model;
};

static const struct good good[] = {
    /* each inbound form */
    {"POST", "/v1/chat/completions", "", "chat", DIALECT_OPENAI, "", "", "", ""},
    {"POST", "/chat/completions", "", "chat", DIALECT_OPENAI, "", "", "", ""},
    {"POST", "/openai/v1/chat/completions", "", "chat", DIALECT_AZURE_V1, "", "", "", ""},
    {"POST", "/openai/v1/chat/completions", "api-version=preview", "chat", DIALECT_AZURE_V1, "", "", "preview", ""},
    {"POST", "/openai/responses", "api-version=2025-04-01-preview", "responses", DIALECT_AZURE_DATED, "", "",
     "2025-04-01-preview", ""},
    {"POST", "/openai/deployments/gpt-4o/chat/completions", "api-version=2024-10-21", "chat", DIALECT_AZURE_DATED,
     "gpt-4o", "", "2024-10-21", ""},
    {"POST", "/v1/deployments/m/embeddings", "api-version=2024-10-21", "embeddings", DIALECT_AZURE_DATED, "m", "",
     "2024-10-21", ""},
    {"POST", "/openai/v1/deployments/m/completions", "", "completions", DIALECT_AZURE_DATED, "m", "", "", ""},
    {"POST", "/deployments/m/audio/speech", "", "speech", DIALECT_AZURE_DATED, "m", "", "", ""},
    /* a dated version on OpenAI's path */
    {"POST", "/v1/responses", "api-version=2024-10-21", "responses", DIALECT_AZURE_DATED, "", "", "2024-10-21", ""},
    {"POST", "/v1/responses", "api-version=preview", "responses", DIALECT_OPENAI, "", "", "preview", ""},
    /* every inspected operation */
    {"POST", "/v1/completions", "", "completions", DIALECT_OPENAI, "", "", "", ""},
    {"POST", "/v1/embeddings", "", "embeddings", DIALECT_OPENAI, "", "", "", ""},
    {"POST", "/v1/responses/input_tokens", "", "responses_input_tokens", DIALECT_OPENAI, "", "", "", ""},
    {"POST", "/v1/responses/compact", "", "responses_compact", DIALECT_OPENAI, "", "", "", ""},
    {"POST", "/v1/moderations", "", "moderations", DIALECT_OPENAI, "", "", "", ""},
    {"POST", "/v1/images/generations", "", "image_generations", DIALECT_OPENAI, "", "", "", ""},
    {"POST", "/v1/images/edits", "", "image_edits", DIALECT_OPENAI, "", "", "", ""},
    {"POST", "/v1/images/variations", "", "image_variations", DIALECT_OPENAI, "", "", "", ""},
    {"POST", "/v1/audio/transcriptions", "", "transcriptions", DIALECT_OPENAI, "", "", "", ""},
    {"POST", "/v1/audio/translations", "", "translations", DIALECT_OPENAI, "", "", "", ""},
    /* resources */
    {"GET", "/v1/models", "", "models", DIALECT_OPENAI, "", "", "", ""},
    {"HEAD", "/v1/models", "", "models", DIALECT_OPENAI, "", "", "", ""},
    {"GET", "/openai/models", "api-version=2024-10-21", "models", DIALECT_AZURE_DATED, "", "", "2024-10-21", ""},
    {"GET", "/v1/models/org/model", "", "model", DIALECT_OPENAI, "", "/org/model", "", ""},
    {"GET", "/v1/models/org%2fmodel", "", "model", DIALECT_OPENAI, "", "/org%2Fmodel", "", ""},
    {"GET", "/v1/responses/resp_1", "stream=true", "responses_stored", DIALECT_OPENAI, "", "/resp_1", "", ""},
    {"POST", "/v1/responses/resp_1/cancel", "", "responses_stored", DIALECT_OPENAI, "", "/resp_1/cancel", "", ""},
    {"GET", "/v1/responses/resp_1/input_items", "", "responses_stored", DIALECT_OPENAI, "", "/resp_1/input_items", "",
     ""},
    {"GET", "/v1/chat/completions", "", "chat_stored", DIALECT_OPENAI, "", "", "", ""},
    {"POST", "/v1/chat/completions/id", "", "chat_stored", DIALECT_OPENAI, "", "/id", "", ""},
    {"POST", "/v1/files", "", "files", DIALECT_OPENAI, "", "", "", ""},
    {"GET", "/v1/files/f/content", "", "files", DIALECT_OPENAI, "", "/f/content", "", ""},
    {"POST", "/v1/uploads/u/parts", "", "uploads", DIALECT_OPENAI, "", "/u/parts", "", ""},
    {"POST", "/v1/fine_tuning/jobs", "", "fine_tuning", DIALECT_OPENAI, "", "/jobs", "", ""},
    {"POST", "/v1/threads/t/runs", "", "threads", DIALECT_OPENAI, "", "/t/runs", "", ""},
    {"GET", "/v1/realtime", "model=gpt%2drealtime", "realtime", DIALECT_OPENAI, "", "", "", "gpt-realtime"},
    {"GET", "/openai/realtime", "deployment=d+1&api-version=2025-04-01-preview", "realtime", DIALECT_AZURE_DATED, "",
     "", "2025-04-01-preview", "d 1"},
    {"POST", "/v1/realtime/calls", "", "realtime_calls", DIALECT_OPENAI, "", "/calls", "", ""},
    /* deployments: decoded once, raw slashes, names that look like operations */
    {"POST", "/openai/deployments/org/model/chat/completions", "", "chat", DIALECT_AZURE_DATED, "org/model", "", "",
     ""},
    {"POST", "/openai/deployments/org%2Fmodel/chat/completions", "", "chat", DIALECT_AZURE_DATED, "org/model", "", "",
     ""},
    {"POST", "/openai/deployments/a%252Fb/embeddings", "", "embeddings", DIALECT_AZURE_DATED, "a%2Fb", "", "", ""},
    {"POST", "/openai/deployments/chat/completions", "", "completions", DIALECT_AZURE_DATED, "chat", "", "", ""},
    {"POST", "/openai/deployments/chat/chat/completions", "", "chat", DIALECT_AZURE_DATED, "chat", "", "", ""},
    {"POST", "/openai/deployments/chat/completions/completions", "", "completions", DIALECT_AZURE_DATED,
     "chat/completions", "", "", ""},
    {"POST", "/openai/deployments/m%20x%c3%a9/images/generations", "", "image_generations", DIALECT_AZURE_DATED,
     "m x\xc3\xa9", "", "", ""},
    {"POST", "/openai/deployments/m/batches", "", "batches", DIALECT_AZURE_DATED, "m", "", "", ""},
    /* one spelling, however escaped; one trailing slash */
    {"POST", "/v1/ch%61t/%63ompletions", "", "chat", DIALECT_OPENAI, "", "", "", ""},
    {"POST", "/v1/chat/completions/", "", "chat", DIALECT_OPENAI, "", "", "", ""},
    {"GET", "/v1/files/f%7e/", "", "files", DIALECT_OPENAI, "", "/f~", "", ""},
    {"GET", "/v1/files/...", "", "files", DIALECT_OPENAI, "", "/...", "", ""},
    /* query names are compared decoded and without case */
    {"POST", "/v1/chat/completions", "a=1&&API%2dVersion=2024-10-21&b", "chat", DIALECT_AZURE_DATED, "", "",
     "2024-10-21", ""},
    {"POST", "/v1/chat/completions", "model=x&model=y&z=%zz", "chat", DIALECT_OPENAI, "", "", "", ""},
};

static void matches(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        const struct good *c = &good[i];
        struct arena arena;
        struct api_call call;
        arena_init(&arena);
        enum fault fault = operation_match(span_str(c->method), span_str(c->path), span_str(c->query), &arena, &call);
        if (fault != FAULT_NONE)
            fail_msg("%s %s?%s: fault %.*s", c->method, c->path, c->query, SPAN_ARG(fault_entry(fault)->word));
        assert_span(call.operation->name, c->name);
        if (call.dialect != c->dialect)
            fail_msg("%s?%s: dialect %d", c->path, c->query, (int)call.dialect);
        assert_span(call.deployment, c->deployment);
        assert_span(call.resource, c->resource);
        assert_span(call.api_version, c->version);
        assert_span(call.query_model, c->model);
        assert_span(call.query, c->query);
        arena_finish(&arena);
    }
}

struct bad {
    const char *method, *path, *query;
    enum fault fault;
};

static const struct bad bad[] = {
    {"GET", "/", "", FAULT_UNKNOWN_PATH},
    {"GET", "/v1", "", FAULT_UNKNOWN_PATH},
    {"GET", "/v1/", "", FAULT_UNKNOWN_PATH},
    {"GET", "/openai", "", FAULT_UNKNOWN_PATH},
    {"POST", "/v2/chat/completions", "", FAULT_UNKNOWN_PATH},
    {"POST", "/v1/v1/chat/completions", "", FAULT_UNKNOWN_PATH},
    {"POST", "/v1/chat/completionsx", "", FAULT_UNKNOWN_PATH},
    {"POST", "/v1/xcompletions", "", FAULT_UNKNOWN_PATH},
    {"POST", "/v1/embeddings/x", "", FAULT_UNKNOWN_PATH},
    {"POST", "/v1/fine_tuning", "", FAULT_UNKNOWN_PATH},
    {"POST", "/tokenize", "", FAULT_UNKNOWN_PATH},
    {"GET", "/openai/deployments", "", FAULT_UNKNOWN_PATH},
    {"GET", "/openai/deployments/m", "", FAULT_UNKNOWN_PATH},
    {"POST", "/openai/deployments/chatx/completionsx", "", FAULT_UNKNOWN_PATH},
    {"POST", "/openai/deployments/embeddings", "", FAULT_UNKNOWN_PATH},
    {"POST", "/openai/deployments/m/files", "", FAULT_UNKNOWN_PATH},
    {"POST", "/openai/deployments/m/models/x", "", FAULT_UNKNOWN_PATH},

    {"GET", "/v1/embeddings", "", FAULT_METHOD_NOT_ALLOWED},
    {"get", "/v1/models", "", FAULT_METHOD_NOT_ALLOWED},
    {"POST", "/v1/models", "", FAULT_METHOD_NOT_ALLOWED},
    {"PUT", "/v1/chat/completions", "", FAULT_METHOD_NOT_ALLOWED},
    {"OPTIONS", "/v1/chat/completions", "", FAULT_METHOD_NOT_ALLOWED},
    {"GET", "/v1/responses/compact", "", FAULT_METHOD_NOT_ALLOWED},
    {"GET", "/v1/responses", "", FAULT_METHOD_NOT_ALLOWED},
    {"GET", "/openai/deployments/m/chat/completions", "", FAULT_METHOD_NOT_ALLOWED},

    {"POST", "", "", FAULT_MALFORMED_REQUEST},
    {"POST", "v1/chat/completions", "", FAULT_MALFORMED_REQUEST},
    {"POST", "/v1//chat/completions", "", FAULT_MALFORMED_REQUEST},
    {"POST", "//v1/chat/completions", "", FAULT_MALFORMED_REQUEST},
    {"POST", "/v1/chat/completions//", "", FAULT_MALFORMED_REQUEST},
    {"GET", "/v1/files/%", "", FAULT_MALFORMED_REQUEST},
    {"GET", "/v1/files/%4", "", FAULT_MALFORMED_REQUEST},
    {"GET", "/v1/files/%g1", "", FAULT_MALFORMED_REQUEST},
    {"GET", "/v1/files/%1g", "", FAULT_MALFORMED_REQUEST},
    {"GET", "/v1/files/a%00b", "", FAULT_MALFORMED_REQUEST},
    {"GET", "/v1/files/a%0d%0ab", "", FAULT_MALFORMED_REQUEST},
    {"GET", "/v1/files/a%7f", "", FAULT_MALFORMED_REQUEST},
    {"GET", "/v1/files/a b", "", FAULT_MALFORMED_REQUEST},
    {"GET", "/v1/files/a\\b", "", FAULT_MALFORMED_REQUEST},
    {"GET", "/v1/files/a\"b", "", FAULT_MALFORMED_REQUEST},
    {"GET", "/v1/files/a#b", "", FAULT_MALFORMED_REQUEST},
    {"GET", "/v1/files/\xc3\xa9", "", FAULT_MALFORMED_REQUEST},
    {"GET", "/v1/files/.", "", FAULT_MALFORMED_REQUEST},
    {"GET", "/v1/files/..", "", FAULT_MALFORMED_REQUEST},
    {"GET", "/v1/./models", "", FAULT_MALFORMED_REQUEST},
    {"GET", "/v1/files/../models", "", FAULT_MALFORMED_REQUEST},
    {"GET", "/v1/files/%2e%2E/models", "", FAULT_MALFORMED_REQUEST},
    {"GET", "/v1/files/.%2e", "", FAULT_MALFORMED_REQUEST},
    {"GET", "/v1/files/a%2f..%2fb", "", FAULT_MALFORMED_REQUEST},
    {"GET", "/v1/files/..%5cb", "", FAULT_MALFORMED_REQUEST},
    {"GET", "/v1/files/..;x=1/b", "", FAULT_MALFORMED_REQUEST},
    {"POST", "/openai/deployments/../chat/completions", "", FAULT_MALFORMED_REQUEST},
    {"POST", "/openai/deployments/a%2F%2e%2e%2Fb/chat/completions", "", FAULT_MALFORMED_REQUEST},
    /* what a lenient server would understand */
    {"POST", "/V1/chat/completions", "", FAULT_MALFORMED_REQUEST},
    {"POST", "/v1/Chat/Completions", "", FAULT_MALFORMED_REQUEST},
    {"POST", "/v1/chat%2Fcompletions", "", FAULT_MALFORMED_REQUEST},
    {"POST", "/v1%2fchat%2fcompletions", "", FAULT_MALFORMED_REQUEST},
    {"POST", "/v1%5cchat/completions", "", FAULT_MALFORMED_REQUEST},
    {"POST", "/v1/chat;x=1/completions", "", FAULT_MALFORMED_REQUEST},
    {"POST", "/v1/%2Fchat/completions", "", FAULT_MALFORMED_REQUEST},
    {"POST", "/OpenAI/Deployments/m/chat/completions", "", FAULT_MALFORMED_REQUEST},
    {"POST", "/openai/deployments/m%2Fchat%2Fcompletions", "", FAULT_MALFORMED_REQUEST},
    /* parameters */
    {"POST", "/v1/chat/completions", "api-version=a&api-version=a", FAULT_MALFORMED_REQUEST},
    {"POST", "/v1/chat/completions", "api-version=&API-VERSION=", FAULT_MALFORMED_REQUEST},
    {"POST", "/v1/chat/completions", "api-version=%", FAULT_MALFORMED_REQUEST},
    {"POST", "/v1/chat/completions", "api-version=%00", FAULT_MALFORMED_REQUEST},
    {"POST", "/v1/chat/completions", "api-key=a&api%2Dkey=b", FAULT_MALFORMED_REQUEST},
    {"GET", "/v1/realtime", "model=a&deployment=b", FAULT_MALFORMED_REQUEST},
};

static void refuses(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const struct bad *c = &bad[i];
        struct arena arena;
        struct api_call call = {.operation = NULL};
        arena_init(&arena);
        enum fault fault = operation_match(span_str(c->method), span_str(c->path), span_str(c->query), &arena, &call);
        if (fault != c->fault)
            fail_msg("%s %s?%s: expected %.*s, got %.*s", c->method, c->path, c->query,
                     SPAN_ARG(fault_entry(c->fault)->word), SPAN_ARG(fault_entry(fault)->word));
        assert_null(call.operation);
        arena_finish(&arena);
    }
}

static void refuses_nul(void **state)
{
    (void)state;
    struct arena arena;
    struct api_call call;
    arena_init(&arena);
    assert_int_equal(operation_match(SPAN("GET"), SPAN("/v1/models\0"), SPAN(""), &arena, &call),
                     FAULT_MALFORMED_REQUEST);
    arena_finish(&arena);
}

static void query_secret_is_found(void **state)
{
    (void)state;
    struct arena arena;
    struct api_call call;
    arena_init(&arena);
    assert_int_equal(
        operation_match(SPAN("GET"), SPAN("/openai/realtime"), SPAN("Api-Key=a%2Bb&deployment=d"), &arena, &call),
        FAULT_NONE);
    assert_span(call.query_secret, "a+b");
    arena_finish(&arena);
}

static void allow_lists_methods(void **state)
{
    (void)state;
    static const struct {
        const char *path, *allow;
    } cases[] = {
        {"/v1/models", "GET, HEAD"},
        {"/v1/models/x", "GET, HEAD, DELETE"},
        {"/v1/embeddings", "POST"},
        {"/v1/chat/completions", "GET, HEAD, POST, DELETE"},
        {"/openai/deployments/m/chat/completions", "POST"},
        {"/nothing", ""},
        {"//", ""},
    };
    struct arena arena;
    arena_init(&arena);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_span(operation_allow(&arena, span_str(cases[i].path)), cases[i].allow);
    arena_finish(&arena);
}

/* Each row can be named, is found by its name and says what fits together. */
static void table_is_sound(void **state)
{
    (void)state;
    for (int id = 0; id < OPERATION_ID_COUNT; id++) {
        const struct operation *row = operation_entry((enum operation_id)id);
        assert_int_equal(row->id, id);
        assert_ptr_equal(operation_by_name(row->name), row);
        assert_true(row->otel.len && row->path.len && row->methods);
        bool inspected = row->flags & OPERATION_INSPECTED;
        assert_int_equal(inspected, row->model == OPERATION_MODEL_BODY);
        assert_int_equal(inspected, row->body == OPERATION_BODY_JSON || row->body == OPERATION_BODY_MULTIPART ||
                                        row->body == OPERATION_BODY_EITHER);
        assert_false(inspected && row->flags & OPERATION_STATEFUL);
    }
    assert_null(operation_by_name(SPAN("chats")));
    assert_null(operation_by_name(SPAN("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches),
        cmocka_unit_test(refuses),
        cmocka_unit_test(refuses_nul),
        cmocka_unit_test(query_secret_is_found),
        cmocka_unit_test(allow_lists_methods),
        cmocka_unit_test(table_is_sound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
