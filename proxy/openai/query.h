/* SPDX-License-Identifier: Apache-2.0 */
/*
 * query: percent-encoding and the parameters of a query string, as far as operations and dialects need them (RFC 3986;
 * application/x-www-form-urlencoded for queries, where `+` is a space).
 */
#ifndef POSTERN_OPENAI_QUERY_H
#define POSTERN_OPENAI_QUERY_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/span.h"

/* A-Z a-z 0-9 - . _ ~ (RFC 3986 2.3). */
static inline bool percent_is_unreserved(unsigned char byte)
{
    /* One bit per byte below 128. */
    static const uint64_t bits[2] = {UINT64_C(0x03ff600000000000), UINT64_C(0x47fffffe87fffffe)};
    return byte < 128 && bits[byte >> 6] >> (byte & 63) & 1;
}
/* The value of the two hex digits after a `%` at s.ptr[at], or -1. */
int percent_escape_at(struct span s, size_t at);
/*
 * Undoes all escapes, once. `plus`: `+` is a space. False on a bad escape or when a control byte (NUL, 0x01-0x1f, 0x7f)
 * comes out. Without escapes *ret is the input itself, else it lies in the arena.
 */
MUST_CHECK bool percent_decode(struct span s, bool plus, struct arena *arena, struct span *ret);
/* Appends `s` with everything but unreserved bytes escaped. */
void percent_encode(struct buffer *out, struct span s);

/* One parameter; spans lie in the query. `raw` is name=value as written. */
struct query_param {
    struct span raw, name, value;
};

/* Splits off the next parameter, which may be empty; false at the end. Start with *rest = the query. */
bool query_next(struct span *rest, struct query_param *ret);
/* Whether the (escaped) name of a parameter stands for `name`, in any letter case. */
bool query_is(struct span raw_name, struct span name);
/* Whether the (escaped) name is that of a key: api-key (Azure), subscription-key (API Management). */
bool query_is_credential(struct span raw_name);

#endif
