/* SPDX-License-Identifier: Apache-2.0 */
#include "config/trace.h"

#include <string.h>

void trace_init(struct trace *trace)
{
    *trace = (struct trace){0};
    arena_init(&trace->arena);
}

void trace_finish(struct trace *trace)
{
    arena_finish(&trace->arena);
}

void trace_path(struct trace *trace, struct span path)
{
    if (!trace)
        return;
    for (const struct trace_path *known = trace->first; known; known = known->next)
        if (span_equal(known->path, path))
            return;
    struct trace_path *entry = ARENA_NEW(&trace->arena, struct trace_path);
    entry->path = arena_copy(&trace->arena, path);
    entry->next = trace->first;
    trace->first = entry;
    trace->count++;
}

void trace_content(struct trace *trace, struct span path, struct span content)
{
    if (!trace)
        return;
    trace_path(trace, path);
    /* A chain of digests: where one part ends and the next begins cannot be moved. */
    uint8_t parts[3 * CRYPTO_SHA256_BYTES];
    memcpy(parts, trace->digest, CRYPTO_SHA256_BYTES);
    crypto_sha256(path, parts + CRYPTO_SHA256_BYTES);
    crypto_sha256(content, parts + 2 * CRYPTO_SHA256_BYTES);
    crypto_sha256(span_of((const char *)parts, sizeof(parts)), trace->digest);
}
