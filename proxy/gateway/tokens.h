/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokens: what an exchange may use of a model, before the call, and what it has used, after it. For whoever counts:
 * the filter rate_limit and the limits of targets. The estimate of the input is made once for both.
 */
#ifndef POSTERN_GATEWAY_TOKENS_H
#define POSTERN_GATEWAY_TOKENS_H

#include <stdbool.h>
#include <stdint.h>

#include "gateway/exchange.h"
#include "openai/estimate.h"

struct tokens {
    uint64_t input, output;
    uint64_t cached;    /* part of input */
    uint64_t reasoning; /* part of output */
};

/* Nothing larger is counted. */
#define TOKENS_MAX (UINT64_C(1) << 43)

/*
 * Of the input. Made at the first call, which must come while the body is there (before an answer is committed); later
 * calls give the same. All zero when the body is not inspected.
 */
const struct estimate *tokens_estimate(struct exchange *exchange);
/* Whether the operation's answer is text that a model writes: what max_tokens and its newer names are about. */
bool tokens_are_written(const struct exchange *exchange);
/* How many answers are asked for at once, at least 1. */
uint64_t tokens_choices(const struct exchange *exchange);
/* Whether the request says how many at most, by a name that its operation has. */
bool tokens_output_is_given(const struct exchange *exchange);
/*
 * The most that the answer may be, all choices together, as the request says; `assumed` for each choice when it does
 * not say. At most TOKENS_MAX; 0 when no text is written.
 */
uint64_t tokens_output_most(const struct exchange *exchange, uint64_t assumed);
/* What the target reported, each number at most TOKENS_MAX. False: it did not. */
MUST_CHECK bool tokens_reported(const struct exchange *exchange, struct tokens *ret);
/*
 * What was used when nobody reported it: the estimated input, and output by the text that was delivered; at most
 * `output_most` (0: no bound) when the request sets a maximum (completions: without that bound, as they answer several
 * prompts). Needs tokens_estimate before.
 */
struct tokens tokens_guess(const struct exchange *exchange, uint64_t output_most);

#endif
