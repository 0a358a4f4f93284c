/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "openai/stream_tap.h"

static const char *const kind_names[] = {"OTHER", "CONTENT", "USAGE_ONLY", "ERROR", "DONE", "TERMINAL"};

static struct sse_event event_of(const char *name, const char *data)
{
    return (struct sse_event){
        .name = span_str(name), .data = span_str(data), .has_data = data != NULL, .opaque = false};
}

struct single {
    enum event_kind kind;
    const char *name, *data;
};

#define CHUNK(rest)  "{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\"," rest "}"
#define DELTA(delta) CHUNK("\"choices\":[{\"index\":0,\"delta\":" delta ",\"finish_reason\":null}]")

static const struct single singles[] = {
    /* chat */
    {EVENT_OTHER, "", DELTA("{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}")},
    {EVENT_OTHER, "", DELTA("{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[]}")},
    {EVENT_OTHER, "", DELTA("{}")},
    {EVENT_OTHER, "", DELTA("null")},
    {EVENT_CONTENT, "", DELTA("{\"content\":\"Hi\"}")},
    {EVENT_CONTENT, "", DELTA("{\"content\":\" \"}")},
    {EVENT_CONTENT, "", DELTA("{\"refusal\":\"no\"}")},
    {EVENT_CONTENT, "", DELTA("{\"reasoning_content\":\"hm\"}")},
    {EVENT_CONTENT, "", DELTA("{\"reasoning\":\"hm\"}")},
    {EVENT_CONTENT, "", DELTA("{\"content\":[{\"type\":\"text\",\"text\":\"x\"}]}")},
    {EVENT_OTHER, "", DELTA("{\"content\":[]}")},
    {EVENT_CONTENT, "", DELTA("{\"audio\":{\"id\":\"a\"}}")},
    {EVENT_CONTENT, "",
     DELTA("{\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"type\":\"function\",\"function\":{\"name\":\"f\","
           "\"arguments\":\"\"}}]}")},
    {EVENT_CONTENT, "", DELTA("{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"\"}}]}")},
    {EVENT_OTHER, "", DELTA("{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"\"}}]}")},
    {EVENT_CONTENT, "", DELTA("{\"tool_calls\":[{\"index\":0,\"type\":\"custom\",\"custom\":{\"name\":\"f\"}}]}")},
    {EVENT_CONTENT, "", DELTA("{\"function_call\":{\"name\":\"f\",\"arguments\":\"\"}}")},
    {EVENT_OTHER, "", CHUNK("\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null")},
    {EVENT_CONTENT, "", CHUNK("\"choices\":[{\"index\":0,\"text\":\"x\",\"finish_reason\":null}]")},
    {EVENT_OTHER, "", CHUNK("\"choices\":[{\"index\":0,\"text\":\"\",\"finish_reason\":null}]")},
    /* the names are compared decoded */
    {EVENT_CONTENT, "", "{\"ch\\u006fices\":[{\"delt\\u0061\":{\"content\":\"x\"}}]}"},
    /* usage */
    {EVENT_USAGE_ONLY, "", CHUNK("\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}")},
    {EVENT_USAGE_ONLY, "", CHUNK("\"usage\":{\"prompt_tokens\":1},\"choices\":[ ]")},
    {EVENT_USAGE_ONLY, "", CHUNK("\"choices\":[],\"usage\":{}")},
    {EVENT_OTHER, "", CHUNK("\"choices\":[],\"usage\":null")},
    {EVENT_OTHER, "", CHUNK("\"choices\":[]")},
    {EVENT_OTHER, "", CHUNK("\"choices\":[],\"prompt_filter_results\":[{\"usage\":{\"prompt_tokens\":1}}]")},
    {EVENT_OTHER, "", CHUNK("\"prompt_annotations\":[],\"choices\":[],\"usage\":null")},
    {EVENT_CONTENT, "",
     CHUNK("\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}],\"usage\":{\"prompt_tokens\":1}")},
    {EVENT_OTHER, "", CHUNK("\"choices\":[{\"index\":0,\"delta\":{}}],\"usage\":{\"prompt_tokens\":1}")},
    /* text that speaks our language */
    {EVENT_CONTENT, "", DELTA("{\"content\":\"\\\"choices\\\":[],\\\"usage\\\":{\\\"prompt_tokens\\\":9}\"}")},
    {EVENT_CONTENT, "", DELTA("{\"content\":\"usage\"}")},
    {EVENT_CONTENT, "", DELTA("{\"content\":\"error\"}")},
    {EVENT_CONTENT, "", DELTA("{\"content\":\"[DONE]\"}")},
    {EVENT_CONTENT, "", DELTA("{\"content\":\"\\\\\"}")},
    /* Azure */
    {EVENT_OTHER, "",
     "{\"id\":\"\",\"choices\":[{\"index\":0,\"finish_reason\":null,\"content_filter_offsets\":{\"check_offset\":1},"
     "\"content_filter_results\":{\"error\":{\"code\":\"content_filter_error\",\"message\":\"m\"}}}]}"},
    {EVENT_OTHER, "", "{\"choices\":[{\"index\":0,\"finish_reason\":\"content_filter\",\"delta\":{}}]}"},
    /* errors */
    {EVENT_ERROR, "", "{\"error\":{\"message\":\"m\",\"code\":500}}"},
    {EVENT_ERROR, "", "{\"error\":\"overloaded\",\"error_type\":\"overloaded\"}"},
    {EVENT_ERROR, "", "{\"error\":true}"},
    {EVENT_ERROR, "", "{\"error\":{}}"},
    {EVENT_ERROR, "", "{\"choices\":[],\"usage\":{\"prompt_tokens\":1},\"error\":{\"code\":1}}"},
    {EVENT_ERROR, "", "{\"err\\u006fr\":{\"code\":1}}"},
    {EVENT_CONTENT, "", "{\"error\":null,\"choices\":[{\"delta\":{\"content\":\"x\"}}]}"},
    {EVENT_OTHER, "", "{\"error\":\"\",\"choices\":[]}"},
    {EVENT_OTHER, "", "{\"error\":false,\"choices\":[]}"},
    {EVENT_OTHER, "", "{\"error\":0,\"choices\":[]}"},
    {EVENT_ERROR, "", "{\"object\":\"error\",\"message\":\"m\",\"code\":404}"},
    {EVENT_ERROR, "error", "{\"message\":\"m\"}"},
    {EVENT_ERROR, "error", "{\"type\":\"error\",\"code\":null,\"message\":\"m\",\"sequence_number\":3}"},
    {EVENT_ERROR, "", "{\"type\":\"error\",\"message\":\"m\"}"},
    {EVENT_ERROR, "error", "not json"},
    {EVENT_ERROR, "response.failed",
     "{\"type\":\"response.failed\",\"response\":{\"status\":\"failed\",\"error\":{\"code\":\"server_error\"}}}"},
    {EVENT_ERROR, "", "{\"type\":\"response.failed\",\"response\":{\"error\":null}}"},
    /* responses */
    {EVENT_OTHER, "response.created", "{\"type\":\"response.created\",\"response\":{\"error\":null,\"usage\":null}}"},
    {EVENT_OTHER, "response.in_progress", "{\"type\":\"response.in_progress\",\"response\":{}}"},
    {EVENT_OTHER, "response.output_item.added", "{\"type\":\"response.output_item.added\",\"item\":{\"type\":\"x\"}}"},
    {EVENT_CONTENT, "response.output_text.delta", "{\"type\":\"response.output_text.delta\",\"delta\":\"Hi\"}"},
    {EVENT_CONTENT, "", "{\"delta\":\"Hi\",\"type\":\"response.output_text.delta\"}"},
    {EVENT_CONTENT, "response.output_text.delta", "{\"delta\":\"Hi\"}"},
    {EVENT_OTHER, "", "{\"type\":\"response.output_text.delta\",\"delta\":\"\"}"},
    {EVENT_CONTENT, "", "{\"type\":\"response.function_call_arguments.delta\",\"delta\":\"{\"}"},
    {EVENT_CONTENT, "", "{\"type\":\"response.web_search_call.searching\"}"},
    {EVENT_CONTENT, "", "{\"type\":\"response.of.the.future\"}"},
    {EVENT_TERMINAL, "response.completed", "{\"type\":\"response.completed\",\"response\":{\"error\":null}}"},
    {EVENT_TERMINAL, "", "{\"type\":\"response.incomplete\",\"response\":{}}"},
    /* images, audio */
    {EVENT_CONTENT, "", "{\"type\":\"image_generation.partial_image\",\"b64_json\":\"AA\"}"},
    {EVENT_TERMINAL, "",
     "{\"type\":\"image_generation.completed\",\"b64_json\":\"AA\",\"usage\":{\"input_tokens\":1}}"},
    {EVENT_CONTENT, "", "{\"type\":\"transcript.text.delta\",\"delta\":\"x\"}"},
    {EVENT_TERMINAL, "", "{\"type\":\"transcript.text.done\",\"text\":\"x\"}"},
    {EVENT_CONTENT, "", "{\"type\":\"speech.audio.delta\",\"audio\":\"AA\"}"},
    {EVENT_TERMINAL, "", "{\"type\":\"speech.audio.done\"}"},
    /* the rest */
    {EVENT_DONE, "", "[DONE]"},
    {EVENT_OTHER, "", ""},
    {EVENT_OTHER, "x", NULL},
    {EVENT_CONTENT, "", "hello"},
    {EVENT_CONTENT, "", "{\"unfinished\":"},
    {EVENT_CONTENT, "", "[1,{\"error\":1}]"},
    {EVENT_CONTENT, "", "\"error\""},
    {EVENT_CONTENT, "", "{\"hello\":1}"},
};

