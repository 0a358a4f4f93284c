/* SPDX-License-Identifier: Apache-2.0 */
/* JSON answers of chat and completions, written as the chunks of a stream. */
#include <stdio.h>

#include "openai/replay_parts.h"

struct chunk_writer {
    struct buffer *out;
    bool chat, null_usage; /* "usage": null in each chunk */
    size_t piece;
    struct span head;                  /* what each chunk begins with, up to its choice */
    struct span once;                  /* members of the first chunk, each after a comma */
    struct json_value index, logprobs; /* of the choice under way */
    bool logprobs_due;                 /* not said yet */
};

/* --- the frame of a chunk --- */

static void begin_chunk(struct chunk_writer *w)
{
    REPLAY_PUT(w->out, "data: ");
    buffer_append(w->out, w->head);
    buffer_append(w->out, w->once);
    w->once = SPAN("");
    REPLAY_PUT(w->out, ",\"choices\":[");
}

static void end_chunk(struct chunk_writer *w)
{
    buffer_append(w->out, w->null_usage ? SPAN("],\"usage\":null}\n\n") : SPAN("]}\n\n"));
}

/* A chunk with one choice, up to its first own member. */
static void begin_choice(struct chunk_writer *w)
{
    begin_chunk(w);
    REPLAY_PUT(w->out, "{\"index\":");
    buffer_append(w->out, w->index.raw);
}

/* Log probabilities come with the first text; before and after, the member is null if there is one at all. */
static void put_logprobs(struct chunk_writer *w, bool now)
{
    if (w->logprobs.kind == JSON_MORE)
        return;
    REPLAY_PUT(w->out, ",\"logprobs\":");
    buffer_append(w->out, now && w->logprobs_due ? w->logprobs.raw : SPAN("null"));
    w->logprobs_due = w->logprobs_due && !now;
}

static void end_choice(struct chunk_writer *w)
{
    REPLAY_PUT(w->out, ",\"finish_reason\":null}");
    end_chunk(w);
}

/* --- text in pieces --- */

/* One chunk that holds `before`, the piece, `after`. */
static void put_piece(struct chunk_writer *w, struct span before, struct span piece, struct span after, bool logprobs)
{
    begin_choice(w);
    buffer_append(w->out, before);
    REPLAY_PUT(w->out, "\"");
    buffer_append(w->out, piece);
    REPLAY_PUT(w->out, "\"");
    buffer_append(w->out, after);
    put_logprobs(w, logprobs);
    end_choice(w);
}

static void put_text(struct chunk_writer *w, struct span before, struct span inside, struct span after, bool logprobs)
{
    size_t most = logprobs && w->logprobs_due ? 0 : w->piece;
    while (inside.len) {
        size_t cut = replay_cut(inside, most);
        put_piece(w, before, span_take(inside, cut), after, logprobs);
        inside = span_skip(inside, cut);
    }
}

/* --- messages --- */

/* What the role chunk holds, as the API does it: the role, and what there is nothing more to say of. */
static bool is_in_role_chunk(const struct replay_walk *member)
{
    return member->value.kind == JSON_NULL || replay_named(member, SPAN("role")) ||
           (member->value.kind != JSON_NUMBER && member->value.kind != JSON_FALSE && replay_is_empty(member->value));
}

static void put_role(struct chunk_writer *w, struct span message)
{
    struct replay_walk walk;
    begin_choice(w);
    REPLAY_PUT(w->out, ",\"delta\":{");
    size_t opened = buffer_len(w->out);
    bool more = replay_walk_object(&walk, message);
    while (more && replay_walk_next(&walk)) {
        bool text = walk.value.kind == JSON_STRING && replay_named(&walk, SPAN("content"));
        if (!is_in_role_chunk(&walk) && !text)
            continue;
        if (buffer_len(w->out) > opened)
            REPLAY_PUT(w->out, ",");
        buffer_append(w->out, walk.spelled);
        REPLAY_PUT(w->out, ":");
        buffer_append(w->out, text ? SPAN("\"\"") : walk.value.raw);
    }
    REPLAY_PUT(w->out, "}");
    put_logprobs(w, false);
    end_choice(w);
}

/* A call without its text: `text` names the member that comes in pieces, in the object that `within` names. */
struct call_form {
    struct span within, text;
};

static const struct call_form call_forms[] = {
    {SPAN_INIT("function"), SPAN_INIT("arguments")},
    {SPAN_INIT("custom"), SPAN_INIT("input")},
};

static const struct call_form *form_of(struct span name)
{
    for (size_t i = 0; i < ARRAY_LEN(call_forms); i++)
        if (span_equal(call_forms[i].within, name))
            return &call_forms[i];
    return NULL;
}

