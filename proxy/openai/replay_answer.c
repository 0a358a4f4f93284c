/* SPDX-License-Identifier: Apache-2.0 */
/* JSON answers of chat, completions and embeddings: are they whole and good? */
#include "openai/replay_parts.h"

/* --- chat and completions --- */

/* Objects that replay_write_chunks walks: no name may be there twice. `within` is looked into as well. */
static bool is_object(struct json_value value, bool within)
{
    struct replay_walk walk;
    if (value.kind != JSON_OBJECT_OPEN || !replay_walk_object(&walk, value.raw))
        return false;
    while (replay_walk_next(&walk))
        if (within && walk.value.kind == JSON_OBJECT_OPEN && !is_object(walk.value, false))
            return false;
    return !walk.bad;
}

static bool are_calls(struct json_value value)
{
    struct replay_walk walk;
    if (value.kind == JSON_NULL)
        return true;
    if (value.kind != JSON_ARRAY_OPEN || !replay_walk_array(&walk, value.raw))
        return false;
    while (replay_walk_next(&walk))
        if (!is_object(walk.value, true))
            return false;
    return !walk.bad;
}

/* A message that can be said in deltas. */
static bool is_message(struct json_value value)
{
    struct replay_walk walk;
    if (value.kind != JSON_OBJECT_OPEN || !replay_walk_object(&walk, value.raw))
        return false;
    while (replay_walk_next(&walk)) {
        if (replay_named(&walk, SPAN("tool_calls")) && !are_calls(walk.value))
            return false;
        if (replay_named(&walk, SPAN("function_call")) && walk.value.kind == JSON_OBJECT_OPEN &&
            !is_object(walk.value, false))
            return false;
        if (replay_named(&walk, SPAN("role")) && walk.value.kind != JSON_STRING)
            return false;
    }
    return !walk.bad;
}

static enum replay_flaw judge_ending(struct json_value reason, unsigned *finish)
{
    unsigned bit = replay_finish(reason);
    *finish |= bit;
    if (reason.kind != JSON_STRING || replay_is_empty(reason))
        return REPLAY_UNFINISHED;
    return !bit ? REPLAY_ERROR : bit == FINISH_CONTENT_FILTER ? REPLAY_FILTERED : REPLAY_SOUND;
}

static void scan_choice(bool chat, struct span raw, struct replay_facts *facts)
{
    struct replay_walk walk;
    bool indexed = false, said = false;
    struct json_value reason = {.kind = JSON_MORE};
    if (!replay_walk_object(&walk, raw)) {
        replay_blame(facts, REPLAY_MALFORMED);
        return;
    }
    while (replay_walk_next(&walk)) {
        uint64_t index;
        if (replay_named(&walk, SPAN("index")))
            indexed = json_value_u64(walk.value, &index) && index == facts->choices;
        else if (replay_named(&walk, SPAN("finish_reason")))
            reason = walk.value;
        else if (chat ? replay_named(&walk, SPAN("message")) : replay_named(&walk, SPAN("text")))
            said = chat ? is_message(walk.value) : walk.value.kind == JSON_STRING;
        else if (replay_named(&walk, SPAN("delta")))
            replay_blame(facts, REPLAY_MALFORMED);
        else if (replay_named(&walk, SPAN("error")) && !replay_is_empty(walk.value))
            replay_blame(facts, REPLAY_ERROR);
        else if (replay_is_report(walk.name) && replay_filtered(walk.value))
            replay_blame(facts, REPLAY_FILTERED);
    }
    if (walk.bad || !indexed || !said)
        replay_blame(facts, REPLAY_MALFORMED);
    replay_blame(facts, judge_ending(reason, &facts->finish));
    facts->choices++;
}

static void scan_choices(bool chat, struct json_value value, struct replay_facts *facts)
{
    struct replay_walk walk;
    if (value.kind != JSON_ARRAY_OPEN || !replay_walk_array(&walk, value.raw)) {
        replay_blame(facts, REPLAY_MALFORMED);
        return;
    }
    while (facts->flaw == REPLAY_SOUND && replay_walk_next(&walk))
        scan_choice(chat, walk.value.raw, facts);
    if (walk.bad)
        replay_blame(facts, REPLAY_MALFORMED);
}

/* What all answers have at the top. */
static void scan_member(const struct replay_walk *walk, struct span object, struct replay_facts *facts)
{
    struct json_value value = walk->value;
    if (replay_named(walk, SPAN("error")) && !replay_is_empty(value))
        replay_blame(facts, REPLAY_ERROR);
    else if (replay_named(walk, SPAN("object")) && json_value_is(value, SPAN("error")))
        replay_blame(facts, REPLAY_ERROR);
    else if (replay_named(walk, SPAN("object")) && !json_value_is(value, object))
        replay_blame(facts, REPLAY_MALFORMED);
    else if (replay_named(walk, SPAN("model")))
        facts->model = replay_plain(value);
    else if (replay_named(walk, SPAN("usage")))
        replay_usage(value, &facts->usage);
    else if (replay_is_report(walk->name) && replay_filtered(value))
        replay_blame(facts, REPLAY_FILTERED);
}

void replay_scan_choices(enum operation_id operation, struct span json, struct replay_facts *facts)
{
    struct replay_walk walk;
    bool chat = operation == OPERATION_CHAT, choices = false;
    if (!replay_walk_object(&walk, json)) {
        replay_blame(facts, REPLAY_MALFORMED);
        return;
    }
    while (facts->flaw == REPLAY_SOUND && replay_walk_next(&walk)) {
        scan_member(&walk, chat ? SPAN("chat.completion") : SPAN("text_completion"), facts);
        if (!replay_named(&walk, SPAN("choices")))
            continue;
        choices = true;
        scan_choices(chat, walk.value, facts);
    }
    if (walk.bad || !choices)
        replay_blame(facts, REPLAY_MALFORMED);
    else if (!facts->choices)
        replay_blame(facts, REPLAY_UNFINISHED);
}

/* --- embeddings --- */

static void scan_vectors(struct json_value data, struct replay_facts *facts)
{
    struct replay_walk walk;
    if (data.kind != JSON_ARRAY_OPEN || !replay_walk_array(&walk, data.raw)) {
        replay_blame(facts, REPLAY_MALFORMED);
        return;
    }
    while (replay_walk_next(&walk)) {
        if (walk.value.kind != JSON_OBJECT_OPEN)
            replay_blame(facts, REPLAY_MALFORMED);
        facts->choices++;
    }
    if (walk.bad || !facts->choices)
        replay_blame(facts, REPLAY_MALFORMED);
}

void replay_scan_embeddings(struct span json, struct replay_facts *facts)
{
    struct replay_walk walk;
    if (!replay_walk_object(&walk, json)) {
        replay_blame(facts, REPLAY_MALFORMED);
        return;
    }
    while (facts->flaw == REPLAY_SOUND && replay_walk_next(&walk)) {
        scan_member(&walk, SPAN("list"), facts);
        if (replay_named(&walk, SPAN("data")))
            scan_vectors(walk.value, facts);
    }
    if (walk.bad || !facts->choices)
        replay_blame(facts, REPLAY_MALFORMED);
}
