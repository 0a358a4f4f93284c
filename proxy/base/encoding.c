/* SPDX-License-Identifier: Apache-2.0 */
#include "base/encoding.h"

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char base64url_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static const char hex_digits[] = "0123456789abcdef";

static unsigned byte_at(struct span s, size_t i)
{
    return (unsigned char)s.ptr[i];
}

static char *encode_at(char *at, struct span bytes, const char *digits, bool pad)
{
    size_t i = 0;
    for (; i + 3 <= bytes.len; i += 3) {
        unsigned group = byte_at(bytes, i) << 16 | byte_at(bytes, i + 1) << 8 | byte_at(bytes, i + 2);
        *at++ = digits[group >> 18];
        *at++ = digits[group >> 12 & 63];
        *at++ = digits[group >> 6 & 63];
        *at++ = digits[group & 63];
    }
    if (i < bytes.len) {
        bool two = bytes.len - i == 2;
        unsigned group = byte_at(bytes, i) << 16 | (two ? byte_at(bytes, i + 1) << 8 : 0);
        *at++ = digits[group >> 18];
        *at++ = digits[group >> 12 & 63];
        if (two)
            *at++ = digits[group >> 6 & 63];
        for (unsigned n = two ? 3 : 2; pad && n < 4; n++)
            *at++ = '=';
    }
    return at;
}

static void encode(struct buffer *out, struct span bytes, const char *digits, bool pad)
{
    if (bytes.len == 0)
        return;
    char *begin = buffer_reserve(out, (bytes.len + 2) / 3 * 4);
    buffer_commit(out, (size_t)(encode_at(begin, bytes, digits, pad) - begin));
}

void encode_base64(struct buffer *out, struct span bytes)
{
    encode(out, bytes, base64_digits, true);
}

void encode_base64url(struct buffer *out, struct span bytes)
{
    encode(out, bytes, base64url_digits, false);
}

char *encode_base64url_at(char *to, struct span bytes)
{
    return encode_at(to, bytes, base64url_digits, false);
}

void encode_hex(struct buffer *out, struct span bytes)
{
    if (bytes.len == 0)
        return;
    char *at = buffer_reserve(out, bytes.len * 2);
    for (size_t i = 0; i < bytes.len; i++) {
        at[2 * i] = hex_digits[byte_at(bytes, i) >> 4];
        at[2 * i + 1] = hex_digits[byte_at(bytes, i) & 15];
    }
    buffer_commit(out, bytes.len * 2);
}

#define NO_DIGIT 255u

/* Values of the digits plus one; what is no digit is 0. */
#define SHARED_DIGITS                                                                                                  \
    ['A'] = 1, ['B'] = 2, ['C'] = 3, ['D'] = 4, ['E'] = 5, ['F'] = 6, ['G'] = 7, ['H'] = 8, ['I'] = 9, ['J'] = 10,     \
    ['K'] = 11, ['L'] = 12, ['M'] = 13, ['N'] = 14, ['O'] = 15, ['P'] = 16, ['Q'] = 17, ['R'] = 18, ['S'] = 19,        \
    ['T'] = 20, ['U'] = 21, ['V'] = 22, ['W'] = 23, ['X'] = 24, ['Y'] = 25, ['Z'] = 26, ['a'] = 27, ['b'] = 28,        \
    ['c'] = 29, ['d'] = 30, ['e'] = 31, ['f'] = 32, ['g'] = 33, ['h'] = 34, ['i'] = 35, ['j'] = 36, ['k'] = 37,        \
    ['l'] = 38, ['m'] = 39, ['n'] = 40, ['o'] = 41, ['p'] = 42, ['q'] = 43, ['r'] = 44, ['s'] = 45, ['t'] = 46,        \
    ['u'] = 47, ['v'] = 48, ['w'] = 49, ['x'] = 50, ['y'] = 51, ['z'] = 52, ['0'] = 53, ['1'] = 54, ['2'] = 55,        \
    ['3'] = 56, ['4'] = 57, ['5'] = 58, ['6'] = 59, ['7'] = 60, ['8'] = 61, ['9'] = 62

typedef const unsigned char digit_values[256];
static digit_values base64_values = {SHARED_DIGITS, ['+'] = 63, ['/'] = 64};
static digit_values base64url_values = {SHARED_DIGITS, ['-'] = 63, ['_'] = 64};

/* A value of 0..63, or one with higher bits for what is no digit, so that several can be tested at once. */
static unsigned value_at(struct span text, size_t i, digit_values values)
{
    return values[byte_at(text, i)] - 1u;
}

/* The last two or three digits, one or two bytes; the bits left over must be zero. */
static bool decode_rest(struct span rest, digit_values values, char **at)
{
    unsigned a = value_at(rest, 0, values), b = value_at(rest, 1, values),
             c = rest.len == 3 ? value_at(rest, 2, values) : 0;
    unsigned held = a << 12 | b << 6 | c;
    if ((a | b | c) > 63 || held & (rest.len == 3 ? 3u : 1023u))
        return false;
    *(*at)++ = (char)(held >> 10);
    if (rest.len == 3)
        *(*at)++ = (char)(held >> 2 & 255);
    return true;
}

/* `text` holds no padding. One digit left over cannot be a byte. */
static bool decode(struct buffer *out, struct span text, digit_values values)
{
    if (text.len % 4 == 1)
        return false;
    if (text.len == 0)
        return true;
    char *at = buffer_reserve(out, text.len / 4 * 3 + 3);
    const char *begin = at;
    size_t i = 0;
    for (; i + 4 <= text.len; i += 4) {
        unsigned a = value_at(text, i, values), b = value_at(text, i + 1, values);
        unsigned c = value_at(text, i + 2, values), d = value_at(text, i + 3, values);
        if ((a | b | c | d) > 63)
            return false;
        unsigned group = a << 18 | b << 12 | c << 6 | d;
        *at++ = (char)(group >> 16);
        *at++ = (char)(group >> 8 & 255);
        *at++ = (char)(group & 255);
    }
    if (i < text.len && !decode_rest(span_skip(text, i), values, &at))
        return false;
    buffer_commit(out, (size_t)(at - begin));
    return true;
}

bool decode_base64(struct buffer *out, struct span text)
{
    if (text.len % 4 != 0)
        return false;
    for (int n = 0; n < 2 && text.len && text.ptr[text.len - 1] == '='; n++)
        text.len--;
    return decode(out, text, base64_values);
}

bool decode_base64url(struct buffer *out, struct span text)
{
    return decode(out, text, base64url_values);
}

static unsigned hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0');
    if (c >= 'a' && c <= 'f')
        return (unsigned)(c - 'a') + 10;
    return c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10 : NO_DIGIT;
}

bool decode_hex(struct buffer *out, struct span text)
{
    if (text.len % 2 != 0)
        return false;
    if (text.len == 0)
        return true;
    char *at = buffer_reserve(out, text.len / 2);
    for (size_t i = 0; i < text.len; i += 2) {
        unsigned high = hex_value(text.ptr[i]), low = hex_value(text.ptr[i + 1]);
        if (high == NO_DIGIT || low == NO_DIGIT)
            return false;
        at[i / 2] = (char)(high << 4 | low);
    }
    buffer_commit(out, text.len / 2);
    return true;
}
