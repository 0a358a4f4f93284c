/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The filter contract: order, verdicts in each position and hook, waiting that completes at once, later or never,
 * changed and held bytes.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "gateway/exchange.h"
#include "support/rig.h"

#define OK "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{\"a\":\"bcd\"}"
#define ROUTE                                                                                                          \
    "targets:\n"                                                                                                       \
    "  - {name: east, openai: {url: \"http://east.test/v1\"}}\n"                                                       \
    "models:\n"                                                                                                        \
    "  - {name: m, targets: [{target: east}]}\n"                                                                       \
    "passthrough:\n"                                                                                                   \
    "  - {path: /raw, target: east}\n"

static void assert_trace(struct rig *rig, const char *expected)
{
    struct span trace = buffer_span(&rig->trace);
    if (!span_equal(trace, span_str(expected)))
        fail_msg("trace is\n%.*s\nwanted\n%s", SPAN_ARG(trace), expected);
}

static struct rig_client *ask(struct rig *rig)
{
    rig_reply(rig, "east", OK);
    struct rig_client *client = rig_client(rig);
    rig_post(client, "/v1/chat/completions", "{\"model\":\"m\"}");
    rig_settle(rig);
    return client;
}

/* Streamed both ways: a passthrough. */
static struct rig_client *ask_raw(struct rig *rig)
{
    rig_reply(rig, "east", OK);
    struct rig_client *client = rig_client(rig);
    rig_ask(client, "POST", "/raw", "", SPAN("hello"));
    rig_settle(rig);
    return client;
}

/* ---- order ---- */

static void order(struct rig *rig)
{
    struct rig_client *client = ask(rig);
    rig_assert_body(rig_answer(client, 0), "{\"a\":\"bcd\"}");
    assert_trace(rig, "a:head b:head a:request b:request b:response a:response b:response-body a:response-body "
                      "b:end=completed a:end=completed ");
}

static void order_raw(struct rig *rig)
{
    struct rig_client *client = ask_raw(rig);
    rig_assert_body(rig_answer(client, 0), "{\"a\":\"bcd\"}");
    rig_assert_body(&rig_asked(rig, 0)->message, "hello");
    assert_trace(rig, "a:head b:head a:request b:request a:request-body b:request-body b:response a:response "
                      "b:response-body a:response-body b:end=completed a:end=completed ");
}

static void test_order(void **state)
{
    (void)state;
    const struct rig_setup setup = {.filters = "a: {type: probe}, b: {type: probe}", .order = "a, b", .rest = ROUTE};
    rig_run(&setup, order);
    rig_run(&setup, order_raw);
}

/* ---- answers and failures ---- */

struct verdict_case {
    const char *filters, *trace;
    unsigned status;
    bool asks; /* a target is asked all the same */
};

static const struct verdict_case *verdict_case;

static void verdicts(struct rig *rig)
{
    struct rig_client *client = ask(rig);
    const struct rig_message *answer = rig_answer(client, 0);
    assert_int_equal(answer->head.status, verdict_case->status);
    assert_int_equal(rig->request_count, verdict_case->asks ? 1 : 0);
    if (verdict_case->status == 203)
        rig_assert_body(answer, "answered");
    else
        assert_true(rig_body_has(answer, "\"message\":\"n"));
    assert_true(fields_value(&answer->head.fields, FIELD_X_REQUEST_ID).len > 0);
    assert_trace(rig, verdict_case->trace);
    assert_false(client->eof);
}

static void test_verdicts(void **state)
{
    (void)state;
    static const struct verdict_case cases[] = {
        {"a: {type: probe, do: answer}, b: {type: probe}", "a:head b:end=answered a:end=answered ", 203, false},
        {"a: {type: probe}, b: {type: probe, do: answer}",
         "a:head b:head a:response a:response-body b:end=answered a:end=answered ", 203, false},
        {"a: {type: probe, at: request, do: answer}, b: {type: probe}",
         "a:head b:head a:request b:end=answered a:end=answered ", 203, false},
        {"a: {type: probe}, b: {type: probe, at: request, do: answer}",
         "a:head b:head a:request b:request a:response a:response-body b:end=answered a:end=answered ", 203, false},
        {"a: {type: probe}, b: {type: probe, do: fail}",
         "a:head b:head a:response a:response-body b:end=failed a:end=failed ", 403, false},
        {"a: {type: probe}, b: {type: probe, at: request, do: fail}",
         "a:head b:head a:request b:request a:response a:response-body b:end=failed a:end=failed ", 403, false},
        {"a: {type: probe}, b: {type: probe, do: wait, after: 0s, then: answer}",
         "a:head b:head a:response a:response-body b:end=answered a:end=answered ", 203, false},
        {"a: {type: probe}, b: {type: probe, at: request, do: wait, after: 0s, then: fail}",
         "a:head b:head a:request b:request a:response a:response-body b:end=failed a:end=failed ", 403, false},
        {"a: {type: probe}, b: {type: probe, at: response, do: answer}",
         "a:head b:head a:request b:request b:response a:response a:response-body b:end=answered a:end=answered ", 203,
         true},
        {"a: {type: probe}, b: {type: probe, at: response, do: fail}",
         "a:head b:head a:request b:request b:response a:response a:response-body b:end=failed a:end=failed ", 403,
         true},
        {"a: {type: probe}, b: {type: probe, at: response, do: wait, after: 0s, then: fail}",
         "a:head b:head a:request b:request b:response a:response a:response-body b:end=failed a:end=failed ", 403,
         true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].filters);
        verdict_case = &cases[i];
        rig_run(&(struct rig_setup){.filters = cases[i].filters, .order = "a, b", .rest = ROUTE}, verdicts);
    }
}

