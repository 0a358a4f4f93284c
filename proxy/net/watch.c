/* SPDX-License-Identifier: Apache-2.0 */
#include "net/watch.h"

#include <stdlib.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "base/memory.h"
#include "net/loop.h"

struct watch {
    struct loop *loop;
    watch_fn *fn;
    void *arg;
    unsigned armed;
    struct event read, write;
};

static void ready(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    struct watch *watch = arg;
    loop_step(watch->loop);
    watch->fn(watch->arg, what & EV_WRITE ? WATCH_WRITE : WATCH_READ);
}

struct watch *watch_create(struct loop *loop, int fd, watch_fn *fn, void *arg)
{
    struct watch *watch = memory_alloc(sizeof(*watch));
    watch->loop = loop;
    watch->fn = fn;
    watch->arg = arg;
    watch->armed = 0;
    /* Two events, since changing the bits of one would take it out of epoll and put it back. */
    (void)event_assign(&watch->read, loop_base(loop), fd, EV_READ | EV_PERSIST, ready, watch);
    (void)event_assign(&watch->write, loop_base(loop), fd, EV_WRITE | EV_PERSIST, ready, watch);
    return watch;
}

static void set_one(struct event *event, bool on)
{
    if (on)
        (void)event_add(event, NULL);
    else
        (void)event_del(event);
}

void watch_want(struct watch *watch, unsigned interest)
{
    unsigned change = interest ^ watch->armed;
    if (!change)
        return;
    watch->armed = interest;
    if (change & WATCH_READ)
        set_one(&watch->read, interest & WATCH_READ);
    if (change & WATCH_WRITE)
        set_one(&watch->write, interest & WATCH_WRITE);
}

unsigned watch_interest(const struct watch *watch)
{
    return watch->armed;
}

void watch_destroy(struct watch *watch)
{
    if (!watch)
        return;
    watch_want(watch, 0);
    loop_bury(watch->loop, watch, free);
}
