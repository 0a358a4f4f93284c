/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

enum { EXPECT_VALUE, EXPECT_VALUE_OR_CLOSE, EXPECT_KEY, EXPECT_KEY_OR_CLOSE, EXPECT_COLON, EXPECT_COMMA, EXPECT_END };
enum { IN_NOTHING, IN_STRING, IN_NUMBER, IN_WORD };
enum { STRING_PLAIN, STRING_UTF8, STRING_ESCAPE, STRING_HEX };
/* Places in a number; those that may end it come last. */
enum {
    NUMBER_MINUS,
    NUMBER_POINT,
    NUMBER_E,
    NUMBER_E_SIGN,
    NUMBER_ZERO,
    NUMBER_WHOLE,
    NUMBER_FRACTION,
    NUMBER_EXPONENT
};

/*
 * The lexing functions take the unread rest of the piece and return what they leave of it; the event is left in
 * r->event, JSON_MORE when the piece ended inside the token.
 */

static size_t offset_of(const struct json *r, const char *p)
{
    return r->piece_at + (size_t)(p - r->piece);
}

static const char *bad(struct json *r, const char *p, const char *reason)
{
    r->reason = reason;
    r->bad_at = offset_of(r, p);
    r->event = JSON_BAD;
    return p;
}

static bool in_object(const struct json *r)
{
    unsigned level = r->depth - 1;
    return r->objects[level / 64] >> (level % 64) & 1;
}

/* A value is complete: what may follow it. */
static void value_ended(struct json *r)
{
    r->state = r->depth ? EXPECT_COMMA : EXPECT_END;
}

/* --- text that is wanted --- */

static void out_start(struct json *r, char *out, size_t limit)
{
    r->out = out;
    r->out_limit = limit;
    r->out_len = 0;
    r->out_used = r->out_over = false;
}

static void out_put(struct json *r, const char *from, size_t len)
{
    if (!r->out || len == 0)
        return;
    r->out_used = true;
    if (len > r->out_limit - r->out_len) {
        r->out_over = true;
        return;
    }
    memcpy(r->out + r->out_len, from, len);
    r->out_len += len;
}

/* The text of a token whose last run is [run, end): shown in place when that run is all of it. */
static void out_finish(struct json *r, const char *run, const char *end)
{
    if (!r->out)
        return;
    struct span text = span_of(run, (size_t)(end - run));
    if (r->out_used) {
        out_put(r, run, text.len);
        text = span_of(r->out, r->out_len);
    } else if (text.len > r->out_limit) {
        r->out_over = true;
    }
    r->text_long = r->out_over;
    r->text = r->out_over ? span_of(NULL, 0) : text;
}

/* One code point; lone surrogates come out as the three bytes the scheme gives them. */
static void put_code(struct json *r, uint32_t code, size_t spelled)
{
    char bytes[4];
    size_t len;
    if (code < 0x80) {
        bytes[0] = (char)code;
        len = 1;
    } else if (code < 0x800) {
        bytes[0] = (char)(0xC0 | code >> 6);
        bytes[1] = (char)(0x80 | (code & 0x3F));
        len = 2;
    } else if (code < 0x10000) {
        bytes[0] = (char)(0xE0 | code >> 12);
        bytes[1] = (char)(0x80 | (code >> 6 & 0x3F));
        bytes[2] = (char)(0x80 | (code & 0x3F));
        len = 3;
    } else {
        bytes[0] = (char)(0xF0 | code >> 18);
        bytes[1] = (char)(0x80 | (code >> 12 & 0x3F));
        bytes[2] = (char)(0x80 | (code >> 6 & 0x3F));
        bytes[3] = (char)(0x80 | (code & 0x3F));
        len = 4;
    }
    r->surplus += spelled - len;
    out_put(r, bytes, len);
}

static void put_lone_half(struct json *r)
{
    if (r->first_half)
        put_code(r, r->first_half, 6);
    r->first_half = 0;
}

/* --- strings --- */

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

/* The first byte that is not plain printable ASCII: quote, backslash, control, or above 0x7F. Sixteen or eight at a
 * time. */
