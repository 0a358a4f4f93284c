/* SPDX-License-Identifier: Apache-2.0 */
#include "net/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "net/watch.h"
#include "net/wheel.h"

/* libevent counts on a clock with steps of up to 4 ms; sleeping that much longer saves a second wake-up per timer. */
#define SLEEP_SLACK 4000

struct grave {
    void *object;
    void (*free_fn)(void *object);
};

struct signal_slot {
    struct loop *loop;
    struct event *event;
    void (*fn)(void *arg, int signo);
    void *arg;
    int signo;
};

struct loop {
    struct event_base *base;
    struct event *sleep;  /* wakes epoll for the wheel */
    uint64_t sleep_until; /* what `sleep` is armed for; 0: not armed */
    uint64_t now, wall;
    bool clock_read; /* in this turn */
    bool stopped;
    uint64_t steps, step;
    struct list run, end, at_destroy;
    struct wheel wheel;
    struct list due;
    struct grave *graves;
    size_t grave_count, grave_cap;
    _Atomic(struct mail *) mailbox; /* newest first */
    int mail_fd;
    struct watch *mail_watch;
    struct signal_slot signals[LOOP_SIGNALS];
    char *scratch, *cipher[2];
};

static void read_clock(struct loop *loop)
{
    if (loop->clock_read)
        return;
    loop->clock_read = true;
    loop->now = clock_monotonic();
    loop->wall = clock_wall();
}

void loop_step(struct loop *loop)
{
    read_clock(loop);
    loop->step = ++loop->steps;
}

uint64_t loop_sequence(const struct loop *loop)
{
    return loop->step;
}

uint64_t loop_now(const struct loop *loop)
{
    return loop->now;
}

uint64_t loop_wall(const struct loop *loop)
{
    return loop->wall;
}

char *loop_scratch(struct loop *loop)
{
    return loop->scratch;
}

char *loop_cipher_scratch(struct loop *loop, unsigned which)
{
    if (!loop->cipher[which])
        loop->cipher[which] = memory_alloc(LOOP_SCRATCH + LOOP_CIPHER_SLACK);
    return loop->cipher[which];
}

struct event_base *loop_base(struct loop *loop)
{
    return loop->base;
}

/* ---- mail ---- */

