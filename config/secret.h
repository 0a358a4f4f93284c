/* SPDX-License-Identifier: Apache-2.0 */
/*
 * secret: reads what {file: PATH} or {env: NAME} names. A missing or empty one is an error, never an empty string: a
 * gateway that starts with an empty key fails far from the cause.
 */
#ifndef POSTERN_CONFIG_SECRET_H
#define POSTERN_CONFIG_SECRET_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/compiler.h"
#include "base/span.h"
#include "config/schema.h"

/* Files larger than this are no secret of ours. */
#define SECRET_BYTES 65536

/*
 * Reads the secret again from where it is kept (so a rotated file is seen) into memory that the arena wipes when it
 * ends. White space at both ends is not part of it. On failure false, and *ret_reason (in the arena) says why, without
 * the value.
 */
MUST_CHECK bool secret_read(const struct setting_secret *secret, struct arena *arena, struct span *ret,
                            struct span *ret_reason);

#endif
