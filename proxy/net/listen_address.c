/* SPDX-License-Identifier: Apache-2.0 */
/* The part of the listener that knows addresses and sockets but no loop: parse, probe, bind. */
#include "net/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKLOG 4096

static bool refuse(struct net_error *error, struct span text, const char *why)
{
    (void)snprintf(error->text, sizeof(error->text), "listen address \"%.*s\": %s",
                   (int)(text.len < 120 ? text.len : 120), text.ptr, why);
    return false;
}

bool listen_address_parse(struct span text, struct listen_address *ret, struct net_error *error)
{
    struct listen_address address = {.ip.family = ADDRESS_UNIX};
    struct span prefix = SPAN("unix:");
    if (span_starts_with(text, prefix)) {
        struct span path = span_skip(text, prefix.len);
        if (path.len == 0 || path.ptr[0] != '/')
            return refuse(error, text, "a socket path is absolute, as in unix:/run/postern/postern.sock");
        if (path.len >= sizeof(address.path) || memchr(path.ptr, 0, path.len))
            return refuse(error, text, "a socket path has at most 107 bytes");
        memcpy(address.path, path.ptr, path.len);
        *ret = address;
        return true;
    }
    size_t colon = text.len;
    while (colon > 0 && text.ptr[colon - 1] != ':')
        colon--;
    uint64_t port;
    if (colon == 0 || !span_to_u64(span_skip(text, colon), &port) || port > 65535)
        return refuse(error, text, "expected ADDRESS:PORT, [ADDRESS]:PORT or unix:/PATH");
    struct span host = span_take(text, colon - 1);
    if (host.len && host.ptr[0] != '[' && span_find(host, ':') < host.len)
        return refuse(error, text, "an IPv6 address stands in brackets, as in [::1]:4610");
    if (!address_parse(host, &address.ip))
        return refuse(error, text, "expected an IP address: 127.0.0.1, 0.0.0.0 for all, [::1], [::]");
    address.ip.port = (uint16_t)port;
    *ret = address;
    return true;
}

static int fail(struct net_error *error, int fd, const char *what, const char *where)
{
    int saved = errno;
    if (fd >= 0)
        (void)close(fd);
    (void)snprintf(error->text, sizeof(error->text), "%s %.150s: %s", what, where, strerror(saved));
    return -1;
}

/* A bound TCP socket, or -1 with errno. */
static int bind_tcp(const struct sockaddr *sa, socklen_t len, bool share)
{
    int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1;
    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
        (!share || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0) &&
        (sa->sa_family != AF_INET6 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) == 0) &&
        bind(fd, sa, len) == 0)
        return fd;
    int saved = errno;
    (void)close(fd);
    errno = saved;
    return -1;
}

static int listen_tcp(const struct address *ip, bool probe, struct net_error *error)
{
    char where[ADDRESS_TEXT];
    (void)address_format_port(ip, where);
    struct sockaddr_storage sa;
    socklen_t len = address_to_sockaddr(ip, &sa);
    if (probe) {
        /* Bound but not listening, so no client ever lands here. */
        int fd = bind_tcp((struct sockaddr *)&sa, len, false);
        if (fd < 0)
            return fail(error, -1, "cannot listen on", where);
        (void)close(fd);
    }
    int fd = bind_tcp((struct sockaddr *)&sa, len, true);
    if (fd < 0 || listen(fd, BACKLOG) != 0)
        return fail(error, fd, "cannot listen on", where);
    return fd;
}

/* Removes a socket file that nobody serves. False with errno when it is somebody's, or not a socket. */
static bool clear_stale(const struct sockaddr_un *un)
{
    struct stat st;
    if (lstat(un->sun_path, &st) != 0)
        return errno == ENOENT;
    if (!S_ISSOCK(st.st_mode)) {
        errno = EEXIST;
        return false;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    bool refused = connect(fd, (const struct sockaddr *)un, sizeof(*un)) != 0 && errno == ECONNREFUSED;
    (void)close(fd);
    if (refused)
        return unlink(un->sun_path) == 0;
    errno = EADDRINUSE;
    return false;
}

static int listen_unix(const struct listen_address *address, struct net_error *error)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    memcpy(un.sun_path, address->path, sizeof(un.sun_path));
    if (!clear_stale(&un))
        return fail(error, -1, "cannot listen on", address->path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&un, sizeof(un)) != 0)
        return fail(error, fd, "cannot listen on", address->path);
    /* The mode is set before listen, so that nobody enters in between. */
    if ((address->mode && chmod(address->path, address->mode) != 0) || listen(fd, BACKLOG) != 0)
        return fail(error, fd, "cannot listen on", address->path);
    return fd;
}

int listener_bind(const struct listen_address *address, struct net_error *error)
{
    return address->ip.family == ADDRESS_UNIX ? listen_unix(address, error) : listen_tcp(&address->ip, true, error);
}

int listener_bind_beside(const struct listen_address *address, struct net_error *error)
{
    return address->ip.family == ADDRESS_UNIX ? listen_unix(address, error) : listen_tcp(&address->ip, false, error);
}

int listener_bind_again(int first, struct net_error *error)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    if (getsockname(first, (struct sockaddr *)&sa, &len) != 0)
        return fail(error, -1, "cannot share", "a listener");
    struct address ip = address_from_sockaddr((struct sockaddr *)&sa, len);
    if (ip.family != ADDRESS_UNIX) {
        return listen_tcp(&ip, false, error);
    }
    int fd = fcntl(first, F_DUPFD_CLOEXEC, 0);
    return fd >= 0 ? fd : fail(error, -1, "cannot share", "a socket");
}
