/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Targets that fail: what is tried again, where, and what the client gets in the end.
 */
#include <stdio.h>

#include "base/clock.h"
#include "gateway/exchange.h"
#include "support/rig.h"

#define ANSWER(status, length, body)                                                                                   \
    "HTTP/1.1 " status "\r\ncontent-type: application/json\r\ncontent-length: " #length "\r\n\r\n" body
#define GOOD ANSWER("200 OK", 2, "{}")

static const struct rig_setup two = {0};

static struct rig_client *ask(struct rig *rig, const char *model)
{
    struct rig_client *client = rig_client(rig);
    char body[64];
    (void)snprintf(body, sizeof(body), "{\"model\":\"%s\"}", model);
    rig_post(client, "/v1/chat/completions", body);
    rig_settle(rig);
    return client;
}

/* ---- answers that send the exchange on ---- */

static const char *first_answer;

static void moves_on(struct rig *rig)
{
    rig_reply(rig, "east", first_answer);
    rig_reply(rig, "west", GOOD);
    struct rig_client *client = ask(rig, "m");
    assert_int_equal(rig_answer(client, 0)->head.status, 200);
    assert_int_equal(rig->request_count, 2);
    rig_assert_body(&rig_asked(rig, 0)->message, "{\"model\":\"d\"}");
    rig_assert_body(&rig_asked(rig, 1)->message, "{\"model\":\"m\"}");
}

static void stays(struct rig *rig)
{
    rig_reply(rig, "east", first_answer);
    struct rig_client *client = ask(rig, "m");
    assert_int_equal(rig->request_count, 1);
    rig_assert_body(rig_answer(client, 0), "{\"error\":{}}");
    rig_assert_field(rig_answer(client, 0), "x-should-retry", NULL);
}

static void test_status(void **state)
{
    (void)state;
    static const char *const on[] = {
        ANSWER("429 Too Many", 2, "{}"), ANSWER("503 Unavailable", 2, "{}"), ANSWER("500 Error", 2, "{}"),
        ANSWER("408 Timeout", 2, "{}"),  ANSWER("401 Who", 2, "{}"),         ANSWER("403 No", 2, "{}"),
    };
    for (size_t i = 0; i < ARRAY_LEN(on); i++) {
        first_answer = on[i];
        rig_run(&two, moves_on);
    }
    static const char *const off[] = {ANSWER("400 Bad", 12, "{\"error\":{}}"), ANSWER("404 None", 12, "{\"error\":{}}"),
                                      ANSWER("422 No", 12, "{\"error\":{}}")};
    for (size_t i = 0; i < ARRAY_LEN(off); i++) {
        first_answer = off[i];
        rig_run(&two, stays);
    }
}

/* The last target's own answer is the client's, and says that trying again is no use; never on 429. */
static void last_answer(struct rig *rig)
{
    rig_reply(rig, "east", ANSWER("429 Too Many", 2, "{}"));
    rig_reply(rig, "west", ANSWER("503 Unavailable", 7, "{\"w\":1}"));
    struct rig_client *client = ask(rig, "m");
    assert_int_equal(rig_answer(client, 0)->head.status, 503);
    rig_assert_body(rig_answer(client, 0), "{\"w\":1}");
    rig_assert_field(rig_answer(client, 0), "x-should-retry", "false");
    rig_reply(rig, "east", "HTTP/1.1 429 Too Many\r\nretry-after: 5\r\ncontent-length: 0\r\n\r\n");
    client = ask(rig, "only");
    assert_int_equal(rig_answer(client, 0)->head.status, 429);
    rig_assert_field(rig_answer(client, 0), "retry-after", "5");
    rig_assert_field(rig_answer(client, 0), "x-should-retry", NULL);
}

