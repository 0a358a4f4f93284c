/* SPDX-License-Identifier: Apache-2.0 */
#include "openai/string_skip.h"

static int hex_value(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    digit = (char)(digit | 0x20);
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* The code unit of the \u escape at `p`, or -1. */
static int escape_unit(const char *p, const char *end)
{
    int unit = 0;
    if (end - p < 6 || p[0] != '\\' || p[1] != 'u')
        return -1;
    for (int i = 2; i < 6; i++) {
        int digit = hex_value(p[i]);
        if (digit < 0)
            return -1;
        unit = unit * 16 + digit;
    }
    return unit;
}

const char *escape_skip(const char *p, const char *end, uint64_t *bytes)
{
    if (end - p < 2)
        return NULL;
    if (p[1] != 'u') {
        *bytes += 1;
        return p + 2;
    }
    int unit = escape_unit(p, end);
    if (unit < 0)
        return NULL;
    if (unit >= 0xd800 && unit <= 0xdbff) {
        int low = escape_unit(p + 6, end);
        if (low >= 0xdc00 && low <= 0xdfff) {
            *bytes += 4;
            return p + 12;
        }
    }
    *bytes += unit < 0x80 ? 1 : unit < 0x800 ? 2 : 3;
    return p + 6;
}

const char *string_far_end(struct span text, const char *p)
{
    const char *end = text.ptr + text.len;
#if defined(__SSE2__)
    for (; end - p >= 64; p += 64) {
        __m128i low = _mm_or_si128(string_marks(p), string_marks(p + 16));
        __m128i high = _mm_or_si128(string_marks(p + 32), string_marks(p + 48));
        if (_mm_movemask_epi8(_mm_or_si128(low, high)))
            break;
    }
    while (p < end && text.len >= 16) {
        /* The last step looks back over bytes that were seen, and forgets them. */
        const char *at = end - p >= 16 ? p : end - 16;
        unsigned mask = (unsigned)_mm_movemask_epi8(string_marks(at)) >> (p - at);
        if (mask)
            return p + __builtin_ctz(mask);
        p = at + 16;
    }
#endif
    while (p < end && *p != '"' && *p != '\\')
        p++;
    return p;
}
