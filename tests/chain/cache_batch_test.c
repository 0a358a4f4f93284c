/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Embeddings: each input of a batch is an entry of its own. What the target is asked for, in which order the client
 * gets what, and what an answer counts.
 */
#include <stdlib.h>
#include <string.h>

#include "gateway/flight.h"
#include "support/rig.h"

static const struct rig_setup plain = {
    .filters = "answers: {type: cache, ttl_jitter: 0, rules: [{operations: [embeddings]}]}", .order = "answers"};

static const struct rig_message *ask_with(struct rig *rig, const char *fields, const char *input)
{
    struct rig_client *client = rig->client_count ? &rig->clients[0] : rig_client(rig);
    unsigned n = client->answer_count;
    struct buffer body = {0};
    buffer_format(&body, "{\"model\":\"only\",\"input\":%s}", input);
    rig_ask(client, "POST", "/v1/embeddings", fields, buffer_span(&body));
    buffer_finish(&body);
    rig_settle(rig);
    return rig_answer(client, n);
}

static const struct rig_message *ask(struct rig *rig, const char *input)
{
    return ask_with(rig, "", input);
}

/* `vectors` is the inside of `data`'s items: one for each, with their indexes. */
static void reply(struct rig *rig, unsigned count, const char *const *vectors, unsigned tokens)
{
    struct buffer body = {0}, text = {0};
    buffer_format(&body, "{\"object\":\"list\",\"data\":[");
    for (unsigned i = 0; i < count; i++)
        buffer_format(&body, "%s{\"object\":\"embedding\",\"index\":%u,\"embedding\":%s}", i ? "," : "", i, vectors[i]);
    buffer_format(&body, "],\"model\":\"ada\",\"usage\":{\"prompt_tokens\":%u,\"total_tokens\":%u}}", tokens, tokens);
    buffer_format(&text, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%.*s",
                  buffer_len(&body), SPAN_ARG(buffer_span(&body)));
    rig_reply_span(rig, "east", arena_copy(&rig->arena, buffer_span(&text)));
    buffer_finish(&body);
    buffer_finish(&text);
}

static void assert_asked(struct rig *rig, unsigned n, const char *input)
{
    struct buffer body = {0};
    buffer_format(&body, "{\"model\":\"only\",\"input\":%s}", input);
    buffer_append(&body, span_of("", 1));
    rig_assert_body(&rig_asked(rig, n)->message, buffer_span(&body).ptr);
    buffer_finish(&body);
}

static void one(struct rig *rig)
{
    reply(rig, 1, (const char *const[]){"[0.10,-1e-3]"}, 3);
    const struct rig_message *first = ask(rig, "\"sea\"");
    assert_true(rig_body_has(first, "[0.10,-1e-3]"));
    rig_assert_field(first, "cache-status", "postern; fwd=uri-miss");
    const struct rig_message *second = ask(rig, "\"\\u0073ea\"");
    assert_true(rig_body_has(second, "[0.10,-1e-3]"));
    rig_assert_field(second, "cache-status", "postern; hit; ttl=3600");
    /* A list of one is answered in the same way, and it is the same input. */
    assert_true(rig_body_has(ask(rig, "[\"sea\"]"), "[0.10,-1e-3]"));
    assert_int_equal(rig->request_count, 1);
}

static void some(struct rig *rig)
{
    reply(rig, 2, (const char *const[]){"[1]", "[2]"}, 8);
    const struct rig_message *first = ask(rig, "[\"aaaa\",\"bbbb\"]");
    assert_true(rig_body_has(first, "\"prompt_tokens\":8"));
    reply(rig, 2, (const char *const[]){"\"M==\"", "\"N==\""}, 6);
    const struct rig_message *second = ask(rig, "[\"cccc\",\"bbbb\", \"dd\",\"aaaa\"]");
    assert_asked(rig, 1, "[\"cccc\",\"dd\"]");
    rig_assert_field(second, "cache-status", "postern; fwd=uri-miss; detail=partial");
    rig_assert_body(second,
                    "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":\"M==\"},"
                    "{\"object\":\"embedding\",\"index\":1,\"embedding\":[2]},"
                    "{\"object\":\"embedding\",\"index\":2,\"embedding\":\"N==\"},"
                    "{\"object\":\"embedding\",\"index\":3,\"embedding\":[1]}],"
                    "\"model\":\"ada\",\"usage\":{\"prompt_tokens\":14,\"total_tokens\":14}}");
    const struct rig_message *third = ask(rig, "[\"dd\",\"aaaa\"]");
    assert_true(rig_body_has(third, "\"index\":0,\"embedding\":\"N==\""));
    assert_true(rig_body_has(third, "\"index\":1,\"embedding\":[1]"));
    assert_int_equal(rig->request_count, 2);
}

/* The same input twice in one batch. */
static void repeated(struct rig *rig)
{
    reply(rig, 2, (const char *const[]){"[1]", "[1]"}, 2);
    assert_true(rig_body_has(ask(rig, "[\"a\",\"a\"]"), "\"index\":1,\"embedding\":[1]"));
    assert_true(rig_body_has(ask(rig, "[\"a\"]"), "[1]"));
    assert_int_equal(rig->request_count, 1);
}

static void refused(struct rig *rig)
{
    reply(rig, 1, (const char *const[]){"[1]"}, 1);
    (void)ask(rig, "[\"a\"]");
    rig_reply(rig, "east", "HTTP/1.1 400 Bad\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}");
    const struct rig_message *bad = ask(rig, "[\"a\",\"b\"]");
    assert_int_equal(bad->head.status, 400);
    rig_assert_body(bad, "{}");
}

/* Part of an answer is none: what does not fit to what was asked for is never put together. */
static void too_few(struct rig *rig)
{
    reply(rig, 1, (const char *const[]){"[1]"}, 1);
    (void)ask(rig, "[\"a\"]");
    reply(rig, 1, (const char *const[]){"[2]"}, 1);
    assert_true(ask(rig, "[\"a\",\"b\",\"c\"]")->head.status >= 500);
    assert_asked(rig, 1, "[\"b\",\"c\"]");
}

static void numbers(struct rig *rig)
{
    reply(rig, 2, (const char *const[]){"[1]", "[2]"}, 5);
    (void)ask(rig, "[[1,2],[3,4,5]]");
    assert_true(rig_body_has(ask(rig, "[3,4,5]"), "\"embedding\":[2]"));
    assert_true(rig_body_has(ask(rig, "[3,4,5]"), "\"prompt_tokens\":3"));
    assert_int_equal(rig->request_count, 1);
}

static void unknown_form(struct rig *rig)
{
    reply(rig, 1, (const char *const[]){"[1]"}, 1);
    rig_assert_field(ask(rig, "{\"image\":\"x\"}"), "cache-status", "postern; fwd=bypass; detail=input");
}

static void test_batches(void **state)
{
    (void)state;
    rig_run(&plain, one);
    rig_run(&plain, some);
    rig_run(&plain, repeated);
    rig_run(&plain, refused);
    rig_run(&plain, too_few);
    rig_run(&plain, numbers);
    rig_run(&plain, unknown_form);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_batches)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
