/* SPDX-License-Identifier: Apache-2.0 */
/* Greetings, scripts, errors that speak of the server, Cluster and Sentinel, against servers that do as told. */
#include "gateway/redis.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "support/fake_redis.h"
#include "support/redis_world.h"

#define FAKES 3

static struct redis_world world;
static struct fake_redis *fakes[FAKES];
static char texts[64][512]; /* replies that name ports */
static unsigned text_count;

static void begin(struct redis_options *options, unsigned address_count)
{
    struct redis_address addresses[FAKES];
    redis_world_open(&world, true);
    text_count = 0;
    for (unsigned i = 0; i < FAKES; i++) {
        fakes[i] = fake_redis_start(world.loop, NULL);
        addresses[i] = (struct redis_address){.host = SPAN("127.0.0.1"), .port = fakes[i]->port};
    }
    options->name = SPAN("shared");
    options->addresses = addresses;
    options->address_count = address_count;
    world.redis = redis_create(world.loop, world.resolver, options);
}

static void finish(void)
{
    for (unsigned i = 0; i < FAKES; i++)
        fake_redis_stop(fakes[i]);
    redis_world_close(&world);
}

static struct redis_counters counters(void)
{
    struct redis_status now;
    redis_status(world.redis, &now);
    return now.counters;
}

static const char *format(const char *form, unsigned a, unsigned b, unsigned c)
{
    char *text = texts[text_count++ % ARRAY_LEN(texts)];
    (void)snprintf(text, sizeof(texts[0]), form, a, b, c);
    return text;
}

static void assert_begins(const struct fake_redis *fake, const char *wanted)
{
    struct span got = buffer_span(&fake->trace);
    if (!span_starts_with(got, span_str(wanted)))
        fail_msg("got %.*s", SPAN_ARG(got));
}

/* ---- greeting ---- */

static void greetings_are_in_order(void **state)
{
    (void)state;
    static const struct {
        struct redis_options options;
        const char *wanted;
    } cases[] = {
        {{.database = 0}, "PING\n"},
        {{.password = SPAN_INIT("secret")}, "AUTH secret\nPING\n"},
        {{.username = SPAN_INIT("app"), .password = SPAN_INIT("secret")}, "AUTH app secret\nPING\n"},
        {{.database = 3, .password = SPAN_INIT("s")}, "AUTH s\nSELECT 3\nPING\n"},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct redis_options options = cases[i].options;
        begin(&options, 1);
        redis_world_settle(&world);
        assert_begins(fakes[0], cases[i].wanted);
        assert_true(redis_is_up(world.redis, SPAN("")));
        /* All of it in one write: one round trip. */
        assert_int_equal(fakes[0]->reads, 1);
        finish();
    }
}

static void refused_greetings_rest(void **state)
{
    (void)state;
    static const struct {
        const char *command, *reply;
        bool up;
    } cases[] = {
        {"AUTH", "-WRONGPASS invalid username-password pair\r\n", false},
        {"SELECT", "-ERR DB index is out of range\r\n", false},
        {"PING", "-NOAUTH Authentication required.\r\n", false},
        {"PING", "-LOADING Redis is loading the dataset in memory\r\n", false},
        {"PING", "-MASTERDOWN Link with MASTER is down\r\n", false},
        {"PING", "-NOPERM this user has no permissions to run the 'ping' command\r\n", true},
        {"PING", "+NOT PONG EITHER\r\n", true},
        {"PING", NULL, false},
        {"PING", "", false},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct asked asked = {0};
        struct redis_options options = {.password = SPAN("s"), .database = 1};
        begin(&options, 1);
        fake_redis_reply(fakes[0], cases[i].command, cases[i].reply);
        asked_start(&world, &asked, "", "GET k");
        redis_world_settle(&world);
        redis_world_pass(&world, 40 * CLOCK_MS);
        assert_int_equal(asked.ends, 1);
        assert_int_equal(asked.error == REDIS_ERROR_NONE, cases[i].up);
        /* Trouble passes. */
        redis_world_pass(&world, 3 * CLOCK_SECOND);
        assert_true(redis_is_up(world.redis, SPAN("")));
        finish();
    }
}

