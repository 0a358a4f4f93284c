/* SPDX-License-Identifier: Apache-2.0 */
#include "config/settings.h"

#include "config/config.h"

#define AT(member) SETTING_AT(struct config_model_target, member)
static const struct setting model_target_table[] = {
    {.name = "target",
     .type = SETTING_STRING,
     .flags = SETTING_REQUIRED,
     AT(target),
     .refers = "targets",
     .help = "The name of a target.",
     .example = "east"},
    {.name = "deployment",
     .type = SETTING_STRING,
     AT(deployment),
     .max = 256,
     .fallback_note = "the name the client asked for",
     .help = "What the target calls the model: the deployment at Azure, the model name elsewhere.",
     .example = "gpt-4o-ptu"},
    {.name = "priority",
     .type = SETTING_INTEGER,
     AT(priority),
     .fallback = "1",
     .min = 1,
     .max = 100,
     .help = "Targets of priority 1 are tried first, then those of 2, and so on: provisioned throughput before "
             "pay-as-you-go."},
    {.name = "weight",
     .type = SETTING_INTEGER,
     AT(weight),
     .fallback = "1",
     .max = 10000,
     .help = "The share of first tries among targets of equal priority. 0: only after the others of this priority "
             "have failed."},
    {.name = "limits",
     .type = SETTING_OPTIONAL,
     AT(limits),
     .sub = &config_deployment_limits_spec,
     .help = "How much may be sent to this deployment: its quota. Another target is tried when it is used up.",
     .example = "{tokens: 100000/minute}"},
};
#undef AT

static const struct settings_spec model_target_spec = SETTINGS_SPEC(
    "model target", struct config_model_target, model_target_table,
    "One of the places that serve a model. A mere name is short for {target: NAME}.", .shorthand = "target");

#define AT(member) SETTING_AT(struct config_model, member)
static const struct setting model_table[] = {
    {.name = "name",
     .type = SETTING_STRING,
     .flags = SETTING_REQUIRED,
     AT(name),
     .max = 256,
     .help = "What clients ask for. A trailing asterisk matches every name that begins so; \"*\" alone matches all. "
             "An exact name wins over patterns; of these the first that matches is used, so \"*\" stands last.",
     .example = "gpt-4o"},
    {.name = "targets",
     .type = SETTING_OBJECTS,
     .flags = SETTING_REQUIRED | SETTING_NOT_EMPTY,
     SETTING_ITEMS_AT(struct config_model, targets, target_count),
     .max = 64,
     .sub = &model_target_spec,
     .help = "Where it is served, by priority, then weight. When one fails before it has begun to answer, the next is "
             "tried.",
     .example = "[{target: east}]"},
    {.name = "filters",
     .type = SETTING_LIST,
     .flags = SETTING_UNIQUE,
     AT(filters),
     .max = 64,
     .refers = "filters",
     .help = "Filters for this model, after the listener's.",
     .example = "[answers]"},
    {.name = "stateful_target",
     .type = SETTING_STRING,
     AT(stateful_target),
     .refers = "targets",
     .help = "Which of the targets holds what outlives a request (stored responses, files, batches). Only needed with "
             "several targets.",
     .example = "east"},
};
#undef AT

static void check_name(const struct config_model *model, struct report *report)
{
    size_t star = span_find(model->name, '*');
    if (star < model->name.len && star + 1 != model->name.len)
        report_error(report, settings_place(&model->settings, "name"),
                     "\"name\" can have one asterisk, at its end: gpt-4o, gpt-4*, or *");
}

static void check_repeats(const struct config_model *model, struct report *report)
{
    for (size_t i = 0; i < model->target_count; i++)
        for (size_t j = 0; j < i; j++)
            if (span_equal(model->targets[i].target, model->targets[j].target) &&
                span_equal(model->targets[i].deployment, model->targets[j].deployment)) {
                report_error(
                    report, settings_place(&model->targets[i].settings, NULL),
                    "model \"%.*s\" names target \"%.*s\" twice with the same deployment; another try there is "
                    "no other place",
                    SPAN_ARG(model->name), SPAN_ARG(model->targets[i].target));
                break;
            }
}

