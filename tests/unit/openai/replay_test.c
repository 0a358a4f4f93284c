/* SPDX-License-Identifier: Apache-2.0 */
/* Which answers may be replayed, and the rules by which chunks merge, one by one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "openai/replay.h"
#include "openai/replay_parts.h"

#define DONE           "data: [DONE]\n\n"
#define CHUNK(choices) "data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[" choices "]}\n\n"
#define STOP           "{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}"
#define SAY(text)      "{\"index\":0,\"delta\":{\"content\":\"" text "\"},\"finish_reason\":null}"
#define END(reason)    CHUNK("{\"index\":0,\"delta\":{},\"finish_reason\":" reason "}")
#define USAGE          "{\"prompt_tokens\":1,\"completion_tokens\":2,\"total_tokens\":3}"

struct verdict {
    const char *text;
    enum replay_flaw flaw;
};

static void assert_verdicts(enum operation_id operation, enum replay_form form, const struct verdict *cases,
                            size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct replay_facts facts;
        struct buffer out = {0};
        struct replay_options options = {0};
        struct span text = span_str(cases[i].text);
        replay_scan(operation, form, text, &facts);
        if (facts.flaw != cases[i].flaw)
            fail_msg("%s instead of %s: %s", replay_flaw_name(facts.flaw), replay_flaw_name(cases[i].flaw),
                     cases[i].text);
        bool done =
            form == REPLAY_EVENTS ? replay_json(operation, text, &out) : replay_events(operation, text, &options, &out);
        assert_int_equal(done, cases[i].flaw == REPLAY_SOUND && operation != OPERATION_EMBEDDINGS);
        assert_int_equal(buffer_len(&out) > 0, done);
        buffer_finish(&out);
    }
}

static void test_chat_streams(void **state)
{
    static const struct verdict cases[] = {
        {CHUNK(SAY("a")) END("\"stop\"") DONE, REPLAY_SOUND},
        {CHUNK(SAY("a")) END("\"length\"") DONE, REPLAY_SOUND},
        {CHUNK(SAY("a")) END("\"tool_calls\"") ": bye\n\n" DONE ": late comment\n\n", REPLAY_SOUND},
        {"event: message\n" CHUNK(SAY("a")) END("\"stop\"") DONE, REPLAY_SOUND},
        {CHUNK(SAY("a")) END("\"stop\"") CHUNK("{\"index\":0}") DONE, REPLAY_SOUND},
        /* not ended */
        {"", REPLAY_UNFINISHED},
        {DONE, REPLAY_UNFINISHED},
        {CHUNK("") DONE, REPLAY_UNFINISHED},
        {CHUNK(SAY("a")) END("\"stop\""), REPLAY_UNFINISHED},
        {CHUNK(SAY("a")) DONE, REPLAY_UNFINISHED},
        {CHUNK(SAY("a")) END("null") DONE, REPLAY_UNFINISHED},
        {CHUNK(SAY("a")) END("\"\"") DONE, REPLAY_UNFINISHED},
        {CHUNK(SAY("a")) END("\"stop\"") DONE CHUNK(SAY("b")), REPLAY_UNFINISHED},
        {CHUNK(SAY("a")) END("\"stop\"") DONE DONE, REPLAY_UNFINISHED},
        {CHUNK(SAY("a")) END("\"stop\"") "data: [DONE]\n", REPLAY_UNFINISHED},
        {CHUNK(SAY("a")) CHUNK("{\"index\":1,\"delta\":{},\"finish_reason\":\"stop\"}") DONE, REPLAY_UNFINISHED},
        {CHUNK("{\"index\":1,\"delta\":{},\"finish_reason\":\"stop\"}") DONE, REPLAY_UNFINISHED},
        /* errors */
        {CHUNK(SAY("a")) "data: {\"error\":{\"message\":\"m\"}}\n\n" DONE, REPLAY_ERROR},
        {CHUNK(SAY("a")) "data: {\"error\":\"m\",\"choices\":[]}\n\n" END("\"stop\"") DONE, REPLAY_ERROR},
        {"data: {\"object\":\"error\",\"message\":\"m\"}\n\n" DONE, REPLAY_ERROR},
        {CHUNK(SAY("a")) "event: error\ndata: {}\n\n" END("\"stop\"") DONE, REPLAY_ERROR},
        {CHUNK("{\"index\":0,\"delta\":{},\"error\":{\"code\":502},\"finish_reason\":\"stop\"}") DONE, REPLAY_ERROR},
        {CHUNK(SAY("a")) END("\"error\"") DONE, REPLAY_ERROR},
        {CHUNK(SAY("a")) END("\"abort\"") DONE, REPLAY_ERROR},
        /* filtered */
        {CHUNK(SAY("a")) END("\"content_filter\"") DONE, REPLAY_FILTERED},
        {"data: {\"prompt_filter_results\":[{\"content_filter_results\":{\"hate\":{\"filtered\":true}}}],"
         "\"choices\":[" STOP "]}\n\n" DONE,
         REPLAY_FILTERED},
        {CHUNK("{\"index\":0,\"content_filter_results\":{\"x\":{\"\\u0066iltered\":true}},\"finish_reason\":\"stop\"}")
             DONE,
         REPLAY_FILTERED},
        {CHUNK("{\"index\":0,\"content_filter_results\":{\"error\":{\"code\":\"e\"}},\"finish_reason\":\"stop\"}") DONE,
         REPLAY_FILTERED},
        /* not understood */
        {"data: {\n\n" DONE, REPLAY_MALFORMED},
        {"data:\n\n" DONE, REPLAY_MALFORMED},
        {"data: []\n\n" DONE, REPLAY_MALFORMED},
        {"data: {\"choices\":{}}\n\n" DONE, REPLAY_MALFORMED},
        {"data: {\"type\":\"ping\"}\n\n" CHUNK(STOP) DONE, REPLAY_MALFORMED},
        {"event: other\n" CHUNK(SAY("a")) END("\"stop\"") DONE, REPLAY_MALFORMED},
        {CHUNK("{\"delta\":{},\"finish_reason\":\"stop\"}") DONE, REPLAY_MALFORMED},
        {CHUNK("{\"index\":-1,\"finish_reason\":\"stop\"}") DONE, REPLAY_MALFORMED},
        {CHUNK("{\"index\":0,\"index\":0,\"finish_reason\":\"stop\"}") DONE, REPLAY_MALFORMED},
        {CHUNK("{\"index\":0,\"message\":{},\"finish_reason\":\"stop\"}") DONE, REPLAY_MALFORMED},
        {CHUNK("{\"index\":0,\"delta\":{\"content\":\"a\",\"conten\\u0074\":\"b\"}}") END("\"stop\"") DONE,
         REPLAY_MALFORMED},
        {CHUNK(SAY("a")) CHUNK("{\"index\":0,\"delta\":{\"content\":[1]}}") END("\"stop\"") DONE, REPLAY_MALFORMED},
        {CHUNK(SAY("a")) CHUNK("{\"index\":0,\"delta\":{\"content\":7}}") END("\"stop\"") DONE, REPLAY_MALFORMED},
        {CHUNK(SAY("a")) CHUNK(SAY("\xff")) END("\"stop\"") DONE, REPLAY_MALFORMED},
        {CHUNK(SAY("a")) CHUNK(SAY("b")) CHUNK(SAY("\\q")) END("\"stop\"") DONE, REPLAY_MALFORMED},
        {CHUNK("{\"index\":0,\"delta\":\"a\",\"finish_reason\":\"stop\"}") DONE, REPLAY_MALFORMED},
        {CHUNK("{\"index\":0,\"delta\":[1],\"finish_reason\":\"stop\"}") DONE, REPLAY_MALFORMED},
        {CHUNK("{\"index\":0,\"delta\":7,\"finish_reason\":\"stop\"}") DONE, REPLAY_MALFORMED},
        /* two usage chunks apart cannot be hidden as one */
        {"data: {\"choices\":[],\"usage\":" USAGE "}\n\n" CHUNK(STOP) "data: {\"choices\":[],\"usage\":" USAGE
                                                                      "}\n\n" DONE,
         REPLAY_MALFORMED},
    };
    (void)state;
    assert_verdicts(OPERATION_CHAT, REPLAY_EVENTS, cases, ARRAY_LEN(cases));
}

