/* SPDX-License-Identifier: Apache-2.0 */
/* Embeddings, moderations, models, images, speech and transcriptions of the mock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>

#include "base/encoding.h"
#include "unit/openai/mock_call.h"

static int begin(void **state)
{
    static struct mock_call call;
    mock_call_begin(&call);
    *state = &call;
    return 0;
}

static int end(void **state)
{
    mock_call_end(*state);
    return 0;
}

static double number_at(struct json_value array, unsigned index)
{
    char path[16];
    struct json_value value;
    double number = 0;
    (void)snprintf(path, sizeof(path), "%u", index);
    assert_true(json_value_find(array, path, &value) && json_value_double(value, &number));
    return number;
}

static void test_embeddings(void **state)
{
    struct mock_call *call = *state;
    struct json_value vector,
        o = mock_json(mock_ask_for(call, OPERATION_EMBEDDINGS,
                                   SPAN("{\"model\":\"e\",\"input\":[\"hello there\",\"x\"],\"dimensions\":8}")));
    assert_string_equal(mock_at(call, o, "object"), "list");
    assert_string_equal(mock_at(call, o, "model"), "e");
    assert_string_equal(mock_at(call, o, "data.1.object"), "embedding");
    assert_string_equal(mock_at(call, o, "data.1.index"), "1");
    assert_string_equal(mock_at(call, o, "usage.prompt_tokens"), "4");
    assert_string_equal(mock_at(call, o, "usage.total_tokens"), "4");
    assert_false(mock_has(o, "data.2"));
    assert_true(json_value_find(o, "data.0.embedding", &vector));
    assert_false(mock_has(vector, "8"));
    double sum = 0;
    for (unsigned i = 0; i < 8; i++)
        sum += number_at(vector, i) * number_at(vector, i);
    assert_true(fabs(sum - 1) < 1e-6);
    assert_string_not_equal(mock_at(call, o, "data.0.embedding"), mock_at(call, o, "data.1.embedding"));
    /* the same text has the same vector, whatever it comes in */
    const char *alone = mock_at(call, o, "data.0.embedding");
    o = mock_json(mock_ask_for(call, OPERATION_EMBEDDINGS, SPAN("{\"input\":\"hello\\u0020there\",\"dimensions\":8}")));
    assert_string_equal(mock_at(call, o, "data.0.embedding"), alone);
}

static void test_embeddings_base64(void **state)
{
    struct mock_call *call = *state;
    struct json_value vector,
        o = mock_json(mock_ask_for(call, OPERATION_EMBEDDINGS, SPAN("{\"input\":\"x\",\"dimensions\":3}")));
    assert_true(json_value_find(o, "data.0.embedding", &vector));
    double expected[3] = {number_at(vector, 0), number_at(vector, 1), number_at(vector, 2)};
    o = mock_json(mock_ask_for(call, OPERATION_EMBEDDINGS,
                               SPAN("{\"input\":\"x\",\"dimensions\":3,\"encoding_format\":\"base64\"}")));
    struct buffer bytes = {0};
    assert_true(decode_base64(&bytes, span_str(mock_at(call, o, "data.0.embedding"))));
    assert_int_equal(buffer_len(&bytes), 12);
    for (unsigned i = 0; i < 3; i++) {
        uint32_t bits = 0;
        float number;
        for (unsigned b = 0; b < 4; b++)
            bits |= (uint32_t)(unsigned char)buffer_span(&bytes).ptr[i * 4 + b] << (8 * b);
        memcpy(&number, &bits, sizeof(number));
        assert_true((float)expected[i] == number);
    }
    buffer_finish(&bytes);
    o = mock_json(mock_ask_for(call, OPERATION_EMBEDDINGS, SPAN("{\"input\":\"x\"}")));
    assert_true(mock_has(o, "data.0.embedding.1535"));
    assert_false(mock_has(o, "data.0.embedding.1536"));
}

static void test_embeddings_of_tokens(void **state)
{
    struct mock_call *call = *state;
    struct json_value o =
        mock_json(mock_ask_for(call, OPERATION_EMBEDDINGS, SPAN("{\"input\":[1,2,3],\"dimensions\":2}")));
    assert_string_equal(mock_at(call, o, "usage.prompt_tokens"), "3");
    assert_false(mock_has(o, "data.1"));
    o = mock_json(mock_ask_for(call, OPERATION_EMBEDDINGS, SPAN("{\"input\":[[1,2],[3]],\"dimensions\":2}")));
    assert_string_equal(mock_at(call, o, "usage.prompt_tokens"), "3");
    assert_true(mock_has(o, "data.1"));
}

