/* SPDX-License-Identifier: Apache-2.0 */
#include "config/explain.h"

#include "config/config.h"
#include "config/describe.h"
#include "config/suggest.h"

#define WIDTH 96

/* Where a path leads: to a setting, or (root, a filter type) to a spec alone. */
struct place_in_schema {
    const struct setting *setting;
    const struct settings_spec *spec; /* the settings below; NULL: none */
    bool types;                       /* below are the registered filter types */
};

static const struct setting *find(const struct settings_spec *spec, struct span name)
{
    for (size_t i = 0; spec && i < spec->count; i++)
        if (span_equal(name, span_str(spec->table[i].name)))
            return &spec->table[i];
    return NULL;
}

static const struct settings_spec *find_type(const struct settings_registry *filters, struct span name)
{
    for (size_t i = 0; filters && i < filters->count; i++)
        if (span_equal(name, span_str(filters->entries[i].name)))
            return filters->entries[i].spec;
    return NULL;
}

static bool descend(struct place_in_schema *at, const struct settings_registry *filters, struct span part)
{
    if (at->types) {
        *at = (struct place_in_schema){.spec = find_type(filters, part)};
        return at->spec != NULL;
    }
    const struct setting *setting = find(at->spec, part);
    if (!setting)
        return false;
    *at = (struct place_in_schema){
        .setting = setting, .spec = describe_children(setting), .types = setting->type == SETTING_VARIANTS};
    return true;
}

/* Wrapped at WIDTH, indented by `indent`. */
static void wrap(struct buffer *out, struct span text, unsigned indent)
{
    size_t column = 0;
    struct span word;
    while (span_split(&text, ' ', &word)) {
        if (word.len == 0)
            continue;
        if (column && indent + column + 1 + word.len > WIDTH) {
            buffer_append(out, SPAN("\n"));
            column = 0;
        }
        if (column == 0)
            buffer_format(out, "%*s", (int)indent, "");
        else
            buffer_append(out, SPAN(" "));
        column += word.len + (column ? 1 : 0);
        buffer_append(out, word);
    }
    buffer_append(out, SPAN("\n"));
}

/* "LABEL:    text\n" unless the text is empty. Takes the text's memory. */
static void line(struct buffer *out, const char *label, struct buffer *text)
{
    if (buffer_len(text))
        buffer_format(out, "%-9s %.*s\n", label, SPAN_ARG(buffer_span(text)));
    buffer_finish(text);
}

static void explain_setting(struct buffer *out, const struct setting *setting, struct span path)
{
    struct buffer text = {0};
    buffer_format(&text, "%.*s <", SPAN_ARG(path));
    describe_type(setting, &text);
    buffer_append(&text, SPAN(">"));
    line(out, "SETTING:", &text);
    describe_default(setting, &text);
    line(out, "DEFAULT:", &text);
    describe_limits(setting, &text);
    line(out, "LIMITS:", &text);
    buffer_append(&text, span_str(describe_reload(setting)));
    line(out, "RELOAD:", &text);
    buffer_append(&text, span_str(setting->since ? setting->since : "1.0"));
    line(out, "SINCE:", &text);
    buffer_append(out, SPAN("\n"));
    wrap(out, span_str(setting->help), 4);
    if (setting->example)
        buffer_format(out, "\nEXAMPLE:\n    %s: %s\n", setting->name, setting->example);
}

/* Where the first sentence's full stop stands; one of an ellipsis ends none. */
static size_t first_sentence(struct span help)
{
    size_t at = span_search(help, SPAN(". "));
    while (at < help.len && at > 0 && help.ptr[at - 1] == '.')
        at += 1 + span_search(span_skip(help, at + 1), SPAN(". "));
    return at < help.len ? at : help.len;
}

static void explain_children(struct buffer *out, const struct settings_spec *spec)
{
    buffer_append(out, SPAN("\nSETTINGS:\n"));
    for (size_t i = 0; i < spec->count; i++) {
        const struct setting *setting = &spec->table[i];
        struct span help = span_str(setting->help);
        size_t sentence = first_sentence(help);
        buffer_format(out, "    %s <", setting->name);
        describe_type(setting, out);
        buffer_format(out, ">%s\n", setting->flags & SETTING_REQUIRED ? " (required)" : "");
        wrap(out, span_take(help, sentence < help.len ? sentence + 1 : help.len), 8);
    }
}

static void explain_types(struct buffer *out, const struct settings_registry *filters)
{
    buffer_append(out, SPAN("\nTYPES:\n"));
    for (size_t i = 0; filters && i < filters->count; i++) {
        buffer_format(out, "    %s\n", filters->entries[i].name);
        wrap(out, span_str(filters->entries[i].spec->help), 8);
    }
}

static void unknown(struct buffer *out, const struct place_in_schema *at, const struct settings_registry *filters,
                    struct span parent, struct span part)
{
    struct arena arena;
    struct suggest suggest;
    arena_init(&arena);
    suggest_init(&suggest, &arena, part);
    for (size_t i = 0; at->spec && i < at->spec->count; i++)
        suggest_add(&suggest, span_str(at->spec->table[i].name));
    for (size_t i = 0; at->types && filters && i < filters->count; i++)
        suggest_add(&suggest, span_str(filters->entries[i].name));
    bool type = !parent.len && find_type(filters, part) != NULL;
    if (parent.len)
        buffer_format(out, "%.*s has no setting \"%.*s\"", SPAN_ARG(parent), SPAN_ARG(part));
    else
        buffer_format(out, "there is no setting \"%.*s\"", SPAN_ARG(part));
    if (type)
        buffer_format(out, "; did you mean \"filters.%.*s\"?", SPAN_ARG(part));
    else
        buffer_append(out, suggest_text(&suggest));
    buffer_append(out, SPAN("\n"));
    arena_finish(&arena);
}

bool config_explain(struct buffer *out, const struct settings_registry *filters, struct span path)
{
    struct place_in_schema at = {.spec = &config_spec};
    struct span rest = path, part;
    while (path.len && span_split(&rest, '.', &part)) {
        struct place_in_schema below = at;
        if (descend(&below, filters, part)) {
            at = below;
            continue;
        }
        size_t before = (size_t)(part.ptr - path.ptr);
        unknown(out, &at, filters, span_take(path, before ? before - 1 : 0), part);
        return false;
    }
    if (at.setting) {
        explain_setting(out, at.setting, path);
    } else {
        buffer_format(out, "%s %.*s\n\n", path.len ? "FILTER:  " : "CONFIGURATION", SPAN_ARG(path));
        wrap(out, span_str(at.spec->help), 4);
    }
    if (at.spec)
        explain_children(out, at.spec);
    if (at.types)
        explain_types(out, filters);
    return true;
}
