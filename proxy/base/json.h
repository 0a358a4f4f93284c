/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json: an incremental, validating JSON reader (RFC 8259, strict). The caller pulls events; the input may come in
 * pieces cut at any byte, and a piece may vanish after the call that read it. Nothing is allocated.
 *
 *     struct json r;
 *     json_init(&r, 64);
 *     while ((event = json_next(&r, &piece, last)) != JSON_MORE)   // MORE: the piece is used up, come back with the
 * next switch (event) { case JSON_KEY: if (json_is(&r, SPAN("model"))) json_capture(&r, buffer, sizeof buffer); ... }
 *
 * Validated: structure, number and escape grammar, UTF-8 (no overlong forms, surrogates or values above 10FFFF), no
 * control byte in strings, no byte order mark, one value only. Accepted though doubtful: \u escapes of a lone surrogate
 * (decoded to the three bytes of its code, which are not UTF-8, so that it equals no name of ours), \u0000, numbers of
 * any size, duplicate names (the caller's business: base/json_value.h and openai/request.h refuse them).
 *
 * Offsets count bytes from the start of the whole input, so a caller that keeps the input can splice it.
 */
#ifndef POSTERN_BASE_JSON_H
#define POSTERN_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/span.h"

enum json_event {
    JSON_MORE, /* the piece is used up and the document is not complete */
    JSON_OBJECT_OPEN,
    JSON_OBJECT_CLOSE,
    JSON_ARRAY_OPEN,
    JSON_ARRAY_CLOSE,
    JSON_KEY,
    JSON_STRING,
    JSON_NUMBER,
    JSON_TRUE,
    JSON_FALSE,
    JSON_NULL,
    JSON_SKIPPED, /* the value json_skip asked to skip; `kind` says what it was */
    JSON_DONE,    /* the document was complete at the end of the last piece; stays */
    JSON_BAD      /* see json_error; stays */
};

/* Keys and numbers of at most so many (decoded) bytes have a `text`; longer ones are `text_long`. */
#define JSON_TEXT_LIMIT 128
/* The largest depth json_init takes. */
#define JSON_DEPTH_LIMIT 512

struct json {
    /* To read after an event other than MORE, DONE and BAD: */
    size_t token_start, token_end; /* of the token, quotes included; JSON_SKIPPED: of the whole value */
    /*
     * KEY: the decoded name. NUMBER: its spelling. STRING after json_capture: the decoded value. Otherwise ptr is NULL.
     * Points into the piece, the reader or the capture buffer: valid until the next json_next or until the piece goes,
     * so copy.
     */
    struct span text;
    bool text_long;       /* there would be a text, but it exceeds its limit; `text` is empty then */
    size_t string_bytes;  /* STRING: decoded length in bytes, captured or not */
    unsigned depth;       /* open containers: 1 after the outermost OPEN, 0 after its CLOSE */
    enum json_event kind; /* SKIPPED: OBJECT_OPEN, ARRAY_OPEN, STRING, NUMBER, TRUE, FALSE or NULL */

    /* The reader's own: */
    enum json_event event; /* the last */
    const char *piece;     /* start of the piece under way and its offset in the whole input */
    size_t piece_at;
    unsigned char state, within, step,
        need;                /* what is expected; token under way and where in it; bytes or digits due */
    unsigned char low, high; /* range of the next UTF-8 byte */
    unsigned char next_item; /* what a comma leads to in the innermost container */
    bool is_key, skipping, leaving;
    unsigned max_depth, skip_depth;
    uint64_t sought;            /* lengths of names at which to stop leaving */
    size_t line, line_start;    /* 1-based line of the last white space read, offset of its first byte */
    size_t skip_start, surplus; /* offset of what is skipped; bytes by which escapes exceed what they stand for */
    char *capture, *out;        /* json_capture's buffer; where the token under way goes, NULL = nowhere */
    size_t capture_limit, out_len, out_limit;
    bool out_used, out_over;   /* something is in `out`; something did not fit */
    uint32_t code, first_half; /* \u escape under way; the high surrogate before it, 0 = none */
    const char *literal;       /* the word under way */
    const char *reason;        /* of JSON_BAD */
    size_t bad_at;
    uint64_t objects[JSON_DEPTH_LIMIT / 64]; /* bit = the container at that depth is an object */
    char kept[JSON_TEXT_LIMIT];              /* a key or number that is cut or has escapes */
};

/* Ready for the first byte. More than `max_depth` (1..JSON_DEPTH_LIMIT) open containers are JSON_BAD. */
void json_init(struct json *r, unsigned max_depth);

/*
 * Reads on in *input, which is advanced past what was read, until something can be reported. `last`: no byte follows
 * *input (which may be empty then). JSON_MORE comes only with *input empty and, after `last`, never.
 */
MUST_CHECK enum json_event json_next(struct json *r, struct span *input, bool last);

/*
 * Ask that the next value, if it is a string, be decoded to `text` (into `buffer` of `limit` > 0 bytes when it cannot
 * be shown in place). Call after KEY, ARRAY_OPEN or a value; the request ends with the next value of any kind or with
 * the container.
 */
static inline void json_capture(struct json *r, char *buffer, size_t limit)
{
    r->capture = buffer;
    r->capture_limit = limit;
}

/*
 * Ask that the next value be read, validated, and reported as one JSON_SKIPPED. If the container closes instead, the
 * close is reported and the request is forgotten.
 */
static inline void json_skip(struct json *r)
{
    r->skipping = true;
    r->leaving = false;
    r->skip_depth = r->depth;
}

/* Ask that everything up to the close of the innermost open container be skipped; its CLOSE is the next event. */
static inline void json_leave(struct json *r)
{
    if (r->depth == 0)
        return;
    r->skipping = r->leaving = true;
    r->skip_depth = r->depth;
    r->sought = 0;
}

/*
 * Ask that members of the innermost open object be skipped up to the next one whose decoded name has one of these
 * lengths (bit n: n bytes; n < 64): its KEY is the next event, or the object's CLOSE. Call where a name may come, that
 * is after OBJECT_OPEN or a value. Names of other lengths cost no event, which is what this is for.
 */
static inline void json_seek(struct json *r, uint64_t lengths)
{
    r->skipping = r->leaving = r->depth != 0;
    r->skip_depth = r->depth;
    r->sought = lengths;
}

/* Whether the last event's text is `name`. */
static inline bool json_is(const struct json *r, struct span name)
{
    return r->text.ptr && span_equal(r->text, name);
}

/* What JSON_BAD means: a short English reason and where. Line and column (in bytes) count from 1. Static text. */
struct json_error {
    const char *reason; /* NULL when nothing is wrong */
    size_t offset, line, column;
};
struct json_error json_error(const struct json *r);

#endif
