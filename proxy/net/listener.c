/* SPDX-License-Identifier: Apache-2.0 */
#include "net/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "net/loop.h"
#include "net/proxy_protocol.h"
#include "net/watch.h"

/* Connections taken per readiness: enough to empty a burst, few enough not to starve those already open. */
#define ACCEPT_BUDGET 16
/* The same before a socket is closed: more than any queue holds. */
#define FINISH_BUDGET 65536
/* Rest after running out of descriptors, µs. */
#define FILES_REST UINT64_C(100000)

struct listener {
    struct loop *loop;
    int fd;
    int spare_fd; /* given up to be able to accept and turn away when descriptors run out */
    struct watch *watch;
    struct accept_limit *limit;
    struct list waiting; /* on limit->waiting */
    struct tls_context *tls;
    struct address_range *trusted;
    size_t trusted_count;
    uint64_t handshake_timeout;
    listener_fn *accepted;
    void *owner;
    struct list arrivals;
    struct timer rest;
    bool paused; /* by the owner */
    struct listener_counts counts;
};

/* A connection that is not ready yet: its PROXY header or its TLS handshake is awaited. */
struct arrival {
    struct list link;
    struct listener *listener;
    struct timer timer;
    struct transport *transport; /* NULL while the PROXY header is awaited on the bare descriptor */
    int fd;
    struct watch *watch;
    struct address peer;
    size_t header_len;
    char header[PROXY_HEADER_MAX];
};

/* ---- limit ---- */

static void update_interest(struct listener *listener)
{
    if (listener->fd < 0)
        return;
    bool open = !listener->paused && !timer_is_set(&listener->rest) && !list_linked(&listener->waiting);
    watch_want(listener->watch, open ? WATCH_READ : 0);
}

void accept_limit_init(struct accept_limit *limit, unsigned most)
{
    *limit = (struct accept_limit){.most = most};
    list_init(&limit->waiting);
}

void accept_limit_release(struct accept_limit *limit)
{
    limit->open--;
    if (limit->open >= limit->most)
        return;
    while (!list_empty(&limit->waiting)) {
        struct listener *listener = LIST_FIRST(&limit->waiting, struct listener, waiting);
        list_remove(&listener->waiting);
        update_interest(listener);
    }
}

static bool at_limit(struct listener *listener)
{
    if (listener->limit->open < listener->limit->most)
        return false;
    if (!list_linked(&listener->waiting))
        list_append(&listener->limit->waiting, &listener->waiting);
    update_interest(listener);
    return true;
}

/* ---- arrivals ---- */

static void arrival_free(struct arrival *arrival)
{
    struct loop *loop = arrival->listener->loop;
    list_remove(&arrival->link);
    timer_clear(loop, &arrival->timer);
    watch_destroy(arrival->watch);
    loop_bury(loop, arrival, free);
}

static void arrival_drop(struct arrival *arrival)
{
    if (arrival->transport) {
        transport_close(arrival->transport);
    } else {
        watch_destroy(arrival->watch);
        arrival->watch = NULL;
        (void)close(arrival->fd);
        accept_limit_release(arrival->listener->limit);
    }
    arrival_free(arrival);
}

static void hand_over(struct listener *listener, struct transport *transport)
{
    listener->counts.accepted++;
    transport_own(transport, NULL, NULL);
    transport_want(transport, false);
    listener->accepted(listener->owner, listener, transport);
}

static void arrival_event(struct transport *transport, enum transport_event event)
{
    struct arrival *arrival = transport->owner;
    struct listener *listener = arrival->listener;
    if (event == TRANSPORT_SECURED) {
        arrival_free(arrival);
        hand_over(listener, transport);
        return;
    }
    listener->counts.handshake_failed++;
    if (log_enabled(LOG_DEBUG)) {
        char peer[ADDRESS_TEXT];
        log_write(LOG_DEBUG, "listener", "TLS handshake with %s failed: %s", address_format(&arrival->peer, peer),
                  transport_error(transport));
    }
    arrival_drop(arrival);
}

static void arrival_timeout(struct timer *timer)
{
    struct arrival *arrival = CONTAINER_OF(timer, struct arrival, timer);
    if (arrival->transport)
        arrival->listener->counts.handshake_failed++;
    else
        arrival->listener->counts.proxy_refused++;
    arrival_drop(arrival);
}

