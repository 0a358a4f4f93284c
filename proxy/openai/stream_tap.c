/* SPDX-License-Identifier: Apache-2.0 */
#include "openai/stream_tap.h"

#include "openai/string_skip.h"

/* Smallest pattern taken from the arena, in bytes: most events fit. */
#define PATTERN_MIN 448u

/* What an event says where it may differ from the pattern. */
struct difference {
    uint64_t text_bytes, sequence;
    bool has_sequence;
};

void stream_tap_init(struct stream_tap *tap, struct arena *arena)
{
    memset(tap, 0, offsetof(struct stream_tap, holes));
    tap->arena = arena;
}

bool stream_tap_succeeded(const struct stream_tap *tap)
{
    return (tap->done || tap->terminal) && !tap->facts.error;
}

/* Passes over digits. NULL when there are none, or more than fit. */
static const char *skip_number(const char *p, const char *end, uint64_t *ret)
{
    const char *begin = p;
    uint64_t value = 0;
    while (p < end && *p >= '0' && *p <= '9' && p - begin < 19)
        value = value * 10 + (uint64_t)(*p++ - '0');
    *ret = value;
    return p == begin ? NULL : p;
}

static const char *skip_hole(enum answer_hole_kind kind, struct span data, const char *p, struct difference *ret)
{
    uint64_t ignored = 0;
    switch (kind) {
    case HOLE_TEXT:
        return string_skip(data, p, &ret->text_bytes);
    case HOLE_STRING:
        return string_skip(data, p, &ignored);
    case HOLE_SEQUENCE:
        ret->has_sequence = true;
        return skip_number(p, data.ptr + data.len, &ret->sequence);
    case HOLE_NUMBER:
        break;
    }
    return skip_number(p, data.ptr + data.len, &ignored);
}

/*
 * Whether the data is the pattern again but for the values in its holes. Then it is the same JSON structure, since a
 * hole is one whole string or number in both. `numbers`: plain numbers may differ too.
 */
static bool is_same_but_holes(const struct stream_tap *tap, struct span data, bool numbers, struct difference *ret)
{
    const char *p = data.ptr, *end = p + data.len, *pattern = tap->pattern + tap->name_len;
    size_t at = 0, len;
    for (unsigned i = 0; i < tap->holes.count; i++) {
        const struct answer_hole *hole = &tap->holes.at[i];
        if (hole->kind == HOLE_NUMBER && !numbers)
            continue;
        len = hole->start - at;
        if ((size_t)(end - p) < len || memcmp(p, pattern + at, len) != 0)
            return false;
        p = skip_hole(hole->kind, data, p + len, ret);
        if (!p)
            return false;
        at = hole->end;
    }
    len = tap->data_len - at;
    return (size_t)(end - p) == len && memcmp(p, pattern + at, len) == 0;
}

/* Plain numbers change in each event or hardly ever: first as it was the last time, then the other way. */
static bool is_same_again(struct stream_tap *tap, const struct sse_event *event, struct difference *ret)
{
    if (!tap->has_pattern || !event->data.len || !span_equal(event->name, span_of(tap->pattern, tap->name_len)))
        return false;
    if (is_same_but_holes(tap, event->data, tap->numbers_vary, ret))
        return true;
    *ret = (struct difference){0};
    if (tap->numbers_vary || !is_same_but_holes(tap, event->data, true, ret))
        return false;
    tap->numbers_vary = true;
    return true;
}

static bool is_one_of(struct span text, const struct span *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (span_equal(words[i], text))
            return true;
    }
    return false;
}

/* An event of a named kind, by its `type`, else its event name. */
static enum event_kind typed_kind(struct span type, const struct answer_scan *scan)
{
    static const struct span preamble[] = {
        SPAN_INIT("response.created"),
        SPAN_INIT("response.queued"),
        SPAN_INIT("response.in_progress"),
        SPAN_INIT("response.output_item.added"),
        SPAN_INIT("response.content_part.added"),
        SPAN_INIT("response.reasoning_summary_part.added"),
        SPAN_INIT("keepalive"),
        SPAN_INIT("ping"),
    };
    static const struct span terminal[] = {
        SPAN_INIT("response.completed"),         SPAN_INIT("response.incomplete"),  SPAN_INIT("response.cancelled"),
        SPAN_INIT("image_generation.completed"), SPAN_INIT("image_edit.completed"), SPAN_INIT("transcript.text.done"),
        SPAN_INIT("speech.audio.done"),
    };
    if (span_equal(type, SPAN("error")) || span_equal(type, SPAN("response.failed")))
        return EVENT_ERROR;
    if (is_one_of(type, terminal, ARRAY_LEN(terminal)))
        return EVENT_TERMINAL;
    if (is_one_of(type, preamble, ARRAY_LEN(preamble)))
        return EVENT_OTHER;
    /* A delta of nothing; media lie in members that are not read. */
    if (scan && span_ends_with(type, SPAN(".delta")) && !span_equal(type, SPAN("speech.audio.delta")) && !scan->text &&
        !scan->other_content)
        return EVENT_OTHER;
    return EVENT_CONTENT;
}

