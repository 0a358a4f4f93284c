/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "gateway/cache_keys.h"

#define A "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
#define B "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="

static struct cache_keys *parse(const char *text, struct buffer *messages)
{
    struct report report;
    report_init(&report);
    struct cache_keys *keys = cache_keys_parse(SPAN("/keys"), span_str(text), &report);
    report_print(&report, messages);
    assert_int_equal(report.errors == 0, keys != NULL);
    report_finish(&report);
    return keys;
}

static void test_good(void **state)
{
    (void)state;
    static const struct {
        const char *text, *first;
        size_t count;
    } cases[] = {
        {"a:" A, "a", 1},
        {"a:" A "\n", "a", 1},
        {"a: " A " \r\nb:" B "\r\n", "a", 2},
        {"# the new one\n\n2027-01_x.Y:" B "\n\t\n#b:" A "\na:" A "\n", "2027-01_x.Y", 2},
        {"0123456789abcdefghijklmnopqrstuv:" A, "0123456789abcdefghijklmnopqrstuv", 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buffer messages = {0};
        struct cache_keys *keys = parse(cases[i].text, &messages);
        assert_non_null(keys);
        assert_int_equal(cache_keys_count(keys), cases[i].count);
        assert_true(span_equal(cache_keys_first(keys), span_str(cases[i].first)));
        assert_non_null(cache_keys_find(keys, cache_keys_first(keys)));
        assert_null(cache_keys_find(keys, SPAN("none")));
        assert_int_equal(cache_keys_naming(keys).len, CRYPTO_SHA256_BYTES);
        /* What names is not what the file says. */
        assert_false(span_equal(cache_keys_naming(keys), SPAN("0123456789abcdef0123456789abcdef")));
        cache_keys_destroy(keys);
        buffer_finish(&messages);
    }
    cache_keys_destroy(NULL);
}

static void test_bad(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "/keys: there is no key"},
        {"# nothing\n\n", "/keys: there is no key"},
        {"a:" A "\n" B "\n", "/keys:2:1: expected `id:base64`"},
        {":" A, "/keys:1:1: expected `id:base64`"},
        {"a b:" A, "/keys:1:1: expected `id:base64`"},
        {"0123456789abcdefghijklmnopqrstuvw:" A, "/keys:1:1: expected `id:base64`"},
        {"a:" A "\na:" B, "/keys:2:1: this id stands above already"},
        {"a:", "/keys:1:1: the key is not 32 bytes"},
        {"a:c2hvcnQ=", "/keys:1:1: the key is not 32 bytes"},
        {"a:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWZn", "/keys:1:1: the key is not 32 bytes"},
        {"a:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY", "/keys:1:1: the key is not 32 bytes"},
        {"1:" A "\n2:" A "\n3:" A "\n4:" A "\n5:" A "\n6:" A "\n7:" A "\n8:" A "\n9:" A "\n10:" A "\n11:" A "\n12:" A
         "\n13:" A "\n14:" A "\n15:" A "\n16:" A "\n17:" A "\n",
         "/keys:17:1: more than 16 keys"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buffer messages = {0};
        assert_null(parse(cases[i].text, &messages));
        if (!span_starts_with(buffer_span(&messages), span_str(cases[i].message)))
            fail_msg("%s: %.*s", cases[i].text, SPAN_ARG(buffer_span(&messages)));
        assert_int_equal(span_search(buffer_span(&messages), SPAN(A)), buffer_len(&messages));
        buffer_finish(&messages);
    }
}

/* ---- the file ---- */

static void write_file(const char *path, const char *text)
{
    char next[128];
    (void)snprintf(next, sizeof(next), "%s.next", path);
    FILE *file = fopen(next, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(rename(next, path), 0); /* as a mounted Secret changes: all at once */
}

static void test_file(void **state)
{
    (void)state;
    char directory[] = "/tmp/postern-cache-keys-XXXXXX", path[64];
    assert_non_null(mkdtemp(directory));
    (void)snprintf(path, sizeof(path), "%s/keys", directory);
    clock_fake(CLOCK_SECOND, 1700000000 * CLOCK_SECOND);
    struct loop *loop = loop_create();
    assert_null(cache_key_file_open(loop, span_str(path)));
    write_file(path, "a:short\n");
    assert_null(cache_key_file_open(loop, span_str(path)));
    write_file(path, "a:" A "\n");
    struct cache_key_file *file = cache_key_file_open(loop, span_str(path));
    assert_non_null(file);
    assert_true(span_equal(cache_key_file_path(file), span_str(path)));
    assert_int_equal(cache_key_file_generation(file), 1);
    loop_advance(loop, 5 * CLOCK_SECOND);
    assert_int_equal(cache_key_file_generation(file), 1);

    write_file(path, "b:" B "\na:" A "\n");
    loop_advance(loop, 2 * CLOCK_SECOND);
    assert_int_equal(cache_key_file_generation(file), 2);
    assert_int_equal(cache_keys_count(cache_key_file_now(file)), 2);
    assert_true(span_equal(cache_keys_first(cache_key_file_now(file)), SPAN("b")));

    write_file(path, "b:broken\n"); /* the last good ones stay */
    loop_advance(loop, 2 * CLOCK_SECOND);
    assert_int_equal(cache_key_file_generation(file), 2);
    assert_int_equal(unlink(path), 0);
    loop_advance(loop, 2 * CLOCK_SECOND);
    assert_int_equal(cache_keys_count(cache_key_file_now(file)), 2);

    write_file(path, "c:" B "\n");
    loop_advance(loop, 2 * CLOCK_SECOND);
    assert_int_equal(cache_key_file_generation(file), 3);
    assert_true(span_equal(cache_keys_first(cache_key_file_now(file)), SPAN("c")));
    cache_key_file_close(file);
    cache_key_file_close(NULL);
    loop_destroy(loop);
    clock_real();
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(directory), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_file),
    };
    hash_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
