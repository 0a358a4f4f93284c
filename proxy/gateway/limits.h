/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limits: the law by which limits admit. Pure arithmetic on words that a store keeps (gateway/limits_store.h); knows no
 * clock, no threads and no keys.
 *
 * Units are whole: requests, tokens, or millionths of the currency unit for cost. A request reserves what it may come
 * to and settles what it came to. Refused requests are charged nothing.
 *
 * RATE: the generic cell rate algorithm (ITU-T I.371), in virtual time. The word is the theoretical arrival time: the
 *   time at which everything charged so far has drained at `amount` per `period`. A request of n units is granted when
 *   the time after it lies at most `burst` units ahead of now. Law: what is charged to requests granted within any
 *   window of length T is at most burst + amount * T / period. More than `burst` at once is never granted.
 *
 *   What settlement gives back must not let a window exceed that, so it gives back only what has not drained meanwhile:
 *   a reservation that ended at virtual time E (its mark) gets back at most E - (what was given back to others since)
 *   - (time of the last grant). While nobody else was granted it is the whole difference. What a request came to above
 *   its reservation is always charged; the law then holds for the amounts as reserved, and the excess is paid off by
 *   those who come after.
 *
 * CALENDAR: a count that begins anew with each UTC hour, day or month. Law: the sum charged to requests granted in one
 *   such period is at most `amount`. Settlement in a later period changes nothing.
 *
 * ROLLING: counts per twelfth of the period; granted when this twelfth and the twelve before it sum to at most
 *   `amount`. Law: the sum charged to requests granted within any window as long as the period is at most `amount`. The
 *   price is that a charge is forgotten up to one twelfth of a period late.
 *
 * CONCURRENCY: as many requests at a time as `amount`; settlement frees the place.
 */
#ifndef POSTERN_GATEWAY_LIMITS_H
#define POSTERN_GATEWAY_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

enum limit_kind { LIMIT_RATE, LIMIT_CALENDAR, LIMIT_ROLLING, LIMIT_CONCURRENCY };

/* Largest amount, burst and charge, in units: counts are kept in 44 bits. */
#define LIMIT_AMOUNT_MAX (UINT64_C(1) << 43)
/* A wait that no waiting ends: the request is larger than the limit. */
#define LIMIT_NEVER UINT64_MAX
/* Virtual time runs in ticks of 1/1024 µs, so that fast rates lose nothing to rounding. */
#define LIMIT_TICKS 1024
/* Nothing takes longer to drain, whatever the rate: 104 days, the largest number that shared stores count with. */
#define LIMIT_TICKS_MAX (UINT64_C(1) << 53)
/* Words of a rolling count: this twelfth and the twelve before it. */
#define LIMIT_SLICES 13

struct limit_law {
    enum limit_kind kind;
    uint64_t amount; /* units per period; CONCURRENCY: at a time. 1..LIMIT_AMOUNT_MAX */
    uint64_t burst;  /* RATE only: units at once, 1..LIMIT_AMOUNT_MAX */
    uint64_t period; /* µs; not for CONCURRENCY */
    bool month;      /* CALENDAR: the period is a month of the calendar, whatever `period` says */
};

/* What a limit answers, and what is told to the client. Times in µs from now. */
struct limit_answer {
    bool granted;
    uint64_t remaining; /* units that one more request could get now */
    uint64_t reset;     /* until all of the limit is there again, if nothing more comes */
    uint64_t wait; /* refused: until the same request would be granted, if nothing else comes; LIMIT_NEVER: not ever;
                      CONCURRENCY: 0, the law does not know when others end */
};

/* Makes of the answer to `units` that were granted how the limit stands without them: they were given back. */
void limit_answer_return(const struct limit_law *law, uint64_t units, struct limit_answer *answer);

/* ---- RATE. Times in µs of a monotonic clock. ---- */

/* Ticks that so many units take to drain, rounded up; at most LIMIT_TICKS_MAX. */
uint64_t limit_ticks(const struct limit_law *law, uint64_t units);
/*
 * Whether `units` are granted at `now` when the word is `arrival`. Granted: *ret_arrival is the word to be stored,
 * which is also the reservation's mark. Fills *answer in either case.
 */
bool limit_rate_take(const struct limit_law *law, uint64_t arrival, uint64_t now, uint64_t units, uint64_t *ret_arrival,
                     struct limit_answer *answer);
/*
 * The ticks that a reservation may get back of `wanted` ticks. `mark` is where it ended, `returned` the ticks given
 * back to others since it was made, `last_grant` the time of the last grant on this word.
 */
uint64_t limit_rate_refund(uint64_t wanted, uint64_t mark, uint64_t returned, uint64_t last_grant);

/* ---- CALENDAR and ROLLING. Times in µs since 1970 UTC. ---- */

/* A period, or a twelfth of one: its number (20 bits), its first and its first-after microsecond. */
struct limit_window {
    uint32_t number;
    uint64_t start, end;
};
struct limit_window limit_window(const struct limit_law *law, uint64_t wall);

/* A word is a window's number and the count in it; one of another window counts nothing. */
uint64_t limit_word(uint32_t number, uint64_t count);
uint64_t limit_word_count(uint64_t word, uint32_t number);
/* Moves the count by `units` up or (negative) down, never below zero nor above what the word holds. */
uint64_t limit_word_add(uint64_t word, uint32_t number, int64_t units);

/* Whether `units` fit into the calendar period whose word is `word`. The new word is limit_word_add's. */
bool limit_calendar_fits(const struct limit_law *law, uint64_t word, uint64_t wall, uint64_t units,
                         struct limit_answer *answer);
/*
 * The time by which a calendar word is to be read: `wall`, but when the word is of the very next period, that one's
 * begin. So a clock that is set back a little does not let a period begin anew.
 */
uint64_t limit_calendar_time(const struct limit_law *law, uint64_t word, uint64_t wall);
/*
 * Whether `units` fit when the counts are `words`, the word of slice n at index n % LIMIT_SLICES. The new word of the
 * present slice is limit_word_add's.
 */
bool limit_rolling_fits(const struct limit_law *law, const uint64_t words[LIMIT_SLICES], uint64_t wall, uint64_t units,
                        struct limit_answer *answer);

/* ---- CONCURRENCY ---- */

bool limit_concurrency_fits(const struct limit_law *law, uint64_t count, uint64_t units, struct limit_answer *answer);

#endif
