/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages that two parsers may understand differently (request smuggling, response splitting): each must be refused,
 * for the reason given, wherever the bytes are cut. Nothing may be taken for a request that the row does not allow.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "http/h1_reader.h"
#include "support/h1_drive.h"

static const struct drive server = {.role = H1_SERVER};
static const struct drive client = {.role = H1_CLIENT, .asked = HTTP_POST};

struct row {
    struct span input;
    const char *reason;
};
#define ROW(text, why)                                                                                                 \
    {                                                                                                                  \
        SPAN_INIT(text), why                                                                                           \
    }

/* The record must be `before`, then BAD with the fault and the row's reason. */
static void check(const struct drive *how, const char *before, const char *fault, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct buffer record = {0}, expected = {0};
        buffer_format(&expected, "%sBAD %s %s\n", before, fault, rows[i].reason);
        drive_every_split(how, rows[i].input, &record);
        if (!span_equal(buffer_span(&record), buffer_span(&expected)))
            fail_msg("row %zu (%s): %.*s\ngave:\n%.*s", i, rows[i].reason, SPAN_ARG(rows[i].input),
                     SPAN_ARG(buffer_span(&record)));
        buffer_finish(&record);
        buffer_finish(&expected);
    }
}

#define POST "POST / HTTP/1.1\r\nHost: a\r\n"
#define TAIL "\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
#define LINE "GET / HTTP/1.1\r\n"

