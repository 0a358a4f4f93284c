/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/attempt.h"

#include "base/clock.h"
#include "gateway/attempt_answer.h"
#include "gateway/collect.h"
#include "gateway/credentials.h"
#include "gateway/exchange.h"
#include "gateway/local_stream.h"
#include "gateway/retry_after.h"
#include "gateway/target_limits.h"
#include "gateway/target_state.h"
#include "gateway/upstream_head.h"
#include "gateway/worker.h"
#include "openai/dialect.h"

/* Longest wait for a token; a client that waits for the answer has more patience than for the lack of one. */
#define CREDENTIAL_WAIT (30 * CLOCK_SECOND)

static void start(struct attempts *all, const struct model_target *to, struct target_hold *hold,
                  const struct attempt *before, unsigned how);

/* ---- the series ---- */

void attempts_start(struct exchange *exchange, const struct model_target *const *order, unsigned count)
{
    struct attempts *all = ARENA_NEW(&exchange->arena, struct attempts);
    all->exchange = exchange;
    all->order = ARENA_ARRAY(&exchange->arena, const struct model_target *, count ? count : 1);
    for (unsigned i = 0; i < count; i++)
        all->order[i] = order[i];
    all->count = count;
    all->most = exchange->snapshot->config->attempts.max;
    all->replayable = !exchange->streaming_body;
    exchange->attempts = all;
    attempts_next(all);
}

bool attempts_left(const struct attempts *all)
{
    return all->replayable && all->next < all->count && all->made < all->most;
}

/* Nothing was tried: all targets are at their limits. */
static void refuse(struct attempts *all)
{
    struct exchange *exchange = all->exchange;
    struct arena *arena = &exchange->arena;
    struct span text = SPAN("The request is larger than the limits of every target of this model.");
    if (all->limit_wait != LIMIT_NEVER)
        text = arena_format(arena, "All targets of this model are at their limits. Please try again in %.*s.",
                            SPAN_ARG(retry_after_text(arena, all->limit_wait)));
    retry_after_fields(exchange, all->limit_wait);
    exchange->fault_detail = SPAN("all targets are at their limits");
    exchange_fail(exchange, FAULT_RATE_LIMITED, text, (struct span){0});
}

/* None is left: the client gets the last one's fault. */
static void give_up(struct attempts *all)
{
    const struct attempt_record *last = all->last;
    enum fault why = last ? last->fault : FAULT_NO_TARGET;
    struct exchange *exchange = all->exchange;
    if (!last && all->limit_wait) {
        refuse(all);
        return;
    }
    exchange->fault_detail = last ? last->detail : (struct span){0};
    exchange_fail(exchange, why == FAULT_NONE ? FAULT_NO_TARGET : why, (struct span){0}, (struct span){0});
}

static void begin(struct attempts *all, struct target_hold *hold)
{
    all->made++;
    all->to = all->order[all->next++];
    start(all, all->to, hold, NULL, 0);
}

static void pass_over(struct attempts *all, uint64_t wait)
{
    if (!all->passed)
        all->passed = ARENA_ARRAY(&all->exchange->arena, const struct model_target *, all->count);
    all->passed[all->passed_count++] = all->order[all->next++];
    if (!all->limit_wait || wait < all->limit_wait)
        all->limit_wait = wait ? wait : 1;
}

void attempts_next(struct attempts *all)
{
    struct target_hold *hold;
    uint64_t wait;
    while ((all->made == 0 && all->next < all->count) || attempts_left(all)) {
        switch (target_limits_reserve(all, all->order[all->next], &hold, &wait)) {
        case LIMITS_GRANTED:
            begin(all, hold);
            return;
        case LIMITS_PENDING:
            all->pending = hold;
            return;
        case LIMITS_REFUSED:
        case LIMITS_LOST:
            pass_over(all, wait);
        }
    }
    give_up(all);
}

void attempts_reserved(struct attempts *all, struct target_hold *hold, uint64_t wait)
{
    all->pending = NULL;
    if (hold) {
        begin(all, hold);
        return;
    }
    pass_over(all, wait);
    attempts_next(all);
}

void attempts_cancel(struct attempts *all)
{
    if (!all)
        return;
    target_limits_cancel(all->pending);
    all->pending = NULL;
    if (!all->current)
        return;
    attempt_leave(all->current, all->finished_well ? FAULT_NONE : FAULT_CLIENT_GONE);
    all->current = NULL;
}

bool attempts_finished_well(const struct attempts *all)
{
    return all && all->finished_well;
}

bool attempts_sending(const struct attempts *all)
{
    return all && all->current && !all->current->request_sent;
}

