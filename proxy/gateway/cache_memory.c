/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/cache_memory.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/list.h"
#include "base/memory.h"

#define PARTS_MOST  16
#define PART_LEAST  ((size_t)1 << 20) /* bytes of room that make another part worth while */
#define SLOTS_LEAST 64
#define SMALL_SHARE 10 /* the small queue may take one part in so many */
#define USES_MOST   3
#define ROUNDS_MOST 64
#define MARKS       64

struct node {
    uint8_t key[CACHE_KEY_BYTES];
    struct cache_entry *entry;
    struct list link; /* on a queue, newest first; or on a list of what is to be freed */
    size_t cost;
    bool in_main;
    unsigned char uses; /* since it came to where it is in its queue */
};

/* Beside the node itself: its share of the table and of the ghosts, and what malloc adds to both blocks. */
#define NODE_COST (sizeof(struct node) + 4 * sizeof(void *) + 2 * sizeof(struct ghost) + 32)

/* What an entry costs beside its body, at most. */
#define COST_BESIDE (sizeof(struct cache_entry) + 4 * CACHE_TEXT_BYTES + NODE_COST)

/* What has been put out of the small queue: not the answer, only that it was there. */
struct ghost {
    uint64_t hash;
    uint64_t when; /* place in the sequence of ghosts; 0: free */
};

struct part {
    pthread_mutex_t lock;
    struct node **slots;  /* open addressing, linear */
    struct ghost *ghosts; /* one place for each hash, as many as slots */
    size_t count, cap;
    size_t bytes, small_bytes, main_count, limit;
    uint64_t ghost_clock;
    struct list small, main;
    struct cache_memory_counts counts;
};

/* That something was purged, for answers that were on their way then. */
struct mark {
    uint64_t name; /* a hash of what was */
    uint64_t when; /* µs since 1970 */
};

struct cache_memory {
    struct list link;
    char *name;
    pthread_mutex_t marks_lock;
    struct mark marks[MARKS];
    atomic_uint mark_count;    /* ever; the newest take the place of the oldest */
    unsigned refs, part_count; /* part_count: a power of two */
    struct part parts[PARTS_MOST];
};

/* The memories of the process, by name; the lock is taken at start, reload and end. */
static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct list registry = {&registry, &registry};

/* Keys are keyed digests, so their bits are as good as any hash's: some choose the part, others the slot. */
static uint64_t hash_of(const uint8_t key[CACHE_KEY_BYTES])
{
    uint64_t hash;
    memcpy(&hash, key, sizeof(hash));
    return hash;
}

static struct part *part_of(struct cache_memory *memory, const uint8_t key[CACHE_KEY_BYTES])
{
    return &memory->parts[key[CACHE_KEY_BYTES - 1] & (memory->part_count - 1)];
}

/* ---- the table of one part ---- */

static size_t slot_of(const struct part *part, const uint8_t key[CACHE_KEY_BYTES])
{
    size_t slot = hash_of(key) & (part->cap - 1);
    while (part->slots[slot] && memcmp(part->slots[slot]->key, key, CACHE_KEY_BYTES) != 0)
        slot = (slot + 1) & (part->cap - 1);
    return slot;
}

static void grow(struct part *part)
{
    struct part old = *part;
    part->cap *= 2;
    part->slots = memory_zalloc(part->cap * sizeof(struct node *));
    part->ghosts = memory_zalloc(part->cap * sizeof(*part->ghosts));
    for (size_t i = 0; i < old.cap; i++) {
        if (old.slots[i])
            part->slots[slot_of(part, old.slots[i]->key)] = old.slots[i];
        if (old.ghosts[i].when)
            part->ghosts[old.ghosts[i].hash & (part->cap - 1)] = old.ghosts[i];
    }
    free(old.slots);
    free(old.ghosts);
}

/* Closes the gap, so that every node is still found from its own slot on. */
static void slot_clear(struct part *part, size_t gap)
{
    size_t mask = part->cap - 1;
    for (size_t at = (gap + 1) & mask; part->slots[at]; at = (at + 1) & mask) {
        size_t own = hash_of(part->slots[at]->key) & mask;
        if (((at - own) & mask) < ((at - gap) & mask))
            continue;
        part->slots[gap] = part->slots[at];
        gap = at;
    }
    part->slots[gap] = NULL;
}

/* ---- ghosts ---- */

static void ghost_add(struct part *part, uint64_t hash)
{
    part->ghosts[hash & (part->cap - 1)] = (struct ghost){.hash = hash, .when = ++part->ghost_clock};
}