static enum event_kind kind_of(const struct answer_scan *scan, struct span name)
{
    struct span type = scan->type_len ? span_of(scan->type, scan->type_len) : name;
    if (scan->error || scan->flat_error || span_equal(name, SPAN("error")))
        return EVENT_ERROR;
    if (!scan->is_object)
        return EVENT_CONTENT;
    if (scan->has_choices && scan->choices_empty)
        return scan->has_usage ? EVENT_USAGE_ONLY : EVENT_OTHER;
    if (scan->has_choices)
        return scan->text || scan->other_content ? EVENT_CONTENT : EVENT_OTHER;
    return typed_kind(type, scan);
}

static void learn(struct stream_tap *tap, const struct sse_event *event, const struct answer_scan *scan,
                  const struct answer_holes *holes)
{
    size_t size = event->name.len + event->data.len;
    tap->has_pattern = false;
    if (scan->has_usage || scan->has_finish || holes->overflow || size > STREAM_TAP_PATTERN_MAX)
        return;
    if (size > tap->pattern_cap) {
        tap->pattern_cap = size <= PATTERN_MIN ? PATTERN_MIN : STREAM_TAP_PATTERN_MAX;
        tap->pattern = arena_bytes(tap->arena, tap->pattern_cap);
    }
    if (event->name.len)
        memcpy(tap->pattern, event->name.ptr, event->name.len);
    memcpy(tap->pattern + event->name.len, event->data.ptr, event->data.len);
    tap->name_len = (unsigned)event->name.len;
    tap->data_len = (unsigned)event->data.len;
    tap->holes = *holes;
    tap->pattern_content = scan->other_content || !scan->text;
    tap->has_pattern = true;
    tap->numbers_vary = false;
}

/* Reads an event with the JSON reader. */
static enum event_kind read_event(struct stream_tap *tap, const struct sse_event *event)
{
    struct answer_scan scan;
    struct answer_holes holes;
    holes.count = 0;
    holes.overflow = false;
    answer_scan_init(&scan, &tap->facts, tap->arena, &holes);
    if (answer_scan_feed(&scan, event->data, true) != JSON_DONE)
        return typed_kind(event->name, NULL);
    enum event_kind kind = kind_of(&scan, event->name);
    if (span_equal(span_of(scan.type, scan.type_len), SPAN("response.failed")))
        tap->terminal = true;
    if (kind == EVENT_CONTENT)
        learn(tap, event, &scan, &holes);
    return kind;
}

static enum event_kind kind_by_text(struct stream_tap *tap, const struct sse_event *event)
{
    if (event->opaque)
        return typed_kind(event->name, NULL);
    if (!event->has_data || event->data.len == 0)
        return EVENT_OTHER;
    if (span_starts_with(event->data, SPAN("[DONE]")))
        return EVENT_DONE;
    return read_event(tap, event);
}

enum event_kind stream_tap_event(struct stream_tap *tap, const struct sse_event *event)
{
    struct difference difference = {0};
    if (is_same_again(tap, event, &difference)) {
        tap->facts.text_bytes += difference.text_bytes;
        if (difference.has_sequence)
            tap->facts.sequence = difference.sequence;
        return difference.text_bytes || tap->pattern_content ? EVENT_CONTENT : EVENT_OTHER;
    }
    enum event_kind kind = kind_by_text(tap, event);
    tap->done = tap->done || kind == EVENT_DONE;
    tap->terminal = tap->terminal || kind == EVENT_TERMINAL || span_equal(event->name, SPAN("response.failed"));
    tap->facts.error = tap->facts.error || kind == EVENT_ERROR;
    tap->content = tap->content || kind == EVENT_CONTENT || kind == EVENT_TERMINAL;
    return kind;
}