static const char *plain_run(const char *p, const char *end)
{
#if defined(__SSE2__)
    const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\'), space = _mm_set1_epi8(0x20);
    for (; end - p >= 16; p += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        /* signed comparison: bytes above 0x7F are below space too */
        __m128i hit = _mm_or_si128(_mm_cmplt_epi8(v, space),
                                   _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, backslash)));
        int mask = _mm_movemask_epi8(hit);
        if (mask)
            return p + __builtin_ctz((unsigned)mask);
    }
#else
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = UINT64_C(0x8080808080808080);
    for (; end - p >= 8; p += 8) {
        uint64_t v;
        memcpy(&v, p, 8);
        uint64_t quote = v ^ ones * '"', backslash = v ^ ones * '\\';
        if ((v | (v - ones * 0x20) | (quote - ones) | (backslash - ones)) & tops)
            break; /* borrows can only add hits; the bytes below are told apart singly */
    }
#endif
    while (p < end && is_plain((unsigned char)*p))
        p++;
    return p;
}

/* Complete two- and three-byte sequences that need no closer look, as in most text that is not English. */
static const char *common_utf8_run(const char *p, const char *end)
{
    while (end - p >= 3) {
        unsigned char a = (unsigned char)p[0], b = (unsigned char)p[1], c = (unsigned char)p[2];
        if ((b & 0xC0) != 0x80)
            break;
        if (a >= 0xC2 && a <= 0xDF)
            p += 2;
        else if (a > 0xE0 && a < 0xF0 && a != 0xED && (c & 0xC0) == 0x80)
            p += 3;
        else
            break;
    }
    return p;
}

/* RFC 3629 section 4: how many bytes follow this one, and the range of the first of them. */
static bool utf8_lead(struct json *r, unsigned char c)
{
    if (c < 0xC2 || c > 0xF4)
        return false;
    r->low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80;
    r->high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
    r->need = c < 0xE0 ? 1 : c < 0xF0 ? 2 : 3;
    return true;
}

static const char *utf8_rest(struct json *r, const char *p, const char *end)
{
    for (; r->need && p < end; p++, r->need--) {
        unsigned char c = (unsigned char)*p;
        if (c < r->low || c > r->high)
            return bad(r, p, "invalid UTF-8");
        r->low = 0x80;
        r->high = 0xBF;
    }
    if (!r->need)
        r->step = STRING_PLAIN;
    return p;
}

static const char *escape_letter(struct json *r, const char *p)
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    if (*p == 'u') {
        r->step = STRING_HEX;
        r->need = 4;
        r->code = 0;
        return p + 1;
    }
    const char *letter = memchr(letters, *p, sizeof(letters) - 1);
    if (!letter)
        return bad(r, p, "invalid escape");
    put_lone_half(r);
    put_code(r, (unsigned char)meanings[letter - letters], 2);
    r->step = STRING_PLAIN;
    return p + 1;
}

/* A \u escape is complete: a high half waits for its low half, which must follow at once. */
static void escape_ended(struct json *r)
{
    uint32_t code = r->code;
    r->step = STRING_PLAIN;
    if (r->first_half && code >= 0xDC00 && code <= 0xDFFF) {
        put_code(r, 0x10000 + ((r->first_half - 0xD800) << 10) + (code - 0xDC00), 12);
        r->first_half = 0;
        return;
    }
    put_lone_half(r);
    if (code >= 0xD800 && code <= 0xDBFF)
        r->first_half = code;
    else
        put_code(r, code, 6);
}

static const char *escape_hex(struct json *r, const char *p, const char *end)
{
    for (; r->need && p < end; p++, r->need--) {
        unsigned char c = (unsigned char)*p, letter = c | 0x20;
        if (c >= '0' && c <= '9')
            r->code = r->code << 4 | (uint32_t)(c - '0');
        else if (letter >= 'a' && letter <= 'f')
            r->code = r->code << 4 | (uint32_t)(letter - 'a' + 10);
        else
            return bad(r, p, "invalid escape");
    }
    if (!r->need)
        escape_ended(r);
    return p;
}

static const char *string_ended(struct json *r, const char *run, const char *quote)
{
    put_lone_half(r);
    out_finish(r, run, quote);
    r->token_end = offset_of(r, quote + 1);
    r->within = IN_NOTHING;
    if (r->is_key) {
        r->event = JSON_KEY;
        r->state = EXPECT_COLON;
    } else {
        r->event = JSON_STRING;
        r->string_bytes = r->token_end - r->token_start - 2 - r->surplus;
        value_ended(r);
    }
    return quote + 1;
}