static void kinds(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(singles); i++) {
        struct arena arena;
        struct stream_tap tap;
        arena_init(&arena);
        stream_tap_init(&tap, &arena);
        struct sse_event event = event_of(singles[i].name, singles[i].data);
        /* The second time, a content event is recognised without being read. */
        for (int time = 0; time < 2; time++) {
            enum event_kind kind = stream_tap_event(&tap, &event);
            if (kind != singles[i].kind)
                fail_msg("%s %s: expected %s, got %s (time %d)", singles[i].name, singles[i].data,
                         kind_names[singles[i].kind], kind_names[kind], time);
            assert_int_equal(tap.content, kind == EVENT_CONTENT || kind == EVENT_TERMINAL);
            assert_int_equal(tap.facts.error, kind == EVENT_ERROR);
        }
        arena_finish(&arena);
    }
}

/* Any kind after any other: what was remembered of one must not colour the next. */
static void kinds_in_any_order(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(singles); i++) {
        for (size_t j = 0; j < ARRAY_LEN(singles); j++) {
            struct arena arena;
            struct stream_tap tap;
            arena_init(&arena);
            stream_tap_init(&tap, &arena);
            struct sse_event first = event_of(singles[i].name, singles[i].data),
                             second = event_of(singles[j].name, singles[j].data);
            (void)stream_tap_event(&tap, &first);
            if (stream_tap_event(&tap, &second) != singles[j].kind)
                fail_msg("%s after %s", singles[j].data, singles[i].data);
            arena_finish(&arena);
        }
    }
}

