/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h2_client: HTTP/2 as a client on an upstream connection: many attempts at once, each on a stream of its own.
 */
#ifndef POSTERN_GATEWAY_H2_CLIENT_H
#define POSTERN_GATEWAY_H2_CLIENT_H

#include <stdbool.h>

#include "base/fault.h"
#include "base/span.h"

struct attempt;
struct h2_client;
struct stream;
struct upstream_conn;

MUST_CHECK struct h2_client *h2_client_create(struct upstream_conn *conn);
/* Frees memory; after h2_client_finish, at the end of the turn. NULL is allowed. */
void h2_client_destroy(struct h2_client *client);
/* Below the peer's limit of streams and not going away. */
bool h2_client_can_open(const struct h2_client *client);
/* A stream for the attempt; the request is submitted when its head is sent (stream ops). */
MUST_CHECK struct stream *h2_client_start(struct h2_client *client, struct attempt *attempt);
void h2_client_input(struct h2_client *client, struct span bytes);
/* The connection's timer: keepalive PING while streams are open, close when idle for the target's pool_idle. */
void h2_client_tick(struct h2_client *client);
/* The connection is going: tells the attempts of open streams. */
void h2_client_finish(struct h2_client *client, enum fault why, const char *reason);

#endif
