/* SPDX-License-Identifier: Apache-2.0 */
#include "base/encoding.h"
#include "filters/inject.h"

#define UID_MAX       128
#define MESSAGE_BYTES 8192

const struct span inject_warning_names[INJECT_WARNINGS] = {
    [INJECT_WARN_KEPT] = SPAN_INIT("base_url_kept"), [INJECT_WARN_ENV_FROM] = SPAN_INIT("env_from"),
    [INJECT_WARN_AZURE] = SPAN_INIT("azure_class"),  [INJECT_WARN_PROXY] = SPAN_INIT("proxy"),
    [INJECT_WARN_DRAIN] = SPAN_INIT("needs_drain"),  [INJECT_WARN_SKIPPED] = SPAN_INIT("container_skipped"),
};

struct review {
    const struct injector *injector;
    struct arena *arena;
    struct buffer *answer;
    struct inject_verdict *verdict;
    struct json_value request, object;
    struct span uid;
};

/* ---- answers ---- */

static void open_answer(struct review *review, bool allowed)
{
    buffer_append(review->answer, SPAN("{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\","
                                       "\"response\":{\"uid\":\""));
    buffer_append_json(review->answer, review->uid);
    buffer_format(review->answer, "\",\"allowed\":%s", allowed ? "true" : "false");
}

static void close_answer(struct review *review)
{
    buffer_append(review->answer, SPAN("}}\n"));
}

static void settle(struct review *review, enum inject_outcome outcome, struct span reason)
{
    review->verdict->outcome = outcome;
    review->verdict->reason = reason;
}

static void allow(struct review *review, enum inject_outcome outcome, const char *reason)
{
    open_answer(review, true);
    close_answer(review);
    settle(review, outcome, span_str(reason));
}

static void deny(struct review *review, struct span message)
{
    open_answer(review, false);
    buffer_append(review->answer, SPAN(",\"status\":{\"code\":403,\"reason\":\"Forbidden\",\"message\":\"postern: "));
    buffer_append_json(review->answer, message);
    buffer_append(review->answer, SPAN("\"}"));
    close_answer(review);
    settle(review, INJECT_DENIED, message);
}

static void malformed(struct review *review, const char *reason)
{
    buffer_format(review->answer, "not an AdmissionReview of admission.k8s.io/v1: %s\n", reason);
    settle(review, INJECT_MALFORMED, span_str(reason));
}

/* ---- pods ---- */

static struct span joined(struct arena *arena, const struct span *texts, size_t count)
{
    struct span text = {0};
    for (size_t i = 0; i < count; i++)
        text = arena_format(arena, "%.*s%s%.*s", SPAN_ARG(text), i ? "; " : "", SPAN_ARG(texts[i]));
    return text;
}

static void send_patch(struct review *review, struct injection *in)
{
    struct buffer patch = {0};
    buffer_append(&patch, SPAN("["));
    buffer_append(&patch, buffer_span(&in->ops));
    buffer_append(&patch, SPAN("]"));
    open_answer(review, true);
    buffer_append(review->answer, SPAN(",\"patchType\":\"JSONPatch\",\"patch\":\""));
    encode_base64(review->answer, buffer_span(&patch));
    buffer_append(review->answer, SPAN("\""));
    for (size_t i = 0; i < in->warning_count; i++) {
        buffer_append(review->answer, i ? SPAN(",\"") : SPAN(",\"warnings\":[\""));
        buffer_append_json(review->answer, in->warnings[i]);
        buffer_append(review->answer, SPAN("\""));
    }
    buffer_append(review->answer, in->warning_count ? SPAN("]") : SPAN(""));
    close_answer(review);
    buffer_finish(&patch);
}

static bool is_ours(const struct injection *in, const struct inject_container *container)
{
    (void)in;
    return span_equal(container->name, SPAN("postern"));
}

/* Whether an earlier pass has been here, of this injector or of another revision. */
static bool is_injected(struct injection *in)
{
    struct span name = arena_format(in->arena, "%.*s/injected", SPAN_ARG(in->injector->settings->prefix));
    if (!inject_pod_annotation(&in->pod, name))
        return false;
    for (size_t i = 0; i < in->pod.container_count; i++)
        if (is_ours(in, &in->pod.containers[i]))
            return true;
    return false;
}

/* Mirror pods stand for what a kubelet runs already: a changed one would be refused by it. */
static bool is_mirror(const struct inject_pod *pod)
{
    return inject_pod_annotation(pod, SPAN("kubernetes.io/config.mirror")) != NULL;
}

static void inject(struct review *review, struct injection *in)
{
    if (!inject_choose(in)) {
        deny(review, joined(review->arena, in->denials, in->denial_count));
        return;
    }
    inject_patch(in);
    send_patch(review, in);
    memcpy(review->verdict->warned, in->warned, sizeof(in->warned));
    settle(review, INJECT_PATCHED,
           in->choice.config_map.len
               ? arena_format(review->arena, "with ConfigMap \"%.*s\"", SPAN_ARG(in->choice.config_map))
               : arena_format(review->arena, "with profile \"%.*s\"", SPAN_ARG(in->choice.profile->settings->name)));
}

static struct span request_text(const struct review *review, const char *name)
{
    struct json_value value;
    struct span text = {0};
    if (json_value_member(review->request, span_str(name), &value))
        (void)!json_value_text(value, review->arena, &text);
    return text;
}

