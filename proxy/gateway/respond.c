/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/respond.h"

#include "base/clock.h"
#include "gateway/attempt.h"
#include "gateway/chain.h"
#include "gateway/collect.h"
#include "gateway/exchange.h"
#include "gateway/flight.h"
#include "gateway/snapshot.h"
#include "gateway/worker.h"
#include "openai/errors.h"

/* ---- faults ---- */

void respond_fault(struct exchange *exchange, enum fault why)
{
    exchange_fail(exchange, why, (struct span){0}, (struct span){0});
}

void respond_fault_text(struct exchange *exchange, enum fault why, struct span message, struct span param)
{
    exchange_fail(exchange, why, message, param);
}

void respond_model_not_found(struct exchange *exchange)
{
    struct span text =
        arena_format(&exchange->arena, "The model `%.*s` does not exist or you do not have access to it.",
                     SPAN_ARG(exchange->model_asked));
    exchange_fail(exchange, FAULT_MODEL_NOT_FOUND, text, SPAN("model"));
}

/* Whether the client can be told in its stream's own words: it stands between two events. */
static bool takes_event(const struct exchange *exchange)
{
    return exchange->response_is_stream && exchange->call.operation && exchange->client &&
           !exchange->response_complete && !exchange->mid_event;
}

static void cut(struct exchange *exchange)
{
    struct stream *client = exchange->client;
    if (client && !exchange->response_complete) {
        exchange->client = NULL;
        client->exchange = NULL;
        client->ops->reset(client, exchange->fault);
    }
    exchange_end(exchange, OUTCOME_FAILED);
}

/*
 * The answer has begun: a stream is told in its own words, anything else can only be cut. When the target failed, the
 * event goes the way of all the bytes before it, behind those that a filter holds; when a filter failed, straight to
 * the client.
 */
static void break_off(struct exchange *exchange, bool by_filter)
{
    if (!takes_event(exchange)) {
        cut(exchange);
        return;
    }
    struct buffer event = {0};
    error_event(&event, exchange->call.operation, exchange->fault, exchange->fault_message,
                exchange->facts.has_sequence ? exchange->facts.sequence + 1 : 0);
    exchange->error_in_stream = true;
    if (by_filter)
        exchange_response_body_passed(exchange, buffer_span(&event), false, true);
    else
        chain_response_body(exchange, buffer_span(&event), false, true);
    buffer_finish(&event);
}

void exchange_fail(struct exchange *exchange, enum fault why, struct span message, struct span param)
{
    if (exchange->state == EXCHANGE_DONE)
        return;
    exchange->fault = why;
    exchange->fault_message = arena_copy(&exchange->arena, message);
    exchange->fault_param = arena_copy(&exchange->arena, param);
    if (exchange->response_started)
        break_off(exchange, false);
    else
        exchange_answered(exchange);
}

void exchange_source_failed(struct exchange *exchange, enum fault why, const char *reason)
{
    exchange->source = NULL;
    exchange->fault_detail = arena_copy(&exchange->arena, span_str(reason));
    exchange_fail(exchange, why, (struct span){0}, (struct span){0});
}

/* ---- local answers ---- */

static void fault_answer(struct exchange *exchange)
{
    const struct fault_entry *entry = fault_entry(exchange->fault);
    buffer_finish(&exchange->answer);
    error_body(&exchange->answer, exchange->fault, exchange->fault_message, exchange->fault_param);
    exchange->answer_status = entry->status;
    exchange->answer_type = SPAN("application/json");
    if (entry->retry == RETRY_NO && (entry->status >= 500 || entry->status == 408) &&
        !fields_find(&exchange->answer_fields, FIELD_X_SHOULD_RETRY))
        fields_add_id(&exchange->answer_fields, &exchange->arena, FIELD_X_SHOULD_RETRY, SPAN("false"));
}

void exchange_answered(struct exchange *exchange)
{
    chain_abandon(exchange);
    if (exchange->response_started) {
        break_off(exchange, true);
        return;
    }
    attempts_cancel(exchange->attempts); /* its records stay, for the log */
    exchange->local_answer = true;
    if (!exchange->request_complete)
        exchange->request_discard = true;
    exchange_free_body(exchange);
    exchange_enter(exchange, EXCHANGE_RESPOND);
    /* The last word counts: a source that was to answer before gives way. */
    if (exchange->fault != FAULT_NONE || exchange->answer_status)
        exchange_drop_source(exchange);
    if (exchange->source) /* it reports its head from the run queue */
        return;
    if (exchange->fault != FAULT_NONE)
        fault_answer(exchange);
    exchange->response = (struct message){.version = HTTP_1_1,
                                          .status = exchange->answer_status,
                                          .method = exchange->request.method,
                                          .framing = BODY_LENGTH,
                                          .body_length = buffer_len(&exchange->answer),
                                          .keep_alive = true,
                                          .fields = exchange->answer_fields};
    if (exchange->answer_type.len)
        fields_add_id(&exchange->response.fields, &exchange->arena, FIELD_CONTENT_TYPE, exchange->answer_type);
    if (!exchange->first_byte_at)
        exchange->first_byte_at = loop_now(exchange->worker->loop);
    chain_response_head(exchange);
}

