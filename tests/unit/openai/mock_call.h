/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mock_call: asks the mock something and keeps what it said, for the mock's tests. cmocka's includes come first. One
 * call at a time: mock_call_begin and mock_call_end enclose it.
 */
#ifndef POSTERN_TESTS_UNIT_OPENAI_MOCK_CALL_H
#define POSTERN_TESTS_UNIT_OPENAI_MOCK_CALL_H

#include "base/arena.h"
#include "base/json_value.h"
#include "openai/mock.h"

#define MOCK_CALL_EVENTS 512

struct mock_call {
    struct arena arena;
    struct mock_options options;
    struct mock_state state;
    struct mock_request request;
    /* the last answer */
    struct mock_run *run;
    struct buffer out;
    enum mock_step step; /* the last */
    unsigned count;      /* events */
    struct span event[MOCK_CALL_EVENTS];
    uint64_t pause[MOCK_CALL_EVENTS];
};

static inline void mock_call_begin(struct mock_call *call)
{
    *call = (struct mock_call){.request = {.wall = 1763827200000000}};
    arena_init(&call->arena);
    mock_options_init(&call->options);
}

static inline void mock_call_end(struct mock_call *call)
{
    buffer_finish(&call->out);
    arena_finish(&call->arena);
}

/* Asks and reads to the end; returns everything that came. */
static inline struct span mock_ask_for(struct mock_call *call, enum operation_id operation, struct span body)
{
    size_t ends[MOCK_CALL_EVENTS];
    buffer_finish(&call->out);
    call->request.operation = operation;
    call->request.body = body;
    call->run = mock_start(&call->arena, &call->options, &call->state, &call->request);
    call->count = 0;
    do {
        assert_true(call->count < MOCK_CALL_EVENTS);
        call->step = mock_next(call->run, &call->out, &call->pause[call->count]);
        ends[call->count++] = buffer_len(&call->out);
    } while (call->step == MOCK_MORE);
    for (unsigned i = 0; i < call->count; i++) {
        size_t start = i ? ends[i - 1] : 0;
        call->event[i] = span_of(buffer_span(&call->out).ptr + start, ends[i] - start);
    }
    if (!call->run->answer.stream && call->step == MOCK_END)
        assert_int_equal(call->run->answer.length, buffer_len(&call->out));
    return buffer_span(&call->out);
}

/* The JSON of an event: its data line; fails when the event is not exactly one well-formed event. */
static inline struct json_value mock_event_json(const struct mock_call *call, unsigned index)
{
    struct json_value value;
    struct span event = call->event[index];
    assert_true(index < call->count && span_ends_with(event, SPAN("\n\n")));
    if (span_starts_with(event, SPAN("event: ")))
        event = span_skip(event, span_find(event, '\n') + 1);
    assert_true(span_starts_with(event, SPAN("data: ")));
    event = span_take(span_skip(event, 6), event.len - 8);
    assert_int_equal(span_find(event, '\n'), event.len);
    assert_true(json_value_parse(event, &value));
    return value;
}

static inline struct json_value mock_json(struct span text)
{
    struct json_value value;
    assert_true(json_value_parse(text, &value));
    return value;
}

static inline bool mock_has(struct json_value from, const char *path)
{
    struct json_value value;
    return json_value_find(from, path, &value);
}

/* The value at `path`: a string's text, anything else as spelled; "(absent)" when there is none. */
static inline const char *mock_at(struct mock_call *call, struct json_value from, const char *path)
{
    struct json_value value;
    struct span text;
    if (!json_value_find(from, path, &value))
        return "(absent)";
    if (!json_value_text(value, &call->arena, &text))
        text = value.raw;
    return arena_copy(&call->arena, text).ptr;
}

/* The string at `path` of each event, joined; events without it add nothing. */
static inline const char *mock_joined(struct mock_call *call, const char *path)
{
    struct buffer all = {0};
    struct json_value value;
    struct span text;
    for (unsigned i = 0; i < call->count; i++) {
        if (span_equal(call->event[i], SPAN("data: [DONE]\n\n")))
            continue;
        if (json_value_find(mock_event_json(call, i), path, &value) && json_value_text(value, &call->arena, &text))
            buffer_append(&all, text);
    }
    const char *joined = arena_copy(&call->arena, buffer_span(&all)).ptr;
    buffer_finish(&all);
    return joined;
}

static inline const char *mock_header_value(struct mock_call *call, const char *name)
{
    for (unsigned i = 0; i < call->run->answer.header_count; i++)
        if (span_equal(call->run->answer.headers[i].name, span_str(name)))
            return arena_copy(&call->arena, call->run->answer.headers[i].value).ptr;
    return NULL;
}

#endif
