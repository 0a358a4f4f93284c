/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/memory.h"
#include "http/h2_internal.h"

/* RFC 9113 6.5.2 counts each field with this much more. */
#define FIELD_OVERHEAD 32
/* A head that unpacks to this many times its limit ends the connection. */
#define BOMB_FACTOR 4

void h2_head_begin(struct h2_stream *stream)
{
    /* Counted on through all heads of the stream: interim responses may come without end. */
    if (stream->message)
        stream->head_bytes += sizeof(struct message);
    if (stream->head_done) {
        stream->trailers = ARENA_NEW(stream->arena, struct fields);
        return;
    }
    stream->message = ARENA_NEW(stream->arena, struct message);
    stream->message->version = HTTP_2;
    stream->message->keep_alive = true;
}

static void too_large(struct h2_stream *stream, enum fault fault)
{
    if (stream->fault == FAULT_NONE)
        stream->fault = fault;
}

static void split_target(struct message *m, struct span target)
{
    size_t mark = span_find(target, '?');
    m->target = target;
    m->path = span_take(target, mark);
    m->query = span_skip(target, mark < target.len ? mark + 1 : mark);
}

/* The library has checked spelling, place and number (RFC 9113 8.3); which they are is told by length and one letter.
 */
static void pseudo_field(struct h2_stream *stream, struct span name, struct span value)
{
    struct message *m = stream->message;
    if (name.len == 5 && value.len > stream->session->limits.target_bytes) {
        too_large(stream, FAULT_URI_TOO_LONG);
        return;
    }
    struct span copy = arena_copy(stream->arena, value);
    if (name.len == 5) {
        split_target(m, copy);
    } else if (name.len == 10) {
        m->authority = copy;
    } else if (name.ptr[1] == 'm') {
        m->method = http_method(copy);
        m->method_text = copy;
    } else if (name.len == 7 && name.ptr[2] == 'c') {
        m->scheme = copy;
    } else if (name.len == 7 && name.ptr[2] == 't') {
        for (size_t i = 0; i < copy.len; i++)
            m->status = m->status * 10 + (unsigned)(copy.ptr[i] - '0');
    }
}

bool h2_head_field(struct h2_stream *stream, struct span name, struct span value)
{
    const struct h2_limits *limits = &stream->session->limits;
    stream->head_bytes += name.len + value.len + FIELD_OVERHEAD;
    if (UNLIKELY(stream->head_bytes > limits->header_bytes)) {
        too_large(stream, FAULT_HEAD_TOO_LARGE);
        return stream->head_bytes / BOMB_FACTOR <= limits->header_bytes;
    }
    if (name.len && name.ptr[0] == ':') {
        pseudo_field(stream, name, value);
        return true;
    }
    struct fields *fields = stream->trailers ? stream->trailers : &stream->message->fields;
    if (UNLIKELY(fields->count >= limits->header_fields)) {
        too_large(stream, FAULT_HEAD_TOO_LARGE);
        return true;
    }
    enum field_id id = field_id(name);
    struct span copy = arena_copy(stream->arena, value);
    if (id != FIELD_OTHER)
        fields_add_id(fields, stream->arena, id, copy);
    else
        fields_add(fields, stream->arena, arena_copy(stream->arena, name), copy);
    return true;
}

/* RFC 9113 8.2.3: cookie crumbs become one field before they leave HTTP/2. */
static void join_cookies(struct h2_stream *stream, struct fields *fields)
{
    unsigned count = 0;
    size_t size = 0;
    for (unsigned i = 0; i < fields->count; i++)
        if (fields->at[i].id == FIELD_COOKIE) {
            count++;
            size += fields->at[i].value.len + 2;
        }
    if (count < 2)
        return;
    char *text = arena_bytes(stream->arena, size);
    size_t len = 0;
    for (unsigned i = 0; i < fields->count; i++) {
        struct span crumb = fields->at[i].value;
        if (fields->at[i].id != FIELD_COOKIE)
            continue;
        if (len) {
            text[len++] = ';';
            text[len++] = ' ';
        }
        if (crumb.len)
            memcpy(text + len, crumb.ptr, crumb.len);
        len += crumb.len;
    }
    fields_remove(fields, FIELD_COOKIE);
    fields_add_id(fields, stream->arena, FIELD_COOKIE, span_of(text, len));
}

/* Printable ASCII without '#': the library lets octets from 0x80 on and fragments through. */
static bool clean_target(struct span target)
{
    for (size_t i = 0; i < target.len; i++) {
        unsigned char c = (unsigned char)target.ptr[i];
        if (c <= 0x20 || c >= 0x7F || c == '#')
            return false;
    }
    return true;
}

