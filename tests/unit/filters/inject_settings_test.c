/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filters/inject: quantities, the rules of namespaces, and profiles with other ports.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/inject_world.h"

static void quantities(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t thousandths; /* 0: refused */
    } cases[] = {
        {"1", 1000},
        {"10m", 10},
        {"0.25", 250},
        {"1.5", 1500},
        {"2k", 2000 * 1000},
        {"64Mi", UINT64_C(1000) * 64 * 1024 * 1024},
        {"0", 0},
        {"0m", 0},
        {"0.5m", 0},
        {"", 0},
        {"m", 0},
        {".5", 0},
        {"1.", 0},
        {"1.2345", 0},
        {"1 Mi", 0},
        {"-1", 0},
        {"+1", 0},
        {"1e3", 0},
        {"1mi", 0},
        {"1MI", 0},
        {"1Mim", 0},
        {"1.2.3", 0},
        {"9999999999999", 0},
        {"999999999999Gi", 0},
        {"99999999999999999999999", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t number = 0, expected = cases[i].thousandths;
        bool good = inject_quantity(span_str(cases[i].text), &number);
        if (good != (expected != 0) || number != expected)
            fail_msg("%s: %llu", cases[i].text, (unsigned long long)number);
    }
}

static void rules(void **state)
{
    (void)state;
    static const struct {
        const char *space;
        uint64_t annotations;
    } cases[] = {
        {"team-a", 1 << INJECT_PROFILE | 1 << INJECT_PORT},
        {"team-", 1 << INJECT_PROFILE | 1 << INJECT_PORT},
        {"team", 0},
        {"labs", (1 << INJECT_ANNOTATIONS) - 1},
        {"shop", ((1 << INJECT_ANNOTATIONS) - 1) & ~(1 << INJECT_IMAGE)},
        {"quiet", 0},
        {"", 0},
    };
    struct inject_world world;
    inject_world_start(&world, INJECT_CONFIG("    namespaces:\n"
                                             "      - {name: \"team-*\", annotations: [port, profile]}\n"
                                             "      - {name: labs, images: [\"*\"]}\n"
                                             "      - {name: shop}\n"
                                             "      - {name: quiet, annotations: []}\n"));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(inject_rule(world.injector.settings, span_str(cases[i].space))->annotations,
                         cases[i].annotations);
    inject_world_finish(&world);
    inject_world_start(&world, INJECT_CONFIG(""));
    assert_int_equal(inject_rule(world.injector.settings, SPAN("any"))->annotations,
                     ((1 << INJECT_ANNOTATIONS) - 1) & ~(1 << INJECT_IMAGE));
    inject_world_finish(&world);
}

/* ---- profiles ---- */

#define MODELS "targets: [{name: m, mock: {}}]\nmodels: [{name: \"*\", targets: [m]}]\n"

static bool read(const char *text, struct inject_profile_settings *settings, struct inject_profile *profile)
{
    struct report report;
    report_init(&report);
    *settings = (struct inject_profile_settings){.name = SPAN("p"), .config = span_str(text)};
    bool good = inject_profile_read(settings, true, &report, profile);
    assert_true(good == (report.errors == 0));
    report_finish(&report);
    return good;
}

static void other_ports(void **state)
{
    (void)state;
    static const struct {
        const char *text, *becomes; /* with 5000 and 5001 */
    } cases[] = {
        {"apiVersion: postern/v1\nlisteners: [{address: \"127.0.0.1:4610\"}]\nadmin: {address: "
         "\"0.0.0.0:4611\"}\n" MODELS,
         "apiVersion: postern/v1\nlisteners: [{address: \"127.0.0.1:5000\"}]\nadmin: {address: "
         "\"0.0.0.0:5001\"}\n" MODELS},
        {"apiVersion: postern/v1\nadmin: {address: '[::]:4611'}\nlisteners:\n- address: 127.0.0.1:80\n  name: "
         "a\n" MODELS,
         "apiVersion: postern/v1\nadmin: {address: '[::]:5001'}\nlisteners:\n- address: 127.0.0.1:5000\n  name: "
         "a\n" MODELS},
        /* Both on one line, one port the beginning of the other, and characters of more than one byte before. */
        {"{apiVersion: postern/v1, admin: {address: \"0.0.0.0:46101\"}, listeners: [{name: größe, address: "
         "\"127.0.0.1:4610\"}, {address: \"127.0.0.1:46109\"}],\n targets: [{name: m, mock: {}}],\n"
         " models: [{name: \"*\", targets: [m]}]}\n",
         "{apiVersion: postern/v1, admin: {address: \"0.0.0.0:5001\"}, listeners: [{name: größe, address: "
         "\"127.0.0.1:5000\"}, {address: \"127.0.0.1:46109\"}],\n targets: [{name: m, mock: {}}],\n"
         " models: [{name: \"*\", targets: [m]}]}\n"},
        /* The same text in a comment before. */
        {"# 127.0.0.1:4610 and 0.0.0.0:4611\napiVersion: postern/v1\nlisteners:\n  - filters: []\n"
         "    address: 127.0.0.1:4610 # 127.0.0.1:4610\nadmin:\n  address: 0.0.0.0:4611\n" MODELS,
         "# 127.0.0.1:4610 and 0.0.0.0:4611\napiVersion: postern/v1\nlisteners:\n  - filters: []\n"
         "    address: 127.0.0.1:5000 # 127.0.0.1:4610\nadmin:\n  address: 0.0.0.0:5001\n" MODELS},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct inject_profile_settings settings;
        struct inject_profile profile;
        struct arena arena;
        arena_init(&arena);
        if (!read(cases[i].text, &settings, &profile))
            fail_msg("refused: %s", cases[i].text);
        struct span text = inject_profile_text(&profile, 5000, 5001, &arena);
        assert_string_equal(text.ptr, cases[i].becomes);
        struct span same = inject_profile_text(&profile, profile.port, profile.admin_port, &arena);
        assert_string_equal(same.ptr, cases[i].text);
        arena_finish(&arena);
    }
}

