/* SPDX-License-Identifier: Apache-2.0 */
/*
 * explain: what the settings tables say, for people: one setting at a time (`postern explain`) or all of them as a page
 * (config/reference.md).
 */
#ifndef POSTERN_CONFIG_EXPLAIN_H
#define POSTERN_CONFIG_EXPLAIN_H

#include <stdbool.h>

#include "base/buffer.h"
#include "base/compiler.h"
#include "base/span.h"
#include "config/schema.h"

/*
 * Appends the documentation of the setting at `path`: dotted names from the root ("targets.timeouts.connect"), without
 * indexes; below filters the type's name ("filters.headers.set"). An empty path documents the root. `filters` may be
 * NULL. False when there is no such setting: then a line that says so, with what there is and what was probably meant,
 * is appended.
 */
MUST_CHECK bool config_explain(struct buffer *out, const struct settings_registry *filters, struct span path);

/* Appends the whole reference as Markdown. `filters` may be NULL. */
void config_reference(struct buffer *out, const struct settings_registry *filters);

#endif
