/* SPDX-License-Identifier: Apache-2.0 */
#include "net/changes.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/list.h"
#include "base/log.h"
#include "base/memory.h"
#include "net/loop.h"
#include "net/watch.h"

/* Not IN_MODIFY: a file that is being written is of no use before it is closed. */
#define EVENTS                                                                                                         \
    (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF)
#define LINKS_MOST 40

/* One name in a watched directory; or, with an empty name, all of them. */
struct spot {
    struct list link;
    int directory;
    unsigned walk; /* the last one that came by */
    char *path;    /* of the directory */
    char *name;
};

/* What a look at a path saw. All zero: it is not there. */
struct sight {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed, modified;
};

struct changes {
    struct loop *loop;
    changes_fn *fn;
    void *arg;
    int fd;
    struct watch *watch;
    struct list spots;
    unsigned walk;
    char **paths;
    struct sight *sights;
    size_t count;
    struct timer quiet, look;
    uint64_t first; /* change not yet told of, loop time; 0: none */
    bool unsettled; /* the last look saw a change: the next one tells whether it is over */
    bool blind;     /* a directory cannot be watched, though it is there */
};

/* ---- looking ---- */

static struct sight look_at(const char *path)
{
    struct stat info;
    struct sight sight;
    memset(&sight, 0, sizeof(sight)); /* compared as bytes */
    if (stat(path, &info) != 0)
        return sight;
    sight.device = info.st_dev;
    sight.inode = info.st_ino;
    sight.size = info.st_size;
    sight.changed = info.st_ctim;
    sight.modified = info.st_mtim;
    return sight;
}

/* True: something is not as it was at the last look. */
static bool look(struct changes *changes)
{
    bool other = false;
    for (size_t i = 0; i < changes->count; i++) {
        struct sight now = look_at(changes->paths[i]);
        if (memcmp(&now, &changes->sights[i], sizeof(now)) != 0)
            other = true;
        changes->sights[i] = now;
    }
    return other;
}

/* ---- telling ---- */

static void noticed(struct changes *changes)
{
    uint64_t now = loop_now(changes->loop);
    if (!changes->first)
        changes->first = now ? now : 1;
    uint64_t due = now + CHANGES_QUIET, latest = changes->first + CHANGES_MOST;
    timer_set(changes->loop, &changes->quiet, due < latest ? due : latest);
}

/* ---- spots ---- */

static void free_spot(struct spot *spot)
{
    list_remove(&spot->link);
    free(spot->path);
    free(spot->name);
    free(spot);
}

static bool is_watched(const struct changes *changes, int directory)
{
    LIST_EACH(&changes->spots, link)
    if (CONTAINER_OF(link, struct spot, link)->directory == directory)
        return true;
    return false;
}

/* `name` NULL: all there is in it. */
static void add_spot(struct changes *changes, const char *path, const char *name)
{
    if (changes->fd < 0)
        return;
    int directory = inotify_add_watch(changes->fd, path, EVENTS | IN_ONLYDIR);
    if (directory < 0) {
        /* Not gone again: watches have run out, or it may be entered but not read. Then looking must do. */
        changes->blind |= errno != ENOENT && errno != ENOTDIR;
        return;
    }
    struct spot *spot = memory_zalloc(sizeof(*spot));
    spot->directory = directory;
    spot->walk = changes->walk;
    spot->path = memory_string(span_str(path));
    spot->name = name ? memory_string(span_str(name)) : NULL;
    list_append(&changes->spots, &spot->link);
}

/* Puts `name` behind `folder`, in `path`. False: too long. */
static bool join(char path[PATH_MAX], const char *folder, const char *name)
{
    const char *slash = folder[0] && folder[strlen(folder) - 1] == '/' ? "" : "/";
    int len = snprintf(path, PATH_MAX, "%s%s%s", folder, slash, name);
    return len > 0 && len < PATH_MAX;
}

struct walk {
    char folder[PATH_MAX]; /* where it stands */
    char rest[PATH_MAX];   /* what is still to go */
    char name[NAME_MAX + 1];
    unsigned links;
};