/* At a byte of a string that is not plain: what it begins. */
static const char *string_special(struct json *r, const char *run, const char *p, const char *end)
{
    unsigned char c = (unsigned char)*p;
    if (c == '\\') {
        out_put(r, run, (size_t)(p - run));
        r->step = STRING_ESCAPE;
        return p + 1;
    }
    if (c < 0x20)
        return bad(r, p, "control byte in a string");
    const char *next = common_utf8_run(p, end);
    if (next > p)
        return next;
    if (!utf8_lead(r, c))
        return bad(r, p, "invalid UTF-8");
    r->step = STRING_UTF8;
    return p + 1;
}

static const char *read_string(struct json *r, const char *p, const char *end)
{
    const char *run = p; /* wanted bytes from here on are not yet in `out` */
    r->event = JSON_MORE;
    while (p < end) {
        if (LIKELY(r->step == STRING_PLAIN)) {
            if (UNLIKELY(r->first_half && *p != '\\'))
                put_lone_half(r);
            p = plain_run(p, end);
            if (p == end)
                break;
            if (LIKELY(*p == '"'))
                return string_ended(r, run, p);
            p = string_special(r, run, p, end);
        } else if (r->step == STRING_UTF8) {
            p = utf8_rest(r, p, end);
        } else {
            p = r->step == STRING_ESCAPE ? escape_letter(r, p) : escape_hex(r, p, end);
            run = p;
        }
        if (r->event == JSON_BAD)
            return p;
    }
    if (r->step != STRING_ESCAPE && r->step != STRING_HEX)
        out_put(r, run, (size_t)(end - run));
    r->within = IN_STRING;
    return end;
}

static const char *start_string(struct json *r, const char *p, const char *end, bool is_key)
{
    r->is_key = is_key;
    r->step = STRING_PLAIN;
    r->surplus = 0;
    r->first_half = 0;
    if (!is_key)
        out_start(r, r->capture_limit && !r->skipping ? r->capture : NULL, r->capture_limit);
    else
        out_start(r, r->skipping && (r->leaving || r->depth > r->skip_depth) ? NULL : r->kept, sizeof(r->kept));
    r->capture_limit = is_key ? r->capture_limit : 0;
    return read_string(r, p + 1, end);
}

/* --- numbers and words --- */

/* Where `c` leads from a place in a number (RFC 8259 section 6), or -1. */
static int number_step(unsigned place, unsigned char c)
{
    bool digit = c >= '0' && c <= '9';
    switch (place) {
    case NUMBER_MINUS:
        return c == '0' ? NUMBER_ZERO : digit ? NUMBER_WHOLE : -1;
    case NUMBER_ZERO:
    case NUMBER_WHOLE:
        if (digit)
            return place == NUMBER_WHOLE ? NUMBER_WHOLE : -1;
        return c == '.' ? NUMBER_POINT : (c | 0x20) == 'e' ? NUMBER_E : -1;
    case NUMBER_POINT:
        return digit ? NUMBER_FRACTION : -1;
    case NUMBER_FRACTION:
        return digit ? NUMBER_FRACTION : (c | 0x20) == 'e' ? NUMBER_E : -1;
    case NUMBER_E:
        if (c == '+' || c == '-')
            return NUMBER_E_SIGN;
        return digit ? NUMBER_EXPONENT : -1;
    default: /* NUMBER_E_SIGN, NUMBER_EXPONENT */
        return digit ? NUMBER_EXPONENT : -1;
    }
}

static const char *number_ended(struct json *r, const char *run, const char *p)
{
    if (r->step < NUMBER_ZERO)
        return bad(r, p, "invalid number");
    out_finish(r, run, p);
    r->token_end = offset_of(r, p);
    r->within = IN_NOTHING;
    r->event = JSON_NUMBER;
    value_ended(r);
    return p;
}