static void review_pod(struct review *review)
{
    struct injection in = {.injector = review->injector, .arena = review->arena};
    const char *reason;
    in.pod.space = request_text(review, "namespace");
    if (!inject_pod_read(review->object, review->arena, &in.pod, &reason)) {
        deny(review, arena_format(review->arena, "the pod cannot be read: %s", reason));
        return;
    }
    review->verdict->about = arena_format(review->arena, "%.*s/%.*s", SPAN_ARG(in.pod.space), SPAN_ARG(in.pod.name));
    struct span prefix = review->injector->settings->prefix;
    const struct span *label = inject_pod_label(&in.pod, arena_format(review->arena, "%.*s/inject", SPAN_ARG(prefix)));
    if (is_mirror(&in.pod))
        allow(review, INJECT_UNTOUCHED, "a mirror pod");
    else if (label && span_equal(*label, SPAN("disabled")))
        allow(review, INJECT_UNTOUCHED, "labelled disabled");
    else if (is_injected(&in))
        allow(review, INJECT_UNTOUCHED, "injected before");
    else if (label && !span_equal(*label, SPAN("enabled")))
        deny(review, arena_format(review->arena, "label %.*s/inject is \"%.*s\"; allowed: enabled, disabled",
                                  SPAN_ARG(prefix), SPAN_ARG(span_take(*label, 63))));
    else
        inject(review, &in);
    buffer_finish(&in.ops);
}

/* ---- ConfigMaps ---- */

/* Whole lines, as many as somebody reads. */
static struct span printed(struct arena *arena, const struct report *report)
{
    struct buffer text = {0};
    report_print(report, &text);
    struct span all = buffer_span(&text);
    size_t end = all.len < MESSAGE_BYTES ? all.len : MESSAGE_BYTES;
    while (end > 0 && all.ptr[end - 1] != '\n')
        end--;
    struct span shown = span_take(all, end ? end - 1 : MESSAGE_BYTES);
    shown = arena_format(arena, "%.*s%s", SPAN_ARG(shown), end < all.len ? "\nand more" : "");
    buffer_finish(&text);
    return shown;
}

/* A mounted ConfigMap shows binaryData as files as well, where a configuration would be read unseen. */
static bool hides_configuration(struct json_value binary, struct arena *arena)
{
    struct json_value value;
    struct span raw, name;
    size_t cursor = 0;
    while (json_value_each(binary, &cursor, &raw, &value))
        if (json_value_text((struct json_value){JSON_STRING, raw}, arena, &name) &&
            (span_ends_with(name, SPAN(".yaml")) || span_ends_with(name, SPAN(".yml"))))
            return true;
    return false;
}

static void review_config_map(struct review *review)
{
    struct json_value data = {JSON_MORE, {0}}, binary;
    struct report report;
    review->verdict->about = arena_format(review->arena, "%.*s/%.*s", SPAN_ARG(request_text(review, "namespace")),
                                          SPAN_ARG(request_text(review, "name")));
    if (json_value_member(review->object, SPAN("binaryData"), &binary) && hides_configuration(binary, review->arena)) {
        deny(review, SPAN("put the configuration into data, not binaryData"));
        return;
    }
    (void)!json_value_member(review->object, SPAN("data"), &data);
    report_init(&report);
    if (inject_check_data(data, review->arena, &report))
        allow(review, INJECT_ALLOWED, "a good configuration");
    else
        deny(review, arena_format(review->arena, "no Postern could start with this ConfigMap:\n%.*s",
                                  SPAN_ARG(printed(review->arena, &report))));
    report_finish(&report);
}

/* ---- the review ---- */

static bool is_kind(const struct review *review, const char *resource)
{
    struct json_value group, version, name, sub;
    bool whole = !json_value_member(review->request, SPAN("subResource"), &sub) || sub.kind == JSON_NULL ||
                 json_value_is(sub, SPAN(""));
    return whole && json_value_find(review->request, "resource.resource", &name) &&
           json_value_is(name, span_str(resource)) && json_value_find(review->request, "resource.version", &version) &&
           json_value_is(version, SPAN("v1")) &&
           (!json_value_find(review->request, "resource.group", &group) || json_value_is(group, SPAN("")));
}

static const char *read_review(struct review *review, struct span body)
{
    struct json_value root, value;
    if (!json_value_parse(body, &root))
        return "the body is no JSON, or deeper than 64 levels";
    if (!json_value_member(root, SPAN("kind"), &value) || !json_value_is(value, SPAN("AdmissionReview")) ||
        !json_value_member(root, SPAN("apiVersion"), &value) || !json_value_is(value, SPAN("admission.k8s.io/v1")))
        return "kind and apiVersion are others";
    if (!json_value_member(root, SPAN("request"), &review->request) || review->request.kind != JSON_OBJECT_OPEN)
        return "there is no request";
    if (!json_value_member(review->request, SPAN("uid"), &value) ||
        !json_value_text(value, review->arena, &review->uid) || review->uid.len == 0 || review->uid.len > UID_MAX)
        return "the request has no uid";
    return NULL;
}

void inject_review(const struct injector *injector, enum inject_path path, struct span body, struct arena *arena,
                   struct buffer *answer, struct inject_verdict *ret)
{
    struct review review = {.injector = injector, .arena = arena, .answer = answer, .verdict = ret};
    *ret = (struct inject_verdict){0};
    const char *problem = read_review(&review, body);
    if (problem) {
        malformed(&review, problem);
        return;
    }
    bool pods = path == INJECT_MUTATE;
    struct span operation = request_text(&review, "operation");
    bool changes = span_equal(operation, SPAN("CREATE")) || (!pods && span_equal(operation, SPAN("UPDATE")));
    if (!changes || !is_kind(&review, pods ? "pods" : "configmaps")) {
        allow(&review, INJECT_UNTOUCHED, "not ours to judge");
        return;
    }
    if (!json_value_member(review.request, SPAN("object"), &review.object) || review.object.kind != JSON_OBJECT_OPEN) {
        deny(&review, SPAN("the review shows no object"));
        return;
    }
    if (pods)
        review_pod(&review);
    else
        review_config_map(&review);
}
