/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/secret_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct span trim(struct span text)
{
    while (text.len && is_blank(text.ptr[0]))
        text = span_skip(text, 1);
    while (text.len && is_blank(text.ptr[text.len - 1]))
        text.len--;
    return text;
}

static bool is_clean(struct span text, bool lines)
{
    for (size_t i = 0; i < text.len; i++) {
        bool blank = text.ptr[i] == ' ' || (lines && is_blank(text.ptr[i]));
        if (!blank && (text.ptr[i] <= 0x20 || text.ptr[i] >= 0x7f))
            return false;
    }
    return true;
}

/* The whole file into `bytes`, at most `size`; -1 with errno. */
static ssize_t read_whole(const char *path, char *bytes, size_t size)
{
    /* Not blocking: a pipe in place of the file would stop every request of this worker. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -1;
    size_t len = 0;
    ssize_t got = 1;
    while (got > 0 && len < size) {
        got = read(fd, bytes + len, size - len);
        if (got < 0 && errno == EINTR)
            got = 1;
        else if (got > 0)
            len += (size_t)got;
    }
    int error = errno;
    (void)close(fd);
    errno = error;
    return got < 0 ? -1 : (ssize_t)len;
}

bool secret_file_read(struct span path, bool lines, struct buffer *out, const char **ret_reason)
{
    char *bytes = memory_alloc(SECRET_FILE_BYTES + 1);
    ssize_t len = read_whole(path.ptr, bytes, SECRET_FILE_BYTES + 1);
    struct span text = trim(span_of(bytes, len > 0 ? (size_t)len : 0));
    bool good = false;
    if (len < 0)
        *ret_reason = strerror(errno);
    else if ((size_t)len > SECRET_FILE_BYTES)
        *ret_reason = "is larger than 64 KiB";
    else if (text.len == 0)
        *ret_reason = "is empty";
    else if (!is_clean(text, lines))
        *ret_reason = "holds a line break or other bytes that a secret may not have";
    else
        good = true;
    if (good)
        buffer_append(out, text);
    memory_wipe(bytes, SECRET_FILE_BYTES + 1);
    free(bytes);
    return good;
}

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

bool secret_file_changed(struct span path, struct secret_mark *mark)
{
    struct stat info;
    struct secret_mark now = {0};
    if (stat(path.ptr, &info) == 0)
        now = (struct secret_mark){info.st_dev, info.st_ino, info.st_size, info.st_ctim, info.st_mtim};
    bool same = now.device == mark->device && now.inode == mark->inode && now.size == mark->size &&
                same_time(now.changed, mark->changed) && same_time(now.modified, mark->modified);
    *mark = now;
    return !same;
}
