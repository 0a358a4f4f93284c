/* SPDX-License-Identifier: Apache-2.0 */
/* JSON answers of the Responses API, written as the events of a stream. */
#include <stdio.h>

#include "openai/replay_parts.h"

struct event_writer {
    struct buffer *out;
    size_t piece;
    uint64_t sequence;
    unsigned output;   /* index of the item under way */
    struct span item;  /* its id, spelled */
    struct span index; /* of the part under way: content_index or summary_index ... */
    unsigned part;     /* ... and its value */
};

/* --- events --- */

static void begin_event(struct event_writer *w, struct span type, struct span suffix)
{
    buffer_format(w->out, "event: %.*s%.*s\ndata: {\"type\":\"%.*s%.*s\",\"sequence_number\":%llu", SPAN_ARG(type),
                  SPAN_ARG(suffix), SPAN_ARG(type), SPAN_ARG(suffix), (unsigned long long)w->sequence++);
}

static void end_event(struct event_writer *w)
{
    REPLAY_PUT(w->out, "}\n\n");
}

static void put_member(struct event_writer *w, struct span name, struct span value)
{
    REPLAY_PUT(w->out, ",\"");
    buffer_append(w->out, name);
    REPLAY_PUT(w->out, "\":");
    buffer_append(w->out, value);
}

/* An event of the item under way, and of its part if it has one. */
static void begin_inner(struct event_writer *w, struct span type, struct span suffix)
{
    begin_event(w, type, suffix);
    put_member(w, SPAN("item_id"), w->item);
    buffer_format(w->out, ",\"output_index\":%u", w->output);
    if (w->index.len)
        buffer_format(w->out, ",\"%.*s\":%u", SPAN_ARG(w->index), w->part);
}

/* --- objects as they are when they begin --- */

/* A member that is filled by later events, and what it is before. */
struct blank {
    struct span name;
    enum json_event kind; /* of values that are replaced */
    struct span value;
};

static const struct blank item_blanks[] = {
    {SPAN_INIT("status"), JSON_STRING, SPAN_INIT("\"in_progress\"")},
    {SPAN_INIT("content"), JSON_ARRAY_OPEN, SPAN_INIT("[]")},
    {SPAN_INIT("summary"), JSON_ARRAY_OPEN, SPAN_INIT("[]")},
    {SPAN_INIT("arguments"), JSON_STRING, SPAN_INIT("\"\"")},
    {SPAN_INIT("input"), JSON_STRING, SPAN_INIT("\"\"")},
    {SPAN_INIT("code"), JSON_STRING, SPAN_INIT("\"\"")},
    {SPAN_INIT("output"), JSON_STRING, SPAN_INIT("null")},
    {SPAN_INIT("outputs"), JSON_ARRAY_OPEN, SPAN_INIT("null")},
    {SPAN_INIT("results"), JSON_ARRAY_OPEN, SPAN_INIT("null")},
    {SPAN_INIT("result"), JSON_STRING, SPAN_INIT("null")},
};

static const struct blank part_blanks[] = {
    {SPAN_INIT("text"), JSON_STRING, SPAN_INIT("\"\"")},
    {SPAN_INIT("refusal"), JSON_STRING, SPAN_INIT("\"\"")},
    {SPAN_INIT("annotations"), JSON_ARRAY_OPEN, SPAN_INIT("[]")},
    {SPAN_INIT("logprobs"), JSON_ARRAY_OPEN, SPAN_INIT("[]")},
};

static const struct blank response_blanks[] = {
    {SPAN_INIT("status"), JSON_STRING, SPAN_INIT("\"in_progress\"")},
    {SPAN_INIT("output"), JSON_ARRAY_OPEN, SPAN_INIT("[]")},
    {SPAN_INIT("usage"), JSON_OBJECT_OPEN, SPAN_INIT("null")},
    {SPAN_INIT("incomplete_details"), JSON_OBJECT_OPEN, SPAN_INIT("null")},
    {SPAN_INIT("completed_at"), JSON_NUMBER, SPAN_INIT("null")},
};

static void put_begun(struct event_writer *w, struct span object, const struct blank *blanks, size_t count)
{
    struct replay_walk walk;
    REPLAY_PUT(w->out, "{");
    size_t opened = buffer_len(w->out);
    bool more = replay_walk_object(&walk, object);
    while (more && replay_walk_next(&walk)) {
        struct span value = walk.value.raw;
        for (size_t i = 0; i < count; i++)
            if (replay_named(&walk, blanks[i].name) && walk.value.kind == blanks[i].kind)
                value = blanks[i].value;
        if (buffer_len(w->out) > opened)
            REPLAY_PUT(w->out, ",");
        buffer_append(w->out, walk.spelled);
        REPLAY_PUT(w->out, ":");
        buffer_append(w->out, value);
    }
    REPLAY_PUT(w->out, "}");
}

