/* SPDX-License-Identifier: Apache-2.0 */
#include "net/loop.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/hash.h"
#include "net/pending.h"
#include "net/watch.h"
#include "net/wheel.h"

#define START (UINT64_C(1000) * CLOCK_SECOND)

static int fake_loop(void **state)
{
    clock_fake(START, 5 * START);
    *state = loop_create();
    return 0;
}

static int end_loop(void **state)
{
    loop_destroy(*state);
    clock_real();
    return 0;
}

/* What ran, in order. */
struct trace {
    char text[64];
    size_t len;
};

struct note {
    struct task task;
    struct trace *trace;
    char letter;
    struct loop *loop;
    struct task *then_post, *then_end;
};

static void add_letter(struct trace *trace, char letter)
{
    if (trace->len + 1 < sizeof(trace->text))
        trace->text[trace->len++] = letter;
}

static void run_note(struct task *task)
{
    struct note *note = CONTAINER_OF(task, struct note, task);
    add_letter(note->trace, note->letter);
    if (note->then_post)
        loop_post(note->loop, note->then_post);
    if (note->then_end)
        loop_at_end(note->loop, note->then_end);
}

static struct note make_note(struct loop *loop, struct trace *trace, char letter)
{
    return (struct note){.task = {.run = run_note}, .trace = trace, .letter = letter, .loop = loop};
}

static void tasks_run_in_order_and_once(void **state)
{
    struct loop *loop = *state;
    struct trace trace = {0};
    struct note a = make_note(loop, &trace, 'a'), b = make_note(loop, &trace, 'b'), c = make_note(loop, &trace, 'c');
    struct note e = make_note(loop, &trace, 'E'), f = make_note(loop, &trace, 'F');
    a.then_post = &c.task; /* in the same turn */
    a.then_end = &e.task;
    e.then_end = &f.task; /* in the next turn */
    e.then_post = &b.task;
    loop_post(loop, &a.task);
    loop_post(loop, &b.task);
    loop_post(loop, &a.task);
    loop_turn(loop, true);
    assert_string_equal(trace.text, "abcE");
    loop_turn(loop, true); /* must not sleep: tasks wait */
    assert_string_equal(trace.text, "abcEbF");
    loop_post(loop, &a.task);
    task_cancel(&a.task);
    assert_false(task_queued(&a.task));
    loop_turn(loop, false);
    assert_string_equal(trace.text, "abcEbF");
}

struct counter {
    struct task task;
    struct loop *loop;
    unsigned runs;
};

static void count_for_ever(struct task *task)
{
    struct counter *counter = CONTAINER_OF(task, struct counter, task);
    counter->runs++;
    loop_post(counter->loop, task);
}

static void the_budget_ends_a_turn(void **state)
{
    struct loop *loop = *state;
    struct counter counter = {.task = {.run = count_for_ever}, .loop = loop};
    loop_post(loop, &counter.task);
    loop_turn(loop, true);
    assert_int_equal(counter.runs, LOOP_TASK_BUDGET);
    loop_turn(loop, true);
    assert_int_equal(counter.runs, 2 * LOOP_TASK_BUDGET);
    task_cancel(&counter.task);
}

struct corpse {
    struct trace *trace;
    struct loop *loop;
    struct corpse *next;
    char letter;
};

static void free_corpse(void *object)
{
    struct corpse *corpse = object;
    add_letter(corpse->trace, corpse->letter);
    if (corpse->next)
        loop_bury(corpse->loop, corpse->next, free_corpse);
}

static void burial_comes_last(void **state)
{
    struct loop *loop = *state;
    struct trace trace = {0};
    struct corpse second = {.trace = &trace, .loop = loop, .letter = '2'};
    struct corpse first = {.trace = &trace, .loop = loop, .next = &second, .letter = '1'};
    struct note a = make_note(loop, &trace, 'a'), e = make_note(loop, &trace, 'E');
    a.then_end = &e.task;
    loop_bury(loop, &first, free_corpse);
    loop_post(loop, &a.task);
    assert_string_equal(trace.text, "");
    loop_turn(loop, true);
    assert_string_equal(trace.text, "aE12");
}

/* ---- timers ---- */

struct alarm {
    struct timer timer;
    struct loop *loop;
    uint64_t fired; /* loop time, 0: not yet */
    unsigned count;
    struct alarm *move; /* pushed far away when this one fires */
};

static void ring(struct timer *timer)
{
    struct alarm *alarm = CONTAINER_OF(timer, struct alarm, timer);
    alarm->fired = loop_now(alarm->loop);
    alarm->count++;
    if (alarm->move)
        timer_set(alarm->loop, &alarm->move->timer, loop_now(alarm->loop) + 50 * CLOCK_SECOND);
}

