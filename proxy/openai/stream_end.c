/* SPDX-License-Identifier: Apache-2.0 */
#include "openai/stream_end.h"

#include "base/json_value.h"

bool stream_end_can(const struct operation *operation)
{
    return operation->id == OPERATION_CHAT || operation->id == OPERATION_COMPLETIONS ||
           operation->id == OPERATION_RESPONSES;
}

static bool is_among(struct span name, const struct span *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (span_equal(name, names[i]))
            return true;
    return false;
}

/* `{` and the members of an object but those that are written anew, each with a comma behind it. */
static void append_members(struct buffer *out, struct json_value object, const struct span *anew, size_t count)
{
    size_t cursor = 0;
    struct span name;
    struct json_value value;
    buffer_append(out, SPAN("{"));
    while (json_value_each(object, &cursor, &name, &value)) {
        if (is_among(name, anew, count))
            continue;
        buffer_append(out, name);
        buffer_append(out, SPAN(":"));
        buffer_append(out, value.raw);
        buffer_append(out, SPAN(","));
    }
}

/* ---- chat and completions ---- */

static bool is_finished(const struct stream_end_finished *finished, uint64_t choice)
{
    return finished->bits[choice / 64] >> choice % 64 & 1;
}

static void note_choice(struct stream_end_finished *finished, struct json_value choice)
{
    struct json_value index, reason;
    uint64_t at;
    if (!json_value_member(choice, SPAN("finish_reason"), &reason) || reason.kind != JSON_STRING ||
        !json_value_member(choice, SPAN("index"), &index) || !json_value_u64(index, &at) || at >= STREAM_END_CHOICES ||
        is_finished(finished, at))
        return;
    finished->bits[at / 64] |= UINT64_C(1) << at % 64;
    finished->count++;
}

void stream_end_note(struct stream_end_finished *finished, struct span data)
{
    struct json_value event, choices, choice;
    size_t cursor = 0;
    if (!json_value_parse(data, &event) || event.kind != JSON_OBJECT_OPEN ||
        !json_value_member(event, SPAN("choices"), &choices) || choices.kind != JSON_ARRAY_OPEN)
        return;
    while (json_value_each(choices, &cursor, NULL, &choice))
        if (choice.kind == JSON_OBJECT_OPEN)
            note_choice(finished, choice);
}

static void append_chunk_head(struct buffer *out, struct json_value first)
{
    static const struct span anew[] = {SPAN_INIT("\"choices\""), SPAN_INIT("\"usage\""),
                                       SPAN_INIT("\"prompt_filter_results\""), SPAN_INIT("\"obfuscation\"")};
    buffer_append(out, SPAN("data: "));
    append_members(out, first, anew, ARRAY_LEN(anew));
    buffer_append(out, SPAN("\"choices\":["));
}

static void append_chunks(struct buffer *out, bool chat, struct json_value first, const struct stream_end *end)
{
    append_chunk_head(out, first);
    const char *separator = "";
    for (uint64_t i = 0; i < end->choices; i++) {
        if (is_finished(&end->finished, i))
            continue;
        buffer_format(out, "%s{\"index\":%llu,%s\"logprobs\":null,\"finish_reason\":\"length\"}", separator,
                      (unsigned long long)i, chat ? "\"delta\":{}," : "\"text\":\"\",");
        separator = ",";
    }
    buffer_append(out, end->include_usage ? SPAN("],\"usage\":null}\n\n") : SPAN("]}\n\n"));
    uint64_t total = end->input + end->output;
    if (end->include_usage) {
        append_chunk_head(out, first);
        buffer_format(out, "],\"usage\":{\"prompt_tokens\":%llu,\"completion_tokens\":%llu,\"total_tokens\":%llu}}\n\n",
                      (unsigned long long)end->input, (unsigned long long)end->output, (unsigned long long)total);
    }
    buffer_append(out, SPAN("data: [DONE]\n\n"));
}

/* ---- responses ---- */

static void append_incomplete(struct buffer *out, struct json_value response, const struct stream_end *end)
{
    static const struct span anew[] = {SPAN_INIT("\"status\""), SPAN_INIT("\"incomplete_details\""),
                                       SPAN_INIT("\"output\""), SPAN_INIT("\"usage\"")};
    uint64_t total = end->input + end->output;
    buffer_format(
        out,
        "event: response.incomplete\ndata: {\"type\":\"response.incomplete\",\"sequence_number\":%llu,\"response\":",
        (unsigned long long)end->sequence);
    append_members(out, response, anew, ARRAY_LEN(anew));
    buffer_append(out, SPAN("\"status\":\"incomplete\",\"incomplete_details\":{\"reason\":\"max_output_tokens\"},"));
    buffer_format(out,
                  "\"output\":[],\"usage\":{\"input_tokens\":%llu,\"input_tokens_details\":{\"cached_tokens\":0},"
                  "\"output_tokens\":%llu,\"output_tokens_details\":{\"reasoning_tokens\":0},\"total_tokens\":%llu}}}"
                  "\n\n",
                  (unsigned long long)end->input, (unsigned long long)end->output, (unsigned long long)total);
}

bool stream_end_append(struct buffer *out, const struct operation *operation, struct span first,
                       const struct stream_end *end)
{
    struct json_value event, response;
    if (!json_value_parse(first, &event) || event.kind != JSON_OBJECT_OPEN || end->choices > STREAM_END_CHOICES)
        return false;
    if (operation->id != OPERATION_RESPONSES) {
        append_chunks(out, operation->id == OPERATION_CHAT, event, end);
        return true;
    }
    if (!json_value_member(event, SPAN("response"), &response) || response.kind != JSON_OBJECT_OPEN)
        return false;
    append_incomplete(out, response, end);
    return true;
}
