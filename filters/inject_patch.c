/* SPDX-License-Identifier: Apache-2.0 */
#include "filters/inject.h"

#include <stdarg.h>

/* ---- messages ---- */

#define WARNING_BYTES 120

void inject_deny(struct injection *in, const char *format, ...)
{
    va_list args;
    if (in->denial_count == INJECT_MESSAGES)
        return;
    va_start(args, format);
    in->denials[in->denial_count++] = arena_vformat(in->arena, format, args);
    va_end(args);
}

void inject_warn(struct injection *in, enum inject_warning which, const char *format, ...)
{
    va_list args;
    in->warned[which]++;
    if (in->warning_count == INJECT_MESSAGES)
        return;
    va_start(args, format);
    struct span text = arena_vformat(in->arena, format, args);
    va_end(args);
    size_t len = text.len < WARNING_BYTES ? text.len : WARNING_BYTES;
    while (len < text.len && len > 0 && ((unsigned char)text.ptr[len] & 0xC0) == 0x80)
        len--;
    in->warnings[in->warning_count++] = span_take(text, len);
}

/* ---- operations ---- */

void inject_op(struct injection *in, const char *op, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct span path = arena_vformat(in->arena, format, args);
    va_end(args);
    buffer_format(&in->ops, "%s{\"op\":\"%s\",\"path\":\"", buffer_len(&in->ops) ? "," : "", op);
    buffer_append_json(&in->ops, path);
    buffer_append(&in->ops, SPAN("\",\"value\":"));
}

void inject_op_end(struct injection *in)
{
    buffer_append(&in->ops, SPAN("}"));
}

/* RFC 6901: a name as part of a path. */
static struct span escaped(struct arena *arena, struct span name)
{
    char *text = arena_bytes(arena, name.len * 2 + 1);
    size_t len = 0;
    for (size_t i = 0; i < name.len; i++) {
        bool special = name.ptr[i] == '~' || name.ptr[i] == '/';
        text[len++] = special ? '~' : name.ptr[i];
        if (special)
            text[len++] = name.ptr[i] == '~' ? '0' : '1';
    }
    return span_of(text, len);
}

/* ---- annotations ---- */

static void set_annotations(struct injection *in, const struct inject_text *texts, size_t count)
{
    if (in->pod.annotations_raw.kind == JSON_OBJECT_OPEN) {
        for (size_t i = 0; i < count; i++) {
            struct span name = escaped(in->arena, texts[i].name);
            inject_op(in, "add", "/metadata/annotations/%.*s", SPAN_ARG(name));
            buffer_append(&in->ops, SPAN("\""));
            buffer_append_json(&in->ops, texts[i].value);
            buffer_append(&in->ops, SPAN("\""));
            inject_op_end(in);
        }
        return;
    }
    bool metadata = in->pod.metadata.kind == JSON_OBJECT_OPEN;
    inject_op(in, "add", metadata ? "/metadata/annotations" : "/metadata");
    buffer_append(&in->ops, metadata ? SPAN("{") : SPAN("{\"annotations\":{"));
    for (size_t i = 0; i < count; i++) {
        buffer_append(&in->ops, i ? SPAN(",\"") : SPAN("\""));
        buffer_append_json(&in->ops, texts[i].name);
        buffer_append(&in->ops, SPAN("\":\""));
        buffer_append_json(&in->ops, texts[i].value);
        buffer_append(&in->ops, SPAN("\""));
    }
    buffer_append(&in->ops, metadata ? SPAN("}") : SPAN("}}"));
    inject_op_end(in);
}

static struct inject_text own(struct injection *in, const char *name, struct span value)
{
    return (struct inject_text){arena_format(in->arena, "%.*s/%s", SPAN_ARG(in->injector->settings->prefix), name),
                                value};
}

static struct span all_warnings(struct injection *in)
{
    struct span text = {0};
    for (size_t i = 0; i < in->warning_count; i++)
        text = arena_format(in->arena, "%.*s%s%.*s", SPAN_ARG(text), i ? "; " : "", SPAN_ARG(in->warnings[i]));
    return text;
}

