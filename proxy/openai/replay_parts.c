/* SPDX-License-Identifier: Apache-2.0 */
#include "openai/replay_parts.h"

#include "openai/answer_light.h"

/* --- walking --- */

static void walk_init(struct replay_walk *walk, struct replay_text_reader *reader, enum json_event open)
{
    walk->reader = reader;
    walk->array = open == JSON_ARRAY_OPEN;
    walk->inner = reader != &walk->own;
    walk->count = 0;
    walk->name = walk->spelled = (struct span){NULL, 0};
    walk->bad = false;
}

static bool walk_begin(struct replay_walk *walk, struct span text, enum json_event open)
{
    walk_init(walk, &walk->own, open);
    walk->own.base = text.ptr;
    walk->own.rest = text;
    json_init(&walk->own.json, REPLAY_DEPTH);
    walk->bad = json_next(&walk->own.json, &walk->own.rest, true) != open;
    return !walk->bad;
}

bool replay_walk_object(struct replay_walk *walk, struct span text)
{
    return walk_begin(walk, text, JSON_OBJECT_OPEN);
}

bool replay_walk_array(struct replay_walk *walk, struct span text)
{
    return walk_begin(walk, text, JSON_ARRAY_OPEN);
}

/* Two names of one object that share it count as one, which costs an entry of the cache and no more. */
static uint32_t name_hash(struct span name)
{
    uint64_t first = 0, last = 0, hash = name.len;
    size_t part = name.len < 8 ? name.len : 8;
    if (name.len == 0)
        return 0;
    memcpy(&first, name.ptr, part);
    memcpy(&last, name.ptr + name.len - part, part);
    hash = (hash ^ first) * UINT64_C(0x9E3779B97F4A7C15);
    hash = (hash ^ hash >> 29 ^ last) * UINT64_C(0xBF58476D1CE4E5B9);
    for (size_t i = 8; i + 8 < name.len; i++) /* the middle of a long one */
        hash = (hash ^ (unsigned char)name.ptr[i]) * UINT64_C(0x100000001B3);
    return (uint32_t)(hash >> 32);
}

static bool name_is_new(struct replay_walk *walk)
{
    uint32_t hash = name_hash(walk->name);
    if (walk->count == REPLAY_MEMBERS_MAX)
        return false;
    for (unsigned i = 0; i < walk->count; i++)
        if (walk->seen[i] == hash)
            return false;
    walk->seen[walk->count++] = hash;
    return true;
}

/* The reader shows a name only until its next event. */
static bool take_name(struct replay_walk *walk)
{
    const struct json *r = &walk->reader->json;
    walk->spelled = span_of(walk->reader->base + r->token_start, r->token_end - r->token_start);
    walk->name = r->text_long ? walk->spelled : r->text;
    if (r->text.ptr && r->text.ptr != walk->spelled.ptr + 1) {
        memcpy(walk->kept, r->text.ptr, r->text.len);
        walk->name.ptr = walk->kept;
    }
    return name_is_new(walk);
}

/* After the last member: `event` is the close, and behind an outermost one nothing may follow. */
static bool walk_stop(struct replay_walk *walk, enum json_event event)
{
    struct replay_text_reader *reader = walk->reader;
    walk->bad = event != (walk->array ? JSON_ARRAY_CLOSE : JSON_OBJECT_CLOSE) ||
                (!walk->inner && json_next(&reader->json, &reader->rest, true) != JSON_DONE);
    return false;
}

bool replay_walk_name(struct replay_walk *walk)
{
    struct replay_text_reader *reader = walk->reader;
    if (walk->bad)
        return false;
    enum json_event event = json_next(&reader->json, &reader->rest, true);
    if (event != JSON_KEY)
        return walk_stop(walk, event);
    walk->bad = !take_name(walk);
    return !walk->bad;
}

static struct json_value value_here(const struct replay_text_reader *reader, enum json_event kind)
{
    const struct json *r = &reader->json;
    return (struct json_value){kind, span_of(reader->base + r->token_start, r->token_end - r->token_start)};
}