#define MESSAGE              "\"message\":{\"role\":\"assistant\",\"content\":\"a\"}"
#define ANSWER(choice, more) "{\"object\":\"chat.completion\",\"choices\":[{\"index\":0," choice "}]" more "}"

static void test_chat_json(void **state)
{
    static const struct verdict cases[] = {
        {ANSWER(MESSAGE ",\"finish_reason\":\"stop\"", ""), REPLAY_SOUND},
        {" \n" ANSWER(MESSAGE ",\"finish_reason\":\"length\"", ",\"error\":null") "\n", REPLAY_SOUND},
        {ANSWER(MESSAGE ",\"finish_reason\":null", ""), REPLAY_UNFINISHED},
        {ANSWER(MESSAGE, ""), REPLAY_UNFINISHED},
        {"{\"choices\":[]}", REPLAY_UNFINISHED},
        {ANSWER(MESSAGE ",\"finish_reason\":\"stop\"", ",\"error\":{}"), REPLAY_SOUND},
        {ANSWER(MESSAGE ",\"finish_reason\":\"stop\"", ",\"error\":{\"code\":1}"), REPLAY_ERROR},
        {ANSWER(MESSAGE ",\"finish_reason\":\"error\"", ""), REPLAY_ERROR},
        {"{\"object\":\"error\",\"message\":\"m\"}", REPLAY_ERROR},
        {ANSWER(MESSAGE ",\"finish_reason\":\"content_filter\"", ""), REPLAY_FILTERED},
        {ANSWER(MESSAGE ",\"finish_reason\":\"stop\"",
                ",\"prompt_filter_results\":[{\"content_filter_results\":{\"jailbreak\":{\"filtered\":true}}}]"),
         REPLAY_FILTERED},
        {ANSWER(MESSAGE ",\"finish_reason\":\"stop\",\"content_filter_results\":{\"hate\":{\"filtered\":true}}", ""),
         REPLAY_FILTERED},
        {"", REPLAY_MALFORMED},
        {"7", REPLAY_MALFORMED},
        {"{}", REPLAY_MALFORMED},
        {"{\"object\":\"list\",\"choices\":[]}", REPLAY_MALFORMED},
        {ANSWER("\"finish_reason\":\"stop\"", ""), REPLAY_MALFORMED},
        {ANSWER("\"message\":null,\"finish_reason\":\"stop\"", ""), REPLAY_MALFORMED},
        {ANSWER("\"message\":{\"tool_calls\":[1]},\"finish_reason\":\"stop\"", ""), REPLAY_MALFORMED},
        {ANSWER("\"message\":{\"content\":\"a\",\"content\":\"b\"},\"finish_reason\":\"stop\"", ""), REPLAY_MALFORMED},
        {ANSWER("\"message\":{\"tool_calls\":[{\"function\":{\"name\":\"a\",\"name\":\"b\"}}]},"
                "\"finish_reason\":\"stop\"",
                ""),
         REPLAY_MALFORMED},
        {ANSWER("\"message\":{\"function_call\":{\"name\":\"a\",\"name\":\"b\"}},\"finish_reason\":\"stop\"", ""),
         REPLAY_MALFORMED},
        {ANSWER("\"delta\":{}," MESSAGE ",\"finish_reason\":\"stop\"", ""), REPLAY_MALFORMED},
        {ANSWER(MESSAGE "," MESSAGE ",\"finish_reason\":\"stop\"", ""), REPLAY_MALFORMED},
        {ANSWER(MESSAGE ",\"finish_reason\":\"stop\"", "") "x", REPLAY_MALFORMED},
        {"{\"choices\":[{\"index\":1," MESSAGE ",\"finish_reason\":\"stop\"}]}", REPLAY_MALFORMED},
    };
    (void)state;
    assert_verdicts(OPERATION_CHAT, REPLAY_JSON, cases, ARRAY_LEN(cases));
}

