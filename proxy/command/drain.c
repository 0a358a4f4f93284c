/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drain: ends a running Postern as SIGTERM does, for whoever shares a volume with it but not its process namespace: the
 * container of a Job, whose pod goes on as long as a plain container beside it does.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buffer.h"
#include "command/command.h"

#define UNIX_PREFIX "unix:"
/* The answer comes at once or never. */
#define ANSWER_SECONDS 10

static int complain(struct span path, const char *problem)
{
    (void)fprintf(stderr, "postern drain: %.*s: %s\n", SPAN_ARG(path), problem);
    return 1;
}

/* A descriptor, or -1 with errno. */
static int connect_to(struct span path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval limit = {.tv_sec = ANSWER_SECONDS};
    if (path.len >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(address.sun_path, path.ptr, path.len);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    int error = errno;
    (void)close(fd);
    errno = error;
    return -1;
}

/* NULL: it was accepted. */
static const char *ask(int fd)
{
    static const char request[] =
        "POST /drain HTTP/1.1\r\nHost: control\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    char answer[16];
    size_t len = 0;
    if (send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) != (ssize_t)sizeof(request) - 1)
        return strerror(errno);
    while (len < sizeof(answer)) {
        ssize_t got = recv(fd, answer + len, sizeof(answer) - len, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? strerror(errno) : "closed without an answer";
        len += (size_t)got;
    }
    return span_starts_with(span_of(answer, len), SPAN("HTTP/1.1 202 "))
               ? NULL
               : "does not take the request; is it a control socket?";
}

static int drain(struct span path)
{
    int fd = connect_to(path);
    if (fd < 0)
        return complain(path, strerror(errno));
    const char *problem = ask(fd);
    (void)close(fd);
    return problem ? complain(path, problem) : 0;
}

static int drain_of(const char *file)
{
    struct report report;
    struct buffer text = {0};
    struct config *config = NULL;
    int code = 1;
    report_init(&report);
    if (!config_load(file, command_settings(), CONFIG_OFFLINE, &report, &config)) {
        report_print(&report, &text);
        (void)fprintf(stderr, "%.*s", SPAN_ARG(buffer_span(&text)));
    } else if (config->admin.control.path.len == 0) {
        code = complain(span_str(file), "has no control socket (admin.control)");
    } else {
        code = drain(config->admin.control.path);
    }
    config_free(config);
    buffer_finish(&text);
    report_finish(&report);
    return code;
}

int command_drain(int argc, char **argv)
{
    if (argc == 3 && span_equal(span_str(argv[1]), SPAN("--config")))
        return drain_of(argv[2]);
    if (argc != 3 || !span_equal(span_str(argv[1]), SPAN("--control")))
        return command_usage("drain", "--control unix:PATH is wanted, or --config PATH of the one that runs");
    struct span control = span_str(argv[2]);
    if (!span_starts_with(control, SPAN(UNIX_PREFIX)))
        return command_usage("drain", "--control wants a unix socket, such as unix:/run/postern/control.sock");
    return drain(span_skip(control, sizeof(UNIX_PREFIX) - 1));
}
