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
 * Linear in the text but for the sorting of members. Memory: none up to CANONICAL_NODES_INSIDE names and values, then
 * 16 bytes for each.
 */
#ifndef POSTERN_OPENAI_CANONICAL_H
#define POSTERN_OPENAI_CANONICAL_H

#include <stddef.h>

#include "base/compiler.h"
#include "base/span.h"

#define CANONICAL_VERSION 1
/* Names, values and ends of containers in one text; more are not taken. */
#define CANONICAL_NODES_LIMIT ((size_t)1 << 20)
/* So many are kept on the stack. */
#define CANONICAL_NODES_INSIDE ((size_t)384)
/* Open containers; as of inspected bodies (openai/request.h). */
#define CANONICAL_DEPTH_LIMIT 512

enum canonical_result {
    CANONICAL_GOOD,
    CANONICAL_NOT_JSON,  /* or nested more deeply than CANONICAL_DEPTH_LIMIT */
    CANONICAL_DUPLICATE, /* a name twice in one object: readers differ in what that means, so it has no value */
    CANONICAL_EXTREME,   /* a number whose exponent is beyond 18 digits */
    CANONICAL_TOO_LARGE  /* above CANONICAL_NODES_LIMIT, or 4 GiB */
};

/* Takes the next bytes of the form: pieces of up to some kilobytes, long strings whole. They vanish after the call. */
typedef void canonical_sink_fn(void *arg, struct span bytes);

/*
 * Feeds the form of the one JSON text to `sink`. If it is an object, its members of the `without_count` decoded names
 * in `without` (at most CANONICAL_WITHOUT) are left out: their values are validated, but not looked into. After any
 * other result than GOOD what the sink was given is worth nothing.
 */
#define CANONICAL_WITHOUT 16
MUST_CHECK enum canonical_result canonical_feed(struct span text, const struct span *without, size_t without_count,
                                                canonical_sink_fn *sink, void *arg);

/* "duplicate names" and so on: for the log and the bypass counter. Static. */
const char *canonical_result_name(enum canonical_result result);

#endif
