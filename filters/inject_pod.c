/* SPDX-License-Identifier: Apache-2.0 */
#include "filters/inject.h"

/* Of one pod: containers of both lists, and entries of labels or annotations. The API server's own limits are lower. */
#define CONTAINERS_MAX 1024
#define TEXTS_MAX      8192

/* Names in a JSON text are escaped only by who wants to be misread; none of ours needs it. */
static bool is_named(struct span raw_name, const char *name)
{
    return span_equal(raw_name, span_str(name));
}

static size_t count_of(struct json_value container)
{
    struct json_value value;
    size_t cursor = 0, count = 0;
    while (json_value_each(container, &cursor, NULL, &value))
        count++;
    return count;
}

/* ---- labels and annotations ---- */

static bool read_texts(struct json_value object, struct arena *arena, struct inject_text **ret, size_t *ret_count)
{
    size_t room = count_of(object), cursor = 0, count = 0;
    struct json_value value;
    struct span name;
    if (room > TEXTS_MAX)
        return false;
    struct inject_text *texts = ARENA_ARRAY(arena, struct inject_text, room + 1);
    while (count < room && json_value_each(object, &cursor, &name, &value)) {
        struct inject_text *text = &texts[count++];
        if (!json_value_text((struct json_value){JSON_STRING, name}, arena, &text->name) ||
            !json_value_text(value, arena, &text->value))
            return false;
    }
    *ret = texts;
    *ret_count = count;
    return true;
}

static const struct span *text_of(const struct inject_text *texts, size_t count, struct span name)
{
    for (size_t i = 0; i < count; i++)
        if (span_equal(texts[i].name, name))
            return &texts[i].value;
    return NULL;
}

const struct span *inject_pod_annotation(const struct inject_pod *pod, struct span name)
{
    return text_of(pod->annotations, pod->annotation_count, name);
}

const struct span *inject_pod_label(const struct inject_pod *pod, struct span name)
{
    return text_of(pod->labels, pod->label_count, name);
}

/* null is the same as absent. */
static bool is_there(struct json_value value)
{
    return value.kind != JSON_NULL && value.kind != JSON_MORE;
}

static bool read_metadata(struct json_value metadata, struct arena *arena, struct inject_pod *pod)
{
    struct json_value value, labels = {JSON_MORE, {0}}, name = labels, generated = labels;
    struct span raw;
    size_t cursor = 0;
    pod->metadata = metadata;
    while (json_value_each(metadata, &cursor, &raw, &value)) {
        if (is_named(raw, "\"annotations\"") && is_there(value))
            pod->annotations_raw = value;
        else if (is_named(raw, "\"labels\"") && is_there(value))
            labels = value;
        else if (is_named(raw, "\"name\""))
            name = value;
        else if (is_named(raw, "\"generateName\""))
            generated = value;
    }
    if (!json_value_text(name, arena, &pod->name) || pod->name.len == 0)
        (void)!json_value_text(generated, arena, &pod->name);
    return read_texts(pod->annotations_raw, arena, &pod->annotations, &pod->annotation_count) &&
           read_texts(labels, arena, &pod->labels, &pod->label_count);
}

/* ---- containers ---- */

static bool read_container(struct json_value raw, struct arena *arena, struct inject_container *container)
{
    struct json_value value;
    struct span name;
    size_t cursor = 0;
    if (raw.kind != JSON_OBJECT_OPEN)
        return false;
    container->env.kind = container->env_from.kind = container->ports.kind = container->mounts.kind = JSON_MORE;
    while (json_value_each(raw, &cursor, &name, &value)) {
        if (!is_there(value))
            continue;
        if (is_named(name, "\"name\"") && !json_value_text(value, arena, &container->name))
            return false;
        if (is_named(name, "\"env\""))
            container->env = value;
        else if (is_named(name, "\"envFrom\""))
            container->env_from = value;
        else if (is_named(name, "\"ports\""))
            container->ports = value;
        else if (is_named(name, "\"volumeMounts\""))
            container->mounts = value;
        else if (is_named(name, "\"restartPolicy\""))
            container->sidecar = json_value_is(value, SPAN("Always"));
    }
    return true;
}