/* Whether it was put out lately: not longer ago than as many others as there are entries. */
static bool ghost_take(struct part *part, uint64_t hash)
{
    struct ghost *ghost = &part->ghosts[hash & (part->cap - 1)];
    if (!ghost->when || ghost->hash != hash)
        return false;
    bool lately = part->ghost_clock - ghost->when <= part->count;
    ghost->when = 0;
    return lately;
}

/* ---- queues ---- */

static void queue_in(struct part *part, struct node *node)
{
    list_prepend(node->in_main ? &part->main : &part->small, &node->link);
    if (node->in_main)
        part->main_count++;
    else
        part->small_bytes += node->cost;
}

static void queue_out(struct part *part, struct node *node)
{
    list_remove(&node->link);
    if (node->in_main)
        part->main_count--;
    else
        part->small_bytes -= node->cost;
}

/* Out of table and queue, onto `gone`: freed when the lock is. */
static void drop(struct part *part, struct node *node, size_t slot, struct list *gone)
{
    queue_out(part, node);
    slot_clear(part, slot);
    part->count--;
    part->bytes -= node->cost;
    list_append(gone, &node->link);
}

static void bury(struct list *gone)
{
    LIST_EACH(gone, link)
    {
        struct node *node = CONTAINER_OF(link, struct node, link);
        cache_entry_unref(node->entry);
        free(node);
    }
}

/* The oldest of the small queue: if it was asked for meanwhile it moves over, otherwise it goes and leaves a ghost. */
static void leave_small(struct part *part, struct list *gone)
{
    struct node *node = LIST_LAST(&part->small, struct node, link);
    if (node->uses) {
        queue_out(part, node);
        node->in_main = true;
        node->uses = 0;
        queue_in(part, node);
        return;
    }
    ghost_add(part, hash_of(node->key));
    part->counts.evicted++;
    drop(part, node, slot_of(part, node->key), gone);
}

/*
 * The oldest of the large queue: each use since it was last here lets it stay for one more round. After many of these
 * in one call the next one goes all the same, since others wait for the lock.
 */
static void leave_main(struct part *part, unsigned *rounds, struct list *gone)
{
    struct node *node = LIST_LAST(&part->main, struct node, link);
    if (node->uses && (*rounds)++ < ROUNDS_MOST) {
        node->uses--;
        list_remove(&node->link);
        list_prepend(&part->main, &node->link);
        return;
    }
    part->counts.evicted++;
    drop(part, node, slot_of(part, node->key), gone);
}

static void make_room(struct part *part, size_t cost, struct list *gone)
{
    unsigned rounds = 0;
    while (part->bytes + cost > part->limit && part->count) {
        bool small = part->main_count == 0 || part->small_bytes > part->limit / SMALL_SHARE;
        if (small && !list_empty(&part->small))
            leave_small(part, gone);
        else
            leave_main(part, &rounds, gone);
    }
}

/* ---- for all workers ---- */

struct cache_entry *cache_memory_get(struct cache_memory *memory, const uint8_t key[CACHE_KEY_BYTES])
{
    struct part *part = part_of(memory, key);
    struct cache_entry *entry = NULL;
    pthread_mutex_lock(&part->lock);
    struct node *node = part->slots[slot_of(part, key)];
    if (node) {
        if (node->uses < USES_MOST)
            node->uses++;
        part->counts.hits++;
        entry = cache_entry_ref(node->entry);
    } else {
        part->counts.misses++;
    }
    pthread_mutex_unlock(&part->lock);
    return entry;
}

/* A quarter for the body alone, so that the settings can say what fits. */
static size_t cost_most(size_t limit)
{
    size_t most = limit / 4 + COST_BESIDE;
    return most < limit ? most : limit;
}

static void insert(struct part *part, struct node *node, struct list *gone)
{
    struct node *old = part->slots[slot_of(part, node->key)];
    if (old) {
        node->in_main = old->in_main;
        node->uses = old->uses;
        part->counts.replaced++;
        drop(part, old, slot_of(part, node->key), gone);
    } else {
        node->in_main = ghost_take(part, hash_of(node->key));
        part->counts.readmitted += node->in_main;
        part->counts.inserted++;
    }
    make_room(part, node->cost, gone);
    if ((part->count + 1) * 4 > part->cap * 3)
        grow(part);
    part->slots[slot_of(part, node->key)] = node;
    part->count++;
    part->bytes += node->cost;
    queue_in(part, node);
}

