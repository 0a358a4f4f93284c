/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/list.h"
#include "base/log.h"
#include "base/memory.h"
#include "gateway/keys.h"

/* What tells that a file is another: a mounted Secret changes its inode, an editor the time or the size. */
struct version {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed, modified;
};

struct key_store {
    struct list link;
    char *path;
    unsigned refs;
    struct keys *keys;       /* the last good */
    struct version version;  /* last looked at, good or broken */
    pthread_t thread;        /* joinable while `loading` */
    struct version incoming; /* of the load under way */
    bool loading, loaded;
};

/*
 * The stores of the process: workers share them, since a hundred thousand keys per worker would be a waste. The lock is
 * taken once a second and worker, never for a request.
 */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct list stores = {&stores, &stores};

static bool look(const char *path, struct version *ret)
{
    struct stat info;
    memset(ret, 0, sizeof(*ret));
    if (stat(path, &info) != 0)
        return false;
    ret->device = info.st_dev;
    ret->inode = info.st_ino;
    ret->size = info.st_size;
    ret->changed = info.st_ctim;
    ret->modified = info.st_mtim;
    return true;
}

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool same(const struct version *a, const struct version *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size && same_time(a->changed, b->changed) &&
           same_time(a->modified, b->modified);
}

/* Loads and says in the log what is wrong. */
static struct keys *load(const char *path, bool first)
{
    struct report report;
    struct buffer text = {0};
    report_init(&report);
    struct keys *keys = keys_load(path, &report);
    if (!keys) {
        report_print(&report, &text);
        struct span rest = buffer_span(&text), line;
        while (rest.len && span_split(&rest, '\n', &line))
            if (line.len)
                log_write(LOG_ERROR, "keys", "%.*s%s", SPAN_ARG(line),
                          first ? "" : "; the keys read before stay in force");
    } else if (!first) {
        log_write(LOG_INFO, "keys", "%s: %zu keys", path, keys_count(keys));
    }
    buffer_finish(&text);
    report_finish(&report);
    return keys;
}

static struct key_store *find(struct span path)
{
    LIST_EACH(&stores, link)
    {
        struct key_store *store = CONTAINER_OF(link, struct key_store, link);
        if (span_equal(span_str(store->path), path))
            return store;
    }
    return NULL;
}

struct key_store *key_store_open(struct span path)
{
    pthread_mutex_lock(&lock);
    struct key_store *store = find(path);
    if (!store) {
        store = memory_zalloc(sizeof(*store));
        store->path = memory_string(path);
        (void)look(store->path, &store->version);
        store->keys = load(store->path, true);
        if (store->keys) {
            list_append(&stores, &store->link);
        } else {
            free(store->path);
            free(store);
            store = NULL;
        }
    }
    if (store)
        store->refs++;
    pthread_mutex_unlock(&lock);
    return store;
}

static void *load_thread(void *arg)
{
    struct key_store *store = arg;
    struct keys *fresh = load(store->path, false);
    pthread_mutex_lock(&lock);
    struct keys *old = fresh ? store->keys : NULL;
    if (fresh)
        store->keys = fresh;
    store->loaded = true;
    pthread_mutex_unlock(&lock);
    keys_unref(old);
    memory_blocks_drop();
    return NULL;
}

/* With the lock held, which is left meanwhile: waits for a load under way. */
static void join(struct key_store *store)
{
    if (!store->loading)
        return;
    pthread_t thread = store->thread;
    pthread_mutex_unlock(&lock);
    (void)pthread_join(thread, NULL);
    pthread_mutex_lock(&lock);
    store->loading = store->loaded = false;
    store->version = store->incoming;
}

void key_store_close(struct key_store *store)
{
    if (!store)
        return;
    pthread_mutex_lock(&lock);
    if (--store->refs > 0) {
        pthread_mutex_unlock(&lock);
        return;
    }
    list_remove(&store->link); /* from here on nobody else can have it */
    join(store);
    pthread_mutex_unlock(&lock);
    keys_unref(store->keys);
    free(store->path);
    free(store);
}

void key_store_poll(struct key_store *store)
{
    struct version now;
    bool there = look(store->path, &now);
    pthread_mutex_lock(&lock);
    if (store->loading && store->loaded) {
        store->loading = store->loaded = false;
        store->version = store->incoming;
        (void)pthread_join(store->thread, NULL); /* it has no more to do that needs the lock */
    }
    /* A file that is gone for a moment, between two of an editor's steps, is not worth a word. */
    if (there && !store->loading && !same(&now, &store->version)) {
        store->incoming = now;
        store->loading = pthread_create(&store->thread, NULL, load_thread, store) == 0;
    }
    pthread_mutex_unlock(&lock);
}

struct keys *key_store_renew(struct key_store *store, struct keys *held)
{
    pthread_mutex_lock(&lock);
    struct keys *now = store->keys;
    if (now != held)
        (void)keys_ref(now);
    pthread_mutex_unlock(&lock);
    if (now != held)
        keys_unref(held);
    return now;
}

void key_store_settle(struct key_store *store)
{
    pthread_mutex_lock(&lock);
    join(store);
    pthread_mutex_unlock(&lock);
}
