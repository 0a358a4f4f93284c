/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of the gateway's own: what is sent, what is taken, and that each ends exactly once.
 */
#include <stdio.h>

#include "base/clock.h"
#include "gateway/fetch.h"
#include "support/rig.h"

static const struct rig_setup plain = {0};

struct fetched {
    struct fetch fetch;
    struct rig *rig;
    unsigned calls;
    unsigned status;
    enum fault fault;
    char body[256], detail[256], type[64];
    const char *again; /* a URL to fetch from within the callback */
};

static void done(struct fetch *fetch, const struct fetch_answer *answer)
{
    struct fetched *outcome = CONTAINER_OF(fetch, struct fetched, fetch);
    outcome->calls++;
    outcome->status = answer->status;
    outcome->fault = answer->fault;
    struct span type = answer->fields ? fields_value(answer->fields, FIELD_CONTENT_TYPE) : (struct span){0};
    (void)snprintf(outcome->body, sizeof(outcome->body), "%.*s", SPAN_ARG(answer->body));
    (void)snprintf(outcome->detail, sizeof(outcome->detail), "%s", answer->detail);
    (void)snprintf(outcome->type, sizeof(outcome->type), "%.*s", SPAN_ARG(type));
    if (outcome->again) {
        struct fetch_request request = {.method = HTTP_GET, .url = span_str(outcome->again)};
        outcome->again = NULL;
        fetch_start(outcome->rig->worker, NULL, fetch, &request, done);
    }
}

static void get(struct rig *rig, struct fetched *outcome, const char *url, size_t most)
{
    struct fetch_request request = {
        .method = HTTP_GET, .url = span_str(url), .body_most = most, .timeout = 5 * CLOCK_SECOND};
    memset(outcome, 0, sizeof(*outcome));
    outcome->rig = rig;
    fetch_start(rig->worker, NULL, &outcome->fetch, &request, done);
    assert_int_equal(outcome->calls, 0);
    rig_settle(rig);
}

/* ---- answers ---- */

static const struct {
    const char *reply;
    bool close; /* the host closes after it */
    unsigned status;
    enum fault fault;
    const char *body;
} answers[] = {
    {"HTTP/1.1 200 OK\r\ncontent-type: a/b\r\ncontent-length: 4\r\n\r\nbody", false, 200, FAULT_NONE, "body"},
    {"HTTP/1.1 200 OK\r\ncontent-type: a/b\r\ntransfer-encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n", false,
     200, FAULT_NONE, "body"},
    {"HTTP/1.1 200 OK\r\ncontent-type: a/b\r\n\r\nbody", true, 200, FAULT_NONE, "body"},
    {"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 404 No\r\ncontent-type: a/b\r\ncontent-length: 0\r\n\r\n", false, 404,
     FAULT_NONE, ""},
    {"HTTP/1.1 302 Away\r\ncontent-type: a/b\r\nlocation: http://evil.test/\r\ncontent-length: 0\r\n\r\n", false, 302,
     FAULT_NONE, ""},
    {"HTTP/1.1 200 OK\r\ncontent-type: a/b\r\ncontent-length: 17\r\n\r\n12345678901234567", false, 0,
     FAULT_UPSTREAM_TOO_LARGE, ""},
    {"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nx", false, 0, FAULT_UPSTREAM_TOO_LARGE, ""},
    {"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n11\r\n12345678901234567\r\n0\r\n\r\n", false, 0,
     FAULT_UPSTREAM_TOO_LARGE, ""},
    {"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbo", true, 0, FAULT_UPSTREAM_CLOSED, ""},
    {"HTTP/1.1 200 OK\r\nx y: z\r\n\r\n", false, 0, FAULT_UPSTREAM_PROTOCOL, ""},
    {"junk\r\n\r\n", false, 0, FAULT_UPSTREAM_PROTOCOL, ""},
    {"", true, 0, FAULT_UPSTREAM_CLOSED, ""},
};

static size_t which;

static void answered(struct rig *rig)
{
    struct fetched outcome;
    rig_reply_span(rig, "keys", span_str(answers[which].reply))->close_after = answers[which].close;
    get(rig, &outcome, "http://keys.test/a/b?c=%20d", 16);
    assert_int_equal(outcome.calls, 1);
    assert_int_equal(outcome.status, answers[which].status);
    assert_int_equal(outcome.fault, answers[which].fault);
    assert_string_equal(outcome.body, answers[which].body);
    assert_string_equal(outcome.type, outcome.status ? "a/b" : "");
    assert_int_equal(outcome.detail[0] == '\0', outcome.status != 0);
    assert_int_equal(rig->request_count, 1);
    const struct message *asked = &rig_asked(rig, 0)->message.head;
    assert_true(span_equal(asked->target, SPAN("/a/b?c=%20d")));
    assert_true(span_equal(asked->authority, SPAN("keys.test")));
    assert_false(asked->keep_alive);
}

static void test_answers(void **state)
{
    (void)state;
    for (which = 0; which < ARRAY_LEN(answers); which++)
        rig_run(&plain, answered);
}

/* ---- the request ---- */

