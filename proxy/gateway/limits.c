/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/limits.h"

#include <string.h>

#define COUNT_BITS  44
#define COUNT_MASK  ((UINT64_C(1) << COUNT_BITS) - 1)
#define NUMBER_MASK ((UINT32_C(1) << 20) - 1)
#define DAY         (UINT64_C(86400) * 1000000)

__extension__ typedef unsigned __int128 wide;

/* a * b / c, rounded down or up; what does not fit is the largest number. */
static uint64_t scale(uint64_t a, uint64_t b, uint64_t c, bool up)
{
    wide product = (wide)a * b;
    if (up)
        product += c - 1;
    if (LIKELY(product >> 64 == 0))
        return (uint64_t)product / c;
    wide quotient = product / c;
    return quotient >> 64 ? UINT64_MAX : (uint64_t)quotient;
}

/* ---- RATE ---- */

uint64_t limit_ticks(const struct limit_law *law, uint64_t units)
{
    uint64_t ticks = scale(units, law->period * LIMIT_TICKS, law->amount, true);
    return ticks < LIMIT_TICKS_MAX ? ticks : LIMIT_TICKS_MAX;
}

/* Units that have drained after so many ticks. */
static uint64_t units_in(const struct limit_law *law, uint64_t ticks)
{
    return scale(ticks, law->amount, law->period * LIMIT_TICKS, false);
}

static uint64_t micros(uint64_t ticks)
{
    return ticks / LIMIT_TICKS + (ticks % LIMIT_TICKS != 0);
}

bool limit_rate_take(const struct limit_law *law, uint64_t arrival, uint64_t now, uint64_t units, uint64_t *ret_arrival,
                     struct limit_answer *answer)
{
    uint64_t present = now * LIMIT_TICKS;
    uint64_t backlog = arrival > present ? arrival - present : 0;
    /* Rounded up like every cost, so that `burst` units at once are always granted and burst + 1 are not. */
    uint64_t room = limit_ticks(law, law->burst), cost = limit_ticks(law, units);
    answer->granted = units <= law->burst && (cost == 0 || backlog + cost <= room);
    if (answer->granted)
        backlog += cost;
    answer->remaining = room > backlog ? units_in(law, room - backlog) : 0;
    answer->reset = micros(backlog);
    answer->wait = 0;
    if (answer->granted)
        *ret_arrival = present + backlog;
    else
        answer->wait = units > law->burst ? LIMIT_NEVER : micros(backlog + cost - room);
    return answer->granted;
}

void limit_answer_return(const struct limit_law *law, uint64_t units, struct limit_answer *answer)
{
    uint64_t most = law->kind == LIMIT_RATE ? law->burst : law->amount, left = answer->remaining;
    answer->remaining = left < most && units < most - left ? left + units : most;
    if (law->kind != LIMIT_RATE)
        return;
    uint64_t drain = micros(limit_ticks(law, units));
    answer->reset = answer->reset > drain ? answer->reset - drain : 0;
}

uint64_t limit_rate_refund(uint64_t wanted, uint64_t mark, uint64_t returned, uint64_t last_grant)
{
    uint64_t grant = last_grant * LIMIT_TICKS;
    uint64_t end = mark > returned ? mark - returned : 0;
    uint64_t undrained = end > grant ? end - grant : 0;
    return wanted < undrained ? wanted : undrained;
}

/* ---- windows of the calendar ---- */

/* Days since 1970 of the first of a month counted from 0000-01, by the Gregorian calendar: years begin in March. */
static uint64_t month_start(uint64_t months)
{
    uint64_t year = months / 12, month = months % 12; /* 0: January */
    uint64_t shifted = month < 2 ? year - 1 : year, from_march = (month + 10) % 12;
    uint64_t days = shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 + (from_march * 153 + 2) / 5;
    return days - 719468;
}

static uint64_t month_of(uint64_t wall)
{
    uint64_t day = wall / DAY;
    /* At 30.5 days a month the guess is never late, and a step or two lead to the truth. */
    uint64_t months = 1970 * 12 + day * 12 / 366;
    while (month_start(months + 1) <= day)
        months++;
    return months;
}

