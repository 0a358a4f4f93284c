/* SPDX-License-Identifier: Apache-2.0 */
#include "openai/canonical.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/memory.h"
#include "openai/string_skip.h"

/*
 * One walk over the text writes the form into a buffer of our own, each object's members as they come; where they came
 * in another order than the form's, they change places when the object closes. Names are compared as written there, so
 * escapes are undone once.
 *
 *     t f n                          words
 *     0                              zero
 *     sign power count digits        other numbers: digits * 10^power, no zero at either end; power and count LEB128
 *     "bytes"                        strings, decoded, with a backslash before each quote and backslash in them
 *     [values] {names and values}    the names ascend, by length and then by bytes
 */

#define OUT_INSIDE     ((size_t)16 * 1024)
#define MEMBERS_INSIDE ((size_t)192)
#define INSERTION      12 /* members that are sorted by insertion */
/* The form is at most twice the text (a digit and a comma become four bytes); the rest is for copies of 16. */
#define OUT_SIZE(text_len) (2 * (text_len) + 64)
/* Members that change places are copied; nested ones with each level around. So often on average, and no more. */
#define COPIES_MOST 32

/* Offsets in the form: of a member, the end of its name, and its end. */
struct member {
    uint32_t start, name_end, end;
};

struct canon {
    const char *end; /* of the text */
    char *at, *out;
    size_t out_size;
    struct member *members; /* of the objects under way, innermost last */
    size_t member_count, member_cap;
    unsigned depth;
    char *spare;     /* for members on the way, once there is no room behind the form */
    uint64_t copied; /* bytes, against copies_most */
    uint64_t copies_most;
    const struct span *without;
    size_t without_count;
    enum canonical_result result;
    struct member members_inside[MEMBERS_INSIDE];
    char out_inside[OUT_INSIDE];
};

/* ---- small parts ---- */

static const char *bad(struct canon *c, enum canonical_result result)
{
    c->result = result;
    return NULL;
}

static inline const char *blank(const struct canon *c, const char *p)
{
    while (p < c->end && (unsigned char)*p <= ' ')
        p++;
    return p;
}

/* LEB128: seven bits to a byte, the last one below 0x80. */
static inline void put_size(struct canon *c, uint64_t size)
{
    for (; size >= 0x80; size >>= 7)
        *c->at++ = (char)(size | 0x80);
    *c->at++ = (char)size;
}

static inline void put(struct canon *c, const char *from, size_t len)
{
    memcpy(c->at, from, len);
    c->at += len;
}

/* ---- strings ---- */

#if defined(__SSE2__)
/* Copies 16 bytes; how many of them are neither quote nor backslash, up to the first that is. */
static inline unsigned copy_plain(char *to, const char *from)
{
    _mm_storeu_si128((__m128i *)(void *)to, _mm_loadu_si128((const __m128i *)(const void *)from));
    return (unsigned)__builtin_ctz((unsigned)_mm_movemask_epi8(string_marks(from)) | 1u << 16);
}
#else
#define ONES UINT64_C(0x0101010101010101)

/* The top bits of the quotes and backslashes among 8 bytes; borrows may mark more, but only behind the first. */
static inline uint64_t quote_tops(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    v = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? v : __builtin_bswap64(v);
    uint64_t quote = v ^ ONES * '"', backslash = v ^ ONES * '\\';
    return (((quote - ONES) & ~quote) | ((backslash - ONES) & ~backslash)) & ONES * 0x80;
}

static inline unsigned copy_plain(char *to, const char *from)
{
    memcpy(to, from, 16);
    uint64_t first = quote_tops(from), second = quote_tops(from + 8);
    if (first)
        return (unsigned)__builtin_ctzll(first) / 8;
    return second ? 8 + (unsigned)__builtin_ctzll(second) / 8 : 16;
}
#endif

