/* SPDX-License-Identifier: Apache-2.0 */
/*
 * paced_stream: a local source (gateway/stream.h, STREAM_ANSWER) that hands out a whole event stream one event at a
 * time, with a pause between two: a kept answer that is to come as if it were made just now.
 */
#ifndef POSTERN_GATEWAY_PACED_STREAM_H
#define POSTERN_GATEWAY_PACED_STREAM_H

#include <stdint.h>

#include "base/buffer.h"
#include "base/compiler.h"
#include "http/message.h"

struct exchange;
struct stream;

/*
 * For filter_answer_stream, or in place of another source of the exchange. Lives in the exchange's arena. `head` is
 * copied, its fields must live as long as the exchange. Takes the content of `events`, whose events end with an empty
 * line (LF LF); `pause` in µs, above 0. Reports from the run queue.
 */
MUST_CHECK struct stream *paced_stream_create(struct exchange *exchange, const struct message *head,
                                              struct buffer *events, uint64_t pause);

#endif
