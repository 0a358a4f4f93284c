/* SPDX-License-Identifier: Apache-2.0 */
#include "config/suggest.h"
#include "filters/inject.h"

#define DEFAULT_PORT       4610
#define DEFAULT_ADMIN_PORT 4611
#define IMAGE_LENGTH       512
#define EXTRA_MAX          32 /* as many as a profile may have */
/* All annotations of an object together, names and values (Kubernetes' own limit). */
#define ANNOTATION_BYTES ((size_t)256 * 1024)

static struct span full_name(struct injection *in, const char *name)
{
    return arena_format(in->arena, "%.*s/%s", SPAN_ARG(in->injector->settings->prefix), name);
}

static const struct span *said(struct injection *in, enum inject_annotation which)
{
    return inject_pod_annotation(&in->pod, full_name(in, inject_annotation_names[which]));
}

/* `hint` begins with a semicolon, as suggest_text's does. */
static void deny_near(struct injection *in, enum inject_annotation which, struct span hint)
{
    const struct span *value = said(in, which);
    struct span shown = value ? span_take(*value, 80) : (struct span){0};
    inject_deny(in, "annotation %.*s/%s is \"%.*s\"%.*s", SPAN_ARG(in->injector->settings->prefix),
                inject_annotation_names[which], SPAN_ARG(shown), SPAN_ARG(hint));
}

static void deny_value(struct injection *in, enum inject_annotation which, const char *allowed)
{
    deny_near(in, which, arena_format(in->arena, "; allowed: %s", allowed));
}

/* ---- which annotations there are ---- */

static bool is_among(const char *const *words, struct span word, int *ret)
{
    for (int i = 0; words[i]; i++)
        if (span_equal(span_str(words[i]), word)) {
            *ret = i;
            return true;
        }
    return false;
}

static void deny_unknown(struct injection *in, struct span name)
{
    struct suggest suggest;
    suggest_init(&suggest, in->arena, name);
    for (size_t i = 0; i < INJECT_ANNOTATIONS; i++)
        suggest_add(&suggest, span_str(inject_annotation_names[i]));
    struct span hint = suggest_text(&suggest);
    inject_deny(in, "annotation %.*s/%.*s is unknown%.*s", SPAN_ARG(in->injector->settings->prefix),
                SPAN_ARG(span_take(name, 64)), SPAN_ARG(hint));
}

static const char *const written[] = {"injected", "warnings", "profile-config", "profile-ca", NULL};

/* Every annotation with our prefix must be one that has an effect, and that the namespace may use. */
static void check_annotations(struct injection *in, const struct inject_namespace *rule)
{
    struct span prefix = full_name(in, "");
    for (size_t i = 0; i < in->pod.annotation_count; i++) {
        struct span name = in->pod.annotations[i].name;
        int which;
        if (!span_starts_with(name, prefix))
            continue;
        struct span own = span_skip(name, prefix.len);
        if (span_equal(own, SPAN("inject")) || span_equal(own, SPAN("revision")))
            inject_deny(in, "%.*s is a label, not an annotation: selectors cannot see annotations", SPAN_ARG(name));
        else if (is_among(written, own, &which))
            inject_deny(in, "annotation %.*s is written by the injector; remove it", SPAN_ARG(name));
        else if (!is_among(inject_annotation_names, own, &which))
            deny_unknown(in, own);
        else if (!(rule->annotations & UINT64_C(1) << which))
            inject_deny(in, "annotation %.*s is not for namespace \"%.*s\"; the injector's configuration allows it",
                        SPAN_ARG(name), SPAN_ARG(in->pod.space));
    }
}

/* ---- one by one ---- */

static void deny_profile(struct injection *in, const struct inject_namespace *rule, struct span name)
{
    const struct inject_settings *settings = in->injector->settings;
    size_t count = rule->profiles.count ? rule->profiles.count : settings->profile_count;
    struct suggest suggest;
    suggest_init(&suggest, in->arena, name);
    for (size_t i = 0; i < count; i++)
        suggest_add(&suggest, rule->profiles.count ? rule->profiles.items[i] : settings->profiles[i].name);
    deny_near(in, INJECT_PROFILE, suggest_text(&suggest));
}

static const struct inject_profile *profile_of(struct injection *in, struct span name)
{
    for (size_t i = 0; i < in->injector->settings->profile_count; i++)
        if (span_equal(in->injector->profiles[i].settings->name, name))
            return &in->injector->profiles[i];
    return NULL;
}

static bool may_use(const struct inject_namespace *rule, struct span name)
{
    bool found = rule->profiles.count == 0;
    for (size_t i = 0; i < rule->profiles.count; i++)
        found |= span_equal(rule->profiles.items[i], name);
    return found;
}

