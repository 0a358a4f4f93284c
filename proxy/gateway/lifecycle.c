/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/lifecycle.h"

#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "gateway/client_conn.h"
#include "gateway/doors.h"
#include "gateway/exchange.h"
#include "gateway/metrics.h"
#include "gateway/redis_stores.h"
#include "gateway/reload.h"
#include "gateway/worker.h"
#include "net/tls.h"

/* How often certificates are looked at, gauges copied and the control socket's wishes read. */
#define TICK (1 * CLOCK_SECOND)
/* How long a worker whose work is done, or was cut, waits for what it has charged to reach the stores. */
#define LAST_WORDS (1 * CLOCK_SECOND)

enum phase { SERVING, UNREADY, DRAINING, CUTTING };

struct served_worker {
    struct worker *worker;
    struct lifecycle *life;
    pthread_t thread;
    bool threaded;
    struct mail mail;    /* "look at order and adopt", from the main worker */
    _Atomic bool mailed; /* it is under way */
    struct timer tick;
    _Atomic int order;             /* enum phase to enter */
    bool cut;                      /* CUTTING was obeyed */
    uint64_t done_at;              /* loop time: nothing is left to be served; 0: not yet */
    unsigned most_clients;         /* since memory was last given back */
    _Atomic(struct round *) adopt; /* what to serve from now on, with a reference */
    struct round *round;           /* what is served; a reference */
};

