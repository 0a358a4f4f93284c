/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/limits_redis.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/memory.h"
#include "gateway/limits_redis_internal.h"
#include "gateway/redis_stores.h"
#include "gateway/worker.h"

/* How often what is kept or owed is looked at. */
#define LOOK (250 * CLOCK_MS)
/* Keys that are owed and told in one go. */
#define OWED_AT_ONCE 256

enum group_state {
    GROUP_ASKED,
    GROUP_GRANTED,
    GROUP_REFUSED,
    GROUP_LOST,   /* decided here */
    GROUP_UNKNOWN /* the same, but the store may have granted it */
};

/* The parts of a call that lie together. */
struct group {
    struct redis_call call;
    struct limits_reservation *owner;
    uint64_t tag;
    unsigned parts;
    enum group_state state;
};

struct limits_reservation {
    struct list link; /* on store->open once granted */
    struct limits_redis *store;
    struct limits_call *call;
    unsigned groups, asked;
    struct group *group;
    struct share {
        struct limits_part local; /* what this process counts of the part */
        unsigned group;
        bool held; /* `local` is to be settled */
    } share[];     /* as call->parts; the groups behind */
};

/* ---- making words of a group ---- */

static size_t key_bytes(const struct limits_reservation *r)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < r->call->count; i++)
        bytes += r->call->parts[i].key.len;
    return bytes;
}

/* In ms, as text: it goes with each request. */
#define RECORD_LIFE SPAN("3600000")
#define STONE_LIFE  SPAN("60000")
_Static_assert(LIMITS_RECORD_LIFE == 3600000 * CLOCK_MS && LIMITS_STONE_LIFE == 60000 * CLOCK_MS, "the same");

/* The record, its id and how long it is kept, then the keys. */
static void begin(const struct limits_reservation *r, unsigned g, struct span life, struct limits_words *words)
{
    const struct group *group = &r->group[g];
    limits_words_begin(r->store, words, group->parts, key_bytes(r));
    limits_words_record(words, group->tag, r->call->id, g);
    limits_words_text(words, life);
}

static void add_key(const struct limits_reservation *r, unsigned i, struct limits_words *words)
{
    const struct limits_part *part = &r->call->parts[i];
    limits_words_key(words, part->law.kind, part->key);
}

static void send_settlement(struct limits_reservation *r, unsigned g, bool give_back)
{
    struct limits_words words;
    begin(r, g, STONE_LIFE, &words);
    for (unsigned i = 0; i < r->call->count; i++) {
        if (r->share[i].group != g)
            continue;
        struct limits_part part = r->call->parts[i];
        part.units = give_back ? 0 : part.units;
        add_key(r, i, &words);
        limits_words_settle(&words, &part);
    }
    limits_deliver(r->store, LIMITS_SCRIPT_SETTLE, &words);
}

/* ---- giving back ---- */

static void free_reservation(struct limits_reservation *r)
{
    for (unsigned g = 0; g < r->groups; g++)
        pending_cancel(&r->group[g].call.pending); /* a renewal */
    list_remove(&r->link);
    r->call->private = NULL;
    free(r);
}

static void settle_local(struct limits_reservation *r, bool give_back, uint64_t now, uint64_t wall)
{
    for (unsigned i = 0; i < r->call->count; i++) {
        struct share *share = &r->share[i];
        if (!share->held)
            continue;
        struct limits_part part = r->call->parts[i];
        part.units = give_back ? 0 : part.units;
        /* What is given back was never owed. */
        bool owed = !give_back && r->group[share->group].state >= GROUP_LOST;
        limits_local_settle(r->store, &part, &share->local, owed, now, wall);
        share->held = false;
    }
}

/* Whatever some groups have granted, or may have. */
static void give_back(struct limits_reservation *r, bool all)
{
    for (unsigned g = 0; g < r->groups; g++) {
        enum group_state state = r->group[g].state;
        if (state != GROUP_UNKNOWN && !(all && state == GROUP_GRANTED))
            continue;
        r->store->counts.returned++;
        send_settlement(r, g, true);
        r->group[g].state = GROUP_LOST;
    }
}

/* ---- the end of a reservation ---- */

/* Those whose store is lost, by the slices of this process. */
static void decide_local(struct limits_reservation *r, uint64_t now, uint64_t wall, bool *refused, bool *lost)
{
    struct limits_redis *store = r->store;
    bool any = false;
    for (unsigned i = 0; i < r->call->count; i++) {
        struct limits_part *part = &r->call->parts[i];
        struct share *share = &r->share[i];
        if (r->group[share->group].state < GROUP_LOST)
            continue;
        any = part->local = true;
        enum limits_result result = limits_local_take(store, part, &share->local, now, wall);
        part->taken = share->held = result == LIMITS_GRANTED;
        if (part->shadow)
            continue;
        *refused |= result == LIMITS_REFUSED;
        *lost |= result == LIMITS_LOST;
    }
    r->call->local = any;
    store->counts.local += any;
}

