/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue of requests that a limit with max_wait holds: in order of arrival for each key, as only the first of a key
 * is tried. Looked at when the first could be let in by what its limit said, and whenever an exchange of this worker
 * settles. Other workers have their own queues: between them a place goes to whoever asks first.
 */
#include "base/clock.h"
#include "filters/rate_limit.h"
#include "gateway/worker.h"

/* Places of other workers become free without a word: look that often. */
#define LOOK_PERIOD (25 * CLOCK_MS)

static unsigned class_of(const struct limits_part *part)
{
    return (unsigned)(part->hash % WAIT_CLASSES);
}

/* The limits that refuse would all be waited for long enough, as far as they know. */
static bool may_wait(const struct rate_limit_state *state, uint64_t already)
{
    for (unsigned i = 0; i < state->call.count; i++) {
        const struct limits_part *part = &state->call.parts[i];
        if (part->shadow || part->answer.granted)
            continue;
        uint64_t most = state->of[i]->max_wait;
        if (part->answer.wait == LIMIT_NEVER || already >= most || part->answer.wait > most - already)
            return false;
    }
    return true;
}

/* The shortest patience of those that refuse; of those with a queue when none does. */
static uint64_t patience(const struct rate_limit_instance *instance, const struct rate_limit_state *state)
{
    uint64_t least = UINT64_MAX;
    for (unsigned i = 0; i < state->call.count; i++) {
        const struct limits_part *part = &state->call.parts[i];
        bool waits = !part->answer.granted || instance->classes[class_of(part)];
        if (!part->shadow && waits && state->of[i]->max_wait && state->of[i]->max_wait < least)
            least = state->of[i]->max_wait;
    }
    return least;
}

static void leave(struct rate_limit_state *state)
{
    struct rate_limit_instance *instance = state->filter->instance;
    list_remove(&state->link);
    instance->classes[state->wait_class]--;
    instance->waiting--;
}

static void cancelled(struct pending *pending)
{
    leave(CONTAINER_OF(pending, struct rate_limit_state, pending));
}

/* True when it has left the queue, let in or refused. */
static bool try_again(struct rate_limit_state *state, bool last_time)
{
    struct filter *filter = state->filter;
    struct rate_limit_instance *instance = filter->instance;
    uint64_t waited = loop_now(instance->worker->loop) - state->since;
    enum limits_result result = rate_limit_reserve(filter);
    if (result == LIMITS_REFUSED && !last_time && may_wait(state, waited))
        return false;
    if (!last_time)
        pending_complete(&state->pending);
    leave(state);
    if (result == LIMITS_PENDING) /* the store goes on with it */
        return true;
    if (result == LIMITS_GRANTED)
        filter_continue(filter);
    else if (result == LIMITS_REFUSED)
        (void)rate_limit_refuse(filter);
    else
        filter_fail(filter, FAULT_OVERLOADED, (struct span){0}, (struct span){0});
    return true;
}

static void timed_out(struct pending *pending)
{
    (void)try_again(CONTAINER_OF(pending, struct rate_limit_state, pending), true);
}

static void set_timer(struct rate_limit_instance *instance, uint64_t at)
{
    if (!timer_is_set(&instance->timer) || instance->timer.deadline > at)
        timer_set(instance->worker->loop, &instance->timer, at);
}

static uint64_t next_look(const struct rate_limit_instance *instance, const struct rate_limit_state *state)
{
    uint64_t wait = limits_wait(&state->call, NULL);
    return loop_now(instance->worker->loop) + (wait ? wait : LOOK_PERIOD);
}

static void look_through(struct rate_limit_instance *instance)
{
    uint64_t blocked[WAIT_CLASSES / 64] = {0};
    LIST_EACH(&instance->waiters, link)
    {
        struct rate_limit_state *state = CONTAINER_OF(link, struct rate_limit_state, link);
        unsigned class = state->wait_class;
        if (blocked[class / 64] & UINT64_C(1) << class % 64)
            continue;
        if (try_again(state, false))
            continue;
        blocked[class / 64] |= UINT64_C(1) << class % 64;
        set_timer(instance, next_look(instance, state));
    }
}

static void timer_fired(struct timer *timer)
{
    look_through(CONTAINER_OF(timer, struct rate_limit_instance, timer));
}

static void look(struct task *task)
{
    look_through(CONTAINER_OF(task, struct rate_limit_instance, look));
}

void rate_limit_queue_init(struct rate_limit_instance *instance)
{
    list_init(&instance->waiters);
    instance->timer.fire = timer_fired;
    instance->look.run = look;
}

void rate_limit_queue_wake(struct rate_limit_instance *instance)
{
    if (instance->waiting)
        loop_post(instance->worker->loop, &instance->look);
}

bool rate_limit_must_queue(const struct filter *filter)
{
    const struct rate_limit_instance *instance = filter->instance;
    const struct rate_limit_state *state = filter->state;
    for (unsigned i = 0; instance->waiting && i < state->call.count; i++)
        if (state->of[i]->max_wait && !state->call.parts[i].shadow &&
            instance->classes[class_of(&state->call.parts[i])])
            return true;
    return false;
}

bool rate_limit_wait(struct filter *filter)
{
    const struct rate_limit_settings *settings = filter->settings;
    struct rate_limit_instance *instance = filter->instance;
    struct rate_limit_state *state = filter->state;
    struct loop *loop = instance->worker->loop;
    uint64_t longest = patience(instance, state);
    if (!state->since)
        state->since = loop_now(loop);
    if (longest == UINT64_MAX || instance->waiting >= settings->max_waiting ||
        !may_wait(state, loop_now(loop) - state->since))
        return false;
    const struct limits_part *part;
    (void)limits_wait(&state->call, &part);
    for (unsigned i = 0; !part && i < state->call.count; i++) /* nobody refused: those before it are in the way */
        if (state->of[i]->max_wait && instance->classes[class_of(&state->call.parts[i])])
            part = &state->call.parts[i];
    if (!part)
        return false;
    state->wait_class = class_of(part);
    instance->classes[state->wait_class]++;
    instance->waiting++;
    list_append(&instance->waiters, &state->link);
    pending_start(filter_pendings(filter), &state->pending, loop, state->since + longest, timed_out, cancelled);
    set_timer(instance, next_look(instance, state));
    rate_limit_count(filter, state->of[part - state->call.parts]->name, SPAN("waited"));
    return true;
}
