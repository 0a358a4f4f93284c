/* SPDX-License-Identifier: Apache-2.0 */
#include "config/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"

struct kept {
    struct arena_cleanup cleanup;
    char *bytes;
    size_t len;
};

static void wipe(void *arg)
{
    struct kept *kept = arg;
    memory_wipe(kept->bytes, kept->len);
}

/* A copy that is overwritten when the arena ends. */
static struct span keep(struct arena *arena, struct span value)
{
    struct kept *kept = ARENA_NEW(arena, struct kept);
    kept->bytes = arena_bytes(arena, value.len + 1);
    kept->len = value.len;
    memcpy(kept->bytes, value.ptr, value.len);
    kept->bytes[value.len] = '\0';
    arena_defer(arena, &kept->cleanup, wipe, kept);
    return span_of(kept->bytes, kept->len);
}

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Secrets go into header fields and messages to Redis: a control byte inside is a mistake or an attack. */
static bool take(struct span value, struct arena *arena, struct span *ret, struct span *ret_reason)
{
    while (value.len && blank(value.ptr[0]))
        value = span_skip(value, 1);
    while (value.len && blank(value.ptr[value.len - 1]))
        value.len--;
    if (value.len == 0) {
        *ret_reason = SPAN("is empty");
        return false;
    }
    for (size_t i = 0; i < value.len; i++)
        if ((unsigned char)value.ptr[i] < 0x20 || value.ptr[i] == 0x7f) {
            *ret_reason = SPAN("holds a line break or control character");
            return false;
        }
    *ret = keep(arena, value);
    return true;
}

/* The whole file at fd, at most `size` bytes; -1 with errno on error. */
static ssize_t read_all(int fd, char *into, size_t size)
{
    size_t len = 0;
    while (len < size) {
        ssize_t got = read(fd, into + len, size - len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        len += (size_t)got;
    }
    return (ssize_t)len;
}

static bool read_file(struct span path, struct arena *arena, struct span *ret, struct span *ret_reason)
{
    struct stat info;
    int fd = open(path.ptr, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &info) < 0) {
        *ret_reason = arena_format(arena, "cannot be read: %s", strerror(errno));
        if (fd >= 0)
            (void)close(fd);
        return false;
    }
    if (!S_ISREG(info.st_mode)) {
        *ret_reason = SPAN("is not a file");
        (void)close(fd);
        return false;
    }
    char *bytes = memory_alloc(SECRET_BYTES + 1);
    ssize_t len = read_all(fd, bytes, SECRET_BYTES + 1);
    int error = errno;
    (void)close(fd);
    bool good = false;
    if (len < 0)
        *ret_reason = arena_format(arena, "cannot be read: %s", strerror(error));
    else if (len > SECRET_BYTES)
        *ret_reason = SPAN("is larger than 64 KiB");
    else
        good = take(span_of(bytes, (size_t)len), arena, ret, ret_reason);
    memory_wipe(bytes, SECRET_BYTES + 1);
    free(bytes);
    return good;
}

bool secret_read(const struct setting_secret *secret, struct arena *arena, struct span *ret, struct span *ret_reason)
{
    if (secret->file.len)
        return read_file(secret->file, arena, ret, ret_reason);
    const char *value = getenv(secret->env.ptr);
    if (!value) {
        *ret_reason = SPAN("is not set");
        return false;
    }
    return take(span_str(value), arena, ret, ret_reason);
}
