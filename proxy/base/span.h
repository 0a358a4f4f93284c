/* SPDX-License-Identifier: Apache-2.0 */
/*
 * span: a view of bytes that somebody else owns. Not NUL-terminated, may hold any byte, may be empty
 * (then `ptr` may be NULL). Everything that comes from the wire is passed as a span; print it with
 * "%.*s", SPAN_ARG(s). A span is valid as long as what it points into; each function that returns one says
 * how long that is.
 */
#ifndef POSTERN_BASE_SPAN_H
#define POSTERN_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/compiler.h"

struct span {
    const char *ptr;
    size_t len;
};

/* A span over a string literal: SPAN("chat"). Usable in static initialisers as SPAN_INIT("chat"). */
#define SPAN(literal) ((struct span){.ptr = "" literal, .len = sizeof(literal) - 1})
#define SPAN_INIT(literal)                                                                                             \
    {                                                                                                                  \
        .ptr = "" literal, .len = sizeof(literal) - 1                                                                  \
    }
/* The two arguments of "%.*s". */
#define SPAN_ARG(s) (int)(s).len, (s).ptr

static inline struct span span_of(const char *ptr, size_t len)
{
    return (struct span){.ptr = ptr, .len = len};
}

/* A span over a NUL-terminated string; NULL gives the empty span. */
static inline struct span span_str(const char *text)
{
    return (struct span){.ptr = text, .len = text ? strlen(text) : 0};
}

static inline bool span_equal(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* The rest after `n` bytes; `n` beyond the end gives the empty span. */
static inline struct span span_skip(struct span s, size_t n)
{
    n = n < s.len ? n : s.len;
    return (struct span){.ptr = n ? s.ptr + n : s.ptr, .len = s.len - n};
}

/* The first `n` bytes, or all if there are fewer. */
static inline struct span span_take(struct span s, size_t n)
{
    return (struct span){.ptr = s.ptr, .len = n < s.len ? n : s.len};
}

/* ASCII case-insensitive equality (header values, schemes, hosts). */
bool span_equal_nocase(struct span a, struct span b);
static inline bool span_starts_with(struct span s, struct span prefix)
{
    return s.len >= prefix.len && span_equal(span_take(s, prefix.len), prefix);
}

static inline bool span_ends_with(struct span s, struct span suffix)
{
    return s.len >= suffix.len && span_equal(span_skip(s, s.len - suffix.len), suffix);
}

/* Position of the first `byte`, or s.len when absent. */
size_t span_find(struct span s, char byte);
/* Position of the first occurrence of `needle`, or s.len when absent; an empty needle is found at 0. */
size_t span_search(struct span s, struct span needle);
/* Without leading and trailing spaces and tabs. */
struct span span_trim(struct span s);
/* Negative, zero or positive like memcmp, shorter first when one is a prefix of the other. */
int span_compare(struct span a, struct span b);
/*
 * Splits off the part before the first `separator` and advances *rest past it. Returns false when *rest is
 * exhausted (ptr NULL); "a,,b" gives "a", "", "b"; "" gives one empty part.
 */
bool span_split(struct span *rest, char separator, struct span *ret_part);
/*
 * Parses an unsigned decimal number: digits only, no sign, no space, the whole span. False on anything else or when
 * the value does not fit; *ret is written only on success.
 */
MUST_CHECK bool span_to_u64(struct span s, uint64_t *ret);
/* Shell-like match where `*` stands for any run of bytes; no other wildcard. */
bool span_matches(struct span text, struct span pattern);
/* Compares in time that depends on the lengths only, not on the bytes: for secrets. */
bool span_equal_secret(struct span a, struct span b);

#endif
