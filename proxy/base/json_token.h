/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_token: what json.c, json_string.c and json_skip.c, the parts of the JSON reader, share. Nobody else includes it.
 *
 * The lexing functions take the unread rest of the piece and return what they leave of it; the event is left in
 * r->event, JSON_MORE when the piece ended inside the token.
 */
#ifndef POSTERN_BASE_JSON_TOKEN_H
#define POSTERN_BASE_JSON_TOKEN_H

#include "base/json.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

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

/* What a byte begins. */
enum { BYTE_OTHER, BYTE_SPACE, BYTE_QUOTE, BYTE_COLON, BYTE_COMMA, BYTE_OPEN, BYTE_CLOSE, BYTE_LETTER, BYTE_NUMBER };

extern const unsigned char json_byte_kinds[256];

static inline unsigned json_byte_kind(char c)
{
    return json_byte_kinds[(unsigned char)c];
}

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

static inline bool json_in_object(const struct json *r)
{
    return r->next_item == EXPECT_KEY;
}

static inline void json_push(struct json *r, bool object)
{
    uint64_t bit = UINT64_C(1) << (r->depth % 64), *word = &r->objects[r->depth / 64];
    *word = object ? *word | bit : *word & ~bit;
    r->depth++;
    r->next_item = object ? EXPECT_KEY : EXPECT_VALUE;
    r->state = r->next_item | EXPECT_CLOSE;
}

/* Leaves the innermost container; the state is the caller's to set. */
static inline void json_pop(struct json *r)
{
    r->depth--;
    if (LIKELY(r->depth)) {
        unsigned level = r->depth - 1;
        r->next_item = r->objects[level / 64] >> (level % 64) & 1 ? EXPECT_KEY : EXPECT_VALUE;
    }
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

#if defined(__SSE2__)
/*
 * Marks those of 16 bytes that are not plain. Compared as signed, those above 0x7F are below space too, and so is the
 * quote once space and quote have changed places.
 */
static inline __m128i json_special_marks(const char *p)
{
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i low = _mm_cmplt_epi8(_mm_xor_si128(v, _mm_set1_epi8('"' ^ ' ')), _mm_set1_epi8(' ' + 1));
    return _mm_or_si128(low, _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
}
#endif

#define JSON_ONES UINT64_C(0x0101010101010101)

static inline uint64_t json_word(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? v : __builtin_bswap64(v);
}

/* The top bits of those of 8 bytes that are not plain. Borrows may mark more, but only behind the first. */
static inline uint64_t json_special_tops(const char *p)
{
    uint64_t v = json_word(p), quote = v ^ JSON_ONES * '"', backslash = v ^ JSON_ONES * '\\';
    return (v | (v - JSON_ONES * ' ') | (quote - JSON_ONES) | (backslash - JSON_ONES)) & JSON_ONES * 0x80;
}

/* How many of 8 bytes are digits, up to the first that is none. What carries is behind that one. */
static inline unsigned json_digits(const char *p)
{
    uint64_t v = json_word(p) ^ JSON_ONES * '0';
    uint64_t others = (v | (v + JSON_ONES * (0x80 - 10))) & JSON_ONES * 0x80;
    return others ? (unsigned)__builtin_ctzll(others) / 8 : 8;
}

/* How many of 16 bytes are plain printable ASCII, up to the first that is not: quote, backslash, control, above 0x7F.
 */
static inline unsigned json_plain_bytes(const char *p)
{
#if defined(__SSE2__)
    return (unsigned)__builtin_ctz((unsigned)_mm_movemask_epi8(json_special_marks(p)) | 1u << 16);
#else
    uint64_t first = json_special_tops(p), second = json_special_tops(p + 8);
    if (first)
        return (unsigned)__builtin_ctzll(first) / 8;
    return second ? 8 + (unsigned)__builtin_ctzll(second) / 8 : 16;
#endif
}

/* The first byte that is not plain. */
const char *json_plain_run(const char *p, const char *end);

/* The same for what is probably short. */
static inline const char *json_short_run(const char *p, const char *end)
{
    if (LIKELY(end - p >= 16)) {
        unsigned plain = json_plain_bytes(p);
        p += plain;
        if (LIKELY(plain < 16))
            return p;
    }
    return json_plain_run(p, end);
}

/* A key or a string value whose plain beginning is (quote, p). */
const char *json_string_start(struct json *r, const char *quote, const char *p, const char *end, bool is_key);
/* Inside a string that an earlier piece began. */
const char *json_string_resume(struct json *r, const char *p, const char *end);
/*
 * From a byte inside a string to the byte after the closing quote, without a text. NULL: the string is not valid or
 * not all there, to be found out by the functions above.
 */
const char *json_string_pass(const char *p, const char *end);

/* Reads on to the next event; JSON_MORE when the piece ends before it. */
const char *json_read_token(struct json *r, const char *p, const char *end, bool last);
const char *json_skip_space(struct json *r, const char *p, const char *end);
/* The same when something is being skipped (r->skipping). */
const char *json_skip_on(struct json *r, const char *p, const char *end, bool last);
/* Inside what is skipped, between tokens: passes what can be passed whole, and stops before anything else. */
const char *json_pass(struct json *r, const char *p, const char *end);

#endif