/* The next part of the rest goes into `name`. False: there is none. */
static bool next_part(struct walk *walk)
{
    const char *begin = walk->rest + strspn(walk->rest, "/");
    size_t len = strcspn(begin, "/");
    if (len == 0 || len > NAME_MAX)
        return false;
    memcpy(walk->name, begin, len);
    walk->name[len] = '\0';
    memmove(walk->rest, begin + len, strlen(begin + len) + 1);
    return true;
}

static void stand(struct walk *walk, const char *path)
{
    (void)snprintf(walk->folder, sizeof(walk->folder), "%s", path[0] == '/' ? "/" : ".");
}

/* `at` is a link: what it says comes before the rest. False: that leads nowhere. */
static bool follow(struct walk *walk, const char *at)
{
    char target[PATH_MAX], rest[PATH_MAX];
    ssize_t len = readlink(at, target, sizeof(target) - 1);
    if (len <= 0 || ++walk->links > LINKS_MOST)
        return false;
    target[len] = '\0';
    if (!join(rest, target, walk->rest))
        return false;
    memcpy(walk->rest, rest, sizeof(rest));
    if (target[0] == '/')
        stand(walk, target);
    return true;
}

static bool is_last(const struct walk *walk)
{
    return walk->rest[strspn(walk->rest, "/")] == '\0';
}

/*
 * Goes along the path as the kernel would. Watched is each place whose change would lead elsewhere: a link, the end,
 * and where something is missing. Directories on the way are not: what replaces them is rare, and looking sees it.
 */
static void walk_along(struct changes *changes, const char *path)
{
    struct walk walk = {.links = 0};
    struct stat info;
    char at[PATH_MAX];
    stand(&walk, path);
    (void)snprintf(walk.rest, sizeof(walk.rest), "%s", path);
    while (next_part(&walk)) {
        if (!join(at, walk.folder, walk.name))
            return;
        bool there = lstat(at, &info) == 0, is_link = there && S_ISLNK(info.st_mode);
        if (!there || is_link || is_last(&walk))
            add_spot(changes, walk.folder, walk.name);
        if (!there || (is_link && !follow(&walk, at)))
            return;
        if (!is_link)
            memcpy(walk.folder, at, sizeof(at));
    }
    if (stat(walk.folder, &info) == 0 && S_ISDIR(info.st_mode))
        add_spot(changes, walk.folder, NULL);
}

/* Where the paths lead now. What they led to before is let go of afterwards, so that nothing is missed in between. */
static void walk_all(struct changes *changes)
{
    bool before = changes->blind;
    changes->walk++;
    changes->blind = false;
    for (size_t i = 0; i < changes->count; i++)
        walk_along(changes, changes->paths[i]);
    LIST_EACH(&changes->spots, link)
    {
        struct spot *spot = CONTAINER_OF(link, struct spot, link);
        if (spot->walk == changes->walk)
            continue;
        int directory = spot->directory;
        free_spot(spot);
        /* Of one that is gone already the kernel only says so. */
        if (!is_watched(changes, directory))
            (void)inotify_rm_watch(changes->fd, directory);
    }
    if (changes->blind && !before)
        log_write(LOG_WARNING, "config", "a directory cannot be watched (inotify): files are looked at every %llu ms",
                  (unsigned long long)(CHANGES_LOOK_OFTEN / 1000));
}

/* ---- what the kernel tells ---- */

/* A plain file that has just come is empty: its writer's close is the event to wait for. */
static bool is_unwritten(const struct spot *spot, const char *name)
{
    char path[PATH_MAX];
    struct stat info;
    return join(path, spot->path, name) && lstat(path, &info) == 0 && S_ISREG(info.st_mode) && info.st_nlink == 1;
}

static bool concerns(const struct changes *changes, const struct inotify_event *event)
{
    if (event->mask & (IN_Q_OVERFLOW | IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF))
        return (event->mask & IN_Q_OVERFLOW) || is_watched(changes, event->wd);
    if (event->len == 0)
        return false; /* the directory's own attributes */
    LIST_EACH(&changes->spots, link)
    {
        const struct spot *spot = CONTAINER_OF(link, struct spot, link);
        if (spot->directory == event->wd && (!spot->name || strcmp(spot->name, event->name) == 0))
            return !(event->mask & IN_CREATE) || !is_unwritten(spot, event->name);
    }
    return false;
}

