/* SPDX-License-Identifier: Apache-2.0 */
#include "openai/replay.h"

#include <stdlib.h>

#include "base/memory.h"

#include "openai/replay_parts.h"

const char *replay_flaw_name(enum replay_flaw flaw)
{
    static const char *const names[] = {
        [REPLAY_SOUND] = "sound",         [REPLAY_UNSUPPORTED] = "unsupported",
        [REPLAY_MALFORMED] = "malformed", [REPLAY_UNFINISHED] = "unfinished",
        [REPLAY_ERROR] = "error",         [REPLAY_FILTERED] = "filtered",
    };
    _Static_assert(ARRAY_LEN(names) == REPLAY_FILTERED + 1, "a name for each flaw");
    return names[flaw];
}

static bool has_choices(enum operation_id operation)
{
    return operation == OPERATION_CHAT || operation == OPERATION_COMPLETIONS;
}

static void scan_json(enum operation_id operation, struct span bytes, struct replay_facts *facts)
{
    if (has_choices(operation))
        replay_scan_choices(operation, bytes, facts);
    else if (operation == OPERATION_RESPONSES)
        replay_scan_response(bytes, facts);
    else if (operation == OPERATION_EMBEDDINGS)
        replay_scan_embeddings(bytes, facts);
    else
        replay_blame(facts, REPLAY_UNSUPPORTED);
}

static void read_events(enum operation_id operation, struct span bytes, struct replay_facts *facts, struct buffer *out)
{
    if (has_choices(operation))
        replay_read_chunks(operation, bytes, facts, out);
    else if (operation == OPERATION_RESPONSES)
        replay_read_response(bytes, facts, out);
    else
        replay_blame(facts, REPLAY_UNSUPPORTED);
}

void replay_scan(enum operation_id operation, enum replay_form form, struct span bytes, struct replay_facts *ret)
{
    *ret = (struct replay_facts){.flaw = REPLAY_SOUND};
    if (form == REPLAY_JSON)
        scan_json(operation, bytes, ret);
    else
        read_events(operation, bytes, ret, NULL);
}

void replay_without_usage(struct span events, size_t usage_start, size_t usage_end, struct span ret[2])
{
    if (usage_start > usage_end || usage_end > events.len)
        usage_start = usage_end = events.len;
    ret[0] = span_take(events, usage_start);
    ret[1] = span_skip(events, usage_end);
}

bool replay_json(enum operation_id operation, struct span events, struct buffer *out)
{
    struct replay_facts facts = {.flaw = REPLAY_SOUND};
    read_events(operation, events, &facts, out);
    return facts.flaw == REPLAY_SOUND;
}

/* Line ends can only stand between tokens; in an event they would end its data line. Indentation goes with them. */
static struct span on_one_line(struct span json, char **ret_copy)
{
    size_t len = 0;
    bool skipping = false;
    *ret_copy = NULL;
    if (span_find(json, '\n') == json.len && span_find(json, '\r') == json.len)
        return json;
    char *copy = *ret_copy = memory_alloc(json.len);
    for (size_t i = 0; i < json.len; i++) {
        char c = json.ptr[i];
        skipping = c == '\n' || c == '\r' || (skipping && (c == ' ' || c == '\t'));
        if (!skipping)
            copy[len++] = c;
    }
    return span_of(copy, len);
}

bool replay_events(enum operation_id operation, struct span json, const struct replay_options *options,
                   struct buffer *out)
{
    struct replay_facts facts = {.flaw = REPLAY_SOUND};
    char *copy;
    if (!options->judged)
        replay_scan(operation, REPLAY_JSON, json, &facts);
    if (facts.flaw != REPLAY_SOUND || operation == OPERATION_EMBEDDINGS)
        return false;
    struct span text = span_trim(on_one_line(json, &copy));
    if (operation == OPERATION_RESPONSES)
        replay_write_response(text, options, out);
    else
        replay_write_chunks(operation, text, options, out);
    free(copy);
    return true;
}
