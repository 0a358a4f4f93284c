/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/metrics_series.h"

#include <stdlib.h>

#include "base/buffer.h"
#include "base/memory.h"

/* Bounds as the OpenTelemetry GenAI conventions recommend them; durations in µs. */
static const uint64_t token_bounds[] = {1,     4,     16,     64,      256,     1024,     4096,
                                        16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864};
static const uint64_t duration_bounds[] = {10000,   20000,   40000,   80000,    160000,   320000,   640000,
                                           1280000, 2560000, 5120000, 10240000, 20480000, 40960000, 81920000};
static const uint64_t overhead_bounds[] = {10,   20,    50,    100,   200,    500,    1000,   2000,
                                           5000, 10000, 20000, 50000, 100000, 200000, 500000, 1000000};

/* Millionths. */
static const uint64_t ratio_bounds[] = {500000,  750000,  850000,  900000,  950000,  1000000,
                                        1050000, 1100000, 1150000, 1250000, 1500000, 2000000};

#define BOUNDS(array)  .kind = METRICS_HISTOGRAM, .bounds = (array), .bound_count = ARRAY_LEN(array)
#define LABELS(n, ...) .labels = {__VA_ARGS__}, .label_count = (n)
#define NO_LABELS      .label_count = 0
#define GEN_AI         "gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"

