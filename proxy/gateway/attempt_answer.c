/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/attempt_answer.h"

#include "base/clock.h"
#include "gateway/credentials.h"
#include "gateway/exchange.h"
#include "gateway/target_state.h"
#include "gateway/tokens.h"
#include "gateway/upstream_head.h"
#include "gateway/worker.h"
#include "openai/answer_light.h"
#include "openai/errors.h"

/* ---- facts ---- */

/* What the taps have learned goes to the exchange: by whatever way the attempt ends. */
static void hand_over_facts(struct attempt *attempt)
{
    struct exchange *exchange = attempt->exchange;
    if (attempt->watch == WATCH_EVENTS)
        exchange->facts = attempt->tap.events->facts;
    else if (attempt->watch == WATCH_KNOWN)
        exchange->facts = *attempt->tap.facts;
    else if (attempt->watch == WATCH_JSON && attempt->tap.json)
        exchange->facts = attempt->tap.json->facts;
}

void attempt_answer_finish(struct attempt *attempt)
{
    if (attempt->state == ATTEMPT_OVER && attempt->committed)
        hand_over_facts(attempt);
    if (attempt->sse)
        sse_finish(attempt->sse);
    attempt->sse = NULL;
    buffer_finish(&attempt->held);
    buffer_finish(&attempt->partial);
    buffer_finish(&attempt->early);
}

static bool is_type(const struct attempt *attempt, struct span type)
{
    struct span given = fields_value(&attempt->response.fields, FIELD_CONTENT_TYPE);
    return given.len >= type.len && span_equal_nocase(span_take(given, type.len), type);
}

static void choose_watch(struct attempt *attempt)
{
    struct exchange *exchange = attempt->exchange;
    const struct operation *operation = exchange->call.operation;
    if (!operation || !(operation->flags & (OPERATION_USAGE | OPERATION_STREAMS)))
        return;
    struct span encoding = fields_value(&attempt->response.fields, FIELD_CONTENT_ENCODING);
    if (encoding.len && !span_equal_nocase(encoding, SPAN("identity"))) {
        exchange->usage_estimated = true;
        return;
    }
    if (is_type(attempt, SPAN("text/event-stream"))) {
        attempt->watch = WATCH_EVENTS;
        attempt->sse = ARENA_NEW(&exchange->arena, struct sse_reader);
        sse_init(attempt->sse, ATTEMPT_HELD_MAX);
        attempt->tap.events = ARENA_NEW(&exchange->arena, struct stream_tap);
        stream_tap_init(attempt->tap.events, &exchange->arena);
        /* Followers of a flight have asked for different things: each gets the usage chunk or does not. */
        attempt->hide = attempt->usage_added || exchange->flight;
    } else if (is_type(attempt, SPAN("application/json"))) {
        attempt->watch = WATCH_JSON;
        attempt->tap.json = NULL;
    }
}

/* ---- commit ---- */

/* From here on the answer is the client's. What was held goes first. */
static void commit(struct attempt *attempt)
{
    struct exchange *exchange = attempt->exchange;
    attempt->state = ATTEMPT_PASSING;
    attempt->committed = true;
    upstream_response(attempt, !attempts_left(attempt->all));
    attempt_arm(attempt, attempt->to->target->config->timeouts.idle);
    exchange_response_head(exchange);
    if (attempt->state == ATTEMPT_OVER || buffer_len(&attempt->held) == 0)
        return;
    struct buffer held = attempt->held;
    attempt->held = (struct buffer){0};
    exchange_response_body(exchange, buffer_span(&held), false);
    buffer_finish(&held);
}

/* Bytes for the client: held before the commit, passed on after it. */
static void pass(struct attempt *attempt, const char *from, const char *to)
{
    if (to <= from || attempt->state == ATTEMPT_OVER)
        return;
    struct span bytes = span_of(from, (size_t)(to - from));
    if (attempt->state == ATTEMPT_PASSING) {
        exchange_response_body(attempt->exchange, bytes, false);
        return;
    }
    buffer_append(&attempt->held, bytes);
    if (buffer_len(&attempt->held) > ATTEMPT_HELD_MAX)
        commit(attempt);
}

