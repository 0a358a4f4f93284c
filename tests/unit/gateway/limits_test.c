/* SPDX-License-Identifier: Apache-2.0 */
/* The arithmetic of limits: costs, windows, words and answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/hash.h"
#include "gateway/limits.h"

#define MINUTE (60 * CLOCK_SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

static struct limit_law rate(uint64_t amount, uint64_t period, uint64_t burst)
{
    return (struct limit_law){.kind = LIMIT_RATE, .amount = amount, .period = period, .burst = burst};
}

static void test_ticks(void **state)
{
    (void)state;
    struct limit_law law = rate(100000, MINUTE, 1);
    assert_int_equal(limit_ticks(&law, 0), 0);
    assert_int_equal(limit_ticks(&law, 1), 600 * LIMIT_TICKS);
    assert_int_equal(limit_ticks(&law, 100000), MINUTE * LIMIT_TICKS);
    law = rate(3, CLOCK_SECOND, 1);
    /* Rounded up: thirds never add up to less than a whole. */
    assert_int_equal(limit_ticks(&law, 1), 341333334);
    law = rate(LIMIT_AMOUNT_MAX, 30 * DAY, 1);
    assert_int_equal(limit_ticks(&law, LIMIT_AMOUNT_MAX), 30 * DAY * LIMIT_TICKS);
    law = rate(1, 30 * DAY, 1);
    assert_int_equal(limit_ticks(&law, LIMIT_AMOUNT_MAX), LIMIT_TICKS_MAX);
}

static void test_rate_answers(void **state)
{
    (void)state;
    static const struct {
        uint64_t amount, period, burst; /* the law */
        uint64_t backlog, units;        /* µs of work ahead of now; asked for */
        bool granted;
        uint64_t remaining, reset, wait;
    } cases[] = {
        {20, CLOCK_SECOND, 20, 0, 1, true, 19, 50000, 0},
        {20, CLOCK_SECOND, 20, 0, 20, true, 0, CLOCK_SECOND, 0},
        {20, CLOCK_SECOND, 20, 0, 21, false, 20, 0, LIMIT_NEVER},
        {20, CLOCK_SECOND, 20, 950000, 1, true, 0, CLOCK_SECOND, 0},
        {20, CLOCK_SECOND, 20, 950001, 1, false, 0, 950001, 1},
        {20, CLOCK_SECOND, 20, CLOCK_SECOND, 1, false, 0, CLOCK_SECOND, 50000},
        {20, CLOCK_SECOND, 20, CLOCK_SECOND, 3, false, 0, CLOCK_SECOND, 150000},
        {20, CLOCK_SECOND, 20, 500000, 11, false, 10, 500000, 50000},
        {20, CLOCK_SECOND, 1, 0, 1, true, 0, 50000, 0},
        {20, CLOCK_SECOND, 1, 1, 1, false, 0, 1, 1},
        {1000, MINUTE, 5000, 0, 5000, true, 0, 5 * MINUTE, 0},
        /* Debt from a settlement above its reservation: beyond the burst. */
        {20, CLOCK_SECOND, 20, 3 * CLOCK_SECOND, 1, false, 0, 3 * CLOCK_SECOND, 2050000},
        {20, CLOCK_SECOND, 20, 3 * CLOCK_SECOND, 0, true, 0, 3 * CLOCK_SECOND, 0},
    };
    const uint64_t now = 123456789;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct limit_law law = rate(cases[i].amount, cases[i].period, cases[i].burst);
        struct limit_answer answer;
        uint64_t before = (now + cases[i].backlog) * LIMIT_TICKS, after = 7;
        assert_int_equal(limit_rate_take(&law, before, now, cases[i].units, &after, &answer), cases[i].granted);
        assert_int_equal(answer.granted, cases[i].granted);
        assert_int_equal(answer.remaining, cases[i].remaining);
        assert_int_equal(answer.reset, cases[i].reset);
        assert_int_equal(answer.wait, cases[i].wait);
        assert_int_equal(after, cases[i].granted ? before + limit_ticks(&law, cases[i].units) : 7);
    }
}

/* A rate so slow and a burst so large that their times do not fit into a word: it still limits. */
static void test_no_number_is_too_large(void **state)
{
    (void)state;
    const struct limit_law laws[] = {rate(1, 30 * DAY, 10000), rate(1, 30 * DAY, LIMIT_AMOUNT_MAX),
                                     rate(1, MINUTE, LIMIT_AMOUNT_MAX)};
    const uint64_t now = 365 * DAY;
    for (size_t i = 0; i < ARRAY_LEN(laws); i++) {
        struct limit_answer answer;
        uint64_t arrival = now * LIMIT_TICKS;
        assert_true(limit_rate_take(&laws[i], arrival, now, laws[i].burst, &arrival, &answer));
        assert_true(answer.reset > 100 * DAY);
        assert_false(limit_rate_take(&laws[i], arrival, now, 1, &arrival, &answer));
        assert_false(limit_rate_take(&laws[i], arrival, now, laws[i].burst, &arrival, &answer));
        assert_true(answer.remaining == 0 && answer.wait > 100 * DAY && answer.wait != LIMIT_NEVER);
    }
}