void attempts_resume(struct attempts *all)
{
    struct attempt *attempt = all->current;
    if (attempt && attempt->stream && attempt->state != ATTEMPT_OVER)
        attempt->stream->ops->want(attempt->stream, exchange_wants_response(all->exchange));
}

/* ---- one attempt ---- */

static struct attempt_record *record_new(struct attempts *all, const struct model_target *to)
{
    struct attempt_record *record = ARENA_NEW(&all->exchange->arena, struct attempt_record);
    record->target = to->target->name;
    record->deployment = to->deployment;
    record->started = loop_now(all->exchange->worker->loop);
    if (all->last)
        all->last->next = record;
    else
        all->first = record;
    all->last = record;
    return record;
}

void attempt_prepare_edits(struct attempt *attempt)
{
    struct exchange *exchange = attempt->exchange;
    const struct target *target = attempt->to->target;
    const struct config_parameters *parameters = &target->config->parameters;
    struct edits *edits = &attempt->edits;
    edits_init(edits, &exchange->scratch, &exchange->info);
    for (size_t i = 0; i < parameters->rename.count; i++)
        edits_rename_member(edits, parameters->rename.items[i].name, parameters->rename.items[i].value);
    for (size_t i = 0; i < parameters->drop.count; i++)
        edits_drop_member(edits, parameters->drop.items[i]);
    for (size_t i = 0; i < parameters->set.count; i++)
        edits_set_member(edits, parameters->set.items[i].name, parameters->set.items[i].value);
    const struct operation *operation = exchange->call.operation;
    struct span model = attempt->to->deployment.len ? attempt->to->deployment : exchange->model_asked;
    bool differs = !exchange->info.has_model || !span_equal(exchange->info.model, model);
    if (model.len && differs && dialect_model_in_body(target->dialect, operation) && !edits_set_model(edits, model))
        log_write(LOG_WARNING, "attempt", "the model name of target %.*s cannot be written into the body",
                  SPAN_ARG(target->name));
    bool asked = exchange->info.include_usage == TRI_TRUE;
    if (exchange->info.stream && !asked && !attempt->plain &&
        dialect_supports_include_usage(target->dialect, target->api_version, operation)) {
        edits_include_usage(edits);
        attempt->usage_added = true;
    }
}

static void fail_early(struct attempt *attempt, enum fault why, const char *detail)
{
    attempt_over(attempt, why, detail);
    attempts_next(attempt->all);
}

static void leased(struct lease *lease, struct stream *stream, enum fault why, const char *detail)
{
    struct attempt *attempt = CONTAINER_OF(lease, struct attempt, lease);
    if (stream) {
        attempt->stream = stream;
        attempt_send(attempt);
        return;
    }
    uint64_t rest = attempt->exchange->snapshot->config->attempts.rest;
    target_state_rest(attempt->to->state, loop_now(attempt->exchange->worker->loop) + rest);
    fail_early(attempt, why, detail);
}

static void lease_stream(struct attempt *attempt)
{
    struct exchange *exchange = attempt->exchange;
    const struct target *target = attempt->to->target;
    attempt->state = ATTEMPT_LEASING;
    if (target->config->mock)
        attempt->stream = mock_stream_create(exchange->worker, target, attempt);
    else
        attempt->stream = pool_lease(pool_get(exchange->worker, exchange->snapshot, target), &attempt->lease, attempt,
                                     attempt->fresh, leased);
    if (attempt->stream)
        attempt_send(attempt);
}

static void credential_came(struct credential_wait *wait, enum fault why, const char *detail)
{
    struct attempt *attempt = CONTAINER_OF(wait, struct attempt, credential);
    if (why == FAULT_NONE)
        lease_stream(attempt);
    else
        fail_early(attempt, why, detail);
}

static void await_credential(struct attempt *attempt)
{
    struct exchange *exchange = attempt->exchange;
    struct credential_wait *wait = &attempt->credential;
    uint64_t patience = upstream_read_timeout(&exchange->request);
    if (!patience)
        patience = attempt->to->target->config->timeouts.first_byte;
    wait->done = credential_came;
    wait->timeout = patience < CREDENTIAL_WAIT ? patience : CREDENTIAL_WAIT;
    wait->patient = !attempts_left(attempt->all);
    credential_start(exchange->worker, exchange->snapshot, attempt->to->target, &exchange->pendings, wait);
}

