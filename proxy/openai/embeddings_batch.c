/* SPDX-License-Identifier: Apache-2.0 */
#include "openai/embeddings_batch.h"

#include "base/json.h"

/* ---- the request ---- */

/* Passes the rest of an array of numbers, which are added to *count. False: something else is in it. */
static bool pass_tokens(struct json *r, struct span *rest, uint64_t *count)
{
    enum json_event event;
    while ((event = json_next(r, rest, true)) == JSON_NUMBER)
        ++*count;
    return event == JSON_ARRAY_CLOSE;
}

struct inputs {
    struct span text; /* the value of `input` */
    struct arena *arena;
    struct embeddings_input *items;
    size_t count, cap;
};

static bool add(struct inputs *in, size_t start, size_t end, uint64_t weight)
{
    if (in->count == EMBEDDINGS_INPUTS)
        return false;
    if (in->count == in->cap) {
        size_t cap = in->cap ? 2 * in->cap : 4;
        struct embeddings_input *more = ARENA_ARRAY(in->arena, struct embeddings_input, cap);
        if (in->count)
            memcpy(more, in->items, in->count * sizeof(*more));
        in->items = more;
        in->cap = cap;
    }
    in->items[in->count++] =
        (struct embeddings_input){.json = span_of(in->text.ptr + start, end - start), .weight = weight};
    return true;
}

/* The elements of a list; `first` is the event of the first one. */
static bool read_list(struct inputs *in, struct json *r, struct span *rest, enum json_event first)
{
    for (enum json_event event = first; event != JSON_ARRAY_CLOSE; event = json_next(r, rest, true)) {
        size_t start = r->token_start;
        uint64_t weight = 0;
        if (event != first || event == JSON_BAD)
            return false; /* strings and token arrays are not mixed */
        if (event == JSON_STRING)
            weight = r->string_bytes + 1;
        else if (event != JSON_ARRAY_OPEN || !pass_tokens(r, rest, &weight) || weight == 0)
            return false;
        if (!add(in, start, r->token_end, weight))
            return false;
    }
    return in->count > 0;
}

/* The value as a whole is one input: a string or an array of integers. */
static bool read_inputs(struct inputs *in, bool *ret_single, bool *ret_exact)
{
    struct json r;
    struct span rest = in->text;
    uint64_t weight = 1;
    json_init(&r, 2);
    enum json_event event = json_next(&r, &rest, true);
    *ret_single = true;
    *ret_exact = false;
    if (event == JSON_STRING)
        return add(in, 0, in->text.len, r.string_bytes + 1);
    if (event != JSON_ARRAY_OPEN)
        return false;
    event = json_next(&r, &rest, true);
    *ret_exact = event == JSON_NUMBER || event == JSON_ARRAY_OPEN;
    if (event == JSON_NUMBER)
        return pass_tokens(&r, &rest, &weight) && add(in, 0, in->text.len, weight);
    *ret_single = false;
    return read_list(in, &r, &rest, event);
}

bool embeddings_split(struct span body, size_t start, size_t end, struct arena *arena, struct embeddings_batch *ret)
{
    struct inputs in = {.text = span_of(body.ptr + start, end - start), .arena = arena};
    bool single, exact;
    if (!read_inputs(&in, &single, &exact))
        return false;
    *ret = (struct embeddings_batch){.before = span_take(body, start),
                                     .after = span_skip(body, end),
                                     .single = single,
                                     .exact = exact,
                                     .inputs = in.items,
                                     .count = in.count};
    return true;
}

void embeddings_request_write(const struct embeddings_batch *batch, const size_t *wanted, size_t count,
                              struct buffer *out)
{
    buffer_append(out, batch->before);
    if (!batch->single)
        buffer_append(out, SPAN("["));
    for (size_t i = 0; i < count; i++) {
        if (i)
            buffer_append(out, SPAN(","));
        buffer_append(out, batch->inputs[wanted[i]].json);
    }
    if (!batch->single)
        buffer_append(out, SPAN("]"));
    buffer_append(out, batch->after);
}

/* a * b / c without overflow, for c > 0 and results that fit. */
static uint64_t scale(uint64_t a, uint64_t b, uint64_t c)
{
    __extension__ typedef unsigned __int128 wide;
    return (uint64_t)((wide)a * b / c);
}

