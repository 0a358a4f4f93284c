/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/snapshot.h"

#include "base/clock.h"
#include "base/memory.h"
#include "gateway/identity.h"
#include "gateway/target_limits.h"
#include "gateway/target_state.h"
#include "openai/dialect.h"

static atomic_uint_fast64_t generations;

struct builder {
    struct snapshot *snapshot;
    const struct filter_registry *registry;
    struct report *report;
    bool offline;
    struct table limits; /* of deployments */
};

/* ---- filters ---- */

static const struct filter_type *type_of(const struct builder *b, struct span name)
{
    for (size_t i = 0; i < b->registry->count; i++)
        if (span_equal(span_str(b->registry->types[i]->name), name))
            return b->registry->types[i];
    return NULL;
}

static void build_instances(struct builder *b)
{
    struct snapshot *snapshot = b->snapshot;
    const struct config *config = snapshot->config;
    snapshot->instances = ARENA_ARRAY(&snapshot->arena, struct filter_use, config->filter_count + 1);
    for (size_t i = 0; i < config->filter_count; i++) {
        const struct settings_variant *variant = &config->filters[i];
        struct filter_use *use = &snapshot->instances[snapshot->instance_count];
        use->type = type_of(b, span_str(variant->entry->name));
        use->name = variant->name;
        use->settings = variant->value;
        use->index = snapshot->instance_count++;
        if (use->type && use->type->prepare)
            (void)use->type->prepare(use->settings, b->offline, b->report);
    }
}

/* The uses of the named instances, in order. Names were checked when the configuration was loaded. */
static struct filter_list filters_of(struct builder *b, const struct setting_list *names)
{
    struct snapshot *snapshot = b->snapshot;
    struct filter_list list = {.uses = ARENA_ARRAY(&snapshot->arena, struct filter_use, names->count + 1)};
    for (size_t i = 0; i < names->count; i++)
        for (unsigned k = 0; k < snapshot->instance_count; k++)
            if (span_equal(snapshot->instances[k].name, names->items[i]))
                list.uses[list.count++] = snapshot->instances[k];
    return list;
}

/* A model's filters are looked at once for each listener: one message is enough. */
static void warn_once(struct report *report, struct place place, struct span name)
{
    for (const struct report_entry *entry = report->first; entry; entry = entry->next)
        if (entry->warning && entry->place.line == place.line && entry->place.column == place.column &&
            span_equal(entry->place.file, place.file))
            return;
    report_warning(report, place,
                   "filter \"%.*s\" counts by who calls, but stands where nobody has found that out: all callers count "
                   "together; put an authenticating filter before it",
                   SPAN_ARG(name));
}

/* What a filter needs must be given by one before it, and what it shuns must not be. `given` comes from the filters
 * before these. */
static unsigned check_order(struct builder *b, const struct settings *place, const struct filter_list *list,
                            unsigned given)
{
    for (unsigned i = 0; i < list->count; i++) {
        const struct filter_type *type = list->uses[i].type;
        if (type->needs & ~given & FILTER_IDENTITY)
            report_error(b->report, settings_place(place, "filters"),
                         "filter \"%.*s\" needs to know the caller; put an authenticating filter before it",
                         SPAN_ARG(list->uses[i].name));
        struct place which;
        if (!(given & FILTER_IDENTITY) && type->tells_callers && type->tells_callers(list->uses[i].settings, &which))
            warn_once(b->report, which, list->uses[i].name);
        if (type->shuns & given & FILTER_KEPT)
            report_error(b->report, settings_place(place, "filters"),
                         "filter \"%.*s\" stands behind a cache: whom it would refuse would get what is kept; put it "
                         "before",
                         SPAN_ARG(list->uses[i].name));
        given |= type->gives;
    }
    return given;
}

/* A filter that serves is what its listener is for: nothing can follow it, and a model is no place for it. */
static bool serves(struct builder *b, const struct settings *place, const struct filter_list *list, bool listener)
{
    bool found = false;
    for (unsigned i = 0; i < list->count; i++) {
        if (!list->uses[i].type->serves)
            continue;
        found = true;
        if (!listener)
            report_error(b->report, settings_place(place, "filters"),
                         "filter \"%.*s\" serves requests of its own; name it at a listener",
                         SPAN_ARG(list->uses[i].name));
        else if (i + 1 < list->count)
            report_error(b->report, settings_place(place, "filters"),
                         "filter \"%.*s\" answers everything: no filter behind it has an effect; name it last",
                         SPAN_ARG(list->uses[i].name));
    }
    return found;
}

