/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>

#include "unit/openai/mock_call.h"

#define TOOLS                                                                                                          \
    "\"tools\":[{\"type\":\"function\",\"name\":\"get_weather\",\"strict\":true,\"parameters\":{\"type\":\"object\","  \
    "\"properties\":{\"city\":{\"type\":\"string\"}},\"required\":[\"city\"],\"additionalProperties\":false}}]"

static int begin(void **state)
{
    static struct mock_call call;
    mock_call_begin(&call);
    *state = &call;
    return 0;
}

static int end(void **state)
{
    mock_call_end(*state);
    return 0;
}

static void test_object(void **state)
{
    struct mock_call *call = *state;
    struct json_value o = mock_json(
        mock_ask_for(call, OPERATION_RESPONSES,
                     SPAN("{\"model\":\"m\",\"instructions\":\"terse\",\"temperature\":0.5,\"metadata\":{\"a\":\"b\"},"
                          "\"input\":\"hello there\"}")));
    assert_string_equal(mock_at(call, o, "object"), "response");
    assert_string_equal(mock_at(call, o, "status"), "completed");
    assert_string_equal(mock_at(call, o, "error"), "null");
    assert_string_equal(mock_at(call, o, "incomplete_details"), "null");
    assert_string_equal(mock_at(call, o, "output.0.type"), "message");
    assert_string_equal(mock_at(call, o, "output.0.role"), "assistant");
    assert_string_equal(mock_at(call, o, "output.0.status"), "completed");
    assert_string_equal(mock_at(call, o, "output.0.content.0.type"), "output_text");
    assert_string_equal(mock_at(call, o, "output.0.content.0.text"), "This is the mock model. You said: hello there");
    assert_string_equal(mock_at(call, o, "output.0.content.0.annotations"), "[]");
    assert_string_equal(mock_at(call, o, "usage.input_tokens"), "4"); /* 11 + 5 characters */
    assert_string_equal(mock_at(call, o, "usage.output_tokens"), "12");
    assert_string_equal(mock_at(call, o, "usage.total_tokens"), "16");
    assert_string_equal(mock_at(call, o, "usage.input_tokens_details.cached_tokens"), "0");
    assert_string_equal(mock_at(call, o, "usage.output_tokens_details.reasoning_tokens"), "0");
    /* what was asked comes back, the rest has OpenAI's defaults */
    assert_string_equal(mock_at(call, o, "instructions"), "terse");
    assert_string_equal(mock_at(call, o, "temperature"), "0.5");
    assert_string_equal(mock_at(call, o, "metadata.a"), "b");
    assert_string_equal(mock_at(call, o, "top_p"), "1.0");
    assert_string_equal(mock_at(call, o, "tools"), "[]");
    assert_string_equal(mock_at(call, o, "tool_choice"), "auto");
    assert_string_equal(mock_at(call, o, "parallel_tool_calls"), "true");
    assert_string_equal(mock_at(call, o, "text.format.type"), "text");
}

static void test_input_items(void **state)
{
    struct mock_call *call = *state;
    static const struct {
        const char *input, *text;
    } cases[] = {
        {"[{\"role\":\"user\",\"content\":\"one\"}]", "You said: one"},
        {"[{\"type\":\"message\",\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"two\"}]}]",
         "You said: two"},
        {"[{\"role\":\"user\",\"content\":\"q\"},{\"type\":\"function_call\",\"name\":\"f\",\"arguments\":\"{}\"},"
         "{\"type\":\"function_call_output\",\"call_id\":\"c\",\"output\":\"42\"}]",
         "The tool said: 42"},
        {"[]", "You said: "},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct span body = arena_format(&call->arena, "{\"input\":%s}", cases[i].input);
        struct json_value o = mock_json(mock_ask_for(call, OPERATION_RESPONSES, body));
        assert_string_equal(mock_at(call, o, "output.0.content.0.text") + strlen("This is the mock model. "),
                            cases[i].text);
    }
}

