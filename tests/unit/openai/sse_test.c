/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "openai/sse.h"

#define LIMIT 64

/* What a reader says of a stream, as text: "[start,end)name|data;" per event, "-" for no data, "!" for opaque. */
static void describe(struct buffer *out, const struct sse_event *event)
{
    buffer_format(out, "[%llu,%llu)", (unsigned long long)event->start, (unsigned long long)event->end);
    buffer_append(out, event->name);
    buffer_append(out, event->opaque ? SPAN("!") : SPAN("|"));
    buffer_append(out, event->has_data ? event->data : SPAN("-"));
    buffer_append(out, SPAN(";"));
}

/* Feeds a piece from memory of its own, so that a span kept too long is found out by the sanitizer. */
static void feed(struct sse_reader *reader, struct span piece, struct buffer *out)
{
    char *copy = malloc(piece.len ? piece.len : 1);
    assert_non_null(copy);
    if (piece.len)
        memcpy(copy, piece.ptr, piece.len);
    struct span in = span_of(copy, piece.len);
    struct sse_event event;
    while (sse_next(reader, &in, &event) == SSE_EVENT)
        describe(out, &event);
    assert_int_equal(in.len, 0);
    free(copy);
}

static const struct {
    struct span in;
    const char *expected;
} streams[] = {
    {SPAN_INIT("data: a\n\n"), "[0,9)|a;"},
    {SPAN_INIT("data:a\n\ndata:b\n\n"), "[0,8)|a;[8,16)|b;"},
    {SPAN_INIT("data:  a\n\n"), "[0,10)| a;"},
    {SPAN_INIT("data:\n\n"), "[0,7)|;"},
    {SPAN_INIT("data\n\n"), "[0,6)|;"},
    {SPAN_INIT("data: a\ndata: b\n\n"), "[0,17)|a\nb;"},
    {SPAN_INIT("data:\ndata:\ndata\n\n"), "[0,18)|\n\n;"},
    {SPAN_INIT("data: a\r\rdata: b\r\r"), "[0,9)|a;[9,18)|b;"},
    {SPAN_INIT("data: a\r\n\ndata: b\n\r\n"), "[0,10)|a;[10,20)|b;"},
    {SPAN_INIT("event: x\ndata: a\nid: 1\nretry: 5\n\n"), "[0,33)x|a;"},
    {SPAN_INIT("event: x\nevent:  y\ndata: a\n\ndata: b\n\n"), "[0,28) y|a;[28,37)|b;"},
    {SPAN_INIT("event\ndata: a\n\n"), "[0,15)|a;"},
    {SPAN_INIT("event: x\n\n"), "[0,10)x|-;"},
    {SPAN_INIT(": ping\n\n:\n\n"), "[0,8)|-;[8,11)|-;"},
    {SPAN_INIT(":data: x\ndata: a\n\n"), "[0,18)|a;"},
    {SPAN_INIT("\n\n\ndata: a\n\n\n\n\ndata: b\n\n"), "[0,12)|a;[12,24)|b;"},
    {SPAN_INIT("datax: a\ndat: b\nData: c\n data: d\n\n"), "[0,34)|-;"},
    {SPAN_INIT("data: a: b\n\n"), "[0,12)|a: b;"},
    {SPAN_INIT("data: a\t\x01\x7f\n\n"), "[0,12)|a\t\x01\x7f;"},
    {SPAN_INIT("\xef\xbb\xbf"
               "data: a\n\n"),
     "[0,12)|a;"},
    {SPAN_INIT("\xef\xbb\xbf\xef\xbb\xbf"
               "data: a\n\n"),
     "[0,15)|-;"},
    {SPAN_INIT("\xef\xbb"
               "data: a\n\n"),
     "[0,11)|-;"},
    {SPAN_INIT("\xef"
               "data: a\ndata: b\n\n"),
     "[0,18)|b;"},
    {SPAN_INIT("data: a\n\n\xef\xbb\xbf"
               "data: b\n\n"),
     "[0,9)|a;[9,21)|-;"},
    {SPAN_INIT("data: unfinished\n"), ""},
    {SPAN_INIT("data: unfinished"), ""},
    {SPAN_INIT("data: 0123456789012345678901234567890123456789012345678901234567890123\n\n"),
     "[0,72)|0123456789012345678901234567890123456789012345678901234567890123;"},
    {SPAN_INIT("data: 01234567890123456789012345678901234567890123456789012345678901234\n\ndata: b\n\n"),
     "[0,73)!;[73,82)|b;"},
    {SPAN_INIT("data: 012345678901234567890123456789\ndata: 012345678901234567890123456789\ndata: 0\n\ndata: b\n\n"),
     "[0,83)|012345678901234567890123456789\n012345678901234567890123456789\n0;[83,92)|b;"},
    {SPAN_INIT(
         "data: 012345678901234567890123456789\ndata: 012345678901234567890123456789\ndata: 01\ndata: 1\n\ndata:b\n\n"),
     "[0,92)!;[92,100)|b;"},
};

