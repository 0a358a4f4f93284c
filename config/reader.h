/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reader: fills settings structs from a tree by their tables (config/schema.h). Every problem goes to the report;
 * reading goes on after it, so that all problems are seen at once.
 */
#ifndef POSTERN_CONFIG_READER_H
#define POSTERN_CONFIG_READER_H

#include "base/arena.h"
#include "config/names.h"
#include "config/report.h"
#include "config/schema.h"
#include "config/trace.h"
#include "config/tree.h"

/* The version of the configuration this program knows: postern/v1.0, also written postern/v1. */
#define CONFIG_MAJOR   1
#define CONFIG_MINOR   0
#define CONFIG_VERSION "1.0"

struct reader {
    struct arena *arena; /* of the configuration: nodes and values */
    struct report *report;
    const struct settings_registry *filters; /* NULL: none */
    struct names *names;                     /* collects what refers to what */
    struct trace *trace;                     /* NULL: nobody wants to know */
    bool offline;                            /* touch no file and no environment */
    bool newer;          /* the text was written for a newer minor version: unknown keys are warnings */
    struct span version; /* the text's own, for that message */
};

/*
 * Fills the struct at `out` (of spec->size bytes). `node` NULL: all defaults. False if something was reported as an
 * error; the struct is then incomplete and only good for reporting more.
 */
bool reader_fill(struct reader *reader, const struct settings_spec *spec, const struct node *node, void *out);

/* One scalar or value-like setting (anything but objects) from its node into its place in `out`. */
bool reader_value(struct reader *reader, const struct setting *setting, const struct node *node, void *out);
/* The collections among them: lists and maps of plain values. Called by reader_value. */
bool reader_collection(struct reader *reader, const struct setting *setting, const struct node *node, void *out);
/* The same from the table's default text. A default that does not parse is a programming error: asserted. */
void reader_default(struct reader *reader, const struct setting *setting, void *out);

/* Any node as compact JSON text in the arena. False after a report. */
bool reader_json(struct reader *reader, const struct node *node, struct span *ret);

/* "a list", "a map", "text": for messages. */
const char *reader_kind(const struct node *node);

#endif