static void opaque_events(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum event_kind kind;
    } cases[] = {
        {"", EVENT_CONTENT},    {"response.completed", EVENT_TERMINAL}, {"response.failed", EVENT_ERROR},
        {"error", EVENT_ERROR}, {"response.created", EVENT_OTHER},      {"response.output_text.delta", EVENT_CONTENT},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena arena;
        struct stream_tap tap;
        arena_init(&arena);
        stream_tap_init(&tap, &arena);
        struct sse_event event = {.name = span_str(cases[i].name), .has_data = true, .opaque = true};
        assert_int_equal(stream_tap_event(&tap, &event), cases[i].kind);
        arena_finish(&arena);
    }
}

/* A number of the server's own beside the choices, new in each event: text is still told from no text. */
static void numbers_that_vary(void **state)
{
    (void)state;
    static const struct {
        const char *data;
        enum event_kind kind;
        uint64_t text_bytes;
    } events[] = {
        {"{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"abc\"}}],\"t\":1}", EVENT_CONTENT, 3},
        {"{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"de\"}}],\"t\":22}", EVENT_CONTENT, 5},
        {"{\"choices\":[{\"index\":1,\"delta\":{\"content\":\"\"}}],\"t\":333}", EVENT_OTHER, 5},
        {"{\"choices\":[{\"index\":1,\"delta\":{\"content\":\"f\"}}],\"t\":1}", EVENT_CONTENT, 6},
        {"{\"choices\":[{\"index\":1,\"delta\":{\"content\":\"g\"}}],\"t\":-1}", EVENT_CONTENT, 7},
        {"{\"choices\":[],\"usage\":{},\"t\":1}", EVENT_USAGE_ONLY, 7},
    };
    struct arena arena;
    struct stream_tap tap;
    arena_init(&arena);
    stream_tap_init(&tap, &arena);
    for (size_t i = 0; i < ARRAY_LEN(events); i++) {
        struct sse_event event = event_of("", events[i].data);
        assert_int_equal(stream_tap_event(&tap, &event), events[i].kind);
        assert_int_equal(tap.facts.text_bytes, events[i].text_bytes);
    }
    arena_finish(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds),
        cmocka_unit_test(kinds_in_any_order),
        cmocka_unit_test(opaque_events),
        cmocka_unit_test(numbers_that_vary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
