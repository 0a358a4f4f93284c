/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/h2_server_limits.h"

#include "base/clock.h"
#include "config/config.h"
#include "gateway/stream.h"
#include "http/h2_limits.h"

/* The burst of a rate that was set grows with it. */
static void set_rate(struct h2_rate *rate, const struct setting_rate *setting)
{
    if (!setting->given)
        return;
    double per_second = setting->amount * (double)CLOCK_SECOND / (double)setting->micros;
    uint32_t rounded = per_second < 1 ? 1 : per_second > 1e6 ? 1000000 : (uint32_t)per_second;
    uint64_t burst = (uint64_t)rate->burst * rounded / rate->per_second;
    rate->burst = burst < 1 ? 1 : burst > UINT32_MAX ? UINT32_MAX : (uint32_t)burst;
    rate->per_second = rounded;
}

void h2_server_limits(struct h2_limits *ret, const struct config_limits *config)
{
    const struct config_http2 *http2 = &config->http2;
    h2_limits_server(ret);
    ret->streams = http2->streams;
    ret->stream_window = (uint32_t)http2->stream_window;
    ret->connection_window = (uint32_t)http2->connection_window;
    ret->header_bytes = (uint32_t)config->header_bytes;
    ret->header_fields = config->header_count;
    ret->target_bytes = (uint32_t)config->target_bytes;
    ret->continuations = http2->continuations;
    ret->outbound_frames = http2->outbound_frames;
    ret->queue_high = STREAM_HIGH_MARK;
    ret->queue_low = STREAM_LOW_MARK;
    set_rate(&ret->rates[H2_RATE_RESETS], &http2->resets);
    set_rate(&ret->rates[H2_RATE_STREAM_ERRORS], &http2->stream_errors);
    set_rate(&ret->rates[H2_RATE_PINGS], &http2->pings);
    set_rate(&ret->rates[H2_RATE_SETTINGS], &http2->settings_frames);
    set_rate(&ret->rates[H2_RATE_EMPTY_DATA], &http2->empty_data);
    set_rate(&ret->rates[H2_RATE_WINDOW_UPDATES], &http2->window_updates);
    set_rate(&ret->rates[H2_RATE_PRIORITIES], &http2->priorities);
    set_rate(&ret->rates[H2_RATE_UNKNOWN_FRAMES], &http2->unknown_frames);
    set_rate(&ret->rates[H2_RATE_CLOSED_STREAM_FRAMES], &http2->closed_stream_frames);
}
