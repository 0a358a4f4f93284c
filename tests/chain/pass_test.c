/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exchanges that go well: what a client sends arrives, what a target answers comes back, whatever the pieces.
 */
#include <stdlib.h>

#include "base/memory.h"
#include "support/rig.h"

#define JSON(length, body)                                                                                             \
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: " #length "\r\n\r\n" body
#define ROUTE                                                                                                          \
    "targets:\n"                                                                                                       \
    "  - {name: east, openai: {url: \"http://east.test/v1\"}}\n"                                                       \
    "models:\n"                                                                                                        \
    "  - {name: m, targets: [{target: east}]}\n"                                                                       \
    "passthrough:\n"                                                                                                   \
    "  - {path: /raw, target: east}\n"

static const struct rig_setup two = {0};
static const struct rig_setup route = {.rest = ROUTE};
static const struct rig_setup route_large = {.rest = ROUTE, .large = true};

/* ---- bodies ---- */

static void inspected(struct rig *rig)
{
    rig_reply(rig, "east", JSON(11, "{\"a\":\"bcd\"}"));
    struct rig_client *client = rig_client(rig);
    rig_post(client, "/v1/chat/completions", "{\"model\":\"m\",\"n\":1}");
    rig_settle(rig);
    const struct rig_message *answer = rig_answer(client, 0);
    assert_int_equal(answer->head.status, 200);
    rig_assert_body(answer, "{\"a\":\"bcd\"}");
    assert_true(fields_value(&answer->head.fields, FIELD_X_REQUEST_ID).len == 32);
}

static void inspected_edited(struct rig *rig)
{
    rig_reply(rig, "east", JSON(2, "{}"));
    struct rig_client *client = rig_client(rig);
    rig_ask(client, "POST", "/v1/chat/completions", "authorization: Bearer sk\r\nx-mine: 1\r\n",
            SPAN("{\"model\":\"m\",\"n\":1}"));
    rig_settle(rig);
    rig_assert_body(rig_answer(client, 0), "{}");
    const struct rig_message *asked = &rig_asked(rig, 0)->message;
    rig_assert_body(asked, "{\"model\":\"d\",\"n\":1}");
    rig_assert_field(asked, "authorization", NULL);
    rig_assert_field(asked, "x-mine", "1");
    rig_assert_field(asked, "host", "east.test");
    assert_int_equal(rig->request_count, 1);
}

/* Chunked, one byte a chunk, with an extension and a trailer. */
static void inspected_chunked(struct rig *rig)
{
    rig_reply(rig, "east", JSON(2, "{}"));
    struct rig_client *client = rig_client(rig);
    struct buffer text = {0};
    buffer_append(&text, SPAN("POST /v1/chat/completions HTTP/1.1\r\nhost: rig\r\ncontent-type: application/json\r\n"
                              "transfer-encoding: chunked\r\n\r\n"));
    const char *body = "{\"model\":\"m\"}";
    for (const char *p = body; *p; p++)
        buffer_format(&text, "1;x=y\r\n%c\r\n", *p);
    buffer_append(&text, SPAN("0\r\nx-trailer: 1\r\n\r\n"));
    rig_expect(client, HTTP_POST);
    rig_send(client, buffer_span(&text));
    buffer_finish(&text);
    rig_settle(rig);
    rig_assert_body(rig_answer(client, 0), "{}");
    rig_assert_body(&rig_asked(rig, 0)->message, "{\"model\":\"d\"}");
}

/* 0, 1 and many bytes through a passthrough route, both ways, with a length. */
static void lengths(struct rig *rig)
{
    static const size_t sizes[] = {0, 1, 2, 1000, 70000, 300000};
    struct rig_client *client = rig_client(rig);
    char *bytes = memory_alloc(300000);
    for (size_t i = 0; i < 300000; i++)
        bytes[i] = (char)('a' + i % 26);
    for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
        struct buffer reply = {0};
        buffer_format(&reply, "HTTP/1.1 200 OK\r\ncontent-length: %zu\r\n\r\n", sizes[i]);
        buffer_append(&reply, span_of(bytes, sizes[i]));
        rig_reply_span(rig, "east", buffer_span(&reply));
        rig_ask(client, "POST", "/raw/x?y=%20", "", span_of(bytes, sizes[i]));
        rig_settle(rig);
        const struct rig_message *asked = &rig_asked(rig, i)->message, *answer = rig_answer(client, i);
        assert_true(asked->complete);
        assert_true(span_equal(buffer_span(&asked->body), span_of(bytes, sizes[i])));
        assert_true(span_equal(buffer_span(&answer->body), span_of(bytes, sizes[i])));
        assert_true(span_equal(asked->head.target, SPAN("/raw/x?y=%20")));
        buffer_finish(&reply);
    }
    assert_int_equal(rig->peer_count, 1);
    free(bytes);
}

