/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_scan: the byte loops of the HTTP/1 reader and writer, 16 bytes at a time where SSE2 is there, byte by byte
 * elsewhere (and in the _portable variants, which a test compares with the fast ones). They work on text that is
 * followed by at least H1_SCAN_PAD bytes of anything, and stop at a NUL, so that no bound is checked per byte; only
 * h1_find_lf takes an end.
 */
#ifndef POSTERN_HTTP_H1_SCAN_H
#define POSTERN_HTTP_H1_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "base/compiler.h"

/* Readable bytes there must be after the text. */
#define H1_SCAN_PAD 16

/* The lower-case form of a token character (RFC 9110 5.6.2), 0 for every other byte. */
extern const unsigned char h1_token[256];

/* The first byte that may not stand in a field value: a control byte but tab, or DEL (RFC 9110 5.5). */
static inline char *h1_scan_value_portable(char *p)
{
    for (;; p++) {
        unsigned char c = (unsigned char)*p;
        if ((c < 0x20 && c != '\t') || c == 0x7F)
            return p;
    }
}

/*
 * The first byte that may not stand in a request target: not 0x21-0x7E, or '#'. *question becomes the first '?' before
 * it, and is left alone when there is none.
 */
static inline const char *h1_scan_target_portable(const char *p, const char **question)
{
    bool seen = false;
    for (;; p++) {
        unsigned char c = (unsigned char)*p;
        if (c <= 0x20 || c >= 0x7F || c == '#')
            return p;
        if (c == '?' && !seen) {
            *question = p;
            seen = true;
        }
    }
}

/* The length of the token at p, made lower case in place. */
static inline size_t h1_lower_name_portable(char *p)
{
    size_t n = 0;
    for (unsigned char c; (c = h1_token[(unsigned char)p[n]]) != 0; n++)
        p[n] = (char)c;
    return n;
}

/* The first LF in [p, end), or NULL. */
static inline const char *h1_find_lf_portable(const char *p, const char *end)
{
    return p < end ? memchr(p, '\n', (size_t)(end - p)) : NULL;
}

/* The first CR LF CR LF in [p, end), or NULL. */
static inline const char *h1_find_blank_line_portable(const char *p, const char *end)
{
    return p < end ? memmem(p, (size_t)(end - p), "\r\n\r\n", 4) : NULL;
}

#if defined(__SSE2__)

static inline __m128i h1_load(const char *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

/* All ones in the bytes from `low` to `low + span`. */
static inline __m128i h1_in_range(__m128i v, char low, char span)
{
    __m128i moved = _mm_sub_epi8(v, _mm_set1_epi8(low));
    return _mm_cmpeq_epi8(_mm_min_epu8(moved, _mm_set1_epi8(span)), moved);
}

static inline char *h1_scan_value(char *p)
{
    for (;;) {
        __m128i v = h1_load(p);
        __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1F)), v);
        int stop = _mm_movemask_epi8(_mm_or_si128(control, _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7F))));
        if (!stop) {
            p += 16;
            continue;
        }
        p += __builtin_ctz((unsigned)stop);
        if (LIKELY(*p != '\t'))
            return p;
        p++;
    }
}

static inline const char *h1_scan_target(const char *p, const char **question)
{
    const char *seen = NULL;
    for (;; p += 16) {
        __m128i v = h1_load(p);
        /* Signed: 0x80-0xFF are below too. */
        __m128i bad = _mm_or_si128(_mm_cmplt_epi8(v, _mm_set1_epi8(0x21)), _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7F)));
        unsigned stop = (unsigned)_mm_movemask_epi8(_mm_or_si128(bad, _mm_cmpeq_epi8(v, _mm_set1_epi8('#'))));
        unsigned marks = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8('?')));
        marks &= (stop & (0u - stop)) - 1; /* those before the stop; all when there is no stop */
        if (marks && !seen)
            *question = seen = p + __builtin_ctz(marks);
        if (stop)
            return p + __builtin_ctz(stop);
    }
}

/*
 * Letters, digits, '-' and '_' go fast; anything else (the end, or a rarer token character) is left to the table. Whole
 * blocks are stored back, which rewrites bytes beyond the name with their own value only.
 */
static inline size_t h1_lower_name(char *p)
{
    static const char window[32] = {
        0x20, 0x20, 0x20, 0x20, 0x20, 0x20, 0x20, 0x20, 0x20, 0x20, 0x20, 0x20, 0x20, 0x20, 0x20, 0x20,
    };
    size_t n = 0;
    for (;;) {
        __m128i v = h1_load(p + n);
        __m128i upper = h1_in_range(v, 'A', 25);
        __m128i dash = _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('-')), _mm_cmpeq_epi8(v, _mm_set1_epi8('_')));
        __m128i other = _mm_or_si128(h1_in_range(v, 'a', 25), h1_in_range(v, '0', 9));
        unsigned good = (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(upper, dash), other));
        unsigned run = (unsigned)__builtin_ctz(~good);
        __m128i fold = _mm_and_si128(upper, h1_load(window + 16 - run));
        _mm_storeu_si128((__m128i *)(void *)(p + n), _mm_add_epi8(v, fold));
        n += run;
        if (run < 16)
            return LIKELY(p[n] == ':') ? n : n + h1_lower_name_portable(p + n);
    }
}

static inline const char *h1_find_lf(const char *p, const char *end)
{
    for (; end - p >= 16; p += 16) {
        int hits = _mm_movemask_epi8(_mm_cmpeq_epi8(h1_load(p), _mm_set1_epi8('\n')));
        if (hits)
            return p + __builtin_ctz((unsigned)hits);
    }
    for (; p < end; p++)
        if (*p == '\n')
            return p;
    return NULL;
}

/* Where a line feed stands one and three bytes behind a place: hardly anywhere but at a blank line. */
static inline __m128i h1_two_feeds(const char *p)
{
    const __m128i feed = _mm_set1_epi8('\n');
    return _mm_and_si128(_mm_cmpeq_epi8(h1_load(p + 1), feed), _mm_cmpeq_epi8(h1_load(p + 3), feed));
}

static inline const char *h1_find_blank_line(const char *p, const char *end)
{
    for (; end - p >= 35; p += 32) {
        __m128i low = h1_two_feeds(p), high = h1_two_feeds(p + 16);
        if (LIKELY(_mm_movemask_epi8(_mm_or_si128(low, high)) == 0))
            continue;
        unsigned hits = (unsigned)_mm_movemask_epi8(low) | (unsigned)_mm_movemask_epi8(high) << 16;
        for (; hits; hits &= hits - 1) {
            const char *at = p + __builtin_ctz(hits);
            if (at[0] == '\r' && at[2] == '\r')
                return at;
        }
    }
    return h1_find_blank_line_portable(p, end);
}

#else

static inline char *h1_scan_value(char *p)
{
    return h1_scan_value_portable(p);
}

static inline const char *h1_scan_target(const char *p, const char **question)
{
    return h1_scan_target_portable(p, question);
}

static inline size_t h1_lower_name(char *p)
{
    return h1_lower_name_portable(p);
}

static inline const char *h1_find_lf(const char *p, const char *end)
{
    return h1_find_lf_portable(p, end);
}

static inline const char *h1_find_blank_line(const char *p, const char *end)
{
    return h1_find_blank_line_portable(p, end);
}

#endif

#endif
