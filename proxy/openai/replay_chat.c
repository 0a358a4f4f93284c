/* SPDX-License-Identifier: Apache-2.0 */
/* Streams of chat and completions: judged, and written as the JSON answer. */
#include "openai/replay_merge.h"

/* --- judging --- */

static bool check_choice(struct replay_merge *m, const struct replay_node *choice)
{
    struct replay_facts *facts = m->facts;
    struct replay_node *reason = replay_node_member(choice, SPAN("finish_reason"));
    struct replay_node *message = m->chat ? replay_node_member(choice, SPAN("message")) : NULL;
    unsigned finish = replay_finish(replay_node_value(reason));
    if (choice->index != facts->choices)
        replay_blame(facts, REPLAY_UNFINISHED); /* one is missing */
    else if (message && message->kind != JSON_OBJECT_OPEN && message->kind != JSON_NULL)
        replay_blame(facts, REPLAY_MALFORMED);
    else if (!m->chat && !replay_node_is_text(replay_node_member(choice, SPAN("text"))))
        replay_blame(facts, REPLAY_MALFORMED);
    else if (!replay_node_is_text(reason) || replay_node_is_blank(reason))
        replay_blame(facts, REPLAY_UNFINISHED);
    else if (!finish)
        replay_blame(facts, REPLAY_ERROR);
    else if (finish == FINISH_CONTENT_FILTER)
        replay_blame(facts, REPLAY_FILTERED);
    facts->finish |= finish;
    facts->choices++;
    return facts->flaw == REPLAY_SOUND;
}

static void check(struct replay_merge *m)
{
    struct replay_facts *facts = m->facts;
    if (!m->choices || !m->choices->first) {
        replay_blame(facts, REPLAY_UNFINISHED);
        return;
    }
    for (struct replay_node *choice = m->choices->first; choice; choice = choice->next)
        if (!check_choice(m, choice))
            return;
    struct replay_node *model = replay_node_member(&m->root, SPAN("model"));
    if (model)
        facts->model = replay_plain((struct json_value){model->kind, model->raw});
    replay_usage(m->usage, &facts->usage);
}

/* The chunks that hold only usage are hidden together, so they must be one run. */
static void note_usage(struct replay_merge *m, const struct sse_event *event)
{
    struct replay_facts *facts = m->facts;
    if (!m->usage_only)
        return;
    if (facts->usage_end != facts->usage_start && facts->usage_end != event->start)
        replay_blame(facts, REPLAY_MALFORMED);
    if (facts->usage_end == facts->usage_start)
        facts->usage_start = event->start;
    facts->usage_end = event->end;
}

static bool read_event(struct replay_merge *m, const struct replay_stream *stream)
{
    const struct sse_event *event = &stream->event;
    if (span_equal(event->name, SPAN("error")))
        replay_blame(m->facts, REPLAY_ERROR);
    else if (event->name.len && !span_equal(event->name, SPAN("message")))
        replay_blame(m->facts, REPLAY_MALFORMED);
    else if (replay_merge_chunk(m, stream->in_place ? event->data : arena_copy(m->arena, event->data)))
        note_usage(m, event);
    return m->facts->flaw == REPLAY_SOUND;
}

static void read_events(struct replay_merge *m, struct span events)
{
    struct replay_stream stream;
    bool done = false;
    replay_stream_begin(&stream, events);
    while (m->facts->flaw == REPLAY_SOUND && replay_stream_next(&stream)) {
        if (done)
            replay_blame(m->facts, REPLAY_UNFINISHED); /* what follows [DONE] is not understood */
        else if (span_equal(stream.event.data, SPAN("[DONE]")))
            done = true;
        else if (!read_event(m, &stream))
            break;
    }
    if (!replay_stream_end(&stream) || !done)
        replay_blame(m->facts, REPLAY_UNFINISHED);
}

/* --- writing --- */

static void put_node(struct buffer *out, const struct replay_node *node);

static void put_string(struct buffer *out, const struct replay_node *node)
{
    REPLAY_PUT(out, "\"");
    for (const struct replay_text *text = &node->text; text; text = text->next)
        buffer_append(out, text->inside);
    REPLAY_PUT(out, "\"");
}

/* The name, after a comma if something stands before it in the container that was opened at `opened`. */
static void put_name(struct buffer *out, size_t opened, struct span spelled)
{
    if (buffer_len(out) > opened)
        REPLAY_PUT(out, ",");
    buffer_append(out, spelled);
    REPLAY_PUT(out, ":");
}

static void put_members(struct buffer *out, const struct replay_node *object, bool index)
{
    REPLAY_PUT(out, "{");
    size_t opened = buffer_len(out);
    for (const struct replay_node *node = object->first; node; node = node->next) {
        if (!index && span_equal(node->name, SPAN("index")))
            continue;
        put_name(out, opened, node->spelled);
        put_node(out, node);
    }
    REPLAY_PUT(out, "}");
}

