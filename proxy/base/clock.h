/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time in microseconds. Code outside net/ and gateway/ never asks for the time: it is passed in. The loop reads the
 * clock once per turn. Tests replace both clocks by a fake one.
 */
#ifndef POSTERN_BASE_CLOCK_H
#define POSTERN_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#define CLOCK_MS     UINT64_C(1000)
#define CLOCK_SECOND UINT64_C(1000000)

/* Monotonic, arbitrary origin: for deadlines and durations. */
uint64_t clock_monotonic(void);
/* Since 1970-01-01 UTC: for logs, token expiry, HTTP dates. */
uint64_t clock_wall(void);

/* Tests: from now on both clocks stand at these values until changed again; clock_real ends it. */
void clock_fake(uint64_t monotonic, uint64_t wall);
void clock_real(void);
bool clock_is_fake(void);

#endif
