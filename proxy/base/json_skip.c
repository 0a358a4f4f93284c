/* SPDX-License-Identifier: Apache-2.0 */
/* What is skipped by the JSON reader: validated all the same, but without events and texts. */
#include "base/json_token.h"

#include <limits.h>

/*
 * The pass functions take a whole token without making an event of it. NULL: it is wrong, or its end is not
 * certain in this piece; the functions above tell which.
 */
static inline const char *pass_string(const char *quote, const char *end)
{
    const char *p = quote + 1;
    if (LIKELY(end - p > 16)) {
        p += json_plain_bytes(p);
        if (LIKELY(*p == '"'))
            return p + 1;
    }
    return json_string_pass(p, end);
}

static inline const char *pass_digits(const char *p, const char *end)
{
    while (end - p >= 8) {
        unsigned digits = json_digits(p);
        p += digits;
        if (digits < 8)
            return p;
    }
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p;
}

static const char *pass_any_number(const char *p, const char *end)
{
    p += *p == '-';
    const char *from = p;
    p = pass_digits(p, end);
    if (p == from || (*from == '0' && p > from + 1))
        return NULL;
    if (p < end && *p == '.') {
        from = p + 1;
        p = pass_digits(from, end);
        if (p == from)
            return NULL;
    }
    if (UNLIKELY(p < end && (*p | 0x20) == 'e')) {
        p++;
        p += p < end && (*p == '+' || *p == '-');
        from = p;
        p = pass_digits(from, end);
        if (p == from)
            return NULL;
    }
    return p < end ? p : NULL;
}

static inline const char *pass_number(const char *p, const char *end)
{
    if (LIKELY(end - p > 8)) { /* short integers */
        const char *after = p + json_digits(p);
        unsigned kind = json_byte_kind(*after);
        if (LIKELY(after > p && (kind == BYTE_COMMA || kind == BYTE_CLOSE) && (*p != '0' || after == p + 1)))
            return after;
    }
    return pass_any_number(p, end);
}

/* As many numbers of an array as follow each other without spaces. */
static const char *pass_numbers(const char *p, const char *end)
{
    const char *after = pass_number(p, end), *next = after;
    while (next && end - next >= 2 && *next == ',' && json_byte_kind(next[1]) == BYTE_NUMBER) {
        after = next;
        next = pass_number(next + 1, end);
    }
    return next ? next : after;
}

static inline const char *pass_word(const char *p, const char *end)
{
    if (UNLIKELY(end - p < 5))
        return NULL;
    if (memcmp(p, "true", 4) == 0 || memcmp(p, "null", 4) == 0)
        return p + 4;
    return memcmp(p, "false", 5) == 0 ? p + 5 : NULL;
}

static inline bool is_sought(const struct json *r, size_t len)
{
    return len < 64 && r->sought >> len & 1;
}

/* A plain name, unless it may be sought; NULL also for one that must be decoded to tell. */
static inline const char *pass_unsought(const struct json *r, const char *quote, const char *end)
{
    const char *p = json_short_run(quote + 1, end);
    return p < end && *p == '"' && !is_sought(r, (size_t)(p - quote) - 1) ? p + 1 : NULL;
}

static inline const char *pass_one_space(const char *p, const char *end)
{
    return UNLIKELY(p < end && *p == ' ') ? p + 1 : p;
}

