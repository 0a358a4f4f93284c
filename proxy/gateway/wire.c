/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/wire.h"

/* How long a peer may take to read our last words. */
#define LINGER_TIME UINT64_C(2000000)
#define PARTS_MAX   4

static void flush_task(struct task *task)
{
    struct wire *wire = CONTAINER_OF(task, struct wire, task);
    if (wire->transport && !wire->blocked)
        (void)wire_flush(wire);
}

void wire_init(struct wire *wire, struct transport *transport)
{
    wire->transport = transport;
    wire->task.run = flush_task;
}

void wire_touch(struct wire *wire)
{
    if (wire->transport && !wire->blocked)
        loop_at_end(wire->transport->loop, &wire->task);
}

void wire_send(struct wire *wire, struct span bytes)
{
    buffer_append(&wire->out, bytes);
    wire_touch(wire);
}

static void failed(struct wire *wire)
{
    buffer_finish(&wire->out);
    if (wire->failed)
        wire->failed(wire);
}

/* Writes the parts; what is not taken goes to `out`. */
static void send_now(struct wire *wire, const struct span *parts, unsigned count)
{
    struct iovec iov[PARTS_MAX + 1];
    int n = 0;
    struct span before = buffer_span(&wire->out);
    if (before.len)
        iov[n++] = (struct iovec){.iov_base = (void *)(uintptr_t)before.ptr, .iov_len = before.len};
    for (unsigned i = 0; i < count; i++)
        iov[n++] = (struct iovec){.iov_base = (void *)(uintptr_t)parts[i].ptr, .iov_len = parts[i].len};
    ssize_t taken = transport_write(wire->transport, iov, n);
    if (taken < 0) {
        failed(wire);
        return;
    }
    size_t left = (size_t)taken;
    size_t from_out = left < before.len ? left : before.len;
    left -= from_out;
    buffer_consume(&wire->out, from_out);
    for (unsigned i = 0; i < count; i++) {
        size_t here = left < parts[i].len ? left : parts[i].len;
        left -= here;
        buffer_append(&wire->out, span_skip(parts[i], here));
    }
    if (wire_pending(wire) && wire->transport) {
        wire->blocked = true;
        wire->blocked_since = loop_now(wire->transport->loop);
    }
}

void wire_send_parts(struct wire *wire, const struct span *parts, unsigned count)
{
    size_t total = 0;
    for (unsigned i = 0; i < count; i++)
        total += parts[i].len;
    if (total >= WIRE_DIRECT && wire->transport && !wire->blocked && wire_pending(wire) < WIRE_DIRECT) {
        send_now(wire, parts, count);
        return;
    }
    char *room = buffer_reserve(&wire->out, total);
    for (unsigned i = 0; i < count; i++) {
        memcpy(room, parts[i].ptr, parts[i].len);
        room += parts[i].len;
    }
    buffer_commit(&wire->out, total);
    wire_touch(wire);
}

bool wire_flush(struct wire *wire)
{
    task_cancel(&wire->task);
    if (!wire->transport)
        return false;
    if (wire->fill)
        wire->fill(wire);
    struct span bytes = buffer_span(&wire->out);
    if (bytes.len == 0 || !wire->transport)
        return true;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes.ptr, .iov_len = bytes.len};
    ssize_t taken = transport_write(wire->transport, &iov, 1);
    if (taken < 0) {
        failed(wire);
        return false;
    }
    buffer_consume(&wire->out, (size_t)taken);
    wire->blocked = (size_t)taken < bytes.len;
    if (taken > 0 || !wire->blocked)
        wire->blocked_since = loop_now(wire->transport->loop);
    if (taken > 0 && wire->sent)
        wire->sent(wire);
    return true;
}

void wire_writable(struct wire *wire)
{
    wire->blocked = false;
    (void)wire_flush(wire);
}

void wire_close(struct wire *wire)
{
    task_cancel(&wire->task);
    transport_close(wire->transport);
    wire->transport = NULL;
    buffer_finish(&wire->out);
}

void wire_close_gently(struct wire *wire)
{
    if (wire->transport)
        (void)wire_flush(wire);
    if (!wire->transport)
        return;
    if (wire_pending(wire)) { /* it does not even read: nothing more can be done for it */
        wire_close(wire);
        return;
    }
    struct transport *transport = wire->transport;
    wire->transport = NULL;
    task_cancel(&wire->task);
    transport_linger(transport, LINGER_TIME);
}
