/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_redis: a server on loopback that speaks RESP2 as it is told: it answers what a script says, breaks off, keeps
 * silent, or sends what no Redis would. It runs on the test's own loop.
 *
 *     struct fake_redis *fake = fake_redis_start(loop, NULL);
 *     fake_redis_reply(fake, "GET k", "$1\r\nv\r\n");
 *
 * Without a script: PING is answered with PONG, everything else with OK.
 */
#ifndef POSTERN_TESTS_FAKE_REDIS_H
#define POSTERN_TESTS_FAKE_REDIS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "net/listener.h"

struct fake_redis;

struct fake_redis_guest {
    struct fake_redis *fake;
    struct transport *transport; /* NULL: gone */
    struct redis_reader *reader;
};

struct fake_redis_script {
    const char *command; /* the beginning of the command, its words parted by blanks */
    const char *reply;   /* raw; "" says nothing; NULL hangs up */
    size_t len;
    bool always, used;
};

struct fake_redis {
    struct loop *loop;
    struct listener *listener; /* NULL: connections are refused */
    struct accept_limit limit;
    uint16_t port;
    struct fake_redis_guest guests[64];
    unsigned guest_count; /* connections ever made */
    struct fake_redis_script scripts[64];
    unsigned script_count;
    struct buffer trace; /* every command on a line of its own, "GET k\n" */
    unsigned commands, reads;
    bool silent; /* takes commands and says nothing */
};

/* `tls` NULL: plain. */
struct fake_redis *fake_redis_start(struct loop *loop, struct tls_context *tls);
void fake_redis_stop(struct fake_redis *fake);
/* The next command that begins so gets this answer; scripts are tried in the order given. */
void fake_redis_reply(struct fake_redis *fake, const char *command, const char *reply);
/* The same for every such command. */
void fake_redis_always(struct fake_redis *fake, const char *command, const char *reply);
/* Bytes on the latest connection. */
void fake_redis_send(struct fake_redis *fake, struct span bytes);
/* Ends every connection. */
void fake_redis_hang_up(struct fake_redis *fake);
/* No new connections from here on, and those there are end. */
void fake_redis_refuse(struct fake_redis *fake);
/* Takes connections again, on the same port. */
void fake_redis_return(struct fake_redis *fake);
/* How many commands that begin so have come. */
unsigned fake_redis_count(const struct fake_redis *fake, const char *command);

#endif