/* Four hexadecimal digits, or a value above 0xFFFF. */
static uint32_t hex4(const char *p)
{
    uint32_t code = 0;
    for (unsigned i = 0; i < 4; i++) {
        unsigned char c = (unsigned char)p[i], letter = (unsigned char)((c | 0x20) - 'a');
        if (c >= '0' && c <= '9')
            code = code << 4 | (uint32_t)(c - '0');
        else if (letter < 6)
            code = code << 4 | (uint32_t)(letter + 10);
        else
            return UINT32_MAX;
    }
    return code;
}

/* As UTF-8; a lone surrogate gets the three bytes of its number, which no other text has. */
static void put_code(struct canon *c, uint32_t code)
{
    static const uint32_t first[] = {0, 0, 0xC0, 0xE0, 0xF0};
    if (code == '"' || code == '\\')
        *c->at++ = '\\';
    size_t len = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = len; i-- > 1; code >>= 6)
        c->at[i] = (char)(0x80 | (code & 0x3F));
    c->at[0] = (char)(first[len] | code);
    c->at += len;
}

static const char *unicode_escape(struct canon *c, const char *p)
{
    if (c->end - p < 4)
        return bad(c, CANONICAL_NOT_JSON);
    uint32_t code = hex4(p), low;
    if (code > 0xFFFF)
        return bad(c, CANONICAL_NOT_JSON);
    p += 4;
    if (code >> 10 == 0xD800 >> 10 && c->end - p >= 6 && p[0] == '\\' && p[1] == 'u') {
        low = hex4(p + 2);
        if (low >> 10 == 0xDC00 >> 10) {
            code = 0x10000 + ((code & 0x3FF) << 10) + (low & 0x3FF);
            p += 6;
        }
    }
    put_code(c, code);
    return p;
}

/* `p` is behind a backslash. */
static const char *escape(struct canon *c, const char *p)
{
    static const char meanings[256] = {
        ['"'] = '"', ['\\'] = '\\', ['/'] = '/', ['b'] = '\b', ['f'] = '\f', ['n'] = '\n', ['r'] = '\r', ['t'] = '\t'};
    if (p == c->end)
        return bad(c, CANONICAL_NOT_JSON);
    char meaning = meanings[(unsigned char)*p];
    if (LIKELY(meaning)) {
        if (meaning == '"' || meaning == '\\')
            *c->at++ = '\\';
        *c->at++ = meaning;
        return p + 1;
    }
    return *p == 'u' ? unicode_escape(c, p + 1) : bad(c, CANONICAL_NOT_JSON);
}

/* Writes what is plain up to the next quote or backslash, where it returns; or the end. */
static inline const char *plain(struct canon *c, const char *p)
{
    char *at = c->at;
    while (LIKELY(c->end - p >= 16)) {
        unsigned count = copy_plain(at, p);
        at += count;
        p += count;
        if (count < 16) {
            c->at = at;
            return p;
        }
    }
    while (p < c->end && *p != '"' && *p != '\\')
        *at++ = *p++;
    c->at = at;
    return p;
}

/* `p` is at the quote, as for all below at the first byte. */
static const char *string(struct canon *c, const char *p)
{
    *c->at++ = '"';
    for (p++;;) {
        p = plain(c, p);
        if (UNLIKELY(p == c->end))
            return bad(c, CANONICAL_NOT_JSON);
        if (LIKELY(*p == '"')) {
            *c->at++ = '"';
            return p + 1;
        }
        p = escape(c, p + 1);
        if (UNLIKELY(!p))
            return NULL;
    }
}

/* ---- numbers and words ---- */

static inline bool is_digit(const struct canon *c, const char *p)
{
    return p < c->end && *p >= '0' && *p <= '9';
}

/* The exponent written at `p`, which is behind the `e`. */
static const char *read_exponent(struct canon *c, const char *p, int64_t *ret, bool *ret_extreme)
{
    bool negative = p < c->end && *p == '-';
    uint64_t value = 0;
    if (p < c->end && (*p == '-' || *p == '+'))
        p++;
    if (!is_digit(c, p))
        return bad(c, CANONICAL_NOT_JSON);
    while (is_digit(c, p) && *p == '0')
        p++;
    const char *first = p;
    for (; is_digit(c, p); p++)
        value = p - first < 18 ? value * 10 + (uint64_t)(*p - '0') : value;
    *ret_extreme = p - first > 18;
    *ret = negative ? -(int64_t)value : (int64_t)value;
    return p;
}

