/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the two halves of `postern simulate` share: simulate.c reads the request and says how it is understood,
 * simulate_target.c says what would be sent to each target. Nothing that is printed holds a secret or text of the
 * prompt.
 */
#ifndef POSTERN_COMMAND_SIMULATE_H
#define POSTERN_COMMAND_SIMULATE_H

#include "base/buffer.h"
#include "gateway/exchange.h"

/*
 * Appends what would be sent to the exchange's targets, in the order in which they would be tried. FAULT_NONE, or the
 * fault for which no target would be asked.
 */
MUST_CHECK enum fault simulate_targets(struct buffer *out, struct exchange *exchange);
/* Appends text that came from the request, control bytes escaped, in quotes. */
void simulate_quote(struct buffer *out, struct span text);

#endif
