/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs bytes through an h1_reader in pieces and writes down what happened, so that tests compare text:
 *
 *     HEAD POST /v1 HTTP/1.1 host=a length=3
 *     a: b
 *     BODY abc
 *     END
 *     BAD MALFORMED_REQUEST bare LF
 *
 * Consecutive pieces of body are joined. After END the reader is started again (pipelining) while bytes are left. What
 * stands last is the answer of h1_reader_eof: EOF MORE, EOF END or EOF BAD fault. After BAD there is none.
 */
#ifndef POSTERN_TESTS_H1_DRIVE_H
#define POSTERN_TESTS_H1_DRIVE_H

#include "base/buffer.h"
#include "http/h1_reader.h"

struct drive {
    enum h1_role role;
    enum http_method asked;
    const struct h1_limits *limits; /* NULL: default */
};

/*
 * Appends the record to *ret. The input is cut at `first` and at `second` (>= first), or after every byte when `first`
 * is SIZE_MAX; each piece is given from memory of exactly its size, so that a read beyond it is noticed.
 */
void drive(const struct drive *how, struct span input, size_t first, size_t second, struct buffer *ret);

/* Runs the input whole, at each single cut, byte by byte and at some double cuts; all records must be the same, and are
 * returned. */
void drive_every_split(const struct drive *how, struct span input, struct buffer *ret);

#endif