/* A priority whose weights are all 0 has no first choice. */
static void check_weights(const struct config_model *model, struct report *report)
{
    for (size_t i = 0; i < model->target_count; i++) {
        unsigned priority = model->targets[i].priority, sum = 0;
        bool first = true;
        for (size_t j = 0; j < model->target_count; j++) {
            first &= j >= i || model->targets[j].priority != priority;
            sum += model->targets[j].priority == priority ? model->targets[j].weight : 0;
        }
        if (first && sum == 0)
            report_error(
                report, settings_place(&model->targets[i].settings, "weight"),
                "every target of model \"%.*s\" with priority %u has weight 0; one of them must be the first choice",
                SPAN_ARG(model->name), priority);
    }
}

static void check_stateful(const struct config_model *model, struct report *report)
{
    if (model->stateful_target.len == 0)
        return;
    for (size_t i = 0; i < model->target_count; i++)
        if (span_equal(model->targets[i].target, model->stateful_target))
            return;
    report_error(report, settings_place(&model->settings, "stateful_target"),
                 "\"stateful_target\" must be one of the model's own targets; \"%.*s\" is not",
                 SPAN_ARG(model->stateful_target));
}

static void check_model(void *settings, struct report *report)
{
    const struct config_model *model = settings;
    check_name(model, report);
    check_repeats(model, report);
    check_weights(model, report);
    check_stateful(model, report);
}

const struct settings_spec config_model_spec =
    SETTINGS_SPEC("model", struct config_model, model_table, "A name that clients ask for, and who answers to it.",
                  .check = check_model);

#define AT(member) SETTING_AT(struct config_passthrough, member)
static const struct setting passthrough_table[] = {
    {.name = "path",
     .type = SETTING_STRING,
     .flags = SETTING_REQUIRED | SETTING_UNIQUE,
     AT(path),
     .max = 1024,
     .help = "A path and everything below it: /tokenize covers /tokenize and /tokenize/x, not /tokenizer. / covers "
             "whatever nothing else does. The longest path that matches is used.",
     .example = "/tokenize"},
    {.name = "target",
     .type = SETTING_STRING,
     .flags = SETTING_REQUIRED,
     AT(target),
     .refers = "targets",
     .help = "Where such requests go, whatever their method and body, as they are.",
     .example = "phi"},
    {.name = "filters",
     .type = SETTING_LIST,
     .flags = SETTING_UNIQUE,
     AT(filters),
     .max = 64,
     .refers = "filters",
     .help = "Filters for these requests, after the listener's."},
};
#undef AT

static bool plain_path(struct span path)
{
    if (path.len == 0 || path.ptr[0] != '/' || (path.len > 1 && path.ptr[path.len - 1] == '/'))
        return false;
    for (size_t i = 0; i < path.len; i++) {
        unsigned char c = (unsigned char)path.ptr[i];
        bool doubled = c == '/' && i + 1 < path.len && path.ptr[i + 1] == '/';
        if (c <= ' ' || c >= 0x7f || strchr("?#%*\\", c) || doubled)
            return false;
    }
    return true;
}

static void check_passthrough(void *settings, struct report *report)
{
    const struct config_passthrough *passthrough = settings;
    if (!plain_path(passthrough->path))
        report_error(report, settings_place(&passthrough->settings, "path"),
                     "\"path\" must begin with / and be plain: no query, no escapes, no asterisk, no slash at the end; "
                     "everything below it is covered");
}

const struct settings_spec config_passthrough_spec =
    SETTINGS_SPEC("passthrough", struct config_passthrough, passthrough_table,
                  "A path whose requests go to a target as they are, without being understood: a server's extra "
                  "endpoints, its health page. Listener filters and the target's credential apply.",
                  .check = check_passthrough);
