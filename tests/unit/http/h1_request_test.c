/* SPDX-License-Identifier: Apache-2.0 */
/* What h1_reader makes of requests: framing, forms, pipelining, limits; each input cut at every byte. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "http/h1_reader.h"
#include "support/h1_drive.h"

struct row {
    const char *input, *record;
};

static void check(const struct drive *how, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct buffer record = {0};
        drive_every_split(how, span_str(rows[i].input), &record);
        if (!span_equal(buffer_span(&record), span_str(rows[i].record)))
            fail_msg("row %zu: %s\ngave:\n%.*s--- not:\n%s", i, rows[i].input, SPAN_ARG(buffer_span(&record)),
                     rows[i].record);
        buffer_finish(&record);
    }
}

static const struct drive server = {.role = H1_SERVER};

static void reads_requests(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"", "EOF MORE\n"},
        {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD GET / host=a none\nhost: a\nEND\nEOF END\n"},
        {"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD GET / host=a none\nhost: a\nEND\nEOF END\n"},
        {"\r\n", "EOF MORE\n"},
        {"G", "EOF BAD CLIENT_GONE\n"},
        {"GET /a?b=c?d&%20 HTTP/1.1\r\nHOST:\ta.b:80 \t\r\nX-y_Z!:  1  2 \r\nempty:\r\nblank: \t \r\n\r\n",
         "HEAD GET /a?b=c?d&%20 path=/a query=b=c?d&%20 host=a.b:80 none\nhost: a.b:80\nx-y_z!: 1  2\nempty: \n"
         "blank: \nEND\nEOF END\n"},
        {"POST /v1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
         "HEAD POST /v1 host=a length=3\nhost: a\ncontent-length: 3\nBODY abc\nEND\nEOF END\n"},
        {"POST /v1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0003\r\n\r\nab",
         "HEAD POST /v1 host=a length=3\nhost: a\ncontent-length: 0003\nBODY ab\nEOF BAD CLIENT_GONE\n"},
        {"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
         "HEAD PUT / host=a length=0\nhost: a\ncontent-length: 0\nEND\nEOF END\n"},
        {"POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\nHost: a\r\n\r\n3\r\nabc\r\n00a;x=\"y "
         "z\"\r\n0123456789\r\n0\r\n\r\n",
         "HEAD POST / host=a chunked\ntransfer-encoding: Chunked\nhost: a\nBODY abc0123456789\nEND\nEOF END\n"},
        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0000\r\nX-Sum: 1\r\nb: "
         "2\r\n\r\n",
         "HEAD POST / host=a chunked\nhost: a\ntransfer-encoding: chunked\nBODY 0123456789\nEND\nx-sum: 1\nb: 2\nEOF "
         "END\n"},
        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
         "HEAD POST / host=a chunked\nhost: a\ntransfer-encoding: chunked\nEOF BAD CLIENT_GONE\n"},
        /* pipelining: what follows is the next message; methods are case-sensitive */
        {"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nxget /2 HTTP/1.1\r\nHost: b\r\n\r\n"
         "POST /3 HTTP/1.1\r\nHost: c\r\nTransfer-Encoding: chunked\r\n\r\n1\r\ny\r\n0\r\n\r\n\r\nGET /4 "
         "HTTP/1.1\r\nHost: d\r\n\r\n",
         "HEAD POST /1 host=a length=1\nhost: a\ncontent-length: 1\nBODY x\nEND\n"
         "HEAD get /2 host=b none\nhost: b\nEND\n"
         "HEAD POST /3 host=c chunked\nhost: c\ntransfer-encoding: chunked\nBODY y\nEND\n"
         "HEAD GET /4 host=d none\nhost: d\nEND\nEOF END\n"},
        /* keep-alive */
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n",
         "HEAD GET / host=a none last\nhost: a\nconnection: x, Close\nEND\nEOF END\n"},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n",
         "HEAD GET / host=a none last\nhost: a\nconnection: keep-alive\nconnection: close\nEND\nEOF END\n"},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: closed\r\n\r\n",
         "HEAD GET / host=a none\nhost: a\nconnection: closed\nEND\nEOF END\n"},
        {"GET / HTTP/1.0\r\n\r\n", "HEAD GET / host= none 1.0 last\nEND\nEOF END\n"},
        {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
         "HEAD GET / host= none 1.0\nconnection: Keep-Alive\nEND\nEOF END\n"},
        /* expectations */
        {"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\nx",
         "HEAD PUT / host=a length=1 expect\nhost: a\nexpect: 100-Continue\ncontent-length: 1\nBODY x\nEND\nEOF END\n"},
        {"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n",
         "HEAD PUT / host=a length=0\nhost: a\nexpect: 100-continue\ncontent-length: 0\nEND\nEOF END\n"},
        {"PUT / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
         "HEAD PUT / host= length=1 1.0 last\nexpect: 100-continue\ncontent-length: 1\nBODY x\nEND\nEOF END\n"},
        {"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\nContent-Length: 1\r\n\r\nx",
         "BAD EXPECTATION unknown expectation\n"},
        /* target forms */
        {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD OPTIONS * host=a none\nhost: a\nEND\nEOF END\n"},
        {"GET * HTTP/1.1\r\nHost: a\r\n\r\n", "BAD MALFORMED_REQUEST bad request target\n"},
        {"OPTIONS *x HTTP/1.1\r\nHost: a\r\n\r\n", "BAD MALFORMED_REQUEST bad request target\n"},
        {"GET HTTP://A:8/x?y HTTP/1.1\r\nHost: a:8\r\n\r\n",
         "HEAD GET /x?y path=/x query=y host=A:8 none\nhost: a:8\nEND\nEOF END\n"},
        {"GET https://a HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD GET / host=a none\nhost: a\nEND\nEOF END\n"},
        {"GET http://a?q HTTP/1.1\r\nHost: a\r\n\r\n",
         "HEAD GET /?q path=/ query=q host=a none\nhost: a\nEND\nEOF END\n"},
        {"GET http://a/ HTTP/1.0\r\n\r\n", "HEAD GET / host=a none 1.0 last\nEND\nEOF END\n"},
        {"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", "BAD MALFORMED_REQUEST target and Host disagree\n"},
        {"GET http://a/ HTTP/1.1\r\nHost:\r\n\r\n", "BAD MALFORMED_REQUEST target and Host disagree\n"},
        {"GET http:///x HTTP/1.1\r\nHost:\r\n\r\n", "BAD MALFORMED_REQUEST bad authority in the target\n"},
        {"GET http://u@a/x HTTP/1.1\r\nHost: a\r\n\r\n", "BAD MALFORMED_REQUEST bad authority in the target\n"},
        {"GET ftp://a/x HTTP/1.1\r\nHost: a\r\n\r\n", "BAD MALFORMED_REQUEST bad request target\n"},
        {"GET x HTTP/1.1\r\nHost: a\r\n\r\n", "BAD MALFORMED_REQUEST bad request target\n"},
        {"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "BAD NOT_IMPLEMENTED CONNECT\n"},
        {"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "HEAD GET / host=[::1]:80 none\nhost: [::1]:80\nEND\nEOF END\n"},
        {"GET / HTTP/1.1\r\nHost:\r\n\r\n", "HEAD GET / host= none\nhost: \nEND\nEOF END\n"},
        {"GET / HTTP/1.1\r\nHost: Az-._~%41!$&'()*+;=09:\r\n\r\n",
         "HEAD GET / host=Az-._~%41!$&'()*+;=09: none\nhost: Az-._~%41!$&'()*+;=09:\nEND\nEOF END\n"},
        /* a UTF-8 value passes as it is */
        {"GET / HTTP/1.1\r\nHost: a\r\nx: \xc3\xa4\r\n\r\n",
         "HEAD GET / host=a none\nhost: a\nx: \xc3\xa4\nEND\nEOF END\n"},
    };
    check(&server, rows, ARRAY_LEN(rows));
}

static const struct h1_limits small = {
    .head_bytes = 64, .target_bytes = 16, .fields = 3, .trailer_bytes = 24, .trailers = 2, .extension_bytes = 6};

#define CHUNKED   "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
#define CHUNKED_R "HEAD POST / host=a chunked\nhost: a\ntransfer-encoding: chunked\n"

static void keeps_to_limits(void **state)
{
    (void)state;
    static const struct row rows[] = {
        /* 64 bytes exactly, then one more */
        {"GET / HTTP/1.1\r\nHost: a\r\nx: 12345678901234567890123456789012\r\n\r\n",
         "HEAD GET / host=a none\nhost: a\nx: 12345678901234567890123456789012\nEND\nEOF END\n"},
        {"GET / HTTP/1.1\r\nHost: a\r\nx: 123456789012345678901234567890123\r\n\r\n",
         "BAD HEAD_TOO_LARGE section too large\n"},
        {"GET /123456789012345 HTTP/1.1\r\nHost: a\r\n\r\n",
         "HEAD GET /123456789012345 host=a none\nhost: a\nEND\nEOF END\n"},
        {"GET /1234567890123456 HTTP/1.1\r\nHost: a\r\n\r\n", "BAD URI_TOO_LONG request target too long\n"},
        {"GET /12345678901234567890123456789012345678901234567890123456789012345678901234567890",
         "BAD URI_TOO_LONG section too large\n"},
        {"GET / HTTP/1.1\r\nHost: a\r\na:\r\nb:\r\n\r\n", "HEAD GET / host=a none\nhost: a\na: \nb: \nEND\nEOF END\n"},
        {"GET / HTTP/1.1\r\nHost: a\r\na:\r\nb:\r\nc:\r\n\r\n", "BAD HEAD_TOO_LARGE too many fields\n"},
        {CHUNKED "1;234567\r\nx\r\n0\r\n\r\n", CHUNKED_R "BODY x\nEND\nEOF END\n"},
        {CHUNKED "1;234\r\nx\r\n0;2345\r\n\r\n", CHUNKED_R "BODY x\nBAD HEAD_TOO_LARGE chunk extensions too large\n"},
        {CHUNKED "0\r\na: 1\r\nb: 2\r\n\r\n", CHUNKED_R "END\na: 1\nb: 2\nEOF END\n"},
        {CHUNKED "0\r\na: 1\r\nb: 2\r\nc:\r\n\r\n", CHUNKED_R "BAD HEAD_TOO_LARGE too many fields\n"},
        {CHUNKED "0\r\na: 1234567890123456789012345\r\n\r\n", CHUNKED_R "BAD HEAD_TOO_LARGE section too large\n"},
        {CHUNKED "11111111111111111\r\n", CHUNKED_R "BAD MALFORMED_REQUEST chunk size too long\n"},
    };
    struct drive how = server;
    how.limits = &small;
    check(&how, rows, ARRAY_LEN(rows));
}

/* A whole head larger than the pieces it is gathered in. */
static void gathers_large_heads(void **state)
{
    (void)state;
    struct buffer input = {0}, whole = {0}, split = {0};
    buffer_append(&input, SPAN("GET / HTTP/1.1\r\nHost: a\r\n"));
    for (int i = 0; i < 150; i++)
        buffer_format(&input, "X-Field-%d: a value that is neither short nor long, %d\r\n", i, i);
    buffer_append(&input, SPAN("Content-Length: 5000\r\n\r\n"));
    for (int i = 0; i < 5000; i++)
        buffer_append(&input, SPAN("b"));
    size_t len = buffer_len(&input);
    drive(&server, buffer_span(&input), len, len, &whole);
    for (size_t cut = 1; cut < len; cut += 509) {
        drive(&server, buffer_span(&input), cut, len, &split);
        assert_true(span_equal(buffer_span(&split), buffer_span(&whole)));
        buffer_consume(&split, buffer_len(&split));
    }
    assert_true(span_ends_with(buffer_span(&whole), SPAN("bbb\nEND\nEOF END\n")));
    buffer_finish(&input);
    buffer_finish(&whole);
    buffer_finish(&split);
}

static void tells_whether_anything_came(void **state)
{
    (void)state;
    struct h1_reader reader;
    struct arena arena;
    struct message message;
    struct span body, in = SPAN("\r\n");
    arena_init(&arena);
    h1_reader_init(&reader, H1_SERVER, &h1_limits_default);
    h1_reader_start(&reader, &arena, &message, HTTP_OTHER);
    assert_true(h1_reader_untouched(&reader));
    assert_int_equal(h1_reader_next(&reader, &in, &body), H1_MORE);
    assert_true(h1_reader_untouched(&reader));
    in = SPAN("G");
    assert_int_equal(h1_reader_next(&reader, &in, &body), H1_MORE);
    assert_false(h1_reader_untouched(&reader));
    in = SPAN("ET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(h1_reader_next(&reader, &in, &body), H1_HEAD);
    assert_int_equal(message.method, HTTP_GET);
    assert_int_equal(h1_reader_next(&reader, &in, &body), H1_END);
    assert_int_equal(h1_reader_next(&reader, &in, &body), H1_END);
    h1_reader_start(&reader, &arena, &message, HTTP_OTHER);
    assert_true(h1_reader_untouched(&reader));
    assert_int_equal(h1_reader_eof(&reader), H1_MORE);
    h1_reader_finish(&reader);
    arena_finish(&arena);
}

static void knows_the_h2_preface(void **state)
{
    (void)state;
    struct span preface = SPAN("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n more");
    for (size_t i = 0; i <= preface.len; i++)
        assert_int_equal(h1_looks_like_h2(span_take(preface, i)),
                         i < H1_PREFACE_LEN ? H1_PREFACE_MORE : H1_PREFACE_YES);
    assert_int_equal(h1_looks_like_h2(SPAN("PO")), H1_PREFACE_MORE);
    assert_int_equal(h1_looks_like_h2(SPAN("POST /")), H1_PREFACE_NO);
    assert_int_equal(h1_looks_like_h2(SPAN("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r")), H1_PREFACE_YES);
    assert_int_equal(h1_looks_like_h2(SPAN("PRI * HTTP/1.1\r\n")), H1_PREFACE_NO);
}

/* The verdict on a first line, and that no beginning of it has another one. */
static void takes_lines_without_a_slash_for_h2(void **state)
{
    (void)state;
    static const struct {
        struct span line;
        enum h1_preface verdict;
    } cases[] = {
        {SPAN_INIT("INVALID CONNECTION PREFACE\r\n\r\n"), H1_PREFACE_YES},
        {SPAN_INIT("PRI *\r\n"), H1_PREFACE_YES},
        {SPAN_INIT("hello\n"), H1_PREFACE_YES},
        {SPAN_INIT("GET /\r\n"), H1_PREFACE_NO},
        {SPAN_INIT("GET x HTTP/1.1\r\n"), H1_PREFACE_NO},
        {SPAN_INIT("OPTIONS * HTTP/1.1\r\n"), H1_PREFACE_NO},
        {SPAN_INIT("CONNECT a:1 HTTP/1.1\r\n"), H1_PREFACE_NO},
        {SPAN_INIT("\r\nGET / HTTP/1.1\r\n"), H1_PREFACE_NO},
        {SPAN_INIT("\0\n"), H1_PREFACE_NO},
        {SPAN_INIT("\x16\x03\x01\n"), H1_PREFACE_NO},
        {SPAN_INIT("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"),
         H1_PREFACE_NO},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bool decided = false;
        for (size_t cut = 0; cut <= cases[i].line.len; cut++) {
            enum h1_preface verdict = h1_looks_like_h2(span_take(cases[i].line, cut));
            assert_true(verdict == cases[i].verdict || (verdict == H1_PREFACE_MORE && !decided));
            decided = decided || verdict != H1_PREFACE_MORE;
        }
        assert_true(decided);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_requests),       cmocka_unit_test(keeps_to_limits),
        cmocka_unit_test(gathers_large_heads),  cmocka_unit_test(tells_whether_anything_came),
        cmocka_unit_test(knows_the_h2_preface), cmocka_unit_test(takes_lines_without_a_slash_for_h2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
