/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory store against an oracle that keeps a log of what was granted and charged, and looks at every window of it.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "gateway/limits_memory.h"

#define MINUTE (60 * CLOCK_SECOND)
#define HOUR   (60 * MINUTE)
#define START  (1000 * CLOCK_SECOND)
#define WALL   (UINT64_C(495000) * HOUR)

struct fixture {
    struct limits_table *table;
    struct limits_memory memory;
};

static struct fixture open_table(size_t places)
{
    struct fixture f = {.table = limits_table_get(SPAN("test"), places)};
    limits_memory_init(&f.memory, f.table);
    return f;
}

static void close_table(struct fixture *f)
{
    assert_int_equal(limits_table_counts(f->table).open, 0);
    limits_table_unref(f->table);
}

static enum limits_result reserve(struct fixture *f, struct limits_call *call, uint64_t at)
{
    return limits_reserve(&f->memory.store, call, NULL, NULL, START + at, WALL + at);
}

static void settle(struct fixture *f, struct limits_call *call, uint64_t at)
{
    limits_settle(&f->memory.store, call, START + at, WALL + at);
}

/* ---- the oracle ---- */

struct grant {
    uint64_t at, reserved, charged, end;
    bool open;
    struct limits_call call;
    struct limits_part part;
};

static uint64_t charged(const struct grant *grant)
{
    return grant->charged < grant->reserved ? grant->charged : grant->reserved;
}

/* The most that the law allows to be charged in a window of that length. */
static uint64_t allowed(const struct limit_law *law, uint64_t length)
{
    if (law->kind == LIMIT_RATE)
        return law->burst + length * law->amount / law->period + 1; /* 1: the window's length is rounded down */
    return length < law->period ? law->amount : UINT64_MAX;
}

static void check_windows(const struct limit_law *law, const struct grant *grants, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t sum = 0;
        for (size_t k = i; k < count; k++) {
            if (law->kind == LIMIT_CALENDAR &&
                limit_window(law, WALL + grants[k].at).number != limit_window(law, WALL + grants[i].at).number)
                break;
            sum += charged(&grants[k]);
            assert_true(sum <= allowed(law, grants[k].at - grants[i].at));
        }
    }
}

/* One random history: requests that come, estimate, last and settle as they like. Returns how many were granted. */
static size_t history(const struct limit_law *law, uint64_t seed, uint64_t span, uint64_t most, uint64_t duration,
                      bool exact, unsigned *ret_refused)
{
    enum { MOST = 1500 };
    struct fixture f = open_table(64);
    struct grant *grants = memory_array(MOST, sizeof(*grants));
    size_t count = 0;
    uint64_t random = seed;
    for (uint64_t at = 0; at < span && count < MOST; at += hash_random(&random) % (span / 2000)) {
        for (size_t i = 0; i < count; i++)
            if (grants[i].open && grants[i].end <= at) {
                grants[i].part.units = grants[i].charged;
                settle(&f, &grants[i].call, at);
                grants[i].open = false;
            }
        struct grant *grant = &grants[count];
        uint64_t units = 1 + hash_random(&random) % most;
        *grant = (struct grant){.at = at, .reserved = units, .open = true};
        grant->charged = exact ? units : hash_random(&random) % (units + 1);
        grant->end = at + hash_random(&random) % duration;
        grant->part = (struct limits_part){.law = *law, .hash = 99, .units = units};
        grant->call = (struct limits_call){.parts = &grant->part, .count = 1};
        if (reserve(&f, &grant->call, at) == LIMITS_GRANTED)
            count++;
        else
            (*ret_refused)++;
    }
    for (size_t i = 0; i < count; i++) {
        grants[i].part.units = grants[i].charged;
        settle(&f, &grants[i].call, span);
    }
    check_windows(law, grants, count);
    close_table(&f);
    free(grants);
    return count;
}

