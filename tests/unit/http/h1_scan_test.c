/* SPDX-License-Identifier: Apache-2.0 */
/* The fast byte loops against the plain ones: every byte value at every offset of three blocks. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "http/h1_scan.h"

#define LEN 72

static void same_for_every_byte_and_place(void **state)
{
    (void)state;
    char text[LEN + H1_SCAN_PAD], fast[sizeof(text)], plain[sizeof(text)];
    for (int byte = 0; byte < 256; byte++) {
        for (int at = 0; at < LEN; at++) {
            memset(text, at % 2 ? 'Q' : '-', LEN);
            memset(text + LEN, 0, H1_SCAN_PAD);
            text[LEN - 1] = '?';
            text[at] = (char)byte;
            const char *one = NULL, *two = NULL;
            assert_ptr_equal(h1_scan_value(text), h1_scan_value_portable(text));
            assert_ptr_equal(h1_scan_target(text, &one), h1_scan_target_portable(text, &two));
            assert_ptr_equal(one, two);
            for (int end = at; end < LEN; end++)
                assert_ptr_equal(h1_find_lf(text, text + end), h1_find_lf_portable(text, text + end));
            memcpy(fast, text, sizeof(text));
            memcpy(plain, text, sizeof(text));
            assert_int_equal(h1_lower_name(fast), h1_lower_name_portable(plain));
            assert_memory_equal(fast, plain, sizeof(text));
        }
    }
    assert_null(h1_find_lf(NULL, NULL));
    assert_null(h1_find_blank_line(NULL, NULL));
}

/* A blank line at every place of every length, among bytes that look like one. */
static void finds_the_blank_line(void **state)
{
    (void)state;
    static const char *const lures[] = {"a", "\n", "\r", "\n\r\n", "\r\na\n", "a\n\n"};
    char text[LEN];
    for (size_t lure = 0; lure < ARRAY_LEN(lures); lure++) {
        for (int at = 0; at + 4 <= LEN; at++) {
            size_t len = strlen(lures[lure]);
            for (size_t i = 0; i < LEN; i++)
                text[i] = lures[lure][i % len];
            memcpy(text + at, "\r\n\r\n", 4);
            for (int end = 0; end <= LEN; end++)
                assert_ptr_equal(h1_find_blank_line(text, text + end), h1_find_blank_line_portable(text, text + end));
        }
    }
}

/* RFC 9110 5.6.2, written the other way round. */
static void table_holds_the_tokens(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        bool token = c > 0x20 && c < 0x7F && !strchr("\"(),/:;<=>?@[\\]{}", c);
        assert_int_equal(h1_token[c], token ? (letter ? c | 0x20 : c) : 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_for_every_byte_and_place),
        cmocka_unit_test(finds_the_blank_line),
        cmocka_unit_test(table_holds_the_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
