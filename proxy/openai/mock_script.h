/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mock_script: what the files of the mock share; nobody else includes it. A script is one planned answer: either a
 * body, written when it is planned, or a count of events and a function that writes the event of a given number.
 * Nothing is remembered from event to event.
 */
#ifndef POSTERN_OPENAI_MOCK_SCRIPT_H
#define POSTERN_OPENAI_MOCK_SCRIPT_H

#include "base/json_value.h"
#include "openai/mock.h"

/* Members of request bodies that mean something to the mock. */
#define MOCK_MEMBERS(X)                                                                                                \
    X(dimensions)                                                                                                      \
    X(encoding_format)                                                                                                 \
    X(input)                                                                                                           \
    X(instructions)                                                                                                    \
    X(max_completion_tokens)                                                                                           \
    X(max_output_tokens)                                                                                               \
    X(max_tokens)                                                                                                      \
    X(messages)                                                                                                        \
    X(metadata)                                                                                                        \
    X(model)                                                                                                           \
    X(n)                                                                                                               \
    X(parallel_tool_calls)                                                                                             \
    X(partial_images)                                                                                                  \
    X(previous_response_id)                                                                                            \
    X(prompt)                                                                                                          \
    X(response_format)                                                                                                 \
    X(size)                                                                                                            \
    X(store)                                                                                                           \
    X(stream)                                                                                                          \
    X(stream_format)                                                                                                   \
    X(stream_options)                                                                                                  \
    X(temperature)                                                                                                     \
    X(text)                                                                                                            \
    X(tool_choice)                                                                                                     \
    X(tools)                                                                                                           \
    X(top_p)                                                                                                           \
    X(user)

/* What a body asks for; a member that is absent or null has the kind JSON_MORE. */
struct mock_ask {
#define X(name) struct json_value name;
    MOCK_MEMBERS(X)
#undef X
    uint64_t file_bytes; /* of the file parts of a multipart body */
};

/* Text cut into the pieces that a stream sends. */
struct mock_text {
    struct span text;
    const uint32_t *words; /* offset of each word, and the end */
    unsigned word_count, pieces;
    bool shortened; /* max_tokens cut it */
    uint64_t tokens;
};

/* Which tool to call, if any. */
struct mock_tool {
    struct span name; /* empty: none */
    struct json_value schema;
};

/* A conversation, as far as the mock listens. */
struct mock_talk {
    struct span user; /* the last user message */
    struct span tool; /* what a tool answered, if that came last */
    bool tool_answered;
    unsigned messages;
    uint64_t characters; /* of all text */
};

struct mock_script {
    struct arena *arena;
    struct mock_options options;
    struct mock_request request;
    struct mock_answer *answer;
    struct mock_header *headers; /* the answer's, to be written */
    struct mock_ask ask;
    struct span model;
    uint64_t id;      /* different for each request */
    uint64_t created; /* seconds since 1970 */

    struct buffer body; /* of an answer that is no stream */
    struct arena_cleanup body_cleanup;

    void (*write_event)(struct mock_script *script, unsigned index, struct buffer *out);
    uint64_t said; /* characters of text that have gone out as events */
    bool reported; /* so has the usage */
    unsigned events, next;
    unsigned paced;      /* events after this one follow at once */
    uint64_t pause;      /* µs between events up to there */
    uint64_t limit_cost; /* tokens that a token-rate limit counts */
    const void *plan;    /* of the operation's own */
};

/* One per family of operations: reads the request, then writes the body or calls mock_stream. */
void mock_chat(struct mock_script *script);
void mock_completions(struct mock_script *script);
void mock_responses(struct mock_script *script);
void mock_response_tokens(struct mock_script *script);
void mock_embeddings(struct mock_script *script);
void mock_moderations(struct mock_script *script);
void mock_models(struct mock_script *script);
void mock_model(struct mock_script *script);
void mock_images(struct mock_script *script);
void mock_speech(struct mock_script *script);
void mock_transcriptions(struct mock_script *script);

/* mock.c: makes the answer a stream of `events`, the first `paced` of which are spread over time. */
void mock_stream(struct mock_script *script, void (*write_event)(struct mock_script *, unsigned, struct buffer *),
                 unsigned events, unsigned paced);
/* Replaces whatever was planned by an OpenAI-shaped error. Empty param or code: null. */
void mock_refuse(struct mock_script *script, unsigned status, const char *param, const char *code, const char *message);
/* Input tokens as asked, output tokens as said; also the cost for the token-rate limit. */
void mock_count(struct mock_script *script, uint64_t input, uint64_t output);

/* mock_ask.c */
/* False when the body is no JSON object, or no proper multipart form. */
MUST_CHECK bool mock_ask_read(struct mock_script *script);
/* The text of a STRING, else empty. */
struct span mock_ask_text(struct mock_script *script, struct json_value value);
uint64_t mock_ask_number(struct json_value value, uint64_t otherwise);
/* max_completion_tokens, max_output_tokens or max_tokens; UINT64_MAX when there is none. */
uint64_t mock_ask_max_tokens(const struct mock_ask *ask);
/* Reads chat messages or Responses input items. */
void mock_talk_read(struct mock_script *script, struct json_value messages, struct mock_talk *ret);
/* Chooses by the rules in mock.h; works for the chat and the Responses form. */
void mock_tool_choose(struct mock_script *script, const struct mock_talk *talk, struct mock_tool *ret);
/* ret->text stays empty when no particular format is asked for. `format`: response_format or text.format. */
struct span mock_formatted(struct mock_script *script, struct json_value format, struct span said);

/* mock_text.c */
uint64_t mock_characters(struct span text);
/* ceil(characters / 4) */
uint64_t mock_tokens(uint64_t characters);
/* The usual sentence about what was said. */
struct span mock_sentence(struct mock_script *script, const struct mock_talk *talk);
/* Cuts at `max_tokens` and into pieces; `lengthen`: filler words may be added so that no piece is empty. */
void mock_text_make(struct mock_script *script, struct span text, uint64_t max_tokens, bool lengthen,
                    struct mock_text *ret);
/* Empty beyond the last. */
struct span mock_text_piece(const struct mock_text *text, unsigned index);
/* With quotes. */
void mock_put_string(struct buffer *out, struct span text);
#define MOCK_PUT(out, literal) buffer_append((out), SPAN(literal))

/* mock_schema.c: appends a value that satisfies the JSON schema `schema`; `root` is where its $refs point. */
void mock_schema_write(struct mock_script *script, struct json_value schema, struct json_value root,
                       struct buffer *out);

#endif
