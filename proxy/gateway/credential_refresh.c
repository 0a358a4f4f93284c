/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "gateway/credential_ask.h"
#include "gateway/credential_internal.h"
#include "gateway/worker.h"

#define LOOK_EACH CLOCK_SECOND

static const struct token_trouble unreadable = {
    0, TOKEN_PROPAGATE, "a file that is needed cannot be used",
    "check the mount, and that the pod carries the label azure.workload.identity/use: \"true\""};
static const struct token_trouble garbled = {0, TOKEN_RETRY, "the answer is no token reply",
                                             "check that authority (AZURE_AUTHORITY_HOST) leads to one"};

/* ---- state ---- */

const char *credential_state_name(enum credential_state state)
{
    static const char *const names[] = {[CREDENTIAL_STARTING] = "starting",
                                        [CREDENTIAL_GOOD] = "good",
                                        [CREDENTIAL_AILING] = "ailing",
                                        [CREDENTIAL_FAILING] = "failing"};
    _Static_assert(ARRAY_LEN(names) == CREDENTIAL_FAILING + 1, "every state has a name");
    return names[state];
}

/* A line when something changes, not for every try; and of one worker, since all of them meet the same. */
static void enter(struct credential *c, enum credential_state state)
{
    static const char *const says[] = {[CREDENTIAL_STARTING] = "starts",
                                       [CREDENTIAL_GOOD] = "there is a token",
                                       [CREDENTIAL_AILING] = "renewing failed, the old token still serves",
                                       [CREDENTIAL_FAILING] = "there is no token"};
    enum log_level level = state == CREDENTIAL_GOOD ? LOG_INFO : LOG_WARNING;
    c->state = state;
    const struct identity *identity = c->identity;
    log_write(c->worker->index == 0 ? level : LOG_DEBUG, "credential", "%.*s (%.*s): %s%s%s", SPAN_ARG(identity->name),
              SPAN_ARG(identity_kind_word(identity->kind)), says[state], c->detail[0] ? ": " : "", c->detail);
}

static void succeeded(struct credential *c)
{
    c->failure = (struct credential_failure){0};
    c->retry_at = 0;
    c->code = 0;
    c->trouble = NULL;
    c->detail[0] = '\0';
    c->obtained++;
    if (c->state != CREDENTIAL_GOOD)
        enter(c, CREDENTIAL_GOOD);
}

/* Whether a file that it asks with is another than when it last asked, or not looked at yet. */
static bool files_changed(struct credential *c)
{
    struct span files[CREDENTIAL_ASK_FILES];
    unsigned count = credential_ask_files(c->identity, files);
    bool changed = false;
    for (unsigned i = 0; i < count; i++)
        changed |= secret_file_changed(files[i], &c->asked_with[i]);
    return changed;
}

/* Until then, a file that changes is looked for: a secret that was wrong is tried as soon as it is another. */
static void wait_for_retry(struct credential *c)
{
    struct span files[CREDENTIAL_ASK_FILES];
    struct loop *loop = c->worker->loop;
    uint64_t next = loop_now(loop) + LOOK_EACH;
    bool looks = credential_ask_files(c->identity, files) > 0 && next < c->retry_at;
    timer_set(loop, &c->timer, looks ? next : c->retry_at);
}

static void failed(struct credential *c, const struct token_trouble *trouble, uint64_t code, unsigned status,
                   uint64_t retry_after, const char *detail)
{
    bool other = c->trouble != trouble || c->code != code;
    uint64_t now = loop_now(c->worker->loop);
    c->failed++;
    c->trouble = trouble;
    c->code = code;
    c->failure = (struct credential_failure){.action = trouble->action,
                                             .count = c->failure.count + 1,
                                             .retry_after = retry_after,
                                             .imds = c->identity->kind == IDENTITY_MANAGED,
                                             .status = status};
    (void)snprintf(c->detail, sizeof(c->detail), "%s", detail);
    uint64_t wait = credential_retry_after(&c->failure, &c->worker->random);
    c->retry_at = now + wait;
    if (identity_asks(c->identity))
        wait_for_retry(c);
    enum credential_state state = credential_usable(c) ? CREDENTIAL_AILING : CREDENTIAL_FAILING;
    /* One that passes by itself at the first try again is not worth a line while the old token serves. */
    if (state != c->state || other)
        enter(c, state);
    credential_settle(c);
}