/* [run, p) is what the piece has of the number so far. */
static const char *read_number(struct json *r, const char *run, const char *p, const char *end)
{
    for (; p < end; p++) {
        int next = number_step(r->step, (unsigned char)*p);
        if (next < 0)
            return number_ended(r, run, p);
        r->step = (unsigned char)next;
    }
    out_put(r, run, (size_t)(p - run));
    r->within = IN_NUMBER;
    r->event = JSON_MORE;
    return p;
}

static const char *start_number(struct json *r, const char *p, const char *end)
{
    r->step = NUMBER_MINUS;
    out_start(r, r->skipping ? NULL : r->kept, sizeof(r->kept));
    return read_number(r, p, *p == '-' ? p + 1 : p, end);
}

static const char *read_word(struct json *r, const char *p, const char *end)
{
    for (; r->literal[r->step]; p++, r->step++) {
        if (p == end) {
            r->within = IN_WORD;
            r->event = JSON_MORE;
            return p;
        }
        if (*p != r->literal[r->step])
            return bad(r, p, "invalid word: only true, false and null are known");
    }
    r->token_end = offset_of(r, p);
    r->within = IN_NOTHING;
    r->event = r->literal[0] == 't' ? JSON_TRUE : r->literal[0] == 'f' ? JSON_FALSE : JSON_NULL;
    value_ended(r);
    return p;
}

static const char *start_word(struct json *r, const char *p, const char *end)
{
    r->literal = *p == 't' ? "true" : *p == 'f' ? "false" : "null";
    r->step = 0;
    return read_word(r, p, end);
}

/* --- structure --- */

static const char *open_container(struct json *r, const char *p, bool object)
{
    if (r->depth == r->max_depth)
        return bad(r, p, "nested too deeply");
    uint64_t bit = UINT64_C(1) << (r->depth % 64), *word = &r->objects[r->depth / 64];
    *word = object ? *word | bit : *word & ~bit;
    r->depth++;
    r->state = object ? EXPECT_KEY_OR_CLOSE : EXPECT_VALUE_OR_CLOSE;
    r->token_end = r->token_start + 1;
    r->event = object ? JSON_OBJECT_OPEN : JSON_ARRAY_OPEN;
    return p + 1;
}

static const char *close_container(struct json *r, const char *p)
{
    r->event = in_object(r) ? JSON_OBJECT_CLOSE : JSON_ARRAY_CLOSE;
    r->token_start = offset_of(r, p);
    r->token_end = r->token_start + 1;
    r->capture_limit = 0;
    r->depth--;
    value_ended(r);
    return p + 1;
}

static const char *start_value(struct json *r, const char *p, const char *end)
{
    r->token_start = offset_of(r, p);
    if (*p == '"')
        return start_string(r, p, end, false);
    r->capture_limit = 0;
    switch (*p) {
    case '{':
        return open_container(r, p, true);
    case '[':
        return open_container(r, p, false);
    case 't':
    case 'f':
    case 'n':
        return start_word(r, p, end);
    default:
        if (*p == '-' || (*p >= '0' && *p <= '9'))
            return start_number(r, p, end);
        return bad(r, p, r->token_start == 0 && *p == '\xEF' ? "a byte order mark is not allowed" : "expected a value");
    }
}

static const char *start_key(struct json *r, const char *p, const char *end)
{
    if (*p != '"')
        return bad(r, p, r->state == EXPECT_KEY ? "expected a name in quotes" : "expected a name in quotes or '}'");
    r->token_start = offset_of(r, p);
    return start_string(r, p, end, true);
}

