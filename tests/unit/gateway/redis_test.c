/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/redis.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "support/fake_redis.h"
#include "support/redis_world.h"

static struct redis_world world;
static struct fake_redis *fake;

static void make(struct redis_options *options)
{
    struct redis_address address = {.host = SPAN("127.0.0.1"), .port = fake->port};
    options->name = SPAN("shared");
    options->addresses = &address;
    options->address_count = 1;
    world.redis = redis_create(world.loop, world.resolver, options);
}

static void begin(struct redis_options *options)
{
    redis_world_open(&world, true);
    fake = fake_redis_start(world.loop, NULL);
    make(options);
}

static void finish(void)
{
    fake_redis_stop(fake);
    redis_world_close(&world);
}

static struct redis_status status(void)
{
    struct redis_status now;
    redis_status(world.redis, &now);
    return now;
}

static void assert_trace(const char *wanted)
{
    struct span got = buffer_span(&fake->trace);
    if (!span_equal(got, span_str(wanted)))
        fail_msg("got %.*s", SPAN_ARG(got));
    buffer_consume(&fake->trace, got.len);
}

static void a_command_is_answered(void **state)
{
    (void)state;
    struct asked get = {0}, again = {0};
    begin(&(struct redis_options){0});
    fake_redis_reply(fake, "GET k", "$1\r\nv\r\n");
    fake_redis_reply(fake, "GET k", "$-1\r\n");
    /* Before there is a connection it waits for one. */
    asked_start(&world, &get, "k", "GET k");
    asked_wait(&get);
    assert_int_equal(get.error, REDIS_ERROR_NONE);
    assert_string_equal(get.text, "v");
    asked_start(&world, &again, "k", "GET k");
    asked_wait(&again);
    assert_int_equal(again.kind, REDIS_NIL);
    assert_trace("PING\nGET k\nGET k\n");
    assert_int_equal(fake->guest_count, 1);
    assert_int_equal(status().counters.asked, 2);
    assert_int_equal(status().counters.answered, 2);
    finish();
}

/* The point of it all: what a turn asks leaves in one write. */
static void commands_of_a_turn_leave_together(void **state)
{
    (void)state;
    struct asked many[50] = {0};
    char words[16];
    begin(&(struct redis_options){0});
    redis_world_settle(&world);
    uint64_t writes = status().counters.writes;
    unsigned reads = fake->reads;
    for (unsigned i = 0; i < ARRAY_LEN(many); i++) {
        (void)snprintf(words, sizeof(words), "ECHO %u", i);
        asked_start(&world, &many[i], "", words);
    }
    fake_redis_always(fake, "ECHO", ":1\r\n");
    redis_world_settle(&world);
    for (unsigned i = 0; i < ARRAY_LEN(many); i++)
        assert_int_equal(many[i].integer, 1);
    assert_int_equal(status().counters.writes, writes + 1);
    assert_int_equal(fake->reads, reads + 1);
    finish();
}

static void a_late_answer_is_dropped(void **state)
{
    (void)state;
    struct asked first = {0}, second = {0};
    begin(&(struct redis_options){0});
    redis_world_settle(&world);
    fake_redis_reply(fake, "GET slow", "");
    asked_start(&world, &first, "", "GET slow");
    redis_world_pass(&world, 19 * CLOCK_MS);
    assert_int_equal(first.ends, 0);
    redis_world_pass(&world, 18 * CLOCK_MS);
    assert_int_equal(first.ends, 1);
    assert_int_equal(first.error, REDIS_ERROR_TIMEOUT);
    fake_redis_reply(fake, "GET next", ":1\r\n:2\r\n");
    asked_start(&world, &second, "", "GET next");
    asked_wait(&second);
    /* The first answer belongs to the first question. */
    assert_int_equal(second.integer, 2);
    assert_int_equal(first.ends, 1);
    assert_int_equal(status().counters.late, 1);
    assert_int_equal(status().unanswered, 0);
    finish();
}

