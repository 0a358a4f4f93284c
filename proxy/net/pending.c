/* SPDX-License-Identifier: Apache-2.0 */
#include "net/pending.h"

#include <assert.h>
#include <stdatomic.h>

/* Process-wide on purpose: a test asks whether anything anywhere is still in flight. */
static atomic_uint live_pendings;

static void end(struct pending *p)
{
    assert(p->live);
    p->live = false;
    list_remove(&p->link);
    timer_clear(p->loop, &p->timer);
    atomic_fetch_sub_explicit(&live_pendings, 1, memory_order_relaxed);
}

static void timed_out(struct timer *timer)
{
    struct pending *p = CONTAINER_OF(timer, struct pending, timer);
    end(p);
    p->on_timeout(p);
}

void pending_start(struct list *list, struct pending *p, struct loop *loop, uint64_t deadline,
                   void (*on_timeout)(struct pending *p), void (*cancel)(struct pending *p))
{
    assert(!p->live && cancel && (on_timeout || !deadline));
    *p = (struct pending){.loop = loop,
                          .timer = {.fire = timed_out},
                          .on_timeout = on_timeout,
                          .cancel = cancel,
                          .started = loop_sequence(loop),
                          .live = true};
    if (list)
        list_append(list, &p->link);
    if (deadline)
        timer_set(loop, &p->timer, deadline);
    atomic_fetch_add_explicit(&live_pendings, 1, memory_order_relaxed);
}

void pending_complete(struct pending *p)
{
    assert(!p->started || p->started != loop_sequence(p->loop));
    end(p);
}

void pending_cancel(struct pending *p)
{
    if (!p->live)
        return;
    end(p);
    p->cancel(p);
}

void pending_cancel_all(struct list *list)
{
    while (!list_empty(list))
        pending_cancel(LIST_LAST(list, struct pending, link));
}

unsigned pending_count(void)
{
    return atomic_load_explicit(&live_pendings, memory_order_relaxed);
}
