/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics_series: what metrics.c (recording), metrics_render.c (text) and metrics_series.c (families and series) share.
 *
 * A family is one metric name with its labels; a series is a family with label values. Each worker has its own series
 * and is the only one that writes them: plain loads and stores, atomic so that the thread that renders may read at any
 * time. Series are only ever added, at the head of a list.
 */
#ifndef POSTERN_GATEWAY_METRICS_SERIES_H
#define POSTERN_GATEWAY_METRICS_SERIES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "base/table.h"

/* Series of one worker; what would be more is counted in postern_metrics_dropped_total. */
#define METRICS_SERIES_MAX 4096
/* Labels of one family. */
#define METRICS_LABELS_MAX 5
/* Remembered sets of the series of exchanges that went as usual. A power of two. */
#define METRICS_SETS 16
/* Recently used series found without a look at the bytes of their labels. A power of two. */
#define METRICS_CACHE 128

enum metrics_family_id {
    METRIC_REQUESTS,
    METRIC_FAULTS,
    METRIC_AUTHENTICATION,
    METRIC_ATTEMPTS,
    METRIC_DURATION,
    METRIC_FIRST_CHUNK,
    METRIC_PER_CHUNK,
    METRIC_TOKEN_USAGE,
    METRIC_TOKENS,
    METRIC_USAGE_UNKNOWN,
    METRIC_OVERHEAD,
    METRIC_POOL_CONNECTIONS,
    METRIC_POOL_WAITING,
    METRIC_POOL_OPENED,
    METRIC_POOL_REUSED,
    METRIC_POOL_FAILED,
    METRIC_POOL_STALE,
    METRIC_CREDENTIAL_WORKERS,
    METRIC_CREDENTIAL_OBTAINED,
    METRIC_CREDENTIAL_FAILED,
    METRIC_STORE_WORKERS,
    METRIC_STORE_COMMANDS,
    METRIC_STORE_ERRORS,
    METRIC_STORE_WAITING,
    METRIC_STORE_CONNECTIONS,
    METRIC_STORE_BREAKER,
    METRIC_CLIENT_CONNECTIONS,
    METRIC_HTTP2_LIMIT,
    METRIC_EXCHANGES,
    METRIC_FLIGHTS,
    METRIC_LOG_LOST,
    METRIC_LIMIT,
    METRIC_LIMIT_TOKENS,
    METRIC_LIMIT_OWED,
    METRIC_LIMIT_DROPPED,
    METRIC_LIMIT_INSTANCES,
    METRIC_TARGET_LIMIT,
    METRIC_ESTIMATE_RATIO,
    METRIC_MOCK_TOKENS,
    METRIC_INJECT_REVIEWS,
    METRIC_INJECT_WARNINGS,
    METRIC_CACHE,
    METRIC_CACHE_BYPASS,
    METRIC_CACHE_STORED,
    METRIC_CACHE_READ,
    METRIC_CACHE_TOKENS,
    METRIC_CACHE_TIME,
    METRIC_CACHE_COST,
    METRIC_CACHE_BYTES,
    METRIC_CACHE_ENTRIES,
    METRIC_CACHE_EVICTED,
    METRIC_DROPPED,
    METRIC_FAMILY_COUNT
};

enum metrics_kind { METRICS_COUNTER, METRICS_GAUGE, METRICS_HISTOGRAM };

struct metrics_family {
    const char *name, *help;
    enum metrics_kind kind;
    const char *labels[METRICS_LABELS_MAX];
    unsigned label_count;
    /* histograms: upper bounds, rising; without the last, infinite one */
    const uint64_t *bounds;
    unsigned bound_count;
    bool micros; /* values are µs and shown in seconds */
};

extern const struct metrics_family metrics_families[METRIC_FAMILY_COUNT];

struct metrics_series {
    struct metrics_series *_Atomic next;
    enum metrics_family_id family;
    struct span key;    /* family and label text: equal for the same series of another worker */
    struct span labels; /* inside of the braces; the end of `key` */
    uint64_t stamp;     /* gauges: of the round that set it last */
    /* counter and gauge: one. histogram: one per bucket, not added up, then the infinite one, then the sum */
    _Atomic uint64_t values[];
};

struct metrics_cached {
    struct span labels[METRICS_LABELS_MAX];
    enum metrics_family_id family;
    struct metrics_series *series;
};

/* What an exchange that was served by its first try counts in. */
struct metrics_set {
    const void *listener, *operation, *model, *to; /* by address, in the snapshot of metrics.generation; NULL: free */
    struct metrics_series *request, *attempt, *overhead, *duration, *input, *output, *tokens_input, *tokens_output;
};

struct metrics {
    struct metrics_series *_Atomic first;
    struct metrics *next; /* of the next worker */
    /* the owner's alone */
    struct table by_key;
    unsigned count;
    uint64_t generation; /* of the snapshot whose names the cache knows by their addresses */
    uint64_t stamp;
    struct metrics_series *dropped;
    struct metrics_cached cache[METRICS_CACHE];
    struct metrics_set sets[METRICS_SETS];
};

struct metrics_hub {
    struct metrics *_Atomic first;
};

void metrics_series_init(struct metrics *metrics);
void metrics_series_finish(struct metrics *metrics);
/* The series of these label values (as many as the family has labels), by their bytes. Counted as dropped and NULL
 * beyond the limit. */
struct metrics_series *metrics_series_get(struct metrics *metrics, enum metrics_family_id id,
                                          const struct span *labels);
/*
 * Whether addresses of that generation's names may be compared with remembered ones. A newer generation than before
 * makes everything forgotten.
 */
bool metrics_series_current(struct metrics *metrics, uint64_t generation);
/*
 * The same, by the addresses of the label values: they must be static or lie in the snapshot of that generation. Much
 * cheaper.
 */
struct metrics_series *metrics_series_find(struct metrics *metrics, uint64_t generation, enum metrics_family_id id,
                                           const struct span *labels);

/* The sum of the first values of all workers' series with these labels. Any thread. */
uint64_t metrics_series_sum(const struct metrics_hub *hub, enum metrics_family_id id, const struct span *labels);

/* The number of `values` of a family. */
static inline unsigned metrics_value_count(const struct metrics_family *family)
{
    return family->kind == METRICS_HISTOGRAM ? family->bound_count + 2 : 1;
}

static inline uint64_t metrics_read(const struct metrics_series *series, unsigned i)
{
    return atomic_load_explicit(&series->values[i], memory_order_relaxed);
}

static inline void metrics_set(struct metrics_series *series, unsigned i, uint64_t value)
{
    atomic_store_explicit(&series->values[i], value, memory_order_relaxed);
}

/* There is one writer: no locked instruction is needed. `series` may be NULL. */
static inline void metrics_add(struct metrics_series *series, uint64_t amount)
{
    if (series)
        metrics_set(series, 0, metrics_read(series, 0) + amount);
}

/* Sets a gauge, or a counter that is kept elsewhere: from metrics_collect, in each of its rounds. */
void metrics_copy(struct metrics *metrics, enum metrics_family_id family, const struct span *labels, uint64_t value);
/* Counts `value` `times` times in a histogram. `series` may be NULL. */
void metrics_observe(struct metrics_series *series, uint64_t value, uint64_t times);

#endif
