/* SPDX-License-Identifier: Apache-2.0 */
/* What holds for every answer of the mock: options, faults, pacing, limits, refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "unit/openai/mock_call.h"

#define CHAT   SPAN("{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"hello there\"}]}")
#define STREAM SPAN("{\"model\":\"m\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}")

static void test_same_request_same_answer(void **state)
{
    (void)state;
    struct mock_call a, b;
    mock_call_begin(&a);
    mock_call_begin(&b);
    assert_true(span_equal(mock_ask_for(&a, OPERATION_CHAT, CHAT), mock_ask_for(&b, OPERATION_CHAT, CHAT)));
    const char *id = mock_at(&a, mock_json(buffer_span(&a.out)), "id");
    /* The next one has another id, as ids must. */
    (void)mock_ask_for(&a, OPERATION_CHAT, CHAT);
    assert_string_not_equal(id, mock_at(&a, mock_json(buffer_span(&a.out)), "id"));
    mock_call_end(&a);
    mock_call_end(&b);
}

static void test_request_fields(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value;
        enum mock_field result;
    } cases[] = {
        {"content-type", "x", MOCK_FIELD_OTHER},
        {"x-mock", "1", MOCK_FIELD_OTHER},
        {"x-mock-status", "429", MOCK_FIELD_TAKEN},
        {"x-mock-status", "0", MOCK_FIELD_TAKEN},
        {"x-mock-status", "200", MOCK_FIELD_BAD},
        {"x-mock-status", "600", MOCK_FIELD_BAD},
        {"x-mock-status", "", MOCK_FIELD_BAD},
        {"x-mock-status", "4 9", MOCK_FIELD_BAD},
        {"x-mock-chunks", "100000", MOCK_FIELD_TAKEN},
        {"x-mock-chunks", "100001", MOCK_FIELD_BAD},
        {"x-mock-cut-after", "4294967295", MOCK_FIELD_BAD},
        {"x-mock-latency-ms", "18446744073709551615", MOCK_FIELD_BAD},
        {"x-mock-azure", "true", MOCK_FIELD_TAKEN},
        {"x-mock-azure", "1", MOCK_FIELD_BAD},
        {"x-mock-latency", "5", MOCK_FIELD_BAD},
        {"x-mock-", "5", MOCK_FIELD_BAD},
    };
    struct mock_options options;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        mock_options_init(&options);
        assert_int_equal(mock_options_field(&options, span_str(cases[i].name), span_str(cases[i].value)),
                         cases[i].result);
    }
    mock_options_init(&options);
    static const char *const all[] = {"status",    "latency-ms",  "chunks",      "chunk-interval-ms",
                                      "cut-after", "stall-after", "error-after", "retry-after-ms"};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        char name[64] = "x-mock-";
        memcpy(name + 7, all[i], strlen(all[i]) + 1);
        assert_int_equal(mock_options_field(&options, span_str(name), SPAN("450")), MOCK_FIELD_TAKEN);
    }
    assert_int_equal(options.status, 450);
    assert_int_equal(options.latency, 450000);
    assert_int_equal(options.chunks, 450);
    assert_int_equal(options.chunk_interval, 450000);
    assert_int_equal(options.cut_after, 450);
    assert_int_equal(options.stall_after, 450);
    assert_int_equal(options.error_after, 450);
    assert_int_equal(options.retry_after_ms, 450);
}

