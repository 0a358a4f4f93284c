/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole answers in both wire forms (tests/support/replay): NAME.sse is a stream as an upstream sends it, NAME.json what
 * the same upstream answers without `stream`. Both ways are compared member by member. NAME.replayed.sse and
 * NAME.replayed.json are what Postern makes of the other one, for the tests with the official SDKs;
 * POSTERN_UPDATE_REPLAY=1 writes them instead of comparing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "openai/replay.h"
#include "support/json_same.h"

#define FOLDER "tests/support/replay/"

static const struct {
    const char *name;
    enum operation_id operation;
    bool usage_chunk;
    unsigned choices, finish;
    uint64_t input, output, cached, reasoning;
} cases[] = {
    {"chat_text", OPERATION_CHAT, true, 1, FINISH_STOP, 12, 100, 4, 64},
    {"chat_tools", OPERATION_CHAT, true, 1, FINISH_TOOL_CALLS, 12, 100, 4, 64},
    {"chat_choices", OPERATION_CHAT, true, 2, FINISH_STOP | FINISH_LENGTH, 12, 100, 4, 64},
    {"chat_refusal", OPERATION_CHAT, true, 1, FINISH_STOP, 12, 100, 4, 64},
    {"chat_azure", OPERATION_CHAT, true, 1, FINISH_STOP, 12, 100, 4, 64},
    {"chat_reasoning", OPERATION_CHAT, true, 1, FINISH_STOP, 5, 10, 0, 0},
    {"chat_function_call", OPERATION_CHAT, true, 1, FINISH_TOOL_CALLS, 12, 100, 4, 64},
    {"chat_annotations", OPERATION_CHAT, true, 1, FINISH_STOP, 12, 100, 4, 64},
    {"completions", OPERATION_COMPLETIONS, true, 2, FINISH_LENGTH | FINISH_STOP, 2, 5, 0, 0},
    {"responses_items", OPERATION_RESPONSES, false, 5, FINISH_STOP, 30, 70, 8, 40},
    {"responses_incomplete", OPERATION_RESPONSES, false, 1, FINISH_LENGTH, 30, 70, 8, 40},
    {"responses_tools", OPERATION_RESPONSES, false, 7, FINISH_STOP, 30, 70, 8, 40},
};

static const size_t pieces[] = {0, 1, 2, 3, 5, 8, 1000};

static bool read_file(const char *name, const char *ending, struct buffer *ret)
{
    char path[256];
    snprintf(path, sizeof(path), FOLDER "%s.%s", name, ending);
    FILE *file = fopen(path, "rb");
    if (!file)
        return false;
    size_t got;
    do {
        got = fread(buffer_reserve(ret, 4096), 1, 4096, file);
        buffer_commit(ret, got);
    } while (got);
    fclose(file);
    return true;
}

/* --- the cases --- */

static void assert_facts(size_t i, enum replay_form form, struct span bytes)
{
    struct replay_facts facts;
    replay_scan(cases[i].operation, form, bytes, &facts);
    if (facts.flaw != REPLAY_SOUND)
        fail_msg("%s: %s", cases[i].name, replay_flaw_name(facts.flaw));
    assert_int_equal(facts.choices, cases[i].choices);
    assert_int_equal(facts.finish, cases[i].finish);
    assert_true(facts.usage.reported);
    assert_int_equal(facts.usage.input, cases[i].input);
    assert_int_equal(facts.usage.output, cases[i].output);
    assert_int_equal(facts.usage.cached, cases[i].cached);
    assert_int_equal(facts.usage.reasoning, cases[i].reasoning);
    assert_true(facts.model.len > 0);
    assert_int_equal(facts.usage_end > facts.usage_start, form == REPLAY_EVENTS && cases[i].usage_chunk);
}

static void test_facts_of_both_forms(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buffer events = {0}, json = {0};
        assert_true(read_file(cases[i].name, "sse", &events) && read_file(cases[i].name, "json", &json));
        assert_facts(i, REPLAY_EVENTS, buffer_span(&events));
        assert_facts(i, REPLAY_JSON, buffer_span(&json));
        buffer_finish(&events);
        buffer_finish(&json);
    }
}

