/* SPDX-License-Identifier: Apache-2.0 */
/*
 * authenticate: who calls. The methods are tried in written order; the first that knows the caller sets
 * exchange->consumer. A caller whom none knows gets 401 with the reason of the method that came nearest, which never
 * tells an unknown key from a wrong one.
 */
#include "filters/authenticate.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/jwks.h"
#include "base/memory.h"
#include "gateway/exchange.h"
#include "gateway/metrics_series.h"
#include "gateway/snapshot.h"
#include "gateway/worker.h"
#include "net/tls.h"

#define KEY_FILE_PERIOD (1 * CLOCK_SECOND)
#define NAME_BYTES      512

static const struct span method_words[] = {[METHOD_API_KEY] = SPAN_INIT("api_key"),
                                           [METHOD_JWT] = SPAN_INIT("jwt"),
                                           [METHOD_CLIENT_CERTIFICATE] = SPAN_INIT("client_certificate"),
                                           [METHOD_PEER] = SPAN_INIT("peer")};
_Static_assert(ARRAY_LEN(method_words) == METHOD_KIND_COUNT, "every method has its word");

/* One worker's part of one method. */
struct method {
    enum method_kind kind;
    const struct method_settings *settings;
    struct jwt_method *jwt;
    struct key_store *store; /* NULL: the file could not be read yet */
    struct keys *keys;
    struct key_checker *checker;
};

struct instance {
    struct worker *worker;
    struct timer timer; /* looks at key files; set only if there are any */
    size_t count;
    struct method methods[];
};

struct state {
    struct filter *filter;
    struct issuer_wait wait;
    size_t at;   /* the method to try */
    bool waited; /* it has waited once */
    bool unavailable;
    bool presented; /* something was shown that no method could even judge */
    enum method_kind refused_by;
    struct refusal why; /* empty: nothing was refused */
};

/* ---- callers ---- */

bool caller_name_is_usable(struct span text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] < 0x20 || text.ptr[i] == 0x7f)
            return false;
    return text.len > 0 && text.len <= NAME_BYTES;
}

void caller_enter(struct exchange *exchange, struct span method, const struct caller *caller)
{
    struct arena *arena = &exchange->arena;
    struct consumer *consumer = &exchange->consumer;
    consumer->name = arena_copy(arena, caller->name);
    consumer->method = method;
    consumer->group_count = caller->group_count;
    consumer->groups = caller->group_count ? ARENA_ARRAY(arena, struct span, caller->group_count) : NULL;
    for (unsigned i = 0; i < caller->group_count; i++)
        consumer->groups[i] = arena_copy(arena, caller->groups[i]);
    for (unsigned i = 0; i < caller->attribute_count; i++)
        fields_add(&consumer->attributes, arena, arena_copy(arena, caller->attributes[i].name),
                   arena_copy(arena, caller->attributes[i].value));
}

/* ---- credentials shown ---- */

/* RFC 6750 2.1; the scheme in any case (RFC 9110 11.1). */
static struct span bearer(const struct exchange *exchange)
{
    static const struct span scheme = SPAN_INIT("bearer ");
    struct span value = fields_value(&exchange->request.fields, FIELD_AUTHORIZATION);
    if (!span_equal_nocase(span_take(value, scheme.len), scheme))
        return (struct span){0};
    return span_trim(span_skip(value, scheme.len));
}

/* ---- api keys ---- */

static enum method_result try_key(struct method *method, struct exchange *exchange, struct span text,
                                  struct state *state, struct refusal *why)
{
    static const struct refusal unknown = {SPAN_INIT("unknown"), SPAN_INIT("the key is not known")},
                                expired = {SPAN_INIT("expired"), SPAN_INIT("the key has expired")};
    const struct key_record *record;
    if (text.len == 0)
        return METHOD_ABSENT;
    uint64_t now = loop_wall(exchange->worker->loop) / CLOCK_SECOND;
    switch (key_check(method->checker, method->keys, text, now, &record)) {
    case KEY_FOREIGN:
        state->presented = true;
        return METHOD_ABSENT;
    case KEY_UNKNOWN:
        *why = unknown;
        return METHOD_REFUSED;
    case KEY_EXPIRED:
        *why = expired;
        return METHOD_REFUSED;
    case KEY_GOOD:
        break;
    }
    struct caller caller = {.name = record->consumer,
                            .groups = record->groups,
                            .group_count = record->group_count,
                            .attributes = record->attributes,
                            .attribute_count = record->attribute_count};
    caller_enter(exchange, method_words[METHOD_API_KEY], &caller);
    return METHOD_GOOD;
}

