/* SPDX-License-Identifier: Apache-2.0 */
#include "config/source.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "config/config.h"

struct node *source_text(struct arena *arena, struct span name, struct span text, struct report *report)
{
    struct node *root = tree_parse(arena, name, text, report);
    if (root && root->kind != NODE_MAP) {
        report_error(report, root->place,
                     "a configuration is a map of settings; it begins with \"apiVersion: postern/v1\"");
        return NULL;
    }
    return root;
}

static struct place whole(struct span path)
{
    return (struct place){.file = path};
}

/* Appends the content of a regular file; at most TREE_BYTES in all. */
static bool read_into(int fd, struct span path, struct buffer *text, struct report *report)
{
    for (;;) {
        char *room = buffer_reserve(text, 65536);
        ssize_t got = read(fd, room, 65536);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            report_error(report, whole(path), "cannot be read: %s", strerror(errno));
            return false;
        }
        buffer_commit(text, (size_t)got);
        if (got == 0)
            return true;
        if (buffer_len(text) > TREE_BYTES) {
            report_error(report, whole(path), "larger than %zu MiB", TREE_BYTES / 1024 / 1024);
            return false;
        }
    }
}

/* *total counts the bytes of all files. */
static struct node *read_file(struct arena *arena, struct span path, size_t *total, struct trace *trace,
                              struct report *report)
{
    struct stat info;
    trace_path(trace, path);
    int fd = open(path.ptr, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &info) < 0 || !S_ISREG(info.st_mode)) {
        report_error(report, whole(path), fd < 0 ? "cannot be read: %s" : "is not a file", strerror(errno));
        if (fd >= 0)
            (void)close(fd);
        return NULL;
    }
    struct buffer text = {0};
    struct node *root = NULL;
    bool good = read_into(fd, path, &text, report);
    (void)close(fd);
    *total += buffer_len(&text);
    if (good && *total > TREE_BYTES) {
        report_error(report, whole(path), "all files together are larger than %zu MiB", TREE_BYTES / 1024 / 1024);
        good = false;
    }
    trace_content(trace, path, buffer_span(&text));
    if (good)
        root = source_text(arena, path, buffer_span(&text), report);
    buffer_finish(&text);
    return root;
}

static bool takes_name(struct span name)
{
    return name.len && name.ptr[0] != '.' &&
           (span_ends_with(name, SPAN(".yaml")) || span_ends_with(name, SPAN(".yml")));
}

static int takes(const struct dirent *entry)
{
    return takes_name(span_str(entry->d_name));
}

/* By bytes, not by locale: the same order on every machine. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* Of equal beginnings the shorter comes first. */
static int by_bytes(struct span a, struct span b)
{
    size_t shorter = a.len < b.len ? a.len : b.len;
    int order = shorter ? memcmp(a.ptr, b.ptr, shorter) : 0;
    return order ? order : a.len < b.len ? -1 : a.len > b.len;
}

static struct node *merge_files(struct arena *arena, struct span directory, struct dirent **entries, int count,
                                struct trace *trace, struct report *report)
{
    struct node *merged = NULL;
    size_t total = 0;
    const char *slash = directory.len && directory.ptr[directory.len - 1] == '/' ? "" : "/";
    for (int i = 0; i < count; i++) {
        struct span path = arena_format(arena, "%.*s%s%s", SPAN_ARG(directory), slash, entries[i]->d_name);
        struct node *root = read_file(arena, path, &total, trace, report);
        if (root && merged)
            tree_merge(merged, root, report);
        else if (root)
            merged = root;
    }
    return merged;
}

static struct node *read_directory(struct arena *arena, struct span path, struct trace *trace, struct report *report)
{
    struct dirent **entries = NULL;
    struct node *root = NULL;
    trace_path(trace, path);
    int count = scandir(path.ptr, &entries, takes, by_name);
    if (count < 0)
        report_error(report, whole(path), "cannot be read: %s", strerror(errno));
    else if (count == 0)
        report_error(report, whole(path), "holds no *.yaml or *.yml file");
    else if (count > SOURCE_FILES)
        report_error(report, whole(path), "holds more than %d files", SOURCE_FILES);
    else
        root = merge_files(arena, path, entries, count, trace, report);
    for (int i = 0; i < count; i++)
        free(entries[i]);
    free(entries);
    return root;
}

struct node *source_read(struct arena *arena, const char *path, struct trace *trace, struct report *report)
{
    struct span kept = arena_copy(arena, span_str(path));
    struct stat info;
    size_t total = 0;
    if (kept.len == 0) {
        report_error(report, PLACE_NONE, "no configuration is named; give a file or a directory");
        return NULL;
    }
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode))
        return read_directory(arena, kept, trace, report);
    return read_file(arena, kept, &total, trace, report);
}

/* ---- the same in memory ---- */

/* Where the directory's reader would find it: after those with smaller names. */
static const struct config_text *next_text(const struct config_text *texts, size_t count,
                                           const struct config_text *before)
{
    const struct config_text *next = NULL;
    for (size_t i = 0; i < count; i++) {
        const struct config_text *text = &texts[i];
        bool later = takes_name(text->name) && (!before || by_bytes(text->name, before->name) > 0);
        if (later && (!next || by_bytes(text->name, next->name) < 0))
            next = text;
    }
    return next;
}

struct node *source_texts(struct arena *arena, const struct config_text *texts, size_t count, struct report *report)
{
    struct node *merged = NULL;
    size_t total = 0, taken = 0;
    for (const struct config_text *text = NULL; (text = next_text(texts, count, text));) {
        if (++taken > SOURCE_FILES) {
            report_error(report, PLACE_NONE, "more than %d files", SOURCE_FILES);
            return NULL;
        }
        total += text->text.len;
        if (total > TREE_BYTES) {
            report_error(report, whole(text->name), "all files together are larger than %zu MiB",
                         TREE_BYTES / 1024 / 1024);
            return NULL;
        }
        struct node *root = source_text(arena, arena_copy(arena, text->name), text->text, report);
        if (root && merged)
            tree_merge(merged, root, report);
        else if (root)
            merged = root;
    }
    if (taken == 0)
        report_error(report, PLACE_NONE, "no *.yaml or *.yml file");
    return merged;
}
