/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a configuration that loads holds: defaults, every value, secrets, and what a reload can change.
 */
#include "unit/config/config_support.h"

#include <stdlib.h>

#include "base/clock.h"

static void assert_span(struct span got, const char *expected)
{
    if (!span_equal(got, span_str(expected)))
        print_error("got \"%.*s\", expected \"%s\"\n", SPAN_ARG(got), expected);
    assert_true(span_equal(got, span_str(expected)));
}

static void defaults_hold(void **state)
{
    (void)state;
    struct config *c = load(HEAD "targets: [{name: m, openai: \"https://h/v1\"}, {name: z, mock: {}}]\n"
                                 "models: [{name: a, targets: [m, z]}]\n",
                            0);
    assert_int_equal(c->listener_count, 1);
    assert_span(c->listeners[0].name, "127.0.0.1:1");
    assert_true(c->listeners[0].http2 && c->listeners[0].cancel_on_half_close && c->listeners[0].address.local);
    assert_false(c->listeners[0].anonymous || c->listeners[0].proxy_protocol);
    assert_null(c->listeners[0].tls);
    assert_int_equal(c->listeners[0].mode, 0660);
    assert_int_equal(c->admin.address.text.len, 0);
    assert_int_equal(c->limits.header_bytes, 64 * 1024);
    assert_int_equal(c->limits.header_count, 200);
    assert_int_equal(c->limits.body, 32 * 1024 * 1024);
    assert_int_equal(c->limits.held, 256 * 1024 * 1024);
    assert_int_equal(c->limits.http2.streams, 100);
    assert_true(c->limits.http2.resets.given);
    assert_int_equal(c->limits.http2.resets.micros, CLOCK_SECOND);
    assert_int_equal(c->timeouts.header, 10 * CLOCK_SECOND);
    assert_int_equal(c->timeouts.keepalive, 60 * CLOCK_SECOND);
    assert_int_equal(c->attempts.max, 3);
    assert_int_equal(c->drain.delay, 5 * CLOCK_SECOND);
    assert_int_equal(c->log.level, LOG_INFO);
    assert_int_equal(c->log.access_kind, ACCESS_LOG_STDOUT);
    assert_int_equal(c->egress.kind, EGRESS_ENVIRONMENT);
    assert_int_equal(c->workers, 1);
    const struct config_target *m = config_target(c, SPAN("m"));
    assert_int_equal(m->timeouts.first_byte, 600 * CLOCK_SECOND);
    assert_int_equal(m->timeouts.pool_idle, 3 * CLOCK_SECOND);
    assert_int_equal(m->timeouts.total, 0);
    assert_int_equal(m->http_version, HTTP_VERSION_AUTO);
    assert_int_equal(c->models[0].targets[0].priority, 1);
    assert_int_equal(c->models[0].targets[0].weight, 1);
    assert_int_equal(c->models[0].targets[1].target_index, 1);
    assert_int_equal(c->targets[1].mock->fault.cut_after, SETTING_ABSENT_INTEGER);
    assert_false(c->targets[1].mock->tokens.given);
    assert_null(config_target(c, SPAN("none")));
    assert_null(config_target_url(&c->targets[1]));
    config_free(c);
    config_free(NULL);
}

static const char example[] = "apiVersion: postern/v1\n"
                              "listeners:\n"
                              "  - address: 127.0.0.1:4610\n"
                              "    filters: [edit]\n"
                              "admin: {address: 0.0.0.0:4611, control: \"unix:/run/postern/control.sock\"}\n"
                              "filters:\n"
                              "  edit: {set: {X-Team: search}}\n"
                              "targets:\n"
                              "  - name: east\n"
                              "    azure: {endpoint: \"https://contoso-east.openai.azure.com\", api: v1}\n"
                              "    credential: {api_key: {file: /var/run/secrets/aoai/key}}\n"
                              "  - name: phi\n"
                              "    openai: {url: \"http://workspace-phi-4-mini.default.svc/v1\"}\n"
                              "models:\n"
                              "  - name: gpt-4o\n"
                              "    targets: [{target: east, deployment: gpt-4o-ptu, priority: 1}, {target: east, "
                              "deployment: gpt-4o, priority: 2}]\n"
                              "  - name: phi-4-mini-instruct\n"
                              "    targets: [{target: phi}]\n"
                              "  - name: \"*\"\n"
                              "    targets: [{target: east}]\n";