struct limit_window limit_window(const struct limit_law *law, uint64_t wall)
{
    if (law->kind == LIMIT_CALENDAR && law->month) {
        uint64_t months = month_of(wall);
        return (struct limit_window){.number = (uint32_t)months & NUMBER_MASK,
                                     .start = month_start(months) * DAY,
                                     .end = month_start(months + 1) * DAY};
    }
    uint64_t length = law->kind == LIMIT_ROLLING ? law->period / (LIMIT_SLICES - 1) : law->period;
    uint64_t number = wall / length;
    return (struct limit_window){
        .number = (uint32_t)number & NUMBER_MASK, .start = number * length, .end = (number + 1) * length};
}

/* ---- words ---- */

uint64_t limit_word(uint32_t number, uint64_t count)
{
    return (uint64_t)number << COUNT_BITS | (count < COUNT_MASK ? count : COUNT_MASK);
}

uint64_t limit_word_count(uint64_t word, uint32_t number)
{
    return word >> COUNT_BITS == number ? word & COUNT_MASK : 0;
}

uint64_t limit_word_add(uint64_t word, uint32_t number, int64_t units)
{
    uint64_t count = limit_word_count(word, number);
    if (units >= 0)
        return limit_word(number, count + (uint64_t)units);
    uint64_t less = (uint64_t)-units;
    return limit_word(number, count > less ? count - less : 0);
}

/* ---- counts ---- */

static bool fits(const struct limit_law *law, uint64_t count, uint64_t units, struct limit_answer *answer)
{
    uint64_t room = count < law->amount ? law->amount - count : 0;
    answer->granted = units <= room;
    answer->remaining = answer->granted ? room - units : room;
    answer->reset = answer->wait = 0;
    return answer->granted;
}

uint64_t limit_calendar_time(const struct limit_law *law, uint64_t word, uint64_t wall)
{
    struct limit_window window = limit_window(law, wall);
    return word >> COUNT_BITS == ((window.number + 1) & NUMBER_MASK) ? window.end : wall;
}

bool limit_calendar_fits(const struct limit_law *law, uint64_t word, uint64_t wall, uint64_t units,
                         struct limit_answer *answer)
{
    struct limit_window window = limit_window(law, wall);
    bool granted = fits(law, limit_word_count(word, window.number), units, answer);
    answer->reset = window.end - wall;
    if (!granted)
        answer->wait = units > law->amount ? LIMIT_NEVER : answer->reset;
    return granted;
}

bool limit_rolling_fits(const struct limit_law *law, const uint64_t words[LIMIT_SLICES], uint64_t wall, uint64_t units,
                        struct limit_answer *answer)
{
    struct limit_window window = limit_window(law, wall);
    uint64_t slice = window.end - window.start, first = window.start / slice;
    uint64_t counts[LIMIT_SLICES]; /* oldest first */
    uint64_t sum = 0;
    unsigned last = 0;
    for (unsigned i = 0; i < LIMIT_SLICES; i++) {
        uint64_t number = first + i + 1 - LIMIT_SLICES;
        counts[i] = limit_word_count(words[number % LIMIT_SLICES], (uint32_t)number & NUMBER_MASK);
        sum += counts[i];
        if (counts[i])
            last = i;
    }
    bool granted = fits(law, sum, units, answer);
    /* The oldest slice is forgotten when this one ends, the next one slice later, and so on. */
    if (sum || (granted && units))
        answer->reset = window.end - wall + (granted && units ? LIMIT_SLICES - 1 : last) * slice;
    if (granted)
        return true;
    answer->wait = LIMIT_NEVER;
    for (unsigned i = 0; i < LIMIT_SLICES && units <= law->amount && answer->wait == LIMIT_NEVER; i++) {
        sum -= counts[i];
        if (sum + units <= law->amount)
            answer->wait = window.end - wall + i * slice;
    }
    return false;
}

bool limit_concurrency_fits(const struct limit_law *law, uint64_t count, uint64_t units, struct limit_answer *answer)
{
    bool granted = fits(law, count, units, answer);
    if (!granted && units > law->amount)
        answer->wait = LIMIT_NEVER;
    return granted;
}
