/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cache on whole exchanges: what is kept, who gets it and in which form, what goes past it, and how long it is
 * good.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "gateway/flight.h"
#include "support/rig.h"

#define HOT(member)                                                                                                    \
    "{\"model\":\"only\"" member ",\"messages\":[{\"role\":\"user\",\"content\":\"Tell me of the sea.\"}]}"
#define ASK        HOT(",\"temperature\":0")
#define ASK_STREAM HOT(",\"temperature\":0,\"stream\":true")
#define ASK_USAGE  HOT(",\"temperature\":0.0,\"stream\":true,\"stream_options\":{\"include_usage\":true}")
/* The same value in another spelling. */
#define ASK_SPELLED                                                                                                    \
    "{ \"messages\" : [ { \"content\" : \"Tell me of the \\u0073ea.\", \"role\":\"user\" } ] , \"temperature\": 0e3, " \
    "\"stream\": false, \"model\":\"only\" }"

#define JSON                                                                                                           \
    "{\"id\":\"c1\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"gpt-4o-2024\",\"choices\":[{"    \
    "\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Deep and blue.\"},\"finish_reason\":\"stop\"}],"    \
    "\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":4,\"total_tokens\":16}}"
#define EVENT_1                                                                                                        \
    "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-4o-2024\","      \
    "\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"Deep \"},\"finish_reason\":null}]}\n\n"
#define EVENT_2                                                                                                        \
    "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-4o-2024\","      \
    "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"and blue.\"},\"finish_reason\":null}]}\n\n"
#define EVENT_3                                                                                                        \
    "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-4o-2024\","      \
    "\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
#define EVENT_USAGE                                                                                                    \
    "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-4o-2024\","      \
    "\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":4,\"total_tokens\":16}}\n\n"
#define EVENT_DONE "data: [DONE]\n\n"
#define EVENTS     EVENT_1 EVENT_2 EVENT_3 EVENT_DONE
#define EVENTS_ALL EVENT_1 EVENT_2 EVENT_3 EVENT_USAGE EVENT_DONE

#define RULE "rules: [{models: [\"on*\", m], operations: [chat]}]"

static const struct rig_setup plain = {.filters = "answers: {type: cache, ttl_jitter: 0, ttl: 60s, " RULE "}",
                                       .order = "answers"};

/* ---- scripts ---- */

static void reply(struct rig *rig, const char *head, const char *body)
{
    struct buffer text = {0};
    buffer_format(&text, "HTTP/1.1 200 OK\r\n%scontent-length: %zu\r\n\r\n%s", head, strlen(body), body);
    rig_reply_span(rig, "east", arena_copy(&rig->arena, buffer_span(&text)));
    buffer_finish(&text);
}

static void reply_json(struct rig *rig)
{
    reply(rig, "content-type: application/json\r\n", JSON);
}

static void reply_events(struct rig *rig)
{
    reply(rig, "content-type: text/event-stream\r\n", EVENTS_ALL);
}

static const struct rig_message *ask_with(struct rig *rig, const char *fields, const char *body)
{
    struct rig_client *client = rig->client_count ? &rig->clients[0] : rig_client(rig);
    unsigned n = client->answer_count;
    rig_ask(client, "POST", "/v1/chat/completions", fields, span_str(body));
    rig_settle(rig);
    return rig_answer(client, n);
}

static const struct rig_message *ask(struct rig *rig, const char *body)
{
    return ask_with(rig, "", body);
}

/* But for the key at its end. */
static void assert_status_field(const struct rig_message *answer, const char *expected)
{
    struct span value = fields_value(&answer->head.fields, FIELD_CACHE_STATUS);
    value = span_take(value, span_search(value, SPAN("; key=")));
    if (!span_equal(value, span_str(expected)))
        fail_msg("cache-status is \"%.*s\", wanted \"%s\"", SPAN_ARG(value), expected);
}

/* ---- hits ---- */

