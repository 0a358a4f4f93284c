/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long an answer is good: the configuration's time, a request's Cache-Control, what stands in while a new one is
 * fetched or cannot be had; and what is never kept.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "support/rig.h"

#define ASK                                                                                                            \
    "{\"model\":\"only\",\"temperature\":0,\"messages\":[{\"role\":\"user\",\"content\":\"Tell me of the sea.\"}]}"
#define ANSWER(text, finish)                                                                                           \
    "{\"id\":\"c1\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"g\",\"choices\":[{\"index\":0,"  \
    "\"message\":{\"role\":\"assistant\",\"content\":\"" text "\"},\"finish_reason\":\"" finish "\"}],"                \
    "\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":4,\"total_tokens\":16}}"
#define OLD ANSWER("old", "stop")
#define NEW ANSWER("new", "stop")

#define RULES "rules: [{operations: [chat]}]"
static const struct rig_setup plain = {.filters = "answers: {type: cache, ttl_jitter: 0, ttl: 60s, " RULES "}",
                                       .order = "answers"};
static const struct rig_setup renews = {
    .filters = "answers: {type: cache, ttl_jitter: 0, ttl: 60s, stale_while_revalidate: 30s, " RULES "}",
    .order = "answers"};
static const struct rig_setup consoles = {
    .filters = "answers: {type: cache, ttl_jitter: 0, ttl: 60s, stale_if_error: 30s, " RULES "}", .order = "answers"};

/* ---- scripts ---- */

static void reply_with(struct rig *rig, const char *fields, const char *body)
{
    struct buffer text = {0};
    buffer_format(&text, "HTTP/1.1 200 OK\r\n%scontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s", fields,
                  strlen(body), body);
    rig_reply_span(rig, "east", arena_copy(&rig->arena, buffer_span(&text)));
    buffer_finish(&text);
}

static void reply(struct rig *rig, const char *body)
{
    reply_with(rig, "", body);
}

static const struct rig_message *ask(struct rig *rig, const char *control)
{
    struct rig_client *client = rig->client_count ? &rig->clients[rig->client_count - 1] : NULL;
    if (!client || client->eof) /* idle for too long */
        client = rig_client(rig);
    unsigned n = client->answer_count;
    char field[100] = "";
    if (*control)
        snprintf(field, sizeof(field), "Cache-Control: %s\r\n", control);
    rig_ask(client, "POST", "/v1/chat/completions", field, SPAN(ASK));
    rig_settle(rig);
    return rig_answer(client, n);
}

static void assert_status_field(const struct rig_message *answer, const char *expected)
{
    struct span value = fields_value(&answer->head.fields, FIELD_CACHE_STATUS);
    value = span_take(value, span_search(value, SPAN("; key=")));
    if (!span_equal(value, span_str(expected)))
        fail_msg("cache-status is \"%.*s\", wanted \"%s\"", SPAN_ARG(value), expected);
}

/* ---- a time of its own ---- */

static void ends(struct rig *rig)
{
    reply(rig, OLD);
    (void)ask(rig, "");
    rig_pass(rig, 59 * CLOCK_SECOND);
    assert_status_field(ask(rig, ""), "postern; hit; ttl=1");
    rig_pass(rig, 2 * CLOCK_SECOND);
    reply(rig, NEW);
    const struct rig_message *answer = ask(rig, "");
    rig_assert_body(answer, NEW);
    assert_status_field(answer, "postern; fwd=stale");
    rig_assert_body(ask(rig, ""), NEW);
    assert_int_equal(rig->request_count, 2);
}

static void test_ends(void **state)
{
    (void)state;
    rig_run(&plain, ends);
}

/* ---- what clients wish ---- */

