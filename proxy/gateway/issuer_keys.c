/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/issuer_keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/json_value.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/uri.h"
#include "config/secret.h"
#include "gateway/egress.h"
#include "gateway/fetch.h"
#include "gateway/snapshot.h"
#include "gateway/worker.h"
#include "net/tls.h"

#define FILE_PERIOD   (1 * CLOCK_SECOND)
#define RETRY_FIRST   (1 * CLOCK_SECOND)
#define RETRY_MOST    (60 * CLOCK_SECOND)
#define FETCH_TIMEOUT (10 * CLOCK_SECOND)
#define DISCOVERY     "/.well-known/openid-configuration"

struct issuer_keys {
    unsigned refs;
    struct worker *worker;
    struct arena arena; /* the options' texts */
    struct issuer_options options;
    struct tls_context *tls; /* NULL: the system's trust */
    struct fetch fetch;
    struct timer timer; /* the next fetch, or the next look at the file */
    struct list waiting;
    struct jwks *keys;
    uint64_t generation;
    uint64_t fetched_at; /* loop time of the last fetch's start; 0: none yet */
    uint64_t retry;      /* wait after the next failure */
    struct stat file_seen;
    bool failing; /* said so in the log */
};

static void fetch_document(struct issuer_keys *keys);

/* ---- results ---- */

static void wake(struct issuer_keys *keys)
{
    LIST_EACH(&keys->waiting, link)
    {
        struct issuer_wait *wait = CONTAINER_OF(link, struct issuer_wait, link);
        list_remove(&wait->link);
        pending_complete(&wait->pending);
        wait->done(wait);
    }
}

/* Takes the set over. Verified tokens of before end with the generation: a key may have been withdrawn. */
static void take(struct issuer_keys *keys, struct jwks *fresh)
{
    jwks_free(keys->keys);
    keys->keys = fresh;
    keys->generation++;
    if (keys->failing)
        log_write(LOG_INFO, "jwt", "keys of %.*s are available", SPAN_ARG(keys->options.issuer));
    keys->failing = false;
}

static void complain(struct issuer_keys *keys, struct span from, const char *reason)
{
    if (!keys->failing)
        log_write(LOG_WARNING, "jwt", "keys of %.*s: %.*s: %s; %s", SPAN_ARG(keys->options.issuer), SPAN_ARG(from),
                  reason,
                  keys->keys ? "the known ones stay in use" : "its tokens cannot be checked until this is mended");
    keys->failing = true;
}

static void set_timer(struct issuer_keys *keys, uint64_t after)
{
    timer_set(keys->worker->loop, &keys->timer, loop_now(keys->worker->loop) + after);
}

static void failed(struct issuer_keys *keys, struct span from, const char *reason)
{
    complain(keys, from, reason);
    set_timer(keys, keys->retry);
    keys->retry = keys->retry * 2 < RETRY_MOST ? keys->retry * 2 : RETRY_MOST;
    if (keys->keys) /* without any, those who wait do so until their deadline: the retry is near */
        wake(keys);
}

static void succeeded(struct issuer_keys *keys, struct jwks *fresh)
{
    take(keys, fresh);
    keys->retry = RETRY_FIRST;
    /* Up to a tenth sooner, so that a fleet does not ask in step. */
    uint64_t jitter = hash_random(&keys->worker->random) % (keys->options.refresh / 10 + 1);
    set_timer(keys, keys->options.refresh - jitter);
    wake(keys);
}

/* ---- fetching ---- */

/* Scheme, host and port of a URL that may have a query. */
static bool place_of(struct span url, struct uri *ret)
{
    const char *reason;
    return uri_parse(span_take(url, span_find(url, '?')), ret, &reason);
}

static bool same_place(struct span a, struct span b)
{
    struct uri left, right;
    return place_of(a, &left) && place_of(b, &right) && left.scheme == right.scheme &&
           left.authority.port == right.authority.port && span_equal_nocase(left.authority.host, right.authority.host);
}

/* The token goes to the issuer's own host and nowhere a document may point to. */
static void add_token(struct issuer_keys *keys, struct span url, struct arena *arena, struct fields *fields)
{
    struct setting_secret file = {.file = keys->options.token_file};
    struct span home = keys->options.url.len ? keys->options.url : keys->options.issuer, token, reason;
    if (file.file.len == 0 || !same_place(url, home))
        return;
    if (secret_read(&file, arena, &token, &reason))
        fields_add_id(fields, arena, FIELD_AUTHORIZATION, arena_format(arena, "Bearer %.*s", SPAN_ARG(token)));
    else
        log_write(LOG_WARNING, "jwt", "%.*s %.*s", SPAN_ARG(file.file), SPAN_ARG(reason));
}

