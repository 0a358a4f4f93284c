/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that are the same at the same time: one call, which every client follows. Who comes late, who leaves, who is
 * slow, and how each of them learns of an end that is not a good one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "gateway/flight.h"
#include "support/rig.h"

#define ASK                                                                                                            \
    "{\"model\":\"only\",\"temperature\":0,\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"Sea?\"}]}"
#define ASK_USAGE                                                                                                      \
    "{\"model\":\"only\",\"temperature\":0,\"stream\":true,\"stream_options\":{\"include_usage\":true},"               \
    "\"messages\":[{\"role\":\"user\",\"content\":\"Sea?\"}]}"

#define CHUNK(delta, finish)                                                                                           \
    "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"g\",\"choices\":[{"  \
    "\"index\":0,\"delta\":" delta ",\"finish_reason\":" finish "}]}\n\n"
#define ONE   CHUNK("{\"role\":\"assistant\",\"content\":\"Deep \"}", "null")
#define TWO   CHUNK("{\"content\":\"and blue.\"}", "null")
#define THREE CHUNK("{}", "\"stop\"")
#define USAGE                                                                                                          \
    "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"g\",\"choices\":[]," \
    "\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":4,\"total_tokens\":16}}\n\n"
#define DONE "data: [DONE]\n\n"
#define ALL  ONE TWO THREE DONE

#define HEAD "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"

#define RULES "rules: [{operations: [chat]}]"
static const struct rig_setup plain = {.filters = "answers: {type: cache, " RULES "}", .order = "answers"};

/* ---- scripts ---- */

static struct rig_client *ask(struct rig *rig, const char *body)
{
    struct rig_client *client = rig_client(rig);
    rig_post(client, "/v1/chat/completions", body);
    rig_settle(rig);
    return client;
}

static struct rig_peer *target(const struct rig *rig)
{
    return rig_asked(rig, rig->request_count - 1)->peer;
}

/* Bytes as one chunk of HTTP/1.1. */
static void say(struct rig *rig, const char *bytes)
{
    struct buffer text = {0};
    buffer_format(&text, "%zx\r\n%s\r\n", strlen(bytes), bytes);
    buffer_append(&text, span_of("", 1));
    rig_peer_send(target(rig), buffer_span(&text).ptr);
    buffer_finish(&text);
    rig_settle(rig);
}

static void begin(struct rig *rig)
{
    rig_peer_send(target(rig), HEAD);
    rig_settle(rig);
}

static void end(struct rig *rig)
{
    say(rig, THREE);
    say(rig, USAGE);
    say(rig, DONE);
    rig_peer_send(target(rig), "0\r\n\r\n");
    rig_settle(rig);
}

/* Dribbled, part of it may still be on the way. */
static void assert_partial(const struct rig_client *client, const char *expected)
{
    if (!client->rig->dribble)
        rig_assert_body(rig_partial(client), expected);
}

static struct span cache_status(const struct rig_client *client)
{
    return fields_value(&rig_answer(client, 0)->head.fields, FIELD_CACHE_STATUS);
}

/* ---- following ---- */

static void three_follow(struct rig *rig)
{
    struct rig_client *first = ask(rig, ASK), *second = ask(rig, ASK_USAGE);
    begin(rig);
    say(rig, ONE);
    assert_partial(first, ONE);
    assert_partial(second, ONE);
    struct rig_client *third = ask(rig, ASK);
    assert_partial(third, ONE);
    say(rig, TWO);
    end(rig);
    rig_assert_body(rig_answer(first, 0), ALL);
    rig_assert_body(rig_answer(second, 0), ONE TWO THREE USAGE DONE);
    rig_assert_body(rig_answer(third, 0), ALL);
    assert_false(span_search(cache_status(first), SPAN("collapsed")) < cache_status(first).len);
    assert_true(span_starts_with(cache_status(third), SPAN("postern; fwd=uri-miss; collapsed; key=")));
    assert_int_equal(rig->request_count, 1);
    /* Each has an id of its own. */
    const struct field *one = fields_find(&rig_answer(first, 0)->head.fields, FIELD_X_REQUEST_ID);
    const struct field *three = fields_find(&rig_answer(third, 0)->head.fields, FIELD_X_REQUEST_ID);
    assert_false(span_equal(one->value, three->value));
    assert_int_equal(flight_count(), 0);
}

static void test_three_follow(void **state)
{
    (void)state;
    rig_run(&plain, three_follow);
}

/* ---- leaving ---- */

enum phase { BEFORE_HEAD, AFTER_HEAD, AMID, AFTER_DONE, PHASES };

static enum phase leaving_at;

static void at(struct rig *rig, enum phase phase, struct rig_client *who)
{
    if (leaving_at != phase)
        return;
    rig_leave(who);
    rig_settle(rig);
}