static void choose_profile(struct injection *in, const struct inject_namespace *rule)
{
    const struct span *name = said(in, INJECT_PROFILE);
    if (!name && rule->profiles.count)
        name = &rule->profiles.items[0];
    in->choice.profile = name ? profile_of(in, *name) : &in->injector->profiles[0];
    if (!in->choice.profile || (name && !may_use(rule, *name))) {
        deny_profile(in, rule, name ? *name : (struct span){0});
        in->choice.profile = &in->injector->profiles[0];
    }
}

/* RFC 1123 subdomain, as names of ConfigMaps are. */
static bool is_object_name(struct span name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        bool edge = i == 0 || i + 1 == name.len || name.ptr[i - 1] == '.' || name.ptr[i + 1] == '.';
        if (!word && (edge || (c != '-' && c != '.')))
            return false;
    }
    return name.len > 0 && name.len <= 253;
}

static uint16_t choose_port(struct injection *in, enum inject_annotation which, uint16_t fallback)
{
    const struct span *text = said(in, which);
    uint64_t port;
    if (!text)
        return fallback;
    if (span_to_u64(*text, &port) && port >= 1024 && port <= 65535)
        return (uint16_t)port;
    deny_value(in, which, "1024 to 65535");
    return fallback;
}

static int choose_word(struct injection *in, enum inject_annotation which, const char *const *words, int fallback)
{
    const struct span *text = said(in, which);
    struct suggest suggest;
    int found = fallback;
    if (!text || is_among(words, *text, &found))
        return found;
    suggest_init(&suggest, in->arena, *text);
    for (size_t i = 0; words[i]; i++)
        suggest_add(&suggest, span_str(words[i]));
    deny_near(in, which, suggest_text(&suggest));
    return found;
}

static bool is_printable(struct span text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] <= ' ' || text.ptr[i] > '~' || text.ptr[i] == '"' || text.ptr[i] == '\\')
            return false;
    return text.len > 0;
}

static void choose_image(struct injection *in, const struct inject_namespace *rule)
{
    const struct span *image = said(in, INJECT_IMAGE);
    struct span patterns = {0};
    in->choice.image = in->injector->settings->image;
    if (!image)
        return;
    for (size_t i = 0; i < rule->images.count; i++) {
        if (is_printable(*image) && image->len <= IMAGE_LENGTH && span_matches(*image, rule->images.items[i])) {
            in->choice.image = *image;
            return;
        }
        patterns =
            arena_format(in->arena, "%.*s%s%.*s", SPAN_ARG(patterns), i ? ", " : "", SPAN_ARG(rule->images.items[i]));
    }
    deny_value(in, INJECT_IMAGE, patterns.len ? patterns.ptr : "none here");
}

/* The annotation's, within what the namespace may have, else the profile's, the injector's, ours. */
static struct span choose_quantity(struct injection *in, enum inject_annotation which, struct span most,
                                   struct span profile, struct span injector, struct span ours)
{
    const struct span *text = said(in, which);
    struct span fallback = profile.len ? profile : injector.len ? injector : ours;
    uint64_t number, limit = UINT64_MAX;
    if (!text)
        return fallback;
    if (most.len && !inject_quantity(most, &limit))
        limit = UINT64_MAX;
    if (text->len <= 32 && inject_quantity(*text, &number) && number <= limit)
        return *text;
    struct span up_to =
        arena_format(in->arena, "quantities such as 100m or 64Mi%s%.*s", most.len ? ", at most " : "", SPAN_ARG(most));
    deny_value(in, which, up_to.ptr);
    return fallback;
}

static void check_limit(struct injection *in, const char *what, struct span request, struct span limit)
{
    uint64_t asked, most;
    if (limit.len && inject_quantity(request, &asked) && inject_quantity(limit, &most) && asked > most)
        inject_deny(in, "the sidecar's %s request %.*s exceeds its limit %.*s; annotations %.*s/%s-request and -limit",
                    what, SPAN_ARG(request), SPAN_ARG(limit), SPAN_ARG(in->injector->settings->prefix), what);
}

static void choose_resources(struct injection *in, const struct inject_namespace *rule)
{
    struct inject_choice *choice = &in->choice;
    const struct inject_resources *own = &choice->profile->settings->resources,
                                  *all = &in->injector->settings->resources;
    choice->cpu_request =
        choose_quantity(in, INJECT_CPU_REQUEST, rule->max_cpu, own->cpu_request, all->cpu_request, SPAN("10m"));
    choice->cpu_limit =
        choose_quantity(in, INJECT_CPU_LIMIT, rule->max_cpu, own->cpu_limit, all->cpu_limit, (struct span){0});
    choice->memory_request = choose_quantity(in, INJECT_MEMORY_REQUEST, rule->max_memory, own->memory_request,
                                             all->memory_request, SPAN("32Mi"));
    choice->memory_limit =
        choose_quantity(in, INJECT_MEMORY_LIMIT, rule->max_memory, own->memory_limit, all->memory_limit, SPAN("256Mi"));
    check_limit(in, "cpu", choice->cpu_request, choice->cpu_limit);
    check_limit(in, "memory", choice->memory_request, choice->memory_limit);
}

