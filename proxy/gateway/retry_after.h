/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retry_after: tells a client that is refused when to come again, in the fields that the OpenAI SDKs obey: retry-after,
 * retry-after-ms, and x-should-retry: false where waiting is useless or too long for an SDK to do by itself.
 */
#ifndef POSTERN_GATEWAY_RETRY_AFTER_H
#define POSTERN_GATEWAY_RETRY_AFTER_H

#include <stdint.h>

#include "base/arena.h"
#include "gateway/exchange.h"

/* Waiting is useless. */
#define RETRY_NEVER UINT64_MAX
/* A client that is told more is told not to try again by itself: SDKs would rather try at once than wait that long. */
#define RETRY_MOST (UINT64_C(60) * 1000000)

/* Adds the fields to the local answer that is being made. `wait` in µs, or RETRY_NEVER. */
void retry_after_fields(struct exchange *exchange, uint64_t wait);
/* "1h2m3s", "250ms": µs rounded up to milliseconds, in the arena. */
struct span retry_after_text(struct arena *arena, uint64_t micros);

#endif
