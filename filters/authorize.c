/* SPDX-License-Identifier: Apache-2.0 */
/*
 * authorize: who may use which models and operations, on which listeners. What no rule permits is denied.
 *
 * Two kinds of request reach beyond one caller's own: operations on stored objects (files, batches, stored responses),
 * which the target keeps for its one credential and so for all callers alike, and passthrough paths, of which nobody
 * knows what they do. On a listener that others can reach both need a rule that names them in `operations`.
 */
#include "config/config.h"
#include "filters/operation_names.h"
#include "gateway/exchange.h"
#include "gateway/filter.h"
#include "gateway/snapshot.h"

struct rule_settings {
    struct settings settings;
    struct setting_list consumers, groups, models, operations, listeners;
};

enum denied_model { DENIED_NOT_FOUND, DENIED_FORBIDDEN };

struct authorize_settings {
    struct settings settings;
    const struct rule_settings *rules;
    size_t rule_count;
    enum denied_model denied_model;
};

/* Stands for the paths of `passthrough` in a rule's operations. */
#define PASSTHROUGH "passthrough"

/* ---- settings ---- */

#define AT(member) .offset = offsetof(struct rule_settings, member)
static const struct setting rule_table[] = {
    {.name = "consumers",
     .type = SETTING_LIST,
     .flags = SETTING_NOT_EMPTY | SETTING_UNIQUE,
     AT(consumers),
     .max = 1024,
     .help = "Patterns of callers' names, * for any run of characters. Without it and groups the rule is for every "
             "known caller.",
     .example = "[\"system:serviceaccount:apps:*\"]"},
    {.name = "groups",
     .type = SETTING_LIST,
     .flags = SETTING_NOT_EMPTY | SETTING_UNIQUE,
     AT(groups),
     .max = 1024,
     .help = "Groups, of which the caller is in one. With consumers given as well, either will do.",
     .example = "[research]"},
    {.name = "models",
     .type = SETTING_LIST,
     .flags = SETTING_NOT_EMPTY | SETTING_UNIQUE,
     AT(models),
     .max = 1024,
     .help = "Patterns of the model names that clients ask for. Without it every model, and requests that name none.",
     .example = "[gpt-4o, \"phi-*\"]"},
    {.name = "operations",
     .type = SETTING_LIST,
     .flags = SETTING_NOT_EMPTY | SETTING_UNIQUE,
     AT(operations),
     .max = 64,
     .help = "Operations by the names that the access log uses: chat, embeddings, responses, ...; passthrough stands "
             "for the paths "
             "listed there. Without it all that keep nothing at the target; stored objects (files, batches, "
             "responses_stored, ...) and passthrough then only on listeners that nobody else can reach.",
     .example = "[chat, embeddings]"},
    {.name = "listeners",
     .type = SETTING_LIST,
     .flags = SETTING_NOT_EMPTY | SETTING_UNIQUE,
     AT(listeners),
     .max = 64,
     .refers = "listeners",
     .help = "Names of listeners. Without it all that use this filter.",
     .example = "[apps]"},
};
#undef AT

static void check_rule(void *settings, struct report *report)
{
    const struct rule_settings *rule = settings;
    operation_names_check(&rule->settings, &rule->operations, SPAN(PASSTHROUGH), report);
}

static const struct settings_spec rule_spec =
    SETTINGS_SPEC("rule", struct rule_settings, rule_table,
                  "Permits what all of its parts fit. {} permits every known caller every model.", .check = check_rule);

static const char *const denied_models[] = {[DENIED_NOT_FOUND] = "not_found", [DENIED_FORBIDDEN] = "forbidden", NULL};

#define AT(member) .offset = offsetof(struct authorize_settings, member)
static const struct setting authorize_table[] = {
    {.name = "rules",
     .type = SETTING_OBJECTS,
     .flags = SETTING_REQUIRED | SETTING_NOT_EMPTY,
     AT(rules),
     .count = offsetof(struct authorize_settings, rule_count),
     .max = 1024,
     .sub = &rule_spec,
     .help = "What is permitted; one rule that fits is enough.",
     .example = "[{groups: [research], models: [gpt-4o]}]"},
    {.name = "denied_model",
     .type = SETTING_ENUM,
     AT(denied_model),
     .fallback = "not_found",
     .choices = denied_models,
     .help = "How a model that the caller may not use is answered: like one that does not exist (404 model_not_found), "
             "or plainly "
             "(403). It is absent from the list of models either way."},
};
#undef AT

