/* SPDX-License-Identifier: Apache-2.0 */
/*
 * describe: one setting's facts as short texts; what explain and reference share. Each function appends, and appends
 * nothing when there is nothing to say.
 */
#ifndef POSTERN_CONFIG_DESCRIBE_H
#define POSTERN_CONFIG_DESCRIBE_H

#include "base/buffer.h"
#include "config/schema.h"

/* "duration", "list of model target", "{file: PATH} or {env: NAME}" */
void describe_type(const struct setting *setting, struct buffer *out);
/* "5s", "none", or the note. */
void describe_default(const struct setting *setting, struct buffer *out);
/* "1ms to 5m", "one of auto, 1.1, 2", "at most 64 items" */
void describe_limits(const struct setting *setting, struct buffer *out);
/* "takes effect on reload" or "needs a restart" */
const char *describe_reload(const struct setting *setting);
/* The settings below this one, or NULL. */
const struct settings_spec *describe_children(const struct setting *setting);

#endif
