/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/tokens.h"

const struct estimate *tokens_estimate(struct exchange *exchange)
{
    if (exchange->estimate)
        return exchange->estimate;
    struct estimate *estimate = ARENA_NEW(&exchange->arena, struct estimate);
    if (exchange->inspected)
        estimate_request(&exchange->info, buffer_span(&exchange->body), estimate);
    exchange->estimate = estimate;
    return estimate;
}

bool tokens_are_written(const struct exchange *exchange)
{
    if (!exchange->call.operation)
        return false;
    enum operation_id id = exchange->call.operation->id;
    return id == OPERATION_CHAT || id == OPERATION_COMPLETIONS || id == OPERATION_RESPONSES;
}

uint64_t tokens_choices(const struct exchange *exchange)
{
    const struct request_count *n = &exchange->info.n;
    return n->present && n->value ? n->value : 1;
}

/*
 * What the operation's own API takes as its maximum: a name of another API's is passed on and bounds nothing there, so
 * it must not make a reservation small. Servers differ in which of chat's two names counts: the larger is safe.
 */
static struct request_count maximum(const struct exchange *exchange)
{
    const struct request_info *info = &exchange->info;
    if (!tokens_are_written(exchange))
        return (struct request_count){0};
    if (exchange->call.operation->id == OPERATION_RESPONSES)
        return info->max_output_tokens;
    const struct request_count *newer = &info->max_completion_tokens;
    if (exchange->call.operation->id != OPERATION_CHAT || !newer->present ||
        (info->max_tokens.present && info->max_tokens.value > newer->value))
        return info->max_tokens;
    return *newer;
}

bool tokens_output_is_given(const struct exchange *exchange)
{
    return maximum(exchange).present;
}

uint64_t tokens_output_most(const struct exchange *exchange, uint64_t assumed)
{
    if (!tokens_are_written(exchange) || !exchange->inspected)
        return 0;
    struct request_count given = maximum(exchange);
    uint64_t choices = tokens_choices(exchange), each = given.present ? given.value : assumed;
    if (choices > TOKENS_MAX || each > TOKENS_MAX / choices)
        return TOKENS_MAX;
    return each * choices;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

bool tokens_reported(const struct exchange *exchange, struct tokens *ret)
{
    const struct usage *usage = &exchange->facts.usage;
    if (!usage->reported)
        return false;
    uint64_t input = least(usage->input, TOKENS_MAX), output = least(usage->output, TOKENS_MAX);
    *ret = (struct tokens){.input = input,
                           .output = output,
                           .cached = least(usage->cached, input),
                           .reasoning = least(usage->reasoning, output)};
    return true;
}

struct tokens tokens_guess(const struct exchange *exchange, uint64_t output_most)
{
    const struct estimate *estimate = exchange->estimate;
    struct tokens used = {.input = estimate ? estimate->tokens : 0};
    uint64_t bytes = exchange->facts.text_bytes;
    /* Whole answers are not looked into; most of one is text. */
    if (!bytes && !exchange->response_is_stream && tokens_are_written(exchange))
        bytes = exchange->bytes_out;
    if (estimate)
        used.output = estimate_delivered(estimate, bytes);
    /* Completions may be asked for several prompts, and for more than are sent (best_of). */
    bool bounded = exchange->info.kind == REQUEST_JSON && tokens_output_is_given(exchange) &&
                   exchange->call.operation->id != OPERATION_COMPLETIONS;
    if (output_most && bounded)
        used.output = least(used.output, output_most);
    return used;
}
