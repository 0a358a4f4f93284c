/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "gateway/attempt.h"
#include "gateway/chain.h"
#include "gateway/exchange.h"
#include "gateway/flight_internal.h"
#include "gateway/snapshot.h"
#include "gateway/worker.h"

/* ---- the flown exchange ---- */

/* Most parts of most requests are empty. */
static struct span copy_of(struct arena *arena, struct span text)
{
    return text.len ? arena_copy(arena, text) : span_of(text.ptr ? "" : NULL, 0);
}

static void copy_request(struct message *to, const struct message *from, struct arena *arena)
{
    *to = *from;
    to->method_text = copy_of(arena, from->method_text);
    to->target = copy_of(arena, from->target);
    to->path = copy_of(arena, from->path);
    to->query = copy_of(arena, from->query);
    to->authority = copy_of(arena, from->authority);
    to->scheme = copy_of(arena, from->scheme);
    fields_clone(&to->fields, arena, &from->fields, 4);
}

static void copy_call(struct api_call *to, const struct api_call *from, struct arena *arena)
{
    *to = *from;
    to->deployment = copy_of(arena, from->deployment);
    to->resource = copy_of(arena, from->resource);
    to->api_version = copy_of(arena, from->api_version);
    to->query_model = copy_of(arena, from->query_model);
    to->query_secret = (struct span){0};
    to->query = copy_of(arena, from->query);
}

static void copy_consumer(struct consumer *to, const struct consumer *from, struct arena *arena)
{
    *to = (struct consumer){.name = copy_of(arena, from->name), .method = copy_of(arena, from->method)};
    to->groups = ARENA_ARRAY(arena, struct span, from->group_count ? from->group_count : 1);
    for (unsigned i = 0; i < from->group_count; i++)
        to->groups[to->group_count++] = copy_of(arena, from->groups[i]);
    fields_clone(&to->attributes, arena, &from->attributes, 0);
}

/* The first follower needs its body no more: it has been read, and the flown exchange sends it. */
static void move_body(struct exchange *to, struct exchange *from)
{
    to->body = from->body;
    to->held = from->held;
    to->scratch = from->scratch;
    to->info = from->info;
    from->body = (struct buffer){0};
    from->held = 0;
    arena_init(&from->scratch);
    exchange_free_body(from);
}

static const struct stream_ops sink_ops;

void flight_take_off(struct flight *flight, struct filter *filter)
{
    struct exchange *from = filter->exchange;
    flight->sink = (struct stream){.ops = &sink_ops, .role = STREAM_SERVER};
    struct exchange *flown = exchange_create(from->worker, from->snapshot, from->listener, &flight->sink, from->peer);
    struct arena *arena = &flown->arena;
    flight->flown = flown;
    flown->flight = flight;
    flown->worker->flight_count++;
    copy_request(&flown->request, &from->request, arena);
    copy_call(&flown->call, &from->call, arena);
    copy_consumer(&flown->consumer, &from->consumer, arena);
    flown->id = arena_copy(arena, from->id);
    flown->model = from->model;
    flown->model_asked = arena_copy(arena, from->model_asked);
    flown->inspected = from->inspected;
    flown->operation_streams = from->operation_streams;
    flown->request_complete = true;
    flown->bytes_in = from->bytes_in;
    flown->head_at = flown->body_at = clock_monotonic();
    move_body(flown, from);
    exchange_enter(flown, EXCHANGE_REQUEST);
    chain_fork(flown, filter);
}

/* ---- what is known of it ---- */

static void keep_records(struct flight *flight, const struct attempts *attempts)
{
    unsigned count = 0;
    for (const struct attempt_record *record = attempts ? attempts->first : NULL; record; record = record->next)
        count++;
    flight->records = ARENA_ARRAY(&flight->arena, struct flight_record, count ? count : 1);
    for (const struct attempt_record *record = attempts ? attempts->first : NULL; record; record = record->next)
        flight->records[flight->record_count++] =
            (struct flight_record){.target = copy_of(&flight->arena, record->target),
                                   .deployment = copy_of(&flight->arena, record->deployment),
                                   .detail = copy_of(&flight->arena, record->detail),
                                   .request_id = copy_of(&flight->arena, record->request_id),
                                   .status = record->status,
                                   .fault = record->fault,
                                   .started = record->started,
                                   .ended = record->ended};
}

const struct answer_facts *flight_facts_now(const struct exchange *flown)
{
    const struct attempt *attempt = flown->attempts ? flown->attempts->current : NULL;
    if (attempt && attempt->committed && attempt->watch == WATCH_EVENTS)
        return &attempt->tap.events->facts;
    return &flown->facts;
}

/* Before followers may look. */
static void keep_facts(struct flight *flight, const struct exchange *flown)
{
    struct arena *arena = &flight->arena;
    if (flight->known)
        return;
    flight->facts = *flight_facts_now(flown);
    flight->facts.model = copy_of(arena, flight->facts.model);
    flight->facts.error_code = copy_of(arena, flight->facts.error_code);
    flight->facts.error_type = copy_of(arena, flight->facts.error_type);
    flight->fault = flown->fault;
    flight->fault_detail = copy_of(arena, flown->fault_detail);
    flight->sent_at = flown->sent_at;
    flight->answer_end_at = flown->answer_end_at;
    flight->usage_estimated = flown->usage_estimated;
    keep_records(flight, flown->attempts);
}