/* Long, so that the state stays in registers. */
const char *json_pass(struct json *r, const char *p, const char *end)
{
    unsigned state = r->state, seek_depth = r->leaving && r->sought ? r->skip_depth : UINT_MAX;
    unsigned floor = r->skip_depth + !r->leaving; /* must not be left: the close there is an event */
    while (p < end) {
        const char *after = NULL;
        if (*p == '"') {
            if (state & EXPECT_KEY)
                after = UNLIKELY(r->depth == seek_depth) ? pass_unsought(r, p, end) : pass_string(p, end);
            else if (LIKELY(state & EXPECT_VALUE))
                after = pass_string(p, end);
            if (LIKELY(after) && state & EXPECT_KEY) {
                p = after;
                state = EXPECT_COLON;
                if (LIKELY(p < end && *p == ':')) {
                    p = pass_one_space(p + 1, end);
                    state = EXPECT_VALUE;
                }
                continue;
            }
        } else {
            switch (json_byte_kind(*p)) {
            case BYTE_OPEN:
                if (UNLIKELY(!(state & EXPECT_VALUE) || r->depth == r->max_depth))
                    break;
                json_push(r, *p++ == '{');
                state = r->state;
                continue;
            case BYTE_CLOSE:
                if (UNLIKELY(!(state & EXPECT_CLOSE) || r->depth <= floor || json_in_object(r) != (*p == '}')))
                    break;
                json_pop(r);
                after = p + 1;
                break;
            case BYTE_NUMBER:
                if (LIKELY(state & EXPECT_VALUE))
                    after = json_in_object(r) ? pass_number(p, end) : pass_numbers(p, end);
                break;
            case BYTE_LETTER:
                if (LIKELY(state & EXPECT_VALUE))
                    after = pass_word(p, end);
                break;
            case BYTE_SPACE:
                p = json_skip_space(r, p, end);
                continue;
            case BYTE_COLON:
            case BYTE_COMMA: /* those that are not taken along with what is before them */
                if (!(state & (*p == ':' ? EXPECT_COLON : EXPECT_COMMA)))
                    break;
                state = *p++ == ':' ? EXPECT_VALUE : r->next_item;
                continue;
            default:
                break;
            }
        }
        if (UNLIKELY(!after))
            break;
        /* a value has ended */
        p = after;
        state = EXPECT_COMMA | EXPECT_CLOSE;
        if (LIKELY(p < end && *p == ',')) {
            p = pass_one_space(p + 1, end);
            state = r->next_item;
        }
    }
    r->state = (unsigned char)state;
    return p;
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
        if (r->depth == r->skip_depth && (!r->leaving || (r->text.ptr && is_sought(r, r->text.len)))) {
            r->skipping = !r->leaving;
            return true;
        }
        r->text = span_of(NULL, 0);
        r->text_long = false;
        return false;
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

/*
 * The value to be skipped, when it is one token. NULL: it is not, or needs a closer look.
 */
static const char *skip_token(struct json *r, const char *p, const char *end)
{
    const char *after = NULL;
    enum json_event kind = JSON_NUMBER;
    switch (p < end ? json_byte_kind(*p) : BYTE_OTHER) {
    case BYTE_QUOTE:
        after = pass_string(p, end);
        kind = JSON_STRING;
        break;
    case BYTE_LETTER:
        after = pass_word(p, end);
        kind = *p == 't' ? JSON_TRUE : *p == 'f' ? JSON_FALSE : JSON_NULL;
        break;
    case BYTE_NUMBER:
        after = pass_number(p, end);
        break;
    default:
        break;
    }
    if (!after)
        return NULL;
    r->token_start = json_offset(r, p);
    r->token_end = json_offset(r, after);
    r->kind = kind;
    r->event = JSON_SKIPPED;
    r->skipping = false;
    r->capture_limit = 0;
    return json_value_ended(r, after, end);
}

/* Whether the container that is skipped closes here. */
static bool may_close(const struct json *r, char c)
{
    return r->depth == r->skip_depth + 1 && r->state & EXPECT_CLOSE && c == (json_in_object(r) ? '}' : ']');
}

static const char *skipped_container(struct json *r, const char *close, const char *end)
{
    json_pop(r);
    r->token_start = r->skip_start;
    r->token_end = json_offset(r, close + 1);
    r->event = JSON_SKIPPED;
    r->skipping = false;
    return json_value_ended(r, close + 1, end);
}

/* Reads on until something comes to the surface of what is skipped. */
const char *json_skip_on(struct json *r, const char *p, const char *end, bool last)
{
    if (r->state == EXPECT_VALUE && r->depth == r->skip_depth && r->within == IN_NOTHING && !r->leaving) {
        const char *after = skip_token(r, p, end);
        if (after)
            return after;
        if (p < end && json_byte_kind(*p) == BYTE_OPEN && r->depth < r->max_depth) {
            r->skip_start = json_offset(r, p);
            r->kind = *p == '{' ? JSON_OBJECT_OPEN : JSON_ARRAY_OPEN;
            r->capture_limit = 0;
            json_push(r, *p++ == '{');
        }
    }
    do {
        if (r->within == IN_NOTHING && r->depth >= r->skip_depth + !r->leaving) {
            p = json_pass(r, p, end);
            if (!r->leaving && p < end && may_close(r, *p))
                return skipped_container(r, p, end);
        }
        p = json_read_token(r, p, end, last);
    } while (!surfaces(r));
    return p;
}
