/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace: what loading a configuration has looked at: the paths, so that a change of any of them can be noticed, and a
 * digest of what was in them, so that a change that changes nothing can be told from one that does. Filled also by a
 * load that fails: a file that is missing now may come.
 */
#ifndef POSTERN_CONFIG_TRACE_H
#define POSTERN_CONFIG_TRACE_H

#include <stdint.h>

#include "base/arena.h"
#include "base/crypto.h"
#include "base/span.h"

struct trace_path {
    struct span path; /* followed by a NUL; in the trace's arena */
    struct trace_path *next;
};

struct trace {
    struct arena arena;
    struct trace_path *first;
    size_t count;
    uint8_t digest[CRYPTO_SHA256_BYTES]; /* of the contents given so far, in their order, with their paths */
};

void trace_init(struct trace *trace);
void trace_finish(struct trace *trace);
/* `path` was looked at; its content is somebody else's matter. A NULL trace is allowed, here and below. */
void trace_path(struct trace *trace, struct span path);
/* `path` was read and held `content`, of which only a digest is kept: it may be a secret. */
void trace_content(struct trace *trace, struct span path, struct span content);

#endif
