/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h2_server: HTTP/2 as a server on a client connection: binds http/h2_session to the connection's wire and each of its
 * streams to an exchange. One flush per turn for all streams (wire.fill).
 */
#ifndef POSTERN_GATEWAY_H2_SERVER_H
#define POSTERN_GATEWAY_H2_SERVER_H

#include <stdint.h>

#include "base/span.h"

struct client_conn;
struct h2_server;

MUST_CHECK struct h2_server *h2_server_create(struct client_conn *conn);
/* Frees memory; after h2_server_finish, at the end of the turn. NULL is allowed. */
void h2_server_destroy(struct h2_server *server);
void h2_server_input(struct h2_server *server, struct span bytes);
/* The connection waits too long (preface, or idle without streams): GOAWAY and close. */
void h2_server_overdue(struct h2_server *server);
/*
 * The connection's timer fires at `now`: keepalive PING when due, close when one stays unanswered, time limits of
 * single streams (head, body). Returns when it wants to be called again, at the latest `next`.
 */
uint64_t h2_server_tick(struct h2_server *server, uint64_t now, uint64_t next);
/* The connection is going: tells the exchanges of open streams. */
void h2_server_finish(struct h2_server *server, const char *reason);
/* GOAWAY; the connection closes when the last stream has ended. */
void h2_server_drain(struct h2_server *server);

#endif
