/* SPDX-License-Identifier: Apache-2.0 */
#include "config_support.h"

/* A filter that names the stores: what nobody names is refused. */
struct user_settings {
    struct settings settings;
    struct setting_list stores;
};
static const struct setting user_table[] = {
    {.name = "stores",
     .type = SETTING_LIST,
     .offset = offsetof(struct user_settings, stores),
     .refers = "stores",
     .help = "Where to keep it."},
};
static const struct settings_spec user_spec =
    SETTINGS_SPEC("user", struct user_settings, user_table, "Names stores.", .shorthand = "stores");
static const struct settings_registry_entry user_entries[] = {{.name = "user", .spec = &user_spec}};
static const struct settings_registry users = {.count = ARRAY_LEN(user_entries), .entries = user_entries};

#define HEAD_USING                                                                                                     \
    "apiVersion: postern/v1\nlisteners: [{address: \"127.0.0.1:1\", filters: [u]}]\n" REST                             \
    "credentials: [{name: entra, workload_identity: {}}]\nfilters: {u: {type: user, stores: [%s]}}\n"

/* What is said about a text, "" when it is good; *ret then holds the configuration. */
static const char *try_load(struct span text, struct buffer *lines, struct config **ret)
{
    struct report report;
    report_init(&report);
    bool good = config_load_text(SPAN("c.yaml"), text, &users, CONFIG_OFFLINE, &report, ret);
    const char *said = printed(&report, lines);
    report_finish(&report);
    assert_int_equal(good, said[0] == '\0');
    return said;
}

static struct config *load_store(const char *redis)
{
    struct buffer text = {0}, lines = {0};
    struct config *config = NULL;
    buffer_format(&text, HEAD_USING "stores:\n  - {name: shared, redis: %s}\n", "shared", redis);
    assert_string_equal(try_load(buffer_span(&text), &lines, &config), "");
    buffer_finish(&text);
    buffer_finish(&lines);
    return config;
}

static void a_store_has_defaults(void **state)
{
    (void)state;
    struct config *config = load_store("\"redis://cache\"");
    const struct config_store *store = config_store(config, SPAN("shared"));
    assert_non_null(store);
    assert_null(config_store(config, SPAN("other")));
    const struct config_redis *redis = store->redis;
    assert_true(span_equal(redis->host, SPAN("cache")));
    assert_int_equal(redis->port, 6379);
    assert_int_equal(redis->database, 0);
    assert_false(redis->secure);
    assert_int_equal(redis->mode, CONFIG_REDIS_STANDALONE);
    assert_int_equal(redis->deadline, 20000);
    assert_int_equal(redis->breaker, 5);
    assert_int_equal(redis->credential.len + redis->username.len + redis->password.file.len, 0);
    config_free(config);
}

