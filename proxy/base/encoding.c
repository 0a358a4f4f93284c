/* SPDX-License-Identifier: Apache-2.0 */
#include "base/encoding.h"

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char base64url_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static const char hex_digits[] = "0123456789abcdef";

static unsigned byte_at(struct span s, size_t i)
{
    return (unsigned char)s.ptr[i];
}

static void encode(struct buffer *out, struct span bytes, const char *digits, bool pad)
{
    if (bytes.len == 0)
        return;
    char *at = buffer_reserve(out, (bytes.len + 2) / 3 * 4);
    const char *begin = at;
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
    buffer_commit(out, (size_t)(at - begin));
}

void encode_base64(struct buffer *out, struct span bytes)
{
    encode(out, bytes, base64_digits, true);
}

void encode_base64url(struct buffer *out, struct span bytes)
{
    encode(out, bytes, base64url_digits, false);
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

/* Values of the digits both alphabets share; 62 and 63 are given apart. */
static unsigned base64_value(unsigned char c, char digit62, char digit63)
{
    if (c >= 'A' && c <= 'Z')
        return (unsigned)(c - 'A');
    if (c >= 'a' && c <= 'z')
        return (unsigned)(c - 'a') + 26;
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0') + 52;
    if (c == (unsigned char)digit62)
        return 62;
    return c == (unsigned char)digit63 ? 63 : NO_DIGIT;
}

/* `text` holds no padding. One digit left over cannot be a byte; the bits left over must be zero. */
static bool decode(struct buffer *out, struct span text, char digit62, char digit63)
{
    if (text.len % 4 == 1)
        return false;
    if (text.len == 0)
        return true;
    char *at = buffer_reserve(out, text.len / 4 * 3 + 3);
    const char *begin = at;
    unsigned bits = 0, held = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned value = base64_value((unsigned char)text.ptr[i], digit62, digit63);
        if (value == NO_DIGIT)
            return false;
        held = held << 6 | value;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            *at++ = (char)(held >> bits & 255);
        }
    }
    if (held & ((1u << bits) - 1))
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
    return decode(out, text, '+', '/');
}

bool decode_base64url(struct buffer *out, struct span text)
{
    return decode(out, text, '-', '_');
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