const struct metrics_family metrics_families[METRIC_FAMILY_COUNT] = {
    [METRIC_REQUESTS] = {"postern_requests_total", "Exchanges that ended, by what the client got.", METRICS_COUNTER,
                         LABELS(5, "listener", "operation", "model", "status", "outcome")},
    [METRIC_FAULTS] = {"postern_faults_total", "Exchanges that ended badly, by reason and by whose doing it was.",
                       METRICS_COUNTER, LABELS(2, "fault", "blame")},
    [METRIC_AUTHENTICATION] = {"postern_authentication_failures_total",
                               "Callers turned away, by the method that came nearest and its reason.", METRICS_COUNTER,
                               LABELS(2, "method", "reason")},
    [METRIC_ATTEMPTS] = {"postern_attempts_total",
                         "Tries at targets. Result: ok, the error status the target answered, or the fault.",
                         METRICS_COUNTER, LABELS(3, "target", "deployment", "result")},
    [METRIC_DURATION] = {"gen_ai_client_operation_duration_seconds",
                         "From the complete request to the end of the target's answer, all tries together.",
                         BOUNDS(duration_bounds), LABELS(4, GEN_AI, "error_type"), .micros = true},
    [METRIC_FIRST_CHUNK] = {"gen_ai_client_operation_time_to_first_chunk_seconds",
                            "Streams: from the complete request to the first event with content.",
                            BOUNDS(duration_bounds), LABELS(3, GEN_AI), .micros = true},
    [METRIC_PER_CHUNK] = {"gen_ai_client_operation_time_per_output_chunk_seconds",
                          "Streams: time between events with content; each of an answer counts with their mean.",
                          BOUNDS(duration_bounds), LABELS(3, GEN_AI), .micros = true},
    [METRIC_TOKEN_USAGE] = {"gen_ai_client_token_usage", "Tokens per answer, as the target reported them.",
                            BOUNDS(token_bounds), LABELS(4, GEN_AI, "gen_ai_token_type")},
    [METRIC_TOKENS] = {"postern_tokens_total",
                       "Tokens that targets reported. cached is part of input, reasoning of output.", METRICS_COUNTER,
                       LABELS(3, "model", "target", "type")},
    [METRIC_USAGE_UNKNOWN] = {"postern_usage_unknown_total",
                              "Answers that should have reported token usage and did not, or could not be read.",
                              METRICS_COUNTER, LABELS(2, "model", "target")},
    [METRIC_OVERHEAD] = {"postern_overhead_seconds",
                         "Time that Postern itself adds to an exchange answered by its first try.",
                         BOUNDS(overhead_bounds), .micros = true},
    [METRIC_POOL_CONNECTIONS] = {"postern_pool_connections", "Connections to a target.", METRICS_GAUGE,
                                 LABELS(2, "target", "state")},
    [METRIC_POOL_WAITING] = {"postern_pool_waiting", "Exchanges that wait for a connection to a target.", METRICS_GAUGE,
                             LABELS(1, "target")},
    [METRIC_POOL_OPENED] = {"postern_pool_opened_total", "Connections made to a target.", METRICS_COUNTER,
                            LABELS(1, "target")},
    [METRIC_POOL_REUSED] = {"postern_pool_reused_total", "Requests sent on a connection that had served before.",
                            METRICS_COUNTER, LABELS(1, "target")},
    [METRIC_POOL_FAILED] = {"postern_pool_failed_total", "Connections to a target that could not be made.",
                            METRICS_COUNTER, LABELS(1, "target")},
    [METRIC_POOL_STALE] = {"postern_pool_stale_total",
                           "Requests sent again because a kept connection turned out to be closed.", METRICS_COUNTER,
                           LABELS(1, "target")},
    [METRIC_CREDENTIAL_WORKERS] = {"postern_credential_workers",
                                   "Workers for which a credential is starting, good, ailing (renewing fails, the old "
                                   "token still serves) or failing.",
                                   METRICS_GAUGE, LABELS(2, "credential", "state")},
    [METRIC_CREDENTIAL_OBTAINED] = {"postern_credential_obtained_total", "Tokens obtained, and changed files read.",
                                    METRICS_COUNTER, LABELS(1, "credential")},
    [METRIC_CREDENTIAL_FAILED] = {"postern_credential_failed_total", "Tokens asked for in vain, and files not usable.",
                                  METRICS_COUNTER, LABELS(1, "credential")},
    [METRIC_STORE_WORKERS] =
        {"postern_store_workers",
         "Workers for which all servers of a store (up), some of them (partial) or none (down) are "
         "connected.",
         METRICS_GAUGE, LABELS(2, "store", "state")},
    [METRIC_STORE_COMMANDS] = {"postern_store_commands_total", "Commands that a store was asked to carry out.",
                               METRICS_COUNTER, LABELS(1, "store")},
    [METRIC_STORE_ERRORS] = {"postern_store_errors_total", "Commands that were not carried out, or nobody knows.",
                             METRICS_COUNTER, LABELS(2, "store", "error")},
    [METRIC_STORE_WAITING] = {"postern_store_waiting", "Commands that wait for a store or for its answer.",
                              METRICS_GAUGE, LABELS(1, "store")},
    [METRIC_STORE_CONNECTIONS] = {"postern_store_connections_total",
                                  "Connections to servers of a store that were made, failed, or were lost later.",
                                  METRICS_COUNTER, LABELS(2, "store", "result")},
    [METRIC_STORE_BREAKER] = {"postern_store_breaker_opened_total",
                              "Times a server of a store was left alone because it no longer answered.",
                              METRICS_COUNTER, LABELS(1, "store")},
    [METRIC_CLIENT_CONNECTIONS] = {"postern_client_connections", "Open connections of clients, admin ones included.",
                                   METRICS_GAUGE, NO_LABELS},
    [METRIC_HTTP2_LIMIT] = {"postern_http2_limit_total",
                            "HTTP/2 connections of clients that were ended because they passed a limit.",
                            METRICS_COUNTER, LABELS(1, "limit")},
    [METRIC_EXCHANGES] = {"postern_exchanges", "Exchanges of clients under way.", METRICS_GAUGE, NO_LABELS},
    [METRIC_FLIGHTS] = {"postern_flights", "Calls under way that a cache makes for identical requests together.",
                        METRICS_GAUGE, NO_LABELS},
    [METRIC_LOG_LOST] = {"postern_access_log_lost_total", "Access log lines that their destination did not take.",
                         METRICS_COUNTER, NO_LABELS},
    [METRIC_LIMIT] = {"postern_limit_total",
                      "Requests that a limit refused, held (waited), would have refused (shadow), that could not be "
                      "counted (lost), or were counted here while the store was lost (local).",
                      METRICS_COUNTER, LABELS(3, "filter", "limit", "result")},
    [METRIC_LIMIT_TOKENS] = {"postern_limit_tokens_total",
                             "Tokens charged to limits: as the target reported them, or as they were estimated.",
                             METRICS_COUNTER, LABELS(2, "filter", "basis")},
    [METRIC_LIMIT_OWED] = {"postern_limit_store_waiting",
                           "Settlements and charges that a limits' store has not taken yet.", METRICS_GAUGE,
                           LABELS(1, "filter")},
    [METRIC_LIMIT_DROPPED] = {"postern_limit_store_dropped_total",
                              "Settlements and charges that a limits' store never heard of: too many waited, or it "
                              "refused them.",
                              METRICS_COUNTER, LABELS(1, "filter")},
    [METRIC_LIMIT_INSTANCES] = {"postern_limit_instances",
                                "Processes that share a filter's limits through a store, as last heard; 0: never.",
                                METRICS_GAUGE, LABELS(1, "filter")},
    [METRIC_TARGET_LIMIT] = {"postern_target_limit_total",
                             "Times a target was passed over because a limit of it or of its deployment was reached "
                             "(refused) or could not be counted (lost).",
                             METRICS_COUNTER, LABELS(4, "target", "deployment", "limit", "result")},
    [METRIC_ESTIMATE_RATIO] = {"postern_estimate_ratio", "Estimated tokens of input over those that were reported.",
                               BOUNDS(ratio_bounds), LABELS(1, "model"), .micros = true},
    [METRIC_MOCK_TOKENS] = {"postern_mock_tokens_total",
                            "Tokens that mock models have read and made, by whether their answers got as far as to "
                            "report them.",
                            METRICS_COUNTER, LABELS(3, "target", "type", "usage")},
    [METRIC_INJECT_REVIEWS] = {"postern_inject_reviews_total",
                               "Admission reviews answered: patched, allowed, untouched, denied or malformed.",
                               METRICS_COUNTER, LABELS(2, "webhook", "result")},
    [METRIC_INJECT_WARNINGS] = {"postern_inject_warnings_total", "Warnings about pods that were injected.",
                                METRICS_COUNTER, LABELS(1, "warning")},
    [METRIC_CACHE] = {"postern_cache_requests_total",
                      "Requests that a cache's rules are for, by what became of them: hit, stale, miss, collapsed "
                      "(followed another's call), partial (embeddings), absent (only-if-cached), bypass.",
                      METRICS_COUNTER, LABELS(2, "filter", "result")},
    [METRIC_CACHE_BYPASS] = {"postern_cache_bypass_total", "Requests that went past a cache, by reason.",
                             METRICS_COUNTER, LABELS(2, "filter", "reason")},
    [METRIC_CACHE_STORED] = {"postern_cache_stores_total",
                             "Answers that were kept in memory or in the store (memory, store), or why they were not.",
                             METRICS_COUNTER, LABELS(2, "filter", "result")},
    [METRIC_CACHE_READ] = {"postern_cache_lookups_total",
                           "Look-ups in the shared store: good, absent, failed (slow or gone), or what was wrong with "
                           "an entry.",
                           METRICS_COUNTER, LABELS(2, "filter", "result")},
    [METRIC_CACHE_TOKENS] = {"postern_cache_saved_tokens_total", "Tokens of answers that cost nothing.",
                             METRICS_COUNTER, LABELS(3, "filter", "model", "type")},
    [METRIC_CACHE_TIME] = {"postern_cache_saved_seconds_total",
                           "Time that targets took for answers which were kept, each time one was given again.",
                           METRICS_COUNTER, LABELS(2, "filter", "model"), .micros = true},
    [METRIC_CACHE_COST] =
        {"postern_cache_saved_cost_millionths_total",
         "Cost of answers that cost nothing, in millionths of the unit of rate_limit's prices, where one "
         "is written for the model.",
         METRICS_COUNTER, LABELS(2, "filter", "model")},
    [METRIC_CACHE_BYTES] = {"postern_cache_memory_bytes", "Bytes of the answers kept in memory.", METRICS_GAUGE,
                            LABELS(1, "filter")},
    [METRIC_CACHE_ENTRIES] = {"postern_cache_memory_entries", "Answers kept in memory.", METRICS_GAUGE,
                              LABELS(1, "filter")},
    [METRIC_CACHE_EVICTED] = {"postern_cache_memory_evicted_total", "Answers put out of memory for others.",
                              METRICS_COUNTER, LABELS(1, "filter")},
    [METRIC_DROPPED] = {"postern_metrics_dropped_total", "Values not counted because there are too many series.",
                        METRICS_COUNTER, NO_LABELS},
};

