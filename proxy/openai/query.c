/* SPDX-License-Identifier: Apache-2.0 */
#include "openai/query.h"

static const char hex_digits[] = "0123456789ABCDEF";

static int hex_value(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F')
        return digit - 'A' + 10;
    return -1;
}

int percent_escape_at(struct span s, size_t at)
{
    if (s.len - at < 3)
        return -1;
    int high = hex_value(s.ptr[at + 1]), low = hex_value(s.ptr[at + 2]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static bool is_control(int byte)
{
    return byte < 0x20 || byte == 0x7f;
}

bool percent_decode(struct span s, bool plus, struct arena *arena, struct span *ret)
{
    if (span_find(s, '%') == s.len && (!plus || span_find(s, '+') == s.len)) {
        *ret = s;
        return true;
    }
    char *out = arena_bytes(arena, s.len);
    size_t len = 0;
    for (size_t i = 0; i < s.len; i++) {
        int byte = (unsigned char)s.ptr[i];
        if (byte == '%') {
            byte = percent_escape_at(s, i);
            i += 2;
            if (is_control(byte))
                return false;
        } else if (byte == '+' && plus) {
            byte = ' ';
        }
        out[len++] = (char)byte;
    }
    *ret = span_of(out, len);
    return true;
}

void percent_encode(struct buffer *out, struct span s)
{
    char *to = buffer_reserve(out, s.len * 3);
    size_t len = 0;
    for (size_t i = 0; i < s.len; i++) {
        unsigned char byte = (unsigned char)s.ptr[i];
        if (percent_is_unreserved(byte)) {
            to[len++] = (char)byte;
            continue;
        }
        to[len++] = '%';
        to[len++] = hex_digits[byte >> 4];
        to[len++] = hex_digits[byte & 15];
    }
    buffer_commit(out, len);
}

bool query_next(struct span *rest, struct query_param *ret)
{
    struct span part;
    if (!rest->ptr || !span_split(rest, '&', &part))
        return false;
    size_t equals = span_find(part, '=');
    *ret = (struct query_param){.raw = part, .name = span_take(part, equals), .value = span_skip(part, equals + 1)};
    return true;
}

static char lower(int byte)
{
    return (char)(byte >= 'A' && byte <= 'Z' ? byte + ('a' - 'A') : byte);
}

bool query_is(struct span raw_name, struct span name)
{
    size_t at = 0;
    if (raw_name.len < name.len)
        return false;
    if (span_equal(raw_name, name))
        return true;
    for (size_t i = 0; i < raw_name.len; i++, at++) {
        int byte = (unsigned char)raw_name.ptr[i];
        if (byte == '%') {
            byte = percent_escape_at(raw_name, i);
            i += 2;
        }
        if (at == name.len || byte < 0 || lower(byte) != lower((unsigned char)name.ptr[at]))
            return false;
    }
    return at == name.len;
}

bool query_is_credential(struct span raw_name)
{
    return query_is(raw_name, SPAN("api-key")) || query_is(raw_name, SPAN("subscription-key"));
}
