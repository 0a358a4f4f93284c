/* SPDX-License-Identifier: Apache-2.0 */
/* One real Redis server, and what can befall it. */
#include <setjmp.h>
#include <stdarg.h>
#include <signal.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "gateway/redis.h"
#include "support/certificates.h"
#include "support/redis_servers.h"
#include "support/redis_world.h"

static struct redis_world world;
static struct redis_server server;
static struct redis_script count_script;

static void make(struct redis_options *options)
{
    struct redis_address address = {.host = SPAN("127.0.0.1"), .port = server.port};
    options->name = SPAN("shared");
    options->addresses = &address;
    options->address_count = 1;
    options->rest_most = 200 * CLOCK_MS;
    /* What is tested is not the speed of this machine. */
    if (!options->deadline)
        options->deadline = 5 * CLOCK_SECOND;
    options->connect = 5 * CLOCK_SECOND;
    redis_world_open(&world, false);
    world.redis = redis_create(world.loop, world.resolver, options);
}

static void begin(const char *arguments, struct redis_options *options)
{
    REDIS_SERVERS_OR_SKIP();
    redis_server_start(&server, arguments);
    redis_script_init(&count_script, SPAN("return redis.call('incrby', KEYS[1], ARGV[1])"));
    make(options);
}

static void finish(void)
{
    redis_world_close(&world);
    redis_server_stop(&server);
}

static enum redis_error ask(const char *words)
{
    struct asked asked = {0};
    asked_start(&world, &asked, "", words);
    asked_wait(&asked);
    return asked.error;
}

static void until_back(void)
{
    while (ask("PING"))
        loop_turn(world.loop, true);
}

static void until_error(const char *words, enum redis_error wanted)
{
    while (ask(words) != wanted)
        loop_turn(world.loop, false);
}

static void commands_and_scripts_work(void **state)
{
    (void)state;
    struct asked asked = {0};
    begin("", &(struct redis_options){.database = 2});
    assert_int_equal(ask("SET k v"), REDIS_ERROR_NONE);
    asked_start(&world, &asked, "", "GET k");
    asked_wait(&asked);
    assert_string_equal(asked.text, "v");
    for (int i = 1; i <= 6; i++) {
        asked_eval(&world, &asked, &count_script, "n", "2");
        asked_wait(&asked);
        assert_int_equal(asked.error, REDIS_ERROR_NONE);
        assert_int_equal(asked.integer, 2 * i);
        if (i % 2 == 0)
            assert_int_equal(redis_cli(&server, world.loop, NULL, "script flush"), 0);
    }
    struct redis_status status;
    redis_status(world.redis, &status);
    assert_int_equal(status.counters.script_loads, 3);
    struct buffer out = {0};
    (void)redis_cli(&server, world.loop, &out, "-n 2 get n");
    assert_true(span_equal(buffer_span(&out), SPAN("12\n")));
    buffer_finish(&out);
    finish();
}

/* All at once, so that everything a connection does is met: each is counted exactly once. */
static void ten_thousand_commands_are_each_carried_out_once(void **state)
{
    (void)state;
    static struct asked calls[10000];
    begin("", &(struct redis_options){.queue = 20000, .deadline = 60 * CLOCK_SECOND});
    for (unsigned i = 0; i < ARRAY_LEN(calls); i++) {
        asked_eval(&world, &calls[i], &count_script, "n", "1");
        if (i % 100 == 0)
            loop_turn(world.loop, false);
    }
    for (unsigned i = 0; i < ARRAY_LEN(calls); i++) {
        asked_wait(&calls[i]);
        assert_int_equal(calls[i].error, REDIS_ERROR_NONE);
    }
    struct asked last = {0};
    asked_eval(&world, &last, &count_script, "n", "0");
    asked_wait(&last);
    assert_int_equal(last.integer, ARRAY_LEN(calls));
    struct redis_status status;
    redis_status(world.redis, &status);
    assert_true(status.counters.writes < 1000);
    finish();
}

static void a_killed_server_is_found_again(void **state)
{
    (void)state;
    begin("", &(struct redis_options){0});
    assert_int_equal(ask("SET k v"), REDIS_ERROR_NONE);
    struct asked asked = {0};
    redis_server_signal(&server, SIGSTOP);
    asked_start(&world, &asked, "", "GET k");
    loop_turn(world.loop, false);
    redis_server_signal(&server, SIGKILL);
    asked_wait(&asked);
    assert_int_equal(asked.error, REDIS_ERROR_LOST);
    assert_int_equal(ask("GET k"), REDIS_ERROR_LOST);
    redis_server_restart(&server);
    until_back();
    assert_int_equal(ask("SET k v"), REDIS_ERROR_NONE);
    finish();
}

static void a_frozen_server_is_left_alone_until_it_thaws(void **state)
{
    (void)state;
    begin("", &(struct redis_options){.deadline = 20 * CLOCK_MS, .breaker = 3});
    until_back();
    redis_server_signal(&server, SIGSTOP);
    until_error("GET k", REDIS_ERROR_TIMEOUT);
    until_error("GET k", REDIS_ERROR_LOST);
    assert_false(redis_is_up(world.redis, SPAN("")));
    redis_server_signal(&server, SIGCONT);
    until_back();
    struct redis_status status;
    redis_status(world.redis, &status);
    assert_true(status.counters.breaker_opened >= 1);
    finish();
}

