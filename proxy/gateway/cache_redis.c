/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/cache_redis.h"

#include <stdlib.h>

#include "base/crypto.h"
#include "base/encoding.h"
#include "base/hash.h"
#include "base/memory.h"

#define LOOKUP_DEFAULT (10 * CLOCK_MS)
#define WRITE_DEFAULT  CLOCK_SECOND
#define VALUE_DEFAULT  ((size_t)768 * 1024)
#define WRITES_DEFAULT 64
#define BYTES_DEFAULT  ((size_t)4 * 1024 * 1024)
#define MARKS_PERIOD   CLOCK_SECOND
#define NAME_LIMIT     ((size_t)256)
#define KEY_LIMIT      (NAME_LIMIT + 64)

struct mark {
    uint64_t scope; /* hash of what it is for */
    uint64_t until; /* µs since 1970 */
};

struct cache_redis {
    struct loop *loop;
    struct redis_store *store;
    struct cache_redis_options options;
    char *name;         /* options.name lies here */
    struct list writes; /* pendings */
    struct cache_redis_counts counts;
    struct redis_script release, purge;
    /* purges */
    struct cache_call reading;
    struct timer timer;
    struct mark marks[CACHE_PURGE_MARKS + 1]; /* ascending by scope */
    unsigned mark_count;
    bool marks_known;
    uint64_t started; /* wall */
};

/* A lease is given back by who holds it only. */
static const char release_text[] =
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end "
    "return 0";

/*
 * ARGV: scope, mark in ms, life in ms, the most marks, the scope of everything. Marks never go back. When there are too
 * many, those that no entry can be old enough for go; if that does not help, one for everything takes their place.
 */
static const char purge_text[] =
    "local scope, now, life = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]) "
    "local old = redis.call('hget', KEYS[1], scope) "
    "if not old and redis.call('hlen', KEYS[1]) >= tonumber(ARGV[4]) then "
    "  local all = redis.call('hgetall', KEYS[1]) "
    "  for i = 1, #all, 2 do "
    "    if (tonumber(all[i + 1]) or 0) + life < now then redis.call('hdel', KEYS[1], all[i]) end "
    "  end "
    "  if redis.call('hlen', KEYS[1]) >= tonumber(ARGV[4]) then "
    "    redis.call('del', KEYS[1]) "
    "    scope = ARGV[5] "
    "  end "
    "end "
    "if not old or (tonumber(old) or 0) < now then redis.call('hset', KEYS[1], scope, ARGV[2]) end "
    "local left = redis.call('pttl', KEYS[1]) "
    "if left < life then redis.call('pexpire', KEYS[1], ARGV[3]) end "
    "return 1";

/* ---- commands ---- */

struct key_text {
    char bytes[KEY_LIMIT];
    size_t len;
};

static void key_add(struct key_text *text, struct span part)
{
    memcpy(text->bytes + text->len, part.ptr, part.len);
    text->len += part.len;
}

static struct span key_span(const struct key_text *text)
{
    return span_of(text->bytes, text->len);
}

/* postern:cache:NAME: and what follows. */
static void key_begin(const struct cache_redis *cache, struct span what, struct key_text *ret)
{
    ret->len = 0;
    key_add(ret, SPAN("postern:cache:"));
    key_add(ret, cache->options.name);
    key_add(ret, what);
}

static void key_of(const struct cache_redis *cache, struct span what, const uint8_t key[CACHE_KEY_BYTES],
                   struct key_text *ret)
{
    struct buffer text = {0};
    key_begin(cache, what, ret);
    encode_base64url(&text, span_of((const char *)key, CACHE_KEY_BYTES));
    key_add(ret, buffer_span(&text));
    buffer_finish(&text);
}

/* A number as decimal text, in `ret`. */
static struct span decimal(uint64_t number, char ret[24])
{
    char *at = ret + 24;
    do
        *--at = (char)('0' + number % 10);
    while (number /= 10);
    return span_of(at, (size_t)(ret + 24 - at));
}

/* µs as ms, rounded up, at least 1. */
static uint64_t in_ms(uint64_t us)
{
    return us ? (us - 1) / CLOCK_MS + 1 : 1;
}

static void arrived(struct redis_call *redis_call, const struct redis_reply *reply)
{
    struct cache_call *call = CONTAINER_OF(redis_call, struct cache_call, call);
    call->ended(call, reply);
}

