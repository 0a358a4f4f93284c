/* SPDX-License-Identifier: Apache-2.0 */
#include "command/simulate.h"

#include "gateway/asked.h"
#include "gateway/attempt.h"
#include "gateway/identity.h"
#include "gateway/upstream_head.h"
#include "openai/dialect.h"

/* Longest value that is printed whole. */
#define SHOWN_MAX 200

/* ---- header fields ---- */

static bool same_field(const struct field *field, const struct fields *in)
{
    for (unsigned i = 0; i < in->count; i++)
        if (span_equal(in->at[i].name, field->name) && span_equal(in->at[i].value, field->value))
            return true;
    return false;
}

/* Where it comes from, never what it is. */
static void show_credential(struct buffer *out, const struct target *target)
{
    const struct identity *identity = target->identity;
    if (!identity)
        return;
    const struct setting_secret *key = &identity->config->api_key;
    struct span kind = identity_kind_word(identity->kind);
    bool header = target->config->azure && identity->kind == IDENTITY_API_KEY;
    if (identity->kind == IDENTITY_CLIENT) {
        buffer_append(out, SPAN("       the client's own authorization and api-key go on\n"));
        return;
    }
    buffer_append(out, header ? SPAN("       + api-key: (") : SPAN("       + authorization: Bearer ("));
    if (identity->kind == IDENTITY_API_KEY && key->file.len)
        buffer_format(out, "from file %.*s)\n", SPAN_ARG(key->file));
    else if (identity->kind == IDENTITY_API_KEY)
        buffer_format(out, "from environment variable %.*s)\n", SPAN_ARG(key->env));
    else
        buffer_format(out, "%.*s of credential %.*s)\n", SPAN_ARG(kind), SPAN_ARG(identity->name));
}

/* A value that the configuration sets is what the reader wants to see; what the client sent, it knows. */
static void show_added(struct buffer *out, const struct field *field)
{
    buffer_format(out, "       + %.*s: ", SPAN_ARG(field->name));
    if (field->id == FIELD_X_REQUEST_ID && field->value.len == 0)
        buffer_append(out, SPAN("(one of Postern's own)"));
    else
        simulate_quote(out, span_take(field->value, SHOWN_MAX));
    buffer_append(out, SPAN("\n"));
}

static void show_fields(struct buffer *out, const struct fields *before, const struct fields *after)
{
    for (unsigned i = 0; i < after->count; i++)
        if (!same_field(&after->at[i], before))
            show_added(out, &after->at[i]);
    for (unsigned i = 0; i < before->count; i++)
        if (!fields_find_name(after, before->at[i].name) && before->at[i].id != FIELD_HOST &&
            before->at[i].id != FIELD_CONTENT_LENGTH && before->at[i].id != FIELD_TRANSFER_ENCODING)
            buffer_format(out, "       - %.*s\n", SPAN_ARG(before->at[i].name));
}

/* ---- body ---- */

static struct span value_of(struct span body, const struct request_member *member)
{
    return span_of(body.ptr + member->value_start, member->value_end - member->value_start);
}

static const struct setting_pair *pair_named(const struct setting_pairs *pairs, struct span name)
{
    for (size_t i = 0; i < pairs->count; i++)
        if (span_equal(pairs->items[i].name, name))
            return &pairs->items[i];
    return NULL;
}

/* Numbers, names of models and what the configuration says; the rest could be text of the prompt. */
static void show_value(struct buffer *out, const struct request_member *member, struct span raw, bool configured)
{
    bool plain = member->kind == JSON_NUMBER || member->kind == JSON_TRUE || member->kind == JSON_FALSE ||
                 member->kind == JSON_NULL;
    bool known = span_equal(member->name, SPAN("model")) || span_equal(member->name, SPAN("stream_options"));
    if ((plain || known || configured) && raw.len <= SHOWN_MAX)
        buffer_append(out, raw);
    else if (member->kind == JSON_STRING)
        buffer_append(out, SPAN("(a text)"));
    else
        buffer_append(out, member->kind == JSON_ARRAY_OPEN ? SPAN("(a list)") : SPAN("(an object)"));
}

struct bodies {
    const struct config_parameters *parameters;
    struct span before, after;
    const struct request_info *info_before, *info_after;
};

