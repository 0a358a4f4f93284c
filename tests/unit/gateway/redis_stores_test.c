/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/redis_stores.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "config/config.h"
#include "gateway/worker.h"
#include "net/tls.h"
#include "support/certificates.h"
#include "support/fake_redis.h"

static struct worker worker;
static struct redis_stores *stores;
static struct fake_redis *fake;

static void settle(void)
{
    for (unsigned i = 0; i < 40; i++)
        loop_turn(worker.loop, false);
}

static void begin(void)
{
    hash_start();
    clock_fake(1000 * CLOCK_SECOND, 1000 * CLOCK_SECOND);
    worker = (struct worker){.loop = loop_create()};
    worker.resolver = resolver_create(worker.loop, NULL);
    fake = fake_redis_start(worker.loop, NULL);
    stores = redis_stores_create(&worker);
}

static void finish(void)
{
    redis_stores_destroy(stores);
    fake_redis_stop(fake);
    resolver_destroy(worker.resolver);
    loop_destroy(worker.loop);
    assert_int_equal(pending_count(), 0);
    assert_int_equal(transport_count(), 0);
    clock_real();
}

/* A filter that names all the stores: what nobody names is refused. */
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

/* Serves a configuration with these stores from now on; it is gone afterwards, as after a reload. */
static void adopt(const char *list)
{
    struct report report;
    struct config *config = NULL;
    struct buffer text = {0};
    report_init(&report);
    buffer_format(&text,
                  "apiVersion: postern/v1\nlisteners: [{address: \"127.0.0.1:1\", filters: [u]}]\n"
                  "targets: [{name: m, mock: {}}]\nmodels: [{name: \"*\", targets: [m]}]\n"
                  "filters: {u: {type: user, stores: [%s]}}\n",
                  strstr(list, "name: b") ? "a, b"
                  : list[0]               ? "a"
                                          : "");
    buffer_format(&text, list, fake->port, fake->port);
    assert_true(config_load_text(SPAN("c.yaml"), buffer_span(&text), &users, 0, &report, &config));
    struct snapshot snapshot = {.config = config};
    redis_stores_adopt(stores, &snapshot);
    config_free(config);
    report_finish(&report);
    buffer_finish(&text);
}

static struct redis *client(const char *name)
{
    struct redis_store *store = redis_store_get(stores, span_str(name));
    return store ? store->redis : NULL;
}

static void stores_are_found_by_name(void **state)
{
    (void)state;
    begin();
    assert_null(redis_store_next(stores, NULL));
    adopt("stores: [{name: a, redis: \"redis://127.0.0.1:%u/1\"}, {name: b, redis: \"redis://127.0.0.1:%u\"}]\n");
    assert_non_null(client("a"));
    assert_non_null(client("b"));
    assert_ptr_not_equal(client("a"), client("b"));
    assert_null(redis_store_get(stores, SPAN("c")));
    settle();
    assert_true(redis_is_up(client("a"), SPAN("")));
    assert_int_equal(fake_redis_count(fake, "SELECT 1"), 1);
    unsigned count = 0;
    for (struct redis_store *store = redis_store_next(stores, NULL); store; store = redis_store_next(stores, store))
        count++;
    assert_int_equal(count, 2);
    finish();
}

static void a_reload_keeps_what_it_does_not_change(void **state)
{
    (void)state;
    begin();
    adopt("stores: [{name: a, redis: \"redis://127.0.0.1:%u\"}]\n");
    settle();
    struct redis_store *store = redis_store_get(stores, SPAN("a"));
    struct redis *before = store->redis;
    adopt("stores: [{name: a, redis: {url: \"redis://127.0.0.1:%u\", deadline: 20ms}}]\n");
    settle();
    assert_ptr_equal(store->redis, before);
    assert_int_equal(fake->guest_count, 1);
    adopt("stores: [{name: a, redis: {url: \"redis://127.0.0.1:%u\", deadline: 21ms}}]\n");
    settle();
    assert_ptr_equal(redis_store_get(stores, SPAN("a")), store);
    assert_int_equal(fake->guest_count, 2);
    assert_null(fake->guests[0].transport);
    adopt("");
    settle();
    assert_ptr_equal(redis_store_get(stores, SPAN("a")), store);
    assert_null(store->redis);
    assert_null(fake->guests[1].transport);
    adopt("stores: [{name: a, redis: \"redis://127.0.0.1:%u\"}]\n");
    settle();
    assert_true(redis_is_up(client("a"), SPAN("")));
    struct redis_status status;
    redis_store_status(store, &status);
    assert_int_equal(status.counters.connects, 3);
    assert_string_equal(redis_state_word(&status), "up");
    finish();
}

/* A certificate that its issuer renews is taken by itself; a broken one is not, and the store stays. */
static void certificates_are_taken_live(void **state)
{
    (void)state;
    struct certificates files;
    char list[600];
    begin();
    certificates_create(&files);
    (void)snprintf(list, sizeof(list),
                   "stores: [{name: a, redis: {url: \"rediss://127.0.0.1:%%u\", tls: {ca: %s, certificate: %s, key: "
                   "%s}}}]\n",
                   files.ca, files.expired, files.server_key);
    adopt(list);
    struct redis_store *store = redis_store_get(stores, SPAN("a"));
    struct redis *before = store->redis;
    int64_t over = tls_context_expires(store->tls);
    assert_true(over > 0);
    redis_stores_reload_certificates(stores);
    assert_int_equal(tls_context_expires(store->tls), over);
    certificates_write(files.expired, "broken");
    redis_stores_reload_certificates(stores);
    assert_int_equal(tls_context_expires(store->tls), over);
    assert_int_equal(rename(files.server, files.expired), 0);
    redis_stores_reload_certificates(stores);
    assert_true(tls_context_expires(store->tls) > over);
    assert_ptr_equal(store->redis, before);
    finish();
    certificates_destroy(&files);
}

/* Each setting counts. */
static void every_change_makes_a_store_anew(void **state)
{
    (void)state;
    static const char *const settings[] = {
        "url: \"redis://127.0.0.1:%u\"",
        "url: \"redis://127.0.0.1:%u/2\"",
        "url: \"redis://127.0.0.1:%u\", mode: cluster",
        "url: \"redis://127.0.0.1:%u\", mode: cluster, addresses: [\"127.0.0.1:%u\"]",
        "url: \"redis://127.0.0.1:%u\", mode: sentinel, sentinel: a",
        "url: \"redis://127.0.0.1:%u\", mode: sentinel, sentinel: b",
        "url: \"redis://127.0.0.1:%u\", mode: sentinel, sentinel: {master: b, username: u}",
        "url: \"redis://127.0.0.1:%u\", connect: 2s",
        "url: \"redis://127.0.0.1:%u\", breaker: 6",
        "url: \"redis://127.0.0.1:%u\", queue: 100",
    };
    begin();
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        uint8_t before[32];
        struct redis_store *store = redis_store_get(stores, SPAN("a"));
        if (store)
            memcpy(before, store->fingerprint, sizeof(before));
        char text[300];
        (void)snprintf(text, sizeof(text), "stores: [{name: a, redis: {%s}}]\n", settings[i]);
        adopt(text);
        if (store)
            assert_memory_not_equal(before, store->fingerprint, sizeof(before));
        assert_non_null(client("a"));
        settle();
    }
    finish();
}

int main(void)
{
    log_configure(LOG_ERROR, LOG_TEXT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stores_are_found_by_name),
        cmocka_unit_test(a_reload_keeps_what_it_does_not_change),
        cmocka_unit_test(certificates_are_taken_live),
        cmocka_unit_test(every_change_makes_a_store_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
