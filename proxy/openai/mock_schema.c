/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "openai/mock_script.h"

/* Below this, optional members are left out, arrays are empty where they may be, and null is taken where it may be:
 * recursion ends. */
#define DEEP 5
/* No schema leads further down, whatever its references say. */
#define DEEPEST 24
/* Repeated references can ask for any amount of text; past this, containers are closed. */
#define BYTES_LIMIT (256u * 1024)

struct writer {
    struct mock_script *script;
    struct json_value root;
    struct buffer *out;
    size_t start; /* length of `out` at the beginning */
};

static void write_value(struct writer *w, struct json_value schema, unsigned depth);

static bool full(const struct writer *w)
{
    return buffer_len(w->out) - w->start > BYTES_LIMIT;
}

static bool has(struct json_value schema, const char *name, struct json_value *ret)
{
    return json_value_member(schema, span_str(name), ret);
}

static double number_of(struct json_value schema, const char *name, double otherwise)
{
    struct json_value value;
    double number;
    return has(schema, name, &value) && json_value_double(value, &number) ? number : otherwise;
}

static bool first_element(struct json_value array, struct json_value *ret)
{
    size_t cursor = 0;
    return array.kind == JSON_ARRAY_OPEN && json_value_each(array, &cursor, NULL, ret);
}

/* Follows "#/$defs/name" from the root; other references (other documents, anchors) lead nowhere. */
static bool resolve(struct writer *w, struct span reference, struct json_value *ret)
{
    if (!span_starts_with(reference, SPAN("#")))
        return false;
    struct json_value at = w->root;
    struct span rest = span_skip(reference, 1), part;
    if (rest.len > 0 && !span_split(&rest, '/', &part)) /* what stands before the first slash: nothing */
        return false;
    while (rest.len > 0 && span_split(&rest, '/', &part))
        if (!json_value_member(at, part, &at))
            return false;
    *ret = at;
    return true;
}

static void write_string(struct writer *w, struct json_value schema)
{
    static const struct {
        struct span format, text;
    } formats[] = {
        {SPAN_INIT("date-time"), SPAN_INIT("2025-01-01T00:00:00Z")},
        {SPAN_INIT("date"), SPAN_INIT("2025-01-01")},
        {SPAN_INIT("time"), SPAN_INIT("00:00:00Z")},
        {SPAN_INIT("duration"), SPAN_INIT("PT1S")},
        {SPAN_INIT("email"), SPAN_INIT("mock@example.com")},
        {SPAN_INIT("hostname"), SPAN_INIT("example.com")},
        {SPAN_INIT("ipv4"), SPAN_INIT("192.0.2.1")},
        {SPAN_INIT("ipv6"), SPAN_INIT("2001:db8::1")},
        {SPAN_INIT("uri"), SPAN_INIT("https://example.com/")},
        {SPAN_INIT("uuid"), SPAN_INIT("00000000-0000-4000-8000-000000000000")},
    };
    struct json_value format;
    struct span text = SPAN("mock");
    if (has(schema, "format", &format))
        for (size_t i = 0; i < ARRAY_LEN(formats); i++)
            if (json_value_is(format, formats[i].format))
                text = formats[i].text;
    double least = number_of(schema, "minLength", 0), most = number_of(schema, "maxLength", BYTES_LIMIT);
    MOCK_PUT(w->out, "\"");
    buffer_append(w->out, most < (double)text.len ? span_take(text, most > 0 ? (size_t)most : 0) : text);
    for (double have = (double)text.len; have < least && !full(w); have++)
        MOCK_PUT(w->out, "k");
    MOCK_PUT(w->out, "\"");
}

static void write_number(struct writer *w, struct json_value schema, bool integer)
{
    double step = number_of(schema, "multipleOf", integer ? 1 : 0), unit = integer ? 1 : step > 0 ? step : 0.5;
    double least = number_of(schema, "minimum", -HUGE_VAL), most = number_of(schema, "maximum", HUGE_VAL);
    double above = number_of(schema, "exclusiveMinimum", -HUGE_VAL),
           below = number_of(schema, "exclusiveMaximum", HUGE_VAL);
    double value = 1;
    if (value > most)
        value = most;
    if (value >= below)
        value = integer ? ceil(below) - 1 : below - unit;
    if (value < least)
        value = least;
    if (value <= above)
        value = integer ? floor(above) + 1 : above + (below - above < 2 * unit ? (below - above) / 2 : unit);
    if (step > 0) {
        double up = ceil(value / step) * step;
        value = up > most || up >= below ? floor(value / step) * step : up;
    }
    if (!isfinite(value)) /* bounds that no number keeps */
        value = 1;
    if (integer)
        buffer_format(w->out, "%.0f", ceil(value));
    else
        buffer_format(w->out, "%.15g", value);
}

