/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/local_stream.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "gateway/attempt.h"
#include "gateway/exchange.h"
#include "gateway/metrics_series.h"
#include "gateway/snapshot.h"
#include "gateway/worker.h"
#include "openai/errors.h"
#include "openai/mock.h"

/* Events produced without a pause before others get their turn. */
#define EVENTS_PER_TURN 32
/* A stream that was held up does not catch up more than this: the rest of the delay stays. */
#define CATCH_UP (100 * CLOCK_MS)
/* Bytes of a field's name that an answer repeats. */
#define FIELD_SHOWN_MAX 100

enum mock_phase {
    MOCK_LISTENING, /* the request arrives */
    MOCK_THINKING,  /* it is complete; the head is due */
    MOCK_SPEAKING,  /* the head has gone, the body follows */
    MOCK_OVER       /* ended, reset or silent for ever */
};

/* What a mock remembers between requests. */
struct mock_memory {
    struct mock_state state;
    char *name; /* of the target: the key */
};

struct mock_stream {
    struct stream stream;
    struct worker *worker;
    struct exchange *exchange;
    struct message *response;
    struct mock_memory *memory;
    struct span target; /* its name */
    struct mock_options options;
    struct mock_request request;
    struct span bad_field; /* an x-mock-* field that is not understood; empty: none */
    struct buffer body;    /* of the request */
    struct mock_run *run;
    struct task task;
    struct timer timer;
    uint64_t due; /* loop time at which the next step was to come */
    enum mock_phase phase;
    bool unwanted; /* the other side wants no more for now */
    bool waiting;  /* for it to want more */
    bool counted;  /* in the metrics */
};

static struct mock_stream *mock_of(struct stream *stream)
{
    return CONTAINER_OF(stream, struct mock_stream, stream);
}

static struct mock_memory *remember(struct worker *worker, struct span name)
{
    struct mock_memory *memory = table_get(&worker->mocks, name);
    if (memory)
        return memory;
    memory = memory_zalloc(sizeof(*memory));
    memory->name = memory_string(name);
    (void)table_put(&worker->mocks, span_of(memory->name, name.len), memory);
    return memory;
}

void mock_memories_free(struct worker *worker)
{
    size_t cursor = 0;
    struct mock_memory *memory;
    while ((memory = table_next(&worker->mocks, &cursor)) != NULL) {
        free(memory->name);
        free(memory);
    }
    table_finish(&worker->mocks);
}

/* The target's settings in the mock's own terms. An absent *_after is the largest number in both. */
_Static_assert(SETTING_ABSENT_INTEGER == MOCK_NEVER, "an event count that is not given means never");

static void options_of(const struct config_mock *config, struct mock_options *options)
{
    mock_options_init(options);
    options->azure = config->azure;
    options->latency = config->latency;
    options->chunk_interval = config->chunk_interval;
    options->chunks = config->chunks;
    options->words_per_chunk = config->words_per_chunk;
    options->tokens_per_second = config->tokens_per_second;
    options->status = config->fault.status;
    options->retry_after_ms = config->fault.retry_after / CLOCK_MS;
    options->every = config->fault.every;
    options->percent = config->fault.percent;
    options->seed = config->fault.seed;
    options->error_after = config->fault.error_after;
    options->cut_after = config->fault.cut_after;
    options->stall_after = config->fault.stall_after;
    if (config->tokens.given)
        options->tokens_per_minute =
            (uint64_t)(config->tokens.amount * (60.0 * (double)CLOCK_SECOND) / (double)config->tokens.micros);
}

/* ---- the answer ---- */

/* What the model has done is counted apart from what the gateway makes of it, so that tests can compare them. */
static void count_work(struct mock_stream *mock)
{
    const struct exchange *exchange = mock->exchange;
    if (mock->counted || !mock->run)
        return;
    mock->counted = true;
    struct mock_work work = mock_work(mock->run);
    struct span usage = work.reported ? SPAN("reported") : SPAN("unreported");
    struct span input[] = {mock->target, SPAN("input"), usage}, output[] = {mock->target, SPAN("output"), usage};
    struct metrics *metrics = mock->worker->metrics;
    uint64_t generation = exchange->snapshot->generation;
    if (work.input)
        metrics_add(metrics_series_find(metrics, generation, METRIC_MOCK_TOKENS, input), work.input);
    if (work.output)
        metrics_add(metrics_series_find(metrics, generation, METRIC_MOCK_TOKENS, output), work.output);
}

