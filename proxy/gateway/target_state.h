/* SPDX-License-Identifier: Apache-2.0 */
/*
 * target_state: what is remembered about one (target, deployment) across exchanges, workers and reloads: until when it
 * cools down (it said 429 or 503 with a retry-after) or rests (it refused connections). Plain atomics, no lock on the
 * data path; the list of all of them is locked, at load only. Times are those of the loop clock, µs.
 */
#ifndef POSTERN_GATEWAY_TARGET_STATE_H
#define POSTERN_GATEWAY_TARGET_STATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

struct target_state {
    _Atomic uint64_t cool_until; /* 0: not cooling */
    _Atomic uint64_t rest_until;
    /* private */
    unsigned refs;
    struct target_state *next;
    char *name;
};

/* The state of that name, made at first use. One reference. */
struct target_state *target_state_get(struct span target, struct span deployment);
/* NULL is allowed. */
void target_state_unref(struct target_state *state);
/* 0 when it may be used at `now`, else the time at which it may be again. */
uint64_t target_state_blocked(const struct target_state *state, uint64_t now);
void target_state_cool(struct target_state *state, uint64_t until);
void target_state_rest(struct target_state *state, uint64_t until);

#endif
