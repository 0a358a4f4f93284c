/* SPDX-License-Identifier: Apache-2.0 */
#include "config/suggest.h"
#include "filters/inject.h"

/* A pod's annotations may have 256 KiB together; the profile must leave room for others'. */
#define PROFILE_BYTES (128 * 1024)
#define CA_BYTES      (64 * 1024)

const char *const inject_annotation_names[INJECT_ANNOTATIONS + 1] = {
    [INJECT_PROFILE] = "profile",
    [INJECT_CONFIG] = "config",
    [INJECT_PORT] = "port",
    [INJECT_ADMIN_PORT] = "admin-port",
    [INJECT_IMAGE] = "image",
    [INJECT_CPU_REQUEST] = "cpu-request",
    [INJECT_CPU_LIMIT] = "cpu-limit",
    [INJECT_MEMORY_REQUEST] = "memory-request",
    [INJECT_MEMORY_LIMIT] = "memory-limit",
    [INJECT_LOG_LEVEL] = "log-level",
    [INJECT_ENV] = "env",
    [INJECT_ENV_FOR] = "env-for",
    [INJECT_ENV_EXTRA] = "env-extra",
    [INJECT_API_KEYS] = "api-keys",
    [INJECT_CONTAINERS] = "containers",
    [INJECT_SIDECAR] = "sidecar",
};
const char *const inject_env_names[] = {
    [INJECT_ENV_IF_ABSENT] = "if-absent", [INJECT_ENV_OVERRIDE] = "override", [INJECT_ENV_NONE] = "none", NULL};
const char *const inject_family_names[] = {
    [INJECT_FOR_ALL] = "all", [INJECT_FOR_OPENAI] = "openai", [INJECT_FOR_AZURE] = "azure", NULL};
const char *const inject_keys_names[] = {[INJECT_KEYS_PLACEHOLDER] = "placeholder", [INJECT_KEYS_NONE] = "none", NULL};
const char *const inject_variant_names[] = {[INJECT_NATIVE] = "native", [INJECT_CONTAINER] = "container", NULL};
const char *const inject_log_levels[] = {"error", "warning", "info", "debug", NULL};

static const char *const pull_policies[] = {[INJECT_PULL_IF_NOT_PRESENT] = "IfNotPresent",
                                            [INJECT_PULL_ALWAYS] = "Always",
                                            [INJECT_PULL_NEVER] = "Never",
                                            NULL};

/* ---- quantities ---- */

static const struct {
    struct span suffix;
    uint64_t thousandths;
} units[] = {
    {SPAN_INIT("m"), 1},
    {SPAN_INIT(""), 1000},
    {SPAN_INIT("k"), UINT64_C(1000) * 1000},
    {SPAN_INIT("M"), UINT64_C(1000) * 1000 * 1000},
    {SPAN_INIT("G"), UINT64_C(1000) * 1000 * 1000 * 1000},
    {SPAN_INIT("Ki"), UINT64_C(1000) << 10},
    {SPAN_INIT("Mi"), UINT64_C(1000) << 20},
    {SPAN_INIT("Gi"), UINT64_C(1000) << 30},
};

/* "1", "0.25": thousandths of the number; three decimals, as Kubernetes rounds finer ones up. */
static bool thousandths(struct span text, uint64_t *ret)
{
    size_t dot = span_find(text, '.');
    struct span whole = span_take(text, dot), part = span_skip(text, dot + 1);
    uint64_t number, decimals = 0;
    if (whole.len > 12 || part.len > 3 || (dot < text.len && part.len == 0) || !span_to_u64(whole, &number) ||
        (part.len && !span_to_u64(part, &decimals)))
        return false;
    for (size_t i = part.len; i < 3; i++)
        decimals *= 10;
    *ret = number * 1000 + decimals;
    return true;
}

bool inject_quantity(struct span text, uint64_t *ret_thousandths)
{
    size_t digits = 0;
    uint64_t number;
    while (digits < text.len && ((text.ptr[digits] >= '0' && text.ptr[digits] <= '9') || text.ptr[digits] == '.'))
        digits++;
    if (!thousandths(span_take(text, digits), &number) || number == 0)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        uint64_t product;
        if (!span_equal(span_skip(text, digits), units[i].suffix))
            continue;
        if (__builtin_mul_overflow(number, units[i].thousandths, &product))
            return false;
        product /= 1000;
        if (product == 0) /* a fraction of a thousandth */
            return false;
        *ret_thousandths = product;
        return true;
    }
    return false;
}

