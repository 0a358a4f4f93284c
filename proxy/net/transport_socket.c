/* SPDX-License-Identifier: Apache-2.0 */
#include "net/transport.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/memory.h"
#include "net/loop.h"
#include "net/watch.h"

/* NAT and load balancers of the cloud forget silent flows after four minutes: probe well before. */
#define KEEPALIVE_IDLE_S     60
#define KEEPALIVE_INTERVAL_S 10
#define KEEPALIVE_PROBES     6

struct socket_transport {
    struct transport base;
    struct watch *watch;
    int error;        /* errno of the failure, 0 while there is none */
    bool eof;         /* the peer's end was seen */
    bool short_write; /* the owner waits for WRITABLE */
};

static struct socket_transport *socket_of(struct transport *t)
{
    return CONTAINER_OF(t, struct socket_transport, base);
}

static ssize_t failed(struct socket_transport *s, int error)
{
    s->error = error;
    watch_want(s->watch, 0);
    return TRANSPORT_ERROR;
}

static void drop_read(struct socket_transport *s)
{
    watch_want(s->watch, watch_interest(s->watch) & ~(unsigned)WATCH_READ);
}

static ssize_t socket_read(struct transport *t, char *into, size_t size)
{
    struct socket_transport *s = socket_of(t);
    if (s->error)
        return TRANSPORT_ERROR;
    if (s->eof)
        return TRANSPORT_EOF;
    ssize_t got;
    do
        got = recv(t->fd, into, size, 0);
    while (got < 0 && errno == EINTR);
    if (got > 0)
        return got;
    if (got < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : failed(s, errno);
    s->eof = true;
    drop_read(s);
    return TRANSPORT_EOF;
}

static ssize_t socket_send(struct socket_transport *s, const struct iovec *iov, int count)
{
    struct msghdr message = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)count};
    ssize_t sent;
    do
        sent = count == 1 ? send(s->base.fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL)
                          : sendmsg(s->base.fd, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent;
}

static ssize_t socket_write(struct transport *t, const struct iovec *iov, int count)
{
    struct socket_transport *s = socket_of(t);
    if (s->error)
        return TRANSPORT_ERROR;
    int looked = count < TRANSPORT_IOVECS ? count : TRANSPORT_IOVECS;
    size_t asked = 0;
    for (int i = 0; i < looked; i++)
        asked += iov[i].iov_len;
    if (asked == 0)
        return 0;
    ssize_t sent = socket_send(s, iov, looked);
    if (sent < 0) {
        if (errno != EAGAIN && errno != EWOULDBLOCK)
            return failed(s, errno);
        sent = 0;
    }
    if ((size_t)sent < asked || looked < count) {
        s->short_write = true;
        watch_want(s->watch, watch_interest(s->watch) | WATCH_WRITE);
    }
    return sent;
}

static void socket_want(struct transport *t, bool read)
{
    struct socket_transport *s = socket_of(t);
    /* Off changes nothing here: the descriptor is disarmed only when something comes that nobody wants. */
    if (read && !s->eof && !s->error)
        watch_want(s->watch, watch_interest(s->watch) | WATCH_READ);
}

static void socket_shutdown(struct transport *t)
{
    (void)shutdown(t->fd, SHUT_WR);
}

static void socket_close(struct transport *t)
{
    struct socket_transport *s = socket_of(t);
    watch_destroy(s->watch);
    (void)close(t->fd);
    t->fd = -1;
    loop_bury(t->loop, s, free);
}

static const char *socket_error(const struct transport *t)
{
    const struct socket_transport *s = (const void *)t;
    return s->error ? strerror(s->error) : "";
}

static const struct transport_ops socket_ops = {
    .name = "socket",
    .read = socket_read,
    .write = socket_write,
    .want = socket_want,
    .shutdown = socket_shutdown,
    .close = socket_close,
    .error = socket_error,
};

/* Something came while nobody reads: bytes stay where they are and disarm, an end or a failure is told. */
static void unwanted(struct socket_transport *s)
{
    char byte;
    ssize_t got = recv(s->base.fd, &byte, 1, MSG_PEEK);
    if (got < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
            return;
        (void)failed(s, errno);
        transport_notify(&s->base, TRANSPORT_FAILED);
        return;
    }
    drop_read(s);
    if (got == 0) {
        s->eof = true;
        transport_notify(&s->base, TRANSPORT_CLOSED);
    }
}

static void socket_ready(void *arg, unsigned ready)
{
    struct socket_transport *s = arg;
    if (ready & WATCH_WRITE) {
        watch_want(s->watch, watch_interest(s->watch) & ~(unsigned)WATCH_WRITE);
        if (s->short_write) {
            s->short_write = false;
            transport_notify(&s->base, TRANSPORT_WRITABLE);
        }
    } else if (s->base.want_read) {
        transport_notify(&s->base, TRANSPORT_READABLE);
    } else {
        unwanted(s);
    }
}

static void set_option(int fd, int level, int option, int value)
{
    (void)setsockopt(fd, level, option, &value, sizeof(value));
}

struct transport *transport_socket(struct loop *loop, int fd, const struct address *peer)
{
    struct socket_transport *s = memory_zalloc(sizeof(*s));
    transport_init(&s->base, &socket_ops, loop);
    s->base.fd = fd;
    s->base.peer = *peer;
    if (peer->family != ADDRESS_UNIX) {
        set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
        set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
        set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
        set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
        set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
    }
    s->watch = watch_create(loop, fd, socket_ready, s);
    return &s->base;
}