/* --- text --- */

/* The deltas of one text and its done. `name` is the member that holds it in the done event. */
static void put_text(struct event_writer *w, struct span event, struct span name, struct json_value text,
                     const struct json_value *logprobs)
{
    struct span inside = replay_inside(text.raw);
    bool one = logprobs && logprobs->kind == JSON_ARRAY_OPEN && !replay_is_empty(*logprobs);
    struct span said = one ? logprobs->raw : SPAN("[]");
    while (inside.len) {
        size_t cut = replay_cut(inside, one ? 0 : w->piece);
        begin_inner(w, event, SPAN(".delta"));
        REPLAY_PUT(w->out, ",\"delta\":\"");
        buffer_append(w->out, span_take(inside, cut));
        REPLAY_PUT(w->out, "\"");
        if (logprobs)
            put_member(w, SPAN("logprobs"), said);
        end_event(w);
        inside = span_skip(inside, cut);
    }
    begin_inner(w, event, SPAN(".done"));
    put_member(w, name, text.raw);
    if (logprobs)
        put_member(w, SPAN("logprobs"), said);
}

/* --- parts --- */

struct part_form {
    struct span type, text, event;
};

static const struct part_form part_forms[] = {
    {SPAN_INIT("output_text"), SPAN_INIT("text"), SPAN_INIT("response.output_text")},
    {SPAN_INIT("refusal"), SPAN_INIT("refusal"), SPAN_INIT("response.refusal")},
    {SPAN_INIT("reasoning_text"), SPAN_INIT("text"), SPAN_INIT("response.reasoning_text")},
    {SPAN_INIT("summary_text"), SPAN_INIT("text"), SPAN_INIT("response.reasoning_summary_text")},
};

static void put_annotations(struct event_writer *w, struct json_value annotations)
{
    struct replay_walk walk;
    unsigned index = 0;
    bool more = annotations.kind == JSON_ARRAY_OPEN && replay_walk_array(&walk, annotations.raw);
    while (more && replay_walk_next(&walk)) {
        begin_inner(w, SPAN("response.output_text.annotation"), SPAN(".added"));
        buffer_format(w->out, ",\"annotation_index\":%u", index++);
        put_member(w, SPAN("annotation"), walk.value.raw);
        end_event(w);
    }
}

static void put_part_text(struct event_writer *w, struct span part)
{
    struct span type = replay_plain(replay_member(part, SPAN("type")));
    for (size_t i = 0; i < ARRAY_LEN(part_forms); i++) {
        const struct part_form *form = &part_forms[i];
        struct json_value text = replay_member(part, form->text);
        if (!span_equal(form->type, type) || text.kind != JSON_STRING)
            continue;
        bool prose = i == 0;
        struct json_value logprobs = replay_member(part, SPAN("logprobs"));
        put_text(w, form->event, form->text, text, prose ? &logprobs : NULL);
        end_event(w);
        if (prose)
            put_annotations(w, replay_member(part, SPAN("annotations")));
    }
}

static void put_parts(struct event_writer *w, struct json_value parts, struct span index, struct span event)
{
    struct replay_walk walk;
    bool more = parts.kind == JSON_ARRAY_OPEN && replay_walk_array(&walk, parts.raw);
    w->index = index;
    w->part = 0;
    for (; more && replay_walk_next(&walk); w->part++) {
        struct span part = walk.value.raw;
        begin_inner(w, event, SPAN(".added"));
        REPLAY_PUT(w->out, ",\"part\":");
        put_begun(w, part, part_blanks, ARRAY_LEN(part_blanks));
        end_event(w);
        put_part_text(w, part);
        begin_inner(w, event, SPAN(".done"));
        put_member(w, SPAN("part"), part);
        end_event(w);
    }
    w->index = SPAN("");
}

/* --- items --- */

/* What an item of a tool goes through: events before its text, the text, events after it. */
struct item_form {
    struct span type, text, event;
    struct span before[2], after[2]; /* suffixes of response.TYPE */
};

