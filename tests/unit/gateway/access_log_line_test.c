/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "base/json_value.h"
#include "gateway/access_log_line.h"
#include "sample_exchange.h"

#define WHEN "2026-11-22T16:47:10.123Z"

static char room[ACCESS_LOG_LINE_MAX];

static struct span line_of(const struct sample *s, enum outcome outcome)
{
    size_t len = access_log_line(room, &s->exchange, outcome, SPAN(WHEN), 9000);
    assert_true(len > 0 && len <= sizeof(room));
    assert_int_equal(room[len - 1], '\n');
    assert_null(memchr(room, '\n', len - 1));
    struct json_value root;
    if (!json_value_parse(span_of(room, len - 1), &root))
        fail_msg("not JSON: %.*s", (int)len, room);
    return span_of(room, len);
}

static void assert_line(const struct sample *s, enum outcome outcome, const char *wanted)
{
    struct span line = line_of(s, outcome);
    struct span expected = span_str(wanted);
    if (!span_equal(span_take(line, line.len - 1), expected))
        fail_msg("got    %.*swanted %s", SPAN_ARG(line), wanted);
}

/* ---- whole lines ---- */

#define BEGIN                                                                                                          \
    "{\"time\":\"" WHEN "\",\"id\":\"0123456789abcdef0000000000000001\",\"listener\":\"front\",\"peer\":\"10.0.0.7\""

static void a_served_chat(void **state)
{
    (void)state;
    struct sample s;
    sample_init(&s);
    assert_line(&s, OUTCOME_COMPLETED,
                BEGIN ",\"operation\":\"chat\",\"dialect\":\"openai\",\"model\":\"gpt-4o\",\"model_entry\":\"gpt-4o\","
                      "\"status\":200,\"outcome\":\"completed\",\"request_bytes\":200,\"response_bytes\":900,"
                      "\"tokens\":{\"input\":12,\"output\":34},\"finish_reason\":\"stop\","
                      "\"time_to_first_byte_ms\":3.900,\"total_ms\":4.900,\"overhead_us\":80,\"target\":\"east\","
                      "\"deployment\":\"gpt-4o-ptu\",\"response_model\":\"gpt-4o-2024-08-06\",\"attempts\":["
                      "{\"target\":\"east\",\"deployment\":\"gpt-4o-ptu\",\"status\":200,\"ms\":3.800}]}");
    sample_finish(&s);
}

static void a_stream_with_everything(void **state)
{
    (void)state;
    struct sample s;
    sample_init(&s);
    struct exchange *e = &s.exchange;
    struct attempt_record first = {.target = SPAN("west"),
                                   .status = 429,
                                   .fault = FAULT_RATE_LIMITED,
                                   .started = 1000,
                                   .ended = 1999,
                                   .next = &s.record};
    const struct target full = {.name = SPAN("full")};
    const struct model_target whole = {.target = &full}, part = {.target = &full, .deployment = SPAN("gpt-4o")},
                              *passed[] = {&whole, &part};
    s.attempts.first = &first;
    s.attempts.made = 2;
    s.attempts.passed = passed;
    s.attempts.passed_count = 2;
    s.record.status = 0;
    s.record.ended = 0;
    s.record.fault = FAULT_IDLE_TIMEOUT;
    s.record.detail = SPAN("no byte came in time");
    e->call.dialect = DIALECT_AZURE_DATED;
    e->operation_streams = true;
    e->consumer.name = SPAN("team \"search\"");
    e->fault = FAULT_IDLE_TIMEOUT;
    e->fault_detail = s.record.detail;
    e->facts.usage.cached = 5;
    e->facts.usage.reasoning = 7;
    e->facts.finish = FINISH_LENGTH | FINISH_TOOL_CALLS;
    e->first_content_at = 4100;
    e->ended = 12345678;
    fields_add(&e->request.fields, &e->arena, SPAN("x-stainless-retry-count"), SPAN("2"));
    fields_add(&e->request.fields, &e->arena, SPAN("user-agent"), SPAN("OpenAI/Python 2.43.0"));
    assert_line(&s, OUTCOME_FAILED,
                BEGIN
                ",\"consumer\":\"team \\\"search\\\"\",\"operation\":\"chat\",\"dialect\":\"azure\",\"stream\":true,"
                "\"model\":\"gpt-4o\",\"model_entry\":\"gpt-4o\",\"status\":200,\"outcome\":\"failed\","
                "\"fault\":\"IDLE_TIMEOUT\",\"blame\":\"upstream\",\"detail\":\"no byte came in time\","
                "\"request_bytes\":200,\"response_bytes\":900,"
                "\"tokens\":{\"input\":12,\"output\":34,\"cached\":5,\"reasoning\":7},"
                "\"finish_reason\":\"length,tool_calls\",\"time_to_first_byte_ms\":3.900,"
                "\"time_to_first_content_ms\":4.000,\"total_ms\":12345.578,\"retry_count\":2,"
                "\"user_agent\":\"OpenAI/Python 2.43.0\","
                "\"passed_over\":[{\"target\":\"full\"},{\"target\":\"full\",\"deployment\":\"gpt-4o\"}],"
                "\"target\":\"east\",\"deployment\":\"gpt-4o-ptu\","
                "\"response_model\":\"gpt-4o-2024-08-06\",\"attempts\":["
                "{\"target\":\"west\",\"status\":429,\"fault\":\"RATE_LIMITED\",\"ms\":0.999},"
                "{\"target\":\"east\",\"deployment\":\"gpt-4o-ptu\",\"fault\":\"IDLE_TIMEOUT\","
                "\"detail\":\"no byte came in time\",\"ms\":8.000}]}");
    sample_finish(&s);
}

