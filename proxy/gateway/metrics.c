/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/metrics.h"

#include <stdlib.h>

#include "base/memory.h"
#include "gateway/access_log.h"
#include "gateway/attempt.h"
#include "gateway/exchange.h"
#include "gateway/metrics_series.h"
#include "gateway/pool.h"
#include "gateway/worker.h"

/* ---- words ---- */

/* The text of every status, at a fixed address: three digits and a NUL each. */
#define STATUS_10(tens)                                                                                                \
    tens "0\0" tens "1\0" tens "2\0" tens "3\0" tens "4\0" tens "5\0" tens "6\0" tens "7\0" tens "8\0" tens "9\0"
#define STATUS_100(hundred)                                                                                            \
    STATUS_10(hundred "0")                                                                                             \
    STATUS_10(hundred "1")                                                                                             \
    STATUS_10(hundred "2")                                                                                             \
    STATUS_10(hundred "3")                                                                                             \
    STATUS_10(hundred "4") STATUS_10(hundred "5") STATUS_10(hundred "6") STATUS_10(hundred "7") STATUS_10(hundred "8") \
        STATUS_10(hundred "9")
static const char status_texts[] = STATUS_100("1") STATUS_100("2") STATUS_100("3") STATUS_100("4") STATUS_100("5");
_Static_assert(sizeof(status_texts) == 500 * 4 + 1, "four bytes for each status from 100 to 599");

static struct span status_text(unsigned status)
{
    if (status < 100 || status > 599)
        return SPAN("0");
    return span_of(status_texts + (size_t)(status - 100) * 4, 3);
}

static const struct span outcome_words[] = {[OUTCOME_COMPLETED] = SPAN_INIT("completed"),
                                            [OUTCOME_ANSWERED] = SPAN_INIT("answered"),
                                            [OUTCOME_FAILED] = SPAN_INIT("failed"),
                                            [OUTCOME_CANCELLED] = SPAN_INIT("cancelled")};
_Static_assert(ARRAY_LEN(outcome_words) == OUTCOME_CANCELLED + 1, "every outcome has a word");

struct span metrics_outcome_word(enum outcome outcome)
{
    return outcome_words[outcome];
}

/* ---- exchanges ---- */

unsigned metrics_status(const struct exchange *exchange)
{
    return exchange->response_started ? exchange->response.status : fault_entry(exchange->fault)->status;
}

/* What the exchange's series have in common. */
struct recording {
    const struct exchange *exchange;
    struct metrics *metrics;
    uint64_t generation;
    struct span operation, model;
    const struct target *target; /* of the last try; NULL: there was none */
};

static struct metrics_series *find(const struct recording *r, enum metrics_family_id family, const struct span *labels)
{
    return metrics_series_find(r->metrics, r->generation, family, labels);
}

static void record_request(const struct recording *r, enum outcome outcome)
{
    const struct exchange *exchange = r->exchange;
    const struct span labels[] = {exchange->listener->name, r->operation, r->model,
                                  status_text(metrics_status(exchange)), outcome_words[outcome]};
    metrics_add(find(r, METRIC_REQUESTS, labels), 1);
    if (exchange->fault == FAULT_NONE)
        return;
    static const struct span blames[] = {[BLAME_NOBODY] = SPAN_INIT("none"),
                                         [BLAME_CLIENT] = SPAN_INIT("client"),
                                         [BLAME_SELF] = SPAN_INIT("postern"),
                                         [BLAME_UPSTREAM] = SPAN_INIT("upstream")};
    const struct fault_entry *entry = fault_entry(exchange->fault);
    const struct span fault[] = {entry->word, blames[entry->blame]};
    metrics_add(find(r, METRIC_FAULTS, fault), 1);
}

static void record_attempts(const struct recording *r)
{
    for (const struct attempt_record *record = r->exchange->attempts->first; record; record = record->next) {
        struct span result = SPAN("ok");
        if (record->status >= 400)
            result = status_text(record->status);
        else if (record->fault != FAULT_NONE)
            result = fault_entry(record->fault)->word;
        const struct span labels[] = {record->target, record->deployment, result};
        metrics_add(find(r, METRIC_ATTEMPTS, labels), 1);
    }
}