static void stop(struct mock_stream *mock)
{
    if (mock->phase != MOCK_OVER)
        count_work(mock);
    mock->phase = MOCK_OVER;
    task_cancel(&mock->task);
    timer_clear(mock->worker->loop, &mock->timer);
    buffer_finish(&mock->body);
}

static void end(struct mock_stream *mock)
{
    stop(mock);
    stream_arrived_end(&mock->stream, NULL);
    mock->stream.attempt = NULL;
}

/* Goes on after `pause` µs; at once still means by the run queue. */
static void go_on(struct mock_stream *mock, uint64_t pause)
{
    struct loop *loop = mock->worker->loop;
    uint64_t now = loop_now(loop);
    mock->due += pause;
    if (mock->due + CATCH_UP < now)
        mock->due = now;
    if (pause == 0)
        loop_post(loop, &mock->task);
    else
        timer_set(loop, &mock->timer, mock->due);
}

static void give_head(struct mock_stream *mock)
{
    const struct mock_answer *answer = &mock->run->answer;
    struct arena *arena = &mock->exchange->arena;
    bool empty = mock->exchange->request.method == HTTP_HEAD || (!answer->stream && answer->length == 0);
    *mock->response = (struct message){.version = HTTP_1_1,
                                       .status = answer->status,
                                       .method = mock->exchange->request.method,
                                       .framing = empty            ? BODY_NONE
                                                  : answer->stream ? BODY_CHUNKED
                                                                   : BODY_LENGTH,
                                       .body_length = answer->length,
                                       .keep_alive = true};
    if (answer->content_type.len)
        fields_add_id(&mock->response->fields, arena, FIELD_CONTENT_TYPE, answer->content_type);
    for (unsigned i = 0; i < answer->header_count; i++)
        fields_add(&mock->response->fields, arena, answer->headers[i].name, answer->headers[i].value);
    mock->phase = MOCK_SPEAKING;
    stream_arrived_head(&mock->stream, mock->response, empty);
    if (mock->phase == MOCK_SPEAKING && empty)
        end(mock);
    else if (mock->phase == MOCK_SPEAKING)
        go_on(mock, 0);
}

static void speak(struct mock_stream *mock)
{
    for (unsigned i = 0; i < EVENTS_PER_TURN; i++) {
        if (mock->unwanted) {
            mock->waiting = true;
            return;
        }
        struct buffer out = {0};
        uint64_t pause;
        enum mock_step step = mock_next(mock->run, &out, &pause);
        if (buffer_len(&out))
            stream_arrived_body(&mock->stream, buffer_span(&out));
        buffer_finish(&out);
        if (mock->phase != MOCK_SPEAKING)
            return;
        switch (step) {
        case MOCK_MORE:
            break;
        case MOCK_END:
            end(mock);
            return;
        case MOCK_CUT:
            stop(mock);
            stream_arrived_failure(&mock->stream, FAULT_UPSTREAM_CLOSED, "the mock model cut the connection", false);
            return;
        case MOCK_STALL:
            stop(mock);
            return;
        }
        if (pause) {
            go_on(mock, pause);
            return;
        }
    }
    go_on(mock, 0);
}

static void give_refusal(struct mock_stream *mock)
{
    struct arena *arena = &mock->exchange->arena;
    struct span message =
        arena_format(arena, "The mock model does not understand the header field %.*s.", SPAN_ARG(mock->bad_field));
    struct buffer body = {0};
    error_body(&body, FAULT_BAD_PARAMETER, message, mock->bad_field);
    *mock->response = (struct message){.version = HTTP_1_1,
                                       .status = fault_entry(FAULT_BAD_PARAMETER)->status,
                                       .method = mock->exchange->request.method,
                                       .framing = BODY_LENGTH,
                                       .body_length = buffer_len(&body),
                                       .keep_alive = true};
    fields_add_id(&mock->response->fields, arena, FIELD_CONTENT_TYPE, SPAN("application/json"));
    bool empty = mock->exchange->request.method == HTTP_HEAD;
    stream_arrived_head(&mock->stream, mock->response, empty);
    if (mock->phase != MOCK_OVER && !empty)
        stream_arrived_body(&mock->stream, buffer_span(&body));
    buffer_finish(&body);
    if (mock->phase != MOCK_OVER)
        end(mock);
}

