/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report: everything that is wrong with a configuration, collected before anything is said, so that a person repairs it
 * in one go. Each entry is one sentence of the form `file:line:column: what is wrong; what is allowed; did you mean
 * "..."`. Errors refuse the configuration, warnings do not. Texts never hold secrets.
 */
#ifndef POSTERN_CONFIG_REPORT_H
#define POSTERN_CONFIG_REPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/span.h"

/* Where something stands. An empty file means "nowhere in particular": the message is printed without a place. */
struct place {
    struct span file; /* the path as it was given or found */
    unsigned line;    /* 1-based; 0 = the file as a whole */
    unsigned column;  /* 1-based, in characters */
};

#define PLACE_NONE ((struct place){0})

struct report_entry {
    struct place place;
    struct span text; /* in the report's arena */
    bool warning;
    struct report_entry *next;
};

struct report {
    struct arena arena;
    struct report_entry *first, **last;
    size_t errors, warnings;
};

void report_init(struct report *report);
/* Frees all texts and entries. */
void report_finish(struct report *report);

void report_error(struct report *report, struct place place, const char *format, ...) PRINTF_LIKE(3, 4);
void report_warning(struct report *report, struct place place, const char *format, ...) PRINTF_LIKE(3, 4);

/* By file, line and column; entries of one place keep their order, those without a place come first. */
void report_sort(struct report *report);
/* Appends all entries, one line each; a warning's text begins with "warning: ". Does not sort. */
void report_print(const struct report *report, struct buffer *out);
/* Appends `place` as file:line:column, file, or nothing. */
void report_print_place(struct place place, struct buffer *out);

#endif
