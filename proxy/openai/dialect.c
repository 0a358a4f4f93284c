/* SPDX-License-Identifier: Apache-2.0 */
#include "openai/dialect.h"

#include "base/buffer.h"
#include "openai/query.h"

static bool is_scoped(enum dialect upstream, const struct operation *operation)
{
    return upstream == DIALECT_AZURE_DATED && operation->flags & OPERATION_DEPLOYMENT;
}

/*
 * Escaped slashes are undone by some servers before they resolve dot segments, so a name may hold neither, whatever
 * our escaping; a control byte is nobody's name.
 */
static bool is_safe_segment(struct span name)
{
    struct span rest = name, part;
    for (size_t i = 0; i < name.len; i++) {
        unsigned char byte = (unsigned char)name.ptr[i];
        if (byte < 0x20 || byte == 0x7f || byte == '\\')
            return false;
    }
    while (rest.len && span_split(&rest, '/', &part)) {
        if (span_equal(part, SPAN(".")) || span_equal(part, SPAN("..")))
            return false;
    }
    return name.len > 0;
}

/* Whether a base already names Azure's API is the user's choice; what follows it is written once either way. */
static void append_base(struct buffer *out, struct span base, enum dialect upstream)
{
    while (base.len && base.ptr[base.len - 1] == '/')
        base.len--;
    if (upstream != DIALECT_OPENAI) {
        if (span_ends_with(base, SPAN("/openai/v1")))
            base.len -= 3;
        if (span_ends_with(base, SPAN("/openai")))
            base.len -= 7;
    }
    buffer_append(out, base);
    if (upstream != DIALECT_OPENAI)
        buffer_append(out, upstream == DIALECT_AZURE_V1 ? SPAN("/openai/v1") : SPAN("/openai"));
}

/* Parameters that are the gateway's to decide and never go on as the client wrote them. */
static bool is_ours(struct span name, const struct operation *operation)
{
    if (query_is(name, SPAN("api-version")) || query_is_credential(name))
        return true;
    return operation->model == OPERATION_MODEL_QUERY &&
           (query_is(name, SPAN("model")) || query_is(name, SPAN("deployment")));
}

static void append_separator(struct buffer *out, bool *begun)
{
    buffer_append(out, *begun ? SPAN("&") : SPAN("?"));
    *begun = true;
}

static void append_query(struct buffer *out, const struct api_call *call, enum dialect upstream, struct span model,
                         struct span api_version)
{
    bool begun = false;
    struct span rest = call->query;
    struct query_param param;
    while (rest.ptr && call->query.len && query_next(&rest, &param)) {
        if (is_ours(param.name, call->operation))
            continue;
        append_separator(out, &begun);
        buffer_append(out, param.raw);
    }
    if (call->operation->model == OPERATION_MODEL_QUERY) {
        append_separator(out, &begun);
        buffer_append(out, upstream == DIALECT_AZURE_DATED ? SPAN("deployment=") : SPAN("model="));
        percent_encode(out, model);
    }
    if (api_version.len) {
        append_separator(out, &begun);
        buffer_append(out, SPAN("api-version="));
        percent_encode(out, api_version);
    }
}

struct span dialect_target(struct arena *arena, const struct api_call *call, enum dialect upstream,
                           struct span base_path, struct span model, struct span api_version)
{
    const struct operation *operation = call->operation;
    bool scoped = is_scoped(upstream, operation);
    if ((scoped || operation->model == OPERATION_MODEL_QUERY) && !is_safe_segment(model))
        return (struct span){NULL, 0};
    struct buffer out = {0};
    append_base(&out, base_path, upstream);
    if (scoped) {
        buffer_append(&out, SPAN("/deployments/"));
        percent_encode(&out, model);
    }
    buffer_append(&out, SPAN("/"));
    buffer_append(&out, operation->path);
    buffer_append(&out, call->resource);
    append_query(&out, call, upstream, model, api_version);
    struct span target = arena_copy(arena, buffer_span(&out));
    buffer_finish(&out);
    return target;
}

bool dialect_model_in_body(enum dialect upstream, const struct operation *operation)
{
    return operation->model == OPERATION_MODEL_BODY && !is_scoped(upstream, operation);
}

bool dialect_is_dated(struct span api_version)
{
    static const char shape[] = "0000-00-00";
    if (api_version.len < sizeof(shape) - 1)
        return false;
    for (size_t i = 0; i < sizeof(shape) - 1; i++) {
        char byte = api_version.ptr[i];
        if (shape[i] == '0' ? byte < '0' || byte > '9' : byte != shape[i])
            return false;
    }
    struct span rest = span_skip(api_version, sizeof(shape) - 1);
    return rest.len == 0 || span_equal(rest, SPAN("-preview"));
}

bool dialect_supports_include_usage(enum dialect upstream, struct span api_version, const struct operation *operation)
{
    if (!(operation->flags & OPERATION_STREAM_OPTIONS))
        return false;
    if (upstream != DIALECT_AZURE_DATED)
        return true;
    return dialect_is_dated(api_version) && span_ends_with(api_version, SPAN("-preview")) &&
           span_compare(span_take(api_version, 10), SPAN("2024-09-01")) >= 0;
}

struct span dialect_name(enum dialect dialect)
{
    static const struct span names[] = {
        [DIALECT_OPENAI] = SPAN_INIT("openai"),
        [DIALECT_AZURE_DATED] = SPAN_INIT("azure-dated"),
        [DIALECT_AZURE_V1] = SPAN_INIT("azure-v1"),
    };
    return names[dialect];
}
