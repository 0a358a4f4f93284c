/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filters/inject: reviews in memory. What pods look like afterwards is tests/e2e/test_inject_pods.py's; here are the
 * patch's own text, broken input, and what the settings change.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/inject_world.h"

#define REVIEW(resource, operation, object)                                                                            \
    "{\"kind\":\"AdmissionReview\",\"apiVersion\":\"admission.k8s.io/v1\",\"request\":{\"uid\":\"u-1\",\"resource\":{" \
    "\"group\":\"\",\"version\":\"v1\",\"resource\":\"" resource                                                       \
    "\"},\"namespace\":\"shop\",\"operation\":\"" operation "\",\"object\":" object "}}"
#define POD(metadata, spec) REVIEW("pods", "CREATE", "{\"metadata\":{" metadata "},\"spec\":{" spec "}}")
#define APP                 "\"containers\":[{\"name\":\"app\"}]"

/* What a review led to. */
struct result {
    struct arena arena;
    struct buffer answer;
    struct inject_verdict verdict;
    struct json_value response;
    struct span patch;
};

static void ask(const struct inject_world *world, enum inject_path path, struct span body, struct result *result)
{
    *result = (struct result){0};
    arena_init(&result->arena);
    inject_review(&world->injector, path, body, &result->arena, &result->answer, &result->verdict);
    if (result->verdict.outcome != INJECT_MALFORMED)
        assert_true(inject_world_read(buffer_span(&result->answer), &result->arena, &result->response, &result->patch));
}

static void end(struct result *result)
{
    buffer_finish(&result->answer);
    arena_finish(&result->arena);
}

static void mutate(const char *settings, const char *body, struct result *result, struct inject_world *world)
{
    inject_world_start(world, settings);
    ask(world, INJECT_MUTATE, span_str(body), result);
}

static bool holds(struct span text, const char *part)
{
    return span_search(text, span_str(part)) < text.len;
}

static size_t times(struct span text, const char *part)
{
    size_t count = 0;
    for (size_t at; (at = span_search(text, span_str(part))) < text.len; count++)
        text = span_skip(text, at + 1);
    return count;
}

/* Every beginning of a review, and every review with one byte of its structure gone, is no review: status 400. */
static void beginnings(void **state)
{
    (void)state;
    static const char whole[] = POD("\"labels\":{\"a\":\"b\"}", APP);
    struct inject_world world;
    inject_world_start(&world, INJECT_CONFIG(""));
    for (size_t len = 0; len < sizeof(whole) - 1; len++) {
        struct result result;
        ask(&world, INJECT_MUTATE, span_of(whole, len), &result);
        assert_int_equal(result.verdict.outcome, INJECT_MALFORMED);
        assert_true(holds(buffer_span(&result.answer), "not an AdmissionReview"));
        end(&result);
    }
    inject_world_finish(&world);
}

/* A member that one reader may take for another's: never passed on silently. */
static void twice(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        enum inject_outcome outcome;
    } cases[] = {
        {POD("", APP "},\"spec\":{" APP), INJECT_DENIED},
        {POD("", APP) " ", INJECT_PATCHED},
        {"{\"kind\":\"AdmissionReview\",\"kind\":\"AdmissionReview\",\"apiVersion\":\"admission.k8s.io/"
         "v1\",\"request\":{}}",
         INJECT_MALFORMED},
        {REVIEW("pods", "CREATE", "{}"), INJECT_DENIED},
        {REVIEW("pods", "CREATE", "null"), INJECT_DENIED},
        {REVIEW("pods", "UPDATE", "null"), INJECT_UNTOUCHED},
        {REVIEW("services", "CREATE", "{}"), INJECT_UNTOUCHED},
        {REVIEW("configmaps", "CREATE", "{}"), INJECT_UNTOUCHED}, /* sent to /mutate */
    };
    struct inject_world world;
    inject_world_start(&world, INJECT_CONFIG(""));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct result result;
        ask(&world, INJECT_MUTATE, span_str(cases[i].body), &result);
        if (result.verdict.outcome != cases[i].outcome)
            fail_msg("%s: %d", cases[i].body, (int)result.verdict.outcome);
        end(&result);
    }
    inject_world_finish(&world);
}

