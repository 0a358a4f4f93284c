/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "gateway/client_conn.h"
#include "gateway/forwarded.h"
#include "gateway/worker.h"

/* How often it is looked whether the last connection of a listener has gone. */
#define LEAVE_PERIOD (1 * CLOCK_SECOND)

static void accepted(void *owner, struct listener *listener, struct transport *transport)
{
    (void)listener;
    struct worker_listener *ours = owner;
    client_conn_accept(ours->worker, ours, transport);
}

/* ---- what the socket is told ---- */

/* What `use` wants of connections to come. The ranges are the caller's to free. */
static struct listener_options options_for(struct worker *worker, const struct listener_use *use,
                                           struct tls_context *tls, struct address_range **ret_trusted)
{
    struct listener_options options = {
        .limit = &worker->accepting, .tls = tls, .handshake_timeout = worker->snapshot->config->timeouts.tls_handshake};
    *ret_trusted = NULL;
    if (!use->config || !use->config->proxy_protocol)
        return options;
    const struct setting_networks *networks = &use->config->trusted_peers;
    struct address_range *trusted = memory_array(networks->count + 1, sizeof(*trusted));
    for (size_t i = 0; i < networks->count; i++)
        trusted[i] = forwarded_range(&networks->items[i]);
    options.proxy_trusted = trusted;
    options.proxy_trusted_count = networks->count;
    *ret_trusted = trusted;
    return options;
}

struct worker_listener *worker_listen(struct worker *worker, const struct listener_use *use, int fd,
                                      struct tls_context *tls)
{
    struct worker_listener *listener = memory_zalloc(sizeof(*listener));
    listener->worker = worker;
    listener->use = use;
    listener->next = worker->listeners;
    worker->listeners = listener;
    struct address_range *trusted;
    struct listener_options options = options_for(worker, use, tls, &trusted);
    listener->net = listener_create(worker->loop, fd, &options, accepted, listener);
    free(trusted);
    return listener;
}

void worker_relisten(struct worker_listener *listener, const struct listener_use *use, struct tls_context *tls)
{
    struct address_range *trusted;
    listener->use = use;
    struct listener_options options = options_for(listener->worker, use, tls, &trusted);
    listener_adopt(listener->net, &options);
    free(trusted);
}

/* ---- leaving ---- */

static bool is_empty(const struct worker_listener *listener)
{
    if (listener->net && listener_arriving(listener->net))
        return false;
    LIST_EACH(&listener->worker->clients, link)
    if (CONTAINER_OF(link, struct client_conn, link)->listener == listener)
        return false;
    return true;
}

static void free_listener(struct worker_listener *listener)
{
    listener_close(listener->net, false);
    snapshot_unref(listener->leaving);
    free(listener);
}

static void free_empty(struct timer *timer)
{
    struct worker *worker = CONTAINER_OF(timer, struct worker, leave_timer);
    bool more = false;
    for (struct worker_listener **at = &worker->listeners; *at;) {
        struct worker_listener *listener = *at;
        if (listener->leaving && is_empty(listener)) {
            *at = listener->next;
            free_listener(listener);
            continue;
        }
        more |= listener->leaving != NULL;
        at = &listener->next;
    }
    if (more)
        timer_set(worker->loop, timer, loop_now(worker->loop) + LEAVE_PERIOD);
}

/* Of one listener, or of all that applications use. */
static void drain_clients(struct worker *worker, const struct worker_listener *only)
{
    LIST_EACH(&worker->clients, link)
    {
        struct client_conn *conn = CONTAINER_OF(link, struct client_conn, link);
        if (only ? conn->listener == only : !conn->listener->use->admin)
            client_conn_drain(conn);
    }
}

void worker_unlisten(struct worker_listener *listener, struct snapshot *last, bool unlink_path)
{
    struct worker *worker = listener->worker;
    listener->leaving = snapshot_ref(last);
    listener_finish(listener->net, unlink_path);
    drain_clients(worker, listener);
    worker->leave_timer.fire = free_empty;
    timer_set(worker->loop, &worker->leave_timer, loop_now(worker->loop) + LEAVE_PERIOD);
}

/* ---- the end ---- */

bool worker_is_arriving(const struct worker *worker)
{
    for (const struct worker_listener *listener = worker->listeners; listener; listener = listener->next)
        if (listener->net && !listener->use->admin && listener_arriving(listener->net))
            return true;
    return false;
}

void worker_stop_listening(struct worker *worker, bool unlink_paths)
{
    for (struct worker_listener *listener = worker->listeners; listener; listener = listener->next)
        if (listener->net)
            listener_finish(listener->net, unlink_paths);
}

void worker_drain(struct worker *worker)
{
    worker->leaving = worker->draining = true;
    drain_clients(worker, NULL);
}

void worker_free_listeners(struct worker *worker)
{
    timer_clear(worker->loop, &worker->leave_timer);
    while (worker->listeners) {
        struct worker_listener *listener = worker->listeners;
        worker->listeners = listener->next;
        free_listener(listener);
    }
}
