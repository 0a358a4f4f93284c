/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rig: a whole gateway in memory. One worker with a configuration, clients and targets at the other ends of transport
 * pairs, a fake clock. Nothing sleeps and no socket is opened: connector_start is replaced at link time
 * (tests/CMakeLists.txt) by one that leads to the rig's targets.
 *
 *     static void answers(struct rig *rig)
 *     {
 *         rig_reply(rig, "east", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
 *         struct rig_client *client = rig_client(rig);
 *         rig_post(client, "/v1/chat/completions", "{\"model\":\"m\"}");
 *         rig_settle(rig);
 *         assert_int_equal(rig_answer(client, 0)->status, 200);
 *     }
 *     static void test_answers(void **state) { rig_run(&(struct rig_setup){0}, answers); }
 *
 * rig_run runs the function plain, then dribbled: transports that take and give random amounts, and a filter at either
 * end of the chain that passes random amounts on and waits at random. The seed is printed. After each run nothing may
 * be left: exchanges, clients, connections, pendings, held bytes, transports.
 */
#ifndef POSTERN_TESTS_RIG_H
#define POSTERN_TESTS_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "gateway/worker.h"
#include "http/h1_reader.h"
#include "support/transport_pair.h"

#define RIG_MANY 32

struct rig_setup {
    const char *filters; /* inside of `filters: {...}`, e.g. "first: {type: probe}"; NULL: none */
    const char *order;   /* inside of the listener's `filters: [...]` */
    const char *rest;    /* `targets:`, `models:` and more, in block style; NULL: rig_two_targets */
    bool large;          /* much data: dribbles are not tiny */
    bool serves;         /* the last filter of `order` does: nothing dribbles behind it */
    size_t capacity;     /* bytes a transport holds on the way, plain or dribbled; 0: no limit when plain */
};

/* Model "m" by east (deployment "d"), then west; "only" by east alone; "any-*" by east under the name asked for. */
extern const char rig_two_targets[];

/* One message as it arrived, at a client or a target. */
struct rig_message {
    struct message head;
    struct buffer body;
    bool has_head, complete;
};

struct rig;

struct rig_client {
    struct rig *rig;
    struct transport *end; /* NULL after rig_leave */
    struct h1_reader reader;
    enum http_method asked[RIG_MANY];
    struct rig_message answers[RIG_MANY];
    unsigned asked_count, answer_count; /* complete ones */
    unsigned continues;                 /* 100 Continue */
    struct buffer out;                  /* not yet taken by the transport */
    bool eof, failed;
    bool bad; /* what came is not HTTP */
};

/* A request as a target got it. */
struct rig_request {
    char host[32];
    struct rig_peer *peer;
    struct rig_message message;
};

/* A connection, seen by a target. */
struct rig_peer {
    struct rig *rig;
    char host[32];
    struct transport *end; /* NULL when closed */
    struct transport *far; /* the gateway's end, while ours is open */
    struct h1_reader reader;
    struct rig_request *request; /* under way */
    struct buffer out;
    bool close_after;
    bool eof, failed;
};

struct rig_script {
    char host[32];
    const char *reply;
    size_t reply_len;
    bool close_after; /* the target closes when the reply has gone */
    bool at_head;     /* replies before the body has come */
    bool used;
};

struct rig {
    struct process process;
    struct snapshot *snapshot;
    struct worker *worker;
    struct worker_listener *listener;
    struct arena arena;
    bool dribble, large;
    size_t capacity;
    bool deaf_targets; /* connections made from now on are not read by their targets */
    uint64_t random;
    uint64_t progress;
    unsigned transports_before, pendings_before; /* left by a test that failed */
    struct rig_client clients[8];
    unsigned client_count;
    struct rig_peer peers[RIG_MANY];
    unsigned peer_count; /* connections made */
    struct rig_request requests[RIG_MANY];
    unsigned request_count; /* heads seen by targets */
    struct rig_script scripts[RIG_MANY];
    unsigned script_count;
    uint64_t connect_time;  /* µs until a connection stands; 0: the next turn */
    const char *refused[4]; /* hosts that do not let themselves be connected */
    const char *silent[4];  /* hosts where connecting never ends */
    struct buffer trace;    /* what the probes saw, see support/probes.h */
};

void rig_run(const struct rig_setup *setup, void (*body)(struct rig *rig));
/* Turns the loop until nothing moves any more. */
void rig_settle(struct rig *rig);
/* The same, but the fake clock goes on by `us` first. */
void rig_pass(struct rig *rig, uint64_t us);
/* Loads another configuration under what is going on, as a reload does. */
void rig_load(struct rig *rig, const struct rig_setup *setup);
/* A number below `limit`. */
size_t rig_random(struct rig *rig, size_t limit);
/* Transport limits of this run. */
struct transport_pair_options rig_limits(struct rig *rig);

/* ---- clients ---- */

struct rig_client *rig_client(struct rig *rig);
/* Raw bytes; they go as the transport takes them, during rig_settle. */
void rig_send(struct rig_client *client, struct span bytes);
/* One request with host, content-type and content-length; `fields` are lines with CR LF, or "". */
void rig_ask(struct rig_client *client, const char *method, const char *path, const char *fields, struct span body);
void rig_post(struct rig_client *client, const char *path, const char *json);
/* Announces an answer to a request that was sent raw. */
void rig_expect(struct rig_client *client, enum http_method method);
/* Closes the client's end. */
void rig_leave(struct rig_client *client);
/* Stops and goes on reading. */
void rig_read(struct rig_client *client, bool on);
/* The n-th answer; it must be complete. */
const struct rig_message *rig_answer(const struct rig_client *client, unsigned n);
/* The answer under way, complete or not. */
const struct rig_message *rig_partial(const struct rig_client *client);

/* ---- targets ---- */

/* The next request at HOST.test gets these bytes, which must stay in place. */
void rig_reply(struct rig *rig, const char *host, const char *bytes);
struct rig_script *rig_reply_span(struct rig *rig, const char *host, struct span bytes);
/* The n-th request at any target. */
const struct rig_request *rig_asked(const struct rig *rig, unsigned n);
/* More bytes to the gateway on that connection. */
void rig_peer_send(struct rig_peer *peer, const char *bytes);
void rig_peer_close(struct rig_peer *peer);
void rig_peer_reset(struct rig_peer *peer);

/* ---- assertions ---- */

void rig_assert_body(const struct rig_message *message, const char *expected);
void rig_assert_field(const struct rig_message *message, const char *name, const char *expected);
bool rig_body_has(const struct rig_message *message, const char *text);

/* Shared by the rig's own files. */
void rig_upstream_begin(struct rig *rig);
void rig_client_finish(struct rig_client *client);
void rig_peer_finish(struct rig_peer *peer);
void rig_message_finish(struct rig_message *message);
/* Writes what `out` holds; true when all has gone. */
bool rig_flush(struct rig *rig, struct transport *end, struct buffer *out);

#endif