static void test_law(void **state)
{
    (void)state;
    static const struct {
        struct limit_law law;
        uint64_t span, most, duration;
    } cases[] = {
        {{LIMIT_RATE, 100000, 100000, MINUTE, false}, 10 * MINUTE, 5000, 20 * CLOCK_SECOND},
        {{LIMIT_RATE, 100000, 6000, MINUTE, false}, 10 * MINUTE, 5000, 120 * CLOCK_SECOND},
        {{LIMIT_RATE, 20, 20, CLOCK_SECOND, false}, 60 * CLOCK_SECOND, 1, CLOCK_SECOND},
        {{LIMIT_RATE, 7, 3, CLOCK_SECOND, false}, 60 * CLOCK_SECOND, 3, 3 * CLOCK_SECOND},
        {{LIMIT_RATE, 1000, 100000, CLOCK_SECOND, false}, 600 * CLOCK_SECOND, 30000, 60 * CLOCK_SECOND},
        {{LIMIT_CALENDAR, 50000, 0, HOUR, false}, 5 * HOUR, 1000, HOUR},
        {{LIMIT_ROLLING, 50000, 0, HOUR, false}, 5 * HOUR, 1000, HOUR},
        {{LIMIT_ROLLING, 500, 0, HOUR, false}, 9 * HOUR, 10, 2 * HOUR},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (uint64_t seed = 1; seed <= 12; seed++) {
            unsigned refused = 0;
            size_t granted =
                history(&cases[i].law, seed, cases[i].span, cases[i].most, cases[i].duration, seed % 3 == 0, &refused);
            assert_true(granted > 50 && refused > 20);
        }
}

/* The law must not be kept by refusing all: what is settled low lets others in. */
static void test_what_is_given_back_is_of_use(void **state)
{
    (void)state;
    struct fixture f = open_table(64);
    struct limit_law law = {LIMIT_RATE, 60000, 60000, MINUTE, false};
    uint64_t charged_in_all = 0;
    for (unsigned i = 0; i < 600; i++) {
        /* Reserves ten times what it uses, and takes two seconds of the minute. */
        struct limits_part part = {.law = law, .hash = 5, .units = 10000};
        struct limits_call call = {.parts = &part, .count = 1};
        uint64_t at = i * CLOCK_SECOND;
        if (reserve(&f, &call, at) != LIMITS_GRANTED)
            continue;
        part.units = 1000;
        settle(&f, &call, at + 2 * CLOCK_SECOND);
        charged_in_all += 1000;
    }
    assert_int_equal(charged_in_all, 600000); /* all of the rate */
    close_table(&f);
}

/* What others got back moves a reservation forward in virtual time: it has drained earlier than it was made to. */
static void test_refund_counts_those_of_others(void **state)
{
    (void)state;
    struct fixture f = open_table(64);
    struct limits_part parts[4];
    struct limits_call calls[4];
    static const struct {
        uint64_t at, units;
    } asked[] = {{0, 30}, {0, 30}, {30, 60}, {31, 2}};
    for (unsigned i = 0; i < ARRAY_LEN(asked); i++) {
        uint64_t at = asked[i].at * CLOCK_SECOND;
        parts[i] = (struct limits_part){.law = {LIMIT_RATE, 60, 60, MINUTE, false}, .hash = 5, .units = asked[i].units};
        calls[i] = (struct limits_call){.parts = &parts[i], .count = 1};
        /* 60 at 30 s: all that a window of a second or two may hold; the second in between brings one more. */
        assert_int_equal(reserve(&f, &calls[i], at), i < 3 ? LIMITS_GRANTED : LIMITS_REFUSED);
        parts[i].units = 0;
        if (i == 1) /* now that the second stands behind it, the first gives everything back */
            settle(&f, &calls[0], at);
        if (i == 2) /* drained since 30 s, whatever its mark says */
            settle(&f, &calls[1], at + CLOCK_SECOND / 2);
    }
    settle(&f, &calls[2], 40 * CLOCK_SECOND);
    close_table(&f);
}

static void test_nothing_is_charged_when_one_refuses(void **state)
{
    (void)state;
    struct fixture f = open_table(64);
    struct limits_part parts[] = {
        {.law = {LIMIT_RATE, 100, 100, MINUTE, false}, .hash = 1, .units = 60},
        {.law = {LIMIT_CALENDAR, 100, 0, HOUR, false}, .hash = 2, .units = 60},
        {.law = {LIMIT_ROLLING, 100, 0, HOUR, false}, .hash = 3, .units = 60},
        {.law = {LIMIT_CONCURRENCY, 1, 0, 0, false}, .hash = 4, .units = 1},
    };
    struct limits_call call = {.parts = parts, .count = ARRAY_LEN(parts)};
    struct limits_part other = {.law = parts[3].law, .hash = 4, .units = 1};
    struct limits_call holder = {.parts = &other, .count = 1};
    assert_int_equal(reserve(&f, &holder, 0), LIMITS_GRANTED);
    for (unsigned i = 0; i < 50; i++) {
        assert_int_equal(reserve(&f, &call, 1), LIMITS_REFUSED);
        assert_true(parts[0].answer.granted && parts[1].answer.granted && parts[2].answer.granted);
        assert_false(parts[3].answer.granted);
        /* What is told is how they stand, not how they would. */
        assert_int_equal(parts[0].answer.remaining, 100);
        assert_int_equal(parts[0].answer.reset, 0);
        assert_int_equal(parts[1].answer.remaining, 100);
        assert_int_equal(parts[2].answer.remaining, 100);
        assert_int_equal(parts[3].answer.remaining, 0);
        settle(&f, &call, 1); /* of a refused call: nothing */
    }
    settle(&f, &holder, 2);
    assert_int_equal(reserve(&f, &call, 2), LIMITS_GRANTED);
    assert_int_equal(parts[0].answer.remaining, 40);
    assert_int_equal(parts[1].answer.remaining, 40);
    assert_int_equal(parts[2].answer.remaining, 40);
    settle(&f, &call, 3);
    close_table(&f);
}

static void test_settled_once(void **state)
{
    (void)state;
    struct fixture f = open_table(64);
    struct limits_part part = {.law = {LIMIT_CALENDAR, 100, 0, HOUR, false}, .hash = 9, .units = 80};
    struct limits_call call = {.parts = &part, .count = 1};
    assert_int_equal(reserve(&f, &call, 0), LIMITS_GRANTED);
    part.units = 30;
    for (unsigned i = 0; i < 5; i++)
        settle(&f, &call, 1);
    struct limits_part rest = {.law = part.law, .hash = 9, .units = 70};
    struct limits_call next = {.parts = &rest, .count = 1};
    assert_int_equal(reserve(&f, &next, 2), LIMITS_GRANTED);
    assert_int_equal(rest.answer.remaining, 0);
    /* More than reserved is charged too. */
    rest.units = 90;
    settle(&f, &next, 3);
    struct limits_part more = {.law = part.law, .hash = 9, .units = 1};
    struct limits_call last = {.parts = &more, .count = 1};
    assert_int_equal(reserve(&f, &last, 4), LIMITS_REFUSED);
    /* A settlement in another window than the reservation changes neither. */
    assert_int_equal(reserve(&f, &last, HOUR), LIMITS_GRANTED);
    more.units = 50;
    settle(&f, &last, 2 * HOUR);
    struct limits_part clean = {.law = part.law, .hash = 9, .units = 100};
    struct limits_call whole = {.parts = &clean, .count = 1};
    assert_int_equal(reserve(&f, &whole, 2 * HOUR), LIMITS_GRANTED);
    settle(&f, &whole, 2 * HOUR);
    close_table(&f);
}

/* A clock that is set back over midnight, and comes there again, gives nobody a second day's amount. */
static void test_clock_set_back(void **state)
{
    (void)state;
    struct fixture f = open_table(64);
    static const struct limit_law laws[] = {{LIMIT_CALENDAR, 100, 0, HOUR, false},
                                            {LIMIT_CALENDAR, 100, 0, HOUR, true}};
    for (unsigned i = 0; i < ARRAY_LEN(laws); i++) {
        uint64_t wall = limit_window(&laws[i], WALL).end;
        const uint64_t walls[] = {wall, wall - 5 * CLOCK_SECOND, wall + 1};
        struct limits_part part = {.law = laws[i], .hash = 20 + i, .units = 100};
        struct limits_call call = {.parts = &part, .count = 1};
        for (unsigned k = 0; k < ARRAY_LEN(walls); k++) {
            enum limits_result result =
                limits_reserve(&f.memory.store, &call, NULL, NULL, START + k * CLOCK_SECOND, walls[k]);
            assert_int_equal(result, k ? LIMITS_REFUSED : LIMITS_GRANTED);
            assert_true(part.answer.remaining == 0 && part.answer.reset > 0);
            limits_settle(&f.memory.store, &call, START + k * CLOCK_SECOND, walls[k]);
        }
    }
    close_table(&f);
}

static void test_shadow(void **state)
{
    (void)state;
    struct fixture f = open_table(64);
    struct limits_part parts[] = {
        {.law = {LIMIT_CALENDAR, 10, 0, HOUR, false}, .hash = 1, .units = 6, .shadow = true},
        {.law = {LIMIT_CALENDAR, 100, 0, HOUR, false}, .hash = 2, .units = 6},
    };
    struct limits_call call = {.parts = parts, .count = 2};
    unsigned would_refuse = 0;
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(reserve(&f, &call, i), LIMITS_GRANTED);
        would_refuse += !parts[0].answer.granted;
        settle(&f, &call, i);
    }
    assert_int_equal(would_refuse, 4); /* a refused request costs nothing: the first stays charged alone */
    assert_int_equal(limits_wait(&call, NULL), 0);
    assert_int_equal(parts[1].answer.remaining, 70);
    close_table(&f);
}

