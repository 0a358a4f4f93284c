/* SPDX-License-Identifier: Apache-2.0 */
/*
 * suggest: the second half of an error message: what would have been allowed, and which of it was probably meant.
 */
#ifndef POSTERN_CONFIG_SUGGEST_H
#define POSTERN_CONFIG_SUGGEST_H

#include "base/arena.h"
#include "base/span.h"

/* Words longer than this are never near to anything. */
#define SUGGEST_LENGTH 64

/*
 * How many single edits (insert, delete, replace, swap of two neighbours) lead from one word to the other, ASCII case
 * counted as equal; more than `limit` gives limit + 1.
 */
unsigned suggest_distance(struct span a, struct span b, unsigned limit);

/* The words to choose from, gathered by suggest_add. */
struct suggest {
    struct span word; /* what was written */
    struct span best; /* the nearest so far; empty: none is near */
    unsigned distance;
    struct span *words;
    size_t count, cap;
    struct arena *arena;
};

void suggest_init(struct suggest *suggest, struct arena *arena, struct span word);
/* `word` must outlive the suggest. */
void suggest_add(struct suggest *suggest, struct span word);
/* `; allowed: a, b, c; did you mean "b"?` in the arena; the first part is cut after 24 words. Empty with no words. */
struct span suggest_text(const struct suggest *suggest);

#endif
