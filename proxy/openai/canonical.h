/* SPDX-License-Identifier: Apache-2.0 */
/*
 * canonical: gives a JSON text a byte form that is the same for two texts if and only if their values are the same, so
 * that a digest of it may stand for the value. Pure; the bytes go to the caller's sink as they come.
 *
 * When two values are the same (RFC 8259; for numbers JSON Schema 2020-12 core, 4.2.2):
 *   - numbers: the same mathematical value, exactly and however spelled: 1, 1.0, 1e0 and 10e-1; -0 and 0. Nothing is
 *     rounded: 0.1 is not 0.1000000000000000055, 1e400 is a number like any other;
 *   - strings: the same code points after escapes: "A" and "\u0041". A lone surrogate equals itself only. No Unicode
 *     normalisation;
 *   - arrays: the same elements in the same order;
 *   - objects: the same members in any order. null is a value: a member that is null is not one that is absent;
 *   - true, false, null.
 *
 * The form of a value ends by itself (no form is the beginning of another), so that forms fed one after another to one
 * sink cannot be confused. It may change between versions of the program: CANONICAL_VERSION belongs into what is made
 * of it.
 *
 * For texts that have been validated before, as each inspected body has (openai/request.h): structure is checked on the
 * way, UTF-8, control bytes and superfluous zeros are not. Texts that are no JSON may be taken for such, but not for
 * any other value.
 *
 * Linear in the text but for members that come in another order than the form's. Memory: none for a text of 8 KB;
 * above, up to four times its size while the call lasts.
 */
#ifndef POSTERN_OPENAI_CANONICAL_H
#define POSTERN_OPENAI_CANONICAL_H

#include <stddef.h>

#include "base/compiler.h"
#include "base/span.h"

#define CANONICAL_VERSION 1
/* Bytes of a text. */
#define CANONICAL_TEXT_LIMIT ((size_t)64 * 1024 * 1024)
/* Open containers; as of inspected bodies. */
#define CANONICAL_DEPTH_LIMIT 512

enum canonical_result {
    CANONICAL_GOOD,
    CANONICAL_NOT_JSON,  /* or nested more deeply than CANONICAL_DEPTH_LIMIT */
    CANONICAL_DUPLICATE, /* a name twice in one object: readers differ in what that means, so it has no value */
    CANONICAL_EXTREME,   /* a number whose exponent is beyond 18 digits */
    CANONICAL_TOO_LARGE  /* above CANONICAL_TEXT_LIMIT, or deep objects whose members are out of order on each level */
};

/* Takes the form; it vanishes after the call. */
typedef void canonical_sink_fn(void *arg, struct span bytes);

/*
 * Feeds the form of the one JSON text to `sink`, once; not after any other result than GOOD. If it is an object, its
 * members of the `without_count` decoded names in `without` are left out: their values do not count and an array is
 * not even looked into; their names still count as names. No name in `without` may hold a quote or a backslash.
 */
MUST_CHECK enum canonical_result canonical_feed(struct span text, const struct span *without, size_t without_count,
                                                canonical_sink_fn *sink, void *arg);

/* "duplicate names" and so on: for the log and the bypass counter. Static. */
const char *canonical_result_name(enum canonical_result result);

#endif
