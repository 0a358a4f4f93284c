/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "openai/answer_light.h"
#include "openai/usage.h"
#include "unit/openai/mock_call.h"

/* Answers that are read; what they say is compared with what the tap says of them. */
static const char *const ordinary[] = {
    "{\"choices\":[{\"content_filter_results\":{\"hate\":{\"filtered\":false,\"severity\":\"safe\"}},\"finish_reason\":"
    "\"stop\",\"index\":0,\"message\":{\"annotations\":[],\"content\":\"Hello\\n\\u00fc \\ud83d\\ude00 \\ud83d "
    "\\\"{[\",\"refusal\":null,\"role\":\"assistant\"}}],\"created\":1,\"id\":\"\\\\\",\"model\":\"gpt-5-nano\","
    "\"object\":\"chat.completion\",\"prompt_filter_results\":[{\"content_filter_results\":{},\"prompt_index\":0}],"
    "\"usage\":{\"completion_tokens\":271,\"completion_tokens_details\":{\"accepted_prediction_tokens\":0,"
    "\"audio_tokens\":5,\"reasoning_tokens\":192},\"prompt_tokens\":8,\"prompt_tokens_details\":{\"audio_tokens\":6,"
    "\"cached_tokens\":7},\"total_tokens\":279}}",
    "{\"model\":\"phi\",\"choices\":[{\"finish_reason\":\"length\",\"message\":{\"content\":\"ab\",\"tool_calls\":[],"
    "\"reasoning\":\"r\",\"reasoning_content\":\"rc\"}},{\"finish_reason\":\"tool_calls\",\"message\":{\"content\":"
    "null,\"tool_calls\":[{\"id\":\"i\",\"type\":\"function\",\"index\":0,\"function\":{\"name\":\"f\",\"arguments\":"
    "\"{\\\"a\\\":1}\"}},{\"custom\":\"c\",\"input\":{\"name\":\"x\"},\"index\":\"1\",\"typo\":\"t\"}],"
    "\"function_call\":{\"name\":\"g\",\"arguments\":\"{}\",\"other\":\"o\"}}}],\"usage\":{\"prompt_tokens\":1,"
    "\"total_tokens\":3,\"completion_tokens\":2,\"prompt_tokens_details\":null}}",
    " {\n  \"choices\" : [ {\n    \"text\" : \"abc\",\r\n\t\"finish_reason\" : \"content_filter\" } ] ,\n  \"usage\" : "
    "{ \"prompt_tokens\" : 4 , \"completion_tokens\" : 5 }\n}\n",
    "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":[0.1,-2e-3]}],\"model\":\"e3\","
    "\"usage\":{\"prompt_tokens\":3,\"total_tokens\":3}}",
    "{\"object\":\"response\",\"status\":\"completed\",\"error\":null,\"incomplete_details\":null,\"model\":\"gpt-5\","
    "\"code\":null,\"output\":[{\"usage\":{\"input_tokens\":99}}],\"usage\":{\"input_tokens\":5,"
    "\"input_tokens_details\":{\"cached_tokens\":2},\"output_tokens\":6,\"output_tokens_details\":{"
    "\"reasoning_tokens\":1},\"total_tokens\":11}}",
    "{\"text\":\"t\",\"usage\":{\"type\":\"tokens\",\"input_tokens\":14,\"input_token_details\":{\"audio_tokens\":14},"
    "\"output_token_details\":{\"audio_tokens\":15},\"output_tokens\":45,\"total_tokens\":59}}",
    "{\"text\":\"t\",\"usage\":{\"type\":\"duration\",\"seconds\":7}}",
    "{\"usage\":{\"prompt_tokens\":1,\"prompt_tokens_details\":{\"cached_tokens\":1}},\"usage\":{\"prompt_tokens\":2}}",
    "{\"usage\":{\"prompt_tokens\":1},\"usage\":{\"total_tokens\":null}}",
    "{\"usage\":{\"prompt_tokens\":\"5\",\"completion_tokens\":[5],\"total_tokens\":{\"a\":6}}}",
    "{\"usage\":{\"prompt_tokens\":9999999999999999999}}",
    "{\"model\":\"first\",\"model\":\"second\",\"a\":{\"usage\":{\"prompt_tokens\":1},\"error\":1,\"model\":\"x\"}}",
    "{\"choices\":[[{\"finish_reason\":\"stop\"}],null,1,\"x\",{\"finish_reason\":\"\"},{\"finish_reason\":\"why\"}]}",
    "{\"model\":\"\",\"choices\":{\"finish_reason\":\"stop\"},\"usage\":[{\"prompt_tokens\":1}]}",
    "{\"a\":\"0123456789012345\\\\\",\"b\":[\"}]\\\"{\",{\"c\":[[]]}],\"status\":\"queued\",\"object\":\"\"}",
};

