/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch: readiness of one file descriptor. What transports, listeners, c-ares and the Redis client stand on; libevent
 * is hidden behind it. Level-triggered: a callback comes in each turn as long as the condition holds and interest
 * stands.
 */
#ifndef POSTERN_NET_WATCH_H
#define POSTERN_NET_WATCH_H

#include "base/compiler.h"

struct loop;
struct watch;

enum { WATCH_READ = 1, WATCH_WRITE = 2 };

/* `ready` holds WATCH_READ, WATCH_WRITE or both; errors and hang-ups come as whatever is wanted. */
typedef void watch_fn(void *arg, unsigned ready);

/* Starts with no interest. The descriptor stays the caller's, and open until watch_destroy. */
MUST_CHECK struct watch *watch_create(struct loop *loop, int fd, watch_fn *fn, void *arg);
/* Sets the interest (bits, 0 for none). A system call only where it differs from what is armed. */
void watch_want(struct watch *watch, unsigned interest);
unsigned watch_interest(const struct watch *watch);
/* Drops interest at once, memory at the end of the turn; no callback comes any more. Call before close(fd). NULL is
 * allowed. */
void watch_destroy(struct watch *watch);

#endif
