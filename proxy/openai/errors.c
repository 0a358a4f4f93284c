/* SPDX-License-Identifier: Apache-2.0 */
#include "openai/errors.h"

#include "base/json_value.h"

/* Longest code, type or param that is recorded. */
#define WORD_MAX 128

static void append_string(struct buffer *out, struct span text)
{
    buffer_append(out, SPAN("\""));
    buffer_append_json(out, text);
    buffer_append(out, SPAN("\""));
}

/* Empty is null: so the API writes what it does not say. */
static void append_or_null(struct buffer *out, struct span text)
{
    if (text.len)
        append_string(out, text);
    else
        buffer_append(out, SPAN("null"));
}

void error_body(struct buffer *out, enum fault fault, struct span message, struct span param)
{
    const struct fault_entry *entry = fault_entry(fault);
    buffer_append(out, SPAN("{\"error\":{\"message\":"));
    append_string(out, message.len ? message : entry->message);
    buffer_append(out, SPAN(",\"type\":"));
    append_string(out, entry->type);
    buffer_append(out, SPAN(",\"param\":"));
    append_or_null(out, param);
    buffer_append(out, SPAN(",\"code\":"));
    append_or_null(out, entry->code);
    buffer_append(out, SPAN("}}"));
}

static bool has_named_events(const struct operation *operation)
{
    return operation->id == OPERATION_RESPONSES || operation->id == OPERATION_RESPONSES_STORED;
}

void error_event(struct buffer *out, const struct operation *operation, enum fault fault, struct span message,
                 uint64_t sequence)
{
    const struct fault_entry *entry = fault_entry(fault);
    if (!has_named_events(operation)) {
        buffer_append(out, SPAN("data: "));
        error_body(out, fault, message, SPAN(""));
        buffer_append(out, SPAN("\n\n"));
        return;
    }
    buffer_append(out, SPAN("event: error\ndata: {\"type\":\"error\",\"code\":"));
    append_or_null(out, entry->code);
    buffer_append(out, SPAN(",\"message\":"));
    append_string(out, message.len ? message : entry->message);
    buffer_format(out, ",\"param\":null,\"sequence_number\":%llu}\n\n", (unsigned long long)sequence);
}

/* A short printable text, or a number as it is spelled; else empty. Logs and metric labels must not be a way in for
 * bytes. */
static struct span read_word(struct json_value object, struct span name, struct arena *arena)
{
    struct json_value value;
    struct span text;
    if (!json_value_member(object, name, &value))
        return SPAN("");
    if (value.kind == JSON_NUMBER)
        return value.raw.len <= WORD_MAX ? arena_copy(arena, value.raw) : SPAN("");
    /* An escape is at most six bytes of text for one of meaning. */
    if (value.kind != JSON_STRING || value.raw.len > 6 * WORD_MAX || !json_value_text(value, arena, &text))
        return SPAN("");
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < 0x20 || text.ptr[i] > 0x7e)
            return SPAN("");
    }
    /* Azure's audio errors spell null as a string. */
    return text.len > WORD_MAX || span_equal(text, SPAN("null")) ? SPAN("") : text;
}

static bool names_stream_options(struct span text)
{
    return span_search(text, SPAN("stream_options")) < text.len || span_search(text, SPAN("include_usage")) < text.len;
}

/* Whether the member is a text that names stream_options; it is looked at as spelled, where these words have no
 * escapes. */
static bool member_names_stream_options(struct json_value object, struct span name)
{
    struct json_value value;
    return json_value_member(object, name, &value) && value.kind == JSON_STRING && names_stream_options(value.raw);
}

static bool is_filter_code(struct span code)
{
    return span_equal(code, SPAN("content_filter")) || span_equal(code, SPAN("contentFilter")) ||
           span_equal(code, SPAN("content_policy_violation")) || span_equal(code, SPAN("moderation_blocked")) ||
           span_equal(code, SPAN("ResponsibleAIPolicyViolation"));
}

static bool read_error_object(struct json_value error, struct arena *arena, struct upstream_error *ret)
{
    struct json_value inner;
    *ret = (struct upstream_error){
        .code = read_word(error, SPAN("code"), arena),
        .type = read_word(error, SPAN("type"), arena),
        .param = read_word(error, SPAN("param"), arena),
    };
    ret->names_stream_options = names_stream_options(ret->param) || member_names_stream_options(error, SPAN("message"));
    ret->content_filter = is_filter_code(ret->code) || (json_value_member(error, SPAN("innererror"), &inner) &&
                                                        is_filter_code(read_word(inner, SPAN("code"), arena)));
    return true;
}

bool upstream_error_read(struct span body, struct arena *arena, struct upstream_error *ret)
{
    struct json_value root, error, word;
    if (!json_value_parse(body, &root) || root.kind != JSON_OBJECT_OPEN)
        return false;
    if (json_value_member(root, SPAN("error"), &error)) {
        if (error.kind == JSON_OBJECT_OPEN)
            return read_error_object(error, arena, ret);
        if (error.kind != JSON_STRING)
            return false;
        *ret = (struct upstream_error){.type = read_word(root, SPAN("error_type"), arena),
                                       .names_stream_options = names_stream_options(error.raw)};
        return true;
    }
    if (json_value_member(root, SPAN("statusCode"), &word)) {
        *ret = (struct upstream_error){.code = read_word(root, SPAN("statusCode"), arena)};
        return true;
    }
    if (json_value_member(root, SPAN("object"), &word) && json_value_is(word, SPAN("error")))
        return read_error_object(root, arena, ret);
    return false;
}
