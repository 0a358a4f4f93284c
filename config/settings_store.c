/* SPDX-License-Identifier: Apache-2.0 */
#include "config/settings.h"

#include "base/clock.h"
#include "base/uri.h"
#include "config/config.h"

static const char *const modes[] = {"standalone", "sentinel", "cluster", NULL};

/* tls */

#define AT(member) SETTING_AT(struct config_redis_tls, member)
static const struct setting tls_table[] = {
    {.name = "ca",
     .type = SETTING_PATH,
     .flags = SETTING_MUST_EXIST,
     AT(ca),
     .fallback_note = "the system's authorities",
     .help = "The authorities that may have signed the servers' certificates, PEM, instead of the system's.",
     .example = "/etc/postern/redis-ca.crt"},
    {.name = "server_name",
     .type = SETTING_STRING,
     AT(server_name),
     .max = 253,
     .fallback_note = "the host of the URL",
     .help = "The name that is sent (SNI) and must stand in the certificate of every server of the store, those that "
             "a cluster names by address alone included. Verification cannot be turned off."},
    {.name = "certificate",
     .type = SETTING_PATH,
     .flags = SETTING_MUST_EXIST,
     AT(certificate),
     .help = "A client certificate for servers that ask for one, PEM, leaf first."},
    {.name = "key",
     .type = SETTING_PATH,
     .flags = SETTING_MUST_EXIST,
     AT(key),
     .fallback_note = "in the certificate's file",
     .help = "The key to it, PEM."},
};
#undef AT

static void check_tls(void *settings, struct report *report)
{
    const struct config_redis_tls *tls = settings;
    if (tls->key.len && !tls->certificate.len)
        report_error(report, settings_place(&tls->settings, "key"), "\"key\" belongs to a \"certificate\": name both");
}

static const struct settings_spec tls_spec =
    SETTINGS_SPEC("tls", struct config_redis_tls, tls_table, "TLS towards Redis.", .check = check_tls);

/* sentinel */

#define AT(member) SETTING_AT(struct config_redis_sentinel, member)
static const struct setting sentinel_table[] = {
    {.name = "master",
     .type = SETTING_STRING,
     .flags = SETTING_REQUIRED,
     AT(master),
     .max = 255,
     .help = "The name under which the sentinels watch the master.",
     .example = "mymaster"},
    {.name = "username",
     .type = SETTING_STRING,
     AT(username),
     .max = 255,
     .help = "The user on the sentinels themselves, if they have any."},
    {.name = "password",
     .type = SETTING_SECRET,
     AT(password),
     .help = "The password of the sentinels themselves, if they have one.",
     .example = "{file: /var/run/secrets/redis/sentinel}"},
};
#undef AT
static const struct settings_spec sentinel_spec = SETTINGS_SPEC(
    "sentinel", struct config_redis_sentinel, sentinel_table, "A master that sentinels watch.", .shorthand = "master");

/* redis */

#define AT(member) SETTING_AT(struct config_redis, member)
static const struct setting redis_table[] = {
    {.name = "url",
     .type = SETTING_STRING,
     .flags = SETTING_REQUIRED,
     AT(url),
     .max = 300,
     .help = "rediss://host:port with TLS, redis://host:port without; /1 behind it is the number of the database. "
             "Without a port 6379 is taken. With sentinels this is one of them, in a cluster any of its nodes. Azure "
             "Managed Redis listens on port 10000, Azure Cache for Redis on 6380.",
     .example = "rediss://contoso.westeurope.redis.azure.net:10000"},
    {.name = "mode",
     .type = SETTING_ENUM,
     AT(mode),
     .fallback = "standalone",
     .choices = modes,
     .help = "standalone: one address serves everything, as do the Enterprise and non-clustered policies of Azure "
             "Managed Redis. cluster: the protocol of Redis Cluster, as in its OSS policy. sentinel: the master is "
             "found by asking sentinels."},
    {.name = "addresses",
     .type = SETTING_LIST,
     .flags = SETTING_UNIQUE,
     AT(addresses),
     .max = 15,
     .help = "More nodes of the cluster, or more sentinels, as host:port, in case that of the URL does not answer.",
     .example = "[\"sentinel-1.cache:26379\", \"sentinel-2.cache:26379\"]"},
    {.name = "sentinel",
     .type = SETTING_OPTIONAL,
     AT(sentinel),
     .sub = &sentinel_spec,
     .help = "What to ask the sentinels. Needed with mode: sentinel.",
     .example = "{master: mymaster}"},
    {.name = "username",
     .type = SETTING_STRING,
     AT(username),
     .max = 255,
     .fallback_note = "the default user; with a credential the object id in its token",
     .help =
         "The user (ACL), for the keys `postern:*`. It needs the commands ping, evalsha and script|load, in a cluster "
         "cluster|slots, and those of what it is used for: limits time, get, set, del, exists, pexpire, zadd, zcard, "
         "zcount, zrem and zremrangebyscore; a cache get, getrange, set, unlink, del, hset, hget, hlen, hdel, "
         "hgetall, pexpire and pttl."},
    {.name = "password",
     .type = SETTING_SECRET,
     AT(password),
     .help = "The password. Not with a credential.",
     .example = "{file: /var/run/secrets/redis/password}"},
    {.name = "credential",
     .type = SETTING_STRING,
     AT(credential),
     .refers = "credentials",
     .help = "An Entra identity that logs in with its token, by its name in credentials. Connections log in again "
             "with every new token.",
     .example = "entra"},
    {.name = "tls", .type = SETTING_OBJECT, AT(tls), .sub = &tls_spec, .help = "Only with rediss://."},
    {.name = "deadline",
     .type = SETTING_DURATION,
     AT(deadline),
     .fallback = "20ms",
     .min = CLOCK_MS,
     .max = 5 * CLOCK_SECOND,
     .help = "How long a request waits for an answer of the store at most. Beyond it the request goes on without. "
             "A store in the same region answers within two milliseconds."},
    {.name = "connect",
     .type = SETTING_DURATION,
     AT(connect),
     .fallback = "1s",
     .min = 10 * CLOCK_MS,
     .max = 30 * CLOCK_SECOND,
     .help = "How long a new connection may take, with TLS and login. No request waits for that longer than its "
             "deadline."},
    {.name = "breaker",
     .type = SETTING_INTEGER,
     AT(breaker),
     .fallback = "5",
     .min = 1,
     .max = 1000,
     .unit = "commands",
     .help = "So many commands in a row without an answer and the server is left alone, until a new connection to it "
             "has been greeted; until then no request waits for it."},
    {.name = "queue",
     .type = SETTING_INTEGER,
     AT(queue),
     .fallback = "4096",
     .min = 16,
     .max = 1000000,
     .unit = "commands",
     .help = "Commands that may wait or be unanswered at once, per worker and server. It bounds memory: more are "
             "treated as if the store were lost."},
};
#undef AT

