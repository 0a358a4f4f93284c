/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wheel: the timers of one loop, filed by the tick (TIMER_GRAIN µs) in which the wheel must look at them. Hierarchical:
 * eight levels of 64 slots; filing, clearing and finding the next stop are constant. Knows no clock: time is passed in.
 */
#ifndef POSTERN_NET_WHEEL_H
#define POSTERN_NET_WHEEL_H

#include <stdint.h>

#include "base/list.h"
#include "net/loop.h"

#define WHEEL_LEVELS 8
#define WHEEL_SLOTS  64

/* wheel_next's answer when no timer is set. */
#define WHEEL_NEVER UINT64_MAX

struct wheel {
    uint64_t tick;                   /* everything up to and with this tick has been looked at */
    uint64_t occupied[WHEEL_LEVELS]; /* slots that may hold timers */
    struct list slots[WHEEL_LEVELS][WHEEL_SLOTS];
};

void wheel_init(struct wheel *wheel, uint64_t now);
/* Files the timer by its deadline; it must not be filed. */
void wheel_file(struct wheel *wheel, struct timer *timer);
/* The tick by whose end `deadline` has passed. */
uint64_t wheel_tick_of(uint64_t deadline);
/* The time at which wheel_advance must be called next, µs; WHEEL_NEVER when nothing is set. May be early, never late.
 */
uint64_t wheel_next(struct wheel *wheel);
/* Moves on to `now` and appends every timer that is due to `due`, unlinked from the wheel. */
void wheel_advance(struct wheel *wheel, uint64_t now, struct list *due);

#endif
