/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/asked.h"

#include "gateway/exchange.h"
#include "gateway/router.h"

/* Methods whose answer is the request as it came (RFC 9110 9.3.8): with it, our credential. */
static bool reflects(struct span method)
{
    return span_equal_nocase(method, SPAN("trace")) || span_equal_nocase(method, SPAN("track"));
}

void asked_operation(struct exchange *exchange)
{
    struct message *request = &exchange->request;
    if (exchange->listener->admin || exchange->listener->serves)
        return;
    exchange->call_fault =
        operation_match(request->method_text, request->path, request->query, &exchange->arena, &exchange->call);
    if (exchange->call_fault == FAULT_UNKNOWN_PATH || exchange->call_fault == FAULT_METHOD_NOT_ALLOWED) {
        exchange->passthrough = router_passthrough(exchange->snapshot, request->path);
        if (exchange->passthrough)
            exchange->call_fault = reflects(request->method_text) ? FAULT_METHOD_NOT_ALLOWED : FAULT_NONE;
    }
    if (exchange->call_fault != FAULT_NONE || exchange->passthrough)
        exchange->call.operation = NULL;
}

/* ---- the body ---- */

static bool identity_encoded(const struct exchange *exchange)
{
    struct span encoding = fields_value(&exchange->request.fields, FIELD_CONTENT_ENCODING);
    return encoding.len == 0 || span_equal_nocase(encoding, SPAN("identity"));
}

/* Starts the reader that fits operation and content type. */
static enum fault start_reader(struct exchange *exchange, struct span *ret_message)
{
    const struct operation *operation = exchange->call.operation;
    struct span type = fields_value(&exchange->request.fields, FIELD_CONTENT_TYPE), boundary = {0};
    bool multipart = operation->body == OPERATION_BODY_MULTIPART ||
                     (operation->body == OPERATION_BODY_EITHER && span_search(type, SPAN("multipart/")) < type.len);
    if (multipart && !multipart_boundary(type, &boundary)) {
        *ret_message = SPAN("This operation takes multipart/form-data with one boundary parameter in Content-Type.");
        return FAULT_MALFORMED_BODY;
    }
    exchange->reader = ARENA_NEW(&exchange->scratch, struct request_reader);
    request_init(exchange->reader, multipart ? REQUEST_MULTIPART : REQUEST_JSON, boundary, &exchange->scratch,
                 &exchange->info);
    return FAULT_NONE;
}

enum fault asked_reader(struct exchange *exchange, struct span *ret_message)
{
    const struct operation *operation = exchange->call.operation;
    const struct message *request = &exchange->request;
    *ret_message = (struct span){0};
    if (exchange->listener->serves) {
        exchange->inspected = true;
        bool large = request->framing == BODY_LENGTH && request->body_length > exchange->snapshot->config->limits.body;
        return large ? FAULT_BODY_TOO_LARGE : FAULT_NONE;
    }
    exchange->inspected = operation && (operation->flags & OPERATION_INSPECTED) && request->method != HTTP_GET &&
                          request->method != HTTP_HEAD && request->method != HTTP_DELETE;
    if (!exchange->inspected)
        return FAULT_NONE;
    if (!identity_encoded(exchange))
        return FAULT_ENCODED_REQUEST;
    if (request->framing == BODY_LENGTH && request->body_length > exchange->snapshot->config->limits.body)
        return FAULT_BODY_TOO_LARGE;
    return start_reader(exchange, ret_message);
}

/* ---- model and target ---- */

/* The name asked for: the path wins over the body (Azure), then body, part or query. */
static struct span name_asked(const struct exchange *exchange)
{
    if (exchange->call.deployment.len)
        return exchange->call.deployment;
    if (exchange->inspected && exchange->info.has_model)
        return exchange->info.model;
    return exchange->call.query_model;
}

enum fault asked_model(struct exchange *exchange)
{
    const struct operation *operation = exchange->call.operation;
    exchange->model_asked = arena_copy(&exchange->arena, name_asked(exchange));
    if (exchange->model_asked.len)
        exchange->model = router_model(exchange->snapshot, exchange->model_asked);
    bool continues = exchange->inspected && (exchange->info.previous_response_id || exchange->info.conversation);
    bool stored = operation->id == OPERATION_RESPONSES && exchange->info.store != TRI_FALSE;
    exchange->stateful = (operation->flags & OPERATION_STATEFUL) || continues ||
                         (stored && (exchange->info.store == TRI_TRUE || exchange->info.background == TRI_TRUE));
    if (exchange->model)
        return FAULT_NONE;
    if (exchange->model_asked.len)
        return FAULT_MODEL_NOT_FOUND;
    if (operation->model == OPERATION_MODEL_NONE || exchange->stateful || !exchange->inspected)
        return FAULT_NONE;
    return FAULT_MODEL_MISSING;
}

const struct filter_list *asked_filters(const struct exchange *exchange)
{
    if (exchange->passthrough)
        return &exchange->passthrough->filters;
    return exchange->model ? &exchange->model->filters : NULL;
}

enum fault asked_only_target(const struct exchange *exchange, const struct model_target **ret)
{
    *ret = NULL;
    if (exchange->passthrough)
        *ret = &exchange->passthrough->target;
    else if (exchange->stateful || !exchange->model)
        *ret = router_stateful(exchange->snapshot, exchange->listener, exchange->model);
    else
        return FAULT_NONE;
    return *ret ? FAULT_NONE : FAULT_STATEFUL_TARGET;
}