static void test_moderations(void **state)
{
    struct mock_call *call = *state;
    struct json_value o = mock_json(
        mock_ask_for(call, OPERATION_MODERATIONS, SPAN("{\"model\":\"m\",\"input\":[\"fine\",\"please flag me\"]}")));
    assert_string_equal(mock_at(call, o, "model"), "m");
    assert_string_equal(mock_at(call, o, "results.0.flagged"), "false");
    assert_string_equal(mock_at(call, o, "results.1.flagged"), "true");
    assert_string_equal(mock_at(call, o, "results.1.categories.violence"), "true");
    assert_string_equal(mock_at(call, o, "results.1.categories.hate"), "false");
    assert_string_equal(mock_at(call, o, "results.0.category_scores.self-harm/intent"), "0.0001");
    assert_true(mock_has(o, "results.0.category_applied_input_types.violence.0"));
    o = mock_json(
        mock_ask_for(call, OPERATION_MODERATIONS, SPAN("{\"input\":[{\"type\":\"text\",\"text\":\"flag me\"}]}")));
    assert_string_equal(mock_at(call, o, "results.0.flagged"), "true");
}

static void test_models(void **state)
{
    struct mock_call *call = *state;
    struct json_value o = mock_json(mock_ask_for(call, OPERATION_MODELS, SPAN("")));
    assert_string_equal(mock_at(call, o, "object"), "list");
    assert_string_equal(mock_at(call, o, "data.0.object"), "model");
    assert_true(mock_has(o, "data.0.created"));
    call->request.resource = SPAN("/my-model");
    o = mock_json(mock_ask_for(call, OPERATION_MODEL, SPAN("")));
    assert_string_equal(mock_at(call, o, "id"), "my-model");
    assert_string_equal(mock_at(call, o, "object"), "model");
}

static void check_png(const char *base64)
{
    struct buffer png = {0};
    assert_true(decode_base64(&png, span_str(base64)));
    assert_true(span_starts_with(buffer_span(&png), SPAN("\x89PNG\r\n\x1a\n\0\0\0\rIHDR")));
    assert_true(span_ends_with(buffer_span(&png), SPAN("IEND\xae\x42\x60\x82")));
    buffer_finish(&png);
}

static void test_images(void **state)
{
    struct mock_call *call = *state;
    struct json_value o = mock_json(
        mock_ask_for(call, OPERATION_IMAGE_GENERATIONS, SPAN("{\"prompt\":\"a cat\",\"n\":2,\"size\":\"1536x1024\"}")));
    check_png(mock_at(call, o, "data.1.b64_json"));
    assert_string_equal(mock_at(call, o, "size"), "1536x1024");
    assert_string_equal(mock_at(call, o, "usage.input_tokens"), "2");
    assert_true(mock_has(o, "usage.input_tokens_details.text_tokens"));
    assert_false(mock_has(o, "data.2"));
    o = mock_json(
        mock_ask_for(call, OPERATION_IMAGE_GENERATIONS, SPAN("{\"prompt\":\"x\",\"response_format\":\"url\"}")));
    check_png(mock_at(call, o, "data.0.url") + strlen("data:image/png;base64,"));

    (void)mock_ask_for(call, OPERATION_IMAGE_GENERATIONS,
                       SPAN("{\"prompt\":\"x\",\"stream\":true,\"partial_images\":2}"));
    assert_int_equal(call->count, 3);
    assert_string_equal(mock_at(call, mock_event_json(call, 1), "type"), "image_generation.partial_image");
    assert_string_equal(mock_at(call, mock_event_json(call, 1), "partial_image_index"), "1");
    assert_string_equal(mock_at(call, mock_event_json(call, 2), "type"), "image_generation.completed");
    assert_true(mock_has(mock_event_json(call, 2), "usage.total_tokens"));
    assert_true(span_starts_with(call->event[2], SPAN("event: image_generation.completed\n")));
    check_png(mock_at(call, mock_event_json(call, 0), "b64_json"));
}

static void test_speech(void **state)
{
    struct mock_call *call = *state;
    struct span wav = mock_ask_for(call, OPERATION_SPEECH, SPAN("{\"input\":\"hello\",\"voice\":\"alloy\"}"));
    assert_true(span_equal(call->run->answer.content_type, SPAN("audio/wav")));
    assert_true(span_starts_with(wav, SPAN("RIFF\x44\x03\0\0WAVEfmt ")));
    assert_int_equal(wav.len, 8 + 0x344);
    assert_true(span_equal(span_take(span_skip(wav, 36), 8), SPAN("data\x20\x03\0\0")));
    assert_int_equal(mock_ask_for(call, OPERATION_SPEECH, SPAN("{\"input\":\"x\",\"response_format\":\"pcm\"}")).len,
                     800);
    (void)mock_ask_for(call, OPERATION_SPEECH, SPAN("{\"input\":\"hello\",\"stream_format\":\"sse\"}"));
    assert_int_equal(call->count, 2);
    struct buffer bytes = {0};
    assert_true(decode_base64(&bytes, span_str(mock_at(call, mock_event_json(call, 0), "audio"))));
    assert_true(span_starts_with(buffer_span(&bytes), SPAN("RIFF")));
    buffer_finish(&bytes);
    assert_string_equal(mock_at(call, mock_event_json(call, 1), "usage.input_tokens"), "2");
}