/* What became of a member of the client's body. */
static void show_change(struct buffer *out, const struct bodies *b, const struct request_member *member)
{
    const struct request_member *now = request_member(b->info_after, member->name);
    struct span old = value_of(b->before, member);
    bool set = pair_named(&b->parameters->set, member->name) != NULL;
    if (now && span_equal(value_of(b->after, now), old))
        return;
    buffer_append(out, SPAN("         "));
    simulate_quote(out, member->name);
    const struct setting_pair *rename = pair_named(&b->parameters->rename, member->name);
    if (now) {
        buffer_append(out, SPAN(": "));
        show_value(out, member, old, false);
        buffer_append(out, SPAN(" -> "));
        show_value(out, now, value_of(b->after, now), set);
    } else if (rename && !request_member(b->info_before, rename->value)) {
        buffer_format(out, " is renamed to \"%.*s\"", SPAN_ARG(rename->value));
    } else {
        buffer_append(out, SPAN(" is dropped"));
    }
    buffer_append(out, SPAN("\n"));
}

static void show_addition(struct buffer *out, const struct bodies *b, const struct request_member *member)
{
    for (size_t i = 0; i < b->parameters->rename.count; i++)
        if (span_equal(b->parameters->rename.items[i].value, member->name) &&
            request_member(b->info_before, b->parameters->rename.items[i].name))
            return;
    buffer_append(out, SPAN("         "));
    simulate_quote(out, member->name);
    buffer_append(out, SPAN(" is added: "));
    show_value(out, member, value_of(b->after, member), true);
    buffer_append(out, SPAN("\n"));
}

static void show_members(struct buffer *out, const struct bodies *b)
{
    for (size_t i = 0; i < b->info_before->member_count; i++)
        show_change(out, b, &b->info_before->members[i]);
    for (size_t i = 0; i < b->info_after->member_count; i++)
        if (!request_member(b->info_before, b->info_after->members[i].name))
            show_addition(out, b, &b->info_after->members[i]);
}

static void show_form(struct buffer *out, const struct bodies *b)
{
    buffer_append(out, SPAN("         part \"model\": "));
    if (b->info_before->has_model)
        simulate_quote(out, b->info_before->model);
    else
        buffer_append(out, SPAN("(none)"));
    buffer_append(out, SPAN(" -> "));
    simulate_quote(out, b->info_after->model);
    buffer_append(out, SPAN("\n"));
}

/* Reads the edited body as the client's was read, and compares. */
static void show_edited(struct buffer *out, struct attempt *attempt, struct span before, struct span after)
{
    struct exchange *exchange = attempt->exchange;
    struct request_info info;
    struct request_reader reader;
    request_init(&reader, exchange->info.kind, exchange->info.boundary, &exchange->arena, &info);
    if (request_feed(&reader, after) != FAULT_NONE || request_finish(&reader) != FAULT_NONE) {
        buffer_format(out, "         the edited body would not be valid: %.*s\n", SPAN_ARG(reader.message));
        return;
    }
    struct bodies bodies = {.parameters = &attempt->to->target->config->parameters,
                            .before = before,
                            .after = after,
                            .info_before = &exchange->info,
                            .info_after = &info};
    if (info.kind == REQUEST_MULTIPART)
        show_form(out, &bodies);
    else
        show_members(out, &bodies);
}

static void show_body(struct buffer *out, struct attempt *attempt)
{
    struct exchange *exchange = attempt->exchange;
    struct span body = buffer_span(&exchange->body), piece;
    if (!exchange->inspected) {
        if (body.len)
            buffer_append(out, SPAN("       body: goes on unread, as it comes\n"));
        return;
    }
    attempt_prepare_edits(attempt);
    if (!edits_any(&attempt->edits)) {
        buffer_format(out, "       body: %zu bytes, unchanged\n", body.len);
        return;
    }
    struct buffer edited = {0};
    struct edits_walk walk;
    size_t length = edits_length(&attempt->edits, body.len);
    edits_begin(&attempt->edits, body, &walk);
    while (edits_next(&walk, &piece))
        buffer_append(&edited, piece);
    buffer_format(out, "       body: %zu bytes become %zu\n", body.len, length);
    show_edited(out, attempt, body, buffer_span(&edited));
    buffer_finish(&edited);
}