static void urls_are_taken_apart(void **state)
{
    (void)state;
    static const struct {
        const char *url, *host;
        unsigned port, database;
        bool secure;
    } cases[] = {
        {"rediss://contoso.redis.azure.net:10000", "contoso.redis.azure.net", 10000, 0, true},
        {"redis://10.0.0.1:7000/3", "10.0.0.1", 7000, 3, false},
        {"redis://[fd00::1]:7000/", "fd00::1", 7000, 0, false},
        {"redis://cache/15", "cache", 6379, 15, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buffer text = {0};
        buffer_format(&text, "{url: \"%s\"}", cases[i].url);
        buffer_append(&text, span_of("", 1));
        struct config *config = load_store(buffer_span(&text).ptr);
        const struct config_redis *redis = config->stores[0].redis;
        assert_true(span_equal(redis->host, span_str(cases[i].host)));
        assert_int_equal(redis->port, cases[i].port);
        assert_int_equal(redis->database, cases[i].database);
        assert_int_equal(redis->secure, cases[i].secure);
        config_free(config);
        buffer_finish(&text);
    }
}

static void everything_can_be_said(void **state)
{
    (void)state;
    struct config *config = load_store("{url: \"rediss://s1:26379\", mode: sentinel, addresses: [\"s2:26379\", s3], "
                                       "sentinel: {master: main, username: w, password: {env: S}}, username: app, "
                                       "password: {env: P}, tls: {ca: ca.crt, server_name: cache, certificate: c.crt, "
                                       "key: c.key}, deadline: 5ms, connect: 300ms, breaker: 3, queue: 100}");
    const struct config_redis *redis = config->stores[0].redis;
    struct span host;
    uint16_t port;
    assert_int_equal(redis->addresses.count, 2);
    assert_true(config_redis_address(redis->addresses.items[0], &host, &port));
    assert_int_equal(port, 26379);
    assert_true(config_redis_address(redis->addresses.items[1], &host, &port));
    assert_int_equal(port, 6379);
    assert_true(span_equal(host, SPAN("s3")));
    assert_true(span_equal(redis->sentinel->master, SPAN("main")));
    assert_true(span_equal(redis->sentinel->password.env, SPAN("S")));
    assert_true(span_equal(redis->tls.server_name, SPAN("cache")));
    assert_int_equal(redis->deadline, 5000);
    assert_int_equal(redis->connect, 300000);
    config_free(config);
    config = load_store("{url: \"rediss://c:10000\", mode: cluster, credential: entra}");
    assert_true(span_equal(config->stores[0].redis->credential, SPAN("entra")));
    config_free(config);
}

static const struct {
    const char *redis, *message;
} wrongs[] = {
    {"{}", "url"},
    {"\"http://cache\"", "must begin with redis:// or rediss://"},
    {"\"redis://\"", "must name a host"},
    {"\"redis://:6379\"", "must name a host"},
    {"\"redis://cache:0\"", "must name a host"},
    {"\"redis://cache:70000\"", "must name a host"},
    {"\"redis://user:pass@cache\"", "holds no user"},
    {"\"redis://cache/x\"", "nothing behind the host but /NUMBER"},
    {"\"redis://cache/0?x=1\"", "nothing behind the host but /NUMBER"},
    {"{url: \"redis://cache/1\", mode: cluster}", "no database but 0"},
    {"{url: \"redis://cache\", addresses: [a]}", "is for mode cluster or sentinel"},
    {"{url: \"redis://cache\", mode: cluster, addresses: [\"a:b\"]}", "is not host:port"},
    {"{url: \"redis://cache\", mode: sentinel}", "go together"},
    {"{url: \"redis://cache\", sentinel: main}", "go together"},
    {"{url: \"redis://cache\", tls: {ca: x}}", "begins with rediss://"},
    {"{url: \"rediss://cache\", tls: {key: x}}", "belongs to a \"certificate\""},
    {"{url: \"rediss://cache\", credential: entra, password: {env: P}}", "cannot both log in"},
    {"{url: \"redis://cache\", credential: entra}", "in the clear"},
    {"{url: \"rediss://cache\", credential: nobody}", "nobody"},
    {"{url: \"redis://cache\", username: app}", "needs a \"password\""},
    {"{url: \"redis://cache\", deadline: 0s}", "deadline"},
};

static void wrong_stores_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(wrongs); i++) {
        struct config *config = NULL;
        struct buffer text = {0}, lines = {0};
        buffer_format(&text, HEAD_USING "stores:\n  - {name: shared, redis: %s}\n", "shared", wrongs[i].redis);
        const char *said = try_load(buffer_span(&text), &lines, &config);
        if (!strstr(said, wrongs[i].message))
            fail_msg("%s: %s", wrongs[i].redis, said);
        buffer_finish(&text);
        buffer_finish(&lines);
    }
}

static void names_and_stores_must_meet(void **state)
{
    (void)state;
    static const struct {
        const char *names, *message;
    } cases[] = {
        {"", "c.yaml:8:12: store \"shared\" is used by nothing; name it where it should act or remove it"},
        {"shred", ": no store is called \"shred\"; allowed: shared; did you mean \"shared\"?"},
        {"shared, else", ": no store is called \"else\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct config *config = NULL;
        struct buffer text = {0}, lines = {0};
        buffer_format(&text, HEAD_USING "stores:\n  - {name: shared, redis: \"redis://cache\"}\n", cases[i].names);
        const char *said = try_load(buffer_span(&text), &lines, &config);
        if (!strstr(said, cases[i].message))
            fail_msg("[%s]: %s", cases[i].names, said);
        buffer_finish(&text);
        buffer_finish(&lines);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_store_has_defaults),       cmocka_unit_test(urls_are_taken_apart),
        cmocka_unit_test(everything_can_be_said),     cmocka_unit_test(wrong_stores_are_refused),
        cmocka_unit_test(names_and_stores_must_meet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