static void timers_fire_after_their_deadline_and_soon(void **state)
{
    struct loop *loop = *state;
    static const uint64_t spans[] = {0,       1,       999,      16384,     16385,        250000,
                                     1048575, 1048576, 67108864, 600000000, 4294967296000};
    for (size_t i = 0; i < ARRAY_LEN(spans); i++) {
        struct alarm alarm = {.timer = {.fire = ring}, .loop = loop};
        uint64_t deadline = loop_now(loop) + spans[i];
        timer_set(loop, &alarm.timer, deadline);
        if (spans[i] > 1)
            loop_advance(loop, spans[i] - 1);
        assert_int_equal(alarm.count, 0);
        loop_advance(loop, TIMER_GRAIN + 1);
        assert_int_equal(alarm.count, 1);
        assert_in_range(alarm.fired, deadline, deadline + TIMER_GRAIN);
        assert_false(timer_is_set(&alarm.timer));
    }
}

static void moving_later_is_lazy_and_earlier_is_not_lost(void **state)
{
    struct loop *loop = *state;
    struct alarm alarm = {.timer = {.fire = ring}, .loop = loop};
    uint64_t begin = loop_now(loop);
    timer_set(loop, &alarm.timer, begin + CLOCK_SECOND);
    struct list *place = alarm.timer.link.prev;
    timer_set(loop, &alarm.timer, begin + 10 * CLOCK_SECOND);
    assert_ptr_equal(alarm.timer.link.prev, place); /* no structure touched */
    loop_advance(loop, 9 * CLOCK_SECOND);
    assert_int_equal(alarm.count, 0);
    timer_set(loop, &alarm.timer, begin + 9500 * CLOCK_MS);
    loop_advance(loop, 600 * CLOCK_MS);
    assert_int_equal(alarm.count, 1);
    timer_set(loop, &alarm.timer, loop_now(loop) + 100);
    timer_clear(loop, &alarm.timer);
    timer_clear(loop, &alarm.timer);
    loop_advance(loop, CLOCK_SECOND);
    assert_int_equal(alarm.count, 1);
}

static void a_due_timer_moved_by_another_waits(void **state)
{
    struct loop *loop = *state;
    struct alarm b = {.timer = {.fire = ring}, .loop = loop};
    struct alarm a = {.timer = {.fire = ring}, .loop = loop, .move = &b};
    timer_set(loop, &a.timer, loop_now(loop) + 1000);
    timer_set(loop, &b.timer, loop_now(loop) + 1000);
    loop_advance(loop, 30 * CLOCK_MS);
    assert_int_equal(a.count, 1);
    assert_int_equal(b.count, 0);
    loop_advance(loop, 51 * CLOCK_SECOND);
    assert_int_equal(b.count, 1);
}

/* Many timers set, moved and cleared at random, against the plain rule. */
static void the_wheel_agrees_with_the_rule(void **state)
{
    struct loop *loop = *state;
    enum { COUNT = 64 };
    struct alarm alarms[COUNT] = {{.count = 0}};
    bool set[COUNT] = {false};
    uint64_t random = 7;
    for (unsigned i = 0; i < COUNT; i++)
        alarms[i] = (struct alarm){.timer = {.fire = ring}, .loop = loop};
    for (unsigned round = 0; round < 20000; round++) {
        unsigned i = (unsigned)(hash_random(&random) % COUNT);
        uint64_t span = hash_random(&random) >> (hash_random(&random) % 40 + 24);
        unsigned what = (unsigned)(hash_random(&random) % 4);
        if (what == 0) {
            timer_clear(loop, &alarms[i].timer);
            set[i] = false;
        } else if (what < 3) {
            alarms[i].fired = 0;
            timer_set(loop, &alarms[i].timer, loop_now(loop) + span);
            set[i] = true;
        } else {
            uint64_t step = span % (60 * CLOCK_SECOND);
            clock_fake(loop_now(loop) + step, 1);
            loop_turn(loop, false);
        }
        for (unsigned k = 0; k < COUNT; k++) {
            uint64_t now = loop_now(loop), deadline = alarms[k].timer.deadline;
            if (set[k] && alarms[k].fired) {
                assert_true(alarms[k].fired >= deadline);
                set[k] = false;
            } else if (set[k]) {
                assert_true(now < deadline + 2 * TIMER_GRAIN || what != 3);
            }
            assert_int_equal(timer_is_set(&alarms[k].timer), set[k]);
        }
    }
    for (unsigned i = 0; i < COUNT; i++)
        timer_clear(loop, &alarms[i].timer);
}

