/* SPDX-License-Identifier: Apache-2.0 */
#include "net/resolver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "net/loop.h"
#include "support/fake_dns.h"

struct question {
    struct lookup lookup;
    unsigned done;
    size_t count;
    struct address addresses[RESOLVER_ADDRESSES];
    char why[64];
};

struct world {
    struct loop *loop;
    struct fake_dns *dns;
    struct resolver *resolver;
};

static void got_answer(struct lookup *lookup, const struct address *addresses, size_t count, const char *why)
{
    struct question *question = CONTAINER_OF(lookup, struct question, lookup);
    question->done++;
    question->count = count;
    for (size_t i = 0; i < count; i++)
        question->addresses[i] = addresses[i];
    (void)snprintf(question->why, sizeof(question->why), "%s", why);
}

static void open_world(struct world *world, struct fake_dns_name *names, size_t most)
{
    clock_fake(1000 * CLOCK_SECOND, 1000 * CLOCK_SECOND);
    world->loop = loop_create();
    world->dns = fake_dns_create(world->loop, names);
    struct resolver_options options = {.servers = fake_dns_server(world->dns), .names = most};
    world->resolver = resolver_create(world->loop, &options);
}

static void close_world(struct world *world)
{
    resolver_destroy(world->resolver);
    fake_dns_destroy(world->dns);
    loop_destroy(world->loop);
    assert_int_equal(pending_count(), 0);
    clock_real();
}

static void start(struct world *world, struct question *question, const char *host)
{
    *question = (struct question){.lookup = {.done = got_answer}};
    resolver_lookup(world->resolver, &question->lookup, span_str(host), NULL);
    assert_int_equal(question->done, 0); /* never inside the call */
}

static struct question ask(struct world *world, const char *host)
{
    struct question question;
    start(world, &question, host);
    while (!question.done)
        loop_turn(world->loop, true);
    assert_int_equal(question.done, 1);
    return question;
}

static void expect(const struct question *question, size_t index, const char *text)
{
    char printed[ADDRESS_TEXT];
    assert_true(index < question->count);
    assert_string_equal(address_format(&question->addresses[index], printed), text);
}

static void literals_and_local_names_need_no_server(void **state)
{
    (void)state;
    struct fake_dns_name names[] = {{.host = NULL}};
    struct world world;
    open_world(&world, names, 0);
    struct question q = ask(&world, "10.1.2.3");
    assert_int_equal(q.count, 1);
    expect(&q, 0, "10.1.2.3");
    q = ask(&world, "[2001:db8::1]");
    expect(&q, 0, "2001:db8::1");
    q = ask(&world, "localhost");
    assert_true(q.count >= 1 && address_is_loopback(&q.addresses[0]));
    static const char *const bad[] = {"", "a b", "x\n"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        q = ask(&world, bad[i]);
        assert_int_equal(q.count, 0);
        assert_string_equal(q.why, "not a host name");
    }
    close_world(&world);
}

static void answers_are_cached_for_their_time(void **state)
{
    (void)state;
    struct fake_dns_name names[] = {
        {.host = "api.test", .addresses = {"192.0.2.1", "2001:db8::1", "192.0.2.2"}, .ttl = 60},
        {.host = "hasty.test", .addresses = {"192.0.2.3"}, .ttl = 0},
        {.host = "slow.test", .addresses = {"192.0.2.4"}, .ttl = 86400},
        {.host = NULL}};
    struct world world;
    open_world(&world, names, 0);
    struct question q = ask(&world, "api.test");
    assert_int_equal(q.count, 3);
    expect(&q, 0, "2001:db8::1"); /* IPv6 first */
    assert_int_equal(q.addresses[1].family, ADDRESS_IPV4);
    unsigned asked = names[0].queries;
    assert_int_equal(asked, 2);
    q = ask(&world, "API.test");
    assert_int_equal(q.count, 3);
    loop_advance(world.loop, 59 * CLOCK_SECOND);
    (void)ask(&world, "api.test");
    assert_int_equal(names[0].queries, asked);
    loop_advance(world.loop, 2 * CLOCK_SECOND);
    names[0].addresses[0] = "192.0.2.9";
    names[0].addresses[1] = NULL;
    q = ask(&world, "api.test");
    assert_int_equal(q.count, 1);
    expect(&q, 0, "192.0.2.9");
    assert_int_equal(names[0].queries, asked + 2);

    (void)ask(&world, "hasty.test"); /* the floor */
    asked = names[1].queries;
    loop_advance(world.loop, 4 * CLOCK_SECOND);
    (void)ask(&world, "hasty.test");
    assert_int_equal(names[1].queries, asked);
    loop_advance(world.loop, 2 * CLOCK_SECOND);
    (void)ask(&world, "hasty.test");
    assert_true(names[1].queries > asked);

    (void)ask(&world, "slow.test"); /* the ceiling */
    asked = names[2].queries;
    loop_advance(world.loop, 301 * CLOCK_SECOND);
    (void)ask(&world, "slow.test");
    assert_true(names[2].queries > asked);
    resolver_flush(world.resolver);
    asked = names[2].queries;
    (void)ask(&world, "slow.test");
    assert_true(names[2].queries > asked);
    close_world(&world);
}

