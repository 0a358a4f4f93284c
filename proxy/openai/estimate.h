/* SPDX-License-Identifier: Apache-2.0 */
/*
 * estimate: how many tokens a request will read, before anybody has counted them. No vocabulary is kept: a pass over
 * the text counts words, digits, punctuation and other scripts by class, with expected token counts per class fitted to
 * o200k_base (tests/support/estimate holds texts with counted truths, and estimate_test the bounds: within 10 % on
 * average and 25 % for 95 of 100 texts, for English, German, Chinese, code and JSON).
 *
 * Images and audio go by rule, since their size in tokens depends on what only a decoder would know: an image counts
 * as 1024 x 1024 pixels by the tile rule of the vision guide (85 + 4 x 170 tokens, 85 with "detail": "low"), audio as
 * ten tokens a second at 16,000 bytes a second, a file by its inline bytes as text with four bytes a token. Chat adds
 * 3 tokens per message and 3 for the answer's beginning, as the API's own counting guide says.
 *
 * Pure: bytes in, numbers out.
 */
#ifndef POSTERN_OPENAI_ESTIMATE_H
#define POSTERN_OPENAI_ESTIMATE_H

#include <stdint.h>

#include "base/span.h"
#include "openai/operations.h"
#include "openai/request.h"

#define ESTIMATE_IMAGE     765 /* tokens of one image */
#define ESTIMATE_IMAGE_LOW 85  /* with "detail": "low" */
#define ESTIMATE_MESSAGE   3   /* beside a message's content, and once for the answer */

struct estimate {
    uint64_t tokens;        /* of the input, all told */
    uint64_t text_tokens;   /* of its text alone */
    uint64_t text_bytes;    /* decoded bytes of that text */
    unsigned images, audio; /* parts that were counted by rule */
};

/* Tokens of one text (UTF-8; bytes that are none count like letters of a rare script). */
uint64_t estimate_text(struct span text);
/*
 * Tokens of the input of a request whose body was read without fault into `info`: messages, input, prompt,
 * instructions, tools and functions of a JSON body. Multipart bodies and operations that read no text give zero.
 */
void estimate_request(const struct request_info *info, struct span body, struct estimate *ret);
/*
 * Tokens of so many bytes of delivered text, for answers without reported usage: at the bytes per token of the
 * request's own text, within 2 and 5; at 4 when it had too little to tell.
 */
uint64_t estimate_delivered(const struct estimate *request, uint64_t text_bytes);

#endif