/* What is said of waiting is exact: one microsecond earlier it is refused, then it is granted. */
static void test_rate_wait_is_true(void **state)
{
    (void)state;
    uint64_t random = 1;
    unsigned refused = 0;
    for (unsigned i = 0; i < 20000; i++) {
        struct limit_law law = rate(1 + hash_random(&random) % 100000, (1 + hash_random(&random) % 60) * CLOCK_SECOND,
                                    1 + hash_random(&random) % 5000);
        uint64_t now = 1000 * CLOCK_SECOND, arrival = now * LIMIT_TICKS + hash_random(&random) % (MINUTE * LIMIT_TICKS);
        uint64_t units = 1 + hash_random(&random) % law.burst, next;
        struct limit_answer answer;
        if (limit_rate_take(&law, arrival, now, units, &next, &answer))
            continue;
        refused++;
        assert_true(answer.wait > 0);
        assert_false(limit_rate_take(&law, arrival, now + answer.wait - 1, units, &next, &(struct limit_answer){0}));
        assert_true(limit_rate_take(&law, arrival, now + answer.wait, units, &next, &(struct limit_answer){0}));
    }
    assert_true(refused > 1000);
}

static void test_refund(void **state)
{
    (void)state;
    const uint64_t t = LIMIT_TICKS;
    /* Reserved up to 60 s; nobody was granted since 0 s. */
    assert_int_equal(limit_rate_refund(50 * t, 60 * t, 0, 0), 50 * t);
    assert_int_equal(limit_rate_refund(60 * t, 60 * t, 0, 0), 60 * t);
    /* Somebody was granted at 40: only 20 had not drained. */
    assert_int_equal(limit_rate_refund(50 * t, 60 * t, 0, 40), 20 * t);
    assert_int_equal(limit_rate_refund(10 * t, 60 * t, 0, 40), 10 * t);
    assert_int_equal(limit_rate_refund(50 * t, 60 * t, 0, 60), 0);
    assert_int_equal(limit_rate_refund(50 * t, 60 * t, 0, 90), 0);
    /* Others got 15 back meanwhile, so it ended at 45 in truth. */
    assert_int_equal(limit_rate_refund(50 * t, 60 * t, 15 * t, 40), 5 * t);
    assert_int_equal(limit_rate_refund(50 * t, 60 * t, 90 * t, 0), 0);
}

static void test_windows(void **state)
{
    (void)state;
    /* The C library's calendar is the oracle: every day of two centuries, at its first and last microsecond. */
    struct limit_law month = {.kind = LIMIT_CALENDAR, .amount = 1, .period = 30 * DAY, .month = true};
    struct limit_window before = {0};
    for (time_t day = 0; day < 200 * 365; day++) {
        struct tm utc;
        time_t at = day * 86400;
        gmtime_r(&at, &utc);
        struct limit_window first = limit_window(&month, (uint64_t)day * DAY);
        struct limit_window last = limit_window(&month, (uint64_t)(day + 1) * DAY - 1);
        assert_int_equal(first.number, (utc.tm_year + 1900) * 12 + utc.tm_mon);
        assert_true(last.number == first.number && last.start == first.start && last.end == first.end);
        assert_int_equal(first.start, (uint64_t)(day - utc.tm_mday + 1) * DAY);
        if (utc.tm_mday == 1 && before.end)
            assert_int_equal(before.end, first.start);
        before = first;
    }
    struct limit_law hour = {.kind = LIMIT_CALENDAR, .amount = 1, .period = HOUR};
    struct limit_window window = limit_window(&hour, 1000 * HOUR + 5);
    assert_int_equal(window.number, 1000);
    assert_int_equal(window.start, 1000 * HOUR);
    assert_int_equal(window.end, 1001 * HOUR);
    struct limit_law rolling = {.kind = LIMIT_ROLLING, .amount = 1, .period = HOUR};
    window = limit_window(&rolling, 1000 * HOUR + 5);
    assert_int_equal(window.number, 12000);
    assert_int_equal(window.end - window.start, 5 * MINUTE);
}

