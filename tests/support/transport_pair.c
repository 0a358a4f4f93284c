/* SPDX-License-Identifier: Apache-2.0 */
#include "support/transport_pair.h"

#include <stdint.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "net/loop.h"

struct pair_end {
    struct transport base;
    struct pair_end *other; /* NULL once it is closed */
    struct buffer inbox;
    struct transport_pair_options limits;
    struct task task;
    bool fin;       /* the peer ended its direction */
    bool reset;     /* the peer broke the connection */
    bool told;      /* of the end or the reset */
    bool unwritten; /* a write came short */
    unsigned reads, writes;
};

static uint64_t activity;

static struct pair_end *end_of(const struct transport *t)
{
    return (struct pair_end *)(uintptr_t)t;
}

static size_t least(size_t a, size_t limit)
{
    return limit && limit < a ? limit : a;
}

static void wake(struct pair_end *end)
{
    if (end)
        loop_post(end->base.loop, &end->task);
}

static size_t room_at(const struct pair_end *writer)
{
    size_t waiting = writer->other ? buffer_len(&writer->other->inbox) : 0;
    size_t capacity = writer->limits.capacity ? writer->limits.capacity : SIZE_MAX;
    return capacity > waiting ? capacity - waiting : 0;
}

static ssize_t pair_read(struct transport *t, char *into, size_t size)
{
    struct pair_end *end = end_of(t);
    end->reads++;
    activity++;
    if (end->reset) {
        end->told = true;
        return TRANSPORT_ERROR;
    }
    size_t take = least(least(buffer_len(&end->inbox), end->limits.read_most), size);
    if (take == 0) {
        end->told = end->told || end->fin;
        return end->fin && buffer_len(&end->inbox) == 0 ? TRANSPORT_EOF : 0;
    }
    memcpy(into, buffer_span(&end->inbox).ptr, take);
    buffer_consume(&end->inbox, take);
    if (buffer_len(&end->inbox) || end->fin)
        wake(end);
    if (end->other && end->other->unwritten)
        wake(end->other);
    return (ssize_t)take;
}

static ssize_t pair_write(struct transport *t, const struct iovec *iov, int count)
{
    struct pair_end *end = end_of(t);
    end->writes++;
    activity++;
    if (end->reset || !end->other) {
        end->reset = true;
        end->told = true;
        return TRANSPORT_ERROR;
    }
    size_t allowed = least(room_at(end), end->limits.write_most), taken = 0, asked = 0;
    for (int i = 0; i < count; i++) {
        size_t part = iov[i].iov_len < allowed - taken ? iov[i].iov_len : allowed - taken;
        if (part)
            buffer_append(&end->other->inbox, span_of(iov[i].iov_base, part));
        taken += part;
        asked += iov[i].iov_len;
    }
    if (taken)
        wake(end->other);
    if (taken < asked) {
        end->unwritten = true;
        wake(end);
    }
    return (ssize_t)taken;
}

static void pair_want(struct transport *t, bool read)
{
    if (read)
        wake(end_of(t));
}

static void pair_shutdown(struct transport *t)
{
    struct pair_end *end = end_of(t);
    if (!end->other)
        return;
    end->other->fin = true;
    wake(end->other);
}

static void pair_free(void *object)
{
    struct pair_end *end = object;
    buffer_finish(&end->inbox);
    free(end);
}

static void pair_close(struct transport *t)
{
    struct pair_end *end = end_of(t);
    pair_shutdown(t);
    if (end->other)
        end->other->other = NULL;
    task_cancel(&end->task);
    loop_bury(t->loop, end, pair_free);
}

static const char *pair_error(const struct transport *t)
{
    return end_of(t)->reset ? "Connection reset by peer" : "";
}

static const struct transport_ops pair_ops = {
    .name = "pair",
    .read = pair_read,
    .write = pair_write,
    .want = pair_want,
    .shutdown = pair_shutdown,
    .close = pair_close,
    .error = pair_error,
};

static void tell_end(struct pair_end *end, enum transport_event event)
{
    if (end->told)
        return;
    end->told = true;
    transport_notify(&end->base, event);
}

static void deliver(struct task *task)
{
    struct pair_end *end = CONTAINER_OF(task, struct pair_end, task);
    if (end->reset) {
        tell_end(end, TRANSPORT_FAILED);
        return;
    }
    if (end->unwritten && room_at(end)) {
        end->unwritten = false;
        transport_notify(&end->base, TRANSPORT_WRITABLE);
    }
    if (end->base.closed || end->reset)
        return;
    bool bytes = buffer_len(&end->inbox) > 0;
    if (end->base.want_read && (bytes || (end->fin && !end->told)))
        transport_notify(&end->base, TRANSPORT_READABLE);
    else if (end->fin && !bytes)
        tell_end(end, TRANSPORT_CLOSED);
}

static struct pair_end *make_end(struct loop *loop, const struct transport_pair_options *options)
{
    struct pair_end *end = memory_zalloc(sizeof(*end));
    transport_init(&end->base, &pair_ops, loop);
    end->task.run = deliver;
    if (options)
        end->limits = *options;
    return end;
}

void transport_pair(struct loop *loop, const struct transport_pair_options *options, struct transport **ret_a,
                    struct transport **ret_b)
{
    struct pair_end *a = make_end(loop, options), *b = make_end(loop, options);
    a->other = b;
    b->other = a;
    *ret_a = &a->base;
    *ret_b = &b->base;
}

void transport_pair_reset(struct transport *end)
{
    end_of(end)->reset = true;
    wake(end_of(end));
}

void transport_pair_limit(struct transport *end, const struct transport_pair_options *options)
{
    end_of(end)->limits = *options;
}

unsigned transport_pair_reads(const struct transport *end)
{
    return end_of(end)->reads;
}

unsigned transport_pair_writes(const struct transport *end)
{
    return end_of(end)->writes;
}

uint64_t transport_pair_activity(void)
{
    return activity;
}
