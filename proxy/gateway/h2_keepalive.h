/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h2_keepalive: whether the peer of an HTTP/2 connection is still there (RFC 9113 6.7). After a period of silence a
 * PING is sent; when nothing at all comes for another period, the peer is gone. Used on both sides, while streams are
 * open.
 */
#ifndef POSTERN_GATEWAY_H2_KEEPALIVE_H
#define POSTERN_GATEWAY_H2_KEEPALIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

struct h2_session;

/* Times are loop times in µs. */
struct h2_keepalive {
    uint64_t heard; /* when bytes last came */
    uint64_t asked; /* when a PING went out that nothing has answered yet; 0: none */
};

/* Bytes came. */
static inline void h2_keepalive_heard(struct h2_keepalive *keepalive, uint64_t now)
{
    keepalive->heard = now;
    keepalive->asked = 0;
}
/* The first stream opens: silence counts from here. */
static inline void h2_keepalive_begin(struct h2_keepalive *keepalive, uint64_t now)
{
    h2_keepalive_heard(keepalive, now);
}
/*
 * Looks, and queues a PING when one is due (the caller flushes). False: the peer is gone. *next is moved up to the time
 * at which to look again.
 */
MUST_CHECK bool h2_keepalive_look(struct h2_keepalive *keepalive, struct h2_session *session, uint64_t now,
                                  uint64_t period, uint64_t *next);

#endif