/* ---- head ---- */

void exchange_response_head(struct exchange *exchange)
{
    struct span type = fields_value(&exchange->response.fields, FIELD_CONTENT_TYPE);
    exchange->response_is_stream = span_starts_with(type, SPAN("text/event-stream"));
    if (!attempts_sending(exchange->attempts))
        exchange_free_body(exchange);
    exchange_enter(exchange, EXCHANGE_RESPOND);
    chain_response_head(exchange);
}

static bool head_only(const struct exchange *exchange)
{
    unsigned status = exchange->response.status;
    return exchange->request.method == HTTP_HEAD || status == 204 || status == 304;
}

static void send_local_body(struct exchange *exchange)
{
    struct buffer body = exchange->answer;
    exchange->answer = (struct buffer){0};
    chain_response_body(exchange, buffer_span(&body), false, true);
    buffer_finish(&body);
}

void exchange_response_head_passed(struct exchange *exchange)
{
    struct stream *client = exchange->client;
    struct message *response = &exchange->response;
    if (!client) {
        exchange_end(exchange, OUTCOME_CANCELLED);
        return;
    }
    /* A body hook may change the length, as do an event hidden or added: then it is found by framing. */
    bool may_change = exchange->out_body_hooks || exchange->response_is_stream;
    if (may_change && response->framing == BODY_LENGTH && !head_only(exchange)) {
        response->framing = BODY_CHUNKED;
        (void)fields_remove(&response->fields, FIELD_CONTENT_LENGTH);
    }
    if (response->framing == BODY_CLOSE)
        response->framing = BODY_CHUNKED;
    if (!fields_find(&response->fields, FIELD_X_REQUEST_ID))
        fields_add_id(&response->fields, &exchange->arena, FIELD_X_REQUEST_ID, exchange->id);
    response->method = exchange->request.method;
    response->keep_alive = true;
    bool end = head_only(exchange) || (response->framing == BODY_LENGTH && response->body_length == 0) ||
               response->framing == BODY_NONE;
    exchange->response_started = true;
    client->ops->head(client, response, end);
    if (end)
        exchange->response_complete = true;
    bool local_bytes = exchange->local_answer && !exchange->source;
    if (end) {
        /* The client's stream has been told all: what it lent us (its address) may go, so nothing is waited for. */
        if (!exchange->local_answer && exchange->attempts) {
            exchange->attempts->finished_well = true;
            exchange->answer_end_at = clock_monotonic();
        }
        exchange_end(exchange, exchange->fault          ? OUTCOME_FAILED
                               : exchange->local_answer ? OUTCOME_ANSWERED
                                                        : OUTCOME_COMPLETED);
    } else if (local_bytes) {
        send_local_body(exchange);
    } else {
        exchange_channel_free(exchange, &exchange->out);
    }
}

/* ---- body ---- */

void exchange_response_body(struct exchange *exchange, struct span bytes, bool hidden)
{
    if (exchange->state != EXCHANGE_DONE)
        chain_response_body(exchange, bytes, hidden, false);
}

void exchange_response_end(struct exchange *exchange, const struct fields *trailers)
{
    if (exchange->state == EXCHANGE_DONE)
        return;
    (void)trailers; /* these APIs use none; an upstream's trailers are not forwarded */
    chain_response_body(exchange, (struct span){0}, false, true);
}

void exchange_response_body_passed(struct exchange *exchange, struct span bytes, bool hidden, bool last)
{
    if (exchange->state == EXCHANGE_DONE)
        return;
    /* An answer without a body has left the client's stream with its head; its source still tells the end. */
    struct stream *client = exchange->client;
    if (hidden && exchange->flight && client)
        flight_hidden(exchange->flight, bytes);
    if (client && bytes.len && !hidden && !exchange->response_complete) {
        exchange->bytes_out += bytes.len;
        client->ops->body(client, bytes);
    }
    if (!last)
        return;
    if (client && !exchange->response_complete) {
        exchange->response_complete = true;
        client->ops->end(client, NULL);
    }
    enum outcome outcome = exchange->fault          ? OUTCOME_FAILED
                           : exchange->local_answer ? OUTCOME_ANSWERED
                                                    : OUTCOME_COMPLETED;
    exchange_end(exchange, outcome);
}

/* ---- back-pressure ---- */

bool exchange_wants_response(const struct exchange *exchange)
{
    return !exchange->out.parked && exchange->client && !exchange->client->congested;
}

static void resume_source(struct exchange *exchange)
{
    if (exchange->source)
        exchange->source->ops->want(exchange->source, exchange_wants_response(exchange));
    else if (exchange->attempts)
        attempts_resume(exchange->attempts);
}

void exchange_client_room(struct exchange *exchange)
{
    if (exchange->state == EXCHANGE_RESPOND)
        resume_source(exchange);
}

void exchange_channel_free(struct exchange *exchange, struct channel *channel)
{
    if (exchange->state == EXCHANGE_DONE)
        return;
    if (channel == &exchange->out)
        resume_source(exchange);
    else
        collect_upstream_room(exchange);
}