static void test_status(void **state)
{
    (void)state;
    static const struct {
        unsigned status;
        bool azure;
        const char *path, *value;
    } cases[] = {
        {429, false, "error.code", "rate_limit_exceeded"},
        {429, true, "error.code", "429"},
        {401, false, "error.code", "invalid_api_key"},
        {401, true, "error.code", "401"},
        {404, false, "error.param", "model"},
        {404, true, "error.code", "DeploymentNotFound"},
        {400, true, "error.innererror.content_filter_result.jailbreak.detected", "true"},
        {400, false, "error.type", "invalid_request_error"},
        {403, true, "error.code", "403"},
        {500, false, "error.type", "server_error"},
        {500, true, "error.code", "null"},
        {503, false, "error.code", "slow_down"},
        {503, true, "statusCode", "503"},
        {418, false, "error.type", "invalid_request_error"},
        {529, true, "error.type", "server_error"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct mock_call call;
        mock_call_begin(&call);
        call.options.status = cases[i].status;
        call.options.azure = cases[i].azure;
        call.options.retry_after_ms = 1500;
        struct span body = mock_ask_for(&call, OPERATION_CHAT, i % 2 ? STREAM : CHAT);
        assert_int_equal(call.run->answer.status, cases[i].status);
        assert_false(call.run->answer.stream);
        assert_true(span_equal(call.run->answer.content_type, SPAN("application/json")));
        assert_string_equal(mock_at(&call, mock_json(body), cases[i].path), cases[i].value);
        bool retry = cases[i].status == 429 || cases[i].status == 503;
        assert_int_equal(mock_header_value(&call, "retry-after-ms") != NULL, retry);
        if (retry)
            assert_string_equal(mock_header_value(&call, "retry-after"), "2"); /* rounded up */
        mock_call_end(&call);
    }
}

static void test_every_and_percent(void **state)
{
    (void)state;
    struct mock_call call;
    mock_call_begin(&call);
    call.options.status = 500;
    call.options.every = 3;
    for (int i = 1; i <= 9; i++) {
        (void)mock_ask_for(&call, OPERATION_CHAT, CHAT);
        assert_int_equal(call.run->answer.status, i % 3 ? 200 : 500);
    }
    call.options.every = 0;
    call.options.percent = 30;
    call.options.seed = 1;
    int hit = 0;
    for (int i = 0; i < 1000; i++) {
        (void)mock_ask_for(&call, OPERATION_CHAT, CHAT);
        hit += call.run->answer.status == 500;
    }
    assert_in_range(hit, 240, 360); /* the same number each time: seeded */
    /* The faults inside a stream are chosen in the same way. */
    call.options = (struct mock_options){
        .words_per_chunk = 1, .error_after = 0, .cut_after = MOCK_NEVER, .stall_after = MOCK_NEVER};
    call.options.every = 2;
    call.state.requests = 0;
    (void)mock_ask_for(&call, OPERATION_CHAT, STREAM);
    assert_true(call.count > 1);
    (void)mock_ask_for(&call, OPERATION_CHAT, STREAM);
    assert_int_equal(call.count, 1);
    mock_call_end(&call);
}

static void test_stream_faults(void **state)
{
    (void)state;
    struct mock_call call;
    mock_call_begin(&call);
    struct span whole = arena_copy(&call.arena, mock_ask_for(&call, OPERATION_CHAT, STREAM));
    unsigned events = call.count;
    assert_int_equal(call.step, MOCK_END);
    for (unsigned after = 0; after < events; after++) {
        call.state = (struct mock_state){0};
        call.options.cut_after = after;
        struct span part = mock_ask_for(&call, OPERATION_CHAT, STREAM);
        assert_int_equal(call.step, MOCK_CUT);
        assert_int_equal(call.count, after + 1);
        assert_true(part.len < whole.len && span_starts_with(whole, part));
        call.options.cut_after = MOCK_NEVER;

        call.state = (struct mock_state){0};
        call.options.stall_after = after;
        part = mock_ask_for(&call, OPERATION_CHAT, STREAM);
        assert_int_equal(call.step, MOCK_STALL);
        assert_true(part.len < whole.len && span_starts_with(whole, part));
        call.options.stall_after = MOCK_NEVER;

        call.options.error_after = after;
        part = mock_ask_for(&call, OPERATION_CHAT, STREAM);
        assert_int_equal(call.step, MOCK_END);
        assert_int_equal(call.count, after + 1);
        assert_string_equal(mock_at(&call, mock_event_json(&call, after), "error.type"), "server_error");
        assert_false(span_ends_with(part, SPAN("data: [DONE]\n\n")));
        call.options.error_after = MOCK_NEVER;
    }
    /* beyond the end: nothing happens */
    call.options.cut_after = call.options.stall_after = call.options.error_after = events;
    (void)mock_ask_for(&call, OPERATION_CHAT, STREAM);
    assert_int_equal(call.step, MOCK_END);
    assert_int_equal(call.count, events);
    mock_call_end(&call);
}

static void test_faults_of_other_answers(void **state)
{
    (void)state;
    struct mock_call call;
    mock_call_begin(&call);
    call.options.cut_after = 0;
    struct span half = mock_ask_for(&call, OPERATION_CHAT, CHAT);
    assert_int_equal(call.step, MOCK_CUT);
    assert_int_equal(half.len, call.run->answer.length / 2);
    call.options.cut_after = MOCK_NEVER;
    call.options.stall_after = 0;
    assert_int_equal(mock_ask_for(&call, OPERATION_CHAT, CHAT).len, 0);
    assert_int_equal(call.step, MOCK_STALL);
    assert_true(call.run->answer.length > 0);
    mock_call_end(&call);
}

static void test_pace(void **state)
{
    (void)state;
    struct mock_call call;
    mock_call_begin(&call);
    call.options.latency = 300;
    call.options.chunk_interval = 20;
    call.options.chunks = 5;
    (void)mock_ask_for(&call, OPERATION_CHAT, STREAM);
    assert_int_equal(call.run->answer.delay, 300);
    assert_int_equal(call.count, 8); /* role, 5 pieces, finish, [DONE] */
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(call.pause[i], 20);
    assert_int_equal(call.pause[6], 0); /* the end comes at once */
    assert_int_equal(call.pause[7], 0);

    call.options.chunk_interval = 0;
    call.options.tokens_per_second = 10;
    (void)mock_ask_for(&call, OPERATION_CHAT, STREAM);
    uint64_t speaking = call.run->answer.output_tokens * 100000, sum = 0;
    for (unsigned i = 0; i < call.count; i++)
        sum += call.pause[i];
    assert_true(call.run->answer.output_tokens > 0);
    assert_in_range(sum, speaking - call.count, speaking);
    assert_int_equal(call.run->answer.delay, 300);
    call.options.chunks = 0;
    (void)mock_ask_for(&call, OPERATION_CHAT, CHAT);
    assert_int_equal(call.run->answer.delay, 300 + call.run->answer.output_tokens * 100000);
    mock_call_end(&call);
}

static void test_token_rate_limit(void **state)
{
    (void)state;
    /* "hello there" is 3 tokens, and 16 are assumed for the answer: 19 a request. */
    struct mock_call call;
    mock_call_begin(&call);
    call.options.tokens_per_minute = 40;
    (void)mock_ask_for(&call, OPERATION_CHAT, CHAT);
    assert_int_equal(call.run->answer.status, 200);
    assert_string_equal(mock_header_value(&call, "x-ratelimit-limit-tokens"), "40");
    assert_string_equal(mock_header_value(&call, "x-ratelimit-remaining-tokens"), "21");
    assert_string_equal(mock_header_value(&call, "x-ratelimit-reset-tokens"), "60.000s");
    assert_non_null(mock_header_value(&call, "x-ratelimit-limit-requests"));
    assert_non_null(mock_header_value(&call, "x-ratelimit-remaining-requests"));
    call.request.wall += 10500000;
    (void)mock_ask_for(&call, OPERATION_CHAT, CHAT);
    assert_int_equal(call.run->answer.status, 200);
    (void)mock_ask_for(&call, OPERATION_CHAT, STREAM);
    assert_int_equal(call.run->answer.status, 429);
    assert_string_equal(mock_header_value(&call, "retry-after-ms"), "49500");
    assert_string_equal(mock_header_value(&call, "retry-after"), "50");
    assert_string_equal(mock_header_value(&call, "x-ratelimit-remaining-tokens"), "2");
    call.options.azure = true;
    struct span body = mock_ask_for(&call, OPERATION_CHAT, CHAT);
    assert_string_equal(mock_at(&call, mock_json(body), "error.code"), "429");
    assert_string_equal(mock_header_value(&call, "x-ratelimit-reset-tokens"), "50");
    call.request.wall += 49500000;
    (void)mock_ask_for(&call, OPERATION_CHAT, CHAT);
    assert_int_equal(call.run->answer.status, 200); /* a new minute */
    call.request.wall = 5;
    (void)mock_ask_for(&call, OPERATION_CHAT, CHAT);
    assert_int_equal(call.run->answer.status, 200); /* the clock went back: no lock-out */
    (void)mock_ask_for(&call, OPERATION_CHAT,
                       SPAN("{\"max_tokens\":18446744073709551615,\"messages\":[{\"role\":\"user\","
                            "\"content\":\"hello\"}]}"));
    assert_int_equal(call.run->answer.status, 200); /* UINT64_MAX reads as no maximum */
    (void)mock_ask_for(&call, OPERATION_CHAT,
                       SPAN("{\"max_tokens\":18446744073709551614,\"messages\":[{\"role\":\"user\","
                            "\"content\":\"hello\"}]}"));
    assert_int_equal(call.run->answer.status, 429);
    mock_call_end(&call);
}

static void test_headers(void **state)
{
    (void)state;
    struct mock_call call;
    mock_call_begin(&call);
    (void)mock_ask_for(&call, OPERATION_CHAT, CHAT);
    assert_int_equal(strlen(mock_header_value(&call, "x-request-id")), 36);
    assert_null(mock_header_value(&call, "apim-request-id"));
    assert_null(mock_header_value(&call, "x-ratelimit-limit-tokens"));
    call.options.azure = true;
    (void)mock_ask_for(&call, OPERATION_CHAT, CHAT);
    const char *guid = mock_header_value(&call, "apim-request-id");
    assert_int_equal(strlen(guid), 36);
    for (int i = 0; i < 36; i++)
        assert_int_equal(guid[i] == '-', i == 8 || i == 13 || i == 18 || i == 23);
    assert_string_equal(mock_header_value(&call, "x-ms-deployment-name"), "gpt-4o");
    /* A model name is the client's: it must not make a header of its own. */
    (void)mock_ask_for(
        &call, OPERATION_CHAT,
        SPAN("{\"model\":\"a\\r\\nset-cookie: x\",\"messages\":[{\"role\":\"user\",\"content\":\"\"}]}"));
    assert_null(mock_header_value(&call, "x-ms-deployment-name"));
    mock_call_end(&call);
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        enum operation_id operation;
        struct span body;
        unsigned status;
        const char *param, *code;
    } cases[] = {
        {OPERATION_CHAT, SPAN_INIT(""), 400, "null", "null"},
        {OPERATION_CHAT, SPAN_INIT("[]"), 400, "null", "null"},
        {OPERATION_CHAT, SPAN_INIT("{\"messages\":[]"), 400, "null", "null"},
        {OPERATION_CHAT, SPAN_INIT("{}"), 400, "messages", "missing_required_parameter"},
        {OPERATION_CHAT, SPAN_INIT("{\"messages\":\"x\"}"), 400, "messages", "missing_required_parameter"},
        {OPERATION_CHAT, SPAN_INIT("{\"messages\":[],\"stream\":true}"), 400, "messages", "empty_array"},
        {OPERATION_CHAT, SPAN_INIT("{\"n\":0,\"messages\":[{}]}"), 400, "n", "invalid_value"},
        {OPERATION_CHAT, SPAN_INIT("{\"n\":129,\"messages\":[{}]}"), 400, "n", "invalid_value"},
        {OPERATION_CHAT, SPAN_INIT("{\"n\":-1,\"messages\":[{}]}"), 400, "n", "invalid_value"},
        {OPERATION_COMPLETIONS, SPAN_INIT("{\"n\":\"1\"}"), 400, "n", "invalid_value"},
        {OPERATION_RESPONSES, SPAN_INIT("{}"), 400, "input", "missing_required_parameter"},
        {OPERATION_EMBEDDINGS, SPAN_INIT("{}"), 400, "input", "null"},
        {OPERATION_EMBEDDINGS, SPAN_INIT("{\"input\":[]}"), 400, "input", "null"},
        {OPERATION_EMBEDDINGS, SPAN_INIT("{\"input\":\"x\",\"dimensions\":0}"), 400, "dimensions", "null"},
        {OPERATION_EMBEDDINGS, SPAN_INIT("{\"input\":\"x\",\"dimensions\":4097}"), 400, "dimensions", "null"},
        {OPERATION_MODERATIONS, SPAN_INIT("{}"), 400, "input", "null"},
        {OPERATION_IMAGE_GENERATIONS, SPAN_INIT("{}"), 400, "prompt", "missing_required_parameter"},
        {OPERATION_IMAGE_GENERATIONS, SPAN_INIT("{\"prompt\":\"x\",\"n\":11}"), 400, "n", "invalid_value"},
        {OPERATION_SPEECH, SPAN_INIT("{}"), 400, "input", "missing_required_parameter"},
        {OPERATION_TRANSCRIPTIONS, SPAN_INIT("{}"), 400, "file", "missing_required_parameter"},
        {OPERATION_FILES, SPAN_INIT("{}"), 404, "null", "unknown_url"},
        {OPERATION_ID_COUNT, SPAN_INIT("{}"), 404, "null", "unknown_url"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct mock_call call;
        mock_call_begin(&call);
        struct json_value body = mock_json(mock_ask_for(&call, cases[i].operation, cases[i].body));
        assert_int_equal(call.run->answer.status, cases[i].status);
        assert_int_equal(call.run->answer.known, cases[i].status != 404);
        assert_string_equal(mock_at(&call, body, "error.type"), "invalid_request_error");
        assert_string_equal(mock_at(&call, body, "error.param"), cases[i].param);
        assert_string_equal(mock_at(&call, body, "error.code"), cases[i].code);
        assert_true(strlen(mock_at(&call, body, "error.message")) > 10);
        mock_call_end(&call);
    }
}

/* An answer that is never read to its end leaks nothing: the arena owns it. */
static void test_abandoned(void **state)
{
    (void)state;
    struct mock_call call;
    mock_call_begin(&call);
    call.request.operation = OPERATION_CHAT;
    call.request.body = CHAT;
    call.run = mock_start(&call.arena, &call.options, &call.state, &call.request);
    assert_true(call.run->answer.length > 0);
    mock_call_end(&call);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_request_same_answer),
        cmocka_unit_test(test_request_fields),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_every_and_percent),
        cmocka_unit_test(test_stream_faults),
        cmocka_unit_test(test_faults_of_other_answers),
        cmocka_unit_test(test_pace),
        cmocka_unit_test(test_token_rate_limit),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_abandoned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