static void a_cancelled_call_says_nothing(void **state)
{
    (void)state;
    struct asked waiting = {0}, flying = {0}, refused = {0}, after = {0};
    begin(&(struct redis_options){.queue = 4});
    asked_start(&world, &waiting, "", "GET waiting");
    pending_cancel(&waiting.call.pending);
    redis_world_settle(&world);
    fake_redis_reply(fake, "INCR", "");
    asked_start(&world, &flying, "", "INCR flying");
    redis_world_settle(&world);
    pending_cancel(&flying.call.pending);
    fake_redis_refuse(fake);
    redis_world_settle(&world);
    asked_start(&world, &refused, "", "GET refused");
    pending_cancel(&refused.call.pending);
    redis_world_pass(&world, CLOCK_SECOND);
    assert_int_equal(waiting.ends + flying.ends + refused.ends, 0);
    assert_int_equal(status().counters.cancelled, 3);
    fake_redis_return(fake);
    redis_world_pass(&world, 3 * CLOCK_SECOND);
    asked_start(&world, &after, "", "GET after");
    asked_wait(&after);
    assert_int_equal(after.error, REDIS_ERROR_NONE);
    assert_int_equal(fake_redis_count(fake, "INCR"), 1);
    assert_int_equal(fake_redis_count(fake, "GET waiting") + fake_redis_count(fake, "GET refused"), 0);
    finish();
}

/* Without a server: one deadline at most, then nothing at all is waited for. */
static void a_lost_server_costs_no_time(void **state)
{
    (void)state;
    struct asked first = {0}, second = {0};
    begin(&(struct redis_options){0});
    redis_world_settle(&world);
    fake_redis_refuse(fake);
    asked_start(&world, &first, "", "GET a");
    redis_world_settle(&world);
    assert_int_equal(first.error, REDIS_ERROR_LOST);
    for (unsigned i = 0; i < 20; i++) {
        uint64_t before = loop_now(world.loop);
        asked_start(&world, &second, "", "GET b");
        redis_world_settle(&world);
        assert_int_equal(second.error, REDIS_ERROR_LOST);
        assert_true(second.ended == before);
        assert_false(redis_is_up(world.redis, SPAN("b")));
        redis_world_pass(&world, 300 * CLOCK_MS);
    }
    /* Tries, but with growing pauses. */
    assert_in_range(status().counters.connect_failures, 4, 12);
    fake_redis_return(fake);
    redis_world_pass(&world, 2 * CLOCK_SECOND);
    assert_true(redis_is_up(world.redis, SPAN("b")));
    asked_start(&world, &second, "", "GET b");
    asked_wait(&second);
    assert_int_equal(second.error, REDIS_ERROR_NONE);
    finish();
}

static void a_frozen_server_opens_the_breaker(void **state)
{
    (void)state;
    struct asked calls[5] = {0}, beyond = {0};
    begin(&(struct redis_options){.breaker = 5});
    redis_world_pass(&world, 2 * CLOCK_SECOND);
    fake->silent = true;
    for (unsigned i = 0; i < ARRAY_LEN(calls); i++) {
        asked_start(&world, &calls[i], "", "GET a");
        redis_world_settle(&world);
        assert_true(redis_is_up(world.redis, SPAN("")));
        redis_world_pass(&world, 37 * CLOCK_MS);
        assert_int_equal(calls[i].error, REDIS_ERROR_TIMEOUT);
    }
    assert_false(redis_is_up(world.redis, SPAN("")));
    assert_int_equal(status().counters.breaker_opened, 1);
    asked_start(&world, &beyond, "", "GET a");
    redis_world_settle(&world);
    assert_int_equal(beyond.error, REDIS_ERROR_LOST);
    /* It takes connections still, but what greets it gets no answer: the breaker stays open. */
    redis_world_pass(&world, 500 * CLOCK_MS);
    assert_int_equal(fake->guest_count, 2);
    asked_start(&world, &beyond, "", "GET a");
    redis_world_settle(&world);
    assert_int_equal(beyond.error, REDIS_ERROR_LOST);
    fake->silent = false;
    redis_world_pass(&world, 5 * CLOCK_SECOND);
    assert_true(redis_is_up(world.redis, SPAN("")));
    finish();
}

