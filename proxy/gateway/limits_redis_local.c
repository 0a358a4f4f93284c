/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The slices. The table is the one of limits_memory.h, with a law of its own for each decision made here:
 *
 *   RATE         the place follows the virtual time of the whole limit, as the store last told it; a slice drains and
 *                fills N times slower and holds an Nth of the burst, so the same virtual time stands for an Nth of what
 *                is left. How far it has moved on by what was granted here is what the store is owed, N times over.
 *   CALENDAR     an Nth of what the store said was left (LIMITS_KNOWN), and what has been granted here since.
 *   ROLLING      an Nth of the amount, and all that this process uses, granted here or by the store: nobody can say
 *   CONCURRENCY  when what others use will be free again.
 */
#include <stdlib.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "gateway/limits_redis_internal.h"
#include "gateway/limits_table.h"
#include "gateway/worker.h"

/* Beyond that the period of a slice would not fit its word any more. */
#define PEERS_MOST 1000
/* When to ask again for what does not fit into a slice: the store may be back then. µs. */
#define COME_AGAIN  UINT64_C(1000000)
#define WINDOW_MASK ((UINT64_C(1) << 20) - 1)

unsigned limits_peers(const struct limits_redis *store)
{
    unsigned peers = store->counts.instances ? store->counts.instances : LIMITS_REDIS_UNKNOWN;
    return peers < PEERS_MOST ? peers : PEERS_MOST;
}

static uint64_t share(uint64_t amount, unsigned peers)
{
    return (amount + peers - 1) / peers;
}

/* ---- the law of a slice ---- */

static uint64_t known_count(const struct limits_redis *store, const struct limits_part *part, uint64_t wall)
{
    uint32_t slot;
    if (!limits_find(store->table, limits_place_key(part->hash, part->law.kind), &slot))
        return 0;
    return limit_word_count(atomic_load(&store->table->places[slot].words[LIMITS_KNOWN]),
                            limit_window(&part->law, wall).number);
}

static struct limit_law slice_of(const struct limits_redis *store, const struct limits_part *part, uint64_t wall)
{
    struct limit_law law = part->law;
    unsigned peers = limits_peers(store);
    if (law.kind == LIMIT_RATE)
        law.period *= peers;
    if (part->when_lost == LIMITS_LOST_OPEN) {
        law.amount = law.kind == LIMIT_RATE ? law.amount : LIMIT_AMOUNT_MAX;
        law.burst = LIMIT_AMOUNT_MAX;
        return law;
    }
    if (law.kind == LIMIT_RATE) {
        law.burst = share(law.burst, peers);
        return law;
    }
    uint64_t known = law.kind == LIMIT_CALENDAR ? known_count(store, part, wall) : 0;
    law.amount = share(known < law.amount ? law.amount - known : 0, peers);
    return law;
}

/* ---- one part ---- */

static enum limits_result ask_table(struct limits_redis *store, struct limits_part *local, uint64_t now, uint64_t wall)
{
    struct limits_call one = {.parts = local, .count = 1};
    return limits_reserve(&store->memory.store, &one, NULL, NULL, now, wall);
}

static void settle_table(struct limits_redis *store, struct limits_part *local, uint64_t units, uint64_t now,
                         uint64_t wall)
{
    struct limits_call one = {.parts = local, .count = 1, .granted = true};
    local->units = units;
    limits_settle(&store->memory.store, &one, now, wall);
}

enum limits_result limits_local_take(struct limits_redis *store, struct limits_part *part, struct limits_part *local,
                                     uint64_t now, uint64_t wall)
{
    *local = (struct limits_part){.hash = part->hash, .units = part->units};
    part->answer = (struct limit_answer){.granted = false};
    if (part->when_lost == LIMITS_LOST_CLOSED)
        return LIMITS_LOST;
    local->law = slice_of(store, part, wall);
    enum limits_result result = ask_table(store, local, now, wall);
    part->answer = local->answer;
    uint64_t most = part->law.kind == LIMIT_RATE ? part->law.burst : part->law.amount;
    if (result == LIMITS_REFUSED && part->answer.wait == LIMIT_NEVER && part->units <= most)
        part->answer.wait = COME_AGAIN;
    return result;
}

bool limits_local_note(struct limits_redis *store, const struct limits_part *part, struct limits_part *local,
                       uint64_t now, uint64_t wall)
{
    if (part->law.kind != LIMIT_ROLLING && part->law.kind != LIMIT_CONCURRENCY)
        return false;
    *local = (struct limits_part){.hash = part->hash, .units = part->units, .law = part->law};
    local->law.amount = LIMIT_AMOUNT_MAX;
    return ask_table(store, local, now, wall) == LIMITS_GRANTED;
}

