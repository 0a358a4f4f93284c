/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/collect.h"

#include "base/clock.h"
#include "gateway/asked.h"
#include "gateway/attempt.h"
#include "gateway/chain.h"
#include "gateway/exchange.h"
#include "gateway/respond.h"
#include "gateway/router.h"
#include "gateway/snapshot.h"
#include "gateway/worker.h"

static void request_phase(struct exchange *exchange);

/* ---- bytes ---- */

static void reader_failed(struct exchange *exchange)
{
    const struct request_reader *reader = exchange->reader;
    exchange->request_discard = !exchange->request_complete;
    respond_fault_text(exchange, reader->fault, reader->message, reader->param);
}

/* A body that is announced to be larger has to come before it is counted. */
#define HELD_AT_ONCE ((size_t)64 * 1024)

/*
 * What to count for a body of which `length` bytes are there: all of a small one, at most twice what has come of a
 * large one. Who announces much and sends little keeps nothing from others.
 */
static size_t needed(const struct exchange *exchange, size_t length)
{
    if (exchange->request.framing != BODY_LENGTH)
        return length;
    size_t all = (size_t)exchange->request.body_length, so_far = length < HELD_AT_ONCE / 2 ? HELD_AT_ONCE : 2 * length;
    return all < so_far ? all : so_far;
}

/*
 * Two halves must not wait for each other. So room for one largest body is left free; who finds no other becomes the
 * elder, one in the process, and from then on what it still needs is left free for it alone. An elder that gets nothing
 * for ELDER_REST is one no more: it came to idle.
 */
#define ELDER_REST (1 * CLOCK_SECOND)

static bool is_elder(const struct exchange *exchange)
{
    return atomic_load_explicit(&exchange->worker->process->elder, memory_order_relaxed) == exchange;
}

static void note_elder(const struct exchange *exchange, size_t needs)
{
    struct process *process = exchange->worker->process;
    atomic_store_explicit(&process->elder_needs, needs, memory_order_relaxed);
    atomic_store_explicit(&process->elder_came, loop_now(exchange->worker->loop), memory_order_relaxed);
}

static bool become_elder(const struct exchange *exchange)
{
    struct process *process = exchange->worker->process;
    const void *before = atomic_load(&process->elder);
    if (before && loop_now(exchange->worker->loop) < atomic_load(&process->elder_came) + ELDER_REST)
        return false;
    return atomic_compare_exchange_strong(&process->elder, &before, exchange);
}

void collect_yield(struct exchange *exchange)
{
    if (!is_elder(exchange))
        return;
    atomic_store(&exchange->worker->process->elder, NULL);
    worker_release(exchange->worker, 0);
}

/* What the whole body may still need beyond what is counted. */
static size_t rest_of(const struct exchange *exchange)
{
    size_t all = exchange->request.framing == BODY_LENGTH ? (size_t)exchange->request.body_length
                                                          : exchange->snapshot->config->limits.body;
    return all > exchange->held ? all - exchange->held : 0;
}

/* For an elder that is to come. Where little may be held in all, a quarter of it is everybody's. */
static size_t kept_free(const struct worker *worker)
{
    const struct config_limits *limits = &worker->snapshot->config->limits;
    return limits->body < limits->held / 4 * 3 ? limits->body : limits->held / 4 * 3;
}

static bool grow(struct exchange *exchange, size_t bytes)
{
    struct worker *worker = exchange->worker;
    struct process *process = worker->process;
    size_t rest = rest_of(exchange), after = rest > bytes ? rest - bytes : 0;
    if (is_elder(exchange)) {
        note_elder(exchange, after);
        return worker_hold(worker, bytes, 0);
    }
    bool is_one = atomic_load_explicit(&process->elder, memory_order_relaxed) != NULL;
    size_t spare = is_one ? atomic_load_explicit(&process->elder_needs, memory_order_relaxed) : kept_free(worker);
    if (worker_hold(worker, bytes, spare))
        return true;
    if (!become_elder(exchange))
        return false;
    note_elder(exchange, after);
    if (worker_hold(worker, bytes, after))
        return true;
    atomic_store(&process->elder, NULL);
    return false;
}