static void start(struct issuer_keys *keys, struct span url, fetch_fn *done)
{
    struct arena arena;
    struct fields fields = {0};
    struct uri uri;
    arena_init(&arena);
    struct fetch_request request = {
        .method = HTTP_GET, .url = url, .fields = &fields, .body_most = JWKS_BYTES, .timeout = FETCH_TIMEOUT};
    if (keys->tls) {
        struct net_error error;
        if (tls_context_reload(keys->tls, &error) == TLS_KEPT)
            log_write(LOG_WARNING, "jwt", "%s", error.text);
        request.tls = keys->tls;
    }
    add_token(keys, url, &arena, &fields);
    if (place_of(url, &uri) && !egress_find(keys->worker->snapshot->config, uri.authority.host, uri.authority.port,
                                            uri.scheme == URI_HTTPS, false, &arena, &request.proxy))
        log_write(LOG_WARNING, "jwt", "HTTPS_PROXY is not an http:// URL; connecting directly");
    fetch_start(keys->worker, NULL, &keys->fetch, &request, done);
    arena_finish(&arena);
}

static const char *problem_of(const struct fetch_answer *answer, char text[64])
{
    if (answer->status == 0)
        return answer->detail;
    (void)snprintf(text, 64, "answered with status %u", answer->status);
    return text;
}

static void keys_fetched(struct fetch *fetch, const struct fetch_answer *answer)
{
    struct issuer_keys *keys = CONTAINER_OF(fetch, struct issuer_keys, fetch);
    char text[64];
    const char *reason = NULL;
    struct jwks *fresh = answer->status == 200 ? jwks_parse(answer->body, &reason) : NULL;
    if (fresh)
        succeeded(keys, fresh);
    else
        failed(keys, SPAN("key set"), reason ? reason : problem_of(answer, text));
}

bool issuer_discovery(struct span document, struct span issuer, struct arena *arena, struct span *ret_url,
                      const char **ret_reason)
{
    struct json_value root, value;
    struct span url;
    if (!json_value_parse(document, &root) || !json_value_member(root, SPAN("issuer"), &value)) {
        *ret_reason = "not a discovery document";
        return false;
    }
    /* OpenID Connect Discovery 4.3: otherwise whoever controls one path of a host could speak for all. */
    if (!json_value_is(value, issuer)) {
        *ret_reason = "the document is another issuer's";
        return false;
    }
    struct uri uri, own;
    if (!json_value_member(root, SPAN("jwks_uri"), &value) || !json_value_text(value, arena, &url)) {
        *ret_reason = "the document names no jwks_uri";
        return false;
    }
    bool secure = place_of(issuer, &own) && own.scheme == URI_HTTPS;
    if (!place_of(url, &uri) || uri.scheme == URI_UNIX || (secure && uri.scheme != URI_HTTPS)) {
        *ret_reason = "the document's jwks_uri is not an https:// URL";
        return false;
    }
    *ret_url = url;
    return true;
}

static void document_fetched(struct fetch *fetch, const struct fetch_answer *answer)
{
    struct issuer_keys *keys = CONTAINER_OF(fetch, struct issuer_keys, fetch);
    struct arena arena;
    struct span url;
    char text[64];
    const char *reason = NULL;
    arena_init(&arena);
    if (answer->status != 200)
        failed(keys, SPAN("discovery"), problem_of(answer, text));
    else if (!issuer_discovery(answer->body, keys->options.issuer, &arena, &url, &reason))
        failed(keys, SPAN("discovery"), reason);
    else
        start(keys, url, keys_fetched);
    arena_finish(&arena);
}

static void fetch_document(struct issuer_keys *keys)
{
    keys->fetched_at = loop_now(keys->worker->loop);
    timer_clear(keys->worker->loop, &keys->timer);
    if (keys->options.url.len) {
        start(keys, keys->options.url, keys_fetched);
        return;
    }
    struct arena arena;
    arena_init(&arena);
    struct span issuer = keys->options.issuer;
    if (issuer.len && issuer.ptr[issuer.len - 1] == '/')
        issuer.len--;
    start(keys, arena_format(&arena, "%.*s" DISCOVERY, SPAN_ARG(issuer)), document_fetched);
    arena_finish(&arena);
}

/* ---- file ---- */

static bool file_changed(struct issuer_keys *keys)
{
    struct stat now;
    if (stat(keys->options.file.ptr, &now) != 0)
        return keys->keys == NULL && !keys->failing;
    bool same = now.st_ino == keys->file_seen.st_ino && now.st_dev == keys->file_seen.st_dev &&
                now.st_size == keys->file_seen.st_size && now.st_mtim.tv_sec == keys->file_seen.st_mtim.tv_sec &&
                now.st_mtim.tv_nsec == keys->file_seen.st_mtim.tv_nsec;
    keys->file_seen = now;
    return !same;
}

