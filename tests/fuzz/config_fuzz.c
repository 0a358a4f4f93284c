/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config: any text either loads or is refused with a reason; what loads does not differ from itself. The same bytes as
 * the path of a setting are explained or refused.
 */
#include <stdlib.h>

#include "config/config.h"
#include "config/explain.h"

struct seen_settings {
    struct settings settings;
    struct setting_pairs set;
    struct setting_secret key;
    struct setting_pairs any;
    double number;
};
static const struct setting seen_table[] = {
    {.name = "set",
     .type = SETTING_PAIRS,
     .flags = SETTING_FIELD_NAME,
     .offset = offsetof(struct seen_settings, set),
     .help = "."},
    {.name = "key", .type = SETTING_SECRET, .offset = offsetof(struct seen_settings, key), .help = "."},
    {.name = "any", .type = SETTING_JSONS, .offset = offsetof(struct seen_settings, any), .help = "."},
    {.name = "number", .type = SETTING_DECIMAL, .offset = offsetof(struct seen_settings, number), .help = "."},
};
static const struct settings_spec seen_spec = SETTINGS_SPEC("edit", struct seen_settings, seen_table, ".");
static const struct settings_registry_entry entries[] = {
    {.name = "edit", .spec = &seen_spec, .flags = SETTINGS_AUTHENTICATES}};
static const struct settings_registry registry = {.count = 1, .entries = entries};

static void expect(bool truth)
{
    if (!truth)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span text = span_of((const char *)data, size);
    struct report report;
    struct buffer out = {0};
    struct config *config = NULL;
    report_init(&report);
    bool good = config_load_text(SPAN("f.yaml"), text, &registry, CONFIG_OFFLINE, &report, &config);
    expect(good == (report.errors == 0));
    report_print(&report, &out);
    expect((report.errors + report.warnings == 0) == (buffer_len(&out) == 0));
    if (good) {
        expect(config->listener_count > 0 && config->workers > 0);
        for (size_t i = 0; i < config->target_count; i++)
            expect(!config->targets[i].azure + !config->targets[i].openai + !config->targets[i].mock == 2);
        expect(config_compare(config, config, &report) == 0);
        config_free(config);
    }
    report_finish(&report);
    buffer_consume(&out, buffer_len(&out));
    bool known = config_explain(&out, &registry, span_take(text, 200));
    expect(buffer_len(&out) > 0 && (known || out.ptr[out.end - 1] == '\n'));
    buffer_finish(&out);
    return 0;
}
