/* SPDX-License-Identifier: Apache-2.0 */
#include "openai/mock_script.h"
#include "openai/multipart.h"

#define FIELD_LIMIT 65536 /* bytes of a form field that is not a file */

static const struct {
    struct span name;
    size_t offset;
} members[] = {
#define X(name_) {.name = SPAN_INIT(#name_), .offset = offsetof(struct mock_ask, name_)},
    MOCK_MEMBERS(X)
#undef X
};

static struct json_value *member_of(struct mock_ask *ask, struct span name)
{
    for (size_t i = 0; i < ARRAY_LEN(members); i++)
        if (span_equal(members[i].name, name))
            return (struct json_value *)(void *)((char *)ask + members[i].offset);
    return NULL;
}

static bool read_json(struct mock_script *script)
{
    struct json_value root, value;
    struct span raw_name, name;
    size_t cursor = 0;
    if (!json_value_parse(script->request.body, &root) || root.kind != JSON_OBJECT_OPEN)
        return false;
    while (json_value_each(root, &cursor, &raw_name, &value)) {
        if (!json_value_text((struct json_value){JSON_STRING, raw_name}, script->arena, &name))
            continue;
        struct json_value *member = member_of(&script->ask, name);
        if (member && value.kind != JSON_NULL)
            *member = value;
    }
    return true;
}

/* A form field becomes the JSON value it stands for, so that forms and JSON bodies are read alike. */
static struct json_value value_of_field(struct mock_script *script, struct span text)
{
    uint64_t number;
    if (span_equal_nocase(text, SPAN("true")))
        return (struct json_value){JSON_TRUE, SPAN("true")};
    if (span_equal_nocase(text, SPAN("false")))
        return (struct json_value){JSON_FALSE, SPAN("false")};
    if (span_to_u64(text, &number))
        return (struct json_value){JSON_NUMBER, arena_copy(script->arena, text)};
    struct buffer b = {0};
    mock_put_string(&b, text);
    struct span raw = arena_copy(script->arena, buffer_span(&b));
    buffer_finish(&b);
    return (struct json_value){JSON_STRING, raw};
}

static bool read_form(struct mock_script *script, struct span boundary)
{
    struct multipart *m = ARENA_NEW(script->arena, struct multipart);
    struct span rest = script->request.body;
    struct buffer field = {0};
    enum multipart_event event = MULTIPART_BAD;
    if (!multipart_init(m, boundary))
        return false;
    while ((event = multipart_next(m, &rest, true)) != MULTIPART_DONE && event != MULTIPART_BAD &&
           event != MULTIPART_MORE) {
        if (event == MULTIPART_DATA && m->is_file)
            script->ask.file_bytes += m->data.len;
        else if (event == MULTIPART_DATA && buffer_len(&field) < FIELD_LIMIT)
            buffer_append(&field, span_take(m->data, FIELD_LIMIT));
        if (event != MULTIPART_END || m->is_file)
            continue;
        struct json_value *member = member_of(&script->ask, span_of(m->name, m->name_len));
        if (member)
            *member = value_of_field(script, buffer_span(&field));
        buffer_finish(&field);
    }
    buffer_finish(&field);
    return event == MULTIPART_DONE;
}

bool mock_ask_read(struct mock_script *script)
{
    struct span boundary;
    if (multipart_boundary(script->request.content_type, &boundary))
        return read_form(script, boundary);
    return read_json(script);
}

struct span mock_ask_text(struct mock_script *script, struct json_value value)
{
    struct span text;
    return value.kind == JSON_STRING && json_value_text(value, script->arena, &text) ? text : SPAN("");
}

uint64_t mock_ask_number(struct json_value value, uint64_t otherwise)
{
    uint64_t number;
    return value.kind == JSON_NUMBER && json_value_u64(value, &number) ? number : otherwise;
}

uint64_t mock_ask_max_tokens(const struct mock_ask *ask)
{
    uint64_t limit = mock_ask_number(ask->max_completion_tokens, UINT64_MAX);
    if (limit == UINT64_MAX)
        limit = mock_ask_number(ask->max_output_tokens, UINT64_MAX);
    return limit == UINT64_MAX ? mock_ask_number(ask->max_tokens, UINT64_MAX) : limit;
}

/* A string, or the texts of an array of parts with a space between; images and sounds say nothing. */
static struct span content_text(struct mock_script *script, struct json_value content)
{
    if (content.kind != JSON_ARRAY_OPEN)
        return mock_ask_text(script, content);
    struct buffer b = {0};
    struct json_value part, text;
    size_t cursor = 0;
    while (json_value_each(content, &cursor, NULL, &part)) {
        if (!json_value_member(part, SPAN("text"), &text) || text.kind != JSON_STRING)
            continue;
        if (buffer_len(&b) > 0)
            MOCK_PUT(&b, " ");
        buffer_append(&b, mock_ask_text(script, text));
    }
    struct span joined = arena_copy(script->arena, buffer_span(&b));
    buffer_finish(&b);
    return joined;
}