static void assert_file(const char *name, const char *ending, struct span made)
{
    struct buffer there = {0};
    char path[256];
    if (getenv("POSTERN_UPDATE_REPLAY")) {
        snprintf(path, sizeof(path), FOLDER "%s.%s", name, ending);
        FILE *file = fopen(path, "wb");
        assert_non_null(file);
        assert_int_equal(fwrite(made.ptr, 1, made.len, file), made.len);
        assert_int_equal(fclose(file), 0);
        return;
    }
    assert_true(read_file(name, ending, &there));
    if (!span_equal(buffer_span(&there), made))
        fail_msg("%s.%s is not what is made now; run with POSTERN_UPDATE_REPLAY=1 and look at the difference", name,
                 ending);
    buffer_finish(&there);
}

static void test_events_become_json(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buffer events = {0}, json = {0}, made = {0};
        assert_true(read_file(cases[i].name, "sse", &events) && read_file(cases[i].name, "json", &json));
        assert_true(replay_json(cases[i].operation, buffer_span(&events), &made));
        assert_json_same(buffer_span(&made), buffer_span(&json), NULL, cases[i].name);
        assert_file(cases[i].name, "replayed.json", buffer_span(&made));
        buffer_finish(&events);
        buffer_finish(&json);
        buffer_finish(&made);
    }
}

static void turn_and_back(size_t i, struct span json, bool include_usage, size_t piece)
{
    struct buffer events = {0}, back = {0};
    struct replay_facts facts;
    struct replay_options options = {.include_usage = include_usage, .piece = piece};
    buffer_append(&events, SPAN("before"));
    assert_true(replay_events(cases[i].operation, json, &options, &events));
    buffer_consume(&events, 6);
    replay_scan(cases[i].operation, REPLAY_EVENTS, buffer_span(&events), &facts);
    assert_int_equal(facts.flaw, REPLAY_SOUND);
    bool hidden = cases[i].usage_chunk && !include_usage;
    assert_int_equal(facts.usage.reported, !hidden);
    assert_int_equal(facts.usage_end > facts.usage_start, cases[i].usage_chunk && include_usage);
    assert_true(replay_json(cases[i].operation, buffer_span(&events), &back));
    assert_json_same(buffer_span(&back), json, hidden ? "usage" : NULL, cases[i].name);
    if (include_usage && piece == 0)
        assert_file(cases[i].name, "replayed.sse", buffer_span(&events));
    buffer_finish(&events);
    buffer_finish(&back);
}

static void test_json_becomes_events_and_json_again(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buffer json = {0};
        assert_true(read_file(cases[i].name, "json", &json));
        for (size_t p = 0; p < ARRAY_LEN(pieces); p++) {
            turn_and_back(i, buffer_span(&json), true, pieces[p]);
            turn_and_back(i, buffer_span(&json), false, pieces[p]);
        }
        buffer_finish(&json);
    }
}

static void test_events_survive_two_turns(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buffer events = {0}, json = {0}, again = {0}, last = {0};
        struct replay_options options = {.include_usage = true, .piece = 4};
        assert_true(read_file(cases[i].name, "sse", &events));
        assert_true(replay_json(cases[i].operation, buffer_span(&events), &json));
        assert_true(replay_events(cases[i].operation, buffer_span(&json), &options, &again));
        assert_true(replay_json(cases[i].operation, buffer_span(&again), &last));
        assert_json_same(buffer_span(&last), buffer_span(&json), NULL, cases[i].name);
        buffer_finish(&events);
        buffer_finish(&json);
        buffer_finish(&again);
        buffer_finish(&last);
    }
}