static void read_file(struct issuer_keys *keys)
{
    const char *reason = NULL;
    struct buffer text = {0};
    struct jwks *fresh = NULL;
    FILE *file = fopen(keys->options.file.ptr, "re");
    if (file) {
        size_t got = fread(buffer_reserve(&text, JWKS_BYTES + 1), 1, JWKS_BYTES + 1, file);
        buffer_commit(&text, got);
        fresh = jwks_parse(buffer_span(&text), &reason);
        (void)fclose(file);
    }
    if (fresh)
        take(keys, fresh);
    else
        complain(keys, keys->options.file, reason ? reason : "cannot be read");
    buffer_finish(&text);
}

static void look_at_file(struct issuer_keys *keys)
{
    if (file_changed(keys))
        read_file(keys);
    set_timer(keys, FILE_PERIOD);
    if (keys->keys)
        wake(keys);
}

/* ---- life ---- */

static void due(struct timer *timer)
{
    struct issuer_keys *keys = CONTAINER_OF(timer, struct issuer_keys, timer);
    if (keys->options.file.len)
        look_at_file(keys);
    else
        fetch_document(keys);
}

static bool equal_options(const struct issuer_options *a, const struct issuer_options *b)
{
    return span_equal(a->issuer, b->issuer) && span_equal(a->file, b->file) && span_equal(a->url, b->url) &&
           span_equal(a->ca, b->ca) && span_equal(a->token_file, b->token_file) && a->refresh == b->refresh &&
           a->floor == b->floor;
}

static void copy_options(struct issuer_keys *keys, const struct issuer_options *options)
{
    struct issuer_options *own = &keys->options;
    *own = *options;
    struct span *texts[] = {&own->issuer, &own->file, &own->url, &own->ca, &own->token_file};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (texts[i]->len)
            *texts[i] = arena_copy(&keys->arena, *texts[i]);
}

struct issuer_keys *issuer_keys_open(struct worker *worker, const struct issuer_options *options,
                                     struct issuer_keys *previous)
{
    if (previous && equal_options(&previous->options, options)) {
        previous->refs++;
        return previous;
    }
    struct issuer_keys *keys = memory_zalloc(sizeof(*keys));
    keys->refs = 1;
    keys->worker = worker;
    keys->retry = RETRY_FIRST;
    keys->timer.fire = due;
    list_init(&keys->waiting);
    arena_init(&keys->arena);
    copy_options(keys, options);
    if (options->file.len) {
        look_at_file(keys);
        return keys;
    }
    if (options->ca.len) {
        struct net_error error;
        struct tls_options tls = {.role = TLS_CLIENT, .ca = keys->options.ca.ptr};
        keys->tls = tls_context_create(&tls, &error);
        if (!keys->tls) /* without it nobody would be trusted less, but somebody else more */
            log_write(LOG_ERROR, "jwt", "%s", error.text);
    }
    if (!options->ca.len || keys->tls)
        fetch_document(keys);
    return keys;
}

static void free_keys(void *object)
{
    struct issuer_keys *keys = object;
    tls_context_unref(keys->tls);
    jwks_free(keys->keys);
    arena_finish(&keys->arena);
    free(keys);
}

void issuer_keys_close(struct issuer_keys *keys)
{
    if (!keys || --keys->refs > 0)
        return;
    timer_clear(keys->worker->loop, &keys->timer);
    fetch_cancel(&keys->fetch);
    loop_bury(keys->worker->loop, keys, free_keys);
}

bool issuer_keys_is_of(const struct issuer_keys *keys, struct span issuer)
{
    return span_equal(keys->options.issuer, issuer);
}

const struct jwks *issuer_keys_now(const struct issuer_keys *keys)
{
    return keys->keys;
}

uint64_t issuer_keys_generation(const struct issuer_keys *keys)
{
    return keys->generation;
}

/* ---- waiting ---- */

static void wait_over(struct pending *pending)
{
    struct issuer_wait *wait = CONTAINER_OF(pending, struct issuer_wait, pending);
    list_remove(&wait->link);
    wait->done(wait);
}

static void wait_cancelled(struct pending *pending)
{
    list_remove(&CONTAINER_OF(pending, struct issuer_wait, pending)->link);
}

bool issuer_keys_wait(struct issuer_keys *keys, struct list *pendings, struct issuer_wait *wait, uint64_t deadline,
                      void (*done)(struct issuer_wait *wait))
{
    struct loop *loop = keys->worker->loop;
    if (keys->keys && !keys->fetch.pending.live) {
        if (keys->options.file.len || loop_now(loop) < keys->fetched_at + keys->options.floor)
            return false;
        fetch_document(keys);
    }
    wait->done = done;
    list_append(&keys->waiting, &wait->link);
    pending_start(pendings, &wait->pending, loop, deadline, wait_over, wait_cancelled);
    return true;
}
