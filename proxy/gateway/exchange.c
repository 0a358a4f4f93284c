/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/exchange.h"

#include "base/clock.h"
#include "gateway/access_log.h"
#include "gateway/asked.h"
#include "gateway/attempt.h"
#include "gateway/chain.h"
#include "gateway/collect.h"
#include "gateway/flight.h"
#include "gateway/forwarded.h"
#include "gateway/metrics.h"
#include "gateway/respond.h"
#include "gateway/router.h"
#include "gateway/snapshot.h"
#include "gateway/worker.h"
#include "openai/query.h"
#include "net/pending.h"

/* How long a request waits for held bytes that others must give back first, and how often it looks whether another
 * worker has. */
#define STARVE_TIMEOUT (10 * CLOCK_SECOND)
#define STARVE_LOOK    (50 * CLOCK_MS)
#define REQUEST_ID_MAX 128

static const char *const state_names[] = {
    [EXCHANGE_OPEN] = "open",       [EXCHANGE_HEAD] = "head",       [EXCHANGE_COLLECT] = "collect",
    [EXCHANGE_REQUEST] = "request", [EXCHANGE_ATTEMPT] = "attempt", [EXCHANGE_RESPOND] = "respond",
    [EXCHANGE_DONE] = "done"};
_Static_assert(ARRAY_LEN(state_names) == EXCHANGE_DONE + 1, "every state has a name");

const char *exchange_state_name(enum exchange_state state)
{
    return state_names[state];
}

void exchange_enter(struct exchange *exchange, enum exchange_state state)
{
    if (log_enabled(LOG_DEBUG))
        log_write(LOG_DEBUG, "exchange", "%.*s %s -> %s", SPAN_ARG(exchange->id), state_names[exchange->state],
                  state_names[state]);
    exchange->state = state;
}

/* ---- life ---- */

struct exchange *exchange_create(struct worker *worker, struct snapshot *snapshot, const struct listener_use *listener,
                                 struct stream *client, struct span peer)
{
    struct arena arena;
    arena_init(&arena);
    struct exchange *exchange = ARENA_NEW(&arena, struct exchange);
    exchange->arena = arena;
    arena_init(&exchange->scratch);
    exchange->worker = worker;
    exchange->snapshot = snapshot_ref(snapshot);
    exchange->listener = listener;
    exchange->client = client;
    exchange->peer = arena_copy(&exchange->arena, peer); /* the exchange may outlive its connection */
    exchange->started = loop_now(worker->loop);
    list_init(&exchange->pendings);
    list_append(&worker->exchanges, &exchange->link);
    worker->exchange_count++;
    client->exchange = exchange;
    return exchange;
}

/* Gives back memory that does not lie in the arena; the arena itself goes at the end of the turn. */
static void free_exchange(void *object)
{
    struct exchange *exchange = object;
    struct arena arena = exchange->arena;
    snapshot_unref(exchange->snapshot);
    arena_finish(&arena);
}

static void dispose(struct exchange *exchange)
{
    struct worker *worker = exchange->worker;
    if (exchange->client)
        exchange->client->exchange = NULL;
    exchange->client = NULL;
    exchange_free_body(exchange);
    buffer_finish(&exchange->answer);
    buffer_finish(&exchange->in_buffer);
    buffer_finish(&exchange->out_buffer);
    chain_drop_waiting(exchange);
    list_remove(&exchange->link);
    list_remove(&exchange->starved);
    timer_clear(worker->loop, &exchange->starve_timer);
    task_cancel(&exchange->task);
    worker->exchange_count--;
    loop_bury(worker->loop, exchange, free_exchange);
}

void exchange_discard(struct exchange *exchange)
{
    exchange->state = EXCHANGE_DONE;
    dispose(exchange);
}

void exchange_drop_source(struct exchange *exchange)
{
    struct stream *source = exchange->source;
    if (!source)
        return;
    exchange->source = NULL;
    source->exchange = NULL;
    source->ops->reset(source, exchange->fault);
}