/* The places a key may stand in: the fields configured, api-key, Authorization, the query parameter api-key. */
static enum method_result try_api_keys(struct method *method, struct exchange *exchange, struct state *state,
                                       struct refusal *why)
{
    const struct setting_list *headers = &method->settings->api_keys->headers;
    const struct fields *fields = &exchange->request.fields;
    enum method_result result = METHOD_ABSENT;
    if (!method->keys) {
        *why = (struct refusal){.word = SPAN("no_keys"), .text = SPAN("the key file cannot be read")};
        return METHOD_UNAVAILABLE;
    }
    for (size_t i = 0; i < headers->count + 3; i++) {
        struct span text;
        if (i < headers->count) {
            const struct field *field = fields_find_name(fields, headers->items[i]);
            text = field ? field->value : (struct span){0};
        } else if (i == headers->count) {
            text = fields_value(fields, FIELD_API_KEY);
        } else {
            text = i == headers->count + 1 ? bearer(exchange) : exchange->call.query_secret;
        }
        enum method_result one = try_key(method, exchange, text, state, why);
        if (one == METHOD_GOOD)
            return one;
        if (one == METHOD_REFUSED)
            result = one;
    }
    return result;
}

/* ---- client certificates and the own pod ---- */

static bool matches(const struct certificate_settings *settings, struct span name)
{
    for (size_t i = 0; i < settings->match.count; i++)
        if (span_matches(name, settings->match.items[i]))
            return caller_name_is_usable(name);
    return settings->match.count == 0 && caller_name_is_usable(name);
}

static enum method_result try_certificate(const struct certificate_settings *settings, struct exchange *exchange,
                                          struct refusal *why)
{
    const struct tls_peer *peer = exchange->client ? exchange->client->peer_certificate : NULL;
    if (!peer)
        return METHOD_ABSENT;
    bool uri = settings->consumer == CERTIFICATE_SAN_URI, subject = settings->consumer == CERTIFICATE_SUBJECT;
    const struct span *names = subject ? &peer->subject : uri ? peer->uris : peer->names;
    size_t count = subject ? 1 : uri ? peer->uri_count : peer->name_count;
    for (size_t i = 0; i < count; i++) {
        if (!matches(settings, names[i]))
            continue;
        struct caller caller = {
            .name = names[i], .groups = settings->groups.items, .group_count = (unsigned)settings->groups.count};
        caller_enter(exchange, method_words[METHOD_CLIENT_CERTIFICATE], &caller);
        return METHOD_GOOD;
    }
    *why = (struct refusal){.word = SPAN("wrong_name"), .text = SPAN("the certificate names nobody who may enter")};
    return METHOD_REFUSED;
}

static enum method_result try_peer(const struct peer_settings *settings, struct exchange *exchange)
{
    struct caller caller = {.name = settings->name.len ? settings->name : settings->consumer.value,
                            .groups = settings->groups.items,
                            .group_count = (unsigned)settings->groups.count};
    caller_enter(exchange, method_words[METHOD_PEER], &caller);
    return METHOD_GOOD;
}

/* ---- trying ---- */

static void keys_changed(struct issuer_wait *wait);

static enum method_result try_jwt(struct method *method, struct exchange *exchange, struct state *state,
                                  struct refusal *why)
{
    struct span token = bearer(exchange);
    if (span_find(token, '.') == token.len) {
        state->presented |= token.len > 0;
        return METHOD_ABSENT;
    }
    return jwt_method_try(method->jwt, exchange, token, state->waited, &state->wait, keys_changed, why);
}

static enum method_result try_method(struct method *method, struct exchange *exchange, struct state *state,
                                     struct refusal *why)
{
    switch (method->kind) {
    case METHOD_API_KEY:
        return try_api_keys(method, exchange, state, why);
    case METHOD_JWT:
        return try_jwt(method, exchange, state, why);
    case METHOD_CLIENT_CERTIFICATE:
        return try_certificate(method->settings->client_certificate, exchange, why);
    case METHOD_PEER:
        return try_peer(method->settings->peer, exchange);
    case METHOD_KIND_COUNT:
        break;
    }
    return METHOD_ABSENT;
}

/* Fields that only we understand; Authorization and api-key are replaced where the request is sent on. */
static void take_out_own_fields(struct instance *instance, struct exchange *exchange)
{
    for (size_t i = 0; i < instance->count; i++) {
        const struct api_keys_settings *keys = instance->methods[i].settings->api_keys;
        for (size_t k = 0; keys && k < keys->headers.count; k++)
            (void)fields_remove_name(&exchange->request.fields, keys->headers.items[k]);
    }
}

/* Of two refusals that of the method the credential was meant for: another issuer's token was not meant for this one.
 */
static void note(struct state *state, enum method_kind kind, enum method_result result, struct refusal why)
{
    state->unavailable |= result == METHOD_UNAVAILABLE;
    if (state->why.word.len && !span_equal(state->why.word, SPAN("wrong_issuer")))
        return;
    state->refused_by = kind;
    state->why = why;
}

