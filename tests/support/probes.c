/* SPDX-License-Identifier: Apache-2.0 */
#include "support/probes.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "gateway/exchange.h"
#include "net/pending.h"
#include "support/rig.h"

static struct rig *rig_of(const struct filter *filter)
{
    return CONTAINER_OF(filter->exchange->worker->process, struct rig, process);
}

/* ---- waiting ---- */

#define WAIT_LIMIT (60 * CLOCK_SECOND)

enum then { THEN_CONTINUE, THEN_ANSWER, THEN_FAIL };

struct wait {
    struct pending pending;
    struct task task;
    struct timer timer;
    struct filter *filter;
    enum then then;
    unsigned rounds; /* through the run queue before it completes */
};

static void answer(struct filter *filter)
{
    filter_answer_field(filter, SPAN("x-by"), filter->name);
    filter_answer(filter, 203, SPAN("text/plain"), SPAN("answered"));
}

static void complete(struct wait *wait)
{
    rig_of(wait->filter)->progress++;
    pending_complete(&wait->pending);
    if (wait->then == THEN_ANSWER)
        answer(wait->filter);
    else if (wait->then == THEN_FAIL)
        filter_fail(wait->filter, FAULT_FORBIDDEN, SPAN("no"), (struct span){0});
    else
        filter_continue(wait->filter);
}

static void wait_ran(struct task *task)
{
    struct wait *wait = CONTAINER_OF(task, struct wait, task);
    if (wait->rounds == 0) {
        complete(wait);
        return;
    }
    wait->rounds--;
    rig_of(wait->filter)->progress++;
    loop_post(wait->pending.loop, task);
}

static void wait_fired(struct timer *timer)
{
    complete(CONTAINER_OF(timer, struct wait, timer));
}

static void wait_ended(struct pending *pending)
{
    struct wait *wait = CONTAINER_OF(pending, struct wait, pending);
    task_cancel(&wait->task);
    timer_clear(pending->loop, &wait->timer);
}

static void wait_overdue(struct pending *pending)
{
    struct wait *wait = CONTAINER_OF(pending, struct wait, pending);
    wait_ended(pending);
    filter_fail(wait->filter, FAULT_OVERLOADED, (struct span){0}, (struct span){0});
}

/* SETTING_ABSENT_DURATION: never. */
static enum verdict start_wait(struct filter *filter, struct wait *wait, uint64_t after, enum then then,
                               unsigned rounds)
{
    struct loop *loop = filter->exchange->worker->loop;
    *wait = (struct wait){.filter = filter, .then = then, .rounds = rounds};
    wait->task.run = wait_ran;
    wait->timer.fire = wait_fired;
    pending_start(filter_pendings(filter), &wait->pending, loop, loop_now(loop) + WAIT_LIMIT, wait_overdue, wait_ended);
    if (after == 0)
        loop_post(loop, &wait->task);
    else if (after != SETTING_ABSENT_DURATION)
        timer_set(loop, &wait->timer, loop_now(loop) + after);
    return FILTER_WAIT;
}

/* ---- an answer from a local source ---- */

struct source {
    struct stream stream;
    struct task task;
    struct exchange *exchange; /* NULL when reset */
    unsigned next, cut_at;
    bool unwanted, begun;
};

static struct source *source_of(struct stream *stream)
{
    return CONTAINER_OF(stream, struct source, stream);
}

static void source_run(struct task *task)
{
    struct source *source = CONTAINER_OF(task, struct source, task);
    struct exchange *exchange = source->exchange;
    CONTAINER_OF(exchange->worker->process, struct rig, process)->progress++;
    if (!source->begun) {
        source->begun = true;
        exchange->response = (struct message){
            .version = HTTP_1_1, .status = 203, .method = HTTP_POST, .framing = BODY_CHUNKED, .keep_alive = true};
        fields_add(&exchange->response.fields, &exchange->arena, SPAN("content-type"), SPAN("text/plain"));
        stream_arrived_head(&source->stream, &exchange->response, false);
    } else if (source->next == source->cut_at) {
        source->exchange = NULL;
        stream_arrived_failure(&source->stream, FAULT_INTERNAL, "source cut", false);
    } else if (source->next == 100) {
        stream_arrived_end(&source->stream, NULL);
        return;
    } else {
        char piece[8];
        int len = snprintf(piece, sizeof(piece), "%u ", source->next++);
        stream_arrived_body(&source->stream, span_of(piece, (size_t)len));
    }
    if (source->exchange && !source->unwanted)
        loop_post(exchange->worker->loop, task);
}

static void source_want(struct stream *stream, bool more)
{
    struct source *source = source_of(stream);
    source->unwanted = !more;
    if (more && source->exchange)
        loop_post(source->exchange->worker->loop, &source->task);
}

static void source_reset(struct stream *stream, enum fault why)
{
    (void)why;
    struct source *source = source_of(stream);
    task_cancel(&source->task);
    source->exchange = NULL;
}

