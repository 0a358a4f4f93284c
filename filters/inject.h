/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inject: an admission webhook for Kubernetes (admission.k8s.io/v1) as a filter that serves: POST /mutate adds Postern
 * to pods by a JSON Patch (RFC 6902), POST /validate refuses ConfigMaps that a Postern could not start with. What it
 * decides follows from the request and the settings alone; nothing is read from the cluster, nothing has side effects,
 * so a dry run is like any other. Names, annotations and defaults stand in deploy/injection.md.
 *
 * The parts: inject.c hooks, inject_settings.c the settings, inject_profile.c configurations carried by the injector
 * and checked by it, inject_review.c the review in and out, inject_pod.c what a pod says, inject_choice.c what its
 * annotations choose, inject_env.c the variables of its containers, inject_sidecar.c Postern's own container,
 * inject_patch.c all of it as a patch. All but inject.c are pure: bytes in, bytes out.
 */
#ifndef POSTERN_FILTERS_INJECT_H
#define POSTERN_FILTERS_INJECT_H

#include "base/arena.h"
#include "base/buffer.h"
#include "base/json_value.h"
#include "config/config.h"
#include "config/schema.h"

/* ---- settings (inject_settings.c) ---- */

/* Quantities as Kubernetes writes them; empty: not said here. */
struct inject_resources {
    struct settings settings;
    struct span cpu_request, cpu_limit, memory_request, memory_limit;
};

enum inject_env_mode { INJECT_ENV_IF_ABSENT, INJECT_ENV_OVERRIDE, INJECT_ENV_NONE };
/* Whose variables: of both families of classes, of OpenAI alone, of AzureOpenAI alone. */
enum inject_family { INJECT_FOR_ALL, INJECT_FOR_OPENAI, INJECT_FOR_AZURE };
enum inject_keys { INJECT_KEYS_PLACEHOLDER, INJECT_KEYS_NONE };
enum inject_variant { INJECT_NATIVE, INJECT_CONTAINER };

struct inject_profile_settings {
    struct settings settings;
    struct span name;
    struct span config; /* the text of a configuration */
    struct span ca;     /* PEM, mounted beside it as ca.crt; empty: none */
    struct span token;  /* audience of a service account token to mount; empty: none */
    enum inject_env_mode env;
    enum inject_family env_for;
    enum inject_keys api_keys;
    struct setting_pairs env_extra; /* name -> path */
    struct inject_resources resources;
};

/* What a pod may say: the order of inject_annotation_names. */
enum inject_annotation {
    INJECT_PROFILE,
    INJECT_CONFIG,
    INJECT_PORT,
    INJECT_ADMIN_PORT,
    INJECT_IMAGE,
    INJECT_CPU_REQUEST,
    INJECT_CPU_LIMIT,
    INJECT_MEMORY_REQUEST,
    INJECT_MEMORY_LIMIT,
    INJECT_LOG_LEVEL,
    INJECT_ENV,
    INJECT_ENV_FOR,
    INJECT_ENV_EXTRA,
    INJECT_API_KEYS,
    INJECT_CONTAINERS,
    INJECT_SIDECAR,
    INJECT_ANNOTATIONS
};
extern const char *const inject_annotation_names[INJECT_ANNOTATIONS + 1]; /* without the prefix; ends in NULL */
extern const char *const inject_env_names[],
    *const inject_family_names[], *const inject_keys_names[], *const inject_variant_names[],
                                                                  *const inject_log_levels[]; /* each ends in NULL */

struct inject_namespace {
    struct settings settings;
    struct span name;             /* a pattern where * stands for anything */
    struct setting_list profiles; /* none: all of them */
    uint64_t annotations;         /* bits 1 << enum inject_annotation */
    struct setting_list images;   /* patterns */
    struct span max_cpu, max_memory;
};

