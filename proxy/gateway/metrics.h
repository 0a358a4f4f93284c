/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics: what /metrics shows, in the Prometheus text format, under OpenTelemetry's GenAI names where there are any
 * (gen_ai_client_token_usage, gen_ai_client_operation_duration_seconds, ...time_to_first_chunk, time_per_output_chunk)
 * and postern_ names for the rest. Each worker counts for itself without locks; rendering sums all workers. Labels hold
 * configured names only (model entry, target, operation), never what a client sent, so their number is bounded.
 */
#ifndef POSTERN_GATEWAY_METRICS_H
#define POSTERN_GATEWAY_METRICS_H

#include "base/buffer.h"
#include "gateway/filter.h"

struct exchange;
struct metrics;
struct metrics_hub;
struct process;
struct worker;

MUST_CHECK struct metrics_hub *metrics_hub_create(void);
void metrics_hub_destroy(struct metrics_hub *hub);
/* The counters of one worker; owned by the hub. */
MUST_CHECK struct metrics *metrics_create(struct metrics_hub *hub);

/* One exchange has ended: requests, tokens, durations, attempts, faults. */
void metrics_exchange(const struct exchange *exchange, enum outcome outcome);
/* A flown exchange has ended: its attempts, tokens and durations; its followers count as requests themselves. */
void metrics_flight(const struct exchange *flown);
/* A client's HTTP/2 connection ends because it passed a limit; `limit` is a static name of http/h2_limits.h. */
void metrics_http2_limit(struct worker *worker, const char *limit);
/*
 * Gauges and counters of one worker that live elsewhere (pools, connections, held bytes) are copied here by their
 * owner's thread; call it about once a second and before rendering on the same thread.
 */
void metrics_collect(struct worker *worker);
/* Any thread. Appends the whole page. */
void metrics_render(struct process *process, struct buffer *text);

/* All workers together, as last collected. Any thread. */
struct metrics_pool_sum {
    uint64_t idle, busy, connecting, waiting;
};
struct metrics_sum {
    uint64_t clients, exchanges;
};
struct metrics_sum metrics_sum(const struct process *process);
struct metrics_pool_sum metrics_pool_sum(const struct process *process, struct span target);

/* ---- what the access log says in the same way ---- */

/* "completed", "answered", "failed" or "cancelled". */
struct span metrics_outcome_word(enum outcome outcome);
/* What the client got; when it left before that, 499. */
unsigned metrics_status(const struct exchange *exchange);
/*
 * Own time of an exchange, in µs: from the complete request to its last byte sent, and from the answer's last byte to
 * the end. False when that says nothing: a local answer, more than one try.
 */
MUST_CHECK bool metrics_overhead(const struct exchange *exchange, uint64_t *ret);

#endif
