/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/credentials.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "gateway/credential_internal.h"
#include "gateway/worker.h"

/* "Bearer ", which the value begins with. */
#define SCHEME_LEN 7
/* A target that refuses a token younger than this does not mind its age. */
#define AGED        (60 * CLOCK_SECOND)
#define ROLE_LOGGED (60 * CLOCK_SECOND)

bool credential_is_clients(const struct target *target)
{
    return target->identity && target->identity->kind == IDENTITY_CLIENT;
}

/* A target without a credential that demands one is just as much the operator's matter as one that refuses ours. */
bool credential_is_ours(const struct target *target)
{
    return target->config->mock == NULL && !credential_is_clients(target);
}

bool credential_usable(const struct credential *c)
{
    return c->value && (c->usable_until == 0 || loop_now(c->worker->loop) < c->usable_until);
}

static bool is_asking(const struct credential *c)
{
    return c->fetch.pending.live || task_queued(&c->unasked);
}

/* ---- finding ---- */

static void adopt_identity(struct credential *c, struct snapshot *snapshot, const struct identity *identity)
{
    struct snapshot *old = c->snapshot;
    c->snapshot = snapshot_ref(snapshot);
    c->identity = identity;
    snapshot_unref(old);
}

static void settle(struct task *task);

static struct credential *create(struct worker *worker, struct snapshot *snapshot, const struct identity *identity,
                                 struct span key, struct span scope)
{
    struct credential *c = memory_zalloc(sizeof(*c));
    c->worker = worker;
    c->key = span_of(memory_string(key), key.len);
    c->scope = span_skip(c->key, key.len - scope.len);
    c->settle.run = settle;
    list_init(&c->waiters);
    list_init(&c->watches);
    adopt_identity(c, snapshot, identity);
    credential_refresh_init(c);
    (void)table_put(&worker->credentials->by_key, c->key, c);
    /* What the configuration was loaded with, until the file is looked at. */
    if (identity->kind == IDENTITY_API_KEY && identity->config->api_key.value.len) {
        credential_set(c, identity->config->api_key.value);
        c->state = CREDENTIAL_GOOD;
    }
    return c;
}

struct credential *credential_get(struct worker *worker, struct snapshot *snapshot, const struct identity *identity,
                                  struct span scope)
{
    scope = scope.len ? scope : identity->scope;
    struct buffer key = {0};
    buffer_append(&key, identity->key);
    buffer_append(&key, scope);
    struct credential *c = table_get(&worker->credentials->by_key, buffer_span(&key));
    if (!c)
        c = create(worker, snapshot, identity, buffer_span(&key), scope);
    else if (snapshot == worker->snapshot && c->snapshot != snapshot)
        adopt_identity(c, snapshot, identity);
    buffer_finish(&key);
    return c;
}

/* By index for exchanges of the present snapshot, by key for those that began under an older one. */
static struct credential *of_target(struct worker *worker, struct snapshot *snapshot, const struct target *target)
{
    const struct credentials *all = worker->credentials;
    if (snapshot == all->snapshot)
        return all->by_index[target->identity - snapshot->identities];
    return credential_get(worker, snapshot, target->identity, (struct span){0});
}

/* ---- waiting ---- */

static bool satisfies(const struct credential *c, uint64_t beyond)
{
    return credential_usable(c) && c->generation > beyond;
}

static void say_why(const struct credential *c, const char *otherwise, char *text, size_t size)
{
    (void)snprintf(text, size, "credential %.*s: %s", SPAN_ARG(c->identity->name),
                   c->detail[0] ? c->detail : otherwise);
}

static void finish(struct credential_wait *wait, enum fault why, const char *otherwise)
{
    char detail[400] = "";
    if (why != FAULT_NONE)
        say_why(wait->credential, otherwise, detail, sizeof(detail));
    wait->done(wait, why, detail);
}

static bool in_vain(const struct credential *c, const struct credential_wait *wait)
{
    if (wait->hopeless || !identity_asks(c->identity))
        return true;
    if (is_asking(c))
        return false;
    return !wait->patient || !credential_passes(&c->failure) || c->retry_at >= wait->deadline;
}

