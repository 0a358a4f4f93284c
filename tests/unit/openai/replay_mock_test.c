/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mock model answers the same request in both forms, by code that knows nothing of replay: its stream, turned to
 * JSON, is its JSON answer, and the other way round.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "mock_call.h"
#include "openai/mock_script.h"
#include "openai/replay.h"
#include "support/json_same.h"

#define SAY  "\"messages\":[{\"role\":\"user\",\"content\":\"one two three four \\u00fc\\ud83d\\ude00 \\\"five\\\"\"}]"
#define TOOL "{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"}},\"required\":[\"city\"]}"

static const struct {
    enum operation_id operation;
    const char *members; /* of the request */
    bool includes_usage; /* by stream_options; else the stream has it anyway */
} cases[] = {
    {OPERATION_CHAT, SAY, true},
    {OPERATION_CHAT, SAY ",\"n\":3", true},
    {OPERATION_CHAT, SAY ",\"max_tokens\":3", true},
    {OPERATION_CHAT,
     SAY ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":" TOOL
         "}}],\"tool_choice\":\"required\"",
     true},
    {OPERATION_COMPLETIONS, "\"prompt\":\"one two three\"", true},
    {OPERATION_COMPLETIONS, "\"prompt\":[\"one two\",\"three four five\"],\"n\":2", true},
    {OPERATION_RESPONSES, "\"input\":\"one two three\",\"store\":false", false},
    {OPERATION_RESPONSES, "\"input\":\"one two three four five\",\"max_output_tokens\":2", false},
    {OPERATION_RESPONSES,
     "\"input\":\"x\",\"tool_choice\":\"required\",\"tools\":[{\"type\":\"function\",\"name\":\"f\","
     "\"parameters\":" TOOL "}]",
     false},
};

static void replace(struct buffer *text, struct span old, struct span new)
{
    for (size_t at; (at = span_search(buffer_span(text), old)) < buffer_len(text);)
        buffer_splice(text, at, old.len, new);
}

/* The answer to the case in one form, without what differs from request to request: the ids. */
static void ask(size_t i, bool azure, bool stream, struct buffer *ret)
{
    struct mock_call call;
    struct buffer body = {0};
    mock_call_begin(&call);
    call.options.azure = azure;
    buffer_format(&body, "{\"model\":\"m\",%s%s}", cases[i].members,
                  !stream                   ? ""
                  : cases[i].includes_usage ? ",\"stream\":true,\"stream_options\":{\"include_usage\":true}"
                                            : ",\"stream\":true");
    buffer_append(ret, mock_ask_for(&call, cases[i].operation, buffer_span(&body)));
    struct span id = arena_format(&call.arena, "%016llx", (unsigned long long)call.run->script->id);
    replace(ret, id, SPAN("ID"));
    mock_call_end(&call);
    buffer_finish(&body);
}

static void compare(size_t i, bool azure)
{
    struct buffer events = {0}, json = {0}, made = {0}, again = {0}, back = {0};
    struct replay_options options = {.include_usage = true, .piece = 6};
    struct replay_facts of_events, of_json;
    ask(i, azure, true, &events);
    ask(i, azure, false, &json);
    replay_scan(cases[i].operation, REPLAY_EVENTS, buffer_span(&events), &of_events);
    replay_scan(cases[i].operation, REPLAY_JSON, buffer_span(&json), &of_json);
    assert_int_equal(of_events.flaw, REPLAY_SOUND);
    assert_int_equal(of_json.flaw, REPLAY_SOUND);
    assert_int_equal(of_events.finish, of_json.finish);
    assert_int_equal(of_events.choices, of_json.choices);
    assert_memory_equal(&of_events.usage, &of_json.usage, sizeof(of_json.usage));
    assert_true(span_equal(of_events.model, of_json.model));
    assert_true(replay_events(cases[i].operation, buffer_span(&json), &options, &again));
    assert_true(replay_json(cases[i].operation, buffer_span(&again), &back));
    assert_json_same(buffer_span(&back), buffer_span(&json), NULL, cases[i].members);
    assert_true(replay_json(cases[i].operation, buffer_span(&events), &made));
    if (cases[i].operation == OPERATION_CHAT) /* the mock's chunks leave it out, as the API's do */
        replace(&json, SPAN(",\"annotations\":[]"), SPAN(""));
    assert_json_same(buffer_span(&made), buffer_span(&json), NULL, cases[i].members);
    buffer_finish(&events);
    buffer_finish(&json);
    buffer_finish(&made);
    buffer_finish(&again);
    buffer_finish(&back);
}

static void test_both_forms_of_the_mock(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        compare(i, false);
        if (cases[i].operation != OPERATION_RESPONSES)
            compare(i, true);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_both_forms_of_the_mock)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
