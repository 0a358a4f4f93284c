/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/encoding.h"
#include "base/hash.h"

static void check(struct buffer *b, struct span expected)
{
    assert_true(span_equal(buffer_span(b), expected));
    buffer_finish(b);
}

/* RFC 4648 section 10, and the digits in which the two alphabets differ. */
static void test_known_texts(void **state)
{
    (void)state;
    static const struct {
        struct span bytes, base64, base64url, hex;
    } cases[] = {
        {SPAN_INIT(""), SPAN_INIT(""), SPAN_INIT(""), SPAN_INIT("")},
        {SPAN_INIT("f"), SPAN_INIT("Zg=="), SPAN_INIT("Zg"), SPAN_INIT("66")},
        {SPAN_INIT("fo"), SPAN_INIT("Zm8="), SPAN_INIT("Zm8"), SPAN_INIT("666f")},
        {SPAN_INIT("foo"), SPAN_INIT("Zm9v"), SPAN_INIT("Zm9v"), SPAN_INIT("666f6f")},
        {SPAN_INIT("foob"), SPAN_INIT("Zm9vYg=="), SPAN_INIT("Zm9vYg"), SPAN_INIT("666f6f62")},
        {SPAN_INIT("fooba"), SPAN_INIT("Zm9vYmE="), SPAN_INIT("Zm9vYmE"), SPAN_INIT("666f6f6261")},
        {SPAN_INIT("foobar"), SPAN_INIT("Zm9vYmFy"), SPAN_INIT("Zm9vYmFy"), SPAN_INIT("666f6f626172")},
        {SPAN_INIT("\xfb\xff\xbf"), SPAN_INIT("+/+/"), SPAN_INIT("-_-_"), SPAN_INIT("fbffbf")},
        {SPAN_INIT("\0\0\0"), SPAN_INIT("AAAA"), SPAN_INIT("AAAA"), SPAN_INIT("000000")},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buffer b = {0};
        encode_base64(&b, cases[i].bytes);
        check(&b, cases[i].base64);
        encode_base64url(&b, cases[i].bytes);
        check(&b, cases[i].base64url);
        char room[ENCODED_BASE64URL(64)];
        assert_true(cases[i].bytes.len <= 64);
        const char *end = encode_base64url_at(room, cases[i].bytes);
        assert_int_equal(end - room, ENCODED_BASE64URL(cases[i].bytes.len));
        assert_true(span_equal(span_of(room, (size_t)(end - room)), cases[i].base64url));
        encode_hex(&b, cases[i].bytes);
        check(&b, cases[i].hex);
        assert_true(decode_base64(&b, cases[i].base64));
        check(&b, cases[i].bytes);
        assert_true(decode_base64url(&b, cases[i].base64url));
        check(&b, cases[i].bytes);
        assert_true(decode_hex(&b, cases[i].hex));
        check(&b, cases[i].bytes);
    }
    struct buffer b = {0};
    assert_true(decode_hex(&b, SPAN("fFAb")));
    check(&b, SPAN("\xff\xab"));
}

static void test_refused(void **state)
{
    (void)state;
    static const struct span bad_base64[] = {
        SPAN_INIT("Z"),        SPAN_INIT("Zg"),       SPAN_INIT("Zg="),   SPAN_INIT("Zg==="),   SPAN_INIT("===="),
        SPAN_INIT("="),        SPAN_INIT("Zh=="),     SPAN_INIT("Zm9="),  SPAN_INIT("Zm9v\n"),  SPAN_INIT("Zm 9v==="),
        SPAN_INIT("Zg==Zg=="), SPAN_INIT("-_-_"),     SPAN_INIT("Zm9\0"), SPAN_INIT("Zm9\x80"), SPAN_INIT("A==="),
        SPAN_INIT("Zm=v"),     SPAN_INIT("Zm9v===="),
    };
    static const struct span bad_base64url[] = {
        SPAN_INIT("Z"),   SPAN_INIT("Zg=="),  SPAN_INIT("Zh"),    SPAN_INIT("Zm9"),  SPAN_INIT("+/+/"),
        SPAN_INIT("Zg="), SPAN_INIT("Zm9v "), SPAN_INIT("Zm9vY"), SPAN_INIT("Zm.v"),
    };
    static const struct span bad_hex[] = {SPAN_INIT("0"), SPAN_INIT("0g"), SPAN_INIT("0x"), SPAN_INIT("00 "),
                                          SPAN_INIT("é")};
    struct buffer b = {0};
    buffer_append(&b, SPAN("kept"));
    for (size_t i = 0; i < ARRAY_LEN(bad_base64); i++)
        assert_false(decode_base64(&b, bad_base64[i]));
    for (size_t i = 0; i < ARRAY_LEN(bad_base64url); i++)
        assert_false(decode_base64url(&b, bad_base64url[i]));
    for (size_t i = 0; i < ARRAY_LEN(bad_hex); i++)
        assert_false(decode_hex(&b, bad_hex[i]));
    check(&b, SPAN("kept")); /* nothing was appended */
}

/* There is exactly one text for each byte string: whatever decodes, encodes back to the same text. */
static void test_no_second_spelling(void **state)
{
    (void)state;
    uint64_t seed = 3;
    static const char alphabet[] = "ABCDwxyz0189+/-_= ";
    for (int round = 0; round < 20000; round++) {
        char text[9];
        size_t len = hash_random(&seed) % sizeof(text);
        for (size_t i = 0; i < len; i++)
            text[i] = alphabet[hash_random(&seed) % (sizeof(alphabet) - 1)];
        struct buffer bytes = {0}, again = {0};
        if (decode_base64(&bytes, span_of(text, len))) {
            encode_base64(&again, buffer_span(&bytes));
            assert_true(span_equal(buffer_span(&again), span_of(text, len)));
        }
        buffer_finish(&bytes);
        buffer_finish(&again);
        if (decode_base64url(&bytes, span_of(text, len))) {
            encode_base64url(&again, buffer_span(&bytes));
            assert_true(span_equal(buffer_span(&again), span_of(text, len)));
        }
        buffer_finish(&bytes);
        buffer_finish(&again);
    }
}

static void test_long(void **state)
{
    (void)state;
    struct buffer bytes = {0}, text = {0}, back = {0};
    for (int i = 0; i < 30000; i++)
        buffer_append(&bytes, span_of((const char[]){(char)(i * 7)}, 1));
    for (size_t cut = 0; cut < 3; cut++) {
        struct span part = span_skip(buffer_span(&bytes), cut);
        encode_base64(&text, part);
        assert_true(decode_base64(&back, buffer_span(&text)));
        assert_true(span_equal(buffer_span(&back), part));
        buffer_finish(&text);
        buffer_finish(&back);
    }
    buffer_finish(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_texts),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_no_second_spelling),
        cmocka_unit_test(test_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
