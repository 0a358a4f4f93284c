/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Event streams: usage that is asked for and hidden, commit, streams that break.
 */
#include <string.h>

#include "base/clock.h"
#include "gateway/exchange.h"
#include "support/rig.h"

#define HEAD       "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nconnection: close\r\n\r\n"
#define ROLE       "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n"
#define CONTENT(t) "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" t "\"}}]}\n\n"
#define STOP       "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
#define USAGE      "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5}}\n\n"
#define DONE       "data: [DONE]\n\n"
#define ALL        ROLE CONTENT("Hello") ": comment\n\n" CONTENT(" you") STOP USAGE DONE
#define SHOWN      ROLE CONTENT("Hello") ": comment\n\n" CONTENT(" you") STOP DONE
#define ASK        "{\"model\":\"only\",\"stream\":true}"
#define ASK_USAGE  "{\"model\":\"only\",\"stream\":true,\"stream_options\":{\"include_usage\":true}}"

static const struct rig_setup two = {0};

static struct rig_client *ask(struct rig *rig, const char *json)
{
    struct rig_client *client = rig_client(rig);
    rig_post(client, "/v1/chat/completions", json);
    rig_settle(rig);
    return client;
}

static void reply_and_close(struct rig *rig, const char *host, const char *bytes)
{
    rig_reply_span(rig, host, span_str(bytes))->close_after = true;
}

/* ---- usage ---- */

static void usage_hidden(struct rig *rig)
{
    reply_and_close(rig, "east", HEAD ALL);
    struct rig_client *client = ask(rig, ASK);
    rig_assert_body(rig_answer(client, 0), SHOWN);
    rig_assert_body(&rig_asked(rig, 0)->message,
                    "{\"model\":\"only\",\"stream\":true,\"stream_options\":{\"include_usage\":true}}");
    assert_false(client->eof);
}

static void usage_wanted(struct rig *rig)
{
    reply_and_close(rig, "east", HEAD ALL);
    struct rig_client *client = ask(rig, ASK_USAGE);
    rig_assert_body(rig_answer(client, 0), ALL);
    rig_assert_body(&rig_asked(rig, 0)->message, ASK_USAGE);
}

/* The stream comes in two reads, split at one byte after the other. */
static size_t split_from;

static void usage_split(struct rig *rig)
{
    static const char all[] = ALL;
    for (size_t i = 0; i < ARRAY_LEN(rig->clients) && split_from + i < sizeof(all); i++) {
        size_t at = split_from + i;
        rig_reply(rig, "east", HEAD);
        struct rig_client *client = ask(rig, i % 2 ? ASK_USAGE : ASK);
        struct rig_peer *peer = rig_asked(rig, (unsigned)i)->peer;
        char first[sizeof(all)];
        memcpy(first, all, at);
        first[at] = '\0';
        rig_peer_send(peer, first);
        rig_settle(rig);
        rig_peer_send(peer, all + at);
        rig_settle(rig);
        rig_peer_close(peer);
        rig_settle(rig);
        rig_assert_body(rig_answer(client, 0), i % 2 ? ALL : SHOWN);
    }
}

static void test_usage_split(void **state)
{
    (void)state;
    for (split_from = 0; split_from < sizeof(ALL); split_from += 7)
        rig_run(&two, usage_split);
}

/* An upstream that knows no stream_options is asked again without; the client sees one answer. */
static void without_options(struct rig *rig)
{
    rig_reply(rig, "east",
              "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 76\r\n\r\n"
              "{\"error\":{\"message\":\"Unknown parameter: stream_options\",\"param\":\"x\"}}       ");
    reply_and_close(rig, "east", HEAD ROLE CONTENT("Hi") STOP DONE);
    struct rig_client *client = ask(rig, ASK);
    rig_assert_body(rig_answer(client, 0), ROLE CONTENT("Hi") STOP DONE);
    assert_int_equal(rig->request_count, 2);
    rig_assert_body(&rig_asked(rig, 1)->message, ASK);
}

/* A 400 for another reason is the client's. */
static void bad_request(struct rig *rig)
{
    rig_reply(rig, "east",
              "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 34\r\n\r\n"
              "{\"error\":{\"message\":\"too hot\"}}   ");
    struct rig_client *client = ask(rig, ASK);
    assert_int_equal(rig_answer(client, 0)->head.status, 400);
    rig_assert_body(rig_answer(client, 0), "{\"error\":{\"message\":\"too hot\"}}   ");
    assert_int_equal(rig->request_count, 1);
}

/* A compressed answer is nobody's to read: every byte passes. */
static void opaque(struct rig *rig)
{
    rig_reply(rig, "east",
              "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\n"
              "content-length: 10\r\n\r\n\x1f\x8b"
              "data: x\n");
    struct rig_client *client = ask(rig, ASK);
    rig_assert_body(rig_answer(client, 0), "\x1f\x8b"
                                           "data: x\n");
    rig_assert_field(rig_answer(client, 0), "content-encoding", "gzip");
}

