/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Credentials of either side that the other must not see, whatever it asks for.
 */
#include "support/rig.h"

#define ROUTE                                                                                                          \
    "targets:\n"                                                                                                       \
    "  - {name: east, openai: {url: \"http://east.test/v1\"}}\n"                                                       \
    "models:\n"                                                                                                        \
    "  - {name: d, targets: [{target: east}]}\n"                                                                       \
    "passthrough:\n"                                                                                                   \
    "  - {path: /raw, target: east}\n"

static const char *method, *path;

/* A target that reflects requests would show the client the key that we add to them. */
static void not_reflected(struct rig *rig)
{
    struct rig_client *client = rig_client(rig);
    rig_ask(client, method, path, "", (struct span){0});
    rig_settle(rig);
    assert_int_equal(rig_answer(client, 0)->head.status, 405);
    assert_int_equal(rig->request_count, 0);
    assert_false(client->eof);
}

static void test_not_reflected(void **state)
{
    (void)state;
    static const char *const methods[] = {"TRACE", "TRACK", "trace", "Trace"};
    static const char *const paths[] = {"/raw", "/raw/v1/chat/completions?x"};
    for (size_t i = 0; i < ARRAY_LEN(methods) * ARRAY_LEN(paths); i++) {
        method = methods[i / ARRAY_LEN(paths)];
        path = paths[i % ARRAY_LEN(paths)];
        rig_run(&(struct rig_setup){.rest = ROUTE}, not_reflected);
    }
}

/* Keys for whatever vendor, in every field that carries one. */
static void kept(struct rig *rig)
{
    static const char *const fields[] = {
        "authorization",      "api-key", "x-api-key", "x-goog-api-key", "ocp-apim-subscription-key", "cookie",
        "proxy-authorization"};
    struct rig_client *client = rig_client(rig);
    struct buffer lines = {0};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        buffer_format(&lines, "%s: s3cr3t\r\n", fields[i]);
    buffer_append(&lines, span_of("", 1));
    rig_reply(rig, "east", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    rig_ask(client, "GET", "/raw/x?api-key=s3cr3t&a=b", buffer_span(&lines).ptr, (struct span){0});
    buffer_finish(&lines);
    rig_settle(rig);
    const struct rig_message *asked = &rig_asked(rig, 0)->message;
    assert_true(span_equal(asked->head.target, SPAN("/raw/x?a=b")));
    for (unsigned i = 0; i < asked->head.fields.count; i++)
        assert_false(span_equal(asked->head.fields.at[i].value, SPAN("s3cr3t")));
}

static void test_kept(void **state)
{
    (void)state;
    rig_run(&(struct rig_setup){.rest = ROUTE}, kept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_not_reflected), cmocka_unit_test(test_kept)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
