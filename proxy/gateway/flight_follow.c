/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "gateway/attempt.h"
#include "gateway/exchange.h"
#include "gateway/flight_internal.h"
#include "gateway/paced_stream.h"
#include "gateway/worker.h"

/* Bytes handed on before others get their turn. */
#define TURN_BYTES 65536

static struct flight_follower *follower_of(struct stream *stream)
{
    return CONTAINER_OF(stream, struct flight_follower, stream);
}

/* ---- leaving ---- */

/*
 * Whose request it was has had part of an answer, perhaps none: its limits are settled as if it had made the call
 * itself. The first is always on the owner's thread.
 */
static void tell_part(struct flight_follower *follower)
{
    const struct exchange *flown = follower->flight->flown;
    struct exchange *exchange = follower->exchange;
    if (!flown || follower->flight->given)
        return;
    exchange->local_answer = false;
    exchange->sent_at = flown->sent_at;
    exchange->facts.text_bytes = flight_facts_now(flown)->text_bytes;
}

static void leave(struct flight_follower *follower)
{
    struct flight *flight = follower->flight;
    if (!flight)
        return;
    if (follower->first && !follower->told)
        tell_part(follower);
    follower->flight = NULL;
    task_cancel(&follower->task);
    pthread_mutex_lock(&flight->mutex);
    list_remove(&follower->link);
    flight->follower_count--;
    bool last = flight->follower_count == 0 && !flight->done && !flight->background;
    bool look = last || flight->choked;
    flight->closed |= last;
    pthread_mutex_unlock(&flight->mutex);
    if (last)
        flight_forget(flight);
    if (look)
        flight_tell_owner(flight, follower->exchange->worker);
    flight_unref(flight);
}

/* ---- what it hands on ---- */

/* The first's log line tells of the call as if it had made it itself. */
static void tell_tries(struct flight_follower *follower)
{
    const struct flight *flight = follower->flight;
    struct arena *arena = &follower->exchange->arena;
    struct attempts *all = ARENA_NEW(arena, struct attempts);
    all->exchange = follower->exchange;
    for (unsigned i = 0; i < flight->record_count; i++) {
        const struct flight_record *from = &flight->records[i];
        struct attempt_record *record = ARENA_NEW(arena, struct attempt_record);
        record->target = arena_copy(arena, from->target);
        record->deployment = arena_copy(arena, from->deployment);
        record->detail = arena_copy(arena, from->detail);
        record->request_id = arena_copy(arena, from->request_id);
        record->status = from->status;
        record->fault = from->fault;
        record->started = from->started;
        record->ended = from->ended;
        if (all->last)
            all->last->next = record;
        else
            all->first = record;
        all->last = record;
    }
    follower->exchange->attempts = all;
}

/* The answer is known to its end. */
static void tell_facts(struct flight_follower *follower)
{
    struct flight *flight = follower->flight;
    struct exchange *exchange = follower->exchange;
    exchange->facts = flight->facts;
    exchange->facts.model = arena_copy(&exchange->arena, flight->facts.model);
    exchange->facts.error_code = arena_copy(&exchange->arena, flight->facts.error_code);
    exchange->facts.error_type = arena_copy(&exchange->arena, flight->facts.error_type);
    exchange->usage_estimated = flight->usage_estimated;
    exchange->fault = flight->fault;
    exchange->fault_detail = arena_copy(&exchange->arena, flight->fault_detail);
    exchange->answer_end_at = flight->answer_end_at;
    follower->told = exchange->answer_whole = true;
    if (!follower->first)
        return;
    exchange->sent_at = flight->sent_at;
    tell_tries(follower);
}

static void copy_head(struct flight_follower *follower)
{
    struct exchange *exchange = follower->exchange;
    const struct message *from = &follower->flight->head;
    exchange->response = *from;
    exchange->response.reason = arena_copy(&exchange->arena, from->reason);
    fields_clone(&exchange->response.fields, &exchange->arena, &from->fields, 4);
}

