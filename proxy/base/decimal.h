/* SPDX-License-Identifier: Apache-2.0 */
/* decimal: whole numbers as text where printf would cost more than what surrounds it. */
#ifndef POSTERN_BASE_DECIMAL_H
#define POSTERN_BASE_DECIMAL_H

#include <stdint.h>

/* Most digits of a number. */
#define DECIMAL_MAX 20

/* Writes `value` at `to`, with zeros in front up to `digits` (at most DECIMAL_MAX). Returns the end; no NUL follows. */
char *decimal_write(char *to, uint64_t value, unsigned digits);

#endif
