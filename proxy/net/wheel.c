/* SPDX-License-Identifier: Apache-2.0 */
#include "net/wheel.h"

#define GRAIN_BITS 14
#define SLOT_BITS  6
/* Farthest tick that all levels together can tell apart. */
#define TICK_LIMIT ((UINT64_C(1) << (SLOT_BITS * WHEEL_LEVELS)) - 1)

_Static_assert(TIMER_GRAIN == UINT64_C(1) << GRAIN_BITS, "a tick is one grain");
_Static_assert(WHEEL_SLOTS == 1 << SLOT_BITS, "a level takes SLOT_BITS bits of the tick");

void wheel_init(struct wheel *wheel, uint64_t now)
{
    wheel->tick = now >> GRAIN_BITS;
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        wheel->occupied[level] = 0;
        for (unsigned slot = 0; slot < WHEEL_SLOTS; slot++)
            list_init(&wheel->slots[level][slot]);
    }
}

uint64_t wheel_tick_of(uint64_t deadline)
{
    uint64_t tick = deadline >> GRAIN_BITS;
    if (deadline & (TIMER_GRAIN - 1))
        tick++;
    return tick < TICK_LIMIT ? tick : TICK_LIMIT;
}

void wheel_file(struct wheel *wheel, struct timer *timer)
{
    uint64_t tick = wheel_tick_of(timer->deadline);
    if (tick <= wheel->tick)
        tick = wheel->tick + 1;
    timer->filed = tick;
    /* The highest bit in which it differs from now decides the level: all below is sorted out when that slot comes up.
     */
    unsigned level = (63 - (unsigned)__builtin_clzll(tick ^ wheel->tick)) / SLOT_BITS;
    unsigned slot = (unsigned)(tick >> (level * SLOT_BITS)) & (WHEEL_SLOTS - 1);
    wheel->occupied[level] |= UINT64_C(1) << slot;
    list_append(&wheel->slots[level][slot], &timer->link);
}

/* The earliest slot that holds a timer. Lower levels come first in time, since they share the higher bits with now. */
static bool first_slot(struct wheel *wheel, unsigned *ret_level, unsigned *ret_slot, uint64_t *ret_tick)
{
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        while (wheel->occupied[level]) {
            unsigned slot = (unsigned)__builtin_ctzll(wheel->occupied[level]);
            if (!list_empty(&wheel->slots[level][slot])) {
                unsigned shift = level * SLOT_BITS;
                uint64_t above = wheel->tick >> shift >> SLOT_BITS << SLOT_BITS;
                *ret_level = level;
                *ret_slot = slot;
                *ret_tick = (above | slot) << shift;
                return true;
            }
            wheel->occupied[level] &= wheel->occupied[level] - 1; /* its timers were cleared meanwhile */
        }
    }
    return false;
}

uint64_t wheel_next(struct wheel *wheel)
{
    unsigned level, slot;
    uint64_t tick;
    return first_slot(wheel, &level, &slot, &tick) ? tick << GRAIN_BITS : WHEEL_NEVER;
}

void wheel_advance(struct wheel *wheel, uint64_t now, struct list *due)
{
    uint64_t target = now >> GRAIN_BITS;
    unsigned level, slot;
    uint64_t tick;
    while (first_slot(wheel, &level, &slot, &tick) && tick <= target) {
        wheel->tick = tick;
        wheel->occupied[level] &= ~(UINT64_C(1) << slot);
        struct list *head = &wheel->slots[level][slot];
        while (!list_empty(head)) {
            struct timer *timer = LIST_FIRST(head, struct timer, link);
            list_remove(&timer->link);
            if (wheel_tick_of(timer->deadline) <= target)
                list_append(due, &timer->link);
            else
                wheel_file(wheel, timer);
        }
    }
    if (target > wheel->tick)
        wheel->tick = target;
}