static void begin(struct flight_follower *follower)
{
    struct exchange *exchange = follower->exchange;
    const struct message *head = &exchange->response;
    follower->began = true;
    copy_head(follower);
    exchange->first_byte_at = clock_monotonic();
    exchange->local_answer = false;
    if (follower->flight->ops->dress)
        follower->flight->ops->dress(follower);
    bool empty = head->framing == BODY_NONE || (head->framing == BODY_LENGTH && head->body_length == 0);
    stream_arrived_head(&follower->stream, &exchange->response, empty);
}

static void end(struct flight_follower *follower)
{
    leave(follower);
    stream_arrived_end(&follower->stream, NULL);
}

static void fail(struct flight_follower *follower, enum fault why, const char *reason)
{
    leave(follower);
    stream_arrived_failure(&follower->stream, why == FAULT_NONE ? FAULT_UPSTREAM_CLOSED : why, reason, false);
}

/* Another source goes on in this one's place. */
static void hand_over(struct flight_follower *follower, struct buffer *body, uint64_t pause)
{
    struct exchange *exchange = follower->exchange;
    leave(follower);
    follower->stream.exchange = NULL;
    exchange->source = paced_stream_create(exchange, &exchange->response, body, pause);
    exchange->source->exchange = exchange;
}

/* The result that takes the answer's place goes out in one piece, or as if it were made just now. */
static void answer(struct flight_follower *follower)
{
    struct flight *flight = follower->flight;
    struct exchange *exchange = follower->exchange;
    struct buffer body = {0};
    uint64_t pause = 0;
    follower->began = true;
    exchange->first_byte_at = clock_monotonic();
    exchange->response = (struct message){.version = HTTP_1_1, .keep_alive = true};
    if (!flight->ops->answer(follower, flight->result, &body, &pause)) {
        buffer_finish(&body);
        fail(follower, FAULT_INTERNAL, "what was kept could not be put into this form");
        return;
    }
    if (pause) {
        hand_over(follower, &body, pause);
        return;
    }
    exchange->response.framing = BODY_LENGTH;
    exchange->response.body_length = buffer_len(&body);
    stream_arrived_head(&follower->stream, &exchange->response, false);
    if (follower->flight)
        stream_arrived_body(&follower->stream, buffer_span(&body));
    buffer_finish(&body);
    if (follower->flight)
        end(follower);
}

/* ---- bytes ---- */

/* An event stream stands between two events when an empty line was the last. */
static bool mid_event(bool before, struct span piece)
{
    unsigned line_ends = 0;
    for (size_t i = piece.len; i > 0 && line_ends < 2; i--) {
        if (piece.ptr[i - 1] == '\n')
            line_ends++;
        else if (piece.ptr[i - 1] != '\r')
            return true;
    }
    return line_ends < 2 && before;
}

/* The next bytes this follower gets, at most `total`; empty: what stands there is hidden and was skipped. */
static struct span next_piece(struct flight_follower *follower, uint64_t at, uint64_t total, uint64_t *ret_next)
{
    struct flight *flight = follower->flight;
    struct flight_chunk *chunk = follower->chunk;
    if (!chunk)
        chunk = flight->log.first; /* it has had nothing, so nothing has been given back */
    while (at >= chunk->start + chunk->cap)
        chunk = chunk->next;
    follower->chunk = chunk;
    uint64_t until = chunk->start + chunk->cap < total ? chunk->start + chunk->cap : total;
    bool hidden = false;
    pthread_mutex_lock(&flight->mutex);
    while (follower->ranges < flight->range_count && flight->ranges[follower->ranges].end <= at)
        follower->ranges++;
    if (!follower->unhidden && follower->ranges < flight->range_count) {
        const struct flight_range *range = &flight->ranges[follower->ranges];
        hidden = range->start <= at;
        uint64_t border = hidden ? range->end : range->start;
        until = border < until ? border : until;
    }
    pthread_mutex_unlock(&flight->mutex);
    *ret_next = until;
    return hidden ? (struct span){0} : span_of(chunk->bytes + (at - chunk->start), (size_t)(until - at));
}

