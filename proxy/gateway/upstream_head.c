/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/upstream_head.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "gateway/attempt.h"
#include "gateway/credentials.h"
#include "gateway/exchange.h"
#include "gateway/snapshot.h"
#include "gateway/worker.h"
#include "openai/dialect.h"
#include "openai/query.h"

/* Fields that we may add to those of a message, mostly. */
#define FIELDS_OURS 6

/* ---- to the target ---- */

/* Fields that carry a key at other vendors and in Azure's API Management. */
static bool is_other_key(struct span name)
{
    return span_equal(name, SPAN("x-api-key")) || span_equal(name, SPAN("x-goog-api-key")) ||
           span_equal(name, SPAN("ocp-apim-subscription-key"));
}

/* `credentials`: the client's own go on. */
static bool dropped_upstream(const struct field *field, bool inspected, bool credentials)
{
    switch (field->id) {
    case FIELD_AUTHORIZATION:
    case FIELD_API_KEY:
        return !credentials;
    case FIELD_PROXY_AUTHORIZATION:
    case FIELD_PROXY_AUTHENTICATE:
    case FIELD_COOKIE:
    case FIELD_HOST:
    case FIELD_EXPECT:
    case FIELD_CONTENT_LENGTH:
    case FIELD_FORWARDED:
    case FIELD_X_FORWARDED_FOR:
    case FIELD_X_FORWARDED_PROTO:
    case FIELD_X_REQUEST_ID:
        return true;
    case FIELD_ACCEPT_ENCODING:
        return inspected;
    case FIELD_OTHER:
        return span_starts_with(field->name, SPAN("x-forwarded-")) || span_starts_with(field->name, SPAN("x-mock-")) ||
               (!credentials && is_other_key(field->name));
    default:
        return false;
    }
}

/* A browser's WebSocket carries the key as a subprotocol; the other subprotocols stay. */
static struct span without_key(struct arena *arena, struct span protocols)
{
    struct buffer kept = {0};
    struct span rest = protocols, part;
    while (span_split(&rest, ',', &part)) {
        part = span_trim(part);
        if (span_starts_with(part, SPAN("openai-insecure-api-key.")))
            continue;
        if (buffer_len(&kept))
            buffer_append(&kept, SPAN(", "));
        buffer_append(&kept, part);
    }
    struct span result = arena_copy(arena, buffer_span(&kept));
    buffer_finish(&kept);
    return result;
}

static void copy_fields(struct attempt *attempt, struct message *request)
{
    struct exchange *exchange = attempt->exchange;
    const struct fields *from = &exchange->request.fields;
    bool mock = attempt->to->target->config->mock != NULL, credentials = credential_is_clients(attempt->to->target);
    request->fields = (struct fields){0};
    fields_reserve(&request->fields, &exchange->scratch, from->count + FIELDS_OURS);
    for (unsigned i = 0; i < from->count; i++) {
        const struct field *field = &from->at[i];
        bool steers_mock = mock && field->id == FIELD_OTHER && span_starts_with(field->name, SPAN("x-mock-"));
        if (!steers_mock && dropped_upstream(field, exchange->inspected, credentials))
            continue;
        if (field->id == FIELD_SEC_WEBSOCKET_PROTOCOL)
            fields_add_id(&request->fields, &exchange->scratch, field->id,
                          without_key(&exchange->scratch, field->value));
        else
            fields_push(&request->fields, &exchange->scratch, field);
    }
    message_remove_hop_by_hop(request);
    if (exchange->inspected)
        fields_add_id(&request->fields, &exchange->scratch, FIELD_ACCEPT_ENCODING, SPAN("identity"));
    fields_add_id(&request->fields, &exchange->scratch, FIELD_X_REQUEST_ID, exchange->id);
}

static void configured_fields(struct attempt *attempt, struct message *request)
{
    const struct config_target_headers *headers = &attempt->to->target->config->headers;
    for (size_t i = 0; i < headers->remove.count; i++)
        (void)fields_remove_name(&request->fields, headers->remove.items[i]);
    for (size_t i = 0; i < headers->set.count; i++)
        fields_set(&request->fields, &attempt->exchange->scratch, headers->set.items[i].name,
                   headers->set.items[i].value);
}

/* The name the target knows: the entry's deployment, else what was asked for. */
static struct span upstream_model(const struct attempt *attempt)
{
    return attempt->to->deployment.len ? attempt->to->deployment : attempt->exchange->model_asked;
}

/* Path and query as they came, but for a key in the query. */
static struct span without_query_key(struct arena *arena, const struct message *request)
{
    struct span rest = request->query;
    struct query_param param;
    struct buffer kept = {0};
    bool found = false;
    while (request->query.len && query_next(&rest, &param)) {
        if (query_is_credential(param.name)) {
            found = true;
            continue;
        }
        buffer_append(&kept, buffer_len(&kept) ? SPAN("&") : SPAN("?"));
        buffer_append(&kept, param.raw);
    }
    struct span target = request->target;
    if (found)
        target = arena_format(arena, "%.*s%.*s", SPAN_ARG(request->path), SPAN_ARG(buffer_span(&kept)));
    buffer_finish(&kept);
    return target;
}

/* A passthrough's path goes on as it came, below nothing: the target's host, not its API prefix. */
static struct span request_target(struct attempt *attempt)
{
    struct exchange *exchange = attempt->exchange;
    const struct target *target = attempt->to->target;
    if (exchange->passthrough)
        return credential_is_clients(target) ? exchange->request.target
                                             : without_query_key(&exchange->scratch, &exchange->request);
    struct span version = target->api_as_client ? exchange->call.api_version : target->api_version;
    enum dialect dialect = target->dialect;
    if (target->api_as_client)
        dialect = dialect_is_dated(version) ? DIALECT_AZURE_DATED : DIALECT_AZURE_V1;
    return dialect_target(&exchange->scratch, &exchange->call, dialect, target->base_path, upstream_model(attempt),
                          version);
}