/* ---- waiting ---- */

static const char *const hooks[] = {"head", "request", "request-body", "response", "response-body"};
static const char *wait_hook;

static void waits_and_goes_on(struct rig *rig)
{
    struct rig_client *client = ask_raw(rig);
    rig_pass(rig, 5 * CLOCK_SECOND);
    rig_assert_body(rig_answer(client, 0), "{\"a\":\"bcd\"}");
    rig_assert_body(&rig_asked(rig, 0)->message, "hello");
    assert_trace(rig, "a:head b:head c:head a:request b:request c:request a:request-body b:request-body c:request-body "
                      "c:response b:response a:response c:response-body b:response-body a:response-body "
                      "c:end=completed b:end=completed a:end=completed ");
}

/* The deadline of its pending ends the exchange; what has left is not taken back. */
static void waits_for_ever(struct rig *rig)
{
    struct rig_client *client = ask_raw(rig);
    assert_int_equal(client->answer_count, 0);
    rig_pass(rig, 59 * CLOCK_SECOND);
    assert_int_equal(client->answer_count, 0);
    rig_pass(rig, 2 * CLOCK_SECOND);
    if (strcmp(wait_hook, "response-body") == 0) {
        assert_true(client->eof || client->failed);
        assert_int_equal(client->answer_count, 0);
    } else {
        assert_int_equal(rig_answer(client, 0)->head.status, 503);
    }
    assert_int_equal(rig->worker->exchange_count, 0);
}

/* The client leaves while a filter waits. */
static void left_waiting(struct rig *rig)
{
    struct rig_client *client = ask_raw(rig);
    rig_leave(client);
    rig_settle(rig);
    /* With bytes unread before its end a client that leaves is not seen; then the deadline finds it. */
    if (rig->dribble)
        rig_pass(rig, 61 * CLOCK_SECOND);
    assert_int_equal(rig->worker->exchange_count, 0);
    if (!rig->dribble)
        assert_true(span_ends_with(buffer_span(&rig->trace), SPAN("c:end=cancelled b:end=cancelled a:end=cancelled ")));
    /* A target that has not answered is left, too. */
    bool answered = strncmp(wait_hook, "response", 8) == 0;
    for (unsigned i = 0; i < rig->peer_count && !answered; i++)
        assert_null(rig->peers[i].end);
}

static void wait_everywhere(const char *after, void (*body)(struct rig *rig))
{
    static const char *const names[] = {"a", "b", "c"};
    for (size_t h = 0; h < ARRAY_LEN(hooks); h++)
        for (size_t n = 0; n < ARRAY_LEN(names); n++) {
            struct buffer filters = {0};
            for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                buffer_format(&filters, "%s%s: {type: probe", i ? ", " : "", names[i]);
                if (i == n)
                    buffer_format(&filters, ", at: %s, do: wait%s", hooks[h], after);
                buffer_append(&filters, SPAN("}"));
            }
            buffer_append(&filters, span_of("", 1));
            wait_hook = hooks[h];
            print_message("%s\n", filters.ptr + filters.start);
            rig_run(&(struct rig_setup){.filters = filters.ptr + filters.start, .order = "a, b, c", .rest = ROUTE},
                    body);
            buffer_finish(&filters);
        }
}

static void test_wait_at_once(void **state)
{
    (void)state;
    wait_everywhere(", after: 0s", waits_and_goes_on);
}

static void test_wait_later(void **state)
{
    (void)state;
    wait_everywhere(", after: 2s", waits_and_goes_on);
}

static void test_wait_for_ever(void **state)
{
    (void)state;
    wait_everywhere("", waits_for_ever);
}

static void test_leave_waiting(void **state)
{
    (void)state;
    wait_everywhere("", left_waiting);
}

/* ---- changed bytes ---- */