static void chunked_both_ways(struct rig *rig)
{
    rig_reply(rig, "east",
              "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\nx-t: 1\r\n\r\n");
    struct rig_client *client = rig_client(rig);
    rig_expect(client, HTTP_PUT);
    rig_send(
        client,
        SPAN("PUT /raw HTTP/1.1\r\nhost: rig\r\ntransfer-encoding: chunked\r\n\r\n2\r\nxy\r\n1\r\nz\r\n0\r\n\r\n"));
    rig_settle(rig);
    rig_assert_body(rig_answer(client, 0), "abcd");
    rig_assert_body(&rig_asked(rig, 0)->message, "xyz");
}

/* An answer that ends with the connection reaches a client that keeps its own. */
static void until_close(struct rig *rig)
{
    rig_reply_span(rig, "east", SPAN("HTTP/1.1 200 OK\r\n\r\nall of it"))->close_after = true;
    rig_reply(rig, "east", JSON(1, "1"));
    struct rig_client *client = rig_client(rig);
    rig_ask(client, "GET", "/raw", "", (struct span){0});
    rig_settle(rig);
    rig_assert_body(rig_answer(client, 0), "all of it");
    rig_ask(client, "GET", "/raw", "", (struct span){0});
    rig_settle(rig);
    rig_assert_body(rig_answer(client, 1), "1");
    assert_int_equal(rig->peer_count, 2);
}

/* ---- heads ---- */

