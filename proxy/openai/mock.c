/* SPDX-License-Identifier: Apache-2.0 */
#include "openai/mock.h"

#include "base/clock.h"
#include "base/hash.h"
#include "openai/mock_errors.h"
#include "openai/mock_script.h"

#define HEADERS_MAX         16
#define WINDOW              (60 * CLOCK_SECOND) /* of the token-rate limit */
#define MAX_TOKENS_ASSUMED  16                  /* when a request names none, as Azure's estimate does */
#define REQUESTS_PER_TOKENS 1000                /* Azure couples 6 requests per minute to each 1000 tokens */

void mock_options_init(struct mock_options *options)
{
    *options = (struct mock_options){
        .words_per_chunk = 1, .error_after = MOCK_NEVER, .cut_after = MOCK_NEVER, .stall_after = MOCK_NEVER};
}

/* Unsigned fields take values up to UINT32_MAX - 1, so that a number never reads as MOCK_NEVER. */
static bool set_count(unsigned *field, uint64_t number)
{
    if (number >= MOCK_NEVER)
        return false;
    *field = (unsigned)number;
    return true;
}

static bool set_time(uint64_t *field, uint64_t number, uint64_t unit)
{
    if (number > UINT64_MAX / unit)
        return false;
    *field = number * unit;
    return true;
}

enum mock_field mock_options_field(struct mock_options *options, struct span name, struct span value)
{
    uint64_t number = 0;
    bool good = false;
    if (!span_starts_with(name, SPAN("x-mock-")))
        return MOCK_FIELD_OTHER;
    struct span option = span_skip(name, sizeof("x-mock-") - 1);
    if (span_equal(option, SPAN("azure"))) {
        options->azure = span_equal(value, SPAN("true"));
        return options->azure || span_equal(value, SPAN("false")) ? MOCK_FIELD_TAKEN : MOCK_FIELD_BAD;
    }
    if (!span_to_u64(value, &number))
        return MOCK_FIELD_BAD;
    if (span_equal(option, SPAN("status")))
        good = (number == 0 || (number >= 400 && number <= 599)) && set_count(&options->status, number);
    else if (span_equal(option, SPAN("latency-ms")))
        good = set_time(&options->latency, number, CLOCK_MS);
    else if (span_equal(option, SPAN("chunks")))
        good = number <= MOCK_CHUNKS_LIMIT && set_count(&options->chunks, number);
    else if (span_equal(option, SPAN("chunk-interval-ms")))
        good = set_time(&options->chunk_interval, number, CLOCK_MS);
    else if (span_equal(option, SPAN("cut-after")))
        good = set_count(&options->cut_after, number);
    else if (span_equal(option, SPAN("stall-after")))
        good = set_count(&options->stall_after, number);
    else if (span_equal(option, SPAN("error-after")))
        good = set_count(&options->error_after, number);
    else if (span_equal(option, SPAN("retry-after-ms")))
        good = set_time(&options->retry_after_ms, number, 1);
    return good ? MOCK_FIELD_TAKEN : MOCK_FIELD_BAD;
}

static const struct {
    void (*plan)(struct mock_script *script);
    bool has_body;
} plans[OPERATION_ID_COUNT] = {
    [OPERATION_CHAT] = {mock_chat, true},
    [OPERATION_COMPLETIONS] = {mock_completions, true},
    [OPERATION_EMBEDDINGS] = {mock_embeddings, true},
    [OPERATION_RESPONSES] = {mock_responses, true},
    [OPERATION_RESPONSES_INPUT_TOKENS] = {mock_response_tokens, true},
    [OPERATION_MODERATIONS] = {mock_moderations, true},
    [OPERATION_IMAGE_GENERATIONS] = {mock_images, true},
    [OPERATION_IMAGE_EDITS] = {mock_images, true},
    [OPERATION_IMAGE_VARIATIONS] = {mock_images, true},
    [OPERATION_SPEECH] = {mock_speech, true},
    [OPERATION_TRANSCRIPTIONS] = {mock_transcriptions, true},
    [OPERATION_TRANSLATIONS] = {mock_transcriptions, true},
    [OPERATION_MODELS] = {mock_models, false},
    [OPERATION_MODEL] = {mock_model, false},
};

void mock_stream(struct mock_script *script, void (*write_event)(struct mock_script *, unsigned, struct buffer *),
                 unsigned events, unsigned paced)
{
    script->write_event = write_event;
    script->events = events;
    script->paced = paced;
    script->answer->stream = true;
    script->answer->content_type = SPAN("text/event-stream; charset=utf-8");
}

/* Whatever was planned is given up; the body is empty and to be written. */
static void fail_with(struct mock_script *script, unsigned status)
{
    script->write_event = NULL;
    script->answer->stream = false;
    script->answer->status = status;
    script->answer->content_type = SPAN("application/json");
    script->answer->input_tokens = script->answer->output_tokens = 0;
    buffer_finish(&script->body);
}

static void put_or_null(struct buffer *out, const char *text)
{
    if (text)
        mock_put_string(out, span_str(text));
    else
        MOCK_PUT(out, "null");
}

