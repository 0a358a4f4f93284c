/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai/embeddings_batch: the input as an answer of as many items as the first byte says, and as the `input` of a
 * request. What was taken apart and put together again must be taken apart in the same way.
 */
#include <stdlib.h>

#include "base/hash.h"
#include "openai/embeddings_batch.h"

static void check_answer(struct span text, size_t expected, struct arena *arena)
{
    struct embeddings_answer answer, again, one;
    struct buffer whole = {0}, part = {0};
    if (!embeddings_answer_read(text, expected, arena, &answer))
        return;
    embeddings_answer_write(&answer, answer.items, expected, 12, 345, &whole);
    if (!embeddings_answer_read(buffer_span(&whole), expected, arena, &again))
        abort();
    for (size_t i = 0; i < expected; i++) {
        buffer_finish(&part);
        embeddings_answer_write(&again, &again.items[i], 1, 1, 1, &part);
        if (!embeddings_answer_read(buffer_span(&part), 1, arena, &one) || !span_equal(one.model, answer.model))
            abort();
    }
    if ((answer.prompt_tokens.end != 0) != (again.prompt_tokens.value == 12) && again.prompt_tokens.end)
        abort();
    if (again.total_tokens.end && again.total_tokens.value != 345)
        abort();
    buffer_finish(&whole);
    buffer_finish(&part);
}

static void check_input(struct span text, size_t pick, struct arena *arena)
{
    struct embeddings_batch batch, again;
    struct buffer whole = {0};
    uint64_t shares[EMBEDDINGS_INPUTS], sum = 0;
    size_t wanted[EMBEDDINGS_INPUTS], count = 0;
    if (!embeddings_split(text, 0, text.len, arena, &batch))
        return;
    for (size_t i = 0; i < batch.count; i++)
        if (i == 0 || i % (pick + 1) == 0)
            wanted[count++] = i;
    embeddings_request_write(&batch, wanted, count, &whole);
    struct span value = buffer_span(&whole);
    if (!embeddings_split(value, 0, value.len, arena, &again) || again.count != count || again.single != batch.single ||
        again.exact != batch.exact)
        abort();
    for (size_t i = 0; i < count; i++)
        if (again.inputs[i].weight != batch.inputs[wanted[i]].weight ||
            !span_equal(again.inputs[i].json, batch.inputs[wanted[i]].json))
            abort();
    embeddings_share(&batch, wanted, count, 98765, shares);
    for (size_t i = 0; i < count; i++)
        sum += shares[i];
    if (sum != 98765)
        abort();
    buffer_finish(&whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct span text = span_of((const char *)data + 1, size - 1);
    struct arena arena;
    arena_init(&arena);
    check_answer(text, data[0] % 8, &arena);
    check_input(text, data[0] % 3, &arena);
    arena_finish(&arena);
    return 0;
}