/* A retry-after rests the target for that long. */
static void cooldown(struct rig *rig)
{
    rig_reply(rig, "east", "HTTP/1.1 429 Too Many\r\nretry-after-ms: 3000\r\ncontent-length: 0\r\n\r\n");
    rig_reply(rig, "east", GOOD);
    rig_reply(rig, "west", GOOD);
    rig_reply(rig, "west", GOOD);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(rig_answer(ask(rig, "m"), 0)->head.status, 200);
    assert_int_equal(rig->request_count, 3);
    assert_string_equal(rig_asked(rig, 2)->host, "west");
    rig_pass(rig, 3100 * CLOCK_MS);
    assert_int_equal(rig_answer(ask(rig, "m"), 0)->head.status, 200);
    assert_string_equal(rig_asked(rig, 3)->host, "east");
}

/* A reload does not send anybody back to a target that rests. */
static void cooldown_across_a_reload(struct rig *rig)
{
    rig_reply(rig, "east", "HTTP/1.1 429 Too Many\r\nretry-after-ms: 3000\r\ncontent-length: 0\r\n\r\n");
    rig_reply(rig, "west", GOOD);
    assert_int_equal(rig_answer(ask(rig, "m"), 0)->head.status, 200);
    rig_load(rig, &(struct rig_setup){.filters = "more: {type: probe}", .order = "more"});
    rig_reply(rig, "west", GOOD);
    assert_int_equal(rig_answer(ask(rig, "m"), 0)->head.status, 200);
    assert_string_equal(rig_asked(rig, 2)->host, "west");
    rig_load(rig, &two);
    rig_pass(rig, 3100 * CLOCK_MS);
    rig_reply(rig, "east", GOOD);
    assert_int_equal(rig_answer(ask(rig, "m"), 0)->head.status, 200);
    assert_string_equal(rig_asked(rig, 3)->host, "east");
}

/* Our credential was refused: that is no hint to the client that its own is bad. */
static void refused_credential(struct rig *rig)
{
    rig_reply(rig, "east", ANSWER("401 Who", 2, "{}"));
    struct rig_client *client = ask(rig, "only");
    assert_int_equal(rig_answer(client, 0)->head.status, 502);
    assert_true(rig_body_has(rig_answer(client, 0), "upstream_credential_refused"));
}

/* ---- connections ---- */

static void not_connected(struct rig *rig)
{
    rig->refused[0] = "east";
    rig_reply(rig, "west", GOOD);
    rig_reply(rig, "west", GOOD);
    assert_int_equal(rig_answer(ask(rig, "m"), 0)->head.status, 200);
    assert_int_equal(rig_answer(ask(rig, "m"), 0)->head.status, 200);
    struct rig_client *client = ask(rig, "only");
    assert_int_equal(rig_answer(client, 0)->head.status, 502);
    assert_true(rig_body_has(rig_answer(client, 0), "upstream_connect_failed"));
    rig->refused[0] = NULL;
    rig_pass(rig, 60 * CLOCK_SECOND);
}

static void never_connected(struct rig *rig)
{
    rig->silent[0] = "east";
    struct rig_client *client = ask(rig, "only");
    rig_pass(rig, 120 * CLOCK_SECOND);
    assert_int_equal(rig_answer(client, 0)->head.status, 504);
    rig_pass(rig, 60 * CLOCK_SECOND);
}

/* Closed by the target while unused; sent again invisibly, also when there is no other target. */
static void stale(struct rig *rig)
{
    rig_reply(rig, "east", GOOD);
    assert_int_equal(rig_answer(ask(rig, "only"), 0)->head.status, 200);
    struct rig_client *client = rig_client(rig);
    rig_post(client, "/v1/chat/completions", "{\"model\":\"only\"}");
    /* The request meets the connection before its end is seen. */
    while (rig->request_count < 2)
        loop_turn(rig->worker->loop, false);
    rig_peer_close(rig->requests[1].peer);
    rig_reply(rig, "east", GOOD);
    rig_settle(rig);
    assert_int_equal(rig_answer(client, 0)->head.status, 200);
    assert_int_equal(rig->peer_count, 2);
    rig_assert_body(&rig_asked(rig, 2)->message, "{\"model\":\"only\"}");
}

/* The same for a body that is streamed: all of it arrives, or, when some has gone, the client learns that it did not.
 */
