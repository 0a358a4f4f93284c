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
static bool is_message(struct replay_walk *outer)
{
    struct replay_walk walk;
    if (!replay_walk_enter(outer, &walk, JSON_OBJECT_OPEN))
        return false;
    while (replay_walk_name(&walk)) {
        struct json_value value = replay_walk_value(&walk);
        if (replay_named(&walk, SPAN("tool_calls")) && !are_calls(value))
            return false;
        if (replay_named(&walk, SPAN("function_call")) && value.kind == JSON_OBJECT_OPEN && !is_object(value, false))
            return false;
        if (replay_named(&walk, SPAN("role")) && value.kind != JSON_STRING)
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

struct choice_facts {
    bool indexed, said;
    struct json_value reason;
};

static void scan_choice_member(struct replay_walk *walk, struct choice_facts *choice, struct replay_facts *facts)
{
    struct json_value value = replay_walk_value(walk);
    uint64_t index;
    if (replay_named(walk, SPAN("index")))
        choice->indexed = json_value_u64(value, &index) && index == facts->choices;
    else if (replay_named(walk, SPAN("finish_reason")))
        choice->reason = value;
    else if (replay_named(walk, SPAN("text")))
        choice->said = choice->said || value.kind == JSON_STRING;
    else if (replay_named(walk, SPAN("delta")))
        replay_blame(facts, REPLAY_MALFORMED);
    else if (replay_named(walk, SPAN("error")) && !replay_is_empty(value))
        replay_blame(facts, REPLAY_ERROR);
    else if (replay_is_report(walk->name) && replay_filtered(value))
        replay_blame(facts, REPLAY_FILTERED);
}

static void scan_choice(bool chat, struct replay_walk *walk, struct replay_facts *facts)
{
    struct choice_facts choice = {.reason = {.kind = JSON_MORE}};
    bool message = false;
    while (replay_walk_name(walk)) {
        if (!chat || !replay_named(walk, SPAN("message"))) {
            scan_choice_member(walk, &choice, facts);
            continue;
        }
        message = is_message(walk);
        if (!message)
            break;
    }
    if (walk->bad || !choice.indexed || !(chat ? message : choice.said))
        replay_blame(facts, REPLAY_MALFORMED);
    replay_blame(facts, judge_ending(choice.reason, &facts->finish));
    facts->choices++;
}

static void scan_choices(bool chat, struct replay_walk *outer, struct replay_facts *facts)
{
    struct replay_walk list, choice;
    bool good = replay_walk_enter(outer, &list, JSON_ARRAY_OPEN);
    while (good && facts->flaw == REPLAY_SOUND && replay_walk_enter(&list, &choice, JSON_OBJECT_OPEN))
        scan_choice(chat, &choice, facts);
    if (!good || list.bad)
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
    while (facts->flaw == REPLAY_SOUND && replay_walk_name(&walk)) {
        if (replay_named(&walk, SPAN("choices"))) {
            choices = true;
            scan_choices(chat, &walk, facts);
            continue;
        }
        (void)replay_walk_value(&walk);
        scan_member(&walk, chat ? SPAN("chat.completion") : SPAN("text_completion"), facts);
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