static void check_reach(struct builder *b, const struct listener_use *listener, const struct settings *place,
                        const struct filter_list *list)
{
    for (unsigned i = 0; i < list->count; i++) {
        const struct filter_use *use = &list->uses[i];
        if (!listener->config->address.local && use->type->local_only && use->type->local_only(use->settings))
            report_error(b->report, settings_place(place, "filters"),
                         "filter \"%.*s\" takes whoever connects for its own pod, but others can reach %.*s; use it on "
                         "loopback addresses and unix sockets only",
                         SPAN_ARG(use->name), SPAN_ARG(listener->config->address.text));
    }
}

/* ---- credentials ---- */

static const struct identity *add_identity(struct builder *b, const struct config_credential *credential,
                                           struct span name)
{
    struct snapshot *snapshot = b->snapshot;
    struct identity *identity = &snapshot->identities[snapshot->identity_count++];
    identity_init(identity, snapshot->config, credential, name, b->offline, &snapshot->arena, b->report);
    return identity;
}

static void build_identities(struct builder *b)
{
    struct snapshot *snapshot = b->snapshot;
    const struct config *config = snapshot->config;
    snapshot->identities =
        ARENA_ARRAY(&snapshot->arena, struct identity, config->credential_count + config->target_count + 1);
    for (size_t i = 0; i < config->credential_count; i++)
        (void)add_identity(b, &config->credentials[i], config->credentials[i].name);
}

static const struct identity *identity_of(struct builder *b, const struct config_target *target)
{
    if (!target->credential || target->mock)
        return NULL;
    if (target->credential->name.len)
        return identity_find(b->snapshot, target->credential->name);
    return add_identity(b, target->credential, target->name);
}

/* ---- targets ---- */

static void set_dialect(struct target *target)
{
    const struct config_target *config = target->config;
    target->dialect = DIALECT_OPENAI;
    target->provider = SPAN("openai");
    if (config->mock)
        target->provider = SPAN("postern.mock");
    if (!config->azure)
        return;
    target->provider = SPAN("azure.ai.openai");
    target->api_as_client = config->azure->api_kind == AZURE_API_AS_CLIENT;
    target->dialect = config->azure->api_kind == AZURE_API_DATED ? DIALECT_AZURE_DATED : DIALECT_AZURE_V1;
    if (config->azure->api_kind == AZURE_API_DATED)
        target->api_version = config->azure->api;
}

static void set_proxy(struct builder *b, struct target *target)
{
    if (target->config->proxy == TARGET_PROXY_NONE)
        return;
    const struct setting_url *url = target->url;
    if (!egress_find(b->snapshot->config, url->host, url->port, url->secure, b->offline, &b->snapshot->arena,
                     &target->proxy))
        report_error(b->report, PLACE_NONE, "the environment variable HTTPS_PROXY is not an http:// URL");
}

static void set_tls(struct builder *b, struct target *target)
{
    const struct config_target *config = target->config;
    target->h2_prior_knowledge = !target->url->secure && config->http_version == HTTP_VERSION_2;
    if (!target->url->secure)
        return;
    static const char *const alpn[] = {
        [HTTP_VERSION_AUTO] = "h2,http/1.1", [HTTP_VERSION_1_1] = "http/1.1", [HTTP_VERSION_2] = "h2"};
    target->alpn = span_str(alpn[config->http_version]);
    if (b->offline)
        return;
    struct net_error error;
    struct tls_options options = {.role = TLS_CLIENT, .ca = config->tls.ca.len ? config->tls.ca.ptr : NULL};
    target->tls = tls_context_create(&options, &error);
    if (!target->tls)
        report_error(b->report, settings_place(&config->tls.settings, "ca"), "%s", error.text);
}

