/* SPDX-License-Identifier: Apache-2.0 */
#include "openai/edits.h"

#include "base/buffer.h"
#include "base/json_value.h"

/* What becomes of a member of the body, or of one that is added. */
struct edit_member {
    struct span name;  /* as it is called now */
    struct span value; /* JSON; ptr NULL = the body's own */
    bool renamed, dropped;
};

/* Bytes [start, end) of the body give way to `with`. */
struct edit_splice {
    size_t start, end;
    struct span with;
};

#define STREAM_OPTIONS SPAN("stream_options")
#define USAGE_MEMBER   "\"include_usage\":true"

void edits_init(struct edits *edits, struct arena *arena, const struct request_info *info)
{
    *edits = (struct edits){.arena = arena, .info = info};
}

/* Doubles a list that is full; what it leaves behind goes with the arena. */
static void *grown(struct arena *arena, const void *list, size_t count, size_t *cap, size_t least, size_t size)
{
    *cap = *cap ? *cap * 2 : least;
    void *larger = arena_alloc(arena, *cap * size); /* entries are written whole */
    if (count)
        memcpy(larger, list, count * size);
    return larger;
}

/* --- members --- */

static struct edit_member *add_member(struct edits *edits, struct span name)
{
    if (edits->member_count == edits->member_cap)
        edits->members = grown(edits->arena, edits->members, edits->member_count, &edits->member_cap,
                               edits->info->member_count + 4, sizeof(*edits->members));
    struct edit_member *member = &edits->members[edits->member_count++];
    *member = (struct edit_member){.name = name};
    return member;
}

static void open_members(struct edits *edits)
{
    if (edits->members)
        return;
    for (size_t i = 0; i < edits->info->member_count; i++) {
        struct edit_member *member = add_member(edits, edits->info->members[i].name);
        if (edits->model.ptr && edits->info->members[i].value_start == edits->info->model_start)
            member->value = edits->model;
    }
    edits->model = (struct span){NULL, 0};
}

static struct edit_member *find_member(const struct edits *edits, struct span name)
{
    for (size_t i = 0; i < edits->member_count; i++)
        if (!edits->members[i].dropped && span_equal(edits->members[i].name, name))
            return &edits->members[i];
    return NULL;
}

/* The body's record of a member; NULL for one that was added. */
static const struct request_member *original_of(const struct edits *edits, const struct edit_member *member)
{
    size_t i = (size_t)(member - edits->members);
    return i < edits->info->member_count ? &edits->info->members[i] : NULL;
}

static bool is_json(const struct edits *edits)
{
    return edits->info->kind == REQUEST_JSON;
}

void edits_set_member(struct edits *edits, struct span name, struct span json_value)
{
    if (!is_json(edits))
        return;
    open_members(edits);
    struct edit_member *member = find_member(edits, name);
    if (!member)
        member = add_member(edits, name);
    member->value = json_value;
}

void edits_drop_member(struct edits *edits, struct span name)
{
    if (!is_json(edits))
        return;
    open_members(edits);
    struct edit_member *member = find_member(edits, name);
    if (member)
        member->dropped = true;
}

void edits_rename_member(struct edits *edits, struct span old_name, struct span new_name)
{
    if (!is_json(edits) || span_equal(old_name, new_name))
        return;
    open_members(edits);
    struct edit_member *member = find_member(edits, old_name);
    if (!member)
        return;
    if (find_member(edits, new_name)) {
        member->dropped = true;
        return;
    }
    member->name = new_name;
    member->renamed = true;
}

/* --- stream_options --- */

/* stream_options as an earlier edit gave it, with include_usage true; what is no object is replaced. */
static struct span with_usage(struct arena *arena, struct span value)
{
    struct json_value object, usage;
    if (!json_value_parse(value, &object) || object.kind != JSON_OBJECT_OPEN)
        return SPAN("{" USAGE_MEMBER "}");
    size_t cursor = 0;
    bool empty = !json_value_each(object, &cursor, NULL, &usage);
    struct span head = span_take(object.raw, 1), tail = span_skip(object.raw, 1);
    const char *middle = empty ? USAGE_MEMBER : USAGE_MEMBER ",";
    if (json_value_member(object, SPAN("include_usage"), &usage)) {
        size_t start = (size_t)(usage.raw.ptr - object.raw.ptr);
        head = span_take(object.raw, start);
        tail = span_skip(object.raw, start + usage.raw.len);
        middle = "true";
    }
    return arena_format(arena, "%.*s%s%.*s", SPAN_ARG(head), middle, SPAN_ARG(tail));
}

