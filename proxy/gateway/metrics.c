/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/metrics.h"

#include <stdlib.h>

#include "base/memory.h"
#include "gateway/access_log.h"
#include "gateway/attempt.h"
#include "gateway/exchange.h"
#include "gateway/metrics_series.h"
#include "gateway/credentials.h"
#include "gateway/pool.h"
#include "gateway/redis_stores.h"
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
    STATUS_10(hundred "4")                                                                                             \
    STATUS_10(hundred "5") STATUS_10(hundred "6") STATUS_10(hundred "7") STATUS_10(hundred "8") STATUS_10(hundred "9")
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
    const struct model_target *to; /* of the last try; NULL: there was none */
};

static struct metrics_series *find(const struct recording *r, enum metrics_family_id family, const struct span *labels)
{
    return metrics_series_find(r->metrics, r->generation, family, labels);
}

static struct metrics_series *request_series(const struct recording *r, unsigned status, enum outcome outcome)
{
    const struct span labels[] = {r->exchange->listener->name, r->operation, r->model, status_text(status),
                                  outcome_words[outcome]};
    return find(r, METRIC_REQUESTS, labels);
}

static struct metrics_series *attempt_series(const struct recording *r, const struct attempt_record *record)
{
    struct span result = SPAN("ok");
    if (record->status >= 400)
        result = status_text(record->status);
    else if (record->fault != FAULT_NONE)
        result = fault_entry(record->fault)->word;
    const struct span labels[] = {record->target, record->deployment, result};
    return find(r, METRIC_ATTEMPTS, labels);
}

/* A GenAI family; `last` is its fourth label, where it has one. */
static struct metrics_series *model_series(const struct recording *r, enum metrics_family_id family, struct span last)
{
    const struct span labels[] = {r->exchange->call.operation->otel, r->to->target->provider, r->model, last};
    return find(r, family, labels);
}

static struct metrics_series *tokens_series(const struct recording *r, struct span type)
{
    const struct span labels[] = {r->model, r->to->target->name, type};
    return find(r, METRIC_TOKENS, labels);
}

/* ---- as usual: most exchanges, so their series are remembered together ---- */

static bool is_usual(const struct exchange *exchange, enum outcome outcome)
{
    const struct attempts *attempts = exchange->attempts;
    return outcome == OUTCOME_COMPLETED && exchange->fault == FAULT_NONE && exchange->response.status == 200 &&
           exchange->response_started && exchange->call.operation && exchange->model && attempts &&
           attempts->made == 1 && attempts->next == 1 && attempts->last->status == 200 &&
           attempts->last->fault == FAULT_NONE && exchange->facts.usage.reported;
}

static void fill_set(const struct recording *r, struct metrics_set *set)
{
    *set = (struct metrics_set){.listener = r->exchange->listener,
                                .operation = r->exchange->call.operation,
                                .model = r->exchange->model,
                                .to = r->to,
                                .request = request_series(r, 200, OUTCOME_COMPLETED),
                                .attempt = attempt_series(r, r->exchange->attempts->last),
                                .overhead = find(r, METRIC_OVERHEAD, NULL),
                                .duration = model_series(r, METRIC_DURATION, (struct span){0}),
                                .input = model_series(r, METRIC_TOKEN_USAGE, SPAN("input")),
                                .output = model_series(r, METRIC_TOKEN_USAGE, SPAN("output")),
                                .tokens_input = tokens_series(r, SPAN("input")),
                                .tokens_output = tokens_series(r, SPAN("output"))};
}

static const struct metrics_set *set_of(const struct recording *r, struct metrics_set *room)
{
    const struct exchange *exchange = r->exchange;
    if (UNLIKELY(!metrics_series_current(r->metrics, r->generation))) {
        fill_set(r, room);
        return room;
    }
    uint64_t hash = (uint64_t)(uintptr_t)exchange->listener + (uint64_t)(uintptr_t)exchange->call.operation * 3 +
                    (uint64_t)(uintptr_t)exchange->model * 5 + (uint64_t)(uintptr_t)r->to * 7;
    struct metrics_set *set = &r->metrics->sets[(hash * UINT64_C(0x9e3779b97f4a7c15)) >> 60];
    if (UNLIKELY(set->listener != exchange->listener || set->operation != exchange->call.operation ||
                 set->model != exchange->model || set->to != r->to))
        fill_set(r, set);
    return set;
}

