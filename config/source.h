/* SPDX-License-Identifier: Apache-2.0 */
/*
 * source: where configuration text comes from: a file, or a directory such as a mounted ConfigMap, whose *.yaml and
 * *.yml files are read in the order of their names and merged (tree_merge). Dotfiles are skipped: a ConfigMap mount
 * keeps its real files behind
 * `..data`, and reading them there as well would read everything twice.
 */
#ifndef POSTERN_CONFIG_SOURCE_H
#define POSTERN_CONFIG_SOURCE_H

#include "base/arena.h"
#include "config/report.h"
#include "config/trace.h"
#include "config/tree.h"

/* Files of one directory. */
#define SOURCE_FILES 256

/*
 * The merged root, a map; NULL after at least one report_error. May also return a root after errors, to find more.
 * `trace` (NULL: none) gets what was read.
 */
MUST_CHECK struct node *source_read(struct arena *arena, const char *path, struct trace *trace, struct report *report);
/* The same from a text. */
MUST_CHECK struct node *source_text(struct arena *arena, struct span name, struct span text, struct report *report);
struct config_text;
/* The same from several, as from the files of a directory: dotfiles and other endings are skipped, the rest merged in
 * the order of their names. */
MUST_CHECK struct node *source_texts(struct arena *arena, const struct config_text *texts, size_t count,
                                     struct report *report);

#endif