static void json_twice(struct rig *rig)
{
    reply_json(rig);
    const struct rig_message *first = ask(rig, ASK);
    rig_assert_body(first, JSON);
    assert_status_field(first, "postern; fwd=uri-miss");
    rig_assert_field(first, "age", NULL);
    rig_pass(rig, 7 * CLOCK_SECOND);
    const struct rig_message *second = ask(rig, ASK_SPELLED);
    rig_assert_body(second, JSON);
    assert_status_field(second, "postern; hit; ttl=53");
    rig_assert_field(second, "age", "7");
    rig_assert_field(second, "content-type", "application/json");
    assert_int_equal(rig->request_count, 1);
}

static void test_json_twice(void **state)
{
    (void)state;
    rig_run(&plain, json_twice);
}

/* The usage chunk that we asked for is kept, and given to whom asks for it. */
static void events_twice(struct rig *rig)
{
    reply_events(rig);
    rig_assert_body(ask(rig, ASK_STREAM), EVENTS);
    const struct rig_message *again = ask(rig, ASK_STREAM);
    rig_assert_body(again, EVENTS);
    rig_assert_field(again, "content-type", "text/event-stream");
    rig_assert_body(ask(rig, ASK_USAGE), EVENTS_ALL);
    assert_int_equal(rig->request_count, 1);
}

static void test_events_twice(void **state)
{
    (void)state;
    rig_run(&plain, events_twice);
}

/* Where the target pauses within its stream. */
static size_t split;

/* Wherever the bytes are parted on their way, the same is kept and given in both forms. */
static void events_parted(struct rig *rig)
{
    size_t size = strlen(EVENTS_ALL);
    struct buffer text = {0};
    buffer_format(&text, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %zu\r\n\r\n%.*s", size,
                  (int)split, EVENTS_ALL);
    rig_reply_span(rig, "east", arena_copy(&rig->arena, buffer_span(&text)));
    buffer_finish(&text);
    struct rig_client *client = rig_client(rig);
    rig_ask(client, "POST", "/v1/chat/completions", "", SPAN(ASK_STREAM));
    rig_settle(rig);
    rig_peer_send(rig_asked(rig, 0)->peer, EVENTS_ALL + split);
    rig_settle(rig);
    rig_assert_body(rig_answer(client, 0), EVENTS);
    rig_assert_body(ask(rig, ASK_USAGE), EVENTS_ALL);
    rig_assert_body(ask(rig, ASK), JSON);
    assert_int_equal(rig->request_count, 1);
}

static void test_events_parted_everywhere(void **state)
{
    (void)state;
    for (split = 0; split < strlen(EVENTS_ALL); split++)
        rig_run(&plain, events_parted);
}

/* What the first client asked for itself is kept, too, and hidden from those who did not ask. */
static void events_with_usage_first(struct rig *rig)
{
    reply_events(rig);
    rig_assert_body(ask(rig, ASK_USAGE), EVENTS_ALL);
    rig_assert_body(ask(rig, ASK_STREAM), EVENTS);
    assert_int_equal(rig->request_count, 1);
}

static void test_events_with_usage_first(void **state)
{
    (void)state;
    rig_run(&plain, events_with_usage_first);
}

static void both_forms(struct rig *rig)
{
    reply_events(rig);
    rig_assert_body(ask(rig, ASK_STREAM), EVENTS);
    const struct rig_message *json = ask(rig, ASK);
    rig_assert_field(json, "content-type", "application/json");
    assert_true(rig_body_has(json, "\"content\":\"Deep and blue.\""));
    assert_true(rig_body_has(json, "\"total_tokens\":16"));
    assert_int_equal(rig->request_count, 1);
}

static void json_as_events(struct rig *rig)
{
    reply_json(rig);
    (void)ask(rig, ASK);
    const struct rig_message *events = ask(rig, ASK_STREAM);
    rig_assert_field(events, "content-type", "text/event-stream; charset=utf-8");
    assert_true(rig_body_has(events, "Deep and blue."));
    assert_true(rig_body_has(events, "data: [DONE]\n\n"));
    assert_false(rig_body_has(events, "total_tokens"));
    assert_true(rig_body_has(ask(rig, ASK_USAGE), "total_tokens"));
    assert_int_equal(rig->request_count, 1);
}