static bool read_list(struct json_value list, bool init, struct arena *arena, struct inject_pod *pod)
{
    struct json_value raw;
    size_t cursor = 0, index = 0;
    while (json_value_each(list, &cursor, NULL, &raw)) {
        struct inject_container *container = &pod->containers[pod->container_count++];
        container->init = init;
        container->index = index++;
        if (!read_container(raw, arena, container))
            return false;
    }
    return true;
}

static bool read_containers(struct json_value init, struct json_value containers, struct arena *arena,
                            struct inject_pod *pod)
{
    size_t room = count_of(init) + count_of(containers);
    if (room > CONTAINERS_MAX)
        return false;
    pod->containers = ARENA_ARRAY(arena, struct inject_container, room + 1);
    pod->has_init_list = init.kind == JSON_ARRAY_OPEN;
    if (!read_list(init, true, arena, pod))
        return false;
    pod->init_count = pod->container_count;
    return read_list(containers, false, arena, pod) && pod->container_count > pod->init_count;
}

/* ---- the spec ---- */

static bool read_spec(struct json_value spec, struct arena *arena, struct inject_pod *pod)
{
    struct json_value value, inner, init = {JSON_MORE, {0}}, containers = init;
    struct span name;
    size_t cursor = 0;
    while (json_value_each(spec, &cursor, &name, &value)) {
        if (is_named(name, "\"initContainers\""))
            init = value;
        else if (is_named(name, "\"containers\""))
            containers = value;
        else if (is_named(name, "\"volumes\"") && is_there(value))
            pod->volumes = value;
        else if (is_named(name, "\"hostNetwork\""))
            pod->host_network = value.kind == JSON_TRUE;
        else if (is_named(name, "\"restartPolicy\""))
            pod->ends = !json_value_is(value, SPAN("Always"));
        else if (is_named(name, "\"nodeSelector\""))
            pod->windows |=
                json_value_member(value, SPAN("kubernetes.io/os"), &inner) && json_value_is(inner, SPAN("windows"));
        else if (is_named(name, "\"os\""))
            pod->windows |= json_value_member(value, SPAN("name"), &inner) && json_value_is(inner, SPAN("windows"));
    }
    return read_containers(init, containers, arena, pod);
}

bool inject_pod_read(struct json_value object, struct arena *arena, struct inject_pod *ret, const char **ret_reason)
{
    struct inject_pod pod = {0};
    struct json_value metadata, spec;
    pod.metadata.kind = pod.annotations_raw.kind = pod.volumes.kind = JSON_MORE;
    if (json_value_member(object, SPAN("metadata"), &metadata) && !read_metadata(metadata, arena, &pod)) {
        *ret_reason = "its labels or annotations are not texts";
        return false;
    }
    if (!json_value_member(object, SPAN("spec"), &spec) || !read_spec(spec, arena, &pod)) {
        *ret_reason = "its spec has no list of containers";
        return false;
    }
    pod.space = ret->space;
    *ret = pod;
    return true;
}

/* ---- other injectors' containers ---- */

static const char *const mesh_names[] = {"istio-init",
                                         "istio-proxy",
                                         "istio-validation",
                                         "linkerd-init",
                                         "linkerd-proxy",
                                         "linkerd-network-validator",
                                         "daprd",
                                         "azwi-proxy-init",
                                         "azwi-proxy",
                                         "consul-connect-inject-init",
                                         "consul-dataplane",
                                         "envoy-sidecar",
                                         "kuma-init",
                                         "kuma-sidecar",
                                         "kuma-validation",
                                         "cilium-init"};

bool inject_is_mesh(const struct inject_settings *settings, struct span container)
{
    for (size_t i = 0; i < ARRAY_LEN(mesh_names); i++)
        if (span_equal(container, span_str(mesh_names[i])))
            return true;
    for (size_t i = 0; i < settings->mesh_containers.count; i++)
        if (span_equal(container, settings->mesh_containers.items[i]))
            return true;
    return false;
}

size_t inject_position(const struct inject_settings *settings, const struct inject_pod *pod)
{
    size_t position = 0;
    for (size_t i = 0; i < pod->init_count; i++)
        if (inject_is_mesh(settings, pod->containers[i].name))
            position = i + 1;
    return position;
}
