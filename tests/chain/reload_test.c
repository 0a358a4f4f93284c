/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens around exchanges: a configuration that changes under them, draining, and the mock model as a target.
 */
#include "base/clock.h"
#include "gateway/exchange.h"
#include "support/rig.h"

#define OK "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
#define MOCK                                                                                                           \
    "targets:\n"                                                                                                       \
    "  - {name: mock, mock: {chunk_interval: 10ms, chunks: 20}}\n"                                                     \
    "  - {name: dead, openai: {url: \"http://dead.test/v1\"}}\n"                                                       \
    "models:\n"                                                                                                        \
    "  - {name: m, targets: [{target: mock}]}\n"                                                                       \
    "  - {name: second, targets: [{target: dead, priority: 1}, {target: mock, priority: 2}]}\n"

static const struct rig_setup two = {0};
static const struct rig_setup mock = {.rest = MOCK};
static const struct rig_setup mock_filtered = {
    .rest = MOCK, .filters = "a: {type: probe, at: response-body, do: wait, after: 50ms}", .order = "a"};

/* ---- reload ---- */

#define MOVED                                                                                                          \
    "targets:\n"                                                                                                       \
    "  - {name: east, openai: {url: \"http://moved.test/v1\"}}\n"                                                      \
    "models:\n"                                                                                                        \
    "  - {name: only, targets: [{target: east}]}\n"

/* An exchange keeps what it began with; the next one sees the new configuration, on a kept client connection. */
static void reload(struct rig *rig)
{
    struct rig_client *client = rig_client(rig);
    rig_post(client, "/v1/chat/completions", "{\"model\":\"only\"}");
    rig_settle(rig);
    rig_load(rig, &(struct rig_setup){.rest = MOVED, .filters = "new: {type: probe}", .order = "new"});
    rig_settle(rig);
    rig_peer_send(rig_asked(rig, 0)->peer, OK);
    rig_settle(rig);
    rig_assert_body(rig_answer(client, 0), "{}");
    assert_int_equal(buffer_len(&rig->trace), 0);
    rig_reply(rig, "moved", OK);
    rig_post(client, "/v1/chat/completions", "{\"model\":\"only\"}");
    rig_settle(rig);
    rig_assert_body(rig_answer(client, 1), "{}");
    assert_string_equal(rig_asked(rig, 1)->host, "moved");
    assert_true(buffer_len(&rig->trace) > 0);
    rig_pass(rig, 10 * CLOCK_SECOND);
}

/* A model's filters join when the body is there: with the instances of the configuration that the exchange began with.
 */
static void reload_before_the_body(struct rig *rig)
{
    struct rig_client *client = rig_client(rig);
    rig_reply(rig, "east", OK);
    rig_send(client, SPAN("POST /v1/chat/completions HTTP/1.1\r\nhost: rig\r\ncontent-type: application/json\r\n"
                          "content-length: 16\r\n\r\n{\"model\""));
    rig_settle(rig);
    rig_load(rig, &(struct rig_setup){.filters = "aa: {type: probe}, bb: {type: probe}, z: {type: probe}",
                                      .order = "aa, bb, z"});
    rig_pass(rig, 5 * CLOCK_SECOND);
    rig_send(client, SPAN(":\"only\"}"));
    rig_expect(client, HTTP_POST);
    rig_settle(rig);
    rig_assert_body(rig_answer(client, 0), "{}");
    assert_true(span_search(buffer_span(&rig->trace), SPAN("mine:request")) < buffer_len(&rig->trace));
    rig_pass(rig, 5 * CLOCK_SECOND);
}

#define OF_MODEL                                                                                                       \
    "targets:\n"                                                                                                       \
    "  - {name: east, openai: {url: \"http://east.test/v1\"}}\n"                                                       \
    "models:\n"                                                                                                        \
    "  - {name: only, filters: [mine], targets: [{target: east}]}\n"
static const struct rig_setup of_model = {
    .rest = OF_MODEL, .filters = "first: {type: probe}, mine: {type: probe}", .order = "first"};

/* The same endpoint keeps its connections. */
static void reload_same(struct rig *rig)
{
    struct rig_client *client = rig_client(rig);
    for (unsigned i = 0; i < 3; i++) {
        rig_reply(rig, "east", OK);
        rig_post(client, "/v1/chat/completions", "{\"model\":\"only\"}");
        rig_settle(rig);
        rig_assert_body(rig_answer(client, i), "{}");
        rig_load(rig, &two);
    }
    assert_int_equal(rig->peer_count, 1);
}

/* ---- draining ---- */

/* Idle connections end at once, live ones when their answer is done, new ones after what they came to ask. */
static void drain(struct rig *rig)
{
    rig_reply(rig, "east", OK);
    struct rig_client *idle = rig_client(rig), *fresh = rig_client(rig), *live = rig_client(rig),
                      *late = rig_client(rig);
    rig_post(idle, "/v1/chat/completions", "{\"model\":\"only\"}");
    rig_settle(rig);
    rig_post(live, "/v1/chat/completions", "{\"model\":\"only\"}");
    rig_settle(rig);
    worker_drain(rig->worker);
    rig_settle(rig);
    assert_true(idle->eof);
    assert_false(fresh->eof || late->eof || live->eof);
    rig_peer_send(rig_asked(rig, 1)->peer, OK);
    rig_settle(rig);
    rig_assert_body(rig_answer(live, 0), "{}");
    rig_assert_field(rig_answer(live, 0), "connection", "close");
    assert_true(live->eof);
    rig_reply(rig, "east", OK);
    rig_post(late, "/v1/chat/completions", "{\"model\":\"only\"}");
    rig_settle(rig);
    rig_assert_field(rig_answer(late, 0), "connection", "close");
    assert_true(late->eof && !fresh->eof);
    rig_pass(rig, 1100 * CLOCK_MS);
    assert_true(fresh->eof);
}