static const struct item_form item_forms[] = {
    {.type = SPAN_INIT("function_call"),
     .text = SPAN_INIT("arguments"),
     .event = SPAN_INIT("response.function_call_arguments")},
    {.type = SPAN_INIT("custom_tool_call"),
     .text = SPAN_INIT("input"),
     .event = SPAN_INIT("response.custom_tool_call_input")},
    {.type = SPAN_INIT("mcp_call"),
     .text = SPAN_INIT("arguments"),
     .event = SPAN_INIT("response.mcp_call_arguments"),
     .before = {SPAN_INIT(".in_progress")},
     .after = {SPAN_INIT(".completed")}},
    {.type = SPAN_INIT("code_interpreter_call"),
     .text = SPAN_INIT("code"),
     .event = SPAN_INIT("response.code_interpreter_call_code"),
     .before = {SPAN_INIT(".in_progress")},
     .after = {SPAN_INIT(".interpreting"), SPAN_INIT(".completed")}},
    {.type = SPAN_INIT("web_search_call"),
     .before = {SPAN_INIT(".in_progress"), SPAN_INIT(".searching")},
     .after = {SPAN_INIT(".completed")}},
    {.type = SPAN_INIT("file_search_call"),
     .before = {SPAN_INIT(".in_progress"), SPAN_INIT(".searching")},
     .after = {SPAN_INIT(".completed")}},
    {.type = SPAN_INIT("image_generation_call"),
     .before = {SPAN_INIT(".in_progress"), SPAN_INIT(".generating")},
     .after = {SPAN_INIT(".completed")}},
    {.type = SPAN_INIT("mcp_list_tools"), .before = {SPAN_INIT(".in_progress")}, .after = {SPAN_INIT(".completed")}},
};

static void put_steps(struct event_writer *w, struct span type, const struct span steps[2])
{
    for (unsigned i = 0; i < 2 && steps[i].len; i++) {
        char name[SSE_NAME_MAX];
        int len = snprintf(name, sizeof(name), "response.%.*s", SPAN_ARG(type));
        begin_inner(w, span_of(name, (size_t)len), steps[i]);
        end_event(w);
    }
}

static void put_tool(struct event_writer *w, struct span item, const struct item_form *form)
{
    struct json_value text = {.kind = JSON_MORE}, status = replay_member(item, SPAN("status"));
    if (form->text.len)
        text = replay_member(item, form->text);
    put_steps(w, form->type, form->before);
    if (text.kind == JSON_STRING) {
        struct json_value name = replay_member(item, SPAN("name"));
        put_text(w, form->event, form->text, text, NULL);
        if (name.kind == JSON_STRING)
            put_member(w, SPAN("name"), name.raw);
        end_event(w);
    }
    if (status.kind == JSON_MORE || json_value_is(status, SPAN("completed")))
        put_steps(w, form->type, form->after);
}

static void put_content(struct event_writer *w, struct span item)
{
    struct span type = replay_plain(replay_member(item, SPAN("type")));
    for (size_t i = 0; i < ARRAY_LEN(item_forms); i++)
        if (span_equal(item_forms[i].type, type)) {
            put_tool(w, item, &item_forms[i]);
            return;
        }
    put_parts(w, replay_member(item, SPAN("summary")), SPAN("summary_index"), SPAN("response.reasoning_summary_part"));
    put_parts(w, replay_member(item, SPAN("content")), SPAN("content_index"), SPAN("response.content_part"));
}

static void put_item(struct event_writer *w, struct span item)
{
    struct json_value id = replay_member(item, SPAN("id"));
    w->item = id.kind == JSON_STRING ? id.raw : SPAN("\"\"");
    begin_event(w, SPAN("response.output_item"), SPAN(".added"));
    buffer_format(w->out, ",\"output_index\":%u,\"item\":", w->output);
    put_begun(w, item, item_blanks, ARRAY_LEN(item_blanks));
    end_event(w);
    put_content(w, item);
    begin_event(w, SPAN("response.output_item"), SPAN(".done"));
    buffer_format(w->out, ",\"output_index\":%u", w->output);
    put_member(w, SPAN("item"), item);
    end_event(w);
}

/* --- the stream --- */

static void put_beginning(struct event_writer *w, struct span suffix, struct span response)
{
    begin_event(w, SPAN("response"), suffix);
    REPLAY_PUT(w->out, ",\"response\":");
    put_begun(w, response, response_blanks, ARRAY_LEN(response_blanks));
    end_event(w);
}

void replay_write_response(struct span json, const struct replay_options *options, struct buffer *out)
{
    struct event_writer writer = {.out = out, .piece = options->piece};
    struct replay_walk walk;
    put_beginning(&writer, SPAN(".created"), json);
    put_beginning(&writer, SPAN(".in_progress"), json);
    bool more = replay_walk_array(&walk, replay_member(json, SPAN("output")).raw);
    for (; more && replay_walk_next(&walk); writer.output++)
        put_item(&writer, walk.value.raw);
    bool completed = json_value_is(replay_member(json, SPAN("status")), SPAN("completed"));
    begin_event(&writer, SPAN("response"), completed ? SPAN(".completed") : SPAN(".incomplete"));
    put_member(&writer, SPAN("response"), json);
    end_event(&writer);
}