static void start(struct attempts *all, const struct model_target *to, struct target_hold *hold,
                  const struct attempt *before, unsigned how)
{
    struct exchange *exchange = all->exchange;
    struct attempt *attempt = ARENA_NEW(&exchange->arena, struct attempt);
    attempt->all = all;
    attempt->exchange = exchange;
    attempt->to = to;
    attempt->hold = hold;
    attempt->fresh = (how & AGAIN_FRESH) || (before && before->fresh);
    attempt->plain = (how & AGAIN_PLAIN) || (before && before->plain);
    attempt->renewed = (how & AGAIN_RENEWED) || (before && before->renewed);
    if (how & AGAIN_RENEWED)
        attempt->credential.beyond = before->credential_generation;
    attempt->record = before ? all->last : record_new(all, to);
    attempt->state = ATTEMPT_CREDENTIAL;
    all->current = attempt;
    if (exchange->inspected)
        attempt_prepare_edits(attempt);
    /* Before the connection: one that is leased to somebody who waits for a token serves nobody. */
    if (credential_ready(exchange->worker, exchange->snapshot, to->target, attempt->credential.beyond))
        lease_stream(attempt);
    else
        await_credential(attempt);
}

void attempt_again(struct attempt *attempt, enum attempt_again how)
{
    struct target_hold *hold = attempt->hold;
    attempt->hold = NULL;
    attempt_leave(attempt, FAULT_NONE);
    start(attempt->all, attempt->to, hold, attempt, how);
}

/* ---- sending ---- */

static void send_body(struct attempt *attempt)
{
    struct stream *stream = attempt->stream;
    while (!stream->congested) {
        if (attempt->piece.len == 0 && !edits_next(&attempt->walk, &attempt->piece)) {
            stream->ops->end(stream, NULL);
            attempt_sent(attempt);
            return;
        }
        struct span slice = span_take(attempt->piece, STREAM_HIGH_MARK);
        attempt->piece = span_skip(attempt->piece, slice.len);
        stream->ops->body(stream, slice);
    }
}

static void give_back(struct attempt *attempt, enum fault why, const char *detail)
{
    struct stream *stream = attempt->stream;
    attempt->stream = NULL;
    stream->ops->reset(stream, why);
    fail_early(attempt, why, detail);
}

void attempt_send(struct attempt *attempt)
{
    struct exchange *exchange = attempt->exchange;
    struct message request;
    if (!upstream_request(attempt, &request)) {
        give_back(attempt, FAULT_MODEL_NOT_FOUND, "the model name cannot be a path segment");
        return;
    }
    if (!credential_apply(exchange->worker, exchange->snapshot, attempt->to->target, &exchange->scratch,
                          &request.fields, &attempt->credential_generation)) {
        give_back(attempt, FAULT_CREDENTIAL_UNAVAILABLE, "the token ended while the connection was made");
        return;
    }
    attempt->state = ATTEMPT_SENDING;
    attempt->timer.fire = attempt_timed_out;
    const struct config_target_timeouts *timeouts = &attempt->to->target->config->timeouts;
    uint64_t now = loop_now(exchange->worker->loop);
    attempt->deadline_total = timeouts->total ? now + timeouts->total : 0;
    attempt_arm(attempt, timeouts->idle);
    bool body = exchange->inspected || exchange->streaming_body;
    if (exchange->inspected) {
        request.framing = BODY_LENGTH;
        request.body_length = edits_length(&attempt->edits, buffer_len(&exchange->body));
    } else if (body) {
        /* A body hook may change the length. */
        request.framing = exchange->in_body_hooks ? BODY_CHUNKED : exchange->request.framing;
        request.body_length = exchange->request.body_length;
    }
    attempt->stream->ops->head(attempt->stream, &request, !body);
    if (!body) {
        attempt_sent(attempt);
    } else if (exchange->inspected) {
        edits_begin(&attempt->edits, buffer_span(&exchange->body), &attempt->walk);
        send_body(attempt);
    } else {
        if (buffer_len(&attempt->early) || attempt->early_last)
            attempts_request_body(attempt->all, buffer_span(&attempt->early), attempt->early_last);
        buffer_finish(&attempt->early);
        collect_upstream_room(exchange);
    }
}

void attempt_sent(struct attempt *attempt)
{
    struct exchange *exchange = attempt->exchange;
    attempt->request_sent = true;
    exchange->sent_at = clock_monotonic();
    if (attempt->committed) /* the answer came first */
        exchange_free_body(exchange);
    if (attempt->state != ATTEMPT_SENDING)
        return;
    attempt->state = ATTEMPT_WAITING;
    uint64_t wait = upstream_read_timeout(&exchange->request);
    attempt_arm(attempt, wait ? wait : attempt->to->target->config->timeouts.first_byte);
}