static void first_leaves(struct rig *rig)
{
    struct rig_client *first = ask(rig, ASK), *second = ask(rig, ASK);
    at(rig, BEFORE_HEAD, first);
    begin(rig);
    at(rig, AFTER_HEAD, first);
    say(rig, ONE);
    at(rig, AMID, first);
    say(rig, TWO);
    say(rig, THREE);
    say(rig, USAGE);
    say(rig, DONE);
    at(rig, AFTER_DONE, first);
    rig_peer_send(target(rig), "0\r\n\r\n");
    rig_settle(rig);
    rig_assert_body(rig_answer(second, 0), ALL);
    assert_int_equal(rig->request_count, 1);
    assert_int_equal(flight_count(), 0);
    rig_assert_body(rig_answer(ask(rig, ASK), 0), ALL);
    assert_int_equal(rig->request_count, 1);
}

static void test_first_leaves(void **state)
{
    (void)state;
    for (leaving_at = BEFORE_HEAD; leaving_at < PHASES; leaving_at++)
        rig_run(&plain, first_leaves);
}

/* With the last one the call ends, but for one that needs only its tail. */
static void all_leave(struct rig *rig)
{
    struct rig_client *first = ask(rig, ASK), *second = ask(rig, ASK);
    at(rig, BEFORE_HEAD, first);
    at(rig, BEFORE_HEAD, second);
    if (leaving_at > BEFORE_HEAD)
        begin(rig);
    at(rig, AFTER_HEAD, second);
    at(rig, AFTER_HEAD, first);
    if (leaving_at > AFTER_HEAD)
        say(rig, ONE);
    at(rig, AMID, first);
    at(rig, AMID, second);
    if (leaving_at == AFTER_DONE) {
        say(rig, TWO);
        say(rig, THREE);
        say(rig, USAGE);
        say(rig, DONE);
        at(rig, AFTER_DONE, second);
        at(rig, AFTER_DONE, first);
        assert_false(target(rig)->eof);
        rig_peer_send(target(rig), "0\r\n\r\n");
        rig_settle(rig);
        rig_assert_body(rig_answer(ask(rig, ASK), 0), ALL);
        assert_int_equal(rig->request_count, 1);
        return;
    }
    assert_true(target(rig)->eof || target(rig)->failed);
    assert_int_equal(flight_count(), 0);
    /* Whoever comes then begins anew. */
    (void)ask(rig, ASK);
    assert_int_equal(rig->request_count, 2);
}

static void test_all_leave(void **state)
{
    (void)state;
    for (leaving_at = BEFORE_HEAD; leaving_at < PHASES; leaving_at++)
        rig_run(&plain, all_leave);
}

/* ---- ends that are not good ---- */

static void refused(struct rig *rig)
{
    struct rig_client *first = ask(rig, ASK), *second = ask(rig, ASK);
    rig_peer_send(target(rig), "HTTP/1.1 429 Busy\r\nretry-after: 7\r\ncontent-type: application/json\r\n"
                               "content-length: 13\r\n\r\n{\"error\":\"x\"}");
    rig_settle(rig);
    for (unsigned i = 0; i < 2; i++) {
        const struct rig_message *answer = rig_answer(i ? second : first, 0);
        assert_int_equal(answer->head.status, 429);
        rig_assert_body(answer, "{\"error\":\"x\"}");
        rig_assert_field(answer, "retry-after", "7");
    }
    /* It was not kept. */
    (void)ask(rig, ASK);
    assert_int_equal(rig->request_count, 2);
}

static void unreachable(struct rig *rig)
{
    rig->refused[0] = "east";
    struct rig_client *first = rig_client(rig), *second = rig_client(rig);
    rig_post(first, "/v1/chat/completions", ASK);
    rig_post(second, "/v1/chat/completions", ASK);
    rig_settle(rig);
    assert_int_equal(rig_answer(first, 0)->head.status, 502);
    assert_int_equal(rig_answer(second, 0)->head.status, 502);
    assert_true(rig_body_has(rig_answer(second, 0), "upstream_connect_failed"));
    assert_true(rig_body_has(rig_answer(first, 0), "upstream_connect_failed"));
}

/* Each is told in its stream's own words. */
static void breaks_off(struct rig *rig)
{
    struct rig_client *first = ask(rig, ASK), *second = ask(rig, ASK);
    begin(rig);
    say(rig, ONE);
    rig_peer_reset(target(rig));
    rig_settle(rig);
    for (unsigned i = 0; i < 2; i++) {
        const struct rig_message *answer = rig_answer(i ? second : first, 0);
        assert_true(rig_body_has(answer, ONE));
        assert_true(rig_body_has(answer, "upstream_closed"));
    }
    (void)ask(rig, ASK);
    assert_int_equal(rig->request_count, 2);
}

static void test_bad_ends(void **state)
{
    (void)state;
    rig_run(&plain, refused);
    rig_run(&plain, unreachable);
    rig_run(&plain, breaks_off);
}

/* ---- those who are slow ---- */

#define PIECE 20000

