/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request: what an inspected request body asks for: model, streaming, limits, and where each top-level member stands,
 * so that openai/edits.h can change one and leave every other byte alone. How much there is to read for the model is
 * another question, for those who limit it: openai/estimate.h. Reads as bytes arrive; a piece may vanish after the
 * call, offsets count from the start of the body.
 *
 * Facts: OpenAI API reference (chat, completions, embeddings, responses, images, audio), RFC 8259, RFC 7578.
 *
 * Refused: what is no JSON object (MALFORMED_BODY); duplicate top-level names, compared decoded ("mo\u0064el" is
 * "model"), duplicate names inside stream_options, and a wrong type of a member the gateway acts on (BAD_PARAMETER).
 * Everything else is the upstream's to judge.
 */
#ifndef POSTERN_OPENAI_REQUEST_H
#define POSTERN_OPENAI_REQUEST_H

#include "base/arena.h"
#include "base/fault.h"
#include "base/json.h"
#include "openai/multipart.h"

#define REQUEST_MEMBERS_LIMIT 1024 /* top-level members of a JSON body, parts of a multipart body */
#define REQUEST_MODEL_LIMIT   256  /* bytes of a model name, decoded */
#define REQUEST_FIELD_LIMIT   64   /* bytes of the other multipart fields that are read */
#define REQUEST_DEPTH_LIMIT   512  /* nesting of a JSON body */

enum request_kind { REQUEST_JSON, REQUEST_MULTIPART };

/* A JSON null counts as absent, as the API says of optional members. */
enum tri { TRI_ABSENT, TRI_FALSE, TRI_TRUE };

/* An optional count. Present only for a non-negative integer (1e3 and 5.0 are ones); other values are the upstream's to
 * refuse. */
struct request_count {
    bool present;
    uint64_t value;
};

/* A top-level member, in the order of the body. Offsets are bytes of the body; end is exclusive. */
struct request_member {
    struct span name;            /* decoded; static or in the arena */
    size_t name_start, name_end; /* with quotes */
    size_t value_start, value_end;
    enum json_event kind; /* as json's `kind`: OBJECT_OPEN, STRING, ... */
};

struct request_info {
    enum request_kind kind;

    bool has_model;    /* a non-empty model name was given */
    struct span model; /* decoded, in the arena */
    size_t model_start,
        model_end; /* of the value: JSON with its quotes, multipart the part's content; both 0 = no such member */
    bool stream;
    bool has_stream_options; /* an object; null is none */
    enum tri include_usage;  /* stream_options.include_usage */
    enum tri store, background;
    bool previous_response_id, conversation, user; /* given and not null */
    struct request_count n, max_tokens, max_completion_tokens, max_output_tokens, dimensions;
    bool has_temperature;
    double temperature;
    struct span temperature_raw; /* its spelling, in the arena */
    struct span response_format; /* multipart only: the field's text, in the arena */

    /* JSON: the body's layout. */
    size_t object_open, object_close; /* offsets of the outer braces */
    const struct request_member *members;
    size_t member_count;
    struct {         /* inside stream_options, when has_stream_options */
        size_t open; /* offset of its '{' */
        bool empty;
        size_t usage_start, usage_end; /* include_usage's value; both 0 = not there */
    } stream_options;

    /* Multipart: */
    struct span boundary; /* in the arena */
    size_t part_count;
};

struct request_reader {
    /* To read after a fault; NONE and empty until then: */
    enum fault fault;
    struct span
        message;       /* "invalid JSON at byte 123 (line 4, column 7): expected ',' or '}'"; in the arena or static */
    struct span param; /* the member at fault, for the error's `param`; may be empty */

    /* The reader's own: */
    struct arena *arena;
    struct request_info *info;
    struct json json;
    struct multipart *multipart; /* NULL = JSON, or a boundary that is none */
    struct request_member *members;
    size_t member_cap;
    struct table *names;   /* of unknown members, once there are many */
    uint32_t seen;         /* bit = that known member or field was given */
    unsigned char known;   /* the known member under way */
    unsigned char section; /* where in the body */
    unsigned char option_count;
    struct span *options; /* names inside stream_options */
    char *capture;
    size_t capture_len, capture_limit;
};

/*
 * Starts a reader for a JSON body, or for a multipart body with this boundary (REQUEST_JSON ignores it). What is found
 * goes to `info`, which is cleared, and to `arena`; both must outlive the reader. A boundary that RFC 2046 does not
 * allow is a fault at the first feed. Needs hash_start to have been called.
 */
void request_init(struct request_reader *reader, enum request_kind kind, struct span boundary, struct arena *arena,
                  struct request_info *info);
/*
 * Reads the next bytes of the body. Work is linear in their length (less than 1 instruction per byte of long strings),
 * so feed slices of 64 KiB or so where fairness matters. FAULT_NONE: go on. Otherwise the fault; it stays.
 */
MUST_CHECK enum fault request_feed(struct request_reader *reader, struct span bytes);
/* The body has ended. `info` is complete and valid after FAULT_NONE only. */
MUST_CHECK enum fault request_finish(struct request_reader *reader);

/* The member of that decoded name, or NULL. */
const struct request_member *request_member(const struct request_info *info, struct span name);

#endif