bool config_redis_address(struct span text, struct span *ret_host, uint16_t *ret_port)
{
    struct uri_authority authority;
    const char *reason;
    if (!uri_parse_authority(text, false, &authority, &reason) || authority.host.len == 0)
        return false;
    *ret_host = authority.host;
    *ret_port = authority.port_given ? authority.port : 6379;
    return true;
}

/* scheme://host[:port][/database] */
static const char *url_trouble(struct config_redis *redis)
{
    struct span rest = redis->url;
    redis->secure = span_starts_with(rest, SPAN("rediss://"));
    if (!redis->secure && !span_starts_with(rest, SPAN("redis://")))
        return "must begin with redis:// or rediss://";
    rest = span_skip(rest, redis->secure ? 9 : 8);
    if (span_find(rest, '@') < rest.len)
        return "holds no user: \"username\", \"password\" and \"credential\" are settings of their own";
    size_t slash = span_find(rest, '/');
    struct span database = span_skip(rest, slash + 1);
    uint64_t number = 0;
    if (database.len && (!span_to_u64(database, &number) || number > 65535))
        return "must have nothing behind the host but /NUMBER, the database";
    redis->database = (unsigned)number;
    if (!config_redis_address(span_take(rest, slash), &redis->host, &redis->port))
        return "must name a host, and a port from 1 to 65535 if any, such as redis://cache:6379";
    return NULL;
}

static void check_login(const struct config_redis *redis, struct report *report)
{
    bool password = redis->password.file.len || redis->password.env.len;
    if (password && redis->credential.len)
        report_error(report, settings_place(&redis->settings, "credential"),
                     "\"credential\" and \"password\" cannot both log in; remove one");
    if (redis->credential.len && !redis->secure)
        report_error(
            report, settings_place(&redis->settings, "url"),
            "a token must not go over the wire in the clear: with \"credential\" the URL begins with rediss://");
    if (redis->username.len && !password && !redis->credential.len)
        report_error(report, settings_place(&redis->settings, "username"),
                     "\"username\" needs a \"password\" or a \"credential\"");
}

static void check_redis(void *settings, struct report *report)
{
    struct config_redis *redis = settings;
    const char *trouble = url_trouble(redis);
    if (trouble) {
        report_error(report, settings_place(&redis->settings, "url"), "\"url\" %s", trouble);
        return;
    }
    struct span host;
    uint16_t port;
    for (size_t i = 0; i < redis->addresses.count; i++)
        if (!config_redis_address(redis->addresses.items[i], &host, &port))
            report_error(report, settings_place_at(&redis->settings, "addresses", i), "\"%.*s\" is not host:port",
                         SPAN_ARG(redis->addresses.items[i]));
    if (redis->addresses.count && redis->mode == CONFIG_REDIS_STANDALONE)
        report_error(report, settings_place(&redis->settings, "addresses"),
                     "\"addresses\" is for mode cluster or sentinel");
    if (redis->database && redis->mode == CONFIG_REDIS_CLUSTER)
        report_error(report, settings_place(&redis->settings, "url"), "a cluster has no database but 0");
    if ((redis->mode == CONFIG_REDIS_SENTINEL) != (redis->sentinel != NULL))
        report_error(report, settings_place(&redis->settings, redis->sentinel ? "sentinel" : "mode"),
                     "\"sentinel\" and \"mode: sentinel\" go together");
    if (settings_given(&redis->settings, "tls") && !redis->secure)
        report_error(report, settings_place(&redis->settings, "tls"), "\"tls\" needs a URL that begins with rediss://");
    check_login(redis, report);
}

static const struct settings_spec redis_spec =
    SETTINGS_SPEC("redis", struct config_redis, redis_table, "A Redis or Valkey server, or several that act as one.",
                  .shorthand = "url", .check = check_redis);

/* stores */

#define AT(member) SETTING_AT(struct config_store, member)
static const struct setting store_table[] = {
    {.name = "name",
     .type = SETTING_STRING,
     .flags = SETTING_REQUIRED,
     AT(name),
     .max = 63,
     .help = "What filters, logs and metrics call this store.",
     .example = "shared"},
    {.name = "redis",
     .type = SETTING_OPTIONAL,
     .flags = SETTING_ONE_OF,
     AT(redis),
     .sub = &redis_spec,
     .help = "Kept in Redis.",
     .example = "{url: \"rediss://contoso.westeurope.redis.azure.net:10000\", mode: cluster, credential: entra}"},
};
#undef AT
const struct settings_spec config_store_spec =
    SETTINGS_SPEC("store", struct config_store, store_table, "A place for what several processes share.");
