/* SPDX-License-Identifier: Apache-2.0 */
#include "net/proxy_protocol.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "net/http_connect.h"

#define V2 "\r\n\r\n\0\r\nQUIT\n"

struct row {
    struct span bytes;
    enum proxy_result result;
    const char *source; /* "-": none */
    size_t rest;        /* bytes after the header */
};

static const struct row rows[] = {
    {SPAN_INIT("PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\nGET /"), PROXY_DONE, "192.0.2.1:56324", 5},
    {SPAN_INIT("PROXY TCP6 2001:db8::1 ::1 1 65535\r\n"), PROXY_DONE, "[2001:db8::1]:1", 0},
    {SPAN_INIT("PROXY UNKNOWN\r\n"), PROXY_DONE, "-", 0},
    {SPAN_INIT("PROXY UNKNOWN ffff:: whatever 1 2\r\nx"), PROXY_DONE, "-", 1},
    {SPAN_INIT("PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\n"), PROXY_BAD, NULL, 0},
    {SPAN_INIT("PROXY TCP4 192.0.2.1 10.0.0.1 56324\r\n"), PROXY_BAD, NULL, 0},
    {SPAN_INIT("PROXY TCP4 192.0.2.1 10.0.0.1 56324 443 \r\n"), PROXY_BAD, NULL, 0},
    {SPAN_INIT("PROXY TCP4 192.0.2.1 10.0.0.1 65536 443\r\n"), PROXY_BAD, NULL, 0},
    {SPAN_INIT("PROXY TCP4 192.0.2.1 10.0.0.1 0443 443\r\n"), PROXY_BAD, NULL, 0},
    {SPAN_INIT("PROXY TCP4 192.0.2.1 10.0.0.1 -1 443\r\n"), PROXY_BAD, NULL, 0},
    {SPAN_INIT("PROXY TCP4 ::1 ::1 1 2\r\n"), PROXY_BAD, NULL, 0},
    {SPAN_INIT("PROXY TCP6 10.0.0.1 10.0.0.2 1 2\r\n"), PROXY_BAD, NULL, 0},
    {SPAN_INIT("PROXY TCP6 [::1] ::1 1 2\r\n"), PROXY_BAD, NULL, 0},
    {SPAN_INIT("PROXY  TCP4 192.0.2.1 10.0.0.1 56324 443\r\n"), PROXY_BAD, NULL, 0},
    {SPAN_INIT("PROXY UDP4 192.0.2.1 10.0.0.1 56324 443\r\n"), PROXY_BAD, NULL, 0},
    {SPAN_INIT("PROXY TCP4 192.0.2.1\r 10.0.0.1 56324 443\r\n"), PROXY_BAD, NULL, 0},
    {SPAN_INIT("proxy TCP4 192.0.2.1 10.0.0.1 56324 443\r\n"), PROXY_BAD, NULL, 0},
    {SPAN_INIT("POST / HTTP/1.1\r\n"), PROXY_BAD, NULL, 0},
    {SPAN_INIT("GET / HTTP/1.1\r\n"), PROXY_BAD, NULL, 0},
    {SPAN_INIT("\x16\x03\x01"), PROXY_BAD, NULL, 0},
    {SPAN_INIT(V2 "\x21\x11\0\x0c\xc0\0\2\1\n\0\0\1\xdc\4\1\xbb"
                  "hi"),
     PROXY_DONE, "192.0.2.1:56324", 2},
    {SPAN_INIT(V2 "\x21\x21\0\x24\x20\1\r\xb8\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\7\0\x50"),
     PROXY_DONE, "[2001:db8::1]:7", 0},
    {SPAN_INIT(V2 "\x21\x11\0\x10\xc0\0\2\1\n\0\0\1\xdc\4\1\xbb\4\0\1x"
                  "hi"),
     PROXY_DONE, "192.0.2.1:56324", 2},                 /* TLV */
    {SPAN_INIT(V2 "\x20\0\0\0hi"), PROXY_DONE, "-", 2}, /* LOCAL */
    {SPAN_INIT(V2 "\x21\0\0\0"), PROXY_DONE, "-", 0},   /* unspecified */
    {SPAN_INIT(V2 "\x21\x11\0\x0b"
                  "12345678901"),
     PROXY_BAD, NULL, 0},                                   /* too short for IPv4 */
    {SPAN_INIT(V2 "\x22\x11\0\x0c"), PROXY_BAD, NULL, 0},   /* unknown command */
    {SPAN_INIT(V2 "\x11\x11\0\x0c"), PROXY_BAD, NULL, 0},   /* unknown version */
    {SPAN_INIT(V2 "\x21\x11\xff\xff"), PROXY_BAD, NULL, 0}, /* too long */
};

/* Every beginning of a good header asks for more; a bad one may be refused early but never accepted. */
static void every_split_is_read_alike(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct row *row = &rows[i];
        for (size_t len = 0; len <= row->bytes.len; len++) {
            char *copy = malloc(len + 1); /* of exact size, so that a read beyond shows */
            assert_non_null(copy);
            memcpy(copy, row->bytes.ptr, len);
            struct address source;
            size_t length = 0;
            enum proxy_result got = proxy_protocol_parse(span_of(copy, len), &source, &length);
            if (len == row->bytes.len)
                assert_int_equal(got, row->result);
            if (row->result == PROXY_BAD)
                assert_int_not_equal(got, PROXY_DONE);
            else
                assert_int_equal(got, len < row->bytes.len - row->rest ? PROXY_MORE : PROXY_DONE);
            if (got == PROXY_DONE) {
                char text[ADDRESS_TEXT];
                assert_int_equal(length, row->bytes.len - row->rest);
                assert_string_equal(address_format_port(&source, text), row->source);
            }
            free(copy);
        }
    }
}

