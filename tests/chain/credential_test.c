/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that need a token: they wait for it, go on without it, and are sent again when theirs has aged. Hours pass
 * by the fake clock; the metadata service is the target "imds".
 */
#include <stdio.h>

#include "base/clock.h"
#include "gateway/credentials.h"
#include "support/rig.h"

#define GOOD "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
#define UNAUTHORIZED                                                                                                   \
    "HTTP/1.1 401 No\r\ncontent-type: application/json\r\ncontent-length: "                                            \
    "37\r\n\r\n{\"statusCode\":401,\"message\":\"expired\"}"
#define LACKS_ROLE                                                                                                     \
    "HTTP/1.1 401 No\r\ncontent-type: application/json\r\ncontent-length: "                                            \
    "37\r\n\r\n{\"error\":{\"code\":\"PermissionDenied\"}}"
#define REFUSED "HTTP/1.1 400 Bad\r\ncontent-length: 27\r\n\r\n{\"error\":\"invalid_request\"}"
#define BUSY    "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"

static const struct rig_setup keyless = {
    .rest = "credentials: [{name: node, managed_identity: {endpoint: \"http://imds.test\"}}]\n"
            "targets:\n"
            "  - {name: east, openai: {url: \"http://east.test/v1\"}, credential: node, timeouts: {first_byte: 5s}}\n"
            "  - {name: west, openai: {url: \"http://west.test/v1\"}}\n"
            "models:\n"
            "  - {name: only, targets: [east]}\n"
            "  - {name: m, targets: [{target: east, priority: 1}, {target: west, priority: 2}]}\n"};

/* In steps that are shorter than the patience of a fetch, since a dribbled answer takes many turns. */
static void pass(struct rig *rig, uint64_t us)
{
    static const uint64_t step = 5 * CLOCK_SECOND;
    for (; us > step; us -= step)
        rig_pass(rig, step);
    rig_pass(rig, us);
}

static void reply_token(struct rig *rig, const char *token, unsigned seconds)
{
    struct span body = arena_format(
        &rig->arena, "{\"access_token\":\"%s\",\"expires_in\":\"%u\",\"token_type\":\"Bearer\"}", token, seconds);
    struct span whole =
        arena_format(&rig->arena, "HTTP/1.1 200 OK\r\ncontent-length: %zu\r\n\r\n%.*s", body.len, SPAN_ARG(body));
    rig_reply(rig, "imds", whole.ptr);
}

static struct rig_client *ask(struct rig *rig, const char *model)
{
    struct rig_client *client = rig_client(rig);
    char body[64];
    (void)snprintf(body, sizeof(body), "{\"model\":\"%s\"}", model);
    rig_post(client, "/v1/chat/completions", body);
    rig_settle(rig);
    return client;
}

static unsigned status_of(struct rig *rig, const char *model)
{
    return rig_answer(ask(rig, model), 0)->head.status;
}

/* How many requests a host has seen. */
static unsigned count(const struct rig *rig, const char *host)
{
    unsigned seen = 0;
    for (unsigned i = 0; i < rig->request_count; i++)
        seen += strcmp(rig_asked(rig, i)->host, host) == 0;
    return seen;
}

/* The last request of all was at `host` with that token. */
static void assert_last(const struct rig *rig, const char *host, const char *authorization)
{
    const struct rig_request *last = rig_asked(rig, rig->request_count - 1);
    assert_string_equal(last->host, host);
    struct span value = fields_value(&last->message.head.fields, FIELD_AUTHORIZATION);
    assert_true(span_equal(value, span_str(authorization)));
}

/* The metadata service comes back, so that nothing is left under way. */
static void recover(struct rig *rig)
{
    rig->silent[0] = NULL;
    reply_token(rig, "T9", 3600);
    pass(rig, 120 * CLOCK_SECOND);
}

static void has_first_token(struct rig *rig)
{
    reply_token(rig, "T1", 3600);
    rig_reply(rig, "east", GOOD);
    assert_int_equal(status_of(rig, "only"), 200);
    assert_last(rig, "east", "Bearer T1");
}

/* ---- waiting ---- */

static void first_token(struct rig *rig)
{
    has_first_token(rig);
    const struct message *asked = &rig_asked(rig, 0)->message.head;
    assert_true(span_equal(asked->target, SPAN("/metadata/identity/oauth2/token?api-version=2018-02-01&resource="
                                               "https%3A%2F%2Fcognitiveservices.azure.com")));
    assert_true(span_equal(fields_find_name(&asked->fields, SPAN("metadata"))->value, SPAN("true")));
    rig_reply(rig, "east", GOOD);
    assert_int_equal(status_of(rig, "only"), 200);
    assert_int_equal(count(rig, "imds"), 1);
}

static void test_first_token(void **state)
{
    (void)state;
    rig_run(&keyless, first_token);
}