static struct {
    struct span username, password;
    bool none;
} login;

static bool give_login(void *arg, struct span *ret_username, struct span *ret_password)
{
    (void)arg;
    *ret_username = login.username;
    *ret_password = login.password;
    return !login.none;
}

static void live_connections_log_in_anew(void **state)
{
    (void)state;
    struct asked asked = {0};
    struct redis_options options = {.login = give_login};
    login.none = true;
    begin(&options, 1);
    redis_world_pass(&world, CLOCK_SECOND);
    assert_false(redis_is_up(world.redis, SPAN("")));
    login.none = false;
    login.username = SPAN("oid");
    login.password = SPAN("token-1");
    redis_login_changed(world.redis);
    redis_world_pass(&world, 20 * CLOCK_MS);
    assert_true(redis_is_up(world.redis, SPAN("")));
    login.password = SPAN("token-2");
    unsigned connections = fakes[0]->guest_count;
    asked_start(&world, &asked, "", "GET k");
    redis_login_changed(world.redis);
    asked_wait(&asked);
    redis_world_settle(&world);
    assert_int_equal(fakes[0]->guest_count, connections);
    assert_int_equal(fake_redis_count(fakes[0], "AUTH oid token-1"), 1);
    assert_int_equal(fake_redis_count(fakes[0], "AUTH oid token-2"), 1);
    /* A refused renewal leaves the connection as it is. */
    fake_redis_reply(fakes[0], "AUTH", "-WRONGPASS no\r\n");
    redis_login_changed(world.redis);
    asked_start(&world, &asked, "", "GET k");
    asked_wait(&asked);
    assert_int_equal(asked.error, REDIS_ERROR_NONE);
    assert_int_equal(fakes[0]->guest_count, connections);
    finish();
}

/* ---- errors ---- */

static void errors_that_speak_of_the_server_end_its_connection(void **state)
{
    (void)state;
    static const struct {
        const char *reply;
        enum redis_error error;
        bool stays;
    } cases[] = {
        {"-READONLY You can't write against a read only replica.\r\n", REDIS_ERROR_READONLY, false},
        {"-LOADING Redis is loading the dataset in memory\r\n", REDIS_ERROR_LOADING, false},
        {"-MASTERDOWN Link with MASTER is down\r\n", REDIS_ERROR_MASTERDOWN, false},
        {"-NOAUTH Authentication required.\r\n", REDIS_ERROR_NOAUTH, false},
        {"-OOM command not allowed\r\n", REDIS_ERROR_OOM, true},
        {"-WRONGTYPE Operation against a key\r\n", REDIS_ERROR_WRONGTYPE, true},
        {"-NOPERM this user\r\n", REDIS_ERROR_NOPERM, true},
        {"-MOVED 1 127.0.0.1:1\r\n", REDIS_ERROR_MOVED, true},
        {"-ERR unknown command `GET`, with args beginning with: `secret`\r\n", REDIS_ERROR_OTHER, true},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct asked first = {0}, second = {0};
        begin(&(struct redis_options){0}, 1);
        redis_world_pass(&world, 2 * CLOCK_SECOND);
        fake_redis_reply(fakes[0], "GET a", cases[i].reply);
        asked_start(&world, &first, "", "GET a");
        asked_start(&world, &second, "", "GET b");
        redis_world_settle(&world);
        assert_int_equal(first.error, cases[i].error);
        assert_null(strstr(first.text, "secret"));
        assert_int_equal(second.error, cases[i].stays ? REDIS_ERROR_NONE : REDIS_ERROR_LOST);
        redis_world_pass(&world, CLOCK_SECOND);
        assert_int_equal(fakes[0]->guest_count, cases[i].stays ? 1 : 2);
        assert_true(redis_is_up(world.redis, SPAN("")));
        finish();
    }
}

static void refuse(const char *command, const char *reply)
{
    struct asked asked = {0};
    fake_redis_reply(fakes[0], command, reply);
    asked_start(&world, &asked, "", command);
    redis_world_settle(&world);
    assert_int_not_equal(asked.error, REDIS_ERROR_NONE);
}

