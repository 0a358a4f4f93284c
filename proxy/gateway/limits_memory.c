/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/limits_memory.h"

#include "gateway/limits_table.h"

#define LEARN_FRACTION 256
#define LEARN_WEIGHT   8

#define LEARN_KIND 7

/* ---- RATE ---- */

static bool rate_take(struct limits_place *place, struct limits_part *part, uint64_t now)
{
    /* Each step errs to the strict side when another worker acts in between: more may have been given back since, and
       a grant may have come later, than what settlement will assume. */
    part->returned = atomic_load(&place->words[LIMITS_RETURNED]);
    uint64_t arrival = atomic_load(&place->words[LIMITS_ARRIVAL]), next;
    do {
        if (!limit_rate_take(&part->law, arrival, now, part->units, &next, &part->answer))
            return false;
        limits_raise(&place->words[LIMITS_LAST_GRANT], now);
    } while (!atomic_compare_exchange_weak(&place->words[LIMITS_ARRIVAL], &arrival, next));
    part->mark = next;
    return true;
}

static void rate_give_back(struct limits_place *place, const struct limits_part *part, uint64_t wanted)
{
    uint64_t before = atomic_fetch_add(&place->words[LIMITS_RETURNED], wanted);
    uint64_t ticks =
        limit_rate_refund(wanted, part->mark, before - part->returned, atomic_load(&place->words[LIMITS_LAST_GRANT]));
    if (ticks < wanted)
        atomic_fetch_sub(&place->words[LIMITS_RETURNED], wanted - ticks);
    atomic_fetch_sub(&place->words[LIMITS_ARRIVAL], ticks);
}

static void rate_charge(struct limits_place *place, uint64_t ticks, uint64_t now)
{
    uint64_t arrival = atomic_load(&place->words[LIMITS_ARRIVAL]), base;
    do {
        base = arrival > now * LIMIT_TICKS ? arrival : now * LIMIT_TICKS;
        if (ticks > UINT64_MAX / 2 - base) /* thousands of years of debt: no more is counted */
            ticks = UINT64_MAX / 2 > base ? UINT64_MAX / 2 - base : 0;
        limits_raise(&place->words[LIMITS_LAST_GRANT], now);
    } while (!atomic_compare_exchange_weak(&place->words[LIMITS_ARRIVAL], &arrival, base + ticks));
}

static void rate_settle(struct limits_place *place, const struct limits_part *part, uint64_t units, uint64_t now)
{
    uint64_t was = limit_ticks(&part->law, part->reserved), is = limit_ticks(&part->law, units);
    if (is < was)
        rate_give_back(place, part, was - is);
    else if (is > was)
        rate_charge(place, is - was, now);
}

/* ---- counts ---- */

static void add(_Atomic uint64_t *word, uint32_t number, int64_t units)
{
    uint64_t old = atomic_load(word);
    while (!atomic_compare_exchange_weak(word, &old, limit_word_add(old, number, units))) {
    }
}

/* The same, unless the word has gone on to another window. */
static void correct(_Atomic uint64_t *word, uint32_t number, int64_t units)
{
    uint64_t old = atomic_load(word);
    while (old == limit_word(number, limit_word_count(old, number)) &&
           !atomic_compare_exchange_weak(word, &old, limit_word_add(old, number, units))) {
    }
}

static bool calendar_take(struct limits_place *place, struct limits_part *part, uint64_t wall)
{
    uint64_t word = atomic_load(&place->words[0]);
    uint32_t number;
    do {
        wall = limit_calendar_time(&part->law, word, wall);
        number = limit_window(&part->law, wall).number;
        if (!limit_calendar_fits(&part->law, word, wall, part->units, &part->answer))
            return false;
    } while (
        !atomic_compare_exchange_weak(&place->words[0], &word, limit_word_add(word, number, (int64_t)part->units)));
    part->mark = number;
    return true;
}

static void read_slices(struct limits_place *place, uint64_t ret[LIMIT_SLICES])
{
    for (unsigned i = 0; i < LIMIT_SLICES; i++)
        ret[i] = atomic_load(&place->words[i]);
}

