/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_token: what json.c and json_string.c, the two halves of the JSON reader, share. Nobody else includes it.
 *
 * The lexing functions take the unread rest of the piece and return what they leave of it; the event is left in
 * r->event, JSON_MORE when the piece ended inside the token.
 */
#ifndef POSTERN_BASE_JSON_TOKEN_H
#define POSTERN_BASE_JSON_TOKEN_H

#include "base/json.h"

/* What may come next, as bits of r->state. */
enum {
    EXPECT_VALUE = 1,
    EXPECT_KEY = 2,
    EXPECT_CLOSE = 4,
    EXPECT_COLON = 8,
    EXPECT_COMMA = 16,
    EXPECT_END = 32,
};

/* r->within: the token that a piece ended in. */
enum { IN_NOTHING, IN_STRING, IN_NUMBER, IN_WORD };

static inline size_t json_offset(const struct json *r, const char *p)
{
    return r->piece_at + (size_t)(p - r->piece);
}

static inline const char *json_bad(struct json *r, const char *p, const char *reason)
{
    r->reason = reason;
    r->bad_at = json_offset(r, p);
    r->event = JSON_BAD;
    return p;
}

/*
 * A name or a value is complete. The separator after it is mostly there already, with at most one space: taking it
 * along spares the next call a look.
 */
static inline const char *json_separator(struct json *r, const char *p, const char *end, char separator,
                                         unsigned char with, unsigned char without)
{
    if (UNLIKELY(p == end || *p != separator)) {
        r->state = without;
        return p;
    }
    r->state = with;
    p++;
    return p + (p < end && *p == ' ');
}

static inline const char *json_name_ended(struct json *r, const char *p, const char *end)
{
    return json_separator(r, p, end, ':', EXPECT_VALUE, EXPECT_COLON);
}

static inline const char *json_value_ended(struct json *r, const char *p, const char *end)
{
    if (LIKELY(r->depth))
        return json_separator(r, p, end, ',', r->next_item, EXPECT_COMMA | EXPECT_CLOSE);
    r->state = EXPECT_END;
    return p;
}

/* A text that lies whole in the piece. */
static inline void json_text_in_place(struct json *r, const char *start, const char *end, size_t limit)
{
    size_t len = (size_t)(end - start);
    r->text_long = len > limit;
    if (LIKELY(len <= limit))
        r->text = span_of(start, len);
}

/* A text that may have to be put together: where to, NULL = it is not wanted. */
void json_out_start(struct json *r, char *out, size_t limit);
void json_out_put(struct json *r, const char *from, size_t len);
/* The text of a token whose last run is [run, end): shown in place when that run is all of it. */
void json_out_finish(struct json *r, const char *run, const char *end);

/* The first byte that is not plain printable ASCII: quote, backslash, control, or above 0x7F. */
const char *json_plain_run(const char *p, const char *end);
/* At the opening quote of a key or a string value. */
const char *json_string_start(struct json *r, const char *quote, const char *end, bool is_key);
/* Inside a string that an earlier piece began. */
const char *json_string_resume(struct json *r, const char *p, const char *end);

#endif