/* Framing fields: CL.TE, TE.CL, TE.TE and their disguises. The list serves requests and answers (see check_framing). */
#define FRAMING_ROWS(START)                                                                                            \
    ROW(START "Content-Length: 4\r\nTransfer-Encoding: chunked" TAIL, "Content-Length beside Transfer-Encoding"),      \
        ROW(START "Transfer-Encoding: chunked\r\nContent-Length: 4" TAIL, "Content-Length beside Transfer-Encoding"),  \
        ROW(START "Transfer-Encoding: chunked\r\nContent-Length: 0" TAIL, "Content-Length beside Transfer-Encoding"),  \
        ROW(START "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked" TAIL, "repeated Transfer-Encoding"),      \
        ROW(START "Transfer-Encoding: chunked\r\nTransfer-encoding: identity" TAIL, "repeated Transfer-Encoding"),     \
        ROW(START "Transfer-Encoding: identity" TAIL, "transfer coding other than chunked"),                           \
        ROW(START "Transfer-Encoding: xchunked" TAIL, "transfer coding other than chunked"),                           \
        ROW(START "Transfer-Encoding: chunkedx" TAIL, "transfer coding other than chunked"),                           \
        ROW(START "Transfer-Encoding:" TAIL, "transfer coding other than chunked"),                                    \
        ROW(START "Transfer-Encoding: ," TAIL, "transfer coding other than chunked"),                                  \
        ROW(START "Transfer-Encoding: ,chunked" TAIL, "transfer coding other than chunked"),                           \
        ROW(START "Transfer-Encoding: chunked," TAIL, "transfer coding other than chunked"),                           \
        ROW(START "Transfer-Encoding: chunked, identity" TAIL, "transfer coding other than chunked"),                  \
        ROW(START "Transfer-Encoding: identity, chunked" TAIL, "transfer coding other than chunked"),                  \
        ROW(START "Transfer-Encoding: gzip, chunked" TAIL, "transfer coding other than chunked"),                      \
        ROW(START "Transfer-Encoding: chunked, gzip" TAIL, "transfer coding other than chunked"),                      \
        ROW(START "Transfer-Encoding: chunked, chunked" TAIL, "transfer coding other than chunked"),                   \
        ROW(START "Transfer-Encoding: \"chunked\"" TAIL, "transfer coding other than chunked"),                        \
        ROW(START "Transfer-Encoding: 'chunked'" TAIL, "transfer coding other than chunked"),                          \
        ROW(START "Transfer-Encoding: chunked;q=1" TAIL, "transfer coding other than chunked"),                        \
        ROW(START "Transfer-Encoding: chunked\xa0" TAIL, "transfer coding other than chunked"),                        \
        ROW(START "Transfer-Encoding: \xef\xbb\xbf"                                                                    \
                  "chunked" TAIL,                                                                                      \
            "transfer coding other than chunked"),                                                                     \
        ROW(START "Transfer-Encoding: chun\rked" TAIL, "bare CR"),                                                     \
        ROW(START "Transfer-Encoding: \x0b"                                                                            \
                  "chunked" TAIL,                                                                                      \
            "control byte in a field value"),                                                                          \
        ROW(START "Transfer-Encoding: chunked\x0c" TAIL, "control byte in a field value"),                             \
        ROW(START "Transfer-Encoding: chunked\0" TAIL, "NUL in a field value"),                                        \
        ROW(START "Transfer-Encoding: \x7f"                                                                            \
                  "chunked" TAIL,                                                                                      \
            "control byte in a field value"),                                                                          \
        ROW(START "Transfer-Encoding : chunked" TAIL, "blank before the colon"),                                       \
        ROW(START "Transfer-Encoding\t: chunked" TAIL, "blank before the colon"),                                      \
        ROW(START "Transfer-Encoding\x0b: chunked" TAIL, "bad byte in a field name"),                                  \
        ROW(START "Transfer-Encoding\0: chunked" TAIL, "bad byte in a field name"),                                    \
        ROW(START "Transfer-Encoding\xff: chunked" TAIL, "bad byte in a field name"),                                  \
        ROW(START "\x0bTransfer-Encoding: chunked" TAIL, "bad byte in a field name"),                                  \
        ROW(START "Transfer-Encoding" TAIL, "bad byte in a field name"),                                               \
        ROW(START "(Transfer-Encoding): chunked" TAIL, "bad byte in a field name"),                                    \
        ROW(START " Transfer-Encoding: chunked" TAIL, "folded line"),                                                  \
        ROW(START "\tTransfer-Encoding: chunked" TAIL, "folded line"),                                                 \
        ROW(START "Transfer-Encoding:\r\n chunked" TAIL, "folded line"),                                               \
        ROW(START "X: y\r\n\tTransfer-Encoding: chunked" TAIL, "folded line"),                                         \
        ROW(START "X: y\nTransfer-Encoding: chunked" TAIL, "bare LF"),                                                 \
        ROW(START "X: y\rTransfer-Encoding: chunked" TAIL, "bare CR"),                                                 \
        ROW(START "X: y\r\rTransfer-Encoding: chunked" TAIL, "bare CR"),                                               \
        ROW(START "X: y\r\n\rTransfer-Encoding: chunked" TAIL, "bare CR"),                                             \
        ROW(START "X: y\n\rTransfer-Encoding: chunked" TAIL, "bare LF"), ROW(START "X: y\n\n", "bare LF"),             \
        ROW(START "X: y\r\n\n", "bare LF"), ROW(START "\n", "bare LF"), ROW(START ": x" TAIL, "empty field name"),     \
        ROW(START ":" TAIL, "empty field name"), ROW(START "X: \0" TAIL, "NUL in a field value"),                      \
        ROW(START "X: \x01" TAIL, "control byte in a field value"),                                                    \
        ROW(START "Content-Length: 5\r\nContent-Length: 5" TAIL, "repeated Content-Length"),                           \
        ROW(START "Content-Length: 5\r\ncontent-length: 6" TAIL, "repeated Content-Length"),                           \
        ROW(START "Content-Length: 5, 5" TAIL, "bad Content-Length"),                                                  \
        ROW(START "Content-Length: 5,6" TAIL, "bad Content-Length"),                                                   \
        ROW(START "Content-Length: 5 5" TAIL, "bad Content-Length"),                                                   \
        ROW(START "Content-Length: +5" TAIL, "bad Content-Length"),                                                    \
        ROW(START "Content-Length: -5" TAIL, "bad Content-Length"),                                                    \
        ROW(START "Content-Length: -0" TAIL, "bad Content-Length"),                                                    \
        ROW(START "Content-Length: 0x5" TAIL, "bad Content-Length"),                                                   \
        ROW(START "Content-Length: 5.0" TAIL, "bad Content-Length"),                                                   \
        ROW(START "Content-Length: 5e1" TAIL, "bad Content-Length"),                                                   \
        ROW(START "Content-Length: 1_0" TAIL, "bad Content-Length"),                                                   \
        ROW(START "Content-Length: \"5\"" TAIL, "bad Content-Length"),                                                 \
        ROW(START "Content-Length: \xb2" TAIL, "bad Content-Length"),                                                  \
        ROW(START "Content-Length: 5;" TAIL, "bad Content-Length"),                                                    \
        ROW(START "Content-Length:" TAIL, "bad Content-Length"),                                                       \
        ROW(START "Content-Length: 9223372036854775808" TAIL, "bad Content-Length"),                                   \
        ROW(START "Content-Length: 18446744073709551616" TAIL, "bad Content-Length"),                                  \
        ROW(START "Content-Length: 36893488147419103237" TAIL, "bad Content-Length"),                                  \
        ROW(START "Content-Length : 5" TAIL, "blank before the colon"),                                                \
        ROW(START "Content-Length: 5\x0b" TAIL, "control byte in a field value"),                                      \
        ROW(START "Content-Length: 5\r\n 0" TAIL, "folded line"),                                                      \
        ROW(START "Connection: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t,u,v,w,x,y,z,1,2,3,4,5,6,7" TAIL,                \
            "too many connection options")