/* Many calls of one moment that miss their deadline together are one hiccup, not a dead server. */
static void one_hiccup_is_no_reason_to_leave(void **state)
{
    (void)state;
    struct asked calls[40] = {0}, after = {0};
    begin(&(struct redis_options){0});
    redis_world_settle(&world);
    fake->silent = true;
    for (unsigned i = 0; i < ARRAY_LEN(calls); i++)
        asked_start(&world, &calls[i], "", "GET a");
    redis_world_pass(&world, 37 * CLOCK_MS);
    assert_int_equal(status().counters.timeouts, ARRAY_LEN(calls));
    fake->silent = false;
    for (unsigned i = 0; i < ARRAY_LEN(calls); i++)
        fake_redis_send(fake, SPAN("+LATE\r\n"));
    asked_start(&world, &after, "", "GET b");
    asked_wait(&after);
    assert_string_equal(after.text, "OK");
    assert_int_equal(fake->guest_count, 1);
    finish();
}

static void a_connection_that_ends_takes_its_calls_along(void **state)
{
    (void)state;
    static const struct {
        const char *reply;
        enum redis_error error;
    } cuts[] = {
        {NULL, REDIS_ERROR_LOST},
        {"$10\r\nhalf", REDIS_ERROR_TIMEOUT},
        {"HTTP/1.1 400 Bad Request\r\n\r\n", REDIS_ERROR_PROTOCOL},
        {"*2147483647\r\n", REDIS_ERROR_PROTOCOL},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cuts); i++) {
        struct asked first = {0}, second = {0}, third = {0};
        begin(&(struct redis_options){0});
        redis_world_pass(&world, 2 * CLOCK_SECOND);
        fake_redis_reply(fake, "GET a", cuts[i].reply);
        fake_redis_reply(fake, "GET b", "");
        asked_start(&world, &first, "", "GET a");
        asked_start(&world, &second, "", "GET b");
        redis_world_settle(&world);
        if (cuts[i].error == REDIS_ERROR_TIMEOUT)
            redis_world_pass(&world, 37 * CLOCK_MS);
        assert_int_equal(first.error, cuts[i].error);
        assert_int_equal(second.error, cuts[i].error);
        fake_redis_hang_up(fake);
        redis_world_pass(&world, CLOCK_SECOND);
        asked_start(&world, &third, "", "GET c");
        asked_wait(&third);
        assert_int_equal(third.error, REDIS_ERROR_NONE);
        assert_int_equal(first.ends + second.ends, 2);
        finish();
    }
}

static void unasked_answers_end_the_connection(void **state)
{
    (void)state;
    begin(&(struct redis_options){0});
    redis_world_settle(&world);
    fake_redis_send(fake, SPAN("+HELLO\r\n"));
    redis_world_settle(&world);
    assert_int_equal(status().counters.losses, 1);
    finish();
}

static void too_many_commands_are_refused(void **state)
{
    (void)state;
    struct asked calls[6] = {0};
    begin(&(struct redis_options){.queue = 4});
    redis_world_settle(&world);
    fake->silent = true;
    for (unsigned i = 0; i < ARRAY_LEN(calls); i++)
        asked_start(&world, &calls[i], "", "GET a");
    redis_world_settle(&world);
    for (unsigned i = 0; i < ARRAY_LEN(calls); i++)
        assert_int_equal(calls[i].ends, i >= 4);
    assert_int_equal(calls[5].error, REDIS_ERROR_FULL);
    /* The deadline passes, but the answers are owed still: there is no room. */
    redis_world_pass(&world, 37 * CLOCK_MS);
    assert_int_equal(calls[0].error, REDIS_ERROR_TIMEOUT);
    asked_start(&world, &calls[0], "", "GET a");
    redis_world_settle(&world);
    assert_int_equal(calls[0].error, REDIS_ERROR_FULL);
    finish();
}