static const char *type_of(struct mock_call *call, unsigned index)
{
    return mock_at(call, mock_event_json(call, index), "type");
}

/* Each event: a name that repeats its type, and its number. */
static void check_sequence(struct mock_call *call)
{
    for (unsigned i = 0; i < call->count; i++) {
        struct json_value e = mock_event_json(call, i);
        char number[16];
        (void)snprintf(number, sizeof(number), "%u", i);
        assert_string_equal(mock_at(call, e, "sequence_number"), number);
        struct span name = arena_format(&call->arena, "event: %s\n", mock_at(call, e, "type"));
        assert_true(span_starts_with(call->event[i], name));
    }
}

static void test_stream(void **state)
{
    struct mock_call *call = *state;
    struct span all =
        mock_ask_for(call, OPERATION_RESPONSES, SPAN("{\"model\":\"m\",\"stream\":true,\"input\":\"hello there\"}"));
    check_sequence(call);
    assert_true(span_search(all, SPAN("[DONE]")) == all.len);
    static const char *const before[] = {"response.created", "response.in_progress", "response.output_item.added",
                                         "response.content_part.added"};
    static const char *const after[] = {"response.output_text.done", "response.content_part.done",
                                        "response.output_item.done", "response.completed"};
    assert_int_equal(call->count, 4 + 9 + 4);
    for (unsigned i = 0; i < 4; i++) {
        assert_string_equal(type_of(call, i), before[i]);
        assert_string_equal(type_of(call, 13 + i), after[i]);
    }
    for (unsigned i = 4; i < 13; i++)
        assert_string_equal(type_of(call, i), "response.output_text.delta");
    const char *text = "This is the mock model. You said: hello there";
    assert_string_equal(mock_joined(call, "delta"), text);
    assert_string_equal(mock_at(call, mock_event_json(call, 13), "text"), text);
    assert_string_equal(mock_at(call, mock_event_json(call, 14), "part.text"), text);
    assert_string_equal(mock_at(call, mock_event_json(call, 15), "item.content.0.text"), text);
    struct json_value first = mock_event_json(call, 0), last = mock_event_json(call, 16);
    assert_string_equal(mock_at(call, first, "response.status"), "in_progress");
    assert_string_equal(mock_at(call, first, "response.output"), "[]");
    assert_string_equal(mock_at(call, first, "response.usage"), "null");
    assert_string_equal(mock_at(call, last, "response.status"), "completed");
    assert_string_equal(mock_at(call, last, "response.output.0.content.0.text"), text);
    assert_string_equal(mock_at(call, last, "response.usage.output_tokens"), "12");
    assert_string_equal(mock_at(call, first, "response.id"), mock_at(call, last, "response.id"));
    assert_string_equal(mock_at(call, mock_event_json(call, 5), "item_id"),
                        mock_at(call, last, "response.output.0.id"));
    assert_string_equal(mock_at(call, mock_event_json(call, 2), "item.content"), "[]");
}

static void test_incomplete(void **state)
{
    struct mock_call *call = *state;
    (void)mock_ask_for(call, OPERATION_RESPONSES, SPAN("{\"stream\":true,\"max_output_tokens\":2,\"input\":\"hi\"}"));
    check_sequence(call);
    struct json_value last = mock_event_json(call, call->count - 1);
    assert_string_equal(mock_at(call, last, "type"), "response.incomplete");
    assert_string_equal(mock_at(call, last, "response.status"), "incomplete");
    assert_string_equal(mock_at(call, last, "response.incomplete_details.reason"), "max_output_tokens");
    assert_string_equal(mock_at(call, last, "response.max_output_tokens"), "2");
    assert_string_equal(mock_joined(call, "delta"), "This is ");
}

