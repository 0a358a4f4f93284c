/* SPDX-License-Identifier: Apache-2.0 */
#include "h2_bytes.h"

#include "http/h2_guard.h"

static struct h2_limits limits;

static struct h2_guard *new_guard(bool server)
{
    struct h2_guard *guard = calloc(1, sizeof(*guard));
    h2_limits_server(&limits);
    h2_guard_init(guard, &limits, server);
    return guard;
}

/* Runs the bytes through, `cut` of them first, and gives the first verdict that is not OK; all of RESET's are stepped
 * over. */
static struct h2_guard_result scan(struct h2_guard *guard, struct span in, size_t cut, size_t *ret_taken)
{
    struct span parts[2] = {span_take(in, cut), span_skip(in, cut)};
    struct h2_guard_result worst = {.verdict = H2_GUARD_OK};
    *ret_taken = 0;
    for (unsigned i = 0; i < 2; i++)
        while (parts[i].len) {
            size_t before = parts[i].len;
            struct h2_guard_result result = h2_guard_scan(guard, &parts[i], 1000000);
            *ret_taken += before - parts[i].len;
            if (result.verdict > worst.verdict)
                worst = result;
            if (result.verdict == H2_GUARD_CONNECTION)
                return worst;
        }
    return worst;
}

struct guard_case {
    const char *what;
    void (*build)(struct buffer *b);
    enum h2_guard_verdict verdict;
    uint32_t code;
    const char *name;
};

static void data(struct buffer *b, uint32_t id, unsigned flags)
{
    put_frame(b, DATA, flags, id, SPAN("some"));
}

static void plain(struct buffer *b)
{
    put_headers(b, 0, 1, POST_ROOT);
    data(b, 1, 0);
    data(b, 1, END_STREAM);
    put_headers(b, END_STREAM, 3, GET_ROOT);
    put_frame_u32(b, WINDOW_UPDATE, 1, 100);
    put_frame_u32(b, RST_STREAM, 3, H2_CANCEL);
    put_frame_u32(b, RST_STREAM, 3, H2_CANCEL);
    put_frame_u32(b, WINDOW_UPDATE, 3, 100);
}

static void trailers(struct buffer *b)
{
    put_headers(b, 0, 1, POST_ROOT);
    data(b, 1, 0);
    put_headers(b, END_STREAM, 1, "x=y");
}

static void data_after_end(struct buffer *b)
{
    put_headers(b, END_STREAM, 1, GET_ROOT);
    data(b, 1, 0);
}

static void headers_after_end(struct buffer *b)
{
    put_headers(b, END_STREAM, 1, GET_ROOT);
    put_headers(b, END_STREAM, 1, GET_ROOT);
}

static void data_after_data_end(struct buffer *b)
{
    put_headers(b, 0, 1, GET_ROOT);
    data(b, 1, END_STREAM);
    data(b, 1, END_STREAM);
}

static void data_after_reset(struct buffer *b)
{
    put_headers(b, 0, 1, GET_ROOT);
    put_frame_u32(b, RST_STREAM, 1, H2_CANCEL);
    data(b, 1, 0);
    data(b, 1, 0);
}

static void headers_after_reset(struct buffer *b)
{
    put_headers(b, 0, 1, GET_ROOT);
    put_frame_u32(b, RST_STREAM, 1, H2_CANCEL);
    put_headers(b, END_STREAM, 1, GET_ROOT);
}

static void lower_id(struct buffer *b)
{
    put_headers(b, END_STREAM, 5, GET_ROOT);
    put_headers(b, END_STREAM, 3, GET_ROOT);
}

static void far_lower_id(struct buffer *b)
{
    put_headers(b, END_STREAM, 1, GET_ROOT);
    put_headers(b, END_STREAM, 2 * H2_GUARD_STREAMS + 1, GET_ROOT);
    put_headers(b, END_STREAM, 3, GET_ROOT);
}

/* The slot of stream 1 has been used again: no verdict, the library ignores it. */
static void forgotten(struct buffer *b)
{
    put_headers(b, END_STREAM, 1, GET_ROOT);
    put_headers(b, END_STREAM, 2 * H2_GUARD_STREAMS + 1, GET_ROOT);
    data(b, 1, 0);
}

static void data_on_skipped(struct buffer *b)
{
    put_headers(b, END_STREAM, 5, GET_ROOT);
    data(b, 3, 0);
}

static void oversized(struct buffer *b)
{
    static const char zeros[H2_GUARD_FRAME_SIZE + 1];
    put_headers(b, 0, 1, GET_ROOT);
    put_frame(b, DATA, 0, 1, span_of(zeros, sizeof(zeros)));
}

static void largest(struct buffer *b)
{
    static const char zeros[H2_GUARD_FRAME_SIZE];
    put_headers(b, 0, 1, GET_ROOT);
    put_frame(b, DATA, 0, 1, span_of(zeros, sizeof(zeros)));
}

static void lone_continuation(struct buffer *b)
{
    put_frame(b, CONTINUATION, END_HEADERS, 1, SPAN("x"));
}

