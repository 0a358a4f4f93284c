/* SPDX-License-Identifier: Apache-2.0 */
/*
 * admin: answers on the admin listener and on the control socket. Not for configurations to name. The admin listener
 * only shows; what changes something is on the control socket alone, whose file permissions say who may.
 */
#include "base/clock.h"
#include "gateway/credentials.h"
#include "filters/cache.h"
#include "gateway/exchange.h"
#include "gateway/filter.h"
#include "gateway/metrics.h"
#include "gateway/redis_stores.h"
#include "gateway/snapshot.h"
#include "gateway/target_state.h"
#include "gateway/worker.h"

static const struct span text_type = SPAN_INIT("text/plain; charset=utf-8");
static const struct span json_type = SPAN_INIT("application/json");
static const struct span metrics_type = SPAN_INIT("text/plain; version=0.0.4; charset=utf-8");

static enum verdict answer(struct filter *filter, unsigned status, struct span type, struct span body)
{
    filter_answer_field(filter, SPAN("cache-control"), SPAN("no-store"));
    filter_answer(filter, status, type, body);
    return FILTER_ANSWERED;
}

static struct process *process_of(const struct filter *filter)
{
    return filter->exchange->worker->process;
}

/* ---- pages ---- */

/* Alive: the loop turns, or nobody would answer. */
static enum verdict show_healthz(struct filter *filter)
{
    return answer(filter, 200, text_type, SPAN("ok\n"));
}

/* An accepted POST /drain counts from its answer on, not from when the main thread next looks. */
static bool is_ready(struct process *process)
{
    return atomic_load(&process->ready) && !atomic_load(&process->drain_requested);
}

static enum verdict show_readyz(struct filter *filter)
{
    if (is_ready(process_of(filter)))
        return answer(filter, 200, text_type, SPAN("ready\n"));
    return answer(filter, 503, text_type, SPAN("not ready: starting or draining\n"));
}

static enum verdict show_metrics(struct filter *filter)
{
    struct buffer page = {0};
    metrics_collect(filter->exchange->worker);
    metrics_render(process_of(filter), &page);
    enum verdict verdict = answer(filter, 200, metrics_type, buffer_span(&page));
    buffer_finish(&page);
    return verdict;
}

static enum verdict show_version(struct filter *filter)
{
    return answer(filter, 200, json_type, SPAN("{\"version\":\"" POSTERN_VERSION "\"}\n"));
}

static void append_state(struct buffer *page, const struct model_target *to, uint64_t now)
{
    uint64_t until = target_state_blocked(to->state, now);
    buffer_append(page, SPAN("{\"deployment\":\""));
    buffer_append_json(page, to->deployment);
    buffer_format(page, "\",\"available\":%s", until ? "false" : "true");
    if (until)
        buffer_format(page, ",\"available_in_ms\":%llu", (unsigned long long)((until - now) / CLOCK_MS));
    buffer_append(page, SPAN("}"));
}

static bool same_way(const struct model_target *a, const struct model_target *b)
{
    return a->state == b->state;
}

/* Whether an earlier entry of the configuration is the same target and deployment. */
static bool shown_before(const struct snapshot *snapshot, unsigned model, unsigned entry)
{
    const struct model_target *to = &snapshot->models[model].targets[entry];
    for (unsigned m = 0; m <= model; m++)
        for (unsigned i = 0; i < (m < model ? snapshot->models[m].target_count : entry); i++)
            if (same_way(&snapshot->models[m].targets[i], to))
                return true;
    return false;
}

static void append_target(struct buffer *page, const struct filter *filter, const struct target *target)
{
    const struct snapshot *snapshot = filter->exchange->snapshot;
    uint64_t now = loop_now(filter->exchange->worker->loop);
    struct metrics_pool_sum pool = metrics_pool_sum(process_of(filter), target->name);
    buffer_append(page, SPAN("{\"name\":\""));
    buffer_append_json(page, target->name);
    buffer_format(page, "\",\"provider\":\"%.*s\",\"connections\":{\"idle\":%llu,\"busy\":%llu,\"connecting\":%llu},",
                  SPAN_ARG(target->provider), (unsigned long long)pool.idle, (unsigned long long)pool.busy,
                  (unsigned long long)pool.connecting);
    buffer_format(page, "\"waiting\":%llu,\"deployments\":[", (unsigned long long)pool.waiting);
    bool more = false;
    for (unsigned m = 0; m < snapshot->model_count; m++)
        for (unsigned i = 0; i < snapshot->models[m].target_count; i++) {
            const struct model_target *to = &snapshot->models[m].targets[i];
            if (to->target != target || shown_before(snapshot, m, i))
                continue;
            if (more)
                buffer_append(page, SPAN(","));
            append_state(page, to, now);
            more = true;
        }
    buffer_append(page, SPAN("]}"));
}

