/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transport_pair: two transports in memory, each the other's peer, that deliver through the loop's run queue. They can
 * be made to dribble (few bytes per read or write), to fill up, to end and to be reset, so that every path of a real
 * socket is met without one.
 */
#ifndef POSTERN_TESTS_TRANSPORT_PAIR_H
#define POSTERN_TESTS_TRANSPORT_PAIR_H

#include <stddef.h>

#include "net/transport.h"

struct transport_pair_options {
    size_t read_most;  /* bytes per read; 0: no limit */
    size_t write_most; /* bytes taken per write; 0: no limit */
    size_t capacity;   /* bytes on the way before writes come short; 0: no limit */
};

/* `options` NULL: no limits; they hold for both ends. Each end is closed by transport_close on its own. */
void transport_pair(struct loop *loop, const struct transport_pair_options *options, struct transport **ret_a,
                    struct transport **ret_b);
/* From here on reads and writes of this end fail, as after a RST from the peer. */
void transport_pair_reset(struct transport *end);
/* Changes the limits of this end's writes and of reads at it. */
void transport_pair_limit(struct transport *end, const struct transport_pair_options *options);
/* Calls of read and write on this end that went to the pair, as a gauge of system calls. */
unsigned transport_pair_reads(const struct transport *end);
unsigned transport_pair_writes(const struct transport *end);
/* All calls of read and write on any pair so far: when it stands still, nothing moves. */
uint64_t transport_pair_activity(void);

#endif
