/* SPDX-License-Identifier: Apache-2.0 */
/*
 * access_log_line: one exchange as one line of JSON. Pure: no file, no clock.
 */
#ifndef POSTERN_GATEWAY_ACCESS_LOG_LINE_H
#define POSTERN_GATEWAY_ACCESS_LOG_LINE_H

#include "gateway/filter.h"

struct exchange;

/*
 * No line is longer, its line feed included. Every text in it has a bound of its own; one that does not fit any more,
 * because all of them are long and full of characters that need escapes, is left empty.
 */
#define ACCESS_LOG_LINE_MAX ((size_t)12 * 1024)

/*
 * Writes the line into `room` (ACCESS_LOG_LINE_MAX bytes) and returns its length. `time` is RFC 3339 without quotes.
 * `now` is loop time, for a try that is not over.
 */
MUST_CHECK size_t access_log_line(char *room, const struct exchange *exchange, enum outcome outcome, struct span time,
                                  uint64_t now);

#endif
