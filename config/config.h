/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config: the whole configuration as plain C, checked and complete. Immutable once loaded; everything it points to
 * lives until config_free. Durations are microseconds, sizes bytes. What each setting means, its default and its limits
 * stand in the tables (settings_*.c) and come out of `postern explain` and config/reference.md; here only what code
 * must know.
 */
#ifndef POSTERN_CONFIG_CONFIG_H
#define POSTERN_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/log.h"
#include "config/report.h"
#include "config/schema.h"
#include "config/trace.h"

/* listeners */

enum config_client_certificate { CLIENT_CERTIFICATE_OPTIONAL, CLIENT_CERTIFICATE_REQUIRED };
enum config_tls_version { TLS_VERSION_1_2, TLS_VERSION_1_3 };

struct config_listener_tls {
    struct settings settings;
    struct span certificate, key; /* PEM files */
    struct span client_ca;        /* PEM file; empty: client certificates are not asked for */
    enum config_client_certificate client_certificate;
    enum config_tls_version min_version;
};

struct config_listener {
    struct settings settings;
    struct span name; /* never empty: the address as written when not named */
    struct setting_address address;
    const struct config_listener_tls *tls; /* NULL: plain */
    struct setting_list filters;           /* names in config.filters, in order */
    bool anonymous;
    bool http2;
    bool proxy_protocol;                   /* every connection begins with a PROXY header */
    struct setting_networks trusted_peers; /* whose PROXY header and X-Forwarded-For are believed */
    struct span stateful_target;           /* empty: none */
    bool cancel_on_half_close;
    struct span mode_text;
    unsigned mode; /* unix sockets: permission bits */
};

struct config_admin {
    struct settings settings;
    struct setting_address address; /* empty text: no admin listener */
    struct setting_address control; /* always a unix socket; empty text: none */
};

/* targets */

enum config_azure_api { AZURE_API_V1, AZURE_API_DATED, AZURE_API_AS_CLIENT };
struct config_azure {
    struct settings settings;
    struct setting_url endpoint;
    struct span api; /* "v1", "as-client" or a dated version such as "2024-10-21" */
    enum config_azure_api api_kind;
};

struct config_openai {
    struct settings settings;
    struct setting_url url; /* its path is the prefix of all operations: "/v1" */
};

/* What goes wrong on purpose; numbers that are not given are SETTING_ABSENT_INTEGER. */
struct config_mock_fault {
    struct settings settings;
    unsigned status;      /* this error instead of an answer; 0: none */
    uint64_t retry_after; /* sent with it; 0: left out */
    unsigned every;       /* the error hits every n-th request; 1: all */
    unsigned percent;     /* of requests hit; 0: `every` decides */
    unsigned seed;
    unsigned error_after, cut_after, stall_after; /* events of a stream; absent: never */
};
struct config_mock {
    struct settings settings;
    bool azure;              /* speak Azure's flavour: content filter results, an empty first chunk */
    uint64_t latency;        /* until the head of the answer */
    uint64_t chunk_interval; /* between stream events */
    unsigned chunks;         /* pieces of text in a streamed answer; 0: words_per_chunk decides */
    unsigned words_per_chunk;
    unsigned tokens_per_second; /* pace by tokens; 0: no */
    struct setting_rate tokens; /* beyond it 429; not given: no limit */
    struct config_mock_fault fault;
};

enum config_token_proxy { TOKEN_PROXY_AUTO, TOKEN_PROXY_NONE };
enum config_assertion { ASSERTION_PS256, ASSERTION_RS256 };

/*
 * An application or managed identity of Entra ID that gets its tokens from the authority. Empty texts stand for what
 * the environment says (gateway/identity.h); which members can be given depends on the kind.
 */
struct config_entra {
    struct settings settings;
    struct span tenant, client_id;
    struct setting_url authority; /* empty text: the environment's, else Entra ID's public one */
    struct span scope;
    struct span ca;         /* PEM file; empty: the system's */
    struct span token_file; /* workload identity: the projected token */
    enum config_token_proxy token_proxy;
    struct setting_secret secret; /* client secret */
    struct span certificate, key; /* client certificate; empty key: in the certificate's file */
    enum config_assertion assertion;
};

struct config_managed_identity {
    struct settings settings;
    struct span client_id, object_id, resource_id; /* at most one; none: the only identity of the machine */
    struct setting_url endpoint;
    struct span scope;
};

struct config_token_file {
    struct settings settings;
    struct span file;
};

struct config_client_credential {
    struct settings settings;
};

/* What opens a target, or something else that asks for identity. In config.credentials `name` is set and exactly one of
 * the others. */
struct config_credential {
    struct settings settings;
    struct span name; /* empty when it was written at its target */
    struct setting_secret api_key;
    const struct config_entra *workload_identity, *client_secret, *client_certificate;
    const struct config_managed_identity *managed_identity;
    const struct config_token_file *service_account_token;
    const struct config_client_credential *client; /* the application's own is passed on */
};

struct config_target_tls {
    struct settings settings;
    struct span ca;          /* PEM file; empty: the system's */
    struct span server_name; /* empty: the host of the URL */
};

