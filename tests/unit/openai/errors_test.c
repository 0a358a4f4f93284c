/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/json_value.h"
#include "openai/errors.h"
#include "openai/stream_tap.h"

static void assert_text(const struct buffer *buffer, const char *expected)
{
    if (!span_equal(buffer_span(buffer), span_str(expected)))
        fail_msg("expected %s, got %.*s", expected, SPAN_ARG(buffer_span(buffer)));
}

static void body_of_a_fault(void **state)
{
    (void)state;
    struct buffer out = {0};
    error_body(&out, FAULT_MODEL_NOT_FOUND, SPAN("The model `a\"b\\\n` does not exist."), SPAN("model"));
    assert_text(&out, "{\"error\":{\"message\":\"The model `a\\\"b\\\\\\n` does not exist.\",\"type\":"
                      "\"invalid_request_error\",\"param\":\"model\",\"code\":\"model_not_found\"}}");
    buffer_finish(&out);
    error_body(&out, FAULT_OVERLOADED, SPAN(""), SPAN(""));
    assert_text(&out, "{\"error\":{\"message\":\"Postern is at its limits; try again.\",\"type\":\"server_error\","
                      "\"param\":null,\"code\":\"overloaded\"}}");
    buffer_finish(&out);
}

/* Every fault gives valid JSON with the four members, whatever bytes the message holds. */
static void every_fault_is_json(void **state)
{
    (void)state;
    char hostile[256];
    for (size_t i = 0; i < sizeof(hostile); i++)
        hostile[i] = (char)i;
    for (int fault = 1; fault < FAULT_COUNT; fault++) {
        struct buffer out = {0};
        struct json_value root, value;
        error_body(&out, (enum fault)fault, span_of(hostile, sizeof(hostile)), span_of(hostile, sizeof(hostile)));
        assert_true(json_value_parse(buffer_span(&out), &root));
        assert_true(json_value_find(root, "error.message", &value));
        assert_true(json_value_find(root, "error.type", &value));
        assert_true(json_value_find(root, "error.param", &value));
        assert_true(json_value_find(root, "error.code", &value));
        buffer_finish(&out);
    }
}

static void event_forms(void **state)
{
    (void)state;
    struct buffer out = {0};
    error_event(&out, operation_entry(OPERATION_CHAT), FAULT_UPSTREAM_CLOSED, SPAN("gone"), 7);
    assert_text(&out, "data: {\"error\":{\"message\":\"gone\",\"type\":\"server_error\",\"param\":null,\"code\":"
                      "\"upstream_closed\"}}\n\n");
    buffer_finish(&out);
    error_event(&out, operation_entry(OPERATION_RESPONSES), FAULT_UPSTREAM_CLOSED, SPAN("gone"), 7);
    assert_text(&out, "event: error\ndata: {\"type\":\"error\",\"code\":\"upstream_closed\",\"message\":\"gone\","
                      "\"param\":null,\"sequence_number\":7}\n\n");
    buffer_finish(&out);
}

/* Our own events must be what we take for an error, in one event each, even with line ends in the message. */
static void events_read_back(void **state)
{
    (void)state;
    static const enum operation_id operations[] = {OPERATION_CHAT, OPERATION_COMPLETIONS, OPERATION_RESPONSES,
                                                   OPERATION_TRANSCRIPTIONS};
    for (size_t i = 0; i < ARRAY_LEN(operations); i++) {
        struct arena arena;
        struct stream_tap tap;
        struct sse_reader sse;
        struct sse_event event;
        struct buffer out = {0};
        arena_init(&arena);
        stream_tap_init(&tap, &arena);
        sse_init(&sse, 4096);
        error_event(&out, operation_entry(operations[i]), FAULT_IDLE_TIMEOUT, SPAN("a\n\ndata: b\r\r"), 0);
        struct span in = buffer_span(&out);
        assert_int_equal(sse_next(&sse, &in, &event), SSE_EVENT);
        assert_int_equal(in.len, 0);
        assert_int_equal(stream_tap_event(&tap, &event), EVENT_ERROR);
        assert_false(stream_tap_succeeded(&tap));
        sse_finish(&sse);
        buffer_finish(&out);
        arena_finish(&arena);
    }
}

struct upstream {
    const char *body, *code, *type, *param;
    bool known, names_stream_options, content_filter;
};