static void failures_are_short_and_the_last_good_answer_stays(void **state)
{
    (void)state;
    struct fake_dns_name names[] = {{.host = "api.test", .addresses = {"192.0.2.1"}, .ttl = 10},
                                    {.host = "never.test", .mode = FAKE_DNS_FAIL},
                                    {.host = NULL}};
    struct world world;
    open_world(&world, names, 0);
    struct question q = ask(&world, "never.test");
    assert_int_equal(q.count, 0);
    /* Older versions of c-ares forget why when no server is left. */
    assert_true(!strcmp(q.why, "no dns server gave an answer") || !strcmp(q.why, "dns server failed"));
    unsigned asked = names[1].queries;
    (void)ask(&world, "never.test");
    assert_int_equal(names[1].queries, asked); /* not again at once */
    loop_advance(world.loop, 3 * CLOCK_SECOND);
    (void)ask(&world, "never.test");
    assert_true(names[1].queries > asked);
    q = ask(&world, "nobody.test");
    assert_string_equal(q.why, "no such host");

    q = ask(&world, "api.test");
    expect(&q, 0, "192.0.2.1");
    names[0].mode = FAKE_DNS_FAIL;
    loop_advance(world.loop, 11 * CLOCK_SECOND);
    q = ask(&world, "api.test");
    expect(&q, 0, "192.0.2.1"); /* DNS is ill: use what we had */
    names[0].mode = FAKE_DNS_NO_SUCH_HOST;
    loop_advance(world.loop, 11 * CLOCK_SECOND);
    q = ask(&world, "api.test");
    assert_int_equal(q.count, 0); /* DNS is well and says it is gone */
    close_world(&world);
}

static void silence_has_an_end(void **state)
{
    (void)state;
    struct fake_dns_name names[] = {{.host = "silent.test", .mode = FAKE_DNS_SILENT},
                                    {.host = "api.test", .addresses = {"192.0.2.1"}, .ttl = 10},
                                    {.host = NULL}};
    struct world world;
    struct question a, b;
    open_world(&world, names, 0);
    resolver_adopt(world.resolver, 0, 0, 3 * CLOCK_SECOND);
    struct question good = ask(&world, "api.test");
    expect(&good, 0, "192.0.2.1");
    start(&world, &a, "silent.test");
    loop_advance(world.loop, 2 * CLOCK_SECOND);
    start(&world, &b, "silent.test"); /* has a time of its own */
    loop_advance(world.loop, 1100 * CLOCK_MS);
    assert_int_equal(a.done, 1);
    assert_int_equal(a.count, 0);
    assert_string_equal(a.why, "dns timed out");
    loop_advance(world.loop, 2 * CLOCK_SECOND);
    assert_int_equal(b.done, 1);
    assert_string_equal(b.why, "dns timed out");

    names[1].mode = FAKE_DNS_SILENT;
    loop_advance(world.loop, 11 * CLOCK_SECOND);
    start(&world, &a, "api.test");
    loop_advance(world.loop, 400 * CLOCK_MS);
    assert_int_equal(a.done, 0);
    loop_advance(world.loop, 200 * CLOCK_MS);
    assert_int_equal(a.done, 1);
    expect(&a, 0, "192.0.2.1");
    start(&world, &b, "api.test"); /* known by now, and the question is still open */
    loop_turn(world.loop, false);
    assert_int_equal(b.done, 1);
    expect(&b, 0, "192.0.2.1");
    close_world(&world);
}

static void equal_questions_share_one_query_and_can_be_dropped(void **state)
{
    (void)state;
    struct fake_dns_name names[] = {{.host = "api.test", .addresses = {"192.0.2.1"}, .ttl = 60},
                                    {.host = "silent.test", .mode = FAKE_DNS_SILENT},
                                    {.host = NULL}};
    struct world world;
    open_world(&world, names, 0);
    struct question a, b, c;
    start(&world, &a, "api.test");
    start(&world, &b, "api.test");
    start(&world, &c, "api.test");
    pending_cancel(&b.lookup.pending);
    while (!a.done || !c.done)
        loop_turn(world.loop, true);
    assert_int_equal(a.done + c.done, 2);
    assert_int_equal(b.done, 0);
    assert_int_equal(names[0].queries, 2); /* A and AAAA */
    start(&world, &a, "api.test");         /* from the cache, cancelled before it is told */
    pending_cancel(&a.lookup.pending);
    start(&world, &b, "silent.test");
    loop_turn(world.loop, false);
    assert_int_equal(a.done + b.done, 0);
    pending_cancel(&b.lookup.pending);
    close_world(&world); /* with a query still under way */
}

static void the_cache_is_bounded(void **state)
{
    (void)state;
    struct fake_dns_name names[] = {{.host = "a.test", .addresses = {"192.0.2.1"}, .ttl = 60},
                                    {.host = "b.test", .addresses = {"192.0.2.2"}, .ttl = 60},
                                    {.host = "c.test", .addresses = {"192.0.2.3"}, .ttl = 60},
                                    {.host = NULL}};
    struct world world;
    open_world(&world, names, 2);
    (void)ask(&world, "a.test");
    (void)ask(&world, "b.test");
    (void)ask(&world, "a.test"); /* b is the older one now */
    (void)ask(&world, "c.test");
    unsigned a = names[0].queries, b = names[1].queries;
    (void)ask(&world, "a.test");
    assert_int_equal(names[0].queries, a);
    (void)ask(&world, "b.test");
    assert_true(names[1].queries > b);
    close_world(&world);
}

static int quiet(void **state)
{
    (void)state;
    hash_start();
    log_configure(LOG_ERROR, LOG_TEXT);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(literals_and_local_names_need_no_server),
        cmocka_unit_test(answers_are_cached_for_their_time),
        cmocka_unit_test(failures_are_short_and_the_last_good_answer_stays),
        cmocka_unit_test(silence_has_an_end),
        cmocka_unit_test(equal_questions_share_one_query_and_can_be_dropped),
        cmocka_unit_test(the_cache_is_bounded),
    };
    return cmocka_run_group_tests(tests, quiet, NULL);
}