/*
 * The digits that count lie in [first, last], perhaps with the point among them; `power` is that of the last of them.
 * With `first` NULL it is zero.
 */
static void put_number(struct canon *c, bool negative, const char *first, const char *last, const char *point,
                       int64_t power)
{
    if (!first) {
        *c->at++ = '0';
        return;
    }
    bool inside = point && first < point && point < last;
    *c->at++ = negative ? '-' : '+';
    put_size(c, (uint64_t)power << 1 ^ (uint64_t)(power >> 63));
    put_size(c, (uint64_t)(last - first) + 1 - inside);
    put(c, first, (size_t)((inside ? point : last + 1) - first));
    if (inside)
        put(c, point + 1, (size_t)(last - point));
}

static const char *number(struct canon *c, const char *p)
{
    bool negative = *p == '-', extreme = false;
    const char *first = NULL, *last = NULL, *point = NULL, *digits = p += negative;
    int64_t power = 0;
    for (; is_digit(c, p) || (p < c->end && *p == '.' && !point); p++) {
        if (*p == '.') {
            point = p;
        } else if (*p != '0') {
            first = first ? first : p;
            last = p;
        }
    }
    if (UNLIKELY(p == digits || point == digits || point == p - 1))
        return bad(c, CANONICAL_NOT_JSON);
    const char *end = p;
    if (p < c->end && (*p | 0x20) == 'e' && !(p = read_exponent(c, p + 1, &power, &extreme)))
        return NULL;
    if (first && extreme)
        return bad(c, CANONICAL_EXTREME);
    /* From the last digit that counts to the point, which may be unwritten. */
    if (last)
        power += point && last > point ? point - last : (point ? point : end) - last - 1;
    put_number(c, negative, first, last, point, power);
    return p;
}

static const char *word(struct canon *c, const char *p, struct span spelling)
{
    if (!span_starts_with(span_of(p, (size_t)(c->end - p)), spelling))
        return bad(c, CANONICAL_NOT_JSON);
    *c->at++ = *p;
    return p + spelling.len;
}

/* ---- members ---- */

static struct member *push_member(struct canon *c)
{
    if (UNLIKELY(c->member_count == c->member_cap)) {
        bool inside = c->members == c->members_inside;
        c->members = memory_realloc(inside ? NULL : c->members, 2 * c->member_cap * sizeof(*c->members));
        if (inside)
            memcpy(c->members, c->members_inside, sizeof(c->members_inside));
        c->member_cap *= 2;
    }
    return &c->members[c->member_count++];
}

static inline int compare(const struct canon *c, const struct member *a, const struct member *b)
{
    uint32_t len = a->name_end - a->start, other = b->name_end - b->start;
    if (len != other)
        return len < other ? -1 : 1;
    return memcmp(c->out + a->start, c->out + b->start, len);
}

static void sort_few(const struct canon *c, struct member *members, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct member moving = members[i];
        size_t at = i;
        for (; at > 0 && compare(c, &members[at - 1], &moving) > 0; at--)
            members[at] = members[at - 1];
        members[at] = moving;
    }
}

static void swap(struct member *a, struct member *b)
{
    struct member kept = *a;
    *a = *b;
    *b = kept;
}

static void sift_down(const struct canon *c, struct member *heap, size_t at, size_t count)
{
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && compare(c, &heap[child], &heap[child + 1]) < 0)
            child++;
        if (compare(c, &heap[at], &heap[child]) >= 0)
            return;
        swap(&heap[at], &heap[child]);
    }
}