/* ---- its client ---- */

static struct flight *flight_of(struct stream *sink)
{
    return CONTAINER_OF(sink, struct flight, sink);
}

void flight_hold(struct flight *flight)
{
    pthread_mutex_lock(&flight->mutex);
    flight->held = true;
    pthread_mutex_unlock(&flight->mutex);
}

void flight_stay(struct flight *flight)
{
    pthread_mutex_lock(&flight->mutex);
    flight->background = true;
    pthread_mutex_unlock(&flight->mutex);
}

void flight_give(struct flight *flight, void *result)
{
    pthread_mutex_lock(&flight->mutex);
    flight->result = result;
    flight->given = true;
    flight->closed = true;
    pthread_mutex_unlock(&flight->mutex);
    flight_forget(flight);
    flight_wake(flight);
}

static void sink_head(struct stream *sink, struct message *head, bool end)
{
    struct flight *flight = flight_of(sink);
    (void)end; /* told again by op_end, or by the exchange's end */
    if (head->status < 200 || flight->given)
        return;
    if (flight->ops->head)
        flight->ops->head(flight, flight->flown);
    if (flight->given)
        return;
    struct message copy = *head;
    copy.reason = arena_copy(&flight->arena, head->reason);
    fields_clone(&copy.fields, &flight->arena, &head->fields, 0);
    (void)fields_remove(&copy.fields, FIELD_X_REQUEST_ID); /* each follower has its own */
    pthread_mutex_lock(&flight->mutex);
    flight->head = copy;
    flight->has_head = true;
    flight->sink_ended = end;
    pthread_mutex_unlock(&flight->mutex);
    flight_wake(flight);
}

/* What is published; the log has it already. True: it has grown beyond its bound just now. */
static bool publish(struct flight *flight, bool hidden)
{
    bool outgrown = false;
    /* With its last event an answer is known; clients may leave at once then. */
    bool known = attempts_finished_well(flight->flown->attempts);
    if (known)
        keep_facts(flight, flight->flown);
    pthread_mutex_lock(&flight->mutex);
    flight->known |= known;
    if (hidden) {
        struct flight_range *last = flight->range_count ? &flight->ranges[flight->range_count - 1] : NULL;
        if (last && last->end == flight->total)
            last->end = flight->log.written;
        else
            flight->ranges[flight->range_count++] = (struct flight_range){flight->total, flight->log.written};
    }
    flight->total = flight->log.written;
    if (flight->total > flight->bound && !flight->too_large)
        flight->closed = outgrown = true;
    pthread_mutex_unlock(&flight->mutex);
    return outgrown;
}

static bool range_to_be_had(const struct flight *flight)
{
    return flight->range_count < FLIGHT_RANGES_MAX || flight->ranges[flight->range_count - 1].end == flight->total;
}

static void take(struct flight *flight, struct span bytes, bool hidden)
{
    /* What is held back has nobody to wait for, so what does not fit is not kept: flight_bytes says so. */
    if ((flight->given && !flight->background) || (flight->held && flight->too_large) || !bytes.len)
        return;
    uint64_t expected = flight->head.framing == BODY_LENGTH ? flight->head.body_length : 0;
    if (hidden && !range_to_be_had(flight)) {
        flight->too_large = true;
        return;
    }
    flight_log_write(flight, bytes, expected);
    if (publish(flight, hidden)) {
        flight->too_large = true;
        flight_forget(flight);
    }
    if (flight->too_large && !flight->held && flight_log_trim(flight))
        flight->sink.congested = true;
    flight_wake(flight);
}

static void sink_body(struct stream *sink, struct span bytes)
{
    take(flight_of(sink), bytes, false);
}

void flight_hidden(struct flight *flight, struct span bytes)
{
    take(flight, bytes, true);
}

static void sink_end(struct stream *sink, const struct fields *trailers)
{
    (void)trailers;
    flight_of(sink)->sink_ended = true;
}

static void sink_want(struct stream *sink, bool more)
{
    (void)sink; /* the whole request is there */
    (void)more;
}

static void sink_reset(struct stream *sink, enum fault why)
{
    (void)sink; /* sink_ended stays false: flight_ended sees it */
    (void)why;
}

static const struct stream_ops sink_ops = {
    .name = "flight", .head = sink_head, .body = sink_body, .end = sink_end, .want = sink_want, .reset = sink_reset};

/* ---- its end ---- */

void flight_ended(struct exchange *flown)
{
    struct flight *flight = flown->flight;
    flown->client = NULL;
    flight->sink.exchange = NULL;
    flight->flown = NULL;
    task_cancel(&flight->look);
    keep_facts(flight, flown);
    if (flight->ops->end)
        flight->ops->end(flight, flown, flight->sink_ended && flown->fault == FAULT_NONE);
    pthread_mutex_lock(&flight->mutex);
    flight->broken = !flight->sink_ended;
    flight->known = flight->done = flight->closed = true;
    pthread_mutex_unlock(&flight->mutex);
    flight_forget(flight);
    flight_wake(flight);
    flown->worker->flight_count--;
    flight_unref(flight);
}

void *flight_state(const struct flight *flight)
{
    return flight->state;
}
