/* SPDX-License-Identifier: Apache-2.0 */
#include "net/connector.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/memory.h"
#include "net/http_connect.h"
#include "net/loop.h"
#include "net/watch.h"

enum phase { PHASE_START, PHASE_RESOLVE, PHASE_CONNECT, PHASE_PROXY, PHASE_TLS, PHASE_END };

static const char *const phase_words[] = {
    [PHASE_START] = "at the start", [PHASE_RESOLVE] = "while resolving",      [PHASE_CONNECT] = "while connecting",
    [PHASE_PROXY] = "at the proxy", [PHASE_TLS] = "during the TLS handshake", [PHASE_END] = "at the end"};
_Static_assert(ARRAY_LEN(phase_words) == PHASE_END + 1, "every phase has words");

/* One address being tried. */
struct trial {
    struct connector *connector;
    struct address address;
    int fd; /* -1: not under way */
    struct watch *watch;
};

struct connector {
    struct pending pending;
    struct loop *loop;
    struct resolver *resolver;
    struct arena arena;
    struct endpoint endpoint; /* spans in the arena */
    connector_fn *done;
    void *arg;
    enum phase phase;
    struct lookup lookup;
    struct trial trials[RESOLVER_ADDRESSES];
    unsigned trial_count, next, live;
    struct timer stagger;
    struct task step; /* what may not happen inside connector_start */
    struct transport *transport;
    struct buffer proxy_out, proxy_in;
    char detail[192];
};

/* ---- the end ---- */

static void trial_stop(struct trial *trial, bool close_fd)
{
    if (trial->fd < 0)
        return;
    watch_destroy(trial->watch);
    trial->watch = NULL;
    if (close_fd)
        (void)close(trial->fd);
    trial->fd = -1;
    trial->connector->live--;
}

static void stop_trials(struct connector *c)
{
    for (unsigned i = 0; i < c->trial_count; i++)
        trial_stop(&c->trials[i], true);
    timer_clear(c->loop, &c->stagger);
}

static void connector_free(void *object)
{
    struct connector *c = object;
    tls_context_unref(c->endpoint.tls);
    arena_finish(&c->arena);
    buffer_wipe(&c->proxy_out); /* held a credential */
    buffer_finish(&c->proxy_in);
    free(c);
}

/* Lets go of everything that could call back; the record itself goes at the end of the turn. */
static void release(struct connector *c)
{
    c->phase = PHASE_END;
    task_cancel(&c->step);
    pending_cancel(&c->lookup.pending);
    stop_trials(c);
    transport_close(c->transport);
    c->transport = NULL;
    loop_bury(c->loop, c, connector_free);
}

static void fail(struct connector *c, enum fault fault)
{
    pending_complete(&c->pending);
    release(c);
    c->done(c->arg, NULL, fault, c->detail);
}

static void succeed(struct connector *c)
{
    struct transport *transport = c->transport;
    c->transport = NULL;
    transport_own(transport, NULL, NULL);
    transport_want(transport, false);
    pending_complete(&c->pending);
    release(c);
    c->done(c->arg, transport, FAULT_NONE, "");
}

static void timed_out(struct pending *pending)
{
    struct connector *c = CONTAINER_OF(pending, struct connector, pending);
    (void)snprintf(c->detail, sizeof(c->detail), "timed out %s", phase_words[c->phase]);
    release(c);
    c->done(c->arg, NULL, FAULT_CONNECT_TIMEOUT, c->detail);
}

static void cancelled(struct pending *pending)
{
    release(CONTAINER_OF(pending, struct connector, pending));
}

void connector_cancel(struct connector *connector)
{
    pending_cancel(&connector->pending);
}

/* ---- TLS ---- */

static void tls_event(struct transport *t, enum transport_event event)
{
    struct connector *c = t->owner;
    if (event == TRANSPORT_SECURED) {
        succeed(c);
        return;
    }
    (void)snprintf(c->detail, sizeof(c->detail), "%s", transport_error(t));
    fail(c, FAULT_UPSTREAM_TLS);
}

static void begin_tls(struct connector *c)
{
    if (!c->endpoint.tls) {
        succeed(c);
        return;
    }
    c->phase = PHASE_TLS;
    struct span name = c->endpoint.server_name.len ? c->endpoint.server_name : c->endpoint.host;
    c->transport = tls_start(c->endpoint.tls, c->transport, name, c->endpoint.alpn, c, tls_event);
}

/* ---- CONNECT ---- */

static void proxy_failed(struct connector *c, const char *why)
{
    (void)snprintf(c->detail, sizeof(c->detail), "proxy: %s", why);
    fail(c, FAULT_UPSTREAM_CONNECT);
}

