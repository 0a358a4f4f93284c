/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/flight.h"

#include <stdlib.h>

#include "base/crypto.h"
#include "base/memory.h"
#include "gateway/attempt.h"
#include "gateway/exchange.h"
#include "gateway/flight_internal.h"
#include "gateway/worker.h"

/* Touched when workers attach and detach filters only. */
static pthread_mutex_t all_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct flights *all;
/* Process-wide on purpose: a test asks whether any is left. */
static atomic_uint live_flights;

unsigned flight_count(void)
{
    return atomic_load(&live_flights);
}

/* ---- the process's flights ---- */

struct flights *flights_get(struct span name)
{
    pthread_mutex_lock(&all_mutex);
    struct flights *flights = all;
    while (flights && !span_equal(span_str(flights->name), name))
        flights = flights->next;
    if (!flights) {
        flights = memory_zalloc(sizeof(*flights));
        flights->name = memory_string(name);
        pthread_mutex_init(&flights->mutex, NULL);
        table_init(&flights->joinable);
        crypto_random(flights->secret, sizeof(flights->secret));
        flights->next = all;
        all = flights;
    }
    flights->refs++;
    pthread_mutex_unlock(&all_mutex);
    return flights;
}

void flights_unref(struct flights *flights)
{
    pthread_mutex_lock(&all_mutex);
    bool last = --flights->refs == 0;
    if (last) {
        struct flights **link = &all;
        while (*link != flights)
            link = &(*link)->next;
        *link = flights->next;
    }
    pthread_mutex_unlock(&all_mutex);
    if (!last)
        return;
    table_finish(&flights->joinable);
    pthread_mutex_destroy(&flights->mutex);
    free(flights->name);
    free(flights);
}

static struct flights *flights_ref(struct flights *flights)
{
    pthread_mutex_lock(&all_mutex);
    flights->refs++;
    pthread_mutex_unlock(&all_mutex);
    return flights;
}

struct span flights_secret(const struct flights *flights)
{
    return span_of((const char *)flights->secret, sizeof(flights->secret));
}

void flight_forget(struct flight *flight)
{
    struct flights *flights = flight->flights;
    struct span key = span_of((const char *)flight->key, FLIGHT_KEY);
    pthread_mutex_lock(&flights->mutex);
    if (table_get(&flights->joinable, key) == flight)
        (void)table_remove(&flights->joinable, key);
    pthread_mutex_unlock(&flights->mutex);
}

/* ---- life ---- */

static void look(struct task *task);

static struct flight *create(struct flight_desk *desk, const struct flight_plan *plan)
{
    unsigned workers = desk->worker->process->worker_count;
    unsigned branches = workers > desk->worker->index ? workers : desk->worker->index + 1;
    struct flight *flight = memory_zalloc(sizeof(*flight) + branches * sizeof(flight->branches[0]));
    atomic_init(&flight->refs, 1); /* the flown exchange's */
    flight->flights = flights_ref(desk->flights);
    flight->owner = desk;
    memcpy(flight->key, plan->key, FLIGHT_KEY);
    flight->bound = plan->bound;
    flight->slow = plan->slow;
    flight->ops = plan->ops;
    flight->state = plan->state;
    flight->background = plan->background;
    flight->closed = plan->alone;
    flight->look.run = look;
    pthread_mutex_init(&flight->mutex, NULL);
    arena_init(&flight->arena);
    flight->branch_count = branches;
    for (unsigned i = 0; i < branches; i++) {
        flight->branches[i].flight = flight;
        list_init(&flight->branches[i].followers);
    }
    flight->branches[desk->worker->index].desk = desk;
    atomic_fetch_add(&live_flights, 1);
    return flight;
}

struct flight *flight_ref(struct flight *flight)
{
    atomic_fetch_add_explicit(&flight->refs, 1, memory_order_relaxed);
    return flight;
}

void flight_unref(struct flight *flight)
{
    if (atomic_fetch_sub_explicit(&flight->refs, 1, memory_order_acq_rel) != 1)
        return;
    flight->ops->finish(flight->state, flight->result);
    flight_log_free(flight);
    arena_finish(&flight->arena);
    pthread_mutex_destroy(&flight->mutex);
    flights_unref(flight->flights);
    free(flight);
    atomic_fetch_sub(&live_flights, 1);
}

/* ---- going aboard ---- */

/* One that still takes followers, locked; NULL: none. By the mutex of the flights. */
static struct flight *find_open(struct flights *flights, const uint8_t *key)
{
    struct flight *flight = table_get(&flights->joinable, span_of((const char *)key, FLIGHT_KEY));
    if (!flight)
        return NULL;
    pthread_mutex_lock(&flight->mutex);
    if (!flight->closed)
        return flight;
    pthread_mutex_unlock(&flight->mutex);
    /* Its key's bytes are the table's: they go with it. */
    (void)table_remove(&flights->joinable, span_of((const char *)key, FLIGHT_KEY));
    return NULL;
}

static struct flight *begin(struct flight_desk *desk, const struct flight_plan *plan)
{
    struct flight *flight = create(desk, plan);
    if (!plan->alone)
        (void)table_put(&desk->flights->joinable, span_of((const char *)flight->key, FLIGHT_KEY), flight);
    pthread_mutex_lock(&flight->mutex);
    return flight;
}

