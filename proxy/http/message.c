/* SPDX-License-Identifier: Apache-2.0 */
#include "http/message.h"

static const struct span methods[] = {
    [HTTP_OTHER] = {NULL, 0},
    [HTTP_GET] = SPAN_INIT("GET"),
    [HTTP_HEAD] = SPAN_INIT("HEAD"),
    [HTTP_POST] = SPAN_INIT("POST"),
    [HTTP_PUT] = SPAN_INIT("PUT"),
    [HTTP_PATCH] = SPAN_INIT("PATCH"),
    [HTTP_DELETE] = SPAN_INIT("DELETE"),
    [HTTP_OPTIONS] = SPAN_INIT("OPTIONS"),
    [HTTP_CONNECT] = SPAN_INIT("CONNECT"),
    [HTTP_TRACE] = SPAN_INIT("TRACE"),
};
_Static_assert(ARRAY_LEN(methods) == HTTP_TRACE + 1, "every method has a name");

struct span http_method_name(enum http_method method)
{
    return (unsigned)method < ARRAY_LEN(methods) ? methods[method] : methods[HTTP_OTHER];
}

enum http_method http_method(struct span token)
{
    if (token.len == 4 && memcmp(token.ptr, "POST", 4) == 0)
        return HTTP_POST;
    if (token.len < 3 || token.len > 7)
        return HTTP_OTHER;
    for (unsigned i = HTTP_GET; i < ARRAY_LEN(methods); i++)
        if (span_equal(token, methods[i]))
            return (enum http_method)i;
    return HTTP_OTHER;
}

#define REASONS(X)                                                                                                     \
    X(100, "Continue")                                                                                                 \
    X(101, "Switching Protocols")                                                                                      \
    X(102, "Processing")                                                                                               \
    X(103, "Early Hints")                                                                                              \
    X(200, "OK")                                                                                                       \
    X(201, "Created")                                                                                                  \
    X(202, "Accepted")                                                                                                 \
    X(203, "Non-Authoritative Information")                                                                            \
    X(204, "No Content")                                                                                               \
    X(205, "Reset Content")                                                                                            \
    X(206, "Partial Content")                                                                                          \
    X(300, "Multiple Choices")                                                                                         \
    X(301, "Moved Permanently")                                                                                        \
    X(302, "Found")                                                                                                    \
    X(303, "See Other")                                                                                                \
    X(304, "Not Modified")                                                                                             \
    X(305, "Use Proxy")                                                                                                \
    X(307, "Temporary Redirect")                                                                                       \
    X(308, "Permanent Redirect")                                                                                       \
    X(400, "Bad Request")                                                                                              \
    X(401, "Unauthorized")                                                                                             \
    X(402, "Payment Required")                                                                                         \
    X(403, "Forbidden")                                                                                                \
    X(404, "Not Found")                                                                                                \
    X(405, "Method Not Allowed")                                                                                       \
    X(406, "Not Acceptable")                                                                                           \
    X(407, "Proxy Authentication Required")                                                                            \
    X(408, "Request Timeout")                                                                                          \
    X(409, "Conflict")                                                                                                 \
    X(410, "Gone")                                                                                                     \
    X(411, "Length Required")                                                                                          \
    X(412, "Precondition Failed")                                                                                      \
    X(413, "Content Too Large")                                                                                        \
    X(414, "URI Too Long")                                                                                             \
    X(415, "Unsupported Media Type")                                                                                   \
    X(416, "Range Not Satisfiable")                                                                                    \
    X(417, "Expectation Failed")                                                                                       \
    X(421, "Misdirected Request")                                                                                      \
    X(422, "Unprocessable Content")                                                                                    \
    X(424, "Failed Dependency")                                                                                        \
    X(425, "Too Early")                                                                                                \
    X(426, "Upgrade Required")                                                                                         \
    X(428, "Precondition Required")                                                                                    \
    X(429, "Too Many Requests")                                                                                        \
    X(431, "Request Header Fields Too Large")                                                                          \
    X(451, "Unavailable For Legal Reasons")                                                                            \
    X(500, "Internal Server Error")                                                                                    \
    X(501, "Not Implemented")                                                                                          \
    X(502, "Bad Gateway")                                                                                              \
    X(503, "Service Unavailable")                                                                                      \
    X(504, "Gateway Timeout")                                                                                          \
    X(505, "HTTP Version Not Supported")                                                                               \
    X(507, "Insufficient Storage")                                                                                     \
    X(511, "Network Authentication Required")

