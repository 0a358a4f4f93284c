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

#if defined(__SSE2__)
/* Marks the quotes and backslashes of 16 bytes. */
static inline __m128i string_marks(const char *p)
{
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
    return _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')), _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\')));
}
#endif

/* string_plain_end where that is not within 16 bytes, or the text ends there. */
const char *string_far_end(struct span text, const char *p);

/* The first quote or backslash from `p` on, or the end of `text`, which holds `p`. */
static inline const char *string_plain_end(struct span text, const char *p)
{
#if defined(__SSE2__)
    if (LIKELY(text.ptr + text.len - p >= 16)) {
        unsigned mask = (unsigned)_mm_movemask_epi8(string_marks(p));
        if (LIKELY(mask))
            return p + __builtin_ctz(mask);
        p += 16;
    }
#endif
    return string_far_end(text, p);
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