static void settle(struct task *task)
{
    struct credential *c = CONTAINER_OF(task, struct credential, settle);
    struct list waiting;
    list_init(&waiting);
    while (!list_empty(&c->waiters)) { /* whoever is told may wait again */
        struct list *link = c->waiters.next;
        list_remove(link);
        list_append(&waiting, link);
    }
    while (!list_empty(&waiting)) {
        struct credential_wait *wait = LIST_FIRST(&waiting, struct credential_wait, link);
        list_remove(&wait->link);
        bool good = satisfies(c, wait->beyond);
        if (!good && !in_vain(c, wait)) {
            list_append(&c->waiters, &wait->link);
            continue;
        }
        pending_complete(&wait->pending);
        finish(wait, good ? FAULT_NONE : FAULT_CREDENTIAL_UNAVAILABLE, "there is none");
    }
}

void credential_settle(struct credential *c)
{
    loop_post(c->worker->loop, &c->settle);
}

static void wait_timed_out(struct pending *pending)
{
    struct credential_wait *wait = CONTAINER_OF(pending, struct credential_wait, pending);
    list_remove(&wait->link);
    finish(wait, FAULT_CREDENTIAL_UNAVAILABLE, "no token came in time");
}

static void wait_cancelled(struct pending *pending)
{
    list_remove(&CONTAINER_OF(pending, struct credential_wait, pending)->link);
}

static bool needs_none(const struct target *target)
{
    return !target->identity || target->identity->kind == IDENTITY_CLIENT;
}

bool credential_ready(struct worker *worker, struct snapshot *snapshot, const struct target *target, uint64_t beyond)
{
    if (needs_none(target))
        return true;
    struct credential *c = of_target(worker, snapshot, target);
    (void)credential_look(c, false);
    return satisfies(c, beyond);
}

void credential_start(struct worker *worker, struct snapshot *snapshot, const struct target *target,
                      struct list *pendings, struct credential_wait *wait)
{
    struct credential *c = of_target(worker, snapshot, target);
    struct loop *loop = worker->loop;
    uint64_t now = loop_now(loop);
    wait->credential = c;
    wait->deadline = now + wait->timeout;
    pending_start(pendings, &wait->pending, loop, wait->deadline, wait_timed_out, wait_cancelled);
    list_append(&c->waiters, &wait->link);
    if (now >= c->retry_at)
        credential_ask_now(c);
    wait->hopeless = in_vain(c, wait);
    if (wait->hopeless)
        credential_settle(c);
}

bool credential_apply(struct worker *worker, struct snapshot *snapshot, const struct target *target,
                      struct arena *arena, struct fields *fields, uint64_t *ret_generation)
{
    *ret_generation = 0;
    if (needs_none(target))
        return true;
    const struct credential *c = of_target(worker, snapshot, target);
    if (!credential_usable(c))
        return false;
    struct span value = span_of(c->value, c->value_len);
    if (target->config->azure && target->identity->kind == IDENTITY_API_KEY)
        fields_add_id(fields, arena, FIELD_API_KEY, span_skip(value, SCHEME_LEN));
    else
        fields_add_id(fields, arena, FIELD_AUTHORIZATION, value);
    *ret_generation = c->generation;
    return true;
}

/* ---- a target that refuses ---- */

bool credential_may_renew(struct worker *worker, struct snapshot *snapshot, const struct target *target,
                          uint64_t generation)
{
    if (generation == 0 || !target->identity)
        return false;
    struct credential *c = of_target(worker, snapshot, target);
    (void)credential_look(c, true);
    if (credential_usable(c) && c->generation > generation)
        return true;
    uint64_t now = loop_now(worker->loop);
    return identity_asks(c->identity) && now - c->obtained_at > AGED && now >= c->retry_at;
}

void credential_lacks_role(struct worker *worker, struct snapshot *snapshot, const struct target *target,
                           unsigned status)
{
    if (needs_none(target))
        return;
    struct credential *c = of_target(worker, snapshot, target);
    uint64_t now = loop_now(worker->loop);
    if (c->role_logged_at && now - c->role_logged_at < ROLE_LOGGED)
        return;
    c->role_logged_at = now;
    log_write(
        LOG_WARNING, "credential",
        "%.*s (%.*s): target %.*s answers %u, the identity lacks the role; assign it Cognitive Services OpenAI User "
        "on the resource (it takes five minutes and more to act)",
        SPAN_ARG(c->identity->name), SPAN_ARG(identity_kind_word(c->identity->kind)), SPAN_ARG(target->name), status);
}

/* ---- for others ---- */

