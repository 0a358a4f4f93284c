/* SPDX-License-Identifier: Apache-2.0 */
/*
 * collect: an exchange's request body. Of inspected operations it is collected into one contiguous buffer while a
 * reader looks at it (model, stream, limits), bounded by limits.body (413) and by the process-wide limits.held (reading
 * stops until others give back, then 503). All other bodies stream to the target as they come, with the target's pace.
 */
#ifndef POSTERN_GATEWAY_COLLECT_H
#define POSTERN_GATEWAY_COLLECT_H

#include <stdbool.h>

#include "base/compiler.h"

struct exchange;

/* The head hooks are through: decides what happens to the body and lets it come. */
void collect_start(struct exchange *exchange);
/* Held bytes may be had again: a starving exchange goes on. False: still not enough for it. */
MUST_CHECK bool collect_resume(struct exchange *exchange);
/* The body needs no more room, or nobody wants it any more: another may be the elder (see collect.c). */
void collect_yield(struct exchange *exchange);
/* The target takes more of a streamed body. */
void collect_upstream_room(struct exchange *exchange);

#endif