static void stale_streamed(struct rig *rig)
{
    struct rig_client *client = rig_client(rig);
    rig_reply(rig, "east", GOOD);
    rig_ask(client, "GET", "/raw", "", (struct span){0});
    rig_settle(rig);
    assert_int_equal(rig_answer(client, 0)->head.status, 200);
    struct rig_peer *peer = rig_asked(rig, 0)->peer;
    rig_ask(client, "POST", "/raw", "", SPAN("hello"));
    while (rig->request_count < 2)
        loop_turn(rig->worker->loop, false);
    rig_peer_close(peer);
    rig_reply(rig, "east", GOOD);
    /* The fresh connection takes longer than the filter, if there is one. */
    rig->connect_time = 2500 * CLOCK_MS;
    rig_settle(rig);
    rig_pass(rig, 3 * CLOCK_SECOND);
    rig_pass(rig, 3 * CLOCK_SECOND);
    unsigned status = rig_answer(client, 1)->head.status;
    if (status == 200)
        rig_assert_body(&rig_asked(rig, rig->request_count - 1)->message, "hello");
    else
        assert_int_equal(status, 502);
}

static void test_stale_streamed(void **state)
{
    (void)state;
    static const char rest[] = "targets:\n"
                               "  - {name: east, openai: {url: \"http://east.test/v1\"}}\n"
                               "models:\n"
                               "  - {name: m, targets: [{target: east}]}\n"
                               "passthrough:\n"
                               "  - {path: /raw, target: east}\n";
    rig_run(&(struct rig_setup){.rest = rest}, stale_streamed);
    rig_run(&(struct rig_setup){.rest = rest,
                                .filters = "a: {type: probe, at: request-body, do: wait, after: 2s}",
                                .order = "a"},
            stale_streamed);
}

/* The client's credentials stay here, in whatever form it sends them. */
static void no_credentials(struct rig *rig)
{
    rig_reply(rig, "east", GOOD);
    rig_reply(rig, "east", GOOD);
    struct rig_client *client = rig_client(rig);
    static const char fields[] = "authorization: Bearer k\r\napi-key: k\r\ncookie: k\r\nproxy-authorization: k\r\n"
                                 "x-forwarded-for: 1.2.3.4\r\nconnection: keep-alive, x-hop\r\nx-hop: 1\r\n";
    rig_ask(client, "POST", "/raw?a=1&api-key=k&b=2", fields, SPAN("hello"));
    rig_ask(client, "POST", "/v1/chat/completions?api-key=k&c=3", fields, SPAN("{\"model\":\"m\"}"));
    rig_settle(rig);
    static const char *const names[] = {"authorization",       "api-key",         "cookie",
                                        "proxy-authorization", "x-forwarded-for", "x-hop"};
    static const char *const targets[] = {"/raw?a=1&b=2", "/v1/chat/completions?c=3"};
    for (unsigned n = 0; n < 2; n++) {
        const struct rig_message *asked = &rig_asked(rig, n)->message;
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
            rig_assert_field(asked, names[i], NULL);
        if (!span_equal(asked->head.target, span_str(targets[n])))
            fail_msg("asked for %.*s", SPAN_ARG(asked->head.target));
    }
}

static void test_no_credentials(void **state)
{
    (void)state;
    rig_run(&(struct rig_setup){.rest = "targets:\n"
                                        "  - {name: east, openai: {url: \"http://east.test/v1\"}}\n"
                                        "models:\n"
                                        "  - {name: m, targets: [{target: east}]}\n"
                                        "passthrough:\n"
                                        "  - {path: /raw, target: east}\n"},
            no_credentials);
}

/* A fresh connection that dies is a failure. */
static void dies_fresh(struct rig *rig)
{
    struct rig_client *client = ask(rig, "only");
    rig_peer_reset(rig_asked(rig, 0)->peer);
    rig_settle(rig);
    assert_int_equal(rig_answer(client, 0)->head.status, 502);
    assert_int_equal(rig->request_count, 1);
}

static void dies_in_head(struct rig *rig)
{
    rig_reply_span(rig, "east", SPAN("HTTP/1.1 200 OK\r\ncontent-le"))->close_after = true;
    rig_reply(rig, "west", GOOD);
    assert_int_equal(rig_answer(ask(rig, "m"), 0)->head.status, 200);
    assert_int_equal(rig->request_count, 2);
}

