/* SPDX-License-Identifier: Apache-2.0 */
#include "config/explain.h"

#include "config/config.h"
#include "config/describe.h"

static const char preface[] =
    "<!-- SPDX-License-Identifier: Apache-2.0 -->\n"
    "# Configuration reference\n"
    "\n"
    "Made from the settings tables; do not edit. `postern explain SETTING` shows the same for one setting, and\n"
    "[README.md](README.md) says how files are read and checked.\n"
    "\n"
    "- Sizes are digits and `B`, `KiB`, `MiB` or `GiB`; durations digits and `ms`, `s`, `m`, `h` or `d`, also "
    "combined\n"
    "  (`1m30s`); rates a number and `/second`, `/minute`, `/hour`, `/day` or `/month`.\n"
    "- Relative paths start from the directory of the file they stand in.\n"
    "- ↻ marks what a reload cannot change: it needs a restart.\n";

/* The inside of a table cell: a bar would end it. */
static void cell(struct buffer *out, struct span text)
{
    struct span part;
    bool first = true;
    while (span_split(&text, '|', &part)) {
        if (!first)
            buffer_append(out, SPAN("\\|"));
        buffer_append(out, part);
        first = false;
    }
}

static void described(struct buffer *out, const struct setting *setting,
                      void (*describe)(const struct setting *, struct buffer *))
{
    struct buffer text = {0};
    describe(setting, &text);
    buffer_append(out, SPAN(" | "));
    cell(out, buffer_span(&text));
    buffer_finish(&text);
}

static void row(struct buffer *out, const struct setting *setting)
{
    buffer_format(out, "| `%s`%s", setting->name, setting->reload == RELOAD_RESTART ? " ↻" : "");
    described(out, setting, describe_type);
    described(out, setting, describe_default);
    described(out, setting, describe_limits);
    buffer_append(out, SPAN(" | "));
    cell(out, span_str(setting->help));
    if (setting->since)
        buffer_format(out, " Since %s.", setting->since);
    if (setting->example) {
        buffer_append(out, SPAN(" Example: `"));
        cell(out, span_str(setting->example));
        buffer_append(out, SPAN("`"));
    }
    buffer_append(out, SPAN(" |\n"));
}

static void section(struct buffer *out, const struct settings_registry *filters, const struct settings_spec *spec,
                    const char *path);

static void subsection(struct buffer *out, const struct settings_registry *filters, const struct settings_spec *spec,
                       const char *parent, const char *name)
{
    struct arena arena;
    arena_init(&arena);
    section(out, filters, spec, arena_format(&arena, "%s%s%s", parent, *parent ? "." : "", name).ptr);
    arena_finish(&arena);
}

static void section(struct buffer *out, const struct settings_registry *filters, const struct settings_spec *spec,
                    const char *path)
{
    if (*path)
        buffer_format(out, "\n## `%s`\n\n%s\n", path, spec->help);
    buffer_append(out, SPAN("\n| setting | type | default | limits | meaning |\n|---|---|---|---|---|\n"));
    for (size_t i = 0; i < spec->count; i++)
        row(out, &spec->table[i]);
    for (size_t i = 0; i < spec->count; i++) {
        const struct settings_spec *below = describe_children(&spec->table[i]);
        if (below)
            subsection(out, filters, below, path, spec->table[i].name);
        else if (spec->table[i].type == SETTING_VARIANTS)
            for (size_t j = 0; filters && j < filters->count; j++)
                subsection(out, filters, filters->entries[j].spec, "filters", filters->entries[j].name);
    }
}

void config_reference(struct buffer *out, const struct settings_registry *filters)
{
    buffer_append(out, span_str(preface));
    section(out, filters, &config_spec, "");
}
