/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the configuration's tests share: a registry with two filter types, and loading a text into a printed report.
 */
#ifndef POSTERN_TESTS_UNIT_CONFIG_SUPPORT_H
#define POSTERN_TESTS_UNIT_CONFIG_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "config/config.h"

#define HEAD "apiVersion: postern/v1\nlisteners: [{address: \"127.0.0.1:1\"}]\n"
#define REST "targets: [{name: m, mock: {}}]\nmodels: [{name: \"*\", targets: [m]}]\n"

struct edit_settings {
    struct settings settings;
    struct setting_pairs set;
    uint64_t delay;
};

static const struct setting edit_table[] = {
    {.name = "set",
     .type = SETTING_PAIRS,
     .flags = SETTING_FIELD_NAME,
     .offset = offsetof(struct edit_settings, set),
     .help = "Fields to set."},
    {.name = "delay",
     .type = SETTING_DURATION,
     .offset = offsetof(struct edit_settings, delay),
     .fallback = "0s",
     .help = "How long to wait."},
};
static const struct settings_spec edit_spec =
    SETTINGS_SPEC("edit filter", struct edit_settings, edit_table, "Edits fields.");

struct gate_settings {
    struct settings settings;
    struct setting_secret key;
};

static const struct setting gate_table[] = {
    {.name = "key", .type = SETTING_SECRET, .offset = offsetof(struct gate_settings, key), .help = "The key."},
};
static const struct settings_spec gate_spec =
    SETTINGS_SPEC("gate filter", struct gate_settings, gate_table, "Lets in who has the key.");

static const struct settings_registry_entry registry_entries[] = {
    {.name = "edit", .spec = &edit_spec},
    {.name = "gate", .spec = &gate_spec, .flags = SETTINGS_AUTHENTICATES},
};
static const struct settings_registry registry = {.count = ARRAY_LEN(registry_entries), .entries = registry_entries};

/* The report as text, NUL-terminated; free with buffer_finish. */
static inline const char *printed(const struct report *report, struct buffer *text)
{
    report_print(report, text);
    buffer_append(text, span_of("", 1));
    return buffer_span(text).ptr;
}

/* A text that must load; its warnings are ignored. Free with config_free. */
static inline struct config *load(const char *text, unsigned flags)
{
    struct report report;
    struct buffer lines = {0};
    struct config *config = NULL;
    report_init(&report);
    bool good = config_load_text(SPAN("c.yaml"), span_str(text), &registry, flags, &report, &config);
    if (!good)
        print_error("%s", printed(&report, &lines));
    assert_true(good);
    buffer_finish(&lines);
    report_finish(&report);
    return config;
}

/* One text and everything that is said about it. */
struct message_case {
    const char *text;
    size_t len;
    unsigned flags;
    const char *expected;
};

static inline void say(const struct message_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct report report;
        struct buffer lines = {0};
        struct config *config = NULL;
        report_init(&report);
        bool good = config_load_text(SPAN("c.yaml"), span_of(cases[i].text, cases[i].len), &registry, cases[i].flags,
                                     &report, &config);
        const char *said = printed(&report, &lines);
        if (strcmp(said, cases[i].expected) != 0)
            print_error("case %zu:\n%s", i, cases[i].text);
        assert_string_equal(said, cases[i].expected);
        assert_int_equal(good, report.errors == 0);
        if (good)
            config_free(config);
        buffer_finish(&lines);
        report_finish(&report);
    }
}

#endif