bool upstream_request(struct attempt *attempt, struct message *request)
{
    struct exchange *exchange = attempt->exchange;
    const struct target *target = attempt->to->target;
    *request = (struct message){.version = HTTP_1_1,
                                .method = exchange->request.method,
                                .method_text = exchange->request.method_text,
                                .authority = target->authority,
                                .scheme = target->tls ? SPAN("https") : SPAN("http"),
                                .keep_alive = true};
    request->target = request_target(attempt);
    if (request->target.len == 0)
        return false;
    size_t query = span_find(request->target, '?');
    request->path = span_take(request->target, query);
    request->query = span_skip(request->target, query + 1);
    copy_fields(attempt, request);
    configured_fields(attempt, request);
    return true;
}

/* ---- to the client ---- */

static bool dropped_downstream(const struct field *field, bool several)
{
    switch (field->id) {
    case FIELD_ALT_SVC:
    case FIELD_SET_COOKIE:
    case FIELD_STRICT_TRANSPORT_SECURITY:
    case FIELD_RETRY_AFTER:
    case FIELD_RETRY_AFTER_MS:
    case FIELD_X_SHOULD_RETRY:
        return true;
    case FIELD_OTHER:
        return several && span_starts_with(field->name, SPAN("x-ratelimit-"));
    default:
        return false;
    }
}

static void add_retry_after(struct exchange *exchange, uint64_t wait)
{
    uint64_t most = RETRY_AFTER_MAX * CLOCK_SECOND;
    if (wait > most)
        wait = most;
    struct fields *fields = &exchange->response.fields;
    fields_add_id(fields, &exchange->arena, FIELD_RETRY_AFTER_MS,
                  arena_format(&exchange->arena, "%llu", (unsigned long long)((wait + 999) / 1000)));
    fields_add_id(
        fields, &exchange->arena, FIELD_RETRY_AFTER,
        arena_format(&exchange->arena, "%llu", (unsigned long long)((wait + CLOCK_SECOND - 1) / CLOCK_SECOND)));
}

void upstream_response(struct attempt *attempt, bool spent)
{
    struct exchange *exchange = attempt->exchange;
    struct message *answer = &attempt->response, *response = &exchange->response;
    message_remove_hop_by_hop(answer);
    *response = *answer;
    response->version = HTTP_1_1;
    response->fields = (struct fields){0};
    fields_reserve(&response->fields, &exchange->arena, answer->fields.count + FIELDS_OURS);
    bool several = exchange->model && exchange->model->target_count > 1;
    for (unsigned i = 0; i < answer->fields.count; i++) {
        const struct field *field = &answer->fields.at[i];
        if (dropped_downstream(field, several))
            continue;
        fields_push(&response->fields, &exchange->arena, field);
    }
    uint64_t wait = upstream_retry_after(answer, loop_wall(exchange->worker->loop));
    if (wait)
        add_retry_after(exchange, wait);
    if (spent && (answer->status >= 500 || answer->status == 408))
        fields_add_id(&response->fields, &exchange->arena, FIELD_X_SHOULD_RETRY, SPAN("false"));
}

struct span upstream_request_id(const struct message *answer)
{
    struct span id = fields_value(&answer->fields, FIELD_X_REQUEST_ID);
    if (id.len)
        return id;
    const struct field *field = fields_find_name(&answer->fields, SPAN("apim-request-id"));
    return field ? field->value : (struct span){0};
}

/* ---- numbers in fields ---- */

/* A non-negative decimal number, perhaps with a fraction. */
static bool read_number(struct span text, double *ret)
{
    char copy[32];
    text = span_trim(text);
    if (text.len == 0 || text.len >= sizeof(copy))
        return false;
    for (size_t i = 0; i < text.len; i++)
        if ((text.ptr[i] < '0' || text.ptr[i] > '9') && text.ptr[i] != '.')
            return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    char *end;
    double value = strtod(copy, &end);
    if (*end != '\0' || !isfinite(value))
        return false;
    *ret = value;
    return true;
}

static uint64_t from_date(struct span text, uint64_t wall)
{
    char copy[40];
    if (text.len == 0 || text.len >= sizeof(copy))
        return 0;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    struct tm when = {0};
    const char *end = strptime(copy, "%a, %d %b %Y %H:%M:%S GMT", &when);
    time_t at = end && *end == '\0' ? timegm(&when) : 0;
    uint64_t micros = at > 0 ? (uint64_t)at * CLOCK_SECOND : 0;
    return micros > wall ? micros - wall : 0;
}

uint64_t upstream_retry_after(const struct message *answer, uint64_t wall)
{
    static const double day = 86400.0 * 1e6;
    double number;
    if (read_number(fields_value(&answer->fields, FIELD_RETRY_AFTER_MS), &number))
        return (uint64_t)fmin(number * 1e3, day);
    struct span value = fields_value(&answer->fields, FIELD_RETRY_AFTER);
    if (read_number(value, &number))
        return (uint64_t)fmin(number * 1e6, day);
    return from_date(value, wall);
}

uint64_t upstream_read_timeout(const struct message *request)
{
    double seconds;
    if (!read_number(fields_value(&request->fields, FIELD_X_STAINLESS_READ_TIMEOUT), &seconds) || seconds <= 0 ||
        seconds > 3600)
        return 0;
    return (uint64_t)(seconds * 1e6);
}