static void step(struct mock_stream *mock)
{
    if (mock->phase == MOCK_SPEAKING)
        speak(mock);
    else if (mock->phase == MOCK_THINKING && mock->bad_field.len)
        give_refusal(mock);
    else if (mock->phase == MOCK_THINKING)
        give_head(mock);
}

static void run_task(struct task *task)
{
    step(CONTAINER_OF(task, struct mock_stream, task));
}

static void timer_fired(struct timer *timer)
{
    step(CONTAINER_OF(timer, struct mock_stream, timer));
}

/* The request is complete: plans the answer. */
static void think(struct mock_stream *mock)
{
    mock->phase = MOCK_THINKING;
    mock->due = loop_now(mock->worker->loop);
    if (mock->bad_field.len) {
        go_on(mock, 0);
        return;
    }
    mock->request.body = buffer_span(&mock->body);
    mock->request.wall = loop_wall(mock->worker->loop);
    mock->run = mock_start(&mock->exchange->arena, &mock->options, &mock->memory->state, &mock->request);
    go_on(mock, mock->run->answer.delay);
}

/* ---- stream ops ---- */

static void op_head(struct stream *stream, struct message *head, bool is_end)
{
    struct mock_stream *mock = mock_of(stream);
    struct arena *arena = &mock->exchange->arena;
    for (unsigned i = 0; i < head->fields.count; i++) {
        const struct field *field = &head->fields.at[i];
        if (mock_options_field(&mock->options, field->name, field->value) == MOCK_FIELD_BAD && !mock->bad_field.len)
            mock->bad_field = arena_copy(arena, span_take(field->name, FIELD_SHOWN_MAX));
    }
    mock->request.content_type = arena_copy(arena, fields_value(&head->fields, FIELD_CONTENT_TYPE));
    if (is_end)
        think(mock);
}

/* Of bodies that are not inspected the mock needs nothing, and their length has no limit. */
static void op_body(struct stream *stream, struct span bytes)
{
    struct mock_stream *mock = mock_of(stream);
    if (mock->phase == MOCK_LISTENING && mock->exchange->inspected)
        buffer_append(&mock->body, bytes);
}

static void op_end(struct stream *stream, const struct fields *trailers)
{
    (void)trailers;
    struct mock_stream *mock = mock_of(stream);
    if (mock->phase == MOCK_LISTENING)
        think(mock);
}

static void op_want(struct stream *stream, bool more)
{
    struct mock_stream *mock = mock_of(stream);
    mock->unwanted = !more;
    if (!more || !mock->waiting)
        return;
    mock->waiting = false;
    go_on(mock, 0);
}

static void op_reset(struct stream *stream, enum fault why)
{
    (void)why;
    stream->attempt = NULL;
    stop(mock_of(stream));
}

static const struct stream_ops mock_ops = {
    .name = "mock", .head = op_head, .body = op_body, .end = op_end, .want = op_want, .reset = op_reset};

struct stream *mock_stream_create(struct worker *worker, const struct target *target, struct attempt *attempt)
{
    struct exchange *exchange = attempt->exchange;
    const struct api_call *call = &exchange->call;
    struct mock_stream *mock = ARENA_NEW(&exchange->arena, struct mock_stream);
    mock->stream = (struct stream){.ops = &mock_ops, .role = STREAM_CLIENT, .attempt = attempt};
    mock->worker = worker;
    mock->exchange = exchange;
    mock->response = &attempt->response;
    mock->memory = remember(worker, target->name);
    mock->target = target->name;
    options_of(target->config->mock, &mock->options);
    mock->request.operation = call->operation ? call->operation->id : OPERATION_ID_COUNT;
    mock->request.model = attempt->to->deployment.len ? attempt->to->deployment : exchange->model_asked;
    mock->request.resource = call->resource;
    mock->task.run = run_task;
    mock->timer.fire = timer_fired;
    return &mock->stream;
}
