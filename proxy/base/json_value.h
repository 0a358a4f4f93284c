/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_value: looking things up in one complete JSON text that lies in memory: tokens, key sets, token replies. No tree
 * is built: a value is its text, and each lookup reads it again, so this is for small documents, not for bodies.
 *
 *     struct json_value root, kid;
 *     if (!json_value_parse(text, &root) || !json_value_find(root, "keys.0.kid", &kid)) ...
 *
 * Spans point into the text and live as long as it does.
 */
#ifndef POSTERN_BASE_JSON_VALUE_H
#define POSTERN_BASE_JSON_VALUE_H

#include "base/arena.h"
#include "base/json.h"

struct json_value {
    enum json_event kind; /* OBJECT_OPEN, ARRAY_OPEN, STRING, NUMBER, TRUE, FALSE or NULL */
    struct span raw;      /* as spelled, without surrounding space, quotes included */
};

/* Validates all of `text` (depth 64). The other functions take values that came from here. */
MUST_CHECK bool json_value_parse(struct span text, struct json_value *ret);
/*
 * The member of that (decoded) name. False when the value is no object, there is no such member, or more than one: what
 * two readers may understand differently is not there. Names above JSON_TEXT_LIMIT are never found.
 */
MUST_CHECK bool json_value_member(struct json_value object, struct span name, struct json_value *ret);
/* Follows "name.name.0.name" from `from`; parts made of digits index arrays when they meet one. Same rules. */
MUST_CHECK bool json_value_find(struct json_value from, const char *path, struct json_value *ret);
/*
 * Walks the members of an object or the elements of an array: start with *cursor = 0, false at the end. *ret_name (may
 * be NULL) gets the raw name with its quotes, empty for arrays. Each step reads on where the last one stopped.
 */
bool json_value_each(struct json_value container, size_t *cursor, struct span *ret_name, struct json_value *ret);
/* The decoded text of a STRING (or of a raw name, as {JSON_STRING, name}); lives in the arena. False for other kinds.
 */
MUST_CHECK bool json_value_text(struct json_value value, struct arena *arena, struct span *ret);
/* Whether it is a STRING that decodes to exactly `text`. */
bool json_value_is(struct json_value value, struct span text);
/* A NUMBER that is a non-negative integer below 2^64, also when spelled 1e3 or 5.0. False for all else. */
MUST_CHECK bool json_value_u64(struct json_value value, uint64_t *ret);
/* A NUMBER, as the nearest double. False for other kinds and for what is too large for one. */
MUST_CHECK bool json_value_double(struct json_value value, double *ret);

/* The same two for a bare number text, as the NUMBER event gives it. */
MUST_CHECK bool json_number_u64(struct span text, uint64_t *ret);
MUST_CHECK bool json_number_double(struct span text, double *ret);

#endif
