/* SPDX-License-Identifier: Apache-2.0 */
#include "http/fields.h"

static const struct span names[FIELD_ID_COUNT] = {[FIELD_OTHER] = {NULL, 0},
#define X(id, name) [FIELD_##id] = SPAN_INIT(name),
                                                  FIELD_LIST(X)
#undef X
};

struct span field_name(enum field_id id)
{
    return (unsigned)id < FIELD_ID_COUNT ? names[id] : names[FIELD_OTHER];
}

/* With the literal's size known the compiler turns memcmp into a few word comparisons. */
#define IS(literal, id)                                                                                                \
    if (memcmp(p, literal, sizeof(literal) - 1) == 0)                                                                  \
    return FIELD_##id

/* Most frequent first within a length. tests/unit/http/fields_test.c goes through FIELD_LIST, so none can be forgotten.
 */
enum field_id field_id(struct span lower_name)
{
    const char *p = lower_name.ptr;
    switch (lower_name.len) {
    case 2:
        IS("te", TE);
        break;
    case 3:
        IS("age", AGE);
        break;
    case 4:
        IS("host", HOST);
        IS("date", DATE);
        break;
    case 6:
        IS("server", SERVER);
        IS("expect", EXPECT);
        IS("cookie", COOKIE);
        break;
    case 7:
        IS("api-key", API_KEY);
        IS("alt-svc", ALT_SVC);
        IS("upgrade", UPGRADE);
        IS("trailer", TRAILER);
        break;
    case 9:
        IS("forwarded", FORWARDED);
        break;
    case 10:
        IS("connection", CONNECTION);
        IS("user-agent", USER_AGENT);
        IS("set-cookie", SET_COOKIE);
        IS("tracestate", TRACESTATE);
        IS("keep-alive", KEEP_ALIVE);
        break;
    case 11:
        IS("traceparent", TRACEPARENT);
        IS("retry-after", RETRY_AFTER);
        break;
    case 12:
        IS("content-type", CONTENT_TYPE);
        IS("x-request-id", X_REQUEST_ID);
        IS("cache-status", CACHE_STATUS);
        break;
    case 13:
        IS("authorization", AUTHORIZATION);
        IS("cache-control", CACHE_CONTROL);
        break;
    case 14:
        IS("content-length", CONTENT_LENGTH);
        IS("retry-after-ms", RETRY_AFTER_MS);
        IS("x-should-retry", X_SHOULD_RETRY);
        IS("http2-settings", HTTP2_SETTINGS);
        break;
    case 15:
        IS("accept-encoding", ACCEPT_ENCODING);
        IS("x-forwarded-for", X_FORWARDED_FOR);
        break;
    case 16:
        IS("content-encoding", CONTENT_ENCODING);
        IS("www-authenticate", WWW_AUTHENTICATE);
        IS("proxy-connection", PROXY_CONNECTION);
        break;
    case 17:
        IS("transfer-encoding", TRANSFER_ENCODING);
        IS("x-forwarded-proto", X_FORWARDED_PROTO);
        break;
    case 18:
        IS("proxy-authenticate", PROXY_AUTHENTICATE);
        break;
    case 19:
        IS("proxy-authorization", PROXY_AUTHORIZATION);
        break;
    case 22:
        IS("sec-websocket-protocol", SEC_WEBSOCKET_PROTOCOL);
        break;
    case 23:
        IS("x-stainless-retry-count", X_STAINLESS_RETRY_COUNT);
        break;
    case 24:
        IS("x-stainless-read-timeout", X_STAINLESS_READ_TIMEOUT);
        break;
    case 25:
        IS("strict-transport-security", STRICT_TRANSPORT_SECURITY);
        break;
    default:
        break;
    }
    return FIELD_OTHER;
}

bool field_forbidden_as_trailer(enum field_id id)
{
    switch (id) {
    case FIELD_API_KEY:
    case FIELD_AUTHORIZATION:
    case FIELD_CACHE_CONTROL:
    case FIELD_CONNECTION:
    case FIELD_CONTENT_ENCODING:
    case FIELD_CONTENT_LENGTH:
    case FIELD_CONTENT_TYPE:
    case FIELD_COOKIE:
    case FIELD_EXPECT:
    case FIELD_FORWARDED:
    case FIELD_HOST:
    case FIELD_HTTP2_SETTINGS:
    case FIELD_KEEP_ALIVE:
    case FIELD_PROXY_AUTHENTICATE:
    case FIELD_PROXY_AUTHORIZATION:
    case FIELD_PROXY_CONNECTION:
    case FIELD_SET_COOKIE:
    case FIELD_TE:
    case FIELD_TRAILER:
    case FIELD_TRANSFER_ENCODING:
    case FIELD_UPGRADE:
    case FIELD_WWW_AUTHENTICATE:
    case FIELD_X_FORWARDED_FOR:
    case FIELD_X_FORWARDED_PROTO:
        return true;
    default:
        return false;
    }
}