static const struct upstream upstreams[] = {
    /* Azure */
    {"{\"error\":{\"code\":\"401\",\"message\":\"Access denied\"}}", "401", "", "", true, false, false},
    {"{\"statusCode\":401,\"message\":\"Unauthorized. Access token is missing\"}", "401", "", "", true, false, false},
    {"{\"statusCode\":500,\"message\":\"Internal server error\",\"activityId\":\"g\"}", "500", "", "", true, false,
     false},
    {"{\"error\":{\"code\":\"DeploymentNotFound\",\"message\":\"m\"}}", "DeploymentNotFound", "", "", true, false,
     false},
    {"{\"error\":{\"message\":\"filtered\",\"type\":null,\"param\":\"prompt\",\"code\":\"content_filter\",\"status\":"
     "400,"
     "\"innererror\":{\"code\":\"ResponsibleAIPolicyViolation\",\"content_filter_result\":{}}}}",
     "content_filter", "", "prompt", true, false, true},
    {"{\"error\":{\"code\":\"400\",\"innererror\":{\"code\":\"ResponsibleAIPolicyViolation\"}}}", "400", "", "", true,
     false, true},
    {"{\"error\":{\"code\":\"moderation_blocked\"}}", "moderation_blocked", "", "", true, false, true},
    {"{\"error\":{\"message\":\"Maximum content size limit\",\"type\":\"server_error\",\"param\":\"null\",\"code\":"
     "\"null\"}}",
     "", "server_error", "", true, false, false},
    /* OpenAI */
    {" {\n    \"error\": {\n        \"message\": \"m\",\n        \"type\": \"invalid_request_error\",\n        "
     "\"param\": "
     "null,\n        \"code\": \"model_not_found\"\n    }\n}\n",
     "model_not_found", "invalid_request_error", "", true, false, false},
    {"{\"error\":{\"message\":\"m\",\"type\":\"invalid_request_error\",\"param\":\"stream_options\",\"code\":"
     "\"unknown_parameter\"}}",
     "unknown_parameter", "invalid_request_error", "stream_options", true, true, false},
    {"{\"error\":{\"message\":\"Unrecognized request argument supplied: stream_options\",\"code\":null}}", "", "", "",
     true, true, false},
    {"{\"error\":{\"message\":\"extra: include_usage\"}}", "", "", "", true, true, false},
    {"{\"error\":{\"message\":\"stream\",\"param\":\"options\"}}", "", "", "options", true, false, false},
    /* vLLM, KAITO */
    {"{\"error\":{\"message\":\"m\",\"type\":\"NotFoundError\",\"param\":\"model\",\"code\":404}}", "404",
     "NotFoundError", "model", true, false, false},
    {"{\"error\":\"Unauthorized\"}", "", "", "", true, false, false},
    {"{\"object\":\"error\",\"message\":\"stream_options\",\"type\":\"BadRequestError\",\"code\":400}", "400",
     "BadRequestError", "", true, true, false},
    /* TGI, llama.cpp */
    {"{\"error\":\"Model is overloaded\",\"error_type\":\"overloaded\"}", "", "overloaded", "", true, false, false},
    {"{\"error\":{\"code\":503,\"message\":\"Loading model\",\"type\":\"unavailable_error\"}}", "503",
     "unavailable_error", "", true, false, false},
    /* what a log line should not hold */
    {"{\"error\":{\"code\":\"a\\nb\",\"type\":\"caf\\u00e9\",\"param\":\"\\u0000\"}}", "", "", "", true, false, false},
    {"{\"error\":{\"code\":[1],\"type\":{},\"param\":true}}", "", "", "", true, false, false},
    {"{\"error\":{\"code\":"
     "\"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123"
     "45678901234567890123456789012345678\"}}",
     "", "", "", true, false, false},
    /* none */
    {"", "", "", "", false, false, false},
    {"<html>502</html>", "", "", "", false, false, false},
    {"[]", "", "", "", false, false, false},
    {"{}", "", "", "", false, false, false},
    {"{\"error\":null}", "", "", "", false, false, false},
    {"{\"error\":5}", "", "", "", false, false, false},
    {"{\"error\":{\"code\":1}", "", "", "", false, false, false},
    {"{\"error\":{\"code\":1},\"error\":{\"code\":2}}", "", "", "", false, false, false},
    {"{\"object\":\"list\"}", "", "", "", false, false, false},
};

static void upstream_bodies(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(upstreams); i++) {
        const struct upstream *c = &upstreams[i];
        struct arena arena;
        struct upstream_error error = {.names_stream_options = false};
        arena_init(&arena);
        if (upstream_error_read(span_str(c->body), &arena, &error) != c->known)
            fail_msg("%s", c->body);
        if (!span_equal(error.code, span_str(c->code)) || !span_equal(error.type, span_str(c->type)) ||
            !span_equal(error.param, span_str(c->param)) || error.names_stream_options != c->names_stream_options ||
            error.content_filter != c->content_filter)
            fail_msg("%s: code %.*s type %.*s param %.*s %d %d", c->body, SPAN_ARG(error.code), SPAN_ARG(error.type),
                     SPAN_ARG(error.param), error.names_stream_options, error.content_filter);
        arena_finish(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(body_of_a_fault),  cmocka_unit_test(every_fault_is_json), cmocka_unit_test(event_forms),
        cmocka_unit_test(events_read_back), cmocka_unit_test(upstream_bodies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
