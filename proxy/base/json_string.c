/* SPDX-License-Identifier: Apache-2.0 */
/* The strings of the JSON reader: text, escapes, UTF-8. */
#include "base/json_token.h"

enum { STRING_PLAIN, STRING_UTF8, STRING_ESCAPE, STRING_HEX };

/* --- text that is wanted --- */

void json_out_start(struct json *r, char *out, size_t limit)
{
    r->out = out;
    r->out_limit = limit;
    r->out_len = 0;
    r->out_used = r->out_over = false;
}

void json_out_put(struct json *r, const char *from, size_t len)
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

void json_out_finish(struct json *r, const char *run, const char *end)
{
    if (!r->out)
        return;
    struct span text = span_of(run, (size_t)(end - run));
    if (r->out_used) {
        json_out_put(r, run, text.len);
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
    json_out_put(r, bytes, len);
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

#if defined(__SSE2__)
static const char *wide_run(const char *p, const char *end)
{
    for (; end - p >= 64; p += 64) {
        __m128i a = json_special_marks(p), b = json_special_marks(p + 16);
        __m128i c = json_special_marks(p + 32), d = json_special_marks(p + 48);
        if (UNLIKELY(_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(a, b), _mm_or_si128(c, d))))) {
            uint64_t low = (unsigned)_mm_movemask_epi8(a) | (unsigned)_mm_movemask_epi8(b) << 16;
            uint64_t high = (unsigned)_mm_movemask_epi8(c) | (unsigned)_mm_movemask_epi8(d) << 16;
            return p + __builtin_ctzll(low | high << 32);
        }
    }
    for (; end - p >= 16; p += 16) {
        unsigned special = (unsigned)_mm_movemask_epi8(json_special_marks(p));
        if (special)
            return p + __builtin_ctz(special);
    }
    return p;
}
#else
static const char *wide_run(const char *p, const char *end)
{
    while (end - p >= 8 && !json_special_tops(p))
        p += 8;
    return p;
}
#endif

const char *json_plain_run(const char *p, const char *end)
{
    p = wide_run(p, end);
    while (p < end && is_plain((unsigned char)*p))
        p++;
    return p;
}

static bool follows(char c)
{
    return ((unsigned char)c & 0xC0) == 0x80;
}

/* Complete sequences that need no closer look, as in most text that is not English, and in faces. */
static const char *common_utf8_run(const char *p, const char *end)
{
    while (end - p >= 4 && (unsigned char)*p >= 0xC2 && follows(p[1])) {
        unsigned char lead = (unsigned char)*p, second = (unsigned char)p[1];
        if (lead < 0xE0)
            p += 2;
        else if (lead > 0xE0 && lead < 0xF0 && lead != 0xED && follows(p[2]))
            p += 3;
        else if (lead == 0xF0 && second >= 0x90 && follows(p[2]) && follows(p[3]))
            p += 4;
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
            return json_bad(r, p, "invalid UTF-8");
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
        return json_bad(r, p, "invalid escape");
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
            return json_bad(r, p, "invalid escape");
    }
    if (!r->need)
        escape_ended(r);
    return p;
}

static const char *string_ended(struct json *r, const char *quote, const char *end)
{
    r->token_end = json_offset(r, quote + 1);
    r->within = IN_NOTHING;
    if (r->is_key) {
        r->event = JSON_KEY;
        return json_name_ended(r, quote + 1, end);
    }
    r->event = JSON_STRING;
    r->string_bytes = r->token_end - r->token_start - 2 - r->surplus;
    return json_value_ended(r, quote + 1, end);
}

/* At a byte of a string that is not plain: what it begins. */
static const char *string_special(struct json *r, const char *run, const char *p, const char *end)
{
    unsigned char c = (unsigned char)*p;
    if (c == '\\') {
        json_out_put(r, run, (size_t)(p - run));
        r->step = STRING_ESCAPE;
        return p + 1;
    }
    if (c < 0x20)
        return json_bad(r, p, "control byte in a string");
    const char *next = common_utf8_run(p, end);
    if (next > p)
        return next;
    if (!utf8_lead(r, c))
        return json_bad(r, p, "invalid UTF-8");
    r->step = STRING_UTF8;
    return p + 1;
}

/* Wanted bytes from `run` on are not yet in r->out. */
static const char *read_string(struct json *r, const char *run, const char *p, const char *end)
{
    r->event = JSON_MORE;
    while (p < end) {
        if (LIKELY(r->step == STRING_PLAIN)) {
            if (UNLIKELY(r->first_half && *p != '\\'))
                put_lone_half(r);
            p = json_plain_run(p, end);
            if (p == end)
                break;
            if (LIKELY(*p == '"')) {
                json_out_finish(r, run, p);
                return string_ended(r, p, end);
            }
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
        json_out_put(r, run, (size_t)(end - run));
    r->within = IN_STRING;
    return end;
}

const char *json_string_resume(struct json *r, const char *p, const char *end)
{
    return read_string(r, p, p, end);
}

/* How much text is wanted of the string that begins. */
static size_t wanted(const struct json *r, bool is_key)
{
    if (UNLIKELY(r->skipping))
        return is_key && (!r->leaving || r->sought) && r->depth == r->skip_depth ? sizeof(r->kept) : 0;
    return is_key ? sizeof(r->kept) : r->capture_limit;
}

const char *json_string_start(struct json *r, const char *quote, const char *p, const char *end, bool is_key)
{
    size_t limit = wanted(r, is_key);
    r->token_start = json_offset(r, quote);
    if (!is_key)
        r->capture_limit = 0;
    r->is_key = is_key;
    r->surplus = 0;
    if (LIKELY(p < end && *p == '"')) { /* most are plain and whole */
        if (limit)
            json_text_in_place(r, quote + 1, p, limit);
        return string_ended(r, p, end);
    }
    r->step = STRING_PLAIN;
    r->first_half = 0;
    json_out_start(r, limit == 0 ? NULL : is_key ? r->kept : r->capture, limit);
    return read_string(r, quote + 1, p, end);
}

/* --- strings that nobody wants --- */

static bool is_hex(char c)
{
    unsigned char letter = (unsigned char)c | 0x20;
    return (c >= '0' && c <= '9') || (letter >= 'a' && letter <= 'f');
}

/* NULL when the escape is wrong or not all there. */
static const char *pass_escape(const char *p, const char *end)
{
    if (end - p < 2)
        return NULL;
    switch (p[1]) {
    case 'n':
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'r':
    case 't':
        return p + 2;
    case 'u':
        return end - p >= 6 && is_hex(p[2]) && is_hex(p[3]) && is_hex(p[4]) && is_hex(p[5]) ? p + 6 : NULL;
    default:
        return NULL;
    }
}

const char *json_string_pass(const char *p, const char *end)
{
    while (p && (p = json_plain_run(p, end)) < end) {
        if (*p == '"')
            return p + 1;
        if (*p == '\\') {
            p = pass_escape(p, end);
        } else {
            const char *next = common_utf8_run(p, end);
            p = next > p ? next : NULL;
        }
    }
    return NULL;
}