static void tell_absent(struct task *task)
{
    struct cache_call *call = CONTAINER_OF(task, struct cache_call, absent);
    const struct redis_reply reply = {.error = REDIS_ERROR_LOST, .detail = SPAN("there is no such store")};
    pending_complete(&call->call.pending);
    call->ended(call, &reply);
}

static void forget_absent(struct pending *pending)
{
    struct cache_call *call = CONTAINER_OF(pending, struct cache_call, call.pending);
    task_cancel(&call->absent);
}

/* Everything but the sending, which there is no one for: the store has gone from the configuration. */
static bool begin(struct cache_redis *cache, struct list *list, struct cache_call *call,
                  void (*ended)(struct cache_call *call, const struct redis_reply *reply))
{
    call->cache = cache;
    call->ended = ended;
    call->call.done = arrived;
    if (cache->store->redis)
        return true;
    call->absent.run = tell_absent;
    pending_start(list, &call->call.pending, cache->loop, 0, NULL, forget_absent);
    loop_post(cache->loop, &call->absent);
    return false;
}

bool cache_redis_is_up(const struct cache_redis *cache)
{
    return cache->store->redis && redis_is_up(cache->store->redis, (struct span){0});
}

/* ---- look-ups ---- */

static void looked_up(struct cache_call *call, const struct redis_reply *reply)
{
    struct cache_lookup *lookup = CONTAINER_OF(call, struct cache_lookup, call);
    struct cache_redis *cache = call->cache;
    struct span value = {0};
    lookup->error = reply->error;
    if (!reply->error && reply->value->kind == REDIS_STRING && reply->value->text.len <= cache->options.value_most)
        value = reply->value->text;
    if (reply->error) {
        cache->counts.failed++;
        lookup->done(lookup, CACHE_LOOKUP_FAILED, value);
    } else if (value.len == 0) {
        cache->counts.absent++;
        lookup->done(lookup, CACHE_LOOKUP_ABSENT, value);
    } else {
        cache->counts.found++;
        lookup->done(lookup, CACHE_LOOKUP_FOUND, value);
    }
}

void cache_redis_get(struct cache_redis *cache, struct list *list, struct cache_lookup *lookup,
                     const uint8_t key[CACHE_KEY_BYTES], cache_lookup_fn *done)
{
    struct key_text text;
    char most[24];
    cache->counts.lookups++;
    lookup->done = done;
    if (!begin(cache, list, &lookup->call, looked_up))
        return;
    key_of(cache, SPAN(":e:"), key, &text);
    /* Not GET: what somebody else may have put there must not exceed what the client takes for one answer. */
    const struct span argv[] = {SPAN("GETRANGE"), key_span(&text), SPAN("0"), decimal(cache->options.value_most, most)};
    redis_ask(cache->store->redis, list, &lookup->call.call, key_span(&text), argv, ARRAY_LEN(argv),
              cache->options.lookup);
}

/* ---- writes ---- */

struct write {
    struct redis_call call;
    struct cache_redis *cache;
    size_t bytes;
    bool entry; /* and no removal or release */
};

static void write_forget(struct write *write)
{
    write->cache->counts.writing--;
    write->cache->counts.writing_bytes -= write->bytes;
    free(write);
}

static void written(struct redis_call *call, const struct redis_reply *reply)
{
    struct write *write = CONTAINER_OF(call, struct write, call);
    struct cache_redis *cache = write->cache;
    if (reply->error)
        cache->counts.dropped_down++;
    else
        cache->counts.written++;
    if (write->entry && !reply->error)
        cache->counts.kept++;
    else if (write->entry && redis_error_is_refusal(reply->error))
        cache->counts.refused++;
    else if (write->entry)
        cache->counts.lost++;
    write_forget(write);
}

/* A record for one more write, or NULL and counted. */
static struct write *write_begin(struct cache_redis *cache, struct span key, size_t bytes)
{
    struct cache_redis_counts *counts = &cache->counts;
    counts->writes++;
    if (bytes > cache->options.value_most) {
        counts->dropped_large++;
        return NULL;
    }
    if (!cache->store->redis || !redis_is_up(cache->store->redis, key)) {
        counts->dropped_down++;
        return NULL;
    }
    if (counts->writing >= cache->options.writes_most || counts->writing_bytes + bytes > cache->options.bytes_most) {
        counts->dropped_busy++;
        return NULL;
    }
    struct write *write = memory_zalloc(sizeof(*write));
    write->call.done = written;
    write->cache = cache;
    write->bytes = bytes;
    counts->writing++;
    counts->writing_bytes += bytes;
    return write;
}

