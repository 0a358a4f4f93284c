/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pending: an operation in flight. It lives inside the operation's own record and is linked on its exchange's (or any
 * owner's) list. Exactly one of three things ends it, and each ends it for good:
 *
 *   pending_complete   by whoever carries out the operation, just before it reports the result;
 *   pending_cancel     by the owner, who no longer wants to know: `cancel` is called, the operation reports nothing;
 *   its deadline       `on_timeout` is called in place of a result.
 *
 * A start function never completes inside its own call: what is known at once is delivered by loop_post. Debug builds
 * assert it.
 */
#ifndef POSTERN_NET_PENDING_H
#define POSTERN_NET_PENDING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/list.h"
#include "net/loop.h"

struct pending {
    struct list link; /* on the owner's list, newest last */
    struct loop *loop;
    struct timer timer;
    void (*on_timeout)(struct pending *pending);
    void (*cancel)(struct pending *pending);
    uint64_t started; /* loop_sequence at the start */
    bool live;
};

/*
 * Makes `p` live. `list` is where the owner finds it (NULL: nowhere); `deadline` in loop time, 0 for none, else
 * on_timeout must not be NULL. Both functions are called with `p` already dead and unlinked, so they may free its
 * record (by loop_bury).
 */
void pending_start(struct list *list, struct pending *p, struct loop *loop, uint64_t deadline,
                   void (*on_timeout)(struct pending *p), void (*cancel)(struct pending *p));
/* Ends it as done: unlinks, clears the deadline. The caller then reports. Must be live. */
void pending_complete(struct pending *p);
/* Ends it as unwanted and calls `cancel`. Nothing if it is not live. */
void pending_cancel(struct pending *p);
/* Cancels all on the list, newest first. */
void pending_cancel_all(struct list *list);
/* How many are live in the whole process: zero after every test. */
unsigned pending_count(void);

#endif
