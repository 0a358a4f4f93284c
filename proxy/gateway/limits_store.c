/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/limits_store.h"

#include "base/clock.h"

/* When places are taken and nobody knows for how long. */
#define HOLD_LEAST   (50 * CLOCK_MS)
#define HOLD_MOST    (10 * CLOCK_SECOND)
#define HOLD_ASSUMED (1 * CLOCK_SECOND)

enum limits_result limits_reserve(struct limits_store *store, struct limits_call *call, struct loop *loop,
                                  struct list *pendings, uint64_t now, uint64_t wall)
{
    return store->ops->reserve(store, call, loop, pendings, now, wall);
}

void limits_settle(struct limits_store *store, struct limits_call *call, uint64_t now, uint64_t wall)
{
    if (!call->granted)
        return;
    call->granted = false;
    store->ops->settle(store, call, now, wall);
}

void limits_renew(struct limits_store *store, struct limits_call *call, uint64_t now, uint64_t wall)
{
    if (call->granted && store->ops->renew)
        store->ops->renew(store, call, now, wall);
}

uint64_t limits_wait(const struct limits_call *call, const struct limits_part **ret_part)
{
    const struct limits_part *longest = NULL;
    for (unsigned i = 0; i < call->count; i++) {
        const struct limits_part *part = &call->parts[i];
        if (!part->shadow && !part->answer.granted && (!longest || part->answer.wait > longest->answer.wait))
            longest = part;
    }
    if (ret_part)
        *ret_part = longest;
    return longest ? longest->answer.wait : 0;
}

uint64_t limits_place_wait(const struct limit_law *law, uint64_t held)
{
    uint64_t wait = held ? held / law->amount : HOLD_ASSUMED;
    return wait < HOLD_LEAST ? HOLD_LEAST : wait > HOLD_MOST ? HOLD_MOST : wait;
}