static bool proxy_send(struct connector *c)
{
    struct span rest = buffer_span(&c->proxy_out);
    if (rest.len == 0)
        return true;
    struct iovec iov = {.iov_base = (void *)rest.ptr, .iov_len = rest.len};
    ssize_t sent = transport_write(c->transport, &iov, 1);
    if (sent < 0) {
        proxy_failed(c, transport_error(c->transport));
        return false;
    }
    buffer_consume(&c->proxy_out, (size_t)sent);
    return true;
}

static void proxy_reply(struct connector *c)
{
    size_t length;
    unsigned status;
    switch (http_connect_reply(buffer_span(&c->proxy_in), &length, &status)) {
    case HTTP_CONNECT_MORE:
        return;
    case HTTP_CONNECT_BAD:
        proxy_failed(c, "its reply is not HTTP");
        return;
    case HTTP_CONNECT_REFUSED:
        (void)snprintf(c->detail, sizeof(c->detail), "proxy: answered CONNECT with status %u", status);
        fail(c, FAULT_UPSTREAM_CONNECT);
        return;
    case HTTP_CONNECT_OPEN:
        break;
    }
    /* In HTTP and in TLS it is us who speak first: bytes that come before cannot be the target's. */
    if (length != buffer_len(&c->proxy_in)) {
        proxy_failed(c, "it sent bytes after its reply");
        return;
    }
    transport_own(c->transport, NULL, NULL);
    begin_tls(c);
}

static void proxy_event(struct transport *t, enum transport_event event)
{
    struct connector *c = t->owner;
    if (event == TRANSPORT_WRITABLE) {
        (void)proxy_send(c);
        return;
    }
    if (event != TRANSPORT_READABLE) {
        proxy_failed(c, event == TRANSPORT_CLOSED ? "closed the connection" : transport_error(t));
        return;
    }
    ssize_t got = transport_read(t, buffer_reserve(&c->proxy_in, HTTP_CONNECT_REPLY_MAX), HTTP_CONNECT_REPLY_MAX);
    if (got < 0) {
        proxy_failed(c, got == TRANSPORT_EOF ? "closed the connection" : transport_error(t));
        return;
    }
    buffer_commit(&c->proxy_in, (size_t)got);
    proxy_reply(c);
}

static void begin_proxy(struct connector *c)
{
    c->phase = PHASE_PROXY;
    transport_own(c->transport, c, proxy_event);
    http_connect_request(&c->proxy_out, c->endpoint.host, c->endpoint.port, c->endpoint.proxy_authorization);
    if (proxy_send(c))
        transport_want(c->transport, true);
}

/* ---- the race ---- */

static void connected(struct connector *c, int fd, const struct address *peer)
{
    c->transport = transport_socket(c->loop, fd, peer);
    if (c->endpoint.proxy_host.len)
        begin_proxy(c);
    else
        begin_tls(c);
}

static void trial_won(struct trial *trial)
{
    struct connector *c = trial->connector;
    struct address peer = trial->address;
    int fd = trial->fd;
    trial_stop(trial, false);
    stop_trials(c);
    connected(c, fd, &peer);
}

static void note_failure(struct connector *c, const struct address *address, int error)
{
    char text[ADDRESS_TEXT];
    (void)snprintf(c->detail, sizeof(c->detail), "%s: %s", address_format_port(address, text), strerror(error));
}

static void try_next(struct connector *c);

static void trial_lost(struct trial *trial, int error)
{
    note_failure(trial->connector, &trial->address, error);
    trial_stop(trial, true);
    try_next(trial->connector);
}