enum config_http_version { HTTP_VERSION_AUTO, HTTP_VERSION_1_1, HTTP_VERSION_2 };
enum config_store_lost { CONFIG_STORE_LOST_LEASE, CONFIG_STORE_LOST_OPEN, CONFIG_STORE_LOST_CLOSED };

/* Of a target or a deployment. */
struct config_target_limits {
    struct settings settings;
    struct setting_rate requests, tokens;
    unsigned concurrency; /* SETTING_ABSENT_INTEGER: no limit */
    struct span store;    /* of targets only: a name in config.stores, for its deployments as well; empty: memory */
    enum config_store_lost when_store_lost;
};

enum config_target_proxy { TARGET_PROXY_AUTO, TARGET_PROXY_NONE };

struct config_target_timeouts {
    struct settings settings;
    uint64_t connect;    /* name, TCP and TLS together */
    uint64_t first_byte; /* of the answer, from when the request was sent */
    uint64_t idle;       /* between bytes of the answer */
    uint64_t total;      /* of one attempt; 0: none */
    uint64_t pool_idle;  /* an unused connection is closed after; never absent here */
};

struct config_parameters {
    struct settings settings;
    struct setting_pairs rename; /* top-level body member -> new name */
    struct setting_pairs set;    /* top-level body member -> JSON text */
    struct setting_list drop;    /* top-level body members */
};

struct config_target_headers {
    struct settings settings;
    struct setting_pairs set; /* names in lower case */
    struct setting_list remove;
};

struct config_target {
    struct settings settings;
    struct span name;
    /* exactly one is not NULL */
    const struct config_azure *azure;
    const struct config_openai *openai;
    const struct config_mock *mock;
    const struct config_credential *credential; /* NULL: none is sent. A named one points into config.credentials */
    struct config_target_tls tls;
    enum config_http_version http_version;
    struct config_target_timeouts timeouts;
    unsigned max_connections;
    struct config_parameters parameters;
    struct config_target_headers headers;
    enum config_target_proxy proxy;
    const struct config_target_limits *limits; /* NULL: none */
};

/* The URL of an azure or openai target, NULL for a mock. */
const struct setting_url *config_target_url(const struct config_target *target);

/* models and passthrough */

struct config_model_target {
    struct settings settings;
    struct span target; /* a name in config.targets */
    size_t target_index;
    struct span deployment;                    /* the name the target knows; empty: the name asked for */
    unsigned priority;                         /* 1 is tried first */
    unsigned weight;                           /* among equal priorities; 0: never first choice of them */
    const struct config_target_limits *limits; /* NULL: none but its target's */
};

struct config_model {
    struct settings settings;
    struct span name; /* exact, or a prefix with one trailing '*'; "*": every name */
    const struct config_model_target *targets;
    size_t target_count;
    struct setting_list filters; /* run after the listener's */
    struct span stateful_target; /* empty: none */
};

struct config_passthrough {
    struct settings settings;
    struct span path; /* a prefix of whole segments: "/tokenize" covers "/tokenize" and "/tokenize/x" */
    struct span target;
    size_t target_index;
    struct setting_list filters;
};

/* stores */

enum config_redis_mode { CONFIG_REDIS_STANDALONE, CONFIG_REDIS_SENTINEL, CONFIG_REDIS_CLUSTER };

struct config_redis_tls {
    struct settings settings;
    struct span ca;               /* PEM file; empty: the system's */
    struct span server_name;      /* empty: the host of the URL */
    struct span certificate, key; /* of the client; empty: none, in the certificate's file */
};

struct config_redis_sentinel {
    struct settings settings;
    struct span master, username;
    struct setting_secret password;
};

struct config_redis {
    struct settings settings;
    struct span url;
    enum config_redis_mode mode;
    struct setting_list addresses;                /* for config_redis_address: more nodes or sentinels */
    const struct config_redis_sentinel *sentinel; /* not NULL just with its mode */
    struct span username;
    struct setting_secret password;
    struct span credential; /* a name in config.credentials; empty: none */
    struct config_redis_tls tls;
    uint64_t deadline, connect;
    unsigned breaker, queue;
    /* of the URL */
    struct span host;
    uint16_t port;
    bool secure;
    unsigned database;
};

/* "host:port", "[::1]:6379", or a host alone with Redis's own port. */
MUST_CHECK bool config_redis_address(struct span text, struct span *ret_host, uint16_t *ret_port);

struct config_store {
    struct settings settings;
    struct span name;
    const struct config_redis *redis; /* never NULL: the only kind there is */
};

/* process-wide */

/* Of one HTTP/2 connection; more ends the connection. Each rate refills a burst that is fixed (http/h2_limits.h). */
struct config_http2 {
    struct settings settings;
    unsigned streams;     /* that a client may have open at once */
    size_t stream_window; /* bytes a peer may send ahead per stream */
    size_t connection_window;
    unsigned continuations;   /* CONTINUATION frames of one head */
    unsigned outbound_frames; /* control frames that wait because the peer does not read */
    struct setting_rate resets, stream_errors, pings, settings_frames, empty_data, window_updates, priorities,
        unknown_frames, closed_stream_frames;
};