/* A request that was refused before anything of it was understood. */
static void a_malformed_request(void **state)
{
    (void)state;
    struct sample s;
    sample_init(&s);
    struct exchange *e = &s.exchange;
    e->request = (struct message){0};
    e->call.operation = NULL;
    e->model = NULL;
    e->model_asked = (struct span){0};
    e->attempts = NULL;
    e->facts = (struct answer_facts){0};
    e->fault = FAULT_MALFORMED_REQUEST;
    e->response.status = 400;
    e->local_answer = true;
    e->first_byte_at = e->body_at = e->sent_at = e->answer_end_at = 0;
    e->bytes_in = e->bytes_out = 0;
    e->started = e->ended = 0;
    assert_line(&s, OUTCOME_FAILED,
                BEGIN ",\"status\":400,\"outcome\":\"failed\",\"fault\":\"MALFORMED_REQUEST\",\"blame\":\"client\","
                      "\"request_bytes\":0,\"response_bytes\":0,\"total_ms\":0.000}");
    sample_finish(&s);
}

/* ---- parts ---- */

static bool line_has(const struct sample *s, const char *part)
{
    struct span line = line_of(s, OUTCOME_COMPLETED);
    return span_search(line, span_str(part)) < line.len;
}

static void numbers(void **state)
{
    (void)state;
    static const struct {
        uint64_t number;
        const char *text;
    } rows[] = {{0, "0"},         {9, "9"},           {10, "10"},
                {99, "99"},       {100, "100"},       {101, "101"},
                {12345, "12345"}, {999999, "999999"}, {UINT64_MAX, "18446744073709551615"}};
    struct sample s;
    sample_init(&s);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char part[64];
        s.exchange.bytes_in = rows[i].number;
        (void)snprintf(part, sizeof(part), "\"request_bytes\":%s,", rows[i].text);
        assert_true(line_has(&s, part));
    }
    static const uint64_t times[] = {0, 1, 9, 10, 99, 100, 999, 1000, 1001, 60000000, 86400000001};
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        char part[64];
        s.exchange.ended = s.exchange.started + times[i];
        (void)snprintf(part, sizeof(part), "\"total_ms\":%llu.%03llu,", (unsigned long long)times[i] / 1000,
                       (unsigned long long)times[i] % 1000);
        assert_true(line_has(&s, part));
    }
    sample_finish(&s);
}

static void tokens_are_estimated_when_unknown(void **state)
{
    (void)state;
    struct sample s;
    sample_init(&s);
    struct exchange *e = &s.exchange;
    e->facts.usage.reported = false;
    e->bytes_in = 41;
    e->facts.text_bytes = 80;
    assert_true(line_has(&s, "\"tokens\":{\"input\":11,\"output\":20,\"estimated\":true}"));
    e->usage_estimated = true; /* compressed: nothing of it was read */
    assert_true(line_has(&s, "\"tokens\":{\"input\":11,\"output\":225,\"estimated\":true}"));
    e->response.status = 400;
    assert_false(line_has(&s, "tokens"));
    e->response.status = 200;
    e->call.operation = operation_entry(OPERATION_MODERATIONS);
    assert_false(line_has(&s, "tokens"));
    sample_finish(&s);
}

static void retry_counts_are_digits(void **state)
{
    (void)state;
    static const struct {
        const char *value, *part;
    } rows[] = {{"1", "\"retry_count\":1,"},
                {"999", "\"retry_count\":999,"},
                {"0", NULL},
                {"", NULL},
                {"-1", NULL},
                {"1000", NULL},
                {"1e2", NULL},
                {"1\"", NULL}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct sample s;
        sample_init(&s);
        fields_add(&s.exchange.request.fields, &s.exchange.arena, SPAN("x-stainless-retry-count"),
                   span_str(rows[i].value));
        assert_int_equal(line_has(&s, "retry_count"), rows[i].part != NULL);
        if (rows[i].part)
            assert_true(line_has(&s, rows[i].part));
        sample_finish(&s);
    }
}

/* ---- what must not be there ---- */

