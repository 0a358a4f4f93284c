/* SPDX-License-Identifier: Apache-2.0 */
/* Embeddings, moderations and the list of models (https://platform.openai.com/docs/api-reference/embeddings, ...). */
#include <math.h>

#include "base/encoding.h"
#include "base/hash.h"
#include "openai/mock_script.h"

#define INPUTS_LIMIT         2048
#define DIMENSIONS_LIMIT     4096
#define DIMENSIONS_OTHERWISE 1536

/* A fixed key: vectors must agree between processes and versions. */
static const uint8_t vector_key[16] = "postern-mock-vec";

static void make_vector(struct span text, unsigned dimensions, float *ret)
{
    uint64_t seed = hash_bytes_keyed(vector_key, text);
    double sum = 0;
    for (unsigned i = 0; i < dimensions; i++) {
        /* 53 random bits, spread over -1 .. 1 */
        double number = (double)(hash_random(&seed) >> 11) / 4503599627370496.0 - 1.0;
        ret[i] = (float)number;
        sum += number * number;
    }
    double length = sum > 0 ? sqrt(sum) : 1;
    for (unsigned i = 0; i < dimensions; i++)
        ret[i] = (float)((double)ret[i] / length);
}

/* Little-endian float32, whatever the machine is. */
static void put_base64(struct mock_script *s, const float *vector, unsigned dimensions)
{
    char *bytes = arena_bytes(s->arena, (size_t)dimensions * 4);
    for (unsigned i = 0; i < dimensions; i++) {
        uint32_t bits;
        memcpy(&bits, &vector[i], sizeof(bits));
        for (unsigned b = 0; b < 4; b++)
            bytes[i * 4 + b] = (char)(bits >> (8 * b) & 255);
    }
    MOCK_PUT(&s->body, "\"");
    encode_base64(&s->body, span_of(bytes, (size_t)dimensions * 4));
    MOCK_PUT(&s->body, "\"");
}

static void put_vector(struct mock_script *s, struct json_value input, unsigned index, unsigned dimensions, float *room)
{
    make_vector(input.kind == JSON_STRING ? mock_ask_text(s, input) : input.raw, dimensions, room);
    buffer_format(&s->body, "%s{\"object\":\"embedding\",\"index\":%u,\"embedding\":", index ? "," : "", index);
    if (json_value_is(s->ask.encoding_format, SPAN("base64"))) {
        put_base64(s, room, dimensions);
    } else {
        for (unsigned i = 0; i < dimensions; i++)
            buffer_format(&s->body, "%c%.9g", i ? ',' : '[', (double)room[i]);
        MOCK_PUT(&s->body, "]");
    }
    MOCK_PUT(&s->body, "}");
}

/* Text counts by its characters; of an array of token numbers each is one. */
static uint64_t input_tokens(struct mock_script *s, struct json_value input)
{
    struct json_value number;
    size_t cursor = 0;
    uint64_t count = mock_tokens(mock_characters(mock_ask_text(s, input)));
    while (input.kind == JSON_ARRAY_OPEN && json_value_each(input, &cursor, NULL, &number))
        count++;
    return count;
}

/* Whether `input` is an array of inputs, and not one input of token numbers. */
static bool is_list(struct json_value input)
{
    struct json_value first;
    size_t cursor = 0;
    return input.kind == JSON_ARRAY_OPEN &&
           (!json_value_each(input, &cursor, NULL, &first) || first.kind != JSON_NUMBER);
}

static unsigned count_inputs(struct json_value input)
{
    struct json_value one;
    size_t cursor = 0;
    unsigned count = 0;
    if (!is_list(input))
        return input.kind == JSON_STRING || input.kind == JSON_ARRAY_OPEN;
    while (json_value_each(input, &cursor, NULL, &one))
        count++;
    return count;
}