static void wishes(struct rig *rig)
{
    static const struct {
        const char *control, *status;
    } cases[] = {
        {"max-age=10", "postern; hit; ttl=50"},     {"max-age=\"10\"", "postern; hit; ttl=50"},
        {"max-age=9", "postern; fwd=stale"},        {"Max-Age=0", "postern; fwd=stale"},
        {"max-age=x", "postern; fwd=stale"},        {"min-fresh=50", "postern; hit; ttl=50"},
        {"min-fresh=51", "postern; fwd=stale"},     {"max-age=99999999999999999999", "postern; fwd=stale"},
        {"no-cache", "postern; fwd=request"},       {"unheard-of=1, no-cache", "postern; fwd=request"},
        {"only-if-cached", "postern; hit; ttl=50"}, {"private", "postern; hit; ttl=50"},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        reply(rig, OLD);
        (void)ask(rig, "no-cache");
        unsigned before = rig->request_count;
        rig_pass(rig, 10 * CLOCK_SECOND);
        bool hit = strstr(cases[i].status, "hit") != NULL;
        if (!hit)
            reply(rig, NEW);
        const struct rig_message *answer = ask(rig, cases[i].control);
        rig_assert_body(answer, hit ? OLD : NEW);
        assert_status_field(answer, cases[i].status);
        assert_int_equal(rig->request_count, hit ? before : before + 1);
    }
}

static void only_if_cached(struct rig *rig)
{
    const struct rig_message *answer = ask(rig, "only-if-cached");
    assert_int_equal(answer->head.status, 504);
    assert_true(rig_body_has(answer, "not_cached"));
    rig_assert_field(answer, "x-should-retry", "false");
    assert_int_equal(rig->request_count, 0);
}

static void test_wishes(void **state)
{
    (void)state;
    rig_run(&plain, wishes);
    rig_run(&plain, only_if_cached);
}

/* ---- what stands in ---- */

static void while_renewed(struct rig *rig)
{
    reply(rig, OLD);
    (void)ask(rig, "");
    rig_pass(rig, 70 * CLOCK_SECOND);
    const struct rig_message *first = ask(rig, ""), *second = ask(rig, "");
    rig_assert_body(first, OLD);
    rig_assert_body(second, OLD);
    assert_status_field(first, "postern; hit; ttl=-10");
    rig_assert_field(first, "age", "70");
    /* One asks behind both, and its client is nobody. */
    assert_int_equal(rig->request_count, 2);
    struct buffer text = {0};
    buffer_format(&text, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n" NEW,
                  strlen(NEW));
    buffer_append(&text, span_of("", 1));
    rig_peer_send(rig_asked(rig, 1)->peer, buffer_span(&text).ptr);
    buffer_finish(&text);
    rig_settle(rig);
    const struct rig_message *third = ask(rig, "");
    rig_assert_body(third, NEW);
    assert_status_field(third, "postern; hit; ttl=60");
    assert_int_equal(rig->request_count, 2);
}

/* Beyond its time nothing stands in. */
static void too_old(struct rig *rig)
{
    reply(rig, OLD);
    (void)ask(rig, "");
    rig_pass(rig, 91 * CLOCK_SECOND);
    reply(rig, NEW);
    rig_assert_body(ask(rig, ""), NEW);
}

static void not_wished(struct rig *rig)
{
    reply(rig, OLD);
    (void)ask(rig, "");
    rig_pass(rig, 70 * CLOCK_SECOND);
    reply(rig, NEW);
    rig_assert_body(ask(rig, "max-age=100"), NEW);
}

static void test_while_renewed(void **state)
{
    (void)state;
    rig_run(&renews, while_renewed);
    rig_run(&renews, too_old);
    rig_run(&renews, not_wished);
}

#define BUSY "HTTP/1.1 503 Busy\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
#define BAD  "HTTP/1.1 400 Bad\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"

