/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Things that overlap: answers that begin before their request has ended, configurations that change under those who
 * wait, lengths that are not what was announced.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "gateway/exchange.h"
#include "support/rig.h"

#define OK "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
#define ROUTE                                                                                                          \
    "targets:\n"                                                                                                       \
    "  - {name: east, openai: {url: \"http://east.test/v1\"}}\n"                                                       \
    "models:\n"                                                                                                        \
    "  - {name: d, targets: [{target: east}]}\n"                                                                       \
    "passthrough:\n"                                                                                                   \
    "  - {path: /raw, target: east}\n"

/* ---- the answer begins while the request is being sent ---- */

#define LARGE 600000

static const char *early_path;
static bool early_is_whole; /* the answer ends, too, before the target reads on */

/* What the target has not read by then still is the request, byte for byte, and the connection stays in step. */
static void early(struct rig *rig)
{
    rig->capacity = 20000;
    rig->deaf_targets = true;
    char *body = memory_alloc(LARGE);
    memset(body, 'a', LARGE);
    for (size_t i = 20; i < LARGE - 2; i++)
        body[i] = (char)('a' + i / 7 % 26);
    memcpy(body, "{\"model\":\"d\",\"x\":\"", 18);
    memcpy(body + LARGE - 2, "\"}", 2);
    struct rig_client *client = rig_client(rig);
    rig_ask(client, "POST", early_path, "", span_of(body, LARGE));
    rig_settle(rig);
    struct rig_peer *peer = &rig->peers[0];
    rig_peer_send(peer, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{");
    if (early_is_whole)
        rig_peer_send(peer, "}");
    rig_settle(rig);
    if (!early_is_whole)
        assert_int_equal(rig_partial(client)->head.status, 200);
    transport_want(peer->end, true);
    rig_settle(rig);
    const struct rig_message *asked = &rig_asked(rig, 0)->message;
    if (!early_is_whole) {
        assert_true(asked->complete);
        assert_true(span_equal(buffer_span(&asked->body), span_of(body, LARGE)));
        rig_peer_send(peer, "}");
        rig_reply(rig, "east", OK);
        rig_settle(rig);
        rig_post(client, "/v1/chat/completions", "{\"model\":\"d\"}");
        rig_settle(rig);
        rig_assert_body(rig_answer(client, 1), "{}");
        rig_assert_body(&rig_asked(rig, 1)->message, "{\"model\":\"d\"}");
    } else {
        assert_true(peer->eof || peer->failed);
        assert_true(span_starts_with(span_of(body, LARGE), buffer_span(&asked->body)));
    }
    rig_assert_body(rig_answer(client, 0), "{}");
    free(body);
}

static void test_early(void **state)
{
    (void)state;
    static const char *const paths[] = {"/v1/chat/completions", "/raw"};
    for (unsigned i = 0; i < 4; i++) {
        early_path = paths[i & 1];
        early_is_whole = i >> 1;
        rig_run(&(struct rig_setup){.rest = ROUTE, .large = true}, early);
    }
}

/* ---- lengths that do not hold ---- */

#define EVENTS                                                                                                         \
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}],\"usage\":null}\n\n"                             \
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1,\"total_tokens\":2}}\n\n"            \
    "data: [DONE]\n\n"

/* An event stream of known length loses the event that only we asked for: the next answer must not be taken for its
 * end. */
static void hidden_of_length(struct rig *rig)
{
    struct buffer reply = {0};
    buffer_format(&reply, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %zu\r\n\r\n%s",
                  strlen(EVENTS), EVENTS);
    rig_reply_span(rig, "east", buffer_span(&reply));
    rig_reply(rig, "east", OK);
    struct rig_client *client = rig_client(rig);
    rig_post(client, "/v1/chat/completions", "{\"model\":\"d\",\"stream\":true}");
    rig_post(client, "/v1/chat/completions", "{\"model\":\"d\"}");
    rig_settle(rig);
    assert_false(rig_body_has(rig_answer(client, 0), "total_tokens"));
    assert_true(rig_body_has(rig_answer(client, 0), "[DONE]"));
    rig_assert_body(rig_answer(client, 1), "{}");
    buffer_finish(&reply);
}