void fields_reserve(struct fields *fields, struct arena *arena, unsigned count)
{
    if (LIKELY(fields->cap - fields->count >= count))
        return;
    unsigned need, cap;
    if (__builtin_add_overflow(fields->count, count, &need))
        need = UINT32_MAX; /* the multiplication below keeps its size_t; the arena then ends the process */
    cap = fields->cap > need / 2 && fields->cap <= UINT32_MAX / 2 ? fields->cap * 2 : need;
    struct field *at = arena_alloc(arena, (size_t)cap * sizeof(struct field));
    if (fields->count)
        memcpy(at, fields->at, fields->count * sizeof(struct field));
    fields->at = at;
    fields->cap = cap;
}

void fields_add(struct fields *fields, struct arena *arena, struct span name, struct span value)
{
    fields_push(fields, arena, &(struct field){.name = name, .value = value, .id = field_id(name)});
}

void fields_add_id(struct fields *fields, struct arena *arena, enum field_id id, struct span value)
{
    fields_push(fields, arena, &(struct field){.name = names[id], .value = value, .id = id});
}

void fields_set(struct fields *fields, struct arena *arena, struct span name, struct span value)
{
    fields_remove_name(fields, name);
    fields_add(fields, arena, name, value);
}

unsigned fields_remove(struct fields *fields, enum field_id id)
{
    unsigned kept = 0, count = fields->count;
    if (!(fields->ids & field_bit(id)))
        return 0;
    fields->ids &= ~field_bit(id);
    for (unsigned i = 0; i < count; i++) {
        if (fields->at[i].id == id)
            continue;
        if (kept != i)
            fields->at[kept] = fields->at[i];
        kept++;
    }
    fields->count = kept;
    return count - kept;
}

unsigned fields_remove_name(struct fields *fields, struct span lower_name)
{
    enum field_id id = field_id(lower_name);
    if (id != FIELD_OTHER)
        return fields_remove(fields, id);
    unsigned kept = 0, count = fields->count;
    for (unsigned i = 0; i < count; i++) {
        if (fields->at[i].id == FIELD_OTHER && span_equal(fields->at[i].name, lower_name))
            continue;
        if (kept != i)
            fields->at[kept] = fields->at[i];
        kept++;
    }
    fields->count = kept;
    return count - kept;
}

const struct field *fields_seek(const struct fields *fields, enum field_id id)
{
    for (unsigned i = 0; i < fields->count; i++)
        if (fields->at[i].id == id)
            return &fields->at[i];
    return NULL;
}

const struct field *fields_find_name(const struct fields *fields, struct span lower_name)
{
    enum field_id id = field_id(lower_name);
    if (id != FIELD_OTHER)
        return fields_find(fields, id);
    for (unsigned i = 0; i < fields->count; i++)
        if (fields->at[i].id == FIELD_OTHER && span_equal(fields->at[i].name, lower_name))
            return &fields->at[i];
    return NULL;
}

bool fields_has_token(const struct fields *fields, enum field_id id, struct span token)
{
    if (!(fields->ids & field_bit(id)))
        return false;
    for (unsigned i = 0; i < fields->count; i++) {
        if (fields->at[i].id != id)
            continue;
        struct span rest = fields->at[i].value, part;
        while (span_split(&rest, ',', &part))
            if (span_equal_nocase(span_trim(part), token))
                return true;
    }
    return false;
}

void fields_copy(struct fields *to, struct arena *arena, const struct fields *from)
{
    *to = (struct fields){0};
    fields_reserve(to, arena, from->count + 8);
    if (from->count)
        memcpy(to->at, from->at, from->count * sizeof(struct field));
    to->count = from->count;
    to->ids = from->ids;
}

/* Bytes that only the message holds: names that have an id are in our table. */
static size_t own_bytes(const struct field *field)
{
    return field->value.len + (field->id == FIELD_OTHER ? field->name.len : 0);
}

static struct span move_to(char **at, struct span text)
{
    struct span copy = span_of(*at, text.len);
    if (text.len)
        memcpy(*at, text.ptr, text.len);
    *at += text.len;
    return copy;
}

void fields_clone(struct fields *to, struct arena *arena, const struct fields *from, unsigned more)
{
    size_t bytes = 1;
    for (unsigned i = 0; i < from->count; i++)
        bytes += own_bytes(&from->at[i]);
    char *at = arena_bytes(arena, bytes);
    *to = (struct fields){.count = from->count, .ids = from->ids};
    to->cap = from->count + more;
    to->at = arena_alloc(arena, (size_t)to->cap * sizeof(struct field));
    for (unsigned i = 0; i < from->count; i++) {
        const struct field *field = &from->at[i];
        to->at[i] = (struct field){.name = field->id == FIELD_OTHER ? move_to(&at, field->name) : names[field->id],
                                   .value = move_to(&at, field->value),
                                   .id = field->id};
    }
}
