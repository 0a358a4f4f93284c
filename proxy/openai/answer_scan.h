/* SPDX-License-Identifier: Apache-2.0 */
/*
 * answer_scan: one walk over one JSON text that came from a model: a whole answer, or the data of one stream event. It
 * finds by path what matters (usage, choices, error, model ...) and skips all else at the reader's full speed. Below
 * usage.h and stream_tap.h, which are what the gateway uses.
 */
#ifndef POSTERN_OPENAI_ANSWER_SCAN_H
#define POSTERN_OPENAI_ANSWER_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/json.h"
#include "base/span.h"

/* Tokens as the upstream counts them: `input` includes `cached`, `output` includes `reasoning`. */
struct usage {
    uint64_t input, output, total;
    uint64_t cached, reasoning;         /* parts of input, of output */
    uint64_t audio_input, audio_output; /* parts of input, of output */
    uint64_t audio_seconds;             /* transcriptions billed by duration; begun seconds */
    bool reported;                      /* an upstream said so; false: all zero */
};

/* Bits of answer_facts.finish: why a choice ended. Responses: status and incomplete_details count as these. */
enum {
    FINISH_STOP = 1,
    FINISH_LENGTH = 2,
    FINISH_TOOL_CALLS = 4, /* function_call too */
    FINISH_CONTENT_FILTER = 8,
    FINISH_OTHER = 16
};

/* What is known of an answer so far. Later values replace earlier ones, bits add up. */
struct answer_facts {
    struct usage usage;
    struct span model;                  /* as served; in the arena, at most ANSWER_TEXT_MAX bytes */
    struct span error_code, error_type; /* of an error object; in the arena; numbers as text */
    bool error;                         /* a truthy top-level `error`, a type `error`, or a failed response */
    unsigned finish;                    /* FINISH_* */
    uint64_t
        text_bytes; /* decoded bytes of text, refusal, reasoning and tool arguments delivered by choices and deltas */
    bool has_sequence;
    uint64_t sequence; /* last sequence_number of the Responses API */
};

/* Longer texts (model, type, code) are not recorded. */
#define ANSWER_TEXT_MAX 128

/* A value that may differ between two events of one stream without changing what they mean. */
enum answer_hole_kind {
    HOLE_TEXT,     /* a string the client is after: its length counts */
    HOLE_STRING,   /* any other string */
    HOLE_SEQUENCE, /* sequence_number */
    HOLE_NUMBER    /* any other non-negative integer */
};

struct answer_hole {
    enum answer_hole_kind kind;
    unsigned start, end; /* offsets in the JSON text; strings with their quotes */
};

#define ANSWER_HOLES_MAX 8

struct answer_holes {
    unsigned count;
    bool overflow; /* there were more */
    struct answer_hole at[ANSWER_HOLES_MAX];
};

/* Places in the document that are looked at; see answer_scan.c. */
#define ANSWER_PLACES_MAX 12

/* A row of the table of members that matter; private to answer_scan.c. */
struct answer_member;

struct answer_scan {
    /* To read when the document is done: */
    char type[ANSWER_TEXT_MAX]; /* top-level `type` */
    unsigned type_len;
    bool is_object;     /* the document is an object */
    bool has_choices;   /* top-level `choices` is an array ... */
    bool choices_empty; /* ... without elements */
    bool has_usage;     /* top-level or response.usage is an object */
    bool has_finish;    /* a non-null finish_reason */
    bool error;         /* truthy top-level (or response.) error */
    bool flat_error;    /* "object":"error" */
    bool text;          /* a non-empty text in a hole */
    bool other_content; /* content outside any hole: a tool call's begin, audio, an unknown member of a delta */
    /* Its own: */
    struct answer_facts *facts;
    struct arena *arena;
    struct answer_holes *holes; /* may be NULL */
    struct usage usage;         /* the object being read */
    unsigned char place[ANSWER_PLACES_MAX];
    unsigned depth;
    const struct answer_member *member; /* what the next value is */
    bool maybe_content;                 /* the container being skipped is content unless it is empty */
    size_t skipped_from;                /* where it begins */
    struct json json;
    char capture[ANSWER_TEXT_MAX];
};

/* The bit of a finish_reason; FINISH_OTHER when it is none of the known. */
unsigned answer_finish_bit(struct span reason);

/* `facts` collects over several documents and must outlive the scan. */
void answer_scan_init(struct answer_scan *scan, struct answer_facts *facts, struct arena *arena,
                      struct answer_holes *holes);
/* JSON_MORE, JSON_DONE or JSON_BAD, as json_next. */
enum json_event answer_scan_feed(struct answer_scan *scan, struct span piece, bool last);

#endif
