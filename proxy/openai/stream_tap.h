/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream_tap: what each event of a model's event stream is, and what the stream has said so far. Understands the
 * streams of chat and completions (OpenAI API reference, "chat.completion.chunk"; Azure's and vLLM's variants),
 * responses, images, transcriptions and speech. It reads; hiding, holding and committing are the caller's.
 *
 *     struct sse_event event;
 *     while (sse_next(&sse, &in, &event) == SSE_EVENT)
 *         switch (stream_tap_event(&tap, &event)) ...
 *
 * Speed: after a content event was read with the JSON reader, the next ones are compared with it: equal bytes but for
 * the values of a few strings and numbers (text, created, obfuscation ...) mean an event of the same kind, whatever the
 * strings hold. Only what differs is read again.
 */
#ifndef POSTERN_OPENAI_STREAM_TAP_H
#define POSTERN_OPENAI_STREAM_TAP_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/span.h"
#include "openai/answer_scan.h"
#include "openai/sse.h"

enum event_kind {
    EVENT_OTHER,   /* role only, preamble, annotations, empty text, comments: tells the client nothing it waits for */
    EVENT_CONTENT, /* text, tool call, refusal, reasoning, media: the commit point and first token; also what is not
                      understood */
    EVENT_USAGE_ONLY, /* `choices` empty and `usage` an object: the extra chunk of include_usage */
    EVENT_ERROR,      /* a truthy `error`, an `error` event, response.failed */
    EVENT_DONE,       /* [DONE] */
    EVENT_TERMINAL    /* response.completed, .incomplete, .cancelled; a completed image, transcript or speech */
};

/* Events longer than this are not remembered for comparison, in bytes. */
#define STREAM_TAP_PATTERN_MAX 1024

struct stream_tap {
    struct answer_facts facts; /* to read at any time */
    bool content;              /* an EVENT_CONTENT (or a terminal event) has been seen */
    bool done;                 /* [DONE] has been seen */
    bool terminal;             /* a terminal event (response.failed too) has been seen */
    /* Its own: */
    struct arena *arena;
    char *pattern; /* the last content event that was read: name, then data */
    unsigned pattern_cap, name_len, data_len;
    bool has_pattern, pattern_content, numbers_vary;
    struct answer_holes holes;
};

/* `arena` keeps the pattern (at most twice STREAM_TAP_PATTERN_MAX in all) and texts of the facts. */
void stream_tap_init(struct stream_tap *tap, struct arena *arena);
/* Reads one event. Call for every event, in order. */
enum event_kind stream_tap_event(struct stream_tap *tap, const struct sse_event *event);
/*
 * Whether the stream ended as the API says: [DONE], or a terminal event of the kinds that have no [DONE]; and no error
 * before it.
 */
bool stream_tap_succeeded(const struct stream_tap *tap);

#endif