struct span http_reason(unsigned status)
{
    switch (status) {
#define X(code, text)                                                                                                  \
    case code:                                                                                                         \
        return SPAN(text);
        REASONS(X)
#undef X
    default:
        return SPAN("");
    }
}

#define BIT(id) (UINT64_C(1) << FIELD_##id)

/* Fields of one hop whatever Connection says. */
#define HOP_BY_HOP                                                                                                     \
    (BIT(CONNECTION) | BIT(KEEP_ALIVE) | BIT(PROXY_CONNECTION) | BIT(TE) | BIT(TRAILER) | BIT(TRANSFER_ENCODING) |     \
     BIT(UPGRADE) | BIT(HTTP2_SETTINGS) | BIT(PROXY_AUTHENTICATE) | BIT(PROXY_AUTHORIZATION))

/* Longer option names than our longest field name cannot be one of ours. */
#define NAME_MAX_LEN 25

/* The id of a connection option, whatever its case. */
static enum field_id option_id(struct span option)
{
    char lower[NAME_MAX_LEN];
    if (option.len > sizeof(lower))
        return FIELD_OTHER;
    for (size_t i = 0; i < option.len; i++)
        lower[i] = (char)(option.ptr[i] >= 'A' && option.ptr[i] <= 'Z' ? option.ptr[i] | 0x20 : option.ptr[i]);
    return field_id(span_of(lower, option.len));
}

/* The set of ids that Connection names; *ret_others when it also names fields without an id. */
static uint64_t named_by_connection(const struct fields *fields, bool *ret_others)
{
    uint64_t set = 0;
    if (!(fields->ids & BIT(CONNECTION)))
        return 0;
    for (unsigned i = 0; i < fields->count; i++) {
        if (fields->at[i].id != FIELD_CONNECTION)
            continue;
        struct span rest = fields->at[i].value, part;
        if (LIKELY(span_equal(rest, SPAN("keep-alive"))))
            continue;
        while (span_split(&rest, ',', &part)) {
            part = span_trim(part);
            if (part.len == 0 || span_equal_nocase(part, SPAN("close")) || span_equal_nocase(part, SPAN("keep-alive")))
                continue;
            enum field_id id = option_id(part);
            if (id == FIELD_OTHER)
                *ret_others = true;
            else
                set |= UINT64_C(1) << id;
        }
    }
    return set;
}

/*
 * Marks the fields without an id that Connection names, by an id the sweep removes anyway; not CONNECTION itself, whose
 * values are still being read.
 */
static void mark_others(struct fields *fields)
{
    for (unsigned i = 0; i < fields->count; i++) {
        struct field *field = &fields->at[i];
        if (field->id == FIELD_OTHER && fields_has_token(fields, FIELD_CONNECTION, field->name))
            field->id = FIELD_KEEP_ALIVE;
    }
    fields->ids |= BIT(KEEP_ALIVE);
}

void message_remove_hop_by_hop(struct message *message)
{
    struct fields *fields = &message->fields;
    bool others = false;
    /* A peer may not talk us out of the framing or the host by naming them. */
    uint64_t drop = named_by_connection(fields, &others) & ~(BIT(CONTENT_LENGTH) | BIT(HOST));
    drop |= HOP_BY_HOP;
    if (others)
        mark_others(fields);
    if (!(fields->ids & drop))
        return;
    fields->ids &= ~drop;
    unsigned kept = 0;
    for (unsigned i = 0; i < fields->count; i++) {
        if (drop >> fields->at[i].id & 1)
            continue;
        if (kept != i)
            fields->at[kept] = fields->at[i];
        kept++;
    }
    fields->count = kept;
}