/* ---- commit ---- */

/* A chunk leaves when it arrives. */
static void at_once(struct rig *rig)
{
    rig_reply(rig, "east", "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" ROLE CONTENT("Hello"));
    struct rig_client *client = ask(rig, ASK);
    if (!rig->dribble)
        rig_assert_body(rig_partial(client), ROLE CONTENT("Hello"));
    rig_peer_send(rig_asked(rig, 0)->peer, CONTENT(" you"));
    rig_settle(rig);
    if (!rig->dribble)
        rig_assert_body(rig_partial(client), ROLE CONTENT("Hello") CONTENT(" you"));
    rig_peer_send(rig_asked(rig, 0)->peer, STOP DONE);
    rig_settle(rig);
    rig_peer_close(rig_asked(rig, 0)->peer);
    rig_settle(rig);
    rig_assert_body(rig_answer(client, 0), ROLE CONTENT("Hello") CONTENT(" you") STOP DONE);
}

/* Before any content another target may take over, and the client never knows. */
static void breaks_before_content(struct rig *rig)
{
    reply_and_close(rig, "east", HEAD ROLE);
    reply_and_close(rig, "west", HEAD ALL);
    struct rig_client *client = ask(rig, "{\"model\":\"m\",\"stream\":true}");
    rig_assert_body(rig_answer(client, 0), SHOWN);
    assert_int_equal(rig->request_count, 2);
}

static void error_before_content(struct rig *rig)
{
    reply_and_close(rig, "east", HEAD ROLE "data: {\"error\":{\"message\":\"overloaded\",\"code\":503}}\n\n");
    reply_and_close(rig, "west", HEAD ALL);
    struct rig_client *client = ask(rig, "{\"model\":\"m\",\"stream\":true}");
    rig_assert_body(rig_answer(client, 0), SHOWN);
}

/* ---- streams that break ---- */

static void assert_broken(struct rig_client *client, const char *beginning, const char *code)
{
    const struct rig_message *answer = rig_answer(client, 0);
    struct span body = buffer_span(&answer->body);
    assert_true(span_starts_with(body, span_str(beginning)));
    struct span rest = span_skip(body, span_str(beginning).len);
    if (!span_starts_with(rest, SPAN("data: {\"error\":")) || span_search(rest, span_str(code)) == rest.len)
        fail_msg("after the beginning comes %.*s", SPAN_ARG(rest));
    assert_false(rig_body_has(answer, "[DONE]"));
    assert_true(span_ends_with(body, SPAN("\n\n")));
}

static void breaks(struct rig *rig)
{
    reply_and_close(rig, "east", HEAD ROLE CONTENT("Hello"));
    assert_broken(ask(rig, ASK), ROLE CONTENT("Hello"), "upstream_closed");
}

static void is_reset(struct rig *rig)
{
    rig_reply(rig, "east", HEAD ROLE CONTENT("Hello"));
    struct rig_client *client = ask(rig, ASK);
    rig_peer_reset(rig_asked(rig, 0)->peer);
    rig_settle(rig);
    assert_broken(client, ROLE CONTENT("Hello"), "upstream_closed");
}

static void falls_silent(struct rig *rig)
{
    rig_reply(rig, "east", HEAD ROLE CONTENT("Hello"));
    struct rig_client *client = ask(rig, ASK);
    rig_pass(rig, 3600 * CLOCK_SECOND);
    assert_broken(client, ROLE CONTENT("Hello"), "upstream_idle_timeout");
}

/* In the middle of an event that may have to be hidden: it is not shown, and the error event follows whole ones only.
 */
static void breaks_in_event(struct rig *rig)
{
    reply_and_close(rig, "east", HEAD ROLE CONTENT("Hello") "data: {\"choices\":[{\"ind");
    assert_broken(ask(rig, ASK), ROLE CONTENT("Hello"), "upstream_closed");
}

/* Where every byte goes on at once, the beginning of an event has left: only a cut is understood. */
static void breaks_in_shown_event(struct rig *rig)
{
    reply_and_close(rig, "east", HEAD ROLE CONTENT("Hello") "data: {\"choices\":[{\"ind");
    struct rig_client *client = ask(rig, ASK_USAGE);
    assert_int_equal(client->answer_count, 0);
    assert_true(client->eof || client->failed);
    assert_false(rig_body_has(rig_partial(client), "error"));
}

static void breaks_in_responses(struct rig *rig)
{
    reply_and_close(rig, "east",
                    HEAD "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0}\n\n"
                         "event: response.output_text.delta\n"
                         "data: {\"type\":\"response.output_text.delta\",\"sequence_number\":1,\"delta\":\"a\"}\n\n");
    struct rig_client *client = rig_client(rig);
    rig_post(client, "/v1/responses", ASK);
    rig_settle(rig);
    assert_true(rig_body_has(rig_answer(client, 0), "event: error\ndata: {\"type\":\"error\""));
    assert_true(rig_body_has(rig_answer(client, 0), "\"sequence_number\":2"));
}

