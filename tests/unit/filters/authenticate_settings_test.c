/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is said about settings of authenticate and authorize that cannot work.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/hash.h"
#include "config/config.h"
#include "filters/registry.h"
#include "gateway/snapshot.h"

#define REST "targets: [{name: m, mock: {}}]\nmodels: [{name: \"*\", targets: [m]}]\n"

/* What loading says; empty when all is well. Offline: no file is looked at. */
static void load(const char *address, const char *order, const char *filters, struct buffer *said)
{
    static struct settings_registry_entry all[16];
    struct settings_registry registry = {.entries = all};
    struct report report;
    struct config *config = NULL;
    struct buffer text = {0};
    for (size_t i = 0; i < filter_registry.count; i++)
        all[registry.count++] = (struct settings_registry_entry){
            .name = filter_registry.types[i]->name,
            .spec = filter_registry.types[i]->settings,
            .flags = filter_registry.types[i]->authenticates ? SETTINGS_AUTHENTICATES : 0};
    buffer_format(&text, "apiVersion: postern/v1\nlisteners: [{address: \"%s\", filters: [%s]}]\nfilters: {%s}\n" REST,
                  address, order, filters);
    report_init(&report);
    struct snapshot *snapshot = NULL;
    if (config_load_text(SPAN("c"), buffer_span(&text), &registry, CONFIG_OFFLINE, &report, &config))
        snapshot = snapshot_create(config, &filter_registry, true, &report);
    report_print(&report, said);
    buffer_append(said, span_of("", 1));
    snapshot_unref(snapshot);
    report_finish(&report);
    buffer_finish(&text);
}

#define METHODS(text) "authenticate: {methods: [" text "]}"
#define JWT           "issuer: \"https://i.example/v2.0\", audience: [us]"