/* The container that `kubectl logs` and `exec` mean must not become ours because it stands first. */
static void keep_default_container(struct injection *in, struct inject_text *texts, size_t *count)
{
    static const struct span name = SPAN_INIT("kubectl.kubernetes.io/default-container");
    if (in->choice.sidecar == INJECT_CONTAINER && !inject_pod_annotation(&in->pod, name))
        texts[(*count)++] = (struct inject_text){name, in->pod.containers[in->pod.init_count].name};
}

static void annotate(struct injection *in)
{
    const struct inject_choice *choice = &in->choice;
    const struct inject_profile_settings *profile = choice->profile->settings;
    struct inject_text texts[6];
    size_t count = 0;
    texts[count++] = own(in, "injected", in->injector->settings->revision);
    if (in->warning_count)
        texts[count++] = own(in, "warnings", all_warnings(in));
    if (choice->config_map.len == 0) {
        struct span config = inject_profile_text(choice->profile, choice->port, choice->admin_port, in->arena);
        texts[count++] = own(in, "profile-config", config);
        if (profile->ca.len)
            texts[count++] = own(in, "profile-ca", profile->ca);
    }
    keep_default_container(in, texts, &count);
    set_annotations(in, texts, count);
}

/* ---- volumes and containers ---- */

static void add_volumes(struct injection *in)
{
    struct buffer volumes = {0};
    inject_volumes(in, &volumes);
    if (in->pod.volumes.kind != JSON_ARRAY_OPEN) {
        inject_op(in, "add", "/spec/volumes");
        buffer_append(&in->ops, SPAN("["));
        buffer_append(&in->ops, buffer_span(&volumes));
        buffer_append(&in->ops, SPAN("]"));
        inject_op_end(in);
    } else {
        struct arena *arena = in->arena;
        struct span list = arena_format(arena, "[%.*s]", SPAN_ARG(buffer_span(&volumes)));
        struct json_value all, one;
        size_t cursor = 0;
        bool good = json_value_parse(list, &all);
        while (good && json_value_each(all, &cursor, NULL, &one)) {
            inject_op(in, "add", "/spec/volumes/-");
            buffer_append(&in->ops, one.raw);
            inject_op_end(in);
        }
    }
    buffer_finish(&volumes);
}

/* Beside a plain container the application may have to end Postern, by its control socket. */
static void share_run_directory(struct injection *in)
{
    for (size_t i = in->pod.init_count; i < in->pod.container_count; i++) {
        const struct inject_container *container = &in->pod.containers[i];
        bool list = container->mounts.kind == JSON_ARRAY_OPEN;
        if (!inject_is_chosen(in, container))
            continue;
        inject_op(in, "add", "/spec/containers/%zu/volumeMounts%s", container->index, list ? "/-" : "");
        buffer_append(&in->ops, list ? SPAN("") : SPAN("["));
        buffer_append(&in->ops, SPAN("{\"name\":\"postern-run\",\"mountPath\":\"/run/postern\"}"));
        buffer_append(&in->ops, list ? SPAN("") : SPAN("]"));
        inject_op_end(in);
    }
}

/* Last of all: the paths above count containers as they were. */
static void add_container(struct injection *in)
{
    bool native = in->choice.sidecar == INJECT_NATIVE, list = !native || in->pod.has_init_list;
    if (!native)
        inject_op(in, "add", "/spec/containers/0");
    else if (list)
        inject_op(in, "add", "/spec/initContainers/%zu", inject_position(in->injector->settings, &in->pod));
    else
        inject_op(in, "add", "/spec/initContainers");
    buffer_append(&in->ops, list ? SPAN("") : SPAN("["));
    inject_sidecar(in, &in->ops);
    buffer_append(&in->ops, list ? SPAN("") : SPAN("]"));
    inject_op_end(in);
}

void inject_patch(struct injection *in)
{
    bool plain = in->choice.sidecar == INJECT_CONTAINER;
    inject_env(in);
    add_volumes(in);
    if (plain && in->pod.ends) {
        share_run_directory(in);
        bool control = in->choice.config_map.len || in->choice.profile->control;
        inject_warn(in, INJECT_WARN_DRAIN, "%s",
                    control ? "Postern is a plain container: this pod ends only when the application calls its drain"
                            : "Postern is a plain container that nothing can end: the profile lacks admin.control");
    }
    annotate(in);
    add_container(in);
}