/* Counts what a body of `length` bytes so far needs. False: there is no room. */
static bool hold(struct exchange *exchange, size_t length)
{
    size_t all = needed(exchange, length);
    if (all <= exchange->held)
        return true;
    if (!grow(exchange, all - exchange->held))
        return false;
    exchange->held = all;
    if (all > length)
        (void)!buffer_reserve(&exchange->body, all - buffer_len(&exchange->body));
    return true;
}

static void collect(struct exchange *exchange, struct span bytes)
{
    if (buffer_len(&exchange->body) + bytes.len > exchange->snapshot->config->limits.body) {
        respond_fault(exchange, FAULT_BODY_TOO_LARGE);
        return;
    }
    if (!list_linked(&exchange->starved) && !hold(exchange, buffer_len(&exchange->body) + bytes.len)) {
        /* What came is kept (one read at most); the rest stays with the client until there is room. */
        exchange->client->ops->want(exchange->client, false);
        exchange_starve(exchange);
    }
    buffer_append(&exchange->body, bytes);
    if (exchange->reader && request_feed(exchange->reader, bytes) != FAULT_NONE)
        reader_failed(exchange);
}

/* What came while a head hook waited is the beginning of the body, perhaps all of it. */
static void take_early(struct exchange *exchange)
{
    struct buffer early = exchange->body;
    exchange->body = (struct buffer){0};
    if (buffer_len(&early))
        collect(exchange, buffer_span(&early));
    buffer_finish(&early);
    if (exchange->state != EXCHANGE_COLLECT || list_linked(&exchange->starved))
        return;
    if (exchange->request_complete)
        request_phase(exchange);
    else if (exchange->client)
        exchange->client->ops->want(exchange->client, true);
}

void collect_start(struct exchange *exchange)
{
    const struct message *request = &exchange->request;
    bool has_body = request->framing == BODY_LENGTH ? request->body_length > 0 : request->framing == BODY_CHUNKED;
    struct span message;
    enum fault refused = asked_reader(exchange, &message);
    if (refused != FAULT_NONE) {
        respond_fault_text(exchange, refused, message, (struct span){0});
        return;
    }
    exchange_enter(exchange, EXCHANGE_COLLECT);
    exchange->streaming_body = !exchange->inspected && has_body;
    if (request->expect_continue && !exchange->request_complete && exchange->client) {
        struct message interim = {.version = request->version, .status = 100, .framing = BODY_NONE, .keep_alive = true};
        exchange->client->ops->head(exchange->client, &interim, false);
    }
    if (exchange->inspected)
        take_early(exchange);
    else
        request_phase(exchange);
}

bool collect_resume(struct exchange *exchange)
{
    if (exchange->state != EXCHANGE_COLLECT || !exchange->client) {
        exchange_sated(exchange);
        return true;
    }
    if (!hold(exchange, buffer_len(&exchange->body)))
        return false;
    exchange_sated(exchange);
    if (exchange->request_complete)
        request_phase(exchange);
    else
        exchange->client->ops->want(exchange->client, true);
    return true;
}

/* A streamed body goes into the chain when the target can take it; until then it waits in `body`, at most one read. */
static void forward(struct exchange *exchange)
{
    bool ready = exchange->state >= EXCHANGE_ATTEMPT && attempts_wants_body(exchange->attempts) && !exchange->in.parked;
    if (!ready) {
        if (buffer_len(&exchange->body) > 0 && exchange->client)
            exchange->client->ops->want(exchange->client, false);
        return;
    }
    struct buffer waiting = exchange->body;
    exchange->body = (struct buffer){0};
    bool last = exchange->request_complete && !exchange->in.last;
    if (buffer_len(&waiting) > 0 || last)
        (void)!chain_request_body(exchange, buffer_span(&waiting), last);
    buffer_finish(&waiting);
    if (exchange->client && !exchange->in.parked && attempts_wants_body(exchange->attempts))
        exchange->client->ops->want(exchange->client, true);
}

