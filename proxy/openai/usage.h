/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usage: what an answer says about itself: tokens used, model that served, why it ended, whether it is an error. The
 * shapes are those of chat, completions, embeddings, responses, images and transcriptions (OpenAI API reference,
 * "usage" of each object). answer_tap reads a JSON answer as it passes; for event streams see openai/stream_tap.h.
 */
#ifndef POSTERN_OPENAI_USAGE_H
#define POSTERN_OPENAI_USAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/span.h"
#include "openai/answer_scan.h"

/* Reads one JSON answer, cut anywhere; bytes may vanish after each call. Lives where the owner puts it; about 1 KiB. */
struct answer_tap {
    struct answer_scan scan;
    struct answer_facts facts; /* to read at any time; final after answer_tap_end */
};

/* Texts in the facts go to `arena`. */
void answer_tap_init(struct answer_tap *tap, struct arena *arena);
/* The next bytes of the body. What is not JSON is noticed and then costs nothing. */
void answer_tap_feed(struct answer_tap *tap, struct span piece);
/* The body is complete. True when it was one valid JSON text; false leaves what had been found until then. */
bool answer_tap_end(struct answer_tap *tap);

#endif
