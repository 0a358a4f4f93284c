/* SPDX-License-Identifier: Apache-2.0 */
/*
 * local_stream: a stream whose other end is inside this process: the embedded mock model as a target. Back-pressure and
 * cancellation work as for any upstream: `want(false)` stops the production of events, `reset` ends it.
 */
#ifndef POSTERN_GATEWAY_LOCAL_STREAM_H
#define POSTERN_GATEWAY_LOCAL_STREAM_H

#include "base/compiler.h"

struct attempt;
struct stream;
struct target;
struct worker;

/*
 * A stream to the mock model configured by `target` (target->config->mock). Takes the request by the stream ops,
 * answers from the run queue and from timers, as soon as the request is complete. Lives in the attempt's exchange's
 * arena; it must have ended or been reset before that goes. An x-mock-* field that is not understood gets a 400 (see
 * mock_options_field in openai/mock.h).
 */
MUST_CHECK struct stream *mock_stream_create(struct worker *worker, const struct target *target,
                                             struct attempt *attempt);

/* Frees what the worker's mock models remember between requests (request counter, token window). No mock stream may be
 * left. */
void mock_memories_free(struct worker *worker);

#endif
