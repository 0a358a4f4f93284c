/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A close that would meet unread bytes makes the kernel send RST, and the peer may lose the answer that it has not read
 * yet (RFC 9112 section 9.6). So read on for a while, bounded in bytes and time, and throw it away.
 */
#include <stdlib.h>

#include "base/memory.h"
#include "net/loop.h"
#include "net/transport.h"

struct lingering {
    struct transport *transport;
    struct timer timer;
    struct task at_destroy;
    size_t bytes;
};

static void linger_end(struct lingering *linger)
{
    struct loop *loop = linger->transport->loop;
    timer_clear(loop, &linger->timer);
    task_cancel(&linger->at_destroy);
    transport_close(linger->transport);
    loop_bury(loop, linger, free);
}

static void linger_timeout(struct timer *timer)
{
    linger_end(CONTAINER_OF(timer, struct lingering, timer));
}

static void linger_destroyed(struct task *task)
{
    linger_end(CONTAINER_OF(task, struct lingering, at_destroy));
}

static void linger_read(struct lingering *linger)
{
    struct transport *t = linger->transport;
    ssize_t got = transport_read(t, loop_scratch(t->loop), LOOP_SCRATCH);
    if (got > 0)
        linger->bytes += (size_t)got;
    if (got < 0 || linger->bytes > LINGER_BYTES)
        linger_end(linger);
}

static void linger_event(struct transport *t, enum transport_event event)
{
    struct lingering *linger = t->owner;
    if (event == TRANSPORT_WRITABLE)
        return;
    if (event == TRANSPORT_READABLE)
        linger_read(linger);
    else
        linger_end(linger);
}

void transport_linger(struct transport *t, uint64_t timeout)
{
    struct lingering *linger = memory_zalloc(sizeof(*linger));
    linger->transport = t;
    linger->timer.fire = linger_timeout;
    linger->at_destroy.run = linger_destroyed;
    loop_at_destroy(t->loop, &linger->at_destroy);
    transport_own(t, linger, linger_event);
    timer_set(t->loop, &linger->timer, loop_now(t->loop) + timeout);
    transport_shutdown(t);
    transport_want(t, true);
    linger_read(linger); /* the end may have been seen already: no event would come */
}
