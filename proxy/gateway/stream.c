/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/stream.h"

#include "gateway/attempt.h"
#include "gateway/exchange.h"

void stream_arrived_head(struct stream *stream, struct message *head, bool end)
{
    if (stream->attempt)
        attempt_response_head(stream->attempt, head, end);
    else if (stream->exchange && stream->role == STREAM_SERVER)
        exchange_request_head(stream->exchange, end);
    else if (stream->exchange)
        exchange_response_head(stream->exchange);
}

void stream_arrived_body(struct stream *stream, struct span bytes)
{
    if (stream->attempt)
        attempt_response_body(stream->attempt, bytes);
    else if (stream->exchange && stream->role == STREAM_SERVER)
        exchange_request_body(stream->exchange, bytes);
    else if (stream->exchange)
        exchange_response_body(stream->exchange, bytes, false);
}

void stream_arrived_end(struct stream *stream, const struct fields *trailers)
{
    if (stream->attempt)
        attempt_response_end(stream->attempt, trailers);
    else if (stream->exchange && stream->role == STREAM_SERVER)
        exchange_request_end(stream->exchange, trailers);
    else if (stream->exchange)
        exchange_response_end(stream->exchange, trailers);
}

void stream_arrived_failure(struct stream *stream, enum fault why, const char *reason, bool retry_safe)
{
    struct attempt *attempt = stream->attempt;
    struct exchange *exchange = stream->exchange;
    stream->attempt = NULL;
    stream->exchange = NULL;
    if (attempt)
        attempt_failed(attempt, why, reason, retry_safe);
    else if (exchange && stream->role == STREAM_SERVER)
        exchange_client_failed(exchange, why, reason);
    else if (exchange)
        exchange_source_failed(exchange, why, reason);
}

void stream_arrived_room(struct stream *stream)
{
    if (stream->attempt)
        attempt_room(stream->attempt);
    else if (stream->exchange && stream->role == STREAM_SERVER)
        exchange_client_room(stream->exchange);
}

void stream_queue_grew(struct stream *stream, size_t queued_now)
{
    stream->queued = queued_now;
    if (queued_now > STREAM_HIGH_MARK)
        stream->congested = true;
}

void stream_queue_shrank(struct stream *stream, size_t queued_now)
{
    stream->queued = queued_now;
    if (stream->congested && queued_now <= STREAM_LOW_MARK) {
        stream->congested = false;
        stream_arrived_room(stream);
    }
}