void embeddings_share(const struct embeddings_batch *batch, const size_t *wanted, size_t count, uint64_t tokens,
                      uint64_t *ret)
{
    uint64_t sum = 0, seen = 0, given = 0;
    for (size_t i = 0; i < count; i++)
        sum += batch->inputs[wanted[i]].weight;
    /* Each gets what brings the sum so far to its part of all: nothing is lost to rounding, and exact parts stay exact.
     */
    for (size_t i = 0; i < count; i++) {
        seen += batch->inputs[wanted[i]].weight;
        uint64_t due = scale(tokens, seen, sum);
        ret[i] = due - given;
        given = due;
    }
}

/* ---- the answer ---- */

enum {
    SEEN_DATA = 1,
    SEEN_USAGE = 2,
    SEEN_MODEL = 4,
    SEEN_INDEX = 8,
    SEEN_EMBEDDING = 16,
    SEEN_PROMPT = 32,
    SEEN_TOTAL = 64
};

struct answer_reader {
    struct json r;
    struct span rest;
    struct embeddings_answer *answer;
    struct embeddings_item *items;
    size_t expected;
};

static enum json_event next(struct answer_reader *a)
{
    return json_next(&a->r, &a->rest, true);
}

/* The value after a name, whole. */
static bool pass_value(struct answer_reader *a)
{
    json_skip(&a->r);
    return next(a) == JSON_SKIPPED;
}

/* Marks a name as seen; false: twice. */
static bool once(unsigned *seen, unsigned bit)
{
    bool first = !(*seen & bit);
    *seen |= bit;
    return first;
}

static bool read_index(struct answer_reader *a, size_t start, uint64_t *ret_index, struct embeddings_item *item)
{
    if (next(a) != JSON_NUMBER || !span_to_u64(a->r.text, ret_index))
        return false;
    item->index_start = a->r.token_start - start;
    item->index_end = a->r.token_end - start;
    return true;
}

/* An embedding that has just been opened. */
static bool read_item(struct answer_reader *a)
{
    size_t start = a->r.token_start;
    uint64_t index = 0;
    unsigned seen = 0;
    struct embeddings_item item = {0};
    enum json_event event;
    while ((event = next(a)) == JSON_KEY) {
        if (json_is(&a->r, SPAN("index"))) {
            if (!once(&seen, SEEN_INDEX) || !read_index(a, start, &index, &item))
                return false;
        } else if (json_is(&a->r, SPAN("embedding"))) {
            if (!once(&seen, SEEN_EMBEDDING) || !pass_value(a) ||
                (a->r.kind != JSON_ARRAY_OPEN && a->r.kind != JSON_STRING))
                return false;
        } else if (!pass_value(a)) {
            return false;
        }
    }
    if (event != JSON_OBJECT_CLOSE || seen != (SEEN_INDEX | SEEN_EMBEDDING) || index >= a->expected ||
        a->items[index].json.ptr)
        return false;
    item.json = span_of(a->answer->text.ptr + start, a->r.token_end - start);
    a->items[index] = item;
    return true;
}

static bool read_data(struct answer_reader *a)
{
    size_t count = 0;
    enum json_event event = next(a);
    if (event != JSON_ARRAY_OPEN)
        return false;
    a->answer->data_start = a->r.token_start;
    for (; (event = next(a)) == JSON_OBJECT_OPEN; count++)
        if (!read_item(a))
            return false;
    a->answer->data_end = a->r.token_end;
    return event == JSON_ARRAY_CLOSE && count == a->expected;
}

static bool read_usage(struct answer_reader *a)
{
    unsigned seen = 0;
    enum json_event event = next(a);
    if (event != JSON_OBJECT_OPEN)
        return event == JSON_NULL;
    while ((event = next(a)) == JSON_KEY) {
        bool prompt = json_is(&a->r, SPAN("prompt_tokens"));
        if (!prompt && !json_is(&a->r, SPAN("total_tokens"))) {
            if (!pass_value(a))
                return false;
            continue;
        }
        if (!once(&seen, prompt ? SEEN_PROMPT : SEEN_TOTAL) || next(a) != JSON_NUMBER)
            return false;
        uint64_t value;
        if (!span_to_u64(a->r.text, &value))
            return false;
        size_t start = a->r.token_start, end = a->r.token_end;
        if (prompt) {
            a->answer->prompt_tokens.start = start;
            a->answer->prompt_tokens.end = end;
            a->answer->prompt_tokens.value = value;
        } else {
            a->answer->total_tokens.start = start;
            a->answer->total_tokens.end = end;
            a->answer->total_tokens.value = value;
        }
    }
    return event == JSON_OBJECT_CLOSE;
}

