/* SPDX-License-Identifier: Apache-2.0 */
/* Images, speech and transcriptions (https://platform.openai.com/docs/api-reference/images, .../audio). */
#include "base/encoding.h"
#include "openai/mock_script.h"

/* One pixel, 1 x 1, RGB. */
#define PNG_BASE64 "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mPYcOQeAAR6AlNkNpUKAAAAAElFTkSuQmCC"

#define IMAGES_LIMIT   10
#define PARTIALS_LIMIT 3

struct image_plan {
    const char *kind; /* image_generation or image_edit */
    unsigned partials;
    uint64_t input;
    struct span size; /* as a JSON string */
};

static void put_image_usage(struct buffer *out, uint64_t input, unsigned images)
{
    unsigned long long in = input, made = 16ull * images;
    buffer_format(
        out,
        ",\"usage\":{\"input_tokens\":%llu,\"input_tokens_details\":{\"text_tokens\":%llu,\"image_tokens\":0},"
        "\"output_tokens\":%llu,\"total_tokens\":%llu}",
        in, in, made, in + made);
}

static void put_image_settings(struct buffer *out, struct span size)
{
    MOCK_PUT(out, ",\"background\":\"opaque\",\"output_format\":\"png\",\"quality\":\"low\",\"size\":");
    buffer_append(out, size);
}

static void write_image_event(struct mock_script *s, unsigned index, struct buffer *out)
{
    const struct image_plan *plan = s->plan;
    bool last = index == plan->partials;
    const char *step = last ? "completed" : "partial_image";
    buffer_format(out, "event: %s.%s\ndata: {\"type\":\"%s.%s\",\"b64_json\":\"" PNG_BASE64 "\",\"created_at\":%llu",
                  plan->kind, step, plan->kind, step, (unsigned long long)s->created);
    put_image_settings(out, plan->size);
    if (last)
        put_image_usage(out, plan->input, 1);
    else
        buffer_format(out, ",\"partial_image_index\":%u", index);
    MOCK_PUT(out, "}\n\n");
}

static void write_images(struct mock_script *s, unsigned n, const struct image_plan *plan)
{
    bool url = json_value_is(s->ask.response_format, SPAN("url"));
    buffer_format(&s->body, "{\"created\":%llu,\"data\":[", (unsigned long long)s->created);
    for (unsigned i = 0; i < n; i++) {
        buffer_append(&s->body, i ? SPAN(",") : SPAN(""));
        buffer_append(&s->body, url ? SPAN("{\"url\":\"data:image/png;base64," PNG_BASE64 "\"}")
                                    : SPAN("{\"b64_json\":\"" PNG_BASE64 "\"}"));
    }
    MOCK_PUT(&s->body, "]");
    put_image_settings(&s->body, plan->size);
    put_image_usage(&s->body, plan->input, n);
    MOCK_PUT(&s->body, "}");
}

void mock_images(struct mock_script *s)
{
    struct image_plan *plan = ARENA_NEW(s->arena, struct image_plan);
    uint64_t n = mock_ask_number(s->ask.n, s->ask.n.kind == JSON_MORE ? 1 : 0);
    uint64_t partials = mock_ask_number(s->ask.partial_images, 0);
    bool prompt_needed = s->request.operation != OPERATION_IMAGE_VARIATIONS;
    if (prompt_needed && s->ask.prompt.kind == JSON_MORE) {
        mock_refuse(s, 400, "prompt", "missing_required_parameter", "Missing required parameter: 'prompt'.");
        return;
    }
    if (!n || n > IMAGES_LIMIT) {
        mock_refuse(s, 400, "n", "invalid_value", "Invalid 'n': expected a number from 1 to 10.");
        return;
    }
    plan->kind = s->request.operation == OPERATION_IMAGE_EDITS ? "image_edit" : "image_generation";
    plan->partials = partials < PARTIALS_LIMIT ? (unsigned)partials : PARTIALS_LIMIT;
    plan->input = mock_tokens(mock_characters(mock_ask_text(s, s->ask.prompt)));
    plan->size = s->ask.size.kind == JSON_STRING ? s->ask.size.raw : SPAN("\"1024x1024\"");
    s->plan = plan;
    mock_count(s, plan->input, 16 * n);
    if (s->ask.stream.kind == JSON_TRUE)
        mock_stream(s, write_image_event, plan->partials + 1, plan->partials + 1);
    else
        write_images(s, (unsigned)n, plan);
}

/* A tenth of a second of silence: 8 kHz, 8 bit, one channel. */
#define SAMPLE_RATE 8000u
#define SAMPLES     800u

static void put_le(struct buffer *out, uint32_t number, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        buffer_append(out, span_of((const char[]){(char)(number >> (8 * i) & 255)}, 1));
}

static void put_wav(struct buffer *out)
{
    MOCK_PUT(out, "RIFF");
    put_le(out, 36 + SAMPLES, 4);
    MOCK_PUT(out, "WAVEfmt ");
    put_le(out, 16, 4);          /* size of this chunk */
    put_le(out, 1, 2);           /* PCM */
    put_le(out, 1, 2);           /* channels */
    put_le(out, SAMPLE_RATE, 4); /* per second */
    put_le(out, SAMPLE_RATE, 4); /* bytes per second */
    put_le(out, 1, 2);           /* bytes per frame */
    put_le(out, 8, 2);           /* bits per sample */
    MOCK_PUT(out, "data");
    put_le(out, SAMPLES, 4);
    memset(buffer_reserve(out, SAMPLES), 0x80, SAMPLES);
    buffer_commit(out, SAMPLES);
}

