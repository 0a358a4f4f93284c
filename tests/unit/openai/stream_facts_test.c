/* SPDX-License-Identifier: Apache-2.0 */
/* Whole streams: what is known at their end, whatever the splits and whichever way the events were read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "openai/stream_tap.h"

static const char azure[] =
    "data: "
    "{\"choices\":[],\"created\":0,\"id\":\"\",\"model\":\"\",\"object\":\"\",\"prompt_filter_results\":[{\"prompt_"
    "index\":0,\"content_filter_results\":{\"hate\":{\"filtered\":false,\"severity\":\"safe\"}}}]}\n\n"
    "data: {\"choices\":[{\"content_filter_results\":{},\"delta\":{\"content\":\"\",\"refusal\":null,\"role\":"
    "\"assistant\"},\"finish_reason\":null,\"index\":0,\"logprobs\":null}],\"created\":1,\"id\":\"chatcmpl-1\","
    "\"model\":"
    "\"gpt-4o-mini-2024-07-18\",\"object\":\"chat.completion.chunk\",\"system_fingerprint\":\"fp_1\",\"usage\":null}"
    "\n\n"
    "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"},\"finish_reason\":null,\"index\":0}],\"created\":1,\"id\":"
    "\"chatcmpl-1\",\"model\":\"gpt-4o-mini-2024-07-18\",\"usage\":null}\n\n"
    "data: {\"choices\":[{\"delta\":{\"content\":\" you\"},\"finish_reason\":null,\"index\":0}],\"created\":1,\"id\":"
    "\"chatcmpl-1\",\"model\":\"gpt-4o-mini-2024-07-18\",\"usage\":null}\n\n"
    "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\",\"index\":0}],\"created\":1,\"id\":\"chatcmpl-1\","
    "\"model\":\"gpt-4o-mini-2024-07-18\",\"usage\":null}\n\n"
    "data: {\"choices\":[],\"created\":1,\"id\":\"chatcmpl-1\",\"model\":\"gpt-4o-mini-2024-07-18\",\"usage\":{"
    "\"completion_tokens\":2,\"prompt_tokens\":8,\"total_tokens\":10,\"prompt_tokens_details\":{\"cached_tokens\":4},"
    "\"completion_tokens_details\":{\"reasoning_tokens\":1}}}\n\n"
    "data: [DONE]\n\n";

static const char responses[] =
    "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"model\":\"gpt-5\",\"error\":null,"
    "\"usage\":null,\"status\":\"in_progress\"},\"sequence_number\":0}\n\n"
    "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":4,\"delta\":"
    "\"a\",\"obfuscation\":\"xyz\"}\n\n"
    "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":5,\"delta\":"
    "\"bcd\",\"obfuscation\":\"\"}\n\n"
    "event: response.output_text.delta\ndata: "
    "{\"type\":\"response.output_text.delta\",\"sequence_number\":16,\"delta\":"
    "\"\\n\\u00e9\\ud83d\\ude00\\\"\",\"obfuscation\":\"q\\\\\"}\n\n"
    "event: response.incomplete\ndata: {\"type\":\"response.incomplete\",\"response\":{\"status\":\"incomplete\","
    "\"incomplete_details\":{\"reason\":\"max_output_tokens\"},\"usage\":{\"input_tokens\":5,\"input_tokens_details\":{"
    "\"cached_tokens\":3},\"output_tokens\":7,\"output_tokens_details\":{\"reasoning_tokens\":6},\"total_tokens\":12}},"
    "\"sequence_number\":17}\n\n";

/* Usage with every chunk; two choices; an error in the middle and [DONE] all the same. */
static const char vllm[] =
    ": ping\n\n"
    "data: "
    "{\"model\":\"phi\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"abc\"}}],\"usage\":{\"prompt_tokens\":3,"
    "\"completion_tokens\":1,\"total_tokens\":4}}\r\n\r\n"
    "data: "
    "{\"model\":\"phi\",\"choices\":[{\"index\":1,\"delta\":{\"content\":\"de\"}}],\"usage\":{\"prompt_tokens\":3,"
    "\"completion_tokens\":2,\"total_tokens\":5}}\r\n\r\n"
    "data: {\"error\":{\"message\":\"m\",\"type\":\"InternalServerError\",\"param\":null,\"code\":500}}\r\n\r\n"
    "data: [DONE]\r\n\r\n";

struct outcome {
    struct stream_tap tap;
    struct arena arena;
    char kinds[32];
    size_t count;
};