static const struct stream_ops source_ops = {.name = "source", .want = source_want, .reset = source_reset};

static void answer_by_source(struct filter *filter, unsigned cut_at)
{
    struct source *source = ARENA_NEW(&filter->exchange->arena, struct source);
    source->stream.ops = &source_ops;
    source->task.run = source_run;
    source->exchange = filter->exchange;
    source->cut_at = cut_at;
    filter_answer_stream(filter, &source->stream);
    loop_post(filter->exchange->worker->loop, &source->task);
}

/* ---- probe ---- */

enum probe_at { AT_HEAD, AT_REQUEST, AT_REQUEST_BODY, AT_RESPONSE, AT_RESPONSE_BODY };
enum probe_do { DO_PASS, DO_ANSWER, DO_FAIL, DO_WAIT, DO_UPPER, DO_APPEND, DO_HOLD, DO_STREAM, DO_STREAM_CUT };
static const char *const at_words[] = {"head", "request", "request-body", "response", "response-body", NULL};
static const char *const do_words[] = {"pass",   "answer", "fail",   "wait",       "upper",
                                       "append", "hold",   "stream", "stream-cut", NULL};
static const char *const then_words[] = {"continue", "answer", "fail", NULL};

struct probe_settings {
    struct settings settings;
    enum probe_at at;
    enum probe_do act;
    enum then then;
    uint64_t after;
};

struct probe_state {
    struct wait wait;
    struct buffer hold;
    bool waited;
};

/* Its instance is its name, so that another one's instance is noticed. */
static void *probe_attach(struct worker *worker, const void *settings, struct span name, void *previous)
{
    (void)worker;
    (void)settings;
    (void)previous;
    return memory_string(name);
}

static void probe_detach(struct worker *worker, void *instance)
{
    (void)worker;
    free(instance);
}

static void note(struct filter *filter, const char *what)
{
    assert_non_null(filter->instance);
    assert_true(span_equal(span_str(filter->instance), filter->name));
    buffer_format(&rig_of(filter)->trace, "%.*s:%s ", SPAN_ARG(filter->name), what);
}

static enum verdict act(struct filter *filter, enum probe_at at)
{
    const struct probe_settings *settings = filter->settings;
    struct probe_state *state = filter->state;
    if (settings->at != at)
        return FILTER_PASS;
    switch (settings->act) {
    case DO_ANSWER:
        answer(filter);
        return FILTER_ANSWERED;
    case DO_FAIL:
        filter_fail(filter, FAULT_FORBIDDEN, SPAN("not you"), SPAN("user"));
        return FILTER_FAIL;
    case DO_STREAM:
    case DO_STREAM_CUT:
        answer_by_source(filter, settings->act == DO_STREAM ? UINT_MAX : 50);
        return FILTER_ANSWERED;
    case DO_WAIT:
        if (state->waited)
            return FILTER_PASS;
        state->waited = true;
        return start_wait(filter, &state->wait, settings->after, settings->then, 0);
    default:
        return FILTER_PASS;
    }
}

static enum verdict probe_head(struct filter *filter)
{
    note(filter, "head");
    return act(filter, AT_HEAD);
}

static enum verdict probe_request(struct filter *filter)
{
    note(filter, "request");
    return act(filter, AT_REQUEST);
}

static enum verdict probe_response(struct filter *filter)
{
    note(filter, "response");
    return act(filter, AT_RESPONSE);
}

static void change(struct filter *filter, struct filter_body *body)
{
    const struct probe_settings *settings = filter->settings;
    struct probe_state *state = filter->state;
    struct buffer *bytes = body->bytes;
    if (settings->act == DO_UPPER)
        for (size_t i = bytes->start; i < bytes->end; i++)
            bytes->ptr[i] = (char)(bytes->ptr[i] >= 'a' && bytes->ptr[i] <= 'z' ? bytes->ptr[i] - 32 : bytes->ptr[i]);
    if (settings->act == DO_APPEND && body->last)
        buffer_append(bytes, SPAN("!"));
    if (settings->act != DO_HOLD)
        return;
    buffer_move(&state->hold, bytes);
    if (body->last)
        buffer_move(bytes, &state->hold);
}

static enum verdict probe_body(struct filter *filter, struct filter_body *body, enum probe_at at, const char *what)
{
    const struct probe_settings *settings = filter->settings;
    if (body->last)
        note(filter, what);
    if (settings->at == at)
        change(filter, body);
    return act(filter, at);
}

static enum verdict probe_request_body(struct filter *filter, struct filter_body *body)
{
    return probe_body(filter, body, AT_REQUEST_BODY, "request-body");
}

static enum verdict probe_response_body(struct filter *filter, struct filter_body *body)
{
    return probe_body(filter, body, AT_RESPONSE_BODY, "response-body");
}

