/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/doors.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "gateway/worker.h"

unsigned doors_count(const struct snapshot *snapshot)
{
    return snapshot->listener_count + (snapshot->admin ? 1 : 0) + (snapshot->control ? 1 : 0);
}

/* ---- doors ---- */

static struct door *door_create(const struct listen_address *address, bool admin, unsigned worker_count)
{
    struct door *door = memory_zalloc(sizeof(*door));
    atomic_init(&door->refs, 1);
    door->address = *address;
    door->admin = admin;
    door->worker_count = worker_count;
    door->fds = memory_array(worker_count, sizeof(*door->fds));
    for (unsigned i = 0; i < worker_count; i++)
        atomic_init(&door->fds[i], -1);
    return door;
}

static struct door *door_ref(struct door *door)
{
    atomic_fetch_add_explicit(&door->refs, 1, memory_order_relaxed);
    return door;
}

static void door_unref(struct door *door)
{
    if (!door || atomic_fetch_sub_explicit(&door->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (unsigned i = 0; i < door->worker_count; i++)
        if (atomic_load(&door->fds[i]) >= 0)
            (void)close(atomic_load(&door->fds[i]));
    free((void *)door->fds);
    free(door);
}

static bool door_open(struct door *door, bool beside, struct net_error *error)
{
    int first = beside ? listener_bind_beside(&door->address, error) : listener_bind(&door->address, error);
    if (first < 0)
        return false;
    atomic_store(&door->fds[0], first);
    for (unsigned i = 1; !door->admin && i < door->worker_count; i++) {
        int fd = listener_bind_again(first, error);
        if (fd < 0)
            return false;
        atomic_store(&door->fds[i], fd);
    }
    return true;
}

static bool same_address(const struct listen_address *a, const struct listen_address *b)
{
    if (a->ip.family == ADDRESS_UNIX || b->ip.family == ADDRESS_UNIX)
        return a->ip.family == b->ip.family && strcmp(a->path, b->path) == 0;
    return a->ip.port == b->ip.port && address_same_host(&a->ip, &b->ip);
}

static bool is_any(const struct address *ip)
{
    struct address any = {.family = ip->family};
    return address_same_host(ip, &any);
}

/* 0.0.0.0:4611 beside 127.0.0.1:4611: while one takes the other's place both are open, which is no other's address. */
static bool is_beside(const struct round *before, const struct listen_address *address)
{
    for (unsigned i = 0; before && i < before->count; i++) {
        const struct address *own = &before->doors[i].door->address.ip;
        bool overlaps = address_same_host(own, &address->ip) || is_any(own) || is_any(&address->ip);
        if (own->family == address->ip.family && own->port == address->ip.port && own->port != 0 && overlaps)
            return true;
    }
    return false;
}

/* ---- what a listener wants ---- */

static const struct setting_address *address_of(const struct snapshot *snapshot, const struct listener_use *use)
{
    const struct config_admin *admin = &snapshot->config->admin;
    return use->config ? &use->config->address : use->control ? &admin->control : &admin->address;
}

static struct place place_of(const struct snapshot *snapshot, const struct listener_use *use)
{
    return use->config ? settings_place(&use->config->settings, "address")
                       : settings_place(&snapshot->config->admin.settings, use->control ? "control" : "address");
}

static bool same_tls(const struct listener_use *a, const struct listener_use *b)
{
    const struct config_listener_tls *x = a->config ? a->config->tls : NULL, *y = b->config ? b->config->tls : NULL;
    if (!x || !y)
        return x == y;
    return span_equal(x->certificate, y->certificate) && span_equal(x->key, y->key) &&
           span_equal(x->client_ca, y->client_ca) && x->client_certificate == y->client_certificate &&
           x->min_version == y->min_version && a->config->http2 == b->config->http2;
}

static struct tls_context *make_tls(const struct listener_use *use, struct net_error *error)
{
    const struct config_listener_tls *tls = use->config->tls;
    struct tls_options options = {.role = TLS_SERVER,
                                  .certificate = tls->certificate.ptr,
                                  .key = tls->key.ptr,
                                  .ca = tls->client_ca.len ? tls->client_ca.ptr : NULL,
                                  .client_certificate_required = tls->client_certificate == CLIENT_CERTIFICATE_REQUIRED,
                                  .tls13_only = tls->min_version == TLS_VERSION_1_3,
                                  .alpn = use->config->http2 ? "h2,http/1.1" : "http/1.1"};
    return tls_context_create(&options, error);
}

/* ---- rounds ---- */

/* The n-th door of `before` with this address that this round does not have yet; -1: none. */
static int find_door(const struct round *before, const struct round *round, const struct listen_address *address,
                     bool admin)
{
    for (unsigned i = 0; before && i < before->count; i++) {
        bool taken = false;
        for (unsigned k = 0; k < round->count; k++)
            taken |= round->doors[k].door == before->doors[i].door;
        const struct door *door = before->doors[i].door;
        if (!taken && door->admin == admin && same_address(&door->address, address))
            return (int)i;
    }
    return -1;
}

static bool add_tls(struct round_door *entry, const struct listener_use *use, const struct round *before, int old,
                    struct net_error *error)
{
    if (!use->config || !use->config->tls)
        return true;
    if (old >= 0 && before->doors[old].tls && same_tls(use, &before->snapshot->listeners[old]))
        entry->tls = tls_context_ref(before->doors[old].tls);
    else
        entry->tls = make_tls(use, error);
    return entry->tls != NULL;
}

static bool add_door(struct round *round, const struct listener_use *use, const struct round *before,
                     unsigned worker_count, struct net_error *error)
{
    struct listen_address address;
    struct round_door *entry = &round->doors[round->count];
    if (!listen_address_parse(address_of(round->snapshot, use)->text, &address, error))
        return false;
    address.mode = use->config ? use->config->mode : 0600;
    int old = find_door(before, round, &address, use->admin);
    if (old >= 0)
        entry->door = door_ref(before->doors[old].door);
    else
        entry->door = door_create(&address, use->admin, worker_count);
    round->count++;
    return (old >= 0 || door_open(entry->door, is_beside(before, &address), error)) &&
           add_tls(entry, use, before, old, error);
}

/* The file of a socket that stays gets the mode that is wanted now. */
static void set_modes(const struct round *round)
{
    for (unsigned i = 0; i < round->count; i++) {
        struct door *door = round->doors[i].door;
        const struct config_listener *config = round->snapshot->listeners[i].config;
        if (!config || !door->address.path[0] || door->address.mode == config->mode)
            continue;
        if (chmod(door->address.path, config->mode) == 0)
            door->address.mode = config->mode;
    }
}

struct round *round_create(struct snapshot *snapshot, unsigned worker_count, const struct round *before,
                           struct report *report)
{
    struct round *round = memory_zalloc(sizeof(*round));
    atomic_init(&round->refs, 1);
    round->snapshot = snapshot_ref(snapshot);
    round->doors = memory_array(doors_count(snapshot) + 1, sizeof(*round->doors));
    bool good = true;
    for (unsigned i = 0; good && i < doors_count(snapshot); i++) {
        struct net_error error;
        const struct listener_use *use = &snapshot->listeners[i];
        good = add_door(round, use, before, worker_count, &error);
        if (!good)
            report_error(report, place_of(snapshot, use), "%.*s: %s", SPAN_ARG(address_of(snapshot, use)->text),
                         error.text);
    }
    if (good) {
        set_modes(round);
        return round;
    }
    /* The files of sockets that were opened just now go with them. */
    for (unsigned i = 0; i < round->count; i++) {
        const struct door *door = round->doors[i].door;
        if (atomic_load(&door->refs) == 1 && door->address.path[0] && atomic_load(&door->fds[0]) >= 0)
            (void)unlink(door->address.path);
    }
    round_unref(round);
    return NULL;
}

struct round *round_ref(struct round *round)
{
    atomic_fetch_add_explicit(&round->refs, 1, memory_order_relaxed);
    return round;
}

void round_unref(struct round *round)
{
    if (!round || atomic_fetch_sub_explicit(&round->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (unsigned i = 0; i < round->count; i++) {
        tls_context_unref(round->doors[i].tls);
        door_unref(round->doors[i].door);
    }
    free(round->doors);
    snapshot_unref(round->snapshot);
    free(round);
}

/* ---- a worker ---- */

static int index_of(const struct round *round, const struct door *door)
{
    for (unsigned i = 0; i < round->count; i++)
        if (round->doors[i].door == door)
            return (int)i;
    return -1;
}

void round_take(struct round *round, struct worker *worker)
{
    struct snapshot *before = snapshot_ref(worker->snapshot);
    if (round->snapshot != before)
        worker_adopt(worker, round->snapshot);
    for (struct worker_listener *listener = worker->listeners; listener; listener = listener->next) {
        int at = listener->leaving ? -1 : index_of(round, listener->door);
        if (at >= 0)
            worker_relisten(listener, &round->snapshot->listeners[at], round->doors[at].tls);
        else if (!listener->leaving)
            worker_unlisten(listener, before, worker->index == 0);
    }
    for (unsigned i = 0; i < round->count; i++) {
        struct round_door *entry = &round->doors[i];
        int fd = atomic_exchange(&entry->door->fds[worker->index], -1);
        if (fd >= 0)
            worker_listen(worker, &round->snapshot->listeners[i], fd, entry->tls)->door = entry->door;
    }
    snapshot_unref(before);
}

void round_reload_certificates(const struct round *round)
{
    for (unsigned i = 0; i < round->count; i++) {
        struct net_error error;
        if (!round->doors[i].tls)
            continue;
        enum tls_reload result = tls_context_reload(round->doors[i].tls, &error);
        struct span name = round->snapshot->listeners[i].name;
        if (result == TLS_RELOADED)
            log_write(LOG_INFO, "tls", "%.*s: new certificate in force", SPAN_ARG(name));
        else if (result == TLS_KEPT)
            log_write(LOG_ERROR, "tls", "%.*s: certificate not reloaded: %s", SPAN_ARG(name), error.text);
    }
    for (unsigned i = 0; i < round->snapshot->target_count; i++) {
        struct net_error error;
        struct target *target = &round->snapshot->targets[i];
        if (target->tls && tls_context_reload(target->tls, &error) == TLS_KEPT)
            log_write(LOG_ERROR, "tls", "target %.*s: CA not reloaded: %s", SPAN_ARG(target->name), error.text);
    }
}
