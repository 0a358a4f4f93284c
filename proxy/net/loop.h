/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop: one thread's event loop. A turn is: read the clock once, dispatch socket events, mail and due timers, run the
 * run queue until its budget, run the turn-end tasks (flushes), bury the dead. Everything here belongs to the thread
 * that runs the loop, except loop_call, which any thread may use.
 *
 * Nothing that an event may still name is freed in a callback: loop_bury frees it at the end of the turn.
 */
#ifndef POSTERN_NET_LOOP_H
#define POSTERN_NET_LOOP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/list.h"

struct loop;
struct event_base;

/* Bytes of the scratch area, see loop_scratch. */
#define LOOP_SCRATCH 65536
/* Tasks run per turn before sockets are looked at again. */
#define LOOP_TASK_BUDGET 256

/* Never NULL: a kernel that gives no epoll or eventfd ends the process with one line. */
MUST_CHECK struct loop *loop_create(void);
/*
 * Buries what is waiting, then frees the loop. All watches, timers and tasks must be gone or never used again; mail
 * that has not run is dropped. NULL is allowed.
 */
void loop_destroy(struct loop *loop);

/* Turns until loop_stop; returns at once when loop_stop was called before. */
void loop_run(struct loop *loop);
/* Ends loop_run after the current turn. Own thread only; from another one send mail that calls it. */
void loop_stop(struct loop *loop);
/*
 * One turn. With `wait` it sleeps until something happens (never when tasks are queued); without, it only looks.
 * With a fake clock (base/clock.h) a waiting turn ends for sockets and mail, never for a timer.
 */
void loop_turn(struct loop *loop, bool wait);

/* Microseconds, read once at the start of the turn: monotonic for deadlines, wall (since 1970) for logs. */
uint64_t loop_now(const struct loop *loop);
uint64_t loop_wall(const struct loop *loop);
/*
 * Tests, with a fake clock: moves both clocks on by `us`, stopping at every due timer on the way, with a turn at each
 * stop and one at the end.
 */
void loop_advance(struct loop *loop, uint64_t us);

/*
 * LOOP_SCRATCH bytes to read into, shared by everything on this loop: whoever reads into it must have consumed or
 * copied the bytes before its callback returns, and may not call out to anyone who reads too.
 */
char *loop_scratch(struct loop *loop);
/*
 * The same, with LOOP_CIPHER_SLACK bytes more, for net's own use below TLS (ciphertext); allocated at first use.
 * `which` is 0 (in) or 1 (out). The slack: headers and tags of the records that LOOP_SCRATCH bytes make.
 */
#define LOOP_CIPHER_SLACK 4096
char *loop_cipher_scratch(struct loop *loop, unsigned which);
/* The libevent base, for net/watch.c. */
struct event_base *loop_base(struct loop *loop);

/*
 * Changes with every callback that the loop dispatches; 0 outside of any. net/pending.h uses it to assert that nothing
 * completes inside the call that started it.
 */
uint64_t loop_sequence(const struct loop *loop);
/* Marks the start of a dispatched callback, for net/watch.c. */
void loop_step(struct loop *loop);

/* ---- tasks ---- */

/* Lives inside its owner; zero-initialised with `run` set is ready. `run` gets the task back: CONTAINER_OF finds the
 * owner. */
struct task {
    struct list link;
    void (*run)(struct task *task);
};

/* Queues at the back of the run queue; runs in this turn if the budget allows, after the events. Queued twice is once.
 */
void loop_post(struct loop *loop, struct task *task);
/*
 * Runs once at the end of this turn, after the run queue and before burial: for flushes, so that a connection writes
 * once per turn. Asked from within a turn-end task it runs at the end of the next turn, which does not sleep.
 */
void loop_at_end(struct loop *loop, struct task *task);
/* Runs once in loop_destroy, for what net holds on its own account; task_cancel takes it back. */
void loop_at_destroy(struct loop *loop, struct task *task);
/* Takes the task off whichever queue it is on; nothing if on none. */
void task_cancel(struct task *task);
static inline bool task_queued(const struct task *task)
{
    return list_linked(&task->link);
}

/* ---- burial ---- */

/* Calls free_fn(object) at the end of this turn (of the next one when outside a turn). */
void loop_bury(struct loop *loop, void *object, void (*free_fn)(void *object));

/* ---- timers ---- */

/*
 * Lives inside its owner; zero-initialised with `fire` set is ready. One shot. Fires in the turn in which the deadline
 * has passed, never before it and up to TIMER_GRAIN after. A deadline moved later costs two stores: the wheel looks
 * again when the old place comes up. While no timer is set the loop sleeps without end.
 */
struct timer {
    struct list link;
    uint64_t deadline; /* loop time in µs; meaningful while set */
    uint64_t filed;    /* the tick at which the wheel looks at it */
    void (*fire)(struct timer *timer);
};

/* Longest lateness in µs. */
#define TIMER_GRAIN UINT64_C(16384)

/* Sets or moves the deadline (loop_now + something). A deadline already past fires in the next turn at the earliest. */
void timer_set(struct loop *loop, struct timer *timer, uint64_t deadline);
/* Nothing if not set. After it, the timer's memory may be freed. */
void timer_clear(struct loop *loop, struct timer *timer);
static inline bool timer_is_set(const struct timer *timer)
{
    return list_linked(&timer->link);
}

/* ---- mail from other threads ---- */

/* Lives inside its owner and belongs to the loop from loop_call until `run` is called. */
struct mail {
    struct mail *next;
    void (*run)(struct mail *mail);
};

/*
 * Thread-safe and lock-free: `run` is called on the loop's thread in one of its next turns, mail of one sender in the
 * order sent. Never twice for one call; a mail that is under way must not be sent again. The loop must outlive the
 * call.
 */
void loop_call(struct loop *loop, struct mail *mail);

/* ---- signals ---- */

/*
 * From now on `fn` is called in a turn whenever the signal came. Only one loop of the process may use signals. A second
 * call for the same signal replaces the first; at most LOOP_SIGNALS different ones.
 */
#define LOOP_SIGNALS 8
void loop_signal(struct loop *loop, int signo, void (*fn)(void *arg, int signo), void *arg);

#endif
