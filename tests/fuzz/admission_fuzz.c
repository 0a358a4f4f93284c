/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filters/inject: whatever comes as a review, the answer is one review in JSON with the same uid, or a text for status
 * 400; a patch is a list of operations whose paths lead somewhere, and a denial says why. The first byte of the input
 * tells how much of the review the rest is: all of it, the object, its metadata, its spec, or a ConfigMap's data.
 */
#include "support/inject_world.h"

#define BEFORE(resource)                                                                                               \
    "{\"kind\":\"AdmissionReview\",\"apiVersion\":\"admission.k8s.io/v1\",\"request\":{\"uid\":\"u\",\"resource\":{"   \
    "\"group\":\"\",\"version\":\"v1\",\"resource\":\"" resource                                                       \
    "\"},\"namespace\":\"shop\",\"operation\":\"CREATE\","                                                             \
    "\"object\":"

static const struct {
    enum inject_path path;
    const char *before, *after;
} frames[] = {
    {INJECT_MUTATE, "", ""},
    {INJECT_VALIDATE, "", ""},
    {INJECT_MUTATE, BEFORE("pods"), "}}"},
    {INJECT_MUTATE, BEFORE("pods") "{\"metadata\":", ",\"spec\":{\"containers\":[{\"name\":\"a\"}]}}}}"},
    {INJECT_MUTATE, BEFORE("pods") "{\"spec\":", "}}}"},
    {INJECT_VALIDATE, BEFORE("configmaps") "{\"data\":", "}}}"},
};

static void must(bool good)
{
    if (!good)
        abort();
}

static void check_patch(struct span patch, struct arena *arena)
{
    struct json_value operations, operation, member;
    struct span path;
    size_t cursor = 0;
    must(json_value_parse(patch, &operations) && operations.kind == JSON_ARRAY_OPEN);
    while (json_value_each(operations, &cursor, NULL, &operation)) {
        must(json_value_member(operation, SPAN("op"), &member));
        bool add = json_value_is(member, SPAN("add"));
        must(add || json_value_is(member, SPAN("replace")));
        must(json_value_member(operation, SPAN("path"), &member) && json_value_text(member, arena, &path));
        must(span_starts_with(path, SPAN("/spec/")) || span_starts_with(path, SPAN("/metadata")));
        must(json_value_member(operation, SPAN("value"), &member));
    }
    must(cursor > 0);
}

static void check_answer(const struct buffer *answer, const struct inject_verdict *verdict, struct arena *arena)
{
    struct json_value response, member;
    struct span patch;
    if (verdict->outcome == INJECT_MALFORMED) {
        must(span_starts_with(buffer_span(answer), SPAN("not an AdmissionReview")));
        return;
    }
    must(inject_world_read(buffer_span(answer), arena, &response, &patch));
    must(json_value_member(response, SPAN("uid"), &member) && member.kind == JSON_STRING);
    must(json_value_member(response, SPAN("allowed"), &member));
    must((member.kind == JSON_FALSE) == (verdict->outcome == INJECT_DENIED));
    must((patch.len > 0) == (verdict->outcome == INJECT_PATCHED));
    if (patch.len)
        check_patch(patch, arena);
    must(verdict->outcome != INJECT_DENIED ||
         (json_value_find(response, "status.message", &member) && verdict->reason.len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct inject_world world;
    if (!world.config) {
        hash_start();
        inject_world_start(&world, INJECT_CONFIG("    namespaces: [{name: shop, images: [\"*\"], max_cpu: \"2\"}]\n"));
    }
    if (size == 0)
        return 0;
    struct arena arena;
    struct buffer body = {0}, answer = {0};
    struct inject_verdict verdict;
    size_t frame = data[0] % ARRAY_LEN(frames);
    arena_init(&arena);
    buffer_append(&body, span_str(frames[frame].before));
    buffer_append(&body, span_of((const char *)data + 1, size - 1));
    buffer_append(&body, span_str(frames[frame].after));
    inject_review(&world.injector, frames[frame].path, buffer_span(&body), &arena, &answer, &verdict);
    check_answer(&answer, &verdict, &arena);
    buffer_finish(&answer);
    buffer_finish(&body);
    arena_finish(&arena);
    return 0;
}
