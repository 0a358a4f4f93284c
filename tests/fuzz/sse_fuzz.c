/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An event stream, read whole and in pieces: the same events, borders without a gap; and its events, read with and
 * without comparison to the one before: the same meaning. The first byte chooses the pieces.
 */
#include <stdlib.h>

#include "base/json_value.h"
#include "openai/stream_tap.h"

#define LIMIT 512

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

/* All events as text, so that two readings can be compared. */
static void read_all(struct span text, size_t step, struct buffer *out)
{
    struct sse_reader reader;
    struct sse_event event;
    uint64_t border = 0;
    sse_init(&reader, LIMIT);
    for (; text.len; text = span_skip(text, step)) {
        /* In memory of its own: nothing may be read after the call. */
        struct span piece = span_take(text, step);
        char *copy = malloc(piece.len);
        require(copy != NULL);
        memcpy(copy, piece.ptr, piece.len);
        struct span in = span_of(copy, piece.len);
        while (sse_next(&reader, &in, &event) == SSE_EVENT) {
            require(event.start == border && event.end > border && event.end <= reader.offset);
            require(event.data.len <= LIMIT && event.name.len <= SSE_NAME_MAX);
            require(!event.opaque || event.data.len == 0);
            border = event.end;
            buffer_format(out, "%d%d", event.has_data, event.opaque);
            buffer_append(out, event.name);
            buffer_append(out, SPAN("\r"));
            buffer_append(out, event.data);
            buffer_append(out, SPAN("\r"));
        }
        require(in.len == 0);
        free(copy);
    }
    sse_finish(&reader);
}

/* One event in a tap that remembers and in one that does not. */
static void compare(struct stream_tap *tap, struct stream_tap *plain, const struct sse_event *event)
{
    struct json_value value;
    uint64_t before = tap->facts.text_bytes, plain_before = plain->facts.text_bytes;
    plain->has_pattern = false;
    enum event_kind kind = stream_tap_event(tap, event), read = stream_tap_event(plain, event);
    /* What is no JSON may be compared without being noticed: then the first says what it looks like. */
    if (!json_value_parse(event->data, &value))
        return;
    require(kind == read);
    require(tap->facts.text_bytes - before == plain->facts.text_bytes - plain_before);
}

static void read_events(struct span in)
{
    struct arena arena;
    struct stream_tap tap, plain;
    struct sse_reader reader;
    struct sse_event event;
    arena_init(&arena);
    stream_tap_init(&tap, &arena);
    stream_tap_init(&plain, &arena);
    sse_init(&reader, LIMIT);
    while (sse_next(&reader, &in, &event) == SSE_EVENT)
        compare(&tap, &plain, &event);
    sse_finish(&reader);
    arena_finish(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct span text = span_of((const char *)data + 1, size - 1);
    struct buffer whole = {0}, pieces = {0};
    read_all(text, text.len ? text.len : 1, &whole);
    read_all(text, 1 + data[0] % 61, &pieces);
    require(span_equal(buffer_span(&whole), buffer_span(&pieces)));
    buffer_finish(&whole);
    buffer_finish(&pieces);
    read_events(text);
    return 0;
}
