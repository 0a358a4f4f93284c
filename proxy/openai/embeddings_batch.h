/* SPDX-License-Identifier: Apache-2.0 */
/*
 * embeddings_batch: takes a batch of embeddings apart and puts it together again, so that each input can be cached by
 * itself. Pure. No value is decoded: what the client gets of an embedding are the bytes that the upstream sent, floats
 * and base64 alike. Source: OpenAI API reference, embeddings (create, the embedding object).
 *
 *     embeddings_split(body, ...)         which inputs there are
 *     embeddings_request_write(...)       the same request for some of them
 *     embeddings_answer_read(...)         the items of the answer
 *     embeddings_answer_write(...)        one answer from items of any origin; with one item, what to keep for its
 * input
 *
 * Spans point into the texts given, arrays lie in the arena.
 */
#ifndef POSTERN_OPENAI_EMBEDDINGS_BATCH_H
#define POSTERN_OPENAI_EMBEDDINGS_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/compiler.h"
#include "base/span.h"

/* Inputs of one request that are taken apart; the API allows 2,048. */
#define EMBEDDINGS_INPUTS 4096

/* ---- the request ---- */

struct embeddings_input {
    struct span json; /* the JSON text of this input: a string, or an array of token numbers */
    uint64_t weight;  /* numbers: how many, which is its tokens; string: its decoded bytes + 1 */
};

struct embeddings_batch {
    struct span before, after; /* the body around the value of `input` */
    bool single;               /* `input` was one input, not a list of them */
    bool exact;                /* all are arrays of numbers: the weights are the tokens */
    const struct embeddings_input *inputs;
    size_t count; /* at least 1 */
};

/*
 * Finds the inputs in a request's body; [start, end) is the value of its `input` (openai/request.h, member). False: not
 * of the forms string, array of strings, array of numbers, array of arrays of numbers; empty; or above
 * EMBEDDINGS_INPUTS. Such a request goes upstream as it is.
 */
MUST_CHECK bool embeddings_split(struct span body, size_t start, size_t end, struct arena *arena,
                                 struct embeddings_batch *ret);
/*
 * Appends the body with only the inputs whose numbers stand in `wanted` (ascending, `count` of them, at least 1). All
 * other bytes are the client's. A single input stays single, a list stays a list.
 */
void embeddings_request_write(const struct embeddings_batch *batch, const size_t *wanted, size_t count,
                              struct buffer *out);
/*
 * Shares `tokens`, which the upstream reported for the inputs `wanted`, out among them in `ret` (`count` numbers that
 * add up to `tokens`): exactly when batch->exact and the weights add up to it, or when there is one input; otherwise by
 * weight, since the API reports the sum only.
 */
void embeddings_share(const struct embeddings_batch *batch, const size_t *wanted, size_t count, uint64_t tokens,
                      uint64_t *ret);

/* ---- the answer ---- */

struct embeddings_item {
    struct span json;              /* the item's object; ptr NULL: there is none */
    size_t index_start, index_end; /* of the value of `index` in it */
};

struct embeddings_answer {
    struct span text; /* the answer; with `data` and `usage` replaced, the frame of another */
    size_t data_start, data_end;
    const struct embeddings_item *items; /* items[i] has `index` i */
    size_t count;
    struct span model; /* the JSON string with its quotes; empty: none */
    struct {
        size_t start, end; /* of the number; both 0: not reported */
        uint64_t value;
    } prompt_tokens, total_tokens;
};

/*
 * Reads a complete JSON answer with exactly `expected` items. False: it is no list of that many embeddings with the
 * indexes 0 to expected - 1, each once and each with an `embedding` that is an array or a string, or names occur twice
 * where they matter, or it has a truthy `error`.
 */
MUST_CHECK bool embeddings_answer_read(struct span text, size_t expected, struct arena *arena,
                                       struct embeddings_answer *ret);
/*
 * Appends an answer: the frame of `frame`, the items in the order given with `index` 0 to count - 1, and these numbers
 * of tokens where the frame reports any. Each other member is the frame's (`model`, and what an upstream may have
 * added), byte for byte.
 */
void embeddings_answer_write(const struct embeddings_answer *frame, const struct embeddings_item *items, size_t count,
                             uint64_t prompt_tokens, uint64_t total_tokens, struct buffer *out);

#endif
