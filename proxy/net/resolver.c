/* SPDX-License-Identifier: Apache-2.0 */
#include "net/resolver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ares.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/table.h"
#include "net/loop.h"
#include "net/watch.h"

#define FLOOR    (5 * CLOCK_SECOND)
#define CEILING  (300 * CLOCK_SECOND)
#define NEGATIVE (2 * CLOCK_SECOND)
#define TIMEOUT  (5 * CLOCK_SECOND)
/* Who has an address that was good waits no longer than this for a better one. */
#define PATIENCE (500 * CLOCK_MS)
#define NAMES    1024
/* DNS names have at most 253 characters (RFC 1035 section 2.3.4); one more for a final dot. */
#define HOST_MAX 254
/* c-ares doubles the time of a try per round: of a third of the timeout two tries of one server take all of it. */
#define TRIES      2
#define TRIES_TAKE 3

struct lookup_name {
    struct list link; /* on resolver->recent, the least recently used first */
    struct resolver *resolver;
    char *host;
    struct list waiting; /* lookups */
    bool asking, destroyed;
    bool telling;     /* its addresses are being read by somebody's `done` */
    uint64_t expires; /* of the answer, good or bad */
    const char *why;  /* no answer: the reason */
    size_t count;
    struct address addresses[RESOLVER_ADDRESSES];
};

/* A socket of c-ares. */
struct dns_socket {
    struct list link;
    struct resolver *resolver;
    ares_socket_t fd;
    struct watch *watch;
};

struct resolver {
    struct loop *loop;
    uint64_t floor, ceiling, negative, timeout;
    size_t most;
    char *servers;
    bool started;
    ares_channel channel;
    struct timer timer;
    struct list sockets;
    struct table names;
    struct list recent;
};

/* ---- c-ares on the loop ---- */

static void arm_timer(struct resolver *resolver)
{
    struct timeval span;
    if (!ares_timeout(resolver->channel, NULL, &span)) {
        timer_clear(resolver->loop, &resolver->timer);
        return;
    }
    uint64_t us = (uint64_t)span.tv_sec * CLOCK_SECOND + (uint64_t)span.tv_usec;
    timer_set(resolver->loop, &resolver->timer, loop_now(resolver->loop) + us + 1);
}

