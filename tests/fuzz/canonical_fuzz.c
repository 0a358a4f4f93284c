/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai/canonical: what base/json accepts must have a form (or one of the reasons not to); the form, spelled as JSON
 * again, must have the same form; and the form with spaces around each token too. The first byte chooses what is left
 * out.
 */
#include <stdlib.h>

#include "base/buffer.h"
#include "base/hash.h"
#include "base/json.h"
#include "openai/canonical.h"

static void append(void *arg, struct span bytes)
{
    buffer_append(arg, bytes);
}

static enum canonical_result form_of(struct span text, size_t without_count, struct buffer *out)
{
    static const struct span without[] = {SPAN_INIT("stream"), SPAN_INIT("user")};
    return canonical_feed(text, without, without_count, append, out);
}

static bool is_json(struct span text)
{
    struct json r;
    enum json_event event;
    json_init(&r, CANONICAL_DEPTH_LIMIT);
    while ((event = json_next(&r, &text, true)) != JSON_DONE)
        if (event == JSON_BAD)
            return false;
    return true;
}

static uint64_t read_size(const char **p)
{
    uint64_t size = 0;
    for (unsigned shift = 0;; shift += 7) {
        unsigned char c = (unsigned char)*(*p)++;
        size |= (uint64_t)(c & 0x7F) << shift;
        if (c < 0x80)
            return size;
    }
}

static const char *spell_string(const char *p, struct buffer *out)
{
    buffer_append(out, SPAN("\""));
    for (p++; *p != '"'; p++) {
        p += *p == '\\';
        unsigned char c = (unsigned char)*p;
        if (c == '"' || c == '\\' || c < 0x20) {
            buffer_format(out, "\\u%04x", c);
        } else if (c == 0xED && (unsigned char)p[1] >= 0xA0) { /* a lone surrogate */
            buffer_format(out, "\\u%04x", 0xD000u | ((unsigned)p[1] & 0x3F) << 6 | ((unsigned)p[2] & 0x3F));
            p += 2;
        } else {
            buffer_append(out, span_of(p, 1));
        }
    }
    buffer_append(out, SPAN("\""));
    return p + 1;
}

static const char *spell_number(const char *p, struct buffer *out)
{
    if (*p == '-')
        buffer_append(out, SPAN("-"));
    p++;
    uint64_t zigzag = read_size(&p), count = read_size(&p);
    buffer_append(out, span_of(p, count));
    buffer_format(out, "E%lld", (long long)(zigzag >> 1 ^ -(zigzag & 1)));
    return p + count;
}

static const char *spell(const char *p, struct buffer *out)
{
    bool object = *p == '{';
    buffer_append(out, SPAN(" "));
    switch (*p) {
    case '{':
    case '[':
        buffer_append(out, span_of(p, 1));
        for (p++; *p != '}' && *p != ']';) {
            if (object) {
                p = spell_string(p, out);
                buffer_append(out, SPAN(" : "));
            }
            p = spell(p, out);
            if (*p != '}' && *p != ']')
                buffer_append(out, SPAN(", "));
        }
        buffer_append(out, span_of(p, 1));
        p++;
        break;
    case '"':
        p = spell_string(p, out);
        break;
    case '+':
    case '-':
        p = spell_number(p, out);
        break;
    default:
        buffer_append(out, *p == 't' ? SPAN("true") : *p == 'f' ? SPAN("false") : *p == 'n' ? SPAN("null") : SPAN("0"));
        p++;
    }
    buffer_append(out, SPAN(" "));
    return p;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct span text = span_of((const char *)data + 1, size - 1);
    struct buffer form = {0}, spelled = {0}, again = {0};
    enum canonical_result result = form_of(text, data[0] % 3, &form);
    if (is_json(text)) {
        if (result == CANONICAL_NOT_JSON || (result == CANONICAL_GOOD) != (buffer_len(&form) > 0))
            abort();
        if (result == CANONICAL_GOOD) {
            const char *end = spell(buffer_span(&form).ptr, &spelled);
            if (end != buffer_span(&form).ptr + buffer_len(&form))
                abort();
            result = form_of(buffer_span(&spelled), 0, &again);
            if (result != CANONICAL_TOO_LARGE && !span_equal(buffer_span(&form), buffer_span(&again)))
                abort();
        }
    }
    buffer_finish(&form);
    buffer_finish(&spelled);
    buffer_finish(&again);
    return 0;
}