#define RESPONSE(status, more) "{\"object\":\"response\",\"status\":" status ",\"output\":[]" more "}"
#define EVENT(type, more)      "event: " type "\ndata: {\"type\":\"" type "\"" more "}\n\n"
#define COMPLETED              EVENT("response.completed", ",\"response\":" RESPONSE("\"completed\"", ""))

static void test_responses(void **state)
{
    static const struct verdict streams[] = {
        {COMPLETED, REPLAY_SOUND},
        {"data: {\"type\":\"response.completed\",\"response\":" RESPONSE("\"completed\"", "") "}\n\n", REPLAY_SOUND},
        {COMPLETED DONE, REPLAY_SOUND}, /* some servers add it */
        {EVENT("response.future.delta", "") COMPLETED, REPLAY_SOUND},
        {"", REPLAY_UNFINISHED},
        {DONE, REPLAY_UNFINISHED},
        {EVENT("response.created", ",\"response\":{}"), REPLAY_UNFINISHED},
        {COMPLETED EVENT("response.output_text.delta", ""), REPLAY_UNFINISHED},
        {EVENT("response.output_item.done", "") COMPLETED, REPLAY_UNFINISHED}, /* its output is missing */
        {EVENT("response.completed", ",\"response\":" RESPONSE("\"in_progress\"", "")), REPLAY_UNFINISHED},
        {EVENT("response.failed", ""), REPLAY_ERROR},
        {EVENT("error", ",\"code\":\"server_error\"") COMPLETED, REPLAY_ERROR},
        {EVENT("response.completed", ",\"response\":" RESPONSE("\"failed\"", "")), REPLAY_ERROR},
        {EVENT("response.incomplete", ",\"response\":" RESPONSE("\"incomplete\"", ",\"incomplete_details\":{\"reason\":"
                                                                                  "\"content_filter\"}")),
         REPLAY_FILTERED},
        {EVENT("response.completed", ""), REPLAY_MALFORMED},
        {"event: response.completed\ndata: {\"type\":\"response.created\",\"response\":{}}\n\n", REPLAY_MALFORMED},
        {"data: {}\n\n" COMPLETED, REPLAY_MALFORMED},
    };
    static const struct verdict answers[] = {
        {RESPONSE("\"completed\"", ""), REPLAY_SOUND},
        {RESPONSE("\"incomplete\"", ",\"incomplete_details\":{\"reason\":\"max_output_tokens\"}"), REPLAY_SOUND},
        {RESPONSE("\"incomplete\"", ""), REPLAY_ERROR},
        {RESPONSE("\"cancelled\"", ""), REPLAY_ERROR},
        {RESPONSE("\"queued\"", ""), REPLAY_UNFINISHED},
        {RESPONSE("\"completed\"", ",\"error\":{\"code\":\"x\"}"), REPLAY_ERROR},
        {RESPONSE("\"completed\"", ",\"content_filters\":[{\"blocked\":true}]"), REPLAY_FILTERED},
        {RESPONSE("\"completed\"", ",\"output\":[]"), REPLAY_MALFORMED},
        {RESPONSE("null", ""), REPLAY_MALFORMED},
        {"{\"object\":\"response\",\"status\":\"completed\"}", REPLAY_MALFORMED},
        {"{\"status\":\"completed\",\"output\":[7]}", REPLAY_MALFORMED},
        {"{\"status\":\"completed\",\"output\":[{\"id\":\"a\",\"id\":\"b\"}]}", REPLAY_MALFORMED},
        {"{\"status\":\"completed\",\"output\":[{\"content\":[\"x\"]}]}", REPLAY_MALFORMED},
    };
    (void)state;
    assert_verdicts(OPERATION_RESPONSES, REPLAY_EVENTS, streams, ARRAY_LEN(streams));
    assert_verdicts(OPERATION_RESPONSES, REPLAY_JSON, answers, ARRAY_LEN(answers));
}