/* ---- head ---- */

static bool status_is_retryable(unsigned status)
{
    return status == 408 || status == 429 || status >= 500;
}

/* 429 and 503 say when to come again: until then others are asked first. */
static void note_cooldown(struct attempt *attempt)
{
    if (attempt->response.status != 429 && attempt->response.status != 503)
        return;
    struct exchange *exchange = attempt->exchange;
    uint64_t wait = upstream_retry_after(&attempt->response, loop_wall(exchange->worker->loop));
    uint64_t most = exchange->snapshot->config->attempts.max_cooldown;
    if (wait)
        target_state_cool(attempt->to->state, loop_now(exchange->worker->loop) + (wait < most ? wait : most));
}

static enum fault status_fault(const struct attempt *attempt)
{
    return attempt->response.status == 429 ? FAULT_RATE_LIMITED : FAULT_UPSTREAM_ERROR;
}

/* The target does not take our credential: another one may. The client is never told 401 for a key that is not its own.
 */
static void move_on_refused(struct attempt *attempt)
{
    struct exchange *exchange = attempt->exchange;
    bool left = attempts_left(attempt->all);
    attempt->record->fault = FAULT_UPSTREAM_CREDENTIAL;
    attempt_leave(attempt, left ? FAULT_UPSTREAM_CREDENTIAL : FAULT_NONE);
    if (left)
        attempts_next(attempt->all);
    else
        exchange_fail(exchange, FAULT_UPSTREAM_CREDENTIAL, (struct span){0}, (struct span){0});
}

/* Whether a 401 may be answered by the same request, and its body is worth a look. */
static bool may_ask_again(const struct attempt *attempt)
{
    return attempt->credential_generation && !attempt->renewed && (attempt->all->replayable || !attempt->body_begun);
}

/*
 * The 401 is whole. A missing role is a 401 too (a new token would not have it either), and so is a token that is as
 * good as new: neither is asked about again.
 */
static void judge_refusal(struct attempt *attempt)
{
    struct exchange *exchange = attempt->exchange;
    const struct target *target = attempt->to->target;
    struct upstream_error error;
    attempt->check_refusal = false;
    bool lacks_role = upstream_error_read(buffer_span(&attempt->held), &exchange->arena, &error) &&
                      span_equal_nocase(error.code, SPAN("PermissionDenied"));
    buffer_finish(&attempt->held);
    if (lacks_role) {
        credential_lacks_role(exchange->worker, exchange->snapshot, target, attempt->response.status);
        move_on_refused(attempt);
    } else if (credential_may_renew(exchange->worker, exchange->snapshot, target, attempt->credential_generation)) {
        attempt_again(attempt, AGAIN_RENEWED);
    } else {
        move_on_refused(attempt);
    }
}

void attempt_response_head(struct attempt *attempt, struct message *head, bool end)
{
    (void)head; /* is attempt->response */
    struct exchange *exchange = attempt->exchange;
    unsigned status = attempt->response.status;
    attempt->answered = true;
    attempt->record->status = status;
    attempt->record->request_id = upstream_request_id(&attempt->response);
    if (!exchange->first_byte_at || attempt->all->made > 1)
        exchange->first_byte_at = clock_monotonic();
    note_cooldown(attempt);
    bool refused = (status == 401 || status == 403) && credential_is_ours(attempt->to->target);
    attempt->check_refusal = status == 401 && refused && !end && may_ask_again(attempt);
    if (attempt->check_refusal) {
        attempt->state = ATTEMPT_HOLDING;
        attempt_arm(attempt, attempt->to->target->config->timeouts.idle);
        return;
    }
    if (status_is_retryable(status) && attempts_left(attempt->all)) {
        attempt_over(attempt, status_fault(attempt), NULL);
        attempts_next(attempt->all);
        return;
    }
    if (refused) {
        move_on_refused(attempt);
        return;
    }
    if (status >= 400)
        attempt->record->fault = status_is_retryable(status) ? status_fault(attempt) : FAULT_NONE;
    attempt->check_error = status == 400 && attempt->usage_added && !attempt->plain && !end;
    choose_watch(attempt);
    attempt->state = ATTEMPT_HOLDING;
    attempt_arm(attempt, attempt->to->target->config->timeouts.idle);
    bool may_change = attempt->watch == WATCH_EVENTS && attempts_left(attempt->all);
    if (!attempt->check_error && !may_change)
        commit(attempt);
    /* The stream reports the end by itself when `end` is set. */
}

