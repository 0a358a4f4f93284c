/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json_token.h"

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

const unsigned char json_byte_kinds[256] = {
    [' '] = BYTE_SPACE,  ['\t'] = BYTE_SPACE, ['\n'] = BYTE_SPACE, ['\r'] = BYTE_SPACE, ['"'] = BYTE_QUOTE,
    [':'] = BYTE_COLON,  [','] = BYTE_COMMA,  ['{'] = BYTE_OPEN,   ['['] = BYTE_OPEN,   ['}'] = BYTE_CLOSE,
    [']'] = BYTE_CLOSE,  ['t'] = BYTE_LETTER, ['f'] = BYTE_LETTER, ['n'] = BYTE_LETTER, ['-'] = BYTE_NUMBER,
    ['0'] = BYTE_NUMBER, ['1'] = BYTE_NUMBER, ['2'] = BYTE_NUMBER, ['3'] = BYTE_NUMBER, ['4'] = BYTE_NUMBER,
    ['5'] = BYTE_NUMBER, ['6'] = BYTE_NUMBER, ['7'] = BYTE_NUMBER, ['8'] = BYTE_NUMBER, ['9'] = BYTE_NUMBER,
};

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

static const char *number_ended(struct json *r, const char *p, const char *end)
{
    r->token_end = json_offset(r, p);
    r->within = IN_NOTHING;
    r->event = JSON_NUMBER;
    return json_value_ended(r, p, end);
}

/* [run, p) is what the piece has of the number so far. */
static const char *read_number(struct json *r, const char *run, const char *p, const char *end, bool last)
{
    for (int next = 0; p < end; p++, r->step = (unsigned char)next)
        if ((next = number_step(r->step, (unsigned char)*p)) < 0)
            break;
    if (p == end && !last) {
        json_out_put(r, run, (size_t)(p - run));
        r->within = IN_NUMBER;
        r->event = JSON_MORE;
        return p;
    }
    if (r->step < NUMBER_ZERO)
        return json_bad(r, p, "invalid number");
    json_out_finish(r, run, p);
    return number_ended(r, p, end);
}

static const char *start_number(struct json *r, const char *p, const char *end, bool last)
{
    const char *start = p;
    p += *p == '-';
    r->step = NUMBER_MINUS;
    if (p < end && *p >= '1' && *p <= '9') {
        while (p < end && *p >= '0' && *p <= '9')
            p++;
        r->step = NUMBER_WHOLE;
        if (LIKELY(p < end && *p != '.' && (*p | 0x20) != 'e')) { /* most are whole, in both senses */
            if (!r->skipping)
                json_text_in_place(r, start, p, sizeof(r->kept));
            return number_ended(r, p, end);
        }
    }
    json_out_start(r, r->skipping ? NULL : r->kept, sizeof(r->kept));
    return read_number(r, start, p, end, last);
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
            return json_bad(r, p, "invalid word: only true, false and null are known");
    }
    r->token_end = json_offset(r, p);
    r->within = IN_NOTHING;
    r->event = r->literal[0] == 't' ? JSON_TRUE : r->literal[0] == 'f' ? JSON_FALSE : JSON_NULL;
    return json_value_ended(r, p, end);
}

static const char *start_word(struct json *r, const char *p, const char *end)
{
    r->literal = *p == 't' ? "true" : *p == 'f' ? "false" : "null";
    r->step = 0;
    return read_word(r, p, end);
}

/* --- structure --- */

/* Most strings are plain, short and whole. */
static inline const char *start_string(struct json *r, const char *quote, const char *end, bool is_key)
{
    const char *p = json_short_run(quote + 1, end);
    if (UNLIKELY(p == end || *p != '"' || r->skipping || (!is_key && r->capture_limit)))
        return json_string_start(r, quote, p, end, is_key);
    r->token_start = json_offset(r, quote);
    r->token_end = json_offset(r, p + 1);
    if (is_key) {
        r->event = JSON_KEY;
        json_text_in_place(r, quote + 1, p, sizeof(r->kept));
        return json_name_ended(r, p + 1, end);
    }
    r->event = JSON_STRING;
    r->string_bytes = r->token_end - r->token_start - 2;
    return json_value_ended(r, p + 1, end);
}

