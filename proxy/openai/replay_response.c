/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of the Responses API, as JSON or as a stream: are they whole and good? */
#include "openai/replay_parts.h"

/* --- JSON --- */

/* Objects, of no name twice, whose text can be said in events. */
static bool are_objects(struct json_value list, bool (*check)(struct span object), unsigned *ret_count)
{
    struct replay_walk walk;
    unsigned count = 0;
    if (list.kind != JSON_ARRAY_OPEN || !replay_walk_array(&walk, list.raw))
        return false;
    while (replay_walk_next(&walk)) {
        if (walk.value.kind != JSON_OBJECT_OPEN || !check(walk.value.raw))
            return false;
        count++;
    }
    if (ret_count)
        *ret_count = count;
    return !walk.bad;
}

static bool is_part(struct span part)
{
    struct replay_walk walk;
    bool good = replay_walk_object(&walk, part);
    while (good && replay_walk_next(&walk))
        ;
    return good && !walk.bad;
}

static bool is_item(struct span item)
{
    struct replay_walk walk;
    if (!replay_walk_object(&walk, item))
        return false;
    while (replay_walk_next(&walk)) {
        bool parts = replay_named(&walk, SPAN("content")) || replay_named(&walk, SPAN("summary"));
        if (parts && walk.value.kind == JSON_ARRAY_OPEN && !are_objects(walk.value, is_part, NULL))
            return false;
    }
    return !walk.bad;
}

/* An answer that was cut short by a limit on tokens is whole; one that was cut short for any other reason is not. */
static void judge_status(struct json_value status, struct json_value details, struct replay_facts *facts)
{
    struct span word = replay_plain(status);
    struct json_value reason = {.kind = JSON_MORE};
    if (details.kind == JSON_OBJECT_OPEN)
        reason = replay_member(details.raw, SPAN("reason"));
    if (span_equal(word, SPAN("completed")))
        facts->finish |= FINISH_STOP;
    else if (span_equal(word, SPAN("incomplete")) && json_value_is(reason, SPAN("max_output_tokens")))
        facts->finish |= FINISH_LENGTH;
    else if (span_equal(word, SPAN("incomplete")) && json_value_is(reason, SPAN("content_filter")))
        replay_blame(facts, REPLAY_FILTERED);
    else if (span_equal(word, SPAN("queued")) || span_equal(word, SPAN("in_progress")))
        replay_blame(facts, REPLAY_UNFINISHED);
    else
        replay_blame(facts, status.kind == JSON_STRING ? REPLAY_ERROR : REPLAY_MALFORMED);
}

static void scan_member(const struct replay_walk *walk, struct replay_facts *facts)
{
    struct json_value value = walk->value;
    if (replay_named(walk, SPAN("error")) && !replay_is_empty(value))
        replay_blame(facts, REPLAY_ERROR);
    else if (replay_named(walk, SPAN("object")) && !json_value_is(value, SPAN("response")))
        replay_blame(facts, json_value_is(value, SPAN("error")) ? REPLAY_ERROR : REPLAY_MALFORMED);
    else if (replay_named(walk, SPAN("output")) && !are_objects(value, is_item, &facts->choices))
        replay_blame(facts, REPLAY_MALFORMED);
    else if (replay_named(walk, SPAN("model")))
        facts->model = replay_plain(value);
    else if (replay_named(walk, SPAN("usage")))
        replay_usage(value, &facts->usage);
    else if (replay_is_report(walk->name) && replay_filtered(value))
        replay_blame(facts, REPLAY_FILTERED);
}

void replay_scan_response(struct span json, struct replay_facts *facts)
{
    struct replay_walk walk;
    struct json_value status = {.kind = JSON_MORE}, details = status;
    bool output = false;
    if (!replay_walk_object(&walk, json)) {
        replay_blame(facts, REPLAY_MALFORMED);
        return;
    }
    while (facts->flaw == REPLAY_SOUND && replay_walk_next(&walk)) {
        if (replay_named(&walk, SPAN("status")))
            status = walk.value;
        if (replay_named(&walk, SPAN("incomplete_details")))
            details = walk.value;
        output = output || replay_named(&walk, SPAN("output"));
        scan_member(&walk, facts);
    }
    if (walk.bad || !output)
        replay_blame(facts, REPLAY_MALFORMED);
    judge_status(status, details, facts);
}

/* --- streams --- */

struct response_reader {
    struct replay_facts *facts;
    struct buffer kept; /* the answer, when its event does not lie in the stream */
    struct span answer; /* of the terminal event; ptr NULL: not there yet */
    unsigned items;     /* that were done */
};

/* The name of the event, which its data repeats; some servers leave the former out. */
static struct span type_of(const struct sse_event *event)
{
    if (event->name.len && !span_equal(event->name, SPAN("message")))
        return event->name;
    return replay_plain(replay_member(event->data, SPAN("type")));
}

static void read_terminal(struct response_reader *r, const struct replay_stream *stream, struct span type)
{
    struct replay_walk walk;
    struct span data = stream->event.data;
    if (!stream->in_place) {
        buffer_append(&r->kept, data);
        data = buffer_span(&r->kept);
    }
    bool good = replay_walk_object(&walk, data);
    while (good && replay_walk_next(&walk)) {
        if (replay_named(&walk, SPAN("response")) && walk.value.kind == JSON_OBJECT_OPEN)
            r->answer = walk.value.raw;
        if (replay_named(&walk, SPAN("type")) && !json_value_is(walk.value, type))
            good = false;
    }
    if (!good || walk.bad || !r->answer.ptr)
        replay_blame(r->facts, REPLAY_MALFORMED);
}

static void read_event(struct response_reader *r, const struct replay_stream *stream)
{
    const struct sse_event *event = &stream->event;
    if (span_equal(event->data, SPAN("[DONE]"))) {
        if (!r->answer.ptr)
            replay_blame(r->facts, REPLAY_UNFINISHED);
        return;
    }
    struct span type = type_of(event);
    if (r->answer.ptr)
        replay_blame(r->facts, REPLAY_UNFINISHED); /* what follows the end is not understood */
    else if (type.len == 0)
        replay_blame(r->facts, REPLAY_MALFORMED);
    else if (span_equal(type, SPAN("response.completed")) || span_equal(type, SPAN("response.incomplete")))
        read_terminal(r, stream, type);
    else if (span_equal(type, SPAN("error")) || span_equal(type, SPAN("response.failed")) ||
             span_equal(type, SPAN("response.cancelled")))
        replay_blame(r->facts, REPLAY_ERROR);
    else if (span_equal(type, SPAN("response.output_item.done")))
        r->items++;
}

void replay_read_response(struct span events, struct replay_facts *facts, struct buffer *out)
{
    struct response_reader reader = {.facts = facts};
    struct replay_stream stream;
    replay_stream_begin(&stream, events);
    while (facts->flaw == REPLAY_SOUND && replay_stream_next(&stream))
        read_event(&reader, &stream);
    if (!replay_stream_end(&stream) || !reader.answer.ptr)
        replay_blame(facts, REPLAY_UNFINISHED);
    if (facts->flaw == REPLAY_SOUND)
        replay_scan_response(reader.answer, facts);
    /* Some servers end with an answer that lacks what the stream said. */
    if (reader.items > facts->choices)
        replay_blame(facts, REPLAY_UNFINISHED);
    if (out && facts->flaw == REPLAY_SOUND)
        buffer_append(out, reader.answer);
    if (reader.kept.ptr)
        facts->model = (struct span){NULL, 0};
    buffer_finish(&reader.kept);
}
