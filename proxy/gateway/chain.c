/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/chain.h"

#include <assert.h>

#include "gateway/exchange.h"
#include "gateway/snapshot.h"
#include "gateway/worker.h"
#include "net/pending.h"

/* The phase a parked request direction was in, so that the run queue can go on with it. */
enum phase { PHASE_HEAD, PHASE_REQUEST, PHASE_BODY };

static void run_task(struct task *task);

void chain_init(struct exchange *exchange, unsigned capacity)
{
    if (capacity)
        exchange->filters = ARENA_ARRAY(&exchange->arena, struct filter, capacity);
    exchange->task.run = run_task;
}

void chain_join(struct exchange *exchange, const struct filter_use *uses, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        const struct filter_type *type = uses[i].type;
        if (type->applies && !type->applies(uses[i].settings, exchange))
            continue;
        struct filter *filter = &exchange->filters[exchange->filter_count++];
        filter->type = type;
        filter->settings = uses[i].settings;
        filter->name = uses[i].name;
        filter->instance = worker_instance(exchange->worker, exchange->snapshot, &uses[i]);
        filter->exchange = exchange;
        if (type->state_size)
            filter->state = arena_zalloc(&exchange->arena, type->state_size);
        exchange->in_body_hooks |= type->on_request_body != NULL;
        exchange->out_body_hooks |= type->on_response_body != NULL;
    }
}

void chain_fork(struct exchange *to, const struct filter *from)
{
    const struct exchange *exchange = from->exchange;
    unsigned first = (unsigned)(from - exchange->filters), count = exchange->filter_count - first;
    chain_init(to, count);
    for (unsigned i = 0; i < count; i++) {
        const struct filter *model = &exchange->filters[first + i];
        struct filter *filter = &to->filters[to->filter_count++];
        *filter = (struct filter){.type = model->type,
                                  .settings = model->settings,
                                  .instance = model->instance,
                                  .exchange = to,
                                  .name = model->name,
                                  .head_seen = model->head_seen};
        if (model->type->state_size)
            filter->state = arena_zalloc(&to->arena, model->type->state_size);
        to->in_body_hooks |= model->type->on_request_body != NULL;
        to->out_body_hooks |= model->type->on_response_body != NULL;
    }
    to->in.phase = PHASE_REQUEST;
    to->in.parked = to->in.runnable = true;
    loop_post(to->worker->loop, &to->task);
}

/* ---- verdicts ---- */

/* True: go on with the next filter. */
static bool settle(struct exchange *exchange, struct channel *channel, struct filter *filter, enum verdict verdict)
{
    switch (verdict) {
    case FILTER_PASS:
        return true;
    case FILTER_WAIT:
        assert(!list_empty(&exchange->pendings));
        channel->parked = true;
        filter->waiting = channel;
        return false;
    case FILTER_ANSWERED:
    case FILTER_FAIL:
        break;
    }
    /* Those behind it have not seen the request, or have seen the answer that this one replaces. */
    exchange->filters_seen = (unsigned)(filter - exchange->filters);
    exchange_answered(exchange);
    return false;
}

static enum verdict call(struct exchange *exchange, enum verdict (*hook)(struct filter *), struct filter *filter)
{
    exchange->in_hook = true;
    enum verdict verdict = hook(filter);
    exchange->in_hook = false;
    return verdict;
}

/* ---- request direction ---- */

static void run_head(struct exchange *exchange)
{
    struct channel *in = &exchange->in;
    while (in->next < exchange->filter_count) {
        struct filter *filter = &exchange->filters[in->next++];
        filter->head_seen = true;
        if (filter->type->on_request_head &&
            !settle(exchange, in, filter, call(exchange, filter->type->on_request_head, filter)))
            return;
    }
    exchange->filters_seen = exchange->filter_count;
    exchange_head_passed(exchange);
}

static void run_request(struct exchange *exchange)
{
    struct channel *in = &exchange->in;
    while (in->next < exchange->filter_count) {
        struct filter *filter = &exchange->filters[in->next];
        if (!filter->head_seen) {
            filter->head_seen = true;
            if (filter->type->on_request_head &&
                !settle(exchange, in, filter, call(exchange, filter->type->on_request_head, filter)))
                return;
        }
        in->next++;
        if (filter->type->on_request && !settle(exchange, in, filter, call(exchange, filter->type->on_request, filter)))
            return;
    }
    exchange->filters_seen = exchange->filter_count;
    exchange_request_passed(exchange);
}

void chain_request_head(struct exchange *exchange)
{
    exchange->in.phase = PHASE_HEAD;
    exchange->in.next = 0;
    run_head(exchange);
}

void chain_request(struct exchange *exchange)
{
    exchange->in.phase = PHASE_REQUEST;
    exchange->in.next = 0;
    run_request(exchange);
}