void exchange_end(struct exchange *exchange, enum outcome outcome)
{
    if (exchange->state == EXCHANGE_DONE)
        return;
    exchange_enter(exchange, EXCHANGE_DONE);
    exchange->ended = clock_monotonic();
    attempts_cancel(exchange->attempts);
    exchange_drop_source(exchange);
    pending_cancel_all(&exchange->pendings);
    chain_end(exchange, outcome);
    if (exchange->flight) {
        metrics_flight(exchange);
        flight_ended(exchange);
    } else if (!exchange->listener->admin) {
        access_log_write(exchange, outcome);
        metrics_exchange(exchange, outcome);
    }
    dispose(exchange);
}

/* ---- the request's head ---- */

static bool id_is_usable(struct span id)
{
    if (id.len == 0 || id.len > REQUEST_ID_MAX)
        return false;
    for (size_t i = 0; i < id.len; i++)
        if (id.ptr[i] <= ' ' || id.ptr[i] > '~' || id.ptr[i] == '"' || id.ptr[i] == '\\')
            return false;
    return true;
}

/* Eight hexadecimal digits, made side by side. */
static void put_hex(char *to, uint32_t number)
{
    uint64_t digits = number, sixes = UINT64_C(0x0606060606060606), tens = UINT64_C(0x1010101010101010);
    digits = (digits | digits << 16) & UINT64_C(0x0000FFFF0000FFFF);
    digits = (digits | digits << 8) & UINT64_C(0x00FF00FF00FF00FF);
    digits = (digits | digits << 4) & UINT64_C(0x0F0F0F0F0F0F0F0F);
    uint64_t letters = ((digits + sixes) & tens) >> 4;
    digits += UINT64_C(0x3030303030303030) + letters * ('a' - '0' - 10);
    digits = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __builtin_bswap64(digits) : digits;
    memcpy(to, &digits, sizeof(digits));
}

/* A client's own x-request-id is kept: it ties its logs to ours. Else one that is unique without randomness per
 * request. */
static void give_id(struct exchange *exchange)
{
    struct span theirs = fields_value(&exchange->request.fields, FIELD_X_REQUEST_ID);
    if (id_is_usable(theirs)) {
        exchange->id = theirs;
        return;
    }
    struct worker *worker = exchange->worker;
    char *id = arena_bytes(&exchange->arena, 32);
    memcpy(id, worker->process->instance_id, 16);
    uint64_t number = ++worker->request_count ^ ((uint64_t)worker->index << 56);
    put_hex(id + 16, (uint32_t)(number >> 32));
    put_hex(id + 24, (uint32_t)number);
    exchange->id = span_of(id, 32);
}

void exchange_request_head(struct exchange *exchange, bool end)
{
    exchange->head_at = clock_monotonic();
    exchange->request_complete = end;
    give_id(exchange);
    if (exchange->listener->config)
        exchange->peer =
            forwarded_peer(&exchange->arena, exchange->listener->config, &exchange->request.fields, exchange->peer);
    asked_operation(exchange);
    exchange_enter(exchange, EXCHANGE_HEAD);
    const struct filter_list *filters = &exchange->listener->filters;
    unsigned room = filters->count + exchange->snapshot->filters_most;
    chain_init(exchange, room);
    chain_join(exchange, filters->uses, filters->count);
    chain_request_head(exchange);
}

/* ---- when the head hooks are through ---- */

/* GET /v1/models and GET /v1/models/{name}: what the configuration offers is the answer. */
static void answer_models(struct exchange *exchange)
{
    const struct api_call *call = &exchange->call;
    bool azure = call->dialect != DIALECT_OPENAI;
    buffer_finish(&exchange->answer);
    if (call->operation->id == OPERATION_MODELS) {
        router_list_models(exchange->snapshot, exchange, chain_shows_model, azure, &exchange->answer);
    } else {
        /* The rest of the path is the name; a slash in it is a slash in the name. */
        struct span name = {0};
        if (!percent_decode(span_skip(call->resource, 1), false, &exchange->arena, &name) ||
            !chain_shows_model(exchange, name) ||
            !router_show_model(exchange->snapshot, name, azure, &exchange->answer)) {
            exchange->model_asked = name;
            respond_model_not_found(exchange);
            return;
        }
    }
    exchange->answer_status = 200;
    exchange->answer_type = SPAN("application/json");
    exchange_answered(exchange);
}