static void test_function_call(void **state)
{
    struct mock_call *call = *state;
    struct json_value o =
        mock_json(mock_ask_for(call, OPERATION_RESPONSES, SPAN("{\"input\":\"get_weather\"," TOOLS "}")));
    assert_string_equal(mock_at(call, o, "output.0.type"), "function_call");
    assert_string_equal(mock_at(call, o, "output.0.name"), "get_weather");
    assert_string_equal(mock_at(call, o, "output.0.arguments"), "{\"city\":\"mock\"}");
    assert_string_equal(mock_at(call, o, "tools.0.name"), "get_weather");
    assert_true(mock_has(o, "output.0.call_id"));

    (void)mock_ask_for(
        call, OPERATION_RESPONSES,
        SPAN("{\"stream\":true,\"input\":\"x\",\"tool_choice\":{\"type\":\"function\",\"name\":\"get_weather\"}," TOOLS
             "}"));
    check_sequence(call);
    assert_string_equal(mock_joined(call, "delta"), "{\"city\":\"mock\"}");
    unsigned last = call->count - 1;
    assert_string_equal(type_of(call, 2), "response.output_item.added");
    assert_string_equal(mock_at(call, mock_event_json(call, 2), "item.arguments"), "");
    assert_string_equal(type_of(call, 3), "response.function_call_arguments.delta");
    assert_string_equal(type_of(call, last - 2), "response.function_call_arguments.done");
    assert_string_equal(mock_at(call, mock_event_json(call, last - 2), "arguments"), "{\"city\":\"mock\"}");
    assert_string_equal(type_of(call, last - 1), "response.output_item.done");
    assert_string_equal(type_of(call, last), "response.completed");
    assert_string_equal(mock_at(call, mock_event_json(call, last), "response.output.0.type"), "function_call");
}

static void test_structured(void **state)
{
    struct mock_call *call = *state;
    struct json_value o = mock_json(mock_ask_for(call, OPERATION_RESPONSES,
                                                 SPAN("{\"input\":\"x\",\"text\":{\"format\":{\"type\":\"json_schema\","
                                                      "\"name\":\"n\",\"schema\":{\"type\":\"object\","
                                                      "\"properties\":{\"ok\":{\"type\":\"boolean\"}}}}}}")));
    assert_string_equal(mock_at(call, o, "output.0.content.0.text"), "{\"ok\":true}");
    assert_string_equal(mock_at(call, o, "text.format.name"), "n");
}

/* A request written over several lines must not break the events that repeat parts of it. */
static void test_pretty_request(void **state)
{
    struct mock_call *call = *state;
    (void)mock_ask_for(
        call, OPERATION_RESPONSES,
        SPAN("{\n\"stream\": true, \"input\": \"x\",\r\n\"metadata\": {\n\t\"a\": \"b \\\" c\",\n\"d\": \"e\"\n}\n}"));
    check_sequence(call);
    struct json_value last = mock_event_json(call, call->count - 1);
    assert_string_equal(mock_at(call, last, "response.metadata"), "{\"a\":\"b \\\" c\",\"d\":\"e\"}");
}

static void test_error_event(void **state)
{
    struct mock_call *call = *state;
    call->options.error_after = 5;
    (void)mock_ask_for(call, OPERATION_RESPONSES, SPAN("{\"stream\":true,\"input\":\"x\"}"));
    assert_int_equal(call->count, 6);
    check_sequence(call);
    assert_string_equal(type_of(call, 5), "error");
    assert_string_equal(mock_at(call, mock_event_json(call, 5), "code"), "server_error"); /* flat, no wrapper */
}

static void test_input_tokens(void **state)
{
    struct mock_call *call = *state;
    struct json_value o = mock_json(
        mock_ask_for(call, OPERATION_RESPONSES_INPUT_TOKENS, SPAN("{\"model\":\"m\",\"input\":\"hello there\"}")));
    assert_string_equal(mock_at(call, o, "object"), "response.input_tokens");
    assert_string_equal(mock_at(call, o, "input_tokens"), "3");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_object),         TEST(test_input_items),   TEST(test_stream),
        TEST(test_incomplete),     TEST(test_function_call), TEST(test_structured),
        TEST(test_pretty_request), TEST(test_error_event),   TEST(test_input_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