static void the_example_loads_offline(void **state)
{
    (void)state;
    struct config *c = load(example, CONFIG_OFFLINE | CONFIG_CHECK);
    const struct config_target *east = config_target(c, SPAN("east"));
    assert_span(east->azure->endpoint.host, "contoso-east.openai.azure.com");
    assert_int_equal(east->azure->endpoint.port, 443);
    assert_int_equal(east->azure->api_kind, AZURE_API_V1);
    assert_span(east->credential->api_key.file, "/var/run/secrets/aoai/key");
    assert_int_equal(east->credential->api_key.value.len, 0);
    assert_int_equal(east->timeouts.pool_idle, 60 * CLOCK_SECOND);
    const struct setting_url *phi = config_target_url(config_target(c, SPAN("phi")));
    assert_span(phi->path, "/v1");
    assert_int_equal(phi->port, 80);
    assert_false(phi->secure || phi->loopback);
    assert_int_equal(c->model_count, 3);
    assert_span(c->models[0].targets[0].deployment, "gpt-4o-ptu");
    assert_int_equal(c->models[0].targets[1].priority, 2);
    assert_int_equal(c->models[1].targets[0].target_index, 1);
    assert_span(c->admin.control.path, "/run/postern/control.sock");
    assert_false(c->admin.address.local);
    const struct settings_variant *filter = config_filter(c, SPAN("edit"));
    assert_string_equal(filter->entry->name, "edit");
    const struct edit_settings *edit = filter->value;
    assert_span(edit->set.items[0].name, "x-team");
    assert_span(edit->set.items[0].value, "search");
    assert_int_equal(edit->delay, 0);
    struct place place = settings_place(&edit->settings, "set");
    assert_int_equal(place.line, 7);
    assert_int_equal(place.column, 15);
    config_free(c);
}

static void values_are_read(void **state)
{
    (void)state;
    struct config *c =
        load("apiVersion: postern/v1.0\n"
             "listeners:\n"
             "  - {name: out, address: \"[::]:8443\", anonymous: true, proxy_protocol: true, trusted_peers: "
             "[10.0.0.0/8, \"fd00::/8\", 192.0.2.1]}\n"
             "  - {address: \"unix:/tmp/p.sock\", mode: 0666, http2: false, cancel_on_half_close: false}\n"
             "targets:\n"
             "  - name: dated\n"
             "    azure: {endpoint: \"https://APIM.example/base/\", api: 2024-10-21}\n"
             "    credential: {api_key: {env: POSTERN_TEST_KEY}}\n"
             "    http_version: 1.1\n"
             "    timeouts: {connect: 250ms, total: 1h, first_byte: 1m30s, pool_idle: 0s}\n"
             "    parameters:\n"
             "      rename: {max_tokens: max_completion_tokens}\n"
             "      set: {temperature: 1, stop: [\"a\\\"b\", null, true, -1.5e3], extra: {k: text, n: \"1\"}}\n"
             "      drop: [logit_bias]\n"
             "    headers: {set: {X-Region: east}, remove: [X-Internal]}\n"
             "    proxy: none\n"
             "  - name: test\n"
             "    mock: {latency: 300ms, tokens: 10000/minute, fault: {status: 429, every: 10, cut_after: 0}}\n"
             "models:\n"
             "  - {name: a, targets: [dated, {target: test, weight: 0}], stateful_target: dated}\n"
             "passthrough: [{path: /, target: test}]\n"
             "limits: {body: 1MiB, held: 1GiB, http2: {resets: 600/minute}}\n"
             "log: {level: debug, format: json, access: off}\n"
             "egress: {proxy: url, url: \"http://proxy:3128\", no_proxy: [.svc]}\n"
             "workers: 4\n",
             0);
    assert_span(c->listeners[0].name, "out");
    assert_int_equal(c->listeners[0].trusted_peers.count, 3);
    assert_int_equal(c->listeners[0].trusted_peers.items[2].bits, 32);
    assert_true(c->listeners[0].trusted_peers.items[1].ip6);
    assert_int_equal(c->listeners[0].address.port, 8443);
    assert_int_equal(c->listeners[0].address.socket.ss_family, AF_INET6);
    assert_int_equal(c->listeners[1].mode, 0666);
    assert_int_equal(c->listeners[1].address.socket.ss_family, AF_UNIX);
    assert_false(c->listeners[1].http2 || c->listeners[1].cancel_on_half_close);
    const struct config_target *t = &c->targets[0];
    assert_span(t->azure->endpoint.host, "apim.example");
    assert_span(t->azure->endpoint.path, "/base");
    assert_int_equal(t->azure->api_kind, AZURE_API_DATED);
    assert_span(t->credential->api_key.value, "k");
    assert_int_equal(t->http_version, HTTP_VERSION_1_1);
    assert_int_equal(t->timeouts.connect, 250 * CLOCK_MS);
    assert_int_equal(t->timeouts.first_byte, 90 * CLOCK_SECOND);
    assert_int_equal(t->timeouts.pool_idle, 0);
    assert_span(t->parameters.rename.items[0].value, "max_completion_tokens");
    assert_span(t->parameters.set.items[0].value, "1");
    assert_span(t->parameters.set.items[1].value, "[\"a\\\"b\",null,true,-1.5e3]");
    assert_span(t->parameters.set.items[2].value, "{\"k\":\"text\",\"n\":\"1\"}");
    assert_span(t->parameters.drop.items[0], "logit_bias");
    assert_span(t->headers.set.items[0].name, "x-region");
    assert_span(t->headers.remove.items[0], "x-internal");
    assert_int_equal(t->proxy, TARGET_PROXY_NONE);
    const struct config_mock *mock = c->targets[1].mock;
    assert_int_equal(mock->latency, 300 * CLOCK_MS);
    assert_true(mock->tokens.amount > 9999 && mock->tokens.period == PERIOD_MINUTE);
    assert_int_equal(mock->fault.status, 429);
    assert_int_equal(mock->fault.cut_after, 0);
    assert_int_equal(c->passthrough[0].target_index, 1);
    assert_int_equal(c->limits.http2.resets.micros, 60 * CLOCK_SECOND);
    assert_int_equal(c->log.access_kind, ACCESS_LOG_OFF);
    assert_int_equal(c->log.format, LOG_JSON);
    assert_span(c->egress.proxy.authority, "proxy:3128");
    assert_int_equal(c->workers, 4);
    assert_true(settings_given(&c->settings, "workers"));
    assert_false(settings_given(&c->settings, "dns"));
    config_free(c);
}

