/* SPDX-License-Identifier: Apache-2.0 */
#include "net/transport.h"

#include <stdatomic.h>

#include "net/listener.h"

/* Process-wide on purpose: a test asks whether anything anywhere is still open. */
static atomic_uint open_transports;

void transport_init(struct transport *t, const struct transport_ops *ops, struct loop *loop)
{
    *t = (struct transport){.ops = ops, .loop = loop, .fd = -1};
    atomic_fetch_add_explicit(&open_transports, 1, memory_order_relaxed);
}

unsigned transport_count(void)
{
    return atomic_load_explicit(&open_transports, memory_order_relaxed);
}

void transport_own(struct transport *t, void *owner, transport_fn *notify)
{
    t->owner = owner;
    t->notify = notify;
}

void transport_notify(struct transport *t, enum transport_event event)
{
    if (!t->closed && t->notify)
        t->notify(t, event);
}

ssize_t transport_read(struct transport *t, char *into, size_t size)
{
    return t->ops->read(t, into, size);
}

ssize_t transport_write(struct transport *t, const struct iovec *iov, int count)
{
    return t->ops->write(t, iov, count);
}

void transport_want(struct transport *t, bool read)
{
    if (t->want_read == read)
        return;
    t->want_read = read;
    t->ops->want(t, read);
}

void transport_shutdown(struct transport *t)
{
    t->ops->shutdown(t);
}

void transport_close(struct transport *t)
{
    if (!t || t->closed)
        return;
    t->closed = true;
    t->notify = NULL;
    if (t->limit)
        accept_limit_release(t->limit);
    atomic_fetch_sub_explicit(&open_transports, 1, memory_order_relaxed);
    t->ops->close(t);
}

struct span transport_alpn(const struct transport *t)
{
    return t->ops->alpn ? t->ops->alpn(t) : (struct span){0};
}

const struct tls_peer *transport_tls_peer(const struct transport *t)
{
    return t->ops->tls_peer ? t->ops->tls_peer(t) : NULL;
}

const char *transport_error(const struct transport *t)
{
    return t->ops->error(t);
}
