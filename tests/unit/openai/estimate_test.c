/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The estimate against texts whose tokens were counted (tests/support/estimate), and what counts in a request's body.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/hash.h"
#include "openai/estimate.h"

/* ---- counted texts ---- */

struct errors {
    double all[256];
    unsigned count;
};

static double mean(const struct errors *errors, unsigned from)
{
    double sum = 0;
    for (unsigned i = from; i < errors->count; i++)
        sum += errors->all[i];
    return sum / (errors->count - from);
}

static int rising(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* A file is texts, each behind a line "@@ TOKENS". */
static void read_texts(const char *name, struct errors *errors)
{
    static char content[65536];
    char path[128];
    (void)snprintf(path, sizeof(path), "tests/support/estimate/%s.txt", name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    struct span rest = span_of(content, fread(content, 1, sizeof(content), file));
    (void)fclose(file);
    assert_true(rest.len > 1000 && rest.len < sizeof(content));
    while (rest.len) {
        assert_true(span_starts_with(rest, SPAN("@@ ")));
        size_t line = span_find(rest, '\n');
        uint64_t tokens;
        assert_true(span_to_u64(span_skip(span_take(rest, line), 3), &tokens));
        rest = span_skip(rest, line + 1);
        size_t end = span_search(rest, SPAN("\n@@ "));
        struct span text = span_take(rest, end == rest.len ? end - 1 : end);
        double ratio = (double)estimate_text(text) / (double)tokens;
        assert_true(errors->count < ARRAY_LEN(errors->all));
        errors->all[errors->count++] = ratio > 1 ? ratio - 1 : 1 - ratio;
        rest = span_skip(rest, end == rest.len ? end : end + 1);
    }
}

static void test_counted_texts(void **state)
{
    (void)state;
    static const char *const names[] = {"english", "german", "chinese", "code", "json"};
    struct errors errors = {.count = 0};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        unsigned before = errors.count;
        read_texts(names[i], &errors);
        assert_true(errors.count >= before + 10);
        print_message("%s: %.1f %%\n", names[i], 100 * mean(&errors, before));
        assert_true(mean(&errors, before) <= 0.10);
    }
    assert_true(mean(&errors, 0) <= 0.10);
    qsort(errors.all, errors.count, sizeof(errors.all[0]), rising);
    assert_true(errors.all[errors.count * 95 / 100] <= 0.25);
}

static void test_edges(void **state)
{
    (void)state;
    assert_int_equal(estimate_text((struct span){0}), 0);
    assert_int_equal(estimate_text(SPAN("a")), 1);
    /* Every byte, and every cut of a character: no fault, never nothing. */
    for (unsigned c = 0; c < 256; c++) {
        char bytes[] = {(char)c, (char)0xe4, (char)0xbd};
        for (size_t n = 1; n <= sizeof(bytes); n++)
            assert_true(estimate_text(span_of(bytes, n)) <= 2 * n);
    }
    assert_int_equal(estimate_text(SPAN("123456789")), 3);
}

/* Long texts are sampled: twice as much of the same counts about twice. */
static void test_samples(void **state)
{
    (void)state;
    static const char sentence[] = "The quick brown fox jumps over the lazy dog; 17 times, Stra\xc3\x9f"
                                   "e! ";
    struct buffer text = {0};
    for (unsigned i = 0; i < 2000; i++)
        buffer_append(&text, span_str(sentence));
    double one = (double)estimate_text(span_take(buffer_span(&text), 2 * (sizeof(sentence) - 1))) / 2;
    for (unsigned times = 10; times <= 2000; times *= 2) {
        double all = (double)estimate_text(span_take(buffer_span(&text), times * (sizeof(sentence) - 1)));
        assert_true(all > 0.9 * one * times && all < 1.1 * one * times);
    }
    buffer_finish(&text);
}

/* ---- bodies ---- */

static struct estimate estimate_of(struct arena *arena, const char *body)
{
    struct request_info info;
    struct request_reader reader;
    struct estimate estimate;
    request_init(&reader, REQUEST_JSON, (struct span){0}, arena, &info);
    assert_int_equal(request_feed(&reader, span_str(body)), FAULT_NONE);
    assert_int_equal(request_finish(&reader), FAULT_NONE);
    estimate_request(&info, span_str(body), &estimate);
    return estimate;
}

static void test_bodies(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        uint64_t least, most;
        unsigned images, audio;
    } cases[] = {
        {"{\"model\":\"m\"}", 0, 0, 0, 0},
        {"{\"messages\":[]}", 3, 3, 0, 0},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}", 7, 9, 0, 0},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"Hello\"}]}]}", 7, 9, 0, 0},
        {"{\"metadata\":{\"text\":\"not read by the model\"},\"user\":\"someone\"}", 0, 0, 0, 0},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/"
         "png;base64,AAAA\"}}]}]}",
         765 + 7, 765 + 8, 1, 0},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"http://x/y\","
         "\"detail\":\"low\"}}]}]}",
         85 + 7, 85 + 8, 1, 0},
        {"{\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_image\",\"image_url\":\"data:xxxxxxxx\"}]}]}",
         765 + 4, 765 + 5, 1, 0},
        {"{\"input\":\"Hello\"}", 1, 2, 0, 0},
        {"{\"input\":[[1,2,3],[400,5]]}", 5, 5, 0, 0},
        {"{\"prompt\":[15,16,17000]}", 3, 3, 0, 0},
        {"{\"prompt\":\"line\\nline\\u00e4\\ud83d\\ude00\\\"\\\\\"}", 5, 14, 0, 0},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_audio\",\"input_audio\":{\"format\":\"wav\","
         "\"data\":\"\"}}]}]}",
         7, 8, 0, 1},
        {"{\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"description\":\"Look it "
         "up.\"}}]}",
         8, 24, 0, 0},
    };
    struct arena arena;
    arena_init(&arena);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct estimate estimate = estimate_of(&arena, cases[i].body);
        assert_in_range(estimate.tokens, cases[i].least, cases[i].most);
        assert_int_equal(estimate.images, cases[i].images);
        assert_int_equal(estimate.audio, cases[i].audio);
    }
    arena_finish(&arena);
}