static void test_others(void **state)
{
    static const struct verdict vectors[] = {
        {"{\"object\":\"list\",\"data\":[{\"index\":0,\"embedding\":[0.5]}],\"model\":\"e\"}", REPLAY_SOUND},
        {"{\"object\":\"list\",\"data\":[]}", REPLAY_MALFORMED},
        {"{\"object\":\"list\"}", REPLAY_MALFORMED},
        {"{\"data\":[1]}", REPLAY_MALFORMED},
        {"{\"error\":{\"code\":1}}", REPLAY_ERROR},
    };
    static const struct verdict text[] = {
        {"{\"choices\":[{\"index\":0,\"text\":\"a\",\"finish_reason\":\"stop\"}]}", REPLAY_SOUND},
        {"{\"choices\":[{\"index\":0,\"text\":null,\"finish_reason\":\"stop\"}]}", REPLAY_MALFORMED},
        {"{\"object\":\"chat.completion\",\"choices\":[{\"index\":0,\"text\":\"a\",\"finish_reason\":\"stop\"}]}",
         REPLAY_MALFORMED},
    };
    static const struct verdict none[] = {{"{}", REPLAY_UNSUPPORTED}};
    (void)state;
    assert_verdicts(OPERATION_EMBEDDINGS, REPLAY_JSON, vectors, ARRAY_LEN(vectors));
    assert_verdicts(OPERATION_COMPLETIONS, REPLAY_JSON, text, ARRAY_LEN(text));
    assert_verdicts(OPERATION_EMBEDDINGS, REPLAY_EVENTS, none, 1);
    assert_verdicts(OPERATION_SPEECH, REPLAY_EVENTS, none, 1);
    assert_verdicts(OPERATION_MODELS, REPLAY_JSON, none, 1);
}

