/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients that leave, do not read, or send too much: what is given back, what is bounded, what stays.
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
    "  - {name: m, targets: [{target: east}]}\n"                                                                       \
    "passthrough:\n"                                                                                                   \
    "  - {path: /raw, target: east}\n"
#define ASK "{\"model\":\"m\"}"

static const struct rig_setup route = {.rest = ROUTE};
static const struct rig_setup route_large = {.rest = ROUTE, .large = true};
static const struct rig_setup narrow = {.rest = ROUTE, .large = true, .capacity = 70000};
static const struct rig_setup small_limits = {.rest = ROUTE "limits: {body: 1KiB, held: 1MiB}\n"};
static const struct rig_setup little_held = {.rest = ROUTE "limits: {body: 1000000B, held: 1MiB}\n", .large = true};

static void assert_gone(struct rig *rig)
{
    rig_settle(rig);
    assert_int_equal(rig->worker->exchange_count, 0);
    assert_int_equal(rig->worker->client_count, 0);
    assert_int_equal(atomic_load(&rig->process.held), 0);
}

/* ---- leaving ---- */

static void leaves_in_head(struct rig *rig)
{
    struct rig_client *client = rig_client(rig);
    rig_send(client, SPAN("POST /v1/chat/com"));
    rig_settle(rig);
    rig_leave(client);
    assert_gone(rig);
}

static void leaves_in_body(struct rig *rig)
{
    struct rig_client *client = rig_client(rig);
    rig_send(client, SPAN("POST /v1/chat/completions HTTP/1.1\r\nhost: rig\r\ncontent-length: 100\r\n\r\n{\"mod"));
    rig_settle(rig);
    rig_leave(client);
    assert_gone(rig);
    assert_int_equal(rig->request_count, 0);
}

static void leaves_in_streamed_body(struct rig *rig)
{
    struct rig_client *client = rig_client(rig);
    rig_send(client, SPAN("POST /raw HTTP/1.1\r\nhost: rig\r\ncontent-length: 100\r\n\r\nhello"));
    rig_settle(rig);
    assert_int_equal(rig->request_count, 1);
    rig_leave(client);
    assert_gone(rig);
    assert_null(rig->peers[0].end);
}

static void leaves_while_connecting(struct rig *rig)
{
    rig->silent[0] = "east";
    struct rig_client *client = rig_client(rig);
    rig_post(client, "/v1/chat/completions", ASK);
    rig_settle(rig);
    rig_leave(client);
    assert_gone(rig);
    rig_pass(rig, 60 * CLOCK_SECOND);
}

static void leaves_while_waiting(struct rig *rig)
{
    struct rig_client *client = rig_client(rig);
    rig_post(client, "/v1/chat/completions", ASK);
    rig_settle(rig);
    assert_true(rig_asked(rig, 0)->message.complete);
    rig_leave(client);
    assert_gone(rig);
    assert_null(rig->peers[0].end);
}