static void broken_block(struct buffer *b)
{
    put_frame(b, HEADERS, 0, 1, SPAN("x"));
    put_frame(b, PING, 0, 0, SPAN("12345678"));
}

static void many_continuations(struct buffer *b)
{
    put_frame(b, HEADERS, 0, 1, SPAN("x"));
    for (unsigned i = 0; i < 9; i++)
        put_frame(b, CONTINUATION, 0, 1, (struct span){0});
}

static void priority_self(struct buffer *b)
{
    put_frame(b, PRIORITY, 0, 7, span_of("\0\0\0\7\0", 5));
}

static void priority_self_exclusive(struct buffer *b)
{
    put_frame(b, PRIORITY, 0, 7, span_of("\200\0\0\7\0", 5));
}

static void priority_other(struct buffer *b)
{
    put_frame(b, PRIORITY, 0, 7, span_of("\0\0\0\5\0", 5));
    put_frame(b, PRIORITY, 0, 5, span_of("\0\0\0\7\0", 5));
}

static void priority_zero(struct buffer *b)
{
    put_frame(b, PRIORITY, 0, 0, span_of("\0\0\0\5\0", 5));
}

static const struct guard_case cases[] = {
    {"plain", plain, H2_GUARD_OK, 0, NULL},
    {"trailers", trailers, H2_GUARD_OK, 0, NULL},
    {"DATA after END_STREAM", data_after_end, H2_GUARD_CONNECTION, H2_STREAM_CLOSED, "h2_stream_closed"},
    {"HEADERS after END_STREAM", headers_after_end, H2_GUARD_CONNECTION, H2_STREAM_CLOSED, "h2_stream_closed"},
    {"DATA twice ended", data_after_data_end, H2_GUARD_CONNECTION, H2_STREAM_CLOSED, "h2_stream_closed"},
    {"DATA after RST_STREAM", data_after_reset, H2_GUARD_RESET, H2_STREAM_CLOSED, "h2_stream_closed"},
    {"HEADERS after RST_STREAM", headers_after_reset, H2_GUARD_RESET, H2_STREAM_CLOSED, "h2_stream_closed"},
    {"lower id", lower_id, H2_GUARD_CONNECTION, H2_PROTOCOL_ERROR, "h2_stream_id"},
    {"lower id after a leap", far_lower_id, H2_GUARD_CONNECTION, H2_PROTOCOL_ERROR, "h2_stream_id"},
    {"forgotten stream", forgotten, H2_GUARD_OK, 0, NULL},
    {"DATA on a skipped id", data_on_skipped, H2_GUARD_CONNECTION, H2_STREAM_CLOSED, "h2_stream_closed"},
    {"frame too large", oversized, H2_GUARD_CONNECTION, H2_FRAME_SIZE_ERROR, "h2_frame_size"},
    {"largest frame", largest, H2_GUARD_OK, 0, NULL},
    {"CONTINUATION alone", lone_continuation, H2_GUARD_CONNECTION, H2_PROTOCOL_ERROR, "h2_continuation"},
    {"block interrupted", broken_block, H2_GUARD_CONNECTION, H2_PROTOCOL_ERROR, "h2_continuation_expected"},
    {"CONTINUATION flood", many_continuations, H2_GUARD_CONNECTION, H2_ENHANCE_YOUR_CALM, H2_LIMIT_CONTINUATIONS},
    {"depends on itself", priority_self, H2_GUARD_CONNECTION, H2_PROTOCOL_ERROR, "h2_priority"},
    {"the same, exclusive", priority_self_exclusive, H2_GUARD_CONNECTION, H2_PROTOCOL_ERROR, "h2_priority"},
    {"depends on another", priority_other, H2_GUARD_OK, 0, NULL},
    {"PRIORITY on stream 0", priority_zero, H2_GUARD_CONNECTION, H2_PROTOCOL_ERROR, "h2_priority"},
};

static void verdict_is_the_same_however_the_bytes_are_split(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buffer b = {0};
        buffer_append(&b, PREFACE);
        cases[i].build(&b);
        size_t whole = 0;
        for (size_t cut = 0; cut<buffer_len(&b); cut += buffer_len(&b)> 2000 && cut > 500 ? 997 : 1) {
            struct h2_guard *guard = new_guard(true);
            size_t taken;
            struct h2_guard_result result = scan(guard, buffer_span(&b), cut, &taken);
            if (result.verdict != cases[i].verdict)
                print_error("%s, cut at %zu\n", cases[i].what, cut);
            assert_int_equal(result.verdict, cases[i].verdict);
            assert_int_equal(result.code, cases[i].code);
            if (cases[i].name)
                assert_string_equal(result.name, cases[i].name);
            if (cut == 0)
                whole = taken;
            /* What goes to the library ends before the frame in question; of a header split in two the first half has
             * gone. */
            assert_true(taken >= whole && taken < whole + 14);
            if (result.verdict != H2_GUARD_CONNECTION)
                assert_int_equal(taken, buffer_len(&b));
            free(guard);
        }
        buffer_finish(&b);
    }
}