static void an_empty_wheel_wants_nothing(void **state)
{
    (void)state;
    static struct wheel wheel;
    struct list due;
    list_init(&due);
    wheel_init(&wheel, START);
    assert_true(wheel_next(&wheel) == WHEEL_NEVER);
    struct timer timer = {.deadline = START + 600 * CLOCK_SECOND};
    wheel_file(&wheel, &timer);
    unsigned stops = 0;
    uint64_t now = START;
    while (list_empty(&due)) {
        uint64_t next = wheel_next(&wheel);
        assert_true(next > now && next <= timer.deadline + TIMER_GRAIN);
        now = next;
        wheel_advance(&wheel, now, &due);
        stops++;
    }
    assert_true(stops <= 4); /* ten minutes cost a handful of wake-ups */
    assert_true(now >= timer.deadline);
    assert_true(wheel_next(&wheel) == WHEEL_NEVER);
}

/* ---- real time, mail, signals ---- */

static void stop_timer(struct timer *timer)
{
    struct alarm *alarm = CONTAINER_OF(timer, struct alarm, timer);
    alarm->count++;
    loop_stop(alarm->loop);
}

static void a_sleeping_loop_wakes_for_its_timer(void **state)
{
    (void)state;
    struct loop *loop = loop_create();
    struct alarm alarm = {.timer = {.fire = stop_timer}, .loop = loop};
    uint64_t deadline = loop_now(loop) + 5 * CLOCK_MS;
    timer_set(loop, &alarm.timer, deadline);
    loop_run(loop);
    assert_int_equal(alarm.count, 1);
    assert_true(loop_now(loop) >= deadline);
    loop_destroy(loop);
}

enum { SENDERS = 4, LETTERS = 2000 };

struct letter {
    struct mail mail;
    struct post_office *office;
    unsigned sender, number;
};

struct post_office {
    struct loop *loop;
    unsigned received, expected[SENDERS];
    struct letter letters[SENDERS][LETTERS];
};

static void read_letter(struct mail *mail)
{
    struct letter *letter = CONTAINER_OF(mail, struct letter, mail);
    struct post_office *office = letter->office;
    assert_int_equal(letter->number, office->expected[letter->sender]);
    office->expected[letter->sender]++;
    if (++office->received == SENDERS * LETTERS)
        loop_stop(office->loop);
}

struct sender {
    struct post_office *office;
    unsigned index;
};

static void *send_letters(void *arg)
{
    struct sender *sender = arg;
    for (unsigned i = 0; i < LETTERS; i++) {
        struct letter *letter = &sender->office->letters[sender->index][i];
        *letter = (struct letter){
            .mail = {.run = read_letter}, .office = sender->office, .sender = sender->index, .number = i};
        loop_call(sender->office->loop, &letter->mail);
    }
    return NULL;
}

static void mail_of_many_threads_arrives_once_and_in_order(void **state)
{
    (void)state;
    struct post_office *office = calloc(1, sizeof(*office));
    assert_non_null(office);
    office->loop = loop_create();
    pthread_t threads[SENDERS];
    struct sender senders[SENDERS];
    for (unsigned i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){.office = office, .index = i};
        assert_int_equal(pthread_create(&threads[i], NULL, send_letters, &senders[i]), 0);
    }
    loop_run(office->loop);
    for (unsigned i = 0; i < SENDERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    loop_turn(office->loop, false);
    assert_int_equal(office->received, SENDERS * LETTERS);
    loop_destroy(office->loop);
    free(office);
}

static void signal_seen(void *arg, int signo)
{
    struct alarm *alarm = arg;
    alarm->count += (unsigned)signo;
    loop_stop(alarm->loop);
}

static void signals_arrive_in_a_turn(void **state)
{
    (void)state;
    struct loop *loop = loop_create();
    struct alarm alarm = {.loop = loop};
    loop_signal(loop, SIGUSR1, signal_seen, &alarm);
    assert_int_equal(raise(SIGUSR1), 0);
    assert_int_equal(alarm.count, 0);
    loop_run(loop);
    assert_int_equal(alarm.count, SIGUSR1);
    loop_destroy(loop);
}

/* ---- watches ---- */

struct pipe_end {
    struct watch *watch;
    int fd;
    unsigned calls;
    bool destroy;
};

static void pipe_ready(void *arg, unsigned ready)
{
    struct pipe_end *end = arg;
    assert_int_equal(ready, WATCH_READ);
    end->calls++;
    if (end->destroy) {
        watch_destroy(end->watch);
        end->watch = NULL;
        assert_int_equal(close(end->fd), 0);
    }
}

