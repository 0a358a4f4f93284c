/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h2_guard: looks at the frame headers of the bytes that come in, before the HTTP/2 library sees them (RFC 9113
 * section 4.1), for two things the library leaves open:
 *
 * - how often frames come that cost us and bring nothing: each kind has a rate (h2_limits.h);
 * - frames on streams that are over. The library forgets a closed stream and ignores what comes for it; RFC 9113 5.1
 * wants an error, unless it was we who reset the stream, for then the peer could not know.
 *
 * And PRIORITY, which the library ignores when told to keep no tree, is still checked for what is an error in it (RFC
 * 9113 6.3, RFC 7540 5.3.1).
 *
 * Pure and cheap: the payload is skipped, not read, but for PRIORITY; no memory of its own. Stream ids of the last
 * H2_GUARD_STREAMS openings are remembered; for older ones no verdict is given.
 */
#ifndef POSTERN_HTTP_H2_GUARD_H
#define POSTERN_HTTP_H2_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/span.h"
#include "http/h2_limits.h"

/* A power of two, at least twice the streams that may be open. */
#define H2_GUARD_STREAMS 512
/* The largest frame payload we accept: SETTINGS_MAX_FRAME_SIZE at its initial value (RFC 9113 6.5.2). */
#define H2_GUARD_FRAME_SIZE 16384

enum h2_guard_verdict {
    H2_GUARD_OK,
    H2_GUARD_RESET,     /* answer stream `stream_id` with RST_STREAM(code), go on */
    H2_GUARD_CONNECTION /* end the connection with GOAWAY(code) */
};

struct h2_guard_result {
    enum h2_guard_verdict verdict;
    uint32_t code;      /* RFC 9113 section 7 */
    const char *name;   /* what was passed or broken; static */
    uint32_t stream_id; /* for RESET */
};

struct h2_guard {
    const struct h2_limits *limits; /* the caller's; outlives the guard */
    bool server;                    /* the peer is a client: it opens odd streams */
    uint8_t head[9];                /* the frame header being gathered */
    uint8_t head_len;
    uint8_t preface_left; /* bytes of the client's preface still to come */
    bool in_block;        /* a header block has begun and END_HEADERS has not come */
    uint32_t payload_left;
    uint8_t dependency_left; /* bytes of a PRIORITY frame's dependency still to come */
    uint32_t dependency, dependent_id;
    uint32_t block_bytes, continuations;
    uint64_t block_since; /* when the header block under way began, 0 when there is none */
    uint32_t last_id;     /* the highest stream the peer has opened */
    uint64_t data_sent;   /* credit for WINDOW_UPDATEs, see h2_guard_sent_data */
    struct h2_bucket buckets[H2_RATE_COUNT];
    uint8_t streams[H2_GUARD_STREAMS];
};

/* `limits` must outlive the guard. */
void h2_guard_init(struct h2_guard *guard, const struct h2_limits *limits, bool server);
/*
 * Looks at `in` and advances it past what may be handed to the library. Call again while *in is not empty. After
 * H2_GUARD_RESET the bytes taken end with the header of the frame in question; after H2_GUARD_CONNECTION with the last
 * byte before it.
 */
struct h2_guard_result h2_guard_scan(struct h2_guard *guard, struct span *in, uint64_t now);
/* Counts one event that only the library can see; on false the connection must end with the rate's name. */
MUST_CHECK bool h2_guard_count(struct h2_guard *guard, enum h2_rate_id id, uint64_t now);
/* We reset this stream: what the peer still sends on it is no error. Returns whether that was known before, or cannot
 * be told. */
bool h2_guard_was_reset(struct h2_guard *guard, uint32_t stream_id);
/* We sent a DATA frame: the peer may answer with WINDOW_UPDATEs. */
void h2_guard_sent_data(struct h2_guard *guard);

#endif
