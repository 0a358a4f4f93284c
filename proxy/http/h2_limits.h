/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h2_limits: everything a peer of an HTTP/2 connection can make us spend, each with a name and a bound. Two kinds:
 *
 * - amounts (fields of struct h2_limits): what may exist at one time;
 * - rates: how often something may happen. A rate is a bucket of `burst` that refills with `per_second`.
 *
 * A peer that passes a rate, or one of the amounts marked (connection), ends its connection with ENHANCE_YOUR_CALM and
 * the limit's name; other amounts end or refuse one stream.
 */
#ifndef POSTERN_HTTP_H2_LIMITS_H
#define POSTERN_HTTP_H2_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

/*
 * id, name, burst, per second. What the bursts allow for: a client that cancels all its streams at once, and again;
 * Go's client, which sends a PING with each cancel; browsers' PRIORITY frames; two WINDOW_UPDATEs for each DATA frame
 * (four per frame that we sent are free and do not touch the bucket).
 */
#define H2_RATE_LIST(X)                                                                                                \
    /* RST_STREAM from the peer: rapid reset (CVE-2023-44487). */                                                      \
    X(RESETS, "h2_resets", 200, 50)                                                                                    \
    /* Streams we had to reset because of what the peer sent: MadeYouReset (CVE-2025-8671). */                         \
    X(STREAM_ERRORS, "h2_stream_errors", 200, 20)                                                                      \
    /* PING, ACKs too (CVE-2019-9512). */                                                                              \
    X(PINGS, "h2_pings", 200, 50)                                                                                      \
    /* SETTINGS without ACK (CVE-2019-9515). */                                                                        \
    X(SETTINGS, "h2_settings", 32, 2)                                                                                  \
    /* DATA without a byte and without END_STREAM, padding apart (CVE-2019-9518). */                                   \
    X(EMPTY_DATA, "h2_empty_data", 100, 10)                                                                            \
    X(WINDOW_UPDATES, "h2_window_updates", 1000, 500)                                                                  \
    /* PRIORITY (CVE-2019-9513) and PRIORITY_UPDATE (RFC 9218). */                                                     \
    X(PRIORITIES, "h2_priorities", 300, 30)                                                                            \
    /* Frames of types nobody has defined, ALTSVC, ORIGIN, and GOAWAY. */                                              \
    X(UNKNOWN_FRAMES, "h2_unknown_frames", 100, 10)                                                                    \
    /* Frames on streams that are over: what was under way when we reset a stream is forgiven, within this. */         \
    X(CLOSED_STREAM_FRAMES, "h2_closed_stream_frames", 1000, 100)

enum h2_rate_id {
#define X(id, name, burst, per_second) H2_RATE_##id,
    H2_RATE_LIST(X)
#undef X
        H2_RATE_COUNT
};

struct h2_rate {
    uint32_t burst;
    uint32_t per_second; /* at least 1 */
};

struct h2_limits {
    uint32_t streams;           /* that the peer may have open: SETTINGS_MAX_CONCURRENT_STREAMS; more are refused */
    uint32_t stream_window;     /* bytes of body unread per stream: SETTINGS_INITIAL_WINDOW_SIZE; 65,535 .. 2^31-1 */
    uint32_t connection_window; /* bytes in flight on the connection; given back on receipt; 65,535 .. 2^31-1 */
    uint32_t header_bytes;  /* of a stream's heads and trailers, as RFC 9113 6.5.2 counts: name + value + 32 per field;
                               else 431 */
    uint32_t header_fields; /* of one head, pseudo-fields apart; else 431 */
    uint32_t target_bytes;  /* of :path; else 414 */
    uint32_t continuations; /* (connection) CONTINUATION frames of one head (CVE-2024-28182) */
    uint32_t outbound_frames; /* (connection) frames that wait because the peer does not read; DATA is not counted */
    size_t queue_high;        /* a stream with more body bytes queued than this ... */
    size_t queue_low;         /* ... gets on_window when it has come down to this */
    struct h2_rate rates[H2_RATE_COUNT];
};

/* Names of the amounts that end a connection; rates have theirs in the list. */
#define H2_LIMIT_CONTINUATIONS   "h2_continuations"
#define H2_LIMIT_HEADER_BLOCK    "h2_header_block" /* the compressed head is larger than header_bytes may be */
#define H2_LIMIT_HEADER_LIST     "h2_header_list"  /* it unpacks to more than four times header_bytes: an HPACK bomb */
#define H2_LIMIT_OUTBOUND_FRAMES "h2_outbound_frames"

/* Defaults for a server facing clients: 100 streams, windows of 64 KiB and 1 MiB, heads of 64 KiB in 200 fields. */
void h2_limits_server(struct h2_limits *ret);
/* Defaults for a client of an upstream: no streams from the peer, windows of 256 KiB and 4 MiB, the rest as above. */
void h2_limits_client(struct h2_limits *ret);
/* The name in the list: lower case, fit for a log word or a metric label. Static. */
const char *h2_rate_name(enum h2_rate_id id);

/* The state of one rate; zeroed = full. */
struct h2_bucket {
    uint64_t due; /* when the bucket will be full again, microseconds */
};

/* Takes one from the bucket; false when it was empty (then nothing is taken). `now` in microseconds, never going back.
 */
MUST_CHECK bool h2_bucket_take(struct h2_bucket *bucket, const struct h2_rate *rate, uint64_t now);

#endif
