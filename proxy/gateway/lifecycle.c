/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/lifecycle.h"

#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "gateway/client_conn.h"
#include "gateway/exchange.h"
#include "gateway/metrics.h"
#include "gateway/worker.h"
#include "net/tls.h"

/* How often certificates are looked at, gauges copied and the control socket's wishes read. */
#define TICK (1 * CLOCK_SECOND)

enum phase { SERVING, UNREADY, DRAINING, CUTTING };

struct served_worker {
    struct worker *worker;
    struct lifecycle *life;
    pthread_t thread;
    bool threaded;
    struct mail mail;    /* "look at order and adopt", from the main worker */
    _Atomic bool mailed; /* it is under way */
    struct timer tick;
    _Atomic int order;                /* enum phase to enter */
    unsigned most_clients;            /* since memory was last given back */
    _Atomic(struct snapshot *) adopt; /* a snapshot to switch to, with a reference */
};

struct served_listener {
    const struct listener_use *use; /* of the first snapshot */
    struct tls_context *tls;
    int *fds; /* one per worker */
};

struct lifecycle {
    struct process process;
    const struct serve_options *options;
    struct snapshot *snapshot;
    struct served_worker *workers;
    unsigned worker_count;
    struct served_listener *listeners;
    unsigned listener_count;
    enum phase phase;
    uint64_t phase_since;
};

/* ---- starting ---- */

/* Secrets must not end in a core file, and every connection is a descriptor. */
static void prepare_process(void)
{
    struct rlimit none = {0, 0}, files;
    (void)setrlimit(RLIMIT_CORE, &none);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    (void)signal(SIGPIPE, SIG_IGN);
}

static void make_instance_id(struct process *process)
{
    unsigned char raw[8] = {0};
    if (getrandom(raw, sizeof(raw), 0) != (ssize_t)sizeof(raw))
        memcpy(raw, &process->started_wall, sizeof(raw));
    for (size_t i = 0; i < sizeof(raw); i++)
        (void)snprintf(process->instance_id + 2 * i, 3, "%02x", raw[i]);
}

static struct tls_context *listener_tls(const struct listener_use *use, struct net_error *error)
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

static const struct setting_address *address_of(const struct lifecycle *life, const struct listener_use *use)
{
    const struct config_admin *admin = &life->snapshot->config->admin;
    return use->config ? &use->config->address : use->control ? &admin->control : &admin->address;
}

/* Descriptors for all workers; the admin listener and the control socket are the first worker's alone. */
static bool bind_listener(struct lifecycle *life, struct served_listener *listener)
{
    struct net_error error;
    struct listen_address address;
    struct span text = address_of(life, listener->use)->text;
    listener->fds = memory_array(life->worker_count, sizeof(int));
    for (unsigned i = 0; i < life->worker_count; i++)
        listener->fds[i] = -1;
    bool good = listen_address_parse(text, &address, &error);
    if (good) {
        address.mode = listener->use->config ? listener->use->config->mode : 0600;
        listener->fds[0] = listener_bind(&address, &error);
        good = listener->fds[0] >= 0;
    }
    for (unsigned i = 1; good && !listener->use->admin && i < life->worker_count; i++) {
        listener->fds[i] = listener_bind_again(listener->fds[0], &error);
        good = listener->fds[i] >= 0;
    }
    if (good && listener->use->config && listener->use->config->tls) {
        listener->tls = listener_tls(listener->use, &error);
        good = listener->tls != NULL;
    }
    if (!good)
        log_write(LOG_ERROR, "listener", "%.*s: %s", SPAN_ARG(text), error.text);
    return good;
}

static bool bind_all(struct lifecycle *life)
{
    struct snapshot *snapshot = life->snapshot;
    unsigned count = snapshot->listener_count + (snapshot->admin ? 1 : 0) + (snapshot->control ? 1 : 0);
    life->listeners = memory_array(count + 1, sizeof(*life->listeners));
    for (unsigned i = 0; i < count; i++) {
        life->listeners[i].use = &snapshot->listeners[i];
        life->listener_count++;
        if (!bind_listener(life, &life->listeners[i]))
            return false;
    }
    return true;
}