static void check_quantity(const struct settings *settings, const char *key, struct span text, struct report *report)
{
    uint64_t number;
    if (text.len && !inject_quantity(text, &number))
        report_error(report, settings_place(settings, key),
                     "\"%s\" must be a quantity as Kubernetes writes it, such as 100m or 64Mi", key);
}

static void check_resources(void *settings, struct report *report)
{
    const struct inject_resources *resources = settings;
    check_quantity(&resources->settings, "cpu_request", resources->cpu_request, report);
    check_quantity(&resources->settings, "cpu_limit", resources->cpu_limit, report);
    check_quantity(&resources->settings, "memory_request", resources->memory_request, report);
    check_quantity(&resources->settings, "memory_limit", resources->memory_limit, report);
}

#define AT(member) .offset = offsetof(struct inject_resources, member)
static const struct setting resources_table[] = {
    {.name = "cpu_request",
     .type = SETTING_STRING,
     AT(cpu_request),
     .max = 32,
     .fallback_note = "10m",
     .help = "What the scheduler sets aside.",
     .example = "10m"},
    {.name = "cpu_limit",
     .type = SETTING_STRING,
     AT(cpu_limit),
     .max = 32,
     .fallback_note = "none",
     .help = "A ceiling. None is the default: a throttled sidecar delays every token.",
     .example = "\"1\""},
    {.name = "memory_request",
     .type = SETTING_STRING,
     AT(memory_request),
     .max = 32,
     .fallback_note = "32Mi",
     .help = "What the scheduler sets aside.",
     .example = "32Mi"},
    {.name = "memory_limit",
     .type = SETTING_STRING,
     AT(memory_limit),
     .max = 32,
     .fallback_note = "256Mi",
     .help = "A ceiling; leave room for limits.held of the configuration.",
     .example = "256Mi"},
};
#undef AT

static const struct settings_spec resources_spec =
    SETTINGS_SPEC("resources", struct inject_resources, resources_table,
                  "Of Postern's container. An annotation of the pod comes first, then the profile, then the injector.",
                  .check = check_resources);

/* ---- profiles ---- */

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

static void check_profile(void *settings, struct report *report)
{
    const struct inject_profile_settings *profile = settings;
    for (size_t i = 0; i < profile->env_extra.count; i++) {
        const struct setting_pair *pair = &profile->env_extra.items[i];
        if (!is_variable(pair->name) || !span_starts_with(pair->value, SPAN("/")))
            report_error(report, settings_place(&profile->settings, "env_extra"),
                         "\"env_extra\" takes variables with a path each, such as LOCAL_LLM_ENDPOINT: /v1");
    }
}

#define AT(member) .offset = offsetof(struct inject_profile_settings, member)
static const struct setting profile_table[] = {
    {.name = "name",
     .type = SETTING_STRING,
     .flags = SETTING_REQUIRED | SETTING_UNIQUE,
     AT(name),
     .max = 63,
     .help = "What pods call it by, in the annotation `profile`.",
     .example = "default"},
    {.name = "config",
     .type = SETTING_STRING,
     .flags = SETTING_REQUIRED,
     AT(config),
     .max = PROFILE_BYTES,
     .help =
         "The configuration of the sidecar, as text. It is checked as `postern check --offline` does, carried in an "
         "annotation of the pod and mounted from there, so it must hold no secret; neither can it: credentials are "
         "named by file or environment. Its first listener is where the application connects, on 127.0.0.1 without "
         "TLS, and its admin listener must be one that the kubelet reaches, as 0.0.0.0:4611.",
     .example = "\"apiVersion: postern/v1 ...\""},
    {.name = "ca",
     .type = SETTING_STRING,
     AT(ca),
     .max = CA_BYTES,
     .help = "Certificates, PEM, mounted as /etc/postern/ca.crt for the configuration to name: of a gateway with an "
             "authority of its own."},
    {.name = "token",
     .type = SETTING_STRING,
     AT(token),
     .max = 253,
     .help = "The audience of a service account token for the pod, renewed by the kubelet and mounted as "
             "/var/run/secrets/postern/token, for credentials of the kind service_account_token.",
     .example = "postern"},
    {.name = "env",
     .type = SETTING_ENUM,
     AT(env),
     .fallback = "if-absent",
     .choices = inject_env_names,
     .help = "Whether the base URLs of applications are set when they are absent, replaced (override: for applications "
             "that carry their endpoint already), or left alone."},
    {.name = "env_for",
     .type = SETTING_ENUM,
     AT(env_for),
     .fallback = "all",
     .choices = inject_family_names,
     .help = "Whose variables are added: of the SDKs' OpenAI classes, of their AzureOpenAI classes, or of both. Node's "
             "AzureOpenAI does not start with OPENAI_BASE_URL beside an endpoint in the code: azure is for that."},
    {.name = "api_keys",
     .type = SETTING_ENUM,
     AT(api_keys),
     .fallback = "placeholder",
     .choices = inject_keys_names,
     .help = "Whether key variables that are absent get a placeholder: SDKs do not start without a key. None is for "
             "code that passes a token provider, which Node's SDK refuses beside a key."},
    {.name = "env_extra",
     .type = SETTING_PAIRS,
     AT(env_extra),
     .max = 32,
     .help = "More variables that take a base URL, with the path each gets behind http://127.0.0.1:PORT.",
     .example = "{LOCAL_LLM_ENDPOINT: /v1}"},
    {.name = "resources",
     .type = SETTING_OBJECT,
     AT(resources),
     .sub = &resources_spec,
     .help = "Of Postern's container, where this profile is used."},
};
#undef AT

