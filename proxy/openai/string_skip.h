/* SPDX-License-Identifier: Apache-2.0 */
/*
 * string_skip: passes over a JSON string that lies whole in memory, and says how many bytes it decodes to. It does not
 * validate: what is no JSON string may be passed over too. For text whose structure is known or looked at elsewhere.
 */
#ifndef POSTERN_OPENAI_STRING_SKIP_H
#define POSTERN_OPENAI_STRING_SKIP_H

#include <stdint.h>

#include "base/compiler.h"
#include "base/span.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* Passes over the escape at `p` and adds the UTF-8 bytes it stands for (a lone surrogate: 3). NULL when it is none. */
const char *escape_skip(const char *p, const char *end, uint64_t *bytes);

/* The first quote or backslash from `p` on, or the end of `text`, which holds `p`. */
static inline const char *string_plain_end(struct span text, const char *p)
{
    const char *end = text.ptr + text.len;
#if defined(__SSE2__)
    const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\');
    while (p < end && text.len >= 16) {
        /* The last step looks back over bytes that were seen, and forgets them. */
        const char *at = end - p >= 16 ? p : end - 16;
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
        __m128i hits = _mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, backslash));
        unsigned mask = (unsigned)_mm_movemask_epi8(hits) >> (p - at);
        if (mask)
            return p + __builtin_ctz(mask);
        p = at + 16;
    }
#endif
    while (p < end && *p != '"' && *p != '\\')
        p++;
    return p;
}

/*
 * Passes over the string that begins (with its quote) at `p` in `text`; adds its decoded length to *bytes. Returns the
 * byte after the closing quote, or NULL when there is no string or not all of it.
 */
static inline const char *string_skip(struct span text, const char *p, uint64_t *bytes)
{
    const char *end = text.ptr + text.len;
    if (p == end || *p++ != '"')
        return NULL;
    for (;;) {
        const char *stop = string_plain_end(text, p);
        *bytes += (uint64_t)(stop - p);
        if (stop == end)
            return NULL;
        if (LIKELY(*stop == '"'))
            return stop + 1;
        p = escape_skip(stop, end, bytes);
        if (!p)
            return NULL;
    }
}

#endif