/* ---- events ---- */

/* One event is complete. True: it is to be hidden. */
static bool judge_event(struct attempt *attempt, const struct sse_event *event, bool *ret_commit, bool *ret_move_on)
{
    struct exchange *exchange = attempt->exchange;
    enum event_kind kind = stream_tap_event(attempt->tap.events, event);
    switch (kind) {
    case EVENT_CONTENT:
        if (!exchange->first_content_at)
            exchange->first_content_at = clock_monotonic();
        exchange->content_events++;
        *ret_commit = true;
        break;
    case EVENT_ERROR:
        *ret_move_on = attempt->state == ATTEMPT_HOLDING && attempts_left(attempt->all);
        *ret_commit = true;
        break;
    case EVENT_DONE:
    case EVENT_TERMINAL:
        *ret_commit = true;
        break;
    case EVENT_USAGE_ONLY:
        return attempt->hide;
    case EVENT_OTHER:
        break;
    }
    attempt->all->finished_well = stream_tap_succeeded(attempt->tap.events);
    return false;
}

static void flush_partial(struct attempt *attempt)
{
    struct buffer partial = attempt->partial;
    attempt->partial = (struct buffer){0};
    struct span bytes = buffer_span(&partial);
    pass(attempt, bytes.ptr, bytes.ptr + bytes.len);
    buffer_finish(&partial);
}

/* The filters see it (a cache wants the answer whole), the client does not. */
static void hide(struct attempt *attempt, const char *from, const char *to)
{
    if (attempt->state != ATTEMPT_PASSING)
        commit(attempt);
    if (attempt->state == ATTEMPT_OVER)
        return;
    if (buffer_len(&attempt->partial))
        exchange_response_body(attempt->exchange, buffer_span(&attempt->partial), true);
    buffer_finish(&attempt->partial);
    exchange_response_body(attempt->exchange, span_of(from, (size_t)(to - from)), true);
}

static void move_on(struct attempt *attempt)
{
    attempt_over(attempt, FAULT_UPSTREAM_ERROR, "error event before any content");
    attempts_next(attempt->all);
}

/* The end of a read: an unfinished event that may have to be hidden waits for its rest. */
static void pass_tail(struct attempt *attempt, const char *from, const char *end)
{
    size_t unfinished = (size_t)sse_unfinished(attempt->sse);
    size_t here = unfinished < (size_t)(end - from) ? unfinished : (size_t)(end - from);
    if (!attempt->hide || unfinished > ATTEMPT_HELD_MAX) {
        flush_partial(attempt);
        pass(attempt, from, end);
        attempt->exchange->mid_event = attempt->state == ATTEMPT_PASSING && unfinished > 0;
        return;
    }
    pass(attempt, from, end - here);
    if (attempt->state != ATTEMPT_OVER)
        buffer_append(&attempt->partial, span_of(end - here, here));
    attempt->exchange->mid_event = false;
}

/* Whether nothing more is to come of any choice. */
static bool all_finished(struct attempt *attempt, const struct sse_event *event)
{
    uint64_t choices = tokens_choices(attempt->exchange);
    if (choices == 1 || !attempt->tap.events->facts.finish)
        return attempt->tap.events->facts.finish;
    stream_end_note(&attempt->finished, event->data);
    return attempt->finished.count >= choices;
}

/* Whether the stream has delivered more than it may. */
static bool over_budget(struct attempt *attempt, const struct sse_event *event)
{
    struct exchange *exchange = attempt->exchange;
    if (!attempt->first_event.len)
        attempt->first_event = arena_copy(&exchange->arena, event->data);
    return !all_finished(attempt, event) && attempt->state == ATTEMPT_PASSING &&
           stream_end_can(exchange->call.operation) && exchange->estimate &&
           estimate_delivered(exchange->estimate, attempt->tap.events->facts.text_bytes) > exchange->output_budget;
}