static void head_and_204(struct rig *rig)
{
    rig_reply(rig, "east", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
    rig_reply(rig, "east", "HTTP/1.1 204 No Content\r\n\r\n");
    rig_reply(rig, "east", "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n");
    rig_reply(rig, "east", JSON(1, "1"));
    struct rig_client *client = rig_client(rig);
    static const char *const methods[] = {"HEAD", "GET", "GET", "GET"};
    static const unsigned statuses[] = {200, 204, 304, 200};
    for (unsigned i = 0; i < ARRAY_LEN(methods); i++) {
        rig_ask(client, methods[i], "/raw", "", (struct span){0});
        rig_settle(rig);
        assert_int_equal(rig_answer(client, i)->head.status, statuses[i]);
    }
    rig_assert_field(rig_answer(client, 0), "content-length", "5");
    rig_assert_body(rig_answer(client, 3), "1");
    assert_int_equal(rig->peer_count, 1);
}

/* Interim answers of a target are its own business. */
static void interim(struct rig *rig)
{
    rig_reply(rig, "east", "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1");
    struct rig_client *client = rig_client(rig);
    rig_ask(client, "GET", "/raw", "", (struct span){0});
    rig_settle(rig);
    assert_int_equal(rig_answer(client, 0)->head.status, 200);
    assert_int_equal(client->continues, 0);
}

static void expect_continue(struct rig *rig)
{
    rig_reply(rig, "east", JSON(2, "{}"));
    struct rig_client *client = rig_client(rig);
    rig_expect(client, HTTP_POST);
    rig_send(client, SPAN("POST /v1/chat/completions HTTP/1.1\r\nhost: rig\r\nexpect: 100-continue\r\n"
                          "content-length: 13\r\n\r\n"));
    rig_settle(rig);
    assert_int_equal(client->continues, 1);
    assert_int_equal(rig->request_count, 0);
    rig_send(client, SPAN("{\"model\":\"m\"}"));
    rig_settle(rig);
    rig_assert_body(rig_answer(client, 0), "{}");
    rig_assert_field(&rig_asked(rig, 0)->message, "expect", NULL);
}

/* ---- several ---- */

/* Three at once, and the beginning of a fourth; answers come in order. */
static void pipelined(struct rig *rig)
{
    rig_reply(rig, "east", JSON(1, "1"));
    rig_reply(rig, "east", JSON(1, "2"));
    rig_reply(rig, "east", JSON(1, "3"));
    rig_reply(rig, "east", JSON(1, "4"));
    struct rig_client *client = rig_client(rig);
    for (unsigned i = 0; i < 4; i++)
        rig_expect(client, HTTP_POST);
    rig_send(client,
             SPAN("\r\nPOST /raw HTTP/1.1\r\nhost: rig\r\ncontent-length: 3\r\n\r\nabc"
                  "GET /raw HTTP/1.1\r\nhost: rig\r\n\r\n"
                  "POST /v1/chat/completions HTTP/1.1\r\nhost: rig\r\ncontent-length: 13\r\n\r\n{\"model\":\"m\"}"
                  "GET /raw HT"));
    rig_settle(rig);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(buffer_span(&rig_answer(client, i)->body).ptr[0], '1' + (int)i);
    rig_send(client, SPAN("TP/1.1\r\nhost: rig\r\n\r\n"));
    rig_settle(rig);
    rig_assert_body(rig_answer(client, 3), "4");
    rig_assert_body(&rig_asked(rig, 0)->message, "abc");
    assert_false(client->eof);
}

static void asked_to_close(struct rig *rig)
{
    rig_reply(rig, "east", JSON(1, "1"));
    struct rig_client *client = rig_client(rig);
    rig_ask(client, "GET", "/raw", "connection: close\r\n", (struct span){0});
    rig_settle(rig);
    rig_assert_body(rig_answer(client, 0), "1");
    rig_assert_field(rig_answer(client, 0), "connection", "close");
    assert_true(client->eof);
    assert_int_equal(rig->worker->client_count, 0);
}

/* Several clients share what the pool has. */
static void reuse(struct rig *rig)
{
    for (unsigned i = 0; i < 6; i++)
        rig_reply(rig, "east", JSON(1, "1"));
    for (unsigned i = 0; i < 3; i++) {
        struct rig_client *one = rig_client(rig), *other = rig_client(rig);
        rig_ask(one, "GET", "/raw", "", (struct span){0});
        rig_ask(other, "GET", "/raw", "", (struct span){0});
        rig_settle(rig);
        rig_assert_body(rig_answer(one, 0), "1");
        rig_assert_body(rig_answer(other, 0), "1");
    }
    assert_in_range(rig->peer_count, 1, 2);
}

/* ---- answers before their time ---- */

/* The target answers at the head; what the client still sends does no harm. */
static void early_answer(struct rig *rig)
{
    rig_reply_span(rig, "east", SPAN("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno"))->at_head = true;
    struct rig_client *client = rig_client(rig);
    rig_expect(client, HTTP_POST);
    rig_send(client, SPAN("POST /raw HTTP/1.1\r\nhost: rig\r\ncontent-length: 1000\r\n\r\nbeginning"));
    rig_settle(rig);
    assert_int_equal(rig_answer(client, 0)->head.status, 413);
    rig_assert_body(rig_answer(client, 0), "no");
}

#define CASE(name, setup)                                                                                              \
    static void test_##name(void **state)                                                                              \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        rig_run(&(setup), name);                                                                                       \
    }
CASE(inspected, two)
CASE(inspected_edited, two)
CASE(inspected_chunked, two)
CASE(lengths, route_large)
CASE(chunked_both_ways, route)
CASE(until_close, route)
CASE(head_and_204, route)
CASE(interim, route)
CASE(expect_continue, route)
CASE(pipelined, route)
CASE(asked_to_close, route)
CASE(reuse, route)
CASE(early_answer, route)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inspected),         cmocka_unit_test(test_inspected_edited),
        cmocka_unit_test(test_inspected_chunked), cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_chunked_both_ways), cmocka_unit_test(test_until_close),
        cmocka_unit_test(test_head_and_204),      cmocka_unit_test(test_interim),
        cmocka_unit_test(test_expect_continue),   cmocka_unit_test(test_pipelined),
        cmocka_unit_test(test_asked_to_close),    cmocka_unit_test(test_reuse),
        cmocka_unit_test(test_early_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
