/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"

#define LINE_MAX_BYTES 2048

static const char *const level_names[] = {
    [LOG_ERROR] = "error", [LOG_WARNING] = "warning", [LOG_INFO] = "info", [LOG_DEBUG] = "debug"};
_Static_assert(ARRAY_LEN(level_names) == LOG_DEBUG + 1, "every level has a name");

static atomic_int log_level_now = LOG_INFO;
static atomic_int log_format_now = LOG_TEXT;

static atomic_bool log_level_pinned;

void log_pin(enum log_level level)
{
    atomic_store(&log_level_now, (int)level);
    atomic_store(&log_level_pinned, true);
}

bool log_level_of(const char *name, enum log_level *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(level_names); i++)
        if (strcmp(name, level_names[i]) == 0) {
            *ret = (enum log_level)i;
            return true;
        }
    return false;
}

void log_configure(enum log_level level, enum log_format format)
{
    if (!atomic_load(&log_level_pinned))
        atomic_store(&log_level_now, (int)level);
    atomic_store(&log_format_now, (int)format);
}

bool log_enabled(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&log_level_now, memory_order_relaxed);
}

/* Part of a message may come from a peer: it must not forge a second line or command a terminal. */
static void tame(char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7F)
            text[i] = ' ';
}

void log_write(enum log_level level, const char *area, const char *format, ...)
{
    if (!log_enabled(level))
        return;
    char text[LINE_MAX_BYTES];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (len < 0)
        return;
    struct span message = span_of(text, (size_t)len < sizeof(text) ? (size_t)len : sizeof(text) - 1);
    bool json = atomic_load(&log_format_now) == LOG_JSON;
    if (!json)
        tame(text, message.len);

    uint64_t wall = clock_wall();
    time_t seconds = (time_t)(wall / CLOCK_SECOND);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    char stamp[40];
    size_t at = strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &utc);
    (void)snprintf(stamp + at, sizeof(stamp) - at, ".%03uZ", (unsigned)(wall % CLOCK_SECOND / 1000));

    struct buffer line = {0};
    if (json) {
        buffer_format(&line, "{\"time\":\"%s\",\"level\":\"%s\",\"area\":\"%s\",\"message\":\"", stamp,
                      level_names[level], area);
        buffer_append_json(&line, message);
        buffer_append(&line, SPAN("\"}\n"));
    } else {
        buffer_format(&line, "%s %-7s %s: %.*s\n", stamp, level_names[level], area, SPAN_ARG(message));
    }
    /* A log that cannot be written must not stop the service. */
    ssize_t written = write(STDERR_FILENO, line.ptr + line.start, buffer_len(&line));
    (void)written;
    buffer_finish(&line);
}