static void listen_all(struct lifecycle *life, struct served_worker *served)
{
    for (unsigned i = 0; i < life->listener_count; i++) {
        struct served_listener *listener = &life->listeners[i];
        int fd = listener->fds[served->worker->index];
        if (fd >= 0)
            worker_listen(served->worker, listener->use, fd, listener->tls);
        listener->fds[served->worker->index] = -1;
    }
}

/* ---- ending ---- */

/* Streams that outlive the grace period are told in their own words. */
static void cut(struct worker *worker)
{
    LIST_EACH(&worker->exchanges, link)
    {
        struct exchange *exchange = CONTAINER_OF(link, struct exchange, link);
        if (exchange->state != EXCHANGE_OPEN)
            exchange_fail(exchange, FAULT_DRAINING, (struct span){0}, (struct span){0});
    }
    LIST_EACH(&worker->clients, link)
    client_conn_finish(CONTAINER_OF(link, struct client_conn, link));
}

static unsigned served_clients(const struct worker *worker)
{
    unsigned count = 0;
    LIST_EACH(&worker->clients, link)
    count += CONTAINER_OF(link, struct client_conn, link)->listener->use->admin ? 0 : 1;
    return count;
}

static void obey(struct served_worker *served)
{
    struct worker *worker = served->worker;
    struct snapshot *next = atomic_exchange(&served->adopt, NULL);
    if (next) {
        worker_adopt(worker, next);
        snapshot_unref(next);
    }
    int order = atomic_load(&served->order);
    if (order >= DRAINING && !worker->draining) {
        worker_stop_listening(worker, worker->index == 0);
        worker_drain(worker);
    }
    if (order >= CUTTING)
        cut(worker);
    if (order >= DRAINING && (order >= CUTTING || (served_clients(worker) == 0 && worker->flight_count == 0)))
        loop_stop(worker->loop);
}

static void obey_mail(struct mail *mail)
{
    struct served_worker *served = CONTAINER_OF(mail, struct served_worker, mail);
    atomic_store(&served->mailed, false);
    obey(served);
}

static void tell_all(struct lifecycle *life)
{
    for (unsigned i = 1; i < life->worker_count; i++)
        if (life->workers[i].threaded && !atomic_exchange(&life->workers[i].mailed, true))
            loop_call(life->workers[i].worker->loop, &life->workers[i].mail);
    obey(&life->workers[0]);
}

static void order_all(struct lifecycle *life, enum phase phase)
{
    life->phase = phase;
    life->phase_since = clock_monotonic();
    for (unsigned i = 0; i < life->worker_count; i++)
        atomic_store(&life->workers[i].order, (int)phase);
    tell_all(life);
}

static void end_gently(struct lifecycle *life, const char *why)
{
    atomic_store(&life->process.ready, false);
    const struct config_drain *drain = &life->snapshot->config->drain;
    log_write(LOG_INFO, "drain", "%s: unready; listeners close in %llu ms, streams may take %llu ms more", why,
              (unsigned long long)(drain->delay / 1000), (unsigned long long)(drain->grace / 1000));
    order_all(life, drain->delay ? UNREADY : DRAINING);
}

static void on_term(void *arg, int signo)
{
    struct lifecycle *life = arg;
    if (life->phase == SERVING)
        end_gently(life, signo == SIGTERM ? "SIGTERM" : "SIGINT");
    else
        order_all(life, CUTTING);
}

/* ---- reload ---- */

static void adopt_all(struct lifecycle *life, struct snapshot *snapshot)
{
    for (unsigned i = 0; i < life->worker_count; i++)
        snapshot_unref(atomic_exchange(&life->workers[i].adopt, snapshot_ref(snapshot)));
    snapshot_unref(life->snapshot);
    life->snapshot = snapshot;
    log_configure(snapshot->config->log.level, snapshot->config->log.format);
    tell_all(life);
}