static void test_words(void **state)
{
    (void)state;
    uint64_t word = limit_word_add(0, 77, 5);
    assert_int_equal(limit_word_count(word, 77), 5);
    assert_int_equal(limit_word_count(word, 78), 0);
    assert_int_equal(limit_word_count(limit_word_add(word, 77, -3), 77), 2);
    assert_int_equal(limit_word_count(limit_word_add(word, 77, -9), 77), 0);
    assert_int_equal(limit_word_count(limit_word_add(word, 78, 9), 78), 9);
    assert_int_equal(limit_word_count(limit_word_add(word, 78, -9), 78), 0);
    /* What would not fit stays at the most, and does not run into the number. */
    word = limit_word_add(limit_word(0xfffff, LIMIT_AMOUNT_MAX), 0xfffff, (int64_t)LIMIT_AMOUNT_MAX);
    assert_int_equal(limit_word_count(word, 0xfffff), 2 * LIMIT_AMOUNT_MAX - 1);
}

static void test_calendar_answers(void **state)
{
    (void)state;
    struct limit_law law = {.kind = LIMIT_CALENDAR, .amount = 100, .period = DAY};
    struct limit_answer answer;
    uint64_t wall = 20000 * DAY + 6 * HOUR;
    uint64_t word = limit_word(20000, 60);
    assert_true(limit_calendar_fits(&law, word, wall, 40, &answer));
    assert_int_equal(answer.remaining, 0);
    assert_int_equal(answer.reset, 18 * HOUR);
    assert_false(limit_calendar_fits(&law, word, wall, 41, &answer));
    assert_int_equal(answer.remaining, 40);
    assert_int_equal(answer.wait, 18 * HOUR);
    assert_false(limit_calendar_fits(&law, word, wall, 101, &answer));
    assert_true(answer.wait == LIMIT_NEVER);
    assert_true(limit_calendar_fits(&law, word, wall + 18 * HOUR, 100, &answer));
    /* Over by settlements: only what costs nothing passes. */
    assert_false(limit_calendar_fits(&law, limit_word(20000, 150), wall, 1, &answer));
    assert_int_equal(answer.remaining, 0);
    assert_true(limit_calendar_fits(&law, limit_word(20000, 150), wall, 0, &answer));
}

static void test_rolling_wait_is_true(void **state)
{
    (void)state;
    struct limit_law law = {.kind = LIMIT_ROLLING, .amount = 1000, .period = HOUR};
    uint64_t random = 5;
    unsigned refused = 0;
    for (unsigned round = 0; round < 2000; round++) {
        uint64_t words[LIMIT_SLICES] = {0}, wall = 500000 * HOUR + hash_random(&random) % (20 * HOUR);
        for (unsigned i = 0; i < 8; i++) {
            struct limit_window at = limit_window(&law, wall - hash_random(&random) % (2 * HOUR));
            uint64_t *word = &words[at.start / (5 * MINUTE) % LIMIT_SLICES];
            *word = limit_word_add(*word, at.number, (int64_t)(hash_random(&random) % 400));
        }
        struct limit_answer answer, later;
        uint64_t units = 1 + hash_random(&random) % 1000;
        if (limit_rolling_fits(&law, words, wall, units, &answer))
            continue;
        refused++;
        assert_false(limit_rolling_fits(&law, words, wall + answer.wait - 1, units, &later));
        assert_true(limit_rolling_fits(&law, words, wall + answer.wait, units, &later));
        assert_true(answer.reset >= answer.wait && answer.reset <= HOUR + 5 * MINUTE);
    }
    assert_true(refused > 200);
    uint64_t none[LIMIT_SLICES] = {0};
    struct limit_answer answer;
    assert_false(limit_rolling_fits(&law, none, 500000 * HOUR, 1001, &answer));
    assert_true(answer.wait == LIMIT_NEVER);
    assert_int_equal(answer.reset, 0);
}

static void test_concurrency(void **state)
{
    (void)state;
    struct limit_law law = {.kind = LIMIT_CONCURRENCY, .amount = 2};
    struct limit_answer answer;
    assert_true(limit_concurrency_fits(&law, 1, 1, &answer));
    assert_int_equal(answer.remaining, 0);
    assert_false(limit_concurrency_fits(&law, 2, 1, &answer));
    assert_int_equal(answer.wait, 0);
    assert_false(limit_concurrency_fits(&law, 0, 3, &answer));
    assert_true(answer.wait == LIMIT_NEVER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ticks),
        cmocka_unit_test(test_rate_answers),
        cmocka_unit_test(test_no_number_is_too_large),
        cmocka_unit_test(test_rate_wait_is_true),
        cmocka_unit_test(test_refund),
        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_calendar_answers),
        cmocka_unit_test(test_rolling_wait_is_true),
        cmocka_unit_test(test_concurrency),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
