/* SPDX-License-Identifier: Apache-2.0 */
#include "base/table.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/memory.h"

void table_init(struct table *table)
{
    *table = (struct table){0};
}

void table_finish(struct table *table)
{
    free(table->slots);
    table_init(table);
}

/* The slot of the key, or the free slot where it would go. cap must not be 0. */
static size_t find(const struct table *table, uint64_t hash, struct span key)
{
    size_t at = (size_t)hash & (table->cap - 1);
    while (table->slots[at].value && !(table->slots[at].hash == hash && span_equal(table->slots[at].key, key)))
        at = (at + 1) & (table->cap - 1);
    return at;
}

void *table_get(const struct table *table, struct span key)
{
    return table->cap ? table->slots[find(table, hash_bytes(key), key)].value : NULL;
}

static void grow(struct table *table)
{
    struct table old = *table;
    table->cap = old.cap ? old.cap * 2 : 8;
    table->slots = memory_array(table->cap, sizeof(*table->slots));
    for (size_t i = 0; i < old.cap; i++)
        if (old.slots[i].value)
            table->slots[find(table, old.slots[i].hash, old.slots[i].key)] = old.slots[i];
    free(old.slots);
}

void *table_put(struct table *table, struct span key, void *value)
{
    if (table->count * 4 >= table->cap * 3)
        grow(table);
    uint64_t hash = hash_bytes(key);
    struct table_slot *slot = &table->slots[find(table, hash, key)];
    void *old = slot->value;
    table->count += old ? 0 : 1;
    *slot = (struct table_slot){.hash = hash, .key = key, .value = value};
    return old;
}

void *table_remove(struct table *table, struct span key)
{
    if (!table->cap)
        return NULL;
    size_t at = find(table, hash_bytes(key), key), mask = table->cap - 1;
    void *old = table->slots[at].value;
    if (!old)
        return NULL;
    table->count--;
    /* Close the gap: move back every later entry of the run that may live here. */
    for (size_t next = (at + 1) & mask; table->slots[next].value; next = (next + 1) & mask) {
        size_t home = (size_t)table->slots[next].hash & mask;
        if (((next - home) & mask) >= ((next - at) & mask)) {
            table->slots[at] = table->slots[next];
            at = next;
        }
    }
    table->slots[at].value = NULL;
    return old;
}

void *table_next(const struct table *table, size_t *cursor)
{
    while (*cursor < table->cap) {
        struct table_slot *slot = &table->slots[(*cursor)++];
        if (slot->value)
            return slot->value;
    }
    return NULL;
}
