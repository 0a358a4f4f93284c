/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "command/command.h"
#include "filters/registry.h"

const struct settings_registry *command_settings(void)
{
    return filter_settings();
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