static void preface_is_compared_byte_by_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < PREFACE.len; i++) {
        char bytes[24];
        memcpy(bytes, PREFACE.ptr, sizeof(bytes));
        bytes[i] ^= 1;
        for (size_t cut = 0; cut < sizeof(bytes); cut++) {
            struct h2_guard *guard = new_guard(true);
            size_t taken;
            struct h2_guard_result result = scan(guard, span_of(bytes, sizeof(bytes)), cut, &taken);
            assert_int_equal(result.verdict, H2_GUARD_CONNECTION);
            assert_string_equal(result.name, "h2_preface");
            free(guard);
        }
    }
}

static void what_races_with_our_own_reset_is_forgiven(void **state)
{
    (void)state;
    struct h2_guard *guard = new_guard(true);
    struct buffer b = {0};
    size_t taken;
    buffer_append(&b, PREFACE);
    put_headers(&b, 0, 1, POST_ROOT);
    assert_int_equal(scan(guard, buffer_span(&b), 0, &taken).verdict, H2_GUARD_OK);
    buffer_finish(&b);
    assert_false(h2_guard_was_reset(guard, 1));
    assert_true(h2_guard_was_reset(guard, 1));
    for (unsigned i = 0; i < limits.rates[H2_RATE_CLOSED_STREAM_FRAMES].burst; i++)
        data(&b, 1, END_STREAM);
    assert_int_equal(scan(guard, buffer_span(&b), 0, &taken).verdict, H2_GUARD_OK);
    buffer_finish(&b);
    data(&b, 1, 0);
    assert_string_equal(scan(guard, buffer_span(&b), 0, &taken).name, "h2_closed_stream_frames");
    buffer_finish(&b);
    free(guard);
}

static void one_reset_answers_a_closed_stream(void **state)
{
    (void)state;
    struct h2_guard *guard = new_guard(true);
    struct buffer b = {0};
    buffer_append(&b, PREFACE);
    data_after_reset(&b);
    data(&b, 1, 0);
    struct span in = buffer_span(&b);
    struct h2_guard_result first = h2_guard_scan(guard, &in, 1);
    assert_int_equal(first.verdict, H2_GUARD_RESET);
    assert_int_equal(first.stream_id, 1);
    assert_int_equal(h2_guard_scan(guard, &in, 1).verdict, H2_GUARD_OK);
    assert_int_equal(in.len, 0);
    buffer_finish(&b);
    free(guard);
}

static void buckets_refill_with_time(void **state)
{
    (void)state;
    struct h2_bucket bucket = {0};
    struct h2_rate rate = {.burst = 3, .per_second = 2};
    uint64_t now = 5000000;
    for (unsigned i = 0; i < 3; i++)
        assert_true(h2_bucket_take(&bucket, &rate, now));
    assert_false(h2_bucket_take(&bucket, &rate, now));
    assert_false(h2_bucket_take(&bucket, &rate, now + 499999));
    assert_true(h2_bucket_take(&bucket, &rate, now + 500000));
    assert_false(h2_bucket_take(&bucket, &rate, now + 500000));
    /* A long rest fills it to the burst and no further. */
    now += 3600u * 1000000;
    for (unsigned i = 0; i < 3; i++)
        assert_true(h2_bucket_take(&bucket, &rate, now));
    assert_false(h2_bucket_take(&bucket, &rate, now));
}

static void every_rate_has_its_name(void **state)
{
    (void)state;
    for (unsigned i = 0; i < H2_RATE_COUNT; i++) {
        assert_true(span_starts_with(span_str(h2_rate_name((enum h2_rate_id)i)), SPAN("h2_")));
        for (unsigned j = 0; j < i; j++)
            assert_string_not_equal(h2_rate_name((enum h2_rate_id)i), h2_rate_name((enum h2_rate_id)j));
    }
    assert_string_equal(h2_rate_name(H2_RATE_COUNT), "");
}

static void a_head_under_way_has_a_start(void **state)
{
    (void)state;
    struct h2_guard *guard = new_guard(true);
    struct buffer b = {0};
    put_headers(&b, END_STREAM, 1, GET_ROOT);
    struct span in = PREFACE, frame = buffer_span(&b);
    assert_int_equal(h2_guard_scan(guard, &in, 5).verdict, H2_GUARD_OK);
    assert_int_equal(guard->block_since, 0);
    struct span most = span_take(frame, frame.len - 1);
    assert_int_equal(h2_guard_scan(guard, &most, 70).verdict, H2_GUARD_OK);
    assert_int_equal(guard->block_since, 70);
    struct span last = span_skip(frame, frame.len - 1);
    assert_int_equal(h2_guard_scan(guard, &last, 90).verdict, H2_GUARD_OK);
    assert_int_equal(guard->block_since, 0);
    buffer_finish(&b);
    free(guard);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verdict_is_the_same_however_the_bytes_are_split),
        cmocka_unit_test(preface_is_compared_byte_by_byte),
        cmocka_unit_test(what_races_with_our_own_reset_is_forgiven),
        cmocka_unit_test(one_reset_answers_a_closed_stream),
        cmocka_unit_test(buckets_refill_with_time),
        cmocka_unit_test(every_rate_has_its_name),
        cmocka_unit_test(a_head_under_way_has_a_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
