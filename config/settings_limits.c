/* SPDX-License-Identifier: Apache-2.0 */
#include "config/settings.h"

#include "base/clock.h"
#include "config/config.h"

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

#define AT(member) SETTING_AT(struct config_http2, member)
static const struct setting http2_table[] = {
    {.name = "streams",
     .type = SETTING_INTEGER,
     AT(streams),
     .fallback = "100",
     .min = 1,
     .max = 10000,
     .unit = "streams",
     .help = "Requests that a client may have open at once on one connection (SETTINGS_MAX_CONCURRENT_STREAMS)."},
    {.name = "stream_window",
     .type = SETTING_SIZE,
     AT(stream_window),
     .fallback = "64KiB",
     .min = 64 * KIB,
     .max = 16 * MIB,
     .help = "What a client may send ahead per stream before it has been passed on. streams times this bounds the "
             "memory of one connection."},
    {.name = "connection_window",
     .type = SETTING_SIZE,
     AT(connection_window),
     .fallback = "1MiB",
     .min = 64 * KIB,
     .max = 64 * MIB,
     .help = "What may be under way on the connection; given back on receipt, so one slow stream stops no other."},
    {.name = "continuations",
     .type = SETTING_INTEGER,
     AT(continuations),
     .fallback = "8",
     .min = 1,
     .max = 1000,
     .unit = "frames",
     .help = "CONTINUATION frames of one head (CVE-2024-28182)."},
    {.name = "outbound_frames",
     .type = SETTING_INTEGER,
     AT(outbound_frames),
     .fallback = "1000",
     .min = 10,
     .max = 100000,
     .unit = "frames",
     .help = "Control frames that wait because the client does not read."},
    {.name = "resets",
     .type = SETTING_RATE,
     AT(resets),
     .fallback = "50/second",
     .help = "Streams the client cancels (rapid reset, CVE-2023-44487)."},
    {.name = "stream_errors",
     .type = SETTING_RATE,
     AT(stream_errors),
     .fallback = "20/second",
     .help = "Streams we must reset because of what the client sent (CVE-2025-8671)."},
    {.name = "pings", .type = SETTING_RATE, AT(pings), .fallback = "50/second", .help = "PING frames (CVE-2019-9512)."},
    {.name = "settings_frames",
     .type = SETTING_RATE,
     AT(settings_frames),
     .fallback = "2/second",
     .help = "SETTINGS frames (CVE-2019-9515)."},
    {.name = "empty_data",
     .type = SETTING_RATE,
     AT(empty_data),
     .fallback = "10/second",
     .help = "DATA frames that carry nothing (CVE-2019-9518)."},
    {.name = "window_updates",
     .type = SETTING_RATE,
     AT(window_updates),
     .fallback = "500/second",
     .help = "WINDOW_UPDATE frames beyond those that answer what was sent."},
    {.name = "priorities",
     .type = SETTING_RATE,
     AT(priorities),
     .fallback = "30/second",
     .help = "PRIORITY frames (CVE-2019-9513)."},
    {.name = "unknown_frames",
     .type = SETTING_RATE,
     AT(unknown_frames),
     .fallback = "10/second",
     .help = "Frames of types nobody has defined."},
    {.name = "closed_stream_frames",
     .type = SETTING_RATE,
     AT(closed_stream_frames),
     .fallback = "100/second",
     .help = "Frames on streams that are over."},
};
#undef AT

static const struct settings_spec http2_spec = SETTINGS_SPEC(
    "http2", struct config_http2, http2_table,
    "Limits of one HTTP/2 connection. A rate allows for a burst of some seconds' worth first; a client that goes "
    "beyond loses its connection (GOAWAY, ENHANCE_YOUR_CALM), others notice nothing.");

