/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the webhook's environment and the settings mean together, and the request that comes of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/config.h"
#include "gateway/credential_ask.h"
#include "gateway/identity.h"

#define TENANT  "72f988bf-86f1-41af-91ab-2d7cd011db47"
#define CLIENT  "6731de76-14a6-49ae-97bc-6eba6914391e"
#define DEFAULT "https%3A%2F%2Fcognitiveservices.azure.com%2F.default"
#define BEARER  "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"

static const char *const variables[] = {"AZURE_CLIENT_ID",
                                        "AZURE_TENANT_ID",
                                        "AZURE_FEDERATED_TOKEN_FILE",
                                        "AZURE_AUTHORITY_HOST",
                                        "AZURE_KUBERNETES_TOKEN_PROXY",
                                        "AZURE_KUBERNETES_SNI_NAME",
                                        "AZURE_KUBERNETES_CA_FILE",
                                        "AZURE_KUBERNETES_CA_DATA",
                                        "HTTPS_PROXY",
                                        "https_proxy",
                                        "NO_PROXY",
                                        "no_proxy"};

static char token_file[64];

static int set_up(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(variables); i++)
        unsetenv(variables[i]);
    return 0;
}

static void set_webhook(void)
{
    setenv("AZURE_CLIENT_ID", CLIENT, 1);
    setenv("AZURE_TENANT_ID", TENANT, 1);
    setenv("AZURE_FEDERATED_TOKEN_FILE", token_file, 1);
    setenv("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com/", 1);
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* One identity of a configuration in which only it matters. */
struct made {
    struct config *config;
    struct identity identity;
    struct report report;
    struct arena arena;
};

static void make(struct made *made, const char *credential, unsigned flags)
{
    char text[2048];
    (void)snprintf(text, sizeof(text),
                   "apiVersion: postern/v1\nlisteners: [{address: \"127.0.0.1:1\"}]\n"
                   "credentials: [{name: c, %s}]\n"
                   "targets: [{name: t, openai: {url: \"http://t.test/v1\"}, credential: c}]\n"
                   "models: [{name: \"*\", targets: [t]}]\n",
                   credential);
    struct settings_registry none = {0};
    report_init(&made->report);
    arena_init(&made->arena);
    bool good = config_load_text(SPAN("c.yaml"), span_str(text), &none, flags, &made->report, &made->config);
    struct buffer said = {0};
    report_print(&made->report, &said);
    if (!good)
        print_error("%.*s", SPAN_ARG(buffer_span(&said)));
    buffer_finish(&said);
    assert_true(good);
    assert_ptr_equal(made->config->targets[0].credential, &made->config->credentials[0]);
    identity_init(&made->identity, made->config, &made->config->credentials[0], SPAN("t"),
                  (flags & CONFIG_OFFLINE) != 0, &made->arena, &made->report);
}

static void unmake(struct made *made)
{
    identity_finish(&made->identity);
    config_free(made->config);
    report_finish(&made->report);
    arena_finish(&made->arena);
}

static void assert_span(struct span span, const char *expected)
{
    if (!span_equal(span, span_str(expected)))
        print_error("%.*s\n", SPAN_ARG(span));
    assert_true(span_equal(span, span_str(expected)));
}

static void assert_asks(const struct made *made, const char *url, const char *body)
{
    struct credential_ask ask;
    struct span reason = {0};
    assert_int_equal(made->report.errors, 0);
    assert_true(credential_ask_init(&ask, &made->identity, made->identity.scope, 0, &reason));
    assert_span(ask.request.url, url);
    assert_span(ask.request.body, body);
    credential_ask_finish(&ask);
}

/* ---- workload identity ---- */

static void test_webhook(void **state)
{
    (void)state;
    struct made made;
    set_webhook();
    write_file(token_file, " eyJ.a.b\n");
    make(&made, "workload_identity: {}", 0);
    assert_int_equal(made.identity.kind, IDENTITY_WORKLOAD);
    assert_asks(&made, "https://login.microsoftonline.com/" TENANT "/oauth2/v2.0/token",
                "grant_type=client_credentials&client_id=" CLIENT "&scope=" DEFAULT "&client_assertion_type=" BEARER
                "&client_assertion=eyJ.a.b");
    unmake(&made);
}

static void test_settings_win(void **state)
{
    (void)state;
    struct made made;
    set_webhook();
    write_file(token_file, "t");
    make(&made,
         "workload_identity: {tenant: contoso.com, client_id: other, authority: \"https://login.chinacloudapi.cn/\", "
         "scope: \"api://x y/.default\"}",
         0);
    assert_asks(
        &made, "https://login.chinacloudapi.cn/contoso.com/oauth2/v2.0/token",
        "grant_type=client_credentials&client_id=other&scope=api%3A%2F%2Fx%20y%2F.default&client_assertion_type=" BEARER
        "&client_assertion=t");
    unmake(&made);
}

static void test_bindings(void **state)
{
    (void)state;
    struct made made;
    set_webhook();
    setenv("AZURE_KUBERNETES_TOKEN_PROXY", "https://10.0.0.1:6443/prefix/", 1);
    setenv("AZURE_KUBERNETES_SNI_NAME", "x.ests.aks", 1);
    make(&made, "workload_identity: {}", 0);
    assert_int_equal(made.report.errors, 0);
    assert_span(made.identity.url, "https://10.0.0.1:6443/prefix/" TENANT "/oauth2/v2.0/token");
    assert_span(made.identity.audience, "https://login.microsoftonline.com/" TENANT "/oauth2/v2.0/token");
    assert_span(made.identity.server_name, "x.ests.aks");
    unmake(&made);
    make(&made, "workload_identity: {token_proxy: none}", 0);
    assert_span(made.identity.url, "https://login.microsoftonline.com/" TENANT "/oauth2/v2.0/token");
    assert_int_equal(made.identity.server_name.len, 0);
    unmake(&made);
}

static const struct {
    const char *name, *value; /* on top of the webhook's; value NULL: unset */
    const char *name2, *value2;
    const char *says;
} wrong[] = {
    {"AZURE_CLIENT_ID", NULL, "X", "", "AZURE_CLIENT_ID is not set"},
    {"AZURE_CLIENT_ID", "", "X", "", "AZURE_CLIENT_ID is not set"},
    {"AZURE_TENANT_ID", NULL, "X", "", "AZURE_TENANT_ID is not set"},
    {"AZURE_FEDERATED_TOKEN_FILE", NULL, "X", "", "AZURE_FEDERATED_TOKEN_FILE is not set"},
    {"AZURE_TENANT_ID", "a/b", "X", "", "neither an id nor a domain"},
    {"AZURE_TENANT_ID", "..", "X", "", "neither an id nor a domain"},
    {"AZURE_AUTHORITY_HOST", "login.microsoftonline.com", "X", "", "AZURE_AUTHORITY_HOST holds no usable URL"},
    {"AZURE_AUTHORITY_HOST", "http://login.test", "X", "", "is not https://"},
    {"AZURE_KUBERNETES_TOKEN_PROXY", "http://127.0.0.1", "X", "", "is not https://"},
    {"AZURE_KUBERNETES_SNI_NAME", "x", "X", "", "AZURE_KUBERNETES_TOKEN_PROXY is not set"},
    {"AZURE_KUBERNETES_CA_FILE", "/x", "AZURE_KUBERNETES_CA_DATA", "y", "are both set"},
    {"AZURE_KUBERNETES_TOKEN_PROXY", "https://10.0.0.1", "AZURE_KUBERNETES_CA_DATA", "no pem", "holds no certificate"},
    {"AZURE_KUBERNETES_TOKEN_PROXY", "https://10.0.0.1", "AZURE_KUBERNETES_CA_FILE", "/nowhere", "/nowhere"},
    {"HTTPS_PROXY", "socks5://127.0.0.1", "X", "", "HTTPS_PROXY is not an http:// URL"},
};

static void test_wrong_environment(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct made made;
        struct buffer said = {0};
        set_up(state);
        set_webhook();
        if (wrong[i].value)
            setenv(wrong[i].name, wrong[i].value, 1);
        else
            unsetenv(wrong[i].name);
        setenv(wrong[i].name2, wrong[i].value2, 1);
        make(&made, "workload_identity: {}", 0);
        report_print(&made.report, &said);
        assert_true(made.report.errors > 0);
        struct span text = buffer_span(&said);
        if (span_search(text, span_str(wrong[i].says)) == text.len)
            print_error("%.*s", SPAN_ARG(text));
        assert_true(span_search(text, span_str(wrong[i].says)) < text.len);
        buffer_finish(&said);
        unmake(&made);
    }
}