static struct span error_type(const struct exchange *exchange)
{
    switch (exchange->fault) {
    case FAULT_NONE:
        return exchange->response.status >= 400 ? status_text(exchange->response.status) : (struct span){0};
    case FAULT_CONNECT_TIMEOUT:
    case FAULT_FIRST_BYTE_TIMEOUT:
    case FAULT_IDLE_TIMEOUT:
    case FAULT_TOTAL_TIMEOUT:
        return SPAN("timeout");
    default:
        return fault_entry(exchange->fault)->word;
    }
}

static void record_times(const struct recording *r, struct span provider)
{
    const struct exchange *exchange = r->exchange;
    uint64_t end = exchange->answer_end_at ? exchange->answer_end_at : exchange->ended;
    uint64_t start = exchange->body_at ? exchange->body_at : exchange->head_at;
    const struct span labels[] = {r->exchange->call.operation->otel, provider, r->model, error_type(exchange)};
    if (end >= start)
        metrics_observe(find(r, METRIC_DURATION, labels), end - start, 1);
    uint64_t first = exchange->first_content_at;
    if (first < start || first == 0)
        return;
    metrics_observe(find(r, METRIC_FIRST_CHUNK, labels), first - start, 1);
    uint64_t gaps = exchange->content_events ? exchange->content_events - 1 : 0;
    if (gaps && end >= first)
        metrics_observe(find(r, METRIC_PER_CHUNK, labels), (end - first) / gaps, gaps);
}

static void record_tokens(const struct recording *r, struct span provider)
{
    const struct exchange *exchange = r->exchange;
    const struct usage *usage = &exchange->facts.usage;
    struct span labels[] = {r->model, r->target->name, SPAN("input")};
    if (!usage->reported) {
        bool should = (exchange->call.operation->flags & OPERATION_USAGE) && exchange->response_started &&
                      !exchange->local_answer && exchange->response.status == 200;
        if (should)
            metrics_add(find(r, METRIC_USAGE_UNKNOWN, labels), 1);
        return;
    }
    struct span kinds[] = {exchange->call.operation->otel, provider, r->model, SPAN("input")};
    metrics_observe(find(r, METRIC_TOKEN_USAGE, kinds), usage->input, 1);
    kinds[3] = SPAN("output");
    metrics_observe(find(r, METRIC_TOKEN_USAGE, kinds), usage->output, 1);
    const struct {
        struct span word;
        uint64_t count;
    } parts[] = {{SPAN_INIT("input"), usage->input},
                 {SPAN_INIT("output"), usage->output},
                 {SPAN_INIT("cached"), usage->cached},
                 {SPAN_INIT("reasoning"), usage->reasoning}};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        labels[2] = parts[i].word;
        if (parts[i].count)
            metrics_add(find(r, METRIC_TOKENS, labels), parts[i].count);
    }
}

bool metrics_overhead(const struct exchange *exchange, uint64_t *ret)
{
    const struct attempts *attempts = exchange->attempts;
    bool plain = attempts && attempts->made == 1 && !exchange->local_answer && exchange->body_at &&
                 exchange->sent_at >= exchange->body_at && exchange->answer_end_at &&
                 exchange->ended >= exchange->answer_end_at;
    if (plain)
        *ret = exchange->sent_at - exchange->body_at + (exchange->ended - exchange->answer_end_at);
    return plain;
}

void metrics_exchange(const struct exchange *exchange, enum outcome outcome)
{
    const struct operation *operation = exchange->call.operation;
    struct recording r = {.exchange = exchange,
                          .metrics = exchange->worker->metrics,
                          .generation = exchange->snapshot->generation,
                          .operation = operation               ? operation->name
                                       : exchange->passthrough ? SPAN("passthrough")
                                                               : SPAN("unknown")};
    if (exchange->model)
        r.model = exchange->model->name;
    record_request(&r, outcome);
    const struct attempts *attempts = exchange->attempts;
    if (!attempts || attempts->next == 0)
        return;
    r.target = attempts->order[attempts->next - 1]->target;
    record_attempts(&r);
    uint64_t overhead;
    if (metrics_overhead(exchange, &overhead))
        metrics_observe(find(&r, METRIC_OVERHEAD, NULL), overhead, 1);
    if (!operation)
        return;
    record_times(&r, r.target->provider);
    record_tokens(&r, r.target->provider);
}

/* ---- what lives elsewhere ---- */