#define AT(member) SETTING_AT(struct config_limits, member)
static const struct setting limits_table[] = {
    {.name = "header_bytes",
     .type = SETTING_SIZE,
     AT(header_bytes),
     .fallback = "64KiB",
     .min = 1 * KIB,
     .max = 1 * MIB,
     .help = "A whole request head; more is answered with 431. Entra tokens with many groups reach 16 KiB."},
    {.name = "header_count",
     .type = SETTING_INTEGER,
     AT(header_count),
     .fallback = "200",
     .min = 10,
     .max = 10000,
     .unit = "fields",
     .help = "Fields in a head; more is answered with 431."},
    {.name = "target_bytes",
     .type = SETTING_SIZE,
     AT(target_bytes),
     .fallback = "8KiB",
     .min = 256,
     .max = 1 * MIB,
     .help = "Path and query together; more is answered with 414."},
    {.name = "body",
     .type = SETTING_SIZE,
     AT(body),
     .fallback = "32MiB",
     .min = 1 * KIB,
     .max = 1 * GIB,
     .help =
         "A request body that is inspected and therefore collected; more is answered with 413. Images in base64 make "
         "bodies large. Bodies that only pass through are not limited."},
    {.name = "held",
     .type = SETTING_SIZE,
     AT(held),
     .fallback = "256MiB",
     .min = 1 * MIB,
     .help = "Collected bodies and held events of the whole process together. At the limit reading pauses, then "
             "requests are answered with 503. A body counts as it comes, not as it is announced. Set it below the "
             "container's memory limit."},
    {.name = "buffered",
     .type = SETTING_SIZE,
     AT(buffered),
     .fallback = "256KiB",
     .min = 4 * KIB,
     .max = 64 * MIB,
     .help = "What waits in one direction of one exchange because the other side is slower; then the source is not "
             "read, until "
             "half of it has gone."},
    {.name = "connections",
     .type = SETTING_INTEGER,
     AT(connections),
     .fallback = "10000",
     .min = 1,
     .max = 1000000,
     .unit = "connections",
     .help = "Client connections per process; further ones wait in the kernel."},
    {.name = "http2",
     .type = SETTING_OBJECT,
     AT(http2),
     .sub = &http2_spec,
     .help = "Limits of one HTTP/2 connection."},
};
#undef AT

static void check_limits(void *settings, struct report *report)
{
    const struct config_limits *limits = settings;
    if (limits->body > limits->held)
        report_error(report,
                     settings_place(&limits->settings, settings_given(&limits->settings, "body") ? "body" : "held"),
                     "\"body\" must not be larger than \"held\": such a body could never be collected");
}

const struct settings_spec config_limits_spec = SETTINGS_SPEC(
    "limits", struct config_limits, limits_table,
    "What a client can take of us. Nothing a peer sends grows beyond a limit that stands here.", .check = check_limits);

#define AT(member) SETTING_AT(struct config_timeouts, member)
static const struct setting timeouts_table[] = {
    {.name = "header",
     .type = SETTING_DURATION,
     AT(header),
     .fallback = "10s",
     .min = 10 * CLOCK_MS,
     .max = 3600 * CLOCK_SECOND,
     .help = "From the first byte of a request to the end of its head."},
    {.name = "body",
     .type = SETTING_DURATION,
     AT(body),
     .fallback = "60s",
     .min = 10 * CLOCK_MS,
     .max = 3600 * CLOCK_SECOND,
     .help = "Between two pieces of a request body; then the answer is 408."},
    {.name = "idle",
     .type = SETTING_DURATION,
     AT(idle),
     .fallback = "75s",
     .min = 10 * CLOCK_MS,
     .max = 86400 * CLOCK_SECOND,
     .help = "A connection without a request is closed after. Longer than the SDKs' own keep-alive, so that the client "
             "closes first."},
    {.name = "write",
     .type = SETTING_DURATION,
     AT(write),
     .fallback = "60s",
     .min = 10 * CLOCK_MS,
     .max = 86400 * CLOCK_SECOND,
     .help = "A client that takes nothing of its answer for so long is gone."},
    {.name = "tls_handshake",
     .type = SETTING_DURATION,
     AT(tls_handshake),
     .fallback = "10s",
     .min = 10 * CLOCK_MS,
     .max = 600 * CLOCK_SECOND,
     .help = "From the accepted connection to the end of the handshake, PROXY header included."},
    {.name = "keepalive",
     .type = SETTING_DURATION,
     AT(keepalive),
     .fallback = "60s",
     .min = 1 * CLOCK_SECOND,
     .max = 3600 * CLOCK_SECOND,
     .help =
         "TCP keepalive and HTTP/2 PING on connections that are silent, on both sides. Reasoning calls are silent for "
         "minutes, and Azure's NAT drops silent flows after four."},
};
#undef AT

const struct settings_spec config_timeouts_spec = SETTINGS_SPEC(
    "timeouts", struct config_timeouts, timeouts_table, "How long to wait for clients. Targets have their own.");