/* --- merging --- */

static void test_rules(void **state)
{
    static const struct {
        const char *events, *json;
    } cases[] = {
        /* words replace, strings append, null changes nothing; what a choice says first stays in its place */
        {CHUNK("{\"index\":0,\"delta\":{\"role\":\"assistant\",\"x\":\"a\",\"content\":\"\"},\"logprobs\":null}")
             CHUNK("{\"index\":0,\"delta\":{\"role\":\"assistant\",\"x\":\"b\",\"content\":null},\"s\":1}")
                 CHUNK("{\"index\":0,\"delta\":{\"x\":null,\"y\":true},\"s\":2,\"finish_reason\":\"stop\"}"),
         "{\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"x\":\"ab\","
         "\"content\":\"\",\"y\":true},\"logprobs\":null,\"s\":2,\"finish_reason\":\"stop\"}]}"},
        /* no delta at all */
        {END("\"stop\""), "{\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
                          "\"content\":null},\"finish_reason\":\"stop\"}]}"},
        {CHUNK("{\"index\":0,\"delta\":null,\"finish_reason\":\"stop\"}"),
         "{\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
         "\"content\":null},\"finish_reason\":\"stop\"}]}"},
        /* choices and calls in the order of their index; calls without one as they come */
        {CHUNK("{\"index\":1,\"finish_reason\":\"stop\"}")
             CHUNK("{\"index\":0,\"delta\":{\"content\":\"\",\"tool_calls\":[{\"index\":1,\"id\":\"b\"},{\"index\":0,"
                   "\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"1\"}}]},\"finish_reason\":\"stop\"}")
                 CHUNK("{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"2\"}}]}}"),
         "{\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":null,"
         "\"tool_calls\":[{\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"12\"}},{\"id\":\"b\"}]},"
         "\"finish_reason\":\"stop\"},{\"message\":{\"role\":\"assistant\",\"content\":null},\"index\":1,"
         "\"finish_reason\":\"stop\"}]}"},
        {CHUNK("{\"index\":0,\"delta\":{\"role\":\"a\",\"content\":null,\"tool_calls\":[{\"id\":\"a\"}]}}")
             CHUNK("{\"index\":0,\"delta\":{\"tool_calls\":[{\"id\":\"b\"}]},\"finish_reason\":\"tool_calls\"}"),
         "{\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"a\",\"content\":null,"
         "\"tool_calls\":[{\"id\":\"a\"},{\"id\":\"b\"}]},\"finish_reason\":\"tool_calls\"}]}"},
        /* data in several lines, spaces, an escaped name, and the top: first id, last service_tier */
        {"data: {\"id\":\"\",\ndata:  \"model\" : \"\", \"service_tier\":\"auto\",\"choices\" : [ {\"index\":0,\n"
         "data:\"\\u0064elta\":{\"role\":\"r\",\"content\":\"a\"} } ]}\n\n"
         "data: {\"id\":\"1\",\"model\":\"m\",\"service_tier\":\"default\",\"x\":{\"y\":1},\"choices\":[]}\n\n"
         "data: {\"id\":\"2\",\"model\":\"n\",\"service_tier\":null,\"x\":{},\"choices\":[" STOP "]}\n\n",
         "{\"id\":\"1\",\"model\":\"m\",\"service_tier\":\"default\",\"choices\":[{\"index\":0,\"message\":{\"role\":"
         "\"r\",\"content\":\"a\"},\"finish_reason\":\"stop\"}],\"x\":{\"y\":1}}"},
        /* the graver finding stays, whichever comes last */
        {CHUNK("{\"index\":0,\"delta\":{\"role\":\"r\",\"content\":\"a\"},\"content_filter_results\":{\"hate\":{"
               "\"filtered\":false,\"severity\":\"low\"},\"p\":{\"detected\":true}}}")
             CHUNK(
                 "{\"index\":0,\"content_filter_results\":{\"hate\":{\"filtered\":false,\"severity\":\"safe\"},\"p\":{"
                 "\"detected\":false},\"sexual\":{\"severity\":\"safe\"}},\"finish_reason\":\"stop\"}"),
         "{\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"r\",\"content\":\"a\"},"
         "\"content_filter_results\":{\"hate\":{\"filtered\":false,\"severity\":\"low\"},\"p\":{\"detected\":true},"
         "\"sexual\":{\"severity\":\"safe\"}},\"finish_reason\":\"stop\"}]}"},
        {CHUNK("{\"index\":0,\"delta\":{\"role\":\"r\",\"content\":\"a\"},\"content_filter_results\":{\"x\":\"y\"}}")
             CHUNK("{\"index\":0,\"content_filter_results\":{\"x\":\"z\",\"n\":null},\"finish_reason\":\"stop\"}"),
         "{\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"r\",\"content\":\"a\"},"
         "\"content_filter_results\":{\"x\":\"z\",\"n\":null},\"finish_reason\":\"stop\"}]}"},
        /* fragments of a call that repeat its words, or leave them empty */
        {CHUNK("{\"index\":0,\"delta\":{\"role\":\"r\",\"content\":null,\"tool_calls\":[{\"index\":0,\"id\":\"i\","
               "\"type\":"
               "\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}]}}")
             CHUNK(
                 "{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"\",\"type\":\"function\",\"function\":{"
                 "\"name\":null,\"arguments\":\"}\"}}]},\"finish_reason\":\"tool_calls\"}"),
         "{\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"r\",\"content\":null,"
         "\"tool_calls\":[{\"id\":\"i\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},"
         "\"finish_reason\":\"tool_calls\"}]}"},
        /* usage in each chunk: the last */
        {"data: {\"id\":\"c\",\"choices\":[" STOP "],\"usage\":{\"total_tokens\":1}}\n\n"
         "data: {\"id\":\"c\",\"choices\":[],\"usage\":" USAGE "}\n\n",
         "{\"id\":\"c\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":null},"
         "\"finish_reason\":\"stop\"}],\"usage\":" USAGE "}"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buffer events = {0}, out = {0};
        buffer_append(&events, span_str(cases[i].events));
        buffer_append(&events, SPAN(DONE));
        assert_true(replay_json(OPERATION_CHAT, buffer_span(&events), &out));
        if (!span_equal(buffer_span(&out), span_str(cases[i].json)))
            fail_msg("%s\n  made   %.*s\n  wanted %s", cases[i].events, SPAN_ARG(buffer_span(&out)), cases[i].json);
        buffer_finish(&events);
        buffer_finish(&out);
    }
}

