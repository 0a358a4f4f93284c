/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_head: understands one whole head or trailer section of HTTP/1 (RFC 9112 sections 2-6), for h1_reader, which
 * finds out where it ends. Rules and faults are listed in h1_reader.h.
 */
#ifndef POSTERN_HTTP_H1_HEAD_H
#define POSTERN_HTTP_H1_HEAD_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/compiler.h"
#include "base/fault.h"
#include "http/h1_reader.h"
#include "http/message.h"

/*
 * A block of lines that ends with the first empty one. `text` is writable, lies in the arena, is followed by
 * H1_SCAN_PAD zero bytes, and becomes the memory behind the message's spans (names are made lower case in it).
 */
struct h1_block {
    char *text;
    size_t len;
};

/* Why a block was refused. */
struct h1_refusal {
    enum fault fault;
    const char *reason;
};

/* Fill *ret; it may be half filled after a refusal (false). */
MUST_CHECK bool h1_parse_request(const struct h1_block *block, const struct h1_limits *limits, struct arena *arena,
                                 struct message *ret, struct h1_refusal *ret_refusal);
/* ret->method says what was asked. */
MUST_CHECK bool h1_parse_response(const struct h1_block *block, const struct h1_limits *limits, struct arena *arena,
                                  struct message *ret, struct h1_refusal *ret_refusal);
/* Faults are those of a request. */
MUST_CHECK bool h1_parse_trailers(const struct h1_block *block, const struct h1_limits *limits, struct arena *arena,
                                  struct fields *ret, struct h1_refusal *ret_refusal);

#endif
