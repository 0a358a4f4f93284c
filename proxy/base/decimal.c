/* SPDX-License-Identifier: Apache-2.0 */
#include "base/decimal.h"

char *decimal_write(char *to, uint64_t value, unsigned digits)
{
    unsigned count = digits ? digits : 1;
    for (uint64_t rest = value, n = 0; rest; rest /= 10)
        if (++n > count)
            count = (unsigned)n;
    for (unsigned i = count; i > 0; value /= 10)
        to[--i] = (char)('0' + value % 10);
    return to + count;
}