static void test_hidden_of_length(void **state)
{
    (void)state;
    rig_run(&(struct rig_setup){.rest = ROUTE}, hidden_of_length);
}

/* The error event that is added to a broken stream of known length is the end of that answer, not the next one's
 * beginning. */
static void broken_of_length(struct rig *rig)
{
    static const char events[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 5000\r\n\r\n"
                                 "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\n";
    rig_reply_span(rig, "east", span_str(events))->close_after = true;
    rig_reply(rig, "east", OK);
    struct rig_client *client = rig_client(rig);
    rig_post(client, "/v1/chat/completions", "{\"model\":\"d\",\"stream\":true}");
    rig_post(client, "/v1/chat/completions", "{\"model\":\"d\"}");
    rig_settle(rig);
    assert_true(rig_body_has(rig_answer(client, 0), "\"error\""));
    rig_assert_body(rig_answer(client, 1), "{}");
}

static void test_broken_of_length(void **state)
{
    (void)state;
    rig_run(&(struct rig_setup){.rest = ROUTE}, broken_of_length);
}

static void longer_by_filter(struct rig *rig)
{
    rig_reply(rig, "east", OK);
    rig_reply(rig, "east", OK);
    struct rig_client *client = rig_client(rig);
    for (unsigned i = 0; i < 2; i++) {
        rig_ask(client, "POST", "/raw", "", SPAN("hello"));
        rig_settle(rig);
        rig_assert_body(&rig_asked(rig, i)->message, "hello!");
        rig_assert_body(rig_answer(client, i), "{}");
    }
}

static void test_longer_by_filter(void **state)
{
    (void)state;
    rig_run(
        &(struct rig_setup){.rest = ROUTE, .filters = "a: {type: probe, at: request-body, do: append}", .order = "a"},
        longer_by_filter);
}

/* ---- a reload under those who wait ---- */

#define NARROW                                                                                                         \
    "targets:\n"                                                                                                       \
    "  - {name: east, max_connections: 1, openai: {url: \"http://east.test/v1\"}}\n"                                   \
    "  - {name: west, openai: {url: \"http://west.test/v1\"}}\n"                                                       \
    "models:\n"                                                                                                        \
    "  - {name: only, targets: [{target: east}]}\n"                                                                    \
    "  - {name: m, targets: [{target: west, priority: 1}, {target: east, priority: 2}]}\n"
#define MOVED                                                                                                          \
    "targets:\n"                                                                                                       \
    "  - {name: east, openai: {url: \"http://moved.test/v1\"}}\n"                                                      \
    "  - {name: west, openai: {url: \"http://west.test/v1\"}}\n"                                                       \
    "models:\n"                                                                                                        \
    "  - {name: only, targets: [{target: east}]}\n"                                                                    \
    "  - {name: m, targets: [{target: west, priority: 1}, {target: east, priority: 2}]}\n"

static struct rig_client *ask(struct rig *rig, const char *json)
{
    struct rig_client *client = rig_client(rig);
    rig_post(client, "/v1/chat/completions", json);
    rig_settle(rig);
    return client;
}

/* Who waits for the one connection there may be gets it, though its endpoint has gone from the configuration. */
static void waits_for_retired(struct rig *rig)
{
    struct rig_client *has = ask(rig, "{\"model\":\"only\"}"), *waits = ask(rig, "{\"model\":\"only\"}");
    assert_int_equal(rig->request_count, 1);
    rig_load(rig, &(struct rig_setup){.rest = MOVED});
    rig_reply(rig, "moved", OK);
    rig_assert_body(rig_answer(ask(rig, "{\"model\":\"only\"}"), 0), "{}");
    rig_peer_send(rig_asked(rig, 0)->peer, OK);
    rig_settle(rig);
    rig_assert_body(rig_answer(has, 0), "{}");
    assert_int_equal(rig->request_count, 3);
    assert_string_equal(rig_asked(rig, 2)->host, "east");
    rig_peer_send(rig_asked(rig, 2)->peer, OK);
    rig_settle(rig);
    rig_assert_body(rig_answer(waits, 0), "{}");
    assert_int_equal(rig->peer_count, 2);
    assert_null(rig_asked(rig, 0)->peer->end);
}

static void test_waits_for_retired(void **state)
{
    (void)state;
    rig_run(&(struct rig_setup){.rest = NARROW}, waits_for_retired);
}

/* An exchange of the configuration before moves on to a target that the present one has elsewhere: each goes its way,
 * and nothing of the old one is used when it has gone. */
static void moves_on_to_former(struct rig *rig)
{
    struct rig_client *old = ask(rig, "{\"model\":\"m\"}");
    rig_load(rig, &(struct rig_setup){.rest = MOVED});
    rig_reply(rig, "moved", OK);
    rig_assert_body(rig_answer(ask(rig, "{\"model\":\"only\"}"), 0), "{}");
    rig_reply(rig, "east", OK);
    rig_peer_send(rig_asked(rig, 0)->peer, "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n");
    rig_settle(rig);
    rig_assert_body(rig_answer(old, 0), "{}");
    assert_string_equal(rig_asked(rig, 2)->host, "east");
    assert_null(rig_asked(rig, 2)->peer->end);
    rig_pass(rig, 5 * CLOCK_SECOND);
    rig_reply(rig, "west", OK);
    rig_assert_body(rig_answer(ask(rig, "{\"model\":\"m\"}"), 0), "{}");
    rig_reply(rig, "moved", OK);
    rig_assert_body(rig_answer(ask(rig, "{\"model\":\"only\"}"), 0), "{}");
    rig_load(rig, &(struct rig_setup){.rest = NARROW});
    rig_reply(rig, "east", OK);
    rig_assert_body(rig_answer(ask(rig, "{\"model\":\"only\"}"), 0), "{}");
}

static void test_moves_on_to_former(void **state)
{
    (void)state;
    rig_run(&(struct rig_setup){.rest = NARROW}, moves_on_to_former);
}

/* ---- one answer in another's place ---- */

static unsigned replaced_status;

static void replaced(struct rig *rig)
{
    struct rig_client *client = ask(rig, "{\"model\":\"d\"}");
    assert_int_equal(rig_answer(client, 0)->head.status, replaced_status);
    assert_false(rig_body_has(rig_answer(client, 0), " 98 99 "));
    assert_int_equal(rig->worker->exchange_count, 0);
}

/* A filter that refuses, or replaces, what another filter's local source was about to answer. */
static void test_replaced(void **state)
{
    (void)state;
    static const struct {
        const char *filters;
        unsigned status;
    } cases[] = {
        {"a: {type: probe, at: response, do: fail}, b: {type: probe, do: stream}", 403},
        {"a: {type: probe, at: response, do: answer}, b: {type: probe, do: stream}", 203},
        {"a: {type: probe, at: response, do: wait, after: 0s, then: fail}, b: {type: probe, do: stream}", 403},
        {"a: {type: probe, at: response, do: wait, after: 0s, then: answer}, b: {type: probe, do: stream}", 203},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        replaced_status = cases[i].status;
        rig_run(&(struct rig_setup){.rest = ROUTE, .filters = cases[i].filters, .order = "a, b"}, replaced);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_early),
        cmocka_unit_test(test_hidden_of_length),
        cmocka_unit_test(test_broken_of_length),
        cmocka_unit_test(test_longer_by_filter),
        cmocka_unit_test(test_waits_for_retired),
        cmocka_unit_test(test_moves_on_to_former),
        cmocka_unit_test(test_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
