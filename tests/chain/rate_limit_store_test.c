/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store of limits that takes its time: it answers when the test says so. Whatever happens meanwhile, each call that
 * was granted is settled once, and one that nobody wants any more is not.
 */
#include <stdio.h>

#include "base/clock.h"
#include "filters/rate_limit.h"
#include "gateway/snapshot.h"
#include "support/rig.h"

#define ASK                                                                                                            \
    "{\"model\":\"only\",\"max_tokens\":100,\"messages\":[{\"role\":\"user\",\"content\":\"Tell me of the sea.\"}]}"
#define ASK_STREAM                                                                                                     \
    "{\"model\":\"only\",\"max_tokens\":100,\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"Go on\"}]}"
#define GOOD "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
#define STREAM                                                                                                         \
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"                         \
    "39\r\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"s\"}}]}\n\n\r\n"
#define STREAM_END "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"

/* ---- the store ---- */

#define CALLS 16

enum fate { ASKED, GRANTED, REFUSED, LOST, SETTLED, UNWANTED };

struct scripted {
    struct limits_store store;
    enum limits_result answer; /* what is said at once; LIMITS_PENDING: later */
    struct scripted_call {
        uint8_t id[LIMITS_ID_BYTES];
        struct limits_call *call;
        enum fate fate;
        unsigned renewed;
    } calls[CALLS];
    unsigned count;
};

static struct scripted *scripted;

static struct scripted_call *find(const struct limits_call *call)
{
    for (unsigned i = 0; i < scripted->count; i++)
        if (memcmp(scripted->calls[i].id, call->id, LIMITS_ID_BYTES) == 0)
            return &scripted->calls[i];
    fail_msg("a call that was never asked");
    return NULL;
}

static void unwanted(struct pending *pending)
{
    struct scripted_call *of = find(CONTAINER_OF(pending, struct limits_call, pending));
    assert_int_equal(of->fate, ASKED);
    of->fate = UNWANTED;
}

static void fill(struct limits_call *call, enum limits_result result)
{
    for (unsigned i = 0; i < call->count; i++)
        call->parts[i].answer = (struct limit_answer){.granted = result != LIMITS_REFUSED,
                                                      .remaining = 7,
                                                      .reset = CLOCK_SECOND,
                                                      .wait = result == LIMITS_REFUSED ? CLOCK_SECOND : 0};
    call->granted = result == LIMITS_GRANTED;
}

static enum fate fate_of(enum limits_result result)
{
    return result == LIMITS_GRANTED ? GRANTED : result == LIMITS_REFUSED ? REFUSED : LOST;
}

static enum limits_result reserve(struct limits_store *store, struct limits_call *call, struct loop *loop,
                                  struct list *pendings, uint64_t now, uint64_t wall)
{
    (void)store, (void)now, (void)wall;
    assert_true(scripted->count < CALLS);
    struct scripted_call *of = &scripted->calls[scripted->count++];
    memcpy(of->id, call->id, LIMITS_ID_BYTES);
    of->call = call;
    of->fate = ASKED;
    if (scripted->answer == LIMITS_PENDING) {
        pending_start(pendings, &call->pending, loop, 0, NULL, unwanted);
    } else {
        fill(call, scripted->answer);
        of->fate = fate_of(scripted->answer);
    }
    return scripted->answer;
}

static void settle(struct limits_store *store, struct limits_call *call, uint64_t now, uint64_t wall)
{
    (void)store, (void)now, (void)wall;
    struct scripted_call *of = find(call);
    assert_int_equal(of->fate, GRANTED);
    of->fate = SETTLED;
}

static void renew(struct limits_store *store, struct limits_call *call, uint64_t now, uint64_t wall)
{
    (void)store, (void)now, (void)wall;
    struct scripted_call *of = find(call);
    assert_int_equal(of->fate, GRANTED);
    of->renewed++;
}

static const struct limits_store_ops ops = {.reserve = reserve, .settle = settle, .renew = renew};

