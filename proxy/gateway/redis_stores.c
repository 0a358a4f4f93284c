/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/redis_stores.h"

#include <stdlib.h>

#include "base/buffer.h"
#include "base/crypto.h"
#include "base/log.h"
#include "base/memory.h"
#include "config/config.h"
#include "gateway/worker.h"

/* Azure's name for all of its Redis services; tokens for it open those that know the identity. */
#define REDIS_SCOPE SPAN("https://redis.azure.com/.default")

struct redis_stores {
    struct worker *worker;
    struct list list; /* struct redis_store.link */
};

struct redis_stores *redis_stores_create(struct worker *worker)
{
    struct redis_stores *stores = memory_zalloc(sizeof(*stores));
    stores->worker = worker;
    list_init(&stores->list);
    return stores;
}

struct redis_store *redis_store_get(struct redis_stores *stores, struct span name)
{
    LIST_EACH(&stores->list, link)
    {
        struct redis_store *store = CONTAINER_OF(link, struct redis_store, link);
        if (span_equal(store->name, name))
            return store;
    }
    return NULL;
}

struct redis_store *redis_store_next(struct redis_stores *stores, struct redis_store *store)
{
    if (!stores)
        return NULL;
    struct list *next = store ? store->link.next : stores->list.next;
    return next == &stores->list ? NULL : CONTAINER_OF(next, struct redis_store, link);
}

/* ---- login by token ---- */

static bool login(void *arg, struct span *ret_username, struct span *ret_password)
{
    struct redis_store *store = arg;
    struct span object_id;
    if (!store->credential || !credential_token(store->credential, ret_password, &object_id))
        return false;
    *ret_username = store->username.len ? store->username : object_id;
    return true;
}

static void token_changed(struct credential_watch *watch, struct credential *credential)
{
    (void)credential;
    struct redis_store *store = CONTAINER_OF(watch, struct redis_store, watch);
    if (store->redis)
        redis_login_changed(store->redis);
}

static void use_credential(struct redis_store *store, struct snapshot *snapshot, const struct config_redis *config)
{
    const struct identity *identity = identity_find(snapshot, config->credential);
    if (!identity || !identity_asks(identity)) {
        log_write(LOG_ERROR, "redis", "store %.*s: credential %.*s is no identity that gets tokens",
                  SPAN_ARG(store->name), SPAN_ARG(config->credential));
        return;
    }
    store->credential = credential_get(store->stores->worker, snapshot, identity, REDIS_SCOPE);
    store->watch.changed = token_changed;
    credential_watch(store->credential, &store->watch);
}

/* ---- what a store is made from ---- */

static void add(struct buffer *text, struct span part)
{
    buffer_format(text, "%zu:", part.len);
    buffer_append(text, part);
}

static void fingerprint(const struct config_redis *config, struct snapshot *snapshot, uint8_t ret[32])
{
    struct buffer text = {0};
    const struct identity *identity = config->credential.len ? identity_find(snapshot, config->credential) : NULL;
    buffer_format(&text, "%d %llu %llu %u %u ", (int)config->mode, (unsigned long long)config->deadline,
                  (unsigned long long)config->connect, config->breaker, config->queue);
    const struct span parts[] = {config->url,
                                 config->username,
                                 config->password.value,
                                 identity ? identity->key : config->credential,
                                 config->tls.ca,
                                 config->tls.server_name,
                                 config->tls.certificate,
                                 config->tls.key,
                                 config->sentinel ? config->sentinel->master : SPAN(""),
                                 config->sentinel ? config->sentinel->username : SPAN(""),
                                 config->sentinel ? config->sentinel->password.value : SPAN("")};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        add(&text, parts[i]);
    for (size_t i = 0; i < config->addresses.count; i++)
        add(&text, config->addresses.items[i]);
    crypto_sha256(buffer_span(&text), ret);
    buffer_wipe(&text);
}

static const char *path_or_null(struct span path)
{
    return path.len ? path.ptr : NULL;
}

/* NULL and a line in the log when a file is broken. */
static struct tls_context *trust(const struct redis_store *store, const struct config_redis *config)
{
    struct net_error error;
    struct tls_options options = {.role = TLS_CLIENT,
                                  .ca = path_or_null(config->tls.ca),
                                  .certificate = path_or_null(config->tls.certificate),
                                  .key = path_or_null(config->tls.key)};
    struct tls_context *context = tls_context_create(&options, &error);
    if (!context)
        log_write(LOG_ERROR, "redis", "store %.*s: %s", SPAN_ARG(store->name), error.text);
    return context;
}

static size_t addresses_of(const struct config_redis *config, struct redis_address *ret)
{
    size_t count = 0;
    ret[count++] = (struct redis_address){.host = config->host, .port = config->port};
    for (size_t i = 0; i < config->addresses.count && count < REDIS_ADDRESSES; i++)
        count += config_redis_address(config->addresses.items[i], &ret[count].host, &ret[count].port);
    return count;
}