/* What is left to the tap, whatever it says. */
static const char *const unusual[] = {
    "",
    "7",
    "{}",
    "{ }              \n\t  ",
    "[{\"usage\":{\"prompt_tokens\":1}}]",
    "{\"error\":{\"message\":\"a message of the error\"}}",
    "{\"error\":\"Unauthorized\"}",
    "{\"error\":false,\"model\":\"m\"}",
    "{\"object\":\"error\",\"message\":\"m\"}",
    "{\"code\":\"x\",\"message\":\"message\"}",
    "{\"us\\u0061ge\":{\"prompt_tokens\":1}}",
    "{\"usage\":{\"prompt\\u005ftokens\":1}}",
    "{\"model\":\"g\\u0070t\",\"x\":\"0123456789\"}",
    "{\"usage\":{\"seconds\":7.25}}",
    "{\"usage\":{\"prompt_tokens\":1e2}}",
    "{\"usage\":{\"prompt_tokens\":-1}}",
    "{\"usage\":{\"prompt_tokens\":01}}",
    "{\"usage\":{\"prompt_tokens\":99999999999999999999}}",
    "{\"status\":\"incomplete\",\"incomplete_details\":{\"reason\":\"content_filter\"}}",
    /* not JSON, and seen to be */
    "\xef\xbb\xbf{\"usage\":{\"prompt_tokens\":1}}",
    "{\"usage\":{\"prompt_tokens\":1},",
    "{\"usage\":{\"prompt_tokens\":1}}}",
    "{\"usage\":{\"prompt_tokens\":1} \"a\":1}",
    "{\"usage\" {\"prompt_tokens\":1}}",
    "{\"usage\":{\"prompt_tokens\":1}} {}",
    "{\"choices\":[{\"text\":\"abcdefgh}",
    "{\"a\":[[[\"abcdefghijklmnop\"]}",
    "{\"a\":\"abcdefghijklmnop\\\"}",
    "{\"a\":             }",
    "{a:0,\"usage\":{\"prompt_tokens\":1}}",
    "1\n00:00:01 --> 00:00:02\nHello}",
};

/* A copy of exactly its size: what reads beyond it is found out by the sanitizer. */
static char *copy_of(struct span text)
{
    char *copy = malloc(text.len ? text.len : 1);
    assert_non_null(copy);
    if (text.len)
        memcpy(copy, text.ptr, text.len);
    return copy;
}

static bool is_same_usage(const struct usage *a, const struct usage *b)
{
    return a->input == b->input && a->output == b->output && a->total == b->total && a->cached == b->cached &&
           a->reasoning == b->reasoning && a->audio_input == b->audio_input && a->audio_output == b->audio_output &&
           a->audio_seconds == b->audio_seconds && a->reported == b->reported;
}

static bool is_same(const struct answer_facts *a, const struct answer_facts *b)
{
    return is_same_usage(&a->usage, &b->usage) && span_equal(a->model, b->model) &&
           span_equal(a->error_code, b->error_code) && span_equal(a->error_type, b->error_type) &&
           a->error == b->error && a->finish == b->finish && a->text_bytes == b->text_bytes &&
           a->has_sequence == b->has_sequence && a->sequence == b->sequence;
}

