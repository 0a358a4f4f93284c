/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree: a configuration text as nodes that know where they stand. Scalars stay text: what a scalar means is decided by
 * the settings table that reads it, never by YAML's own guessing (so `no`, `010` and `1e3` cannot surprise). Refused,
 * each with its reason: anchors and aliases, tags, duplicate keys, keys that are not plain text, several documents in
 * one file, bytes that are not UTF-8, nesting deeper than TREE_DEPTH.
 * Nodes and texts live in the arena given to the function that made them.
 */
#ifndef POSTERN_CONFIG_TREE_H
#define POSTERN_CONFIG_TREE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/span.h"
#include "config/report.h"

/* Maps and lists inside each other. */
#define TREE_DEPTH 32
/* Bytes of all files together. */
#define TREE_BYTES ((size_t)4 * 1024 * 1024)

enum node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP };

/* A scalar's dress: quoted text is text, plain text may be a number or a word. */
enum node_style { STYLE_PLAIN, STYLE_QUOTED, STYLE_BLOCK };

struct node {
    enum node_kind kind;
    enum node_style style;
    struct place place;     /* of the value */
    struct span key;        /* inside a map: the key */
    struct place key_place; /* of the key */
    struct span text;       /* a scalar's text; a NUL follows it */
    struct node *first;     /* children of a list or map, in written order */
    struct node *last;
    struct node *next; /* sibling */
    size_t count;      /* children */
};

/*
 * Parses one YAML text. `file` names it in places. Returns the root node, or NULL after at least one report_error
 * (also for an empty text). Continues after the first error where it can.
 */
MUST_CHECK struct node *tree_parse(struct arena *arena, struct span file, struct span text, struct report *report);

/*
 * Merges `from` into `to` (both roots are maps): maps merge by key, lists concatenate, and a scalar that both give, or
 * values of different kinds under one key, is an error that names both places. Nodes of `from` become part of `to`.
 */
void tree_merge(struct node *to, struct node *from, struct report *report);

/* The child of a map under `key`, or NULL (also when `map` is NULL or no map). */
const struct node *tree_get(const struct node *map, struct span key);
/* The index-th child of a list, or NULL. */
const struct node *tree_at(const struct node *list, size_t index);

#endif