static void open_store(struct redis_store *store, const struct config_redis *config)
{
    static const enum redis_mode modes[] = {[CONFIG_REDIS_STANDALONE] = REDIS_STANDALONE,
                                            [CONFIG_REDIS_SENTINEL] = REDIS_SENTINEL,
                                            [CONFIG_REDIS_CLUSTER] = REDIS_CLUSTER};
    struct worker *worker = store->stores->worker;
    struct redis_address addresses[REDIS_ADDRESSES];
    struct redis_options options = {.name = store->name,
                                    .mode = modes[config->mode],
                                    .addresses = addresses,
                                    .address_count = addresses_of(config, addresses),
                                    .database = config->database,
                                    .username = config->username,
                                    .password = config->password.value,
                                    .server_name = config->tls.server_name,
                                    .deadline = config->deadline,
                                    .connect = config->connect,
                                    .breaker = config->breaker,
                                    .queue = config->queue};
    if (config->sentinel) {
        options.master = config->sentinel->master;
        options.sentinel_username = config->sentinel->username;
        options.sentinel_password = config->sentinel->password.value;
    }
    if (config->credential.len) {
        options.login = login;
        options.login_arg = store;
    }
    if (config->secure && !(options.tls = trust(store, config)))
        return;
    store->redis = redis_create(worker->loop, worker->resolver, &options);
    store->tls = options.tls;
}

_Static_assert(sizeof(struct redis_counters) % sizeof(uint64_t) == 0, "counters are added up as numbers");

static void add_counters(struct redis_counters *sum, const struct redis_counters *more)
{
    uint64_t *to = (uint64_t *)sum;
    const uint64_t *from = (const uint64_t *)more;
    for (size_t i = 0; i < sizeof(*sum) / sizeof(uint64_t); i++)
        to[i] += from[i];
}

void redis_store_status(const struct redis_store *store, struct redis_status *ret)
{
    *ret = (struct redis_status){.why = ""};
    if (store->redis)
        redis_status(store->redis, ret);
    add_counters(&ret->counters, &store->past);
}

static void close_store(struct redis_store *store)
{
    struct redis_status status;
    redis_store_status(store, &status);
    store->past = status.counters;
    redis_destroy(store->redis);
    store->redis = NULL;
    tls_context_unref(store->tls);
    store->tls = NULL;
    if (store->credential)
        credential_unwatch(&store->watch);
    store->credential = NULL;
    free((char *)(uintptr_t)store->username.ptr);
    store->username = (struct span){0};
}

/* ---- life ---- */

static struct redis_store *add_store(struct redis_stores *stores, struct span name)
{
    struct redis_store *store = memory_zalloc(sizeof(*store));
    store->stores = stores;
    store->name = span_of(memory_string(name), name.len);
    list_append(&stores->list, &store->link);
    return store;
}

static void adopt(struct redis_stores *stores, struct snapshot *snapshot, const struct config_store *config)
{
    uint8_t print[32];
    struct redis_store *store = redis_store_get(stores, config->name);
    if (!store)
        store = add_store(stores, config->name);
    store->named = true;
    fingerprint(config->redis, snapshot, print);
    if (store->redis && memcmp(print, store->fingerprint, sizeof(print)) == 0)
        return;
    close_store(store);
    memcpy(store->fingerprint, print, sizeof(print));
    store->username = span_of(memory_string(config->redis->username), config->redis->username.len);
    if (config->redis->credential.len)
        use_credential(store, snapshot, config->redis);
    open_store(store, config->redis);
}

void redis_stores_adopt(struct redis_stores *stores, struct snapshot *snapshot)
{
    const struct config *config = snapshot->config;
    LIST_EACH(&stores->list, link)
    CONTAINER_OF(link, struct redis_store, link)->named = false;
    for (size_t i = 0; i < config->store_count; i++)
        adopt(stores, snapshot, &config->stores[i]);
    LIST_EACH(&stores->list, link)
    {
        struct redis_store *store = CONTAINER_OF(link, struct redis_store, link);
        if (!store->named)
            close_store(store);
    }
}

void redis_stores_reload_certificates(struct redis_stores *stores)
{
    LIST_EACH(&stores->list, link)
    {
        struct redis_store *store = CONTAINER_OF(link, struct redis_store, link);
        struct net_error error;
        if (store->tls && tls_context_reload(store->tls, &error) == TLS_KEPT)
            log_write(LOG_ERROR, "redis", "store %.*s: certificate not reloaded: %s", SPAN_ARG(store->name),
                      error.text);
    }
}

void redis_stores_destroy(struct redis_stores *stores)
{
    if (!stores)
        return;
    while (!list_empty(&stores->list)) {
        struct redis_store *store = LIST_FIRST(&stores->list, struct redis_store, link);
        close_store(store);
        list_remove(&store->link);
        free((char *)(uintptr_t)store->name.ptr);
        free(store);
    }
    free(stores);
}