static void build_targets(struct builder *b)
{
    struct snapshot *snapshot = b->snapshot;
    const struct config *config = snapshot->config;
    snapshot->target_count = (unsigned)config->target_count;
    snapshot->targets = ARENA_ARRAY(&snapshot->arena, struct target, config->target_count + 1);
    snapshot->plain = ARENA_ARRAY(&snapshot->arena, struct model_target, config->target_count + 1);
    target_limits_written(config, &snapshot->arena, &b->limits, b->report);
    for (unsigned i = 0; i < snapshot->target_count; i++) {
        struct target *target = &snapshot->targets[i];
        target->config = &config->targets[i];
        target->name = target->config->name;
        target->index = i;
        target->url = config_target_url(target->config);
        target->identity = identity_of(b, target->config);
        set_dialect(target);
        snapshot->plain[i] = (struct model_target){
            .target = target, .priority = 1, .weight = 1, .state = target_state_get(target->name, (struct span){0})};
        target_limits_bind(&snapshot->plain[i], (struct span){0}, &b->limits, &snapshot->arena);
        if (!target->url) {
            target->authority = SPAN("mock.postern.invalid");
            continue;
        }
        target->base_path = target->url->path;
        target->authority = target->url->authority;
        set_tls(b, target);
        set_proxy(b, target);
    }
    if (snapshot->target_count == 1)
        snapshot->only_target = &snapshot->plain[0];
}

static const struct model_target *plain_target(const struct snapshot *snapshot, struct span name)
{
    for (unsigned i = 0; i < snapshot->target_count; i++)
        if (span_equal(snapshot->targets[i].name, name))
            return &snapshot->plain[i];
    return NULL;
}

/* ---- models ---- */

static void by_priority(struct model_target *targets, unsigned count)
{
    for (unsigned i = 1; i < count; i++) /* stable: equal ones keep their order */
        for (unsigned k = i; k > 0 && targets[k - 1].priority > targets[k].priority; k--) {
            struct model_target moved = targets[k];
            targets[k] = targets[k - 1];
            targets[k - 1] = moved;
        }
}

static void build_model(struct builder *b, struct model_route *route, const struct config_model *config)
{
    struct snapshot *snapshot = b->snapshot;
    route->name = config->name;
    route->wildcard = span_ends_with(config->name, SPAN("*"));
    route->filters = filters_of(b, &config->filters);
    (void)serves(b, &config->settings, &route->filters, false);
    route->targets = ARENA_ARRAY(&snapshot->arena, struct model_target, config->target_count + 1);
    for (size_t i = 0; i < config->target_count; i++) {
        const struct config_model_target *entry = &config->targets[i];
        route->targets[route->target_count++] =
            (struct model_target){.target = &snapshot->targets[entry->target_index],
                                  .deployment = entry->deployment,
                                  .priority = entry->priority,
                                  .weight = entry->weight,
                                  .state = target_state_get(entry->target, entry->deployment)};
        target_limits_bind(&route->targets[i], route->name, &b->limits, &snapshot->arena);
    }
    by_priority(route->targets, route->target_count);
    for (unsigned i = 0; i < route->target_count && config->stateful_target.len; i++)
        if (span_equal(route->targets[i].target->name, config->stateful_target)) {
            route->stateful = &route->targets[i];
            break;
        }
    if (config->stateful_target.len && !route->stateful)
        route->stateful = plain_target(snapshot, config->stateful_target);
}

static void build_models(struct builder *b)
{
    struct snapshot *snapshot = b->snapshot;
    const struct config *config = snapshot->config;
    snapshot->model_count = (unsigned)config->model_count;
    snapshot->models = ARENA_ARRAY(&snapshot->arena, struct model_route, config->model_count + 1);
    for (unsigned i = 0; i < snapshot->model_count; i++) {
        struct model_route *route = &snapshot->models[i];
        build_model(b, route, &config->models[i]);
        if (!route->wildcard)
            (void)table_put(&snapshot->exact, route->name, route);
        if (route->filters.count > snapshot->filters_most)
            snapshot->filters_most = route->filters.count;
    }
    snapshot->passthrough_count = (unsigned)config->passthrough_count;
    snapshot->passthrough = ARENA_ARRAY(&snapshot->arena, struct passthrough_route, config->passthrough_count + 1);
    for (unsigned i = 0; i < snapshot->passthrough_count; i++) {
        const struct config_passthrough *from = &config->passthrough[i];
        struct passthrough_route *route = &snapshot->passthrough[i];
        route->path = from->path;
        route->target = snapshot->plain[from->target_index];
        route->filters = filters_of(b, &from->filters);
        (void)serves(b, &from->settings, &route->filters, false);
        if (route->filters.count > snapshot->filters_most)
            snapshot->filters_most = route->filters.count;
    }
}

/* ---- listeners ---- */