static void changed(struct rig *rig)
{
    struct rig_client *client = ask_raw(rig);
    rig_assert_body(rig_answer(client, 0), "{\"A\":\"BCD\"}!");
    rig_assert_body(&rig_asked(rig, 0)->message, "HELLO");
}

static void test_changed(void **state)
{
    (void)state;
    rig_run(&(struct rig_setup){.filters = "in: {type: probe, at: request-body, do: upper}, "
                                           "up: {type: probe, at: response-body, do: upper}, "
                                           "more: {type: probe, at: response-body, do: append}, "
                                           "held: {type: probe, at: response-body, do: hold}",
                                .order = "held, in, more, up",
                                .rest = ROUTE},
            changed);
}

/* ---- answers from a local source ---- */

static void streamed(struct rig *rig)
{
    for (unsigned i = 0; i < 2; i++) {
        struct rig_client *client = ask(rig);
        const struct rig_message *answer = rig_answer(client, 0);
        assert_int_equal(answer->head.status, 203);
        struct span body = buffer_span(&answer->body);
        assert_true(span_starts_with(body, SPAN("0 1 2 3 ")) && span_ends_with(body, SPAN(" 98 99 ")));
        assert_int_equal(body.len, 10 * 2 + 90 * 3);
        rig_leave(client);
        rig_settle(rig);
    }
    assert_true(span_ends_with(buffer_span(&rig->trace), SPAN("b:end=answered a:end=answered ")));
}

static void streamed_cut(struct rig *rig)
{
    struct rig_client *client = ask(rig);
    if (client->answer_count) { /* a filter kept the head back */
        assert_true(rig->dribble);
        assert_int_equal(rig_answer(client, 0)->head.status, 500);
    } else {
        assert_true(client->eof || client->failed);
        assert_false(rig_body_has(rig_partial(client), "50 "));
    }
    assert_int_equal(rig->worker->exchange_count, 0);
}

/* The client leaves as soon as it has the head. */
static void streamed_left(struct rig *rig)
{
    rig_reply(rig, "east", OK);
    struct rig_client *client = rig_client(rig);
    rig_post(client, "/v1/chat/completions", "{\"model\":\"m\"}");
    while (!client->answers[0].has_head)
        loop_turn(rig->worker->loop, false);
    rig_leave(client);
    rig_settle(rig);
    assert_int_equal(rig->worker->exchange_count, 0);
}

static void test_streamed(void **state)
{
    (void)state;
    static const char *const positions[] = {"head", "request", "response"};
    for (size_t i = 0; i < ARRAY_LEN(positions); i++) {
        char filters[160];
        (void)snprintf(filters, sizeof(filters), "a: {type: probe}, b: {type: probe, at: %s, do: stream}",
                       positions[i]);
        rig_run(&(struct rig_setup){.filters = filters, .order = "a, b", .rest = ROUTE}, streamed);
        (void)snprintf(filters, sizeof(filters),
                       "a: {type: probe, at: response-body, do: wait, after: 0s}, b: {type: probe, at: %s, do: stream}",
                       positions[i]);
        rig_run(&(struct rig_setup){.filters = filters, .order = "a, b", .rest = ROUTE}, streamed);
        rig_run(&(struct rig_setup){.filters = filters, .order = "a, b", .rest = ROUTE}, streamed_left);
        (void)snprintf(filters, sizeof(filters), "a: {type: probe}, b: {type: probe, at: %s, do: stream-cut}",
                       positions[i]);
        rig_run(&(struct rig_setup){.filters = filters, .order = "a, b", .rest = ROUTE}, streamed_cut);
    }
}

/* ---- a body hook that fails when the answer has begun ---- */

static void fails_late(struct rig *rig)
{
    struct rig_client *client = ask(rig);
    assert_true(client->eof || client->failed);
    assert_int_equal(client->answer_count, 0);
    assert_int_equal(rig->worker->exchange_count, 0);
}

static void test_fails_late(void **state)
{
    (void)state;
    rig_run(
        &(struct rig_setup){.filters = "a: {type: probe, at: response-body, do: fail}", .order = "a", .rest = ROUTE},
        fails_late);
    rig_run(&(struct rig_setup){.filters = "a: {type: probe, at: response-body, do: wait, after: 0s, then: fail}",
                                .order = "a",
                                .rest = ROUTE},
            fails_late);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),      cmocka_unit_test(test_verdicts),      cmocka_unit_test(test_wait_at_once),
        cmocka_unit_test(test_wait_later), cmocka_unit_test(test_wait_for_ever), cmocka_unit_test(test_leave_waiting),
        cmocka_unit_test(test_changed),    cmocka_unit_test(test_fails_late),    cmocka_unit_test(test_streamed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