_Static_assert(METRICS_SETS == 1 << (64 - 60), "a set's index is the hash's top bits");

/* ---- parts ---- */

/* From when on the target's time counts, and until when. */
static uint64_t work_begun(const struct exchange *exchange)
{
    return exchange->body_at ? exchange->body_at : exchange->head_at;
}

static uint64_t work_ended(const struct exchange *exchange)
{
    return exchange->answer_end_at ? exchange->answer_end_at : exchange->ended;
}

static void record_fault(const struct recording *r)
{
    static const struct span blames[] = {[BLAME_NOBODY] = SPAN_INIT("none"),
                                         [BLAME_CLIENT] = SPAN_INIT("client"),
                                         [BLAME_SELF] = SPAN_INIT("postern"),
                                         [BLAME_UPSTREAM] = SPAN_INIT("upstream")};
    const struct fault_entry *entry = fault_entry(r->exchange->fault);
    const struct span labels[] = {entry->word, blames[entry->blame]};
    metrics_add(find(r, METRIC_FAULTS, labels), 1);
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

static void record_stream(const struct recording *r)
{
    const struct exchange *exchange = r->exchange;
    uint64_t first = exchange->first_content_at, start = work_begun(exchange), end = work_ended(exchange);
    if (first == 0 || first < start)
        return;
    metrics_observe(model_series(r, METRIC_FIRST_CHUNK, (struct span){0}), first - start, 1);
    uint64_t gaps = exchange->content_events ? exchange->content_events - 1 : 0;
    if (gaps && end >= first)
        metrics_observe(model_series(r, METRIC_PER_CHUNK, (struct span){0}), (end - first) / gaps, gaps);
}

static void record_token_parts(const struct recording *r)
{
    const struct usage *usage = &r->exchange->facts.usage;
    if (usage->cached)
        metrics_add(tokens_series(r, SPAN("cached")), usage->cached);
    if (usage->reasoning)
        metrics_add(tokens_series(r, SPAN("reasoning")), usage->reasoning);
}

static void record_unknown_usage(const struct recording *r)
{
    const struct exchange *exchange = r->exchange;
    bool should = (exchange->call.operation->flags & OPERATION_USAGE) && exchange->response_started &&
                  !exchange->local_answer && exchange->response.status == 200;
    const struct span labels[] = {r->model, r->to->target->name};
    if (should)
        metrics_add(find(r, METRIC_USAGE_UNKNOWN, labels), 1);
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

/* ---- whole exchanges ---- */

/* `requests`: 0 for a call that no client made. */
static void record_usual(const struct recording *r, unsigned requests)
{
    const struct exchange *exchange = r->exchange;
    const struct usage *usage = &exchange->facts.usage;
    struct metrics_set room;
    const struct metrics_set *set = set_of(r, &room);
    uint64_t overhead, start = work_begun(exchange), end = work_ended(exchange);
    metrics_add(set->request, requests);
    metrics_add(set->attempt, 1);
    if (metrics_overhead(exchange, &overhead))
        metrics_observe(set->overhead, overhead, 1);
    if (end >= start)
        metrics_observe(set->duration, end - start, 1);
    metrics_observe(set->input, usage->input, 1);
    metrics_observe(set->output, usage->output, 1);
    metrics_add(set->tokens_input, usage->input);
    metrics_add(set->tokens_output, usage->output);
    record_token_parts(r);
    record_stream(r);
}

static void record_tokens(const struct recording *r)
{
    const struct usage *usage = &r->exchange->facts.usage;
    if (!usage->reported) {
        record_unknown_usage(r);
        return;
    }
    metrics_observe(model_series(r, METRIC_TOKEN_USAGE, SPAN("input")), usage->input, 1);
    metrics_observe(model_series(r, METRIC_TOKEN_USAGE, SPAN("output")), usage->output, 1);
    metrics_add(tokens_series(r, SPAN("input")), usage->input);
    metrics_add(tokens_series(r, SPAN("output")), usage->output);
    record_token_parts(r);
}

static void record_tries(const struct recording *r)
{
    const struct exchange *exchange = r->exchange;
    uint64_t overhead, start = work_begun(exchange), end = work_ended(exchange);
    for (const struct attempt_record *record = exchange->attempts->first; record; record = record->next)
        metrics_add(attempt_series(r, record), 1);
    if (metrics_overhead(exchange, &overhead))
        metrics_observe(find(r, METRIC_OVERHEAD, NULL), overhead, 1);
    if (!exchange->call.operation)
        return;
    if (end >= start)
        metrics_observe(model_series(r, METRIC_DURATION, error_type(exchange)), end - start, 1);
    record_stream(r);
    record_tokens(r);
}

static struct recording recording_of(const struct exchange *exchange)
{
    const struct operation *operation = exchange->call.operation;
    const struct attempts *attempts = exchange->attempts;
    struct recording r = {.exchange = exchange,
                          .metrics = exchange->worker->metrics,
                          .generation = exchange->snapshot->generation,
                          .operation = operation               ? operation->name
                                       : exchange->passthrough ? SPAN("passthrough")
                                                               : SPAN("unknown")};
    if (exchange->model)
        r.model = exchange->model->name;
    if (attempts)
        r.to = attempts->to;
    return r;
}

void metrics_flight(const struct exchange *flown)
{
    struct recording r = recording_of(flown);
    if (is_usual(flown, OUTCOME_COMPLETED))
        record_usual(&r, 0);
    else if (r.to)
        record_tries(&r);
}

void metrics_exchange(const struct exchange *exchange, enum outcome outcome)
{
    struct recording r = recording_of(exchange);
    if (LIKELY(is_usual(exchange, outcome))) {
        record_usual(&r, 1);
        return;
    }
    metrics_add(request_series(&r, metrics_status(exchange), outcome), 1);
    if (exchange->fault != FAULT_NONE)
        record_fault(&r);
    if (r.to)
        record_tries(&r);
}

/* ---- what lives elsewhere ---- */

void metrics_copy(struct metrics *metrics, enum metrics_family_id family, const struct span *labels, uint64_t value)
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
    metrics_copy(metrics, METRIC_POOL_CONNECTIONS, labels, counts.idle);
    labels[1] = SPAN("busy");
    metrics_copy(metrics, METRIC_POOL_CONNECTIONS, labels, counts.busy);
    labels[1] = SPAN("connecting");
    metrics_copy(metrics, METRIC_POOL_CONNECTIONS, labels, counts.connecting);
    metrics_copy(metrics, METRIC_POOL_WAITING, labels, counts.waiting);
    metrics_copy(metrics, METRIC_POOL_OPENED, labels, counts.opened);
    metrics_copy(metrics, METRIC_POOL_REUSED, labels, counts.reused);
    metrics_copy(metrics, METRIC_POOL_FAILED, labels, counts.failed);
    metrics_copy(metrics, METRIC_POOL_STALE, labels, counts.stale);
}

static void collect_credentials(struct metrics *metrics, struct worker *worker)
{
    struct credential_status status;
    size_t cursor = 0;
    while (credentials_status(worker, &cursor, &status)) {
        struct span labels[] = {status.name, span_str(credential_state_name(status.state))};
        metrics_copy(metrics, METRIC_CREDENTIAL_WORKERS, labels, 1);
        metrics_copy(metrics, METRIC_CREDENTIAL_OBTAINED, labels, status.obtained);
        metrics_copy(metrics, METRIC_CREDENTIAL_FAILED, labels, status.failed);
    }
}

static void collect_store(struct metrics *metrics, const struct redis_store *store)
{
    struct redis_status status;
    redis_store_status(store, &status);
    const struct redis_counters *counters = &status.counters;
    struct span labels[] = {store->name, span_str(redis_state_word(&status))};
    if (store->redis)
        metrics_copy(metrics, METRIC_STORE_WORKERS, labels, 1);
    metrics_copy(metrics, METRIC_STORE_COMMANDS, labels, counters->asked);
    metrics_copy(metrics, METRIC_STORE_WAITING, labels, status.waiting + status.unanswered);
    metrics_copy(metrics, METRIC_STORE_BREAKER, labels, counters->breaker_opened);
    for (unsigned i = 1; i < REDIS_ERRORS; i++) {
        labels[1] = span_str(redis_error_name(i));
        if (counters->errors[i])
            metrics_copy(metrics, METRIC_STORE_ERRORS, labels, counters->errors[i]);
    }
    labels[1] = SPAN("made");
    metrics_copy(metrics, METRIC_STORE_CONNECTIONS, labels, counters->connects);
    labels[1] = SPAN("failed");
    metrics_copy(metrics, METRIC_STORE_CONNECTIONS, labels, counters->connect_failures);
    labels[1] = SPAN("lost");
    metrics_copy(metrics, METRIC_STORE_CONNECTIONS, labels, counters->losses);
}

static void collect_stores(struct metrics *metrics, struct redis_stores *stores)
{
    struct redis_store *store = NULL;
    while ((store = redis_store_next(stores, store)) != NULL)
        collect_store(metrics, store);
}

static void collect_filters(struct worker *worker)
{
    const struct snapshot *snapshot = worker->snapshot;
    for (unsigned i = 0; i < snapshot->instance_count; i++) {
        const struct filter_use *use = &snapshot->instances[i];
        if (use->type->collect)
            use->type->collect(worker, worker_instance(worker, snapshot, use), use->name);
    }
}

/* A pool that is gone has no connections; its counters stay. */
static void clear_gone(struct metrics *metrics)
{
    struct metrics_series *series = atomic_load_explicit(&metrics->first, memory_order_relaxed);
    for (; series; series = atomic_load_explicit(&series->next, memory_order_relaxed)) {
        bool gauge = series->family == METRIC_POOL_CONNECTIONS || series->family == METRIC_POOL_WAITING ||
                     series->family == METRIC_CREDENTIAL_WORKERS || series->family == METRIC_STORE_WORKERS ||
                     series->family == METRIC_STORE_WAITING || series->family == METRIC_CACHE_BYTES ||
                     series->family == METRIC_CACHE_ENTRIES || series->family == METRIC_LIMIT_OWED ||
                     series->family == METRIC_LIMIT_INSTANCES;
        if (gauge && series->stamp != metrics->stamp)
            metrics_set(series, 0, 0);
    }
}

void metrics_http2_limit(struct worker *worker, const char *limit)
{
    const struct span label = span_str(limit);
    metrics_add(metrics_series_get(worker->metrics, METRIC_HTTP2_LIMIT, &label), 1);
}

void metrics_collect(struct worker *worker)
{
    struct metrics *metrics = worker->metrics;
    size_t cursor = 0;
    const struct pool *pool;
    metrics->stamp++;
    while ((pool = table_next(&worker->pools, &cursor)) != NULL)
        collect_pool(metrics, pool);
    collect_credentials(metrics, worker);
    collect_stores(metrics, worker->stores);
    collect_filters(worker);
    clear_gone(metrics);
    metrics_copy(metrics, METRIC_CLIENT_CONNECTIONS, NULL, worker->client_count);
    /* Of clients alone: it says how busy a pod is, and a shared call is another side of what its followers ask. */
    metrics_copy(metrics, METRIC_EXCHANGES, NULL, worker->exchange_count - worker->flight_count);
    metrics_copy(metrics, METRIC_FLIGHTS, NULL, worker->flight_count);
    metrics_copy(metrics, METRIC_LOG_LOST, NULL, access_log_lost(worker->log));
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