static void write_array(struct writer *w, struct json_value schema, unsigned depth)
{
    struct json_value items = {0}, prefix = {0}, item;
    size_t cursor = 0;
    unsigned count = 0;
    double least = number_of(schema, "minItems", 0), most = number_of(schema, "maxItems", HUGE_VAL);
    double wanted = least > 0 || depth > DEEP ? least : 1;
    wanted = wanted > most ? most : wanted;
    MOCK_PUT(w->out, "[");
    bool tuple = has(schema, "prefixItems", &prefix) && prefix.kind == JSON_ARRAY_OPEN;
    (void)has(schema, "items", &items);
    while (!full(w)) {
        bool in_tuple = tuple && json_value_each(prefix, &cursor, NULL, &item);
        if (!in_tuple && (double)count >= wanted)
            break;
        if (count++)
            MOCK_PUT(w->out, ",");
        write_value(w, in_tuple ? item : items, depth + 1);
    }
    MOCK_PUT(w->out, "]");
}

static bool is_required(struct json_value schema, struct span raw_name)
{
    struct json_value required, name;
    size_t cursor = 0;
    if (!has(schema, "required", &required) || required.kind != JSON_ARRAY_OPEN)
        return false;
    while (json_value_each(required, &cursor, NULL, &name))
        if (span_equal(name.raw, raw_name))
            return true;
    return false;
}

static void write_object(struct writer *w, struct json_value schema, unsigned depth)
{
    struct json_value properties, property;
    struct span name;
    size_t cursor = 0;
    bool first = true;
    MOCK_PUT(w->out, "{");
    if (has(schema, "properties", &properties) && properties.kind == JSON_OBJECT_OPEN) {
        while (!full(w) && json_value_each(properties, &cursor, &name, &property)) {
            if (depth > DEEP && !is_required(schema, name))
                continue;
            if (!first)
                MOCK_PUT(w->out, ",");
            first = false;
            buffer_append(w->out, name);
            MOCK_PUT(w->out, ":");
            write_value(w, property, depth + 1);
        }
    }
    MOCK_PUT(w->out, "}");
}

/* The type to write: the first that is not null, when deep null if allowed; without a type, what the members suggest.
 */
static struct span type_of(struct writer *w, struct json_value schema, unsigned depth)
{
    struct json_value type, one;
    struct span chosen = {NULL, 0};
    if (!has(schema, "type", &type)) {
        if (has(schema, "properties", &one))
            return SPAN("object");
        return has(schema, "items", &one) || has(schema, "prefixItems", &one) ? SPAN("array") : SPAN("string");
    }
    if (type.kind == JSON_STRING)
        return mock_ask_text(w->script, type);
    size_t cursor = 0;
    while (type.kind == JSON_ARRAY_OPEN && json_value_each(type, &cursor, NULL, &one)) {
        bool null = json_value_is(one, SPAN("null"));
        if (null && depth > DEEP)
            return SPAN("null");
        if (!null && !chosen.ptr)
            chosen = mock_ask_text(w->script, one);
    }
    return chosen.ptr ? chosen : SPAN("null");
}

/* One of several schemas: the first, but when deep one that is null, which ends a recursion. */
static bool choose(struct json_value schema, unsigned depth, struct json_value *ret)
{
    static const char *const unions[] = {"anyOf", "oneOf", "allOf"};
    struct json_value list, one, type;
    for (size_t i = 0; i < ARRAY_LEN(unions); i++) {
        if (!has(schema, unions[i], &list) || !first_element(list, ret))
            continue;
        size_t cursor = 0;
        while (depth > DEEP && json_value_each(list, &cursor, NULL, &one))
            if (has(one, "type", &type) && json_value_is(type, SPAN("null")))
                *ret = one;
        return true;
    }
    return false;
}

static void write_typed(struct writer *w, struct json_value schema, unsigned depth)
{
    struct span type = type_of(w, schema, depth);
    if (span_equal(type, SPAN("object")))
        write_object(w, schema, depth);
    else if (span_equal(type, SPAN("array")))
        write_array(w, schema, depth);
    else if (span_equal(type, SPAN("integer")) || span_equal(type, SPAN("number")))
        write_number(w, schema, span_equal(type, SPAN("integer")));
    else if (span_equal(type, SPAN("boolean")))
        MOCK_PUT(w->out, "true");
    else if (span_equal(type, SPAN("null")))
        MOCK_PUT(w->out, "null");
    else
        write_string(w, schema);
}

static void write_value(struct writer *w, struct json_value schema, unsigned depth)
{
    struct json_value found;
    if (depth > DEEPEST || full(w)) {
        MOCK_PUT(w->out, "null");
        return;
    }
    if (has(schema, "const", &found)) {
        buffer_append(w->out, found.raw);
        return;
    }
    if (has(schema, "enum", &found) && first_element(found, &found)) {
        buffer_append(w->out, found.raw);
        return;
    }
    if (has(schema, "$ref", &found)) {
        struct json_value target = {0};
        if (resolve(w, mock_ask_text(w->script, found), &target))
            write_value(w, target, depth + 1);
        else
            MOCK_PUT(w->out, "null");
        return;
    }
    if (choose(schema, depth, &found))
        write_value(w, found, depth + 1);
    else
        write_typed(w, schema, depth);
}

void mock_schema_write(struct mock_script *script, struct json_value schema, struct json_value root, struct buffer *out)
{
    struct writer w = {.script = script, .root = root, .out = out, .start = buffer_len(out)};
    write_value(&w, schema, 0);
}