/* The members of an object but for one text, which is "" here; returned is its inside. */
static struct span put_hollow(struct chunk_writer *w, struct span object, struct span name)
{
    struct span text = {NULL, 0};
    struct replay_walk walk;
    REPLAY_PUT(w->out, "{");
    size_t opened = buffer_len(w->out);
    bool more = replay_walk_object(&walk, object);
    while (more && replay_walk_next(&walk)) {
        bool hollow = replay_named(&walk, name) && walk.value.kind == JSON_STRING;
        if (buffer_len(w->out) > opened)
            REPLAY_PUT(w->out, ",");
        buffer_append(w->out, walk.spelled);
        REPLAY_PUT(w->out, ":");
        buffer_append(w->out, hollow ? SPAN("\"\"") : walk.value.raw);
        if (hollow)
            text = replay_inside(walk.value.raw);
    }
    REPLAY_PUT(w->out, "}");
    return text;
}

static void put_call(struct chunk_writer *w, struct span call, unsigned index)
{
    struct replay_walk walk;
    const struct call_form *form = NULL;
    struct span text = {NULL, 0};
    char before[96];
    begin_choice(w);
    buffer_format(w->out, ",\"delta\":{\"tool_calls\":[{\"index\":%u", index);
    bool more = replay_walk_object(&walk, call);
    while (more && replay_walk_next(&walk)) {
        const struct call_form *found = walk.value.kind == JSON_OBJECT_OPEN ? form_of(walk.name) : NULL;
        if (replay_named(&walk, SPAN("index")))
            continue;
        REPLAY_PUT(w->out, ",");
        buffer_append(w->out, walk.spelled);
        REPLAY_PUT(w->out, ":");
        if (found && !form) {
            form = found;
            text = put_hollow(w, walk.value.raw, form->text);
        } else {
            buffer_append(w->out, walk.value.raw);
        }
    }
    REPLAY_PUT(w->out, "}]}");
    put_logprobs(w, false);
    end_choice(w);
    if (!form)
        return;
    int len = snprintf(before, sizeof(before), ",\"delta\":{\"tool_calls\":[{\"index\":%u,\"%.*s\":{\"%.*s\":", index,
                       SPAN_ARG(form->within), SPAN_ARG(form->text));
    put_text(w, span_of(before, (size_t)len), text, SPAN("}}]}"), false);
}

static void put_calls(struct chunk_writer *w, struct span calls)
{
    struct replay_walk walk;
    unsigned index = 0;
    bool more = replay_walk_array(&walk, calls);
    while (more && replay_walk_next(&walk))
        put_call(w, walk.value.raw, index++);
}

/* The call of the time before tools. */
static void put_function_call(struct chunk_writer *w, struct span call)
{
    begin_choice(w);
    REPLAY_PUT(w->out, ",\"delta\":{\"function_call\":");
    struct span text = put_hollow(w, call, SPAN("arguments"));
    REPLAY_PUT(w->out, "}");
    put_logprobs(w, false);
    end_choice(w);
    put_text(w, SPAN(",\"delta\":{\"function_call\":{\"arguments\":"), text, SPAN("}}"), false);
}

/* `"name":` of the member that the walk stands at, in a delta. */
static struct span open_delta(const struct replay_walk *walk, struct buffer *ret)
{
    REPLAY_PUT(ret, ",\"delta\":{");
    buffer_append(ret, walk->spelled);
    REPLAY_PUT(ret, ":");
    return buffer_span(ret);
}

static void put_member(struct chunk_writer *w, const struct replay_walk *walk)
{
    struct buffer opening = {0};
    if (is_in_role_chunk(walk))
        return;
    if (replay_named(walk, SPAN("tool_calls"))) {
        put_calls(w, walk->value.raw);
        return;
    }
    if (replay_named(walk, SPAN("function_call")) && walk->value.kind == JSON_OBJECT_OPEN) {
        put_function_call(w, walk->value.raw);
        return;
    }
    struct span before = open_delta(walk, &opening);
    if (walk->value.kind == JSON_STRING && !replay_is_word(walk->name)) {
        bool logprobs = replay_named(walk, SPAN("content")) || replay_named(walk, SPAN("refusal"));
        put_text(w, before, replay_inside(walk->value.raw), SPAN("}"), logprobs);
    } else {
        begin_choice(w);
        buffer_append(w->out, before);
        buffer_append(w->out, walk->value.raw);
        REPLAY_PUT(w->out, "}");
        put_logprobs(w, false);
        end_choice(w);
    }
    buffer_finish(&opening);
}

