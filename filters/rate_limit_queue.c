/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue of requests that a limit with max_wait holds: in order of arrival for each key, as only the first of a key
 * is tried. It is tried when it could be let in by what its limit said, and whenever an exchange of this worker that
 * counted for the same key has settled. While a store is asked for it, it keeps its place. Other workers have their own
 * queues: between them a place goes to whoever asks first.
 */
#include "base/clock.h"
#include "filters/rate_limit.h"
#include "gateway/worker.h"

/* Places of other workers become free without a word: look that often. */
#define LOOK_PERIOD (25 * CLOCK_MS)
/* In a shared store the pause doubles with each try, up to so many times. */
#define LOOK_DOUBLED 3

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

/* Something has changed for that class: look soon. */
static void wake(struct rate_limit_instance *instance, unsigned class)
{
    instance->woken[class / 64] |= UINT64_C(1) << class % 64;
    if (instance->waiting)
        loop_post(instance->worker->loop, &instance->look);
}

static void leave(struct rate_limit_state *state)
{
    struct rate_limit_instance *instance = state->filter->instance;
    list_remove(&state->link);
    state->queued = false;
    instance->classes[state->wait_class]--;
    instance->waiting--;
}

static void cancelled(struct pending *pending)
{
    struct rate_limit_state *state = CONTAINER_OF(pending, struct rate_limit_state, pending);
    leave(state);
    wake(state->filter->instance, state->wait_class);
}

/* It leaves the queue, let in or not. */
static void end_wait(struct rate_limit_state *state, enum limits_result result)
{
    struct filter *filter = state->filter;
    if (state->pending.live)
        pending_complete(&state->pending);
    leave(state);
    if (result == LIMITS_GRANTED)
        filter_continue(filter);
    else if (result == LIMITS_REFUSED)
        (void)rate_limit_refuse(filter);
    else
        (void)rate_limit_lost(filter);
}

/* Whether the one who was refused stays. */
static bool stays(const struct rate_limit_state *state)
{
    const struct rate_limit_instance *instance = state->filter->instance;
    return may_wait(state, loop_now(instance->worker->loop) - state->since);
}

/* True when it has left the queue. False: those behind it, of the same class, stay behind it. */
static bool try_again(struct rate_limit_state *state)
{
    if (state->asking)
        return false;
    state->tries++;
    enum limits_result result = rate_limit_reserve(state->filter);
    if (result == LIMITS_PENDING || (result == LIMITS_REFUSED && stays(state)))
        return false;
    end_wait(state, result);
    return true;
}

/* The last try; where the store is being asked already, that was it. */
static void timed_out(struct pending *pending)
{
    struct rate_limit_state *state = CONTAINER_OF(pending, struct rate_limit_state, pending);
    enum limits_result result = state->asking ? LIMITS_PENDING : rate_limit_reserve(state->filter);
    if (result == LIMITS_PENDING)
        leave(state); /* not waiting for others any more, but for the store */
    else
        end_wait(state, result);
    wake(state->filter->instance, state->wait_class);
}

static void set_timer(struct rate_limit_instance *instance, uint64_t at)
{
    if (!timer_is_set(&instance->timer) || instance->timer.deadline > at)
        timer_set(instance->worker->loop, &instance->timer, at);
}

/* A store that is asked over the wire is asked less often by one who waits long. */
static uint64_t look_period(const struct rate_limit_instance *instance, const struct rate_limit_state *state)
{
    unsigned doubled = !instance->shared ? 0 : state->tries < LOOK_DOUBLED ? state->tries : LOOK_DOUBLED;
    return LOOK_PERIOD << doubled;
}

static void plan_next(struct rate_limit_instance *instance, struct rate_limit_state *state)
{
    uint64_t wait = limits_wait(&state->call, NULL);
    state->look_at = loop_now(instance->worker->loop) + (wait ? wait : look_period(instance, state));
    set_timer(instance, state->look_at);
}

static void look_through(struct rate_limit_instance *instance)
{
    uint64_t blocked[WAIT_CLASSES / 64] = {0}, woken[WAIT_CLASSES / 64];
    uint64_t now = loop_now(instance->worker->loop);
    memcpy(woken, instance->woken, sizeof(woken));
    memset(instance->woken, 0, sizeof(instance->woken));
    LIST_EACH(&instance->waiters, link)
    {
        struct rate_limit_state *state = CONTAINER_OF(link, struct rate_limit_state, link);
        unsigned word = state->wait_class / 64;
        uint64_t bit = UINT64_C(1) << state->wait_class % 64;
        if (blocked[word] & bit)
            continue;
        bool due = (woken[word] & bit) || now >= state->look_at;
        if (due && try_again(state))
            continue;
        blocked[word] |= bit;
        if (!due)
            set_timer(instance, state->look_at);
        else if (!state->asking)
            plan_next(instance, state);
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

void rate_limit_queue_wake(const struct filter *filter)
{
    struct rate_limit_instance *instance = filter->instance;
    const struct rate_limit_state *state = filter->state;
    for (unsigned i = 0; instance->waiting && i < state->call.count; i++)
        wake(instance, class_of(&state->call.parts[i]));
}

void rate_limit_queue_answered(struct rate_limit_state *state, enum limits_result result)
{
    struct rate_limit_instance *instance = state->filter->instance;
    if (result == LIMITS_REFUSED && stays(state)) {
        plan_next(instance, state);
        return;
    }
    end_wait(state, result);
    wake(instance, state->wait_class); /* the next of its class */
}

const struct limit_settings *rate_limit_must_queue(const struct filter *filter)
{
    const struct rate_limit_instance *instance = filter->instance;
    const struct rate_limit_state *state = filter->state;
    for (unsigned i = 0; instance->waiting && i < state->call.count; i++)
        if (state->of[i]->max_wait && !state->call.parts[i].shadow &&
            instance->classes[class_of(&state->call.parts[i])])
            return state->of[i];
    return NULL;
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
    state->queued = true;
    list_append(&instance->waiters, &state->link);
    pending_start(filter_pendings(filter), &state->pending, loop, state->since + longest, timed_out, cancelled);
    plan_next(instance, state);
    rate_limit_count(filter, state->of[part - state->call.parts]->name, SPAN("waited"));
    return true;
}