/* Heapsort: a peer chooses the names, so nothing that has a worst case. */
static void sort_many(const struct canon *c, struct member *members, size_t count)
{
    for (size_t i = count / 2; i-- > 0;)
        sift_down(c, members, i, count);
    for (size_t last = count; last-- > 1;) {
        swap(&members[0], &members[last]);
        sift_down(c, members, 0, last);
    }
}

/* Room for `size` bytes that are needed for a moment. */
static char *room(struct canon *c, size_t size)
{
    if ((size_t)(c->out + c->out_size - c->at) >= size)
        return c->at;
    if (!c->spare)
        c->spare = memory_alloc(c->out_size);
    return c->spare;
}

/* Puts the members into order, without those that are left out: they end with their name. */
static bool rearrange(struct canon *c, struct member *members, size_t count, char *start)
{
    count <= INSERTION ? sort_few(c, members, count) : sort_many(c, members, count);
    for (size_t i = 1; i < count; i++)
        if (UNLIKELY(compare(c, &members[i - 1], &members[i]) == 0))
            return bad(c, CANONICAL_DUPLICATE);
    size_t size = (size_t)(c->at - start), len = 0;
    c->copied += size;
    if (UNLIKELY(c->copied > c->copies_most))
        return bad(c, CANONICAL_TOO_LARGE);
    char *to = room(c, size);
    for (size_t i = 0; i < count; i++) {
        const struct member *m = &members[i];
        if (m->end == m->name_end)
            continue;
        memcpy(to + len, c->out + m->start, m->end - m->start);
        len += m->end - m->start;
    }
    memcpy(start, to, len);
    c->at = start + len;
    return true;
}

static bool is_left_out(const struct canon *c, const struct member *m)
{
    /* A name with quote or backslash in it is none of those that are left out. */
    struct span name = span_of(c->out + m->start + 1, m->name_end - m->start - 2);
    for (size_t i = 0; i < c->without_count; i++)
        if (span_equal(c->without[i], name))
            return true;
    return false;
}

/* Passes over a value, counting brackets. */
static const char *pass(struct canon *c, const char *p)
{
    struct span text = span_of(p, (size_t)(c->end - p));
    uint64_t bytes = 0;
    size_t depth = 0;
    while (p < c->end) {
        if (*p == '"') {
            p = string_skip(text, p, &bytes);
            if (!p)
                return bad(c, CANONICAL_NOT_JSON);
        } else {
            if (depth == 0 && (*p == ',' || *p == '}' || *p == ']'))
                return p;
            depth += *p == '{' || *p == '[';
            depth -= *p == '}' || *p == ']';
            p++;
        }
        if (depth == 0 && (p[-1] == '"' || p[-1] == '}' || p[-1] == ']'))
            return p;
    }
    return bad(c, CANONICAL_NOT_JSON);
}

/* ---- values ---- */

static const char *value(struct canon *c, const char *p);

/* Name and value; *sorted is cleared when they have to move, or to go. */
static const char *member(struct canon *c, const char *p, size_t first, bool *sorted)
{
    size_t index = c->member_count;
    struct member *m = push_member(c);
    if (UNLIKELY(p == c->end || *p != '"'))
        return bad(c, CANONICAL_NOT_JSON);
    m->start = (uint32_t)(c->at - c->out);
    if (!(p = string(c, p)))
        return NULL;
    m->end = m->name_end = (uint32_t)(c->at - c->out);
    if (index > first && compare(c, m - 1, m) >= 0)
        *sorted = false;
    p = blank(c, p);
    if (UNLIKELY(p == c->end || *p != ':'))
        return bad(c, CANONICAL_NOT_JSON);
    p = blank(c, p + 1);
    if (UNLIKELY(c->depth == 1 && is_left_out(c, m))) {
        *sorted = false;
        return pass(c, p);
    }
    p = value(c, p);
    c->members[index].end = (uint32_t)(c->at - c->out);
    return p;
}

/* What stands behind an element: *ret_more for a comma; NULL when it is neither that nor `close`. */
static inline const char *separator(struct canon *c, const char *p, char close, bool *ret_more)
{
    p = blank(c, p);
    if (UNLIKELY(p == c->end || (*p != ',' && *p != close)))
        return bad(c, CANONICAL_NOT_JSON);
    *ret_more = *p == ',';
    return *ret_more ? blank(c, p + 1) : p + 1;
}

