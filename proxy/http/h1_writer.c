/* SPDX-License-Identifier: Apache-2.0 */
#include "http/h1_writer.h"

#include "http/h1_scan.h"

#define BIT(id) (UINT64_C(1) << FIELD_##id)
/* Written from message.framing and keep_alive instead. */
#define FRAMING (BIT(CONTENT_LENGTH) | BIT(TRANSFER_ENCODING) | BIT(CONNECTION))
/* Start line words, framing and connection fields, longest number. */
#define FIXED 160

/*
 * Copies s to `to`, which has H1_SCAN_PAD bytes to spare, and returns the end. Most names and values have fewer than 32
 * bytes: two overlapping moves of a fixed size are then cheaper than a call.
 */
static inline char *put(char *to, struct span s)
{
    const char *from = s.ptr;
    size_t len = s.len;
    if (len > 32) {
        memcpy(to, from, len);
    } else if (len >= 16) {
        memcpy(to, from, 16);
        memcpy(to + len - 16, from + len - 16, 16);
    } else if (len >= 8) {
        memcpy(to, from, 8);
        memcpy(to + len - 8, from + len - 8, 8);
    } else if (len >= 4) {
        memcpy(to, from, 4);
        memcpy(to + len - 4, from + len - 4, 4);
    } else {
        for (size_t i = 0; i < len; i++)
            to[i] = from[i];
    }
    return to + len;
}

/* A literal has a known size: one or two stores. */
#define PUT(to, literal) ((char *)memcpy((to), (literal), sizeof(literal) - 1) + sizeof(literal) - 1)

static char *put_number(char *to, uint64_t value)
{
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    memcpy(to, digits + at, sizeof(digits) - at);
    return to + (sizeof(digits) - at);
}

/* Zeroes behind the text, for the scanners; the next piece overwrites them. */
static inline void pad(char *at)
{
    memset(at, 0, H1_SCAN_PAD);
}

/* One field line, checked as written; NULL when it may not be sent. */
static inline char *put_field(char *to, const struct field *field)
{
    char *name = to;
    to = put(to, field->name);
    to = PUT(to, ": ");
    char *value = to;
    to = put(to, field->value);
    char *end = to;
    to = PUT(to, "\r\n");
    pad(to);
    if (UNLIKELY(h1_scan_value(value) != end))
        return NULL;
    /* Names with an id come from our own table. */
    if (field->id == FIELD_OTHER && (field->name.len == 0 || h1_lower_name(name) != field->name.len))
        return NULL;
    return to;
}

/* The fields whose ids are not in `skip`; NULL when one may not be sent. */
static char *put_fields(char *to, const struct fields *fields, uint64_t skip)
{
    for (unsigned i = 0; i < fields->count && to; i++)
        if ((skip >> fields->at[i].id & 1) == 0)
            to = put_field(to, &fields->at[i]);
    return to;
}

static char *put_length(char *to, uint64_t length)
{
    to = PUT(to, "content-length: ");
    to = put_number(to, length);
    return PUT(to, "\r\n");
}

/* Bytes the fields take at most. */
static size_t fields_size(const struct fields *fields)
{
    size_t size = 0;
    for (unsigned i = 0; i < fields->count; i++)
        size += fields->at[i].name.len + fields->at[i].value.len + 4;
    return size;
}

static bool has(const struct fields *fields, enum field_id id)
{
    return fields_find(fields, id) != NULL;
}

/* Counts what was written from `start` to `end`; NULL means it was refused. */
static bool commit(struct buffer *out, const char *start, const char *end)
{
    if (!end)
        return false;
    buffer_commit(out, (size_t)(end - start));
    return true;
}

/* requests -------------------------------------------------------------------------------------------------------- */

static bool is_token(struct span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!h1_token[(unsigned char)s.ptr[i]])
            return false;
    return s.len > 0;
}

/* Method, target and Host, checked as written; NULL when they may not be sent. */
static char *put_request_line(char *to, struct span method, struct span target, struct span authority)
{
    const char *question = NULL;
    if (!is_token(method) || target.len == 0)
        return NULL;
    to = put(to, method);
    to = PUT(to, " ");
    char *from = to;
    to = put(to, target);
    char *end = to;
    to = PUT(to, " HTTP/1.1\r\nhost: ");
    char *host = to;
    to = put(to, authority);
    char *host_end = to;
    to = PUT(to, "\r\n");
    pad(to);
    return h1_scan_target(from, &question) == end && h1_scan_target(host, &question) == host_end ? to : NULL;
}

static bool takes_body(enum http_method method)
{
    return method == HTTP_POST || method == HTTP_PUT || method == HTTP_PATCH;
}