/* On another machine neither variables nor files are there, and nothing is said about it. */
static void test_offline(void **state)
{
    (void)state;
    struct made made;
    make(&made, "workload_identity: {}", CONFIG_OFFLINE);
    assert_int_equal(made.report.errors, 0);
    unmake(&made);
}

static void test_proxy(void **state)
{
    (void)state;
    struct made made;
    set_webhook();
    setenv("HTTPS_PROXY", "http://user:p%40ss@proxy.test:3128", 1);
    make(&made, "workload_identity: {}", 0);
    assert_span(made.identity.proxy.host, "proxy.test");
    assert_int_equal(made.identity.proxy.port, 3128);
    assert_span(made.identity.proxy.authorization, "Basic dXNlcjpwQHNz");
    unmake(&made);
    setenv("NO_PROXY", "login.microsoftonline.com", 1);
    make(&made, "workload_identity: {}", 0);
    assert_int_equal(made.identity.proxy.host.len, 0);
    unmake(&made);
    make(&made, "managed_identity: {}", 0);
    assert_int_equal(made.identity.proxy.host.len, 0);
    unmake(&made);
}

/* ---- the other kinds ---- */

static void test_client_secret(void **state)
{
    (void)state;
    struct made made;
    char credential[256];
    write_file(token_file, "se&cret=\n");
    (void)snprintf(credential, sizeof(credential), "client_secret: {tenant: t, client_id: c, secret: {file: \"%s\"}}",
                   token_file);
    make(&made, credential, 0);
    assert_asks(&made, "https://login.microsoftonline.com/t/oauth2/v2.0/token",
                "grant_type=client_credentials&client_id=c&scope=" DEFAULT "&client_secret=se%26cret%3D");
    write_file(token_file, "rotated");
    assert_asks(&made, "https://login.microsoftonline.com/t/oauth2/v2.0/token",
                "grant_type=client_credentials&client_id=c&scope=" DEFAULT "&client_secret=rotated");
    unmake(&made);
}