/* The n-th call is answered now. */
static void answer(struct rig *rig, unsigned n, enum limits_result result)
{
    assert_true(n < scripted->count);
    struct scripted_call *of = &scripted->calls[n];
    assert_int_equal(of->fate, ASKED);
    pending_complete(&of->call->pending);
    fill(of->call, result);
    of->fate = fate_of(result);
    of->call->done(of->call, result);
    rig_settle(rig);
}

static void assert_fates(const enum fate *fates, unsigned count)
{
    assert_int_equal(scripted->count, count);
    for (unsigned i = 0; i < count; i++)
        if (scripted->calls[i].fate != fates[i])
            fail_msg("call %u: %d instead of %d", i, (int)scripted->calls[i].fate, (int)fates[i]);
}
#define ASSERT_FATES(...) assert_fates((const enum fate[]){__VA_ARGS__}, ARRAY_LEN(((const enum fate[]){__VA_ARGS__})))

/* ---- what is tested with it ---- */

static struct rate_limit_instance *instance_of(const struct rig *rig)
{
    for (unsigned i = 0; i < rig->snapshot->instance_count; i++)
        if (span_equal(rig->snapshot->instances[i].name, SPAN("limit")))
            return worker_instance(rig->worker, rig->snapshot, &rig->snapshot->instances[i]);
    fail_msg("no filter is called limit");
    return NULL;
}

static void with_store(struct rig *rig, void (*body)(struct rig *rig))
{
    struct scripted store = {.store = {.ops = &ops}, .answer = LIMITS_PENDING};
    scripted = &store;
    instance_of(rig)->store = &store.store;
    body(rig);
    for (unsigned i = 0; i < store.count; i++)
        assert_true(store.calls[i].fate != ASKED && store.calls[i].fate != GRANTED);
    assert_int_equal(instance_of(rig)->waiting, 0);
}

static struct rig_client *ask(struct rig *rig, const char *body)
{
    struct rig_client *client = rig_client(rig);
    rig_post(client, "/v1/chat/completions", body);
    rig_settle(rig);
    return client;
}

#define LIMIT(more) "limit: {type: rate_limit, limits: [{name: some, requests: 10/minute" more "}]}"
static const struct rig_setup plain = {.filters = LIMIT(""), .order = "limit"};
static const struct rig_setup patient = {.filters = LIMIT(", max_wait: 10s"), .order = "limit"};

static void granted_later(struct rig *rig)
{
    rig_reply(rig, "east", GOOD);
    struct rig_client *client = ask(rig, ASK);
    assert_int_equal(rig->request_count, 0);
    answer(rig, 0, LIMITS_GRANTED);
    const struct rig_message *answered = rig_answer(client, 0);
    assert_int_equal(answered->head.status, 200);
    rig_assert_field(answered, "x-ratelimit-remaining-requests", "7");
    ASSERT_FATES(SETTLED);
}

static void refused_later(struct rig *rig)
{
    struct rig_client *client = ask(rig, ASK);
    answer(rig, 0, LIMITS_REFUSED);
    const struct rig_message *answered = rig_answer(client, 0);
    assert_int_equal(answered->head.status, 429);
    rig_assert_field(answered, "retry-after-ms", "1000");
    assert_int_equal(rig->request_count, 0);
    ASSERT_FATES(REFUSED);
}

static void lost_later_or_at_once(struct rig *rig)
{
    struct rig_client *client = ask(rig, ASK);
    answer(rig, 0, LIMITS_LOST);
    assert_int_equal(rig_answer(client, 0)->head.status, 503);
    scripted->answer = LIMITS_LOST;
    client = ask(rig, ASK);
    assert_int_equal(rig_answer(client, 0)->head.status, 503);
    assert_true(rig_body_has(rig_answer(client, 0), "cannot be counted"));
    assert_int_equal(rig->request_count, 0);
    ASSERT_FATES(LOST, LOST);
}

static void left_while_pending(struct rig *rig)
{
    rig_leave(ask(rig, ASK));
    rig_settle(rig);
    ASSERT_FATES(UNWANTED);
}

