/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stored answer of any operation and form, as bad as it may be: judging it and turning it into the other form agree,
 * leave nothing behind when they refuse, and give valid JSON and valid events; and what was turned twice turns into the
 * same again. The first byte chooses operation and form, the second the pieces.
 */
#include <stdlib.h>

#include "openai/replay.h"
#include "openai/replay_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static bool is_json(struct span text)
{
    struct json r;
    json_init(&r, REPLAY_DEPTH + 4); /* events put an answer into a container */
    json_skip(&r);
    return json_next(&r, &text, true) == JSON_SKIPPED && json_next(&r, &text, true) == JSON_DONE;
}

static void require_events(struct span events)
{
    struct replay_stream stream;
    replay_stream_begin(&stream, events);
    while (replay_stream_next(&stream))
        require(span_equal(stream.event.data, SPAN("[DONE]")) || is_json(stream.event.data));
    require(replay_stream_end(&stream));
}

static enum replay_flaw judge(enum operation_id operation, enum replay_form form, struct span text)
{
    struct replay_facts facts;
    struct span parts[2];
    replay_scan(operation, form, text, &facts);
    require(facts.usage_start <= facts.usage_end && facts.usage_end <= text.len);
    replay_without_usage(text, facts.usage_start, facts.usage_end, parts);
    require(parts[0].len + parts[1].len + facts.usage_end - facts.usage_start == text.len);
    require(facts.flaw != REPLAY_SOUND || facts.choices || operation == OPERATION_RESPONSES);
    return facts.flaw;
}

/* To events and back. False when it cannot be turned, or when what comes back is read in another way. */
static bool turn(enum operation_id operation, struct span json, size_t piece, struct buffer *ret)
{
    struct buffer events = {0};
    struct replay_options options = {.include_usage = true, .piece = piece};
    bool sound = judge(operation, REPLAY_JSON, json) == REPLAY_SOUND;
    require(replay_events(operation, json, &options, &events) == sound);
    require(sound || buffer_len(&events) == 0);
    if (sound)
        require_events(buffer_span(&events));
    bool back = sound && replay_json(operation, buffer_span(&events), ret);
    require(!back || is_json(buffer_span(ret)));
    buffer_finish(&events);
    return back;
}

static void turn_and_turn(enum operation_id operation, struct span json, size_t piece)
{
    struct buffer once = {0}, twice = {0}, thrice = {0};
    if (turn(operation, json, piece, &once) && turn(operation, buffer_span(&once), 0, &twice)) {
        require(turn(operation, buffer_span(&twice), piece, &thrice));
        require(span_equal(buffer_span(&twice), buffer_span(&thrice)));
    }
    buffer_finish(&once);
    buffer_finish(&twice);
    buffer_finish(&thrice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum operation_id operations[] = {OPERATION_CHAT, OPERATION_COMPLETIONS, OPERATION_RESPONSES,
                                                   OPERATION_EMBEDDINGS};
    struct buffer json = {0};
    if (size < 2)
        return 0;
    enum operation_id operation = operations[data[0] / 2 % ARRAY_LEN(operations)];
    struct span text = span_of((const char *)data + 2, size - 2);
    if (operation == OPERATION_EMBEDDINGS) {
        (void)judge(operation, REPLAY_JSON, text);
    } else if (data[0] % 2) {
        turn_and_turn(operation, text, data[1]);
    } else {
        bool sound = judge(operation, REPLAY_EVENTS, text) == REPLAY_SOUND;
        require(replay_json(operation, text, &json) == sound);
        require(sound == (buffer_len(&json) > 0));
        require(!sound || is_json(buffer_span(&json)));
        if (sound)
            turn_and_turn(operation, buffer_span(&json), data[1]);
    }
    buffer_finish(&json);
    return 0;
}