static void readable(void *arg, unsigned ready)
{
    (void)ready;
    struct changes *changes = arg;
    _Alignas(struct inotify_event) char bytes[4096];
    ssize_t got;
    bool any = false;
    while ((got = read(changes->fd, bytes, sizeof(bytes))) > 0)
        for (ssize_t at = 0; at < got;) {
            const struct inotify_event *event = (const struct inotify_event *)(const void *)(bytes + at);
            any |= concerns(changes, event);
            at += (ssize_t)(sizeof(*event) + event->len);
        }
    if (any)
        noticed(changes);
}

/* ---- timers ---- */

static uint64_t pause_of(const struct changes *changes)
{
    return changes_told(changes) ? CHANGES_LOOK_SELDOM : CHANGES_LOOK_OFTEN;
}

static void settled(struct timer *timer)
{
    struct changes *changes = CONTAINER_OF(timer, struct changes, quiet);
    changes->first = 0;
    /* Before the reading: what changes from here on is told again. */
    walk_all(changes);
    (void)look(changes);
    changes->unsettled = false;
    timer_set(changes->loop, &changes->look, loop_now(changes->loop) + pause_of(changes));
    changes->fn(changes->arg);
}

static void due(struct timer *timer)
{
    struct changes *changes = CONTAINER_OF(timer, struct changes, look);
    bool other = look(changes);
    /* A file found half written would be read so: it is taken when it looks the same twice. */
    if (!other && changes->unsettled)
        noticed(changes);
    changes->unsettled = other;
    timer_set(changes->loop, timer, loop_now(changes->loop) + (other ? CHANGES_MOST : pause_of(changes)));
}

/* ---- life ---- */

struct changes *changes_create(struct loop *loop, bool look_only, changes_fn *fn, void *arg)
{
    struct changes *changes = memory_zalloc(sizeof(*changes));
    changes->loop = loop;
    changes->fn = fn;
    changes->arg = arg;
    changes->quiet.fire = settled;
    changes->look.fire = due;
    list_init(&changes->spots);
    changes->fd = look_only ? -1 : inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (changes->fd >= 0) {
        changes->watch = watch_create(loop, changes->fd, readable, changes);
        watch_want(changes->watch, WATCH_READ);
    } else if (!look_only) {
        log_write(LOG_WARNING, "config", "no inotify (%s): files are looked at every %llu ms instead", strerror(errno),
                  (unsigned long long)(CHANGES_LOOK_OFTEN / 1000));
    }
    return changes;
}

static void forget_paths(struct changes *changes)
{
    for (size_t i = 0; i < changes->count; i++)
        free(changes->paths[i]);
    free(changes->paths);
    free(changes->sights);
    changes->count = 0;
}

static bool same_paths(const struct changes *changes, const struct span *paths, size_t count)
{
    if (changes->count != count)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!span_equal(span_str(changes->paths[i]), paths[i]))
            return false;
    return true;
}

void changes_set(struct changes *changes, const struct span *paths, size_t count)
{
    if (same_paths(changes, paths, count))
        return;
    forget_paths(changes);
    changes->paths = memory_array(count + 1, sizeof(*changes->paths));
    changes->sights = memory_array(count + 1, sizeof(*changes->sights));
    changes->count = count;
    for (size_t i = 0; i < count; i++)
        changes->paths[i] = memory_string(paths[i]);
    walk_all(changes);
    (void)look(changes);
    noticed(changes);
    timer_set(changes->loop, &changes->look, loop_now(changes->loop) + pause_of(changes));
}

bool changes_told(const struct changes *changes)
{
    return changes->fd >= 0 && !changes->blind;
}

void changes_destroy(struct changes *changes)
{
    if (!changes)
        return;
    timer_clear(changes->loop, &changes->quiet);
    timer_clear(changes->loop, &changes->look);
    LIST_EACH(&changes->spots, link)
    free_spot(CONTAINER_OF(link, struct spot, link));
    watch_destroy(changes->watch);
    if (changes->fd >= 0)
        (void)close(changes->fd);
    forget_paths(changes);
    free(changes);
}