static void dns_timeout(struct timer *timer)
{
    struct resolver *resolver = CONTAINER_OF(timer, struct resolver, timer);
    ares_process_fd(resolver->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    arm_timer(resolver);
}

static void dns_ready(void *arg, unsigned ready)
{
    struct dns_socket *dns = arg;
    struct resolver *resolver = dns->resolver;
    ares_process_fd(resolver->channel, ready & WATCH_READ ? dns->fd : ARES_SOCKET_BAD,
                    ready & WATCH_WRITE ? dns->fd : ARES_SOCKET_BAD);
    arm_timer(resolver);
}

static struct dns_socket *dns_socket_find(struct resolver *resolver, ares_socket_t fd)
{
    LIST_EACH(&resolver->sockets, link)
    {
        struct dns_socket *dns = CONTAINER_OF(link, struct dns_socket, link);
        if (dns->fd == fd)
            return dns;
    }
    return NULL;
}

/* c-ares says what it wants of a socket; nothing means that it closes it next. */
static void dns_interest(void *arg, ares_socket_t fd, int readable, int writable)
{
    struct resolver *resolver = arg;
    struct dns_socket *dns = dns_socket_find(resolver, fd);
    if (!readable && !writable) {
        if (!dns)
            return;
        list_remove(&dns->link);
        watch_destroy(dns->watch);
        loop_bury(resolver->loop, dns, free);
        return;
    }
    if (!dns) {
        dns = memory_zalloc(sizeof(*dns));
        dns->resolver = resolver;
        dns->fd = fd;
        dns->watch = watch_create(resolver->loop, fd, dns_ready, dns);
        list_append(&resolver->sockets, &dns->link);
    }
    watch_want(dns->watch, (readable ? WATCH_READ : 0u) | (writable ? WATCH_WRITE : 0u));
}

static bool start(struct resolver *resolver)
{
    if (resolver->started)
        return true;
    uint64_t try_ms = resolver->timeout / TRIES_TAKE / CLOCK_MS;
    struct ares_options options = {.timeout = try_ms ? (int)try_ms : 1,
                                   .tries = TRIES,
                                   .sock_state_cb = dns_interest,
                                   .sock_state_cb_data = resolver};
    int chosen = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB;
#ifdef ARES_OPT_QUERY_CACHE
    /* c-ares 1.31 and later keep answers by themselves, beyond resolver_flush() and our own limits of time. */
    chosen |= ARES_OPT_QUERY_CACHE;
    options.qcache_max_ttl = 0;
#endif
    int status = ares_library_init(ARES_LIB_INIT_ALL);
    if (status == ARES_SUCCESS)
        status = ares_init_options(&resolver->channel, &options, chosen);
    if (status != ARES_SUCCESS) {
        log_write(LOG_ERROR, "resolver", "c-ares does not start: %s", ares_strerror(status));
        return false;
    }
    if (resolver->servers && ares_set_servers_ports_csv(resolver->channel, resolver->servers) != ARES_SUCCESS)
        log_write(LOG_ERROR, "resolver", "DNS servers \"%s\" are not valid", resolver->servers);
    resolver->started = true;
    return true;
}

/* ---- answers ---- */

static void tell(struct lookup_name *name, struct lookup *lookup)
{
    name->telling = true;
    lookup->done(lookup, name->addresses, name->count, name->count ? "" : name->why);
    name->telling = false;
}

static void deliver(struct task *task)
{
    struct lookup *lookup = CONTAINER_OF(task, struct lookup, task);
    struct lookup_name *name = lookup->name;
    list_remove(&lookup->link);
    pending_complete(&lookup->pending);
    if (!name)
        lookup->done(lookup, &lookup->literal, lookup->literal.family != ADDRESS_NONE, "not a host name");
    else
        tell(name, lookup);
}

static const char *reason(int status)
{
    switch (status) {
    case ARES_ENOTFOUND:
        return "no such host";
    case ARES_ENODATA:
        return "the host has no address";
    case ARES_ETIMEOUT:
        return "dns timed out";
    case ARES_ECONNREFUSED:
        return "no dns server gave an answer"; /* also after SERVFAIL from all of them */
    case ARES_ESERVFAIL:
        return "dns server failed";
    case ARES_EREFUSED:
        return "dns server refused";
    default:
        return ares_strerror(status);
    }
}

/* DNS lets somebody wait: what was good before is taken, and by others at once; else that is the reason. */
static void lookup_late(struct pending *pending)
{
    struct lookup *lookup = CONTAINER_OF(pending, struct lookup, pending);
    struct lookup_name *name = lookup->name;
    uint64_t now = loop_now(lookup->resolver->loop);
    task_cancel(&lookup->task);
    list_remove(&lookup->link);
    if (now >= name->expires) {
        name->why = reason(ARES_ETIMEOUT);
        if (name->count) {
            name->expires = now + lookup->resolver->negative;
            log_write(LOG_WARNING, "resolver", "%s: %s; the last known addresses stay in use", name->host, name->why);
        }
    }
    tell(name, lookup);
}

/* Takes over the addresses of one family; returns the least TTL seen. */
static uint64_t take_family(struct lookup_name *name, const struct ares_addrinfo *info, int family, uint64_t ttl)
{
    for (const struct ares_addrinfo_node *node = info->nodes; node; node = node->ai_next) {
        if (node->ai_family != family || name->count == RESOLVER_ADDRESSES)
            continue;
        struct address address = address_from_sockaddr(node->ai_addr, node->ai_addrlen);
        address.port = 0;
        name->addresses[name->count++] = address;
        uint64_t own = node->ai_ttl > 0 ? (uint64_t)node->ai_ttl * CLOCK_SECOND : 0;
        ttl = own < ttl ? own : ttl;
    }
    return ttl;
}

static void answer_good(struct lookup_name *name, const struct ares_addrinfo *info)
{
    struct resolver *resolver = name->resolver;
    name->count = 0;
    uint64_t ttl = take_family(name, info, AF_INET6, resolver->ceiling);
    ttl = take_family(name, info, AF_INET, ttl);
    ttl = ttl > resolver->floor ? ttl : resolver->floor;
    name->expires = loop_now(resolver->loop) + (ttl < resolver->ceiling ? ttl : resolver->ceiling);
    name->why = "the host has no address";
}

static void answer_bad(struct lookup_name *name, int status)
{
    name->expires = loop_now(name->resolver->loop) + name->resolver->negative;
    name->why = reason(status);
    /* The name itself is gone: believe it. Otherwise DNS is ill, and the last good answer is the best there is. */
    if (status == ARES_ENOTFOUND || status == ARES_ENODATA)
        name->count = 0;
    else if (name->count)
        log_write(LOG_WARNING, "resolver", "%s: %s; the last known addresses stay in use", name->host, name->why);
}

static void name_free(struct lookup_name *name)
{
    free(name->host);
    free(name);
}

static void answered(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
    (void)timeouts;
    struct lookup_name *name = arg;
    name->asking = false;
    if (status == ARES_SUCCESS && info->nodes)
        answer_good(name, info);
    else if (!name->destroyed)
        answer_bad(name, status == ARES_SUCCESS ? ARES_ENODATA : status);
    if (info)
        ares_freeaddrinfo(info);
    LIST_EACH(&name->waiting, link)
    {
        loop_post(name->resolver->loop, &CONTAINER_OF(link, struct lookup, link)->task);
    }
}

/* ---- names ---- */

static void forget(struct lookup_name *name)
{
    (void)table_remove(&name->resolver->names, span_str(name->host));
    list_remove(&name->link);
    name_free(name);
}

static void make_room(struct resolver *resolver)
{
    LIST_EACH(&resolver->recent, link)
    {
        struct lookup_name *name = CONTAINER_OF(link, struct lookup_name, link);
        if (resolver->names.count < resolver->most)
            return;
        if (!name->asking && !name->telling && list_empty(&name->waiting))
            forget(name);
    }
}

/* Lower case, one final dot kept as it is. False when it cannot be a host name. */
static bool normal_host(struct span host, char into[HOST_MAX + 1])
{
    if (host.len == 0 || host.len > HOST_MAX)
        return false;
    for (size_t i = 0; i < host.len; i++) {
        char c = host.ptr[i];
        if (c <= ' ' || c == 0x7f)
            return false;
        into[i] = c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
    }
    into[host.len] = 0;
    return true;
}

static struct lookup_name *name_of(struct resolver *resolver, struct span host)
{
    char normal[HOST_MAX + 1];
    if (!normal_host(host, normal))
        return NULL;
    struct lookup_name *name = table_get(&resolver->names, span_str(normal));
    if (name) {
        list_remove(&name->link);
    } else {
        make_room(resolver);
        name = memory_zalloc(sizeof(*name));
        name->resolver = resolver;
        name->host = memory_string(span_str(normal));
        list_init(&name->waiting);
        (void)table_put(&resolver->names, span_str(name->host), name);
    }
    list_append(&resolver->recent, &name->link);
    return name;
}

static void ask(struct lookup_name *name)
{
    struct resolver *resolver = name->resolver;
    struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_flags = ARES_AI_NOSORT, .ai_socktype = SOCK_STREAM};
    name->asking = true;
    if (!start(resolver)) {
        answered(name, ARES_ENOTINITIALIZED, 0, NULL);
        return;
    }
    ares_getaddrinfo(resolver->channel, name->host, NULL, &hints, answered, name);
    arm_timer(resolver);
}