bool h1_write_request(struct buffer *out, const struct message *message, struct span authority)
{
    if (message->framing == BODY_CLOSE)
        return false;
    struct span method = message->method_text.len ? message->method_text : http_method_name(message->method);
    char *start = buffer_reserve(out, method.len + message->target.len + authority.len + fields_size(&message->fields) +
                                          FIXED + H1_SCAN_PAD);
    char *to = put_request_line(start, method, message->target, authority);
    if (to)
        to = put_fields(to, &message->fields, FRAMING | BIT(HOST));
    if (!to)
        return false;
    if (message->framing == BODY_CHUNKED)
        to = PUT(to, "transfer-encoding: chunked\r\n");
    else if (message->framing == BODY_LENGTH)
        to = put_length(to, message->body_length);
    else if (takes_body(message->method))
        to = put_length(to, 0);
    if (!message->keep_alive)
        to = PUT(to, "connection: close\r\n");
    return commit(out, start, PUT(to, "\r\n"));
}

/* answers --------------------------------------------------------------------------------------------------------- */

static char *put_status_line(char *to, unsigned status, struct span reason)
{
    to = PUT(to, "HTTP/1.1 ");
    to[0] = (char)('0' + status / 100);
    to[1] = (char)('0' + status / 10 % 10);
    to[2] = (char)('0' + status % 10);
    to[3] = ' ';
    char *from = to + 4;
    to = put(from, reason);
    char *end = to;
    to = PUT(to, "\r\n");
    pad(to);
    return h1_scan_value(from) == end ? to : NULL;
}

/* Whether a Content-Length speaks of another body than the one that follows here, and so is kept as it came. */
static bool describes_absent_body(const struct message *m)
{
    return m->framing == BODY_NONE && (m->status == 304 || m->method == HTTP_HEAD) && m->status >= 200 &&
           m->status != 204;
}

static char *put_response_framing(char *to, const struct message *m)
{
    if (m->framing == BODY_CHUNKED)
        to = PUT(to, "transfer-encoding: chunked\r\n");
    else if (m->framing == BODY_LENGTH)
        to = put_length(to, m->body_length);
    else if (m->framing == BODY_NONE && m->status != 204 && !describes_absent_body(m))
        to = put_length(to, 0);
    if (!m->keep_alive || m->framing == BODY_CLOSE)
        to = PUT(to, "connection: close\r\n");
    else if (m->version == HTTP_1_0)
        to = PUT(to, "connection: keep-alive\r\n");
    return to;
}

bool h1_write_response(struct buffer *out, const struct message *message, struct span date)
{
    const struct message *m = message;
    if (m->status < 100 || m->status > 599 || (m->version == HTTP_1_0 && m->framing == BODY_CHUNKED))
        return false;
    struct span reason = m->reason.len ? m->reason : http_reason(m->status);
    char *start = buffer_reserve(out, reason.len + date.len + fields_size(&m->fields) + FIXED + H1_SCAN_PAD);
    char *to = put_status_line(start, m->status, reason);
    if (to)
        to = put_fields(to, &m->fields, describes_absent_body(m) ? FRAMING & ~BIT(CONTENT_LENGTH) : FRAMING);
    if (to && date.len && !has(&m->fields, FIELD_DATE))
        to = put_field(to, &(struct field){.name = field_name(FIELD_DATE), .value = date, .id = FIELD_DATE});
    if (to && m->status >= 200)
        to = put_response_framing(to, m);
    return commit(out, start, to ? PUT(to, "\r\n") : NULL);
}

void h1_write_continue(struct buffer *out)
{
    buffer_append(out, SPAN("HTTP/1.1 100 Continue\r\n\r\n"));
}

/* chunks ---------------------------------------------------------------------------------------------------------- */

size_t h1_chunk_head(char room[H1_CHUNK_HEAD_MAX], uint64_t len)
{
    size_t digits = 1;
    for (uint64_t rest = len >> 4; rest; rest >>= 4)
        digits++;
    for (size_t i = digits; i-- > 0; len >>= 4)
        room[i] = "0123456789abcdef"[len & 15];
    room[digits] = '\r';
    room[digits + 1] = '\n';
    return digits + 2;
}

void h1_write_chunk_head(struct buffer *out, uint64_t len)
{
    buffer_commit(out, h1_chunk_head(buffer_reserve(out, H1_CHUNK_HEAD_MAX), len));
}

void h1_write_chunk_end(struct buffer *out)
{
    buffer_append(out, SPAN("\r\n"));
}

bool h1_write_last_chunk(struct buffer *out, const struct fields *trailers)
{
    if (!trailers || trailers->count == 0) {
        buffer_append(out, SPAN("0\r\n\r\n"));
        return true;
    }
    char *start = buffer_reserve(out, fields_size(trailers) + FIXED + H1_SCAN_PAD);
    char *to = PUT(start, "0\r\n");
    for (unsigned i = 0; i < trailers->count && to; i++)
        if (!field_forbidden_as_trailer(trailers->at[i].id))
            to = put_field(to, &trailers->at[i]);
    return commit(out, start, to ? PUT(to, "\r\n") : NULL);
}
