/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "openai/usage.h"

struct answer {
    const char *text;
    struct usage usage;
    const char *model;
    unsigned finish;
    uint64_t text_bytes;
    bool error, valid;
};

static const struct answer answers[] = {
    /* chat, as recorded from Azure */
    {"{\"choices\":[{\"content_filter_results\":{},\"finish_reason\":\"stop\",\"index\":0,\"message\":{\"annotations\":"
     "[],"
     "\"content\":\"Hello\\n\",\"refusal\":null,\"role\":\"assistant\"}}],\"created\":1,\"model\":\"gpt-5-nano-2025-08-"
     "07\","
     "\"object\":\"chat.completion\",\"prompt_filter_results\":[{\"content_filter_results\":{},\"prompt_index\":0}],"
     "\"usage\":{\"completion_tokens\":271,\"completion_tokens_details\":{\"accepted_prediction_tokens\":0,"
     "\"audio_tokens\":5,\"reasoning_tokens\":192,\"rejected_prediction_tokens\":0},\"prompt_tokens\":8,"
     "\"prompt_tokens_details\":{\"audio_tokens\":6,\"cached_tokens\":7},\"total_tokens\":279}}",
     {.input = 8,
      .output = 271,
      .total = 279,
      .cached = 7,
      .reasoning = 192,
      .audio_input = 6,
      .audio_output = 5,
      .reported = true},
     "gpt-5-nano-2025-08-07",
     FINISH_STOP,
     6,
     false,
     true},
    /* vLLM: null details; several choices */
    {"{\"model\":\"phi\",\"choices\":[{\"finish_reason\":\"length\",\"message\":{\"content\":\"ab\",\"tool_calls\":[]}}"
     ","
     "{\"finish_reason\":\"tool_calls\",\"message\":{\"content\":null,\"tool_calls\":[{\"id\":\"i\",\"type\":"
     "\"function\","
     "\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}}],\"usage\":{\"prompt_tokens\":1,\"total_tokens\":3,"
     "\"completion_tokens\":2,\"prompt_tokens_details\":null}}",
     {.input = 1, .output = 2, .total = 3, .reported = true},
     "phi",
     FINISH_LENGTH | FINISH_TOOL_CALLS,
     5,
     false,
     true},
    /* completions, embeddings */
    {"{\"choices\":[{\"text\":\"abc\",\"finish_reason\":\"content_filter\"}],\"usage\":{\"prompt_tokens\":4,"
     "\"completion_tokens\":5}}",
     {.input = 4, .output = 5, .total = 9, .reported = true},
     "",
     FINISH_CONTENT_FILTER,
     3,
     false,
     true},
    {"{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":[0.1,-2e-3]}],\"model\":"
     "\"text-embedding-3-small\",\"usage\":{\"prompt_tokens\":3,\"total_tokens\":3}}",
     {.input = 3, .total = 3, .reported = true},
     "text-embedding-3-small",
     0,
     0,
     false,
     true},
    /* responses, complete and failed */
    {"{\"object\":\"response\",\"status\":\"completed\",\"error\":null,\"incomplete_details\":null,\"model\":\"gpt-5\","
     "\"output\":[{\"usage\":{\"input_tokens\":99}}],\"usage\":{\"input_tokens\":5,\"input_tokens_details\":{"
     "\"cached_tokens\":2},\"output_tokens\":6,\"output_tokens_details\":{\"reasoning_tokens\":1},\"total_tokens\":11}"
     "}",
     {.input = 5, .output = 6, .total = 11, .cached = 2, .reasoning = 1, .reported = true},
     "gpt-5",
     FINISH_STOP,
     0,
     false,
     true},
    {"{\"status\":\"incomplete\",\"incomplete_details\":{\"reason\":\"content_filter\"},\"usage\":null}",
     {.reported = false},
     "",
     FINISH_CONTENT_FILTER,
     0,
     false,
     true},
    {"{\"status\":\"failed\",\"error\":{\"code\":\"server_error\",\"message\":\"m\"},\"usage\":null}",
     {.reported = false},
     "",
     0,
     0,
     true,
     true},
    /* images, transcriptions */
    {"{\"created\":1,\"data\":[{\"b64_json\":\"AAAA\"}],\"usage\":{\"input_tokens\":1,\"output_tokens\":2,"
     "\"total_tokens\":3,\"input_tokens_details\":{\"text_tokens\":1,\"image_tokens\":0}}}",
     {.input = 1, .output = 2, .total = 3, .reported = true},
     "",
     0,
     0,
     false,
     true},
    {"{\"text\":\"t\",\"usage\":{\"type\":\"tokens\",\"input_tokens\":14,\"input_token_details\":{\"audio_tokens\":14,"
     "\"text_tokens\":0},\"output_tokens\":45,\"total_tokens\":59}}",
     {.input = 14, .output = 45, .total = 59, .audio_input = 14, .reported = true},
     "",
     0,
     0,
     false,
     true},
    {"{\"text\":\"t\",\"usage\":{\"type\":\"duration\",\"seconds\":7}}",
     {.audio_seconds = 7, .reported = true},
     "",
     0,
     0,
     false,
     true},
    {"{\"usage\":{\"seconds\":7.25}}", {.audio_seconds = 8, .reported = true}, "", 0, 0, false, true},
    /* odd numbers are no usage; the last of two objects counts */
    {"{\"usage\":{\"prompt_tokens\":-1,\"completion_tokens\":\"5\",\"total_tokens\":null}}",
     {.reported = false},
     "",
     0,
     0,
     false,
     true},
    {"{\"usage\":{\"prompt_tokens\":99999999999999999999}}", {.reported = false}, "", 0, 0, false, true},
    {"{\"usage\":{\"prompt_tokens\":1e2}}", {.input = 100, .total = 100, .reported = true}, "", 0, 0, false, true},
    {"{\"usage\":[{\"prompt_tokens\":1}]}", {.reported = false}, "", 0, 0, false, true},
    {"{\"usage\":{\"prompt_tokens\":1,\"prompt_tokens_details\":{\"cached_tokens\":1}},\"usage\":{\"prompt_tokens\":2}"
     "}",
     {.input = 2, .total = 2, .reported = true},
     "",
     0,
     0,
     false,
     true},
    {"{\"us\\u0061ge\":{\"prompt\\u005ftokens\":1}}",
     {.input = 1, .total = 1, .reported = true},
     "",
     0,
     0,
     false,
     true},
    /* not where it belongs */
    {"{\"a\":{\"usage\":{\"prompt_tokens\":1},\"error\":1,\"model\":\"x\"}}",
     {.reported = false},
     "",
     0,
     0,
     false,
     true},
    {"[{\"usage\":{\"prompt_tokens\":1}}]", {.reported = false}, "", 0, 0, false, true},
    {"{\"choices\":[[{\"finish_reason\":\"stop\"}],null,1,\"x\",{\"finish_reason\":\"\"}]}",
     {.reported = false},
     "",
     0,
     0,
     false,
     true},
    {"{\"choices\":{\"finish_reason\":\"stop\"}}", {.reported = false}, "", 0, 0, false, true},
    {"{\"choices\":[{\"finish_reason\":\"because\"}]}", {.reported = false}, "", FINISH_OTHER, 0, false, true},
    /* errors */
    {"{\"error\":{\"message\":\"m\"}}", {.reported = false}, "", 0, 0, true, true},
    {"{\"error\":\"Unauthorized\"}", {.reported = false}, "", 0, 0, true, true},
    {"{\"object\":\"error\",\"message\":\"m\"}", {.reported = false}, "", 0, 0, true, true},
    {"{\"error\":null}", {.reported = false}, "", 0, 0, false, true},
    /* no JSON, or only its beginning */
    {"1\n00:00:01 --> 00:00:02\nHello", {.reported = false}, "", 0, 0, false, false},
    {"", {.reported = false}, "", 0, 0, false, false},
    {"{\"usage\":{\"prompt_tokens\":1},", {.input = 1, .total = 1, .reported = true}, "", 0, 0, false, false},
    {"{\"usage\":{\"prompt_tokens\":1", {.reported = false}, "", 0, 0, false, false},
    {"7", {.reported = false}, "", 0, 0, false, true},
};