static unsigned count_of(const char *text, const char *word)
{
    unsigned count = 0;
    for (const char *at = strstr(text, word); at; at = strstr(at + 1, word))
        count++;
    return count;
}

static void a_server_that_refuses_is_told_of_once_a_minute(void **state)
{
    (void)state;
    char text[4096];
    begin(&(struct redis_options){0}, 1);
    redis_world_pass(&world, 2 * CLOCK_SECOND);
    int captured = memfd_create("log", MFD_CLOEXEC), saved = dup(STDERR_FILENO);
    assert_true(captured >= 0 && saved >= 0 && dup2(captured, STDERR_FILENO) >= 0);
    log_configure(LOG_WARNING, LOG_TEXT);
    refuse("GET a", "-OOM command not allowed\r\n");
    refuse("GET b", "-OOM command not allowed\r\n");
    refuse("GET c", "-NOPERM this user\r\n");
    refuse("GET d", "-WRONGTYPE Operation against a key\r\n");
    refuse("GET e", "-OOM command not allowed\r\n");
    refuse("GET f", "-ERR ACL failure in script: this user\r\n");
    refuse("GET g", "-ERR syntax error\r\n");
    redis_world_pass(&world, 61 * CLOCK_SECOND);
    refuse("GET h", "-OOM command not allowed\r\n");
    log_configure(LOG_ERROR, LOG_TEXT);
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);
    ssize_t size = pread(captured, text, sizeof(text) - 1, 0);
    close(captured);
    assert_true(size >= 0);
    text[size] = '\0';
    assert_int_equal(count_of(text, "refuses commands: OOM command not allowed"), 2);
    assert_int_equal(count_of(text, "refuses commands: NOPERM this user"), 1);
    assert_int_equal(count_of(text, "refuses commands: ERR ACL failure in script"), 1);
    assert_int_equal(count_of(text, "\n"), 4);
    finish();
}

static void an_address_is_said_once(void **state)
{
    (void)state;
    struct redis_status now;
    char wanted[64];
    begin(&(struct redis_options){0}, 1);
    redis_world_pass(&world, 2 * CLOCK_SECOND);
    fake_redis_refuse(fakes[0]);
    redis_world_pass(&world, 2 * CLOCK_SECOND);
    redis_status(world.redis, &now);
    (void)snprintf(wanted, sizeof(wanted), "127.0.0.1:%u: Connection refused", fakes[0]->port);
    assert_string_equal(now.why, wanted);
    finish();
}

/* ---- scripts ---- */

static void forgotten_scripts_are_loaded_once(void **state)
{
    (void)state;
    struct redis_script script;
    struct asked calls[10] = {0};
    redis_script_init(&script, SPAN("return 1"));
    assert_string_equal(script.sha1, "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
    begin(&(struct redis_options){0}, 1);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < ARRAY_LEN(calls); i++)
            fake_redis_reply(fakes[0], "EVALSHA", "-NOSCRIPT No matching script.\r\n");
        for (unsigned i = 0; i < ARRAY_LEN(calls); i++)
            asked_eval(&world, &calls[i], &script, "k", "x");
        redis_world_settle(&world);
        for (unsigned i = 0; i < ARRAY_LEN(calls); i++)
            assert_int_equal(calls[i].error, REDIS_ERROR_NONE);
        assert_int_equal(fake_redis_count(fakes[0], "SCRIPT LOAD return 1"), round + 1);
    }
    assert_int_equal(fake_redis_count(fakes[0], "EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 1 k x"), 40);
    finish();
}

static void scripts_that_cannot_be_loaded_are_an_error(void **state)
{
    (void)state;
    struct redis_script script;
    struct asked asked = {0};
    redis_script_init(&script, SPAN("return 1"));
    begin(&(struct redis_options){0}, 1);
    fake_redis_always(fakes[0], "EVALSHA", "-NOSCRIPT No matching script.\r\n");
    fake_redis_always(fakes[0], "SCRIPT", "-NOPERM no\r\n");
    asked_eval(&world, &asked, &script, "k", "x");
    asked_wait(&asked);
    assert_int_equal(asked.error, REDIS_ERROR_NOSCRIPT);
    assert_in_range(fake_redis_count(fakes[0], "EVALSHA"), 2, 4);
    finish();
}

