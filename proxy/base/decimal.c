/* SPDX-License-Identifier: Apache-2.0 */
#include "base/decimal.h"

#include <string.h>

char *decimal_write(char *to, uint64_t value, unsigned digits)
{
    char text[DECIMAL_MAX];
    unsigned at = DECIMAL_MAX;
    do {
        text[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value || DECIMAL_MAX - at < digits);
    memcpy(to, text + at, DECIMAL_MAX - at);
    return to + (DECIMAL_MAX - at);
}