static void secrets_stay_out(void **state)
{
    (void)state;
    static const char *const names[] = {"authorization",       "api-key",   "cookie",
                                        "proxy-authorization", "x-api-key", "referer"};
    struct sample s;
    sample_init(&s);
    struct exchange *e = &s.exchange;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        fields_add(&e->request.fields, &e->arena, span_str(names[i]), SPAN("s3cr3t"));
    e->call.operation = NULL;
    e->request.target = SPAN("/tokenize/x?api-key=s3cr3t");
    e->request.path = SPAN("/tokenize/x");
    e->request.query = e->call.query = SPAN("api-key=s3cr3t");
    e->call.query_secret = SPAN("s3cr3t");
    e->fault_message = SPAN("s3cr3t prompt");
    assert_false(line_has(&s, "s3cr3t"));
    assert_true(line_has(&s, "\"method\":\"POST\",\"path\":\"/tokenize/x\""));
    e->call.operation = operation_entry(OPERATION_CHAT);
    assert_false(line_has(&s, "path"));
    sample_finish(&s);
}

/* ---- hostile texts ---- */

/* Every text the client or a target chooses. */
static void set_texts(struct sample *s, struct span text)
{
    struct exchange *e = &s->exchange;
    e->id = e->peer = e->model_asked = e->consumer.name = e->facts.model = e->fault_detail = text;
    e->request.path = e->request.method_text = text;
    s->listener.name = s->model.name = s->record.target = s->record.deployment = s->record.detail = text;
    e->request.fields.count = 0;
    fields_add(&e->request.fields, &e->arena, SPAN("user-agent"), text);
}

static void any_bytes_make_a_line(void **state)
{
    (void)state;
    struct sample s;
    sample_init(&s);
    s.exchange.fault = FAULT_UPSTREAM_ERROR;
    char text[24];
    for (unsigned byte = 0; byte < 256; byte++)
        for (size_t at = 0; at < sizeof(text); at++) {
            memset(text, 'a', sizeof(text));
            text[at] = (char)byte;
            set_texts(&s, span_of(text, sizeof(text)));
            bool plain = byte >= 0x20 && byte < 0x80;
            struct span line = line_of(&s, OUTCOME_FAILED);
            if (byte != '"' && byte != '\\') /* which are found in their own escapes */
                assert_int_equal(span_search(line, span_of(text, sizeof(text))) < line.len, plain);
        }
    sample_finish(&s);
}

static void random_texts_make_a_line(void **state)
{
    (void)state;
    static const char alphabet[] = "aaaaaaaaaaaaaaaa\"\\\n\x01\x7f\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\xff\xed\xa0\x80";
    uint64_t seed = 4711;
    char text[600];
    for (unsigned round = 0; round < 3000; round++) {
        struct sample s;
        sample_init(&s);
        s.exchange.fault = FAULT_UPSTREAM_ERROR;
        if (round & 1)
            s.exchange.call.operation = NULL;
        size_t len = hash_random(&seed) % sizeof(text);
        for (size_t i = 0; i < len; i++)
            text[i] = alphabet[hash_random(&seed) % (sizeof(alphabet) - 1)];
        set_texts(&s, span_of(text, len));
        (void)line_of(&s, OUTCOME_FAILED);
        sample_finish(&s);
    }
}

/* The longest there can be: every byte needs six, and sixteen tries. */
static void the_longest_line_fits(void **state)
{
    (void)state;
    struct sample s;
    struct attempt_record records[40];
    const struct model_target *passed[40];
    char text[4096];
    static const char worst[] = {1, '"', '\xff'};
    for (size_t w = 0; w < sizeof(worst); w++) {
        memset(text, worst[w], sizeof(text));
        for (size_t len = 0; len < 300; len += 7) {
            sample_init(&s);
            s.exchange.fault = FAULT_UPSTREAM_ERROR;
            s.exchange.bytes_in = s.exchange.bytes_out = s.exchange.facts.usage.input = UINT64_MAX;
            s.exchange.facts.finish = 31;
            set_texts(&s, span_of(text, len));
            for (size_t i = 0; i < ARRAY_LEN(records); i++) {
                records[i] = s.record;
                records[i].ended = UINT64_MAX;
                records[i].next = i + 1 < ARRAY_LEN(records) ? &records[i + 1] : NULL;
                passed[i] = &s.to;
            }
            s.attempts.first = records;
            s.attempts.passed = passed;
            s.attempts.passed_count = ARRAY_LEN(passed);
            (void)line_of(&s, OUTCOME_FAILED);
            sample_finish(&s);
        }
    }
}

static void long_texts_are_cut(void **state)
{
    (void)state;
    struct sample s;
    sample_init(&s);
    char text[1000];
    memset(text, 'u', sizeof(text));
    fields_add(&s.exchange.request.fields, &s.exchange.arena, SPAN("user-agent"), span_of(text, sizeof(text)));
    char part[256];
    (void)snprintf(part, sizeof(part), "\"user_agent\":\"%.200s\",", text);
    assert_true(line_has(&s, part));
    sample_finish(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_served_chat),
        cmocka_unit_test(a_stream_with_everything),
        cmocka_unit_test(a_malformed_request),
        cmocka_unit_test(numbers),
        cmocka_unit_test(tokens_are_estimated_when_unknown),
        cmocka_unit_test(retry_counts_are_digits),
        cmocka_unit_test(secrets_stay_out),
        cmocka_unit_test(any_bytes_make_a_line),
        cmocka_unit_test(random_texts_make_a_line),
        cmocka_unit_test(the_longest_line_fits),
        cmocka_unit_test(long_texts_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