static void write_speech_event(struct mock_script *s, unsigned index, struct buffer *out)
{
    if (index == 0) {
        struct buffer wav = {0};
        put_wav(&wav);
        MOCK_PUT(out, "data: {\"type\":\"speech.audio.delta\",\"audio\":\"");
        encode_base64(out, buffer_span(&wav));
        MOCK_PUT(out, "\"}\n\n");
        buffer_finish(&wav);
        return;
    }
    unsigned long long in = s->answer->input_tokens, made = s->answer->output_tokens;
    buffer_format(out,
                  "data: {\"type\":\"speech.audio.done\",\"usage\":{\"input_tokens\":%llu,\"output_tokens\":%llu,"
                  "\"total_tokens\":%llu}}\n\n",
                  in, made, in + made);
}

void mock_speech(struct mock_script *s)
{
    if (s->ask.input.kind != JSON_STRING) {
        mock_refuse(s, 400, "input", "missing_required_parameter", "Missing required parameter: 'input'.");
        return;
    }
    mock_count(s, mock_tokens(mock_characters(mock_ask_text(s, s->ask.input))), 1);
    if (json_value_is(s->ask.stream_format, SPAN("sse"))) {
        mock_stream(s, write_speech_event, 2, 1);
        return;
    }
    bool raw = json_value_is(s->ask.response_format, SPAN("pcm"));
    s->answer->content_type = raw ? SPAN("audio/pcm") : SPAN("audio/wav");
    if (raw) {
        memset(buffer_reserve(&s->body, SAMPLES), 0, SAMPLES);
        buffer_commit(&s->body, SAMPLES);
    } else {
        put_wav(&s->body);
    }
}

static void put_token_usage(struct mock_script *s, struct buffer *out)
{
    unsigned long long in = s->answer->input_tokens, made = s->answer->output_tokens;
    buffer_format(out,
                  ",\"usage\":{\"type\":\"tokens\",\"input_tokens\":%llu,\"input_token_details\":{\"text_tokens\":0,"
                  "\"audio_tokens\":%llu},\"output_tokens\":%llu,\"total_tokens\":%llu}",
                  in, in, made, in + made);
}

static void write_transcript_event(struct mock_script *s, unsigned index, struct buffer *out)
{
    const struct mock_text *text = s->plan;
    bool last = index == text->pieces;
    buffer_format(out, "data: {\"type\":\"transcript.text.%s\",\"%s\":", last ? "done" : "delta",
                  last ? "text" : "delta");
    mock_put_string(out, last ? text->text : mock_text_piece(text, index));
    if (last)
        put_token_usage(s, out);
    MOCK_PUT(out, "}\n\n");
}

static void put_verbose(struct mock_script *s, const struct mock_text *text)
{
    struct buffer *out = &s->body;
    buffer_format(out, "{\"task\":\"%s\",\"language\":\"english\",\"duration\":1.0,\"text\":",
                  s->request.operation == OPERATION_TRANSLATIONS ? "translate" : "transcribe");
    mock_put_string(out, text->text);
    MOCK_PUT(out, ",\"segments\":[{\"id\":0,\"seek\":0,\"start\":0.0,\"end\":1.0,\"text\":");
    mock_put_string(out, text->text);
    MOCK_PUT(
        out,
        ",\"tokens\":[],\"temperature\":0.0,\"avg_logprob\":-0.1,\"compression_ratio\":1.0,\"no_speech_prob\":0.0}],"
        "\"usage\":{\"type\":\"duration\",\"seconds\":1}}");
}

static void put_transcript(struct mock_script *s, const struct mock_text *text)
{
    struct json_value format = s->ask.response_format;
    bool srt = json_value_is(format, SPAN("srt")), vtt = json_value_is(format, SPAN("vtt"));
    if (srt || vtt || json_value_is(format, SPAN("text"))) {
        s->answer->content_type = SPAN("text/plain; charset=utf-8");
        buffer_format(&s->body, "%s%.*s\n",
                      srt   ? "1\n00:00:00,000 --> 00:00:01,000\n"
                      : vtt ? "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n"
                            : "",
                      SPAN_ARG(text->text));
    } else if (json_value_is(format, SPAN("verbose_json"))) {
        put_verbose(s, text);
    } else {
        MOCK_PUT(&s->body, "{\"text\":");
        mock_put_string(&s->body, text->text);
        put_token_usage(s, &s->body);
        MOCK_PUT(&s->body, "}");
    }
}

void mock_transcriptions(struct mock_script *s)
{
    struct mock_text *text = ARENA_NEW(s->arena, struct mock_text);
    if (!s->ask.file_bytes) {
        mock_refuse(s, 400, "file", "missing_required_parameter", "Missing required parameter: 'file'.");
        return;
    }
    struct span said = arena_format(s->arena, "This is the mock model. It heard %llu bytes of sound.",
                                    (unsigned long long)s->ask.file_bytes);
    mock_text_make(s, said, UINT64_MAX, true, text);
    mock_count(s, 10, text->tokens);
    s->plan = text;
    if (s->ask.stream.kind == JSON_TRUE)
        mock_stream(s, write_transcript_event, text->pieces + 1, text->pieces);
    else
        put_transcript(s, text);
}