static void if_error(struct rig *rig)
{
    reply(rig, OLD);
    (void)ask(rig, "");
    rig_pass(rig, 70 * CLOCK_SECOND);
    rig_reply(rig, "east", BUSY);
    const struct rig_message *answer = ask(rig, "");
    rig_assert_body(answer, OLD);
    assert_status_field(answer, "postern; hit; fwd=stale; ttl=-10");
    assert_int_equal(answer->head.status, 200);
    /* Nor need there be an answer at all. */
    for (unsigned i = 0; i < rig->peer_count; i++)
        if (rig->peers[i].end)
            rig_peer_close(&rig->peers[i]);
    rig->refused[0] = "east";
    rig_settle(rig);
    rig_assert_body(ask(rig, ""), OLD);
    /* The client may forbid it, and ask for more than the configuration gives. */
    assert_int_equal(ask(rig, "stale-if-error=0")->head.status, 502);
    assert_int_equal(ask(rig, "max-age=5")->head.status, 502);
    rig_pass(rig, 60 * CLOCK_SECOND);
    assert_int_equal(ask(rig, "")->head.status, 502);
    rig_assert_body(ask(rig, "stale-if-error=100"), OLD);
}

/* A client's own mistake is no reason. */
static void not_if_bad(struct rig *rig)
{
    reply(rig, OLD);
    (void)ask(rig, "");
    rig_pass(rig, 70 * CLOCK_SECOND);
    rig_reply(rig, "east", BAD);
    assert_int_equal(ask(rig, "")->head.status, 400);
}

static void test_if_error(void **state)
{
    (void)state;
    rig_run(&consoles, if_error);
    rig_run(&consoles, not_if_bad);
}

/* ---- what is never kept ---- */

static void never(struct rig *rig)
{
    static const struct {
        const char *fields, *body;
    } cases[] = {
        {"", ANSWER("x", "content_filter")},
        {"", "{\"error\":{\"message\":\"no\"}}"},
        {"", "{\"object\":\"chat.completion\",\"choices\":[]}"},
        {"", "not JSON"},
        {"content-encoding: gzip\r\n", OLD},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++)
        for (unsigned twice = 0; twice < 2; twice++) {
            reply_with(rig, cases[i].fields, cases[i].body);
            rig_assert_body(ask(rig, ""), cases[i].body);
            assert_int_equal(rig->request_count, 2 * i + twice + 1);
        }
}

static void too_large(struct rig *rig)
{
    char *body = arena_bytes(&rig->arena, 2000), *at = body;
    memcpy(at, OLD, sizeof(OLD) - 2);
    memset(at + sizeof(OLD) - 2, ' ', 1200);
    memcpy(at + sizeof(OLD) - 2 + 1200, "}", 2);
    for (unsigned twice = 0; twice < 2; twice++) {
        reply(rig, body);
        rig_assert_body(ask(rig, ""), body);
        assert_int_equal(rig->request_count, twice + 1);
    }
}

static const struct rig_setup small = {.filters = "answers: {type: cache, max_size: 1KiB, " RULES "}",
                                       .order = "answers"};

static void test_never(void **state)
{
    (void)state;
    rig_run(&plain, never);
    rig_run(&small, too_large);
}

/* ---- a reload ---- */

/* What is kept is kept by the name; another pool of targets is another key. */
static void reloaded(struct rig *rig)
{
    reply(rig, OLD);
    (void)ask(rig, "");
    struct rig_setup same = renews;
    rig_load(rig, &same);
    rig_assert_body(ask(rig, ""), OLD);
    same.rest = "targets:\n  - {name: east, openai: {url: \"http://east.test/v1\"}}\n"
                "models:\n  - {name: only, targets: [{target: east, deployment: other}]}\n";
    rig_load(rig, &same);
    reply(rig, NEW);
    rig_assert_body(ask(rig, ""), NEW);
    assert_int_equal(rig->request_count, 2);
}

static void test_reloaded(void **state)
{
    (void)state;
    rig_run(&plain, reloaded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ends),     cmocka_unit_test(test_wishes), cmocka_unit_test(test_while_renewed),
        cmocka_unit_test(test_if_error), cmocka_unit_test(test_never),  cmocka_unit_test(test_reloaded),
    };
    cmocka_set_test_filter(getenv("RIG_TEST"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