static const struct {
    const char *settings, *query;
} metadata[] = {
    {"", "resource=https%3A%2F%2Fcognitiveservices.azure.com"},
    {"client_id: \"a b\"", "resource=https%3A%2F%2Fcognitiveservices.azure.com&client_id=a%20b"},
    {"object_id: o", "resource=https%3A%2F%2Fcognitiveservices.azure.com&object_id=o"},
    {"resource_id: /subscriptions/s",
     "resource=https%3A%2F%2Fcognitiveservices.azure.com&msi_res_id=%2Fsubscriptions%2Fs"},
    {"scope: \"api://x\"", "resource=api%3A%2F%2Fx"},
};

static void test_managed_identity(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(metadata); i++) {
        struct made made;
        char credential[128], url[256];
        (void)snprintf(credential, sizeof(credential), "managed_identity: {%s}", metadata[i].settings);
        (void)snprintf(url, sizeof(url),
                       "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&%s",
                       metadata[i].query);
        make(&made, credential, 0);
        assert_asks(&made, url, "");
        unmake(&made);
    }
}

static void test_unreadable(void **state)
{
    (void)state;
    struct made made;
    struct credential_ask ask;
    struct span reason = {0};
    set_webhook();
    static const char *const contents[] = {"", "a\nb", "\x01"};
    for (size_t i = 0; i < ARRAY_LEN(contents) + 1; i++) {
        if (i < ARRAY_LEN(contents))
            write_file(token_file, contents[i]);
        else
            assert_int_equal(unlink(token_file), 0);
        make(&made, "workload_identity: {}", 0);
        assert_false(credential_ask_init(&ask, &made.identity, made.identity.scope, 0, &reason));
        assert_true(span_starts_with(reason, SPAN("the token file /tmp/")));
        credential_ask_finish(&ask);
        unmake(&made);
    }
}

/* The same identity by another name has the same key; every difference that makes another token makes another. */
static void test_keys(void **state)
{
    (void)state;
    static const char *const different[] = {"workload_identity: {}",
                                            "workload_identity: {client_id: other}",
                                            "workload_identity: {tenant: other}",
                                            "workload_identity: {token_file: /other}",
                                            "workload_identity: {authority: \"https://other.test\"}",
                                            "managed_identity: {}",
                                            "managed_identity: {client_id: other}",
                                            "managed_identity: {object_id: other}",
                                            "client_secret: {tenant: t, client_id: c, secret: {env: POSTERN_TEST_A}}",
                                            "client_secret: {tenant: t, client_id: c, secret: {env: POSTERN_TEST_B}}",
                                            "api_key: {env: POSTERN_TEST_A}",
                                            "api_key: {env: POSTERN_TEST_B}",
                                            "service_account_token: /a",
                                            "service_account_token: /b"};
    struct made made[ARRAY_LEN(different)];
    set_webhook();
    setenv("POSTERN_TEST_A", "a", 1);
    setenv("POSTERN_TEST_B", "b", 1);
    for (size_t i = 0; i < ARRAY_LEN(different); i++)
        make(&made[i], different[i], 0);
    for (size_t i = 0; i < ARRAY_LEN(different); i++)
        for (size_t k = 0; k < ARRAY_LEN(different); k++)
            assert_int_equal(span_equal(made[i].identity.key, made[k].identity.key), i == k);
    for (size_t i = 0; i < ARRAY_LEN(different); i++)
        unmake(&made[i]);
}

int main(void)
{
    (void)snprintf(token_file, sizeof(token_file), "/tmp/postern-identity-%d", (int)getpid());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_webhook, set_up),       cmocka_unit_test_setup(test_settings_win, set_up),
        cmocka_unit_test_setup(test_bindings, set_up),      cmocka_unit_test_setup(test_wrong_environment, set_up),
        cmocka_unit_test_setup(test_offline, set_up),       cmocka_unit_test_setup(test_proxy, set_up),
        cmocka_unit_test_setup(test_client_secret, set_up), cmocka_unit_test_setup(test_managed_identity, set_up),
        cmocka_unit_test_setup(test_unreadable, set_up),    cmocka_unit_test_setup(test_keys, set_up),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)unlink(token_file);
    return failed;
}