static struct arrival *arrival_create(struct listener *listener, int fd, const struct address *peer)
{
    struct arrival *arrival = memory_alloc(sizeof(*arrival));
    memset(arrival, 0, offsetof(struct arrival, header));
    arrival->listener = listener;
    arrival->timer.fire = arrival_timeout;
    arrival->fd = fd;
    arrival->peer = *peer;
    list_append(&listener->arrivals, &arrival->link);
    timer_set(listener->loop, &arrival->timer, loop_now(listener->loop) + listener->handshake_timeout);
    return arrival;
}

/* The connection's bytes start with its own protocol now: TLS or the owner's. `arrival` may be NULL. */
static void begin(struct listener *listener, struct arrival *arrival, int fd, const struct address *peer)
{
    struct transport *transport = transport_socket(listener->loop, fd, peer);
    if (!listener->tls) {
        transport->limit = listener->limit;
        if (arrival)
            arrival_free(arrival);
        hand_over(listener, transport);
        return;
    }
    if (!arrival)
        arrival = arrival_create(listener, fd, peer);
    struct span none = {0};
    arrival->transport = tls_start(listener->tls, transport, none, none, arrival, arrival_event);
    arrival->transport->limit = listener->limit;
}

static void proxy_refuse(struct arrival *arrival)
{
    arrival->listener->counts.proxy_refused++;
    char peer[ADDRESS_TEXT];
    log_write(LOG_DEBUG, "listener", "no PROXY header from %s", address_format(&arrival->peer, peer));
    arrival_drop(arrival);
}

/* Looks without taking, then takes the header's own bytes only: what follows is TLS or HTTP and for others to read. */
static void proxy_ready(void *arg, unsigned ready)
{
    (void)ready;
    struct arrival *arrival = arg;
    char *into = arrival->header + arrival->header_len;
    ssize_t seen = recv(arrival->fd, into, PROXY_HEADER_MAX - arrival->header_len, MSG_PEEK);
    if (seen < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return;
    if (seen <= 0) {
        proxy_refuse(arrival);
        return;
    }
    size_t length, total = arrival->header_len + (size_t)seen;
    struct address source;
    enum proxy_result result = proxy_protocol_parse(span_of(arrival->header, total), &source, &length);
    size_t take = (result == PROXY_DONE ? length : total) - arrival->header_len;
    if (result == PROXY_BAD || recv(arrival->fd, into, take, 0) != (ssize_t)take ||
        (result == PROXY_MORE && total == PROXY_HEADER_MAX)) {
        proxy_refuse(arrival);
        return;
    }
    arrival->header_len = total;
    if (result == PROXY_MORE)
        return;
    watch_destroy(arrival->watch);
    arrival->watch = NULL;
    struct address peer = source.family == ADDRESS_NONE ? arrival->peer : source;
    arrival->peer = peer;
    begin(arrival->listener, arrival, arrival->fd, &peer);
}

static void arrive(struct listener *listener, int fd, const struct address *peer)
{
    listener->limit->open++;
    if (!address_in_any(peer, listener->trusted, listener->trusted_count)) {
        begin(listener, NULL, fd, peer);
        return;
    }
    struct arrival *arrival = arrival_create(listener, fd, peer);
    arrival->watch = watch_create(listener->loop, fd, proxy_ready, arrival);
    watch_want(arrival->watch, WATCH_READ);
}

/* ---- accepting ---- */

static int spare_open(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* No descriptor is left: turn one client away with the spare one rather than let it wait unseen, then rest. */
static void out_of_files(struct listener *listener)
{
    listener->counts.out_of_files++;
    if (listener->counts.out_of_files == 1)
        log_write(LOG_ERROR, "listener", "out of file descriptors: connections are turned away");
    if (listener->spare_fd >= 0) {
        (void)close(listener->spare_fd);
        int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            (void)close(fd);
    }
    listener->spare_fd = spare_open();
    timer_set(listener->loop, &listener->rest, loop_now(listener->loop) + FILES_REST);
    update_interest(listener);
}

static void rested(struct timer *timer)
{
    struct listener *listener = CONTAINER_OF(timer, struct listener, rest);
    if (listener->spare_fd < 0)
        listener->spare_fd = spare_open();
    update_interest(listener);
}

static void accept_failed(struct listener *listener, int error)
{
    switch (error) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        out_of_files(listener);
        break;
    default: /* EAGAIN, or the client is gone already: the next readiness tells */
        break;
    }
}

/* False, with errno: nobody waits, or it cannot be had. */
static bool accept_one(struct listener *listener)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    int fd = accept4(listener->fd, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return false;
    struct address peer = address_from_sockaddr((struct sockaddr *)&sa, len);
    arrive(listener, fd, &peer);
    return true;
}

static void accept_ready(void *arg, unsigned ready)
{
    (void)ready;
    struct listener *listener = arg;
    /* The owner may pause or close the listener from within `accepted`: its watch has no interest then. */
    for (unsigned budget = ACCEPT_BUDGET; budget && listener->fd >= 0 && watch_interest(listener->watch); budget--) {
        if (at_limit(listener))
            return;
        if (!accept_one(listener)) {
            accept_failed(listener, errno);
            return;
        }
    }
}

/* ---- life ---- */

static void set_options(struct listener *listener, const struct listener_options *options)
{
    listener->tls = options->tls ? tls_context_ref(options->tls) : NULL;
    listener->handshake_timeout = options->handshake_timeout ? options->handshake_timeout : LISTENER_HANDSHAKE_TIMEOUT;
    listener->trusted = NULL;
    listener->trusted_count = options->proxy_trusted_count;
    if (options->proxy_trusted_count) {
        listener->trusted = memory_array(options->proxy_trusted_count, sizeof(*listener->trusted));
        memcpy(listener->trusted, options->proxy_trusted, options->proxy_trusted_count * sizeof(*listener->trusted));
    }
}

struct listener *listener_create(struct loop *loop, int fd, const struct listener_options *options,
                                 listener_fn *accepted, void *owner)
{
    struct listener *listener = memory_zalloc(sizeof(*listener));
    listener->loop = loop;
    listener->fd = fd;
    listener->spare_fd = spare_open();
    listener->limit = options->limit;
    listener->accepted = accepted;
    listener->owner = owner;
    listener->rest.fire = rested;
    list_init(&listener->arrivals);
    set_options(listener, options);
    listener->watch = watch_create(loop, fd, accept_ready, listener);
    update_interest(listener);
    return listener;
}

void listener_pause(struct listener *listener, bool pause)
{
    listener->paused = pause;
    update_interest(listener);
}

void listener_adopt(struct listener *listener, const struct listener_options *options)
{
    struct tls_context *old = listener->tls;
    struct address_range *trusted = listener->trusted;
    set_options(listener, options);
    tls_context_unref(old);
    free(trusted);
}

struct address listener_address(const struct listener *listener)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    if (getsockname(listener->fd, (struct sockaddr *)&sa, &len) != 0)
        return (struct address){.family = ADDRESS_NONE};
    return address_from_sockaddr((struct sockaddr *)&sa, len);
}

