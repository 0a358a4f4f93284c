/* SPDX-License-Identifier: Apache-2.0 */
/*
 * answer_light: the facts of a whole answer that lies in one piece, at a fraction of what usage.h's tap costs. It looks
 * at names where names matter and passes over the rest by its quotes and brackets, without validating it. What is out
 * of the ordinary (an error, an incomplete response, escapes in names, numbers that are no integers) it leaves to the
 * tap.
 */
#ifndef POSTERN_OPENAI_ANSWER_LIGHT_H
#define POSTERN_OPENAI_ANSWER_LIGHT_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/span.h"
#include "openai/answer_scan.h"

/*
 * True: *ret says what answer_tap would have said after answer_tap_end, if `whole` is valid JSON; if it is not, it says
 * what could be found. Texts are copied to `arena`. False: ask the tap; nothing has been written.
 */
MUST_CHECK bool answer_light(struct span whole, struct arena *arena, struct answer_facts *ret);

#endif