static void not_allowed(struct exchange *exchange)
{
    fields_add(&exchange->answer_fields, &exchange->arena, SPAN("allow"),
               operation_allow(&exchange->arena, exchange->request.path));
    respond_fault(exchange, FAULT_METHOD_NOT_ALLOWED);
}

void exchange_head_passed(struct exchange *exchange)
{
    if (exchange->call_fault == FAULT_METHOD_NOT_ALLOWED) {
        not_allowed(exchange);
        return;
    }
    if (exchange->listener->admin && exchange->call_fault == FAULT_NONE)
        exchange->call_fault = FAULT_UNKNOWN_PATH;
    if (exchange->call_fault != FAULT_NONE) {
        respond_fault(exchange, exchange->call_fault);
        return;
    }
    const struct operation *operation = exchange->call.operation;
    if (operation && (operation->id == OPERATION_MODELS || operation->id == OPERATION_MODEL) &&
        exchange->request.method != HTTP_DELETE) {
        answer_models(exchange);
        return;
    }
    if (operation && (operation->flags & OPERATION_WEBSOCKET) && exchange->request.method == HTTP_GET) {
        respond_fault(exchange, FAULT_NOT_IMPLEMENTED);
        return;
    }
    collect_start(exchange);
}

/* ---- ends of the client's side ---- */

void exchange_client_failed(struct exchange *exchange, enum fault why, const char *reason)
{
    exchange->client = NULL;
    if (exchange->state == EXCHANGE_DONE)
        return;
    /* It has all it needs, unless a filter still holds it up. */
    bool whole = attempts_finished_well(exchange->attempts) || exchange->answer_whole;
    bool fine = whole && exchange->response_started && !exchange->out.parked;
    if (!fine) {
        exchange->fault = why == FAULT_NONE ? FAULT_CLIENT_GONE : why;
        exchange->fault_detail = span_str(reason);
    }
    exchange_end(exchange, fine ? OUTCOME_COMPLETED : OUTCOME_CANCELLED);
}

void exchange_request_bad(struct exchange *exchange, enum fault why, const char *reason)
{
    if (exchange->state == EXCHANGE_OPEN) {
        exchange->head_at = clock_monotonic();
        give_id(exchange);
        chain_init(exchange, 0);
    }
    exchange->fault_detail = span_str(reason);
    exchange->request_discard = true;
    struct span message = span_str(reason);
    if (message.len)
        message = arena_format(&exchange->arena, "%.*s %s", SPAN_ARG(fault_entry(why)->message), reason);
    exchange_fail(exchange, why, message, (struct span){0});
}

/* ---- memory ---- */

void exchange_free_body(struct exchange *exchange)
{
    buffer_finish(&exchange->body);
    exchange->reader = NULL;
    exchange->info.members = NULL;
    exchange->info.member_count = 0;
    exchange->info.model = exchange->model_asked;
    exchange->info.temperature_raw = exchange->info.response_format = exchange->info.boundary = (struct span){0};
    arena_finish(&exchange->scratch);
    collect_yield(exchange);
    if (exchange->held) {
        worker_release(exchange->worker, exchange->held);
        exchange->held = 0;
    }
}

static void starve_timed_out(struct timer *timer)
{
    struct exchange *exchange = CONTAINER_OF(timer, struct exchange, starve_timer);
    struct worker *worker = exchange->worker;
    if (loop_now(worker->loop) < exchange->starved_until) {
        loop_post(worker->loop, &worker->feed_starved);
        timer_set(worker->loop, timer, loop_now(worker->loop) + STARVE_LOOK);
        return;
    }
    if (collect_resume(exchange))
        return;
    exchange_sated(exchange);
    respond_fault(exchange, FAULT_OVERLOADED);
}

void exchange_starve(struct exchange *exchange)
{
    if (list_linked(&exchange->starved))
        return;
    list_append(&exchange->worker->starved, &exchange->starved);
    exchange->starve_timer.fire = starve_timed_out;
    uint64_t now = loop_now(exchange->worker->loop);
    exchange->starved_until = now + STARVE_TIMEOUT;
    timer_set(exchange->worker->loop, &exchange->starve_timer, now + STARVE_LOOK);
}

void exchange_sated(struct exchange *exchange)
{
    list_remove(&exchange->starved);
    timer_clear(exchange->worker->loop, &exchange->starve_timer);
}