/* ---- lookups ---- */

static void lookup_cancel(struct pending *pending)
{
    struct lookup *lookup = CONTAINER_OF(pending, struct lookup, pending);
    task_cancel(&lookup->task);
    list_remove(&lookup->link);
}

void resolver_lookup(struct resolver *resolver, struct lookup *lookup, struct span host, struct list *list)
{
    lookup->resolver = resolver;
    lookup->name = NULL;
    lookup->literal = (struct address){.family = ADDRESS_NONE};
    lookup->task.run = deliver;
    if (!address_parse(host, &lookup->literal))
        lookup->name = name_of(resolver, host);
    struct lookup_name *name = lookup->name;
    if (!name) {
        pending_start(list, &lookup->pending, resolver->loop, 0, NULL, lookup_cancel);
        loop_post(resolver->loop, &lookup->task);
        return;
    }
    uint64_t now = loop_now(resolver->loop);
    bool hasty = name->count && PATIENCE < resolver->timeout;
    pending_start(list, &lookup->pending, resolver->loop, now + (hasty ? PATIENCE : resolver->timeout), lookup_late,
                  lookup_cancel);
    list_append(&name->waiting, &lookup->link);
    if (now < name->expires)
        loop_post(resolver->loop, &lookup->task);
    else if (!name->asking)
        ask(name);
}

void resolver_flush(struct resolver *resolver)
{
    LIST_EACH(&resolver->recent, link)
    {
        CONTAINER_OF(link, struct lookup_name, link)->expires = 0;
    }
}

/* ---- life ---- */

void resolver_adopt(struct resolver *resolver, uint64_t floor, uint64_t ceiling, uint64_t timeout)
{
    resolver->timeout = timeout ? timeout : TIMEOUT;
    resolver->floor = floor ? floor : FLOOR;
    resolver->ceiling = ceiling ? ceiling : CEILING;
}

struct resolver *resolver_create(struct loop *loop, const struct resolver_options *options)
{
    struct resolver_options none = {0};
    if (!options)
        options = &none;
    struct resolver *resolver = memory_zalloc(sizeof(*resolver));
    resolver->loop = loop;
    resolver_adopt(resolver, options->floor, options->ceiling, options->timeout);
    resolver->negative = options->negative ? options->negative : NEGATIVE;
    resolver->most = options->names ? options->names : NAMES;
    resolver->servers = options->servers ? memory_string(span_str(options->servers)) : NULL;
    resolver->timer.fire = dns_timeout;
    list_init(&resolver->sockets);
    list_init(&resolver->recent);
    table_init(&resolver->names);
    return resolver;
}

void resolver_destroy(struct resolver *resolver)
{
    if (!resolver)
        return;
    LIST_EACH(&resolver->recent, link)
    {
        CONTAINER_OF(link, struct lookup_name, link)->destroyed = true;
    }
    if (resolver->started) {
        ares_destroy(resolver->channel); /* answers what is asked with an error, closes its sockets */
        ares_library_cleanup();
    }
    timer_clear(resolver->loop, &resolver->timer);
    LIST_EACH(&resolver->recent, link)
    {
        name_free(CONTAINER_OF(link, struct lookup_name, link));
    }
    table_finish(&resolver->names);
    free(resolver->servers);
    free(resolver);
}