static void say_much(struct rig *rig, unsigned pieces)
{
    static char event[PIECE + 200];
    int at_text =
        snprintf(event, sizeof(event), "data: {\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"");
    memset(event + at_text, 'x', PIECE);
    memcpy(event + at_text + PIECE, "\"}}]}\n\n", sizeof("\"}}]}\n\n"));
    for (unsigned i = 0; i < pieces; i++)
        say(rig, event);
}

static const struct rig_setup small_wait = {.filters = "answers: {type: cache, max_size: 64KiB, " RULES "}",
                                            .order = "answers",
                                            .large = true,
                                            .capacity = 30000};
static const struct rig_setup small_cut = {.filters =
                                               "answers: {type: cache, max_size: 64KiB, slow_follower: cut, " RULES "}",
                                           .order = "answers",
                                           .large = true,
                                           .capacity = 30000};

#define MANY 60

/* The target waits for the slow one; nobody loses anything. Too large to be kept, nobody joins it late. */
static void slow_is_waited_for(struct rig *rig)
{
    struct rig_client *fast = ask(rig, ASK), *slow = ask(rig, ASK);
    begin(rig);
    rig_read(slow, false);
    say_much(rig, MANY);
    size_t had = buffer_len(&rig_partial(fast)->body);
    assert_true(had < (size_t)MANY * PIECE);
    assert_true(had > 64 * 1024);
    struct rig_client *late = ask(rig, ASK);
    assert_int_equal(rig->request_count, 2);
    rig_leave(late);
    rig_read(slow, true);
    rig_settle(rig);
    rig_peer_send(rig_asked(rig, 0)->peer, "e\r\n" DONE "\r\n0\r\n\r\n");
    rig_settle(rig);
    assert_true(buffer_len(&rig_answer(fast, 0)->body) > (size_t)MANY * PIECE);
    assert_int_equal(buffer_len(&rig_answer(fast, 0)->body), buffer_len(&rig_answer(slow, 0)->body));
}

static void slow_is_cut(struct rig *rig)
{
    struct rig_client *fast = ask(rig, ASK), *slow = ask(rig, ASK);
    begin(rig);
    rig_read(slow, false);
    say_much(rig, MANY);
    rig_peer_send(target(rig), "e\r\n" DONE "\r\n0\r\n\r\n");
    rig_settle(rig);
    assert_true(buffer_len(&rig_answer(fast, 0)->body) > (size_t)MANY * PIECE);
    rig_read(slow, true);
    rig_settle(rig);
    assert_true(slow->eof || slow->answer_count == 1);
    assert_true(buffer_len(&slow->answers[0].body) < (size_t)MANY * PIECE);
}

/* The slow one leaves: the others need wait no more. */
static void slow_leaves(struct rig *rig)
{
    struct rig_client *fast = ask(rig, ASK), *slow = ask(rig, ASK);
    begin(rig);
    rig_read(slow, false);
    say_much(rig, MANY);
    rig_leave(slow);
    rig_settle(rig);
    rig_peer_send(target(rig), "e\r\n" DONE "\r\n0\r\n\r\n");
    rig_settle(rig);
    assert_true(buffer_len(&rig_answer(fast, 0)->body) > (size_t)MANY * PIECE);
}

static void test_slow(void **state)
{
    (void)state;
    rig_run(&small_wait, slow_is_waited_for);
    rig_run(&small_cut, slow_is_cut);
    rig_run(&small_wait, slow_leaves);
}

/* ---- what is not the answer ---- */

/* A stream that a limit behind the cache has ended early is nobody's answer but that of those who followed. */
static void ended_by_budget(struct rig *rig)
{
    struct rig_client *first = ask(rig, ASK);
    begin(rig);
    for (unsigned i = 0; i < 40 && first->answer_count == 0 && !target(rig)->eof; i++)
        say(rig, CHUNK("{\"content\":\"forty characters of the deep blue sea ...\"}", "null"));
    assert_true(rig_body_has(rig_answer(first, 0), "\"finish_reason\":\"length\""));
    struct rig_client *second = ask(rig, ASK);
    if (second->answer_count) /* refused by the same limit, not given what the first got */
        assert_int_equal(rig_answer(second, 0)->head.status, 429);
    else
        assert_int_equal(rig->request_count, 2);
}

static void test_ended_by_budget(void **state)
{
    (void)state;
    static const struct rig_setup behind = {.filters = "answers: {type: cache, " RULES
                                                       "}, limit: {type: rate_limit, assumed_output: 10, over_budget: "
                                                       "finish, limits: [{name: day, tokens: 100/day}]}",
                                            .order = "answers, limit"};
    rig_run(&behind, ended_by_budget);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_three_follow), cmocka_unit_test(test_first_leaves),
        cmocka_unit_test(test_all_leave),    cmocka_unit_test(test_bad_ends),
        cmocka_unit_test(test_slow),         cmocka_unit_test(test_ended_by_budget),
    };
    cmocka_set_test_filter(getenv("RIG_TEST"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