static void test_longest_wait(void **state)
{
    (void)state;
    struct fixture f = open_table(64);
    struct limits_part parts[] = {
        {.law = {LIMIT_RATE, 1, 1, CLOCK_SECOND, false}, .hash = 1, .units = 1},
        {.law = {LIMIT_CALENDAR, 1, 0, HOUR, false}, .hash = 2, .units = 1},
    };
    struct limits_call call = {.parts = parts, .count = 2};
    assert_int_equal(reserve(&f, &call, 0), LIMITS_GRANTED);
    settle(&f, &call, 0);
    assert_int_equal(reserve(&f, &call, 400000), LIMITS_REFUSED);
    const struct limits_part *part;
    assert_int_equal(limits_wait(&call, &part), HOUR - 400000);
    assert_ptr_equal(part, &parts[1]);
    assert_int_equal(parts[0].answer.wait, 600000);
    close_table(&f);
}

/* ---- places ---- */

static enum limits_result take_one(struct fixture *f, uint64_t hash, struct limit_law law, uint64_t at,
                                   struct limits_call *call, struct limits_part *part)
{
    *part = (struct limits_part){.law = law, .hash = hash, .units = 1};
    *call = (struct limits_call){.parts = part, .count = 1};
    return reserve(f, call, at);
}

static void test_places_are_given_away_only_when_idle(void **state)
{
    (void)state;
    struct fixture f = open_table(LIMITS_BUCKET); /* a single bucket */
    struct limit_law rate = {LIMIT_RATE, 1, 1, CLOCK_SECOND, false}, day = {LIMIT_CALENDAR, 5, 0, 24 * HOUR, false};
    struct limits_call calls[LIMITS_BUCKET + 1];
    struct limits_part parts[LIMITS_BUCKET + 1];
    for (unsigned i = 0; i < LIMITS_BUCKET; i++)
        assert_int_equal(take_one(&f, 1000 + 16 * i, i ? rate : day, 0, &calls[i], &parts[i]), LIMITS_GRANTED);
    assert_int_equal(take_one(&f, 9992, rate, 10 * CLOCK_SECOND, &calls[8], &parts[8]), LIMITS_LOST);
    assert_int_equal(limits_table_counts(f.table).lost, 1);
    for (unsigned i = 0; i < LIMITS_BUCKET; i++)
        settle(&f, &calls[i], 0);
    /* All have ended, but none has drained. */
    assert_int_equal(take_one(&f, 9992, rate, CLOCK_SECOND / 2, &calls[8], &parts[8]), LIMITS_LOST);
    /* Drained: seven keys may be forgotten, the day's count may not. */
    for (unsigned i = 0; i < 50; i++) {
        assert_int_equal(take_one(&f, 20000 + 16 * i, rate, (2 + 2 * i) * CLOCK_SECOND, &calls[8], &parts[8]),
                         LIMITS_GRANTED);
        settle(&f, &calls[8], (2 + 2 * i) * CLOCK_SECOND);
    }
    assert_int_equal(limits_table_counts(f.table).forgotten, 50);
    assert_int_equal(take_one(&f, 1000, day, 200 * CLOCK_SECOND, &calls[0], &parts[0]), LIMITS_GRANTED);
    assert_int_equal(parts[0].answer.remaining, 3);
    settle(&f, &calls[0], 200 * CLOCK_SECOND);
    close_table(&f);
}