/* While it is only unready, every answer asks its client to come back elsewhere. */
static void leaving(struct rig *rig)
{
    struct rig_client *client = rig_client(rig), *idle = rig_client(rig);
    rig->worker->leaving = true;
    rig_reply(rig, "east", OK);
    rig_post(client, "/v1/chat/completions", "{\"model\":\"only\"}");
    rig_settle(rig);
    rig_assert_field(rig_answer(client, 0), "connection", "close");
    assert_true(client->eof && !idle->eof);
}

/* A listener that the new configuration does not have serves its last connections as the old one says. */
static void listener_goes(struct rig *rig)
{
    rig_reply(rig, "east", OK);
    struct rig_client *idle = rig_client(rig), *late = rig_client(rig);
    rig_post(idle, "/v1/chat/completions", "{\"model\":\"only\"}");
    rig_settle(rig);
    struct snapshot *before = snapshot_ref(rig->snapshot);
    rig_load(rig, &(struct rig_setup){.rest = MOVED, .filters = "new: {type: probe}", .order = "new"});
    rig->listener->use = &before->listeners[0];
    worker_unlisten(rig->listener, before, false);
    rig->listener = NULL;
    snapshot_unref(before);
    rig_settle(rig);
    assert_true(idle->eof && !late->eof);
    rig_pass(rig, 900 * CLOCK_MS);
    rig_reply(rig, "east", OK);
    rig_post(late, "/v1/chat/completions", "{\"model\":\"only\"}");
    rig_settle(rig);
    assert_string_equal(rig_asked(rig, 1)->host, "east");
    rig_assert_field(rig_answer(late, 0), "connection", "close");
    assert_true(late->eof);
    assert_int_equal(buffer_len(&rig->trace), 0);
    rig_pass(rig, 3 * CLOCK_SECOND);
    assert_null(rig->worker->listeners);
    rig_pass(rig, 10 * CLOCK_SECOND);
}

/* ---- the mock model ---- */

static void run_mock(struct rig *rig)
{
    for (unsigned i = 0; i < 40; i++)
        rig_pass(rig, 20 * CLOCK_MS);
}

static void mock_answers(struct rig *rig)
{
    struct rig_client *client = rig_client(rig);
    rig_post(client, "/v1/chat/completions", "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}");
    run_mock(rig);
    assert_true(rig_body_has(rig_answer(client, 0), "\"usage\""));
    rig_post(client, "/v1/chat/completions",
             "{\"model\":\"m\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}");
    run_mock(rig);
    assert_true(rig_body_has(rig_answer(client, 1), "[DONE]"));
    assert_false(rig_body_has(rig_answer(client, 1), "\"usage\":{"));
}

static void mock_is_left(struct rig *rig)
{
    struct rig_client *client = rig_client(rig);
    rig_post(client, "/v1/chat/completions",
             "{\"model\":\"m\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}");
    rig_pass(rig, 50 * CLOCK_MS);
    rig_leave(client);
    rig_settle(rig);
    assert_int_equal(rig->worker->exchange_count, 0);
}

static void mock_cut(struct rig *rig)
{
    struct rig_client *client = rig_client(rig);
    rig_ask(client, "POST", "/v1/chat/completions", "x-mock-cut-after: 3\r\n",
            SPAN("{\"model\":\"m\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}"));
    run_mock(rig);
    assert_true(rig_body_has(rig_answer(client, 0), "upstream_closed"));
    assert_false(rig_body_has(rig_answer(client, 0), "[DONE]"));
}

static void mock_takes_over(struct rig *rig)
{
    rig->refused[0] = "dead";
    struct rig_client *client = rig_client(rig);
    rig_post(client, "/v1/chat/completions",
             "{\"model\":\"second\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}");
    run_mock(rig);
    assert_int_equal(rig_answer(client, 0)->head.status, 200);
    rig_pass(rig, 100 * CLOCK_SECOND);
}

#define CASE(name, setup)                                                                                              \
    static void test_##name(void **state)                                                                              \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        rig_run(&(setup), name);                                                                                       \
    }
CASE(reload, two)
CASE(reload_same, two)
CASE(reload_before_the_body, of_model)
CASE(drain, two)
CASE(leaving, two)
CASE(listener_goes, two)
CASE(mock_answers, mock)
CASE(mock_is_left, mock)
CASE(mock_cut, mock)
CASE(mock_takes_over, mock)

static void test_mock_behind_filter(void **state)
{
    (void)state;
    rig_run(&mock_filtered, mock_answers);
    rig_run(&mock_filtered, mock_cut);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reload),
        cmocka_unit_test(test_reload_same),
        cmocka_unit_test(test_reload_before_the_body),
        cmocka_unit_test(test_leaving),
        cmocka_unit_test(test_listener_goes),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_mock_answers),
        cmocka_unit_test(test_mock_is_left),
        cmocka_unit_test(test_mock_cut),
        cmocka_unit_test(test_mock_takes_over),
        cmocka_unit_test(test_mock_behind_filter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