/* Goes on with the bytes in in_buffer at filter in.next. False: parked. */
static bool run_request_body(struct exchange *exchange)
{
    struct channel *in = &exchange->in;
    struct filter_body body = {.bytes = &exchange->in_buffer, .last = in->last};
    while (in->next < exchange->filter_count) {
        struct filter *filter = &exchange->filters[in->next++];
        if (!filter->type->on_request_body)
            continue;
        exchange->in_hook = true;
        enum verdict verdict = filter->type->on_request_body(filter, &body);
        exchange->in_hook = false;
        if (!settle(exchange, in, filter, verdict))
            return false;
    }
    struct buffer bytes = exchange->in_buffer;
    exchange->in_buffer = (struct buffer){0};
    exchange_request_body_passed(exchange, buffer_span(&bytes), in->last);
    buffer_finish(&bytes);
    return true;
}

bool chain_request_body(struct exchange *exchange, struct span bytes, bool last)
{
    struct channel *in = &exchange->in;
    if (!exchange->in_body_hooks) {
        exchange_request_body_passed(exchange, bytes, last);
        return true;
    }
    in->phase = PHASE_BODY;
    in->next = 0;
    in->last = last;
    buffer_append(&exchange->in_buffer, bytes);
    return run_request_body(exchange);
}

/* ---- response direction ---- */

static void run_response_head(struct exchange *exchange)
{
    struct channel *out = &exchange->out;
    while (out->next > 0) {
        struct filter *filter = &exchange->filters[--out->next];
        if (filter->type->on_response_head &&
            !settle(exchange, out, filter, call(exchange, filter->type->on_response_head, filter)))
            return;
    }
    exchange_response_head_passed(exchange);
}

void chain_response_head(struct exchange *exchange)
{
    exchange->out.phase = PHASE_HEAD;
    exchange->out.next = exchange->filters_seen;
    run_response_head(exchange);
}

/* A piece that came while a filter waited. */
struct out_piece {
    struct buffer bytes;
    bool hidden, last;
    struct out_piece *next;
};

static void keep_piece(struct exchange *exchange, struct span bytes, bool hidden, bool last)
{
    struct out_piece *piece = ARENA_NEW(&exchange->arena, struct out_piece);
    piece->hidden = hidden;
    piece->last = last;
    buffer_append(&piece->bytes, bytes);
    if (!exchange->waiting)
        exchange->waiting_end = &exchange->waiting;
    *exchange->waiting_end = piece;
    exchange->waiting_end = &piece->next;
}

static bool run_response_body(struct exchange *exchange)
{
    struct channel *out = &exchange->out;
    struct filter_body body = {.bytes = &exchange->out_buffer, .last = out->last, .hidden = exchange->out_hidden};
    while (out->next > 0) {
        struct filter *filter = &exchange->filters[--out->next];
        if (!filter->type->on_response_body)
            continue;
        exchange->in_hook = true;
        enum verdict verdict = filter->type->on_response_body(filter, &body);
        exchange->in_hook = false;
        if (!settle(exchange, out, filter, verdict))
            return false;
    }
    struct buffer bytes = exchange->out_buffer;
    exchange->out_buffer = (struct buffer){0};
    exchange_response_body_passed(exchange, buffer_span(&bytes), exchange->out_hidden, out->last);
    buffer_finish(&bytes);
    return true;
}

static bool start_response_body(struct exchange *exchange, struct span bytes, bool hidden, bool last)
{
    struct channel *out = &exchange->out;
    out->phase = PHASE_BODY;
    out->next = exchange->filters_seen;
    out->last = last;
    exchange->out_hidden = hidden;
    buffer_append(&exchange->out_buffer, bytes);
    return run_response_body(exchange);
}

void chain_response_body(struct exchange *exchange, struct span bytes, bool hidden, bool last)
{
    if (exchange->out.parked || exchange->waiting)
        keep_piece(exchange, bytes, hidden, last);
    else if (!exchange->out_body_hooks)
        exchange_response_body_passed(exchange, bytes, hidden, last);
    else
        (void)start_response_body(exchange, bytes, hidden, last);
}

/* Passes on what was kept, until a filter waits again. True: all is through. */
static bool run_waiting(struct exchange *exchange)
{
    bool through = true;
    while (through && exchange->waiting && exchange->state != EXCHANGE_DONE) {
        struct out_piece *piece = exchange->waiting;
        exchange->waiting = piece->next;
        if (exchange->out_body_hooks)
            through = start_response_body(exchange, buffer_span(&piece->bytes), piece->hidden, piece->last);
        else
            exchange_response_body_passed(exchange, buffer_span(&piece->bytes), piece->hidden, piece->last);
        buffer_finish(&piece->bytes);
    }
    return through && exchange->state != EXCHANGE_DONE;
}

void chain_drop_waiting(struct exchange *exchange)
{
    for (struct out_piece *piece = exchange->waiting; piece; piece = piece->next)
        buffer_finish(&piece->bytes);
    exchange->waiting = NULL;
}