static void put_elements(struct buffer *out, const struct replay_node *array)
{
    bool calls = span_equal(array->name, SPAN("tool_calls"));
    REPLAY_PUT(out, "[");
    for (const struct replay_node *node = array->first; node; node = node->next) {
        if (node != array->first)
            REPLAY_PUT(out, ",");
        if (array->indexed)
            put_members(out, node, !calls);
        else
            buffer_append(out, node->raw);
    }
    REPLAY_PUT(out, "]");
}

static void put_node(struct buffer *out, const struct replay_node *node)
{
    if (node->kind == JSON_STRING && node->last_text)
        put_string(out, node);
    else if (!node->merged)
        buffer_append(out, node->raw);
    else if (node->kind == JSON_OBJECT_OPEN)
        put_members(out, node, true);
    else
        put_elements(out, node);
}

static bool has_calls(const struct replay_node *message)
{
    const struct replay_node *calls = replay_node_member(message, SPAN("tool_calls"));
    const struct replay_node *call = replay_node_member(message, SPAN("function_call"));
    return (calls && calls->first) || (call && call->kind == JSON_OBJECT_OPEN);
}

/* A message without text has a null content, where its stream may have said "" or nothing. */
static bool is_contentless(const struct replay_node *message)
{
    const struct replay_node *content = replay_node_member(message, SPAN("content"));
    const struct replay_node *refusal = replay_node_member(message, SPAN("refusal"));
    bool refused = replay_node_is_text(refusal) && !replay_node_is_blank(refusal);
    return !content || (replay_node_is_blank(content) && (refused || has_calls(message)));
}

static void put_message(struct buffer *out, const struct replay_node *message)
{
    REPLAY_PUT(out, "{");
    size_t opened = buffer_len(out);
    if (!replay_node_member(message, SPAN("role")))
        REPLAY_PUT(out, "\"role\":\"assistant\"");
    bool contentless = is_contentless(message);
    if (!replay_node_member(message, SPAN("content"))) {
        put_name(out, opened, SPAN("\"content\""));
        REPLAY_PUT(out, "null");
    }
    for (const struct replay_node *node = message->first; node; node = node->next) {
        put_name(out, opened, node->spelled);
        if (contentless && span_equal(node->name, SPAN("content")))
            REPLAY_PUT(out, "null");
        else
            put_node(out, node);
    }
    REPLAY_PUT(out, "}");
}

static void put_choice(struct buffer *out, const struct replay_node *choice, bool chat)
{
    static const struct replay_node silent = {.kind = JSON_OBJECT_OPEN, .merged = true};
    REPLAY_PUT(out, "{");
    size_t opened = buffer_len(out);
    if (chat && !replay_node_member(choice, SPAN("message"))) {
        put_name(out, opened, SPAN("\"message\""));
        put_message(out, &silent);
    }
    for (const struct replay_node *node = choice->first; node; node = node->next) {
        put_name(out, opened, node->spelled);
        if (chat && span_equal(node->name, SPAN("message")))
            put_message(out, node->merged ? node : &silent);
        else
            put_node(out, node);
    }
    REPLAY_PUT(out, "}");
}

static void put_choices(struct buffer *out, const struct replay_merge *m)
{
    REPLAY_PUT(out, "[");
    for (const struct replay_node *choice = m->choices->first; choice; choice = choice->next) {
        if (choice != m->choices->first)
            REPLAY_PUT(out, ",");
        put_choice(out, choice, m->chat);
    }
    REPLAY_PUT(out, "]");
}

static void put_answer(struct buffer *out, const struct replay_merge *m)
{
    REPLAY_PUT(out, "{");
    size_t opened = buffer_len(out);
    for (const struct replay_node *node = m->root.first; node; node = node->next) {
        put_name(out, opened, node->spelled);
        if (node == m->choices)
            put_choices(out, m);
        else if (span_equal(node->name, SPAN("object")))
            buffer_append(out, m->chat ? SPAN("\"chat.completion\"") : SPAN("\"text_completion\""));
        else
            buffer_append(out, node->raw);
    }
    if (m->usage.kind == JSON_OBJECT_OPEN) {
        put_name(out, opened, SPAN("\"usage\""));
        buffer_append(out, m->usage.raw);
    }
    REPLAY_PUT(out, "}");
}

void replay_read_chunks(enum operation_id operation, struct span events, struct replay_facts *facts, struct buffer *out)
{
    struct arena arena;
    struct replay_merge merge;
    arena_init(&arena);
    replay_merge_init(&merge, &arena, operation == OPERATION_CHAT, facts);
    read_events(&merge, events);
    check(&merge);
    if (out && facts->flaw == REPLAY_SOUND)
        put_answer(out, &merge);
    arena_finish(&arena);
}