static void posted(struct rig *rig)
{
    struct field field = {.name = SPAN("content-type"), .value = SPAN("text/x"), .id = FIELD_CONTENT_TYPE};
    struct fields fields = {.at = &field, .count = 1, .cap = 1, .ids = field_bit(FIELD_CONTENT_TYPE)};
    struct fetched outcome = {.rig = rig};
    char body[] = "a=b";
    struct fetch_request request = {
        .method = HTTP_POST, .url = SPAN("http://keys.test:8080"), .fields = &fields, .body = span_of(body, 3)};
    rig_reply(rig, "keys", "HTTP/1.1 204 Done\r\n\r\n");
    fetch_start(rig->worker, NULL, &outcome.fetch, &request, done);
    memset(body, 'x', 3); /* it was copied */
    memset(&field, 0, sizeof(field));
    rig_settle(rig);
    assert_int_equal(outcome.status, 204);
    const struct message *asked = &rig_asked(rig, 0)->message.head;
    assert_int_equal(asked->method, HTTP_POST);
    assert_true(span_equal(asked->target, SPAN("/")));
    assert_true(span_equal(asked->authority, SPAN("keys.test:8080")));
    assert_true(span_equal(fields_value(&asked->fields, FIELD_CONTENT_TYPE), SPAN("text/x")));
    rig_assert_body(&rig_asked(rig, 0)->message, "a=b");
}

static void test_post(void **state)
{
    (void)state;
    rig_run(&plain, posted);
}

static void unusable_urls(struct rig *rig)
{
    static const char *const urls[] = {"",
                                       "keys.test",
                                       "ftp://keys.test/",
                                       "unix:/run/x",
                                       "http://",
                                       "http://u:p@keys.test/",
                                       "http://keys.test/a b",
                                       "http://keys.test/\r\nx: y"};
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        struct fetched outcome;
        get(rig, &outcome, urls[i], 0);
        assert_int_equal(outcome.calls, 1);
        assert_int_equal(outcome.fault, FAULT_INTERNAL);
        assert_true(outcome.detail[0]);
    }
    assert_int_equal(rig->request_count, 0);
}

static void test_unusable_urls(void **state)
{
    (void)state;
    rig_run(&plain, unusable_urls);
}

/* ---- ends ---- */

static void too_late(struct rig *rig)
{
    struct fetched outcome;
    rig->silent[0] = "keys";
    get(rig, &outcome, "http://keys.test/", 0);
    assert_int_equal(outcome.calls, 0);
    rig_pass(rig, 6 * CLOCK_SECOND);
    assert_int_equal(outcome.calls, 1);
    assert_int_equal(outcome.fault, FAULT_CONNECT_TIMEOUT);
    rig->silent[0] = NULL;
    get(rig, &outcome, "http://keys.test/", 0); /* connected, and never answered */
    rig_pass(rig, 6 * CLOCK_SECOND);
    assert_int_equal(outcome.calls, 1);
    assert_int_equal(outcome.fault, FAULT_TOTAL_TIMEOUT);
}

static void test_too_late(void **state)
{
    (void)state;
    rig_run(&plain, too_late);
}

static void refused(struct rig *rig)
{
    struct fetched outcome;
    rig->refused[0] = "keys";
    get(rig, &outcome, "http://keys.test/", 0);
    assert_int_equal(outcome.calls, 1);
    assert_int_equal(outcome.fault, FAULT_UPSTREAM_CONNECT);
}

static void test_refused(void **state)
{
    (void)state;
    rig_run(&plain, refused);
}

static void cancelled(struct rig *rig)
{
    struct fetched outcome;
    struct fetch_request request = {.method = HTTP_GET, .url = SPAN("ftp://x")};
    get(rig, &outcome, "http://keys.test/", 0); /* waits for its answer */
    fetch_cancel(&outcome.fetch);
    fetch_cancel(&outcome.fetch);
    rig_pass(rig, 20 * CLOCK_SECOND);
    assert_int_equal(outcome.calls, 0);
    rig->silent[0] = "keys";
    get(rig, &outcome, "http://keys.test/", 0); /* waits for its connection */
    fetch_cancel(&outcome.fetch);
    fetch_start(rig->worker, NULL, &outcome.fetch, &request, done); /* waits to be told what is wrong */
    pending_cancel(&outcome.fetch.pending);
    rig_pass(rig, 20 * CLOCK_SECOND);
    assert_int_equal(outcome.calls, 0);
}

static void test_cancelled(void **state)
{
    (void)state;
    rig_run(&plain, cancelled);
}

static void again(struct rig *rig)
{
    struct fetch_request request = {.method = HTTP_GET, .url = SPAN("http://keys.test/1")};
    struct fetched outcome = {.rig = rig, .again = "http://keys.test/2"};
    rig_reply(rig, "keys", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1");
    rig_reply(rig, "keys", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n2");
    fetch_start(rig->worker, NULL, &outcome.fetch, &request, done);
    rig_settle(rig);
    assert_int_equal(outcome.calls, 2);
    assert_string_equal(outcome.body, "2");
}

static void test_again(void **state)
{
    (void)state;
    rig_run(&plain, again);
}

static void test_retry_after(void **state)
{
    (void)state;
    struct field field = {.name = SPAN("retry-after"), .value = SPAN("7"), .id = FIELD_RETRY_AFTER};
    struct fields fields = {.at = &field, .count = 1, .cap = 1, .ids = field_bit(FIELD_RETRY_AFTER)};
    assert_int_equal(fetch_retry_after(&fields, 0), 7 * CLOCK_SECOND);
    field.value = SPAN("Thu, 01 Jan 1970 00:01:00 GMT");
    assert_int_equal(fetch_retry_after(&fields, 50 * CLOCK_SECOND), 10 * CLOCK_SECOND);
    fields.count = 0;
    assert_int_equal(fetch_retry_after(&fields, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),  cmocka_unit_test(test_post),        cmocka_unit_test(test_unusable_urls),
        cmocka_unit_test(test_too_late), cmocka_unit_test(test_refused),     cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_again),    cmocka_unit_test(test_retry_after),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