static void note(struct limits_reservation *r, uint64_t now, uint64_t wall)
{
    for (unsigned i = 0; i < r->call->count; i++) {
        const struct limits_part *part = &r->call->parts[i];
        struct share *share = &r->share[i];
        if (r->group[share->group].state == GROUP_GRANTED)
            share->held = part->taken && limits_local_note(r->store, part, &share->local, now, wall);
        else if (share->held)
            limits_local_owe(r->store, part, wall);
    }
}

/* What is told of a refused call is how its limits stand without it. */
static void answer_returned(struct limits_call *call)
{
    for (unsigned i = 0; i < call->count; i++)
        if (call->parts[i].answer.granted)
            limit_answer_return(&call->parts[i].law, call->parts[i].units, &call->parts[i].answer);
}

/* All groups have ended; the reservation lives on only when granted. */
static enum limits_result conclude(struct limits_reservation *r, uint64_t now, uint64_t wall)
{
    struct limits_call *call = r->call;
    bool refused = false, lost = false;
    for (unsigned g = 0; g < r->groups; g++)
        refused |= r->group[g].state == GROUP_REFUSED;
    decide_local(r, now, wall, &refused, &lost);
    if (refused || lost) {
        settle_local(r, true, now, wall);
        give_back(r, true);
        free_reservation(r);
        answer_returned(call);
        return refused ? LIMITS_REFUSED : LIMITS_LOST;
    }
    give_back(r, false); /* counted here, and not there too */
    note(r, now, wall);
    call->granted = true;
    list_append(&r->store->open, &r->link);
    r->store->counts.open++;
    return LIMITS_GRANTED;
}

/* ---- asking ---- */

static bool read_group(struct limits_reservation *r, unsigned g, const struct redis_value *value)
{
    int64_t numbers[LIMITS_GROUP_PARTS * LIMIT_SLICES + 2];
    size_t count = 0, at = 2;
    struct group *group = &r->group[g];
    struct loop *loop = r->store->worker->loop;
    if (value->kind != REDIS_ARRAY || value->count > ARRAY_LEN(numbers))
        return false;
    for (; count < value->count; count++)
        if (!redis_value_integer(&value->items[count], &numbers[count]))
            return false;
    if (count < 2 || numbers[0] < 0 || numbers[0] > 1 || numbers[1] < 0)
        return false;
    group->state = numbers[0] ? GROUP_GRANTED : GROUP_REFUSED;
    r->store->ahead = numbers[1] - (int64_t)loop_wall(loop);
    for (unsigned i = 0; i < r->call->count; i++) {
        struct limits_part *part = &r->call->parts[i];
        uint64_t stood;
        if (r->share[i].group != g)
            continue;
        if (at + limits_answer_width(part) > count)
            return false;
        limits_answer_read(part, &numbers[at], (uint64_t)numbers[1], &stood);
        at += limits_answer_width(part);
        part->taken = group->state == GROUP_GRANTED && part->answer.granted;
        limits_local_know(r->store, part, stood, loop_now(loop), limits_redis_wall(r->store));
    }
    return true;
}

static void answered(struct redis_call *redis_call, const struct redis_reply *reply)
{
    struct group *group = CONTAINER_OF(redis_call, struct group, call);
    struct limits_reservation *r = group->owner;
    struct limits_redis *store = r->store;
    struct limits_call *call = r->call;
    struct loop *loop = store->worker->loop;
    if (reply->error)
        group->state = redis_error_is_refusal(reply->error) ? GROUP_LOST : GROUP_UNKNOWN;
    else if (!read_group(r, (unsigned)(group - r->group), reply->value))
        group->state = GROUP_UNKNOWN;
    store->well = group->state < GROUP_LOST;
    if (--r->asked)
        return;
    pending_complete(&call->pending);
    call->done(call, conclude(r, loop_now(loop), limits_redis_wall(store)));
}

/* False: the store cannot be asked for these. */
static bool ask(struct limits_reservation *r, unsigned g)
{
    struct limits_redis *store = r->store;
    struct group *group = &r->group[g];
    struct limits_words words;
    begin(r, g, RECORD_LIFE, &words);
    if (!redis_is_up(store->redis->redis, words.key[0]))
        return false;
    for (unsigned i = 0; i < r->call->count; i++) {
        if (r->share[i].group != g)
            continue;
        add_key(r, i, &words);
        limits_words_reserve(&words, &r->call->parts[i], limits_redis_wall(store));
    }
    group->state = GROUP_ASKED;
    group->call.done = answered;
    r->asked++;
    redis_eval(store->redis->redis, NULL, &group->call, &store->scripts.script[LIMITS_SCRIPT_RESERVE], words.key,
               words.keys, words.arg, words.args, 0);
    return true;
}

