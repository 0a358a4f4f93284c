/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/memory.h"
#include "gateway/flight_internal.h"

#define CHUNK_FIRST 4096
#define CHUNK_MOST  65536

static uint64_t chunk_end(const struct flight_chunk *chunk)
{
    return chunk->start + chunk->cap;
}

/* `expected`: the answer's length if it is known, so that most answers are one chunk. */
static struct flight_chunk *grow(struct flight *flight, size_t needed, uint64_t expected)
{
    struct flight_log *log = &flight->log;
    size_t cap = log->last ? log->last->cap * 2 : CHUNK_FIRST;
    if (cap < needed)
        cap = needed;
    if (!log->last && expected > cap)
        cap = (size_t)expected;
    if (cap > CHUNK_MOST)
        cap = CHUNK_MOST;
    struct flight_chunk *chunk = memory_alloc(sizeof(*chunk) + cap);
    *chunk = (struct flight_chunk){.start = log->written, .cap = cap};
    if (log->last)
        log->last->next = chunk;
    else
        log->first = chunk;
    log->last = chunk;
    return chunk;
}

void flight_log_write(struct flight *flight, struct span bytes, uint64_t expected)
{
    struct flight_log *log = &flight->log;
    while (bytes.len) {
        struct flight_chunk *chunk = log->last;
        if (!chunk || log->written == chunk_end(chunk))
            chunk = grow(flight, bytes.len, expected);
        size_t room = (size_t)(chunk_end(chunk) - log->written);
        struct span part = span_take(bytes, room);
        memcpy(chunk->bytes + (log->written - chunk->start), part.ptr, part.len);
        log->written += part.len;
        bytes = span_skip(bytes, part.len);
    }
}

/* How far the slowest has come; one that is cut reads until it has left. By the mutex. */
static uint64_t slowest(const struct flight *flight)
{
    uint64_t least = flight->total;
    for (unsigned i = 0; i < flight->branch_count; i++)
        LIST_EACH(&flight->branches[i].followers, link)
        {
            const struct flight_follower *follower = CONTAINER_OF(link, struct flight_follower, link);
            uint64_t at = atomic_load_explicit(&follower->position, memory_order_relaxed);
            if (at < least)
                least = at;
        }
    return least;
}

/* Those who are a whole log behind lose their answer. By the mutex. */
static void cut_slow(struct flight *flight)
{
    for (unsigned i = 0; i < flight->branch_count; i++)
        LIST_EACH(&flight->branches[i].followers, link)
        {
            struct flight_follower *follower = CONTAINER_OF(link, struct flight_follower, link);
            uint64_t at = atomic_load_explicit(&follower->position, memory_order_relaxed);
            follower->cut |= flight->total - at > flight->bound;
        }
}

bool flight_log_trim(struct flight *flight)
{
    struct flight_log *log = &flight->log;
    pthread_mutex_lock(&flight->mutex);
    if (flight->slow == FLIGHT_SLOW_CUT)
        cut_slow(flight);
    uint64_t least = slowest(flight);
    /* Full at the bound, free again at half of it: so that a target is not stopped and started by every piece. */
    flight->choked = flight->total - least > (flight->choked ? flight->bound / 2 : flight->bound);
    bool full = flight->choked;
    pthread_mutex_unlock(&flight->mutex);
    /* One that stands at a chunk's end may still point to it. */
    while (flight->too_large && log->first != log->last && chunk_end(log->first) < least) {
        struct flight_chunk *gone = log->first;
        log->first = gone->next;
        free(gone);
    }
    return full;
}

void flight_log_free(struct flight *flight)
{
    for (struct flight_chunk *chunk = flight->log.first, *next; chunk; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
}

bool flight_bytes(const struct flight *flight, struct buffer *bytes)
{
    if (flight->too_large)
        return false;
    uint64_t left = flight->log.written;
    for (const struct flight_chunk *chunk = flight->log.first; chunk && left; chunk = chunk->next) {
        size_t here = left < chunk->cap ? (size_t)left : chunk->cap;
        buffer_append(bytes, span_of(chunk->bytes, here));
        left -= here;
    }
    return true;
}
