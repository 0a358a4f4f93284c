/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>

#include "base/buffer.h"
#include "base/hash.h"
#include "base/memory.h"

static void check(const struct buffer *b, struct span expected)
{
    assert_int_equal(buffer_len(b), expected.len);
    assert_true(span_equal(buffer_span(b), expected));
}

static void test_empty(void **state)
{
    (void)state;
    struct buffer b = {0};
    check(&b, SPAN(""));
    buffer_append(&b, SPAN(""));
    buffer_consume(&b, 5);
    buffer_splice(&b, 0, 0, SPAN(""));
    assert_null(b.ptr);
    buffer_wipe(&b);
    buffer_finish(&b);
    assert_null(b.ptr);
}

static void test_append_and_consume(void **state)
{
    (void)state;
    struct buffer b = {0};
    buffer_append(&b, SPAN("hello "));
    buffer_append(&b, SPAN("world"));
    check(&b, SPAN("hello world"));
    buffer_consume(&b, 6);
    check(&b, SPAN("world"));
    buffer_consume(&b, 99);
    check(&b, SPAN(""));
    assert_null(b.ptr); /* empty: holds nothing */
    buffer_append(&b, SPAN("again"));
    check(&b, SPAN("again"));
    buffer_finish(&b);
}

/* A model of the buffer as a plain array, driven by chance for many steps. */
static void test_against_a_model(void **state)
{
    (void)state;
    enum { MAX = 5 * MEMORY_BLOCK };
    char *model = calloc(1, MAX);
    assert_non_null(model);
    size_t len = 0;
    struct buffer b = {0};
    uint64_t seed = 42;
    for (int step = 0; step < 20000; step++) {
        char bytes[700];
        size_t size = hash_random(&seed) % sizeof(bytes);
        memset(bytes, (int)('a' + step % 26), sizeof(bytes));
        switch (hash_random(&seed) % 4) {
        case 0:
        case 1:
            if (len + size <= MAX) {
                buffer_append(&b, span_of(bytes, size));
                memcpy(model + len, bytes, size);
                len += size;
            }
            break;
        case 2:
            size = size < len ? size : len;
            buffer_consume(&b, size);
            memmove(model, model + size, len - size);
            len -= size;
            break;
        default: {
            size_t at = len ? hash_random(&seed) % len : 0, old = hash_random(&seed) % (len - at + 1);
            if (len - old + size > MAX)
                break;
            buffer_splice(&b, at, old, span_of(bytes, size));
            memmove(model + at + size, model + at + old, len - at - old);
            memcpy(model + at, bytes, size);
            len = len - old + size;
        }
        }
        if (buffer_len(&b) != len || memcmp(buffer_span(&b).ptr ? buffer_span(&b).ptr : "", model, len) != 0)
            fail_msg("step %d differs", step);
    }
    buffer_finish(&b);
    free(model);
}

static void test_splice(void **state)
{
    (void)state;
    static const struct {
        size_t at, old;
        struct span with, result;
    } cases[] = {
        {0, 0, SPAN_INIT("<"), SPAN_INIT("<abcdef")}, {6, 0, SPAN_INIT(">"), SPAN_INIT("abcdef>")},
        {2, 2, SPAN_INIT("XY"), SPAN_INIT("abXYef")}, {2, 2, SPAN_INIT(""), SPAN_INIT("abef")},
        {0, 6, SPAN_INIT("1"), SPAN_INIT("1")},       {2, 1, SPAN_INIT("longer"), SPAN_INIT("ablongerdef")},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buffer b = {0};
        buffer_append(&b, SPAN("__abcdef"));
        buffer_consume(&b, 2);
        buffer_splice(&b, cases[i].at, cases[i].old, cases[i].with);
        check(&b, cases[i].result);
        buffer_finish(&b);
    }
    struct buffer empty = {0};
    buffer_splice(&empty, 0, 0, SPAN("x"));
    check(&empty, SPAN("x"));
    buffer_finish(&empty);
}

/* A full pipe that is drained and filled a little at a time must not copy its content each time. */
static void test_full_pipe_does_not_copy_each_time(void **state)
{
    (void)state;
    struct buffer b = {0};
    char block[MEMORY_BLOCK - 10];
    memset(block, 'x', sizeof(block));
    buffer_append(&b, span_of(block, sizeof(block)));
    int copies = 0;
    for (int i = 0; i < 400; i++) {
        buffer_consume(&b, 10);
        size_t before = b.start;
        buffer_append(&b, SPAN("0123456789"));
        copies += b.start != before;
    }
    assert_in_range(copies, 0, 3);
    buffer_finish(&b);
}