void mock_embeddings(struct mock_script *s)
{
    struct json_value input = s->ask.input, one;
    size_t cursor = 0;
    unsigned inputs = count_inputs(input), index = 0;
    uint64_t dimensions =
        mock_ask_number(s->ask.dimensions, s->ask.dimensions.kind == JSON_MORE ? DIMENSIONS_OTHERWISE : 0);
    uint64_t tokens = 0;
    if (!inputs || inputs > INPUTS_LIMIT) {
        mock_refuse(s, 400, "input", NULL,
                    "'input' must be a string, an array of 1 to 2048 strings, or token numbers.");
        return;
    }
    if (!dimensions || dimensions > DIMENSIONS_LIMIT) {
        mock_refuse(s, 400, "dimensions", NULL, "'dimensions' must be a number from 1 to 4096.");
        return;
    }
    float *room = ARENA_ARRAY(s->arena, float, (size_t)dimensions);
    MOCK_PUT(&s->body, "{\"object\":\"list\",\"data\":[");
    if (!is_list(input)) {
        put_vector(s, input, 0, (unsigned)dimensions, room);
        tokens = input_tokens(s, input);
    }
    while (is_list(input) && json_value_each(input, &cursor, NULL, &one)) {
        put_vector(s, one, index++, (unsigned)dimensions, room);
        tokens += input_tokens(s, one);
    }
    MOCK_PUT(&s->body, "],\"model\":");
    mock_put_string(&s->body, s->model);
    buffer_format(&s->body, ",\"usage\":{\"prompt_tokens\":%llu,\"total_tokens\":%llu}}", (unsigned long long)tokens,
                  (unsigned long long)tokens);
    mock_count(s, tokens, 0);
}

static const char *const categories[] = {
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/intent",
    "self-harm/instructions",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
};

static void put_categories(struct buffer *out, const char *name, const char *usual, const char *violence)
{
    buffer_format(out, ",\"%s\":{", name);
    for (size_t i = 0; i < ARRAY_LEN(categories); i++)
        buffer_format(out, "%s\"%s\":%s", i ? "," : "", categories[i],
                      strcmp(categories[i], "violence") == 0 ? violence : usual);
    MOCK_PUT(out, "}");
}

/* Text with "flag me" in it is flagged as violence, all other text passes. */
static void put_verdict(struct mock_script *s, struct json_value input, unsigned index)
{
    struct json_value part = input;
    if (input.kind == JSON_OBJECT_OPEN && !json_value_member(input, SPAN("text"), &part))
        part = input;
    struct span text = mock_ask_text(s, part), words = SPAN("flag me");
    bool flagged = span_search(text, words) < text.len;
    struct buffer *out = &s->body;
    buffer_format(out, "%s{\"flagged\":%s", index ? "," : "", flagged ? "true" : "false");
    put_categories(out, "categories", "false", flagged ? "true" : "false");
    put_categories(out, "category_scores", "0.0001", flagged ? "0.99" : "0.0001");
    put_categories(out, "category_applied_input_types", "[\"text\"]", "[\"text\"]");
    MOCK_PUT(out, "}");
}

void mock_moderations(struct mock_script *s)
{
    struct json_value input = s->ask.input, one;
    size_t cursor = 0;
    unsigned inputs = count_inputs(input), index = 0;
    if (!inputs || inputs > INPUTS_LIMIT) {
        mock_refuse(s, 400, "input", NULL, "'input' must be a string or an array of 1 to 2048 inputs.");
        return;
    }
    buffer_format(&s->body, "{\"id\":\"modr-%016llx\",\"model\":", (unsigned long long)s->id);
    mock_put_string(&s->body, s->model);
    MOCK_PUT(&s->body, ",\"results\":[");
    if (!is_list(input))
        put_verdict(s, input, 0);
    while (is_list(input) && json_value_each(input, &cursor, NULL, &one))
        put_verdict(s, one, index++);
    MOCK_PUT(&s->body, "]}");
}

static void put_model(struct mock_script *s, struct span name)
{
    MOCK_PUT(&s->body, "{\"id\":");
    mock_put_string(&s->body, name);
    MOCK_PUT(&s->body, ",\"object\":\"model\",\"created\":1735689600,\"owned_by\":\"postern-mock\"}");
}

void mock_models(struct mock_script *s)
{
    static const struct span names[] = {
        SPAN_INIT("gpt-4o"),
        SPAN_INIT("gpt-4o-mini"),
        SPAN_INIT("gpt-4o-mini-transcribe"),
        SPAN_INIT("gpt-image-1"),
        SPAN_INIT("omni-moderation-latest"),
        SPAN_INIT("text-embedding-3-small"),
        SPAN_INIT("tts-1"),
    };
    MOCK_PUT(&s->body, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (i)
            MOCK_PUT(&s->body, ",");
        put_model(s, names[i]);
    }
    MOCK_PUT(&s->body, "]}");
}

void mock_model(struct mock_script *s)
{
    struct span name = s->request.resource;
    put_model(s, span_starts_with(name, SPAN("/")) ? span_skip(name, 1) : s->model);
}