static void busy_at_first(struct rig *rig)
{
    rig_reply(rig, "imds", BUSY);
    rig_reply(rig, "east", GOOD);
    struct rig_client *client = ask(rig, "only");
    assert_int_equal(client->answer_count, 0);
    reply_token(rig, "T1", 3600);
    pass(rig, 2 * CLOCK_SECOND);
    assert_int_equal(rig_answer(client, 0)->head.status, 200);
    assert_int_equal(count(rig, "imds"), 2);
}

static void test_busy_at_first(void **state)
{
    (void)state;
    rig_run(&keyless, busy_at_first);
}

static void never_comes(struct rig *rig)
{
    rig->silent[0] = "imds";
    struct rig_client *client = ask(rig, "only");
    assert_int_equal(client->answer_count, 0);
    pass(rig, 6 * CLOCK_SECOND);
    assert_int_equal(rig_answer(client, 0)->head.status, 502);
    assert_true(rig_body_has(rig_answer(client, 0), "credential_unavailable"));
    assert_int_equal(count(rig, "east"), 0);
    recover(rig);
    rig_reply(rig, "east", GOOD);
    assert_int_equal(status_of(rig, "only"), 200);
}

static void test_never_comes(void **state)
{
    (void)state;
    rig_run(&keyless, never_comes);
}

static void client_leaves(struct rig *rig)
{
    rig->silent[0] = "imds";
    struct rig_client *client = ask(rig, "only");
    rig_leave(client);
    rig_settle(rig);
    assert_true(list_empty(&rig->worker->exchanges));
    recover(rig);
}

static void test_client_leaves(void **state)
{
    (void)state;
    rig_run(&keyless, client_leaves);
}

static const char *failure;

static void another_serves(struct rig *rig)
{
    rig_reply(rig, "imds", failure);
    rig_reply(rig, "west", GOOD);
    assert_int_equal(status_of(rig, "m"), 200);
    assert_last(rig, "west", "");
    /* And while it backs off, without asking. */
    rig_reply(rig, "west", GOOD);
    assert_int_equal(status_of(rig, "m"), 200);
    assert_int_equal(count(rig, "imds"), 1);
    assert_int_equal(count(rig, "east"), 0);
}

static void test_another_serves(void **state)
{
    (void)state;
    static const char *const failures[] = {REFUSED, BUSY};
    for (size_t i = 0; i < ARRAY_LEN(failures); i++) {
        failure = failures[i];
        rig_run(&keyless, another_serves);
    }
}

/* ---- renewal ---- */

static void renewed_ahead(struct rig *rig)
{
    has_first_token(rig);
    reply_token(rig, "T2", 3600);
    pass(rig, 2900 * CLOCK_SECOND);
    assert_int_equal(count(rig, "imds"), 1);
    pass(rig, 640 * CLOCK_SECOND);
    assert_int_equal(count(rig, "imds"), 2);
    rig_reply(rig, "east", GOOD);
    assert_int_equal(status_of(rig, "only"), 200);
    assert_last(rig, "east", "Bearer T2");
}

static void test_renewed_ahead(void **state)
{
    (void)state;
    rig_run(&keyless, renewed_ahead);
}

static void old_one_serves(struct rig *rig)
{
    has_first_token(rig);
    for (unsigned i = 0; i < 3; i++)
        rig_reply(rig, "imds", REFUSED);
    pass(rig, 3570 * CLOCK_SECOND);
    assert_true(count(rig, "imds") > 1);
    struct credential_status status;
    size_t cursor = 0;
    assert_true(credentials_status(rig->worker, &cursor, &status));
    assert_int_equal(status.state, CREDENTIAL_AILING);
    rig_reply(rig, "east", GOOD);
    assert_int_equal(status_of(rig, "only"), 200);
    assert_last(rig, "east", "Bearer T1");
    /* Until its end. */
    rig->silent[0] = "imds";
    pass(rig, 30 * CLOCK_SECOND);
    cursor = 0;
    assert_true(credentials_status(rig->worker, &cursor, &status));
    assert_int_equal(status.state, CREDENTIAL_FAILING);
    unsigned before = count(rig, "east");
    struct rig_client *client = ask(rig, "only");
    pass(rig, 6 * CLOCK_SECOND);
    assert_int_equal(rig_answer(client, 0)->head.status, 502);
    assert_int_equal(count(rig, "east"), before);
    recover(rig);
}

static void test_old_one_serves(void **state)
{
    (void)state;
    rig_run(&keyless, old_one_serves);
}

/* ---- a target that refuses ---- */

static void aged_is_replaced(struct rig *rig)
{
    has_first_token(rig);
    pass(rig, 61 * CLOCK_SECOND);
    rig_reply(rig, "east", UNAUTHORIZED);
    reply_token(rig, "T2", 3600);
    rig_reply(rig, "east", GOOD);
    assert_int_equal(status_of(rig, "only"), 200);
    assert_last(rig, "east", "Bearer T2");
    rig_assert_body(&rig_asked(rig, rig->request_count - 1)->message, "{\"model\":\"only\"}");
    assert_int_equal(count(rig, "imds"), 2);
    assert_int_equal(count(rig, "east"), 3);
}