void edits_include_usage(struct edits *edits)
{
    const struct request_info *info = edits->info;
    if (!is_json(edits))
        return;
    open_members(edits);
    struct edit_member *member = find_member(edits, STREAM_OPTIONS);
    const struct request_member *original = member ? original_of(edits, member) : NULL;
    bool own = original && !member->value.ptr && !member->renamed && info->has_stream_options;
    if (!member) {
        add_member(edits, STREAM_OPTIONS)->value = SPAN("{" USAGE_MEMBER "}");
    } else if (!own) {
        member->value = with_usage(edits->arena, member->value.ptr ? member->value : SPAN("null"));
    } else if (info->include_usage != TRI_TRUE) {
        if (info->stream_options.usage_end)
            edits->usage_inside = SPAN("true");
        else
            edits->usage_inside = info->stream_options.empty ? SPAN(USAGE_MEMBER) : SPAN(USAGE_MEMBER ",");
    }
}

/* --- the model --- */

/* Whether JSON shows all of it as it is. */
static bool is_plain(struct span text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c < 0x20 || c >= 0x7F || c == '"' || c == '\\')
            return false;
    }
    return true;
}

static struct span json_quoted(struct arena *arena, struct span text)
{
    struct buffer quoted = {0};
    if (LIKELY(is_plain(text))) {
        char *plain = arena_bytes(arena, text.len + 2);
        plain[0] = plain[text.len + 1] = '"';
        if (text.len)
            memcpy(plain + 1, text.ptr, text.len);
        return span_of(plain, text.len + 2);
    }
    buffer_append(&quoted, SPAN("\""));
    buffer_append_json(&quoted, text);
    buffer_append(&quoted, SPAN("\""));
    struct span copy = arena_copy(arena, buffer_span(&quoted));
    buffer_finish(&quoted);
    return copy;
}

static void push_splice(struct edits *edits, size_t start, size_t end, struct span with)
{
    if (start == end && with.len == 0)
        return;
    if (edits->splice_count == edits->splice_cap)
        edits->splices =
            grown(edits->arena, edits->splices, edits->splice_count, &edits->splice_cap, 8, sizeof(*edits->splices));
    edits->splices[edits->splice_count++] = (struct edit_splice){start, end, with};
}

static bool set_part(struct edits *edits, struct span model)
{
    const struct request_info *info = edits->info;
    struct span with = arena_copy(edits->arena, model);
    for (size_t i = 0; i < model.len; i++)
        if ((unsigned char)model.ptr[i] < 0x20)
            return false;
    if (!info->model_end)
        with = arena_format(edits->arena, "--%.*s\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n%.*s\r\n",
                            SPAN_ARG(info->boundary), SPAN_ARG(model));
    for (size_t i = 0; i < edits->splice_count; i++)
        if (edits->splices[i].start == info->model_start && edits->splices[i].end == info->model_end) {
            edits->splices[i].with = with;
            return true;
        }
    return edits_replace(edits, info->model_start, info->model_end, with);
}

bool edits_set_model(struct edits *edits, struct span model)
{
    if (!edits->members && edits->splice_count == 0 && edits->info->has_model &&
        span_equal(edits->info->model, model)) {
        edits->model = (struct span){NULL, 0};
        return true; /* it has it already */
    }
    if (!is_json(edits))
        return set_part(edits, model);
    if (!edits->members && edits->info->model_end) {
        edits->model = json_quoted(edits->arena, model);
        return true;
    }
    edits_set_member(edits, SPAN("model"), json_quoted(edits->arena, model));
    return true;
}

bool edits_replace(struct edits *edits, size_t start, size_t end, struct span with)
{
    for (size_t i = 0; i < edits->splice_count; i++)
        if (start < edits->splices[i].end && edits->splices[i].start < end)
            return false;
    push_splice(edits, start, end, with);
    return true;
}

/* --- from members to splices --- */

/* The members that were added, each after a comma but the first when nothing stands before it. */
static struct span added_text(const struct edits *edits, bool first)
{
    struct buffer text = {0};
    for (size_t i = edits->info->member_count; i < edits->member_count; i++) {
        const struct edit_member *member = &edits->members[i];
        if (member->dropped)
            continue;
        buffer_append(&text, first ? SPAN("\"") : SPAN(",\""));
        buffer_append_json(&text, member->name);
        buffer_append(&text, SPAN("\":"));
        buffer_append(&text, member->value);
        first = false;
    }
    struct span copy = buffer_len(&text) ? arena_copy(edits->arena, buffer_span(&text)) : SPAN("");
    buffer_finish(&text);
    return copy;
}

