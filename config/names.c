/* SPDX-License-Identifier: Apache-2.0 */
#include "config/names.h"

#include "config/suggest.h"

#define SUGGESTED 200

struct defined {
    struct span name;
    struct place place;
    bool used;
    struct defined *next;
};

struct section {
    const struct setting *setting;
    const char *singular;
    struct table by_name;
    struct defined *first, **last;
};

void names_init(struct names *names, struct arena *arena)
{
    *names = (struct names){.arena = arena};
    names->last = &names->first;
}

void names_refer(struct names *names, const char *section, struct span name, struct place place)
{
    struct names_reference *reference = ARENA_NEW(names->arena, struct names_reference);
    *reference = (struct names_reference){.section = section, .name = name, .place = place};
    *names->last = reference;
    names->last = &reference->next;
}

void names_refer_all(struct names *names, const struct node *node)
{
    if (node->kind == NODE_SCALAR)
        names_refer(names, NULL, node->text, node->place);
    for (const struct node *child = node->first; child; child = child->next)
        names_refer_all(names, child);
}

static void define(struct section *section, struct arena *arena, struct span name, struct place place,
                   struct report *report)
{
    const struct defined *other = table_get(&section->by_name, name);
    if (other) {
        report_error(report, place, "a second %s is called \"%.*s\"; the first is at %.*s:%u:%u", section->singular,
                     SPAN_ARG(name), SPAN_ARG(other->place.file), other->place.line, other->place.column);
        return;
    }
    struct defined *defined = ARENA_NEW(arena, struct defined);
    *defined = (struct defined){.name = name, .place = place};
    table_put(&section->by_name, name, defined);
    *section->last = defined;
    section->last = &defined->next;
}

static void gather(struct section *section, struct arena *arena, const struct node *root, struct report *report)
{
    const struct node *list = tree_get(root, span_str(section->setting->name));
    bool keyed = section->setting->type != SETTING_OBJECTS;
    if (!list || list->kind != (keyed ? NODE_MAP : NODE_LIST))
        return;
    for (const struct node *item = list->first; item; item = item->next) {
        const struct node *name = keyed ? NULL : tree_get(item, SPAN("name"));
        const struct node *address = keyed || name ? NULL : tree_get(item, SPAN("address"));
        /* A listener without a name is called by its address, which its own row keeps from being there twice. */
        if (address && address->kind == NODE_SCALAR && !table_get(&section->by_name, address->text))
            define(section, arena, address->text, address->place, report);
        if (keyed)
            define(section, arena, item->key, item->key_place, report);
        else if (name && name->kind == NODE_SCALAR && name->text.len)
            define(section, arena, name->text, name->place, report);
    }
}

/* Who writes a key where its credential's name belongs must not find it in a log. */
static bool is_secret(const struct section *section, struct span name)
{
    return strcmp(section->singular, "credential") == 0 && (name.len >= 32 || span_starts_with(name, SPAN("sk-")));
}

static void report_unknown(const struct section *section, struct arena *arena, const struct names_reference *reference,
                           struct report *report)
{
    struct suggest suggest;
    suggest_init(&suggest, arena, reference->name);
    /* Comparing words is the costly part: after hundreds of mistakes nobody reads suggestions. */
    for (const struct defined *defined = section->first; defined && report->errors < SUGGESTED; defined = defined->next)
        suggest_add(&suggest, defined->name);
    struct span text = section->first ? suggest_text(&suggest) : SPAN("; none is defined");
    if (is_secret(section, reference->name))
        report_error(
            report, reference->place,
            "this is no credential's name, and looks like a key: keys stand in files or the environment, as in "
            "{api_key: {file: PATH}}");
    else
        report_error(report, reference->place, "no %s is called \"%.*s\"%.*s", section->singular,
                     SPAN_ARG(reference->name), SPAN_ARG(text));
    /* The name meant is not unused; one message per mistake. */
    struct defined *meant = suggest.best.len ? table_get(&section->by_name, suggest.best) : NULL;
    if (meant)
        meant->used = true;
}

static void resolve(struct section *section, const struct names *names, struct report *report)
{
    for (const struct names_reference *reference = names->first; reference; reference = reference->next) {
        if (reference->section && strcmp(reference->section, section->setting->name) != 0)
            continue;
        struct defined *defined = table_get(&section->by_name, reference->name);
        if (defined)
            defined->used = true;
        else if (reference->section)
            report_unknown(section, names->arena, reference, report);
    }
    if (!(section->setting->flags & SETTING_MUST_USE))
        return;
    for (const struct defined *defined = section->first; defined; defined = defined->next)
        if (!defined->used)
            report_error(report, defined->place,
                         "%s \"%.*s\" is used by nothing; name it where it should act or remove it", section->singular,
                         SPAN_ARG(defined->name));
}

void names_resolve(const struct names *names, const struct settings_spec *spec, const struct node *root,
                   struct report *report)
{
    for (size_t i = 0; i < spec->count; i++) {
        if (!(spec->table[i].flags & SETTING_DEFINES))
            continue;
        struct section section = {.setting = &spec->table[i]};
        section.singular = section.setting->sub ? section.setting->sub->name : "filter";
        section.last = &section.first;
        table_init(&section.by_name);
        gather(&section, names->arena, root, report);
        resolve(&section, names, report);
        table_finish(&section.by_name);
    }
}