bool credential_token(struct credential *c, struct span *ret_token, struct span *ret_object_id)
{
    (void)credential_look(c, false);
    if (!credential_usable(c))
        return false;
    *ret_token = span_skip(span_of(c->value, c->value_len), SCHEME_LEN);
    *ret_object_id = span_str(c->object_id);
    return true;
}

void credential_watch(struct credential *c, struct credential_watch *watch)
{
    list_append(&c->watches, &watch->link);
    if (!credential_usable(c) && loop_now(c->worker->loop) >= c->retry_at)
        credential_ask_now(c);
}

void credential_unwatch(struct credential_watch *watch)
{
    list_remove(&watch->link);
}

bool credentials_status(struct worker *worker, size_t *cursor, struct credential_status *ret)
{
    const struct credential *c = worker->credentials ? table_next(&worker->credentials->by_key, cursor) : NULL;
    if (!c)
        return false;
    uint64_t now = loop_now(worker->loop);
    *ret = (struct credential_status){.name = c->identity->name,
                                      .kind = identity_kind_word(c->identity->kind),
                                      .scope = c->scope,
                                      .state = c->state,
                                      .code = c->code,
                                      .trouble = c->trouble,
                                      .detail = c->detail,
                                      .expires_in = c->expires_at > now ? c->expires_at - now : 0,
                                      .retry_in = c->retry_at > now ? c->retry_at - now : 0,
                                      .obtained = c->obtained,
                                      .failed = c->failed};
    if (ret->state == CREDENTIAL_AILING && !credential_usable(c))
        ret->state = CREDENTIAL_FAILING;
    return true;
}

/* ---- life ---- */

static void destroy(struct credential *c)
{
    credential_refresh_finish(c);
    task_cancel(&c->settle);
    snapshot_unref(c->snapshot);
    free((void *)(uintptr_t)c->key.ptr);
    free(c);
}

struct credentials *credentials_create(struct worker *worker)
{
    struct credentials *all = memory_zalloc(sizeof(*all));
    all->worker = worker;
    table_init(&all->by_key);
    return all;
}

/* Nobody names it and nobody uses it. */
static bool is_left(const struct credential *c)
{
    return !c->named && list_empty(&c->waiters) && list_empty(&c->watches);
}

static void sweep(struct credentials *all)
{
    struct table kept;
    size_t cursor = 0;
    struct credential *c;
    table_init(&kept);
    while ((c = table_next(&all->by_key, &cursor)) != NULL) {
        if (is_left(c))
            destroy(c);
        else
            (void)table_put(&kept, c->key, c);
    }
    table_finish(&all->by_key);
    all->by_key = kept;
}

/* From the worker's own thread: workers are made by another. */
static void ask_ahead(struct task *task)
{
    struct credentials *all = CONTAINER_OF(task, struct credentials, ahead);
    struct snapshot *snapshot = all->snapshot;
    for (unsigned i = 0; i < snapshot->target_count; i++) {
        const struct identity *identity = snapshot->targets[i].identity;
        struct credential *c = identity ? all->by_index[identity - snapshot->identities] : NULL;
        if (c && !credential_usable(c) && loop_now(all->worker->loop) >= c->retry_at)
            credential_ask_now(c);
    }
}

void credentials_adopt(struct credentials *all, struct snapshot *snapshot)
{
    size_t cursor = 0;
    struct credential *c;
    while ((c = table_next(&all->by_key, &cursor)) != NULL)
        c->named = false;
    free(all->by_index);
    all->by_index = memory_array(snapshot->identity_count + 1, sizeof(struct credential *));
    for (unsigned i = 0; i < snapshot->identity_count; i++) {
        const struct identity *identity = &snapshot->identities[i];
        all->by_index[i] = NULL;
        if (identity->kind == IDENTITY_CLIENT)
            continue;
        c = credential_get(all->worker, snapshot, identity, (struct span){0});
        c->named = true;
        all->by_index[i] = c;
    }
    all->snapshot = snapshot;
    sweep(all);
    all->ahead.run = ask_ahead;
    loop_post(all->worker->loop, &all->ahead);
}

void credentials_destroy(struct credentials *all)
{
    if (!all)
        return;
    size_t cursor = 0;
    struct credential *c;
    task_cancel(&all->ahead);
    while ((c = table_next(&all->by_key, &cursor)) != NULL)
        destroy(c);
    table_finish(&all->by_key);
    free(all->by_index);
    free(all);
}