enum flight_role flight_board(struct flight_desk *desk, struct filter *filter, const struct flight_plan *plan)
{
    struct flight_follower *follower = NULL;
    pthread_mutex_lock(&desk->flights->mutex);
    struct flight *flight = plan->alone ? NULL : find_open(desk->flights, plan->key);
    enum flight_role role = flight ? FLIGHT_JOINED : FLIGHT_BEGAN;
    if (!flight)
        flight = begin(desk, plan);
    if (!plan->background) {
        follower = flight_follower_add(flight, desk, filter, plan);
        follower->first = role == FLIGHT_BEGAN;
    }
    pthread_mutex_unlock(&flight->mutex);
    pthread_mutex_unlock(&desk->flights->mutex);
    if (role == FLIGHT_BEGAN)
        flight_take_off(flight, filter);
    if (follower)
        filter_answer_stream(filter, &follower->stream);
    return role;
}

/* ---- news ---- */

static void post_followers(struct flight_branch *branch, struct loop *loop)
{
    LIST_EACH(&branch->followers, link)
    {
        struct flight_follower *follower = CONTAINER_OF(link, struct flight_follower, link);
        if (!follower->unwanted || follower->cut)
            loop_post(loop, &follower->task);
    }
}

/* By the flight's mutex, so that the branch's desk stays: somebody follows there, or it is the owner's. */
static void notify(struct flight_branch *branch)
{
    struct flight_desk *desk = branch->desk;
    pthread_mutex_lock(&desk->mutex);
    if (!list_linked(&branch->dirty)) {
        list_append(&desk->dirty, &branch->dirty);
        flight_ref(branch->flight);
    }
    if (!desk->mailed) {
        desk->mailed = true;
        loop_call(desk->worker->loop, &desk->mail);
    }
    pthread_mutex_unlock(&desk->mutex);
}

void flight_wake(struct flight *flight)
{
    unsigned own = flight->owner->worker->index;
    pthread_mutex_lock(&flight->mutex);
    for (unsigned i = 0; i < flight->branch_count; i++) {
        struct flight_branch *branch = &flight->branches[i];
        if (list_empty(&branch->followers))
            continue;
        if (i == own)
            post_followers(branch, branch->desk->worker->loop);
        else
            notify(branch);
    }
    pthread_mutex_unlock(&flight->mutex);
}

void flight_tell_owner(struct flight *flight, const struct worker *from)
{
    if (flight->owner->worker == from) {
        if (flight->flown)
            loop_post(from->loop, &flight->look);
        return;
    }
    pthread_mutex_lock(&flight->mutex);
    if (!flight->done)
        notify(&flight->branches[flight->owner->worker->index]);
    pthread_mutex_unlock(&flight->mutex);
}

/* Owner's thread: ends a call that nobody waits for, goes on with one that had to wait for its followers. */
static void look_after(struct flight *flight)
{
    struct exchange *flown = flight->flown;
    if (!flown)
        return;
    pthread_mutex_lock(&flight->mutex);
    bool wanted = flight->follower_count > 0 || flight->background;
    pthread_mutex_unlock(&flight->mutex);
    if (!wanted && !attempts_finished_well(flown->attempts)) {
        exchange_client_failed(flown, FAULT_CLIENT_GONE, "every client has left");
        return;
    }
    if (!flight->sink.congested || flight_log_trim(flight))
        return;
    flight->sink.congested = false;
    stream_arrived_room(&flight->sink);
}

static void look(struct task *task)
{
    look_after(CONTAINER_OF(task, struct flight, look));
}

/* ---- a worker's desk ---- */

static struct flight_branch *next_dirty(struct flight_desk *desk)
{
    pthread_mutex_lock(&desk->mutex);
    struct flight_branch *branch = LIST_FIRST(&desk->dirty, struct flight_branch, dirty);
    if (branch)
        list_remove(&branch->dirty);
    else
        desk->mailed = false;
    pthread_mutex_unlock(&desk->mutex);
    return branch;
}

static void mail_came(struct mail *mail)
{
    struct flight_desk *desk = CONTAINER_OF(mail, struct flight_desk, mail);
    struct flight_branch *branch;
    while ((branch = next_dirty(desk)) != NULL) {
        struct flight *flight = branch->flight;
        pthread_mutex_lock(&flight->mutex);
        post_followers(branch, desk->worker->loop);
        pthread_mutex_unlock(&flight->mutex);
        if (flight->owner == desk)
            look_after(flight);
        flight_unref(flight);
    }
}

struct flight_desk *flight_desk_create(struct worker *worker, struct flights *flights)
{
    struct flight_desk *desk = memory_zalloc(sizeof(*desk));
    desk->worker = worker;
    desk->refs = 1;
    desk->flights = flights_ref(flights);
    pthread_mutex_init(&desk->mutex, NULL);
    list_init(&desk->dirty);
    desk->mail.run = mail_came;
    return desk;
}

static void free_desk(struct flight_desk *desk)
{
    task_cancel(&desk->burial);
    pthread_mutex_destroy(&desk->mutex);
    free(desk);
}

static void last_mail(struct mail *mail)
{
    free_desk(CONTAINER_OF(mail, struct flight_desk, mail));
}

static void loop_ends(struct task *task)
{
    free_desk(CONTAINER_OF(task, struct flight_desk, burial));
}

struct flight_desk *flight_desk_ref(struct flight_desk *desk)
{
    desk->refs++;
    return desk;
}

void flight_desk_unref(struct flight_desk *desk)
{
    struct flight_branch *branch;
    if (--desk->refs)
        return;
    pthread_mutex_lock(&desk->mutex);
    bool under_way = desk->mailed;
    pthread_mutex_unlock(&desk->mutex);
    while ((branch = next_dirty(desk)) != NULL)
        flight_unref(branch->flight);
    flights_unref(desk->flights);
    if (!under_way) {
        free_desk(desk);
        return;
    }
    /* The loop knows its address until the mail has come or the loop has gone. */
    desk->mail.run = last_mail;
    desk->burial.run = loop_ends;
    loop_at_destroy(desk->worker->loop, &desk->burial);
}