void exchange_request_body(struct exchange *exchange, struct span bytes)
{
    exchange->bytes_in += bytes.len;
    if (exchange->state == EXCHANGE_DONE || exchange->request_discard)
        return;
    if (exchange->inspected && exchange->state == EXCHANGE_COLLECT) {
        collect(exchange, bytes);
        return;
    }
    if (exchange->state >= EXCHANGE_RESPOND && !exchange->streaming_body)
        return;
    buffer_append(&exchange->body, bytes);
    if (exchange->inspected || exchange->state == EXCHANGE_HEAD) {
        /* A head hook waits: what came with the head is kept, the rest stays with the client. */
        exchange->client->ops->want(exchange->client, false);
        return;
    }
    forward(exchange);
}

void exchange_request_end(struct exchange *exchange, const struct fields *trailers)
{
    (void)trailers; /* request trailers carry nothing for these APIs and are not forwarded */
    exchange->request_complete = true;
    if (exchange->state == EXCHANGE_DONE || exchange->request_discard)
        return;
    if (exchange->inspected && exchange->state == EXCHANGE_COLLECT) {
        if (!list_linked(&exchange->starved))
            request_phase(exchange);
        return;
    }
    if (exchange->streaming_body)
        forward(exchange);
}

void collect_upstream_room(struct exchange *exchange)
{
    if (exchange->streaming_body)
        forward(exchange);
}

void exchange_request_body_passed(struct exchange *exchange, struct span bytes, bool last)
{
    attempts_request_body(exchange->attempts, bytes, last);
}

/* ---- operation, model and body are known ---- */

/* False: answered with a fault. */
static bool find_model(struct exchange *exchange)
{
    switch (asked_model(exchange)) {
    case FAULT_NONE:
        return true;
    case FAULT_MODEL_NOT_FOUND:
        respond_model_not_found(exchange);
        return false;
    default:
        respond_fault_text(exchange, FAULT_MODEL_MISSING, (struct span){0}, SPAN("model"));
        return false;
    }
}

static void request_phase(struct exchange *exchange)
{
    exchange->body_at = clock_monotonic();
    collect_yield(exchange);
    if (exchange->reader) {
        if (request_finish(exchange->reader) != FAULT_NONE) {
            reader_failed(exchange);
            return;
        }
        exchange->operation_streams = exchange->info.stream;
    }
    exchange_enter(exchange, EXCHANGE_REQUEST);
    if (!exchange->passthrough && !exchange->listener->serves && !find_model(exchange))
        return;
    const struct filter_list *filters = asked_filters(exchange);
    if (filters)
        chain_join(exchange, filters->uses, filters->count);
    chain_request(exchange);
}

/* Every target of a passthrough or stateful operation is one; a model has its list. */
void exchange_request_passed(struct exchange *exchange)
{
    const struct model_target **order = NULL;
    const struct model_target *only;
    unsigned count = 1;
    if (exchange->listener->serves) {
        respond_fault(exchange, FAULT_UNKNOWN_PATH);
        return;
    }
    if (asked_only_target(exchange, &only) != FAULT_NONE) {
        respond_fault(exchange, FAULT_STATEFUL_TARGET);
        return;
    }
    if (!only) {
        order = ARENA_ARRAY(&exchange->arena, const struct model_target *, exchange->model->target_count);
        count = router_order(exchange->model, loop_now(exchange->worker->loop), &exchange->worker->random, order);
    }
    exchange_enter(exchange, EXCHANGE_ATTEMPT);
    attempts_start(exchange, only ? &only : order, count);
    if (exchange->streaming_body && exchange->state != EXCHANGE_DONE)
        forward(exchange);
}
