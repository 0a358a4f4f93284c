/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits of targets and deployments: who has no room is passed over, what an attempt reserved is settled once at
 * whatever end it has, and when nobody has room the client learns when somebody will.
 */
#include <stdio.h>

#include "base/clock.h"
#include "base/hash.h"
#include "gateway/limits_memory.h"
#include "support/rig.h"

#define ASK(model, most)                                                                                               \
    "{\"model\":\"" model "\",\"max_tokens\":" most ",\"messages\":[{\"role\":\"user\",\"content\":\"Tell me.\"}]}"
#define JSON_HEAD "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
#define USED_30                                                                                                        \
    JSON_HEAD "content-length: "                                                                                       \
              "77\r\n\r\n{\"choices\":[],\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":10,\"x\":123456}}"
#define BUSY   "HTTP/1.1 503 Busy\r\ncontent-length: 2\r\n\r\n{}"
#define BAD    "HTTP/1.1 400 Bad\r\ncontent-length: 2\r\n\r\n{}"
#define STREAM "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
#define CHUNK                                                                                                          \
    "5d\r\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"forty characters of the deep blue "               \
    "sea\"}}]}\n\n\r\n"

/* "m" goes to east, then west; "only" to east alone. */
#define TWO(east, east_m, west)                                                                                        \
    {                                                                                                                  \
        .rest = "targets:\n"                                                                                           \
                "  - {name: east, openai: {url: \"http://east.test/v1\"}" east "}\n"                                   \
                "  - {name: west, openai: {url: \"http://west.test/v1\"}" west "}\n"                                   \
                "models:\n"                                                                                            \
                "  - {name: m, targets: [{target: east, deployment: d, priority: 1" east_m                             \
                "}, {target: west, priority: 2}]}\n"                                                                   \
                "  - {name: only, targets: [east]}\n"                                                                  \
                "  - {name: again, targets: [{target: east, deployment: d}]}\n"                                        \
    }

static const struct rig_setup requests = TWO(", limits: {requests: 2/minute}", "", ", limits: {requests: 1/minute}");
static const struct rig_setup tokens = TWO(", limits: {tokens: 1000/day}", "", "");
static const struct rig_setup places = TWO(", limits: {concurrency: 1}", "", "");
static const struct rig_setup deployment = TWO("", ", limits: {requests: 1/minute}", "");

static struct limits_table *table;

static unsigned open_holds(void)
{
    return (unsigned)limits_table_counts(table).open;
}

static struct rig_client *ask(struct rig *rig, const char *body)
{
    struct rig_client *client = rig_client(rig);
    rig_post(client, "/v1/chat/completions", body);
    rig_settle(rig);
    return client;
}

static uint64_t field_number(const struct rig_message *message, const char *name)
{
    const struct field *field = fields_find_name(&message->head.fields, span_str(name));
    uint64_t value = 0;
    assert_non_null(field);
    assert_true(span_to_u64(field->value, &value));
    return value;
}

static void assert_served_by(struct rig *rig, const char *body, const char *host)
{
    unsigned before = rig->request_count;
    rig_reply(rig, host, USED_30);
    assert_int_equal(rig_answer(ask(rig, body), 0)->head.status, 200);
    assert_int_equal(rig->request_count, before + 1);
    assert_string_equal(rig_asked(rig, before)->host, host);
}

/* ---- where a request goes ---- */

static void passes_over(struct rig *rig)
{
    assert_served_by(rig, ASK("m", "5"), "east");
    assert_served_by(rig, ASK("m", "5"), "east");
    assert_served_by(rig, ASK("m", "5"), "west");
    const struct rig_message *answer = rig_answer(ask(rig, ASK("m", "5")), 0);
    assert_int_equal(answer->head.status, 429);
    assert_true(rig_body_has(answer, "\"code\":\"rate_limit_exceeded\""));
    assert_true(rig_body_has(answer, "All targets of this model are at their limits. Please try again in "));
    assert_int_equal(rig->request_count, 3);
    /* East, the sooner of the two, has room after half a minute: not earlier, and then at once. */
    uint64_t ms = field_number(answer, "retry-after-ms");
    assert_true(ms > 29000 && ms <= 30000);
    assert_int_equal(field_number(answer, "retry-after"), (ms + 999) / 1000);
    rig_pass(rig, (ms - 500) * CLOCK_MS);
    assert_int_equal(rig_answer(ask(rig, ASK("m", "5")), 0)->head.status, 429);
    rig_pass(rig, 500 * CLOCK_MS);
    assert_served_by(rig, ASK("m", "5"), "east");
}

/* The quota of a deployment, whichever model names it; the target's other deployments have their own. */
static void of_a_deployment(struct rig *rig)
{
    assert_served_by(rig, ASK("again", "5"), "east");
    assert_served_by(rig, ASK("m", "5"), "west");
    assert_served_by(rig, ASK("only", "5"), "east");
    assert_int_equal(rig_answer(ask(rig, ASK("again", "5")), 0)->head.status, 429);
}

static void too_large(struct rig *rig)
{
    assert_served_by(rig, ASK("m", "2000"), "west");
    const struct rig_message *answer = rig_answer(ask(rig, ASK("only", "2000")), 0);
    assert_int_equal(answer->head.status, 429);
    assert_true(rig_body_has(answer, "larger than the limits of every target"));
    rig_assert_field(answer, "x-should-retry", "false");
    assert_null(fields_find_name(&answer->head.fields, SPAN("retry-after")));
}

