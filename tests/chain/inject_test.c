/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A listener with a filter that serves: any path, bodies collected whole whatever they hold, no model behind it.
 */
#include "support/rig.h"

#define PROFILE                                                                                                        \
    "apiVersion: postern/v1\\nlisteners: [{address: '127.0.0.1:4610'}]\\nadmin: {address: '0.0.0.0:4611'}\\n"          \
    "targets: [{name: m, mock: {}}]\\nmodels: [{name: '*', targets: [m]}]\\n"
#define REVIEW                                                                                                         \
    "{\"kind\":\"AdmissionReview\",\"apiVersion\":\"admission.k8s.io/v1\",\"request\":{\"uid\":\"u-1\",\"resource\":{" \
    "\"group\":\"\",\"version\":\"v1\",\"resource\":\"pods\"},\"namespace\":\"shop\",\"operation\":\"CREATE\","        \
    "\"object\":{\"spec\":{\"containers\":[{\"name\":\"app\"}]}}}}"

static const struct rig_setup webhook = {
    .filters = "inject: {image: x, profiles: [{name: default, config: \"" PROFILE "\"}]}",
    .order = "inject",
    .rest = "limits: {body: 4KiB}\n",
    .serves = true,
};

static void assert_patched(const struct rig_message *answer)
{
    assert_int_equal(answer->head.status, 200);
    rig_assert_field(answer, "content-type", "application/json");
    assert_true(rig_body_has(answer, "\"uid\":\"u-1\",\"allowed\":true,\"patchType\":\"JSONPatch\""));
}

static void a_review(struct rig *rig)
{
    struct rig_client *client = rig_client(rig);
    rig_post(client, "/mutate?timeout=10s", REVIEW);
    rig_settle(rig);
    assert_patched(rig_answer(client, 0));
}

/* One connection: what one of them did wrong is not the next one's trouble. */
static void one_after_the_other(struct rig *rig)
{
    static const struct {
        const char *path, *body;
        unsigned status;
    } asked[] = {
        {"/mutate", REVIEW, 200}, {"/mutate", "{\"model\":", 400},       {"/v1/chat/completions", REVIEW, 404},
        {"/mutate", " ", 400},    {"/validate", "\xff\xfe binary", 400}, {"/mutate", REVIEW, 200},
    };
    struct rig_client *client = rig_client(rig);
    for (unsigned i = 0; i < ARRAY_LEN(asked); i++) {
        rig_post(client, asked[i].path, asked[i].body);
        rig_settle(rig);
        assert_int_equal(rig_answer(client, i)->head.status, asked[i].status);
    }
    assert_patched(rig_answer(client, 5));
}

/* One byte a chunk. */
static void chunked(struct rig *rig)
{
    struct rig_client *client = rig_client(rig);
    struct buffer text = {0};
    buffer_append(&text, SPAN("POST /mutate HTTP/1.1\r\nhost: rig\r\ncontent-type: application/json; charset=utf-8\r\n"
                              "transfer-encoding: chunked\r\n\r\n"));
    for (const char *p = REVIEW; *p; p++)
        buffer_format(&text, "1\r\n%c\r\n", *p);
    buffer_append(&text, SPAN("0\r\n\r\n"));
    rig_expect(client, HTTP_POST);
    rig_send(client, buffer_span(&text));
    buffer_finish(&text);
    rig_settle(rig);
    assert_patched(rig_answer(client, 0));
}

static void too_large(struct rig *rig)
{
    struct rig_client *client = rig_client(rig);
    struct buffer body = {0};
    buffer_append(&body, SPAN(REVIEW));
    while (buffer_len(&body) < 5000)
        buffer_append(&body, SPAN(" "));
    rig_ask(client, "POST", "/mutate", "content-type: application/json\r\n", buffer_span(&body));
    buffer_finish(&body);
    rig_settle(rig);
    assert_int_equal(rig_answer(client, 0)->head.status, 413);
}

static void wrong_method_and_type(struct rig *rig)
{
    struct rig_client *client = rig_client(rig);
    rig_ask(client, "GET", "/mutate", "", (struct span){0});
    rig_settle(rig);
    assert_int_equal(rig_answer(client, 0)->head.status, 405);
    rig_assert_field(rig_answer(client, 0), "allow", "POST");
    rig_ask(client, "POST", "/mutate", "content-type: text/plain\r\n", SPAN(REVIEW));
    rig_settle(rig);
    assert_int_equal(rig_answer(client, 1)->head.status, 415);
}

/* The rig sees to it that nothing is left. */
static void client_leaves(struct rig *rig)
{
    struct rig_client *client = rig_client(rig);
    rig_expect(client, HTTP_POST);
    rig_send(client, SPAN("POST /mutate HTTP/1.1\r\nhost: rig\r\ncontent-type: application/json\r\ncontent-length: "
                          "1000\r\n\r\n{\"kind\""));
    rig_settle(rig);
    rig_leave(client);
    rig_settle(rig);
}

#define CASE(name)                                                                                                     \
    static void test_##name(void **state)                                                                              \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        rig_run(&webhook, name);                                                                                       \
    }
CASE(a_review)
CASE(one_after_the_other)
CASE(chunked)
CASE(too_large)
CASE(wrong_method_and_type)
CASE(client_leaves)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_review),
        cmocka_unit_test(test_one_after_the_other),
        cmocka_unit_test(test_chunked),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_wrong_method_and_type),
        cmocka_unit_test(test_client_leaves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
