/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits on whole exchanges: what each way to end is charged, what clients are told, who waits for whom.
 *
 * The quota lasts a day, so nothing drains while a test runs; what is left of it is read from the fields of a small
 * request whose own reservation is known.
 */
#include <stdio.h>

#include "base/clock.h"
#include "gateway/limits_memory.h"
#include "support/rig.h"

#define QUOTA 100000
/* Three tokens begin an answer, one is the most it may have. */
#define PROBE      "{\"model\":\"only\",\"messages\":[],\"max_tokens\":1}"
#define PROBE_COST 4
#define ASK                                                                                                            \
    "{\"model\":\"only\",\"max_tokens\":1000,\"messages\":[{\"role\":\"user\",\"content\":\"Tell me of the sea.\"}]}"
#define ASK_TWO                                                                                                        \
    "{\"model\":\"m\",\"max_tokens\":1000,\"messages\":[{\"role\":\"user\",\"content\":\"Tell me of the sea.\"}]}"
#define ASK_STREAM                                                                                                     \
    "{\"model\":\"only\",\"stream\":true,\"max_tokens\":1000,\"messages\":[{\"role\":\"user\",\"content\":\"Tell me "  \
    "of "                                                                                                              \
    "the sea.\"}]}"

#define JSON_HEAD "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
#define USED_30                                                                                                        \
    JSON_HEAD "content-length: "                                                                                       \
              "77\r\n\r\n{\"choices\":[],\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":10,\"x\":123456}}"
#define USED_NONE JSON_HEAD "x-ratelimit-remaining-tokens: 7\r\ncontent-length: 2\r\n\r\n{}"
#define BAD       "HTTP/1.1 400 Bad\r\ncontent-length: 2\r\n\r\n{}"
#define BUSY      "HTTP/1.1 503 Busy\r\ncontent-length: 2\r\n\r\n{}"
#define STREAM    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
#define CHUNK                                                                                                          \
    "5d\r\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"forty characters of the deep blue "               \
    "sea\"}}]}\n\n\r\n"

static const struct rig_setup daily = {
    .filters = "limit: {type: rate_limit, limits: [{name: day, tokens: 100000/day}]}", .order = "limit"};

static struct limits_table *table;

static unsigned open_reservations(void)
{
    return (unsigned)limits_table_counts(table).open;
}

static struct rig_client *ask(struct rig *rig, const char *body)
{
    struct rig_client *client = rig_client(rig);
    rig_post(client, "/v1/chat/completions", body);
    rig_settle(rig);
    return client;
}

static uint64_t field_number(const struct rig_message *message, const char *name)
{
    const struct field *field = fields_find_name(&message->head.fields, span_str(name));
    uint64_t value = 0;
    assert_non_null(field);
    assert_true(span_to_u64(field->value, &value));
    return value;
}

/* What has been charged until now. The probe itself is charged nothing: its target refuses it. */
static uint64_t used(struct rig *rig)
{
    rig_reply(rig, "east", BAD);
    const struct rig_message *answer = rig_answer(ask(rig, PROBE), 0);
    assert_int_equal(answer->head.status, 400);
    assert_int_equal(open_reservations(), 0);
    return QUOTA - PROBE_COST - field_number(answer, "x-ratelimit-remaining-tokens");
}

/* ---- ends ---- */

static void reported(struct rig *rig)
{
    rig_reply(rig, "east", USED_30);
    const struct rig_message *answer = rig_answer(ask(rig, ASK), 0);
    rig_assert_field(answer, "x-ratelimit-limit-tokens", "100000");
    assert_true(field_number(answer, "x-ratelimit-remaining-tokens") < QUOTA - 1000);
    assert_true(field_number(answer, "x-ratelimit-remaining-tokens") > QUOTA - 1040);
    assert_int_equal(used(rig), 30);
}

static void refused_upstream(struct rig *rig)
{
    rig_reply(rig, "east", BAD);
    (void)rig_answer(ask(rig, ASK), 0);
    rig_reply(rig, "east", BUSY);
    assert_int_equal(rig_answer(ask(rig, ASK), 0)->head.status, 503);
    assert_int_equal(used(rig), 0);
}

static void never_connected(struct rig *rig)
{
    rig->refused[0] = "east";
    assert_int_equal(rig_answer(ask(rig, ASK), 0)->head.status, 502);
    assert_int_equal(open_reservations(), 0);
    rig->refused[0] = NULL;
    assert_int_equal(used(rig), 0);
}

