/* SPDX-License-Identifier: Apache-2.0 */
#include "config/check.h"

#include <sched.h>

#include "config/config.h"

/* listeners */

/* A filter of this listener that answers everything itself: no model of ours is behind it. */
static bool serves(const struct config *config, const struct config_listener *listener)
{
    for (size_t i = 0; i < listener->filters.count; i++) {
        const struct settings_variant *filter = config_filter(config, listener->filters.items[i]);
        if (filter && filter->entry && (filter->entry->flags & SETTINGS_SERVES))
            return true;
    }
    return false;
}

static bool all_serve(const struct config *config)
{
    for (size_t i = 0; i < config->listener_count; i++)
        if (!serves(config, &config->listeners[i]))
            return false;
    return config->listener_count > 0;
}

/* The filter that authenticates, or NULL. *ret_sure: false if one of the filters could not be read. */
static const struct settings_variant *authenticating(const struct config *config,
                                                     const struct config_listener *listener, bool *ret_sure)
{
    *ret_sure = true;
    for (size_t i = 0; i < listener->filters.count; i++) {
        const struct settings_variant *filter = config_filter(config, listener->filters.items[i]);
        if (!filter || !filter->entry)
            *ret_sure = false;
        else if (filter->entry->flags & SETTINGS_AUTHENTICATES)
            return filter;
    }
    return NULL;
}

static void check_entry(const struct config *config, const struct config_listener *listener, struct report *report)
{
    bool sure;
    const struct settings_variant *filter = authenticating(config, listener, &sure);
    if (filter && listener->anonymous)
        report_error(report, settings_place(&listener->settings, "anonymous"),
                     "\"anonymous: true\" contradicts filter \"%.*s\", which authenticates; remove one of them",
                     SPAN_ARG(filter->name));
    else if (!filter && sure && !serves(config, listener) && listener->address.text.len && !listener->address.local &&
             !listener->anonymous)
        report_error(
            report, settings_place(&listener->settings, "address"),
            "others can reach %.*s: name a filter that authenticates, or say \"anonymous: true\" to serve anyone",
            SPAN_ARG(listener->address.text));
}

static void check_admin_address(const struct config *config, struct report *report)
{
    const struct setting_address *own[] = {&config->admin.address, &config->admin.control};
    const char *const keys[] = {"address", "control"};
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        for (size_t j = 0; own[i]->text.len && j < config->listener_count; j++)
            if (span_equal(own[i]->text, config->listeners[j].address.text) && (own[i]->port || own[i]->path.len))
                report_error(report, settings_place(&config->admin.settings, keys[i]),
                             "%.*s is a listener's address already; operators need one of their own",
                             SPAN_ARG(own[i]->text));
}

/* models */

static bool is_pattern(struct span name)
{
    return name.len && name.ptr[name.len - 1] == '*';
}

/* Whether `later` is never reached: an exact name by the same name, a pattern by an earlier one that matches as much.
 */
static bool shadows(struct span earlier, struct span later)
{
    if (!is_pattern(earlier) || !is_pattern(later))
        return span_equal(earlier, later);
    return span_starts_with(later, span_take(earlier, earlier.len - 1));
}

static void check_shadowed_model(const struct config *config, size_t index, struct report *report)
{
    const struct config_model *later = &config->models[index];
    for (size_t i = 0; i < index && later->name.len; i++) {
        const struct config_model *earlier = &config->models[i];
        if (!shadows(earlier->name, later->name))
            continue;
        struct place place = settings_place(&earlier->settings, "name");
        report_error(report, settings_place(&later->settings, "name"),
                     "model \"%.*s\" is never reached: \"%.*s\" at %.*s:%u:%u comes first; %s", SPAN_ARG(later->name),
                     SPAN_ARG(earlier->name), SPAN_ARG(place.file), place.line, place.column,
                     span_equal(earlier->name, later->name) ? "put their targets into one entry"
                                                            : "put the general one last");
        return;
    }
}