/* An entry that is too large takes the place of an older one all the same: by leaving it empty. */
static void refuse(struct part *part, const uint8_t key[CACHE_KEY_BYTES], struct list *gone)
{
    size_t slot = slot_of(part, key);
    part->counts.refused++;
    if (part->slots[slot]) {
        part->counts.removed++;
        drop(part, part->slots[slot], slot, gone);
    }
}

bool cache_memory_put(struct cache_memory *memory, const uint8_t key[CACHE_KEY_BYTES], struct cache_entry *entry)
{
    struct part *part = part_of(memory, key);
    struct node *node = memory_zalloc(sizeof(*node));
    struct list gone;
    memcpy(node->key, key, CACHE_KEY_BYTES);
    node->entry = cache_entry_ref(entry);
    node->cost = entry->bytes + NODE_COST;
    list_init(&gone);
    pthread_mutex_lock(&part->lock);
    bool fits = node->cost <= cost_most(part->limit);
    if (fits) {
        insert(part, node, &gone);
    } else {
        refuse(part, key, &gone);
        list_append(&gone, &node->link);
    }
    pthread_mutex_unlock(&part->lock);
    bury(&gone);
    return fits;
}

bool cache_memory_remove(struct cache_memory *memory, const uint8_t key[CACHE_KEY_BYTES],
                         const struct cache_entry *entry)
{
    struct part *part = part_of(memory, key);
    struct list gone;
    list_init(&gone);
    pthread_mutex_lock(&part->lock);
    size_t slot = slot_of(part, key);
    struct node *node = part->slots[slot];
    bool found = node && (!entry || node->entry == entry);
    if (found) {
        part->counts.removed++;
        drop(part, node, slot, &gone);
    }
    pthread_mutex_unlock(&part->lock);
    bury(&gone);
    return found;
}

size_t cache_memory_entry_most(const struct cache_memory *memory)
{
    size_t limit = __atomic_load_n(&memory->parts[0].limit, __ATOMIC_RELAXED);
    return cost_most(limit) > NODE_COST ? cost_most(limit) - NODE_COST : 0;
}

/* ---- purges ---- */

static uint64_t mark_name(enum cache_scope scope, struct span name)
{
    const uint8_t key[16] = {(uint8_t)scope};
    return hash_bytes_keyed(key, scope == CACHE_SCOPE_ALL ? (struct span){0} : name);
}

static void mark_put(struct cache_memory *memory, enum cache_scope scope, struct span name, uint64_t now)
{
    pthread_mutex_lock(&memory->marks_lock);
    unsigned count = atomic_load_explicit(&memory->mark_count, memory_order_relaxed);
    memory->marks[count % MARKS] = (struct mark){mark_name(scope, name), now};
    atomic_store_explicit(&memory->mark_count, count + 1, memory_order_release);
    pthread_mutex_unlock(&memory->marks_lock);
}

bool cache_memory_is_purged(struct cache_memory *memory, const uint8_t key[CACHE_KEY_BYTES],
                            const struct cache_facts *facts)
{
    if (!atomic_load_explicit(&memory->mark_count, memory_order_acquire))
        return false;
    const uint64_t names[] = {mark_name(CACHE_SCOPE_ALL, (struct span){0}), mark_name(CACHE_SCOPE_MODEL, facts->model),
                              mark_name(CACHE_SCOPE_CONSUMER, facts->consumer),
                              mark_name(CACHE_SCOPE_KEY, span_of((const char *)key, CACHE_KEY_BYTES))};
    bool purged = false;
    pthread_mutex_lock(&memory->marks_lock);
    for (unsigned i = 0; i < MARKS; i++)
        for (unsigned n = 0; n < ARRAY_LEN(names); n++)
            purged |= memory->marks[i].name == names[n] && facts->created <= memory->marks[i].when;
    pthread_mutex_unlock(&memory->marks_lock);
    return purged;
}

static bool is_in_scope(const struct cache_facts *facts, enum cache_scope scope, struct span name)
{
    if (scope == CACHE_SCOPE_ALL)
        return true;
    return span_equal(scope == CACHE_SCOPE_MODEL ? facts->model : facts->consumer, name);
}

static void purge_queue(struct part *part, struct list *queue, enum cache_scope scope, struct span name,
                        struct list *gone)
{
    LIST_EACH(queue, link)
    {
        struct node *node = CONTAINER_OF(link, struct node, link);
        if (is_in_scope(&node->entry->facts, scope, name))
            drop(part, node, slot_of(part, node->key), gone);
    }
}

