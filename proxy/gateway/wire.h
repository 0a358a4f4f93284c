/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire: the sending side of one connection: bytes are collected during a turn and written once at its end; what the
 * kernel does not take waits. Large pieces go out at once when nothing waits before them, without being copied. Used by
 * client and upstream connections alike.
 */
#ifndef POSTERN_GATEWAY_WIRE_H
#define POSTERN_GATEWAY_WIRE_H

#include <stdbool.h>
#include <sys/uio.h>

#include "base/buffer.h"
#include "net/loop.h"
#include "net/transport.h"

/* From this many bytes on a piece is written at once rather than copied. */
#define WIRE_DIRECT ((size_t)16 * 1024)

struct wire {
    struct transport *transport; /* NULL once closed; the owner closes it by wire_close */
    struct buffer out;
    struct task task;
    bool blocked;           /* the kernel took less than offered: TRANSPORT_WRITABLE will come */
    uint64_t blocked_since; /* loop time of the last progress while blocked */
    /* At the end of the turn, before the write: a protocol that frames late (HTTP/2) fills `out` here. May be NULL. */
    void (*fill)(struct wire *wire);
    /* After a write took bytes; wire_pending tells what is left. From the turn's end or on TRANSPORT_WRITABLE. */
    void (*sent)(struct wire *wire);
    /* A write failed. The owner should close. */
    void (*failed)(struct wire *wire);
};

void wire_init(struct wire *wire, struct transport *transport);
/* Copies; written at the end of the turn. */
void wire_send(struct wire *wire, struct span bytes);
/* The parts in order; written at once when that saves copying, else as wire_send. At most 4 parts. */
void wire_send_parts(struct wire *wire, const struct span *parts, unsigned count);
/* Something was appended to wire->out directly, or fill has something: flush at the end of the turn. */
void wire_touch(struct wire *wire);
/* Writes now what there is; for the last words before a close. False when it failed. */
bool wire_flush(struct wire *wire);
/* TRANSPORT_WRITABLE came. */
void wire_writable(struct wire *wire);
/* Bytes not yet taken by the kernel. */
static inline size_t wire_pending(const struct wire *wire)
{
    return buffer_len(&wire->out);
}
/* Closes the transport and drops what was not sent. May be called twice. */
void wire_close(struct wire *wire);
/* Flushes, then lets the peer read to the end while what it still sends is thrown away (transport_linger). */
void wire_close_gently(struct wire *wire);

#endif
