/* SPDX-License-Identifier: Apache-2.0 */
#include "config/reader.h"

#include "base/buffer.h"
#include "config/value.h"

static bool write_value(struct reader *reader, const struct node *node, struct buffer *out);

static bool write_plain(struct reader *reader, const struct node *node, struct buffer *out)
{
    bool truth;
    if (span_equal(node->text, SPAN("null")) || span_equal(node->text, SPAN("true")) ||
        span_equal(node->text, SPAN("false")) || value_is_json_number(node->text)) {
        buffer_append(out, node->text);
        return true;
    }
    if (node->text.len == 0 || value_is_yaml_null(node->text)) {
        report_error(reader->report, node->place, "no value; write null, or \"\" for an empty text");
        return false;
    }
    if (value_is_yaml_bool(node->text, &truth)) {
        report_error(reader->report, node->place, "\"%.*s\" could be a truth value; write %s, or quote it as text",
                     SPAN_ARG(node->text), truth ? "true" : "false");
        return false;
    }
    if (value_is_yaml_number(node->text)) {
        report_error(reader->report, node->place,
                     "\"%.*s\" is not a number as JSON spells it; write one (0.5, 10, 1e3), or quote it as text",
                     SPAN_ARG(node->text));
        return false;
    }
    buffer_append(out, SPAN("\""));
    buffer_append_json(out, node->text);
    buffer_append(out, SPAN("\""));
    return true;
}

static bool write_children(struct reader *reader, const struct node *node, struct buffer *out)
{
    bool map = node->kind == NODE_MAP, good = true;
    buffer_append(out, map ? SPAN("{") : SPAN("["));
    for (const struct node *child = node->first; child; child = child->next) {
        if (child != node->first)
            buffer_append(out, SPAN(","));
        if (map) {
            buffer_append(out, SPAN("\""));
            buffer_append_json(out, child->key);
            buffer_append(out, SPAN("\":"));
        }
        good &= write_value(reader, child, out);
    }
    buffer_append(out, map ? SPAN("}") : SPAN("]"));
    return good;
}

static bool write_value(struct reader *reader, const struct node *node, struct buffer *out)
{
    if (node->kind != NODE_SCALAR)
        return write_children(reader, node, out);
    if (node->style == STYLE_PLAIN)
        return write_plain(reader, node, out);
    buffer_append(out, SPAN("\""));
    buffer_append_json(out, node->text);
    buffer_append(out, SPAN("\""));
    return true;
}

bool reader_json(struct reader *reader, const struct node *node, struct span *ret)
{
    struct buffer text = {0};
    bool good = write_value(reader, node, &text);
    if (good)
        *ret = arena_copy(reader->arena, buffer_span(&text));
    buffer_finish(&text);
    return good;
}
