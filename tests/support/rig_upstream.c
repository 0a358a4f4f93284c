/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The targets of a rig: connections that the gateway makes end here, and play the replies that a test has laid out.
 */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "net/connector.h"
#include "support/rig.h"

/* The rig that connections lead to: a replaced function has no argument for it. */
static struct rig *here;

void rig_upstream_begin(struct rig *rig)
{
    here = rig;
}

/* ---- replies ---- */

static void go_on(struct rig_peer *peer)
{
    bool done = rig_flush(peer->rig, peer->end, &peer->out);
    bool broken = peer->end && *transport_error(peer->end);
    if (peer->end && (broken || (done && peer->close_after)))
        rig_peer_close(peer);
}

static void play(struct rig_peer *peer, bool at_head)
{
    struct rig *rig = peer->rig;
    for (unsigned i = 0; i < rig->script_count; i++) {
        struct rig_script *script = &rig->scripts[i];
        if (script->used || strcmp(script->host, peer->host) != 0)
            continue;
        if (script->at_head != at_head)
            return;
        script->used = true;
        peer->close_after = script->close_after;
        bool waiting = buffer_len(&peer->out) > 0;
        buffer_append(&peer->out, span_of(script->reply, script->reply_len));
        if (!waiting)
            go_on(peer);
        return;
    }
}

/* ---- requests ---- */

static void start_request(struct rig_peer *peer)
{
    struct rig *rig = peer->rig;
    assert_true(rig->request_count < RIG_MANY);
    peer->request = NULL;
    struct message *message = ARENA_NEW(&rig->arena, struct message);
    h1_reader_start(&peer->reader, &rig->arena, message, HTTP_OTHER);
}

static void head_arrived(struct rig_peer *peer)
{
    struct rig *rig = peer->rig;
    assert_true(rig->request_count < RIG_MANY);
    struct rig_request *request = &rig->requests[rig->request_count++];
    memcpy(request->host, peer->host, sizeof(request->host));
    request->peer = peer;
    request->message.head = *peer->reader.message;
    request->message.has_head = true;
    peer->request = request;
    play(peer, true);
}

static void take(struct rig_peer *peer, struct span in)
{
    while (peer->end) {
        struct span body;
        switch (h1_reader_next(&peer->reader, &in, &body)) {
        case H1_MORE:
            return;
        case H1_HEAD:
            head_arrived(peer);
            break;
        case H1_BODY:
            buffer_append(&peer->request->message.body, body);
            break;
        case H1_END:
            peer->request->message.complete = true;
            start_request(peer);
            play(peer, false);
            if (in.len == 0)
                return;
            break;
        case H1_BAD:
            fail_msg("target %s got a bad request: %s", peer->host, peer->reader.reason);
        }
    }
}

static void readable(struct rig_peer *peer)
{
    static char room[65536];
    ssize_t got = transport_read(peer->end, room, sizeof(room));
    if (got > 0) {
        take(peer, span_of(room, (size_t)got));
    } else if (got == TRANSPORT_EOF) {
        peer->eof = true;
        rig_peer_close(peer);
    } else if (got == TRANSPORT_ERROR) {
        peer->failed = true;
        rig_peer_close(peer);
    }
}

static void notify(struct transport *transport, enum transport_event event)
{
    struct rig_peer *peer = transport->owner;
    peer->rig->progress++;
    if (event == TRANSPORT_READABLE) {
        readable(peer);
    } else if (event == TRANSPORT_WRITABLE) {
        go_on(peer);
    } else {
        peer->eof = true;
        rig_peer_close(peer);
    }
}

/* ---- connections ---- */

struct connector {
    struct pending pending;
    struct task task;
    struct timer timer;
    connector_fn *done;
    void *arg;
    char host[32];
};

static bool listed(const char *const *list, const char *host)
{
    for (unsigned i = 0; i < 4 && list[i]; i++)
        if (strcmp(list[i], host) == 0)
            return true;
    return false;
}

static struct transport *make_peer(const char *host)
{
    struct rig *rig = here;
    assert_true(rig->peer_count < RIG_MANY);
    struct rig_peer *peer = &rig->peers[rig->peer_count++];
    peer->rig = rig;
    memcpy(peer->host, host, sizeof(peer->host));
    struct transport_pair_options limits = rig_limits(rig);
    transport_pair(rig->worker->loop, &limits, &peer->end, &peer->far);
    transport_own(peer->end, peer, notify);
    struct h1_limits any = h1_limits_default;
    h1_reader_init(&peer->reader, H1_SERVER, &any);
    start_request(peer);
    transport_want(peer->end, !rig->deaf_targets);
    return peer->far;
}