/* Whether it was read; then the tap, if the text is valid, says the same. */
static bool check(struct span text, bool *ret_valid)
{
    struct arena arena;
    struct answer_tap tap;
    struct answer_facts facts;
    arena_init(&arena);
    answer_tap_init(&tap, &arena);
    answer_tap_feed(&tap, text);
    *ret_valid = answer_tap_end(&tap);
    char *copy = copy_of(text);
    bool read = answer_light(span_of(copy, text.len), &arena, &facts);
    free(copy);
    if (read && *ret_valid && !is_same(&facts, &tap.facts))
        fail_msg("%.*s: usage %llu + %llu, finish %u, text %llu, model %.*s", SPAN_ARG(text),
                 (unsigned long long)facts.usage.input, (unsigned long long)facts.usage.output, facts.finish,
                 (unsigned long long)facts.text_bytes, SPAN_ARG(facts.model));
    arena_finish(&arena);
    return read;
}

static void ordinary_answers(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ordinary); i++) {
        bool valid;
        if (!check(span_str(ordinary[i]), &valid) || !valid)
            fail_msg("%s: not read, or not valid", ordinary[i]);
    }
}

static void unusual_answers(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(unusual); i++) {
        bool valid;
        if (check(span_str(unusual[i]), &valid))
            fail_msg("%s: was read", unusual[i]);
    }
}

static void deep_and_long(void **state)
{
    (void)state;
    char text[2048];
    bool valid;
    for (unsigned depth = 1; depth < 300; depth++) {
        int len = snprintf(text, sizeof(text), "{\"abcdefghijkl\":%0*d", (int)depth, 0);
        memset(text + len - depth, '[', depth);
        memset(text + len, ']', depth);
        text[(size_t)len + depth] = '}';
        bool read = check(span_of(text, (size_t)len + depth + 1), &valid);
        assert_int_equal(valid, depth < 256);
        if (depth < 100)
            assert_true(read);
        if (!valid)
            assert_false(read);
    }
    /* Texts that are too long to be kept, and just not. */
    for (int n = ANSWER_TEXT_MAX - 1; n <= ANSWER_TEXT_MAX + 1; n++) {
        int len =
            snprintf(text, sizeof(text),
                     "{\"model\":\"%0*d\",\"model\":\"m\",\"choices\":[{\"finish_reason\":\"%0*d\"}]}", n, 7, n, 7);
        assert_true(check(span_of(text, (size_t)len), &valid) && valid);
    }
}

/* ---- mutations ---- */

static uint64_t seed = 88172645463325252u;

static size_t below(size_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (size_t)(seed % n);
}

static const char *const values[] = {
    "null",
    "true",
    "0",
    "17",
    "-3",
    "2.5",
    "1e3",
    "\"\"",
    "\"stop\"",
    "{}",
    "[]",
    "[{}]",
    "\"error\"",
    "[1,[]]",
    "\"\\u00e9\\n\"",
    "{\"a\":{\"b\":[]}}",
    "{\"content\":\"x\"}",
    "[{\"function\":{\"name\":\"n\"}}]",
    "{\"prompt_tokens\":3}",
    "\"completed\"",
    "[{\"finish_reason\":\"length\",\"message\":{\"content\":\"\xc3\xa9\"}}]",
    "{\"cached_tokens\":4}",
};

static const char *const names[] = {
    "usage",
    "model",
    "error",
    "choices",
    "object",
    "code",
    "status",
    "message",
    "text",
    "finish_reason",
    "content",
    "refusal",
    "reasoning",
    "reasoning_content",
    "id",
    "type",
    "index",
    "tool_calls",
    "function_call",
    "function",
    "name",
    "arguments",
    "seconds",
    "prompt_tokens",
    "input_tokens",
    "completion_tokens",
    "output_tokens",
    "total_tokens",
    "prompt_tokens_details",
    "input_tokens_details",
    "input_token_details",
    "completion_tokens_details",
    "output_tokens_details",
    "output_token_details",
    "cached_tokens",
    "audio_tokens",
    "reasoning_tokens",
    "incomplete_details",
    "x",
    "indey",
    "us\\u0061ge",
};