static const struct settings_spec authorize_spec =
    SETTINGS_SPEC("authorize", struct authorize_settings, authorize_table,
                  "Who may use which models and operations. It stands behind a filter that authenticates.");

/* ---- rules ---- */

static bool listed(const struct setting_list *list, struct span text)
{
    for (size_t i = 0; i < list->count; i++)
        if (span_equal(list->items[i], text))
            return true;
    return false;
}

static bool matched(const struct setting_list *patterns, struct span text)
{
    for (size_t i = 0; i < patterns->count; i++)
        if (span_matches(text, patterns->items[i]))
            return true;
    return false;
}

static bool is_for(const struct rule_settings *rule, const struct consumer *consumer)
{
    if (consumer->name.len == 0)
        return false;
    if (rule->consumers.count == 0 && rule->groups.count == 0)
        return true;
    if (matched(&rule->consumers, consumer->name))
        return true;
    for (unsigned i = 0; i < consumer->group_count; i++)
        if (listed(&rule->groups, consumer->groups[i]))
            return true;
    return false;
}

/* The word by which a rule names what is asked; empty: nothing that a rule could name. */
static struct span operation_word(const struct exchange *exchange)
{
    if (exchange->passthrough)
        return SPAN(PASSTHROUGH);
    return exchange->call.operation ? exchange->call.operation->name : (struct span){0};
}

/* Whether others' objects are within reach of it. Before the body is known, the operation alone decides. */
static bool reaches_beyond(const struct exchange *exchange)
{
    const struct operation *operation = exchange->call.operation;
    if (!operation || (operation->flags & OPERATION_STATEFUL))
        return true;
    if (operation->id == OPERATION_MODEL && exchange->request.method == HTTP_DELETE)
        return true;
    return exchange->inspected && (exchange->info.previous_response_id || exchange->info.conversation);
}

static bool is_private(const struct listener_use *listener)
{
    return listener->config && listener->config->address.local;
}

static bool permits_operation(const struct rule_settings *rule, const struct exchange *exchange)
{
    struct span word = operation_word(exchange);
    bool beyond = reaches_beyond(exchange);
    if (rule->operations.count == 0)
        return word.len && (!beyond || is_private(exchange->listener));
    if (!listed(&rule->operations, word))
        return false;
    /* Going on from a stored response is reading it, whichever operation does. */
    const struct operation *operation = exchange->call.operation;
    bool continues =
        beyond && operation && !(operation->flags & OPERATION_STATEFUL) && operation->id != OPERATION_MODEL;
    return !continues || is_private(exchange->listener) ||
           listed(&rule->operations, operation_entry(OPERATION_RESPONSES_STORED)->name);
}

static bool permits_caller(const struct rule_settings *rule, const struct exchange *exchange)
{
    return is_for(rule, &exchange->consumer) &&
           (rule->listeners.count == 0 || listed(&rule->listeners, exchange->listener->name));
}

static bool permits_model(const struct rule_settings *rule, struct span model)
{
    return rule->models.count == 0 || (model.len && matched(&rule->models, model));
}

/* What must fit, as far as it is known or wanted. */
enum depth { CALLER, OPERATION, MODEL };

static bool permitted(const struct authorize_settings *settings, const struct exchange *exchange, enum depth depth,
                      struct span model)
{
    for (size_t i = 0; i < settings->rule_count; i++) {
        const struct rule_settings *rule = &settings->rules[i];
        if (permits_caller(rule, exchange) && (depth < OPERATION || permits_operation(rule, exchange)) &&
            (depth < MODEL || permits_model(rule, model)))
            return true;
    }
    return false;
}

/* ---- hooks ---- */

static enum verdict deny(struct filter *filter, const char *text)
{
    filter_fail(filter, FAULT_FORBIDDEN, span_str(text), (struct span){0});
    return FILTER_FAIL;
}

static bool lists_models(const struct exchange *exchange)
{
    const struct operation *operation = exchange->call.operation;
    return operation && (operation->id == OPERATION_MODELS || operation->id == OPERATION_MODEL) &&
           exchange->request.method != HTTP_DELETE;
}