/* However a conversation is cut into messages, samples of it tell about the same; short languages do not hide. */
static void test_many_strings(void **state)
{
    (void)state;
    static const char sentence[] = "The quick brown fox jumps over the lazy dog; 17 times, Stra\xc3\x9f"
                                   "e! ";
    static const unsigned times[] = {1, 3, 10, 30};
    struct arena arena;
    arena_init(&arena);
    double one = (double)estimate_text(span_str(sentence));
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        struct buffer body = {0};
        buffer_append(&body, SPAN("{\"input\":["));
        for (unsigned m = 0; m < 60; m++) {
            buffer_append(&body, m ? SPAN(",\"") : SPAN("\""));
            for (unsigned n = 0; n < times[i]; n++)
                buffer_append(&body, span_str(sentence));
            buffer_append(&body, SPAN("\""));
        }
        buffer_append(&body, span_of("]}", 3));
        struct estimate estimate = estimate_of(&arena, buffer_span(&body).ptr);
        double expected = one * times[i] * 60;
        assert_true((double)estimate.tokens > 0.9 * expected && (double)estimate.tokens < 1.1 * expected);
        assert_int_equal(estimate.text_bytes, (sizeof(sentence) - 1) * times[i] * 60);
        buffer_finish(&body);
    }
    arena_finish(&arena);
}

static void test_delivered(void **state)
{
    (void)state;
    struct estimate none = {0}, dense = {.text_tokens = 100, .text_bytes = 200},
                    sparse = {.text_tokens = 100, .text_bytes = 900};
    assert_int_equal(estimate_delivered(&none, 0), 0);
    assert_int_equal(estimate_delivered(&none, 400), 100);
    assert_int_equal(estimate_delivered(&none, 401), 101);
    assert_int_equal(estimate_delivered(&dense, 400), 200);
    assert_int_equal(estimate_delivered(&sparse, 400), 80);
}

int main(void)
{
    hash_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counted_texts), cmocka_unit_test(test_edges),        cmocka_unit_test(test_samples),
        cmocka_unit_test(test_bodies),        cmocka_unit_test(test_many_strings), cmocka_unit_test(test_delivered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
