/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_server: HTTP/1.1 as a server: one request after the other on a client connection, pipelined ones in order. The
 * stream of the request under way is embedded; an exchange is created with a request's first byte.
 *
 * Reading stays armed while an answer is awaited, so that a client that leaves is seen; bytes of a next request that
 * come meanwhile are kept (at most one read) and reading stops.
 */
#ifndef POSTERN_GATEWAY_H1_SERVER_H
#define POSTERN_GATEWAY_H1_SERVER_H

#include "base/buffer.h"
#include "gateway/stream.h"
#include "http/h1_reader.h"
#include "net/loop.h"

struct client_conn;

struct h1_server {
    struct stream stream;
    struct client_conn *conn;
    struct h1_reader reader;
    struct buffer ahead; /* bytes that came before they were wanted */
    struct task task;    /* goes on with `ahead` */
    enum http_version version;
    bool begun; /* a request is under way */
    bool head_read;
    bool request_done, response_done;
    bool response_begun;
    bool keep_alive;
    bool chunked;
    bool continued;   /* 100 Continue has been sent */
    bool discards;    /* answered early: what is left of the body is read and dropped */
    bool wants;       /* the exchange wants more of the body */
    bool half_closed; /* the client has ended its direction */
    bool is_head;
};

void h1_server_init(struct h1_server *server, struct client_conn *conn);
void h1_server_input(struct h1_server *server, struct span bytes);
/* The client ended its direction. */
void h1_server_eof(struct h1_server *server);
/* The connection's time limit for what it waits for is up. */
void h1_server_overdue(struct h1_server *server);
/* The connection is going: tells the exchange, frees memory. */
void h1_server_finish(struct h1_server *server, const char *reason);
/* No request is under way. */
bool h1_server_idle(const struct h1_server *server);

#endif