static void positions(void **state)
{
    (void)state;
    static const struct {
        const char *init, *path;
    } cases[] = {
        {"", "/spec/initContainers\",\"value\":[{\"name\":\"postern\""},
        {"\"initContainers\":null,", "/spec/initContainers\",\"value\":[{\"name\":\"postern\""},
        {"\"initContainers\":[],", "/spec/initContainers/0\",\"value\":{\"name\":\"postern\""},
        {"\"initContainers\":[{\"name\":\"mine\"}],", "/spec/initContainers/0\""},
        {"\"initContainers\":[{\"name\":\"istio-proxy\"}],", "/spec/initContainers/1\""},
        {"\"initContainers\":[{\"name\":\"a\"},{\"name\":\"linkerd-init\"},{\"name\":\"b\"},{\"name\":\"linkerd-"
         "proxy\"},"
         "{\"name\":\"c\"}],",
         "/spec/initContainers/4\""},
        {"\"initContainers\":[{\"name\":\"contoso-proxy\"},{\"name\":\"c\"}],", "/spec/initContainers/1\""},
    };
    struct inject_world world;
    inject_world_start(&world, INJECT_CONFIG("    mesh_containers: [contoso-proxy]\n"));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct result result;
        struct arena arena;
        arena_init(&arena);
        struct span body = arena_format(&arena, POD("", "%s" APP), cases[i].init);
        ask(&world, INJECT_MUTATE, body, &result);
        if (!holds(result.patch, cases[i].path))
            fail_msg("%s: %.*s", cases[i].init, SPAN_ARG(result.patch));
        end(&result);
        arena_finish(&arena);
    }
    inject_world_finish(&world);
}

/* The shortest pod: no metadata, so the patch brings it. */
static void no_metadata(void **state)
{
    (void)state;
    struct inject_world world;
    struct result result;
    mutate(INJECT_CONFIG(""), REVIEW("pods", "CREATE", "{\"spec\":{" APP "}}"), &result, &world);
    assert_int_equal(result.verdict.outcome, INJECT_PATCHED);
    assert_true(holds(result.patch, "{\"op\":\"add\",\"path\":\"/metadata\",\"value\":{\"annotations\":{"
                                    "\"postern.io/injected\":\"default\""));
    end(&result);
    inject_world_finish(&world);
}

static void other_prefix(void **state)
{
    (void)state;
    struct inject_world world;
    struct result result;
    mutate(INJECT_CONFIG("    prefix: ai.contoso.com\n    revision: canary\n    pull_policy: Always\n"),
           POD("\"annotations\":{\"ai.contoso.com/port\":\"7000\",\"postern.io/port\":\"x\"}", APP), &result, &world);
    assert_int_equal(result.verdict.outcome, INJECT_PATCHED);
    assert_true(holds(result.patch, "/metadata/annotations/ai.contoso.com~1injected\",\"value\":\"canary\""));
    assert_true(holds(result.patch, "metadata.annotations['ai.contoso.com/profile-config']"));
    assert_true(holds(result.patch, "http://127.0.0.1:7000/v1"));
    assert_true(holds(result.patch, "\"imagePullPolicy\":\"Always\""));
    assert_false(holds(result.patch, "postern.io"));
    end(&result);
    inject_world_finish(&world);
}

/* A cluster without native sidecars, by the setting. A pod that ends is told what it takes. */
static void plain_container(void **state)
{
    (void)state;
    struct inject_world world;
    struct result result;
    mutate(INJECT_CONFIG("    sidecar: container\n"), POD("", "\"restartPolicy\":\"Never\"," APP), &result, &world);
    assert_true(holds(result.patch, "{\"op\":\"add\",\"path\":\"/spec/containers/0\",\"value\":{\"name\":\"postern\""));
    assert_false(holds(result.patch, "\"restartPolicy\""));
    assert_true(holds(result.patch, "/spec/containers/0/volumeMounts"));
    assert_int_equal(result.verdict.warned[INJECT_WARN_DRAIN], 1);
    assert_true(holds(result.response.raw, "admin.control"));
    end(&result);
    ask(&world, INJECT_MUTATE, SPAN(POD("\"annotations\":{\"postern.io/sidecar\":\"native\"}", APP)), &result);
    assert_true(holds(result.patch, "\"restartPolicy\":\"Always\""));
    end(&result);
    ask(&world, INJECT_MUTATE, SPAN(POD("", APP)), &result);
    assert_int_equal(result.verdict.warned[INJECT_WARN_DRAIN], 0);
    end(&result);
    inject_world_finish(&world);
}