static const char *open_container(struct json *r, const char *p, bool object)
{
    if (r->depth == r->max_depth)
        return json_bad(r, p, "nested too deeply");
    json_push(r, object);
    r->token_end = r->token_start + 1;
    r->event = object ? JSON_OBJECT_OPEN : JSON_ARRAY_OPEN;
    return p + 1;
}

static const char *close_container(struct json *r, const char *p, const char *end)
{
    r->event = *p == '}' ? JSON_OBJECT_CLOSE : JSON_ARRAY_CLOSE;
    r->token_start = json_offset(r, p);
    r->token_end = r->token_start + 1;
    r->capture_limit = 0;
    json_pop(r);
    return json_value_ended(r, p + 1, end);
}

/* What should have stood at `p`. */
static const char *unexpected(struct json *r, const char *p)
{
    bool close = r->state & EXPECT_CLOSE;
    if (r->state & EXPECT_COMMA)
        return json_bad(r, p, json_in_object(r) ? "expected ',' or '}'" : "expected ',' or ']'");
    if (r->state & EXPECT_COLON)
        return json_bad(r, p, "expected ':'");
    if (r->state & EXPECT_KEY)
        return json_bad(r, p, close ? "expected a name in quotes or '}'" : "expected a name in quotes");
    if (r->state & EXPECT_END)
        return json_bad(r, p, "more text after the value");
    if (*p == '\xEF' && json_offset(r, p) == 0)
        return json_bad(r, p, "a byte order mark is not allowed");
    return json_bad(r, p, close ? "expected a value or ']'" : "expected a value");
}

/* A value other than a string. */
static const char *start_value(struct json *r, const char *p, const char *end, bool last)
{
    if (!(r->state & EXPECT_VALUE))
        return unexpected(r, p);
    r->token_start = json_offset(r, p);
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
            return start_number(r, p, end, last);
        return unexpected(r, p);
    }
}