/* ---- Cluster ---- */

/* Slots of "foo" (12182) at the second, all others at the first. */
static const char *two_shards(void)
{
    return format("*3\r\n"
                  "*3\r\n:0\r\n:12181\r\n*3\r\n$9\r\n127.0.0.1\r\n:%u\r\n$1\r\na\r\n"
                  "*3\r\n:12182\r\n:12182\r\n*3\r\n$9\r\n127.0.0.1\r\n:%u\r\n$1\r\nb\r\n"
                  "*3\r\n:12183\r\n:16383\r\n*3\r\n$-1\r\n:%u\r\n$1\r\na\r\n",
                  fakes[0]->port, fakes[1]->port, fakes[0]->port);
}

static void begin_cluster(void)
{
    begin(&(struct redis_options){.mode = REDIS_CLUSTER}, 1);
    fake_redis_reply(fakes[0], "CLUSTER SLOTS", two_shards());
}

static void commands_go_where_their_slot_is(void **state)
{
    (void)state;
    struct asked foo = {0}, bar = {0}, any = {0};
    begin_cluster();
    /* Asked before anything is known. */
    asked_start(&world, &foo, "foo", "GET foo");
    asked_start(&world, &bar, "bar", "GET bar");
    asked_start(&world, &any, "", "GET any");
    redis_world_pass(&world, 10 * CLOCK_MS);
    redis_world_pass(&world, 9 * CLOCK_MS);
    assert_int_equal(foo.ends + bar.ends + any.ends, 3);
    assert_int_equal(foo.error + bar.error + any.error, 0);
    assert_int_equal(fake_redis_count(fakes[1], "GET foo"), 1);
    assert_int_equal(fake_redis_count(fakes[0], "GET bar"), 1);
    assert_int_equal(fakes[0]->guest_count, 1);
    assert_int_equal(fakes[1]->guest_count, 1);
    finish();
}

static void moved_slots_are_followed_and_learned(void **state)
{
    (void)state;
    struct asked calls[3] = {0};
    begin_cluster();
    redis_world_pass(&world, 20 * CLOCK_MS);
    fake_redis_reply(fakes[1], "GET foo", format("-MOVED 12182 127.0.0.1:%u\r\n", fakes[2]->port, 0, 0));
    for (unsigned i = 0; i < ARRAY_LEN(calls); i++) {
        asked_start(&world, &calls[i], "foo", "GET foo");
        redis_world_settle(&world);
        assert_int_equal(calls[i].error, REDIS_ERROR_NONE);
        assert_int_equal(calls[i].ends, 1);
    }
    assert_int_equal(fake_redis_count(fakes[1], "GET foo"), 1);
    assert_int_equal(fake_redis_count(fakes[2], "GET foo"), 3);
    assert_int_equal(counters().moved, 1);
    /* And the whole map is asked for again, but not at once. */
    assert_int_equal(counters().refreshes, 1);
    fake_redis_reply(fakes[0], "CLUSTER SLOTS", two_shards());
    fake_redis_reply(fakes[1], "CLUSTER SLOTS", two_shards());
    fake_redis_reply(fakes[2], "CLUSTER SLOTS", two_shards());
    redis_world_pass(&world, CLOCK_SECOND);
    assert_int_equal(counters().refreshes, 2);
    asked_start(&world, &calls[0], "foo", "GET foo");
    asked_wait(&calls[0]);
    assert_int_equal(fake_redis_count(fakes[1], "GET foo"), 2);
    finish();
}