/* `bytes`: of the entry; 0: it is none. */
static bool write_send(struct cache_redis *cache, struct span key, const struct span *argv, unsigned argc, size_t bytes)
{
    struct write *write = write_begin(cache, key, bytes);
    if (!write)
        return false;
    write->entry = bytes > 0;
    redis_ask(cache->store->redis, &cache->writes, &write->call, key, argv, argc, cache->options.write);
    return true;
}

bool cache_redis_put(struct cache_redis *cache, const uint8_t key[CACHE_KEY_BYTES], struct span wire, uint64_t life)
{
    struct key_text text;
    char ms[24];
    key_of(cache, SPAN(":e:"), key, &text);
    const struct span argv[] = {SPAN("SET"), key_span(&text), wire, SPAN("PX"), decimal(in_ms(life), ms)};
    return write_send(cache, key_span(&text), argv, ARRAY_LEN(argv), wire.len);
}

bool cache_redis_remove(struct cache_redis *cache, const uint8_t key[CACHE_KEY_BYTES])
{
    struct key_text text;
    key_of(cache, SPAN(":e:"), key, &text);
    const struct span argv[] = {SPAN("UNLINK"), key_span(&text)};
    return write_send(cache, key_span(&text), argv, ARRAY_LEN(argv), 0);
}

size_t cache_redis_value_most(const struct cache_redis *cache)
{
    return cache->options.value_most;
}

/* ---- leases ---- */

static void lease_told(struct cache_call *call, const struct redis_reply *reply)
{
    struct cache_lease *lease = CONTAINER_OF(call, struct cache_lease, call);
    enum cache_lease_result result = CACHE_LEASE_FAILED;
    if (!reply->error)
        result = reply->value->kind == REDIS_STATUS ? CACHE_LEASE_HELD : CACHE_LEASE_OTHERS;
    call->cache->counts.leases_held += result == CACHE_LEASE_HELD;
    lease->done(lease, result);
}

void cache_redis_lease(struct cache_redis *cache, struct list *list, struct cache_lease *lease,
                       const uint8_t key[CACHE_KEY_BYTES], uint64_t life, cache_lease_fn *done)
{
    struct key_text text;
    struct buffer token = {0};
    uint8_t random[CACHE_LEASE_TOKEN * 6 / 8];
    char ms[24];
    cache->counts.leases++;
    lease->done = done;
    memcpy(lease->key, key, CACHE_KEY_BYTES);
    crypto_random(random, sizeof(random));
    encode_base64url(&token, span_of((const char *)random, sizeof(random)));
    memcpy(lease->token, buffer_span(&token).ptr, sizeof(lease->token));
    buffer_finish(&token);
    if (!begin(cache, list, &lease->call, lease_told))
        return;
    key_of(cache, SPAN(":l:"), key, &text);
    const struct span argv[] = {SPAN("SET"), key_span(&text), span_of(lease->token, sizeof(lease->token)),
                                SPAN("NX"),  SPAN("PX"),      decimal(in_ms(life), ms)};
    redis_ask(cache->store->redis, list, &lease->call.call, key_span(&text), argv, ARRAY_LEN(argv),
              cache->options.lookup);
}

void cache_redis_release(struct cache_redis *cache, const struct cache_lease *lease)
{
    struct key_text text;
    key_of(cache, SPAN(":l:"), lease->key, &text);
    struct write *write = write_begin(cache, key_span(&text), 0);
    if (!write)
        return;
    const struct span keys[] = {key_span(&text)}, args[] = {span_of(lease->token, sizeof(lease->token))};
    redis_eval(cache->store->redis, &cache->writes, &write->call, &cache->release, keys, 1, args, 1,
               cache->options.write);
}

/* ---- purges ---- */

/* The same in every process: pods tell each other by it. */
static uint64_t scope_hash(enum cache_scope scope, struct span name)
{
    const uint8_t key[16] = {'p', 'u', 'r', 'g', 'e', (uint8_t)scope};
    return hash_bytes_keyed(key, scope == CACHE_SCOPE_ALL ? (struct span){0} : name);
}