static enum verdict try_methods(struct filter *filter)
{
    struct instance *instance = filter->instance;
    struct state *state = filter->state;
    for (; state->at < instance->count; state->at++, state->waited = false) {
        struct method *method = &instance->methods[state->at];
        struct refusal why = {0};
        enum method_result result = try_method(method, filter->exchange, state, &why);
        if (result == METHOD_WAIT)
            return FILTER_WAIT;
        if (result == METHOD_GOOD) {
            take_out_own_fields(instance, filter->exchange);
            return FILTER_PASS;
        }
        if (result != METHOD_ABSENT)
            note(state, method->kind, result, why);
    }
    return FILTER_FAIL;
}

/* ---- turning away ---- */

static void count_refusal(const struct filter *filter, struct span method, struct span reason)
{
    const struct exchange *exchange = filter->exchange;
    struct span labels[] = {method, reason};
    metrics_add(
        metrics_series_find(exchange->worker->metrics, exchange->snapshot->generation, METRIC_AUTHENTICATION, labels),
        1);
}

/* What this gateway would take, for someone who showed nothing: "an API key (Authorization: Bearer or api-key) or ...".
 */
static struct span offers(const struct instance *instance, struct arena *arena)
{
    static const char *const texts[] = {[METHOD_API_KEY] = "an API key (Authorization: Bearer, or api-key)",
                                        [METHOD_JWT] = "a token (Authorization: Bearer)",
                                        [METHOD_CLIENT_CERTIFICATE] = "a client certificate",
                                        [METHOD_PEER] = "a caller of its own pod"};
    unsigned said = 0;
    struct span text = {0};
    for (size_t i = 0; i < instance->count; i++) {
        enum method_kind kind = instance->methods[i].kind;
        if (said & 1u << kind)
            continue;
        said |= 1u << kind;
        text = arena_format(arena, "%.*s%s%s", SPAN_ARG(text), text.len ? " or " : "", texts[kind]);
    }
    return text;
}

static void turn_away(struct filter *filter)
{
    const struct state *state = filter->state;
    struct exchange *exchange = filter->exchange;
    struct arena *arena = &exchange->arena;
    struct span method = SPAN("none"), reason = state->presented ? SPAN("malformed") : SPAN("missing"), text;
    if (state->why.word.len) {
        method = method_words[state->refused_by];
        reason = state->why.word;
        text = arena_format(arena, "The credential was refused (%.*s): %.*s.", SPAN_ARG(method),
                            SPAN_ARG(state->why.text));
    } else {
        text = arena_format(arena, "%s; this gateway takes %.*s.",
                            state->presented ? "The credential is none of the kinds known here"
                                             : "The request carries no credential",
                            SPAN_ARG(offers(filter->instance, arena)));
    }
    count_refusal(filter, method, reason);
    exchange->fault_detail = arena_format(arena, "%.*s: %.*s", SPAN_ARG(method), SPAN_ARG(reason));
    if (state->unavailable) {
        filter_fail(filter, FAULT_AUTHENTICATION_UNAVAILABLE, (struct span){0}, (struct span){0});
        return;
    }
    /* RFC 6750 section 3.1: no error code for a request without credential. */
    bool shown = state->why.word.len || state->presented;
    filter_answer_field(filter, SPAN("www-authenticate"),
                        shown ? SPAN("Bearer realm=\"postern\", error=\"invalid_token\"")
                              : SPAN("Bearer realm=\"postern\""));
    filter_fail(filter, FAULT_UNAUTHENTICATED, text, (struct span){0});
}

static void keys_changed(struct issuer_wait *wait)
{
    struct state *state = CONTAINER_OF(wait, struct state, wait);
    struct filter *filter = state->filter;
    state->waited = true;
    switch (try_methods(filter)) {
    case FILTER_PASS:
        filter_continue(filter);
        break;
    case FILTER_FAIL:
        turn_away(filter);
        break;
    case FILTER_WAIT: /* for the next method's keys */
    case FILTER_ANSWERED:
        break;
    }
}

static enum verdict on_request_head(struct filter *filter)
{
    struct state *state = filter->state;
    state->filter = filter;
    if (filter->exchange->consumer.name.len) /* another instance knows the caller already */
        return FILTER_PASS;
    enum verdict verdict = try_methods(filter);
    if (verdict == FILTER_FAIL)
        turn_away(filter);
    return verdict;
}

