/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_client: HTTP/1.1 as a client: one request at a time on an upstream connection. The stream is embedded and reports
 * to the attempt that has leased it. When an attempt leaves after a complete answer (FAULT_NONE) the rest of the
 * message is read and thrown away, within DRAIN_MAX bytes, so that the connection can be used again.
 */
#ifndef POSTERN_GATEWAY_H1_CLIENT_H
#define POSTERN_GATEWAY_H1_CLIENT_H

#include "gateway/stream.h"
#include "http/h1_reader.h"

struct upstream_conn;

struct h1_client {
    struct stream stream;
    struct upstream_conn *conn;
    struct h1_reader reader;
    struct arena drain_arena; /* takes the place of the exchange's when it has gone */
    struct message drain_message;
    size_t drained;
    bool busy;
    bool head_read;
    bool request_done;
    bool draining;
    bool chunked;
    bool keep_alive;
};

void h1_client_init(struct h1_client *client, struct upstream_conn *conn);
/* The connection serves `attempt` from here on; returns its stream. */
struct stream *h1_client_start(struct h1_client *client, struct attempt *attempt);
void h1_client_input(struct h1_client *client, struct span bytes);
void h1_client_eof(struct h1_client *client);
/* The connection is going: tells the attempt, frees memory. */
void h1_client_finish(struct h1_client *client, enum fault why, const char *reason);

#endif