/* ---- the value ---- */

static void wipe(void *value)
{
    memory_wipe(value, strlen(value));
    free(value);
}

void credential_set(struct credential *c, struct span secret)
{
    static const char scheme[] = "Bearer ";
    char *old = c->value;
    size_t head = sizeof(scheme) - 1;
    c->value_len = head + secret.len;
    c->value = memory_alloc(c->value_len + 1);
    memcpy(c->value, scheme, head);
    memcpy(c->value + head, secret.ptr, secret.len);
    c->value[c->value_len] = '\0';
    c->generation++;
    c->obtained_at = loop_now(c->worker->loop);
    if (old) /* may have been handed out in this turn */
        loop_bury(c->worker->loop, old, wipe);
}

static void tell(struct credential *c)
{
    LIST_EACH(&c->watches, link)
    {
        struct credential_watch *watch = CONTAINER_OF(link, struct credential_watch, link);
        watch->changed(watch, c);
    }
}

/* ---- files ---- */

static struct span path_of(const struct credential *c)
{
    const struct config_credential *config = c->identity->config;
    return config->service_account_token ? config->service_account_token->file : config->api_key.file;
}

bool credential_look(struct credential *c, bool now)
{
    struct loop *loop = c->worker->loop;
    if (identity_asks(c->identity) || path_of(c).len == 0)
        return false;
    if (!now && c->looked_at && loop_now(loop) - c->looked_at < LOOK_EACH)
        return false;
    c->looked_at = loop_now(loop);
    if (!secret_file_changed(path_of(c), &c->mark))
        return false;
    struct buffer secret = {0};
    const char *reason;
    char detail[sizeof(c->detail)];
    bool good = secret_file_read(path_of(c), false, &secret, &reason);
    bool other =
        good && (!c->value || !span_equal_secret(buffer_span(&secret), span_of(c->value + 7, c->value_len - 7)));
    if (other)
        credential_set(c, buffer_span(&secret));
    buffer_wipe(&secret);
    if (good) {
        succeeded(c);
        if (other)
            tell(c);
        return other;
    }
    /* The last good one stays: a file that is being written is whole a moment later. */
    (void)snprintf(detail, sizeof(detail), "the file %.*s: %s", SPAN_ARG(path_of(c)), reason);
    c->mark = (struct secret_mark){0};
    failed(c, &unreadable, 0, 0, 0, detail);
    return false;
}

/* ---- asking ---- */

static void obtained(struct credential *c, const struct token_reply *reply, struct arena *arena)
{
    struct loop *loop = c->worker->loop;
    struct span object_id = {0};
    credential_set(c, reply->token);
    c->obtained_at = c->asked_at;
    c->usable_until = c->asked_at + credential_use_for(reply);
    c->expires_at = c->asked_at + reply->expires_in * CLOCK_SECOND;
    c->object_id[0] = '\0';
    if (token_object_id(reply->token, arena, &object_id) && object_id.len < sizeof(c->object_id))
        (void)snprintf(c->object_id, sizeof(c->object_id), "%.*s", SPAN_ARG(object_id));
    timer_set(loop, &c->timer, c->asked_at + credential_renew_after(reply, &c->worker->random));
    succeeded(c);
    credential_settle(c);
    tell(c);
}