static void test_sound_of_two_kinds(void **state)
{
    (void)state;
    static const char chunk[] = CHUNK("{\"index\":0,\"delta\":{\"audio\":{\"data\":\"%s\"}}}");
    const char *const pairs[][2] = {{"QUJD", "REVG"}, {"QUI=", "REVG"}};
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        struct buffer events = {0}, out = {0};
        for (size_t k = 0; k < 2; k++) {
            size_t hole = span_search(span_str(chunk), SPAN("%s"));
            buffer_append(&events, span_of(chunk, hole));
            buffer_append(&events, span_str(pairs[i][k]));
            buffer_append(&events, span_str(chunk + hole + 2));
        }
        buffer_append(&events, SPAN(END("\"stop\"") DONE));
        /* base64 that was padded cannot go on */
        assert_int_equal(replay_json(OPERATION_CHAT, buffer_span(&events), &out), i == 0);
        assert_int_equal(span_search(buffer_span(&out), SPAN("\"QUJDREVG\"")) < buffer_len(&out), i == 0);
        buffer_finish(&events);
        buffer_finish(&out);
    }
}

/* --- text --- */

static void test_pieces(void **state)
{
    static const struct {
        const char *text;
        size_t most;
        const char *pieces; /* each followed by | */
    } cases[] = {
        {"abc", 0, "abc|"},
        {"abcdef", 4, "abcd|ef|"},
        {"ab cd ef", 5, "ab cd| ef|"},
        {"abc def", 5, "abc| def|"},
        {"\\\\\\\"x", 1, "\\\\|\\\"|x|"},
        {"\\u00e9\\n", 1, "\\u00e9|\\n|"},
        {"\\ud83d\\uDE80x", 7, "\\ud83d\\uDE80|x|"},
        {"\\ud83dx", 3, "\\ud83d|x|"},
        {"\\ud83d\\u0041", 6, "\\ud83d|\\u0041|"},
        {"\xc3\xa9\xe6\x97\xa5\xf0\x9f\x98\x80", 1, "\xc3\xa9|\xe6\x97\xa5|\xf0\x9f\x98\x80|"},
        {"\xc3\xa9\xe6\x97\xa5\xf0\x9f\x98\x80", 5, "\xc3\xa9\xe6\x97\xa5|\xf0\x9f\x98\x80|"},
        {"  x", 1, " | |x|"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buffer out = {0};
        for (struct span rest = span_str(cases[i].text); rest.len;) {
            size_t cut = replay_cut(rest, cases[i].most);
            assert_in_range(cut, 1, rest.len);
            buffer_append(&out, span_take(rest, cut));
            buffer_append(&out, SPAN("|"));
            rest = span_skip(rest, cut);
        }
        if (!span_equal(buffer_span(&out), span_str(cases[i].pieces)))
            fail_msg("%s: %.*s", cases[i].text, SPAN_ARG(buffer_span(&out)));
        buffer_finish(&out);
    }
}

static void test_offsets_out_of_place_hide_nothing(void **state)
{
    static const size_t offsets[][2] = {{0, 0}, {5, 5}, {3, 2}, {0, 6}, {6, 7}, {SIZE_MAX, SIZE_MAX}};
    struct span parts[2];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(offsets); i++) {
        replay_without_usage(SPAN("abcde"), offsets[i][0], offsets[i][1], parts);
        assert_int_equal(parts[0].len + parts[1].len, 5);
    }
    replay_without_usage(SPAN("abcde"), 1, 3, parts);
    assert_true(span_equal(parts[0], SPAN("a")) && span_equal(parts[1], SPAN("de")));
}

