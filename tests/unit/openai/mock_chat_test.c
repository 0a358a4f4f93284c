/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "unit/openai/mock_call.h"

#define USER(text) "\"messages\":[{\"role\":\"user\",\"content\":\"" text "\"}]"
#define TOOLS                                                                                                          \
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"parameters\":{\"type\":\"object\","    \
    "\"properties\":{\"city\":{\"type\":\"string\"},\"days\":{\"type\":\"integer\"}},\"required\":[\"city\"]}}},"      \
    "{\"type\":\"function\",\"function\":{\"name\":\"send_mail\"}}]"

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
    struct json_value o =
        mock_json(mock_ask_for(call, OPERATION_CHAT, SPAN("{\"model\":\"g\\u0070t\"," USER("hello there") "}")));
    assert_false(call->run->answer.stream);
    assert_string_equal(mock_at(call, o, "object"), "chat.completion");
    assert_string_equal(mock_at(call, o, "model"), "gpt");
    assert_string_equal(mock_at(call, o, "created"), "1763827200");
    assert_string_equal(mock_at(call, o, "choices.0.index"), "0");
    assert_string_equal(mock_at(call, o, "choices.0.message.role"), "assistant");
    assert_string_equal(mock_at(call, o, "choices.0.message.content"), "This is the mock model. You said: hello there");
    assert_string_equal(mock_at(call, o, "choices.0.message.refusal"), "null");
    assert_string_equal(mock_at(call, o, "choices.0.logprobs"), "null");
    assert_string_equal(mock_at(call, o, "choices.0.finish_reason"), "stop");
    assert_string_equal(mock_at(call, o, "usage.prompt_tokens"), "3");
    assert_string_equal(mock_at(call, o, "usage.completion_tokens"), "12"); /* 45 characters */
    assert_string_equal(mock_at(call, o, "usage.total_tokens"), "15");
    assert_false(mock_has(o, "choices.1"));
    assert_false(mock_has(o, "choices.0.message.tool_calls"));
    assert_false(mock_has(o, "prompt_filter_results"));
    assert_int_equal(call->run->answer.input_tokens, 3);
    assert_int_equal(call->run->answer.output_tokens, 12);
}

/* What has been done at each event of a stream: tokens come with the pieces, the report with the usage. */
static void test_work(void **state)
{
    struct mock_call *call = *state;
    const struct span body =
        SPAN("{\"stream\":true,\"stream_options\":{\"include_usage\":true}," USER("hello there") "}");
    (void)mock_ask_for(call, OPERATION_CHAT, body);
    unsigned events = call->count;
    struct mock_work work = mock_work(call->run);
    assert_true(work.input == 3 && work.output == 12 && work.reported);
    call->run = mock_start(&call->arena, &call->options, &call->state, &call->request);
    uint64_t before = 0, pause;
    for (unsigned i = 0; i < events; i++) {
        work = mock_work(call->run);
        assert_int_equal(work.input, 3);
        assert_true(work.output >= before && work.output <= 12);
        assert_true(work.output > 0 || i < 3);
        assert_int_equal(work.reported, i == events - 1); /* [DONE] is yet to come */
        before = work.output;
        (void)mock_next(call->run, &call->out, &pause);
    }
    (void)mock_ask_for(call, OPERATION_CHAT, SPAN("{" USER("hello there") "}"));
    work = mock_work(call->run);
    assert_true(work.input == 3 && work.output == 12 && work.reported);
    (void)mock_ask_for(call, OPERATION_CHAT, SPAN("{\"messages\":[]}"));
    work = mock_work(call->run);
    assert_true(work.input == 0 && work.output == 0 && !work.reported);
}