static void watches_follow_interest(void **state)
{
    struct loop *loop = *state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    struct pipe_end end = {.fd = fds[0]};
    end.watch = watch_create(loop, fds[0], pipe_ready, &end);
    assert_int_equal(write(fds[1], "x", 1), 1);
    loop_turn(loop, false);
    assert_int_equal(end.calls, 0);
    watch_want(end.watch, WATCH_READ);
    loop_turn(loop, true);
    loop_turn(loop, true); /* level-triggered */
    assert_int_equal(end.calls, 2);
    watch_want(end.watch, 0);
    loop_turn(loop, false);
    assert_int_equal(end.calls, 2);
    watch_want(end.watch, WATCH_READ);
    end.destroy = true;
    loop_turn(loop, true);
    loop_turn(loop, false);
    assert_int_equal(end.calls, 3);
    assert_null(end.watch);
    assert_int_equal(close(fds[1]), 0);
}

/* What is always ready does not keep a turn from ending: time stands still within one. */
static void a_turn_looks_once(void **state)
{
    struct loop *loop = *state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    struct pipe_end end = {.fd = fds[0]};
    end.watch = watch_create(loop, fds[0], pipe_ready, &end);
    assert_int_equal(write(fds[1], "x", 1), 1);
    watch_want(end.watch, WATCH_READ);
    loop_turn(loop, false);
    assert_int_equal(end.calls, 1);
    watch_destroy(end.watch);
    assert_int_equal(close(fds[0]), 0);
    assert_int_equal(close(fds[1]), 0);
    loop_turn(loop, false);
}

/* ---- pendings ---- */

struct operation {
    struct pending pending;
    struct trace *trace;
    char letter;
};

static void operation_cancel(struct pending *p)
{
    struct operation *operation = CONTAINER_OF(p, struct operation, pending);
    assert_false(p->live);
    add_letter(operation->trace, operation->letter);
}

static void operation_timeout(struct pending *p)
{
    struct operation *operation = CONTAINER_OF(p, struct operation, pending);
    add_letter(operation->trace, (char)(operation->letter - 'a' + 'A'));
}

static void a_pending_ends_once(void **state)
{
    struct loop *loop = *state;
    struct trace trace = {0};
    struct list list;
    list_init(&list);
    struct operation ops[4];
    for (unsigned i = 0; i < 4; i++) {
        ops[i] = (struct operation){.trace = &trace, .letter = (char)('a' + i)};
        pending_start(&list, &ops[i].pending, loop, loop_now(loop) + (i + 1) * CLOCK_SECOND, operation_timeout,
                      operation_cancel);
    }
    assert_int_equal(pending_count(), 4);
    loop_advance(loop, CLOCK_SECOND + TIMER_GRAIN); /* the first times out */
    assert_string_equal(trace.text, "A");
    pending_complete(&ops[2].pending);
    pending_cancel(&ops[2].pending); /* too late: nothing */
    assert_int_equal(pending_count(), 2);
    pending_cancel_all(&list); /* newest first */
    assert_string_equal(trace.text, "Adb");
    assert_int_equal(pending_count(), 0);
    loop_advance(loop, 10 * CLOCK_SECOND);
    assert_string_equal(trace.text, "Adb");
    assert_true(list_empty(&list));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(tasks_run_in_order_and_once, fake_loop, end_loop),
        cmocka_unit_test_setup_teardown(the_budget_ends_a_turn, fake_loop, end_loop),
        cmocka_unit_test_setup_teardown(burial_comes_last, fake_loop, end_loop),
        cmocka_unit_test_setup_teardown(timers_fire_after_their_deadline_and_soon, fake_loop, end_loop),
        cmocka_unit_test_setup_teardown(moving_later_is_lazy_and_earlier_is_not_lost, fake_loop, end_loop),
        cmocka_unit_test_setup_teardown(a_due_timer_moved_by_another_waits, fake_loop, end_loop),
        cmocka_unit_test_setup_teardown(the_wheel_agrees_with_the_rule, fake_loop, end_loop),
        cmocka_unit_test(an_empty_wheel_wants_nothing),
        cmocka_unit_test(a_sleeping_loop_wakes_for_its_timer),
        cmocka_unit_test(mail_of_many_threads_arrives_once_and_in_order),
        cmocka_unit_test(signals_arrive_in_a_turn),
        cmocka_unit_test_setup_teardown(watches_follow_interest, fake_loop, end_loop),
        cmocka_unit_test_setup_teardown(a_turn_looks_once, fake_loop, end_loop),
        cmocka_unit_test_setup_teardown(a_pending_ends_once, fake_loop, end_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
