/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/access_log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "config/config.h"
#include "gateway/access_log_line.h"
#include "gateway/exchange.h"
#include "gateway/worker.h"

/* Lines are written when so much has gathered, or so long after the first of them. */
#define GATHER_MAX  ((size_t)64 * 1024)
#define GATHER_TIME (200 * CLOCK_MS)

struct access_log {
    struct worker *worker;
    const struct config_log *config;
    int fd;       /* -1: off, or it could not be opened */
    bool regular; /* a file takes everything; a pipe or terminal may block */
    char *lines;  /* GATHER_MAX bytes while lines wait, else NULL */
    size_t len;
    struct timer timer;
    uint64_t lost;
    uint64_t second; /* of `time` */
    char time[sizeof("2026-01-01T00:00:00.000Z")];
};

/* ---- writing ---- */

/*
 * Standard output is shared with others, so it must not be made non-blocking. A pipe that is ready takes PIPE_BUF bytes
 * at once, and whole: so lines of several workers do not mix.
 */
static bool is_ready(const struct access_log *log)
{
    struct pollfd poll_fd = {.fd = log->fd, .events = POLLOUT};
    return log->regular || (poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLOUT));
}

/* As many whole lines as may go in one write; a single line may be longer than that. */
static size_t next_piece(const struct access_log *log, size_t from)
{
    size_t left = log->len - from;
    if (log->regular || left <= PIPE_BUF)
        return left;
    const char *start = log->lines + from;
    const char *end = memrchr(start, '\n', PIPE_BUF);
    if (!end)
        end = memchr(start, '\n', left);
    return end ? (size_t)(end - start) + 1 : left;
}

static uint64_t count_lines(const char *bytes, size_t len)
{
    uint64_t count = 0;
    for (size_t i = 0; i < len; i++)
        count += bytes[i] == '\n';
    return count;
}

/* Writes what the destination takes; the rest stays at the front. */
static void flush(struct access_log *log)
{
    size_t done = 0;
    while (done < log->len && log->fd >= 0 && is_ready(log)) {
        ssize_t n = write(log->fd, log->lines + done, next_piece(log, done));
        if (n > 0) {
            done += (size_t)n;
        } else if (errno != EINTR && errno != EAGAIN) {
            log->lost += count_lines(log->lines + done, log->len - done);
            done = log->len;
        } else if (errno == EAGAIN) {
            break;
        }
    }
    log->len -= done;
    if (log->len)
        memmove(log->lines, log->lines + done, log->len);
}

/* An idle log holds no memory. */
static void flush_all(struct access_log *log)
{
    if (!log->lines)
        return;
    flush(log);
    if (log->len) {
        timer_set(log->worker->loop, &log->timer, loop_now(log->worker->loop) + GATHER_TIME);
        return;
    }
    free(log->lines);
    log->lines = NULL;
}

static void timer_fired(struct timer *timer)
{
    flush_all(CONTAINER_OF(timer, struct access_log, timer));
}

/* "2026-11-22T16:47:10.123Z"; only the milliseconds are made anew within a second. */
static struct span time_text(struct access_log *log, uint64_t wall)
{
    uint64_t second = wall / CLOCK_SECOND;
    if (second != log->second) {
        struct tm utc;
        time_t at = (time_t)second;
        gmtime_r(&at, &utc);
        (void)strftime(log->time, sizeof(log->time), "%Y-%m-%dT%H:%M:%S.000Z", &utc);
        log->second = second;
    }
    unsigned millis = (unsigned)(wall % CLOCK_SECOND / CLOCK_MS);
    log->time[20] = (char)('0' + millis / 100);
    log->time[21] = (char)('0' + millis / 10 % 10);
    log->time[22] = (char)('0' + millis % 10);
    return span_of(log->time, sizeof(log->time) - 1);
}

void access_log_write(const struct exchange *exchange, enum outcome outcome)
{
    struct access_log *log = exchange->worker->log;
    if (!log || log->config->access_kind == ACCESS_LOG_OFF)
        return;
    if (log->len + ACCESS_LOG_LINE_MAX > GATHER_MAX)
        flush(log);
    if (log->fd < 0 || log->len + ACCESS_LOG_LINE_MAX > GATHER_MAX) {
        log->lost++;
        return;
    }
    struct loop *loop = log->worker->loop;
    if (!log->lines)
        log->lines = memory_alloc(GATHER_MAX);
    if (!timer_is_set(&log->timer))
        timer_set(loop, &log->timer, loop_now(loop) + GATHER_TIME);
    log->len +=
        access_log_line(log->lines + log->len, exchange, outcome, time_text(log, loop_wall(loop)), loop_now(loop));
}

uint64_t access_log_lost(const struct access_log *log)
{
    return log ? log->lost : 0;
}

/* ---- life ---- */

static void open_destination(struct access_log *log)
{
    const struct config_log *config = log->config;
    log->fd = -1;
    if (config->access_kind == ACCESS_LOG_OFF)
        return;
    if (config->access_kind == ACCESS_LOG_STDOUT) {
        log->fd = STDOUT_FILENO;
    } else {
        struct arena arena;
        arena_init(&arena);
        /* O_NONBLOCK: a named pipe that nobody reads must not stop the start. */
        log->fd = open(arena_copy(&arena, config->access).ptr,
                       O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
        if (log->fd < 0)
            log_write(LOG_ERROR, "access", "%.*s cannot be opened: %s; its lines are lost until a reload",
                      SPAN_ARG(config->access), strerror(errno));
        arena_finish(&arena);
    }
    struct stat info;
    log->regular = log->fd >= 0 && fstat(log->fd, &info) == 0 && S_ISREG(info.st_mode);
}

static void close_destination(struct access_log *log)
{
    if (log->fd > STDERR_FILENO)
        (void)close(log->fd);
    log->fd = -1;
}

struct access_log *access_log_create(struct worker *worker, const struct config_log *config)
{
    struct access_log *log = memory_zalloc(sizeof(*log));
    log->worker = worker;
    log->config = config;
    log->timer.fire = timer_fired;
    open_destination(log);
    return log;
}

void access_log_destroy(struct access_log *log)
{
    if (!log)
        return;
    flush_all(log);
    timer_clear(log->worker->loop, &log->timer);
    close_destination(log);
    free(log->lines);
    free(log);
}

void access_log_adopt(struct access_log *log, const struct config_log *config)
{
    flush_all(log);
    close_destination(log);
    log->config = config;
    open_destination(log);
}
