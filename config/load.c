/* SPDX-License-Identifier: Apache-2.0 */
#include "config/config.h"

#include <stdlib.h>

#include "base/memory.h"
#include "config/check.h"
#include "config/names.h"
#include "config/reader.h"
#include "config/source.h"
#include "config/tree.h"

#define API_PREFIX "postern/v"

/* "postern/v1" or "postern/v1.3". */
static bool parse_version(struct span text, uint64_t *major, uint64_t *minor)
{
    if (!span_starts_with(text, SPAN(API_PREFIX)))
        return false;
    struct span version = span_skip(text, sizeof(API_PREFIX) - 1);
    size_t dot = span_find(version, '.');
    *minor = 0;
    return span_to_u64(span_take(version, dot), major) &&
           (dot == version.len || (span_to_u64(span_skip(version, dot + 1), minor) && *minor <= 1000));
}

/* Decides how unknown keys are taken, so it comes before everything else. */
static void read_version(struct reader *reader, const struct node *root, unsigned flags, struct config *config)
{
    const struct node *node = tree_get(root, SPAN("apiVersion"));
    uint64_t major, minor;
    if (!node || node->kind != NODE_SCALAR)
        return;
    if (!parse_version(node->text, &major, &minor) || major != CONFIG_MAJOR) {
        report_error(reader->report, node->place,
                     "\"apiVersion\" must be postern/v1, or postern/v1. and a minor version, not \"%.*s\"",
                     (int)(node->text.len < 80 ? node->text.len : 80), node->text.ptr);
        return;
    }
    config->minor = (unsigned)minor;
    reader->version = node->text;
    reader->newer = minor > CONFIG_MINOR && !(flags & CONFIG_CHECK);
}

static void read_root(struct config *config, struct node *root, const struct settings_registry *filters, unsigned flags,
                      struct trace *trace, struct report *report)
{
    struct names names;
    names_init(&names, &config->arena);
    struct reader reader = {.arena = &config->arena,
                            .report = report,
                            .filters = filters,
                            .names = &names,
                            .trace = trace,
                            .offline = (flags & CONFIG_OFFLINE) != 0};
    read_version(&reader, root, flags, config);
    (void)reader_fill(&reader, &config_spec, root, config);
    names_resolve(&names, &config_spec, root, report);
    check_config(config, report);
}

static struct config *create(struct span path)
{
    struct config *config = memory_zalloc(sizeof(*config));
    arena_init(&config->arena);
    config->path = arena_copy(&config->arena, path);
    return config;
}

static void keep_trace(struct config *config, const struct trace *trace)
{
    if (!trace)
        return;
    struct span *files = ARENA_ARRAY(&config->arena, struct span, trace->count + 1);
    for (const struct trace_path *path = trace->first; path; path = path->next)
        files[config->file_count++] = arena_copy(&config->arena, path->path);
    config->files = files;
    memcpy(config->digest, trace->digest, sizeof(config->digest));
}

/* Takes config over. `errors`: what the report held before; a file that could not be read is one since. */
static bool finish(struct config *config, struct node *root, const struct settings_registry *filters, unsigned flags,
                   struct trace *trace, struct report *report, size_t errors, struct config **ret)
{
    if (root)
        read_root(config, root, filters, flags, trace, report);
    report_sort(report);
    if (!root || report->errors != errors) {
        config_free(config);
        return false;
    }
    keep_trace(config, trace);
    *ret = config;
    return true;
}

bool config_load_traced(const char *path, const struct settings_registry *filters, unsigned flags, struct trace *trace,
                        struct report *report, struct config **ret)
{
    size_t errors = report->errors;
    struct config *config = create(span_str(path));
    struct node *root = source_read(&config->arena, path, trace, report);
    return finish(config, root, filters, flags, trace, report, errors, ret);
}

bool config_load(const char *path, const struct settings_registry *filters, unsigned flags, struct report *report,
                 struct config **ret)
{
    struct trace trace;
    trace_init(&trace);
    bool good = config_load_traced(path, filters, flags, &trace, report, ret);
    trace_finish(&trace);
    return good;
}

bool config_load_text(struct span name, struct span text, const struct settings_registry *filters, unsigned flags,
                      struct report *report, struct config **ret)
{
    size_t errors = report->errors;
    struct config *config = create(name);
    struct node *root = source_text(&config->arena, name, text, report);
    return finish(config, root, filters, flags, NULL, report, errors, ret);
}

bool config_load_texts(const struct config_text *texts, size_t count, const struct settings_registry *filters,
                       unsigned flags, struct report *report, struct config **ret)
{
    size_t errors = report->errors;
    struct config *config = create((struct span){0});
    struct node *root = source_texts(&config->arena, texts, count, report);
    return finish(config, root, filters, flags, NULL, report, errors, ret);
}

void config_free(struct config *config)
{
    if (!config)
        return;
    arena_finish(&config->arena);
    free(config);
}

const struct settings_variant *config_filter(const struct config *config, struct span name)
{
    for (size_t i = 0; i < config->filter_count; i++)
        if (span_equal(config->filters[i].name, name))
            return &config->filters[i];
    return NULL;
}

const struct config_credential *config_credential(const struct config *config, struct span name)
{
    for (size_t i = 0; i < config->credential_count; i++)
        if (span_equal(config->credentials[i].name, name))
            return &config->credentials[i];
    return NULL;
}

const struct config_store *config_store(const struct config *config, struct span name)
{
    for (size_t i = 0; i < config->store_count; i++)
        if (span_equal(config->stores[i].name, name))
            return &config->stores[i];
    return NULL;
}

const struct config_target *config_target(const struct config *config, struct span name)
{
    for (size_t i = 0; i < config->target_count; i++)
        if (span_equal(config->targets[i].name, name))
            return &config->targets[i];
    return NULL;
}