/* Cut at two places. `forget`: every event is read in full. */
static void run(struct outcome *ret, struct span text, size_t a, size_t b, bool forget)
{
    struct span pieces[] = {span_take(text, a), span_take(span_skip(text, a), b - a), span_skip(text, b)};
    struct sse_reader sse;
    struct sse_event event;
    *ret = (struct outcome){.count = 0};
    arena_init(&ret->arena);
    stream_tap_init(&ret->tap, &ret->arena);
    sse_init(&sse, 4096);
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        while (sse_next(&sse, &pieces[i], &event) == SSE_EVENT) {
            ret->tap.has_pattern = ret->tap.has_pattern && !forget;
            enum event_kind kind = stream_tap_event(&ret->tap, &event);
            assert_true(ret->count < sizeof(ret->kinds) - 1);
            ret->kinds[ret->count++] = "-CUEDT"[kind];
        }
    }
    sse_finish(&sse);
}

static void check_usage(const struct usage *got, const struct usage *expected)
{
    assert_int_equal(got->reported, expected->reported);
    assert_int_equal(got->input, expected->input);
    assert_int_equal(got->output, expected->output);
    assert_int_equal(got->total, expected->total);
    assert_int_equal(got->cached, expected->cached);
    assert_int_equal(got->reasoning, expected->reasoning);
}

struct stream {
    const char *text, *kinds, *model;
    struct usage usage;
    unsigned finish;
    uint64_t text_bytes, sequence;
    bool has_sequence, error, succeeded;
};

static const struct stream streams[] = {
    {azure,
     "--CC-UD",
     "gpt-4o-mini-2024-07-18",
     {.input = 8, .output = 2, .total = 10, .cached = 4, .reasoning = 1, .reported = true},
     FINISH_STOP,
     6,
     0,
     false,
     false,
     true},
    {responses,
     "-CCCT",
     "gpt-5",
     {.input = 5, .output = 7, .total = 12, .cached = 3, .reasoning = 6, .reported = true},
     FINISH_LENGTH,
     1 + 3 + 8,
     17,
     true,
     false,
     true},
    {vllm, "-CCED", "phi", {.input = 3, .output = 2, .total = 5, .reported = true}, 0, 5, 0, false, true, false},
};

static void check(const struct stream *stream, size_t a, size_t b, bool forget)
{
    struct outcome got;
    run(&got, span_str(stream->text), a, b, forget);
    assert_string_equal(got.kinds, stream->kinds);
    const struct answer_facts *facts = &got.tap.facts;
    assert_true(span_equal(facts->model, span_str(stream->model)));
    check_usage(&facts->usage, &stream->usage);
    assert_int_equal(facts->finish, stream->finish);
    assert_int_equal(facts->text_bytes, stream->text_bytes);
    assert_int_equal(facts->has_sequence, stream->has_sequence);
    assert_int_equal(facts->sequence, stream->sequence);
    assert_int_equal(facts->error, stream->error);
    assert_int_equal(stream_tap_succeeded(&got.tap), stream->succeeded);
    arena_finish(&got.arena);
}

static void streams_split_anywhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(streams); i++) {
        size_t len = strlen(streams[i].text);
        for (size_t a = 0; a <= len; a++) {
            check(&streams[i], a, len, false);
            check(&streams[i], a, a + 1 < len ? a + 1 : len, true);
        }
    }
}

/* The error's texts are kept once, whatever follows. */
static void error_texts(void **state)
{
    (void)state;
    struct outcome got;
    run(&got, span_str(vllm), 0, 0, false);
    assert_true(span_equal(got.tap.facts.error_code, SPAN("500")));
    assert_true(span_equal(got.tap.facts.error_type, SPAN("InternalServerError")));
    arena_finish(&got.arena);
}