static const struct settings_spec profile_spec =
    SETTINGS_SPEC("profile", struct inject_profile_settings, profile_table,
                  "A configuration that pods can have without a ConfigMap of their own.", .check = check_profile);

/* ---- namespaces ---- */

#define ALL_BUT_IMAGE (((UINT64_C(1) << INJECT_ANNOTATIONS) - 1) & ~(UINT64_C(1) << INJECT_IMAGE))

static void check_namespace(void *settings, struct report *report)
{
    struct inject_namespace *rule = settings;
    bool image = rule->annotations & UINT64_C(1) << INJECT_IMAGE;
    if (!settings_given(&rule->settings, "annotations")) {
        rule->annotations = ALL_BUT_IMAGE | (rule->images.count ? UINT64_C(1) << INJECT_IMAGE : 0);
    } else if (image && rule->images.count == 0) {
        report_error(report, settings_place(&rule->settings, "annotations"),
                     "\"image\" needs \"images\": which ones pods may choose");
    } else if (!image && rule->images.count) {
        report_error(report, settings_place(&rule->settings, "images"),
                     "\"images\" has no effect: \"annotations\" does not hold image");
    }
    check_quantity(&rule->settings, "max_cpu", rule->max_cpu, report);
    check_quantity(&rule->settings, "max_memory", rule->max_memory, report);
}

#define AT(member) .offset = offsetof(struct inject_namespace, member)
static const struct setting namespace_table[] = {
    {.name = "name",
     .type = SETTING_STRING,
     .flags = SETTING_REQUIRED | SETTING_UNIQUE,
     AT(name),
     .max = 63,
     .help = "A namespace, or a pattern in which * stands for anything.",
     .example = "team-*"},
    {.name = "profiles",
     .type = SETTING_LIST,
     .flags = SETTING_UNIQUE | SETTING_NOT_EMPTY,
     AT(profiles),
     .max = 64,
     .fallback_note = "all",
     .help = "The profiles that pods here may use; the first is for those that name none.",
     .example = "[default]"},
    {.name = "annotations",
     .type = SETTING_ENUMS,
     AT(annotations),
     .choices = inject_annotation_names,
     .fallback_note = "all; image only with images",
     .help = "What pods here may say themselves.",
     .example = "[profile, port]"},
    {.name = "images",
     .type = SETTING_LIST,
     .flags = SETTING_UNIQUE | SETTING_NOT_EMPTY,
     AT(images),
     .max = 64,
     .help = "Which images the annotation `image` may name; * stands for anything.",
     .example = "[\"contoso.azurecr.io/postern:*\"]"},
    {.name = "max_cpu",
     .type = SETTING_STRING,
     AT(max_cpu),
     .max = 32,
     .fallback_note = "none",
     .help = "The most that the annotations cpu-request and cpu-limit may ask for.",
     .example = "\"1\""},
    {.name = "max_memory",
     .type = SETTING_STRING,
     AT(max_memory),
     .max = 32,
     .fallback_note = "none",
     .help = "The most that the annotations memory-request and memory-limit may ask for.",
     .example = "1Gi"},
};
#undef AT

static const struct settings_spec namespace_spec =
    SETTINGS_SPEC("namespace", struct inject_namespace, namespace_table, "What pods of a namespace may choose.",
                  .check = check_namespace);

const struct inject_namespace *inject_rule(const struct inject_settings *settings, struct span name)
{
    static const struct inject_namespace open = {.annotations = ALL_BUT_IMAGE}, closed = {.annotations = 0};
    for (size_t i = 0; i < settings->namespace_count; i++)
        if (span_matches(name, settings->namespaces[i].name))
            return &settings->namespaces[i];
    return settings->namespace_count ? &closed : &open;
}

/* ---- the filter ---- */

