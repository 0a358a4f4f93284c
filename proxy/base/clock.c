/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <time.h>

static bool fake;
static uint64_t fake_monotonic, fake_wall;

static uint64_t read_clock(clockid_t which)
{
    struct timespec now;
    if (clock_gettime(which, &now) != 0)
        return 0;
    return (uint64_t)now.tv_sec * CLOCK_SECOND + (uint64_t)now.tv_nsec / 1000;
}

uint64_t clock_monotonic(void)
{
    return fake ? fake_monotonic : read_clock(CLOCK_MONOTONIC);
}

uint64_t clock_wall(void)
{
    return fake ? fake_wall : read_clock(CLOCK_REALTIME);
}

void clock_fake(uint64_t monotonic, uint64_t wall)
{
    fake = true;
    fake_monotonic = monotonic;
    fake_wall = wall;
}

void clock_real(void)
{
    fake = false;
}

bool clock_is_fake(void)
{
    return fake;
}