static void slots_on_the_move_are_asked_for(void **state)
{
    (void)state;
    struct redis_script script;
    struct asked asked = {0};
    redis_script_init(&script, SPAN("return 1"));
    begin_cluster();
    redis_world_pass(&world, 20 * CLOCK_MS);
    fake_redis_always(fakes[1], "EVALSHA", format("-ASK 12182 127.0.0.1:%u\r\n", fakes[2]->port, 0, 0));
    fake_redis_reply(fakes[2], "EVALSHA", "-NOSCRIPT No matching script.\r\n");
    fake_redis_reply(fakes[2], "EVALSHA", "-TRYAGAIN Multiple keys request\r\n");
    asked_eval(&world, &asked, &script, "foo", "x");
    redis_world_settle(&world);
    assert_int_equal(asked.error, REDIS_ERROR_NONE);
    assert_int_equal(asked.ends, 1);
    /* Each time behind an ASKING of its own, and nothing is learned from it. */
    assert_begins(fakes[2], "PING\nASKING\nEVALSHA");
    assert_int_equal(fake_redis_count(fakes[2], "ASKING"), 3);
    assert_int_equal(fake_redis_count(fakes[2], "EVALSHA"), 3);
    asked_eval(&world, &asked, &script, "foo", "x");
    asked_wait(&asked);
    assert_int_equal(fake_redis_count(fakes[1], "EVALSHA"), 2);
    assert_int_equal(counters().asks, 2);
    finish();
}

static void turning_in_circles_ends(void **state)
{
    (void)state;
    struct asked asked = {0};
    begin_cluster();
    redis_world_pass(&world, 20 * CLOCK_MS);
    fake_redis_always(fakes[1], "GET", format("-MOVED 12182 127.0.0.1:%u\r\n", fakes[2]->port, 0, 0));
    fake_redis_always(fakes[2], "GET", format("-MOVED 12182 127.0.0.1:%u\r\n", fakes[1]->port, 0, 0));
    asked_start(&world, &asked, "foo", "GET foo");
    for (unsigned i = 0; i < 5; i++)
        redis_world_settle(&world);
    assert_int_equal(asked.error, REDIS_ERROR_MOVED);
    assert_in_range(counters().moved, 5, 20);
    finish();
}

static void a_lost_master_is_looked_for(void **state)
{
    (void)state;
    struct asked asked = {0};
    begin_cluster();
    redis_world_pass(&world, 2 * CLOCK_SECOND);
    /* Its replica has taken over, and is in the next map. */
    fake_redis_reply(fakes[0], "CLUSTER SLOTS", "-CLUSTERDOWN not yet\r\n");
    fake_redis_always(
        fakes[0], "CLUSTER SLOTS",
        format("*1\r\n*4\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%u\r\n*2\r\n$9\r\n127.0.0.1\r\n:%u\r\n",
               fakes[2]->port, fakes[1]->port, 0));
    fake_redis_refuse(fakes[1]);
    redis_world_settle(&world);
    asked_start(&world, &asked, "foo", "GET foo");
    redis_world_settle(&world);
    assert_int_equal(asked.error, REDIS_ERROR_LOST);
    redis_world_pass(&world, 2 * CLOCK_SECOND);
    asked_start(&world, &asked, "foo", "GET foo");
    asked_wait(&asked);
    assert_int_equal(asked.error, REDIS_ERROR_NONE);
    assert_int_equal(fake_redis_count(fakes[2], "GET foo"), 1);
    finish();
}

static void broken_maps_do_no_harm(void **state)
{
    (void)state;
    static const char *const broken[] = {"*0\r\n", "+OK\r\n", "-ERR This instance has cluster support disabled\r\n",
                                         "*1\r\n*2\r\n:0\r\n:5\r\n", NULL};
    for (unsigned i = 0; i < ARRAY_LEN(broken); i++) {
        struct asked first = {0}, second = {0};
        begin(&(struct redis_options){.mode = REDIS_CLUSTER}, 1);
        fake_redis_reply(fakes[0], "CLUSTER SLOTS", broken[i]);
        fake_redis_reply(fakes[0], "CLUSTER SLOTS", two_shards());
        asked_start(&world, &first, "foo", "GET foo");
        redis_world_pass(&world, 40 * CLOCK_MS);
        assert_int_equal(first.ends, 1);
        assert_int_not_equal(first.error, REDIS_ERROR_NONE);
        redis_world_pass(&world, 4 * CLOCK_SECOND);
        asked_start(&world, &second, "foo", "GET foo");
        asked_wait(&second);
        assert_int_equal(second.error, REDIS_ERROR_NONE);
        finish();
    }
}