static void test_what_was_said(void **state)
{
    struct mock_call *call = *state;
    static const struct {
        struct span messages;
        const char *content;
    } cases[] = {
        {SPAN_INIT("[{\"role\":\"user\",\"content\":\"one\"},{\"role\":\"assistant\",\"content\":\"x\"},"
                   "{\"role\":\"user\",\"content\":\"two\"}]"),
         "You said: two"},
        {SPAN_INIT("[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"image_url\","
                   "\"image_url\":"
                   "{\"url\":\"data:\"}},{\"type\":\"text\",\"text\":\"b\"}]}]"),
         "You said: a b"},
        {SPAN_INIT("[{\"role\":\"user\",\"content\":\"\\u00fc\\ud83d\\ude00\\\"\"}]"),
         "You said: \xC3\xBC\xF0\x9F\x98\x80\""},
        {SPAN_INIT("[{\"role\":\"user\",\"content\":null}]"), "You said: "},
        {SPAN_INIT("[{\"role\":\"system\",\"content\":\"be brief\"}]"), "You said: "},
        {SPAN_INIT("[7,null,{},[]]"), "You said: "},
        {SPAN_INIT(
             "[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"tool\",\"tool_call_id\":\"c\",\"content\":\"42\"}]"),
         "The tool said: 42"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct span body = arena_format(&call->arena, "{\"messages\":%.*s}", SPAN_ARG(cases[i].messages));
        struct json_value o = mock_json(mock_ask_for(call, OPERATION_CHAT, body));
        const char *content = mock_at(call, o, "choices.0.message.content");
        assert_string_equal(content + strlen("This is the mock model. "), cases[i].content);
        assert_string_equal(mock_at(call, o, "model"), "mock");
    }
    /* at most 400 characters are repeated, and none is cut in two */
    struct buffer body = {0};
    buffer_append(&body, SPAN("{\"messages\":[{\"role\":\"user\",\"content\":\""));
    for (int i = 0; i < 500; i++)
        buffer_append(&body, SPAN("\xC3\xBC"));
    buffer_append(&body, SPAN("\"}]}"));
    struct json_value o = mock_json(mock_ask_for(call, OPERATION_CHAT, buffer_span(&body)));
    assert_int_equal(strlen(mock_at(call, o, "choices.0.message.content")), 34 + 800);
    assert_string_equal(mock_at(call, o, "usage.prompt_tokens"), "125");
    buffer_finish(&body);
}

static void test_model_from_the_path_wins(void **state)
{
    struct mock_call *call = *state;
    call->request.model = SPAN("deployment");
    struct json_value o = mock_json(mock_ask_for(call, OPERATION_CHAT, SPAN("{\"model\":\"other\"," USER("x") "}")));
    assert_string_equal(mock_at(call, o, "model"), "deployment");
}

static void test_max_tokens(void **state)
{
    struct mock_call *call = *state;
    static const char *const names[] = {"max_tokens", "max_completion_tokens"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct span body = arena_format(&call->arena, "{\"%s\":3," USER("hi") "}", names[i]);
        struct json_value o = mock_json(mock_ask_for(call, OPERATION_CHAT, body));
        assert_string_equal(mock_at(call, o, "choices.0.message.content"), "This is the ");
        assert_string_equal(mock_at(call, o, "choices.0.finish_reason"), "length");
        assert_string_equal(mock_at(call, o, "usage.completion_tokens"), "3");
    }
    struct json_value o = mock_json(mock_ask_for(call, OPERATION_CHAT, SPAN("{\"max_tokens\":1000," USER("hi") "}")));
    assert_string_equal(mock_at(call, o, "choices.0.finish_reason"), "stop");
}

static void test_choices(void **state)
{
    struct mock_call *call = *state;
    struct json_value o = mock_json(mock_ask_for(call, OPERATION_CHAT, SPAN("{\"n\":3," USER("hi") "}")));
    assert_string_equal(mock_at(call, o, "choices.2.index"), "2");
    assert_false(mock_has(o, "choices.3"));
    assert_string_equal(mock_at(call, o, "usage.completion_tokens"), "27"); /* 36 characters, three times */
}

static void test_stream(void **state)
{
    struct mock_call *call = *state;
    struct span all =
        mock_ask_for(call, OPERATION_CHAT, SPAN("{\"model\":\"m\",\"stream\":true," USER("hello there") "}"));
    assert_true(call->run->answer.stream);
    assert_true(span_equal(call->run->answer.content_type, SPAN("text/event-stream; charset=utf-8")));
    assert_true(span_ends_with(all, SPAN("\n\ndata: [DONE]\n\n")));
    unsigned last = call->count - 2;
    for (unsigned i = 0; i <= last; i++) {
        struct json_value e = mock_event_json(call, i);
        assert_string_equal(mock_at(call, e, "object"), "chat.completion.chunk");
        assert_string_equal(mock_at(call, e, "id"), mock_at(call, mock_event_json(call, 0), "id"));
        assert_false(mock_has(e, "usage")); /* not asked for */
        assert_string_equal(mock_at(call, e, "choices.0.finish_reason"), i == last ? "stop" : "null");
    }
    assert_string_equal(mock_at(call, mock_event_json(call, 0), "choices.0.delta.role"), "assistant");
    assert_false(mock_has(mock_event_json(call, 1), "choices.0.delta.role"));
    assert_string_equal(mock_at(call, mock_event_json(call, last), "choices.0.delta"), "{}");
    assert_string_equal(mock_joined(call, "choices.0.delta.content"), "This is the mock model. You said: hello there");
    assert_int_equal(call->count, 1 + 9 + 1 + 1); /* role, words, finish, [DONE] */
}

static void test_stream_usage(void **state)
{
    struct mock_call *call = *state;
    static const struct {
        const char *options;
        bool asked;
    } cases[] = {
        {"{\"include_usage\":true}", true},  {"{\"include_usage\":false}", false}, {"{}", false}, {"null", false},
        {"{\"include_usage\":null}", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct span body =
            arena_format(&call->arena, "{\"stream\":true,\"stream_options\":%s," USER("hi") "}", cases[i].options);
        struct span all = mock_ask_for(call, OPERATION_CHAT, body);
        assert_int_equal(span_search(all, SPAN("usage")) < all.len, cases[i].asked);
        if (!cases[i].asked)
            continue;
        for (unsigned e = 0; e + 2 < call->count; e++)
            assert_string_equal(mock_at(call, mock_event_json(call, e), "usage"), "null");
        struct json_value last = mock_event_json(call, call->count - 2);
        assert_string_equal(mock_at(call, last, "choices"), "[]");
        assert_string_equal(mock_at(call, last, "usage.completion_tokens"), "9");
        assert_string_equal(mock_at(call, last, "usage.total_tokens"), "10");
    }
    /* without a stream, stream_options change nothing */
    struct json_value o = mock_json(
        mock_ask_for(call, OPERATION_CHAT, SPAN("{\"stream_options\":{\"include_usage\":true}," USER("hi") "}")));
    assert_string_equal(mock_at(call, o, "object"), "chat.completion");
}

static void test_chunks(void **state)
{
    struct mock_call *call = *state;
    static const unsigned wanted[] = {1, 2, 5, 40, 300};
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        call->options.chunks = wanted[i];
        (void)mock_ask_for(call, OPERATION_CHAT, SPAN("{\"stream\":true," USER("hi") "}"));
        assert_int_equal(call->count, wanted[i] + 3);
        for (unsigned e = 1; e <= wanted[i]; e++)
            assert_true(strlen(mock_at(call, mock_event_json(call, e), "choices.0.delta.content")) > 0);
        /* even of text that cannot be lengthened */
        (void)mock_ask_for(call, OPERATION_CHAT,
                           SPAN("{\"stream\":true,\"response_format\":{\"type\":\"json_object\"}," USER("hi") "}"));
        assert_int_equal(call->count, wanted[i] + 3);
        (void)mock_json(span_str(mock_joined(call, "choices.0.delta.content")));
    }
    call->options.chunks = 0;
    call->options.words_per_chunk = 4;
    (void)mock_ask_for(call, OPERATION_CHAT, SPAN("{\"stream\":true," USER("hello there") "}"));
    assert_int_equal(call->count, 3 + 3);
    assert_string_equal(mock_joined(call, "choices.0.delta.content"), "This is the mock model. You said: hello there");
}

static void test_stream_choices_take_turns(void **state)
{
    struct mock_call *call = *state;
    (void)mock_ask_for(call, OPERATION_CHAT, SPAN("{\"stream\":true,\"n\":2," USER("hi") "}"));
    unsigned finished = 0;
    for (unsigned i = 0; i + 1 < call->count; i++) {
        struct json_value e = mock_event_json(call, i);
        assert_string_equal(mock_at(call, e, "choices.0.index"), i % 2 ? "1" : "0");
        finished += strcmp(mock_at(call, e, "choices.0.finish_reason"), "stop") == 0;
    }
    assert_int_equal(finished, 2);
}

static void test_azure(void **state)
{
    struct mock_call *call = *state;
    call->options.azure = true;
    (void)mock_ask_for(call, OPERATION_CHAT, SPAN("{\"stream\":true,\"model\":\"d\"," USER("hi") "}"));
    struct json_value first = mock_event_json(call, 0);
    assert_string_equal(mock_at(call, first, "choices"), "[]");
    assert_string_equal(mock_at(call, first, "id"), "");
    assert_string_equal(mock_at(call, first, "prompt_filter_results.0.content_filter_results.hate.severity"), "safe");
    assert_string_equal(mock_at(call, mock_event_json(call, 1), "choices.0.content_filter_results"), "{}");
    assert_string_equal(mock_at(call, mock_event_json(call, 2), "choices.0.content_filter_results.sexual.filtered"),
                        "false");
    struct json_value o = mock_json(mock_ask_for(call, OPERATION_CHAT, SPAN("{" USER("hi") "}")));
    assert_true(mock_has(o, "prompt_filter_results.0.content_filter_results"));
    assert_true(mock_has(o, "choices.0.content_filter_results.violence"));
}

static void test_when_a_tool_is_called(void **state)
{
    struct mock_call *call = *state;
    static const struct {
        const char *request, *name; /* NULL: none */
    } cases[] = {
        {USER("hello") "," TOOLS, NULL},
        {USER("use a Tool please") "," TOOLS, "get_weather"},
        {USER("call SEND_MAIL now") "," TOOLS, "send_mail"},
        {USER("call send_mail now") ",\"tool_choice\":\"none\"," TOOLS, NULL},
        {USER("hello") ",\"tool_choice\":\"required\"," TOOLS, "get_weather"},
        {USER("hello") ",\"tool_choice\":\"auto\"," TOOLS, NULL},
        {USER("hello") ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"send_mail\"}}," TOOLS,
         "send_mail"},
        {USER("tool") ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"other\"}}," TOOLS, NULL},
        {USER("tool") ",\"tools\":[]", NULL},
        {USER("tool") ",\"tools\":[{\"type\":\"custom\",\"custom\":{\"name\":\"x\"}}]", NULL},
        {"\"messages\":[{\"role\":\"user\",\"content\":\"get_weather\"},{\"role\":\"assistant\",\"content\":null},"
         "{\"role\":\"tool\",\"content\":\"rain\"}]," TOOLS,
         NULL},
        {"\"messages\":[{\"role\":\"tool\",\"content\":\"rain\"},{\"role\":\"user\",\"content\":\"get_weather\"}]"
         "," TOOLS,
         "get_weather"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct span body = arena_format(&call->arena, "{%s}", cases[i].request);
        struct json_value o = mock_json(mock_ask_for(call, OPERATION_CHAT, body));
        assert_string_equal(mock_at(call, o, "choices.0.finish_reason"), cases[i].name ? "tool_calls" : "stop");
        assert_string_equal(mock_at(call, o, "choices.0.message.tool_calls.0.function.name"),
                            cases[i].name ? cases[i].name : "(absent)");
        if (!cases[i].name)
            continue;
        assert_string_equal(mock_at(call, o, "choices.0.message.content"), "null");
        assert_string_equal(mock_at(call, o, "choices.0.message.tool_calls.0.type"), "function");
        assert_true(strlen(mock_at(call, o, "choices.0.message.tool_calls.0.id")) > 8);
        const char *arguments = mock_at(call, o, "choices.0.message.tool_calls.0.function.arguments");
        assert_string_equal(arguments,
                            strcmp(cases[i].name, "send_mail") == 0 ? "{}" : "{\"city\":\"mock\",\"days\":1}");
    }
}

static void test_tool_stream(void **state)
{
    struct mock_call *call = *state;
    (void)mock_ask_for(call, OPERATION_CHAT, SPAN("{\"stream\":true," USER("get_weather") "," TOOLS "}"));
    struct json_value first = mock_event_json(call, 0);
    assert_string_equal(mock_at(call, first, "choices.0.delta.tool_calls.0.function.name"), "get_weather");
    assert_string_equal(mock_at(call, first, "choices.0.delta.tool_calls.0.index"), "0");
    assert_string_equal(mock_at(call, first, "choices.0.delta.content"), "null");
    assert_string_equal(mock_joined(call, "choices.0.delta.tool_calls.0.function.arguments"),
                        "{\"city\":\"mock\",\"days\":1}");
    assert_string_equal(mock_at(call, mock_event_json(call, call->count - 2), "choices.0.finish_reason"), "tool_calls");
}

static void test_completions(void **state)
{
    struct mock_call *call = *state;
    struct json_value o = mock_json(
        mock_ask_for(call, OPERATION_COMPLETIONS, SPAN("{\"model\":\"m\",\"prompt\":[\"one\",\"two\"],\"n\":2}")));
    assert_string_equal(mock_at(call, o, "object"), "text_completion");
    assert_string_equal(mock_at(call, o, "choices.1.text"), "This is the mock model. You said: one");
    assert_string_equal(mock_at(call, o, "choices.2.text"), "This is the mock model. You said: two");
    assert_string_equal(mock_at(call, o, "choices.3.index"), "3");
    assert_false(mock_has(o, "choices.4"));
    assert_string_equal(mock_at(call, o, "usage.prompt_tokens"), "2");
    o = mock_json(mock_ask_for(call, OPERATION_COMPLETIONS, SPAN("{\"prompt\":[5,6,7]}")));
    assert_string_equal(mock_at(call, o, "usage.prompt_tokens"), "3");
    assert_false(mock_has(o, "choices.1"));
    o = mock_json(mock_ask_for(call, OPERATION_COMPLETIONS, SPAN("{\"prompt\":[[5,6],[7]],\"max_tokens\":1}")));
    assert_string_equal(mock_at(call, o, "choices.1.finish_reason"), "length");
    o = mock_json(mock_ask_for(call, OPERATION_COMPLETIONS, SPAN("{}")));
    assert_string_equal(mock_at(call, o, "choices.0.text"), "This is the mock model. You said: ");

    struct span all =
        mock_ask_for(call, OPERATION_COMPLETIONS,
                     SPAN("{\"prompt\":\"hi\",\"stream\":true,\"stream_options\":{\"include_usage\":true}}"));
    assert_string_equal(mock_joined(call, "choices.0.text"), "This is the mock model. You said: hi");
    assert_true(span_ends_with(all, SPAN("data: [DONE]\n\n")));
    assert_string_equal(mock_at(call, mock_event_json(call, call->count - 2), "choices"), "[]");
    assert_string_equal(mock_at(call, mock_event_json(call, call->count - 3), "choices.0.finish_reason"), "stop");
    assert_false(mock_has(mock_event_json(call, 0), "choices.0.delta"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_object),        TEST(test_work),
        TEST(test_what_was_said), TEST(test_model_from_the_path_wins),
        TEST(test_max_tokens),    TEST(test_choices),
        TEST(test_stream),        TEST(test_stream_usage),
        TEST(test_chunks),        TEST(test_stream_choices_take_turns),
        TEST(test_azure),         TEST(test_when_a_tool_is_called),
        TEST(test_tool_stream),   TEST(test_completions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