/* ---- lists ---- */

static bool is_variable(struct span name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && (i == 0 || c < '0' || c > '9'))
            return false;
    }
    return name.len > 0;
}

static size_t parts_of(struct span text)
{
    size_t parts = 1;
    for (size_t i = 0; i < text.len; i++)
        parts += text.ptr[i] == ',';
    return parts;
}

static void choose_extra(struct injection *in)
{
    const struct span *text = said(in, INJECT_ENV_EXTRA);
    in->choice.env_extra = in->choice.profile->settings->env_extra;
    if (!text)
        return;
    if (parts_of(*text) > EXTRA_MAX) {
        deny_value(in, INJECT_ENV_EXTRA, "NAME=/path,NAME=/path; at most 32 of them");
        return;
    }
    struct setting_pair *pairs = ARENA_ARRAY(in->arena, struct setting_pair, parts_of(*text));
    size_t count = 0;
    struct span rest = *text, part;
    while (span_split(&rest, ',', &part)) {
        size_t equals = span_find(part, '=');
        struct setting_pair pair = {span_trim(span_take(part, equals)), span_trim(span_skip(part, equals + 1))};
        if (!is_variable(pair.name) || !is_printable(pair.value) || pair.value.ptr[0] != '/') {
            deny_value(in, INJECT_ENV_EXTRA, "NAME=/path,NAME=/path");
            return;
        }
        pairs[count++] = pair;
    }
    in->choice.env_extra = (struct setting_pairs){.items = pairs, .count = count};
}

static bool has_container(const struct inject_pod *pod, struct span name)
{
    for (size_t i = 0; i < pod->container_count; i++)
        if (span_equal(pod->containers[i].name, name))
            return true;
    return false;
}

static const char *container_names(struct injection *in)
{
    struct span text = {0};
    for (size_t i = in->pod.init_count; i < in->pod.container_count && text.len < 512; i++)
        text = arena_format(in->arena, "%.*s%s%.*s", SPAN_ARG(text), text.len ? ", " : "",
                            SPAN_ARG(in->pod.containers[i].name));
    return text.ptr;
}

static void choose_containers(struct injection *in)
{
    const struct span *text = said(in, INJECT_CONTAINERS);
    if (!text)
        return;
    if (parts_of(*text) > in->pod.container_count) {
        deny_value(in, INJECT_CONTAINERS, container_names(in));
        return;
    }
    struct span *names = ARENA_ARRAY(in->arena, struct span, parts_of(*text));
    size_t count = 0;
    struct span rest = *text, part;
    while (span_split(&rest, ',', &part)) {
        names[count] = span_trim(part);
        if (!has_container(&in->pod, names[count++])) {
            deny_value(in, INJECT_CONTAINERS, container_names(in));
            return;
        }
    }
    in->choice.containers = (struct setting_list){.items = names, .count = count};
}

/* ---- what the pod itself rules out ---- */

static void check_port(struct injection *in, const struct inject_container *container, uint64_t declared)
{
    const struct inject_choice *choice = &in->choice;
    if (declared != choice->port && declared != choice->admin_port)
        return;
    inject_deny(
        in, "container \"%.*s\" declares port %u, where Postern %s; give annotation %.*s/%s another (1024 to 65535)",
        SPAN_ARG(container->name), (unsigned)declared,
        declared == choice->port ? "serves the application" : "answers probes",
        SPAN_ARG(in->injector->settings->prefix), declared == choice->port ? "port" : "admin-port");
}

static void check_ports(struct injection *in)
{
    for (size_t i = 0; i < in->pod.container_count; i++) {
        const struct inject_container *container = &in->pod.containers[i];
        struct json_value entry, value;
        size_t cursor = 0;
        uint64_t number;
        while (json_value_each(container->ports, &cursor, NULL, &entry)) {
            bool other = json_value_member(entry, SPAN("protocol"), &value) && !json_value_is(value, SPAN("TCP"));
            if (!other && json_value_member(entry, SPAN("containerPort"), &value) && json_value_u64(value, &number))
                check_port(in, container, number);
        }
    }
    if (in->choice.port == in->choice.admin_port)
        inject_deny(in, "annotations %.*s/port and %.*s/admin-port are both %u; give one another",
                    SPAN_ARG(in->injector->settings->prefix), SPAN_ARG(in->injector->settings->prefix),
                    in->choice.port);
}