/* Two chunks that differ in one place only; the second must be seen for what it is. */
static void differences_are_noticed(void **state)
{
    (void)state;
#define PLAIN                                                                                                          \
    "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":null}],\"created\":1,\"usage\":null}"
    static const struct {
        const char *first, *second;
        enum event_kind kind;
        uint64_t text_bytes;
        bool keeps; /* the first stays the pattern: the second was recognised, or is none itself */
    } cases[] = {
        {PLAIN, PLAIN, EVENT_CONTENT, 2, true},
        {PLAIN,
         "{\"choices\":[{\"index\":7,\"delta\":{\"content\":\"bcd\"},\"finish_reason\":null}],\"created\":22,\"usage\":"
         "null}",
         EVENT_CONTENT, 4, true},
        {PLAIN,
         "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"},\"finish_reason\":null}],\"created\":1,\"usage\":"
         "null}",
         EVENT_OTHER, 1, true},
        {PLAIN,
         "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\\\"},\"},\"finish_reason\":null}],\"created\":1,"
         "\"usage\":null}",
         EVENT_CONTENT, 4, true},
        {PLAIN,
         "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\\\\\"},\"finish_reason\":null}],\"created\":1,\"usage\":"
         "null}",
         EVENT_CONTENT, 2, true},
        {PLAIN,
         "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":\"length\"}],\"created\":1,"
         "\"usage\":null}",
         EVENT_CONTENT, 2, false},
        {PLAIN,
         "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":null}],\"created\":1,\"usage\":{}"
         "}",
         EVENT_CONTENT, 2, false},
        {PLAIN,
         "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":null}],\"created\":1,\"error\":{}"
         "}",
         EVENT_ERROR, 2, true},
        {PLAIN,
         "{\"choices\":[{\"index\":0,\"delta\":{\"content\":null},\"finish_reason\":null}],\"created\":1,\"usage\":"
         "null}",
         EVENT_OTHER, 1, true},
        {PLAIN, "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a", EVENT_CONTENT, 1, true},
        {PLAIN, "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\\", EVENT_CONTENT, 1, true},
        {PLAIN,
         "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\\u12\"},\"finish_reason\":null}],\"created\":1,"
         "\"usage\":null}",
         EVENT_CONTENT, 1, true},
        {PLAIN, PLAIN " {\"error\":1}", EVENT_CONTENT, 2, true},
        {PLAIN, "", EVENT_OTHER, 1, true},
        /* what has no known meaning, or is no plain integer, must be the same */
        {"{\"choices\":[{\"text\":\"a\"}],\"x\":\"y\"}", "{\"choices\":[{\"text\":\"b\"}],\"x\":\"z\"}", EVENT_CONTENT,
         2, false},
        {"{\"choices\":[{\"text\":\"a\"}],\"created\":1.5}", "{\"choices\":[{\"text\":\"b\"}],\"created\":2.5}",
         EVENT_CONTENT, 2, false},
        {"{\"choices\":[{\"text\":\"a\"}],\"created\":1}", "{\"choices\":[{\"text\":\"b\"}],\"created\":}",
         EVENT_CONTENT, 1, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena arena;
        struct stream_tap tap;
        arena_init(&arena);
        stream_tap_init(&tap, &arena);
        struct sse_event first = {.data = span_str(cases[i].first), .has_data = true};
        struct sse_event second = {.data = span_str(cases[i].second), .has_data = true};
        assert_int_equal(stream_tap_event(&tap, &first), EVENT_CONTENT);
        assert_true(tap.has_pattern);
        enum event_kind kind = stream_tap_event(&tap, &second);
        if (kind != cases[i].kind)
            fail_msg("%s after %s: kind %d", cases[i].second, cases[i].first, (int)kind);
        if (tap.facts.text_bytes < cases[i].text_bytes)
            fail_msg("%s: %llu bytes of text", cases[i].second, (unsigned long long)tap.facts.text_bytes);
        bool kept = tap.has_pattern && span_equal(span_of(tap.pattern, tap.data_len), first.data);
        if (kept != cases[i].keeps)
            fail_msg("%s after %s: %s", cases[i].second, cases[i].first, kept ? "not learned" : "learned");
        arena_finish(&arena);
    }
#undef PLAIN
}

/* However many shapes alternate and however long events get, the arena takes no more than was promised. */
static void patterns_are_bounded(void **state)
{
    (void)state;
    struct arena arena;
    struct stream_tap tap;
    arena_init(&arena);
    stream_tap_init(&tap, &arena);
    for (int i = 0; i < 2000; i++) {
        char text[3000];
        int len = snprintf(text, sizeof(text), "{\"model\":\"m%d\",\"choices\":[{\"text\":\"%0*d\"}],\"x\":%d}", i,
                           1 + (i * 7) % 2500, 1, i);
        struct sse_event event = {.data = span_of(text, (size_t)len), .has_data = true};
        assert_int_equal(stream_tap_event(&tap, &event), EVENT_CONTENT);
    }
    assert_true(arena.bytes <= 4 * STREAM_TAP_PATTERN_MAX + 4096);
    assert_true(span_equal(tap.facts.model, SPAN("m0")));
    arena_finish(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streams_split_anywhere),
        cmocka_unit_test(error_texts),
        cmocka_unit_test(differences_are_noticed),
        cmocka_unit_test(patterns_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