static void probe_end(struct filter *filter, enum outcome outcome)
{
    static const char *const words[] = {"end=completed", "end=answered", "end=failed", "end=cancelled"};
    struct probe_state *state = filter->state;
    note(filter, words[outcome]);
    buffer_finish(&state->hold);
}

#define AT(member) .offset = offsetof(struct probe_settings, member)
static const struct setting probe_table[] = {
    {.name = "at", .type = SETTING_ENUM, AT(at), .choices = at_words, .fallback = "head", .help = "Hook."},
    {.name = "do", .type = SETTING_ENUM, AT(act), .choices = do_words, .fallback = "pass", .help = "Deed."},
    {.name = "then", .type = SETTING_ENUM, AT(then), .choices = then_words, .fallback = "continue", .help = "After."},
    {.name = "after", .type = SETTING_DURATION, AT(after), .help = "Time until it completes."},
};
static const struct settings_spec probe_spec =
    SETTINGS_SPEC("probe", struct probe_settings, probe_table, "Looks and disturbs.");

static const struct filter_type probe = {.name = "probe",
                                         .settings = &probe_spec,
                                         .state_size = sizeof(struct probe_state),
                                         .attach = probe_attach,
                                         .detach = probe_detach,
                                         .on_request_head = probe_head,
                                         .on_request = probe_request,
                                         .on_request_body = probe_request_body,
                                         .on_response_head = probe_response,
                                         .on_response_body = probe_response_body,
                                         .on_end = probe_end};

/* ---- dribble ---- */

struct dribble_settings {
    struct settings settings;
};

/* What is kept back of each direction. */
struct dribble_state {
    struct wait in, out;
    struct buffer in_hold, out_hold;
};

static enum verdict perhaps(struct filter *filter, struct wait *wait)
{
    struct rig *rig = rig_of(filter);
    if (rig_random(rig, 3))
        return FILTER_PASS;
    return start_wait(filter, wait, 0, THEN_CONTINUE, (unsigned)rig_random(rig, 3));
}

static enum verdict dribble_request(struct filter *filter)
{
    struct dribble_state *state = filter->state;
    return perhaps(filter, &state->in);
}

static enum verdict dribble_response(struct filter *filter)
{
    struct dribble_state *state = filter->state;
    return perhaps(filter, &state->out);
}

/* Some of what is there goes on, the rest with a later piece, all of it with the last. */
static void pass_some(struct rig *rig, struct buffer *hold, struct filter_body *body)
{
    buffer_move(hold, body->bytes);
    size_t have = buffer_len(hold);
    size_t give = body->last ? have : rig_random(rig, have + 1);
    buffer_append(body->bytes, span_take(buffer_span(hold), give));
    buffer_consume(hold, give);
}

static enum verdict dribble_request_body(struct filter *filter, struct filter_body *body)
{
    struct dribble_state *state = filter->state;
    pass_some(rig_of(filter), &state->in_hold, body);
    return perhaps(filter, &state->in);
}

/* Hidden bytes never mix with others; where clients of both kinds follow they do not overtake any either. */
static enum verdict dribble_response_body(struct filter *filter, struct filter_body *body)
{
    struct dribble_state *state = filter->state;
    if (!body->hidden && !filter->exchange->flight)
        pass_some(rig_of(filter), &state->out_hold, body);
    return perhaps(filter, &state->out);
}

static void dribble_end(struct filter *filter, enum outcome outcome)
{
    (void)outcome;
    struct dribble_state *state = filter->state;
    buffer_finish(&state->in_hold);
    buffer_finish(&state->out_hold);
}

static const struct settings_spec dribble_spec = {
    .name = "dribble", .help = "Passes random amounts.", .size = sizeof(struct dribble_settings)};

static const struct filter_type dribble = {.name = "dribble",
                                           .settings = &dribble_spec,
                                           .state_size = sizeof(struct dribble_state),
                                           .on_request_head = dribble_request,
                                           .on_request = dribble_request,
                                           .on_request_body = dribble_request_body,
                                           .on_response_head = dribble_response,
                                           .on_response_body = dribble_response_body,
                                           .on_end = dribble_end};

/* ---- registry ---- */

extern const struct filter_type filter_cache;
extern const struct filter_type filter_inject;
extern const struct filter_type filter_rate_limit;

static const struct filter_type *const types[] = {&probe, &dribble, &filter_inject, &filter_rate_limit, &filter_cache};
const struct filter_registry probe_registry = {.types = types, .count = ARRAY_LEN(types)};

const struct settings_registry *probe_settings(void)
{
    static struct settings_registry_entry entries[ARRAY_LEN(types)];
    static const struct settings_registry registry = {.count = ARRAY_LEN(entries), .entries = entries};
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        entries[i] = (struct settings_registry_entry){
            .name = types[i]->name, .spec = types[i]->settings, .flags = types[i]->serves ? SETTINGS_SERVES : 0};
    return &registry;
}
