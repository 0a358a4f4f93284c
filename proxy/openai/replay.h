/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay: a stored answer in the form that the client of a hit asked for. What is stored are the upstream's bytes, a
 * JSON answer or an event stream, before anything was hidden from one client; here they are judged (is this a whole,
 * good answer?) and turned from one form into the other. Wire forms: OpenAI API reference, "chat.completion",
 * "chat.completion.chunk", "text_completion", "response" and "Responses streaming events"; Azure's annotations and
 * vLLM's extra members are known. Operations: chat, completions, responses; embeddings (JSON only).
 *
 *     replay_scan(operation, form, bytes, &facts);            // when an answer is complete: store only REPLAY_SOUND
 *     ...
 *     client wants the stored form        the bytes as they are; for a stream whose client did not ask for
 *                                         include_usage: replay_without_usage
 *     stored events, client wants JSON    replay_json
 *     stored JSON, client wants events    replay_events
 *
 * Pure: whole texts in, bytes out; nothing of the input is kept and nothing is read after the call. Linear in the
 * input. What replay_scan calls sound, the other two can turn; whatever else they are given, they return false and
 * leave `out` as it was: a miss.
 *
 * Events to JSON, chat and completions. Chunks merge by these rules, which also carry members that nobody here knows:
 *   - top level: the first `id`, `created` and `model` that are not empty; of others the last that is not empty (null,
 *     "", 0, [], {}). `object` is the answer's, `obfuscation` goes, `usage` comes last.
 *   - choices by `index`; in a choice and its delta: strings are appended to each other, except finish_reason,
 *     stop_reason, role, id, type and name, where the last that is not empty stays; numbers, true and false replace;
 *     null changes nothing that is there.
 *   - arrays: objects with an `index` merge by it (it is left out of tool_calls), all else is appended.
 *   - objects merge member by member; of content_filter_results the graver finding of each category stays.
 *     content_filter_offsets, which speaks of pieces of a stream, goes.
 *   - a message has a role and a content: null where the stream gave only tool calls, a function call or a refusal.
 * The JSON of a responses stream is the `response` of its terminal event, byte by byte.
 *
 * JSON to events. Chat: for each choice the role chunk (with all members of the message that are null, "" or []), the
 * message's other members in their order as deltas, a finish chunk with the choice's own members; in the first chunk
 * everything that stands at the top. Text is one delta, or pieces (replay_options.piece); with logprobs, which come
 * with the text they belong to, it is always one. Responses: created, in_progress, each item with its parts, deltas and
 * dones, then the terminal event with the answer as it was. `obfuscation` is never made.
 * Turned back by replay_json, the events give the JSON that they came from, member by member (order and spelling may
 * differ; usage only if it was included; tool_calls lose an `index`).
 */
#ifndef POSTERN_OPENAI_REPLAY_H
#define POSTERN_OPENAI_REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/compiler.h"
#include "base/span.h"
#include "openai/answer_scan.h"
#include "openai/operations.h"

enum replay_form { REPLAY_JSON, REPLAY_EVENTS };

/* Why an answer must not be replayed. The order is part of nothing that is stored. */
enum replay_flaw {
    REPLAY_SOUND,       /* nothing: whole, good, and can be turned into the other form */
    REPLAY_UNSUPPORTED, /* not an operation (or form) that this module knows */
    REPLAY_MALFORMED,   /* not the JSON or the events of this operation; a name twice where it matters */
    REPLAY_UNFINISHED,  /* no terminal event, something after it, or a choice without finish_reason */
    REPLAY_ERROR,       /* an error in the answer, or an ending that no answer should have */
    REPLAY_FILTERED     /* prompt or answer met a content filter, or the filter failed */
};

/* What an answer says about itself. `length` (max_tokens, max_output_tokens) is a proper end. */
struct replay_facts {
    enum replay_flaw flaw;
    struct usage usage; /* usage.reported false: the answer has none */
    unsigned finish;    /* FINISH_*; responses too */
    unsigned choices;   /* choices; output items of a response; embeddings */
    struct span model;  /* as served, in the scanned bytes; empty when it was not said or is spelled with escapes */
    /*
     * EVENTS: byte offsets of the chunks that hold nothing but usage, which a client that did not ask for include_usage
     * must not see. Equal when there is none.
     */
    size_t usage_start, usage_end;
};

/* Judges `bytes`, a whole body. All of *ret is written; besides `flaw` it is complete only for REPLAY_SOUND. */
void replay_scan(enum operation_id operation, enum replay_form form, struct span bytes, struct replay_facts *ret);
/* One word for logs and metrics: sound, unsupported, malformed, unfinished, error, filtered. */
const char *replay_flaw_name(enum replay_flaw flaw);

/* The stream without its usage chunks: ret[0], then ret[1], both in `events`. Offsets beyond the end hide nothing. */
void replay_without_usage(struct span events, size_t usage_start, size_t usage_end, struct span ret[2]);

/*
 * Appends the JSON that the API would have answered without `stream`. A stream without usage gives JSON without it.
 * False, and nothing appended: no sound stream of that operation.
 */
MUST_CHECK bool replay_json(enum operation_id operation, struct span events, struct buffer *out);

struct replay_options {
    bool include_usage; /* chat, completions: a usage chunk at the end and "usage": null in the others */
    bool judged;        /* replay_scan has found this very text sound: it is not looked through again */
    size_t piece;       /* largest text delta in bytes as spelled, 0: unlimited; characters stay whole */
};

/*
 * Appends the whole event stream, [DONE] or terminal event included; each event ends with an empty line (LF LF), so
 * that a caller that paces them finds the borders. False, and nothing appended: no sound JSON answer of that operation.
 */
MUST_CHECK bool replay_events(enum operation_id operation, struct span json, const struct replay_options *options,
                              struct buffer *out);

#endif