static void log_report(const struct report *report)
{
    for (const struct report_entry *entry = report->first; entry; entry = entry->next) {
        struct buffer place = {0};
        report_print_place(entry->place, &place);
        log_write(entry->warning ? LOG_WARNING : LOG_ERROR, "config", "%.*s: %.*s", SPAN_ARG(buffer_span(&place)),
                  SPAN_ARG(entry->text));
        buffer_finish(&place);
    }
}

/* Connections live on their listener's chain: a listener that is gone from the new text would leave them without one.
 */
static void check_listeners(const struct snapshot *now, const struct snapshot *next, struct report *report)
{
    unsigned count = now->listener_count + (now->admin ? 1 : 0) + (now->control ? 1 : 0);
    for (unsigned i = 0; i < count; i++) {
        const struct listener_use *use = &now->listeners[i];
        unsigned there = next->listener_count + (next->admin ? 1 : 0) + (next->control ? 1 : 0), k = 0;
        while (k < there && !span_equal(next->listeners[k].name, use->name))
            k++;
        if (k == there)
            report_error(report, PLACE_NONE, "listener \"%.*s\" is gone; that needs a restart", SPAN_ARG(use->name));
    }
}

static void on_hup(void *arg, int signo)
{
    (void)signo;
    struct lifecycle *life = arg;
    if (!life->options->config_path || life->phase != SERVING)
        return;
    struct report report;
    report_init(&report);
    struct config *config;
    struct snapshot *snapshot = NULL;
    if (config_load(life->options->config_path, life->options->settings, 0, &report, &config)) {
        (void)config_compare(life->snapshot->config, config, &report);
        snapshot = snapshot_create(config, life->options->registry, false, &report);
        if (snapshot)
            check_listeners(life->snapshot, snapshot, &report);
        if (snapshot && report.errors) {
            snapshot_unref(snapshot);
            snapshot = NULL;
        }
    }
    log_report(&report);
    report_finish(&report);
    if (snapshot) {
        adopt_all(life, snapshot);
        log_write(LOG_INFO, "config", "configuration %llu is in force", (unsigned long long)snapshot->generation);
    } else {
        log_write(LOG_ERROR, "config", "the new configuration was refused; the last good one stays in force");
    }
}

/* ---- every second ---- */

static void reload_certificates(struct lifecycle *life)
{
    for (unsigned i = 0; i < life->listener_count; i++) {
        struct net_error error;
        if (!life->listeners[i].tls)
            continue;
        enum tls_reload result = tls_context_reload(life->listeners[i].tls, &error);
        struct span name = life->listeners[i].use->name;
        if (result == TLS_RELOADED)
            log_write(LOG_INFO, "tls", "%.*s: new certificate in force", SPAN_ARG(name));
        else if (result == TLS_KEPT)
            log_write(LOG_ERROR, "tls", "%.*s: certificate not reloaded: %s", SPAN_ARG(name), error.text);
    }
    for (unsigned i = 0; i < life->snapshot->target_count; i++) {
        struct net_error error;
        struct target *target = &life->snapshot->targets[i];
        if (target->tls && tls_context_reload(target->tls, &error) == TLS_KEPT)
            log_write(LOG_ERROR, "tls", "target %.*s: CA not reloaded: %s", SPAN_ARG(target->name), error.text);
    }
}

static void advance(struct lifecycle *life)
{
    const struct config_drain *drain = &life->snapshot->config->drain;
    uint64_t passed = clock_monotonic() - life->phase_since;
    if (life->phase == SERVING && atomic_load(&life->process.drain_requested))
        end_gently(life, "drain requested");
    else if (life->phase == UNREADY && passed >= drain->delay)
        order_all(life, DRAINING);
    else if (life->phase == DRAINING && passed >= drain->grace)
        order_all(life, CUTTING);
}

/* When a crowd has left, what it needed goes back to the kernel: a sidecar is judged by what it holds. */
#define CROWD 256

static void give_memory_back(struct served_worker *served)
{
    unsigned clients = served->worker->client_count;
    if (clients > served->most_clients)
        served->most_clients = clients;
    if (served->most_clients < CROWD || clients > served->most_clients / 4)
        return;
    served->most_clients = clients;
    (void)malloc_trim(0);
}