static _Atomic uint64_t *slice_word(struct limits_place *place, struct limit_window window)
{
    return &place->words[window.start / (window.end - window.start) % LIMIT_SLICES];
}

/* The sum spans several words: add first and look then, so that of two that came together at most one is too many. */
static bool rolling_take(struct limits_place *place, struct limits_part *part, uint64_t wall)
{
    struct limit_window window = limit_window(&part->law, wall);
    uint64_t words[LIMIT_SLICES];
    struct limit_answer after;
    read_slices(place, words);
    if (!limit_rolling_fits(&part->law, words, wall, part->units, &part->answer))
        return false;
    add(slice_word(place, window), window.number, (int64_t)part->units);
    read_slices(place, words);
    /* The answer for a unit more than nothing tells whether the sum has passed the amount. */
    struct limit_law exact = part->law;
    exact.amount++;
    if (!limit_rolling_fits(&exact, words, wall, 1, &after)) {
        correct(slice_word(place, window), window.number, -(int64_t)part->units);
        part->answer.granted = false;
        part->answer.wait = after.wait;
        return false;
    }
    part->mark = window.start;
    return true;
}

static void rolling_settle(struct limits_place *place, const struct limits_part *part, int64_t more)
{
    struct limit_window window = limit_window(&part->law, part->mark);
    correct(slice_word(place, window), window.number, more);
}

static bool concurrency_take(struct limits_place *place, struct limits_part *part)
{
    uint64_t count = atomic_load(&place->words[0]);
    do {
        if (!limit_concurrency_fits(&part->law, count, part->units, &part->answer))
            return false;
    } while (!atomic_compare_exchange_weak(&place->words[0], &count, count + part->units));
    return true;
}

/* ---- one part ---- */

static bool take(struct limits_place *place, struct limits_part *part, uint64_t now, uint64_t wall)
{
    switch (part->law.kind) {
    case LIMIT_RATE:
        return rate_take(place, part, now);
    case LIMIT_CALENDAR:
        return calendar_take(place, part, wall);
    case LIMIT_ROLLING:
        return rolling_take(place, part, wall);
    case LIMIT_CONCURRENCY:
        break;
    }
    return concurrency_take(place, part);
}

/* How the part stands, without taking anything. */
static void look(struct limits_place *place, struct limits_part *part, uint64_t now, uint64_t wall)
{
    uint64_t words[LIMIT_SLICES], next;
    read_slices(place, words);
    switch (part->law.kind) {
    case LIMIT_RATE:
        (void)limit_rate_take(&part->law, words[LIMITS_ARRIVAL], now, part->units, &next, &part->answer);
        break;
    case LIMIT_CALENDAR:
        wall = limit_calendar_time(&part->law, words[0], wall);
        (void)limit_calendar_fits(&part->law, words[0], wall, part->units, &part->answer);
        break;
    case LIMIT_ROLLING:
        (void)limit_rolling_fits(&part->law, words, wall, part->units, &part->answer);
        break;
    case LIMIT_CONCURRENCY:
        (void)limit_concurrency_fits(&part->law, words[0], part->units, &part->answer);
        break;
    }
    if (part->answer.granted)
        limit_answer_return(&part->law, part->units, &part->answer);
}

/* Until when (loop time) a place must be kept that now stands as it stands. */
static uint64_t keep_until(struct limits_place *place, const struct limits_part *part, uint64_t now, uint64_t wall)
{
    switch (part->law.kind) {
    case LIMIT_RATE:
        return atomic_load(&place->words[LIMITS_ARRIVAL]) / LIMIT_TICKS + 1;
    case LIMIT_CALENDAR:
        return now + (limit_window(&part->law, wall).end - wall);
    case LIMIT_ROLLING:
        return now + part->law.period / (LIMIT_SLICES - 1) * LIMIT_SLICES;
    case LIMIT_CONCURRENCY:
        break;
    }
    return now;
}