static void lines_longer_than_the_limit(void **state)
{
    (void)state;
    static const struct {
        const char *begin, *expected;
    } cases[] = {
        {"data: ", "!;"},
        {":", "|-;"},
        {"unknown: ", "!;"},
        {"event: ", "!;"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buffer text = {0}, out = {0};
        struct sse_reader reader;
        buffer_append(&text, span_str(cases[i].begin));
        for (int n = 0; n < 1000; n++)
            buffer_append(&text, SPAN("x"));
        buffer_append(&text, SPAN("\n\n"));
        for (size_t step = 1; step < 1100; step += 13) {
            buffer_finish(&out);
            sse_init(&reader, LIMIT);
            for (struct span rest = buffer_span(&text); rest.len; rest = span_skip(rest, step))
                feed(&reader, span_take(rest, step), &out);
            assert_true(buffer_len(&reader.line) <= LIMIT + SSE_NAME_MAX);
            if (!span_ends_with(buffer_span(&out), span_str(cases[i].expected)))
                fail_msg("\"%s\" by %zu: %.*s", cases[i].begin, step, SPAN_ARG(buffer_span(&out)));
            sse_finish(&reader);
        }
        buffer_finish(&text);
        buffer_finish(&out);
    }
}

static void whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(streams); i++) {
        struct sse_reader reader;
        struct buffer out = {0};
        sse_init(&reader, LIMIT);
        feed(&reader, streams[i].in, &out);
        if (!span_equal(buffer_span(&out), span_str(streams[i].expected)))
            fail_msg("stream %zu: expected %s, got %.*s", i, streams[i].expected, SPAN_ARG(buffer_span(&out)));
        assert_int_equal(reader.offset, streams[i].in.len);
        buffer_finish(&out);
        sse_finish(&reader);
    }
}

/* Cut in three at every pair of places; a CRLF that is cut shifts the border of two events by its LF, nothing else. */
static void split_anywhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(streams); i++) {
        struct span in = streams[i].in;
        bool shifts = span_search(in, SPAN("\r\n")) < in.len;
        for (size_t a = 0; a <= in.len; a++) {
            for (size_t b = a; b <= in.len; b++) {
                struct sse_reader reader;
                struct buffer out = {0};
                sse_init(&reader, LIMIT);
                feed(&reader, span_take(in, a), &out);
                feed(&reader, span_take(span_skip(in, a), b - a), &out);
                feed(&reader, span_skip(in, b), &out);
                if (!shifts && !span_equal(buffer_span(&out), span_str(streams[i].expected)))
                    fail_msg("stream %zu cut at %zu, %zu: expected %s, got %.*s", i, a, b, streams[i].expected,
                             SPAN_ARG(buffer_span(&out)));
                assert_int_equal(reader.offset, in.len);
                buffer_finish(&out);
                sse_finish(&reader);
            }
        }
    }
}

/* Every byte apart, with each line end: the same names and data, and borders without a gap. */
static void line_ends_are_alike(void **state)
{
    (void)state;
    static const char *const ends[] = {"\n", "\r\n", "\r"};
    static const char *const lines[] = {": hello", "", "event: e1", "data: one", "data: two", "", "data: three", ""};
    for (size_t e = 0; e < ARRAY_LEN(ends); e++) {
        struct buffer text = {0};
        for (size_t i = 0; i < ARRAY_LEN(lines); i++)
            buffer_format(&text, "%s%s", lines[i], ends[e]);
        struct sse_reader reader;
        sse_init(&reader, LIMIT);
        uint64_t border = 0;
        unsigned count = 0;
        struct span all = buffer_span(&text);
        for (size_t i = 0; i < all.len; i++) {
            struct span in = span_of(all.ptr + i, 1);
            struct sse_event event;
            if (sse_next(&reader, &in, &event) != SSE_EVENT)
                continue;
            assert_int_equal(event.start, border);
            assert_int_equal(event.end, i + 1);
            border = event.end;
            static const char *const data[] = {"", "one\ntwo", "three"};
            assert_true(count < 3 && span_equal(event.data, span_str(data[count])));
            assert_true(span_equal(event.name, count == 1 ? SPAN("e1") : SPAN("")));
            assert_int_equal(event.has_data, count > 0);
            assert_int_equal(sse_unfinished(&reader), 0);
            count++;
        }
        assert_int_equal(count, 3);
        assert_int_equal(sse_unfinished(&reader), 0);
        buffer_finish(&text);
        sse_finish(&reader);
    }
}

static void data_in_one_piece_is_not_copied(void **state)
{
    (void)state;
    struct sse_reader reader;
    struct sse_event event;
    struct span in = SPAN("data: {\"a\":1}\n\ndata: x"), all = in;
    sse_init(&reader, LIMIT);
    assert_int_equal(sse_next(&reader, &in, &event), SSE_EVENT);
    assert_ptr_equal(event.data.ptr, all.ptr + 6);
    assert_int_equal(sse_next(&reader, &in, &event), SSE_MORE);
    assert_int_equal(sse_unfinished(&reader), 7);
    sse_finish(&reader);
}

/* A stream of CRs or tabs alone must not cost the square of its length: it is read in one go here. */
static void odd_bytes_in_bulk(void **state)
{
    (void)state;
    enum { SIZE = 1 << 20 };
    static const char bytes[] = {'\r', '\n', '\t', ':'};
    char *text = malloc(SIZE);
    assert_non_null(text);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        struct sse_reader reader;
        struct buffer out = {0};
        memset(text, bytes[i], SIZE);
        sse_init(&reader, LIMIT);
        feed(&reader, span_of(text, SIZE), &out);
        assert_int_equal(buffer_len(&out), 0);
        assert_int_equal(reader.offset, SIZE);
        sse_finish(&reader);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole),
        cmocka_unit_test(split_anywhere),
        cmocka_unit_test(lines_longer_than_the_limit),
        cmocka_unit_test(line_ends_are_alike),
        cmocka_unit_test(data_in_one_piece_is_not_copied),
        cmocka_unit_test(odd_bytes_in_bulk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
