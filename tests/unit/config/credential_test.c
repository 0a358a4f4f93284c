/* SPDX-License-Identifier: Apache-2.0 */
#include "config_support.h"

#include <stdlib.h>

#include "base/buffer.h"

#define NAMED(credential)                                                                                              \
    HEAD "credentials: [{name: c, " credential "}]\n"                                                                  \
         "targets: [{name: m, openai: {url: \"https://h/v1\"}, credential: c}]\n"                                      \
         "models: [{name: \"*\", targets: [m]}]\n"
#define TARGETS(a, b)                                                                                                  \
    HEAD "targets:\n"                                                                                                  \
         "  - {name: a, openai: {url: \"" a "/v1\"}, credential: {client: {}}}\n"                                      \
         "  - {name: b, openai: {url: \"" b "/v1\"}, credential: {client: {}}}\n"                                      \
         "models: [{name: \"*\", targets: [a, b]}]\n"
#define CASE(text, says)                                                                                               \
    {                                                                                                                  \
        text, sizeof(text) - 1, CONFIG_OFFLINE, says                                                                   \
    }

static const struct message_case cases[] = {
    CASE(NAMED("workload_identity: {}"), ""),
    CASE(NAMED("managed_identity: {}"), ""),
    CASE(NAMED("client: {}"), ""),
    CASE(NAMED("service_account_token: /t"), ""),
    CASE(NAMED("service_account_token: {file: /t}"), ""),
    CASE(NAMED("client_secret: {tenant: t, client_id: c, secret: {env: X}}"), ""),
    CASE(NAMED("client_certificate: {tenant: t, client_id: c, certificate: /c}"), ""),
    CASE(NAMED("workload_identity: {authority: \"http://127.0.0.1:8\"}"), ""),
    CASE(NAMED("workload_identity: {authority: \"http://login.test\"}"),
         "c.yaml:3:56: \"authority\" must begin with https://: what is sent there opens the identity\n"),
    CASE(NAMED("managed_identity: {client_id: a, object_id: b}"),
         "c.yaml:3:43: \"client_id\", \"object_id\" and \"resource_id\" all name the identity; keep one of them\n"),
    CASE(NAMED("client_certificate: {tenant: t, client_id: c, certificate: /c, algorithm: ES256}"),
         "c.yaml:3:99: \"algorithm\" cannot be \"ES256\"; allowed: PS256, RS256; did you mean \"PS256\"?\n"),
    CASE(NAMED("client_secret: {tenant: t, client_id: c}"),
         "c.yaml:3:40: client_secret needs \"secret\", such as {file: /var/run/secrets/postern/client-secret}\n"),
    CASE(NAMED("api_key: {env: X}, client: {}"),
         "c.yaml:3:44: credential has both \"api_key\" and \"client\"; exactly one of api_key, workload_identity, "
         "managed_identity, client_secret, client_certificate, service_account_token, client is allowed\n"),
    /* The application's own credential goes to one host, whatever leads there. */
    CASE(TARGETS("https://one.test", "https://one.test"), ""),
    CASE(TARGETS("https://one.test", "https://two.test"), "c.yaml:5:65: \"client\" passes the application's own "
                                                          "credential on, to one host only; another target passes it "
                                                          "to one.test already\n"),
    CASE(TARGETS("https://one.test", "https://one.test:8443"),
         "c.yaml:5:70: \"client\" passes the application's own credential on, to one host only; another target passes "
         "it "
         "to one.test already\n"),
};

static void test_messages(void **state)
{
    (void)state;
    say(cases, ARRAY_LEN(cases));
}

static void test_named_and_written(void **state)
{
    (void)state;
    struct config *config =
        load(HEAD "credentials:\n"
                  "  - {name: entra, workload_identity: {client_id: one}}\n"
                  "  - {name: node, managed_identity: {scope: \"api://x\"}}\n"
                  "targets:\n"
                  "  - {name: a, azure: {endpoint: \"https://a.test\"}, credential: entra}\n"
                  "  - {name: b, azure: {endpoint: \"https://b.test\"}, credential: {name: node}}\n"
                  "  - {name: c, azure: {endpoint: \"https://c.test\"}, credential: {api_key: {env: K}}}\n"
                  "models: [{name: \"*\", targets: [a, b, c]}]\n",
             CONFIG_OFFLINE);
    assert_int_equal(config->credential_count, 2);
    assert_ptr_equal(config->targets[0].credential, &config->credentials[0]);
    assert_ptr_equal(config->targets[1].credential, &config->credentials[1]);
    assert_true(span_equal(config->credentials[0].workload_identity->client_id, SPAN("one")));
    assert_true(span_equal(config->credentials[0].workload_identity->scope,
                           SPAN("https://cognitiveservices.azure.com/.default")));
    assert_true(span_equal(config->credentials[1].managed_identity->scope, SPAN("api://x")));
    assert_int_equal(config->targets[2].credential->name.len, 0);
    assert_true(span_equal(config->targets[2].credential->api_key.env, SPAN("K")));
    assert_ptr_equal(config_credential(config, SPAN("node")), &config->credentials[1]);
    assert_null(config_credential(config, SPAN("nobody")));
    config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_named_and_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
