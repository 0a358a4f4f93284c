/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache: what the files of this filter share.
 *
 *   cache_settings.c  the tables
 *   cache_rule.c      which requests the rules turn it on for, and what they wish (Cache-Control)
 *   cache_key.c       what an answer is found by
 *   cache.c           a client's exchange: look, answer from what is kept, or follow the flight that fetches it
 *   cache_answer.c    an entry as a client's answer, in the form it asked for
 *   cache_call.c      the flown exchange: the shared store first, then the target; keeping what comes
 *   cache_batch.c     embeddings, each input an entry of its own
 *   cache_purge.c     the control socket's page
 *   cache_level.c     memory, store and keys of one worker
 *
 * Nothing that goes wrong here fails a request: it is a miss, and counted.
 */
#ifndef POSTERN_FILTERS_CACHE_H
#define POSTERN_FILTERS_CACHE_H

#include "base/crypto.h"
#include "config/schema.h"
#include "gateway/cache_entry.h"
#include "gateway/cache_keys.h"
#include "gateway/cache_memory.h"
#include "gateway/cache_redis.h"
#include "gateway/exchange.h"
#include "gateway/filter.h"
#include "gateway/flight.h"
#include "gateway/metrics_series.h"
#include "gateway/worker.h"
#include "openai/embeddings_batch.h"

/* ---- settings ---- */

struct cache_rule {
    struct settings settings;
    struct setting_list models, operations, listeners;
    double max_temperature;
    uint64_t ttl;    /* SETTING_ABSENT_DURATION: the filter's */
    size_t max_size; /* SETTING_ABSENT_SIZE: the filter's */
};

struct cache_seal_keys {
    struct settings settings;
    struct span file;
};

enum cache_seal_mode { CACHE_SEAL_ON, CACHE_SEAL_OFF };

struct cache_seal {
    struct settings settings;
    enum cache_seal_mode mode;
    const struct cache_seal_keys *keys;
};

enum cache_tenant { CACHE_TENANT_CONSUMER, CACHE_TENANT_SHARED };
enum cache_charge { CACHE_HITS_FREE, CACHE_HITS_COUNTED };

struct cache_settings {
    struct settings settings;
    struct span store; /* empty: memory alone */
    size_t memory, max_size;
    uint64_t ttl;
    unsigned ttl_jitter; /* per cent */
    enum cache_tenant scope;
    const struct cache_seal *seal; /* NULL: not given */
    const struct cache_rule *rules;
    size_t rule_count;
    uint64_t stale_while_revalidate, stale_if_error; /* µs */
    uint64_t ignore;                                 /* CACHE_IGNORE_* */
    struct setting_list vary;
    enum cache_charge hits;
    enum flight_slow slow_follower;
    uint64_t lookup_timeout;
    uint64_t lease; /* 0: none */
    uint64_t pace;  /* µs between the events of a replay; 0: at once */
};

/* Members of a request that do not count, as bits of cache_settings.ignore. */
enum {
    CACHE_IGNORE_USER = 1,
    CACHE_IGNORE_METADATA = 2,
    CACHE_IGNORE_SAFETY_IDENTIFIER = 4,
    CACHE_IGNORE_CACHE_KEY = 8
};

extern const struct settings_spec cache_spec;
/* The longest that anything may be kept by these settings, µs. */
uint64_t cache_life_most(const struct cache_settings *settings);
/* The largest body, one embedding included. */
size_t cache_size_most(const struct cache_settings *settings);

/* ---- cache_level.c: instance ---- */

/* A route's targets as they count in keys. */
struct cache_pool {
    const struct model_route *route;
    uint64_t generation; /* of its snapshot */
    bool version_counts; /* a target takes the client's api-version */
    uint8_t digest[CRYPTO_SHA256_BYTES];
};
#define CACHE_POOLS 16

struct cache_instance {
    struct worker *worker;
    struct span name;
    struct flights *flights;
    struct flight_desk *desk;
    struct cache_memory *memory;
    struct redis_store *store; /* NULL: memory alone */
    struct cache_redis *redis;
    uint64_t lookup_timeout;
    struct cache_key_file *keys; /* NULL: nothing is sealed */
    uint64_t keys_generation;    /* from which `mac` was made */
    struct crypto_mac *mac;
    struct cache_codec *codec;
    struct cache_pool pools[CACHE_POOLS];
};