struct json_value replay_walk_value(struct replay_walk *walk)
{
    struct replay_text_reader *reader = walk->reader;
    json_skip(&reader->json);
    walk->bad = json_next(&reader->json, &reader->rest, true) != JSON_SKIPPED;
    walk->value = walk->bad ? (struct json_value){.kind = JSON_BAD} : value_here(reader, reader->json.kind);
    return walk->value;
}

bool replay_walk_enter(struct replay_walk *walk, struct replay_walk *inner, enum json_event open)
{
    struct replay_text_reader *reader = walk->reader;
    if (walk->bad)
        return false;
    enum json_event event = json_next(&reader->json, &reader->rest, true);
    if (walk->array && event == JSON_ARRAY_CLOSE)
        return walk_stop(walk, event);
    walk->bad = event != open;
    walk_init(inner, reader, open);
    return !walk->bad;
}

static bool next_element(struct replay_walk *walk)
{
    struct replay_text_reader *reader = walk->reader;
    if (walk->bad)
        return false;
    json_skip(&reader->json);
    enum json_event event = json_next(&reader->json, &reader->rest, true);
    if (event != JSON_SKIPPED)
        return walk_stop(walk, event);
    walk->value = value_here(reader, reader->json.kind);
    return true;
}

bool replay_walk_next(struct replay_walk *walk)
{
    if (walk->array)
        return next_element(walk);
    return replay_walk_name(walk) && replay_walk_value(walk).kind != JSON_BAD;
}

struct json_value replay_member(struct span object, struct span name)
{
    struct json_value found = {.kind = JSON_MORE};
    struct replay_walk walk;
    if (!replay_walk_object(&walk, object))
        return found;
    while (replay_walk_next(&walk))
        if (replay_named(&walk, name))
            return walk.value;
    return found;
}

/* --- values --- */

static bool is_blank(struct span text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] != ' ' && text.ptr[i] != '\t' && text.ptr[i] != '\n' && text.ptr[i] != '\r')
            return false;
    return true;
}

bool replay_is_empty(struct json_value value)
{
    switch (value.kind) {
    case JSON_STRING:
        return value.raw.len == 2;
    case JSON_NUMBER:
        return span_equal(value.raw, SPAN("0"));
    case JSON_OBJECT_OPEN:
    case JSON_ARRAY_OPEN:
        return is_blank(replay_inside(value.raw));
    default:
        return value.kind != JSON_TRUE;
    }
}

struct span replay_plain(struct json_value value)
{
    if (value.kind != JSON_STRING || span_find(value.raw, '\\') != value.raw.len)
        return (struct span){NULL, 0};
    return replay_inside(value.raw);
}

unsigned replay_finish(struct json_value reason)
{
    struct span word = replay_plain(reason);
    unsigned finish = word.len ? answer_finish_bit(word) : FINISH_OTHER;
    return finish == FINISH_OTHER ? 0 : finish;
}

bool replay_is_report(struct span name)
{
    return span_equal(name, SPAN("content_filter_results")) || span_equal(name, SPAN("prompt_filter_results")) ||
           span_equal(name, SPAN("prompt_annotations")) || span_equal(name, SPAN("content_filter_result")) ||
           span_equal(name, SPAN("content_filters"));
}

bool replay_is_word(struct span name)
{
    static const struct span words[] = {SPAN_INIT("role"),          SPAN_INIT("id"),
                                        SPAN_INIT("type"),          SPAN_INIT("name"),
                                        SPAN_INIT("finish_reason"), SPAN_INIT("stop_reason")};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (span_equal(words[i], name))
            return true;
    return false;
}