static void hear(struct mock_script *script, struct json_value message, struct mock_talk *talk)
{
    struct json_value role, content, type;
    bool output = json_value_member(message, SPAN("type"), &type) && json_value_is(type, SPAN("function_call_output"));
    bool has_role = json_value_member(message, SPAN("role"), &role);
    talk->messages++;
    if (!json_value_member(message, output ? SPAN("output") : SPAN("content"), &content))
        return;
    struct span text = content_text(script, content);
    talk->characters += mock_characters(text);
    if (output || (has_role && json_value_is(role, SPAN("tool")))) {
        talk->tool = text;
        talk->tool_answered = true;
    } else if (has_role && json_value_is(role, SPAN("user"))) {
        talk->user = text;
        talk->tool_answered = false;
    }
}

void mock_talk_read(struct mock_script *script, struct json_value messages, struct mock_talk *ret)
{
    *ret = (struct mock_talk){.user = SPAN(""), .tool = SPAN("")};
    struct json_value message;
    size_t cursor = 0;
    if (messages.kind == JSON_STRING) {
        ret->user = mock_ask_text(script, messages);
        ret->characters = mock_characters(ret->user);
        ret->messages = 1;
    }
    while (messages.kind == JSON_ARRAY_OPEN && json_value_each(messages, &cursor, NULL, &message))
        hear(script, message, ret);
}

/* The member if there is one, else the object itself: the chat form wraps what the Responses form has flat. */
static struct json_value unwrapped(struct json_value object, struct span name)
{
    struct json_value inner;
    return json_value_member(object, name, &inner) ? inner : object;
}

/* The function of a tool, in the chat form {"type","function":{...}} or the Responses form {"type","name",...}. */
static bool function_of(struct mock_script *script, struct json_value tool, struct mock_tool *ret)
{
    struct json_value type, name, inner;
    if (!json_value_member(tool, SPAN("type"), &type) || !json_value_is(type, SPAN("function")))
        return false;
    inner = unwrapped(tool, SPAN("function"));
    if (!json_value_member(inner, SPAN("name"), &name))
        return false;
    *ret = (struct mock_tool){.name = mock_ask_text(script, name)};
    if (!json_value_member(inner, SPAN("parameters"), &ret->schema))
        ret->schema = (struct json_value){JSON_OBJECT_OPEN, SPAN("{\"type\":\"object\"}")};
    return ret->name.len > 0;
}

static bool mentions(struct span text, struct span word)
{
    for (size_t at = 0; at + word.len <= text.len; at++)
        if (span_equal_nocase(span_take(span_skip(text, at), word.len), word))
            return true;
    return false;
}

void mock_tool_choose(struct mock_script *script, const struct mock_talk *talk, struct mock_tool *ret)
{
    const struct mock_ask *ask = &script->ask;
    struct mock_tool tool, named, first = {0}, spoken_of = {0};
    struct json_value one;
    size_t cursor = 0;
    *ret = (struct mock_tool){0};
    if (ask->tools.kind != JSON_ARRAY_OPEN || json_value_is(ask->tool_choice, SPAN("none")))
        return;
    bool by_name = ask->tool_choice.kind == JSON_OBJECT_OPEN && function_of(script, ask->tool_choice, &named);
    while (json_value_each(ask->tools, &cursor, NULL, &one)) {
        if (!function_of(script, one, &tool))
            continue;
        if (by_name && span_equal(tool.name, named.name)) {
            *ret = tool;
            return;
        }
        first = first.name.len ? first : tool;
        if (!spoken_of.name.len && mentions(talk->user, tool.name))
            spoken_of = tool;
    }
    if (by_name)
        return;
    bool required = json_value_is(ask->tool_choice, SPAN("required"));
    bool asked = !talk->tool_answered && (spoken_of.name.len || mentions(talk->user, SPAN("tool")));
    if (required || asked)
        *ret = spoken_of.name.len ? spoken_of : first;
}

struct span mock_formatted(struct mock_script *script, struct json_value format, struct span said)
{
    struct json_value type, schema;
    struct buffer b = {0};
    if (!json_value_member(format, SPAN("type"), &type))
        return SPAN("");
    if (json_value_is(type, SPAN("json_object"))) {
        MOCK_PUT(&b, "{\"answer\":");
        mock_put_string(&b, said);
        MOCK_PUT(&b, "}");
    } else if (json_value_is(type, SPAN("json_schema"))) {
        if (json_value_member(unwrapped(format, SPAN("json_schema")), SPAN("schema"), &schema))
            mock_schema_write(script, schema, schema, &b);
        else
            MOCK_PUT(&b, "{}");
    }
    struct span text = arena_copy(script->arena, buffer_span(&b));
    buffer_finish(&b);
    return text;
}
