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

static bool in_object(const struct json *r)
{
    return r->next_item == EXPECT_KEY;
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

static void push_container(struct json *r, bool object)
{
    uint64_t bit = UINT64_C(1) << (r->depth % 64), *word = &r->objects[r->depth / 64];
    *word = object ? *word | bit : *word & ~bit;
    r->depth++;
    r->next_item = object ? EXPECT_KEY : EXPECT_VALUE;
    r->state = r->next_item | EXPECT_CLOSE;
}

static const char *open_container(struct json *r, const char *p, bool object)
{
    if (r->depth == r->max_depth)
        return json_bad(r, p, "nested too deeply");
    push_container(r, object);
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
    r->depth--;
    if (r->depth) {
        unsigned level = r->depth - 1;
        r->next_item = r->objects[level / 64] >> (level % 64) & 1 ? EXPECT_KEY : EXPECT_VALUE;
    }
    return json_value_ended(r, p + 1, end);
}

/* What should have stood at `p`. */
static const char *unexpected(struct json *r, const char *p)
{
    bool close = r->state & EXPECT_CLOSE;
    if (r->state & EXPECT_COMMA)
        return json_bad(r, p, in_object(r) ? "expected ',' or '}'" : "expected ',' or ']'");
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

static const char *skip_space(struct json *r, const char *p, const char *end)
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
            p = skip_space(r, p, end);
        if (UNLIKELY(p == end)) {
            r->event = JSON_MORE;
            return p;
        }
        if (*p == '"' && r->state & (EXPECT_KEY | EXPECT_VALUE))
            return json_string_start(r, p, end, r->state & EXPECT_KEY);
        if (*p == ':' && r->state & EXPECT_COLON)
            r->state = EXPECT_VALUE;
        else if (*p == ',' && r->state & EXPECT_COMMA)
            r->state = r->next_item;
        else if (r->state & EXPECT_CLOSE && *p == (in_object(r) ? '}' : ']'))
            return close_container(r, p, end);
        else
            return start_value(r, p, end, last);
    }
}

static void pop_container(struct json *r)
{
    unsigned level = --r->depth - 1;
    r->next_item = r->objects[level / 64] >> (level % 64) & 1 ? EXPECT_KEY : EXPECT_VALUE;
    r->state = EXPECT_COMMA | EXPECT_CLOSE;
}

/*
 * Deep inside what is skipped, most of the text is plain strings and punctuation: those are passed here without making
 * events of them. Stops before anything else, with the state as it is there; `floor` is the depth that must not be
 * left.
 */
static const char *skip_inside(struct json *r, const char *p, const char *end, unsigned floor)
{
    for (;; p++) {
        while (p < end && *p == ' ')
            p++;
        if (p == end)
            return p;
        unsigned char state = r->state;
        switch (*p) {
        case '"': {
            const char *quote = json_plain_run(p + 1, end);
            if (!(state & (EXPECT_KEY | EXPECT_VALUE)) || quote == end || *quote != '"')
                return p;
            p = quote;
            r->state = state & EXPECT_KEY ? EXPECT_COLON : EXPECT_COMMA | EXPECT_CLOSE;
            break;
        }
        case ':':
            if (!(state & EXPECT_COLON))
                return p;
            r->state = EXPECT_VALUE;
            break;
        case ',':
            if (!(state & EXPECT_COMMA))
                return p;
            r->state = r->next_item;
            break;
        case '{':
        case '[':
            if (!(state & EXPECT_VALUE) || r->depth == r->max_depth)
                return p;
            push_container(r, *p == '{');
            break;
        case '}':
        case ']':
            if (!(state & EXPECT_CLOSE) || r->depth <= floor || in_object(r) != (*p == '}'))
                return p;
            pop_container(r);
            break;
        case '\n':
            r->line++;
            r->line_start = json_offset(r, p + 1);
            break;
        default:
            return p;
        }
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

static const char *read_token(struct json *r, const char *p, const char *end, bool last)
{
    p = LIKELY(r->within == IN_NOTHING) ? read_structure(r, p, end, last) : read_on(r, p, end, last);
    return UNLIKELY(r->event == JSON_MORE) && last ? read_end(r, p) : p;
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
    const char *p = input->ptr ? input->ptr : "", *end = p + input->len;
    r->piece = p;
    r->text = span_of(NULL, 0);
    r->text_long = false;
    do {
        /* the value asked to be skipped begins at skip_depth, and the close that ends it is an event */
        if (UNLIKELY(r->skipping) && r->within == IN_NOTHING && r->depth >= r->skip_depth + !r->leaving)
            p = skip_inside(r, p, end, r->skip_depth + !r->leaving);
        p = read_token(r, p, end, last);
    } while (UNLIKELY(r->skipping) && !surfaces(r));
    r->piece_at += (size_t)(p - r->piece);
    *input = span_of(p, (size_t)(end - p));
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
