/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "command/command.h"
#include "filters/registry.h"

#define TYPES_MAX 32

const struct settings_registry *command_settings(void)
{
    static struct settings_registry_entry entries[TYPES_MAX];
    static struct settings_registry registry = {.entries = entries};
    if (registry.count)
        return &registry;
    for (size_t i = 0; i < filter_registry.count && i < TYPES_MAX; i++) {
        const struct filter_type *type = filter_registry.types[i];
        entries[i] = (struct settings_registry_entry){
            .name = type->name, .spec = type->settings, .flags = type->authenticates ? SETTINGS_AUTHENTICATES : 0};
        registry.count++;
    }
    return &registry;
}

static void print_report(const struct report *report)
{
    struct buffer text = {0};
    report_print(report, &text);
    (void)fwrite(text.ptr + text.start, 1, buffer_len(&text), stderr);
    buffer_finish(&text);
}

static struct snapshot *finish(bool loaded, struct config *config, unsigned flags, struct report *report)
{
    struct snapshot *snapshot = NULL;
    if (loaded)
        snapshot = snapshot_create(config, &filter_registry, flags & CONFIG_OFFLINE, report);
    if (report->first)
        print_report(report);
    report_finish(report);
    return snapshot;
}

struct snapshot *command_load(const char *path, unsigned flags)
{
    struct report report;
    struct config *config = NULL;
    report_init(&report);
    bool loaded = config_load(path, command_settings(), flags, &report, &config);
    return finish(loaded, config, flags, &report);
}

struct snapshot *command_load_text(const char *name, struct span text)
{
    struct report report;
    struct config *config = NULL;
    report_init(&report);
    bool loaded = config_load_text(span_str(name), text, command_settings(), 0, &report, &config);
    return finish(loaded, config, 0, &report);
}