static void build_listeners(struct builder *b, const struct filter_type *admin_type)
{
    struct snapshot *snapshot = b->snapshot;
    const struct config *config = snapshot->config;
    snapshot->listener_count = (unsigned)config->listener_count;
    snapshot->listeners = ARENA_ARRAY(&snapshot->arena, struct listener_use, config->listener_count + 2);
    for (unsigned i = 0; i < snapshot->listener_count; i++) {
        struct listener_use *use = &snapshot->listeners[i];
        use->config = &config->listeners[i];
        use->name = use->config->name;
        use->index = i;
        use->filters = filters_of(b, &use->config->filters);
        if (use->config->stateful_target.len)
            use->stateful = plain_target(snapshot, use->config->stateful_target);
        use->serves = serves(b, &use->config->settings, &use->filters, true);
        unsigned given = check_order(b, &use->config->settings, &use->filters, 0);
        check_reach(b, use, &use->config->settings, &use->filters);
        for (unsigned m = 0; m < snapshot->model_count; m++) {
            (void)check_order(b, &config->models[m].settings, &snapshot->models[m].filters, given);
            check_reach(b, use, &config->models[m].settings, &snapshot->models[m].filters);
        }
        for (unsigned p = 0; p < snapshot->passthrough_count; p++) {
            (void)check_order(b, &config->passthrough[p].settings, &snapshot->passthrough[p].filters, given);
            check_reach(b, use, &config->passthrough[p].settings, &snapshot->passthrough[p].filters);
        }
    }
    struct filter_use *admin = ARENA_NEW(&snapshot->arena, struct filter_use);
    admin->type = admin_type;
    admin->name = SPAN("admin");
    admin->index = snapshot->instance_count;
    struct filter_list only = {.uses = admin, .count = 1};
    unsigned next = snapshot->listener_count;
    if (config->admin.address.text.len) {
        snapshot->admin = &snapshot->listeners[next];
        *snapshot->admin =
            (struct listener_use){.name = SPAN("admin"), .filters = only, .admin = true, .index = next++};
    }
    if (config->admin.control.text.len) {
        snapshot->control = &snapshot->listeners[next];
        *snapshot->control = (struct listener_use){
            .name = SPAN("control"), .filters = only, .admin = true, .control = true, .index = next};
    }
}

/* ---- life ---- */

static void free_snapshot(struct snapshot *snapshot)
{
    for (unsigned i = 0; i < snapshot->model_count; i++)
        for (unsigned k = 0; k < snapshot->models[i].target_count; k++)
            target_state_unref(snapshot->models[i].targets[k].state);
    for (unsigned i = 0; i < snapshot->target_count; i++) {
        target_state_unref(snapshot->plain[i].state);
        tls_context_unref(snapshot->targets[i].tls);
    }
    for (unsigned i = 0; i < snapshot->identity_count; i++)
        identity_finish(&snapshot->identities[i]);
    table_finish(&snapshot->exact);
    config_free(snapshot->config);
    struct arena arena = snapshot->arena;
    arena_finish(&arena);
}

struct snapshot *snapshot_create(struct config *config, const struct filter_registry *registry, bool offline,
                                 struct report *report)
{
    struct arena arena;
    arena_init(&arena);
    struct snapshot *snapshot = ARENA_NEW(&arena, struct snapshot);
    snapshot->arena = arena;
    atomic_init(&snapshot->refs, 1);
    snapshot->generation = atomic_fetch_add(&generations, 1) + 1;
    snapshot->loaded_wall = clock_wall();
    snapshot->config = config;
    struct builder b = {.snapshot = snapshot, .registry = registry, .report = report, .offline = offline};
    size_t errors = report->errors;
    build_instances(&b);
    build_identities(&b);
    build_targets(&b);
    build_models(&b);
    build_listeners(&b, registry->admin);
    table_finish(&b.limits);
    if (report->errors > errors) {
        report_sort(report);
        free_snapshot(snapshot);
        return NULL;
    }
    return snapshot;
}

struct snapshot *snapshot_ref(struct snapshot *snapshot)
{
    atomic_fetch_add_explicit(&snapshot->refs, 1, memory_order_relaxed);
    return snapshot;
}

void snapshot_unref(struct snapshot *snapshot)
{
    if (snapshot && atomic_fetch_sub_explicit(&snapshot->refs, 1, memory_order_acq_rel) == 1)
        free_snapshot(snapshot);
}
