/* SPDX-License-Identifier: Apache-2.0 */
#include "support/h1_drive.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>

#include "base/memory.h"

struct run {
    const struct drive *how;
    struct h1_reader reader;
    struct arena arena;
    struct message message;
    struct buffer *record;
    bool in_body, started, over;
};

static void note_fields(struct buffer *record, const struct fields *fields)
{
    for (unsigned i = 0; i < fields->count; i++) {
        const struct field *field = &fields->at[i];
        buffer_format(record, "%.*s: %.*s\n", SPAN_ARG(field->name), SPAN_ARG(field->value));
        assert_int_equal(field->id, field_id(field->name));
    }
}

static void note_head(struct run *run)
{
    static const char *const framings[] = {"none", "length", "chunked", "close"};
    const struct message *m = &run->message;
    struct buffer *record = run->record;
    if (run->how->role == H1_SERVER) {
        buffer_format(record, "HEAD %.*s %.*s", SPAN_ARG(m->method_text), SPAN_ARG(m->target));
        if (m->query.len)
            buffer_format(record, " path=%.*s query=%.*s", SPAN_ARG(m->path), SPAN_ARG(m->query));
        buffer_format(record, " host=%.*s", SPAN_ARG(m->authority));
    } else {
        buffer_format(record, "HEAD %u %.*s", m->status, SPAN_ARG(m->reason));
    }
    buffer_format(record, " %s", framings[m->framing]);
    if (m->framing == BODY_LENGTH)
        buffer_format(record, "=%llu", (unsigned long long)m->body_length);
    buffer_format(record, "%s%s%s\n", m->version == HTTP_1_0 ? " 1.0" : "", m->keep_alive ? "" : " last",
                  m->expect_continue ? " expect" : "");
    note_fields(record, &m->fields);
}

static void note(struct run *run, enum h1_event event, struct span body)
{
    if (event == H1_BODY) {
        assert_true(body.len > 0);
        if (!run->in_body)
            buffer_append(run->record, SPAN("BODY "));
        buffer_append(run->record, body);
        run->in_body = true;
        return;
    }
    if (run->in_body && event != H1_MORE) {
        buffer_append(run->record, SPAN("\n"));
        run->in_body = false;
    }
    if (event == H1_HEAD) {
        note_head(run);
    } else if (event == H1_END) {
        buffer_append(run->record, SPAN("END\n"));
        note_fields(run->record, &run->reader.trailers);
    } else if (event == H1_BAD) {
        buffer_format(run->record, "BAD %.*s %s\n", SPAN_ARG(fault_entry(run->reader.fault)->word), run->reader.reason);
        run->over = true;
    }
}

static void start(struct run *run)
{
    arena_finish(&run->arena);
    h1_reader_start(&run->reader, &run->arena, &run->message, run->how->asked);
    run->started = true;
}

static void feed(struct run *run, struct span bytes)
{
    char *copy = memory_alloc(bytes.len ? bytes.len : 1);
    if (bytes.len)
        memcpy(copy, bytes.ptr, bytes.len);
    struct span in = span_of(copy, bytes.len);
    while (!run->over) {
        if (!run->started) {
            if (in.len == 0)
                break;
            start(run);
        }
        struct span body = {NULL, 0};
        enum h1_event event = h1_reader_next(&run->reader, &in, &body);
        note(run, event, body);
        if (event == H1_MORE) {
            assert_int_equal(in.len, 0);
            break;
        }
        if (event == H1_END)
            run->started = false;
    }
    free(copy);
}

static void finish(struct run *run)
{
    struct span body = {NULL, 0};
    if (!run->over) {
        enum h1_event event = h1_reader_eof(&run->reader);
        if (run->in_body)
            buffer_append(run->record, SPAN("\n"));
        if (event == H1_BAD)
            buffer_format(run->record, "EOF BAD %.*s\n", SPAN_ARG(fault_entry(run->reader.fault)->word));
        else
            buffer_append(run->record, event == H1_END ? SPAN("EOF END\n") : SPAN("EOF MORE\n"));
    } else {
        struct span more = SPAN("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_int_equal(h1_reader_next(&run->reader, &more, &body), H1_BAD);
    }
    h1_reader_finish(&run->reader);
    arena_finish(&run->arena);
}

void drive(const struct drive *how, struct span input, size_t first, size_t second, struct buffer *ret)
{
    struct run run = {.how = how, .record = ret};
    arena_init(&run.arena);
    h1_reader_init(&run.reader, how->role, how->limits ? how->limits : &h1_limits_default);
    start(&run);
    if (first == SIZE_MAX) {
        for (size_t i = 0; i < input.len; i++)
            feed(&run, span_take(span_skip(input, i), 1));
    } else {
        feed(&run, span_take(input, first));
        feed(&run, span_take(span_skip(input, first), second - first));
        feed(&run, span_skip(input, second));
    }
    finish(&run);
}

static void compare(const struct drive *how, struct span input, size_t first, size_t second, struct buffer *expected)
{
    struct buffer record = {0};
    drive(how, input, first, second, &record);
    if (!span_equal(buffer_span(&record), buffer_span(expected)))
        fail_msg("split at %zu and %zu:\n%.*s--- but whole:\n%.*s", first, second, SPAN_ARG(buffer_span(&record)),
                 SPAN_ARG(buffer_span(expected)));
    buffer_finish(&record);
}

void drive_every_split(const struct drive *how, struct span input, struct buffer *ret)
{
    drive(how, input, input.len, input.len, ret);
    for (size_t i = 0; i <= input.len; i++)
        compare(how, input, i, input.len, ret);
    for (size_t i = 0; i < input.len; i++)
        compare(how, input, i, i + 1, ret);
    compare(how, input, SIZE_MAX, 0, ret);
}