static unsigned mark_place(const struct cache_redis *cache, uint64_t scope)
{
    unsigned low = 0, high = cache->mark_count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (cache->marks[middle].scope < scope)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static uint64_t mark_of(const struct cache_redis *cache, uint64_t scope)
{
    unsigned at = mark_place(cache, scope);
    return at < cache->mark_count && cache->marks[at].scope == scope ? cache->marks[at].until : 0;
}

/* All marks become one for everything, of the latest time. */
static void marks_melt(struct cache_redis *cache)
{
    struct mark all = {.scope = scope_hash(CACHE_SCOPE_ALL, (struct span){0})};
    for (unsigned i = 0; i < cache->mark_count; i++)
        if (cache->marks[i].until > all.until)
            all.until = cache->marks[i].until;
    cache->marks[0] = all;
    cache->mark_count = 1;
}

static void mark_put(struct cache_redis *cache, uint64_t scope, uint64_t until)
{
    unsigned at = mark_place(cache, scope);
    if (at < cache->mark_count && cache->marks[at].scope == scope) {
        if (cache->marks[at].until < until)
            cache->marks[at].until = until;
        return;
    }
    memmove(&cache->marks[at + 1], &cache->marks[at], (cache->mark_count - at) * sizeof(cache->marks[0]));
    cache->marks[at] = (struct mark){scope, until};
    if (++cache->mark_count > CACHE_PURGE_MARKS)
        marks_melt(cache);
}

/* A field is a scope's hash as 16 hexadecimal digits. */
static struct span scope_text(uint64_t scope, char ret[16])
{
    for (unsigned i = 0; i < 16; i++, scope <<= 4)
        ret[i] = "0123456789abcdef"[scope >> 60];
    return span_of(ret, 16);
}

static bool scope_read(struct span text, uint64_t *ret)
{
    struct buffer bytes = {0};
    bool good = text.len == 16 && decode_hex(&bytes, text);
    uint64_t scope = 0;
    for (size_t i = 0; good && i < 8; i++)
        scope = scope << 8 | (unsigned char)buffer_span(&bytes).ptr[i];
    *ret = scope;
    buffer_finish(&bytes);
    return good;
}

/* Fields and values in turn; what is not of our making is passed over. */
static void marks_read(struct cache_redis *cache, const struct redis_value *value)
{
    uint64_t latest = loop_wall(cache->loop) + 24 * 3600 * CLOCK_SECOND;
    for (size_t i = 0; i + 1 < value->count; i += 2) {
        const struct redis_value *field = &value->items[i], *ms = &value->items[i + 1];
        uint64_t scope;
        int64_t mark;
        if (field->kind != REDIS_STRING || !scope_read(field->text, &scope) || !redis_value_integer(ms, &mark))
            continue;
        /* A day ahead of our clock: not a clock that is wrong a little, and it would hold for ever. */
        if (mark > 0 && (uint64_t)mark < latest / CLOCK_MS)
            mark_put(cache, scope, (uint64_t)mark * CLOCK_MS);
    }
    cache->marks_known = true;
    cache->counts.marks_read++;
}

static void marks_told(struct cache_call *call, const struct redis_reply *reply)
{
    if (!reply->error && reply->value->kind == REDIS_ARRAY)
        marks_read(call->cache, reply->value);
}

static void marks_ask(struct timer *timer)
{
    struct cache_redis *cache = CONTAINER_OF(timer, struct cache_redis, timer);
    timer_set(cache->loop, &cache->timer, loop_now(cache->loop) + MARKS_PERIOD);
    if (!cache->store->redis || cache->reading.call.pending.live)
        return;
    struct key_text text;
    if (!begin(cache, NULL, &cache->reading, marks_told))
        return;
    key_begin(cache, SPAN(":purges"), &text);
    const struct span argv[] = {SPAN("HGETALL"), key_span(&text)};
    redis_ask(cache->store->redis, NULL, &cache->reading.call, key_span(&text), argv, ARRAY_LEN(argv),
              cache->options.write);
}

static void purge_told(struct cache_call *call, const struct redis_reply *reply)
{
    struct cache_purge *purge = CONTAINER_OF(call, struct cache_purge, call);
    purge->done(purge, reply->error);
}

void cache_redis_purge(struct cache_redis *cache, struct list *list, struct cache_purge *purge, enum cache_scope scope,
                       struct span name, uint64_t life, cache_purge_fn *done)
{
    uint64_t now = loop_wall(cache->loop), hash = scope_hash(scope, name);
    struct key_text text;
    char field[16], all[16], now_text[24], life_text[24], most_text[24];
    mark_put(cache, hash, now);
    purge->done = done;
    if (!begin(cache, list, &purge->call, purge_told))
        return;
    key_begin(cache, SPAN(":purges"), &text);
    const struct span keys[] = {key_span(&text)};
    const struct span args[] = {scope_text(hash, field), decimal(in_ms(now), now_text), decimal(in_ms(life), life_text),
                                decimal(CACHE_PURGE_MARKS, most_text),
                                scope_text(scope_hash(CACHE_SCOPE_ALL, (struct span){0}), all)};
    redis_eval(cache->store->redis, list, &purge->call.call, &cache->purge, keys, 1, args, ARRAY_LEN(args),
               cache->options.write);
}

/* The last mark that is for this entry; 0: none. */
static uint64_t last_mark(const struct cache_redis *cache, const uint8_t key[CACHE_KEY_BYTES],
                          const struct cache_facts *facts)
{
    const struct span names[] = {[CACHE_SCOPE_ALL] = {0},
                                 [CACHE_SCOPE_MODEL] = facts->model,
                                 [CACHE_SCOPE_CONSUMER] = facts->consumer,
                                 [CACHE_SCOPE_KEY] = span_of((const char *)key, CACHE_KEY_BYTES)};
    uint64_t last = 0;
    for (unsigned scope = 0; scope < ARRAY_LEN(names); scope++) {
        uint64_t mark = mark_of(cache, scope_hash((enum cache_scope)scope, names[scope]));
        last = mark > last ? mark : last;
    }
    return last;
}

bool cache_redis_is_purged(struct cache_redis *cache, const uint8_t key[CACHE_KEY_BYTES],
                           const struct cache_facts *facts)
{
    bool purged = !cache->marks_known && facts->created < cache->started;
    if (cache->mark_count && !purged) {
        uint64_t last = last_mark(cache, key, facts);
        purged = last && facts->created <= last + CACHE_PURGE_SLACK;
    }
    cache->counts.purged += purged;
    return purged;
}

/* ---- opening and closing ---- */

struct cache_redis *cache_redis_create(struct loop *loop, struct redis_store *store,
                                       const struct cache_redis_options *options)
{
    struct cache_redis *cache = memory_zalloc(sizeof(*cache));
    struct cache_redis_options *o = &cache->options;
    cache->loop = loop;
    cache->store = store;
    *o = *options;
    o->lookup = o->lookup ? o->lookup : LOOKUP_DEFAULT;
    o->write = o->write ? o->write : WRITE_DEFAULT;
    o->value_most = o->value_most ? o->value_most : VALUE_DEFAULT;
    o->writes_most = o->writes_most ? o->writes_most : WRITES_DEFAULT;
    o->bytes_most = o->bytes_most ? o->bytes_most : BYTES_DEFAULT;
    struct span name = span_take(options->name, NAME_LIMIT);
    cache->name = memory_string(name);
    o->name = span_of(cache->name, name.len);
    list_init(&cache->writes);
    redis_script_init(&cache->release, span_str(release_text));
    redis_script_init(&cache->purge, span_str(purge_text));
    cache->started = loop_wall(loop);
    cache->timer.fire = marks_ask;
    timer_set(loop, &cache->timer, loop_now(loop));
    return cache;
}

void cache_redis_destroy(struct cache_redis *cache)
{
    if (!cache)
        return;
    timer_clear(cache->loop, &cache->timer);
    pending_cancel(&cache->reading.call.pending);
    LIST_EACH(&cache->writes, link)
    {
        struct write *write = CONTAINER_OF(link, struct write, call.pending.link);
        pending_cancel(&write->call.pending);
        write_forget(write);
    }
    free(cache->name);
    free(cache);
}

void cache_redis_counts(const struct cache_redis *cache, struct cache_redis_counts *ret)
{
    *ret = cache->counts;
    ret->marks = cache->mark_count;
}