struct lifecycle {
    struct process process;
    const struct serve_options *options;
    struct round *round; /* in force; a reference */
    struct reload *reload;
    struct served_worker *workers;
    unsigned worker_count;
    enum phase phase;
    uint64_t phase_since;
    bool signalled; /* told to end by a signal, which a second one hurries */
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

static const struct config *config_of(const struct lifecycle *life)
{
    return life->round->snapshot->config;
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

static void take_round(struct served_worker *served)
{
    struct round *next = atomic_exchange(&served->adopt, NULL);
    if (!next)
        return;
    round_take(next, served->worker);
    round_unref(served->round);
    served->round = next;
}

/* Those who were cut have yet to end, and their reservations to be settled, in this turn and the next ones. */
static bool may_stop(struct served_worker *served)
{
    const struct worker *worker = served->worker;
    bool done = served_clients(worker) == 0 && worker->flight_count == 0 && !worker_is_arriving(worker);
    if (!served->cut && !done)
        return false;
    uint64_t now = loop_now(worker->loop);
    if (!served->done_at)
        served->done_at = now;
    return now - served->done_at >= LAST_WORDS || (list_empty(&worker->exchanges) && worker->delivery_count == 0);
}

static void obey(struct served_worker *served)
{
    struct worker *worker = served->worker;
    take_round(served);
    int order = atomic_load(&served->order);
    if (order >= UNREADY)
        worker->leaving = true;
    if (order >= DRAINING && !worker->draining) {
        worker_stop_listening(worker, worker->index == 0);
        worker_drain(worker);
    }
    if (order >= CUTTING && !served->cut)
        cut(worker);
    served->cut = order >= CUTTING;
    if (order >= DRAINING && may_stop(served))
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
    if (life->reload)
        reload_stop(life->reload);
    const struct config_drain *drain = &config_of(life)->drain;
    log_write(LOG_INFO, "drain", "%s: unready; listeners close in %llu ms, streams may take %llu ms more", why,
              (unsigned long long)(drain->delay / 1000), (unsigned long long)(drain->grace / 1000));
    order_all(life, drain->delay ? UNREADY : DRAINING);
}

static void on_term(void *arg, int signo)
{
    struct lifecycle *life = arg;
    /* One after POST /drain, as the kubelet sends it when a preStop hook has drained, says nothing new. */
    bool again = life->signalled;
    life->signalled = true;
    if (life->phase == SERVING)
        end_gently(life, signo == SIGTERM ? "SIGTERM" : "SIGINT");
    else if (again)
        order_all(life, CUTTING);
}

/* ---- reload ---- */

static bool take(void *arg, struct snapshot *next, struct report *report)
{
    struct lifecycle *life = arg;
    struct round *round = round_create(next, life->worker_count, life->round, report);
    snapshot_unref(next);
    if (!round)
        return false;
    for (unsigned i = 0; i < life->worker_count; i++)
        round_unref(atomic_exchange(&life->workers[i].adopt, round_ref(round)));
    round_unref(life->round);
    life->round = round;
    log_configure(config_of(life)->log.level, config_of(life)->log.format);
    tell_all(life);
    return true;
}

static void on_hup(void *arg, int signo)
{
    (void)signo;
    struct lifecycle *life = arg;
    if (life->reload && life->phase == SERVING)
        reload_force(life->reload);
}

static void start_reload(struct lifecycle *life)
{
    struct reload_options options = {.path = life->options->config_path,
                                     .settings = life->options->settings,
                                     .filters = life->options->registry,
                                     .status = &life->process.reload,
                                     .take = take,
                                     .arg = life};
    if (options.path)
        life->reload = reload_create(life->workers[0].worker->loop, &options, life->round->snapshot);
}

/* ---- every second ---- */

static void advance(struct lifecycle *life)
{
    const struct config_drain *drain = &config_of(life)->drain;
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
    redis_stores_reload_certificates(worker->stores);
    if (worker->index == 0) {
        round_reload_certificates(served->life->round);
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

/* False: a thread cannot be had. Its share of the connections would wait for ever, so nobody serves then. */
static bool start_threads(struct lifecycle *life)
{
    for (unsigned i = 1; i < life->worker_count; i++) {
        struct served_worker *served = &life->workers[i];
        int error = pthread_create(&served->thread, NULL, run_worker, served);
        served->threaded = error == 0;
        if (error) {
            log_write(LOG_ERROR, "worker", "no thread for worker %u of %u: %s; lower \"workers\" or raise the limit",
                      i + 1, life->worker_count, strerror(error));
            return false;
        }
    }
    return true;
}

static void make_workers(struct lifecycle *life)
{
    for (unsigned i = 0; i < life->worker_count; i++) {
        struct served_worker *served = &life->workers[i];
        served->life = life;
        served->worker = worker_create(&life->process, i, life->round->snapshot);
        served->mail.run = obey_mail;
        served->tick.fire = tick;
        life->process.workers[i] = served->worker;
        atomic_store(&served->adopt, round_ref(life->round));
        take_round(served);
    }
}

static void release(struct lifecycle *life)
{
    for (unsigned i = 0; i < life->worker_count; i++) {
        round_unref(atomic_exchange(&life->workers[i].adopt, NULL));
        round_unref(life->workers[i].round);
    }
    round_unref(life->round);
    metrics_hub_destroy(life->process.metrics);
    free(life->process.workers);
    free(life->workers);
}

/* Everything that listens, or the log says what cannot. Takes the reference. */
static bool open_doors(struct lifecycle *life, struct snapshot *snapshot)
{
    struct report report;
    report_init(&report);
    life->round = round_create(snapshot, life->worker_count, NULL, &report);
    reload_log(&report);
    report_finish(&report);
    snapshot_unref(snapshot);
    return life->round != NULL;
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

/* The main worker's part, from ready to the end. */
static void serve(struct lifecycle *life)
{
    struct loop *loop = life->workers[0].worker->loop;
    loop_signal(loop, SIGTERM, on_term, life);
    loop_signal(loop, SIGINT, on_term, life);
    loop_signal(loop, SIGHUP, on_hup, life);
    atomic_store(&life->process.ready, true);
    if (life->options->ready)
        life->options->ready(life->round->snapshot, life->options->arg);
    start_reload(life);
    pthread_t warming;
    bool warms = start_warming(life->round->snapshot, &warming);
    (void)run_worker(&life->workers[0]);
    if (warms)
        (void)pthread_join(warming, NULL);
}

int lifecycle_serve(struct snapshot *snapshot, const struct serve_options *options)
{
    prepare_process();
    struct lifecycle life = {.options = options};
    life.worker_count = snapshot->config->workers;
    life.workers = memory_array(life.worker_count, sizeof(*life.workers));
    life.process.workers = memory_array(life.worker_count, sizeof(struct worker *));
    life.process.worker_count = life.worker_count;
    life.process.started_wall = clock_wall();
    life.process.metrics = metrics_hub_create();
    make_instance_id(&life.process);
    if (!open_doors(&life, snapshot)) {
        release(&life);
        return 1;
    }
    make_workers(&life);
    bool started = start_threads(&life);
    if (started)
        serve(&life);
    else
        order_all(&life, CUTTING);
    reload_destroy(life.reload);
    for (unsigned i = 1; i < life.worker_count; i++)
        if (life.workers[i].threaded)
            (void)pthread_join(life.workers[i].thread, NULL);
    for (unsigned i = 0; i < life.worker_count; i++)
        worker_destroy(life.workers[i].worker);
    memory_blocks_drop();
    log_write(LOG_INFO, "drain", "ended");
    release(&life);
    return started ? 0 : 1;
}