static void refused(struct credential *c, const struct fetch_answer *answer, struct arena *arena)
{
    struct token_refusal refusal;
    char detail[sizeof(c->detail)], code[32] = "";
    token_refusal_read(answer->body, arena, &refusal);
    bool imds = c->identity->kind == IDENTITY_MANAGED;
    const struct token_trouble *trouble =
        imds ? token_trouble_imds(answer->status) : token_trouble(refusal.code, answer->status);
    if (refusal.code)
        (void)snprintf(code, sizeof(code), "AADSTS%llu, ", (unsigned long long)refusal.code);
    (void)snprintf(detail, sizeof(detail), "%s (%sHTTP %u%s%.*s); %s", trouble->meaning, code, answer->status,
                   refusal.error.len ? ", " : "", SPAN_ARG(refusal.error), trouble->remedy);
    failed(c, trouble, refusal.code, answer->status, fetch_retry_after(answer->fields, loop_wall(c->worker->loop)),
           detail);
}

static void answered(struct fetch *fetch, const struct fetch_answer *answer)
{
    struct credential *c = CONTAINER_OF(fetch, struct credential, fetch);
    char detail[sizeof(c->detail)];
    struct token_reply reply;
    struct arena arena;
    const char *reason;
    arena_init(&arena);
    if (answer->status == 0) {
        const struct token_trouble *trouble = token_trouble_unreachable();
        (void)snprintf(detail, sizeof(detail), "%s: %s; %s", trouble->meaning, answer->detail, trouble->remedy);
        failed(c, trouble, 0, 0, 0, detail);
    } else if (answer->status != 200) {
        refused(c, answer, &arena);
    } else if (token_reply_read(answer->body, loop_wall(c->worker->loop), &arena, &reply, &reason)) {
        obtained(c, &reply, &arena);
    } else {
        (void)snprintf(detail, sizeof(detail), "the reply %s; %s", reason, garbled.remedy);
        failed(c, &garbled, 0, answer->status, 0, detail);
    }
    arena_finish(&arena);
}

static void unasked(struct task *task)
{
    struct credential *c = CONTAINER_OF(task, struct credential, unasked);
    char detail[sizeof(c->detail)];
    (void)snprintf(detail, sizeof(detail), "%s", c->detail);
    failed(c, &unreadable, 0, 0, 0, detail);
}

void credential_ask_now(struct credential *c)
{
    struct loop *loop = c->worker->loop;
    if (c->fetch.pending.live || task_queued(&c->unasked) || !identity_asks(c->identity))
        return;
    struct credential_ask ask;
    struct span reason = {0};
    struct net_error error;
    c->asked_at = loop_now(loop);
    (void)files_changed(c); /* before they are read: what changes from here on is found later */
    if (c->identity->trust) /* the proxy of identity bindings renews its authority's file */
        (void)tls_context_reload(c->identity->trust, &error);
    if (credential_ask_init(&ask, c->identity, c->scope, loop_wall(loop), &reason)) {
        fetch_start(c->worker, NULL, &c->fetch, &ask.request, answered);
    } else {
        (void)snprintf(c->detail, sizeof(c->detail), "%.*s; %s", SPAN_ARG(span_take(reason, 200)), unreadable.remedy);
        loop_post(loop, &c->unasked);
    }
    credential_ask_finish(&ask);
}

/* ---- life ---- */

static void due(struct timer *timer)
{
    struct credential *c = CONTAINER_OF(timer, struct credential, timer);
    if (!c->named && list_empty(&c->waiters) && list_empty(&c->watches))
        return; /* the configuration has forgotten it */
    if (c->retry_at && loop_now(c->worker->loop) < c->retry_at) {
        if (!files_changed(c)) {
            wait_for_retry(c);
            return;
        }
        c->failure = (struct credential_failure){0};
    }
    credential_ask_now(c);
}

void credential_refresh_init(struct credential *c)
{
    c->timer.fire = due;
    c->unasked.run = unasked;
}

void credential_refresh_finish(struct credential *c)
{
    timer_clear(c->worker->loop, &c->timer);
    task_cancel(&c->unasked);
    fetch_cancel(&c->fetch);
    if (c->value)
        loop_bury(c->worker->loop, c->value, wipe);
    c->value = NULL;
}
