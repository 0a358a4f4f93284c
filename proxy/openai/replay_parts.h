/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay_parts: what the files of replay share; nobody else includes it. Values are their text (base/json_value.h):
 * what nobody has to look into is copied as it is spelled.
 */
#ifndef POSTERN_OPENAI_REPLAY_PARTS_H
#define POSTERN_OPENAI_REPLAY_PARTS_H

#include "base/json_value.h"
#include "openai/replay.h"
#include "openai/sse.h"

/* Containers within each other; request and answers of the API have about 12. */
#define REPLAY_DEPTH 96
/* Members of an object that is looked into; a response has about 35. */
#define REPLAY_MEMBERS_MAX 96

#define REPLAY_PUT(out, literal) buffer_append((out), SPAN(literal))

/* One pass over a text, shared by the walks that descend in it. */
struct replay_text_reader {
    const char *base;
    struct span rest;
    struct json json;
};

/* Steps through one object or array. */
struct replay_walk {
    struct span name;    /* decoded; of more than JSON_TEXT_LIMIT bytes: as spelled. Until the next step */
    struct span spelled; /* with its quotes; empty in arrays */
    struct json_value value;
    bool bad; /* not valid, a name twice, or too many of them */
    /* Its own: */
    struct replay_text_reader *reader;
    bool array, inner;
    unsigned count;
    uint32_t seen[REPLAY_MEMBERS_MAX];
    char kept[JSON_TEXT_LIMIT];
    struct replay_text_reader own;
};

/* False, and bad, when `text` does not begin an object (array). */
MUST_CHECK bool replay_walk_object(struct replay_walk *walk, struct span text);
MUST_CHECK bool replay_walk_array(struct replay_walk *walk, struct span text);
/* False at the end, which is a good one unless `bad`: then the whole text was one valid value. */
MUST_CHECK bool replay_walk_next(struct replay_walk *walk);

/*
 * The same in two steps, so that nothing is read twice: replay_walk_name goes to the next member of an object, without
 * its value; then exactly one of replay_walk_value (reads it whole) and replay_walk_enter, which begins a walk inside
 * it, to be finished before the next step here. For arrays, replay_walk_enter alone goes to the next element.
 */
MUST_CHECK bool replay_walk_name(struct replay_walk *walk);
struct json_value replay_walk_value(struct replay_walk *walk);
/* False at the end of an array, and, with walk->bad, when what comes is not an `open` (OBJECT_OPEN or ARRAY_OPEN). */
MUST_CHECK bool replay_walk_enter(struct replay_walk *walk, struct replay_walk *inner, enum json_event open);

static inline bool replay_named(const struct replay_walk *walk, struct span name)
{
    return span_equal(walk->name, name);
}

/* Whether it says nothing: null, false, "", 0, [] or {}. */
bool replay_is_empty(struct json_value value);
/* What is between the quotes (brackets, braces) of a STRING (array, object). */
static inline struct span replay_inside(struct span raw)
{
    return span_of(raw.ptr + 1, raw.len - 2);
}

/* A member that may be missing: kind JSON_MORE then. */
struct json_value replay_member(struct span object, struct span name);
/* A STRING's text when it is spelled without escapes, else empty. */
struct span replay_plain(struct json_value value);
/* The bits of a finish_reason that a sound answer may have; 0 for all others. */
unsigned replay_finish(struct json_value reason);
/* Whether a content filter's report says that something was filtered or blocked, or that the filter failed. */
bool replay_filtered(struct json_value report);
/* Whether a member of this name is a content filter's report. */
bool replay_is_report(struct span name);
/* Words of the protocol: said again in a stream, they replace. All other strings are pieces. */
bool replay_is_word(struct span name);
/* Reads a usage object of any operation. */
void replay_usage(struct json_value value, struct usage *ret);

/* Takes the first of the worse: a flaw that is there stays. */
static inline void replay_blame(struct replay_facts *facts, enum replay_flaw flaw)
{
    if (facts->flaw == REPLAY_SOUND)
        facts->flaw = flaw;
}

/* The length of the first piece of a string's inside: at most `most` bytes (0: all), whole characters, at least one. */
size_t replay_cut(struct span inside, size_t most);

/* Iterates the events of a whole stream that have data. */
struct replay_stream {
    struct sse_reader sse;
    struct sse_event event;
    struct span bytes, rest;
    bool in_place; /* the event's data lies in `bytes` */
};
void replay_stream_begin(struct replay_stream *stream, struct span bytes);
MUST_CHECK bool replay_stream_next(struct replay_stream *stream);
/* True when the stream ended between two events. Frees what is held. */
bool replay_stream_end(struct replay_stream *stream);

/* One of each per operation; facts are zeroed and sound before. */
void replay_scan_choices(enum operation_id operation, struct span json, struct replay_facts *facts);
void replay_scan_response(struct span json, struct replay_facts *facts);
void replay_scan_embeddings(struct span json, struct replay_facts *facts);
/* With `out`, and when the stream is sound, appends the JSON. */
void replay_read_chunks(enum operation_id operation, struct span events, struct replay_facts *facts,
                        struct buffer *out);
void replay_read_response(struct span events, struct replay_facts *facts, struct buffer *out);
/* `json` was found sound and has no line ends. */
void replay_write_chunks(enum operation_id operation, struct span json, const struct replay_options *options,
                         struct buffer *out);
void replay_write_response(struct span json, const struct replay_options *options, struct buffer *out);

#endif