/* `filtered` and `blocked` stand at any depth; an `error` stands where the categories would. */
bool replay_filtered(struct json_value report)
{
    struct json r;
    struct span rest = report.raw;
    bool verdict = false, failure = false;
    json_init(&r, REPLAY_DEPTH);
    for (;;) {
        enum json_event event = json_next(&r, &rest, true);
        if (event == JSON_DONE || event == JSON_BAD)
            return event == JSON_BAD;
        if ((verdict && event == JSON_TRUE) || (failure && event != JSON_NULL))
            return true;
        verdict = event == JSON_KEY && (json_is(&r, SPAN("filtered")) || json_is(&r, SPAN("blocked")));
        failure = event == JSON_KEY && json_is(&r, SPAN("error"));
    }
}

/* Usage objects are some 300 bytes long. */
#define USAGE_COPY 768

/* The object as the only member of an answer, for the readers of answers: the quick one, then the one that knows all.
 */
void replay_usage(struct json_value value, struct usage *ret)
{
    static const char before[] = "{\"usage\":";
    char text[USAGE_COPY];
    struct answer_scan scan;
    struct answer_facts facts = {0};
    size_t len = sizeof(before) - 1 + value.raw.len + 1;
    if (value.kind != JSON_OBJECT_OPEN || len > sizeof(text))
        return;
    memcpy(text, before, sizeof(before) - 1);
    memcpy(text + sizeof(before) - 1, value.raw.ptr, value.raw.len);
    text[len - 1] = '}';
    if (!answer_light(span_of(text, len), NULL, &facts)) { /* no text in there that an arena would keep */
        answer_scan_init(&scan, &facts, NULL, NULL);
        if (answer_scan_feed(&scan, span_of(text, len), true) != JSON_DONE)
            return;
    }
    *ret = facts.usage;
}

/* --- text --- */

/* Bytes of the UTF-8 character whose first byte is `c`; the text was validated. */
static size_t character_length(unsigned char c)
{
    return c < 0xC0 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
}

static bool is_half(struct span text, size_t at, char high, char low)
{
    return at + 6 <= text.len && text.ptr[at] == '\\' && text.ptr[at + 1] == 'u' && (text.ptr[at + 2] | 0x20) == 'd' &&
           (text.ptr[at + 3] | 0x20) >= high && (text.ptr[at + 3] | 0x20) <= low;
}

/* What cannot be cut: a character, an escape, two escapes that are one character. */
static size_t unit_length(struct span text, size_t at)
{
    if (text.ptr[at] != '\\')
        return character_length((unsigned char)text.ptr[at]);
    if (at + 1 < text.len && text.ptr[at + 1] != 'u')
        return 2;
    bool first = is_half(text, at, '8', '9') || is_half(text, at, 'a', 'b');
    bool second = is_half(text, at + 6, 'c', 'f');
    return first && second ? 12 : 6;
}

size_t replay_cut(struct span inside, size_t most)
{
    size_t at = 0, word = 0;
    if (most == 0 || inside.len <= most)
        return inside.len;
    for (size_t next = 0; at < inside.len; at = next) {
        next = at + unit_length(inside, at);
        if (next > most && at > 0)
            break;
        if (inside.ptr[at] == ' ' && at > 0)
            word = at; /* a space opens the next piece, as tokens do */
    }
    at = at < inside.len ? at : inside.len;
    return word > most / 2 && at < inside.len ? word : at;
}

/* --- streams --- */

void replay_stream_begin(struct replay_stream *stream, struct span bytes)
{
    sse_init(&stream->sse, bytes.len);
    stream->bytes = stream->rest = bytes;
}

bool replay_stream_next(struct replay_stream *stream)
{
    while (sse_next(&stream->sse, &stream->rest, &stream->event) == SSE_EVENT)
        if (stream->event.has_data) {
            const char *data = stream->event.data.ptr;
            stream->in_place = data >= stream->bytes.ptr && data < stream->bytes.ptr + stream->bytes.len;
            return true;
        }
    return false;
}

bool replay_stream_end(struct replay_stream *stream)
{
    bool whole = stream->rest.len == 0 && sse_unfinished(&stream->sse) == 0;
    sse_finish(&stream->sse);
    return whole;
}