const char *json_skip_space(struct json *r, const char *p, const char *end)
{
    for (; p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'); p++)
        if (*p == '\n') {
            r->line++;
            r->line_start = json_offset(r, p + 1);
        }
    return p;
}

/* From the end of one token to the next that is an event. */
static const char *read_structure(struct json *r, const char *p, const char *end, bool last)
{
    for (;; p++) {
        if (UNLIKELY(p < end && (unsigned char)*p <= ' '))
            p = json_skip_space(r, p, end);
        if (UNLIKELY(p == end)) {
            r->event = JSON_MORE;
            return p;
        }
        if (*p == '"' && r->state & (EXPECT_KEY | EXPECT_VALUE))
            return start_string(r, p, end, r->state & EXPECT_KEY);
        if (*p == ':' && r->state & EXPECT_COLON)
            r->state = EXPECT_VALUE;
        else if (*p == ',' && r->state & EXPECT_COMMA)
            r->state = r->next_item;
        else if (r->state & EXPECT_CLOSE && *p == (json_in_object(r) ? '}' : ']'))
            return close_container(r, p, end);
        else
            return start_value(r, p, end, last);
    }
}

/* The piece ended and nothing more will come. */
static const char *read_end(struct json *r, const char *p)
{
    if (r->within != IN_NOTHING || r->state != EXPECT_END)
        return json_bad(r, p, "unexpected end");
    r->event = JSON_DONE;
    return p;
}

/* Inside a token that an earlier piece began. */
static const char *read_on(struct json *r, const char *p, const char *end, bool last)
{
    if (r->within == IN_STRING)
        return json_string_resume(r, p, end);
    if (r->within == IN_NUMBER)
        return read_number(r, p, p, end, last);
    return read_word(r, p, end);
}

const char *json_read_token(struct json *r, const char *p, const char *end, bool last)
{
    p = LIKELY(r->within == IN_NOTHING) ? read_structure(r, p, end, last) : read_on(r, p, end, last);
    return UNLIKELY(r->event == JSON_MORE) && last ? read_end(r, p) : p;
}

void json_init(struct json *r, unsigned max_depth)
{
    /* objects and kept are written before they are read */
    memset(r, 0, offsetof(struct json, objects));
    r->max_depth = max_depth < JSON_DEPTH_LIMIT ? max_depth : JSON_DEPTH_LIMIT;
    r->state = EXPECT_VALUE;
    r->line = 1;
}

static __attribute__((noinline)) enum json_event next_slowly(struct json *r, struct span *input, bool last)
{
    if (r->event == JSON_BAD || r->event == JSON_DONE)
        return r->event;
    const char *p = input->ptr ? input->ptr : "", *end = p + input->len;
    r->piece = p;
    r->text = span_of(NULL, 0);
    r->text_long = false;
    p = r->skipping ? json_skip_on(r, p, end, last) : json_read_token(r, p, end, last);
    r->piece_at += (size_t)(p - r->piece);
    *input = span_of(p, (size_t)(end - p));
    return r->event;
}

/* --- the quick way --- */

/* Short tokens with what follows them lie in so many bytes, which are there to be looked at. */
#define QUICK_BYTES 24

/* The byte after the value or name at `p`, or NULL when it is not short and simple. */
static inline const char *quick_token(const char *p, enum json_event *ret)
{
    const char *after;
    if (LIKELY(*p == '"')) {
        *ret = JSON_STRING;
        after = p + 1 + json_plain_bytes(p + 1);
        return *after == '"' ? after + 1 : NULL;
    }
    switch (json_byte_kind(*p)) {
    case BYTE_NUMBER:
        *ret = JSON_NUMBER;
        after = p + json_digits(p);
        if (after == p || after == p + 8 || (*p == '0' && after > p + 1))
            return NULL;
        if (*after == '.') {
            const char *fraction = after + 1;
            after = fraction + json_digits(fraction);
            if (after == fraction || after == fraction + 8)
                return NULL;
        }
        return (*after | 0x20) == 'e' ? NULL : after;
    case BYTE_LETTER:
        *ret = *p == 'n' ? JSON_NULL : *p == 't' ? JSON_TRUE : JSON_FALSE;
        if (*p == 'f')
            return memcmp(p, "false", 5) == 0 ? p + 5 : NULL;
        return memcmp(p, *p == 'n' ? "null" : "true", 4) == 0 ? p + 4 : NULL;
    default:
        return NULL;
    }
}

/* A container opens or closes at `p`. What is to be read next, or NULL: not so simply. */
static inline const char *quick_container(struct json *r, const char *p)
{
    bool object = *p == '{' || *p == '}';
    if (json_byte_kind(*p) == BYTE_OPEN && r->state & EXPECT_VALUE && r->depth < r->max_depth) {
        json_push(r, object);
        r->event = object ? JSON_OBJECT_OPEN : JSON_ARRAY_OPEN;
        p++;
    } else if (json_byte_kind(*p) == BYTE_CLOSE && r->state & EXPECT_CLOSE && json_in_object(r) == object) {
        json_pop(r);
        r->event = object ? JSON_OBJECT_CLOSE : JSON_ARRAY_CLOSE;
        p = json_value_ended(r, p + 1, p + QUICK_BYTES);
    } else {
        return NULL;
    }
    r->text = span_of(NULL, 0);
    r->text_long = false;
    r->capture_limit = 0;
    return p;
}

static inline enum json_event quick_end(struct json *r, struct span *input, const char *p, const char *after,
                                        const char *next)
{
    size_t taken = (size_t)(next - p);
    r->token_start = r->piece_at;
    r->token_end = r->piece_at + (size_t)(after - p);
    r->piece_at += taken;
    input->ptr = next;
    input->len -= taken;
    return r->event;
}

/* A name or a one-token value [p, after) that stands where it may. */
static inline enum json_event quick_scalar(struct json *r, struct span *input, const char *p, const char *after,
                                           enum json_event event)
{
    bool quoted = event == JSON_STRING;
    const char *text = p + quoted, *next;
    size_t len = (size_t)(after - p) - 2 * quoted;
    r->text_long = false;
    if (r->state & EXPECT_KEY) {
        r->event = JSON_KEY;
        r->text = span_of(text, len);
        next = json_name_ended(r, after, p + QUICK_BYTES);
        return quick_end(r, input, p, after, next);
    }
    bool shown = event == JSON_NUMBER;
    if (UNLIKELY(r->capture_limit)) {
        r->text_long = quoted && !r->skipping && len > r->capture_limit;
        shown = shown || (quoted && !r->text_long);
        r->capture_limit = 0;
    }
    if (r->skipping) {
        r->kind = event;
        event = JSON_SKIPPED;
        r->skipping = shown = false;
    }
    r->event = event;
    r->string_bytes = len;
    r->text = shown ? span_of(text, len) : span_of(NULL, 0);
    next = json_value_ended(r, after, p + QUICK_BYTES);
    return quick_end(r, input, p, after, next);
}

/* While skipping: whether the token at `p` is an event. Then what was sought is found. */
static inline bool quick_surface(struct json *r, const char *p)
{
    if (r->depth != r->skip_depth)
        return false;
    if (!r->leaving)
        return r->state == EXPECT_VALUE;
    if (!r->sought)
        return false;
    if (r->state & EXPECT_KEY && *p == '"') {
        unsigned len = json_plain_bytes(p + 1);
        r->skipping = p[1 + len] != '"' || !(r->sought >> len & 1);
    } else {
        r->skipping = !(r->state & EXPECT_CLOSE && *p == '}');
    }
    return !r->skipping;
}

/* Passes what nobody seeks. False: where that ends is not for the quick way. */
static bool pass_ahead(struct json *r, struct span *input)
{
    const char *p = input->ptr, *end = p + input->len;
    r->piece = p;
    if (r->depth < r->skip_depth)
        return false;
    p = json_pass(r, p, end);
    r->piece_at += (size_t)(p - r->piece);
    *input = span_of(p, (size_t)(end - p));
    return input->len >= QUICK_BYTES && quick_surface(r, p);
}

/*
 * Most events are made here: no function is called, nothing is looked for that has not come. What is not short, simple
 * and whole is left untouched to the slow way.
 */
enum json_event json_next(struct json *r, struct span *input, bool last)
{
    const char *p = input->ptr, *after;
    enum json_event event;
    if (UNLIKELY(input->len < QUICK_BYTES || r->within != IN_NOTHING || r->event >= JSON_DONE))
        return next_slowly(r, input, last);
    if (r->skipping && !quick_surface(r, p)) {
        if (!r->leaving || !pass_ahead(r, input))
            return next_slowly(r, input, last);
        p = input->ptr;
    }
    after = quick_token(p, &event);
    if (!after) {
        const char *next = r->skipping ? NULL : quick_container(r, p);
        return next ? quick_end(r, input, p, p + 1, next) : next_slowly(r, input, last);
    }
    if (r->state & EXPECT_KEY ? event != JSON_STRING : !(r->state & EXPECT_VALUE))
        return next_slowly(r, input, last);
    return quick_scalar(r, input, p, after, event);
}

struct json_error json_error(const struct json *r)
{
    if (!r->reason)
        return (struct json_error){0};
    return (struct json_error){r->reason, r->bad_at, r->line, r->bad_at - r->line_start + 1};
}