/* ---- series ---- */

/* Prometheus text format: in label values backslash, quote and line feed are escaped. */
static void append_value(struct buffer *text, struct span value)
{
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];
        if (c == '\\')
            buffer_append(text, SPAN("\\\\"));
        else if (c == '"')
            buffer_append(text, SPAN("\\\""));
        else if (c == '\n')
            buffer_append(text, SPAN("\\n"));
        else
            buffer_append(text, span_of(&c, 1));
    }
}

/* A byte for the family, then `name="value",...`. */
static void append_key(struct buffer *text, enum metrics_family_id id, const struct span *labels)
{
    const struct metrics_family *family = &metrics_families[id];
    char first = (char)('A' + (int)id);
    buffer_append(text, span_of(&first, 1));
    for (unsigned i = 0; i < family->label_count; i++) {
        if (i)
            buffer_append(text, SPAN(","));
        buffer_append(text, span_str(family->labels[i]));
        buffer_append(text, SPAN("=\""));
        append_value(text, labels[i]);
        buffer_append(text, SPAN("\""));
    }
}

static struct metrics_series *series_new(struct metrics *metrics, enum metrics_family_id id, struct span key)
{
    unsigned count = metrics_value_count(&metrics_families[id]);
    struct metrics_series *series = memory_zalloc(sizeof(*series) + count * sizeof(series->values[0]));
    series->family = id;
    series->key = span_of(memory_string(key), key.len);
    series->labels = span_skip(series->key, 1);
    atomic_init(&series->next, atomic_load_explicit(&metrics->first, memory_order_relaxed));
    (void)table_put(&metrics->by_key, series->key, series);
    metrics->count++;
    /* Who reads the list from another thread must see the series complete. */
    atomic_store_explicit(&metrics->first, series, memory_order_release);
    return series;
}