static void test_both_forms(void **state)
{
    (void)state;
    rig_run(&plain, both_forms);
    rig_run(&plain, json_as_events);
}

/* One event at a time, as if it were made just now. */
static const struct rig_setup paced = {.filters = "answers: {type: cache, pace: 20ms, " RULE "}", .order = "answers"};

static void one_by_one(struct rig *rig)
{
    reply_events(rig);
    (void)ask(rig, ASK_STREAM);
    struct rig_client *client = &rig->clients[0];
    rig_post(client, "/v1/chat/completions", ASK_STREAM);
    rig_settle(rig);
    assert_int_equal(client->answer_count, 1);
    if (!rig->dribble)
        rig_assert_body(rig_partial(client), EVENT_1);
    for (unsigned i = 0; i < 40; i++)
        rig_pass(rig, 20 * CLOCK_MS);
    rig_assert_body(rig_answer(client, 1), EVENTS);
    /* JSON comes at once. */
    assert_true(rig_body_has(ask(rig, ASK), "Deep and blue."));
    /* Who leaves amid it leaves nothing behind. */
    rig_post(client, "/v1/chat/completions", ASK_STREAM);
    rig_settle(rig);
    rig_leave(client);
    rig_settle(rig);
    assert_int_equal(rig->request_count, 1);
}

static void test_paced(void **state)
{
    (void)state;
    rig_run(&paced, one_by_one);
}

/* One cache behind another: a call of a call. */
static const struct rig_setup nested = {.filters = "answers: {type: cache, " RULE "}, inner: {type: cache, " RULE "}",
                                        .order = "answers, inner"};

static void behind_another(struct rig *rig)
{
    reply_events(rig);
    rig_assert_body(ask(rig, ASK_STREAM), EVENTS);
    rig_assert_body(ask(rig, ASK_STREAM), EVENTS);
    assert_true(rig_body_has(ask(rig, ASK), "Deep and blue."));
    assert_int_equal(rig->request_count, 1);
    /* Who leaves at once leaves nothing behind in either. */
    struct rig_client *client = &rig->clients[0];
    rig_post(client, "/v1/chat/completions", HOT(",\"temperature\":0,\"stream\":true,\"seed\":2"));
    rig_settle(rig);
    rig_leave(client);
    rig_settle(rig);
    assert_int_equal(flight_count(), 0);
}

static void test_nested(void **state)
{
    (void)state;
    rig_run(&nested, behind_another);
}

/* ---- what is not the same ---- */

static void different(struct rig *rig)
{
    static const char *const bodies[] = {
        ASK,
        "{\"model\":\"only\",\"temperature\":0,\"messages\":[{\"role\":\"user\",\"content\":\"Tell me of the sky.\"}]}",
        HOT(",\"temperature\":0,\"seed\":1"), HOT(",\"temperature\":0,\"unheard_of\":null"),
        "{\"model\":\"m\",\"temperature\":0,\"messages\":[{\"role\":\"user\",\"content\":\"Tell me of the sea.\"}]}"};
    for (unsigned i = 0; i < ARRAY_LEN(bodies); i++) {
        reply_json(rig);
        assert_status_field(ask(rig, bodies[i]), "postern; fwd=uri-miss");
    }
    assert_int_equal(rig->request_count, ARRAY_LEN(bodies));
}

static void test_different(void **state)
{
    (void)state;
    rig_run(&plain, different);
}

/* ---- what goes past it ---- */