static void test_tables_are_found_by_name(void **state)
{
    (void)state;
    struct limits_table *a = limits_table_get(SPAN("a"), 100), *b = limits_table_get(SPAN("b"), 100);
    struct limits_table *again = limits_table_get(SPAN("a"), 100000);
    assert_ptr_not_equal(a, b);
    assert_ptr_equal(a, again);
    assert_int_equal(limits_table_counts(a).places, 128);
    limits_table_unref(a);
    limits_table_unref(b);
    limits_learn(again, 5, 100, 0);
    limits_table_unref(again);
    a = limits_table_get(SPAN("a"), 100);
    assert_int_equal(limits_learned(a, 5, 7), 7); /* a new one */
    limits_table_unref(a);
    limits_table_unref(NULL);
}

static void test_learned(void **state)
{
    (void)state;
    struct fixture f = open_table(64);
    assert_int_equal(limits_learned(f.table, 42, 500), 500);
    limits_learn(f.table, 42, 80, 1);
    assert_int_equal(limits_learned(f.table, 42, 500), 80);
    limits_learn(f.table, 42, 160, 1);
    assert_int_equal(limits_learned(f.table, 42, 500), 90);
    for (unsigned i = 0; i < 200; i++)
        limits_learn(f.table, 42, 0, 1);
    assert_int_equal(limits_learned(f.table, 42, 500), 0);
    assert_int_equal(limits_learned(f.table, 43, 500), 500);
    close_table(&f);
}