static void refuses_ambiguous_framing(void **state)
{
    (void)state;
    static const struct row requests[] = {FRAMING_ROWS(POST)};
    static const struct row answers[] = {FRAMING_ROWS("HTTP/1.1 200 OK\r\n")};
    static const struct row old_requests[] = {
        ROW("POST / HTTP/1.0\r\nTransfer-Encoding: chunked" TAIL, "Transfer-Encoding on HTTP/1.0")};
    static const struct row old_answers[] = {
        ROW("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked" TAIL, "Transfer-Encoding on HTTP/1.0")};
    check(&server, "", "MALFORMED_REQUEST", requests, ARRAY_LEN(requests));
    check(&client, "", "UPSTREAM_PROTOCOL", answers, ARRAY_LEN(answers));
    check(&server, "", "MALFORMED_REQUEST", old_requests, ARRAY_LEN(old_requests));
    check(&client, "", "UPSTREAM_PROTOCOL", old_answers, ARRAY_LEN(old_answers));
}

static void refuses_bad_chunks(void **state)
{
    (void)state;
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"
    static const struct row rows[] = {
        ROW(CHUNKED "0x5\r\nabcde\r\n0\r\n\r\n", "bad chunk size"),
        ROW(CHUNKED " 5\r\nabcde\r\n0\r\n\r\n", "bad chunk size"),
        ROW(CHUNKED "\t5\r\nabcde\r\n0\r\n\r\n", "bad chunk size"),
        ROW(CHUNKED "5 \r\nabcde\r\n0\r\n\r\n", "bad chunk size"),
        ROW(CHUNKED "5 ;ext\r\nabcde\r\n0\r\n\r\n", "bad chunk size"),
        ROW(CHUNKED "+5\r\nabcde\r\n0\r\n\r\n", "bad chunk size"),
        ROW(CHUNKED "-5\r\nabcde\r\n0\r\n\r\n", "bad chunk size"),
        ROW(CHUNKED "5_0\r\nabcde\r\n0\r\n\r\n", "bad chunk size"),
        ROW(CHUNKED "5,5\r\nabcde\r\n0\r\n\r\n", "bad chunk size"),
        ROW(CHUNKED "g\r\n", "bad chunk size"),
        ROW(CHUNKED "\r\n", "bad chunk size"),
        ROW(CHUNKED ";ext\r\n", "bad chunk size"),
        ROW(CHUNKED "5\0\r\nabcde\r\n", "bad chunk size"),
        ROW(CHUNKED "\xef\xbc\x95\r\nabcde\r\n", "bad chunk size"),
        ROW(CHUNKED "5\nabcde\r\n0\r\n\r\n", "bare LF"),
        ROW(CHUNKED "5\rabcde\r\n0\r\n\r\n", "bare CR"),
        ROW(CHUNKED "5\r\r\nabcde\r\n0\r\n\r\n", "bare CR"),
        ROW(CHUNKED "5;ext=\nabcde\r\n0\r\n\r\n", "bare LF"),
        ROW(CHUNKED "5;ext=\rabcde\r\n0\r\n\r\n", "bare CR"),
        ROW(CHUNKED "5;e\0xt\r\nabcde\r\n0\r\n\r\n", "bad chunk extension"),
        ROW(CHUNKED "5;e\x0bxt\r\nabcde\r\n0\r\n\r\n", "bad chunk extension"),
        ROW(CHUNKED "10000000000000000\r\n", "chunk size too long"),
        ROW(CHUNKED "00000000000000005\r\nabcde\r\n", "chunk size too long"),
        ROW(CHUNKED "0\n\r\n", "bare LF"),
        ROW(CHUNKED "0\r\n\n", "bare LF"),
        ROW(CHUNKED "0\r\nX: y\n\r\n", "bare LF"),
        ROW(CHUNKED "0\r\nX: y\r\rz\r\n\r\n", "bare CR"),
        ROW(CHUNKED "0\r\nX : y\r\n\r\n", "blank before the colon"),
        ROW(CHUNKED "0\r\n X: y\r\n\r\n", "folded line"),
        ROW(CHUNKED "0\r\nX: a\r\n b\r\n\r\n", "folded line"),
        ROW(CHUNKED "0\r\nX: \0\r\n\r\n", "NUL in a field value"),
        ROW(CHUNKED "0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "blank before the colon"),
        ROW(CHUNKED "0\r\nContent-Length: 5\r\n\r\n", "forbidden trailer"),
        ROW(CHUNKED "0\r\nTransfer-Encoding: chunked\r\n\r\n", "forbidden trailer"),
        ROW(CHUNKED "0\r\nX: y\r\nHost: b\r\n\r\n", "forbidden trailer"),
        ROW(CHUNKED "0\r\nAuthorization: Bearer x\r\n\r\n", "forbidden trailer"),
    };
    static const char head[] = "HEAD POST / host=a chunked\nhost: a\ntransfer-encoding: chunked\n";
    check(&server, head, "MALFORMED_REQUEST", rows, ARRAY_LEN(rows));
    static const struct row after_data[] = {
        ROW(CHUNKED "5\r\nabcdef\r\n0\r\n\r\n", "chunk longer than its size"),
        ROW(CHUNKED "5\r\nabcde0\r\n\r\n", "chunk longer than its size"),
        ROW(CHUNKED "5\r\nabcde\n0\r\n\r\n", "chunk longer than its size"),
        ROW(CHUNKED "5\r\nabcde\r0\r\n\r\n", "bare CR"),
        ROW(CHUNKED "5\r\nabcde\r\n\r\n0\r\n\r\n", "bad chunk size"),
    };
    check(&server, "HEAD POST / host=a chunked\nhost: a\ntransfer-encoding: chunked\nBODY abcde\n", "MALFORMED_REQUEST",
          after_data, ARRAY_LEN(after_data));
}

static void refuses_bad_request_lines(void **state)
{
    (void)state;
#define HOST "Host: a\r\n\r\n"
    static const struct row rows[] = {
        ROW("\r\n\r\nGET / HTTP/1.1\r\n" HOST, "not HTTP"),
        ROW("\nGET / HTTP/1.1\r\n" HOST, "not HTTP"),
        ROW("\rGET / HTTP/1.1\r\n" HOST, "bare CR"),
        ROW(" GET / HTTP/1.1\r\n" HOST, "not HTTP"),
        ROW("\x16\x03\x01\x02", "not HTTP"),
        ROW("GET  / HTTP/1.1\r\n" HOST, "empty target"),
        ROW("GET\t/ HTTP/1.1\r\n" HOST, "bad method"),
        ROW("G(T / HTTP/1.1\r\n" HOST, "bad method"),
        ROW("GET\0 / HTTP/1.1\r\n" HOST, "bad method"),
        ROW("AVERYLONGMETHODTHATNOBODYUSES / HTTP/1.1\r\n" HOST, "bad method"),
        ROW("GET /  HTTP/1.1\r\n" HOST, "bad HTTP version"),
        ROW("GET / HTTP/1.1 \r\n" HOST, "bad byte after the HTTP version"),
        ROW("GET / HTTP/1.1\t\r\n" HOST, "bad byte after the HTTP version"),
        ROW("GET / HTTP/1.1\rX: y\r\n" HOST, "bare CR"),
        ROW("GET / HTTP/1.1\n" HOST, "bare LF"),
        ROW("GET /\r\n" HOST, "bad byte in the request line"),
        ROW("GET /a b HTTP/1.1\r\n" HOST, "bad HTTP version"),
        ROW("GET /a\tb HTTP/1.1\r\n" HOST, "bad byte in the request line"),
        ROW("GET /a\0b HTTP/1.1\r\n" HOST, "bad byte in the request line"),
        ROW("GET /a\x7f HTTP/1.1\r\n" HOST, "bad byte in the request line"),
        ROW("GET /\xc3\xa4 HTTP/1.1\r\n" HOST, "bad byte in the request line"),
        ROW("GET /a#b HTTP/1.1\r\n" HOST, "fragment in the target"),
        ROW("GET / http/1.1\r\n" HOST, "bad HTTP version"),
        ROW("GET / HTTP/1\r\n" HOST, "bad HTTP version"),
        ROW("GET / HTTP/1.10\r\n" HOST, "bad byte after the HTTP version"),
        ROW("GET / HTTP/11.1\r\n" HOST, "bad HTTP version"),
        ROW("GET / HTTP/+1.1\r\n" HOST, "bad HTTP version"),
        ROW("GET / HTTP/ 1.1\r\n" HOST, "bad HTTP version"),
        ROW("GET / HTTPS/1.1\r\n" HOST, "bad HTTP version"),
        ROW("GET / \r\n" HOST, "bad HTTP version"),
        ROW(LINE "\r\n", "missing Host"),
        ROW(LINE "X: y\r\n\r\n", "missing Host"),
        ROW(LINE "Host: a\r\nHost: a\r\n\r\n", "repeated Host"),
        ROW(LINE "Host: a\r\nhost: b\r\n\r\n", "repeated Host"),
        ROW("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", "repeated Host"),
        ROW(LINE "Host: a b\r\n\r\n", "bad Host"),
        ROW(LINE "Host: a,b\r\n\r\n", "bad Host"),
        ROW(LINE "Host: a/b\r\n\r\n", "bad Host"),
        ROW(LINE "Host: a?b\r\n\r\n", "bad Host"),
        ROW(LINE "Host: a#b\r\n\r\n", "bad Host"),
        ROW(LINE "Host: u@a\r\n\r\n", "bad Host"),
        ROW(LINE "Host: a\\b\r\n\r\n", "bad Host"),
        ROW(LINE "Host: a:b\r\n\r\n", "bad Host"),
        ROW(LINE "Host: a:80:80\r\n\r\n", "bad Host"),
        ROW(LINE "Host: a:65536\r\n\r\n", "bad Host"),
        ROW(LINE "Host: a:+80\r\n\r\n", "bad Host"),
        ROW(LINE "Host: :80\r\n\r\n", "bad Host"),
        ROW(LINE "Host: [::1\r\n\r\n", "bad Host"),
        ROW(LINE "Host: []\r\n\r\n", "bad Host"),
        ROW(LINE "Host: [::g]\r\n\r\n", "bad Host"),
        ROW(LINE "Host: [::1]a\r\n\r\n", "bad Host"),
        ROW(LINE "Host: \xc3\xa4\r\n\r\n", "bad Host"),
        ROW(LINE "Host : a\r\n\r\n", "blank before the colon"),
    };
    static const struct row versions[] = {
        ROW("GET / HTTP/2.0\r\n" HOST, "unknown HTTP version"),  ROW("GET / HTTP/0.9\r\n" HOST, "unknown HTTP version"),
        ROW("GET / HTTP/1.2\r\n" HOST, "unknown HTTP version"),  ROW("GET / HTTP/3.1\r\n" HOST, "unknown HTTP version"),
        ROW("PRI * HTTP/2.0\r\n\r\nSM", "unknown HTTP version"),
    };
    check(&server, "", "MALFORMED_REQUEST", rows, ARRAY_LEN(rows));
    check(&server, "", "VERSION", versions, ARRAY_LEN(versions));
}

static void refuses_bad_status_lines(void **state)
{
    (void)state;
    static const struct row rows[] = {
        ROW("\r\nHTTP/1.1 200 OK\r\n\r\n", "not HTTP"),
        ROW("ICY 200 OK\r\n\r\n", "not HTTP"),
        ROW("<html>", "not HTTP"),
        ROW("HTTP/1.1  200 OK\r\n\r\n", "bad status"),
        ROW("HTTP/1.1 20 OK\r\n\r\n", "bad status"),
        ROW("HTTP/1.1 2000 OK\r\n\r\n", "bad status"),
        ROW("HTTP/1.1 +20 OK\r\n\r\n", "bad status"),
        ROW("HTTP/1.1 099 OK\r\n\r\n", "bad status"),
        ROW("HTTP/1.1 600 OK\r\n\r\n", "bad status"),
        ROW("HTTP/1.1 200\tOK\r\n\r\n", "bad status"),
        ROW("HTTP/1.1\r\n\r\n", "bad byte after the HTTP version"),
        ROW("HTTP/2.0 200 OK\r\n\r\n", "unknown HTTP version"),
        ROW("HTTP/1.1 200 O\0K\r\n\r\n", "bad byte in the status line"),
        ROW("HTTP/1.1 200 O\rK\r\n\r\n", "bad byte in the status line"),
        ROW("HTTP/1.1 200 OK\n\r\n", "bare LF"),
        ROW("HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n", "interim answer with a body"),
        ROW("HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n", "interim answer with a body"),
    };
    check(&client, "", "UPSTREAM_PROTOCOL", rows, ARRAY_LEN(rows));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_ambiguous_framing),
        cmocka_unit_test(refuses_bad_chunks),
        cmocka_unit_test(refuses_bad_request_lines),
        cmocka_unit_test(refuses_bad_status_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
