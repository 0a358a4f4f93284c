/* SPDX-License-Identifier: Apache-2.0 */
#include "filters/inject.h"

#define USER "65532"

static const char *const pull_policies[] = {
    [INJECT_PULL_IF_NOT_PRESENT] = "IfNotPresent", [INJECT_PULL_ALWAYS] = "Always", [INJECT_PULL_NEVER] = "Never"};

static void append_text(struct buffer *out, const char *before, struct span text, const char *after)
{
    buffer_append(out, span_str(before));
    buffer_append_json(out, text);
    buffer_append(out, span_str(after));
}

void inject_append_pair(struct buffer *out, struct span name, struct span value)
{
    append_text(out, "{\"name\":\"", name, "\"");
    append_text(out, ",\"value\":\"", value, "\"}");
}

/* ---- the container ---- */

static void append_env(struct buffer *out)
{
    static const struct {
        const char *name, *field;
    } fields[] = {{"POD_NAME", "metadata.name"},
                  {"POD_NAMESPACE", "metadata.namespace"},
                  {"POD_SERVICE_ACCOUNT", "spec.serviceAccountName"}};
    buffer_append(out, SPAN(",\"env\":["));
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        buffer_format(out, "%s{\"name\":\"%s\",\"valueFrom\":{\"fieldRef\":{\"fieldPath\":\"%s\"}}}", i ? "," : "",
                      fields[i].name, fields[i].field);
    buffer_append(out, SPAN("]"));
}

static void append_resources(const struct inject_choice *choice, struct buffer *out)
{
    append_text(out, ",\"resources\":{\"requests\":{\"cpu\":\"", choice->cpu_request, "\"");
    append_text(out, ",\"memory\":\"", choice->memory_request, "\"},\"limits\":{");
    if (choice->cpu_limit.len)
        append_text(out, "\"cpu\":\"", choice->cpu_limit, "\",");
    append_text(out, "\"memory\":\"", choice->memory_limit, "\"}}");
}

/*
 * Postern is ready in tens of milliseconds, so the first probe mostly ends the start. Liveness forgives half a minute:
 * a restart cuts streams.
 */
static void append_probes(const struct inject_choice *choice, struct buffer *out)
{
    static const struct {
        const char *name, *path, *rest;
    } probes[] = {
        {"startupProbe", "/readyz", "\"periodSeconds\":1,\"timeoutSeconds\":1,\"failureThreshold\":60"},
        {"readinessProbe", "/readyz", "\"periodSeconds\":5,\"timeoutSeconds\":2,\"failureThreshold\":2"},
        {"livenessProbe", "/healthz", "\"periodSeconds\":10,\"timeoutSeconds\":3,\"failureThreshold\":3"},
    };
    for (size_t i = 0; i < ARRAY_LEN(probes); i++)
        buffer_format(out, ",\"%s\":{\"httpGet\":{\"path\":\"%s\",\"port\":%u,\"scheme\":\"HTTP\"},%s}", probes[i].name,
                      probes[i].path, choice->admin_port, probes[i].rest);
}

static bool has_token(const struct inject_choice *choice)
{
    return choice->profile->settings->token.len > 0;
}

static void append_mounts(const struct inject_choice *choice, struct buffer *out)
{
    buffer_append(out, SPAN(",\"volumeMounts\":[{\"name\":\"postern-config\",\"mountPath\":\"/etc/postern\","
                            "\"readOnly\":true},{\"name\":\"postern-run\",\"mountPath\":\"/run/postern\"}"));
    if (has_token(choice))
        buffer_append(out, SPAN(",{\"name\":\"postern-token\",\"mountPath\":\"/var/run/secrets/postern\","
                                "\"readOnly\":true}"));
    buffer_append(out, SPAN("]"));
}

/* What the Pod Security Standard "restricted" asks for, and a read-only root beyond it. */
static const char security[] = ",\"securityContext\":{\"runAsNonRoot\":true,\"runAsUser\":" USER ",\"runAsGroup\":" USER
                               ",\"allowPrivilegeEscalation\":false,"
                               "\"readOnlyRootFilesystem\":true,\"capabilities\":{\"drop\":[\"ALL\"]},"
                               "\"seccompProfile\":{\"type\":\"RuntimeDefault\"}}";

void inject_sidecar(const struct injection *in, struct buffer *out)
{
    const struct inject_choice *choice = &in->choice;
    append_text(out, "{\"name\":\"postern\",\"image\":\"", choice->image, "\"");
    buffer_format(out, ",\"imagePullPolicy\":\"%s\",\"args\":[\"run\",\"--config\",\"/etc/postern\"",
                  pull_policies[in->injector->settings->pull_policy]);
    if (choice->log_level.len)
        append_text(out, ",\"--log-level\",\"", choice->log_level, "\"");
    buffer_format(out, "],\"ports\":[{\"name\":\"postern-admin\",\"containerPort\":%u,\"protocol\":\"TCP\"}]",
                  choice->admin_port);
    append_env(out);
    append_resources(choice, out);
    append_probes(choice, out);
    buffer_append(out, span_str(security));
    append_mounts(choice, out);
    buffer_append(out, SPAN(",\"terminationMessagePolicy\":\"FallbackToLogsOnError\""));
    if (choice->sidecar == INJECT_NATIVE)
        buffer_append(out, SPAN(",\"restartPolicy\":\"Always\""));
    buffer_append(out, SPAN("}"));
}

/* ---- volumes ---- */

static void append_item(struct buffer *out, struct span prefix, const char *annotation, const char *path)
{
    append_text(out, "{\"path\":\"", span_str(path), "\",\"fieldRef\":{\"fieldPath\":\"metadata.annotations['");
    buffer_append_json(out, prefix);
    buffer_format(out, "/%s']\"}}", annotation);
}

void inject_volumes(const struct injection *in, struct buffer *out)
{
    const struct inject_choice *choice = &in->choice;
    struct span prefix = in->injector->settings->prefix;
    buffer_append(out, SPAN("{\"name\":\"postern-config\","));
    if (choice->config_map.len) {
        append_text(out, "\"configMap\":{\"name\":\"", choice->config_map, "\"}}");
    } else {
        buffer_append(out, SPAN("\"downwardAPI\":{\"items\":["));
        append_item(out, prefix, "profile-config", "postern.yaml");
        if (choice->profile->settings->ca.len) {
            buffer_append(out, SPAN(","));
            append_item(out, prefix, "profile-ca", "ca.crt");
        }
        buffer_append(out, SPAN("]}}"));
    }
    buffer_append(out, SPAN(",{\"name\":\"postern-run\",\"emptyDir\":{\"medium\":\"Memory\",\"sizeLimit\":\"1Mi\"}}"));
    if (!has_token(choice))
        return;
    append_text(out,
                ",{\"name\":\"postern-token\",\"projected\":{\"sources\":[{\"serviceAccountToken\":{\"audience\":\"",
                choice->profile->settings->token, "\",\"expirationSeconds\":3600,\"path\":\"token\"}}]}}");
}