static void a_line_without_end_is_refused(void **state)
{
    (void)state;
    char line[200] = "PROXY UNKNOWN ";
    memset(line + 14, 'x', sizeof(line) - 14);
    struct address source;
    size_t length;
    assert_int_equal(proxy_protocol_parse(span_of(line, 106), &source, &length), PROXY_MORE);
    assert_int_equal(proxy_protocol_parse(span_of(line, 107), &source, &length), PROXY_BAD);
    assert_int_equal(proxy_protocol_parse(span_of(line, sizeof(line)), &source, &length), PROXY_BAD);
}

/* ---- CONNECT ---- */

static void connect_requests_are_written(void **state)
{
    (void)state;
    struct buffer b = {0};
    http_connect_request(&b, SPAN("api.example"), 443, SPAN("Basic eA=="));
    assert_true(span_equal(buffer_span(&b), SPAN("CONNECT api.example:443 HTTP/1.1\r\nHost: api.example:443\r\n"
                                                 "Proxy-Authorization: Basic eA==\r\n\r\n")));
    buffer_finish(&b);
    http_connect_request(&b, SPAN("fd00::1"), 8443, SPAN(""));
    assert_true(span_equal(buffer_span(&b), SPAN("CONNECT [fd00::1]:8443 HTTP/1.1\r\nHost: [fd00::1]:8443\r\n\r\n")));
    buffer_finish(&b);
}

static void connect_replies_are_read(void **state)
{
    (void)state;
    static const struct {
        struct span bytes;
        enum http_connect_result result;
        unsigned status;
        size_t rest;
    } replies[] = {
        {SPAN_INIT("HTTP/1.1 200 Connection established\r\n\r\n"), HTTP_CONNECT_OPEN, 200, 0},
        {SPAN_INIT("HTTP/1.0 200\r\nVia: x\r\n\r\nextra"), HTTP_CONNECT_OPEN, 200, 5},
        {SPAN_INIT("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 ok\r\nA: b\r\n\r\n"), HTTP_CONNECT_OPEN, 204, 0},
        {SPAN_INIT("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 3\r\n\r\nno!"), HTTP_CONNECT_REFUSED,
         407, 3},
        {SPAN_INIT("HTTP/1.1 101 Switching\r\n\r\n"), HTTP_CONNECT_REFUSED, 101, 0},
        {SPAN_INIT("HTTP/2.0 200 ok\r\n\r\n"), HTTP_CONNECT_BAD, 0, 0},
        {SPAN_INIT("HTTP/1.1 20 ok\r\n\r\n"), HTTP_CONNECT_BAD, 0, 0},
        {SPAN_INIT("HTTP/1.1 2000 ok\r\n\r\n"), HTTP_CONNECT_BAD, 0, 0},
        {SPAN_INIT("HTTP/1.1 200 ok\r\nno colon\r\n\r\n"), HTTP_CONNECT_BAD, 0, 0},
        {SPAN_INIT("HTTP/1.1 200 ok\r\n fold: x\r\n\r\n"), HTTP_CONNECT_BAD, 0, 0},
        {SPAN_INIT("HTTP/1.1 200 ok\nA: b\r\n\r\n"), HTTP_CONNECT_BAD, 0, 0},
        {SPAN_INIT("HTTP/1.1 200 ok\r\nA: b\0\r\n\r\n"), HTTP_CONNECT_BAD, 0, 0},
        {SPAN_INIT("SSH-2.0-OpenSSH\r\n"), HTTP_CONNECT_BAD, 0, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(replies); i++) {
        struct span all = replies[i].bytes;
        for (size_t len = 0; len <= all.len; len++) {
            size_t length = 0;
            unsigned status = 0;
            enum http_connect_result got = http_connect_reply(span_take(all, len), &length, &status);
            if (replies[i].result == HTTP_CONNECT_BAD) {
                assert_true(got == HTTP_CONNECT_BAD || (got == HTTP_CONNECT_MORE && len < all.len));
                continue;
            }
            assert_int_equal(got, len < all.len - replies[i].rest ? HTTP_CONNECT_MORE : replies[i].result);
            if (got != HTTP_CONNECT_MORE) {
                assert_int_equal(status, replies[i].status);
                assert_int_equal(length, all.len - replies[i].rest);
            }
        }
    }
}

static void an_endless_reply_is_refused(void **state)
{
    (void)state;
    struct buffer b = {0};
    buffer_append(&b, SPAN("HTTP/1.1 200 ok\r\n"));
    while (buffer_len(&b) < HTTP_CONNECT_REPLY_MAX)
        buffer_append(&b, SPAN("A: b\r\n"));
    size_t length;
    unsigned status;
    assert_int_equal(http_connect_reply(buffer_span(&b), &length, &status), HTTP_CONNECT_BAD);
    buffer_append(&b, SPAN("\r\n"));
    assert_int_equal(http_connect_reply(buffer_span(&b), &length, &status), HTTP_CONNECT_BAD);
    buffer_finish(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_split_is_read_alike),    cmocka_unit_test(a_line_without_end_is_refused),
        cmocka_unit_test(connect_requests_are_written), cmocka_unit_test(connect_replies_are_read),
        cmocka_unit_test(an_endless_reply_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