static void test_format(void **state)
{
    (void)state;
    struct buffer b = {0};
    buffer_format(&b, "%d/%s;", 7, "seven");
    buffer_format(&b, "%s", "");
    check(&b, SPAN("7/seven;"));
    buffer_finish(&b);
    /* every length around the room that happens to be free */
    for (int width = 1; width < 3 * MEMORY_BLOCK; width += width < 300 ? 1 : 61) {
        struct buffer wide = {0};
        buffer_append(&wide, SPAN("ab"));
        buffer_format(&wide, "%*d", width, 1);
        assert_int_equal(buffer_len(&wide), (size_t)width + 2);
        assert_int_equal(buffer_span(&wide).ptr[width + 1], '1');
        buffer_finish(&wide);
    }
}

static void test_json(void **state)
{
    (void)state;
    static const struct {
        struct span text, escaped;
    } cases[] = {
        {SPAN_INIT(""), SPAN_INIT("")},
        {SPAN_INIT("plain"), SPAN_INIT("plain")},
        {SPAN_INIT("a\"b\\c/d"), SPAN_INIT("a\\\"b\\\\c/d")},
        {SPAN_INIT("\n\r\t\b\0\x1f"), SPAN_INIT("\\n\\r\\t\\u0008\\u0000\\u001f")},
        {SPAN_INIT("\x7f"), SPAN_INIT("\\u007f")},
        {SPAN_INIT("gr\xC3\xBC\xC3\x9F"), SPAN_INIT("gr\xC3\xBC\xC3\x9F")},
        {SPAN_INIT("\xE2\x82\xAC\xF0\x9F\x98\x80"), SPAN_INIT("\xE2\x82\xAC\xF0\x9F\x98\x80")},
        {SPAN_INIT("\xC0\x80"), SPAN_INIT("\\ufffd\\ufffd")},                       /* overlong NUL */
        {SPAN_INIT("\xE0\x9F\xBF"), SPAN_INIT("\\ufffd\\ufffd\\ufffd")},            /* overlong */
        {SPAN_INIT("\xED\xA0\x80"), SPAN_INIT("\\ufffd\\ufffd\\ufffd")},            /* surrogate */
        {SPAN_INIT("\xF4\x90\x80\x80"), SPAN_INIT("\\ufffd\\ufffd\\ufffd\\ufffd")}, /* above 10FFFF */
        {SPAN_INIT("\xF0\x8F\xBF\xBF"), SPAN_INIT("\\ufffd\\ufffd\\ufffd\\ufffd")},
        {SPAN_INIT("a\xC3"), SPAN_INIT("a\\ufffd")}, /* cut in the middle */
        {SPAN_INIT("\xE2\x82"), SPAN_INIT("\\ufffd\\ufffd")},
        {SPAN_INIT("\xF0\x9F\x98"), SPAN_INIT("\\ufffd\\ufffd\\ufffd")},
        {SPAN_INIT("\xC3(x"), SPAN_INIT("\\ufffd(x")},
        {SPAN_INIT("\x80z"), SPAN_INIT("\\ufffdz")},
        {SPAN_INIT("\xFF"), SPAN_INIT("\\ufffd")},
        {SPAN_INIT("\xEF\xBF\xBF\xEE\x80\x80"), SPAN_INIT("\xEF\xBF\xBF\xEE\x80\x80")},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buffer b = {0};
        /* An exact heap copy, so that a read past the end is seen. */
        char *copy = memory_string(cases[i].text);
        char *exact = malloc(cases[i].text.len ? cases[i].text.len : 1);
        assert_non_null(exact);
        memcpy(exact, copy, cases[i].text.len);
        buffer_append_json(&b, span_of(exact, cases[i].text.len));
        check(&b, cases[i].escaped);
        free(exact);
        free(copy);
        buffer_finish(&b);
    }
}

static void test_move(void **state)
{
    (void)state;
    struct buffer from = {0}, to = {0};
    buffer_append(&from, SPAN("abc"));
    const char *bytes = buffer_span(&from).ptr;
    buffer_move(&to, &from);
    assert_ptr_equal(buffer_span(&to).ptr, bytes); /* no copy */
    assert_null(from.ptr);
    buffer_append(&from, SPAN("def"));
    buffer_move(&to, &from);
    check(&to, SPAN("abcdef"));
    check(&from, SPAN(""));
    buffer_move(&to, &from);
    check(&to, SPAN("abcdef"));
    buffer_wipe(&to);
    check(&to, SPAN(""));
}

static void test_reserve(void **state)
{
    (void)state;
    struct buffer b = {0};
    char *room = buffer_reserve(&b, 10 * MEMORY_BLOCK);
    memset(room, 'r', 10 * MEMORY_BLOCK);
    buffer_commit(&b, 3);
    check(&b, SPAN("rrr"));
    buffer_finish(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_append_and_consume),
        cmocka_unit_test(test_against_a_model),
        cmocka_unit_test(test_splice),
        cmocka_unit_test(test_full_pipe_does_not_copy_each_time),
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_move),
        cmocka_unit_test(test_reserve),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