/* The head of a plain answer commits: what breaks later can only be cut. */
static void dies_in_body(struct rig *rig)
{
    rig_reply_span(rig, "east", SPAN("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbeginning"))->close_after = true;
    struct rig_client *client = ask(rig, "m");
    if (rig->dribble && client->answer_count) { /* a filter kept the head back until the end was seen */
        assert_int_equal(rig_answer(client, 0)->head.status, 502);
    } else {
        assert_int_equal(client->answer_count, 0);
        assert_true(client->eof || client->failed);
    }
    assert_int_equal(rig->request_count, 1);
}

static void not_http(struct rig *rig)
{
    rig_reply(rig, "east", "SSH-2.0-OpenSSH\r\n\r\n");
    rig_reply(rig, "west", GOOD);
    assert_int_equal(rig_answer(ask(rig, "m"), 0)->head.status, 200);
    rig_reply(rig, "east", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n1");
    struct rig_client *client = ask(rig, "only");
    assert_int_equal(rig_answer(client, 0)->head.status, 502);
    assert_true(rig_body_has(rig_answer(client, 0), "upstream_protocol_error"));
}

/* ---- time ---- */

static void silence(struct rig *rig)
{
    struct rig_client *client = ask(rig, "only");
    rig_pass(rig, 599 * CLOCK_SECOND);
    assert_int_equal(client->answer_count, 0);
    rig_pass(rig, 2 * CLOCK_SECOND);
    assert_int_equal(rig_answer(client, 0)->head.status, 504);
    assert_true(rig_body_has(rig_answer(client, 0), "upstream_timeout"));
    assert_null(rig->peers[0].end);
}

/* The client's own patience is honoured. */
static void stainless(struct rig *rig)
{
    struct rig_client *client = rig_client(rig);
    rig_ask(client, "POST", "/v1/chat/completions", "x-stainless-read-timeout: 10\r\n", SPAN("{\"model\":\"only\"}"));
    rig_settle(rig);
    rig_pass(rig, 9 * CLOCK_SECOND);
    assert_int_equal(client->answer_count, 0);
    rig_pass(rig, 2 * CLOCK_SECOND);
    assert_int_equal(rig_answer(client, 0)->head.status, 504);
}

/* A client that never finishes its request. */
static void slow_request(struct rig *rig)
{
    struct rig_client *client = rig_client(rig);
    rig_expect(client, HTTP_POST);
    rig_send(client, SPAN("POST /v1/chat/completions HTTP/1.1\r\nhost: rig\r\ncontent-length: 100\r\n\r\n{"));
    rig_settle(rig);
    rig_pass(rig, 600 * CLOCK_SECOND);
    assert_int_equal(rig_answer(client, 0)->head.status, 408);
    assert_int_equal(rig->worker->client_count, 0);
}

#define CASE(name)                                                                                                     \
    static void test_##name(void **state)                                                                              \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        rig_run(&two, name);                                                                                           \
    }
CASE(last_answer)
CASE(cooldown)
CASE(cooldown_across_a_reload)
CASE(refused_credential)
CASE(not_connected)
CASE(never_connected)
CASE(stale)
CASE(dies_fresh)
CASE(dies_in_head)
CASE(dies_in_body)
CASE(not_http)
CASE(silence)
CASE(stainless)
CASE(slow_request)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_last_answer),
        cmocka_unit_test(test_cooldown),
        cmocka_unit_test(test_refused_credential),
        cmocka_unit_test(test_not_connected),
        cmocka_unit_test(test_never_connected),
        cmocka_unit_test(test_stale),
        cmocka_unit_test(test_dies_fresh),
        cmocka_unit_test(test_stale_streamed),
        cmocka_unit_test(test_no_credentials),
        cmocka_unit_test(test_dies_in_head),
        cmocka_unit_test(test_dies_in_body),
        cmocka_unit_test(test_not_http),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_stainless),
        cmocka_unit_test(test_slow_request),
        cmocka_unit_test(test_cooldown_across_a_reload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
