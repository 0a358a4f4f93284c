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
    const char *end;  /* of the text; behind a `}` or `]`, see walk */
    char *out, *form; /* the form begins at `form`: mostly, but not always, where `out` does */
    size_t out_size;
    struct member *members; /* of the objects under way, innermost last */
    size_t member_count, member_cap;
    unsigned depth;
    char *spare;     /* for members on the way, once there is no room behind the form */
    uint64_t copied; /* bytes, against copies_most */
    uint64_t copies_most;
    const struct span *without;
    size_t without_count;
    uint64_t without_lengths; /* bit = one of them has that length, modulo 64 */
    enum canonical_result result;
    struct member members_inside[MEMBERS_INSIDE];
    char out_inside[OUT_INSIDE];
};

/* Where the walk is: in the text (NULL: it has failed) and in the form. Two registers. */
struct place {
    const char *p;
    char *at;
};

/* ---- small parts ---- */

static struct place bad(struct canon *c, enum canonical_result result)
{
    c->result = result;
    return (struct place){0};
}

/* The text goes on at `p`, and does not end in blanks. */
static inline const char *blank(const char *p)
{
    if (UNLIKELY((unsigned char)*p <= ' '))
        while ((unsigned char)*++p <= ' ')
            ;
    return p;
}

/* LEB128: seven bits to a byte, the last one below 0x80. */
static inline char *put_size(char *at, uint64_t size)
{
    for (; size >= 0x80; size >>= 7)
        *at++ = (char)(size | 0x80);
    *at++ = (char)size;
    return at;
}

static inline char *put(char *at, const char *from, size_t len)
{
    memcpy(at, from, len);
    return at + len;
}

/* ---- strings ---- */

#if defined(__SSE2__)
/* Copies 16 bytes; how many of them are neither quote nor backslash, up to the first that is. */
static inline unsigned copy_plain(char *to, const char *from)
{
    _mm_storeu_si128((__m128i *)(void *)to, _mm_loadu_si128((const __m128i *)(const void *)from));
    unsigned marks = (unsigned)_mm_movemask_epi8(string_marks(from));
    return marks ? (unsigned)__builtin_ctz(marks) : 16;
}

/* Passes 64 bytes at a time as long as they are plain. */
static inline struct place copy_blocks(const char *end, const char *p, char *at)
{
    for (; end - p >= 64; p += 64, at += 64) {
        __m128i low = _mm_or_si128(string_marks(p), string_marks(p + 16));
        __m128i high = _mm_or_si128(string_marks(p + 32), string_marks(p + 48));
        if (_mm_movemask_epi8(_mm_or_si128(low, high)))
            break;
        memcpy(at, p, 64);
    }
    return (struct place){p, at};
}
#else
static inline struct place copy_blocks(const char *end, const char *p, char *at)
{
    (void)end;
    return (struct place){p, at};
}

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
static char *put_code(char *at, uint32_t code)
{
    static const uint32_t first[] = {0, 0, 0xC0, 0xE0, 0xF0};
    if (code == '"' || code == '\\')
        *at++ = '\\';
    size_t len = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = len; i-- > 1; code >>= 6)
        at[i] = (char)(0x80 | (code & 0x3F));
    at[0] = (char)(first[len] | code);
    return at + len;
}

static struct place unicode_escape(struct canon *c, const char *p, char *at)
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
    return (struct place){p, put_code(at, code)};
}

/* `p` is behind a backslash. */
static struct place escape(struct canon *c, const char *p, char *at)
{
    static const char meanings[256] = {
        ['"'] = '"', ['\\'] = '\\', ['/'] = '/', ['b'] = '\b', ['f'] = '\f', ['n'] = '\n', ['r'] = '\r', ['t'] = '\t'};
    if (p == c->end)
        return bad(c, CANONICAL_NOT_JSON);
    char meaning = meanings[(unsigned char)*p];
    if (LIKELY(meaning)) {
        if (meaning == '"' || meaning == '\\')
            *at++ = '\\';
        *at++ = meaning;
        return (struct place){p + 1, at};
    }
    return *p == 'u' ? unicode_escape(c, p + 1, at) : bad(c, CANONICAL_NOT_JSON);
}

/* plain for what is longer than 16 bytes, or at the end of the text. */
static __attribute__((noinline)) struct place plain_far(const char *end, const char *p, char *at)
{
    struct place place = copy_blocks(end, p, at);
    p = place.p;
    at = place.at;
    for (; end - p >= 16; p += 16, at += 16) {
        unsigned count = copy_plain(at, p);
        if (count < 16)
            return (struct place){p + count, at + count};
    }
    while (p < end && *p != '"' && *p != '\\')
        *at++ = *p++;
    return (struct place){p, at};
}