/* ---- Sentinel: the first two fakes are sentinels, the third is the master ---- */

static const char *address_of(const struct fake_redis *fake)
{
    return format("*2\r\n$9\r\n127.0.0.1\r\n$5\r\n%05u\r\n", fake->port, 0, 0);
}

static void sentinels_know_the_master(void **state)
{
    (void)state;
    struct asked asked = {0};
    struct redis_options options = {.mode = REDIS_SENTINEL,
                                    .master = SPAN("mymaster"),
                                    .password = SPAN("data"),
                                    .sentinel_password = SPAN("watch")};
    begin(&options, 2);
    fake_redis_refuse(fakes[0]);
    fake_redis_reply(fakes[1], "SENTINEL", "*-1\r\n");
    fake_redis_reply(fakes[1], "SENTINEL", address_of(fakes[2]));
    redis_world_pass(&world, 4 * CLOCK_SECOND);
    asked_start(&world, &asked, "", "GET k");
    asked_wait(&asked);
    assert_int_equal(asked.error, REDIS_ERROR_NONE);
    assert_begins(fakes[1], "AUTH watch\nPING\nSENTINEL GET-MASTER-ADDR-BY-NAME mymaster\n");
    assert_begins(fakes[2], "AUTH data\nPING\nGET k\n");
    /* Nothing is kept open to a sentinel. */
    assert_null(fakes[1]->guests[fakes[1]->guest_count - 1].transport);
    finish();
}

static void a_new_master_is_found(void **state)
{
    (void)state;
    struct asked asked = {0};
    struct redis_options options = {.mode = REDIS_SENTINEL, .master = SPAN("mymaster")};
    begin(&options, 1);
    fake_redis_reply(fakes[0], "SENTINEL", address_of(fakes[1]));
    redis_world_pass(&world, 2 * CLOCK_SECOND);
    asked_start(&world, &asked, "", "SET k v");
    asked_wait(&asked);
    assert_int_equal(fake_redis_count(fakes[1], "SET"), 1);
    fake_redis_reply(fakes[0], "SENTINEL", address_of(fakes[1]));
    fake_redis_always(fakes[0], "SENTINEL", address_of(fakes[2]));
    /* It has become a replica, but nobody has told us. */
    fake_redis_always(fakes[1], "SET", "-READONLY You can't write against a read only replica.\r\n");
    asked_start(&world, &asked, "", "SET k v");
    asked_wait(&asked);
    assert_int_equal(asked.error, REDIS_ERROR_READONLY);
    /* Whoever asks keeps the search alive until one is found that takes writes. */
    for (unsigned i = 0; i < 20 && !fake_redis_count(fakes[2], "SET"); i++) {
        redis_world_pass(&world, 200 * CLOCK_MS);
        asked_start(&world, &asked, "", "SET k v");
        asked_wait(&asked);
    }
    assert_int_equal(asked.error, REDIS_ERROR_NONE);
    assert_null(fakes[1]->guests[fakes[1]->guest_count - 1].transport);
    finish();
}

int main(void)
{
    log_configure(LOG_ERROR, LOG_TEXT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greetings_are_in_order),
        cmocka_unit_test(refused_greetings_rest),
        cmocka_unit_test(live_connections_log_in_anew),
        cmocka_unit_test(errors_that_speak_of_the_server_end_its_connection),
        cmocka_unit_test(a_server_that_refuses_is_told_of_once_a_minute),
        cmocka_unit_test(an_address_is_said_once),
        cmocka_unit_test(forgotten_scripts_are_loaded_once),
        cmocka_unit_test(scripts_that_cannot_be_loaded_are_an_error),
        cmocka_unit_test(commands_go_where_their_slot_is),
        cmocka_unit_test(moved_slots_are_followed_and_learned),
        cmocka_unit_test(slots_on_the_move_are_asked_for),
        cmocka_unit_test(turning_in_circles_ends),
        cmocka_unit_test(a_lost_master_is_looked_for),
        cmocka_unit_test(broken_maps_do_no_harm),
        cmocka_unit_test(sentinels_know_the_master),
        cmocka_unit_test(a_new_master_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