static void trouble_of_the_server_has_a_name(void **state)
{
    (void)state;
    struct asked asked = {0};
    begin("", &(struct redis_options){0});
    assert_int_equal(ask("LPUSH list x"), REDIS_ERROR_NONE);
    assert_int_equal(ask("INCR list"), REDIS_ERROR_WRONGTYPE);
    asked_eval(&world, &asked, &count_script, "list", "1");
    asked_wait(&asked);
    assert_int_equal(asked.error, REDIS_ERROR_WRONGTYPE);
    assert_int_equal(ask("NO-SUCH-COMMAND secret"), REDIS_ERROR_OTHER);
    (void)redis_cli(&server, world.loop, NULL, "config set maxmemory 1");
    assert_int_equal(ask("SET k v"), REDIS_ERROR_OOM);
    asked_eval(&world, &asked, &count_script, "n", "1");
    asked_wait(&asked);
    assert_int_equal(asked.error, REDIS_ERROR_OOM);
    (void)redis_cli(&server, world.loop, NULL, "config set maxmemory 0");
    assert_int_equal(ask("SET k v"), REDIS_ERROR_NONE);
    (void)redis_cli(&server, world.loop, NULL, "replicaof 127.0.0.1 1");
    assert_int_equal(ask("SET k v"), REDIS_ERROR_READONLY);
    (void)redis_cli(&server, world.loop, NULL, "replicaof no one");
    until_error("SET k v", REDIS_ERROR_NONE);
    (void)redis_cli(&server, world.loop, NULL, "client kill type normal");
    until_error("SET k v", REDIS_ERROR_NONE);
    finish();
}

static bool late_login(void *arg, struct span *ret_username, struct span *ret_password)
{
    const char *const *password = arg;
    *ret_username = SPAN("app");
    *ret_password = span_str(*password);
    return *password != NULL;
}

static void users_log_in(void **state)
{
    (void)state;
    const char *password = NULL;
    struct asked asked = {0};
    begin("", &(struct redis_options){.login = late_login, .login_arg = &password});
    (void)redis_cli(&server, world.loop, NULL, "acl setuser app on >one >two ~lim:* +evalsha +script|load +incrby");
    (void)redis_cli(&server, world.loop, NULL, "acl setuser default off");
    assert_int_equal(ask("PING"), REDIS_ERROR_LOST);
    password = "wrong";
    redis_login_changed(world.redis);
    assert_int_equal(ask("PING"), REDIS_ERROR_LOST);
    password = "one";
    redis_login_changed(world.redis);
    while (asked.error || !asked.ends) {
        asked_eval(&world, &asked, &count_script, "lim:a", "1");
        asked_wait(&asked);
    }
    assert_int_equal(asked.integer, 1);
    password = "two";
    redis_login_changed(world.redis);
    asked_eval(&world, &asked, &count_script, "lim:a", "1");
    asked_wait(&asked);
    assert_int_equal(asked.integer, 2);
    asked_eval(&world, &asked, &count_script, "other", "1");
    asked_wait(&asked);
    assert_int_equal(asked.error, REDIS_ERROR_NOPERM);
    finish();
}

static struct tls_context *context(const struct certificates *files, const char *ca, bool with_certificate)
{
    struct net_error error;
    struct tls_options options = {.role = TLS_CLIENT, .ca = ca};
    if (with_certificate) {
        options.certificate = files->client;
        options.key = files->client_key;
    }
    struct tls_context *made = tls_context_create(&options, &error);
    assert_non_null(made);
    return made;
}

static void tls_is_verified_on_both_sides(void **state)
{
    (void)state;
    REDIS_SERVERS_OR_SKIP();
    struct certificates files;
    char arguments[512];
    certificates_create(&files);
    (void)snprintf(arguments, sizeof(arguments),
                   "--port 0 --tls-port %%p --tls-cert-file %s --tls-key-file %s --tls-ca-cert-file %s "
                   "--tls-auth-clients yes",
                   files.server, files.server_key, files.ca);
    const struct {
        const char *ca;
        bool certificate;
        struct span name;
        bool good;
    } cases[] = {
        {files.ca, true, SPAN(""), true},
        {files.ca, true, SPAN("api.example"), true},
        {files.ca, true, SPAN("other.example"), false},
        {files.other_ca, true, SPAN(""), false},
        {files.ca, false, SPAN(""), false},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct tls_context *tls = context(&files, cases[i].ca, cases[i].certificate);
        begin(arguments, &(struct redis_options){.tls = tls, .server_name = cases[i].name});
        tls_context_unref(tls);
        assert_int_equal(ask("SET k v"), cases[i].good ? REDIS_ERROR_NONE : REDIS_ERROR_LOST);
        finish();
    }
    certificates_destroy(&files);
}

int main(void)
{
    log_configure(LOG_ERROR, LOG_TEXT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_and_scripts_work),
        cmocka_unit_test(ten_thousand_commands_are_each_carried_out_once),
        cmocka_unit_test(a_killed_server_is_found_again),
        cmocka_unit_test(a_frozen_server_is_left_alone_until_it_thaws),
        cmocka_unit_test(trouble_of_the_server_has_a_name),
        cmocka_unit_test(users_log_in),
        cmocka_unit_test(tls_is_verified_on_both_sides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