/* The same filter twice in a chain would count and edit twice. */
static void check_model_filters(const struct config *config, struct report *report)
{
    for (size_t i = 0; i < config->model_count; i++)
        for (size_t j = 0; j < config->models[i].filters.count; j++)
            for (size_t k = 0; k < config->listener_count; k++) {
                const struct setting_list *outer = &config->listeners[k].filters;
                for (size_t l = 0; l < outer->count; l++)
                    if (span_equal(outer->items[l], config->models[i].filters.items[j]))
                        report_error(report, settings_place_at(&config->models[i].settings, "filters", j),
                                     "filter \"%.*s\" already acts on listener \"%.*s\"; it would run twice",
                                     SPAN_ARG(outer->items[l]), SPAN_ARG(config->listeners[k].name));
            }
}

/* targets */

static size_t target_index(const struct config *config, struct span name)
{
    const struct config_target *target = config_target(config, name);
    return target ? (size_t)(target - config->targets) : 0;
}

/* The items are ours to complete: nobody else sees the configuration yet. */
static void bind_targets(struct config *config)
{
    struct config_target *all = (struct config_target *)(uintptr_t)config->targets;
    for (size_t i = 0; i < config->target_count; i++)
        if (all[i].credential && all[i].credential->name.len)
            all[i].credential = config_credential(config, all[i].credential->name);
    for (size_t i = 0; i < config->model_count; i++) {
        struct config_model_target *targets = (struct config_model_target *)(uintptr_t)config->models[i].targets;
        for (size_t j = 0; j < config->models[i].target_count; j++)
            targets[j].target_index = target_index(config, targets[j].target);
    }
    struct config_passthrough *passthrough = (struct config_passthrough *)(uintptr_t)config->passthrough;
    for (size_t i = 0; i < config->passthrough_count; i++)
        passthrough[i].target_index = target_index(config, passthrough[i].target);
}

static bool passes_on(const struct config_target *target)
{
    return target->credential && target->credential->client;
}

/* The application's credential belongs to one host. Two hosts would let a failover, or a model's name, choose who sees
 * it. */
static void check_passed_on(const struct config *config, struct report *report)
{
    const struct setting_url *first = NULL;
    for (size_t i = 0; i < config->target_count; i++) {
        const struct config_target *target = &config->targets[i];
        const struct setting_url *url = config_target_url(target);
        if (!passes_on(target) || !url)
            continue;
        if (first && (!span_equal(first->authority, url->authority) || first->secure != url->secure))
            report_error(report, settings_place(&target->settings, "credential"),
                         "\"client\" passes the application's own credential on, to one host only; another target "
                         "passes it to %.*s already",
                         SPAN_ARG(first->authority));
        first = first ? first : url;
    }
}

static bool counts_for_deployments(const struct config *config, const struct config_target *target)
{
    for (size_t i = 0; i < config->model_count; i++)
        for (size_t j = 0; j < config->models[i].target_count; j++)
            if (config->models[i].targets[j].limits &&
                &config->targets[config->models[i].targets[j].target_index] == target)
                return true;
    return false;
}

/* A store alone says where the limits of deployments are counted. */
static void check_limit_stores(const struct config *config, struct report *report)
{
    for (size_t i = 0; i < config->target_count; i++) {
        const struct config_target_limits *limits = config->targets[i].limits;
        if (limits && !limits->requests.given && !limits->tokens.given &&
            limits->concurrency == SETTING_ABSENT_INTEGER && !counts_for_deployments(config, &config->targets[i]))
            report_error(report, settings_place(&limits->settings, "store"),
                         "\"store\" has no effect: neither target \"%.*s\" nor a deployment of it has limits",
                         SPAN_ARG(config->targets[i].name));
    }
}

static unsigned cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return 1;
    int count = CPU_COUNT(&set);
    return count > 0 ? (unsigned)count : 1;
}

void check_config(struct config *config, struct report *report)
{
    for (size_t i = 0; i < config->listener_count; i++)
        check_entry(config, &config->listeners[i], report);
    check_admin_address(config, report);
    if (!all_serve(config) && config->model_count == 0 && config->passthrough_count == 0 &&
        !settings_given(&config->settings, "models") && !settings_given(&config->settings, "passthrough"))
        report_error(report, settings_place(&config->settings, NULL),
                     "no \"models\" and no \"passthrough\": there is nothing clients could ask for");
    for (size_t i = 0; i < config->model_count; i++)
        check_shadowed_model(config, i, report);
    check_model_filters(config, report);
    bind_targets(config);
    check_passed_on(config, report);
    check_limit_stores(config, report);
    if (config->workers == 0)
        config->workers = cores();
}