static void feed(struct answer_tap *tap, struct span piece)
{
    char *copy = malloc(piece.len ? piece.len : 1);
    assert_non_null(copy);
    if (piece.len)
        memcpy(copy, piece.ptr, piece.len);
    answer_tap_feed(tap, span_of(copy, piece.len));
    free(copy);
}

static void check(const struct answer *answer, size_t cut)
{
    struct arena arena;
    struct answer_tap tap;
    struct span text = span_str(answer->text);
    arena_init(&arena);
    answer_tap_init(&tap, &arena);
    feed(&tap, span_take(text, cut));
    feed(&tap, span_skip(text, cut));
    bool valid = answer_tap_end(&tap);
    const struct answer_facts *facts = &tap.facts;
    const struct usage *expected = &answer->usage;
    if (valid != answer->valid || facts->error != answer->error || facts->finish != answer->finish ||
        facts->text_bytes != answer->text_bytes || !span_equal(facts->model, span_str(answer->model)))
        fail_msg("%s cut at %zu: valid %d error %d finish %u text %llu model %.*s", answer->text, cut, valid,
                 facts->error, facts->finish, (unsigned long long)facts->text_bytes, SPAN_ARG(facts->model));
    const struct usage *got = &facts->usage;
    if (got->input != expected->input || got->output != expected->output || got->total != expected->total ||
        got->cached != expected->cached || got->reasoning != expected->reasoning ||
        got->audio_input != expected->audio_input || got->audio_output != expected->audio_output ||
        got->audio_seconds != expected->audio_seconds || got->reported != expected->reported)
        fail_msg("%s cut at %zu: usage %llu + %llu = %llu", answer->text, cut, (unsigned long long)got->input,
                 (unsigned long long)got->output, (unsigned long long)got->total);
    arena_finish(&arena);
}

static void answers_cut_anywhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        size_t len = strlen(answers[i].text);
        for (size_t cut = 0; cut <= len; cut++)
            check(&answers[i], cut);
    }
}

static void long_texts_are_not_kept(void **state)
{
    (void)state;
    struct arena arena;
    struct answer_tap tap;
    arena_init(&arena);
    answer_tap_init(&tap, &arena);
    answer_tap_feed(&tap, SPAN("{\"model\":\""));
    for (int i = 0; i < ANSWER_TEXT_MAX + 1; i++)
        answer_tap_feed(&tap, SPAN("m"));
    answer_tap_feed(&tap, SPAN("\",\"error\":{\"code\":\"c\",\"type\":\"t\"}}"));
    assert_true(answer_tap_end(&tap));
    assert_int_equal(tap.facts.model.len, 0);
    assert_true(span_equal(tap.facts.error_code, SPAN("c")));
    assert_true(span_equal(tap.facts.error_type, SPAN("t")));
    arena_finish(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_cut_anywhere),
        cmocka_unit_test(long_texts_are_not_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