void *cache_attach(struct worker *worker, const void *given, struct span name, void *previous);
void cache_detach(struct worker *worker, void *detached);
void cache_collect(struct worker *worker, void *collected, struct span name);
bool cache_prepare(const void *given, bool offline, struct report *report);
/* The naming digest under the keys in force. */
struct crypto_mac *cache_mac(struct cache_instance *instance);
/* Whether the shared store is worth asking now. */
bool cache_store_is_up(const struct cache_instance *instance);
/* A reference to the entry in memory that no purge covers and that may be replayed, or NULL. */
MUST_CHECK struct cache_entry *cache_recall(const struct filter *filter, const uint8_t *key);
/* What the store gave, opened; kept in memory, too. NULL: a miss. */
MUST_CHECK struct cache_entry *cache_open(const struct filter *filter, const uint8_t *key, struct span wire);
/* Keeps it in memory and, while the store is up, there, for `life` µs. */
void cache_keep(const struct filter *filter, const uint8_t *key, struct cache_entry *entry, uint64_t life);

/* ---- cache_rule.c ---- */

/* What a request's Cache-Control says (RFC 9111 5.2.1, RFC 5861 4). UINT64_MAX: no bound was given. */
struct cache_wishes {
    bool no_cache, no_store, only_if_cached;
    uint64_t max_age, min_fresh; /* µs */
    bool has_stale_if_error;
    uint64_t stale_if_error; /* µs */
    uint64_t ttl;            /* µs: not the client's, but what its rule allows */
};
void cache_wishes_read(const struct fields *fields, struct cache_wishes *ret);
/* Whether it asks for more than any good entry gives: then its call is not shared with those who do not. */
bool cache_wishes_special(const struct cache_wishes *wishes);

/* Why a request goes past the cache. */
#define CACHE_BYPASS_LIST(X)                                                                                           \
    X(NONE, "")                                                                                                        \
    X(RULE, "rule")               /* no rule is for such requests */                                                   \
    X(TEMPERATURE, "temperature") /* above what the rules for it allow */                                              \
    X(NO_STORE, "no_store")       /* the client forbids it */                                                          \
    X(STATEFUL, "stateful")       /* the answer is kept by the target, or continues what is */                         \
    X(TOOLS, "hosted_tools")      /* a tool or data of the target's: the answer depends on more than the request */    \
    X(CONSUMER, "no_consumer")    /* nobody knows whose it is */                                                       \
    X(CREDENTIAL, "credential")   /* the target is to see the client's own credential */                               \
    X(QUERY, "query")             /* parameters whose meaning is not known */                                          \
    X(BODY, "body")               /* names twice in one object, and the like: it has no sure meaning */                \
    X(INPUT, "input")             /* of embeddings: of no known form */

enum cache_bypass {
#define X(name, word) CACHE_BYPASS_##name,
    CACHE_BYPASS_LIST(X)
#undef X
        CACHE_BYPASSES
};
struct span cache_bypass_word(enum cache_bypass why);

/* CACHE_BYPASS_NONE with the rule that turns the cache on for this request. */
MUST_CHECK enum cache_bypass cache_rule_for(const struct filter *filter, const struct cache_rule **ret);
uint64_t cache_rule_ttl(const struct cache_settings *settings, const struct cache_rule *rule);
size_t cache_rule_size(const struct cache_settings *settings, const struct cache_rule *rule);

/* ---- cache_key.c ---- */

/* The key of a request; for embeddings of the whole batch. CACHE_BYPASS_NONE or BODY. */
MUST_CHECK enum cache_bypass cache_key(const struct filter *filter, uint8_t ret[CACHE_KEY_BYTES]);
/* The keys of a batch's inputs, one after another, in the arena; NULL: no sure meaning. */
MUST_CHECK const uint8_t *cache_keys_of(const struct filter *filter, const struct embeddings_batch *batch,
                                        struct arena *arena);

/* ---- cache.c: a client's exchange ---- */

/* How it went. */
#define CACHE_RESULT_LIST(X)                                                                                           \
    X(NONE, "")                                                                                                        \
    X(BYPASS, "bypass")                                                                                                \
    X(HIT, "hit")             /* from memory, or the shared store */                                                   \
    X(STALE, "stale")         /* from what is kept beyond its time, by stale_while_revalidate or stale_if_error */     \
    X(MISS, "miss")           /* its request went to the target */                                                     \
    X(COLLAPSED, "collapsed") /* it followed somebody else's */                                                        \
    X(PARTIAL, "partial")     /* embeddings: some inputs were kept */                                                  \
    X(ABSENT, "absent")       /* only-if-cached, and it was not */

enum cache_result {
#define X(name, word) CACHE_##name,
    CACHE_RESULT_LIST(X)
#undef X
        CACHE_RESULTS
};

/* In a client's exchange. */
struct cache_state {
    uint8_t key[CACHE_KEY_BYTES];
    bool has_key; /* embeddings have many */
    unsigned inputs;
    const struct cache_rule *rule;
    enum cache_bypass bypass;
    enum cache_result result;
    struct cache_wishes wishes;
    bool collapsed;       /* it follows another's call */
    bool caller_expected; /* in a simulation: nobody has been authenticated, but will be */
    const char *forward;  /* RFC 9211 2.2: why the request went on: "uri-miss", "stale", "request" */
};

