/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/target_state.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/memory.h"

/* Touched when snapshots are built and dropped only, by whichever thread drops the last reference. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct target_state *all;

struct target_state *target_state_get(struct span target, struct span deployment)
{
    struct arena arena;
    arena_init(&arena);
    /* A line feed occurs in neither name. */
    struct span name = arena_format(&arena, "%.*s\n%.*s", SPAN_ARG(target), SPAN_ARG(deployment));
    pthread_mutex_lock(&lock);
    struct target_state *state = all;
    while (state && !span_equal(span_str(state->name), name))
        state = state->next;
    if (!state) {
        state = memory_zalloc(sizeof(*state));
        state->name = memory_string(name);
        state->next = all;
        all = state;
    }
    state->refs++;
    pthread_mutex_unlock(&lock);
    arena_finish(&arena);
    return state;
}

void target_state_unref(struct target_state *state)
{
    if (!state)
        return;
    pthread_mutex_lock(&lock);
    if (--state->refs == 0) {
        struct target_state **link = &all;
        while (*link != state)
            link = &(*link)->next;
        *link = state->next;
        free(state->name);
        free(state);
    }
    pthread_mutex_unlock(&lock);
}

uint64_t target_state_blocked(const struct target_state *state, uint64_t now)
{
    uint64_t cool = atomic_load_explicit(&state->cool_until, memory_order_relaxed);
    uint64_t rest = atomic_load_explicit(&state->rest_until, memory_order_relaxed);
    uint64_t until = cool > rest ? cool : rest;
    return until > now ? until : 0;
}

void target_state_cool(struct target_state *state, uint64_t until)
{
    atomic_store_explicit(&state->cool_until, until, memory_order_relaxed);
}

void target_state_rest(struct target_state *state, uint64_t until)
{
    atomic_store_explicit(&state->rest_until, until, memory_order_relaxed);
}