/* ---- one target ---- */

static void show_connection(struct buffer *out, const struct target *target)
{
    if (!target->url)
        return;
    if (target->proxy.host.len)
        buffer_format(out, "       through the proxy %.*s:%u\n", SPAN_ARG(target->proxy.host), target->proxy.port);
}

static void show_target(struct buffer *out, struct exchange *exchange, const struct model_target *to)
{
    struct attempt *attempt = ARENA_NEW(&exchange->arena, struct attempt);
    attempt->exchange = exchange;
    attempt->to = to;
    struct message request;
    const struct target *target = to->target;
    if (!upstream_request(attempt, &request)) {
        buffer_append(out, SPAN("       cannot be asked: the model's name cannot be a path segment\n"));
        return;
    }
    if (target->config->mock)
        buffer_append(out, SPAN("       answered by the mock model inside Postern; nothing leaves the process\n"));
    buffer_format(out, "       %.*s ", SPAN_ARG(request.method_text));
    if (target->url)
        buffer_format(out, "%.*s://%.*s", SPAN_ARG(target->url->scheme), SPAN_ARG(target->url->authority));
    buffer_format(out, "%.*s\n       Host: %.*s\n", SPAN_ARG(request.target), SPAN_ARG(request.authority));
    show_connection(out, target);
    show_fields(out, &exchange->request.fields, &request.fields);
    show_credential(out, target);
    show_body(out, attempt);
}

/* ---- their order ---- */

/* When its turn comes: by weight within its priority, after those of a better one. */
static void show_turn(struct buffer *out, const struct model_route *model, const struct model_target *to)
{
    uint64_t total = 0, same = 0;
    for (unsigned i = 0; i < model->target_count; i++)
        if (model->targets[i].priority == to->priority) {
            total += model->targets[i].weight;
            same++;
        }
    unsigned percent = (unsigned)(total ? (to->weight * 100 + total / 2) / total : (100 + same / 2) / same);
    buffer_format(out, " (priority %u", to->priority);
    if (same > 1)
        buffer_format(out, ", comes first among these in %u%%", percent);
    buffer_append(out,
                  to->priority > model->targets[0].priority ? SPAN("; only if those before it fail)\n") : SPAN(")\n"));
}

static void show_name(struct buffer *out, unsigned number, const struct model_target *to)
{
    buffer_format(out, "  %u. %.*s", number, SPAN_ARG(to->target->name));
    if (to->deployment.len)
        buffer_format(out, ", deployment %.*s", SPAN_ARG(to->deployment));
}

/* Why it is this one and no other. */
static const char *only_reason(const struct exchange *exchange, const struct model_target *only)
{
    const struct model_route *model = exchange->model;
    if (exchange->passthrough)
        return "the target of this passthrough route";
    if (model && model->stateful == only)
        return "stateful_target of the model";
    if (model && model->target_count == 1)
        return "the only target of the model";
    if (exchange->listener->stateful == only)
        return "stateful_target of the listener";
    return "the only target there is";
}

enum fault simulate_targets(struct buffer *out, struct exchange *exchange)
{
    const struct model_target *only;
    const struct model_route *model = exchange->model;
    enum fault fault = asked_only_target(exchange, &only);
    if (fault != FAULT_NONE)
        return fault;
    if (only) {
        buffer_append(out, SPAN("\ntarget\n"));
        show_name(out, 1, only);
        buffer_format(out, " (%s)\n", only_reason(exchange, only));
        show_target(out, exchange, only);
        return FAULT_NONE;
    }
    unsigned most = exchange->snapshot->config->attempts.max;
    buffer_append(out, SPAN("\ntargets, in the order in which they would be tried"));
    if (model->target_count > 1)
        buffer_format(out, " (at most %u per request; those that cool down come last)", most);
    buffer_append(out, SPAN("\n"));
    for (unsigned i = 0; i < model->target_count; i++) {
        const struct model_target *to = &model->targets[i];
        show_name(out, i + 1, to);
        show_turn(out, model, to);
        show_target(out, exchange, to);
    }
    return FAULT_NONE;
}
