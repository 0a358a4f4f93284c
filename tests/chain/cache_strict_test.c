/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cache where a wrong answer would come from: requests that differ only in what steers the target, answers that are
 * none, rules that change under what is kept.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "support/rig.h"

#define BODY(member)                                                                                                   \
    "{\"model\":\"only\",\"temperature\":0" member ",\"messages\":[{\"role\":\"user\",\"content\":\"Hi.\"}]}"
#define ASK BODY("")

#define ANSWER(content, reason)                                                                                        \
    "{\"id\":\"c1\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"g\",\"choices\":[{\"index\":0,"  \
    "\"message\":{\"role\":\"assistant\",\"content\":\"" content "\"},\"finish_reason\":" reason "}]}"
#define GOOD ANSWER("Hello.", "\"stop\"")
#define CHUNK                                                                                                          \
    "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"g\",\"choices\":[{"  \
    "\"index\":0,\"delta\":{\"content\":\"Hel\"},\"finish_reason\":null}]}\n\n"

#define FILTER(ttl) "answers: {type: cache, ttl_jitter: 0, ttl: " ttl ", rules: [{operations: [chat, embeddings]}]}"

static const struct rig_setup plain = {.filters = FILTER("60s"), .order = "answers"};

static void reply(struct rig *rig, const char *fields, const char *body)
{
    struct buffer text = {0};
    buffer_format(&text, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n%scontent-length: %zu\r\n\r\n%s", fields,
                  strlen(body), body);
    rig_reply_span(rig, "east", arena_copy(&rig->arena, buffer_span(&text)));
    buffer_finish(&text);
}

static const struct rig_message *post(struct rig *rig, const char *path, const char *fields, const char *body)
{
    struct rig_client *client = rig->client_count ? &rig->clients[0] : rig_client(rig);
    unsigned n = client->answer_count;
    rig_ask(client, "POST", path, fields, span_str(body));
    rig_settle(rig);
    return rig_answer(client, n);
}

static const struct rig_message *ask(struct rig *rig, const char *fields, const char *body)
{
    return post(rig, "/v1/chat/completions", fields, body);
}

/* ---- what steers the target ---- */

static void steered(struct rig *rig)
{
    static const char *const fields[] = {"",
                                         "openai-beta: x=1\r\n",
                                         "OpenAI-Organization: a\r\n",
                                         "openai-organization: b\r\n",
                                         "openai-project: a\r\n",
                                         "x-policy-id: strict\r\n",
                                         "x-policy-id: lax\r\n",
                                         "aoai-evals: preview\r\n",
                                         "x-ms-oai-image-generation-deployment: d\r\n",
                                         "x-ms-spillover-deployment: d\r\n",
                                         "azureml-model-deployment: blue\r\n",
                                         "extra-parameters: drop\r\n",
                                         "x-gateway-model-name-rewrite: m\r\n"};
    for (unsigned i = 0; i < ARRAY_LEN(fields); i++) {
        reply(rig, "", GOOD);
        (void)ask(rig, fields[i], ASK);
        assert_int_equal(rig->request_count, i + 1);
        (void)ask(rig, fields[i], ASK);
        assert_int_equal(rig->request_count, i + 1);
    }
    /* These do not. */
    (void)ask(rig, "x-ms-client-request-id: 5\r\ntraceparent: 00-1-2-01\r\nuser-agent: else\r\nx-stainless-os: L\r\n",
              ASK);
    assert_int_equal(rig->request_count, ARRAY_LEN(fields));
}

static void test_steered(void **state)
{
    (void)state;
    rig_run(&plain, steered);
}

/* Members of the body that change the answer, or whom it is for; none of them is left out by default. */
static void members(struct rig *rig)
{
    static const char *const bodies[] = {ASK,
                                         BODY(",\"n\":1"),
                                         BODY(",\"n\":2"),
                                         BODY(",\"max_tokens\":1"),
                                         BODY(",\"max_completion_tokens\":1"),
                                         BODY(",\"service_tier\":\"flex\""),
                                         BODY(",\"user\":\"a\""),
                                         BODY(",\"user\":\"b\""),
                                         BODY(",\"safety_identifier\":\"a\""),
                                         BODY(",\"prompt_cache_key\":\"a\""),
                                         BODY(",\"metadata\":{\"a\":\"b\"}"),
                                         BODY(",\"store\":false"),
                                         BODY(",\"store\":null"),
                                         BODY(",\"logprobs\":true"),
                                         BODY(",\"user_security_context\":{}")};
    for (unsigned i = 0; i < ARRAY_LEN(bodies); i++) {
        reply(rig, "", GOOD);
        (void)ask(rig, "", bodies[i]);
        assert_int_equal(rig->request_count, i + 1);
    }
}

static void test_members(void **state)
{
    (void)state;
    rig_run(&plain, members);
}

static void vectors(struct rig *rig)
{
    static const char *const bodies[] = {
        "{\"model\":\"only\",\"input\":[\"a\"]}", "{\"model\":\"only\",\"input\":[\"a\"],\"dimensions\":8}",
        "{\"model\":\"only\",\"input\":[\"a\"],\"encoding_format\":\"base64\"}",
        "{\"model\":\"only\",\"input\":[\"a\"],\"encoding_format\":\"float\"}", "{\"model\":\"m\",\"input\":[\"a\"]}"};
    for (unsigned i = 0; i < ARRAY_LEN(bodies); i++) {
        reply(rig, "",
              "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":[1]}],\"model\":"
              "\"e\"}");
        (void)post(rig, "/v1/embeddings", "", bodies[i]);
        assert_int_equal(rig->request_count, i + 1);
        (void)post(rig, "/v1/embeddings", "", bodies[i]);
        assert_int_equal(rig->request_count, i + 1);
    }
}