/* Many containers with something to warn of: the answer stays small, the counts are whole. */
static void many_warnings(void **state)
{
    (void)state;
    struct inject_world world;
    struct result result;
    struct buffer body = {0};
    static const char head[] =
        "{\"kind\":\"AdmissionReview\",\"apiVersion\":\"admission.k8s.io/v1\",\"request\":{\"uid\":\"u\","
        "\"resource\":{\"group\":\"\",\"version\":\"v1\",\"resource\":\"pods\"},\"namespace\":\"n\","
        "\"operation\":\"CREATE\",\"object\":{\"spec\":{\"containers\":[";
    buffer_append(&body, span_str(head));
    for (int i = 0; i < 40; i++)
        buffer_format(&body, "%s{\"name\":\"%s%d\",\"envFrom\":[{}]}", i ? "," : "",
                      "ein-sehr-langer-name-aus-größe-größe-größe-größe-größe-größe-größe-größe", i);
    buffer_append(&body, SPAN("]}}}}"));
    inject_world_start(&world, INJECT_CONFIG(""));
    ask(&world, INJECT_MUTATE, buffer_span(&body), &result);
    assert_int_equal(result.verdict.outcome, INJECT_PATCHED);
    assert_int_equal(result.verdict.warned[INJECT_WARN_ENV_FROM], 40);
    struct json_value warnings, one;
    size_t cursor = 0, count = 0;
    assert_true(json_value_member(result.response, SPAN("warnings"), &warnings));
    for (; json_value_each(warnings, &cursor, NULL, &one); count++)
        assert_true(one.raw.len <= 122);
    assert_int_equal(count, INJECT_MESSAGES);
    end(&result);
    buffer_finish(&body);
    inject_world_finish(&world);
}

/* The same variable by env_extra and by us: once, as env_extra says. */
static void extra_variables(void **state)
{
    (void)state;
    struct inject_world world;
    struct result result;
    mutate(INJECT_CONFIG(""),
           POD("\"annotations\":{\"postern.io/env-extra\":\"OPENAI_BASE_URL=/openai/v1, OTHER=/,OTHER=/x\"}", APP),
           &result, &world);
    assert_int_equal(times(result.patch, "\"OPENAI_BASE_URL\""), 1);
    assert_true(holds(result.patch, "\"http://127.0.0.1:4610/openai/v1\""));
    assert_int_equal(times(result.patch, "\"OTHER\""), 1);
    assert_int_equal(times(result.patch, "\"OPENAI_API_KEY\""), 1);
    end(&result);
    inject_world_finish(&world);
}

/* What is no word of an annotation is told which it may have been. */
static void nearest_words(void **state)
{
    (void)state;
    static const struct {
        const char *annotation, *value, *says;
    } cases[] = {{"log-level", "debgu", "did you mean \"debug\"?"},
                 {"profile", "defualt", "did you mean \"default\"?"}};
    struct inject_world world;
    inject_world_start(&world, INJECT_CONFIG(""));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buffer body = {0};
        struct result result;
        buffer_format(&body,
                      "{\"kind\":\"AdmissionReview\",\"apiVersion\":\"admission.k8s.io/v1\",\"request\":{"
                      "\"uid\":\"u\",\"resource\":{\"version\":\"v1\",\"resource\":\"pods\"},\"operation\":\"CREATE\","
                      "\"object\":{\"spec\":{\"containers\":[{\"name\":\"app\"}]},\"metadata\":{\"annotations\":{"
                      "\"postern.io/%s\":\"%s\"}}}}}",
                      cases[i].annotation, cases[i].value);
        ask(&world, INJECT_MUTATE, buffer_span(&body), &result);
        assert_int_equal(result.verdict.outcome, INJECT_DENIED);
        assert_true(holds(result.verdict.reason, cases[i].says));
        end(&result);
        buffer_finish(&body);
    }
    inject_world_finish(&world);
}

