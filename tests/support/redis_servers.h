/* SPDX-License-Identifier: Apache-2.0 */
/*
 * redis_servers: real Redis servers, started for a test in directories of their own, on ports that are free, and gone
 * with it. A test that finds no redis-server on PATH is skipped: begin with REDIS_SERVERS_OR_SKIP.
 */
#ifndef POSTERN_TESTS_REDIS_SERVERS_H
#define POSTERN_TESTS_REDIS_SERVERS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buffer.h"
#include "net/loop.h"

#define REDIS_SERVER_ARGUMENTS 40

struct redis_server {
    pid_t pid; /* 0: not running */
    uint16_t port;
    char directory[64];
    char log[96];
    char arguments[REDIS_SERVER_ARGUMENTS][128]; /* as it was started, to be started again */
    unsigned argument_count;
    bool tls_only;
};

bool redis_servers_there(void);
#define REDIS_SERVERS_OR_SKIP()                                                                                        \
    do {                                                                                                               \
        if (!redis_servers_there()) {                                                                                  \
            print_message("redis-server, redis-sentinel or redis-cli is not there\n");                                 \
            skip();                                                                                                    \
        }                                                                                                              \
    } while (0)

/*
 * Starts one: `arguments` parted by blanks, without port and directory ("--maxmemory 1mb"); %p in them is the port, %d
 * the directory. Returns when it listens; ends the program when it does not come up.
 */
void redis_server_start(struct redis_server *server, const char *arguments);
/* A cluster of that many servers, of which each master has so many replicas. Returns when it serves. */
void redis_cluster_start(struct redis_server *servers, unsigned count, unsigned replicas);
/* The same as a sentinel, with the lines of its configuration. */
void redis_sentinel_start(struct redis_server *server, const char *configuration);
/* Starts it again as before, on the same port. */
void redis_server_restart(struct redis_server *server);
/* SIGKILL ends it and is waited for; other signals are only sent. */
void redis_server_signal(struct redis_server *server, int signo);
/* Killed, directory removed. */
void redis_server_stop(struct redis_server *server);

/*
 * redis-cli with these words, at that server. Meanwhile the loop turns (NULL: none). Its output into `out` (may be
 * NULL). The exit status.
 */
int redis_cli(const struct redis_server *server, struct loop *loop, struct buffer *out, const char *words);
/* The same until its output holds `wanted`; ends the program when that takes a minute. */
void redis_cli_until(const struct redis_server *server, struct loop *loop, const char *words, const char *wanted);

#endif