static size_t purge(struct cache_memory *memory, enum cache_scope scope, struct span name)
{
    size_t purged = 0;
    for (unsigned i = 0; i < memory->part_count; i++) {
        struct part *part = &memory->parts[i];
        struct list gone;
        list_init(&gone);
        pthread_mutex_lock(&part->lock);
        size_t before = part->count;
        purge_queue(part, &part->small, scope, name, &gone);
        purge_queue(part, &part->main, scope, name, &gone);
        part->counts.removed += before - part->count;
        purged += before - part->count;
        pthread_mutex_unlock(&part->lock);
        bury(&gone);
    }
    return purged;
}

size_t cache_memory_purge(struct cache_memory *memory, enum cache_scope scope, struct span name, uint64_t now)
{
    mark_put(memory, scope, name, now);
    if (scope == CACHE_SCOPE_KEY)
        return cache_memory_remove(memory, (const uint8_t *)name.ptr, NULL);
    return purge(memory, scope, name);
}

void cache_memory_counts(struct cache_memory *memory, struct cache_memory_counts *ret)
{
    *ret = (struct cache_memory_counts){0};
    for (unsigned i = 0; i < memory->part_count; i++) {
        struct part *part = &memory->parts[i];
        pthread_mutex_lock(&part->lock);
        ret->entries += part->count;
        ret->bytes += part->bytes;
        ret->limit += part->limit;
        ret->hits += part->counts.hits;
        ret->misses += part->counts.misses;
        ret->inserted += part->counts.inserted;
        ret->replaced += part->counts.replaced;
        ret->evicted += part->counts.evicted;
        ret->removed += part->counts.removed;
        ret->refused += part->counts.refused;
        ret->readmitted += part->counts.readmitted;
        pthread_mutex_unlock(&part->lock);
    }
}

/* ---- opening and closing ---- */

static unsigned parts_for(size_t bytes, size_t body)
{
    size_t least = 4 * body > PART_LEAST ? 4 * body : PART_LEAST;
    unsigned count = 1;
    while (count < PARTS_MOST && bytes / least >= (size_t)count * 2)
        count *= 2;
    return count;
}

static struct cache_memory *create(struct span name, size_t bytes, size_t body)
{
    struct cache_memory *memory = memory_zalloc(sizeof(*memory));
    memory->name = memory_string(name);
    pthread_mutex_init(&memory->marks_lock, NULL);
    memory->part_count = parts_for(bytes, body);
    for (unsigned i = 0; i < memory->part_count; i++) {
        struct part *part = &memory->parts[i];
        pthread_mutex_init(&part->lock, NULL);
        part->cap = SLOTS_LEAST;
        part->slots = memory_zalloc(part->cap * sizeof(struct node *));
        part->ghosts = memory_zalloc(part->cap * sizeof(*part->ghosts));
        list_init(&part->small);
        list_init(&part->main);
    }
    list_append(&registry, &memory->link);
    return memory;
}

static void limit_to(struct cache_memory *memory, size_t bytes)
{
    for (unsigned i = 0; i < memory->part_count; i++) {
        struct part *part = &memory->parts[i];
        struct list gone;
        list_init(&gone);
        pthread_mutex_lock(&part->lock);
        __atomic_store_n(&part->limit, bytes / memory->part_count, __ATOMIC_RELAXED);
        make_room(part, 0, &gone);
        pthread_mutex_unlock(&part->lock);
        bury(&gone);
    }
}

struct cache_memory *cache_memory_open(struct span name, size_t bytes, size_t body)
{
    struct cache_memory *memory = NULL;
    pthread_mutex_lock(&registry_lock);
    LIST_EACH(&registry, link)
    {
        struct cache_memory *known = CONTAINER_OF(link, struct cache_memory, link);
        if (span_equal(span_str(known->name), name))
            memory = known;
    }
    if (!memory)
        memory = create(name, bytes, body);
    memory->refs++;
    limit_to(memory, bytes);
    pthread_mutex_unlock(&registry_lock);
    return memory;
}

static void destroy(struct cache_memory *memory)
{
    (void)purge(memory, CACHE_SCOPE_ALL, (struct span){0});
    pthread_mutex_destroy(&memory->marks_lock);
    for (unsigned i = 0; i < memory->part_count; i++) {
        pthread_mutex_destroy(&memory->parts[i].lock);
        free(memory->parts[i].slots);
        free(memory->parts[i].ghosts);
    }
    free(memory->name);
    free(memory);
}

void cache_memory_close(struct cache_memory *memory)
{
    if (!memory)
        return;
    pthread_mutex_lock(&registry_lock);
    bool last = --memory->refs == 0;
    if (last)
        list_remove(&memory->link);
    pthread_mutex_unlock(&registry_lock);
    if (last)
        destroy(memory);
}