struct inject_settings {
    struct settings settings;
    struct span image;
    enum { INJECT_PULL_IF_NOT_PRESENT, INJECT_PULL_ALWAYS, INJECT_PULL_NEVER } pull_policy;
    struct span prefix, revision;
    enum inject_variant sidecar;
    struct setting_list mesh_containers;
    struct inject_resources resources;
    const struct inject_profile_settings *profiles;
    size_t profile_count;
    const struct inject_namespace *namespaces;
    size_t namespace_count;
};

extern const struct settings_spec inject_settings_spec;
/* The rule for a namespace; never NULL: without one that fits, what nobody restricts, or nothing at all. */
const struct inject_namespace *inject_rule(const struct inject_settings *settings, struct span name);

/* Quantities as Kubernetes writes them ("250m", "1.5", "64Mi"), in thousandths. False when it is none, zero or beyond
 * 2^63. */
MUST_CHECK bool inject_quantity(struct span text, uint64_t *ret_thousandths);

/* ---- configurations (inject_profile.c) ---- */

/* What the injector must know of a profile's configuration. Texts are the settings'. */
struct inject_profile {
    const struct inject_profile_settings *settings;
    uint16_t port, admin_port;
    size_t port_at, port_len, admin_at, admin_len; /* where they are written in settings->config */
    bool workload_identity;                        /* a credential needs what its webhook mounts */
    bool control;                                  /* there is a control socket below /run/postern */
};

/*
 * Reads a profile; problems go to `report` with the place of its settings. With `check` it is checked as far as
 * `postern check --offline` goes; without, only what *ret needs.
 */
MUST_CHECK bool inject_profile_read(const struct inject_profile_settings *settings, bool check, struct report *report,
                                    struct inject_profile *ret);
/* The profile's configuration with other ports, in the arena. */
struct span inject_profile_text(const struct inject_profile *profile, uint16_t port, uint16_t admin_port,
                                struct arena *arena);
/*
 * What `postern check --offline` says of a mounted ConfigMap with this `data` (an object of texts): true, or false with
 * the reasons, as key:line:column and a sentence each, in `report`.
 */
MUST_CHECK bool inject_check_data(struct json_value data, struct arena *arena, struct report *report);

/* What a review is answered with. */
struct injector {
    const struct inject_settings *settings;
    const struct inject_profile *profiles; /* as many as settings->profile_count */
};

/* ---- a review (inject_review.c) ---- */

enum inject_path { INJECT_MUTATE, INJECT_VALIDATE };

enum inject_outcome {
    INJECT_MALFORMED, /* no AdmissionReview: `answer` is a text for status 400 */
    INJECT_UNTOUCHED, /* allowed as it is: not ours to judge, or done already */
    INJECT_PATCHED,
    INJECT_ALLOWED, /* a ConfigMap, checked and good */
    INJECT_DENIED
};

/* Why somebody should look again. */
enum inject_warning {
    INJECT_WARN_KEPT,     /* a base URL that was there was left alone */
    INJECT_WARN_ENV_FROM, /* envFrom cannot be seen */
    INJECT_WARN_AZURE,    /* OPENAI_BASE_URL beside the Azure class */
    INJECT_WARN_PROXY,    /* a proxy variable that loopback is not exempt from */
    INJECT_WARN_DRAIN,    /* a plain container in a pod that ought to end */
    INJECT_WARN_SKIPPED,  /* a container of the list that cannot reach Postern */
    INJECT_WARNINGS
};
extern const struct span inject_warning_names[INJECT_WARNINGS]; /* for metrics */

struct inject_verdict {
    enum inject_outcome outcome;
    unsigned warned[INJECT_WARNINGS]; /* how many of each */
    struct span about;                /* "namespace/name", for the log; in the arena */
    struct span reason;               /* of a denial, or what was done; in the arena */
};

/*
 * Answers one review. `answer` gets the AdmissionReview to send with status 200 (INJECT_MALFORMED: 400). Texts are
 * copied.
 */
void inject_review(const struct injector *injector, enum inject_path path, struct span body, struct arena *arena,
                   struct buffer *answer, struct inject_verdict *ret);

/* ---- a pod (inject_pod.c) ---- */