/* Ends the stream as if it had reached its maximum; false when that cannot be said in its way, and it goes on. */
static bool end_politely(struct attempt *attempt, const struct sse_event *event)
{
    struct exchange *exchange = attempt->exchange;
    struct answer_facts *facts = &attempt->tap.events->facts;
    struct stream_end end = {.choices = tokens_choices(exchange),
                             .finished = attempt->finished,
                             .input = exchange->estimate->tokens,
                             .output = estimate_delivered(exchange->estimate, facts->text_bytes),
                             .include_usage = exchange->info.include_usage == TRI_TRUE,
                             .sequence = facts->has_sequence ? facts->sequence + 1 : 0};
    struct buffer out = {0};
    /* The first chunk of Azure has no id; a response says what it is in its first event only. */
    bool named = exchange->call.operation->id == OPERATION_RESPONSES;
    if (!stream_end_append(&out, exchange->call.operation, named ? attempt->first_event : event->data, &end)) {
        exchange->output_budget = 0;
        return false;
    }
    facts->finish |= FINISH_LENGTH;
    exchange->budget_ended = true;
    exchange_response_body(exchange, buffer_span(&out), false);
    buffer_finish(&out);
    if (attempt->state == ATTEMPT_OVER)
        return true;
    exchange->answer_end_at = clock_monotonic();
    exchange->mid_event = false;
    attempt->all->finished_well = true;
    attempt_leave(attempt, FAULT_NONE);
    exchange_response_end(exchange, NULL);
    return true;
}

static void events_arrived(struct attempt *attempt, struct span bytes)
{
    struct exchange *exchange = attempt->exchange;
    const char *from = bytes.ptr, *end = bytes.ptr + bytes.len;
    uint64_t base = attempt->sse->offset;
    struct span rest = bytes;
    struct sse_event event;
    while (attempt->state != ATTEMPT_OVER && sse_next(attempt->sse, &rest, &event) == SSE_EVENT) {
        bool commits = false, moves_on = false;
        const char *begin = event.start > base ? bytes.ptr + (event.start - base) : bytes.ptr;
        if (judge_event(attempt, &event, &commits, &moves_on)) {
            pass(attempt, from, begin);
            hide(attempt, begin, rest.ptr);
            from = rest.ptr;
            continue;
        }
        if (moves_on) {
            move_on(attempt);
            return;
        }
        if (buffer_len(&attempt->partial))
            flush_partial(attempt);
        if (commits && attempt->state == ATTEMPT_HOLDING) {
            pass(attempt, from, rest.ptr);
            from = rest.ptr;
            if (attempt->state == ATTEMPT_HOLDING)
                commit(attempt);
        }
        if (UNLIKELY(exchange->output_budget) && over_budget(attempt, &event)) {
            pass(attempt, from, rest.ptr);
            from = rest.ptr;
            if (attempt->state == ATTEMPT_OVER || end_politely(attempt, &event))
                return;
        }
    }
    if (attempt->state != ATTEMPT_OVER)
        pass_tail(attempt, from, end);
}

/* ---- body ---- */

/* Whether these first bytes are probably all of the answer. If more follow after all, it is not JSON. */
static bool looks_whole(const struct message *response, struct span bytes)
{
    if (response->framing == BODY_LENGTH)
        return response->body_length == bytes.len;
    return span_ends_with(bytes, SPAN("}")) || span_ends_with(bytes, SPAN("}\n"));
}

static void json_arrived(struct attempt *attempt, struct span bytes)
{
    struct arena *arena = &attempt->exchange->arena;
    if (!attempt->tap.json) {
        struct answer_facts facts;
        if (looks_whole(&attempt->response, bytes) && answer_light(bytes, arena, &facts)) {
            attempt->watch = WATCH_KNOWN;
            attempt->tap.facts = arena_alloc(arena, sizeof(facts));
            *attempt->tap.facts = facts;
            return;
        }
        attempt->tap.json = arena_alloc(arena, sizeof(struct answer_tap));
        answer_tap_init(attempt->tap.json, arena);
    }
    answer_tap_feed(attempt->tap.json, bytes);
}

