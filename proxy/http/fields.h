/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fields: the header or trailer fields of one message, in order (RFC 9110 section 5). Names are lower case always (the
 * readers see to that; HTTP/2 demands it and HTTP/1.1 does not care). Names the program acts on have an id, found once
 * when the field is added; all others are FIELD_OTHER. Several fields of one name stay several fields.
 *
 * The spans are not owned: they point into the arena given to fields_add callers, or to static text, and live as long.
 */
#ifndef POSTERN_HTTP_FIELDS_H
#define POSTERN_HTTP_FIELDS_H

#include "base/arena.h"
#include "base/span.h"

/* id, name */
#define FIELD_LIST(X)                                                                                                  \
    X(ACCEPT_ENCODING, "accept-encoding")                                                                              \
    X(AGE, "age")                                                                                                      \
    X(ALT_SVC, "alt-svc")                                                                                              \
    X(API_KEY, "api-key")                                                                                              \
    X(AUTHORIZATION, "authorization")                                                                                  \
    X(CACHE_CONTROL, "cache-control")                                                                                  \
    X(CACHE_STATUS, "cache-status")                                                                                    \
    X(CONNECTION, "connection")                                                                                        \
    X(CONTENT_ENCODING, "content-encoding")                                                                            \
    X(CONTENT_LENGTH, "content-length")                                                                                \
    X(CONTENT_TYPE, "content-type")                                                                                    \
    X(COOKIE, "cookie")                                                                                                \
    X(DATE, "date")                                                                                                    \
    X(EXPECT, "expect")                                                                                                \
    X(FORWARDED, "forwarded")                                                                                          \
    X(HOST, "host")                                                                                                    \
    X(HTTP2_SETTINGS, "http2-settings")                                                                                \
    X(KEEP_ALIVE, "keep-alive")                                                                                        \
    X(PROXY_AUTHENTICATE, "proxy-authenticate")                                                                        \
    X(PROXY_AUTHORIZATION, "proxy-authorization")                                                                      \
    X(PROXY_CONNECTION, "proxy-connection")                                                                            \
    X(RETRY_AFTER, "retry-after")                                                                                      \
    X(RETRY_AFTER_MS, "retry-after-ms")                                                                                \
    X(SEC_WEBSOCKET_PROTOCOL, "sec-websocket-protocol")                                                                \
    X(SERVER, "server")                                                                                                \
    X(SET_COOKIE, "set-cookie")                                                                                        \
    X(STRICT_TRANSPORT_SECURITY, "strict-transport-security")                                                          \
    X(TE, "te")                                                                                                        \
    X(TRACEPARENT, "traceparent")                                                                                      \
    X(TRACESTATE, "tracestate")                                                                                        \
    X(TRAILER, "trailer")                                                                                              \
    X(TRANSFER_ENCODING, "transfer-encoding")                                                                          \
    X(UPGRADE, "upgrade")                                                                                              \
    X(USER_AGENT, "user-agent")                                                                                        \
    X(WWW_AUTHENTICATE, "www-authenticate")                                                                            \
    X(X_FORWARDED_FOR, "x-forwarded-for")                                                                              \
    X(X_FORWARDED_PROTO, "x-forwarded-proto")                                                                          \
    X(X_REQUEST_ID, "x-request-id")                                                                                    \
    X(X_SHOULD_RETRY, "x-should-retry")                                                                                \
    X(X_STAINLESS_READ_TIMEOUT, "x-stainless-read-timeout")                                                            \
    X(X_STAINLESS_RETRY_COUNT, "x-stainless-retry-count")

enum field_id {
    FIELD_OTHER,
#define X(id, name) FIELD_##id,
    FIELD_LIST(X)
#undef X
        FIELD_ID_COUNT
};

struct field {
    struct span name, value;
    enum field_id id;
};

struct fields {
    struct field *at;
    unsigned count, cap;
    /* Bit 1 << id: a field of that id may be there; clear: there is none. Whoever fills `at` by hand sees to it. */
    uint64_t ids;
};

_Static_assert(FIELD_ID_COUNT <= 64, "field ids fit a 64-bit set");

/* The bit of an id in fields.ids. */
static inline uint64_t field_bit(enum field_id id)
{
    return UINT64_C(1) << id;
}

/* The id of a lower-case name, FIELD_OTHER when it is none of ours. Costs a switch on length and one comparison. */
enum field_id field_id(struct span lower_name);
/* The name of an id; empty for FIELD_OTHER. */
struct span field_name(enum field_id id);

/* Whether that field may not be a trailer: framing, routing, credentials, controls (RFC 9110 6.5.1). */
bool field_forbidden_as_trailer(enum field_id id);

/* Makes room for `count` fields more, so that adding them allocates nothing. */
void fields_reserve(struct fields *fields, struct arena *arena, unsigned count);
/* Appends a field; `name` must be lower case. The list itself grows in the arena. */
void fields_add(struct fields *fields, struct arena *arena, struct span name, struct span value);
/* The same with a known id. */
void fields_add_id(struct fields *fields, struct arena *arena, enum field_id id, struct span value);
/* Appends a field of another message; the spans are shared. */
static inline void fields_push(struct fields *fields, struct arena *arena, const struct field *field)
{
    if (UNLIKELY(fields->count == fields->cap))
        fields_reserve(fields, arena, 8);
    fields->at[fields->count++] = *field;
    fields->ids |= field_bit(field->id);
}
/* Removes every field of that id/name and adds one with this value. */
void fields_set(struct fields *fields, struct arena *arena, struct span name, struct span value);
/* Removes every field of that id / name; returns how many. */
unsigned fields_remove(struct fields *fields, enum field_id id);
unsigned fields_remove_name(struct fields *fields, struct span lower_name);
/* The first field of that id / name, or NULL; valid until the list is changed. fields_seek is fields_find without its
 * quick no. */
const struct field *fields_seek(const struct fields *fields, enum field_id id);
static inline const struct field *fields_find(const struct fields *fields, enum field_id id)
{
    return fields->ids & field_bit(id) ? fields_seek(fields, id) : NULL;
}
const struct field *fields_find_name(const struct fields *fields, struct span lower_name);
/* The value of the first field of that id, or the empty span. */
static inline struct span fields_value(const struct fields *fields, enum field_id id)
{
    const struct field *field = fields_find(fields, id);
    return field ? field->value : (struct span){NULL, 0};
}
/* Whether the comma-separated list made of all fields of that id holds the token (case-insensitive). */
bool fields_has_token(const struct fields *fields, enum field_id id, struct span token);
/* A copy whose list lies in `arena`; the bytes are shared, not copied. */
void fields_copy(struct fields *to, struct arena *arena, const struct fields *from);
/* The same with its bytes, so that it outlives `from`, and with room for `more` fields. */
void fields_clone(struct fields *to, struct arena *arena, const struct fields *from, unsigned more);

#endif