static void tick(struct timer *timer)
{
    struct served_worker *served = CONTAINER_OF(timer, struct served_worker, tick);
    struct worker *worker = served->worker;
    give_memory_back(served);
    metrics_collect(worker);
    if (worker->index == 0) {
        reload_certificates(served->life);
        advance(served->life);
    }
    obey(served);
    bool ending = atomic_load(&served->order) > SERVING;
    timer_set(worker->loop, timer, loop_now(worker->loop) + (ending ? TICK / 20 : TICK));
}

/* ---- serving ---- */

static void *run_worker(void *arg)
{
    struct served_worker *served = arg;
    timer_set(served->worker->loop, &served->tick, loop_now(served->worker->loop) + TICK);
    loop_run(served->worker->loop);
    memory_blocks_drop();
    return NULL;
}

static void start_workers(struct lifecycle *life)
{
    for (unsigned i = 0; i < life->worker_count; i++) {
        struct served_worker *served = &life->workers[i];
        served->life = life;
        served->worker = worker_create(&life->process, i, life->snapshot);
        served->mail.run = obey_mail;
        served->tick.fire = tick;
        life->process.workers[i] = served->worker;
        listen_all(life, served);
    }
    for (unsigned i = 1; i < life->worker_count; i++)
        life->workers[i].threaded = pthread_create(&life->workers[i].thread, NULL, run_worker, &life->workers[i]) == 0;
}

static void release(struct lifecycle *life)
{
    for (unsigned i = 0; i < life->worker_count; i++)
        snapshot_unref(atomic_exchange(&life->workers[i].adopt, NULL));
    for (unsigned i = 0; i < life->listener_count; i++) {
        for (unsigned k = 0; k < life->worker_count; k++)
            if (life->listeners[i].fds[k] >= 0)
                (void)close(life->listeners[i].fds[k]);
        free(life->listeners[i].fds);
        tls_context_unref(life->listeners[i].tls);
    }
    free(life->listeners);
    metrics_hub_destroy(life->process.metrics);
    free(life->process.workers);
    free(life->workers);
    snapshot_unref(life->snapshot);
}

/* Reading the system's CA store takes tens of milliseconds: not before the first answer, and not within it. */
static void *warm(void *arg)
{
    (void)arg;
    tls_warm();
    return NULL;
}

static bool start_warming(const struct snapshot *snapshot, pthread_t *thread)
{
    for (unsigned i = 0; i < snapshot->target_count; i++)
        if (snapshot->targets[i].tls)
            return pthread_create(thread, NULL, warm, NULL) == 0;
    return false;
}

int lifecycle_serve(struct snapshot *snapshot, const struct serve_options *options)
{
    prepare_process();
    struct lifecycle life = {.options = options, .snapshot = snapshot};
    life.worker_count = snapshot->config->workers;
    life.workers = memory_array(life.worker_count, sizeof(*life.workers));
    life.process.workers = memory_array(life.worker_count, sizeof(struct worker *));
    life.process.worker_count = life.worker_count;
    life.process.started_wall = clock_wall();
    life.process.metrics = metrics_hub_create();
    make_instance_id(&life.process);
    if (!bind_all(&life)) {
        release(&life);
        return 1;
    }
    start_workers(&life);
    struct loop *loop = life.workers[0].worker->loop;
    loop_signal(loop, SIGTERM, on_term, &life);
    loop_signal(loop, SIGINT, on_term, &life);
    loop_signal(loop, SIGHUP, on_hup, &life);
    atomic_store(&life.process.ready, true);
    if (options->ready)
        options->ready(snapshot, options->arg);
    pthread_t warming;
    bool warms = start_warming(snapshot, &warming);
    (void)run_worker(&life.workers[0]);
    if (warms)
        (void)pthread_join(warming, NULL);
    for (unsigned i = 1; i < life.worker_count; i++)
        if (life.workers[i].threaded)
            (void)pthread_join(life.workers[i].thread, NULL);
    for (unsigned i = 0; i < life.worker_count; i++)
        worker_destroy(life.workers[i].worker);
    memory_blocks_drop();
    log_write(LOG_INFO, "drain", "ended");
    release(&life);
    return 0;
}