static void says_what_cannot_work(void **state)
{
    (void)state;
    static const struct {
        const char *address, *order, *filters, *said; /* a part of it; "": nothing */
    } cases[] = {
        {"10.0.0.1:1", "authenticate", METHODS("{api_keys: keys.yaml}"), ""},
        {"10.0.0.1:1", "authenticate", METHODS("{api_keys: {file: k, pepper: {env: P}, headers: [X-Key]}}"), ""},
        {"10.0.0.1:1", "authenticate", METHODS("{jwt: {" JWT ", consumer_claim: azp, groups_claim: roles}}"), ""},
        {"10.0.0.1:1", "authenticate",
         METHODS("{jwt: {" JWT ", algorithms: [RS256, EdDSA], attributes: {tenant: tid}}}"), ""},
        {"10.0.0.1:1", "authenticate", METHODS("{client_certificate: {consumer: san_uri}}"), ""},
        {"127.0.0.1:1", "authenticate", METHODS("{peer: {consumer: {env: POD_SERVICE_ACCOUNT}}}"), ""},
        {"unix:/run/p.sock", "authenticate", METHODS("{peer: {name: search}}"), ""},
        {"10.0.0.1:1", "\"authenticate\", \"authorize\"", METHODS("{api_keys: k}") ", authorize: {rules: [{}]}", ""},
        /* the own pod only */
        {"10.0.0.1:1", "authenticate", METHODS("{api_keys: k}, {peer: {name: x}}"), "others can reach 10.0.0.1:1"},
        {"0.0.0.0:1", "authenticate", METHODS("{peer: {name: x}}"), "takes whoever connects for its own pod"},
        /* forms */
        {"127.0.0.1:1", "authenticate", "authenticate: {}", "\"methods\""},
        {"127.0.0.1:1", "authenticate", METHODS(""), "\"methods\" is empty"},
        {"127.0.0.1:1", "authenticate", METHODS("{}"), "api_keys"},
        {"127.0.0.1:1", "authenticate", METHODS("{api_keys: k, jwt: {" JWT "}}"), "jwt"},
        {"127.0.0.1:1", "authenticate", METHODS("{api_key: k}"), "did you mean \"api_keys\""},
        {"127.0.0.1:1", "authenticate", METHODS("{jwt: {audience: [us]}}"), "\"issuer\""},
        {"127.0.0.1:1", "authenticate", METHODS("{jwt: {issuer: \"https://i.example\"}}"), "\"audience\""},
        {"127.0.0.1:1", "authenticate", METHODS("{jwt: {issuer: joe, audience: [us]}}"),
         "is not a URL at which keys could be found"},
        {"127.0.0.1:1", "authenticate", METHODS("{jwt: {issuer: joe, audience: [us], jwks_file: j}}"), ""},
        {"127.0.0.1:1", "authenticate", METHODS("{jwt: {" JWT ", jwks_file: j, jwks_url: \"https://x\"}}"),
         "exclude each other"},
        {"127.0.0.1:1", "authenticate", METHODS("{jwt: {" JWT ", jwks_file: j, token_file: t}}"), "nothing is fetched"},
        {"127.0.0.1:1", "authenticate", METHODS("{jwt: {" JWT ", jwks_url: \"ftp://x\"}}"), "must begin with http"},
        {"127.0.0.1:1", "authenticate", METHODS("{jwt: {" JWT ", algorithms: [none]}}"),
         "\"algorithms\" cannot hold \"none\""},
        {"127.0.0.1:1", "authenticate", METHODS("{jwt: {" JWT ", algorithms: [HS256]}}"),
         "\"algorithms\" cannot hold \"HS256\""},
        {"127.0.0.1:1", "authenticate", METHODS("{jwt: {" JWT ", skew: 1h}}"), "\"skew\""},
        {"127.0.0.1:1", "authenticate", METHODS("{peer: {}}"), "consumer"},
        {"127.0.0.1:1", "authenticate", METHODS("{peer: {name: a, consumer: {env: B}}}"), "consumer"},
        /* permissions */
        {"127.0.0.1:1", "authorize", "authorize: {rules: [{}]}", "needs to know the caller"},
        {"127.0.0.1:1", "\"authorize\", \"authenticate\"", METHODS("{api_keys: k}") ", authorize: {rules: [{}]}",
         "needs to know"},
        /* who is counted */
        {"127.0.0.1:1", "rate_limit",
         "rate_limit: {limits: [{name: a, per: [model], requests: 1/second}, {name: b, per: [model, consumer], "
         "requests: 1/second}]}",
         "warning: filter \"rate_limit\" counts by who calls"},
        {"127.0.0.1:1", "\"rate_limit\", \"authenticate\"",
         METHODS("{api_keys: k}") ", rate_limit: {limits: [{name: a, per: [\"attribute:x\"], requests: 1/second}]}",
         "warning: filter \"rate_limit\" counts by who calls"},
        {"127.0.0.1:1", "\"authenticate\", \"rate_limit\"",
         METHODS("{peer: {name: me}}") ", rate_limit: {limits: [{name: a, per: [consumer], requests: 1/second}]}", ""},
        {"127.0.0.1:1", "rate_limit", "rate_limit: {limits: [{name: a, per: [client_address], requests: 1/second}]}",
         ""},
        {"127.0.0.1:1", "\"authenticate\", \"authorize\"", METHODS("{api_keys: k}") ", authorize: {rules: []}",
         "\"rules\" is empty"},
        {"127.0.0.1:1", "\"authenticate\", \"authorize\", \"cache\"",
         METHODS("{api_keys: k}") ", authorize: {rules: [{}]}, cache: {rules: [{}]}", ""},
        {"127.0.0.1:1", "\"authenticate\", \"cache\", \"authorize\"",
         METHODS("{api_keys: k}") ", authorize: {rules: [{}]}, cache: {rules: [{}]}", "stands behind a cache"},
        {"127.0.0.1:1", "\"cache\", \"authenticate\"", METHODS("{api_keys: k}") ", cache: {rules: [{}]}",
         "stands behind a cache"},
        {"127.0.0.1:1", "\"authenticate\", \"authorize\"",
         METHODS("{api_keys: k}") ", authorize: {rules: [{operations: [chats]}]}", "there is no operation \"chats\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buffer said = {0};
        load(cases[i].address, cases[i].order, cases[i].filters, &said);
        const char *text = buffer_span(&said).ptr;
        if (cases[i].said[0] ? !strstr(text, cases[i].said) : text[0] != '\0')
            fail_msg("%s: %s", cases[i].filters, text);
        buffer_finish(&said);
    }
}

static int setup(void **state)
{
    (void)state;
    hash_start();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(says_what_cannot_work)};
    return cmocka_run_group_tests(tests, setup, NULL);
}