static void trial_ready(void *arg, unsigned ready)
{
    (void)ready;
    struct trial *trial = arg;
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(trial->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    if (error)
        trial_lost(trial, error);
    else
        trial_won(trial);
}

/* 0 when the connection is under way or made, else errno. */
static int trial_start(struct trial *trial)
{
    struct sockaddr_storage sa;
    socklen_t len = address_to_sockaddr(&trial->address, &sa);
    int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    if (connect(fd, (struct sockaddr *)&sa, len) != 0 && errno != EINPROGRESS) {
        int error = errno;
        (void)close(fd);
        return error;
    }
    trial->fd = fd;
    trial->connector->live++;
    trial->watch = watch_create(trial->connector->loop, fd, trial_ready, trial);
    watch_want(trial->watch, WATCH_WRITE);
    return 0;
}

/* Starts the next address; those that fail at once are passed over. With none left and none under way, it has failed.
 */
static void try_next(struct connector *c)
{
    while (c->next < c->trial_count) {
        struct trial *trial = &c->trials[c->next++];
        int error = trial_start(trial);
        if (error) {
            note_failure(c, &trial->address, error);
            continue;
        }
        if (c->next < c->trial_count)
            timer_set(c->loop, &c->stagger, loop_now(c->loop) + CONNECTOR_STAGGER);
        return;
    }
    if (c->live == 0)
        fail(c, FAULT_UPSTREAM_CONNECT);
}

static void staggered(struct timer *timer)
{
    try_next(CONTAINER_OF(timer, struct connector, stagger));
}

/* The next address of a family (or of the other ones) from `at` on; `count` when there is none. */
static size_t next_of(const struct address *addresses, size_t count, size_t at, bool v6)
{
    while (at < count && (addresses[at].family == ADDRESS_IPV6) != v6)
        at++;
    return at;
}

/* Families in turn, IPv6 first (RFC 8305 section 4). */
static void interleave(struct connector *c, const struct address *addresses, size_t count, uint16_t port)
{
    size_t at[2] = {0, 0};
    bool v6 = true;
    while (c->trial_count < count && c->trial_count < RESOLVER_ADDRESSES) {
        size_t found = next_of(addresses, count, at[v6], v6);
        if (found < count) {
            at[v6] = found + 1;
            struct trial *trial = &c->trials[c->trial_count++];
            *trial = (struct trial){.connector = c, .address = addresses[found], .fd = -1};
            trial->address.port = port;
        }
        v6 = !v6;
    }
}

static void resolved(struct lookup *lookup, const struct address *addresses, size_t count, const char *why)
{
    struct connector *c = CONTAINER_OF(lookup, struct connector, lookup);
    bool proxied = c->endpoint.proxy_host.len > 0;
    if (count == 0) {
        struct span host = proxied ? c->endpoint.proxy_host : c->endpoint.host;
        (void)snprintf(c->detail, sizeof(c->detail), "%.*s: %s", (int)(host.len < 100 ? host.len : 100), host.ptr, why);
        fail(c, FAULT_UPSTREAM_RESOLVE);
        return;
    }
    c->phase = PHASE_CONNECT;
    interleave(c, addresses, count, proxied ? c->endpoint.proxy_port : c->endpoint.port);
    try_next(c);
}

/* ---- start ---- */

static void connect_unix(struct task *task)
{
    struct connector *c = CONTAINER_OF(task, struct connector, step);
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct span path = c->endpoint.unix_path;
    c->phase = PHASE_CONNECT;
    int fd = -1, error = ENAMETOOLONG;
    if (path.len < sizeof(un.sun_path)) {
        memcpy(un.sun_path, path.ptr, path.len);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        error = fd < 0 || connect(fd, (struct sockaddr *)&un, sizeof(un)) != 0 ? errno : 0;
    }
    if (error) {
        if (fd >= 0)
            (void)close(fd);
        (void)snprintf(c->detail, sizeof(c->detail), "%.*s: %s", SPAN_ARG(path), strerror(error));
        fail(c, FAULT_UPSTREAM_CONNECT);
        return;
    }
    struct address peer = {.family = ADDRESS_UNIX};
    connected(c, fd, &peer);
}

static void copy_endpoint(struct connector *c, const struct endpoint *from)
{
    c->endpoint = *from;
    struct span *const spans[] = {&c->endpoint.host, &c->endpoint.unix_path,  &c->endpoint.server_name,
                                  &c->endpoint.alpn, &c->endpoint.proxy_host, &c->endpoint.proxy_authorization};
    for (size_t i = 0; i < ARRAY_LEN(spans); i++)
        if (spans[i]->len)
            *spans[i] = arena_copy(&c->arena, *spans[i]);
    if (c->endpoint.tls)
        (void)tls_context_ref(c->endpoint.tls);
}

struct connector *connector_start(struct loop *loop, struct resolver *resolver, const struct endpoint *endpoint,
                                  uint64_t timeout, struct list *list, connector_fn *done, void *arg)
{
    struct connector *c = memory_zalloc(sizeof(*c));
    c->loop = loop;
    c->resolver = resolver;
    c->done = done;
    c->arg = arg;
    c->stagger.fire = staggered;
    c->step.run = connect_unix;
    arena_init(&c->arena);
    copy_endpoint(c, endpoint);
    pending_start(list, &c->pending, loop, loop_now(loop) + timeout, timed_out, cancelled);
    if (c->endpoint.unix_path.len) {
        c->endpoint.proxy_host = (struct span){0};
        loop_post(loop, &c->step);
        return c;
    }
    c->phase = PHASE_RESOLVE;
    c->lookup.done = resolved;
    resolver_lookup(resolver, &c->lookup, c->endpoint.proxy_host.len ? c->endpoint.proxy_host : c->endpoint.host, NULL);
    return c;
}
