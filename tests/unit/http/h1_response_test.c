/* SPDX-License-Identifier: Apache-2.0 */
/* What h1_reader makes of answers: framing by status and method, interim answers, the end of the connection. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "http/h1_reader.h"
#include "support/h1_drive.h"

struct row {
    enum http_method asked;
    const char *input, *record;
};

static void check(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct buffer record = {0};
        struct drive client = {.role = H1_CLIENT, .asked = rows[i].asked};
        drive_every_split(&client, span_str(rows[i].input), &record);
        if (!span_equal(buffer_span(&record), span_str(rows[i].record)))
            fail_msg("row %zu: %s\ngave:\n%.*s--- not:\n%s", i, rows[i].input, SPAN_ARG(buffer_span(&record)),
                     rows[i].record);
        buffer_finish(&record);
    }
}

static void reads_answers(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {HTTP_POST, "", "EOF MORE\n"},
        {HTTP_POST, "HTTP", "EOF BAD UPSTREAM_CLOSED\n"},
        {HTTP_POST, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
         "HEAD 200 OK length=2\ncontent-length: 2\nBODY hi\nEND\nEOF END\n"},
        {HTTP_POST, "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nhi",
         "HEAD 200  length=2\ncontent-length: 2\nBODY hi\nEND\nEOF END\n"},
        {HTTP_POST, "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nh",
         "HEAD 200  length=2\ncontent-length: 2\nBODY h\nEOF BAD UPSTREAM_CLOSED\n"},
        {HTTP_POST, "HTTP/1.1 200 OK\r\n\r\nuntil the end", "HEAD 200 OK close last\nBODY until the end\nEOF END\n"},
        {HTTP_POST, "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n",
         "HEAD 200 OK close last\nconnection: keep-alive\nEOF END\n"},
        {HTTP_POST, "HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\nx",
         "HEAD 200 OK length=1 1.0\ncontent-length: 1\nconnection: keep-alive\nBODY x\nEND\nEOF END\n"},
        {HTTP_POST, "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
         "HEAD 200 OK length=1 1.0 last\ncontent-length: 1\nBODY x\nEND\nEOF END\n"},
        {HTTP_POST, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\nx-t: 1\r\n\r\n",
         "HEAD 200 OK chunked\ntransfer-encoding: chunked\nBODY abcd\nEND\nx-t: 1\nEOF END\n"},
        {HTTP_POST, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n",
         "HEAD 200 OK chunked\ntransfer-encoding: chunked\nBODY abcd\nEOF BAD UPSTREAM_CLOSED\n"},
        /* a message without a body, whatever it announces */
        {HTTP_HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
         "HEAD 200 OK none\ncontent-length: 5\nEND\nEOF END\n"},
        {HTTP_HEAD, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
         "HEAD 200 OK none\ntransfer-encoding: chunked\nEND\nEOF END\n"},
        {HTTP_HEAD, "HTTP/1.1 200 OK\r\n\r\n", "HEAD 200 OK none\nEND\nEOF END\n"},
        {HTTP_GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
         "HEAD 304 Not Modified none\ncontent-length: 5\nEND\nEOF END\n"},
        {HTTP_GET, "HTTP/1.1 204 No Content\r\n\r\n", "HEAD 204 No Content none\nEND\nEOF END\n"},
        {HTTP_GET, "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
         "HEAD 204 No Content none\ncontent-length: 0\nEND\nEOF END\n"},
        {HTTP_GET, "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
         "HEAD 204 No Content none last\ncontent-length: 5\nEND\nEOF END\n"},
        {HTTP_CONNECT, "HTTP/1.1 200 OK\r\n\r\n", "HEAD 200 OK none\nEND\nEOF END\n"},
        {HTTP_CONNECT, "HTTP/1.1 403 No\r\nContent-Length: 1\r\n\r\nx",
         "HEAD 403 No length=1\ncontent-length: 1\nBODY x\nEND\nEOF END\n"},
        /* interim answers */
        {HTTP_POST,
         "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: "
         "1\r\n\r\ny",
         "HEAD 100 Continue none\nHEAD 103 Early Hints none\nlink: x\nHEAD 200 OK length=1\ncontent-length: 1\nBODY "
         "y\nEND\nEOF END\n"},
        {HTTP_POST, "HTTP/1.1 100 Continue\r\n\r\n", "HEAD 100 Continue none\nEOF BAD UPSTREAM_CLOSED\n"},
        {HTTP_POST, "HTTP/1.1 100 Continue\r\n\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
         "HEAD 100 Continue none\nBAD UPSTREAM_PROTOCOL bad HTTP version\n"},
        {HTTP_GET, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x01z",
         "HEAD 101 Switching Protocols close last\nupgrade: websocket\nBODY \x81\x01z\nEOF END\n"},
    };
    check(rows, ARRAY_LEN(rows));
}

static void bounds_interim_answers(void **state)
{
    (void)state;
    struct buffer input = {0}, record = {0};
    for (int i = 0; i < 17; i++)
        buffer_append(&input, SPAN("HTTP/1.1 102 Processing\r\n\r\n"));
    struct drive client = {.role = H1_CLIENT, .asked = HTTP_POST};
    drive_every_split(&client, buffer_span(&input), &record);
    assert_true(span_ends_with(buffer_span(&record), SPAN("BAD UPSTREAM_PROTOCOL too many interim answers\n")));
    buffer_finish(&input);
    buffer_finish(&record);
}

static void leaves_the_tunnel_alone(void **state)
{
    (void)state;
    struct h1_reader reader;
    struct arena arena;
    struct message message;
    struct span body, in = SPAN("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n\x16\x03\x01");
    arena_init(&arena);
    h1_reader_init(&reader, H1_CLIENT, &h1_limits_default);
    h1_reader_start(&reader, &arena, &message, HTTP_CONNECT);
    assert_int_equal(h1_reader_next(&reader, &in, &body), H1_HEAD);
    assert_int_equal(message.method, HTTP_CONNECT);
    assert_int_equal(h1_reader_next(&reader, &in, &body), H1_END);
    assert_int_equal(in.len, 3);
    h1_reader_finish(&reader);
    arena_finish(&arena);
}

static void limits_are_the_upstreams_fault(void **state)
{
    (void)state;
    struct h1_limits limits = h1_limits_default;
    limits.fields = 1;
    limits.head_bytes = 60;
    struct drive client = {.role = H1_CLIENT, .asked = HTTP_POST, .limits = &limits};
    struct buffer many = {0}, large = {0};
    drive_every_split(&client, SPAN("HTTP/1.1 200 OK\r\na: 1\r\nb: 2\r\n\r\n"), &many);
    drive_every_split(&client, SPAN("HTTP/1.1 200 OKOKOKOKOKOKOKOKOKOKOKOKOKOKOKOKOKOKOKOKOKOKOKOKO"), &large);
    assert_true(span_equal(buffer_span(&many), SPAN("BAD UPSTREAM_TOO_LARGE too many fields\n")));
    assert_true(span_equal(buffer_span(&large), SPAN("BAD UPSTREAM_TOO_LARGE section too large\n")));
    buffer_finish(&many);
    buffer_finish(&large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_answers),
        cmocka_unit_test(bounds_interim_answers),
        cmocka_unit_test(leaves_the_tunnel_alone),
        cmocka_unit_test(limits_are_the_upstreams_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