static void reload_while_pending(struct rig *rig)
{
    rig_reply(rig, "east", GOOD);
    struct rig_client *client = ask(rig, ASK);
    rig_load(rig, &patient);
    answer(rig, 0, LIMITS_GRANTED);
    assert_int_equal(rig_answer(client, 0)->head.status, 200);
    ASSERT_FATES(SETTLED);
}

/* A filter that is gone from the configuration settles what it had reserved. */
static void removed_while_pending(struct rig *rig)
{
    static const struct rig_setup other = {.filters =
                                               "limit: {type: rate_limit, limits: [{name: some, concurrency: 5}]}"
                                               ", own: {type: rate_limit, limits: [{name: a, concurrency: 5}]}",
                                           .order = "own, limit"};
    rig_reply(rig, "east", STREAM);
    struct rig_client *client = ask(rig, ASK_STREAM);
    answer(rig, 0, LIMITS_GRANTED);
    rig_load(rig, &other);
    rig_pass(rig, 3 * CLOCK_SECOND);
    ASSERT_FATES(GRANTED);
    rig_leave(client);
    rig_settle(rig);
    ASSERT_FATES(SETTLED);
}

/* ---- the queue ---- */

static void waits_and_is_asked_for_again(struct rig *rig)
{
    rig_reply(rig, "east", GOOD);
    struct rig_client *client = ask(rig, ASK);
    answer(rig, 0, LIMITS_REFUSED);
    assert_int_equal(client->answer_count, 0);
    rig_pass(rig, CLOCK_SECOND + CLOCK_SECOND / 2);
    ASSERT_FATES(REFUSED, ASKED);
    answer(rig, 1, LIMITS_REFUSED);
    rig_pass(rig, CLOCK_SECOND + CLOCK_SECOND / 2);
    answer(rig, 2, LIMITS_GRANTED);
    assert_int_equal(rig_answer(client, 0)->head.status, 200);
    ASSERT_FATES(REFUSED, REFUSED, SETTLED);
}

/* Those that come later wait behind the one that is asked for, whatever the store says first. */
static void nobody_overtakes(struct rig *rig)
{
    rig_reply(rig, "east", GOOD);
    rig_reply(rig, "east", GOOD);
    struct rig_client *first = ask(rig, ASK);
    answer(rig, 0, LIMITS_REFUSED);
    struct rig_client *second = ask(rig, ASK);
    rig_pass(rig, CLOCK_SECOND + CLOCK_SECOND / 2);
    ASSERT_FATES(REFUSED, ASKED);
    rig_pass(rig, CLOCK_SECOND);
    ASSERT_FATES(REFUSED, ASKED);
    answer(rig, 1, LIMITS_GRANTED);
    assert_int_equal(rig_answer(first, 0)->head.status, 200);
    assert_int_equal(second->answer_count, 0);
    ASSERT_FATES(REFUSED, SETTLED, ASKED);
    answer(rig, 2, LIMITS_GRANTED);
    assert_int_equal(rig_answer(second, 0)->head.status, 200);
}

/* The one in front leaves while it is asked for: the next takes its turn without the clock. */
static void the_first_leaves(struct rig *rig)
{
    rig_reply(rig, "east", GOOD);
    struct rig_client *first = ask(rig, ASK);
    answer(rig, 0, LIMITS_REFUSED);
    struct rig_client *second = ask(rig, ASK);
    rig_pass(rig, CLOCK_SECOND + CLOCK_SECOND / 2);
    rig_leave(first);
    rig_settle(rig);
    ASSERT_FATES(REFUSED, UNWANTED, ASKED);
    answer(rig, 2, LIMITS_GRANTED);
    assert_int_equal(rig_answer(second, 0)->head.status, 200);
}

