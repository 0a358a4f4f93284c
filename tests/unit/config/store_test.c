/* SPDX-License-Identifier: Apache-2.0 */
#include "config_support.h"

static struct config *load_store(const char *redis)
{
    struct buffer text = {0};
    buffer_format(&text,
                  HEAD REST
                  "credentials: [{name: entra, workload_identity: {}}]\nstores:\n  - {name: shared, redis: %s}\n",
                  redis);
    buffer_append(&text, span_of("", 1));
    struct config *config = load(buffer_span(&text).ptr, CONFIG_OFFLINE);
    buffer_finish(&text);
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
        struct report report;
        struct config *config = NULL;
        struct buffer text = {0}, lines = {0};
        report_init(&report);
        buffer_format(&text,
                      HEAD REST
                      "credentials: [{name: entra, workload_identity: {}}]\nstores:\n  - {name: shared, redis: %s}\n",
                      wrongs[i].redis);
        assert_false(config_load_text(SPAN("c.yaml"), buffer_span(&text), &registry, CONFIG_OFFLINE, &report, &config));
        const char *said = printed(&report, &lines);
        if (!strstr(said, wrongs[i].message))
            fail_msg("%s: %s", wrongs[i].redis, said);
        buffer_finish(&text);
        buffer_finish(&lines);
        report_finish(&report);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_store_has_defaults),
        cmocka_unit_test(urls_are_taken_apart),
        cmocka_unit_test(everything_can_be_said),
        cmocka_unit_test(wrong_stores_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