static void explain(const struct filter *filter, struct buffer *sentence)
{
    const struct authenticate_settings *settings = filter->settings;
    const struct consumer *consumer = &filter->exchange->consumer;
    if (consumer->name.len) {
        buffer_format(sentence, "Knows the caller as %.*s by %.*s.", SPAN_ARG(consumer->name),
                      SPAN_ARG(consumer->method));
        return;
    }
    for (size_t i = 0; i < settings->method_count; i++) {
        const struct method_settings *method = &settings->methods[i];
        buffer_format(sentence, "%s%s", i ? ", then " : "Asks who calls: by ",
                      method->api_keys             ? "API key"
                      : method->jwt                ? "token of "
                      : method->client_certificate ? "client certificate"
                                                   : "being in the same pod");
        if (method->jwt)
            buffer_append(sentence, method->jwt->issuer);
    }
    buffer_append(sentence, SPAN("; turns away whom none of these knows."));
}

/* ---- instances ---- */

static void open_keys(struct method *method)
{
    method->store = key_store_open(method->settings->api_keys->file);
    if (method->store)
        method->keys = key_store_renew(method->store, NULL);
}

static void look_at_key_files(struct timer *timer)
{
    struct instance *instance = CONTAINER_OF(timer, struct instance, timer);
    for (size_t i = 0; i < instance->count; i++) {
        struct method *method = &instance->methods[i];
        if (method->kind != METHOD_API_KEY)
            continue;
        if (!method->store) {
            if (access(method->settings->api_keys->file.ptr, R_OK) == 0)
                open_keys(method);
            continue;
        }
        key_store_poll(method->store);
        method->keys = key_store_renew(method->store, method->keys);
    }
    timer_set(instance->worker->loop, timer, loop_now(instance->worker->loop) + KEY_FILE_PERIOD);
}

/* The key set of the same issuer in the instance before, so that a reload asks nobody and makes nobody wait. */
static const struct jwt_method *predecessor(const struct instance *previous, const struct jwt_settings *settings)
{
    for (size_t i = 0; previous && i < previous->count; i++) {
        const struct method *method = &previous->methods[i];
        if (method->kind == METHOD_JWT && issuer_keys_is_of(jwt_method_keys(method->jwt), settings->issuer))
            return method->jwt;
    }
    return NULL;
}

static void start_method(struct instance *instance, struct method *method, const struct instance *previous)
{
    const struct method_settings *settings = method->settings;
    if (settings->api_keys) {
        method->kind = METHOD_API_KEY;
        method->checker = key_checker_create(settings->api_keys->pepper.value);
        open_keys(method);
        timer_set(instance->worker->loop, &instance->timer, loop_now(instance->worker->loop) + KEY_FILE_PERIOD);
    } else if (settings->jwt) {
        method->kind = METHOD_JWT;
        method->jwt = jwt_method_create(instance->worker, settings->jwt, predecessor(previous, settings->jwt));
    } else {
        method->kind = settings->client_certificate ? METHOD_CLIENT_CERTIFICATE : METHOD_PEER;
    }
}

static void *attach(struct worker *worker, const void *settings, struct span name, void *previous)
{
    (void)name;
    const struct authenticate_settings *ours = settings;
    struct instance *instance = memory_zalloc(sizeof(*instance) + ours->method_count * sizeof(struct method));
    instance->worker = worker;
    instance->timer.fire = look_at_key_files;
    instance->count = ours->method_count;
    for (size_t i = 0; i < instance->count; i++) {
        instance->methods[i].settings = &ours->methods[i];
        start_method(instance, &instance->methods[i], previous);
    }
    return instance;
}

static void detach(struct worker *worker, void *arg)
{
    struct instance *instance = arg;
    timer_clear(worker->loop, &instance->timer);
    for (size_t i = 0; i < instance->count; i++) {
        struct method *method = &instance->methods[i];
        jwt_method_destroy(method->jwt);
        key_checker_destroy(method->checker);
        keys_unref(method->keys);
        key_store_close(method->store);
    }
    free(instance);
}

/* ---- loading ---- */

/* Files are read now so that what is wrong with them is said with their lines, and not only when somebody is turned
 * away. */
static bool prepare(const void *settings, bool offline, struct report *report)
{
    const struct authenticate_settings *ours = settings;
    size_t errors = report->errors;
    for (size_t i = 0; i < ours->method_count; i++) {
        const struct api_keys_settings *api_keys = ours->methods[i].api_keys;
        if (api_keys && !offline && access(api_keys->file.ptr, F_OK) == 0)
            keys_unref(keys_load(api_keys->file.ptr, report));
    }
    return report->errors == errors;
}

static bool local_only(const void *settings)
{
    const struct authenticate_settings *ours = settings;
    for (size_t i = 0; i < ours->method_count; i++)
        if (ours->methods[i].peer)
            return true;
    return false;
}

const struct filter_type filter_authenticate = {
    .name = "authenticate",
    .settings = &authenticate_spec,
    .state_size = sizeof(struct state),
    .gives = FILTER_IDENTITY,
    .shuns = FILTER_KEPT,
    .authenticates = true,
    .prepare = prepare,
    .attach = attach,
    .detach = detach,
    .on_request_head = on_request_head,
    .local_only = local_only,
    .explain = explain,
};