void attempt_room(struct attempt *attempt)
{
    if (attempt->state == ATTEMPT_OVER || attempt->request_sent)
        return;
    attempt->last_byte_at = loop_now(attempt->exchange->worker->loop);
    if (attempt->exchange->inspected)
        send_body(attempt);
    else
        collect_upstream_room(attempt->exchange);
}

bool attempts_wants_body(const struct attempts *all)
{
    const struct attempt *attempt = all ? all->current : NULL;
    return attempt && attempt->stream && attempt->state >= ATTEMPT_SENDING && !attempt->request_sent &&
           !attempt->stream->congested;
}

void attempts_request_body(struct attempts *all, struct span bytes, bool last)
{
    struct attempt *attempt = all ? all->current : NULL;
    if (!attempt || attempt->request_sent)
        return;
    /* A filter held these bytes up, meanwhile the connection they were for has gone stale. */
    if (attempt->state == ATTEMPT_LEASING) {
        buffer_append(&attempt->early, bytes);
        attempt->early_last |= last;
        return;
    }
    if (!attempt->stream)
        return;
    struct stream *stream = attempt->stream;
    attempt->last_byte_at = loop_now(attempt->exchange->worker->loop);
    attempt->body_begun = true;
    if (bytes.len)
        stream->ops->body(stream, bytes);
    if (!last)
        return;
    stream->ops->end(stream, NULL);
    attempt_sent(attempt);
}

/* ---- time ---- */

/*
 * One timer for all phases. Bytes only note when they came (last_byte_at); the timer looks at that when it fires, so a
 * passing chunk touches no timer.
 */
void attempt_arm(struct attempt *attempt, uint64_t patience)
{
    struct loop *loop = attempt->exchange->worker->loop;
    attempt->patience = patience;
    attempt->last_byte_at = loop_now(loop);
    uint64_t deadline = attempt->last_byte_at + patience;
    if (attempt->deadline_total && attempt->deadline_total < deadline)
        deadline = attempt->deadline_total;
    timer_set(loop, &attempt->timer, deadline);
}

void attempt_timed_out(struct timer *timer)
{
    struct attempt *attempt = CONTAINER_OF(timer, struct attempt, timer);
    struct loop *loop = attempt->exchange->worker->loop;
    uint64_t now = loop_now(loop);
    bool total = attempt->deadline_total && now >= attempt->deadline_total;
    uint64_t due = attempt->last_byte_at + attempt->patience;
    /* A client that does not read is its connection's matter, not the target's silence. */
    bool held_up = attempt->state == ATTEMPT_PASSING && !exchange_wants_response(attempt->exchange);
    if (!total && (now < due || held_up)) {
        uint64_t next = held_up ? now + attempt->patience : due;
        if (attempt->deadline_total && attempt->deadline_total < next)
            next = attempt->deadline_total;
        timer_set(loop, timer, next);
        return;
    }
    enum fault why = total                               ? FAULT_TOTAL_TIMEOUT
                     : attempt->state == ATTEMPT_WAITING ? FAULT_FIRST_BYTE_TIMEOUT
                                                         : FAULT_IDLE_TIMEOUT;
    struct stream *stream = attempt->stream;
    attempt->stream = NULL;
    if (stream)
        stream->ops->reset(stream, why);
    attempt_failed(attempt, why, total ? "total time used up" : "no byte came in time", false);
}

/* ---- ends ---- */

/* What the target's limits are charged. */
static void settle(struct attempt *attempt)
{
    const struct target_use use = {.reached = attempt->request_sent || attempt->answered,
                                   .refused = attempt->record->status >= 400,
                                   .delivered = attempt->committed};
    target_limits_settle(attempt->hold, &use);
    attempt->hold = NULL;
}

void attempt_leave(struct attempt *attempt, enum fault why)
{
    if (attempt->state == ATTEMPT_OVER)
        return;
    attempt->state = ATTEMPT_OVER;
    timer_clear(attempt->exchange->worker->loop, &attempt->timer);
    pending_cancel(&attempt->credential.pending);
    pending_cancel(&attempt->lease.pending);
    if (attempt->stream) {
        struct stream *stream = attempt->stream;
        attempt->stream = NULL;
        stream->ops->reset(stream, why);
    }
    attempt_answer_finish(attempt);
    if (UNLIKELY(attempt->hold))
        settle(attempt);
    if (attempt->all->current == attempt)
        attempt->all->current = NULL;
    attempt->record->ended = loop_now(attempt->exchange->worker->loop);
}

void attempt_over(struct attempt *attempt, enum fault why, const char *detail)
{
    attempt->record->fault = why;
    if (detail)
        attempt->record->detail = arena_copy(&attempt->exchange->arena, span_str(detail));
    attempt_leave(attempt, why);
}
