/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mock: a deterministic model that speaks the OpenAI and Azure OpenAI APIs, for `mock: {}` targets and `postern mock`.
 * Pure: it is given a request and the time and says what to send; the caller sends, waits and cuts. The same request,
 * counter and time give the same bytes.
 *
 * Facts that people may rely on in their tests:
 * - Any model name is accepted and repeated.
 * - A token is four characters of text, rounded up: usage follows from that. The prompt's tokens are those of the
 *   messages' texts; images and tools count nothing.
 * - The text is "This is the mock model. You said: ..." with the last user message, cut at 400 characters, or "The tool
 *   said: ..." after a tool's answer. max_tokens (and its newer names) cuts it: finish_reason "length".
 * - With tools, and tool_choice other than "none": a tool is called when tool_choice is "required" or names one, or
 *   when the last user message contains the word "tool" or a tool's name and no tool has answered it yet. The arguments
 *   satisfy the tool's schema.
 * - response_format (in the Responses API: text.format) json_schema gives a value that satisfies the schema, as far as
 *   it uses properties, required, enum, const, anyOf, arrays, $ref into the schema, bounds and known formats.
 *   json_object gives {"answer":"..."}.
 * - Embeddings are unit vectors made from a hash of the input; 1536 numbers unless `dimensions` says otherwise.
 * - In a moderation, text that contains "flag me" is flagged as violence.
 * - A stream carries usage only when stream_options.include_usage is true, exactly as OpenAI does.
 *
 * Faults come from struct mock_options or, per request, from the fields x-mock-*; see mock_options_field.
 *
 *     struct mock_run *run = mock_start(arena, &options, &state, &request);
 *     wait run->answer.delay, send the head, then
 *     while ((step = mock_next(run, &out, &pause)) == MOCK_MORE) { send out; wait pause; }
 */
#ifndef POSTERN_OPENAI_MOCK_H
#define POSTERN_OPENAI_MOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/compiler.h"
#include "base/span.h"
#include "openai/operations.h"

/* "Not at all" for the *_after options, which count events from 0. */
#define MOCK_NEVER UINT32_MAX
/* The most pieces a stream can be asked for. */
#define MOCK_CHUNKS_LIMIT 100000

struct mock_options {
    uint64_t latency;           /* µs before the head */
    uint64_t chunk_interval;    /* µs between the content events of a stream */
    unsigned chunks;            /* pieces of text per streamed answer; 0: words_per_chunk decides */
    unsigned words_per_chunk;   /* at least 1 */
    unsigned tokens_per_second; /* 0: no; else a stream is spread over its tokens' time, other answers wait for it */
    bool azure;                 /* Azure's annotations, first event with empty choices, headers and error bodies */

    /* Faults. They hit every request, or only those that `every` or `percent` selects. */
    unsigned status;         /* 0: none; else 400..599: this error instead of an answer */
    uint64_t retry_after_ms; /* with status 429 or 503: fields retry-after-ms and retry-after; 0: left out */
    unsigned error_after;    /* a stream's event N is an error, and the stream ends there, without [DONE] */
    unsigned cut_after;      /* a stream's connection ends before event N; of another answer, half goes out */
    unsigned stall_after;    /* silence for ever instead of event N; of another answer, only the head goes out */
    unsigned every;          /* every Nth request; 0 and 1: all */
    unsigned percent;        /* this share, chosen by seed and counter, when `every` is not set; 0: all */
    uint64_t seed;

    uint64_t tokens_per_minute; /* 0: no limit. Cost: the prompt's tokens + max_tokens (else 16), as Azure estimates */
};

/* Quick answers without faults: no latency, no interval, one word per chunk, *_after MOCK_NEVER. */
void mock_options_init(struct mock_options *options);

enum mock_field { MOCK_FIELD_OTHER, MOCK_FIELD_TAKEN, MOCK_FIELD_BAD };
/*
 * Lets a request field change the options for its request: x-mock-status, x-mock-latency-ms, x-mock-chunks,
 * x-mock-chunk-interval-ms, x-mock-cut-after, x-mock-stall-after, x-mock-error-after, x-mock-retry-after-ms (all
 * decimal numbers) and x-mock-azure (true, false). `name` is lower case. BAD: an x-mock- name or value that is not
 * understood (answer 400: a test with a misspelt field must not pass); OTHER: not one of these.
 */
enum mock_field mock_options_field(struct mock_options *options, struct span name, struct span value);

/* What a mock remembers between requests; zero-initialised, one per worker and target. */
struct mock_state {
    uint64_t requests; /* begun so far */
    uint64_t window_start, window_tokens;
};

struct mock_request {
    enum operation_id operation;
    struct span model;    /* from path or query; empty: the body's, else "mock" */
    struct span resource; /* what follows the operation in the path, "/gpt-4o" for GET /v1/models/gpt-4o; else empty */
    struct span content_type; /* of the body */
    struct span body;         /* whole */
    uint64_t wall;            /* µs since 1970 */
};

struct mock_header {
    struct span name, value; /* name in lower case */
};

struct mock_answer {
    unsigned status;
    struct span content_type;
    const struct mock_header *headers; /* without content-type and content-length */
    unsigned header_count;
    bool stream;     /* unknown length, sent event by event */
    uint64_t length; /* of the body when !stream */
    uint64_t delay;  /* µs to wait before the head */
    bool known;      /* false: no such operation (the answer is a 404) */
    uint64_t input_tokens, output_tokens;
};

struct mock_run {
    struct mock_answer answer;
    struct mock_script *script; /* private */
};

/*
 * Plans the answer. Everything lies in `arena`, the request's spans must live as long. Never NULL: a request that is
 * not understood gets an OpenAI-shaped error answer.
 */
MUST_CHECK struct mock_run *mock_start(struct arena *arena, const struct mock_options *options,
                                       struct mock_state *state, const struct mock_request *request);

enum mock_step {
    MOCK_MORE,  /* bytes were appended; call again after *ret_pause µs */
    MOCK_END,   /* the last bytes were appended (maybe none): end the body */
    MOCK_CUT,   /* bytes may have been appended: send them and end the connection without ending the body */
    MOCK_STALL, /* send nothing more and do not end; the caller's deadline or the client's does */
};

/* Appends the next event of a stream, or the whole body of another answer, to `out`. Not to be called after a step
 * other than MORE. */
enum mock_step mock_next(struct mock_run *run, struct buffer *out, uint64_t *ret_pause);

/* What the model has done up to now, however the answer ends. */
struct mock_work {
    uint64_t input, output; /* tokens read; of text and arguments made, of a stream those of the events so far */
    bool reported;          /* the answer has said its usage */
};
/* All zero for an error. */
struct mock_work mock_work(const struct mock_run *run);

#endif
