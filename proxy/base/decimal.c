/* SPDX-License-Identifier: Apache-2.0 */
#include "base/decimal.h"

char *decimal_write(char *to, uint64_t value, unsigned digits)
{
    unsigned len = 1;
    for (uint64_t power = 10; len < DECIMAL_MAX && value >= power; power *= 10)
        len++;
    len = len < digits ? digits : len;
    char *at = to + len;
    /* Two at a time: each division waits for the one before. */
    while (at - to >= 2) {
        uint64_t rest = value / 100;
        unsigned pair = (unsigned)(value - 100 * rest);
        *--at = (char)('0' + pair % 10);
        *--at = (char)('0' + pair / 10);
        value = rest;
    }
    if (at > to)
        *--at = (char)('0' + value);
    return to + len;
}