static bool read_model(struct answer_reader *a)
{
    if (!pass_value(a))
        return false;
    if (a->r.kind == JSON_STRING)
        a->answer->model = span_of(a->answer->text.ptr + a->r.token_start, a->r.token_end - a->r.token_start);
    return true;
}

static bool read_error(struct answer_reader *a)
{
    return pass_value(a) && (a->r.kind == JSON_NULL || a->r.kind == JSON_FALSE);
}

static bool read_member(struct answer_reader *a, unsigned *seen)
{
    if (json_is(&a->r, SPAN("data")))
        return once(seen, SEEN_DATA) && read_data(a);
    if (json_is(&a->r, SPAN("usage")))
        return once(seen, SEEN_USAGE) && read_usage(a);
    if (json_is(&a->r, SPAN("model")))
        return once(seen, SEEN_MODEL) && read_model(a);
    if (json_is(&a->r, SPAN("error")))
        return read_error(a);
    return pass_value(a);
}

bool embeddings_answer_read(struct span text, size_t expected, struct arena *arena, struct embeddings_answer *ret)
{
    struct embeddings_answer answer = {.text = text, .count = expected};
    struct answer_reader a = {.rest = text, .answer = &answer, .expected = expected};
    unsigned seen = 0;
    enum json_event event;
    if (expected == 0 || expected > EMBEDDINGS_INPUTS)
        return false;
    a.items = ARENA_ARRAY(arena, struct embeddings_item, expected);
    answer.items = a.items;
    json_init(&a.r, 64);
    if (next(&a) != JSON_OBJECT_OPEN)
        return false;
    while ((event = next(&a)) == JSON_KEY)
        if (!read_member(&a, &seen))
            return false;
    if (event != JSON_OBJECT_CLOSE || !(seen & SEEN_DATA) || next(&a) != JSON_DONE)
        return false;
    *ret = answer;
    return true;
}

/* ---- writing ---- */

/* A part of the frame that is replaced: the items or a number. */
struct patch {
    size_t start, end;
    bool is_data;
    uint64_t number;
};

static void write_items(const struct embeddings_item *items, size_t count, struct buffer *out)
{
    buffer_append(out, SPAN("["));
    for (size_t i = 0; i < count; i++) {
        const struct embeddings_item *item = &items[i];
        if (i)
            buffer_append(out, SPAN(","));
        buffer_append(out, span_take(item->json, item->index_start));
        buffer_format(out, "%zu", i);
        buffer_append(out, span_skip(item->json, item->index_end));
    }
    buffer_append(out, SPAN("]"));
}

static void add_patch(struct patch *patches, size_t *count, struct patch patch)
{
    if (patch.end == 0)
        return;
    size_t at = (*count)++;
    for (; at > 0 && patches[at - 1].start > patch.start; at--)
        patches[at] = patches[at - 1];
    patches[at] = patch;
}

void embeddings_answer_write(const struct embeddings_answer *frame, const struct embeddings_item *items, size_t count,
                             uint64_t prompt_tokens, uint64_t total_tokens, struct buffer *out)
{
    struct patch patches[3];
    size_t patch_count = 0, at = 0;
    add_patch(patches, &patch_count, (struct patch){frame->data_start, frame->data_end, true, 0});
    add_patch(patches, &patch_count,
              (struct patch){frame->prompt_tokens.start, frame->prompt_tokens.end, false, prompt_tokens});
    add_patch(patches, &patch_count,
              (struct patch){frame->total_tokens.start, frame->total_tokens.end, false, total_tokens});
    for (size_t i = 0; i < patch_count; i++) {
        const struct patch *patch = &patches[i];
        buffer_append(out, span_of(frame->text.ptr + at, patch->start - at));
        if (patch->is_data)
            write_items(items, count, out);
        else
            buffer_format(out, "%llu", (unsigned long long)patch->number);
        at = patch->end;
    }
    buffer_append(out, span_skip(frame->text, at));
}