static void settle_part(struct limits_table *table, struct limits_part *part, uint64_t units, uint64_t now,
                        uint64_t wall)
{
    if (!part->taken)
        return;
    struct limits_place *place = &table->places[part->slot];
    int64_t more = (int64_t)units - (int64_t)part->reserved;
    switch (part->law.kind) {
    case LIMIT_RATE:
        rate_settle(place, part, units, now);
        break;
    case LIMIT_CALENDAR:
        correct(&place->words[0], (uint32_t)part->mark, more);
        break;
    case LIMIT_ROLLING:
        rolling_settle(place, part, more);
        break;
    case LIMIT_CONCURRENCY:
        atomic_fetch_sub(&place->words[0], part->reserved);
        break;
    }
    part->taken = false;
    limits_unpin(table, part->slot, keep_until(place, part, now, wall));
}

/* ---- the store ---- */

/* Nothing stays charged; the answers of all but the refusing part (NULL: of none) are taken again. */
static void undo(struct limits_table *table, struct limits_call *call, const struct limits_part *refusing, uint64_t now,
                 uint64_t wall)
{
    for (unsigned i = 0; i < call->count; i++)
        settle_part(table, &call->parts[i], 0, now, wall);
    for (unsigned i = 0; i < call->count; i++) {
        struct limits_part *part = &call->parts[i];
        struct limits_place empty = {0};
        uint32_t slot;
        if (part == refusing)
            continue;
        bool known = limits_find(table, limits_place_key(part->hash, part->law.kind), &slot);
        look(known ? &table->places[slot] : &empty, part, now, wall);
    }
}

static enum limits_result memory_reserve(struct limits_store *store, struct limits_call *call, struct loop *loop,
                                         struct list *pendings, uint64_t now, uint64_t wall)
{
    (void)loop; /* the answer is known at once */
    (void)pendings;
    struct limits_table *table = ((struct limits_memory *)(void *)store)->table;
    for (unsigned i = 0; i < call->count; i++) {
        struct limits_part *part = &call->parts[i];
        part->taken = false;
        part->answer = (struct limit_answer){.granted = part->shadow};
        if (!limits_pin(table, limits_place_key(part->hash, part->law.kind), now, &part->slot)) {
            if (part->shadow)
                continue;
            undo(table, call, NULL, now, wall);
            return LIMITS_LOST;
        }
        struct limits_place *place = &table->places[part->slot];
        part->reserved = part->units;
        part->taken = take(place, part, now, wall);
        if (part->taken)
            continue;
        limits_unpin(table, part->slot, keep_until(place, part, now, wall));
        if (part->shadow)
            continue;
        undo(table, call, part, now, wall);
        return LIMITS_REFUSED;
    }
    call->granted = true;
    return LIMITS_GRANTED;
}

static void memory_settle(struct limits_store *store, struct limits_call *call, uint64_t now, uint64_t wall)
{
    struct limits_table *table = ((struct limits_memory *)(void *)store)->table;
    for (unsigned i = 0; i < call->count; i++)
        settle_part(table, &call->parts[i], call->parts[i].units, now, wall);
}

static const struct limits_store_ops memory_ops = {.reserve = memory_reserve, .settle = memory_settle};

void limits_memory_init(struct limits_memory *memory, struct limits_table *table)
{
    memory->store.ops = &memory_ops;
    memory->table = table;
}

/* ---- learned figures ---- */

uint64_t limits_learned(struct limits_table *table, uint64_t hash, uint64_t fallback)
{
    uint64_t key = limits_place_key(hash, LEARN_KIND);
    uint32_t slot;
    if (!limits_find(table, key, &slot))
        return fallback;
    uint64_t average = atomic_load(&table->places[slot].words[0]);
    bool ours = atomic_load(&table->keys[slot]) == key;
    return ours && average ? (average + LEARN_FRACTION / 2) / LEARN_FRACTION : fallback;
}

void limits_learn(struct limits_table *table, uint64_t hash, uint64_t value, uint64_t now)
{
    uint32_t slot;
    if (value > LIMIT_AMOUNT_MAX || !limits_pin(table, limits_place_key(hash, LEARN_KIND), now, &slot))
        return;
    _Atomic uint64_t *word = &table->places[slot].words[0];
    uint64_t old = atomic_load(word), new, scaled = value *LEARN_FRACTION;
    do
        new = old ? old - old / LEARN_WEIGHT + scaled / LEARN_WEIGHT : scaled;
    while (!atomic_compare_exchange_weak(word, &old, new ? new : 1));
    limits_unpin(table, slot, now);
}