static void no_workers_means_one_per_core(void **state)
{
    (void)state;
    struct config *c = load(HEAD REST "workers: 0\n", 0);
    assert_true(c->workers >= 1);
    config_free(c);
}

/* A tool that rewrote the file as YAML 1.1 turned the word off into false. */
static void false_is_off(void **state)
{
    (void)state;
    struct config *c = load(HEAD REST "log: {access: false}\n", 0);
    assert_int_equal(c->log.access_kind, ACCESS_LOG_OFF);
    config_free(c);
}

static void offline_touches_nothing(void **state)
{
    (void)state;
    struct config *c = load(
        "apiVersion: postern/v1\n"
        "listeners: [{address: \"127.0.0.1:1\", tls: {certificate: /nonexistent/a, key: /nonexistent/b}}]\n"
        "targets: [{name: m, azure: {endpoint: \"https://h\"}, credential: {api_key: {env: POSTERN_TEST_UNSET}}}]\n"
        "models: [{name: a, targets: [m]}]\n",
        CONFIG_OFFLINE);
    assert_span(c->targets[0].credential->api_key.env, "POSTERN_TEST_UNSET");
    config_free(c);
}

/* Reloads */

static size_t changes(const char *before, const char *after, const char *expected)
{
    struct config *a = load(before, 0), *b = load(after, 0);
    struct report report;
    struct buffer lines = {0};
    report_init(&report);
    size_t count = config_compare(a, b, &report);
    assert_string_equal(printed(&report, &lines), expected);
    assert_int_equal(report.errors, 0);
    buffer_finish(&lines);
    report_finish(&report);
    config_free(a);
    config_free(b);
    return count;
}

static void reload_names_what_it_cannot_change(void **state)
{
    (void)state;
    assert_int_equal(changes(HEAD REST, HEAD REST "workers: 1\nlog: {level: debug}\n", ""), 0);
    assert_int_equal(
        changes(HEAD REST, HEAD REST "workers: 2\n",
                "c.yaml:5:10: warning: \"workers\" of configuration cannot be changed by a reload; the old "
                "value stays until a restart\n"),
        1);
    /* Listeners come, go and move without one. */
    assert_int_equal(changes(HEAD REST,
                             "apiVersion: postern/v1\nlisteners: [{address: \"127.0.0.1:2\"}, {address: "
                             "\"127.0.0.1:3\"}]\n" REST "admin: {address: \"127.0.0.1:9\"}\n",
                             ""),
                     0);
}

int main(void)
{
    setenv("POSTERN_TEST_KEY", " k\n", 1);
    unsetenv("POSTERN_TEST_UNSET");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_hold),
        cmocka_unit_test(the_example_loads_offline),
        cmocka_unit_test(values_are_read),
        cmocka_unit_test(no_workers_means_one_per_core),
        cmocka_unit_test(false_is_off),
        cmocka_unit_test(offline_touches_nothing),
        cmocka_unit_test(reload_names_what_it_cannot_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