static void put_message(struct chunk_writer *w, struct span message)
{
    struct replay_walk walk;
    put_role(w, message);
    bool more = replay_walk_object(&walk, message);
    while (more && replay_walk_next(&walk))
        put_member(w, &walk);
}

/* --- choices --- */

/* `rest`: what the choice says beside its message or text, each member after a comma. */
static void put_finish(struct chunk_writer *w, struct span rest)
{
    begin_choice(w);
    buffer_append(w->out, w->chat ? SPAN(",\"delta\":{}") : SPAN(",\"text\":\"\""));
    put_logprobs(w, true);
    buffer_append(w->out, rest);
    REPLAY_PUT(w->out, "}");
    end_chunk(w);
}

/* Sorts the members of a choice; *ret_said is its message or text. */
static void read_choice(struct chunk_writer *w, struct span choice, struct json_value *ret_said, struct buffer *rest)
{
    struct replay_walk walk;
    w->logprobs.kind = JSON_MORE;
    bool more = replay_walk_object(&walk, choice);
    while (more && replay_walk_next(&walk)) {
        if (replay_named(&walk, SPAN("index"))) {
            w->index = walk.value;
        } else if (replay_named(&walk, SPAN("logprobs"))) {
            w->logprobs = walk.value;
        } else if (replay_named(&walk, w->chat ? SPAN("message") : SPAN("text"))) {
            *ret_said = walk.value;
        } else {
            REPLAY_PUT(rest, ",");
            buffer_append(rest, walk.spelled);
            REPLAY_PUT(rest, ":");
            buffer_append(rest, walk.value.raw);
        }
    }
    w->logprobs_due = w->logprobs.kind != JSON_NULL && w->logprobs.kind != JSON_MORE;
}

static void put_choice(struct chunk_writer *w, struct span choice)
{
    struct buffer rest = {0};
    struct json_value said = {.kind = JSON_MORE};
    read_choice(w, choice, &said, &rest);
    if (w->chat)
        put_message(w, said.raw);
    else
        put_text(w, SPAN(",\"text\":"), replay_inside(said.raw), SPAN(""), true);
    put_finish(w, buffer_span(&rest));
    buffer_finish(&rest);
}

/* --- the stream --- */

/* Members that each chunk has; everything else is said once. */
static bool is_in_each(const struct replay_walk *walk)
{
    static const struct span names[] = {SPAN_INIT("id"), SPAN_INIT("created"), SPAN_INIT("model"),
                                        SPAN_INIT("service_tier"), SPAN_INIT("system_fingerprint")};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (replay_named(walk, names[i]))
            return true;
    return false;
}

struct top {
    struct buffer head, once; /* what each chunk begins with; what is said once, each member after a comma */
    struct json_value choices, usage;
};

static void read_top(bool chat, struct span json, struct top *top)
{
    struct replay_walk walk;
    buffer_append(&top->head,
                  chat ? SPAN("{\"object\":\"chat.completion.chunk\"") : SPAN("{\"object\":\"text_completion\""));
    bool more = replay_walk_object(&walk, json);
    while (more && replay_walk_next(&walk)) {
        if (replay_named(&walk, SPAN("choices"))) {
            top->choices = walk.value;
        } else if (replay_named(&walk, SPAN("usage"))) {
            top->usage = walk.value;
        } else if (!replay_named(&walk, SPAN("object"))) {
            struct buffer *to = is_in_each(&walk) ? &top->head : &top->once;
            REPLAY_PUT(to, ",");
            buffer_append(to, walk.spelled);
            REPLAY_PUT(to, ":");
            buffer_append(to, walk.value.raw);
        }
    }
}

void replay_write_chunks(enum operation_id operation, struct span json, const struct replay_options *options,
                         struct buffer *out)
{
    struct replay_walk walk;
    struct top top = {.usage = {.kind = JSON_MORE}};
    bool chat = operation == OPERATION_CHAT;
    read_top(chat, json, &top);
    bool has_usage = options->include_usage && top.usage.kind == JSON_OBJECT_OPEN;
    struct chunk_writer writer = {.out = out,
                                  .chat = chat,
                                  .null_usage = has_usage,
                                  .piece = options->piece,
                                  .head = buffer_span(&top.head),
                                  .once = buffer_span(&top.once)};
    bool more = replay_walk_array(&walk, top.choices.raw);
    while (more && replay_walk_next(&walk))
        put_choice(&writer, walk.value.raw);
    if (has_usage) {
        begin_chunk(&writer);
        REPLAY_PUT(out, "],\"usage\":");
        buffer_append(out, top.usage.raw);
        REPLAY_PUT(out, "}\n\n");
    }
    REPLAY_PUT(out, "data: [DONE]\n\n");
    buffer_finish(&top.head);
    buffer_finish(&top.once);
}