static void check_place(struct injection *in)
{
    struct span prefix = in->injector->settings->prefix;
    if (in->pod.host_network)
        inject_deny(in,
                    "the pod has hostNetwork: its loopback is the node's, where every such pod could use Postern's "
                    "credentials; label it %.*s/inject: disabled",
                    SPAN_ARG(prefix));
    if (in->pod.windows)
        inject_deny(in,
                    "the pod is for Windows nodes (kubernetes.io/os), and Postern runs on linux; label it %.*s/inject: "
                    "disabled, and call a Postern gateway instead",
                    SPAN_ARG(prefix));
    if (has_container(&in->pod, SPAN("postern")))
        inject_deny(in,
                    "the pod has a container \"postern\" of its own; rename it, or label the pod %.*s/inject: disabled",
                    SPAN_ARG(prefix));
}

static void check_volumes(struct injection *in)
{
    struct json_value entry, name;
    size_t cursor = 0;
    while (json_value_each(in->pod.volumes, &cursor, NULL, &entry))
        if (json_value_member(entry, SPAN("name"), &name) &&
            (json_value_is(name, SPAN("postern-config")) || json_value_is(name, SPAN("postern-token")) ||
             json_value_is(name, SPAN("postern-run"))))
            inject_deny(in, "the pod has a volume named %.*s; Postern needs that name, rename it", SPAN_ARG(name.raw));
}

static void check_identity(struct injection *in)
{
    const struct span *use = inject_pod_label(&in->pod, SPAN("azure.workload.identity/use"));
    const struct inject_profile *profile = in->choice.profile;
    if (in->choice.config_map.len || !profile->workload_identity || (use && span_equal(*use, SPAN("true"))))
        return;
    inject_deny(
        in,
        "profile \"%.*s\" opens its model by workload identity: the pod needs the label "
        "azure.workload.identity/use: \"true\" and a serviceAccountName; other profiles: annotation %.*s/profile",
        SPAN_ARG(profile->settings->name), SPAN_ARG(in->injector->settings->prefix));
}

static void check_size(struct injection *in)
{
    size_t bytes = 0;
    if (in->choice.config_map.len)
        return;
    for (size_t i = 0; i < in->pod.annotation_count; i++)
        bytes += in->pod.annotations[i].name.len + in->pod.annotations[i].value.len;
    const struct inject_profile_settings *profile = in->choice.profile->settings;
    if (bytes + profile->config.len + profile->ca.len + 4096 > ANNOTATION_BYTES)
        inject_deny(in,
                    "the pod's annotations and profile \"%.*s\" together exceed 256 KiB; put the configuration into a "
                    "ConfigMap and name it in annotation %.*s/config",
                    SPAN_ARG(profile->name), SPAN_ARG(in->injector->settings->prefix));
}

bool inject_choose(struct injection *in)
{
    struct inject_choice *choice = &in->choice;
    const struct inject_namespace *rule = inject_rule(in->injector->settings, in->pod.space);
    check_annotations(in, rule);
    choose_profile(in, rule);
    const struct inject_profile_settings *profile = choice->profile->settings;
    const struct span *config_map = said(in, INJECT_CONFIG), *level = said(in, INJECT_LOG_LEVEL);
    if (config_map && !is_object_name(*config_map))
        deny_value(in, INJECT_CONFIG, "the name of a ConfigMap in this namespace");
    choice->config_map = config_map ? *config_map : (struct span){0};
    choice->port = choose_port(in, INJECT_PORT, config_map ? DEFAULT_PORT : choice->profile->port);
    choice->admin_port =
        choose_port(in, INJECT_ADMIN_PORT, config_map ? DEFAULT_ADMIN_PORT : choice->profile->admin_port);
    choose_image(in, rule);
    choose_resources(in, rule);
    if (choose_word(in, INJECT_LOG_LEVEL, inject_log_levels, -1) >= 0)
        choice->log_level = *level;
    choice->env = (enum inject_env_mode)choose_word(in, INJECT_ENV, inject_env_names, (int)profile->env);
    choice->env_for = (enum inject_family)choose_word(in, INJECT_ENV_FOR, inject_family_names, (int)profile->env_for);
    choice->api_keys = (enum inject_keys)choose_word(in, INJECT_API_KEYS, inject_keys_names, (int)profile->api_keys);
    choice->sidecar = (enum inject_variant)choose_word(in, INJECT_SIDECAR, inject_variant_names,
                                                       (int)in->injector->settings->sidecar);
    choose_extra(in);
    choose_containers(in);
    check_place(in);
    check_ports(in);
    check_volumes(in);
    check_identity(in);
    check_size(in);
    return in->denial_count == 0;
}