static const char *object(struct canon *c, const char *p)
{
    size_t first = c->member_count;
    bool sorted = true, more = true;
    *c->at++ = '{';
    size_t start = (size_t)(c->at - c->out);
    p = blank(c, p + 1);
    if (p < c->end && *p == '}') {
        more = false;
        p++;
    }
    while (more) {
        p = member(c, p, first, &sorted);
        if (UNLIKELY(!p || !(p = separator(c, p, '}', &more))))
            return NULL;
    }
    if (!sorted && !rearrange(c, c->members + first, c->member_count - first, c->out + start))
        return NULL;
    c->member_count = first;
    *c->at++ = '}';
    return p;
}

static const char *array(struct canon *c, const char *p)
{
    bool more = true;
    *c->at++ = '[';
    p = blank(c, p + 1);
    if (p < c->end && *p == ']') {
        more = false;
        p++;
    }
    while (more) {
        p = value(c, p);
        if (UNLIKELY(!p || !(p = separator(c, p, ']', &more))))
            return NULL;
    }
    *c->at++ = ']';
    return p;
}

static const char *container(struct canon *c, const char *p)
{
    if (UNLIKELY(c->depth == CANONICAL_DEPTH_LIMIT))
        return bad(c, CANONICAL_NOT_JSON);
    c->depth++;
    p = *p == '{' ? object(c, p) : array(c, p);
    c->depth--;
    return p;
}

static const char *value(struct canon *c, const char *p)
{
    if (UNLIKELY(p == c->end))
        return bad(c, CANONICAL_NOT_JSON);
    switch (*p) {
    case '"':
        return string(c, p);
    case '{':
    case '[':
        return container(c, p);
    case 't':
        return word(c, p, SPAN("true"));
    case 'f':
        return word(c, p, SPAN("false"));
    case 'n':
        return word(c, p, SPAN("null"));
    default:
        return number(c, p);
    }
}

enum canonical_result canonical_feed(struct span text, const struct span *without, size_t without_count,
                                     canonical_sink_fn *sink, void *arg)
{
    if (text.len > CANONICAL_TEXT_LIMIT)
        return CANONICAL_TOO_LARGE;
    struct canon c; /* not cleared: the arrays in it are written before they are read */
    c.end = text.ptr + text.len;
    c.out_size = OUT_SIZE(text.len) <= OUT_INSIDE ? OUT_INSIDE : OUT_SIZE(text.len);
    c.at = c.out = c.out_size == OUT_INSIDE ? c.out_inside : memory_alloc(c.out_size);
    c.members = c.members_inside;
    c.member_cap = MEMBERS_INSIDE;
    c.member_count = c.depth = 0;
    c.spare = NULL;
    c.copied = 0;
    c.copies_most = (uint64_t)text.len * COPIES_MOST;
    c.without = without;
    c.without_count = without_count;
    c.result = CANONICAL_GOOD;
    const char *p = value(&c, blank(&c, text.ptr));
    if (p && blank(&c, p) < c.end)
        c.result = CANONICAL_NOT_JSON;
    if (LIKELY(c.result == CANONICAL_GOOD))
        sink(arg, span_of(c.out, (size_t)(c.at - c.out)));
    if (c.out != c.out_inside)
        free(c.out);
    if (c.members != c.members_inside)
        free(c.members);
    free(c.spare);
    return c.result;
}

const char *canonical_result_name(enum canonical_result result)
{
    static const char *const names[] = {
        [CANONICAL_GOOD] = "good",
        [CANONICAL_NOT_JSON] = "not JSON",
        [CANONICAL_DUPLICATE] = "duplicate names",
        [CANONICAL_EXTREME] = "a number with an extreme exponent",
        [CANONICAL_TOO_LARGE] = "too large or too tangled",
    };
    return names[result];
}