/* Its time is over while the store is asked: that answer is the last. */
static void time_is_over_while_asked(struct rig *rig)
{
    for (unsigned i = 0; i < 2; i++) {
        enum limits_result last = i ? LIMITS_GRANTED : LIMITS_REFUSED;
        unsigned before = scripted->count;
        struct rig_client *client = ask(rig, ASK);
        if (i)
            rig_reply(rig, "east", GOOD);
        answer(rig, before, LIMITS_REFUSED);
        rig_pass(rig, CLOCK_SECOND + CLOCK_SECOND / 2);
        rig_pass(rig, 10 * CLOCK_SECOND);
        assert_int_equal(client->answer_count, 0);
        assert_int_equal(instance_of(rig)->waiting, 0);
        answer(rig, before + 1, last);
        assert_int_equal(rig_answer(client, 0)->head.status, i ? 200 : 429);
    }
    ASSERT_FATES(REFUSED, REFUSED, REFUSED, SETTLED);
}

static void lost_while_waiting(struct rig *rig)
{
    struct rig_client *client = ask(rig, ASK);
    answer(rig, 0, LIMITS_REFUSED);
    rig_pass(rig, CLOCK_SECOND + CLOCK_SECOND / 2);
    answer(rig, 1, LIMITS_LOST);
    assert_int_equal(rig_answer(client, 0)->head.status, 503);
    ASSERT_FATES(REFUSED, LOST);
}

static void reload_while_waiting(struct rig *rig)
{
    rig_reply(rig, "east", GOOD);
    struct rig_client *client = ask(rig, ASK);
    answer(rig, 0, LIMITS_REFUSED);
    rig_load(rig, &plain);
    rig_pass(rig, CLOCK_SECOND + CLOCK_SECOND / 2);
    answer(rig, 1, LIMITS_GRANTED);
    assert_int_equal(rig_answer(client, 0)->head.status, 200);
    ASSERT_FATES(REFUSED, SETTLED);
}

/* ---- long answers ---- */

static void long_streams_are_renewed(struct rig *rig)
{
    rig_reply(rig, "east", STREAM);
    struct rig_client *client = ask(rig, ASK_STREAM);
    answer(rig, 0, LIMITS_GRANTED);
    for (unsigned second = 0; second < 50; second++) {
        rig_pass(rig, CLOCK_SECOND);
        rig_peer_send(&rig->peers[0],
                      "39\r\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"s\"}}]}\n\n\r\n");
    }
    assert_int_equal(scripted->calls[0].renewed, 2);
    rig_peer_send(&rig->peers[0], STREAM_END);
    rig_settle(rig);
    assert_int_equal(rig_answer(client, 0)->head.status, 200);
    rig_pass(rig, 60 * CLOCK_SECOND);
    assert_int_equal(scripted->calls[0].renewed, 2);
    ASSERT_FATES(SETTLED);
}

/* ---- the list ---- */

#define CASE(setup, name)                                                                                              \
    static void run_##name(struct rig *rig)                                                                            \
    {                                                                                                                  \
        with_store(rig, name);                                                                                         \
    }                                                                                                                  \
    static void test_##name(void **state)                                                                              \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        rig_run(&(setup), run_##name);                                                                                 \
    }
#define CASES(X)                                                                                                       \
    X(plain, granted_later)                                                                                            \
    X(plain, refused_later)                                                                                            \
    X(plain, lost_later_or_at_once)                                                                                    \
    X(plain, left_while_pending)                                                                                       \
    X(plain, reload_while_pending)                                                                                     \
    X(plain, removed_while_pending)                                                                                    \
    X(patient, waits_and_is_asked_for_again)                                                                           \
    X(patient, nobody_overtakes)                                                                                       \
    X(patient, the_first_leaves)                                                                                       \
    X(patient, time_is_over_while_asked)                                                                               \
    X(patient, lost_while_waiting)                                                                                     \
    X(patient, reload_while_waiting)                                                                                   \
    X(plain, long_streams_are_renewed)
CASES(CASE)

#define LISTED(setup, name) cmocka_unit_test(test_##name),

int main(void)
{
    const struct CMUnitTest tests[] = {CASES(LISTED)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