/* ---- from within a call's end ---- */

static struct asked inner;

static void ask_again(struct asked *asked)
{
    asked_start(asked->world, &inner, "", "GET inner");
}

static void calls_may_ask_from_their_end(void **state)
{
    (void)state;
    struct asked outer = {.then = ask_again};
    begin(&(struct redis_options){0});
    /* On an answer. */
    asked_start(&world, &outer, "", "GET outer");
    asked_wait(&outer);
    asked_wait(&inner);
    assert_int_equal(inner.error, REDIS_ERROR_NONE);
    /* On a deadline. */
    fake->silent = true;
    asked_start(&world, &outer, "", "GET outer");
    redis_world_pass(&world, 37 * CLOCK_MS);
    assert_int_equal(outer.error, REDIS_ERROR_TIMEOUT);
    redis_world_pass(&world, 37 * CLOCK_MS);
    assert_int_equal(inner.error, REDIS_ERROR_TIMEOUT);
    /* On a loss. */
    asked_start(&world, &outer, "", "GET outer");
    redis_world_settle(&world);
    fake_redis_refuse(fake);
    redis_world_settle(&world);
    assert_int_equal(outer.error, REDIS_ERROR_LOST);
    assert_int_equal(inner.error, REDIS_ERROR_LOST);
    asked_start(&world, &outer, "", "GET outer");
    redis_world_settle(&world);
    assert_int_equal(outer.ends, 1);
    assert_int_equal(inner.ends, 1);
    finish();
}

static void live_calls_end_with_their_store(void **state)
{
    (void)state;
    struct asked flying = {.then = NULL}, again = {.then = ask_again}, waiting = {0}, cancelled = {0};
    begin(&(struct redis_options){0});
    redis_world_settle(&world);
    fake->silent = true;
    asked_start(&world, &flying, "", "GET a");
    asked_start(&world, &again, "", "GET b");
    asked_start(&world, &cancelled, "", "GET c");
    redis_world_settle(&world);
    asked_start(&world, &waiting, "", "GET d");
    redis_destroy(world.redis);
    assert_int_equal(flying.ends + again.ends + waiting.ends, 0);
    pending_cancel(&cancelled.call.pending);
    redis_world_settle(&world);
    assert_int_equal(flying.error, REDIS_ERROR_LOST);
    assert_int_equal(waiting.error, REDIS_ERROR_LOST);
    /* Whoever asks from within that end is told, too. */
    assert_int_equal(inner.error, REDIS_ERROR_LOST);
    assert_int_equal(flying.ends + again.ends + inner.ends + waiting.ends, 4);
    assert_int_equal(cancelled.ends, 0);
    world.redis = NULL;
    finish();
}

int main(void)
{
    log_configure(LOG_ERROR, LOG_TEXT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_command_is_answered),
        cmocka_unit_test(commands_of_a_turn_leave_together),
        cmocka_unit_test(a_late_answer_is_dropped),
        cmocka_unit_test(a_cancelled_call_says_nothing),
        cmocka_unit_test(a_lost_server_costs_no_time),
        cmocka_unit_test(a_frozen_server_opens_the_breaker),
        cmocka_unit_test(one_hiccup_is_no_reason_to_leave),
        cmocka_unit_test(a_connection_that_ends_takes_its_calls_along),
        cmocka_unit_test(unasked_answers_end_the_connection),
        cmocka_unit_test(too_many_commands_are_refused),
        cmocka_unit_test(calls_may_ask_from_their_end),
        cmocka_unit_test(live_calls_end_with_their_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