struct listener_counts listener_counts(const struct listener *listener)
{
    return listener->counts;
}

static void remove_path(int fd)
{
    struct sockaddr_un un = {0};
    socklen_t len = sizeof(un);
    if (getsockname(fd, (struct sockaddr *)&un, &len) == 0 && un.sun_family == AF_UNIX && un.sun_path[0] == '/')
        (void)unlink(un.sun_path);
}

static void listener_free(void *object)
{
    struct listener *listener = object;
    free(listener->trusted);
    free(listener);
}

bool listener_arriving(const struct listener *listener)
{
    return !list_empty(&listener->arrivals);
}

/* No connection comes any more: the socket and what it needs are given back. */
static void close_socket(struct listener *listener, bool unlink_path)
{
    if (listener->fd < 0)
        return;
    if (unlink_path)
        remove_path(listener->fd);
    list_remove(&listener->waiting);
    timer_clear(listener->loop, &listener->rest);
    watch_destroy(listener->watch);
    listener->watch = NULL;
    (void)close(listener->fd);
    listener->fd = -1;
    if (listener->spare_fd >= 0)
        (void)close(listener->spare_fd);
    listener->spare_fd = -1;
}

void listener_finish(struct listener *listener, bool unlink_path)
{
    if (!listener)
        return;
    for (unsigned budget = FINISH_BUDGET; budget && listener->fd >= 0; budget--)
        if (listener->limit->open >= listener->limit->most || !accept_one(listener))
            break;
    close_socket(listener, unlink_path);
}

void listener_close(struct listener *listener, bool unlink_path)
{
    if (!listener)
        return;
    close_socket(listener, unlink_path);
    while (!list_empty(&listener->arrivals))
        arrival_drop(CONTAINER_OF(listener->arrivals.next, struct arrival, link));
    tls_context_unref(listener->tls);
    loop_bury(listener->loop, listener, listener_free);
}
