/* SPDX-License-Identifier: Apache-2.0 */
/* openai/multipart: each body is read whole, cut at every place and byte by byte; all readings must agree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "openai/multipart.h"

#define B           "--XyZ"
#define DISPOSITION "Content-Disposition: form-data; name="

static bool feed(struct multipart *m, struct buffer *log, struct span text, bool last)
{
    char *copy = memory_alloc(text.len + 1);
    memcpy(copy, text.ptr, text.len);
    struct span piece = span_of(copy, text.len);
    enum multipart_event event;
    while ((event = multipart_next(m, &piece, last)) == MULTIPART_PART || event == MULTIPART_DATA ||
           event == MULTIPART_END) {
        if (event == MULTIPART_PART)
            buffer_format(log, "%.*s%s%s@%zu=", (int)m->name_len, m->name, m->is_file ? "(file)" : "",
                          m->encoded ? "(encoded)" : "", m->value_start);
        else if (event == MULTIPART_DATA)
            buffer_append(log, m->data);
        else
            buffer_format(log, "@%zu\n", m->value_end);
    }
    if (event == MULTIPART_DONE)
        buffer_append(log, SPAN("done"));
    else if (event == MULTIPART_BAD)
        buffer_format(log, "bad@%zu %s", m->bad_at, m->reason);
    else
        assert_int_equal(piece.len, 0);
    free(copy);
    return event == MULTIPART_MORE;
}

static struct buffer read_steps(struct span text, size_t cut, bool bytes)
{
    struct multipart m;
    struct buffer log = {0};
    bool more = true;
    assert_true(multipart_init(&m, SPAN("XyZ")));
    for (size_t i = 0; bytes && more && i < text.len; i++)
        more = feed(&m, &log, span_of(text.ptr + i, 1), false);
    if (!bytes)
        more = feed(&m, &log, span_take(text, cut), false);
    if (more)
        more = feed(&m, &log, bytes ? SPAN("") : span_skip(text, cut), true);
    assert_false(more);
    return log;
}

static void expect(struct span text, struct span transcript)
{
    for (size_t cut = 0; cut <= text.len + 1; cut++) {
        struct buffer got = read_steps(text, cut, cut > text.len);
        if (!span_equal(buffer_span(&got), transcript))
            fail_msg("cut %zu\nexpected:\n%.*s\ngot:\n%.*s", cut, SPAN_ARG(transcript), SPAN_ARG(buffer_span(&got)));
        buffer_finish(&got);
    }
}

static void bodies(void **state)
{
    (void)state;
    expect(SPAN(B "\r\n" DISPOSITION "\"model\"\r\n\r\nwhisper-1\r\n" B "\r\n" DISPOSITION
                  "\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n\r\n\r\r\n--Xy\r\n\r\n--\r\n" B
                  "--\r\n"),
           SPAN("model@55=whisper-1@64\nfile(file)@163=\r\n\r\r\n--Xy\r\n\r\n--@178\ndone"));
    expect(SPAN(B "\r\n" DISPOSITION "a\r\n\r\n\r\n" B "--"), SPAN("a@49=@49\ndone"));
    expect(
        SPAN(B
             "\r\ncontent-disposition:form-data ; NAME=\"q\\\"\\\\;x\" \r\nX: \r\ncontent-transfer-encoding: base64\r\n"
             "\r\nx--XyZ\r\r\n" B "--\r\n"),
        SPAN("q\"\\;x(encoded)@98=x--XyZ\r@105\ndone"));
    expect(SPAN(B "--\r\n"), SPAN("done"));
}

#define PART B "\r\n" DISPOSITION "\"a\"\r\n\r\n"

static void refusals(void **state)
{
    (void)state;
    static const struct {
        struct span text;
        const char *reason;
    } table[] = {
        {SPAN_INIT(""), "unexpected end"},
        {SPAN_INIT("--Xy"), "unexpected end"},
        {SPAN_INIT("preamble\r\n" PART "x\r\n" B "--"), "the body does not begin with its boundary"},
        {SPAN_INIT("\r\n" PART "x\r\n" B "--"), "the body does not begin with its boundary"},
        {SPAN_INIT(B "\n" DISPOSITION "\"a\"\r\n\r\nx\r\n" B "--"), "a boundary is followed by other bytes"},
        {SPAN_INIT(B " \r\n" DISPOSITION "\"a\"\r\n\r\nx\r\n" B "--"), "a boundary is followed by other bytes"},
        {SPAN_INIT(PART "x\r\n" B "1\r\n"), "a boundary is followed by other bytes"},
        {SPAN_INIT(PART "x\r\n" B "-\r\n"), "a boundary is followed by other bytes"},
        {SPAN_INIT(PART "x\n" B "--"), "a boundary does not follow a CRLF of its own"},
        {SPAN_INIT(PART B "--"), "a boundary does not follow a CRLF of its own"},
        {SPAN_INIT(PART "x\r\n" B "--\r\ny"), "there are bytes after the closing boundary"},
        {SPAN_INIT(PART "x\r\n" B "--\n"), "there are bytes after the closing boundary"},
        {SPAN_INIT(PART "x\r\n" B), "unexpected end"},
        {SPAN_INIT(PART "x"), "unexpected end"},
        {SPAN_INIT(PART "x\r\n"), "unexpected end"},
        {SPAN_INIT(B "\r\n\r\nx\r\n" B "--"), "a part has no Content-Disposition"},
        {SPAN_INIT(B "\r\nX: y\r\n\r\nx\r\n" B "--"), "a part has no Content-Disposition"},
        {SPAN_INIT(B "\r\n" DISPOSITION "\"a\"\n\r\n\r\nx\r\n" B "--"), "a part's header has a bare LF"},
        {SPAN_INIT(B "\r\n" DISPOSITION "\"a\"\r\n folded\r\n\r\nx\r\n" B "--"), "a part's header is malformed"},
        {SPAN_INIT(B "\r\nContent-Disposition : form-data; name=\"a\"\r\n\r\nx"), "a part's header is malformed"},
        {SPAN_INIT(B "\r\n" DISPOSITION "\"a\0\"\r\n\r\nx"), "a part's header has a control byte"},
        {SPAN_INIT(B "\r\n" DISPOSITION "\"a\rb\"\r\n\r\nx"), "a part's header has a control byte"},
        {SPAN_INIT(B "\r\n" DISPOSITION "\"a\"\r\n" DISPOSITION "\"b\"\r\n\r\nx"),
         "a part has two Content-Disposition fields"},
        {SPAN_INIT(B "\r\nContent-Disposition: attachment; name=\"a\"\r\n\r\nx"),
         "a part's Content-Disposition is not form-data"},
        {SPAN_INIT(B "\r\n" DISPOSITION "\"a\"; name=\"b\"\r\n\r\nx"), "a part has more than one name"},
        {SPAN_INIT(B "\r\n" DISPOSITION "\"a\"; name*=utf-8''b\r\n\r\nx"), "a part has more than one name"},
        {SPAN_INIT(B "\r\nContent-Disposition: form-data\r\n\r\nx"),
         "a part's Content-Disposition is malformed or has no name"},
        {SPAN_INIT(B "\r\n" DISPOSITION "\"a\r\n\r\nx"), "a part's Content-Disposition is malformed or has no name"},
        {SPAN_INIT(B "\r\n" DISPOSITION "\"a\" x\r\n\r\nx"),
         "a part's Content-Disposition is malformed or has no name"},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        for (size_t cut = 0; cut <= table[i].text.len + 1; cut++) {
            struct buffer got = read_steps(table[i].text, cut, cut > table[i].text.len);
            if (!span_ends_with(buffer_span(&got), span_str(table[i].reason)))
                fail_msg("row %zu, cut %zu: expected %s\ngot %.*s", i, cut, table[i].reason,
                         SPAN_ARG(buffer_span(&got)));
            buffer_finish(&got);
        }
}

static void header_limits(void **state)
{
    (void)state;
    struct buffer text = {0};
    buffer_append(&text, SPAN(B "\r\nX: "));
    for (unsigned i = 0; i < MULTIPART_HEADER_LIMIT; i++)
        buffer_append(&text, SPAN("x"));
    struct buffer got = read_steps(buffer_span(&text), buffer_len(&text), false);
    assert_true(span_ends_with(buffer_span(&got), SPAN("a part's header is too long")));
    buffer_finish(&got);
    buffer_finish(&text);
    for (size_t len = MULTIPART_NAME_LIMIT; len <= MULTIPART_NAME_LIMIT + 1; len++) {
        buffer_format(&text, B "\r\n" DISPOSITION "\"%0*d\"\r\n\r\nx\r\n" B "--", (int)len, 0);
        got = read_steps(buffer_span(&text), buffer_len(&text), false);
        assert_int_equal(span_ends_with(buffer_span(&got), SPAN("done")), len == MULTIPART_NAME_LIMIT);
        buffer_finish(&got);
        buffer_finish(&text);
    }
}

static void boundaries(void **state)
{
    (void)state;
    static const struct {
        const char *content_type, *boundary; /* NULL = refused */
    } table[] = {
        {"multipart/form-data; boundary=abc", "abc"},
        {"Multipart/Form-Data;charset=utf-8 ; BOUNDARY=\"a b:c\"", "a b:c"},
        {"multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW",
         "----WebKitFormBoundary7MA4YWxkTrZu0gW"},
        {"multipart/form-data", NULL},
        {"multipart/form-datax; boundary=abc", NULL},
        {"multipart/mixed; boundary=abc", NULL},
        {"multipart/form-data; boundary=abc; boundary=def", NULL},
        {"multipart/form-data; boundary=", NULL},
        {"multipart/form-data; boundary=a b", NULL},
        {"multipart/form-data; boundary=\"abc", NULL},
        {"multipart/form-data; boundary=\"a\\bc\"", NULL},
        {"multipart/form-data; boundary=abc;", NULL},
        {"application/json", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct span got;
        bool found = multipart_boundary(span_str(table[i].content_type), &got);
        if (found != (table[i].boundary != NULL) || (found && !span_equal(got, span_str(table[i].boundary))))
            fail_msg("%s", table[i].content_type);
    }
    static const char *const bad[] = {"",
                                      "a ",
                                      "a\r",
                                      "a\"b",
                                      "a;b",
                                      "\x80",
                                      "12345678901234567890123456789012345678901234567890123456789012345678901"};
    struct multipart m;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(multipart_init(&m, span_str(bad[i])));
    assert_true(multipart_init(&m, span_take(span_str(bad[6]), MULTIPART_BOUNDARY_LIMIT)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(bodies), cmocka_unit_test(refusals),
                                       cmocka_unit_test(header_limits), cmocka_unit_test(boundaries)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
