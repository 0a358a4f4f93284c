/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream_end: the last events of a stream that is ended for the model, as if it had reached its maximum: for chat and
 * completions a chunk with finish_reason "length" for each choice that has none yet, the usage chunk where it was asked
 * for, and [DONE]; for responses the event response.incomplete with the reason max_output_tokens.
 *
 * What identifies the stream (id, model, created and all other members) is taken from its first event. The items of a
 * response are not repeated: `output` is empty, clients that show text have it from the deltas.
 *
 * Pure: bytes in, bytes out.
 */
#ifndef POSTERN_OPENAI_STREAM_END_H
#define POSTERN_OPENAI_STREAM_END_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "openai/operations.h"

/* Largest number of choices that are ended; a request for more is left to the target. */
#define STREAM_END_CHOICES 128

/* The choices of a stream that have had their finish_reason. */
struct stream_end_finished {
    uint64_t bits[STREAM_END_CHOICES / 64]; /* by index */
    unsigned count;
};

/* Notes the choices that are finished by the event with this data. */
void stream_end_note(struct stream_end_finished *finished, struct span data);

struct stream_end {
    uint64_t choices;                    /* how many the request asked for, at least 1 */
    struct stream_end_finished finished; /* those that are not finished again */
    uint64_t input, output;              /* tokens, as far as they are known */
    bool include_usage;                  /* the client wants the usage chunk; always for responses */
    uint64_t sequence;                   /* responses: the sequence_number of the event */
};

/* Whether streams of this operation can be ended so. */
bool stream_end_can(const struct operation *operation);
/* `first`: the data of the stream's first event. False, with nothing appended: it is not what this operation sends. */
MUST_CHECK bool stream_end_append(struct buffer *out, const struct operation *operation, struct span first,
                                  const struct stream_end *end);

#endif