static void know_rate(struct limits_place *place, uint64_t arrival, uint64_t now)
{
    uint64_t before = atomic_load(&place->words[LIMITS_ARRIVAL]), known = atomic_load(&place->words[LIMITS_KNOWN]);
    if (before > known && before > now * LIMIT_TICKS)
        return; /* owed, and not yet sent: what the store said does not hold it */
    if (!atomic_compare_exchange_strong(&place->words[LIMITS_ARRIVAL], &before, arrival))
        return;
    atomic_store(&place->words[LIMITS_KNOWN], arrival);
    limits_raise(&place->words[LIMITS_LAST_GRANT], now);
}

void limits_local_know(struct limits_redis *store, const struct limits_part *part, uint64_t stood, uint64_t now,
                       uint64_t wall)
{
    const struct limit_law *law = &part->law;
    uint32_t slot;
    uint64_t forget = now;
    if ((law->kind != LIMIT_RATE && law->kind != LIMIT_CALENDAR) ||
        !limits_pin(store->table, limits_place_key(part->hash, law->kind), now, &slot))
        return;
    struct limits_place *place = &store->table->places[slot];
    if (law->kind == LIMIT_RATE) {
        uint64_t arrival = now * LIMIT_TICKS + stood + (part->taken ? limit_ticks(law, part->units) : 0);
        know_rate(place, arrival, now);
        forget = arrival / LIMIT_TICKS + 1;
    } else {
        struct limit_window window = limit_window(law, wall);
        atomic_store(&place->words[LIMITS_KNOWN], limit_word(window.number, stood + (part->taken ? part->units : 0)));
        atomic_store(&place->words[0], limit_word(window.number, 0));
        forget = now + (window.end - wall);
    }
    limits_unpin(store->table, slot, forget);
}

/* ---- what the store is owed ---- */

/* What was granted here of one limit, until the store has heard of it. */
struct limits_owed {
    struct limit_law law;
    uint64_t hash, tag;
    uint64_t window; /* CALENDAR: the count is of this one */
    int64_t units;   /* CALENDAR, ROLLING; of a RATE the table knows */
    size_t key_len;
    char key[];
};

static uint64_t window_of(const struct limit_law *law, uint64_t wall)
{
    struct limit_window window = limit_window(law, wall);
    return law->kind == LIMIT_CALENDAR && law->month ? window.number : window.start / (window.end - window.start);
}

/* NULL also when a reload has made it another kind of limit, which begins anew. */
static struct limits_owed *owed_of(struct limits_redis *store, const struct limits_part *part)
{
    struct limits_owed *owed = table_get(&store->owed, part->key);
    return owed && owed->law.kind == part->law.kind ? owed : NULL;
}

static struct limits_owed *owed_add(struct limits_redis *store, const struct limits_part *part)
{
    if (store->owed.count >= LIMITS_REDIS_OWED) {
        if (store->counts.dropped++ == 0)
            log_write(LOG_WARNING, "limits", "%s: more than %u keys owe the store; what comes to others is dropped",
                      store->name, LIMITS_REDIS_OWED);
        return NULL;
    }
    struct limits_owed *owed = memory_alloc(sizeof(*owed) + part->key.len);
    *owed =
        (struct limits_owed){.law = part->law, .hash = part->hash, .tag = limits_tag(part), .key_len = part->key.len};
    memcpy(owed->key, part->key.ptr, part->key.len);
    free(table_remove(&store->owed, part->key));
    (void)table_put(&store->owed, span_of(owed->key, owed->key_len), owed);
    limits_redis_look_soon(store);
    return owed;
}

static void owe(struct limits_redis *store, const struct limits_part *part, int64_t units, uint64_t window)
{
    struct limits_owed *owed = owed_of(store, part);
    if (!owed)
        owed = owed_add(store, part);
    if (!owed)
        return;
    if (owed->law.kind != LIMIT_CALENDAR || owed->window == window)
        owed->units += units;
    else if (window > owed->window)
        owed->units = units;
    owed->window = window > owed->window ? window : owed->window;
}

void limits_local_owe(struct limits_redis *store, const struct limits_part *part, uint64_t wall)
{
    if (part->law.kind != LIMIT_CONCURRENCY)
        owe(store, part, (int64_t)part->reserved, part->law.kind == LIMIT_RATE ? 0 : window_of(&part->law, wall));
}