/* A form with a file of five bytes, CRLF and a look-alike field among them, and more fields from `fields`. */
static struct span form(struct mock_call *call, const char *fields)
{
    call->request.content_type = SPAN("multipart/form-data; boundary=b0");
    return arena_format(&call->arena,
                        "--b0\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n"
                        "Content-Type: audio/wav\r\n\r\nab\r\nc\r\n%s--b0--\r\n",
                        fields);
}

#define FIELD(name, value) "--b0\r\nContent-Disposition: form-data; name=\"" name "\"\r\n\r\n" value "\r\n"
#define HEARD              "This is the mock model. It heard 5 bytes of sound."

static void test_transcriptions(void **state)
{
    struct mock_call *call = *state;
    struct json_value o =
        mock_json(mock_ask_for(call, OPERATION_TRANSCRIPTIONS, form(call, FIELD("model", "whisper-1"))));
    assert_string_equal(mock_at(call, o, "text"), HEARD);
    assert_string_equal(mock_at(call, o, "usage.type"), "tokens");
    assert_true(mock_has(o, "usage.input_token_details.audio_tokens"));
    static const struct {
        const char *fields;
        struct span start;
    } texts[] = {
        {FIELD("response_format", "text"), SPAN_INIT(HEARD "\n")},
        {FIELD("response_format", "srt"), SPAN_INIT("1\n00:00:00,000 --> ")},
        {FIELD("response_format", "vtt"), SPAN_INIT("WEBVTT\n\n")},
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct span text = mock_ask_for(call, OPERATION_TRANSCRIPTIONS, form(call, texts[i].fields));
        assert_true(span_starts_with(text, texts[i].start) && span_ends_with(text, SPAN(HEARD "\n")));
        assert_true(span_equal(call->run->answer.content_type, SPAN("text/plain; charset=utf-8")));
    }
    o = mock_json(mock_ask_for(call, OPERATION_TRANSLATIONS, form(call, FIELD("response_format", "verbose_json"))));
    assert_string_equal(mock_at(call, o, "task"), "translate");
    assert_string_equal(mock_at(call, o, "segments.0.text"), HEARD);
    assert_string_equal(mock_at(call, o, "usage.seconds"), "1");

    (void)mock_ask_for(call, OPERATION_TRANSCRIPTIONS, form(call, FIELD("stream", "true") FIELD("model", "a\"b")));
    assert_true(call->run->answer.stream);
    assert_string_equal(mock_joined(call, "delta"), HEARD);
    struct json_value last = mock_event_json(call, call->count - 1);
    assert_string_equal(mock_at(call, last, "type"), "transcript.text.done");
    assert_string_equal(mock_at(call, last, "text"), HEARD);
    assert_string_equal(mock_at(call, last, "usage.type"), "tokens");
}

static void test_forms(void **state)
{
    struct mock_call *call = *state;
    struct json_value o = mock_json(mock_ask_for(
        call, OPERATION_IMAGE_EDITS, form(call, FIELD("prompt", "123") FIELD("n", "2") FIELD("unknown", "x"))));
    check_png(mock_at(call, o, "data.1.b64_json"));
    (void)mock_ask_for(call, OPERATION_IMAGE_EDITS, form(call, FIELD("prompt", "x") FIELD("stream", "True")));
    assert_string_equal(mock_at(call, mock_event_json(call, 0), "type"), "image_edit.completed");
    (void)mock_ask_for(call, OPERATION_IMAGE_VARIATIONS, form(call, ""));
    assert_int_equal(call->run->answer.status, 200);
    /* cut anywhere: refused, not misread */
    struct span whole = form(call, FIELD("prompt", "x"));
    for (size_t len = 0; len + 2 < whole.len; len++) {
        (void)mock_ask_for(call, OPERATION_IMAGE_EDITS, span_take(whole, len));
        assert_int_equal(call->run->answer.status, 400);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_embeddings),
        TEST(test_embeddings_base64),
        TEST(test_embeddings_of_tokens),
        TEST(test_moderations),
        TEST(test_models),
        TEST(test_images),
        TEST(test_speech),
        TEST(test_transcriptions),
        TEST(test_forms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