static void leaves_in_answer(struct rig *rig)
{
    rig_reply(rig, "east", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbeginning");
    struct rig_client *client = rig_client(rig);
    rig_post(client, "/v1/chat/completions", ASK);
    rig_settle(rig);
    rig_leave(client);
    assert_gone(rig);
    assert_null(rig->peers[0].end);
}

/* The first of two pipelined requests is under way. */
static void leaves_pipelined(struct rig *rig)
{
    struct rig_client *client = rig_client(rig);
    rig_send(client, SPAN("GET /raw HTTP/1.1\r\nhost: rig\r\n\r\nGET /raw HTTP/1.1\r\nhost: rig\r\n\r\n"));
    rig_settle(rig);
    rig_leave(client);
    /* Its second request is unread before its end, which therefore is not seen: the time limits find it. */
    rig_pass(rig, 601 * CLOCK_SECOND);
    rig_pass(rig, 601 * CLOCK_SECOND);
    assert_gone(rig);
}

/* ---- reading slowly ---- */

/* A client that does not read stops the target; memory is bounded, and all arrives when it reads again. */
static void does_not_read(struct rig *rig)
{
    enum { SIZE = 4000000 };
    char *bytes = memory_alloc(SIZE);
    memset(bytes, 'x', SIZE);
    struct buffer reply = {0};
    buffer_format(&reply, "HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n", SIZE);
    buffer_append(&reply, span_of(bytes, SIZE));
    free(bytes);
    rig_reply_span(rig, "east", buffer_span(&reply));
    struct rig_client *client = rig_client(rig);
    rig_ask(client, "GET", "/raw", "", (struct span){0});
    rig_read(client, false);
    rig_settle(rig);
    /* What the target could not send is more than half: the rest is in the pairs and in one high mark. */
    assert_true(buffer_len(&rig->peers[0].out) > SIZE / 2);
    rig_read(client, true);
    rig_settle(rig);
    assert_int_equal(buffer_len(&rig_answer(client, 0)->body), SIZE);
    buffer_finish(&reply);
}

/* One that never reads again is given up. */
static void never_reads(struct rig *rig)
{
    enum { SIZE = 1000000 };
    char *bytes = memory_alloc(SIZE);
    memset(bytes, 'x', SIZE);
    struct buffer reply = {0};
    buffer_format(&reply, "HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n", SIZE);
    buffer_append(&reply, span_of(bytes, SIZE));
    free(bytes);
    rig_reply_span(rig, "east", buffer_span(&reply));
    struct rig_client *client = rig_client(rig);
    rig_read(client, false);
    rig_ask(client, "GET", "/raw", "", (struct span){0});
    rig_settle(rig);
    rig_pass(rig, 600 * CLOCK_SECOND);
    rig_pass(rig, 600 * CLOCK_SECOND);
    assert_gone(rig);
    buffer_finish(&reply);
}

/* The same upwards: a target that does not read stops the client. */
static void target_does_not_read(struct rig *rig)
{
    enum { SIZE = 4000000 };
    char *bytes = memory_alloc(SIZE);
    memset(bytes, 'y', SIZE);
    struct rig_client *client = rig_client(rig);
    rig->deaf_targets = true;
    rig_reply(rig, "east", OK);
    rig_ask(client, "POST", "/raw", "", span_of(bytes, SIZE));
    rig_settle(rig);
    assert_true(buffer_len(&client->out) > SIZE / 2);
    rig_pass(rig, 20 * CLOCK_SECOND);
    transport_want(rig->peers[0].end, true);
    rig_settle(rig);
    assert_int_equal(rig_answer(client, 0)->head.status, 200);
    assert_int_equal(buffer_len(&rig_asked(rig, 0)->message.body), SIZE);
    free(bytes);
}

/* ---- too much ---- */

static void body_too_large(struct rig *rig)
{
    struct rig_client *client = rig_client(rig);
    rig_expect(client, HTTP_POST);
    rig_send(client, SPAN("POST /v1/chat/completions HTTP/1.1\r\nhost: rig\r\ncontent-length: 1025\r\n\r\n{"));
    rig_settle(rig);
    assert_int_equal(rig_answer(client, 0)->head.status, 413);
    assert_int_equal(rig->request_count, 0);
}

static void chunked_too_large(struct rig *rig)
{
    struct rig_client *client = rig_client(rig);
    struct buffer text = {0};
    buffer_append(&text, SPAN("POST /v1/chat/completions HTTP/1.1\r\nhost: rig\r\ntransfer-encoding: chunked\r\n\r\n"
                              "500\r\n{\"x\":\""));
    for (unsigned i = 0; i < 0x500 - 6; i++)
        buffer_append(&text, SPAN("a"));
    rig_expect(client, HTTP_POST);
    rig_send(client, buffer_span(&text));
    buffer_finish(&text);
    rig_settle(rig);
    assert_int_equal(rig_answer(client, 0)->head.status, 413);
}

static void large_but_streamed(struct rig *rig)
{
    rig_reply(rig, "east", OK);
    struct rig_client *client = rig_client(rig);
    char bytes[5000];
    memset(bytes, 'z', sizeof(bytes));
    rig_ask(client, "POST", "/raw", "", span_of(bytes, sizeof(bytes)));
    rig_settle(rig);
    assert_int_equal(rig_answer(client, 0)->head.status, 200);
}

static void too_many_bytes_of_head(struct rig *rig)
{
    struct rig_client *client = rig_client(rig);
    struct buffer text = {0};
    buffer_append(&text, SPAN("GET /raw HTTP/1.1\r\nhost: rig\r\nx-long: "));
    for (unsigned i = 0; i < 70000; i++)
        buffer_append(&text, SPAN("a"));
    rig_expect(client, HTTP_GET);
    rig_send(client, buffer_span(&text));
    buffer_finish(&text);
    rig_settle(rig);
    assert_int_equal(rig_answer(client, 0)->head.status, 431);
}

/* ---- held bytes ---- */

static void send_part(struct rig_client *client, size_t length, size_t part)
{
    struct buffer text = {0};
    buffer_format(&text, "POST /v1/chat/completions HTTP/1.1\r\nhost: rig\r\ncontent-length: %zu\r\n\r\n", length);
    buffer_append(&text, SPAN("{\"model\":\"m\",\"x\":\""));
    size_t have = 18;
    for (; have < part; have++)
        buffer_append(&text, SPAN("a"));
    rig_expect(client, HTTP_POST);
    rig_send(client, buffer_span(&text));
    buffer_finish(&text);
}

static void send_rest(struct rig_client *client, size_t rest)
{
    struct buffer text = {0};
    for (size_t i = 0; i < rest - 2; i++)
        buffer_append(&text, SPAN("a"));
    buffer_append(&text, SPAN("\"}"));
    rig_send(client, buffer_span(&text));
    buffer_finish(&text);
}

/* Three bodies that do not fit together: each is read when one before it is done; none is refused. */
static void held_in_turn(struct rig *rig)
{
    struct rig_client *clients[3];
    for (unsigned i = 0; i < 3; i++) {
        rig_reply(rig, "east", OK);
        clients[i] = rig_client(rig);
        send_part(clients[i], 750000, 1000);
        rig_settle(rig);
    }
    assert_int_equal(rig->request_count, 0);
    for (unsigned i = 0; i < 3; i++)
        send_rest(clients[i], 749000);
    rig_settle(rig);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(rig_answer(clients[i], 0)->head.status, 200);
    assert_int_equal(atomic_load(&rig->process.held), 0);
}

/* Who announces much and sends little keeps nothing from others. */
static void announced_is_not_held(struct rig *rig)
{
    struct rig_client *idle[4], *client = rig_client(rig);
    for (unsigned i = 0; i < 4; i++) {
        idle[i] = rig_client(rig);
        send_part(idle[i], 1000000, 20000);
    }
    rig_settle(rig);
    assert_in_range(atomic_load(&rig->process.held), 1, 4 * 64 * 1024);
    for (unsigned i = 0; i < 2; i++) {
        rig_reply(rig, "east", OK);
        send_part(client, 750000, 1000);
        send_rest(client, 749000);
        rig_settle(rig);
        rig_pass(rig, 1200 * CLOCK_MS);
        assert_int_equal(rig_answer(client, i)->head.status, 200);
    }
    for (unsigned i = 0; i < 4; i++)
        rig_leave(idle[i]);
    rig_settle(rig);
    assert_int_equal(atomic_load(&rig->process.held), 0);
}

/* One that has grown large and stops lets small ones by. */
static void elder_that_stops(struct rig *rig)
{
    struct rig_client *large = rig_client(rig), *small = rig_client(rig);
    send_part(large, 900000, 890000);
    rig_settle(rig);
    assert_in_range(atomic_load(&rig->process.held), 890000, 900000);
    for (unsigned i = 0; i < 2; i++) {
        rig_reply(rig, "east", OK);
        send_part(small, 60000, 1000);
        send_rest(small, 59000);
        rig_settle(rig);
        assert_int_equal(rig_answer(small, i)->head.status, 200);
    }
    rig_reply(rig, "east", OK);
    send_rest(large, 10000);
    rig_settle(rig);
    assert_int_equal(rig_answer(large, 0)->head.status, 200);
    assert_null(atomic_load(&rig->process.elder));
}

/* Nobody gives anything back: those who wait are told to come again. */
static void held_for_ever(struct rig *rig)
{
    struct rig_client *first = rig_client(rig), *second = rig_client(rig), *third = rig_client(rig);
    send_part(first, 1000000, 999000);
    rig_settle(rig);
    send_part(second, 750000, 200000);
    send_part(third, 750000, 300000);
    rig_settle(rig);
    rig_pass(rig, 11 * CLOCK_SECOND);
    assert_int_equal(rig_answer(second, 0)->head.status, 503);
    assert_int_equal(rig_answer(third, 0)->head.status, 503);
    rig_reply(rig, "east", OK);
    send_rest(first, 1000);
    rig_settle(rig);
    assert_int_equal(rig_answer(first, 0)->head.status, 200);
}

/* A little is given back, not enough for those who wait: they go on waiting, and the loop goes on turning. */
static void held_not_enough(struct rig *rig)
{
    struct rig_client *big = rig_client(rig), *small = rig_client(rig);
    struct rig_client *second = rig_client(rig), *third = rig_client(rig);
    send_part(big, 1000000, 999000);
    rig_settle(rig);
    send_part(small, 1500, 100);
    rig_settle(rig);
    send_part(second, 750000, 120000);
    send_part(third, 750000, 120000);
    rig_settle(rig);
    rig_leave(small);
    rig_settle(rig);
    rig_pass(rig, 11 * CLOCK_SECOND);
    assert_int_equal(rig_answer(second, 0)->head.status, 503);
    assert_int_equal(rig_answer(third, 0)->head.status, 503);
}

#define CASE(name, setup)                                                                                              \
    static void test_##name(void **state)                                                                              \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        rig_run(&(setup), name);                                                                                       \
    }