static void test_usage_is_hidden(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buffer events = {0}, visible = {0}, json = {0}, wanted = {0};
        struct replay_facts facts, left;
        struct span parts[2];
        assert_true(read_file(cases[i].name, "sse", &events) && read_file(cases[i].name, "json", &wanted));
        replay_scan(cases[i].operation, REPLAY_EVENTS, buffer_span(&events), &facts);
        replay_without_usage(buffer_span(&events), facts.usage_start, facts.usage_end, parts);
        buffer_append(&visible, parts[0]);
        buffer_append(&visible, parts[1]);
        replay_scan(cases[i].operation, REPLAY_EVENTS, buffer_span(&visible), &left);
        assert_int_equal(left.flaw, REPLAY_SOUND);
        assert_int_equal(left.usage.reported, !cases[i].usage_chunk);
        assert_true(replay_json(cases[i].operation, buffer_span(&visible), &json));
        assert_json_same(buffer_span(&json), buffer_span(&wanted), cases[i].usage_chunk ? "usage" : NULL,
                         cases[i].name);
        buffer_finish(&events);
        buffer_finish(&visible);
        buffer_finish(&json);
        buffer_finish(&wanted);
    }
}

/* Cut anywhere, in memory that ends there: never sound, never read beyond, and nothing written. */
static void assert_not_sound(size_t i, enum replay_form form, struct span whole, size_t len)
{
    char *copy = malloc(len ? len : 1);
    struct buffer out = {0};
    struct replay_facts facts;
    struct replay_options options = {.include_usage = true};
    assert_non_null(copy);
    memcpy(copy, whole.ptr, len);
    replay_scan(cases[i].operation, form, span_of(copy, len), &facts);
    if (facts.flaw == REPLAY_SOUND)
        fail_msg("%s: sound after %zu of %zu bytes", cases[i].name, len, whole.len);
    assert_false(form == REPLAY_JSON ? replay_events(cases[i].operation, span_of(copy, len), &options, &out)
                                     : replay_json(cases[i].operation, span_of(copy, len), &out));
    assert_int_equal(buffer_len(&out), 0);
    buffer_finish(&out);
    free(copy);
}

static void test_cut_at_every_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buffer events = {0}, json = {0};
        assert_true(read_file(cases[i].name, "sse", &events) && read_file(cases[i].name, "json", &json));
        /* A stream whose lines end with CR LF is whole without its last LF. */
        struct span whole = buffer_span(&events);
        size_t last = span_ends_with(whole, SPAN("\r\n")) ? whole.len - 1 : whole.len;
        for (size_t len = 0; len < last; len++)
            assert_not_sound(i, REPLAY_EVENTS, whole, len);
        struct span text = buffer_span(&json);
        size_t end = span_ends_with(text, SPAN("\n")) ? text.len - 1 : text.len;
        for (size_t len = 0; len < end; len++)
            assert_not_sound(i, REPLAY_JSON, text, len);
        buffer_finish(&events);
        buffer_finish(&json);
    }
}

/* Chunks that are never like one of the last: a different number of spaces in each. */
static void space_out(struct span events, struct buffer *ret)
{
    unsigned turn = 0;
    for (size_t at; events.len; events = span_skip(events, at)) {
        at = span_search(events, SPAN("data: {"));
        at = at < events.len ? at + 7 : at;
        buffer_append(ret, span_take(events, at));
        if (at < events.len)
            buffer_append(ret, span_take(SPAN("             "), turn++ % 13));
    }
}

static void test_comparing_chunks_changes_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buffer events = {0}, spaced = {0}, quick = {0}, slow = {0};
        assert_true(read_file(cases[i].name, "sse", &events));
        space_out(buffer_span(&events), &spaced);
        assert_true(replay_json(cases[i].operation, buffer_span(&events), &quick));
        assert_true(replay_json(cases[i].operation, buffer_span(&spaced), &slow));
        assert_true(span_equal(buffer_span(&quick), buffer_span(&slow)));
        buffer_finish(&events);
        buffer_finish(&spaced);
        buffer_finish(&quick);
        buffer_finish(&slow);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_facts_of_both_forms),
        cmocka_unit_test(test_events_become_json),
        cmocka_unit_test(test_json_becomes_events_and_json_again),
        cmocka_unit_test(test_events_survive_two_turns),
        cmocka_unit_test(test_usage_is_hidden),
        cmocka_unit_test(test_cut_at_every_byte),
        cmocka_unit_test(test_comparing_chunks_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