/* The end of the JSON text that begins at `p`: a container, a string or a word. */
static size_t value_end(struct span text, size_t p)
{
    unsigned depth = 0;
    do {
        char c = text.ptr[p];
        if (c == '"') {
            for (p++; p < text.len && text.ptr[p] != '"'; p++)
                p += text.ptr[p] == '\\';
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            depth--;
        }
        p++;
    } while (p < text.len && (depth || !strchr(",:]} \n", text.ptr[p])));
    return p < text.len ? p : text.len;
}

/* Puts another value, name or byte somewhere; mostly what remains is JSON. */
static struct span mutate(struct arena *arena, struct span text)
{
    size_t at = below(text.len), from = at, to = at;
    const char *put = "";
    if (below(8) == 0) {
        static char byte[2];
        byte[0] = "\"\\{}[],:0 nx\x01\xc3"[below(14)];
        put = byte;
        to = at + below(2);
    } else {
        while (from < text.len && text.ptr[from] != ':')
            from++;
        if (from == text.len)
            return text;
        if (below(2)) {
            from++;
            to = value_end(text, from);
            put = values[below(ARRAY_LEN(values))];
        } else {
            to = from;
            while (from && text.ptr[from - 1] != ',' && text.ptr[from - 1] != '{')
                from--;
            put = arena_format(arena, "\"%s\"", names[below(ARRAY_LEN(names))]).ptr;
        }
    }
    return arena_format(arena, "%.*s%s%.*s", (int)from, text.ptr, put, (int)(text.len - to), text.ptr + to);
}

static void mutations(void **state)
{
    (void)state;
    unsigned compared = 0, rounds = 20000;
    for (unsigned round = 0; round < rounds; round++) {
        struct arena arena;
        bool valid;
        arena_init(&arena);
        struct span text = span_str(ordinary[below(ARRAY_LEN(ordinary))]);
        for (size_t n = 1 + below(4); n; n--)
            text = mutate(&arena, text);
        compared += check(text, &valid) && valid;
        arena_finish(&arena);
    }
    assert_true(compared > rounds / 4);
}

static void cut_anywhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ordinary); i++) {
        struct span text = span_str(ordinary[i]);
        for (size_t len = 0; len < text.len; len++) {
            bool valid;
            bool read = check(span_take(text, len), &valid);
            assert_false(read && !valid);
        }
    }
}

/* ---- what the mock answers ---- */

static void mock_answers(void **state)
{
    (void)state;
    static const struct {
        enum operation_id operation;
        struct span body;
    } asked[] = {
        {OPERATION_CHAT,
         SPAN_INIT("{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"a\\nb \\u00fc\"}]}")},
        {OPERATION_CHAT, SPAN_INIT("{\"model\":\"m\",\"n\":3,\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}")},
        {OPERATION_CHAT,
         SPAN_INIT("{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"tools\":[{\"type\":"
                   "\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\",\"properties\":{"
                   "\"city\":{\"type\":\"string\"}}}}}],\"tool_choice\":\"required\"}")},
        {OPERATION_COMPLETIONS, SPAN_INIT("{\"model\":\"m\",\"prompt\":\"p\"}")},
        {OPERATION_EMBEDDINGS, SPAN_INIT("{\"model\":\"m\",\"input\":[\"a\",\"b\"]}")},
        {OPERATION_EMBEDDINGS, SPAN_INIT("{\"model\":\"m\",\"input\":\"a\",\"encoding_format\":\"base64\"}")},
        {OPERATION_RESPONSES, SPAN_INIT("{\"model\":\"m\",\"input\":\"hello\"}")},
    };
    for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
        struct mock_call call;
        bool valid;
        mock_call_begin(&call);
        if (!check(mock_ask_for(&call, asked[i].operation, asked[i].body), &valid) || !valid)
            fail_msg("answer %zu: not read", i);
        mock_call_end(&call);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ordinary_answers), cmocka_unit_test(unusual_answers), cmocka_unit_test(deep_and_long),
        cmocka_unit_test(mutations),        cmocka_unit_test(cut_anywhere),    cmocka_unit_test(mock_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