struct metrics_series *metrics_series_get(struct metrics *metrics, enum metrics_family_id id, const struct span *labels)
{
    struct buffer text = {0};
    append_key(&text, id, labels);
    struct metrics_series *series = table_get(&metrics->by_key, buffer_span(&text));
    if (!series && metrics->count < METRICS_SERIES_MAX)
        series = series_new(metrics, id, buffer_span(&text));
    buffer_finish(&text);
    if (!series)
        metrics_add(metrics->dropped, 1);
    return series;
}

static bool same_labels(const struct metrics_cached *cached, const struct span *labels, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (cached->labels[i].ptr != labels[i].ptr || cached->labels[i].len != labels[i].len)
            return false;
    return true;
}

bool metrics_series_current(struct metrics *metrics, uint64_t generation)
{
    if (LIKELY(generation == metrics->generation))
        return true;
    if (generation < metrics->generation)
        return false;
    memset(metrics->cache, 0, sizeof(metrics->cache));
    memset(metrics->sets, 0, sizeof(metrics->sets));
    metrics->generation = generation;
    return true;
}

struct metrics_series *metrics_series_find(struct metrics *metrics, uint64_t generation, enum metrics_family_id id,
                                           const struct span *labels)
{
    if (UNLIKELY(!metrics_series_current(metrics, generation)))
        return metrics_series_get(metrics, id, labels);
    unsigned count = metrics_families[id].label_count;
    uint64_t hash = (uint64_t)id + 1;
    for (unsigned i = 0; i < count; i++)
        hash = (hash ^ (uint64_t)(uintptr_t)labels[i].ptr) * UINT64_C(0x9e3779b97f4a7c15);
    struct metrics_cached *cached = &metrics->cache[hash >> 57];
    if (LIKELY(cached->series && cached->family == id && same_labels(cached, labels, count)))
        return cached->series;
    struct metrics_series *series = metrics_series_get(metrics, id, labels);
    cached->series = series;
    cached->family = id;
    for (unsigned i = 0; i < count; i++)
        cached->labels[i] = labels[i];
    return series;
}

_Static_assert(METRICS_CACHE == 1 << (64 - 57), "the cache's index is the hash's top bits");

void metrics_observe(struct metrics_series *series, uint64_t value, uint64_t times)
{
    if (!series)
        return;
    const struct metrics_family *family = &metrics_families[series->family];
    unsigned i = 0, count = family->bound_count;
    while (i < count && value > family->bounds[i])
        i++;
    metrics_set(series, i, metrics_read(series, i) + times);
    metrics_set(series, count + 1, metrics_read(series, count + 1) + value * times);
}

uint64_t metrics_series_sum(const struct metrics_hub *hub, enum metrics_family_id id, const struct span *labels)
{
    struct buffer key = {0};
    uint64_t sum = 0;
    append_key(&key, id, labels);
    const struct metrics *metrics = atomic_load_explicit(&hub->first, memory_order_acquire);
    for (; metrics; metrics = metrics->next) {
        const struct metrics_series *series = atomic_load_explicit(&metrics->first, memory_order_acquire);
        for (; series; series = atomic_load_explicit(&series->next, memory_order_relaxed))
            if (span_equal(series->key, buffer_span(&key)))
                sum += metrics_read(series, 0);
    }
    buffer_finish(&key);
    return sum;
}

/* ---- life ---- */

void metrics_series_init(struct metrics *metrics)
{
    atomic_init(&metrics->first, NULL);
    table_init(&metrics->by_key);
    metrics->dropped = metrics_series_get(metrics, METRIC_DROPPED, NULL);
}

void metrics_series_finish(struct metrics *metrics)
{
    table_finish(&metrics->by_key);
    struct metrics_series *series = atomic_load_explicit(&metrics->first, memory_order_relaxed);
    while (series) {
        struct metrics_series *next = atomic_load_explicit(&series->next, memory_order_relaxed);
        free((void *)(uintptr_t)series->key.ptr);
        free(series);
        series = next;
    }
}