struct inject_container {
    struct span name;
    bool init, sidecar;                             /* of initContainers; with restartPolicy Always */
    size_t index;                                   /* in its list */
    struct json_value env, env_from, ports, mounts; /* kind JSON_MORE: not there */
};

struct inject_text {
    struct span name, value;
};

struct inject_pod {
    struct span space;                                    /* its namespace, from the request */
    struct span name;                                     /* or generateName */
    struct json_value metadata, annotations_raw, volumes; /* kind JSON_MORE: not there */
    struct inject_text *annotations, *labels;
    size_t annotation_count, label_count;
    struct inject_container *containers; /* the init containers first */
    size_t container_count, init_count;
    bool has_init_list;
    bool host_network, windows, ends; /* ends: its restartPolicy is not Always */
};

/* `object` is the pod. False: it is none; *ret_reason says why. Texts lie in the arena. */
MUST_CHECK bool inject_pod_read(struct json_value object, struct arena *arena, struct inject_pod *ret,
                                const char **ret_reason);
/* The value, or NULL. */
const struct span *inject_pod_annotation(const struct inject_pod *pod, struct span name);
const struct span *inject_pod_label(const struct inject_pod *pod, struct span name);
/* Whether it belongs to a service mesh: Postern starts after it, and its variables are not ours. */
bool inject_is_mesh(const struct inject_settings *settings, struct span container);
/* Where among the init containers Postern goes: after the last of a mesh. */
size_t inject_position(const struct inject_settings *settings, const struct inject_pod *pod);

/* ---- one injection: what the parts below share ---- */

struct inject_choice {
    const struct inject_profile *profile;
    struct span config_map; /* empty: the profile's own configuration */
    uint16_t port, admin_port;
    struct span image, cpu_request, cpu_limit, memory_request, memory_limit; /* cpu_limit may be empty */
    struct span log_level;                                                   /* empty: the configuration's */
    enum inject_env_mode env;
    enum inject_family env_for;
    enum inject_keys api_keys;
    struct setting_pairs env_extra;
    struct setting_list containers; /* none: all that are not of a mesh */
    enum inject_variant sidecar;
};

#define INJECT_MESSAGES 16

struct injection {
    const struct injector *injector;
    struct arena *arena;
    struct inject_pod pod;
    struct inject_choice choice;
    struct span denials[INJECT_MESSAGES], warnings[INJECT_MESSAGES];
    size_t denial_count, warning_count;
    unsigned warned[INJECT_WARNINGS];
    struct buffer ops; /* the patch's operations, with commas */
};

/* A reason to refuse the pod; what is beyond INJECT_MESSAGES is left out. */
void inject_deny(struct injection *in, const char *format, ...) PRINTF_LIKE(2, 3);
/* At most 120 characters are kept: the API server may cut more. */
void inject_warn(struct injection *in, enum inject_warning which, const char *format, ...) PRINTF_LIKE(3, 4);

/* Reads the annotations into in->choice (inject_choice.c). False after a denial. */
MUST_CHECK bool inject_choose(struct injection *in);
/* The variables of the chosen containers (inject_env.c): operations and warnings. */
void inject_env(struct injection *in);
/* Whether this container's variables are ours to set. */
bool inject_is_chosen(const struct injection *in, const struct inject_container *container);
/* Postern's container as JSON (inject_sidecar.c), and the volumes it mounts as JSON objects with commas. */
void inject_sidecar(const struct injection *in, struct buffer *out);
void inject_volumes(const struct injection *in, struct buffer *out);

/* The operations (inject_patch.c). */
/* Begins an operation: everything up to its value, which the caller appends, then inject_op_end. `op`: "add" or
 * "replace". */
void inject_op(struct injection *in, const char *op, const char *format, ...) PRINTF_LIKE(3, 4);
void inject_op_end(struct injection *in);
/* Everything that is to be done to the pod, after inject_choose. */
void inject_patch(struct injection *in);
/* {"name":"...","value":"..."} */
void inject_append_pair(struct buffer *out, struct span name, struct span value);

#endif