void attempt_response_body(struct attempt *attempt, struct span bytes)
{
    struct exchange *exchange = attempt->exchange;
    attempt->last_byte_at = loop_now(exchange->worker->loop);
    if (attempt->check_refusal) {
        if (buffer_len(&attempt->held) + bytes.len <= ATTEMPT_HELD_MAX)
            buffer_append(&attempt->held, bytes);
    } else if (attempt->check_error) {
        buffer_append(&attempt->held, bytes);
        if (buffer_len(&attempt->held) <= ATTEMPT_HELD_MAX)
            return;
        attempt->check_error = false;
        commit(attempt);
    } else if (attempt->watch == WATCH_EVENTS) {
        events_arrived(attempt, bytes);
    } else {
        if (attempt->watch == WATCH_JSON)
            json_arrived(attempt, bytes);
        exchange_response_body(exchange, bytes, false);
    }
    if (attempt->state != ATTEMPT_OVER && attempt->stream)
        attempt->stream->ops->want(attempt->stream,
                                   attempt->state == ATTEMPT_HOLDING || exchange_wants_response(exchange));
}

/* A 400 that names what we added is answered by the same request without it. True: that is under way. */
static bool tried_without_usage(struct attempt *attempt)
{
    struct upstream_error error;
    attempt->check_error = false;
    if (!upstream_error_read(buffer_span(&attempt->held), &attempt->exchange->arena, &error) ||
        !error.names_stream_options)
        return false;
    buffer_finish(&attempt->held);
    attempt_again(attempt, AGAIN_PLAIN);
    return true;
}

/* A stream that ended without its terminal event broke off, however politely the message was closed. */
static bool broke_off(const struct attempt *attempt)
{
    if (attempt->watch != WATCH_EVENTS || attempt->response.status >= 300)
        return false;
    const struct stream_tap *tap = attempt->tap.events;
    return !tap->done && !tap->terminal && !tap->facts.finish && !tap->facts.error;
}

void attempt_response_end(struct attempt *attempt, const struct fields *trailers)
{
    struct exchange *exchange = attempt->exchange;
    attempt->stream = NULL; /* it has ended and forgotten us */
    exchange->answer_end_at = clock_monotonic();
    if (attempt->check_refusal) {
        judge_refusal(attempt);
        return;
    }
    if (attempt->check_error && tried_without_usage(attempt))
        return;
    if (broke_off(attempt)) {
        attempt_failed(attempt, FAULT_UPSTREAM_CLOSED, "stream ended without its last event", false);
        return;
    }
    if (attempt->watch == WATCH_EVENTS && buffer_len(&attempt->partial))
        flush_partial(attempt);
    if (attempt->state == ATTEMPT_HOLDING)
        commit(attempt);
    if (attempt->state == ATTEMPT_OVER)
        return;
    if (attempt->watch == WATCH_JSON && attempt->tap.json)
        (void)answer_tap_end(attempt->tap.json);
    attempt->all->finished_well = true;
    attempt_leave(attempt, FAULT_NONE);
    if (exchange->facts.error && exchange->response_is_stream) {
        exchange->fault = FAULT_UPSTREAM_ERROR;
        attempt->record->fault = FAULT_UPSTREAM_ERROR;
    }
    exchange_response_end(exchange, trailers);
}

/* ---- failure ---- */

void attempt_failed(struct attempt *attempt, enum fault why, const char *reason, bool retry_safe)
{
    struct exchange *exchange = attempt->exchange;
    struct attempts *all = attempt->all;
    attempt->stream = NULL;
    if (attempt->state == ATTEMPT_OVER)
        return;
    bool fresh_try = !attempt->answered && retry_safe && !attempt->fresh && (all->replayable || !attempt->body_begun);
    if (fresh_try) {
        attempt_again(attempt, AGAIN_FRESH);
        return;
    }
    bool committed = attempt->committed;
    attempt_over(attempt, why, reason);
    exchange->fault_detail = attempt->record->detail;
    if (!committed) {
        attempts_next(all);
        return;
    }
    exchange_fail(exchange, why, (struct span){0}, (struct span){0});
}