static void retried(struct rig *rig)
{
    rig_reply(rig, "east", BUSY);
    rig_reply(rig, "west", USED_30);
    assert_int_equal(rig_answer(ask(rig, ASK_TWO), 0)->head.status, 200);
    assert_int_equal(used(rig), 30);
}

static void streamed(struct rig *rig)
{
    rig_reply(rig, "east",
              STREAM CHUNK
              "56\r\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":21,\"completion_tokens\":12,\"xxxx\":"
              "123}} \n\n\r\ne\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
    assert_int_equal(rig_answer(ask(rig, ASK_STREAM), 0)->head.status, 200);
    assert_int_equal(used(rig), 33);
}

/* 37 characters were delivered: about nine tokens, and the question about as many. */
static void assert_estimated(struct rig *rig)
{
    uint64_t charged = used(rig);
    assert_true(charged >= 16 && charged <= 32);
}

static void cut_off(struct rig *rig)
{
    rig_reply_span(rig, "east", SPAN(STREAM CHUNK))->close_after = true;
    assert_int_equal(rig_answer(ask(rig, ASK_STREAM), 0)->head.status, 200);
    assert_estimated(rig);
}

static void left_in_stream(struct rig *rig)
{
    rig_reply(rig, "east", STREAM CHUNK);
    struct rig_client *client = ask(rig, ASK_STREAM);
    assert_int_equal(open_reservations(), 1);
    rig_leave(client);
    rig_settle(rig);
    assert_estimated(rig);
}

/* The target may have read the question; of an answer nobody knows. */
static void left_before_the_answer(struct rig *rig)
{
    struct rig_client *client = ask(rig, ASK);
    assert_int_equal(open_reservations(), 1);
    rig_leave(client);
    rig_settle(rig);
    uint64_t charged = used(rig);
    assert_true(charged >= 8 && charged <= 20);
}

static void left_before_the_request_was_whole(struct rig *rig)
{
    struct rig_client *client = rig_client(rig);
    rig_send(client, SPAN("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
                          "content-length: 500\r\n\r\n{\"model\":\"only\","));
    rig_settle(rig);
    rig_leave(client);
    rig_settle(rig);
    assert_int_equal(used(rig), 0);
}

static void survives_reload(struct rig *rig)
{
    rig_reply(rig, "east", USED_30);
    (void)rig_answer(ask(rig, ASK), 0);
    static const struct rig_setup larger = {
        .filters = "limit: {type: rate_limit, limits: [{name: day, tokens: 200000/day}]}", .order = "limit"};
    struct rig_client *across = ask(rig, ASK); /* reserved before, settled after */
    rig_load(rig, &larger);
    rig_leave(across);
    rig_settle(rig);
    uint64_t charged = used(rig) + QUOTA; /* of twice the quota */
    assert_true(charged >= 38 && charged <= 50);
}

/* ---- what is told ---- */

static const struct rig_setup told_setup = {
    .filters = "limit: {type: rate_limit, limits: [{name: burst, requests: 2/minute, per: [\"header:x-team\"]},"
               " {name: day, tokens: 5000/day}, {name: ghost, requests: 1/day, shadow: true}]}",
    .order = "limit"};

static void told(struct rig *rig)
{
    rig_reply(rig, "east", USED_NONE);
    const struct rig_message *answer = rig_answer(ask(rig, PROBE), 0);
    rig_assert_field(answer, "x-ratelimit-limit-requests", "2");
    rig_assert_field(answer, "x-ratelimit-remaining-requests", "1");
    rig_assert_field(answer, "x-ratelimit-limit-tokens", "5000");
    rig_assert_field(answer, "x-ratelimit-remaining-tokens", "4996"); /* ours, not the target's */
    rig_assert_field(answer, "ratelimit-policy", "\"burst\";q=2;w=60, \"day\";q=5000;w=86400;qu=\"tokens\"");
    rig_reply(rig, "east", BAD);
    (void)rig_answer(ask(rig, PROBE), 0);
    answer = rig_answer(ask(rig, PROBE), 0);
    assert_int_equal(answer->head.status, 429);
    assert_true(rig_body_has(answer, "\"type\":\"rate_limit_error\""));
    assert_true(rig_body_has(answer, "\"code\":\"rate_limit_exceeded\""));
    assert_true(rig_body_has(answer, "Rate limit burst reached: Limit 2 requests, Remaining 0, Requested 1."));
    rig_assert_field(answer, "x-ratelimit-remaining-requests", "0");
    assert_null(fields_find_name(&answer->head.fields, SPAN("x-should-retry")));
    /* What it says is true: a little earlier it is refused, then it is not. */
    uint64_t ms = field_number(answer, "retry-after-ms");
    assert_true(ms > 20000 && ms <= 30000);
    assert_int_equal(field_number(answer, "retry-after"), (ms + 999) / 1000);
    rig_pass(rig, (ms - 1000) * 1000);
    assert_int_equal(rig_answer(ask(rig, PROBE), 0)->head.status, 429);
    rig_pass(rig, 1000 * 1000);
    rig_reply(rig, "east", BAD);
    assert_int_equal(rig_answer(ask(rig, PROBE), 0)->head.status, 400);
    /* Another team has its own. */
    struct rig_client *other = rig_client(rig);
    rig_reply(rig, "east", BAD);
    rig_ask(other, "POST", "/v1/chat/completions", "x-team: b\r\n", SPAN(PROBE));
    rig_settle(rig);
    rig_assert_field(rig_answer(other, 0), "x-ratelimit-remaining-requests", "1");
}

static void too_large(struct rig *rig)
{
    const struct rig_message *answer =
        rig_answer(ask(rig, "{\"model\":\"only\",\"messages\":[],\"max_tokens\":5001}"), 0);
    assert_int_equal(answer->head.status, 429);
    assert_true(rig_body_has(answer, "\"code\":\"insufficient_quota\""));
    assert_true(rig_body_has(answer, "Request too large for rate limit day: Limit 5000 tokens, Requested 5004."));
    rig_assert_field(answer, "x-should-retry", "false");
    assert_null(fields_find_name(&answer->head.fields, SPAN("retry-after")));
    /* It cost nothing. */
    rig_reply(rig, "east", BAD);
    rig_assert_field(rig_answer(ask(rig, PROBE), 0), "x-ratelimit-remaining-tokens", "4996");
}

static void quota_is_used_up(struct rig *rig)
{
    struct rig_client *holder = ask(rig, "{\"model\":\"only\",\"messages\":[],\"max_tokens\":4000}");
    const struct rig_message *answer =
        rig_answer(ask(rig, "{\"model\":\"only\",\"messages\":[],\"max_tokens\":1000}"), 0);
    assert_int_equal(answer->head.status, 429);
    assert_true(rig_body_has(answer, "\"type\":\"insufficient_quota\""));
    assert_true(field_number(answer, "retry-after") > 60);
    rig_assert_field(answer, "x-should-retry", "false");
    rig_leave(holder);
    rig_settle(rig);
}

/* ---- at a time, and waiting ---- */

static const struct rig_setup parallel_setup = {
    .filters = "limit: {type: rate_limit, limits: [{name: parallel, concurrency: 2}]}", .order = "limit"};

static void at_a_time(struct rig *rig)
{
    struct rig_client *first = ask(rig, PROBE), *second = ask(rig, PROBE);
    const struct rig_message *answer = rig_answer(ask(rig, PROBE), 0);
    assert_int_equal(answer->head.status, 429);
    assert_true(field_number(answer, "retry-after-ms") > 0);
    rig_assert_field(answer, "ratelimit", "\"parallel\";r=0");
    rig_leave(first);
    rig_settle(rig);
    rig_reply(rig, "east", USED_NONE);
    assert_int_equal(rig_answer(ask(rig, PROBE), 0)->head.status, 200);
    rig_leave(second);
    rig_settle(rig);
    assert_int_equal(open_reservations(), 0);
}

static const struct rig_setup waiting_setup = {
    .filters =
        "limit: {type: rate_limit, max_waiting: 2, limits: [{name: slow, requests: 6/minute, burst: 1, max_wait: "
        "25s}]}",
    .order = "limit"};

static void waits(struct rig *rig)
{
    for (unsigned i = 0; i < 3; i++)
        rig_reply(rig, "east", USED_NONE);
    assert_int_equal(rig_answer(ask(rig, PROBE), 0)->head.status, 200);
    struct rig_client *first = ask(rig, PROBE), *second = ask(rig, PROBE);
    /* No third place. */
    assert_int_equal(rig_answer(ask(rig, PROBE), 0)->head.status, 429);
    assert_int_equal(first->answer_count + second->answer_count, 0);
    rig_pass(rig, 11 * CLOCK_SECOND);
    assert_int_equal(rig_answer(first, 0)->head.status, 200);
    assert_int_equal(second->answer_count, 0);
    rig_pass(rig, 10 * CLOCK_SECOND);
    assert_int_equal(rig_answer(second, 0)->head.status, 200);
    assert_int_equal(open_reservations(), 0);
}

static const struct rig_setup full_setup = {
    .filters = "limit: {type: rate_limit, max_waiting: 1, limits: [{name: rate, tokens: 6000/minute, burst: 100, "
               "max_wait: 5s}]}",
    .order = "limit"};

/* One who has no place in the queue does not pass those who have one, however little he asks for. */
static void nobody_passes_who_waits(struct rig *rig)
{
    struct rig_client *holder = ask(rig, "{\"model\":\"only\",\"messages\":[],\"max_tokens\":97}");
    struct rig_client *first = ask(rig, "{\"model\":\"only\",\"messages\":[],\"max_tokens\":97}");
    rig_pass(rig, 500 * CLOCK_MS);
    const struct rig_message *answer = rig_answer(ask(rig, PROBE), 0);
    assert_int_equal(answer->head.status, 429);
    assert_true(rig_body_has(answer, "Too many requests wait for rate limit rate already. Please try again in 5s."));
    rig_assert_field(answer, "retry-after", "5");
    assert_int_equal(first->answer_count, 0);
    rig_reply(rig, "east", USED_NONE);
    rig_pass(rig, 600 * CLOCK_MS);
    assert_int_equal(rig_answer(first, 0)->head.status, 200);
    rig_leave(holder);
    rig_settle(rig);
}

static void waits_in_vain(struct rig *rig)
{
    rig_reply(rig, "east", USED_NONE);
    assert_int_equal(rig_answer(ask(rig, PROBE), 0)->head.status, 200);
    struct rig_client *first = ask(rig, PROBE), *second = ask(rig, PROBE);
    rig_leave(first); /* its place in the queue goes with it */
    rig_settle(rig);
    rig_reply(rig, "east", USED_NONE);
    rig_pass(rig, 11 * CLOCK_SECOND);
    assert_int_equal(rig_answer(second, 0)->head.status, 200);
}

static const struct rig_setup place_setup = {
    .filters = "limit: {type: rate_limit, limits: [{name: place, concurrency: 1, max_wait: 3s}]}", .order = "limit"};

static void waits_for_a_place(struct rig *rig)
{
    struct rig_client *holder = ask(rig, PROBE), *next = ask(rig, PROBE), *last = ask(rig, PROBE);
    assert_int_equal(next->answer_count + last->answer_count, 0);
    rig_reply(rig, "east", USED_30);
    rig_reply(rig, "east", USED_NONE);
    rig_leave(holder); /* no clock moves: who ends wakes who waits */
    rig_settle(rig);
    assert_true(rig_body_has(rig_answer(next, 0), "usage"));
    assert_int_equal(rig_answer(last, 0)->head.status, 200);
    holder = ask(rig, PROBE);
    next = ask(rig, PROBE);
    rig_pass(rig, 4 * CLOCK_SECOND);
    assert_int_equal(rig_answer(next, 0)->head.status, 429);
    rig_leave(holder);
    rig_settle(rig);
}

/* ---- the list ---- */

/* The table of the filter is this run's alone; holding on to it shows what is open at any time. */
static void with_table(struct rig *rig, void (*body)(struct rig *rig))
{
    table = limits_table_get(SPAN("limit"), 64);
    body(rig);
    assert_int_equal(open_reservations(), 0);
    limits_table_unref(table);
}

#define CASE(setup, name)                                                                                              \
    static void run_##name(struct rig *rig)                                                                            \
    {                                                                                                                  \
        with_table(rig, name);                                                                                         \
    }                                                                                                                  \
    static void test_##name(void **state)                                                                              \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        rig_run(&(setup), run_##name);                                                                                 \
    }
#define CASES(X)                                                                                                       \
    X(daily, reported)                                                                                                 \
    X(daily, refused_upstream)                                                                                         \
    X(daily, never_connected)                                                                                          \
    X(daily, retried)                                                                                                  \
    X(daily, streamed)                                                                                                 \
    X(daily, cut_off)                                                                                                  \
    X(daily, left_in_stream)                                                                                           \
    X(daily, left_before_the_answer)                                                                                   \
    X(daily, left_before_the_request_was_whole)                                                                        \
    X(daily, survives_reload)                                                                                          \
    X(told_setup, told)                                                                                                \
    X(told_setup, too_large)                                                                                           \
    X(told_setup, quota_is_used_up)                                                                                    \
    X(parallel_setup, at_a_time)                                                                                       \
    X(waiting_setup, waits)                                                                                            \
    X(full_setup, nobody_passes_who_waits)                                                                             \
    X(waiting_setup, waits_in_vain)                                                                                    \
    X(place_setup, waits_for_a_place)
CASES(CASE)

#define LISTED(setup, name) cmocka_unit_test(test_##name),

int main(void)
{
    const struct CMUnitTest tests[] = {CASES(LISTED)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