/* Notes how it went: for the metrics, the log and Cache-Status. */
void cache_note(struct filter *filter, enum cache_result result);
/* µs since the entry's birth; by the wall clock. */
uint64_t cache_age(const struct cache_instance *instance, const struct cache_facts *facts);
/* µs from its birth for which it is fresh for this client: its rule may allow less than that of whom it was kept for.
 */
uint64_t cache_fresh_for(const struct cache_facts *facts, const struct cache_wishes *wishes);
/* Whether it may be served as it is. */
bool cache_is_fresh(const struct cache_instance *instance, const struct cache_facts *facts,
                    const struct cache_wishes *wishes);
/* Whether it may be served while it is renewed, or because renewing failed. */
bool cache_may_revalidate(const struct filter *filter, const struct cache_facts *facts,
                          const struct cache_wishes *wishes);
bool cache_may_console(const struct filter *filter, const struct cache_facts *facts, const struct cache_wishes *wishes);

/* ---- cache_answer.c ---- */

/* An answer's bytes: in the entry, or in `made`, which the caller gives back. */
struct cache_body {
    struct span type;
    struct span parts[2];
    struct buffer made;
};
/*
 * The entry as an answer in the form that the filter's exchange asked for. Adds Age and Cache-Status to `fields`, and
 * tells the exchange what the answer cost once. False: it cannot be put into that form; nothing has changed then.
 */
MUST_CHECK bool cache_answer(struct filter *filter, const struct cache_entry *entry, enum cache_result result,
                             struct fields *fields, struct cache_body *ret);
/* What an answer would have cost, once more. */
void cache_count_saved(const struct filter *filter, const struct usage *usage, uint64_t latency);
/* Cache-Status of what a target answered, or is about to. */
void cache_status_forwarded(const struct filter *filter, struct fields *fields);

/* ---- cache_call.c: the flown exchange ---- */

struct cache_visit;

/* What a flight is for. The owner's thread alone changes it; what followers read is settled before they are told. */
struct cache_errand {
    uint8_t key[CACHE_KEY_BYTES];
    uint64_t ttl, life;
    size_t max_size;
    struct cache_wishes wishes;
    bool skip;                 /* does not look: the client wants a new answer, or has looked */
    bool given;                /* an entry has taken the answer's place */
    bool revalidates;          /* ... and a new one is fetched behind it */
    enum cache_result result;  /* of those whom it was given */
    struct cache_entry *stale; /* to fall back on, or NULL */
    struct cache_batch *batch; /* embeddings, or NULL */
    struct cache_visit *visit; /* while it looks; in the flown exchange's arena */
    struct usage spent;        /* embeddings: what the target reported of the inputs that were missing */
};

/* The hook of the flown exchange. */
enum verdict cache_call_request(struct filter *filter);
extern const struct flight_ops cache_flight_ops;
/* From the owner's thread: the entry, whose reference passes to the flight, is the answer; NULL: INTERNAL is. */
void cache_call_give(struct flight *flight, struct cache_errand *call, struct cache_entry *entry,
                     enum cache_result result);
/* The flown exchange has nothing to do any more: from a completion, or in the hook that then returns the verdict. */
enum verdict cache_call_finish(struct filter *filter);
/* Begins a flight, or joins one: the verdict of the client's hook. `stale` (may be NULL) passes to it. */
enum verdict cache_call_board(struct filter *filter, const uint8_t *key, struct cache_entry *stale);
/* Begins one behind an answer that was given from what is kept. */
void cache_call_revalidate(struct filter *filter, const uint8_t *key);
/* Makes an entry's facts of what a target answered. */
struct cache_facts cache_call_facts(const struct cache_errand *call, const struct filter *filter);
/* ttl, shortened by chance. */
uint64_t cache_call_fresh(const struct cache_errand *call, const struct filter *filter);

/* ---- cache_batch.c ---- */

struct cache_batch;
/* Bytes that one embedding may have in an answer to a batch: 4,096 numbers of some 20 digits, with room. */
#define CACHE_EMBEDDING_MOST ((size_t)128 * 1024)
/*
 * From the hook of a client, whose body is a batch of embeddings: true with the verdict when all of it is in memory
 * (or, for only-if-cached, cannot be had).
 */
MUST_CHECK bool cache_batch_answer(struct filter *filter, enum verdict *ret);
enum verdict cache_batch_request(struct filter *filter, struct cache_errand *call);
/* The answer for what was missing has come: gives the flight the whole. */
void cache_batch_end(struct flight *flight, struct exchange *flown, struct cache_errand *call, bool complete);

/* ---- cache_purge.c ---- */

/* The control socket's page: POST /cache/purge?model=|consumer=|key=&filter= */
enum verdict cache_purge_page(struct filter *filter);

/* ---- metrics ---- */

void cache_count(const struct filter *filter, enum metrics_family_id family, struct span word);

#endif
