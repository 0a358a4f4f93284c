/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_conn: a connection that was accepted. It finds out which HTTP is spoken (ALPN, or the first bytes), owns the
 * transport and the connection's deadline, and hands bytes to its protocol: h1_server or h2_server. It is freed by the
 * loop after its close.
 */
#ifndef POSTERN_GATEWAY_CLIENT_CONN_H
#define POSTERN_GATEWAY_CLIENT_CONN_H

#include "base/list.h"
#include "gateway/h1_server.h"
#include "gateway/wire.h"
#include "net/loop.h"
#include "net/transport.h"

struct h2_server;
struct worker;
struct worker_listener;

enum client_protocol { CLIENT_DETECT, CLIENT_H1, CLIENT_H2 };

/* What the connection waits for; each has its time limit. */
enum client_waits { CLIENT_IDLE, CLIENT_HEADER, CLIENT_BODY, CLIENT_ANSWER };

struct client_conn {
    struct list link; /* on worker->clients */
    struct worker *worker;
    struct worker_listener *listener;
    struct wire wire;
    enum client_protocol protocol;
    enum client_waits waits;
    uint64_t since; /* loop time at which the present wait began or last progressed */
    struct timer timer;
    struct buffer first; /* bytes before the protocol is known */
    bool closed;         /* nothing is spoken any more; bytes of the last answer may still wait for the peer to read */
    bool retired;        /* off all lists, freed at the end of the turn */
    bool used;           /* at least one request has been answered */
    char peer[ADDRESS_TEXT];
    struct span peer_text;
    struct h1_server h1;
    struct h2_server *h2; /* NULL unless CLIENT_H2 */
};

/* Takes the transport. Accepted connections are counted by the listener's limit. */
void client_conn_accept(struct worker *worker, struct worker_listener *listener, struct transport *transport);
/* Closes at once; exchanges of it are told. May be called twice. */
void client_conn_close(struct client_conn *conn);
/* Sends what waits, then closes without hurting what the peer still has to read. */
void client_conn_finish(struct client_conn *conn);
/* The present wait begins anew. Touches no timer. */
void client_conn_wait(struct client_conn *conn, enum client_waits what);
/*
 * The worker drains, or the listener leaves: a connection that has been used and is idle closes now, one that is new
 * has a second to ask, the others end after what they are doing.
 */
void client_conn_drain(struct client_conn *conn);

#endif
