/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request_size: how much a JSON request body gives the model to read, for token estimates. A second look at a collected
 * body, for those who need it: each member that counts is read again.
 *
 * Facts: OpenAI API reference (chat, completions, embeddings, responses).
 */
#ifndef POSTERN_OPENAI_REQUEST_SIZE_H
#define POSTERN_OPENAI_REQUEST_SIZE_H

#include "openai/request.h"

/* All are bounded by the length of the body. */
struct request_size {
    size_t text_bytes;  /* decoded bytes of the strings in messages, input, prompt, instructions; no labels, ids, media
                           or URLs */
    size_t media_bytes; /* the same of inline media and URLs (data:, file_data, ...) */
    size_t token_ids;   /* numbers in prompt or input: texts given as token ids */
    size_t items;       /* messages, input items, prompts: array elements, 1 for a single string */
    size_t image_parts, audio_parts, file_parts; /* content parts by their `type` */
    size_t tools_bytes;                          /* raw bytes of tools and functions */
};

/*
 * `info` is what the reader found in this `body` (FAULT_NONE), which lies whole in memory, unedited. All is zero for
 * multipart bodies. Work is linear in the length of those members.
 */
void request_measure(const struct request_info *info, struct span body, struct request_size *ret);

#endif
