/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names: which names the root's sections define (targets, filters, ...) and what refers to them. Reports names that
 * nothing defines, with the nearest one that is, names defined twice, and names that nothing uses.
 */
#ifndef POSTERN_CONFIG_NAMES_H
#define POSTERN_CONFIG_NAMES_H

#include "base/arena.h"
#include "base/table.h"
#include "config/report.h"
#include "config/schema.h"
#include "config/tree.h"

struct names_reference {
    const char *section; /* NULL: a word under a key that was refused; it only keeps a name from being called unused */
    struct span name;
    struct place place;
    struct names_reference *next;
};

struct names {
    struct arena *arena;
    struct names_reference *first, **last;
};

void names_init(struct names *names, struct arena *arena);
void names_refer(struct names *names, const char *section, struct span name, struct place place);
/* Takes every scalar below `node` as a possible reference. */
void names_refer_all(struct names *names, const struct node *node);

/* Compares with what the sections of `root` define, as spec's table says (SETTING_DEFINES, SETTING_MUST_USE). */
void names_resolve(const struct names *names, const struct settings_spec *spec, const struct node *root,
                   struct report *report);

#endif