/* Writes what is plain up to the next quote or backslash, where it returns; or the end. */
static inline struct place plain(const struct canon *c, const char *p, char *at)
{
    if (LIKELY(c->end - p >= 16)) {
        unsigned count = copy_plain(at, p);
        if (LIKELY(count < 16))
            return (struct place){p + count, at + count};
        p += 16;
        at += 16;
    }
    return plain_far(c->end, p, at);
}

/* `p` is at the quote, as for all below at the first byte. */
static inline struct place string(struct canon *c, const char *p, char *at)
{
    *at = '"';
    struct place place = {p + 1, at + 1};
    for (;;) {
        place = plain(c, place.p, place.at);
        if (UNLIKELY(place.p == c->end))
            return bad(c, CANONICAL_NOT_JSON);
        if (LIKELY(*place.p == '"')) {
            *place.at = '"';
            return (struct place){place.p + 1, place.at + 1};
        }
        place = escape(c, place.p + 1, place.at);
        if (UNLIKELY(!place.p))
            return place;
    }
}

/* ---- numbers and words: what ends the text ends them ---- */

static inline bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The exponent written at `p`, which is behind the `e`. NULL: there is none. */
static const char *read_exponent(const char *p, int64_t *ret, bool *ret_extreme)
{
    bool negative = *p == '-';
    uint64_t value = 0;
    p += *p == '-' || *p == '+';
    if (!is_digit(*p))
        return NULL;
    while (*p == '0')
        p++;
    const char *first = p;
    for (; is_digit(*p); p++)
        value = p - first < 18 ? value * 10 + (uint64_t)(*p - '0') : value;
    *ret_extreme = p - first > 18;
    *ret = negative ? -(int64_t)value : (int64_t)value;
    return p;
}

/*
 * The digits that count lie in [first, last], perhaps with the point among them; `power` is that of the last of them.
 * With `first` NULL it is zero.
 */
static char *put_number(char *at, bool negative, const char *first, const char *last, const char *point, int64_t power)
{
    if (!first) {
        *at++ = '0';
        return at;
    }
    bool inside = point && first < point && point < last;
    *at++ = negative ? '-' : '+';
    at = put_size(at, (uint64_t)power << 1 ^ (uint64_t)(power >> 63));
    at = put_size(at, (uint64_t)(last - first) + 1 - inside);
    at = put(at, first, (size_t)((inside ? point : last + 1) - first));
    return inside ? put(at, point + 1, (size_t)(last - point)) : at;
}

