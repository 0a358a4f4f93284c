/* SPDX-License-Identifier: Apache-2.0 */
#include "openai/operations.h"

#include "openai/dialect.h"
#include "openai/query.h"

/* How a path begins, longest of each family first; what follows is the operation, or deployment and operation. */
static const struct prefix {
    struct span text;
    enum dialect dialect;
    bool deployments;
} prefixes[] = {
    {SPAN_INIT("/v1/deployments/"), DIALECT_AZURE_DATED, true},
    {SPAN_INIT("/v1/"), DIALECT_OPENAI, false},
    {SPAN_INIT("/openai/deployments/"), DIALECT_AZURE_DATED, true},
    {SPAN_INIT("/openai/v1/deployments/"), DIALECT_AZURE_DATED, true},
    {SPAN_INIT("/openai/v1/"), DIALECT_AZURE_V1, false},
    {SPAN_INIT("/openai/"), DIALECT_AZURE_DATED, false},
    {SPAN_INIT("/deployments/"), DIALECT_AZURE_DATED, true},
    {SPAN_INIT("/"), DIALECT_OPENAI, false},
};

/* What a path was found to be. `methods` is what it takes altogether; `operation` is NULL when the asked one is not in
 * it. */
struct place {
    const struct operation *operation;
    enum dialect dialect;
    struct span deployment, resource; /* with escapes */
    unsigned methods;
};

/* RFC 3986 3.3: pchar without `%`, and `/`: one bit per byte below 128. */
static const uint64_t path_bytes[2] = {UINT64_C(0x2fffffd200000000), UINT64_C(0x47fffffe87ffffff)};

static inline bool is_path_byte(unsigned char byte)
{
    return byte < 128 && path_bytes[byte >> 6] >> (byte & 63) & 1;
}

/* Length of the separator at s[at]: `/`, or what a lenient server may take for one; 0 when there is none. */
static size_t separator_at(struct span s, size_t at)
{
    if (s.ptr[at] == '/')
        return 1;
    if (s.ptr[at] != '%')
        return 0;
    int byte = percent_escape_at(s, at);
    return byte == '/' || byte == '\\' ? 3 : 0;
}

/* Whether a component between separators is `.` or `..`; `..;x` too, since some servers drop path parameters first. */
static bool has_dot_segment(struct span path)
{
    size_t begin = 0;
    for (size_t i = 0; i <= path.len; i++) {
        size_t separator = i < path.len ? separator_at(path, i) : 1;
        if (!separator)
            continue;
        struct span part = span_of(path.ptr + begin, i - begin);
        part = span_take(part, span_find(part, ';'));
        if (span_equal(part, SPAN(".")) || span_equal(part, SPAN("..")))
            return true;
        begin = i + separator;
        i = begin - 1;
    }
    return false;
}

/* Undoes escapes of unreserved bytes and writes the others in upper case (RFC 3986 6.2.2). False: malformed. */
static bool normalise_escapes(struct span path, struct arena *arena, struct span *ret)
{
    char *out = arena_bytes(arena, path.len);
    size_t len = 0;
    for (size_t i = 0; i < path.len; i++) {
        out[len++] = path.ptr[i];
        if (path.ptr[i] != '%')
            continue;
        int byte = percent_escape_at(path, i);
        if (byte < 0x20 || byte == 0x7f)
            return false;
        i += 2;
        if (percent_is_unreserved((unsigned char)byte)) {
            out[len - 1] = (char)byte;
            continue;
        }
        out[len++] = "0123456789ABCDEF"[byte >> 4];
        out[len++] = "0123456789ABCDEF"[byte & 15];
    }
    *ret = span_of(out, len);
    return true;
}

/* Checks the path and brings it to the form that is matched and sent on. False: malformed. */
static bool normalise(struct span path, struct arena *arena, struct span *ret)
{
    if (path.len == 0 || path.ptr[0] != '/')
        return false;
    bool escapes = false, dots = false;
    for (size_t i = 0; i < path.len; i++) {
        unsigned char byte = (unsigned char)path.ptr[i];
        if (LIKELY((byte >= 'a' && byte <= 'z') || byte == '_'))
            continue;
        if (byte == '/' && i + 1 < path.len) {
            if (path.ptr[i + 1] == '/')
                return false;
            dots = dots || path.ptr[i + 1] == '.';
        } else if (!is_path_byte(byte)) {
            if (byte != '%')
                return false;
            escapes = true;
        }
    }
    if (escapes && !normalise_escapes(path, arena, &path))
        return false;
    if ((escapes || dots) && has_dot_segment(path))
        return false;
    if (path.len > 1 && path.ptr[path.len - 1] == '/')
        path.len--;
    *ret = path;
    return true;
}

static unsigned method_bit(struct span method)
{
    static const struct {
        struct span text;
        unsigned bit;
    } methods[] = {
        {SPAN_INIT("POST"), METHOD_POST},     {SPAN_INIT("GET"), METHOD_GET}, {SPAN_INIT("HEAD"), METHOD_GET},
        {SPAN_INIT("DELETE"), METHOD_DELETE}, {SPAN_INIT("PUT"), METHOD_PUT}, {SPAN_INIT("PATCH"), METHOD_PATCH},
    };
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        if (span_equal(methods[i].text, method))
            return methods[i].bit;
    }
    return 0;
}