CASE(leaves_in_head, route)
CASE(leaves_in_body, route)
CASE(leaves_in_streamed_body, route)
CASE(leaves_while_connecting, route)
CASE(leaves_while_waiting, route)
CASE(leaves_in_answer, route)
CASE(leaves_pipelined, route)
CASE(does_not_read, narrow)
CASE(never_reads, narrow)
CASE(target_does_not_read, narrow)
CASE(body_too_large, small_limits)
CASE(chunked_too_large, small_limits)
CASE(large_but_streamed, small_limits)
CASE(too_many_bytes_of_head, route_large)
CASE(held_in_turn, little_held)
CASE(announced_is_not_held, little_held)
CASE(elder_that_stops, little_held)
CASE(held_for_ever, little_held)
CASE(held_not_enough, little_held)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_leaves_in_head),
        cmocka_unit_test(test_leaves_in_body),
        cmocka_unit_test(test_leaves_in_streamed_body),
        cmocka_unit_test(test_leaves_while_connecting),
        cmocka_unit_test(test_leaves_while_waiting),
        cmocka_unit_test(test_leaves_in_answer),
        cmocka_unit_test(test_leaves_pipelined),
        cmocka_unit_test(test_does_not_read),
        cmocka_unit_test(test_never_reads),
        cmocka_unit_test(test_target_does_not_read),
        cmocka_unit_test(test_body_too_large),
        cmocka_unit_test(test_chunked_too_large),
        cmocka_unit_test(test_large_but_streamed),
        cmocka_unit_test(test_too_many_bytes_of_head),
        cmocka_unit_test(test_held_in_turn),
        cmocka_unit_test(test_announced_is_not_held),
        cmocka_unit_test(test_elder_that_stops),
        cmocka_unit_test(test_held_for_ever),
        cmocka_unit_test(test_held_not_enough),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