void loop_call(struct loop *loop, struct mail *mail)
{
    struct mail *newest = atomic_load_explicit(&loop->mailbox, memory_order_relaxed);
    do
        mail->next = newest;
    while (!atomic_compare_exchange_weak_explicit(&loop->mailbox, &newest, mail, memory_order_release,
                                                  memory_order_relaxed));
    /* Only the first letter wakes: the reader empties the counter before it takes the box, so none is overlooked. */
    if (newest)
        return;
    uint64_t one = 1;
    while (write(loop->mail_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

static void mail_ready(void *arg, unsigned ready)
{
    (void)ready;
    struct loop *loop = arg;
    uint64_t count;
    while (read(loop->mail_fd, &count, sizeof(count)) < 0 && errno == EINTR)
        ;
    struct mail *newest = atomic_exchange_explicit(&loop->mailbox, NULL, memory_order_acquire);
    struct mail *oldest = NULL;
    while (newest) {
        struct mail *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        struct mail *mail = oldest;
        oldest = mail->next; /* before run, which may free or resend it */
        loop_step(loop);
        mail->run(mail);
    }
}

/* ---- life ---- */

static NO_RETURN void no_kernel(const char *what)
{
    log_write(LOG_ERROR, "loop", "%s: %s", what, strerror(errno));
    exit(1);
}

static struct event_base *make_base(void)
{
    struct event_config *config = event_config_new();
    if (!config)
        no_kernel("event_config");
    (void)event_config_avoid_method(config, "select");
    (void)event_config_avoid_method(config, "poll");
    (void)event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV);
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    if (!base)
        no_kernel("epoll");
    return base;
}

/* Nothing to do: waking up is its purpose. */
static void woken(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct loop *loop = arg;
    loop->sleep_until = 0;
}

struct loop *loop_create(void)
{
    struct loop *loop = memory_zalloc(sizeof(*loop));
    loop->base = make_base();
    loop->sleep = evtimer_new(loop->base, woken, loop);
    loop->mail_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!loop->sleep || loop->mail_fd < 0)
        no_kernel("eventfd");
    list_init(&loop->run);
    list_init(&loop->end);
    list_init(&loop->due);
    list_init(&loop->at_destroy);
    read_clock(loop);
    wheel_init(&loop->wheel, loop->now);
    loop->scratch = memory_alloc(LOOP_SCRATCH);
    atomic_init(&loop->mailbox, NULL);
    loop->mail_watch = watch_create(loop, loop->mail_fd, mail_ready, loop);
    watch_want(loop->mail_watch, WATCH_READ);
    return loop;
}

static void bury_all(struct loop *loop)
{
    /* A burial may bury more; the array may move. */
    for (size_t i = 0; i < loop->grave_count; i++) {
        struct grave grave = loop->graves[i];
        grave.free_fn(grave.object);
    }
    loop->grave_count = 0;
}

void loop_destroy(struct loop *loop)
{
    if (!loop)
        return;
    while (!list_empty(&loop->at_destroy)) {
        struct task *task = LIST_FIRST(&loop->at_destroy, struct task, link);
        list_remove(&task->link);
        task->run(task);
    }
    watch_destroy(loop->mail_watch);
    bury_all(loop);
    for (unsigned i = 0; i < LOOP_SIGNALS; i++)
        if (loop->signals[i].event)
            event_free(loop->signals[i].event);
    event_free(loop->sleep);
    event_base_free(loop->base);
    (void)close(loop->mail_fd);
    free(loop->graves);
    free(loop->scratch);
    free(loop->cipher[0]);
    free(loop->cipher[1]);
    free(loop);
}

/* ---- tasks and burial ---- */

void loop_post(struct loop *loop, struct task *task)
{
    if (!list_linked(&task->link))
        list_append(&loop->run, &task->link);
}

void loop_at_end(struct loop *loop, struct task *task)
{
    if (!list_linked(&task->link))
        list_append(&loop->end, &task->link);
}

void loop_at_destroy(struct loop *loop, struct task *task)
{
    list_append(&loop->at_destroy, &task->link);
}

void task_cancel(struct task *task)
{
    list_remove(&task->link);
}

void loop_bury(struct loop *loop, void *object, void (*free_fn)(void *object))
{
    if (loop->grave_count == loop->grave_cap) {
        loop->grave_cap = loop->grave_cap ? loop->grave_cap * 2 : 64;
        loop->graves = memory_realloc(loop->graves, loop->grave_cap * sizeof(*loop->graves));
    }
    loop->graves[loop->grave_count++] = (struct grave){.object = object, .free_fn = free_fn};
}

static void run_first(struct loop *loop, struct list *queue)
{
    struct task *task = LIST_FIRST(queue, struct task, link);
    list_remove(&task->link);
    loop_step(loop);
    task->run(task);
}

static void run_tasks(struct loop *loop)
{
    for (unsigned budget = LOOP_TASK_BUDGET; budget && !list_empty(&loop->run); budget--)
        run_first(loop, &loop->run);
}

static void run_end(struct loop *loop)
{
    if (list_empty(&loop->end))
        return;
    /* Those asked for from here on go to the next turn: a mark in the queue tells them apart. */
    struct list mark = {0};
    list_append(&loop->end, &mark);
    while (loop->end.next != &mark)
        run_first(loop, &loop->end);
    list_remove(&mark);
}

/* ---- timers ---- */

void timer_set(struct loop *loop, struct timer *timer, uint64_t deadline)
{
    timer->deadline = deadline;
    if (list_linked(&timer->link)) {
        if (wheel_tick_of(deadline) >= timer->filed)
            return;
        list_remove(&timer->link);
    }
    wheel_file(&loop->wheel, timer);
}

void timer_clear(struct loop *loop, struct timer *timer)
{
    (void)loop;
    list_remove(&timer->link);
}

static void run_timers(struct loop *loop)
{
    wheel_advance(&loop->wheel, loop->now, &loop->due);
    while (!list_empty(&loop->due)) {
        struct timer *timer = LIST_FIRST(&loop->due, struct timer, link);
        list_remove(&timer->link);
        if (timer->deadline > loop->now) { /* moved later by one that fired just before */
            wheel_file(&loop->wheel, timer);
            continue;
        }
        loop_step(loop);
        timer->fire(timer);
    }
}

/* Sees to it that epoll wakes when the wheel needs it. One that is armed too early just wakes once for nothing. */
static void arm_sleep(struct loop *loop)
{
    if (clock_is_fake())
        return;
    uint64_t next = wheel_next(&loop->wheel);
    if (next == WHEEL_NEVER || (loop->sleep_until && loop->sleep_until <= next))
        return;
    uint64_t us = (next > loop->now ? next - loop->now : 0) + SLEEP_SLACK;
    struct timeval span = {.tv_sec = (time_t)(us / CLOCK_SECOND), .tv_usec = (suseconds_t)(us % CLOCK_SECOND)};
    (void)event_add(loop->sleep, &span);
    loop->sleep_until = next;
}

/* ---- turns ---- */

void loop_turn(struct loop *loop, bool wait)
{
    wait = wait && list_empty(&loop->run) && list_empty(&loop->end) && !loop->grave_count;
    if (wait)
        arm_sleep(loop);
    loop->clock_read = false;
    /* Once also without waiting: else it looks until nothing is ready, while the clock of this turn stands still. */
    (void)event_base_loop(loop->base, wait ? EVLOOP_ONCE : EVLOOP_ONCE | EVLOOP_NONBLOCK);
    read_clock(loop);
    run_timers(loop);
    run_tasks(loop);
    run_end(loop);
    bury_all(loop);
    loop->step = 0;
}

void loop_run(struct loop *loop)
{
    while (!loop->stopped)
        loop_turn(loop, true);
    loop->stopped = false;
}

void loop_stop(struct loop *loop)
{
    loop->stopped = true;
}

void loop_advance(struct loop *loop, uint64_t us)
{
    uint64_t target = clock_monotonic() + us;
    for (;;) {
        uint64_t now = clock_monotonic();
        uint64_t next = wheel_next(&loop->wheel);
        bool last = next >= target;
        uint64_t stop = last ? target : next;
        if (stop > now)
            clock_fake(stop, clock_wall() + (stop - now));
        loop_turn(loop, false);
        if (last)
            return;
    }
}

/* ---- signals ---- */

static void signal_came(evutil_socket_t signo, short what, void *arg)
{
    (void)what;
    struct signal_slot *slot = arg;
    loop_step(slot->loop);
    slot->fn(slot->arg, (int)signo);
}

void loop_signal(struct loop *loop, int signo, void (*fn)(void *arg, int signo), void *arg)
{
    for (unsigned i = 0; i < LOOP_SIGNALS; i++) {
        struct signal_slot *slot = &loop->signals[i];
        if (slot->event && slot->signo != signo)
            continue;
        slot->fn = fn;
        slot->arg = arg;
        if (slot->event)
            return;
        slot->loop = loop;
        slot->signo = signo;
        slot->event = evsignal_new(loop->base, signo, signal_came, slot);
        if (!slot->event || event_add(slot->event, NULL) != 0)
            no_kernel("signal");
        return;
    }
    no_kernel("too many signals");
}