/* Deep nesting and endless members are refused, not followed. */
static void test_bounds(void **state)
{
    struct buffer events = {0}, out = {0};
    struct replay_facts facts;
    (void)state;
    for (unsigned turn = 0; turn < 2; turn++) {
        REPLAY_PUT(&events, "data: {\"choices\":[{\"index\":0,\"delta\":");
        for (unsigned i = 0; i < 40; i++)
            REPLAY_PUT(&events, "{\"a\":");
        REPLAY_PUT(&events, "1");
        for (unsigned i = 0; i < 40; i++)
            REPLAY_PUT(&events, "}");
        REPLAY_PUT(&events, "}]}\n\n");
    }
    buffer_append(&events, SPAN(END("\"stop\"") DONE));
    assert_false(replay_json(OPERATION_CHAT, buffer_span(&events), &out));
    buffer_finish(&events);
    for (unsigned i = 0; i < 2000; i++)
        buffer_format(&events, "data: {\"choices\":[{\"index\":0,\"m%u\":0}]}\n\n", i);
    replay_scan(OPERATION_CHAT, REPLAY_EVENTS, buffer_span(&events), &facts);
    assert_int_equal(facts.flaw, REPLAY_MALFORMED);
    buffer_finish(&events);
    for (unsigned i = 0; i < 2000; i++)
        buffer_format(&events, "data: {\"choices\":[{\"index\":%u}]}\n\n", i);
    replay_scan(OPERATION_CHAT, REPLAY_EVENTS, buffer_span(&events), &facts);
    assert_int_equal(facts.flaw, REPLAY_MALFORMED);
    buffer_finish(&events);
    buffer_finish(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chat_streams), cmocka_unit_test(test_chat_json),
        cmocka_unit_test(test_responses),    cmocka_unit_test(test_others),
        cmocka_unit_test(test_rules),        cmocka_unit_test(test_sound_of_two_kinds),
        cmocka_unit_test(test_pieces),       cmocka_unit_test(test_offsets_out_of_place_hide_nothing),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
