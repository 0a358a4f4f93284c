/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mock with any body: first byte the operation, second the options, the rest the body. Every JSON answer and every
 * event must be JSON again, up to the depth the reader goes, and the answer must end.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/json.h"
#include "openai/mock.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define EVENTS_LIMIT 100000

static void check_json(struct span text)
{
    struct json reader;
    json_init(&reader, JSON_DEPTH_LIMIT); /* an event nests what it repeats deeper than the request did */
    json_skip(&reader);
    if (json_next(&reader, &text, true) != JSON_SKIPPED || json_next(&reader, &text, true) != JSON_DONE)
        abort();
}

static void check_event(struct span event)
{
    if (!span_ends_with(event, SPAN("\n\n")))
        abort();
    if (span_starts_with(event, SPAN("event: ")))
        event = span_skip(event, span_find(event, '\n') + 1);
    if (!span_starts_with(event, SPAN("data: ")))
        abort();
    event = span_take(span_skip(event, 6), event.len - 8);
    if (span_find(event, '\n') != event.len)
        abort();
    if (!span_equal(event, SPAN("[DONE]")))
        check_json(event);
}

static void ask(struct arena *arena, const struct mock_options *options, const struct mock_request *request)
{
    struct mock_state state = {0};
    struct mock_run *run = mock_start(arena, options, &state, request);
    struct buffer out = {0};
    uint64_t pause;
    enum mock_step step = MOCK_MORE;
    for (int events = 0; step == MOCK_MORE; events++) {
        if (events > EVENTS_LIMIT)
            abort();
        step = mock_next(run, &out, &pause);
        if (run->answer.stream)
            check_event(buffer_span(&out));
        else if (buffer_len(&out) != run->answer.length)
            abort();
        else if (span_equal(run->answer.content_type, SPAN("application/json")))
            check_json(buffer_span(&out));
        buffer_finish(&out);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct arena arena;
    struct mock_options options;
    arena_init(&arena);
    mock_options_init(&options);
    options.azure = data[1] & 1;
    options.chunks = data[1] >> 4;
    struct mock_request request = {
        .operation = (enum operation_id)(data[0] % OPERATION_ID_COUNT),
        .content_type = data[1] & 2 ? SPAN("multipart/form-data; boundary=b") : SPAN("application/json"),
        .body = span_of((const char *)data + 2, size - 2),
        .wall = 1763827200000000,
    };
    ask(&arena, &options, &request);
    arena_finish(&arena);
    return 0;
}