/* ---- several threads on few keys of a table that is too small ---- */

enum { THREADS = 4, ROUNDS = 30000, KEYS = 12 };

struct racer {
    struct fixture f;
    uint64_t seed;
    _Atomic unsigned *running; /* per key, of those that hold it */
    uint64_t granted;
};

static void *race(void *arg)
{
    struct racer *racer = arg;
    uint64_t random = racer->seed;
    for (unsigned i = 0; i < ROUNDS; i++) {
        unsigned key = (unsigned)(hash_random(&random) % KEYS);
        struct limits_part parts[] = {
            {.law = {LIMIT_CONCURRENCY, 2, 0, 0, false}, .hash = 100 + 16 * key, .units = 1},
            {.law = {LIMIT_RATE, 1000000, 1000000, CLOCK_SECOND, false}, .hash = 5000, .units = 10},
        };
        struct limits_call call = {.parts = parts, .count = 2};
        if (reserve(&racer->f, &call, i) != LIMITS_GRANTED)
            continue;
        racer->granted++;
        assert_true(atomic_fetch_add(&racer->running[key], 1) < 2);
        parts[1].units = hash_random(&random) % 20;
        (void)atomic_fetch_sub(&racer->running[key], 1);
        settle(&racer->f, &call, i);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct fixture f = open_table(LIMITS_BUCKET);
    _Atomic unsigned running[KEYS] = {0};
    struct racer racers[THREADS];
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        racers[i] = (struct racer){.f = f, .seed = i + 1, .running = running};
        assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
    }
    uint64_t granted = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        granted += racers[i].granted;
    }
    assert_true(granted > THREADS * ROUNDS / 10);
    assert_true(limits_table_counts(f.table).forgotten > 100);
    close_table(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_law),
        cmocka_unit_test(test_what_is_given_back_is_of_use),
        cmocka_unit_test(test_refund_counts_those_of_others),
        cmocka_unit_test(test_nothing_is_charged_when_one_refuses),
        cmocka_unit_test(test_settled_once),
        cmocka_unit_test(test_clock_set_back),
        cmocka_unit_test(test_shadow),
        cmocka_unit_test(test_longest_wait),
        cmocka_unit_test(test_places_are_given_away_only_when_idle),
        cmocka_unit_test(test_tables_are_found_by_name),
        cmocka_unit_test(test_learned),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