void mock_refuse(struct mock_script *script, unsigned status, const char *param, const char *code, const char *message)
{
    fail_with(script, status);
    MOCK_PUT(&script->body, "{\"error\":{\"message\":");
    mock_put_string(&script->body, span_str(message));
    MOCK_PUT(&script->body, ",\"type\":\"invalid_request_error\",\"param\":");
    put_or_null(&script->body, param);
    MOCK_PUT(&script->body, ",\"code\":");
    put_or_null(&script->body, code);
    MOCK_PUT(&script->body, "}}");
}

void mock_count(struct mock_script *script, uint64_t input, uint64_t output)
{
    uint64_t max_tokens = mock_ask_max_tokens(&script->ask);
    script->answer->input_tokens = input;
    script->answer->output_tokens = output;
    max_tokens = max_tokens == UINT64_MAX ? (output ? MAX_TOKENS_ASSUMED : 0) : max_tokens;
    script->limit_cost = max_tokens > UINT64_MAX - input ? UINT64_MAX : input + max_tokens;
}

static void add_header(struct mock_script *script, struct span name, struct span value)
{
    /* A value made from the request must not be able to end its line. */
    for (size_t i = 0; i < value.len; i++)
        if (value.ptr[i] < 0x20 || value.ptr[i] == 0x7F)
            return;
    if (script->answer->header_count < HEADERS_MAX)
        script->headers[script->answer->header_count++] = (struct mock_header){name, value};
}

static struct span decimal(struct mock_script *script, uint64_t number)
{
    return arena_format(script->arena, "%llu", (unsigned long long)number);
}

static void add_service_headers(struct mock_script *script)
{
    unsigned long long id = script->id;
    add_header(script, SPAN("openai-processing-ms"), decimal(script, script->options.latency / CLOCK_MS));
    if (!script->options.azure) {
        add_header(script, SPAN("x-request-id"), arena_format(script->arena, "req_%016llx%016llx", id, ~id));
        add_header(script, SPAN("openai-version"), SPAN("2020-10-01"));
        return;
    }
    struct span guid = arena_format(script->arena, "%08llx-%04llx-4%03llx-8%03llx-%012llx", id >> 32, id >> 16 & 0xffff,
                                    id & 0xfff, id >> 4 & 0xfff, id & 0xffffffffffff);
    add_header(script, SPAN("x-request-id"), guid);
    add_header(script, SPAN("apim-request-id"), guid);
    add_header(script, SPAN("x-ms-region"), SPAN("Mock Region"));
    add_header(script, SPAN("x-ms-deployment-name"), script->model);
}

static void add_retry_headers(struct mock_script *script, uint64_t ms)
{
    if (!ms)
        return;
    add_header(script, SPAN("retry-after-ms"), decimal(script, ms));
    add_header(script, SPAN("retry-after"), decimal(script, ms / 1000 + (ms % 1000 != 0)));
}

/* OpenAI says "1.5s" where Azure says whole seconds. */
static struct span reset_time(struct mock_script *script, uint64_t us)
{
    if (script->options.azure)
        return decimal(script, (us + CLOCK_SECOND - 1) / CLOCK_SECOND);
    return arena_format(script->arena, "%llu.%03llus", (unsigned long long)(us / CLOCK_SECOND),
                        (unsigned long long)(us % CLOCK_SECOND / CLOCK_MS));
}

static void add_limit_headers(struct mock_script *script, uint64_t limit, uint64_t left, uint64_t reset)
{
    uint64_t requests = (limit * 6 + REQUESTS_PER_TOKENS - 1) / REQUESTS_PER_TOKENS;
    add_header(script, SPAN("x-ratelimit-limit-requests"), decimal(script, requests));
    add_header(script, SPAN("x-ratelimit-remaining-requests"), decimal(script, requests));
    add_header(script, SPAN("x-ratelimit-limit-tokens"), decimal(script, limit));
    add_header(script, SPAN("x-ratelimit-remaining-tokens"), decimal(script, left));
    add_header(script, SPAN("x-ratelimit-reset-tokens"), reset_time(script, reset));
}

/* Tokens are counted in windows of a minute that begin with a request. */
static void apply_rate_limit(struct mock_script *script, struct mock_state *state)
{
    uint64_t limit = script->options.tokens_per_minute, wall = script->request.wall;
    if (!limit || script->answer->status != 200)
        return;
    if (wall < state->window_start || wall - state->window_start >= WINDOW) {
        state->window_start = wall;
        state->window_tokens = 0;
    }
    uint64_t reset = state->window_start + WINDOW - wall, left = limit - state->window_tokens;
    if (script->limit_cost <= left) {
        state->window_tokens += script->limit_cost;
        add_limit_headers(script, limit, limit - state->window_tokens, reset);
        return;
    }
    fail_with(script, 429);
    mock_error_body(&script->body, 429, script->options.azure);
    add_limit_headers(script, limit, left, reset);
    add_retry_headers(script, (reset + CLOCK_MS - 1) / CLOCK_MS);
}