struct config_limits {
    struct settings settings;
    size_t header_bytes;
    unsigned header_count;
    size_t target_bytes; /* the request target: path and query */
    size_t body;
    size_t held;     /* process-wide: bytes of collected bodies and held events */
    size_t buffered; /* per direction of one exchange: the high mark; the low mark is half */
    unsigned connections;
    struct config_http2 http2;
};

struct config_timeouts {
    struct settings settings;
    uint64_t header, body, idle, write, tls_handshake;
    uint64_t keepalive; /* TCP keepalive and HTTP/2 PING, both sides */
};

struct config_attempts {
    struct settings settings;
    unsigned max;          /* of one exchange, the first included */
    uint64_t rest;         /* a target that refuses to connect is left alone for */
    uint64_t max_cooldown; /* upper bound for what a retry-after can ask */
};

struct config_drain {
    struct settings settings;
    uint64_t delay, grace;
};

enum config_access_log { ACCESS_LOG_OFF, ACCESS_LOG_STDOUT, ACCESS_LOG_FILE };
struct config_log {
    struct settings settings;
    enum log_level level;
    enum log_format format;
    struct span access; /* "off", "-" (standard output) or a path */
    enum config_access_log access_kind;
};

enum config_egress_kind { EGRESS_ENVIRONMENT, EGRESS_NONE, EGRESS_URL };
struct config_egress {
    struct settings settings;
    enum config_egress_kind kind;
    struct setting_url proxy;     /* of EGRESS_URL */
    struct setting_list no_proxy; /* beside NO_PROXY and loopback */
};

struct config_dns {
    struct settings settings;
    uint64_t min_ttl, max_ttl, timeout;
};

struct config {
    struct settings settings;
    struct arena arena;       /* owns everything below */
    struct span path;         /* as given to config_load */
    const struct span *files; /* every path that loading looked at, each followed by a NUL */
    size_t file_count;
    uint8_t digest[CRYPTO_SHA256_BYTES]; /* of the texts and secrets that were read: equal means nothing is new */
    struct span api_version;
    unsigned minor; /* of api_version */
    const struct config_listener *listeners;
    size_t listener_count;
    struct config_admin admin;
    const struct settings_variant *filters;
    size_t filter_count;
    const struct config_credential *credentials;
    size_t credential_count;
    const struct config_target *targets;
    size_t target_count;
    const struct config_model *models;
    size_t model_count;
    const struct config_passthrough *passthrough;
    size_t passthrough_count;
    const struct config_store *stores;
    size_t store_count;
    struct config_limits limits;
    struct config_timeouts timeouts;
    struct config_attempts attempts;
    struct config_drain drain;
    struct config_log log;
    struct config_egress egress;
    struct config_dns dns;
    unsigned workers; /* never 0 here: 0 in the text means one per core */
};

enum config_flags {
    CONFIG_OFFLINE = 1, /* touch no secret, certificate or environment: for checks on another machine */
    CONFIG_CHECK = 2    /* keys that only a newer minor version knows are errors, not warnings */
};

/*
 * Reads a file, or all *.yaml and *.yml in a directory, and checks everything. On success *ret is a configuration to
 * free with config_free, and the report may hold warnings. On failure false, *ret is not written, and the report has at
 * least one error. The report is sorted either way. Errors name files below `path` by their path.
 */
MUST_CHECK bool config_load(const char *path, const struct settings_registry *filters, unsigned flags,
                            struct report *report, struct config **ret);
/* The same; `trace` gets what was read, in either case. */
MUST_CHECK bool config_load_traced(const char *path, const struct settings_registry *filters, unsigned flags,
                                   struct trace *trace, struct report *report, struct config **ret);
/* The same from a text in memory (`name` stands for the file in messages): demo and tests. Relative paths are relative
 * to ".". */
MUST_CHECK bool config_load_text(struct span name, struct span text, const struct settings_registry *filters,
                                 unsigned flags, struct report *report, struct config **ret);
/* One file of a directory, in memory. */
struct config_text {
    struct span name, text;
};
/* The same from the files of a directory: those whose names a directory's reader takes, in the order of their names,
 * merged. */
MUST_CHECK bool config_load_texts(const struct config_text *texts, size_t count,
                                  const struct settings_registry *filters, unsigned flags, struct report *report,
                                  struct config **ret);
/* NULL is allowed. Wipes secrets. */
void config_free(struct config *config);

/* The filter instance, target, credential, store of that name; NULL when there is none. */
const struct settings_variant *config_filter(const struct config *config, struct span name);
const struct config_target *config_target(const struct config *config, struct span name);
const struct config_credential *config_credential(const struct config *config, struct span name);
const struct config_store *config_store(const struct config *config, struct span name);

/*
 * What cannot be changed by a reload and differs between the two: a warning for each, with its place in `next`. Returns
 * how many.
 */
size_t config_compare(const struct config *now, const struct config *next, struct report *report);

/* The settings of the root, for explain and reference. */
extern const struct settings_spec config_spec;

#endif