/* Lists in annotations have an end: the work for a pod is that for its containers times them. */
static void long_lists(void **state)
{
    (void)state;
    static const struct {
        const char *annotation, *part;
        size_t most;
        const char *says;
    } cases[] = {{"env-extra", "A=/", 32, "at most 32"}, {"containers", "app", 2, "allowed: app, other"}};
    struct inject_world world;
    inject_world_start(&world, INJECT_CONFIG(""));
    for (size_t i = 0; i < 2 * ARRAY_LEN(cases); i++) {
        struct buffer body = {0};
        struct result result;
        bool beyond = i % 2;
        buffer_append(&body, SPAN("{\"kind\":\"AdmissionReview\",\"apiVersion\":\"admission.k8s.io/v1\",\"request\":{"
                                  "\"uid\":\"u\",\"resource\":{\"version\":\"v1\",\"resource\":\"pods\"},"
                                  "\"operation\":\"CREATE\",\"object\":{\"spec\":{\"containers\":[{\"name\":\"app\"},"
                                  "{\"name\":\"other\"}]},\"metadata\":{\"annotations\":{"));
        buffer_format(&body, "\"postern.io/%s\":\"", cases[i / 2].annotation);
        for (size_t k = 0; k < cases[i / 2].most + beyond; k++)
            buffer_format(&body, "%s%s", k ? "," : "", cases[i / 2].part);
        buffer_append(&body, SPAN("\"}}}}}"));
        ask(&world, INJECT_MUTATE, buffer_span(&body), &result);
        assert_int_equal(result.verdict.outcome, beyond ? INJECT_DENIED : INJECT_PATCHED);
        assert_true(!beyond || holds(result.verdict.reason, cases[i / 2].says));
        end(&result);
        buffer_finish(&body);
    }
    inject_world_finish(&world);
}

/* Texts that would leave their place if nobody escaped them. */
static void hostile_texts(void **state)
{
    (void)state;
    struct inject_world world;
    struct result result;
    mutate(INJECT_CONFIG(""),
           POD("\"annotations\":{\"postern.io/x\\\"y\\u0000\":\"\\\"}\",\"postern.io/"
               "image\":\"a\\\"b\"},\"generateName\":\"\\n\"",
               APP),
           &result, &world);
    assert_int_equal(result.verdict.outcome, INJECT_DENIED);
    end(&result);
    ask(&world, INJECT_MUTATE, SPAN(POD("", "\"containers\":[{\"name\":\"a\\\"/~\\u0000\",\"envFrom\":[{}]}]")),
        &result);
    assert_int_equal(result.verdict.outcome, INJECT_PATCHED);
    struct json_value operations;
    assert_true(json_value_parse(result.patch, &operations));
    end(&result);
    inject_world_finish(&world);
}

static void config_maps(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        enum inject_outcome outcome;
    } cases[] = {
        {REVIEW("configmaps", "CREATE",
                "{\"data\":{\"a.yaml\":\"apiVersion: postern/v1\\nlisteners: [{address: \\\"127.0.0.1:1\\\"}]\\n"
                "targets: [{name: m, mock: {}}]\\nmodels: [{name: x, targets: [m]}]\\n\"}}"),
         INJECT_ALLOWED},
        {REVIEW("configmaps", "UPDATE", "{\"data\":{\"a.yaml\":\"apiVersion: postern/v2\"}}"), INJECT_DENIED},
        {REVIEW("configmaps", "CREATE", "{\"data\":{\".a.yaml\":\"x\",\"a.txt\":\"x\",\"\":\"x\"}}"), INJECT_DENIED},
        {REVIEW("configmaps", "CREATE", "{\"data\":[]}"), INJECT_DENIED},
        {REVIEW("configmaps", "CREATE", "{\"data\":{\"a.yaml\":7}}"), INJECT_DENIED},
        {REVIEW("configmaps", "DELETE", "null"), INJECT_UNTOUCHED},
        {REVIEW("pods", "CREATE", "{}"), INJECT_UNTOUCHED},
    };
    struct inject_world world;
    inject_world_start(&world, INJECT_CONFIG(""));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct result result;
        ask(&world, INJECT_VALIDATE, span_str(cases[i].body), &result);
        if (result.verdict.outcome != cases[i].outcome)
            fail_msg("%s: %d %.*s", cases[i].body, (int)result.verdict.outcome, SPAN_ARG(result.verdict.reason));
        end(&result);
    }
    inject_world_finish(&world);
}

int main(void)
{
    hash_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(beginnings),    cmocka_unit_test(twice),           cmocka_unit_test(positions),
        cmocka_unit_test(no_metadata),   cmocka_unit_test(other_prefix),    cmocka_unit_test(plain_container),
        cmocka_unit_test(many_warnings), cmocka_unit_test(extra_variables), cmocka_unit_test(hostile_texts),
        cmocka_unit_test(config_maps),   cmocka_unit_test(long_lists),      cmocka_unit_test(nearest_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