/* True: everything up to `total` has been handed on. */
static bool hand_on(struct flight_follower *follower, uint64_t total)
{
    struct exchange *exchange = follower->exchange;
    uint64_t at = atomic_load_explicit(&follower->position, memory_order_relaxed);
    for (uint64_t turn_end = at + TURN_BYTES; at < total && at < turn_end && !follower->unwanted;) {
        uint64_t next;
        struct span piece = next_piece(follower, at, total, &next);
        /* What a flight that failed leaves to read is an error, not content. */
        if (piece.len && !exchange->first_content_at && exchange->response.status < 400)
            exchange->first_content_at = clock_monotonic();
        if (piece.len) {
            exchange->mid_event = exchange->response_is_stream && mid_event(exchange->mid_event, piece);
            stream_arrived_body(&follower->stream, piece);
        }
        if (!follower->flight)
            return false;
        at = next;
        atomic_store_explicit(&follower->position, at, memory_order_relaxed);
        follower->unwanted |= !exchange_wants_response(exchange);
    }
    if (at < total && !follower->unwanted)
        loop_post(exchange->worker->loop, &follower->task);
    return at == total;
}

/* ---- turns ---- */

struct view {
    bool has_head, held, given, known, done, broken, choked, cut;
    uint64_t total;
};

static struct view look(struct flight_follower *follower)
{
    struct flight *flight = follower->flight;
    pthread_mutex_lock(&flight->mutex);
    struct view view = {.has_head = flight->has_head,
                        .held = flight->held,
                        .given = flight->given,
                        .known = flight->known,
                        .done = flight->done,
                        .broken = flight->broken,
                        .choked = flight->choked,
                        .cut = follower->cut,
                        .total = flight->total};
    pthread_mutex_unlock(&flight->mutex);
    return view;
}

static void finish(struct flight_follower *follower, const struct view *view)
{
    if (view->broken || !view->has_head)
        fail(follower, follower->flight->fault, "the shared call broke off");
    else
        end(follower);
}

static void run(struct task *task)
{
    struct flight_follower *follower = CONTAINER_OF(task, struct flight_follower, task);
    if (!follower->flight)
        return;
    struct view view = look(follower);
    if (view.cut) {
        fail(follower, FAULT_OVERLOADED, "it fell too far behind the others");
        return;
    }
    if (view.given && !follower->began) {
        answer(follower);
        return;
    }
    if (!view.done && (view.held || !view.has_head))
        return;
    if (!follower->began && view.has_head)
        begin(follower);
    if (!follower->flight)
        return;
    bool all = view.has_head ? hand_on(follower, view.total) : true;
    if (follower->flight && view.choked)
        flight_tell_owner(follower->flight, follower->exchange->worker);
    if (!follower->flight || !all)
        return;
    if (view.known && !follower->told)
        tell_facts(follower);
    if (view.done)
        finish(follower, &view);
}

/* ---- stream ops ---- */

static void op_want(struct stream *stream, bool more)
{
    struct flight_follower *follower = follower_of(stream);
    follower->unwanted = !more;
    if (more && follower->flight)
        loop_post(follower->exchange->worker->loop, &follower->task);
}

static void op_reset(struct stream *stream, enum fault why)
{
    (void)why;
    leave(follower_of(stream));
}

static const struct stream_ops follower_ops = {.name = "follower", .want = op_want, .reset = op_reset};

struct flight_follower *flight_follower_add(struct flight *flight, struct flight_desk *desk, struct filter *filter,
                                            const struct flight_plan *plan)
{
    struct exchange *exchange = filter->exchange;
    struct flight_follower *follower = ARENA_NEW(&exchange->arena, struct flight_follower);
    struct flight_branch *branch = &flight->branches[desk->worker->index];
    follower->stream.ops = &follower_ops;
    follower->flight = flight_ref(flight);
    follower->filter = filter;
    follower->exchange = exchange;
    follower->task.run = run;
    follower->unhidden = plan->unhidden;
    branch->desk = desk;
    list_append(&branch->followers, &follower->link);
    flight->follower_count++;
    loop_post(exchange->worker->loop, &follower->task);
    return follower;
}