/* Of the worker that answers; the others meet the same. */
static void append_credentials(struct buffer *page, struct worker *worker)
{
    struct credential_status status;
    size_t cursor = 0;
    buffer_append(page, SPAN("],\"credentials\":["));
    for (bool more = false; credentials_status(worker, &cursor, &status); more = true) {
        buffer_format(page, "%s{\"name\":\"", more ? "," : "");
        buffer_append_json(page, status.name);
        buffer_format(page, "\",\"kind\":\"%.*s\",\"state\":\"%s\"", SPAN_ARG(status.kind),
                      credential_state_name(status.state));
        if (status.expires_in)
            buffer_format(page, ",\"expires_in_seconds\":%llu", (unsigned long long)(status.expires_in / CLOCK_SECOND));
        if (status.retry_in)
            buffer_format(page, ",\"retry_in_seconds\":%llu", (unsigned long long)(status.retry_in / CLOCK_SECOND));
        if (status.code)
            buffer_format(page, ",\"code\":\"AADSTS%llu\"", (unsigned long long)status.code);
        if (status.detail[0]) {
            buffer_append(page, SPAN(",\"detail\":\""));
            buffer_append_json(page, span_str(status.detail));
            buffer_append(page, SPAN("\""));
        }
        buffer_append(page, SPAN("}"));
    }
}

/* Of the worker that answers, too. */
static void append_stores(struct buffer *page, struct worker *worker)
{
    struct redis_store *store = NULL;
    struct redis_status status;
    const char *comma = "";
    buffer_append(page, SPAN("],\"stores\":["));
    while ((store = redis_store_next(worker->stores, store)) != NULL) {
        if (!store->redis)
            continue;
        redis_store_status(store, &status);
        buffer_format(page, "%s{\"name\":\"", comma);
        buffer_append_json(page, store->name);
        buffer_format(page,
                      "\",\"state\":\"%s\",\"servers\":%u,\"connected\":%u,\"waiting\":%u,\"unanswered\":%u,"
                      "\"commands\":%llu,\"timeouts\":%llu",
                      redis_state_word(&status), status.nodes, status.nodes_ready, status.waiting, status.unanswered,
                      (unsigned long long)status.counters.asked, (unsigned long long)status.counters.timeouts);
        if (status.nodes_ready == 0 || status.nodes_ready < status.nodes) {
            buffer_append(page, SPAN(",\"detail\":\""));
            buffer_append_json(page, span_str(status.why));
            buffer_append(page, SPAN("\""));
        }
        buffer_append(page, SPAN("}"));
        comma = ",";
    }
}

/* What has come of the last reading of the configuration's files. */
static void append_reload(struct buffer *page, const struct reload_status *reload)
{
    bool failing = atomic_load(&reload->failing);
    buffer_format(page, ",\"checked_at\":%llu,\"refused\":%s",
                  (unsigned long long)(atomic_load(&reload->at) / CLOCK_SECOND), failing ? "true" : "false");
    if (!failing)
        return;
    buffer_format(page, ",\"refused_at\":%llu,\"errors\":[", (unsigned long long)(reload->refused_at / CLOCK_SECOND));
    struct span rest = buffer_span(&reload->errors), line;
    for (bool more = false; rest.len && span_split(&rest, '\n', &line);) {
        if (!line.len)
            continue;
        buffer_append(page, more ? SPAN(",\"") : SPAN("\""));
        buffer_append_json(page, line);
        buffer_append(page, SPAN("\""));
        more = true;
    }
    buffer_append(page, SPAN("]"));
}