static void copy(struct metrics *metrics, enum metrics_family_id family, const struct span *labels, uint64_t value)
{
    struct metrics_series *series = metrics_series_get(metrics, family, labels);
    if (!series)
        return;
    metrics_set(series, 0, value);
    series->stamp = metrics->stamp;
}

static void collect_pool(struct metrics *metrics, const struct pool *pool)
{
    struct pool_counts counts = pool_counts(pool);
    struct span labels[] = {pool_name(pool), SPAN("idle")};
    copy(metrics, METRIC_POOL_CONNECTIONS, labels, counts.idle);
    labels[1] = SPAN("busy");
    copy(metrics, METRIC_POOL_CONNECTIONS, labels, counts.busy);
    labels[1] = SPAN("connecting");
    copy(metrics, METRIC_POOL_CONNECTIONS, labels, counts.connecting);
    copy(metrics, METRIC_POOL_WAITING, labels, counts.waiting);
    copy(metrics, METRIC_POOL_OPENED, labels, counts.opened);
    copy(metrics, METRIC_POOL_REUSED, labels, counts.reused);
    copy(metrics, METRIC_POOL_FAILED, labels, counts.failed);
    copy(metrics, METRIC_POOL_STALE, labels, counts.stale);
}

/* A pool that is gone has no connections; its counters stay. */
static void clear_gone(struct metrics *metrics)
{
    struct metrics_series *series = atomic_load_explicit(&metrics->first, memory_order_relaxed);
    for (; series; series = atomic_load_explicit(&series->next, memory_order_relaxed)) {
        bool gauge = series->family == METRIC_POOL_CONNECTIONS || series->family == METRIC_POOL_WAITING;
        if (gauge && series->stamp != metrics->stamp)
            metrics_set(series, 0, 0);
    }
}

void metrics_collect(struct worker *worker)
{
    struct metrics *metrics = worker->metrics;
    size_t cursor = 0;
    const struct pool *pool;
    metrics->stamp++;
    while ((pool = table_next(&worker->pools, &cursor)) != NULL)
        collect_pool(metrics, pool);
    clear_gone(metrics);
    copy(metrics, METRIC_CLIENT_CONNECTIONS, NULL, worker->client_count);
    copy(metrics, METRIC_EXCHANGES, NULL, worker->exchange_count);
    copy(metrics, METRIC_LOG_LOST, NULL, access_log_lost(worker->log));
}

struct metrics_sum metrics_sum(const struct process *process)
{
    const struct metrics_hub *hub = process->metrics;
    return (struct metrics_sum){.clients = metrics_series_sum(hub, METRIC_CLIENT_CONNECTIONS, NULL),
                                .exchanges = metrics_series_sum(hub, METRIC_EXCHANGES, NULL)};
}

struct metrics_pool_sum metrics_pool_sum(const struct process *process, struct span target)
{
    const struct metrics_hub *hub = process->metrics;
    const struct span idle[] = {target, SPAN_INIT("idle")}, busy[] = {target, SPAN_INIT("busy")},
                      connecting[] = {target, SPAN_INIT("connecting")};
    return (struct metrics_pool_sum){.idle = metrics_series_sum(hub, METRIC_POOL_CONNECTIONS, idle),
                                     .busy = metrics_series_sum(hub, METRIC_POOL_CONNECTIONS, busy),
                                     .connecting = metrics_series_sum(hub, METRIC_POOL_CONNECTIONS, connecting),
                                     .waiting = metrics_series_sum(hub, METRIC_POOL_WAITING, &target)};
}

/* ---- life ---- */

struct metrics_hub *metrics_hub_create(void)
{
    struct metrics_hub *hub = memory_zalloc(sizeof(*hub));
    atomic_init(&hub->first, NULL);
    return hub;
}

void metrics_hub_destroy(struct metrics_hub *hub)
{
    if (!hub)
        return;
    struct metrics *metrics = atomic_load_explicit(&hub->first, memory_order_acquire);
    while (metrics) {
        struct metrics *next = metrics->next;
        metrics_series_finish(metrics);
        free(metrics);
        metrics = next;
    }
    free(hub);
}

struct metrics *metrics_create(struct metrics_hub *hub)
{
    struct metrics *metrics = memory_zalloc(sizeof(*metrics));
    metrics_series_init(metrics);
    metrics->next = atomic_load_explicit(&hub->first, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&hub->first, &metrics->next, metrics, memory_order_release,
                                                  memory_order_relaxed)) {
    }
    return metrics;
}
