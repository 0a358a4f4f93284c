/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table: a hash table from a span to a pointer. The key's bytes are the caller's and must outlive the entry (usually
 * they lie inside the object stored). Open addressing, grows at three quarters full. Not thread-safe.
 */
#ifndef POSTERN_BASE_TABLE_H
#define POSTERN_BASE_TABLE_H

#include <stddef.h>

#include "base/compiler.h"
#include "base/span.h"

struct table_slot {
    uint64_t hash;
    struct span key;
    void *value; /* NULL marks a free slot */
};

struct table {
    struct table_slot *slots;
    size_t count, cap; /* cap is 0 or a power of two */
};

void table_init(struct table *table);
/* Frees the slots, not the values. */
void table_finish(struct table *table);
/* The value, or NULL. */
void *table_get(const struct table *table, struct span key);
/* Adds or replaces; `value` must not be NULL. Returns the value replaced, or NULL. */
void *table_put(struct table *table, struct span key, void *value);
/* Removes; returns the value removed, or NULL. */
void *table_remove(struct table *table, struct span key);
/* Walks all entries: start with *cursor = 0; NULL at the end. The table must not change during the walk. */
void *table_next(const struct table *table, size_t *cursor);

#endif