static void charge(struct limits_redis *store, const struct limit_law *law, uint64_t tag, struct span key,
                   int64_t amount, uint64_t window, uint64_t wall)
{
    struct limits_words words;
    uint8_t id[LIMITS_ID_BYTES];
    limits_redis_id(store, id);
    limits_words_begin(store, &words, 1, key.len);
    limits_words_record(&words, tag, id, 0);
    words.args = 0; /* what is charged is known by its record alone */
    limits_words_key(&words, law->kind, key);
    limits_words_number(&words, LIMITS_STONE_LIFE / 1000);
    limits_words_charge(&words, law, amount, wall, window);
    limits_deliver(store, LIMITS_SCRIPT_CHARGE, &words);
}

/* The settlement of what the store was told already. */
static void charge_difference(struct limits_redis *store, const struct limits_part *part,
                              const struct limits_part *local, uint64_t wall)
{
    int64_t more = limits_difference(part);
    uint64_t window = 0;
    if (more == 0 || part->law.kind == LIMIT_CONCURRENCY)
        return;
    if (part->law.kind == LIMIT_RATE) {
        if (more < 0) /* has drained, or cannot be known not to have */
            return;
    } else if (part->law.kind == LIMIT_ROLLING) {
        window = window_of(&part->law, local->mark);
    } else {
        uint64_t present = window_of(&part->law, wall);
        window = present - ((present - local->mark) & WINDOW_MASK);
    }
    charge(store, &part->law, limits_tag(part), part->key, more, window, wall);
}

void limits_local_settle(struct limits_redis *store, const struct limits_part *part, struct limits_part *local,
                         bool owed, uint64_t now, uint64_t wall)
{
    struct limits_owed *entry = owed ? owed_of(store, part) : NULL;
    if (owed && !entry)
        charge_difference(store, part, local, wall);
    if (entry && part->law.kind != LIMIT_RATE && part->law.kind != LIMIT_CONCURRENCY)
        owe(store, part, (int64_t)part->units - (int64_t)part->reserved,
            part->law.kind == LIMIT_ROLLING ? 0 : window_of(&part->law, wall));
    /* What stands in a RATE's place is the store's when nothing is owed: nothing is given back to that. */
    bool leave = part->law.kind == LIMIT_RATE && owed && !entry;
    settle_table(store, local, leave ? local->reserved : part->units, now, wall);
}

/* Ticks of the whole limit by which the place has moved on; the next who asks is told none. */
static int64_t take_ticks(struct limits_redis *store, const struct limits_owed *owed, uint64_t now)
{
    uint32_t slot;
    if (!limits_find(store->table, limits_place_key(owed->hash, LIMIT_RATE), &slot))
        return 0;
    struct limits_place *place = &store->table->places[slot];
    uint64_t known = atomic_load(&place->words[LIMITS_KNOWN]), arrival = atomic_load(&place->words[LIMITS_ARRIVAL]);
    uint64_t from = known > now * LIMIT_TICKS ? known : now * LIMIT_TICKS;
    if (arrival <= from || !atomic_compare_exchange_strong(&place->words[LIMITS_KNOWN], &known, arrival))
        return 0;
    return (int64_t)share(arrival - from, limits_peers(store));
}

static void owed_send_one(struct limits_redis *store, const struct limits_owed *owed, uint64_t now, uint64_t wall)
{
    int64_t amount = owed->law.kind == LIMIT_RATE ? take_ticks(store, owed, now) : owed->units;
    uint64_t window = owed->law.kind == LIMIT_ROLLING ? window_of(&owed->law, wall) : owed->window;
    if (amount)
        charge(store, &owed->law, owed->tag, span_of(owed->key, owed->key_len), amount, window, wall);
}

void limits_owed_send(struct limits_redis *store, unsigned most)
{
    struct loop *loop = store->worker->loop;
    while (store->owed.count && most--) {
        size_t cursor = 0;
        struct limits_owed *owed = table_next(&store->owed, &cursor);
        (void)table_remove(&store->owed, span_of(owed->key, owed->key_len));
        owed_send_one(store, owed, loop_now(loop), limits_redis_wall(store));
        free(owed);
    }
}

void limits_owed_finish(struct limits_redis *store)
{
    size_t cursor = 0;
    for (struct limits_owed *owed; (owed = table_next(&store->owed, &cursor));)
        free(owed);
    table_finish(&store->owed);
}