static void bypassed(struct rig *rig)
{
    static const struct {
        const char *fields, *body, *status;
    } cases[] = {
        {"", HOT(""), "postern; fwd=bypass; detail=temperature"},
        {"", HOT(",\"temperature\":0.1"), "postern; fwd=bypass; detail=temperature"},
        {"cache-control: no-store\r\n", ASK, "postern; fwd=bypass; detail=no_store"},
        {"cache-control: max-age=9, NO-STORE\r\n", ASK, "postern; fwd=bypass; detail=no_store"},
        {"", HOT(",\"temperature\":0,\"store\":true"), "postern; fwd=bypass; detail=stateful"},
        {"", HOT(",\"temperature\":0,\"web_search_options\":{}"), "postern; fwd=bypass; detail=hosted_tools"},
        {"", HOT(",\"temperature\":0,\"tools\":[{\"type\":\"function\"},{\"type\":\"mcp\"}]"),
         "postern; fwd=bypass; detail=hosted_tools"},
        {"", HOT(",\"temperature\":0,\"metadata\":{\"a\":1,\"\\u0061\":2}"), "postern; fwd=bypass; detail=body"},
        {"", "{\"model\":\"any-x\",\"temperature\":0,\"messages\":[]}", ""},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++)
        for (unsigned twice = 0; twice < 2; twice++) {
            reply_json(rig);
            const struct rig_message *answer = ask_with(rig, cases[i].fields, cases[i].body);
            rig_assert_body(answer, JSON);
            assert_status_field(answer, cases[i].status);
            assert_int_equal(rig->request_count, 2 * i + twice + 1);
        }
}

static void test_bypassed(void **state)
{
    (void)state;
    rig_run(&plain, bypassed);
}

/* ---- what must not be given again, found out when it came or when somebody wants it ---- */

#define CHOICE(members) "{\"object\":\"chat.completion\",\"model\":\"m\",\"choices\":[{\"index\":0," members "}],"
#define SAID            "\"message\":{\"role\":\"assistant\",\"content\":\"Deep.\"}"
#define COST            "\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":4,\"total_tokens\":16}}"

static void unsound(struct rig *rig)
{
    static const char *const bodies[] = {
        CHOICE(SAID ",\"finish_reason\":\"content_filter\"") COST,
        CHOICE(SAID ",\"finish_reason\":\"stop\",\"content_filter_results\":{\"hate\":{\"filtered\":true}}") COST,
        CHOICE(SAID ",\"finish_reason\":\"stop\",\"error\":{\"code\":\"x\"}") COST,
        CHOICE("\"finish_reason\":\"stop\"") COST,
        CHOICE(SAID ",\"finish_reason\":\"stop\",\"finish_reason\":\"stop\"") COST,
        CHOICE(SAID ",\"finish_reason\":\"stop\"") COST "}",
        CHOICE(SAID ",\"finish_reason\":null") COST,
        "{\"error\":{\"code\":\"x\"}}",
        "not JSON",
    };
    for (unsigned i = 0; i < ARRAY_LEN(bodies); i++)
        for (unsigned twice = 0; twice < 2; twice++) {
            reply(rig, "content-type: application/json\r\n", bodies[i]);
            const struct rig_message *answer = ask(rig, ASK);
            rig_assert_body(answer, bodies[i]);
            assert_status_field(answer, "postern; fwd=uri-miss");
            assert_int_equal(rig->request_count, 2 * i + twice + 1);
        }
    reply_json(rig);
    rig_assert_body(ask(rig, ASK), JSON);
    rig_assert_body(ask(rig, ASK), JSON);
    assert_int_equal(rig->request_count, 2 * ARRAY_LEN(bodies) + 1);
}

static void test_unsound(void **state)
{
    (void)state;
    rig_run(&plain, unsound);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_twice),
        cmocka_unit_test(test_events_twice),
        cmocka_unit_test(test_events_parted_everywhere),
        cmocka_unit_test(test_events_with_usage_first),
        cmocka_unit_test(test_both_forms),
        cmocka_unit_test(test_paced),
        cmocka_unit_test(test_nested),
        cmocka_unit_test(test_different),
        cmocka_unit_test(test_bypassed),
        cmocka_unit_test(test_unsound),
    };
    cmocka_set_test_filter(getenv("RIG_TEST"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