static bool clean_authority(struct message *m)
{
    const struct field *host = fields_find(&m->fields, FIELD_HOST);
    if (host && m->authority.len && !span_equal_nocase(host->value, m->authority))
        return false;
    if (!m->authority.len && host)
        m->authority = host->value;
    return m->authority.len > 0 && span_find(m->authority, '@') == m->authority.len;
}

static bool finish_request(struct h2_stream *stream)
{
    struct message *m = stream->message;
    if (m->method == HTTP_CONNECT) {
        too_large(stream, FAULT_NOT_IMPLEMENTED);
        return true;
    }
    /* A head cut short by a limit cannot be judged; it is refused anyway. */
    if (stream->fault != FAULT_NONE)
        return true;
    if (!span_equal(m->scheme, SPAN("https")) && !span_equal(m->scheme, SPAN("http")))
        return false;
    bool star = m->method == HTTP_OPTIONS && span_equal(m->target, SPAN("*"));
    if (!star && !(m->target.len && m->target.ptr[0] == '/'))
        return false;
    m->expect_continue = span_equal_nocase(fields_value(&m->fields, FIELD_EXPECT), SPAN("100-continue"));
    return clean_target(m->target) && clean_authority(m);
}

static void set_framing(struct message *m, bool end)
{
    struct span length = fields_value(&m->fields, FIELD_CONTENT_LENGTH);
    if (end)
        m->framing = BODY_NONE;
    else if (length.len && span_to_u64(length, &m->body_length))
        m->framing = BODY_LENGTH;
    else
        m->framing = BODY_CHUNKED;
}

bool h2_head_finish(struct h2_stream *stream, bool end)
{
    struct message *m = stream->message;
    set_framing(m, end);
    if (stream->session->role == H2_CLIENT)
        return m->status >= 100 || stream->fault != FAULT_NONE;
    if (!finish_request(stream))
        return false;
    join_cookies(stream, &m->fields);
    return true;
}

void h2_list_init(struct h2_list *list, size_t fields)
{
    list->count = 0;
    list->cap = H2_LIST_INLINE;
    list->at = list->inline_at;
    if (fields > H2_LIST_INLINE) {
        list->cap = fields;
        list->at = memory_array(fields, sizeof(*list->at));
    }
}

void h2_list_finish(struct h2_list *list)
{
    if (list->at != list->inline_at)
        free(list->at);
}

/*
 * Values are copied by the library, since the owner's arena may be gone before the frame is out (a stream that is
 * reset); names of our own table are static. Credentials are never put into the compression table (RFC 7541 7.1.3), nor
 * are values that will not come again, which would only push out those that do.
 */
static uint8_t list_flags(enum field_id id)
{
    switch (id) {
    case FIELD_OTHER:
        return NGHTTP2_NV_FLAG_NONE;
    case FIELD_AUTHORIZATION:
    case FIELD_PROXY_AUTHORIZATION:
    case FIELD_API_KEY:
    case FIELD_COOKIE:
    case FIELD_SET_COOKIE:
    case FIELD_X_REQUEST_ID:
    case FIELD_TRACEPARENT:
        return NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_INDEX;
    default:
        return NGHTTP2_NV_FLAG_NO_COPY_NAME;
    }
}

static void add(struct h2_list *list, struct span name, struct span value, uint8_t flags)
{
    if (list->count == list->cap)
        return;
    /* The library wants bytes it could write to, and does not write. */
    list->at[list->count++] = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name.ptr,
                                           .value = (uint8_t *)(uintptr_t)(value.len ? value.ptr : ""),
                                           .namelen = name.len,
                                           .valuelen = value.len,
                                           .flags = flags};
}

void h2_list_add(struct h2_list *list, struct span name, struct span value)
{
    add(list, name, value, NGHTTP2_NV_FLAG_NO_COPY_NAME);
}

static bool carried(const struct field *field)
{
    switch (field->id) {
    case FIELD_CONNECTION:
    case FIELD_KEEP_ALIVE:
    case FIELD_PROXY_CONNECTION:
    case FIELD_TRANSFER_ENCODING:
    case FIELD_UPGRADE:
    case FIELD_HTTP2_SETTINGS:
    case FIELD_HOST:
        return false;
    case FIELD_TE:
        return span_equal_nocase(field->value, SPAN("trailers"));
    default:
        return true;
    }
}

void h2_list_add_fields(struct h2_list *list, const struct fields *fields)
{
    for (unsigned i = 0; i < fields->count; i++) {
        const struct field *field = &fields->at[i];
        if (!carried(field))
            continue;
        struct span name = field->id == FIELD_OTHER ? field->name : field_name(field->id);
        add(list, name, field->value, list_flags(field->id));
    }
}