/* Whether `rest` is the row's path, alone or followed by a resource, as the row allows. */
static bool row_matches(const struct operation *row, struct span rest)
{
    /* One byte tells most of them apart. */
    if (rest.len < row->path.len || rest.ptr[0] != row->path.ptr[0] || !span_starts_with(rest, row->path))
        return false;
    if (rest.len == row->path.len)
        return row->tail != TAIL_REQUIRED;
    return rest.ptr[row->path.len] == '/' && row->tail != TAIL_NONE;
}

/* Whether `rest` is a deployment, `/` and the row's path. */
static bool row_ends(const struct operation *row, struct span rest)
{
    return row->flags & (OPERATION_DEPLOYMENT | OPERATION_DEPLOYMENT_INBOUND) && rest.len > row->path.len + 1 &&
           span_ends_with(rest, row->path) && rest.ptr[rest.len - row->path.len - 1] == '/';
}

/* The longest matching row, of several with one path the one that takes the method. False: unknown. */
static bool find_row(struct span rest, bool deployments, unsigned method, struct place *place)
{
    size_t longest = 0;
    for (int id = 0; id < OPERATION_ID_COUNT; id++) {
        const struct operation *row = operation_entry((enum operation_id)id);
        if (row->path.len < longest || !(deployments ? row_ends(row, rest) : row_matches(row, rest)))
            continue;
        if (row->path.len > longest) {
            longest = row->path.len;
            place->methods = 0;
            place->operation = NULL;
        }
        place->methods |= row->methods;
        if (!place->operation && row->methods & method)
            place->operation = row;
    }
    if (!longest)
        return false;
    if (deployments)
        place->deployment = span_take(rest, rest.len - longest - 1);
    else
        place->resource = span_skip(rest, longest);
    return true;
}

static bool find_place(struct span path, unsigned method, struct place *place)
{
    *place = (struct place){0};
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        if (!span_starts_with(path, prefixes[i].text))
            continue;
        place->dialect = prefixes[i].dialect;
        return find_row(span_skip(path, prefixes[i].text.len), prefixes[i].deployments, method, place);
    }
    return false;
}

/* The path as the most lenient server might read it: lower case, encoded slashes as slashes, no parameters, no empty
 * parts. */
static struct span fold(struct span path, struct arena *arena)
{
    char *out = arena_bytes(arena, path.len);
    size_t len = 0;
    bool parameter = false;
    for (size_t i = 0; i < path.len; i++) {
        size_t separator = separator_at(path, i);
        if (separator) {
            i += separator - 1;
            parameter = false;
            if (len == 0 || out[len - 1] != '/')
                out[len++] = '/';
            continue;
        }
        char byte = path.ptr[i];
        parameter = parameter || byte == ';';
        if (!parameter)
            out[len++] = byte >= 'A' && byte <= 'Z' ? (char)(byte + ('a' - 'A')) : byte;
    }
    return span_of(out, len > 1 && out[len - 1] == '/' ? len - 1 : len);
}

/* Takes a parameter that may be given once. */
static bool take_param(struct span value, struct arena *arena, struct span *ret)
{
    return !ret->ptr && percent_decode(value, true, arena, ret);
}

static bool read_query(struct api_call *call, struct arena *arena)
{
    bool wants_model = call->operation->model == OPERATION_MODEL_QUERY;
    struct span rest = call->query;
    struct query_param param;
    while (rest.len && query_next(&rest, &param)) {
        bool ok = true;
        if (query_is(param.name, SPAN("api-version")))
            ok = take_param(param.value, arena, &call->api_version);
        else if (query_is(param.name, SPAN("api-key")))
            ok = take_param(param.value, arena, &call->query_secret);
        else if (wants_model && (query_is(param.name, SPAN("model")) || query_is(param.name, SPAN("deployment"))))
            ok = take_param(param.value, arena, &call->query_model);
        if (!ok)
            return false;
    }
    return true;
}

enum fault operation_match(struct span method, struct span path, struct span query, struct arena *arena,
                           struct api_call *ret)
{
    struct place place;
    if (!normalise(path, arena, &path))
        return FAULT_MALFORMED_REQUEST;
    if (!find_place(path, method_bit(method), &place))
        return find_place(fold(path, arena), 0, &place) ? FAULT_MALFORMED_REQUEST : FAULT_UNKNOWN_PATH;
    if (!place.operation)
        return FAULT_METHOD_NOT_ALLOWED;
    struct api_call call = {
        .operation = place.operation, .dialect = place.dialect, .resource = place.resource, .query = query};
    if (!percent_decode(place.deployment, false, arena, &call.deployment) || !read_query(&call, arena))
        return FAULT_MALFORMED_REQUEST;
    if (call.dialect == DIALECT_OPENAI && dialect_is_dated(call.api_version))
        call.dialect = DIALECT_AZURE_DATED;
    *ret = call;
    return FAULT_NONE;
}

struct span operation_allow(struct arena *arena, struct span path)
{
    static const struct {
        unsigned bit;
        const char *text;
    } words[] = {{METHOD_GET, "GET, HEAD"},
                 {METHOD_POST, "POST"},
                 {METHOD_PUT, "PUT"},
                 {METHOD_PATCH, "PATCH"},
                 {METHOD_DELETE, "DELETE"}};
    struct place place = {0};
    struct span allow = SPAN("");
    if (!normalise(path, arena, &path) || !find_place(path, 0, &place))
        return allow;
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (place.methods & words[i].bit)
            allow = arena_format(arena, "%.*s%s%s", SPAN_ARG(allow), allow.len ? ", " : "", words[i].text);
    }
    return allow;
}
