/* SPDX-License-Identifier: Apache-2.0 */
#include "http/h2_limits.h"

static const struct h2_rate default_rates[] = {
#define X(id, name, burst, per_second) [H2_RATE_##id] = {burst, per_second},
    H2_RATE_LIST(X)
#undef X
};
_Static_assert(ARRAY_LEN(default_rates) == H2_RATE_COUNT, "every rate has a default");

static const char *const names[] = {
#define X(id, name, burst, per_second) [H2_RATE_##id] = name,
    H2_RATE_LIST(X)
#undef X
};
_Static_assert(ARRAY_LEN(names) == H2_RATE_COUNT, "every rate has a name");

void h2_limits_server(struct h2_limits *ret)
{
    *ret = (struct h2_limits){
        .streams = 100,
        .stream_window = 64 * 1024,
        .connection_window = 1024 * 1024,
        .header_bytes = 64 * 1024,
        .header_fields = 200,
        .target_bytes = 16 * 1024,
        .continuations = 8,
        .outbound_frames = 500,
        .queue_high = 256 * 1024,
        .queue_low = 128 * 1024,
    };
    for (unsigned i = 0; i < H2_RATE_COUNT; i++)
        ret->rates[i] = default_rates[i];
}

void h2_limits_client(struct h2_limits *ret)
{
    h2_limits_server(ret);
    ret->streams = 0;
    ret->stream_window = 256 * 1024;
    ret->connection_window = 4 * 1024 * 1024;
}

const char *h2_rate_name(enum h2_rate_id id)
{
    return (unsigned)id < ARRAY_LEN(names) ? names[id] : "";
}

/*
 * One number is the whole state: each event moves the time at which the bucket would be full again by the time one
 * token takes to grow, and the bucket is empty when that lies further ahead than `burst` tokens take.
 */
bool h2_bucket_take(struct h2_bucket *bucket, const struct h2_rate *rate, uint64_t now)
{
    uint64_t token = 1000000 / (rate->per_second ? rate->per_second : 1);
    uint64_t due = bucket->due > now ? bucket->due : now;
    if (due + token - now > token * rate->burst)
        return false;
    bucket->due = due + token;
    return true;
}