static bool has_profile(const struct inject_settings *inject, struct span name)
{
    for (size_t i = 0; i < inject->profile_count; i++)
        if (span_equal(inject->profiles[i].name, name))
            return true;
    return false;
}

/* A DNS subdomain, as label prefixes are: short enough that names with it stay below what JSON lookups find. */
static bool is_prefix(struct span text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        bool edge = i == 0 || i + 1 == text.len;
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (!edge && (c == '-' || c == '.'))))
            return false;
    }
    return text.len > 0;
}

static void check_inject(void *settings, struct report *report)
{
    const struct inject_settings *inject = settings;
    if (!is_prefix(inject->prefix))
        report_error(report, settings_place(&inject->settings, "prefix"),
                     "\"prefix\" must be a DNS name in lower case, such as postern.io");
    for (size_t i = 0; i < inject->namespace_count; i++) {
        const struct inject_namespace *rule = &inject->namespaces[i];
        for (size_t k = 0; k < rule->profiles.count; k++)
            if (!has_profile(inject, rule->profiles.items[k]))
                report_error(report, settings_place_at(&rule->settings, "profiles", k), "there is no profile \"%.*s\"",
                             SPAN_ARG(rule->profiles.items[k]));
    }
}

#define AT(member)            .offset = offsetof(struct inject_settings, member)
#define ITEMS(member, number) AT(member), .count = offsetof(struct inject_settings, number)
static const struct setting inject_table[] = {
    {.name = "image",
     .type = SETTING_STRING,
     .flags = SETTING_REQUIRED,
     AT(image),
     .max = 512,
     .help = "The image of the sidecar; its entry point is `postern`. Name a version or a digest: pods keep the one "
             "they started with.",
     .example = "contoso.azurecr.io/postern:1.0.0"},
    {.name = "pull_policy",
     .type = SETTING_ENUM,
     AT(pull_policy),
     .fallback = "IfNotPresent",
     .choices = pull_policies,
     .help = "When nodes fetch the image."},
    {.name = "prefix",
     .type = SETTING_STRING,
     AT(prefix),
     .max = 63,
     .fallback = "postern.io",
     .help = "What the names of labels and annotations begin with, before the slash. Webhook selectors must use the "
             "same."},
    {.name = "revision",
     .type = SETTING_STRING,
     AT(revision),
     .max = 63,
     .fallback = "default",
     .help = "Written on injected pods, to tell which injector it was; with several, each has its own, and namespaces "
             "choose by the label `revision`."},
    {.name = "sidecar",
     .type = SETTING_ENUM,
     AT(sidecar),
     .fallback = "native",
     .choices = inject_variant_names,
     .help =
         "How Postern is added: as a native sidecar, which starts before the application and ends after it (Kubernetes "
         "1.29 and newer), or as a container beside the others."},
    {.name = "mesh_containers",
     .type = SETTING_LIST,
     .flags = SETTING_UNIQUE | SETTING_NOT_EMPTY,
     AT(mesh_containers),
     .max = 64,
     .help =
         "Names of more containers that belong to a service mesh or to infrastructure: Postern starts after them, and "
         "they get no variables. Those of Istio, Linkerd, Dapr, Consul, Kuma and workload identity are known.",
     .example = "[contoso-proxy]"},
    {.name = "resources",
     .type = SETTING_OBJECT,
     AT(resources),
     .sub = &resources_spec,
     .help = "Of Postern's container, where neither pod nor profile says otherwise."},
    {.name = "profiles",
     .type = SETTING_OBJECTS,
     .flags = SETTING_REQUIRED | SETTING_NOT_EMPTY,
     ITEMS(profiles, profile_count),
     .max = 64,
     .sub = &profile_spec,
     .help = "The configurations that pods can have. The first is for pods that name none."},
    {.name = "namespaces",
     .type = SETTING_OBJECTS,
     .flags = SETTING_NOT_EMPTY,
     ITEMS(namespaces, namespace_count),
     .max = 1024,
     .sub = &namespace_spec,
     .fallback_note = "pods may use every annotation but image",
     .help = "What pods may choose, by namespace; the first name that fits counts. Where none fits, pods may choose "
             "nothing and get the first profile."},
};
#undef ITEMS
#undef AT

const struct settings_spec inject_settings_spec = SETTINGS_SPEC(
    "inject", struct inject_settings, inject_table,
    "Answers as an admission webhook of Kubernetes: adds Postern to pods (/mutate) and checks ConfigMaps (/validate). "
    "It "
    "is what its listener is for, needs no models, and reads nothing from the cluster; see deploy/injection.md.",
    .check = check_inject);