static void test_vectors(void **state)
{
    (void)state;
    rig_run(&plain, vectors);
}

/* Data that the target looks up, which may be another tomorrow. */
static void sources(struct rig *rig)
{
    static const char *const bodies[] = {BODY(",\"data_sources\":[{\"type\":\"azure_search\"}]"),
                                         BODY(",\"dataSources\":[{}]"), BODY(",\"web_search_options\":{}")};
    for (unsigned i = 0; i < ARRAY_LEN(bodies); i++) {
        reply(rig, "", GOOD);
        rig_assert_field(ask(rig, "", bodies[i]), "cache-status", "postern; fwd=bypass; detail=hosted_tools");
    }
}

static void test_sources(void **state)
{
    (void)state;
    rig_run(&plain, sources);
}

/* ---- answers that are none ---- */

static const struct {
    const char *fields, *body;
} poisons[] = {
    {"application/json", "{\"error\":{\"message\":\"over\",\"type\":\"server_error\"}}"},
    {"application/json", "{\"error\":{\"message\":\"over\"},\"choices\":[]}"},
    {"application/json", ANSWER("Hel", "null")},
    {"application/json", ANSWER("", "\"content_filter\"")},
    {"application/json", ANSWER("Hel", "\"error\"")},
    {"application/json\r\ncontent-encoding: gzip", GOOD},
    {"text/html", "<html>sign in</html>"},
    {"application/json", ""},
    {"application/json", "[]"},
    {"application/json", GOOD "x"},
    {"text/event-stream", CHUNK},
    {"text/event-stream", GOOD},
};
static unsigned poison;

static void poisoned(struct rig *rig)
{
    bool stream = strstr(poisons[poison].fields, "event-stream") != NULL;
    for (unsigned i = 0; i < 2; i++) {
        struct buffer text = {0};
        buffer_format(&text, "HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %zu\r\n\r\n%s",
                      poisons[poison].fields, strlen(poisons[poison].body), poisons[poison].body);
        rig_reply_span(rig, "east", arena_copy(&rig->arena, buffer_span(&text)));
        buffer_finish(&text);
        struct rig_client *client = rig_client(rig);
        rig_ask(client, "POST", "/v1/chat/completions", "", span_str(stream ? BODY(",\"stream\":true") : ASK));
        rig_settle(rig);
        rig_leave(client);
        rig_settle(rig);
        if (rig->request_count != i + 1)
            fail_msg("poison %u was kept", poison);
    }
}

static void test_poisoned(void **state)
{
    (void)state;
    for (poison = 0; poison < ARRAY_LEN(poisons); poison++)
        rig_run(&plain, poisoned);
}

/* An answer that is shorter than its length says. */
static void truncated(struct rig *rig)
{
    for (unsigned i = 0; i < 2; i++) {
        struct rig_script *script = rig_reply_span(rig, "east",
                                                   SPAN("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                                                        "content-length: 1000\r\n\r\n" GOOD));
        script->close_after = true;
        struct rig_client *client = rig_client(rig);
        rig_ask(client, "POST", "/v1/chat/completions", "", span_str(ASK));
        rig_settle(rig);
        rig_leave(client);
        rig_settle(rig);
        assert_true(rig->request_count > i);
    }
}

static void test_truncated(void **state)
{
    (void)state;
    rig_run(&plain, truncated);
}

/* ---- rules that change ---- */

/* What was kept for an hour is not served for longer than the rule of today allows. */
static void shorter(struct rig *rig)
{
    reply(rig, "", GOOD);
    (void)ask(rig, "", ASK);
    rig_pass(rig, 20 * CLOCK_SECOND);
    rig_assert_field(ask(rig, "", ASK), "age", "20");
    rig_load(rig, &(struct rig_setup){.filters = FILTER("30s"), .order = "answers"});
    struct span status = fields_value(&ask(rig, "", ASK)->head.fields, FIELD_CACHE_STATUS);
    assert_true(span_starts_with(status, SPAN("postern; hit; ttl=10;")));
    rig_load(rig, &(struct rig_setup){.filters = FILTER("10s"), .order = "answers"});
    reply(rig, "", GOOD);
    (void)ask(rig, "", ASK);
    assert_int_equal(rig->request_count, 2);
}

static void test_shorter(void **state)
{
    (void)state;
    rig_run(&plain, shorter);
}

/* An alias that leads elsewhere after a reload has other answers. */
static void elsewhere(struct rig *rig)
{
    reply(rig, "", GOOD);
    (void)ask(rig, "", ASK);
    rig_load(rig, &(struct rig_setup){.filters = FILTER("60s"),
                                      .order = "answers",
                                      .rest = "targets:\n"
                                              "  - {name: east, openai: {url: \"http://east.test/v1\"}}\n"
                                              "models:\n"
                                              "  - {name: only, targets: [{target: east, deployment: another}]}\n"});
    reply(rig, "", GOOD);
    (void)ask(rig, "", ASK);
    assert_int_equal(rig->request_count, 2);
}

static void test_elsewhere(void **state)
{
    (void)state;
    rig_run(&plain, elsewhere);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steered),   cmocka_unit_test(test_members),   cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_sources),   cmocka_unit_test(test_poisoned),  cmocka_unit_test(test_shorter),
        cmocka_unit_test(test_elsewhere), cmocka_unit_test(test_truncated),
    };
    cmocka_set_test_filter(getenv("RIG_TEST"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