void chain_abandon(struct exchange *exchange)
{
    bool waited = false;
    for (unsigned i = 0; i < exchange->filter_count; i++) {
        waited |= exchange->filters[i].waiting != NULL;
        exchange->filters[i].waiting = NULL;
    }
    if (waited)
        pending_cancel_all(&exchange->pendings);
    if (exchange->out.parked && !exchange->response_started)
        exchange->filters_seen = exchange->out.next;
    exchange->in.parked = exchange->in.runnable = false;
    exchange->out.parked = exchange->out.runnable = false;
    exchange->answered_late = false;
    chain_drop_waiting(exchange);
    buffer_finish(&exchange->out_buffer);
}

/* ---- going on after a wait ---- */

static void run_out(struct exchange *exchange)
{
    if (exchange->out.phase == PHASE_HEAD)
        run_response_head(exchange);
    else if (!run_response_body(exchange))
        return;
    if (exchange->state != EXCHANGE_DONE && !exchange->out.parked && run_waiting(exchange))
        exchange_channel_free(exchange, &exchange->out);
}

static void run_in(struct exchange *exchange)
{
    if (exchange->in.phase == PHASE_HEAD)
        run_head(exchange);
    else if (exchange->in.phase == PHASE_REQUEST)
        run_request(exchange);
    else if (run_request_body(exchange))
        exchange_channel_free(exchange, &exchange->in);
}

static void run_task(struct task *task)
{
    struct exchange *exchange = CONTAINER_OF(task, struct exchange, task);
    if (exchange->state == EXCHANGE_DONE)
        return;
    if (exchange->answered_late) {
        exchange->answered_late = false;
        exchange_answered(exchange);
        return;
    }
    if (exchange->in.runnable) {
        exchange->in.runnable = exchange->in.parked = false;
        run_in(exchange);
    }
    if (exchange->out.runnable && exchange->state != EXCHANGE_DONE) {
        exchange->out.runnable = exchange->out.parked = false;
        run_out(exchange);
    }
}

bool chain_shows_model(const struct exchange *exchange, struct span model)
{
    for (unsigned i = 0; i < exchange->filter_count; i++) {
        const struct filter *filter = &exchange->filters[i];
        if (filter->type->shows_model && !filter->type->shows_model(filter, model))
            return false;
    }
    return true;
}

void chain_end(struct exchange *exchange, enum outcome outcome)
{
    for (unsigned i = exchange->filter_count; i-- > 0;) {
        struct filter *filter = &exchange->filters[i];
        if (filter->type->on_end)
            filter->type->on_end(filter, outcome);
    }
}

/* ---- what filters call ---- */

struct list *filter_pendings(struct filter *filter)
{
    return &filter->exchange->pendings;
}

void filter_continue(struct filter *filter)
{
    struct exchange *exchange = filter->exchange;
    assert(filter->waiting && filter->waiting->parked);
    filter->waiting->runnable = true;
    filter->waiting = NULL;
    loop_post(exchange->worker->loop, &exchange->task);
}

/* From a completion, the run queue takes the answer up; inside a hook, the verdict does. */
static void taken(struct filter *filter)
{
    struct exchange *exchange = filter->exchange;
    if (exchange->in_hook)
        return;
    assert(filter->waiting && filter->waiting->parked);
    exchange->filters_seen = (unsigned)(filter - exchange->filters);
    filter->waiting = NULL; /* its direction stays parked: what arrives until then is not for the client */
    exchange->answered_late = true;
    loop_post(exchange->worker->loop, &exchange->task);
}

void filter_answer_field(struct filter *filter, struct span lower_name, struct span value)
{
    struct exchange *exchange = filter->exchange;
    fields_add(&exchange->answer_fields, &exchange->arena, arena_copy(&exchange->arena, lower_name),
               arena_copy(&exchange->arena, value));
}

void filter_answer(struct filter *filter, unsigned status, struct span content_type, struct span body)
{
    struct exchange *exchange = filter->exchange;
    exchange->answer_status = status;
    exchange->answer_type = arena_copy(&exchange->arena, content_type);
    exchange->fault = FAULT_NONE;
    buffer_finish(&exchange->answer);
    buffer_append(&exchange->answer, body);
    taken(filter);
}

void filter_answer_stream(struct filter *filter, struct stream *source)
{
    struct exchange *exchange = filter->exchange;
    exchange_drop_source(exchange);
    exchange->answer_status = 0;
    source->role = STREAM_ANSWER;
    source->exchange = exchange;
    exchange->source = source;
    exchange->fault = FAULT_NONE;
    taken(filter);
}

void filter_fail(struct filter *filter, enum fault why, struct span message, struct span param)
{
    struct exchange *exchange = filter->exchange;
    exchange->fault = why;
    exchange->fault_message = arena_copy(&exchange->arena, message);
    exchange->fault_param = arena_copy(&exchange->arena, param);
    taken(filter);
}