static void connected(struct connector *connector)
{
    here->progress++;
    pending_complete(&connector->pending);
    if (listed(here->refused, connector->host))
        connector->done(connector->arg, NULL, FAULT_UPSTREAM_CONNECT, "Connection refused");
    else
        connector->done(connector->arg, make_peer(connector->host), FAULT_NONE, "");
    free(connector);
}

static void connect_now(struct task *task)
{
    connected(CONTAINER_OF(task, struct connector, task));
}

static void connect_late(struct timer *timer)
{
    connected(CONTAINER_OF(timer, struct connector, timer));
}

static void stop(struct connector *connector)
{
    task_cancel(&connector->task);
    timer_clear(connector->pending.loop, &connector->timer);
}

static void timed_out(struct pending *pending)
{
    struct connector *connector = CONTAINER_OF(pending, struct connector, pending);
    stop(connector);
    connector->done(connector->arg, NULL, FAULT_CONNECT_TIMEOUT, "timed out");
    free(connector);
}

static void cancelled(struct pending *pending)
{
    struct connector *connector = CONTAINER_OF(pending, struct connector, pending);
    stop(connector);
    free(connector);
}

struct connector *__wrap_connector_start(struct loop *loop, struct resolver *resolver, const struct endpoint *endpoint,
                                         uint64_t timeout, struct list *list, connector_fn *done, void *arg);
void __wrap_connector_cancel(struct connector *connector);

struct connector *__wrap_connector_start(struct loop *loop, struct resolver *resolver, const struct endpoint *endpoint,
                                         uint64_t timeout, struct list *list, connector_fn *done, void *arg)
{
    (void)resolver;
    struct connector *connector = memory_zalloc(sizeof(*connector));
    connector->done = done;
    connector->arg = arg;
    connector->task.run = connect_now;
    size_t name = span_find(endpoint->host, '.');
    memcpy(connector->host, endpoint->host.ptr, name < 31 ? name : 31);
    pending_start(list, &connector->pending, loop, loop_now(loop) + timeout, timed_out, cancelled);
    connector->timer.fire = connect_late;
    if (listed(here->silent, connector->host))
        return connector;
    if (here->connect_time)
        timer_set(loop, &connector->timer, loop_now(loop) + here->connect_time);
    else
        loop_post(loop, &connector->task);
    return connector;
}

void __wrap_connector_cancel(struct connector *connector)
{
    pending_cancel(&connector->pending);
}

/* ---- for tests ---- */

struct rig_script *rig_reply_span(struct rig *rig, const char *host, struct span bytes)
{
    assert_true(rig->script_count < RIG_MANY);
    struct rig_script *script = &rig->scripts[rig->script_count++];
    memset(script, 0, sizeof(*script));
    memcpy(script->host, host, strlen(host) + 1);
    script->reply = bytes.ptr;
    script->reply_len = bytes.len;
    return script;
}

void rig_reply(struct rig *rig, const char *host, const char *bytes)
{
    (void)rig_reply_span(rig, host, span_str(bytes));
}

const struct rig_request *rig_asked(const struct rig *rig, unsigned n)
{
    if (n >= rig->request_count)
        fail_msg("request %u did not reach a target; %u did", n, rig->request_count);
    return &rig->requests[n];
}

void rig_peer_send(struct rig_peer *peer, const char *bytes)
{
    bool waiting = buffer_len(&peer->out) > 0;
    buffer_append(&peer->out, span_str(bytes));
    if (!waiting)
        go_on(peer);
}

void rig_peer_close(struct rig_peer *peer)
{
    buffer_finish(&peer->out);
    transport_close(peer->end);
    peer->end = NULL;
    peer->far = NULL;
}

void rig_peer_reset(struct rig_peer *peer)
{
    transport_pair_reset(peer->far);
    rig_peer_close(peer);
}

void rig_peer_finish(struct rig_peer *peer)
{
    rig_peer_close(peer);
    h1_reader_finish(&peer->reader);
}