/* Nobody wants to know any more. */
static void cancelled(struct pending *pending)
{
    struct limits_call *call = CONTAINER_OF(pending, struct limits_call, pending);
    struct limits_reservation *r = call->private;
    for (unsigned g = 0; g < r->groups; g++)
        if (r->group[g].state == GROUP_ASKED) {
            pending_cancel(&r->group[g].call.pending);
            r->group[g].state = GROUP_UNKNOWN;
        }
    give_back(r, true);
    free_reservation(r);
}

static unsigned group_of(struct limits_reservation *r, uint64_t tag)
{
    unsigned g = 0;
    while (g < r->groups && (r->group[g].tag != tag || r->group[g].parts == LIMITS_GROUP_PARTS))
        g++;
    if (g == r->groups)
        r->group[r->groups++] = (struct group){.owner = r, .tag = tag, .state = GROUP_LOST};
    r->group[g].parts++;
    return g;
}

static struct limits_reservation *make_reservation(struct limits_redis *store, struct limits_call *call)
{
    size_t size = sizeof(struct limits_reservation) + call->count * sizeof(struct share);
    struct limits_reservation *r = memory_alloc(size + call->count * sizeof(struct group));
    *r = (struct limits_reservation){.store = store, .call = call};
    r->group = (struct group *)(void *)&r->share[call->count];
    call->private = r;
    for (unsigned i = 0; i < call->count; i++) {
        struct limits_part *part = &call->parts[i];
        part->taken = part->local = false;
        part->reserved = part->units;
        part->answer = (struct limit_answer){.granted = true};
        r->share[i].held = false;
        r->share[i].group = group_of(r, limits_tag(part));
    }
    return r;
}

static enum limits_result redis_reserve(struct limits_store *base, struct limits_call *call, struct loop *loop,
                                        struct list *pendings, uint64_t now, uint64_t wall)
{
    (void)wall; /* the server's clock counts */
    struct limits_redis *store = (struct limits_redis *)(void *)base;
    struct limits_reservation *r = make_reservation(store, call);
    bool there = limits_redis_is_up(store);
    store->counts.asked++;
    if (there && store->well && store->owed.count)
        limits_owed_send(store, OWED_AT_ONCE);
    for (unsigned g = 0; there && g < r->groups; g++)
        (void)ask(r, g);
    if (r->asked == 0)
        return conclude(r, now, limits_redis_wall(store));
    pending_start(pendings, &call->pending, loop, 0, NULL, cancelled);
    return LIMITS_PENDING;
}

/* ---- settling and renewing ---- */

static void redis_settle(struct limits_store *base, struct limits_call *call, uint64_t now, uint64_t wall)
{
    struct limits_redis *store = (struct limits_redis *)(void *)base;
    (void)wall;
    struct limits_reservation *r = call->private;
    for (unsigned g = 0; g < r->groups; g++)
        if (r->group[g].state == GROUP_GRANTED)
            send_settlement(r, g, false);
    settle_local(r, false, now, limits_redis_wall(store));
    store->counts.open--;
    free_reservation(r);
}

/* Whether it was heard does not matter: there will be another one in time. */
static void renewed(struct redis_call *call, const struct redis_reply *reply)
{
    (void)call;
    (void)reply;
}

static void renew_group(struct limits_reservation *r, unsigned g)
{
    struct group *group = &r->group[g];
    struct limits_words words;
    begin(r, g, RECORD_LIFE, &words);
    limits_words_number(&words, LIMITS_LEASE);
    for (unsigned i = 0; i < r->call->count; i++) {
        const struct limits_part *part = &r->call->parts[i];
        if (r->share[i].group != g || part->law.kind != LIMIT_CONCURRENCY || !part->taken)
            continue;
        add_key(r, i, &words);
        limits_words_number(&words, part->reserved);
    }
    group->call.done = renewed;
    redis_eval(r->store->redis->redis, NULL, &group->call, &r->store->scripts.script[LIMITS_SCRIPT_RENEW], words.key,
               words.keys, words.arg, words.args, CLOCK_SECOND);
}

static void redis_renew(struct limits_store *base, struct limits_call *call, uint64_t now, uint64_t wall)
{
    (void)now;
    (void)wall;
    struct limits_redis *store = (struct limits_redis *)(void *)base;
    struct limits_reservation *r = call->private;
    for (unsigned g = 0; g < r->groups && limits_redis_is_up(store); g++)
        if (r->group[g].state == GROUP_GRANTED && !redis_call_is_live(&r->group[g].call))
            renew_group(r, g);
}

static const struct limits_store_ops redis_ops = {
    .reserve = redis_reserve, .settle = redis_settle, .renew = redis_renew};