/* ---- filters beside it ---- */

/* The target dies while a filter holds the stream up: what came before stands before the error. */
static void breaks_behind_filter(struct rig *rig)
{
    rig_reply(rig, "east", HEAD ROLE CONTENT("Hello"));
    struct rig_client *client = ask(rig, ASK);
    rig_peer_close(rig_asked(rig, 0)->peer);
    rig_settle(rig);
    assert_int_equal(client->answer_count, 0);
    rig_pass(rig, 3 * CLOCK_SECOND);
    assert_broken(client, ROLE CONTENT("Hello"), "upstream_closed");
}

static void test_breaks_behind_filter(void **state)
{
    (void)state;
    rig_run(&(struct rig_setup){.filters = "a: {type: probe, at: response-body, do: wait, after: 2s}", .order = "a"},
            breaks_behind_filter);
    rig_run(&(struct rig_setup){.filters = "a: {type: probe, at: response-body, do: hold}, "
                                           "b: {type: probe, at: response-body, do: wait, after: 2s}",
                                .order = "b, a"},
            breaks_behind_filter);
}

/* Before the head has left there is still a plain answer to give. */
static void breaks_behind_head_filter(struct rig *rig)
{
    rig_reply(rig, "east", HEAD ROLE CONTENT("Hello"));
    struct rig_client *client = ask(rig, ASK);
    rig_peer_close(rig_asked(rig, 0)->peer);
    rig_settle(rig);
    if (rig->dribble) { /* with bytes unread before it, the end is seen when the filter goes on */
        rig_pass(rig, 3 * CLOCK_SECOND);
        assert_true(rig_answer(client, 0)->head.status == 502 ||
                    rig_body_has(rig_answer(client, 0), "upstream_closed"));
        return;
    }
    assert_int_equal(rig_answer(client, 0)->head.status, 502);
    rig_pass(rig, 3 * CLOCK_SECOND);
    assert_int_equal(client->answer_count, 1);
}

static void test_breaks_behind_head_filter(void **state)
{
    (void)state;
    rig_run(&(struct rig_setup){.filters = "a: {type: probe, at: response, do: wait, after: 2s}", .order = "a"},
            breaks_behind_head_filter);
}

static void filter_fails(struct rig *rig)
{
    rig_reply(rig, "east", HEAD ROLE CONTENT("Hello"));
    struct rig_client *client = ask(rig, ASK);
    const struct rig_message *answer = rig_answer(client, 0);
    assert_int_equal(answer->head.status, 200);
    assert_true(rig_body_has(answer, "data: {\"error\":{\"message\":\"not you\""));
    assert_null(rig->peers[0].end);
}

static void test_filter_fails(void **state)
{
    (void)state;
    rig_run(&(struct rig_setup){.filters = "a: {type: probe, at: response-body, do: fail}", .order = "a"},
            filter_fails);
}

/* A filter sees the usage that the client does not. */
static void usage_and_filters(struct rig *rig)
{
    reply_and_close(rig, "east", HEAD ALL);
    struct rig_client *client = ask(rig, ASK);
    rig_assert_body(rig_answer(client, 0), SHOWN);
}

static void test_usage_and_filters(void **state)
{
    (void)state;
    rig_run(&(struct rig_setup){.filters = "a: {type: probe, at: response-body, do: wait, after: 0s}", .order = "a"},
            usage_and_filters);
}

#define CASE(name)                                                                                                     \
    static void test_##name(void **state)                                                                              \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        rig_run(&two, name);                                                                                           \
    }
CASE(usage_hidden)
CASE(usage_wanted)
CASE(without_options)
CASE(bad_request)
CASE(opaque)
CASE(at_once)
CASE(breaks_before_content)
CASE(error_before_content)
CASE(breaks)
CASE(is_reset)
CASE(falls_silent)
CASE(breaks_in_event)
CASE(breaks_in_shown_event)
CASE(breaks_in_responses)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_usage_hidden),
        cmocka_unit_test(test_usage_wanted),
        cmocka_unit_test(test_usage_split),
        cmocka_unit_test(test_without_options),
        cmocka_unit_test(test_bad_request),
        cmocka_unit_test(test_opaque),
        cmocka_unit_test(test_at_once),
        cmocka_unit_test(test_breaks_before_content),
        cmocka_unit_test(test_error_before_content),
        cmocka_unit_test(test_breaks),
        cmocka_unit_test(test_is_reset),
        cmocka_unit_test(test_falls_silent),
        cmocka_unit_test(test_breaks_in_event),
        cmocka_unit_test(test_breaks_in_shown_event),
        cmocka_unit_test(test_breaks_in_responses),
        cmocka_unit_test(test_breaks_behind_filter),
        cmocka_unit_test(test_breaks_behind_head_filter),
        cmocka_unit_test(test_filter_fails),
        cmocka_unit_test(test_usage_and_filters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