/* Whether this request is one of those that faults hit. */
static bool unlucky(const struct mock_options *options, uint64_t counter)
{
    if (options->every > 1)
        return (counter + 1) % options->every == 0;
    uint64_t chance = options->seed ^ (counter * 0x9e3779b97f4a7c15u);
    return options->percent == 0 || hash_random(&chance) % 100 < options->percent;
}

static void plan_answer(struct mock_script *script)
{
    unsigned operation = (unsigned)script->request.operation;
    struct span asked;
    if (operation >= OPERATION_ID_COUNT || !plans[operation].plan) {
        script->answer->known = false;
        mock_refuse(script, 404, NULL, "unknown_url", "The mock model does not have this operation.");
        return;
    }
    if (plans[operation].has_body && !mock_ask_read(script)) {
        mock_refuse(script, 400, NULL, NULL, "The body of your request is not a JSON object or a well-formed form.");
        return;
    }
    asked = mock_ask_text(script, script->ask.model);
    script->model = script->request.model.len ? script->request.model : asked.len ? asked : SPAN("mock");
    plans[operation].plan(script);
}

/* A stream is paced piece by piece; another answer takes as long as its tokens would. */
static void set_pace(struct mock_script *script)
{
    const struct mock_options *options = &script->options;
    uint64_t speaking =
        options->tokens_per_second ? script->answer->output_tokens * CLOCK_SECOND / options->tokens_per_second : 0;
    script->answer->delay = options->latency + (script->answer->stream ? 0 : speaking);
    script->pause = speaking && script->paced ? speaking / script->paced : options->chunk_interval;
}

static void finish_body(void *arg)
{
    buffer_finish(arg);
}

static struct mock_script *script_new(struct arena *arena, const struct mock_options *options,
                                      const struct mock_request *request, uint64_t counter, struct mock_answer *answer)
{
    static const uint8_t id_key[16] = "postern-mock-id";
    struct mock_script *script = ARENA_NEW(arena, struct mock_script);
    uint64_t seed = hash_bytes_keyed(id_key, request->body) ^ (counter << 20) ^ request->wall;
    *answer = (struct mock_answer){.status = 200, .content_type = SPAN("application/json"), .known = true};
    script->headers = ARENA_ARRAY(arena, struct mock_header, HEADERS_MAX);
    answer->headers = script->headers;
    script->arena = arena;
    script->options = *options;
    script->request = *request;
    script->answer = answer;
    script->model = SPAN("mock");
    script->id = hash_random(&seed);
    script->created = request->wall / CLOCK_SECOND;
    arena_defer(arena, &script->body_cleanup, finish_body, &script->body);
    if (!unlucky(options, counter)) {
        script->options.status = 0;
        script->options.error_after = script->options.cut_after = script->options.stall_after = MOCK_NEVER;
    }
    return script;
}

struct mock_run *mock_start(struct arena *arena, const struct mock_options *options, struct mock_state *state,
                            const struct mock_request *request)
{
    struct mock_run *run = ARENA_NEW(arena, struct mock_run);
    struct mock_script *script = script_new(arena, options, request, state->requests++, &run->answer);
    run->script = script;
    plan_answer(script);
    add_service_headers(script);
    if (script->options.status) {
        fail_with(script, script->options.status);
        mock_error_body(&script->body, script->options.status, options->azure);
        if (script->options.status == 429 || script->options.status == 503)
            add_retry_headers(script, options->retry_after_ms);
    } else {
        apply_rate_limit(script, state);
    }
    set_pace(script);
    run->answer.length = run->answer.stream ? 0 : buffer_len(&script->body);
    return run;
}

static enum mock_step whole_body(struct mock_script *script, struct buffer *out)
{
    if (script->options.stall_after != MOCK_NEVER && script->answer->status == 200)
        return MOCK_STALL;
    if (script->options.cut_after != MOCK_NEVER && script->answer->status == 200) {
        buffer_append(out, span_take(buffer_span(&script->body), buffer_len(&script->body) / 2));
        return MOCK_CUT;
    }
    buffer_append(out, buffer_span(&script->body));
    script->reported = true;
    return MOCK_END;
}

struct mock_work mock_work(const struct mock_run *run)
{
    const struct mock_answer *answer = &run->answer;
    if (answer->status != 200)
        return (struct mock_work){0};
    bool whole = run->script->reported || !answer->stream;
    return (struct mock_work){.input = answer->input_tokens,
                              .output = whole ? answer->output_tokens : mock_tokens(run->script->said),
                              .reported = run->script->reported};
}

enum mock_step mock_next(struct mock_run *run, struct buffer *out, uint64_t *ret_pause)
{
    struct mock_script *script = run->script;
    *ret_pause = 0;
    if (!script->write_event)
        return whole_body(script, out);
    if (script->next >= script->options.cut_after)
        return MOCK_CUT;
    if (script->next >= script->options.stall_after)
        return MOCK_STALL;
    if (script->next >= script->options.error_after) {
        mock_error_event(out, script->request.operation == OPERATION_RESPONSES, script->next);
        return MOCK_END;
    }
    script->write_event(script, script->next++, out);
    if (script->next == script->events)
        return MOCK_END;
    *ret_pause = script->next <= script->paced ? script->pause : 0;
    return MOCK_MORE;
}