/* ---- the instance ---- */

bool limits_redis_is_up(const struct limits_redis *store)
{
    return store->redis && store->redis->redis && redis_is_up(store->redis->redis, (struct span){0});
}

uint64_t limits_redis_wall(const struct limits_redis *store)
{
    return loop_wall(store->worker->loop) + (uint64_t)store->ahead;
}

void limits_redis_look_soon(struct limits_redis *store)
{
    struct loop *loop = store->worker->loop;
    if (store->timer.deadline > loop_now(loop) + LOOK)
        timer_set(loop, &store->timer, loop_now(loop) + LOOK);
}

void limits_redis_id(struct limits_redis *store, uint8_t ret[LIMITS_ID_BYTES])
{
    const uint64_t id[] = {store->id_prefix, ++store->id_count};
    memcpy(ret, id, LIMITS_ID_BYTES);
}

static void beaten(struct redis_call *call, const struct redis_reply *reply)
{
    struct limits_redis *store = CONTAINER_OF(call, struct limits_redis, beat);
    int64_t instances;
    if (!reply->error && redis_value_integer(reply->value, &instances) && instances > 0)
        store->counts.instances = instances < UINT16_MAX ? (unsigned)instances : UINT16_MAX;
}

static void beat(struct limits_redis *store)
{
    struct buffer key = {0};
    if (redis_call_is_live(&store->beat) || !limits_redis_is_up(store))
        return;
    buffer_format(&key, "postern:n{%s}", store->name);
    const struct span keys[] = {buffer_span(&key)};
    const struct span args[] = {span_str(store->worker->process->instance_id), SPAN("9000000")};
    _Static_assert(3 * LIMITS_REDIS_BEAT == 9000000, "three beats");
    store->beat.done = beaten;
    redis_eval(store->redis->redis, NULL, &store->beat, &store->scripts.script[LIMITS_SCRIPT_BEAT], keys, 1, args, 2,
               CLOCK_SECOND);
    buffer_finish(&key);
}

static void fired(struct timer *timer)
{
    struct limits_redis *store = CONTAINER_OF(timer, struct limits_redis, timer);
    struct loop *loop = store->worker->loop;
    uint64_t now = loop_now(loop);
    if (now >= store->beat_at) {
        beat(store);
        store->beat_at = now + LIMITS_REDIS_BEAT;
    }
    if (limits_redis_is_up(store)) {
        /* One of them finds out whether the store takes them. */
        limits_owed_send(store, store->well ? OWED_AT_ONCE : 1);
        limits_deliver_kept(store);
    }
    bool soon = (store->kept_count || store->owed.count) && now + LOOK < store->beat_at;
    timer_set(loop, timer, soon ? now + LOOK : store->beat_at);
}

struct limits_store *limits_redis_create(struct worker *worker, struct redis_store *redis, struct span name,
                                         size_t places)
{
    struct limits_redis *store = memory_zalloc(sizeof(*store));
    struct buffer table = {0};
    store->store.ops = &redis_ops;
    store->worker = worker;
    store->redis = redis;
    store->name = memory_string(name);
    store->well = true;
    crypto_random(&store->id_prefix, sizeof(store->id_prefix));
    limits_scripts_init(&store->scripts, limits_script_clock);
    buffer_format(&table, "%s (shared)", store->name);
    store->table = limits_table_get(buffer_span(&table), places);
    buffer_finish(&table);
    limits_memory_init(&store->memory, store->table);
    list_init(&store->open);
    list_init(&store->sent);
    list_init(&store->kept);
    table_init(&store->owed);
    store->timer.fire = fired;
    timer_set(worker->loop, &store->timer, loop_now(worker->loop));
    return &store->store;
}

void limits_redis_use(struct limits_store *store, struct redis_store *redis)
{
    ((struct limits_redis *)(void *)store)->redis = redis;
}

void limits_redis_destroy(struct limits_store *store)
{
    struct limits_redis *ours = (struct limits_redis *)(void *)store;
    if (!ours)
        return;
    timer_clear(ours->worker->loop, &ours->timer);
    pending_cancel(&ours->beat.pending);
    limits_deliver_finish(ours);
    limits_owed_finish(ours);
    limits_table_unref(ours->table);
    limits_scripts_finish(&ours->scripts);
    buffer_finish(&ours->words);
    free(ours->name);
    free(ours);
}

struct limits_redis_counts limits_redis_counts(const struct limits_store *store)
{
    const struct limits_redis *ours = (const struct limits_redis *)(const void *)store;
    struct limits_redis_counts counts = ours->counts;
    counts.waiting = ours->kept_count;
    LIST_EACH(&ours->sent, link)
    counts.waiting++;
    counts.waiting += (unsigned)ours->owed.count;
    return counts;
}
