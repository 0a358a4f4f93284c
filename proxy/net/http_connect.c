/* SPDX-License-Identifier: Apache-2.0 */
#include "net/http_connect.h"

void http_connect_request(struct buffer *into, struct span host, uint16_t port, struct span authorization)
{
    bool bare_v6 = host.len && host.ptr[0] != '[' && span_find(host, ':') < host.len;
    const char *open = bare_v6 ? "[" : "", *close = bare_v6 ? "]" : "";
    buffer_format(into, "CONNECT %s%.*s%s:%u HTTP/1.1\r\nHost: %s%.*s%s:%u\r\n", open, SPAN_ARG(host), close, port,
                  open, SPAN_ARG(host), close, port);
    if (authorization.len)
        buffer_format(into, "Proxy-Authorization: %.*s\r\n", SPAN_ARG(authorization));
    buffer_append(into, SPAN("\r\n"));
}

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "HTTP/1.x SSS", then a space or the end. */
static bool status_line(struct span line, unsigned *ret_status)
{
    struct span prefix = SPAN("HTTP/1.");
    if (line.len < 12 || !span_starts_with(line, prefix) || (line.ptr[7] != '0' && line.ptr[7] != '1') ||
        line.ptr[8] != ' ')
        return false;
    const char *code = line.ptr + 9;
    if (!digit(code[0]) || !digit(code[1]) || !digit(code[2]) || code[0] == '0' ||
        (line.len > 12 && line.ptr[12] != ' '))
        return false;
    *ret_status = (unsigned)(code[0] - '0') * 100 + (unsigned)(code[1] - '0') * 10 + (unsigned)(code[2] - '0');
    return true;
}

/* Every LF after a CR, no NUL, no fold, a colon in each field line: enough to know where the head ends. */
static bool sound_lines(struct span head)
{
    bool first = true;
    while (head.len) {
        size_t lf = span_find(head, '\n');
        if (lf == head.len || lf == 0 || head.ptr[lf - 1] != '\r')
            return false;
        struct span line = span_take(head, lf - 1);
        size_t colon = span_find(line, ':');
        if (span_find(line, '\r') < line.len || span_find(line, 0) < line.len ||
            (!first && line.len && (colon == 0 || colon == line.len || line.ptr[0] == ' ' || line.ptr[0] == '\t')))
            return false;
        head = span_skip(head, lf + 1);
        first = false;
    }
    return true;
}

enum http_connect_result http_connect_reply(struct span bytes, size_t *ret_length, unsigned *ret_status)
{
    size_t start = 0;
    for (;;) {
        struct span rest = span_skip(bytes, start);
        struct span prefix = SPAN("HTTP/1.");
        if (!span_equal(span_take(rest, prefix.len), span_take(prefix, rest.len)))
            return HTTP_CONNECT_BAD;
        size_t end = span_search(rest, SPAN("\r\n\r\n"));
        if (end == rest.len || start + end + 4 > HTTP_CONNECT_REPLY_MAX)
            return bytes.len < HTTP_CONNECT_REPLY_MAX ? HTTP_CONNECT_MORE : HTTP_CONNECT_BAD;
        struct span head = span_take(rest, end + 4);
        unsigned status;
        if (!sound_lines(head) || !status_line(span_take(head, span_find(head, '\r')), &status))
            return HTTP_CONNECT_BAD;
        start += head.len;
        if (status < 200 && status != 101)
            continue;
        *ret_length = start;
        *ret_status = status;
        return status >= 200 && status < 300 ? HTTP_CONNECT_OPEN : HTTP_CONNECT_REFUSED;
    }
}