static enum verdict on_request_head(struct filter *filter)
{
    const struct authorize_settings *settings = filter->settings;
    struct exchange *exchange = filter->exchange;
    if (!permitted(settings, exchange, CALLER, (struct span){0}))
        return deny(filter, "This caller has no permission here.");
    /* Lists show what shows_model says; unknown paths and methods get their own answer. */
    if (lists_models(exchange) || exchange->call_fault != FAULT_NONE)
        return FILTER_PASS;
    if (!permitted(settings, exchange, OPERATION, (struct span){0}))
        return deny(filter, "This caller may not use this operation.");
    return FILTER_PASS;
}

static enum verdict deny_model(struct filter *filter)
{
    const struct authorize_settings *settings = filter->settings;
    struct exchange *exchange = filter->exchange;
    struct span model = exchange->model_asked;
    if (settings->denied_model == DENIED_FORBIDDEN || model.len == 0)
        return deny(filter, model.len ? "This caller may not use this model."
                                      : "This caller may use certain models only, and the request names none.");
    /* Word for word what a model that does not exist is answered with. */
    struct span text = arena_format(
        &exchange->arena, "The model `%.*s` does not exist or you do not have access to it.", SPAN_ARG(model));
    filter_fail(filter, FAULT_MODEL_NOT_FOUND, text, SPAN("model"));
    return FILTER_FAIL;
}

static enum verdict on_request(struct filter *filter)
{
    const struct authorize_settings *settings = filter->settings;
    const struct exchange *exchange = filter->exchange;
    if (permitted(settings, exchange, MODEL, exchange->model_asked))
        return FILTER_PASS;
    if (!permitted(settings, exchange, OPERATION, (struct span){0}))
        return deny(filter, "This caller may not use stored responses of a gateway that others use, too.");
    return deny_model(filter);
}

static bool shows_model(const struct filter *filter, struct span model)
{
    const struct authorize_settings *settings = filter->settings;
    for (size_t i = 0; i < settings->rule_count; i++)
        if (permits_caller(&settings->rules[i], filter->exchange) && permits_model(&settings->rules[i], model))
            return true;
    return false;
}

/* In a simulation nobody has been authenticated: all that can be said is for whom it would be permitted. */
static void explain_without_caller(const struct authorize_settings *settings, const struct exchange *exchange,
                                   struct buffer *sentence)
{
    size_t count = 0;
    for (size_t i = 0; i < settings->rule_count; i++) {
        const struct rule_settings *rule = &settings->rules[i];
        if ((rule->listeners.count == 0 || listed(&rule->listeners, exchange->listener->name)) &&
            permits_operation(rule, exchange) && permits_model(rule, exchange->model_asked))
            buffer_format(sentence, "%s %zu", count++ ? " or" : "Permits it to callers of rule", i + 1);
    }
    buffer_append(sentence, count ? SPAN(".") : SPAN("Denies it to every caller."));
}

static void explain(const struct filter *filter, struct buffer *sentence)
{
    const struct authorize_settings *settings = filter->settings;
    const struct exchange *exchange = filter->exchange;
    if (exchange->consumer.name.len == 0) {
        explain_without_caller(settings, exchange, sentence);
        return;
    }
    for (size_t i = 0; i < settings->rule_count; i++) {
        const struct rule_settings *rule = &settings->rules[i];
        if (permits_caller(rule, exchange) && permits_operation(rule, exchange) &&
            permits_model(rule, exchange->model_asked)) {
            buffer_format(sentence, "Permits it by rule %zu.", i + 1);
            return;
        }
    }
    buffer_format(sentence, "Denies it: no rule permits %.*s this %s.", SPAN_ARG(exchange->consumer.name),
                  permitted(settings, exchange, OPERATION, (struct span){0}) ? "model" : "operation");
}

const struct filter_type filter_authorize = {
    .name = "authorize",
    .settings = &authorize_spec,
    .needs = FILTER_IDENTITY,
    .shuns = FILTER_KEPT,
    .on_request_head = on_request_head,
    .on_request = on_request,
    .shows_model = shows_model,
    .explain = explain,
};