static const char *skip_space(struct json *r, const char *p, const char *end)
{
    for (; p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'); p++)
        if (*p == '\n') {
            r->line++;
            r->line_start = offset_of(r, p + 1);
        }
    return p;
}

static const char *read_structure(struct json *r, const char *p, const char *end)
{
    for (;; p++) {
        if (p < end && (unsigned char)*p <= ' ')
            p = skip_space(r, p, end);
        if (p == end) {
            r->event = JSON_MORE;
            return p;
        }
        switch (r->state) {
        case EXPECT_COLON:
            if (*p != ':')
                return bad(r, p, "expected ':'");
            r->state = EXPECT_VALUE;
            break;
        case EXPECT_COMMA:
            if (*p == (in_object(r) ? '}' : ']'))
                return close_container(r, p);
            if (*p != ',')
                return bad(r, p, in_object(r) ? "expected ',' or '}'" : "expected ',' or ']'");
            r->state = in_object(r) ? EXPECT_KEY : EXPECT_VALUE;
            break;
        case EXPECT_KEY_OR_CLOSE:
            return *p == '}' ? close_container(r, p) : start_key(r, p, end);
        case EXPECT_KEY:
            return start_key(r, p, end);
        case EXPECT_VALUE_OR_CLOSE:
            return *p == ']' ? close_container(r, p) : start_value(r, p, end);
        case EXPECT_VALUE:
            return start_value(r, p, end);
        default:
            return bad(r, p, "more text after the value");
        }
    }
}

/* Nothing more will come: what was open is complete now, or never will be. */
static const char *read_end(struct json *r, const char *p)
{
    if (r->within == IN_NUMBER)
        return number_ended(r, p, p);
    if (r->within != IN_NOTHING || r->state != EXPECT_END)
        return bad(r, p, "unexpected end");
    r->event = JSON_DONE;
    return p;
}

static const char *read_token(struct json *r, const char *p, const char *end, bool last)
{
    switch (r->within) {
    case IN_STRING:
        p = read_string(r, p, end);
        break;
    case IN_NUMBER:
        p = read_number(r, p, p, end);
        break;
    case IN_WORD:
        p = read_word(r, p, end);
        break;
    default:
        p = read_structure(r, p, end);
    }
    return UNLIKELY(r->event == JSON_MORE && last) ? read_end(r, p) : p;
}

/* While skipping: whether the event is to be reported, perhaps as another one. */
static bool surfaces(struct json *r)
{
    switch (r->event) {
    case JSON_MORE:
    case JSON_DONE:
    case JSON_BAD:
        return true;
    case JSON_OBJECT_CLOSE:
    case JSON_ARRAY_CLOSE:
        if (r->depth > r->skip_depth || (r->leaving && r->depth == r->skip_depth))
            return false;
        r->skipping = false;
        if (r->depth == r->skip_depth) {
            r->token_start = r->skip_start;
            r->event = JSON_SKIPPED;
        }
        return true;
    case JSON_KEY:
        return !r->leaving && r->depth == r->skip_depth;
    case JSON_OBJECT_OPEN:
    case JSON_ARRAY_OPEN:
        if (r->depth == r->skip_depth + 1 && !r->leaving) {
            r->skip_start = r->token_start;
            r->kind = r->event;
        }
        return false;
    default:
        if (r->depth > r->skip_depth || r->leaving)
            return false;
        r->skipping = false;
        r->kind = r->event;
        r->event = JSON_SKIPPED;
        return true;
    }
}

void json_init(struct json *r, unsigned max_depth)
{
    /* objects and kept are written before they are read */
    memset(r, 0, offsetof(struct json, objects));
    r->max_depth = max_depth < JSON_DEPTH_LIMIT ? max_depth : JSON_DEPTH_LIMIT;
    r->state = EXPECT_VALUE;
    r->line = 1;
}

enum json_event json_next(struct json *r, struct span *input, bool last)
{
    if (UNLIKELY(r->event == JSON_BAD || r->event == JSON_DONE))
        return r->event;
    const char *p = input->ptr, *end = p + input->len;
    r->piece = p;
    r->text = span_of(NULL, 0);
    r->text_long = false;
    do {
        p = read_token(r, p, end, last);
    } while (UNLIKELY(r->skipping) && !surfaces(r));
    if (p != r->piece) {
        size_t used = (size_t)(p - r->piece);
        r->piece_at += used;
        *input = span_of(p, input->len - used);
    }
    return r->event;
}

void json_capture(struct json *r, char *buffer, size_t limit)
{
    r->capture = buffer;
    r->capture_limit = limit;
}

void json_skip(struct json *r)
{
    r->skipping = true;
    r->leaving = false;
    r->skip_depth = r->depth;
}

void json_leave(struct json *r)
{
    if (r->depth == 0)
        return;
    r->skipping = r->leaving = true;
    r->skip_depth = r->depth;
}

struct json_error json_error(const struct json *r)
{
    if (!r->reason)
        return (struct json_error){0};
    return (struct json_error){r->reason, r->bad_at, r->line, r->bad_at - r->line_start + 1};
}
