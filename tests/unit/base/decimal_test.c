/* SPDX-License-Identifier: Apache-2.0 */
#include "base/decimal.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void assert_written(uint64_t value, unsigned digits)
{
    char expected[DECIMAL_MAX + 2], text[DECIMAL_MAX + 1];
    int length = snprintf(expected, sizeof(expected), "%0*" PRIu64, (int)digits, value);
    memset(text, '#', sizeof(text));
    char *end = decimal_write(text, value, digits);
    assert_int_equal(end - text, length);
    assert_memory_equal(text, expected, (size_t)length);
    assert_int_equal(text[length], '#');
}

static void numbers_are_written_as_printf_does(void **state)
{
    (void)state;
    uint64_t power = 1;
    for (unsigned i = 0; i < DECIMAL_MAX; i++, power *= 10) {
        assert_written(power, 1);
        assert_written(power - 1, 1);
        assert_written(power + 1, 3);
        assert_written(7, i + 1);
    }
    assert_written(0, 1);
    assert_written(0, DECIMAL_MAX);
    assert_written(UINT64_MAX, 1);
    assert_written(UINT64_MAX, DECIMAL_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(numbers_are_written_as_printf_does)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