#define SIDECAR "apiVersion: postern/v1\nlisteners: [{address: \"127.0.0.1:1\"}]\nadmin: {address: \"0.0.0.0:2\"}\n"

static void needs(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool workload_identity, control;
    } cases[] = {
        {SIDECAR MODELS, false, false},
        {SIDECAR
         "credentials: [{name: e, workload_identity: {}}]\ntargets: [{name: a, azure: {endpoint: \"https://a\"}, "
         "credential: e}]\nmodels: [{name: x, targets: [a]}]\n",
         true, false},
        {SIDECAR "targets: [{name: a, azure: {endpoint: \"https://a\"}, credential: {workload_identity: {}}}]\n"
                 "models: [{name: x, targets: [a]}]\n",
         true, false},
        {SIDECAR "targets: [{name: a, azure: {endpoint: \"https://a\"}, credential: {workload_identity: {token_file: "
                 "/x, tenant: t, client_id: c}}}]\nmodels: [{name: x, targets: [a]}]\n",
         false, false},
        {"apiVersion: postern/v1\nlisteners: [{address: \"127.0.0.1:1\"}]\n"
         "admin: {address: \"0.0.0.0:2\", control: \"unix:/run/postern/control.sock\"}\n" MODELS,
         false, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct inject_profile_settings settings;
        struct inject_profile profile;
        if (!read(cases[i].text, &settings, &profile))
            fail_msg("refused: %s", cases[i].text);
        assert_int_equal(profile.workload_identity, cases[i].workload_identity);
        assert_int_equal(profile.control, cases[i].control);
    }
}

static void refused(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        "apiVersion: postern/v1\nlisteners: [{address: \"127.0.0.1:1\"}]\n" MODELS,
        "apiVersion: postern/v1\nlisteners: [{address: \"127.0.0.2:1\"}]\nadmin: {address: \"0.0.0.0:2\"}\n" MODELS,
        "apiVersion: postern/v1\nlisteners: [{address: \"[::1]:1\"}]\nadmin: {address: \"0.0.0.0:2\"}\n" MODELS,
        "apiVersion: postern/v1\nlisteners: [{address: \"127.0.0.1:0\"}]\nadmin: {address: \"0.0.0.0:2\"}\n" MODELS,
        "apiVersion: postern/v1\nlisteners: [{address: \"127.0.0.1:1\"}]\nadmin: {address: \"0.0.0.0:0\"}\n" MODELS,
        "apiVersion: postern/v1\nlisteners: [{address: \"127.0.0.1:1\", tls: {certificate: a, key: b}}]\n"
        "admin: {address: \"0.0.0.0:2\"}\n" MODELS,
        "apiVersion: postern/v1\nlisteners:\n- address: |-\n    127.0.0.1:1\nadmin: {address: \"0.0.0.0:2\"}\n" MODELS,
        SIDECAR "later: 1\n" MODELS,
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct inject_profile_settings settings;
        struct inject_profile profile;
        if (read(cases[i], &settings, &profile))
            fail_msg("taken: %s", cases[i]);
    }
}

int main(void)
{
    hash_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantities), cmocka_unit_test(rules),   cmocka_unit_test(other_ports),
        cmocka_unit_test(needs),      cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