static void splice_kept(struct edits *edits, size_t i)
{
    const struct edit_member *member = &edits->members[i];
    const struct request_member *body = &edits->info->members[i];
    if (member->renamed)
        push_splice(edits, body->name_start, body->name_end, json_quoted(edits->arena, member->name));
    if (member->value.ptr) {
        push_splice(edits, body->value_start, body->value_end, member->value);
    } else if (edits->usage_inside.len && span_equal(body->name, STREAM_OPTIONS)) {
        size_t inside = edits->info->stream_options.open + 1;
        bool there = edits->info->stream_options.usage_end;
        push_splice(edits, there ? edits->info->stream_options.usage_start : inside,
                    there ? edits->info->stream_options.usage_end : inside, edits->usage_inside);
    }
}

/*
 * A member that goes takes the comma before it along; those before the first that stays take the space up to it
 * instead. What is added comes after the last that stays.
 */
static void splice_members(struct edits *edits)
{
    const struct request_member *body = edits->info->members;
    size_t count = edits->info->member_count, first = 0, last = count;
    while (first < count && edits->members[first].dropped)
        first++;
    while (last > first && edits->members[last - 1].dropped)
        last--;
    if (first == count) {
        push_splice(edits, edits->info->object_open + 1, edits->info->object_open + 1, added_text(edits, true));
        if (count)
            push_splice(edits, body[0].name_start, body[count - 1].value_end, SPAN(""));
        return;
    }
    if (first > 0)
        push_splice(edits, body[0].name_start, body[first].name_start, SPAN(""));
    for (size_t i = first; i < count; i++) {
        if (edits->members[i].dropped)
            push_splice(edits, body[i - 1].value_end, body[i].value_end, SPAN(""));
        else
            splice_kept(edits, i);
        if (i + 1 == last)
            push_splice(edits, body[i].value_end, body[i].value_end, added_text(edits, false));
    }
}

/* Members come in order already; a replaced range may stand anywhere between. Insertions come before what they stand
 * at. */
static void sort_splices(struct edits *edits)
{
    for (size_t i = 1; i < edits->splice_count; i++) {
        struct edit_splice moving = edits->splices[i];
        size_t place = i;
        while (place > 0 &&
               (edits->splices[place - 1].start > moving.start ||
                (edits->splices[place - 1].start == moving.start && edits->splices[place - 1].end > moving.end))) {
            edits->splices[place] = edits->splices[place - 1];
            place--;
        }
        edits->splices[place] = moving;
    }
}

static void seal(struct edits *edits)
{
    if (edits->sealed)
        return;
    edits->sealed = true;
    if (edits->members)
        splice_members(edits);
    else if (edits->model.ptr)
        push_splice(edits, edits->info->model_start, edits->info->model_end, edits->model);
    sort_splices(edits);
}

bool edits_any(const struct edits *edits)
{
    if (edits->splice_count || edits->usage_inside.len || edits->model.ptr)
        return true;
    for (size_t i = 0; i < edits->member_count; i++) {
        const struct edit_member *member = &edits->members[i];
        bool added = i >= edits->info->member_count;
        if (added ? !member->dropped : member->dropped || member->renamed || member->value.ptr)
            return true;
    }
    return false;
}

size_t edits_length(struct edits *edits, size_t body_length)
{
    seal(edits);
    for (size_t i = 0; i < edits->splice_count; i++)
        body_length += edits->splices[i].with.len - (edits->splices[i].end - edits->splices[i].start);
    return body_length;
}

void edits_begin(struct edits *edits, struct span body, struct edits_walk *walk)
{
    seal(edits);
    *walk = (struct edits_walk){.edits = edits, .body = body};
}

bool edits_next(struct edits_walk *walk, struct span *ret_piece)
{
    const struct edits *edits = walk->edits;
    while (walk->next < edits->splice_count) {
        const struct edit_splice *splice = &edits->splices[walk->next];
        if (walk->at < splice->start) {
            *ret_piece = span_of(walk->body.ptr + walk->at, splice->start - walk->at);
            walk->at = splice->start;
            return true;
        }
        walk->at = splice->end;
        walk->next++;
        if (splice->with.len) {
            *ret_piece = splice->with;
            return true;
        }
    }
    *ret_piece = span_skip(walk->body, walk->at);
    walk->at = walk->body.len;
    return ret_piece->len > 0;
}