static void test_aged_is_replaced(void **state)
{
    (void)state;
    rig_run(&keyless, aged_is_replaced);
}

static void once_only(struct rig *rig)
{
    has_first_token(rig);
    pass(rig, 61 * CLOCK_SECOND);
    rig_reply(rig, "east", UNAUTHORIZED);
    reply_token(rig, "T2", 3600);
    rig_reply(rig, "east", UNAUTHORIZED);
    struct rig_client *client = ask(rig, "only");
    assert_int_equal(rig_answer(client, 0)->head.status, 502);
    assert_true(rig_body_has(rig_answer(client, 0), "upstream_credential_refused"));
    assert_int_equal(count(rig, "east"), 3);
    assert_int_equal(count(rig, "imds"), 2);
}

static void test_once_only(void **state)
{
    (void)state;
    rig_run(&keyless, once_only);
}

static const char *refusal;
static uint64_t age;

static void is_final(struct rig *rig)
{
    has_first_token(rig);
    pass(rig, age);
    rig_reply(rig, "east", refusal);
    struct rig_client *client = ask(rig, "only");
    assert_int_equal(rig_answer(client, 0)->head.status, 502);
    assert_true(rig_body_has(rig_answer(client, 0), "upstream_credential_refused"));
    assert_int_equal(count(rig, "imds"), 1);
    assert_int_equal(count(rig, "east"), 2);
    rig_reply(rig, "east", refusal);
    rig_reply(rig, "west", GOOD);
    assert_int_equal(status_of(rig, "m"), 200);
}

static void test_final_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *refusal;
        uint64_t age;
    } cases[] = {
        {UNAUTHORIZED, 30 * CLOCK_SECOND}, /* too young for its age to be the reason */
        {LACKS_ROLE, 600 * CLOCK_SECOND},
        {"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n", 600 * CLOCK_SECOND},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        refusal = cases[i].refusal;
        age = cases[i].age;
        rig_run(&keyless, is_final);
    }
}

/* The renewal fails: another target answers, and the old token is not given up. */
static void renewal_fails(struct rig *rig)
{
    has_first_token(rig);
    pass(rig, 61 * CLOCK_SECOND);
    rig_reply(rig, "east", UNAUTHORIZED);
    rig_reply(rig, "imds", REFUSED);
    rig_reply(rig, "west", GOOD);
    assert_int_equal(status_of(rig, "m"), 200);
    assert_last(rig, "west", "");
    rig_reply(rig, "east", GOOD);
    assert_int_equal(status_of(rig, "only"), 200);
    assert_last(rig, "east", "Bearer T1");
}

static void test_renewal_fails(void **state)
{
    (void)state;
    rig_run(&keyless, renewal_fails);
}

/* ---- others that ask ---- */

struct listener {
    struct credential_watch watch;
    unsigned told;
};

static void told(struct credential_watch *watch, struct credential *credential)
{
    struct span token, object_id;
    CONTAINER_OF(watch, struct listener, watch)->told++;
    assert_true(credential_token(credential, &token, &object_id));
}

static void watched(struct rig *rig)
{
    struct listener listener = {.watch.changed = told};
    /* {"oid":"abc"} */
    reply_token(rig, "e30.eyJvaWQiOiJhYmMifQ.s", 3600);
    reply_token(rig, "e30.eyJvaWQiOiJhYmMifQ.t", 3600);
    const struct identity *identity = identity_find(rig->snapshot, SPAN("node"));
    struct credential *credential =
        credential_get(rig->worker, rig->snapshot, identity, SPAN("https://redis.azure.com/.default"));
    credential_watch(credential, &listener.watch);
    rig_settle(rig);
    struct span token, object_id;
    assert_int_equal(listener.told, 1);
    assert_true(credential_token(credential, &token, &object_id));
    assert_true(span_starts_with(token, SPAN("e30.eyJvaWQiOiJhYmMifQ.")));
    assert_true(span_equal(object_id, SPAN("abc")));
    assert_int_equal(count(rig, "imds"), 2); /* the target's scope, and this one */
    reply_token(rig, "e30.eyJvaWQiOiJhYmMifQ.u", 3600);
    reply_token(rig, "e30.eyJvaWQiOiJhYmMifQ.v", 3600);
    pass(rig, 3540 * CLOCK_SECOND);
    assert_int_equal(listener.told, 2);
    credential_unwatch(&listener.watch);
}

static void test_watched(void **state)
{
    (void)state;
    rig_run(&keyless, watched);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_token),    cmocka_unit_test(test_busy_at_first),
        cmocka_unit_test(test_never_comes),    cmocka_unit_test(test_client_leaves),
        cmocka_unit_test(test_another_serves), cmocka_unit_test(test_renewed_ahead),
        cmocka_unit_test(test_old_one_serves), cmocka_unit_test(test_aged_is_replaced),
        cmocka_unit_test(test_once_only),      cmocka_unit_test(test_final_refusals),
        cmocka_unit_test(test_renewal_fails),  cmocka_unit_test(test_watched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