static void one_at_a_time(struct rig *rig)
{
    struct rig_client *holder = ask(rig, ASK("m", "5"));
    assert_int_equal(open_holds(), 1);
    assert_served_by(rig, ASK("m", "5"), "west");
    const struct rig_message *answer = rig_answer(ask(rig, ASK("only", "5")), 0);
    assert_int_equal(answer->head.status, 429);
    assert_true(field_number(answer, "retry-after-ms") > 0);
    rig_leave(holder);
    rig_settle(rig);
    assert_int_equal(open_holds(), 0);
    assert_served_by(rig, ASK("m", "5"), "east");
}

/* ---- what each end is charged ---- */

/* Of the thousand tokens of a day, told by a call that is too large. */
static uint64_t left(struct rig *rig)
{
    struct limits_memory memory;
    struct limits_part part = {.law = {.kind = LIMIT_CALENDAR, .amount = 1000, .period = 86400 * CLOCK_SECOND},
                               .key = SPAN_INIT("/east/#/tokens"),
                               .units = 1001};
    struct limits_call call = {.parts = &part, .count = 1};
    struct loop *loop = rig->worker->loop;
    struct list pendings;
    list_init(&pendings);
    part.hash = hash_bytes(part.key);
    limits_memory_init(&memory, table);
    assert_int_equal(open_holds(), 0);
    assert_int_equal(limits_reserve(&memory.store, &call, loop, &pendings, loop_now(loop), loop_wall(loop)),
                     LIMITS_REFUSED);
    return part.answer.remaining;
}

static void reported(struct rig *rig)
{
    uint64_t before = left(rig);
    rig_reply(rig, "east", USED_30);
    assert_int_equal(rig_answer(ask(rig, ASK("only", "100")), 0)->head.status, 200);
    assert_int_equal(before - left(rig), 30);
}

static void retried(struct rig *rig)
{
    uint64_t before = left(rig);
    rig_reply(rig, "east", BUSY);
    rig_reply(rig, "west", USED_30);
    assert_int_equal(rig_answer(ask(rig, ASK("m", "100")), 0)->head.status, 200);
    assert_int_equal(before - left(rig), 0);
}

static void never_reached(struct rig *rig)
{
    rig->refused[0] = "east";
    assert_int_equal(rig_answer(ask(rig, ASK("only", "100")), 0)->head.status, 502);
    rig->refused[0] = NULL;
    assert_served_by(rig, ASK("only", "5"), "east"); /* both of its two requests are there */
    assert_served_by(rig, ASK("only", "5"), "east");
    assert_int_equal(rig_answer(ask(rig, ASK("only", "5")), 0)->head.status, 429);
}

static void left_in_stream(struct rig *rig)
{
    uint64_t before = left(rig);
    rig_reply(rig, "east", STREAM CHUNK);
    struct rig_client *client = ask(rig, "{\"model\":\"only\",\"stream\":true,\"max_tokens\":100,\"messages\":[{"
                                         "\"role\":\"user\",\"content\":\"Go\"}]}");
    assert_int_equal(open_holds(), 1);
    rig_leave(client);
    rig_settle(rig);
    uint64_t charged = before - left(rig);
    assert_true(charged >= 12 && charged <= 30);
}

/* A kept connection that turns out to be dead is replaced: still the same request, counted once. */
static void another_connection(struct rig *rig)
{
    assert_served_by(rig, ASK("only", "5"), "east");
    rig_peer_close(&rig->peers[rig->peer_count - 1]);
    assert_served_by(rig, ASK("only", "5"), "east");
    assert_int_equal(open_holds(), 0);
    assert_int_equal(rig_answer(ask(rig, ASK("only", "5")), 0)->head.status, 429);
}

static void across_a_reload(struct rig *rig)
{
    struct rig_client *holder = ask(rig, ASK("only", "5"));
    rig_load(rig, &deployment);
    rig_load(rig, &places);
    assert_int_equal(rig_answer(ask(rig, ASK("only", "5")), 0)->head.status, 429);
    rig_leave(holder);
    rig_settle(rig);
    assert_served_by(rig, ASK("only", "5"), "east");
}

/* ---- the list ---- */

static void with_table(struct rig *rig, void (*body)(struct rig *rig))
{
    table = limits_table_get(SPAN("/targets"), 64);
    body(rig);
    assert_int_equal(open_holds(), 0);
    limits_table_unref(table);
}

#define CASE(setup, name)                                                                                              \
    static void run_##name(struct rig *rig)                                                                            \
    {                                                                                                                  \
        with_table(rig, name);                                                                                         \
    }                                                                                                                  \
    static void test_##name(void **state)                                                                              \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        rig_run(&(setup), run_##name);                                                                                 \
    }
#define CASES(X)                                                                                                       \
    X(requests, passes_over)                                                                                           \
    X(deployment, of_a_deployment)                                                                                     \
    X(tokens, too_large)                                                                                               \
    X(places, one_at_a_time)                                                                                           \
    X(tokens, reported)                                                                                                \
    X(tokens, retried)                                                                                                 \
    X(requests, never_reached)                                                                                         \
    X(tokens, left_in_stream)                                                                                          \
    X(requests, another_connection)                                                                                    \
    X(places, across_a_reload)
CASES(CASE)

#define LISTED(setup, name) cmocka_unit_test(test_##name),

int main(void)
{
    const struct CMUnitTest tests[] = {CASES(LISTED)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