static enum verdict show_status(struct filter *filter)
{
    struct buffer page = {0};
    struct process *process = process_of(filter);
    const struct snapshot *snapshot = filter->exchange->snapshot;
    metrics_collect(filter->exchange->worker);
    struct metrics_sum sum = metrics_sum(process);
    buffer_format(&page,
                  "{\"version\":\"" POSTERN_VERSION "\",\"ready\":%s,\"draining\":%s,\"workers\":%u,"
                  "\"configuration\":{\"generation\":%llu,\"loaded_at\":%llu",
                  is_ready(process) ? "true" : "false",
                  atomic_load(&process->drain_requested) || filter->exchange->worker->draining ? "true" : "false",
                  process->worker_count, (unsigned long long)snapshot->generation,
                  (unsigned long long)(snapshot->loaded_wall / CLOCK_SECOND));
    append_reload(&page, &process->reload);
    buffer_format(&page, "},\"connections\":%llu,\"exchanges\":%llu,\"held_bytes\":%zu,\"targets\":[",
                  (unsigned long long)sum.clients, (unsigned long long)sum.exchanges, atomic_load(&process->held));
    for (unsigned i = 0; i < snapshot->target_count; i++) {
        if (i)
            buffer_append(&page, SPAN(","));
        append_target(&page, filter, &snapshot->targets[i]);
    }
    append_credentials(&page, filter->exchange->worker);
    append_stores(&page, filter->exchange->worker);
    buffer_append(&page, SPAN("]}\n"));
    enum verdict verdict = answer(filter, 200, json_type, buffer_span(&page));
    buffer_finish(&page);
    return verdict;
}

static enum verdict start_drain(struct filter *filter)
{
    atomic_store(&process_of(filter)->drain_requested, true);
    return answer(filter, 202, json_type, SPAN("{\"draining\":true}\n"));
}

static enum verdict show_index(struct filter *filter);

/* ---- the list of them ---- */

struct page {
    struct span path;
    enum verdict (*show)(struct filter *filter);
    bool control; /* on the control socket alone */
    bool post;    /* changes something */
    const char *help;
};

static const struct page pages[] = {
    {SPAN_INIT("/"), show_index, false, false, "this list"},
    {SPAN_INIT("/healthz"), show_healthz, false, false, "200 while the process serves: for liveness probes"},
    {SPAN_INIT("/readyz"), show_readyz, false, false, "200 while it wants requests, else 503: for readiness probes"},
    {SPAN_INIT("/metrics"), show_metrics, false, false, "Prometheus text format"},
    {SPAN_INIT("/version"), show_version, false, false, "the version"},
    {SPAN_INIT("/status"), show_status, true, false, "targets, credentials, stores, connections, configuration"},
    {SPAN_INIT("/cache/purge"), cache_purge_page, true, true,
     "POST: forget kept answers; ?model=, ?consumer= or ?key= for some, &filter= for one cache"},
    {SPAN_INIT("/drain"), start_drain, true, true, "POST: begin to end, as SIGTERM does"},
};

static bool is_here(const struct filter *filter, const struct page *page)
{
    return !page->control || filter->exchange->listener->control;
}

static enum verdict show_index(struct filter *filter)
{
    struct buffer text = {0};
    buffer_append(&text, SPAN("Postern " POSTERN_VERSION "\n\n"));
    for (size_t i = 0; i < ARRAY_LEN(pages); i++)
        if (is_here(filter, &pages[i]))
            buffer_format(&text, "%-13.*s %s\n", SPAN_ARG(pages[i].path), pages[i].help);
    enum verdict verdict = answer(filter, 200, text_type, buffer_span(&text));
    buffer_finish(&text);
    return verdict;
}

static enum verdict on_request_head(struct filter *filter)
{
    const struct message *request = &filter->exchange->request;
    for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
        const struct page *page = &pages[i];
        if (!span_equal(request->path, page->path) || !is_here(filter, page))
            continue;
        bool allowed =
            page->post ? request->method == HTTP_POST : request->method == HTTP_GET || request->method == HTTP_HEAD;
        if (allowed)
            return page->show(filter);
        filter_answer_field(filter, SPAN("allow"), page->post ? SPAN("POST") : SPAN("GET, HEAD"));
        filter_fail(filter, FAULT_METHOD_NOT_ALLOWED, (struct span){0}, (struct span){0});
        return FILTER_FAIL;
    }
    filter_fail(filter, FAULT_UNKNOWN_PATH, SPAN("Unknown path; / lists what there is."), (struct span){0});
    return FILTER_FAIL;
}

const struct filter_type filter_admin = {.name = "admin", .on_request_head = on_request_head};
