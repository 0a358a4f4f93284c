/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json_value.h"

#include <math.h>
#include <stdlib.h>

#define VALUE_DEPTH 64

/* Reads one value that fills `text`; everything inside was or is validated by it. */
static bool read_whole(struct span text, struct json_value *ret)
{
    struct json r;
    struct span rest = text;
    json_init(&r, VALUE_DEPTH);
    json_skip(&r);
    if (json_next(&r, &rest, true) != JSON_SKIPPED)
        return false;
    struct json_value found = {r.kind, span_of(text.ptr + r.token_start, r.token_end - r.token_start)};
    if (json_next(&r, &rest, true) != JSON_DONE)
        return false;
    *ret = found;
    return true;
}

bool json_value_parse(struct span text, struct json_value *ret)
{
    return read_whole(text, ret);
}

bool json_value_member(struct json_value object, struct span name, struct json_value *ret)
{
    if (object.kind != JSON_OBJECT_OPEN)
        return false;
    struct json r;
    struct span rest = object.raw;
    struct json_value found = {JSON_BAD, {NULL, 0}};
    bool wanted = false;
    json_init(&r, VALUE_DEPTH);
    for (enum json_event event = json_next(&r, &rest, true); event != JSON_DONE; event = json_next(&r, &rest, true)) {
        if (event == JSON_BAD)
            return false;
        if (event == JSON_KEY) {
            wanted = json_is(&r, name);
            json_skip(&r);
        } else if (event == JSON_SKIPPED && wanted) {
            if (found.kind != JSON_BAD)
                return false;
            found = (struct json_value){r.kind, span_of(object.raw.ptr + r.token_start, r.token_end - r.token_start)};
        }
    }
    if (found.kind == JSON_BAD)
        return false;
    *ret = found;
    return true;
}

static bool element(struct json_value array, uint64_t index, struct json_value *ret)
{
    size_t cursor = 0;
    struct json_value found;
    while (json_value_each(array, &cursor, NULL, &found))
        if (index-- == 0) {
            *ret = found;
            return true;
        }
    return false;
}

bool json_value_find(struct json_value from, const char *path, struct json_value *ret)
{
    struct span rest = span_str(path), part;
    while (span_split(&rest, '.', &part)) {
        uint64_t index;
        bool found = from.kind == JSON_ARRAY_OPEN ? span_to_u64(part, &index) && element(from, index, &from)
                                                  : json_value_member(from, part, &from);
        if (!found)
            return false;
    }
    *ret = from;
    return true;
}

/* The cursor is the offset just after the last value; the text from there on is re-read as the rest of a container. */
bool json_value_each(struct json_value container, size_t *cursor, struct span *ret_name, struct json_value *ret)
{
    bool object = container.kind == JSON_OBJECT_OPEN;
    if (!object && container.kind != JSON_ARRAY_OPEN)
        return false;
    struct span raw = container.raw;
    size_t at = *cursor ? *cursor : 1;
    struct json r;
    struct span name = {NULL, 0}, rest;
    if (*cursor) { /* the comma, or the close */
        while (at < raw.len && raw.ptr[at] != ',' && raw.ptr[at] != raw.ptr[raw.len - 1])
            at++;
        if (at >= raw.len || raw.ptr[at] != ',')
            return false;
        at++;
    }
    if (object) {
        rest = span_skip(raw, at);
        json_init(&r, VALUE_DEPTH);
        if (json_next(&r, &rest, false) != JSON_STRING)
            return false;
        name = span_of(raw.ptr + at + r.token_start, r.token_end - r.token_start);
        at += r.token_end;
        at += span_find(span_skip(raw, at), ':') + 1;
    }
    rest = span_skip(raw, at);
    json_init(&r, VALUE_DEPTH);
    json_skip(&r);
    if (json_next(&r, &rest, false) != JSON_SKIPPED)
        return false;
    *ret = (struct json_value){r.kind, span_of(raw.ptr + at + r.token_start, r.token_end - r.token_start)};
    *cursor = at + r.token_end;
    if (ret_name)
        *ret_name = name;
    return true;
}

bool json_value_text(struct json_value value, struct arena *arena, struct span *ret)
{
    if (value.kind != JSON_STRING)
        return false;
    struct json r;
    struct span rest = value.raw;
    size_t limit = value.raw.len; /* decoding never makes longer, and there are the quotes */
    char *buffer = arena_bytes(arena, limit);
    json_init(&r, 1);
    json_capture(&r, buffer, limit);
    if (json_next(&r, &rest, true) != JSON_STRING)
        return false;
    if (r.text.len && r.text.ptr != buffer) /* shown in place; the text read may go before the arena does */
        memcpy(buffer, r.text.ptr, r.text.len);
    *ret = span_of(buffer, r.text.len);
    return true;
}

bool json_value_is(struct json_value value, struct span text)
{
    if (value.kind != JSON_STRING)
        return false;
    struct json r;
    struct span rest = value.raw;
    char buffer[JSON_TEXT_LIMIT];
    if (span_find(value.raw, '\\') == value.raw.len) /* shown in place, whatever its length */
        return span_equal(span_of(value.raw.ptr + 1, value.raw.len - 2), text);
    if (text.len > sizeof(buffer))
        return false;
    json_init(&r, 1);
    json_capture(&r, buffer, sizeof(buffer));
    return json_next(&r, &rest, true) == JSON_STRING && json_is(&r, text);
}

bool json_value_u64(struct json_value value, uint64_t *ret)
{
    return value.kind == JSON_NUMBER && json_number_u64(value.raw, ret);
}

bool json_value_double(struct json_value value, double *ret)
{
    return value.kind == JSON_NUMBER && json_number_double(value.raw, ret);
}

bool json_number_u64(struct span text, uint64_t *ret)
{
    double number;
    if (span_to_u64(text, ret))
        return true;
    /* above 2^53 a double no longer tells which integer was meant */
    if (!json_number_double(text, &number) || number < 0 || number > 9007199254740992.0 || number != floor(number))
        return false;
    *ret = (uint64_t)number;
    return true;
}

/*
 * Up to 15 digits, both parts of the quotient are exact doubles, so that one division
 * rounds as the standard asks; that covers what people write, without strtod's cost. False for anything else.
 */
static bool short_decimal(struct span text, double *ret)
{
    static const double powers[] = {1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    uint64_t digits = 0;
    size_t places = 0;
    bool point = false;
    if (text.len > 15)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        unsigned digit = (unsigned char)text.ptr[i] - (unsigned)'0';
        if (digit <= 9)
            digits = digits * 10 + digit;
        else if (text.ptr[i] != '.' || point)
            return false;
        places += point;
        point |= digit > 9;
    }
    *ret = (double)digits / powers[places];
    return true;
}

bool json_number_double(struct span text, double *ret)
{
    char copy[JSON_TEXT_LIMIT + 1];
    if (text.len == 0 || text.len > JSON_TEXT_LIMIT)
        return false;
    if (short_decimal(text, ret))
        return true;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    double number = strtod(copy, NULL); /* the C locale is never changed, so the point is a point */
    if (!isfinite(number))
        return false;
    *ret = number;
    return true;
}