static struct place number(struct canon *c, const char *p, char *at)
{
    bool negative = *p == '-', extreme = false;
    const char *first = NULL, *last = NULL, *point = NULL, *digits = p += negative;
    int64_t power = 0;
    for (; is_digit(*p) || (*p == '.' && !point); p++) {
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
    if ((*p | 0x20) == 'e' && !(p = read_exponent(p + 1, &power, &extreme)))
        return bad(c, CANONICAL_NOT_JSON);
    if (first && extreme)
        return bad(c, CANONICAL_EXTREME);
    /* From the last digit that counts to the point, which may be unwritten. */
    if (last)
        power += point && last > point ? point - last : (point ? point : end) - last - 1;
    return (struct place){p, put_number(at, negative, first, last, point, power)};
}

static inline struct place word(struct canon *c, const char *p, char *at, struct span spelling)
{
    if ((size_t)(c->end - p) < spelling.len || memcmp(p, spelling.ptr, spelling.len) != 0)
        return bad(c, CANONICAL_NOT_JSON);
    *at = *p;
    return (struct place){p + spelling.len, at + 1};
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

/* The first 8 bytes of a name, or all that there are, as one number; there is always room to read behind it. */
static inline uint64_t name_begin(const char *name, uint32_t len)
{
    uint64_t begin;
    memcpy(&begin, name, sizeof(begin));
    begin = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? begin : __builtin_bswap64(begin);
    return len >= sizeof(begin) ? begin : begin & ((UINT64_C(1) << 8 * len) - 1);
}

/* Any order will do that is the same everywhere: by length, by the first 8 bytes as a number, by the rest. */
static inline int compare(const struct canon *c, const struct member *a, const struct member *b)
{
    uint32_t len = a->name_end - a->start, other = b->name_end - b->start;
    if (len != other)
        return len < other ? -1 : 1;
    uint64_t left = name_begin(c->out + a->start, len), right = name_begin(c->out + b->start, len);
    if (left != right)
        return left < right ? -1 : 1;
    return len <= sizeof(left) ? 0 : memcmp(c->out + a->start, c->out + b->start, len);
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

/* Room for `size` bytes that are needed for a moment; the form ends at `at`. */
static char *room(struct canon *c, char *at, size_t size)
{
    if ((size_t)(c->out + c->out_size - at) >= size)
        return at;
    if (!c->spare)
        c->spare = memory_alloc(c->out_size);
    return c->spare;
}

/*
 * Puts the members, which lie in [start, at), into order, without those that are left out: they end with their name.
 * Returns their new end, NULL when it failed. Those of the outermost object need not come back: the form is then where
 * they went.
 */
static char *rearrange(struct canon *c, struct member *members, size_t count, char *start, char *at)
{
    count <= INSERTION ? sort_few(c, members, count) : sort_many(c, members, count);
    for (size_t i = 1; i < count; i++)
        if (UNLIKELY(compare(c, &members[i - 1], &members[i]) == 0))
            return bad(c, CANONICAL_DUPLICATE).at;
    size_t size = (size_t)(at - start);
    c->copied += size;
    if (UNLIKELY(c->copied > c->copies_most))
        return bad(c, CANONICAL_TOO_LARGE).at;
    char *to = room(c, at, size + 2), *end = to;
    *end++ = '{';
    for (size_t i = 0; i < count; i++)
        if (members[i].end > members[i].name_end)
            end = put(end, c->out + members[i].start, members[i].end - members[i].start);
    if (c->depth == 1) {
        c->form = to;
        return end;
    }
    return put(start, to + 1, (size_t)(end - to) - 1);
}

static bool is_left_out(const struct canon *c, const struct member *m)
{
    /* A name with quote or backslash in it is none of those that are left out. */
    struct span name = span_of(c->out + m->start + 1, m->name_end - m->start - 2);
    if (LIKELY(!(c->without_lengths >> (name.len & 63) & 1)))
        return false;
    for (size_t i = 0; i < c->without_count; i++)
        if (span_equal(c->without[i], name))
            return true;
    return false;
}

/* Passes over an array, counting brackets. NULL: it has no end. */
static const char *pass(const struct canon *c, const char *p)
{
    struct span text = span_of(p, (size_t)(c->end - p));
    uint64_t bytes = 0;
    size_t depth = 0;
    while (p && p < c->end) {
        if (*p == '"') {
            p = string_skip(text, p, &bytes);
        } else if (depth == 0 && (*p == ',' || *p == '}' || *p == ']')) {
            return p;
        } else {
            depth += *p == '{' || *p == '[';
            depth -= *p == '}' || *p == ']';
            p++;
        }
    }
    return NULL;
}

/* ---- values ---- */

static struct place other_value(struct canon *c, const char *p, char *at);

/* Most are strings, which need no call. */
static inline struct place value(struct canon *c, const char *p, char *at)
{
    return *p == '"' ? string(c, p, at) : other_value(c, p, at);
}

/* Past a value that is left out. Arrays may be all there is to a text, such as the input of embeddings. */
static struct place left_out(struct canon *c, const char *p, char *at)
{
    if (*p != '[') {
        struct place place = value(c, p, at);
        return place.p ? (struct place){place.p, at} : place;
    }
    p = pass(c, p);
    return p ? (struct place){p, at} : bad(c, CANONICAL_NOT_JSON);
}

/* Name and value; *sorted is cleared when they have to move, or to go. */
static inline struct place member(struct canon *c, const char *p, char *at, size_t first, bool *sorted)
{
    size_t index = c->member_count;
    if (UNLIKELY(*p != '"'))
        return bad(c, CANONICAL_NOT_JSON);
    struct member *m = push_member(c);
    m->start = (uint32_t)(at - c->out);
    struct place place = string(c, p, at);
    if (UNLIKELY(!place.p))
        return place;
    m->end = m->name_end = (uint32_t)(place.at - c->out);
    if (index > first && compare(c, m - 1, m) >= 0)
        *sorted = false;
    p = blank(place.p);
    if (UNLIKELY(*p != ':'))
        return bad(c, CANONICAL_NOT_JSON);
    p = blank(p + 1);
    if (UNLIKELY(c->depth == 1 && is_left_out(c, m))) {
        *sorted = false;
        return left_out(c, p, place.at);
    }
    place = value(c, p, place.at);
    c->members[index].end = (uint32_t)(place.at - c->out);
    return place;
}

/* What stands behind an element: *ret_more for a comma; NULL when it is neither that nor `close`. */
static inline const char *separator(const struct canon *c, const char *p, char close, bool *ret_more)
{
    if (UNLIKELY(p == c->end))
        return NULL;
    p = blank(p);
    if (LIKELY(*p == ',')) {
        *ret_more = true;
        return blank(p + 1);
    }
    *ret_more = false;
    return LIKELY(*p == close) ? p + 1 : NULL;
}

static struct place object(struct canon *c, const char *p, char *at)
{
    size_t first = c->member_count, start = (size_t)(at + 1 - c->out);
    bool sorted = true, more = true;
    *at = '{';
    struct place place = {blank(p + 1), at + 1};
    if (*place.p == '}') {
        more = false;
        place.p++;
    }
    while (more) {
        place = member(c, place.p, place.at, first, &sorted);
        if (UNLIKELY(!place.p))
            return place;
        place.p = separator(c, place.p, '}', &more);
        if (UNLIKELY(!place.p))
            return bad(c, CANONICAL_NOT_JSON);
    }
    if (!sorted) {
        place.at = rearrange(c, c->members + first, c->member_count - first, c->out + start, place.at);
        if (UNLIKELY(!place.at))
            return (struct place){0};
    }
    c->member_count = first;
    *place.at++ = '}';
    return place;
}

static struct place array(struct canon *c, const char *p, char *at)
{
    bool more = true;
    *at = '[';
    struct place place = {blank(p + 1), at + 1};
    if (*place.p == ']') {
        more = false;
        place.p++;
    }
    while (more) {
        place = value(c, place.p, place.at);
        if (UNLIKELY(!place.p))
            return place;
        place.p = separator(c, place.p, ']', &more);
        if (UNLIKELY(!place.p))
            return bad(c, CANONICAL_NOT_JSON);
    }
    *place.at++ = ']';
    return place;
}

static struct place container(struct canon *c, const char *p, char *at)
{
    if (UNLIKELY(c->depth == CANONICAL_DEPTH_LIMIT))
        return bad(c, CANONICAL_NOT_JSON);
    c->depth++;
    struct place place = *p == '{' ? object(c, p, at) : array(c, p, at);
    c->depth--;
    return place;
}

static struct place other_value(struct canon *c, const char *p, char *at)
{
    switch (*p) {
    case '{':
    case '[':
        return container(c, p, at);
    case 't':
        return word(c, p, at, SPAN("true"));
    case 'f':
        return word(c, p, at, SPAN("false"));
    case 'n':
        return word(c, p, at, SPAN("null"));
    default:
        return number(c, p, at);
    }
}

/*
 * A text that ends in a closing bracket needs few looks at its end: only what closes something can take its last byte,
 * and strings, which look for themselves. Any other text is read from a copy with a bracket behind it.
 */
static char *walk(struct canon *c, struct span text)
{
    while (text.len && (unsigned char)text.ptr[text.len - 1] <= ' ')
        text.len--;
    char last = text.len ? text.ptr[text.len - 1] : '\0', *copy = NULL;
    bool bare = last != '}' && last != ']';
    if (UNLIKELY(bare)) {
        copy = memory_alloc(text.len + 1);
        if (text.len)
            memcpy(copy, text.ptr, text.len);
        copy[text.len] = ']';
        text.ptr = copy;
    }
    c->end = text.ptr + text.len + bare;
    const char *p = blank(text.ptr);
    struct place place;
    if (bare && (*p == '{' || *p == '['))
        place = bad(c, CANONICAL_NOT_JSON); /* it has no end of its own */
    else
        place = value(c, p, c->out);
    if (place.p && (bare ? blank(place.p) : place.p) != text.ptr + text.len)
        place = bad(c, CANONICAL_NOT_JSON);
    free(copy);
    return place.at;
}

enum canonical_result canonical_feed(struct span text, const struct span *without, size_t without_count,
                                     canonical_sink_fn *sink, void *arg)
{
    if (text.len > CANONICAL_TEXT_LIMIT)
        return CANONICAL_TOO_LARGE;
    struct canon c; /* not cleared: the arrays in it are written before they are read */
    c.out_size = OUT_SIZE(text.len) <= OUT_INSIDE ? OUT_INSIDE : OUT_SIZE(text.len);
    c.out = c.out_size == OUT_INSIDE ? c.out_inside : memory_alloc(c.out_size);
    c.form = c.out;
    c.members = c.members_inside;
    c.member_cap = MEMBERS_INSIDE;
    c.member_count = c.depth = 0;
    c.spare = NULL;
    c.copied = 0;
    c.copies_most = (uint64_t)text.len * COPIES_MOST;
    c.without = without;
    c.without_count = without_count;
    c.without_lengths = 0;
    for (size_t i = 0; i < without_count; i++)
        c.without_lengths |= UINT64_C(1) << (without[i].len & 63);
    c.result = CANONICAL_GOOD;
    const char *at = walk(&c, text);
    if (LIKELY(at))
        sink(arg, span_of(c.form, (size_t)(at - c.form)));
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
