/* SPDX-License-Identifier: Apache-2.0 */
#include "config/reader.h"

#include "base/table.h"
#include "config/suggest.h"
#include "config/value.h"

/* What a key of a variants map says about its entry, beside the settings of the type. */
#define TYPE_KEY "type"

static bool is_object(enum setting_type type)
{
    return type >= SETTING_OBJECT;
}

static const struct setting *find_setting(const struct settings_spec *spec, struct span name)
{
    for (size_t i = 0; i < spec->count; i++)
        if (span_equal(name, span_str(spec->table[i].name)))
            return &spec->table[i];
    return NULL;
}

static bool is_null(const struct node *node)
{
    return node->kind == NODE_SCALAR && node->style == STYLE_PLAIN && value_is_yaml_null(node->text);
}

static bool is_choice(const struct setting *setting, struct span text)
{
    bool truth; /* on and off are written in other ways too */
    for (int i = 0; setting->choices[i]; i++)
        if (span_equal(text, span_str(setting->choices[i])))
            return true;
    return value_is_yaml_bool(text, &truth);
}

/* A single value that the shorthand's own words do not have: whoever wrote it does not know of the shorthand. */
static void not_short(struct reader *reader, const struct settings_spec *spec, const struct setting *setting,
                      const struct node *node)
{
    struct span words = {0}, keys = {0};
    for (int i = 0; setting->choices[i]; i++)
        words = arena_format(reader->arena, "%.*s%s, ", SPAN_ARG(words), setting->choices[i]);
    for (size_t i = 0; i < spec->count; i++)
        keys = arena_format(reader->arena, "%.*s%s%s", SPAN_ARG(keys), i ? ", " : "", spec->table[i].name);
    report_error(reader->report, node->place, "\"%s\" must be %.*sor a map of settings (%.*s), not \"%.*s\"",
                 spec->name, SPAN_ARG(words), SPAN_ARG(keys), (int)(node->text.len < 80 ? node->text.len : 80),
                 node->text.ptr);
}

/*
 * A scalar or list where an object is expected, put into the map that the spec's shorthand says it stands for. NULL
 * when it stands for nothing.
 */
static const struct node *expand_shorthand(struct reader *reader, const struct settings_spec *spec,
                                           const struct node *node)
{
    const struct setting *setting = spec->shorthand ? find_setting(spec, span_str(spec->shorthand)) : NULL;
    bool list = setting && (setting->type == SETTING_LIST || setting->type == SETTING_OBJECTS);
    if (!setting || node->kind != (list ? NODE_LIST : NODE_SCALAR) || is_null(node))
        return NULL;
    struct node *map = ARENA_NEW(reader->arena, struct node), *value = ARENA_NEW(reader->arena, struct node);
    *map = *node;
    *value = *node;
    value->key = span_str(setting->name);
    value->key_place = node->place;
    value->next = NULL;
    map->kind = NODE_MAP;
    map->first = map->last = value;
    map->count = 1;
    map->text = SPAN("");
    return map;
}

/* A list or map setting of the wrong kind; what is in it still counts as used. */
static bool wrong_kind(struct reader *reader, const struct setting *setting, const struct node *node, const char *form)
{
    if (is_null(node))
        report_error(reader->report, node->place, "\"%s\" has no value; leave it out or write %s", setting->name, form);
    else
        report_error(reader->report, node->place, "\"%s\" must be %s; this is %s", setting->name, form,
                     reader_kind(node));
    names_refer_all(reader->names, node);
    return false;
}

static void must_be_map(struct reader *reader, const struct settings_spec *spec, const struct node *node)
{
    if (is_null(node))
        report_error(reader->report, node->place, "%s has no value; write {} for all defaults or leave it out",
                     spec->name);
    else
        report_error(reader->report, node->place, "%s must be a map of settings; this is %s", spec->name,
                     reader_kind(node));
}

static void unknown_key(struct reader *reader, const struct settings_spec *spec, const struct node *child, bool typed)
{
    struct suggest suggest;
    suggest_init(&suggest, reader->arena, child->key);
    if (typed)
        suggest_add(&suggest, SPAN(TYPE_KEY));
    for (size_t i = 0; i < spec->count; i++)
        suggest_add(&suggest, span_str(spec->table[i].name));
    names_refer_all(reader->names, child);
    if (reader->newer)
        report_warning(reader->report, child->key_place,
                       "%s has no setting \"%.*s\" in version " CONFIG_VERSION
                       ", the newest this Postern knows; ignored because the configuration is written for %.*s%.*s",
                       spec->name, SPAN_ARG(child->key), SPAN_ARG(reader->version), SPAN_ARG(suggest_text(&suggest)));
    else
        report_error(reader->report, child->key_place, "%s has no setting \"%.*s\"%.*s", spec->name,
                     SPAN_ARG(child->key), SPAN_ARG(suggest_text(&suggest)));
}

static bool known_keys(struct reader *reader, const struct settings_spec *spec, const struct node *node, bool typed)
{
    bool good = true;
    for (const struct node *child = node->first; child; child = child->next) {
        if (find_setting(spec, child->key) || (typed && span_equal(child->key, SPAN(TYPE_KEY))))
            continue;
        unknown_key(reader, spec, child, typed);
        good = reader->newer && good;
    }
    return good;
}

/* "azure, openai, mock" */
static struct span one_of_names(struct reader *reader, const struct settings_spec *spec)
{
    struct span names = SPAN("");
    for (size_t i = 0; i < spec->count; i++)
        if (spec->table[i].flags & SETTING_ONE_OF)
            names =
                arena_format(reader->arena, "%.*s%s%s", SPAN_ARG(names), names.len ? ", " : "", spec->table[i].name);
    return names;
}

/* Exactly one of the settings marked SETTING_ONE_OF is there, if any is marked. */
static bool one_of(struct reader *reader, const struct settings_spec *spec, const struct node *node)
{
    const struct node *chosen = NULL;
    bool any = false;
    for (size_t i = 0; i < spec->count; i++) {
        if (!(spec->table[i].flags & SETTING_ONE_OF))
            continue;
        any = true;
        const struct node *child = tree_get(node, span_str(spec->table[i].name));
        if (child && chosen) {
            report_error(reader->report, child->key_place,
                         "%s has both \"%.*s\" and \"%.*s\"; exactly one of %.*s is allowed", spec->name,
                         SPAN_ARG(chosen->key), SPAN_ARG(child->key), SPAN_ARG(one_of_names(reader, spec)));
            return false;
        }
        chosen = child ? child : chosen;
    }
    if (!any || chosen)
        return true;
    struct span names = one_of_names(reader, spec);
    report_error(reader->report, node->place, "%s needs %s%.*s", spec->name,
                 span_find(names, ',') < names.len ? "exactly one of " : "", SPAN_ARG(names));
    return false;
}

static bool count_fits(struct reader *reader, const struct setting *setting, const struct node *node)
{
    if ((setting->flags & SETTING_NOT_EMPTY) && node->count == 0) {
        report_error(reader->report, node->place, "\"%s\" is empty; %s", setting->name,
                     setting->flags & SETTING_REQUIRED ? "at least one is needed" : "leave it out or name something");
        return false;
    }
    if (setting->max && node->count > setting->max) {
        report_error(reader->report, node->place, "\"%s\" must have at most %llu items, not %zu", setting->name,
                     (unsigned long long)setting->max, node->count);
        return false;
    }
    return true;
}

static void store_array(const struct setting *setting, void *out, const void *items, size_t count)
{
    memcpy((char *)out + setting->offset, &items, sizeof(items));
    memcpy((char *)out + setting->count, &count, sizeof(count));
}

/* Settings marked SETTING_UNIQUE differ among all items of the list. */
static bool unique_among(struct reader *reader, const struct settings_spec *spec, const struct node *list)
{
    bool good = true;
    for (size_t i = 0; i < spec->count; i++) {
        const struct setting *setting = &spec->table[i];
        if (!(setting->flags & SETTING_UNIQUE) || setting->type == SETTING_LIST)
            continue;
        struct table seen;
        table_init(&seen);
        for (const struct node *item = list->first; item; item = item->next) {
            const struct node *value = tree_get(item, span_str(setting->name));
            if (!value || value->kind != NODE_SCALAR)
                continue;
            const struct node *other = table_get(&seen, value->text);
            if (other) {
                report_error(reader->report, value->place,
                             "a second %s has the %s \"%.*s\"; the first is at %.*s:%u:%u", spec->name, setting->name,
                             SPAN_ARG(value->text), SPAN_ARG(other->place.file), other->place.line,
                             other->place.column);
                good = false;
            } else {
                table_put(&seen, value->text, (void *)(uintptr_t)value);
            }
        }
        table_finish(&seen);
    }
    return good;
}

static bool read_objects(struct reader *reader, const struct setting *setting, const struct node *node, void *out)
{
    const struct settings_spec *spec = setting->sub;
    if (node->kind != NODE_LIST)
        return wrong_kind(reader, setting, node, "a list, whose items begin with a dash");
    if (!count_fits(reader, setting, node))
        return false;
    char *items = arena_zarray(reader->arena, node->count ? node->count : 1, spec->size);
    bool good = unique_among(reader, spec, node);
    size_t count = 0;
    for (const struct node *item = node->first; item; item = item->next)
        good &= reader_fill(reader, spec, item, items + count++ * spec->size);
    store_array(setting, out, items, count);
    return good;
}

/* The map's key as if `name: KEY` stood first in the object. */
static const struct node *with_name(struct reader *reader, const struct node *node)
{
    if (node->kind != NODE_MAP)
        return node;
    struct node *map = ARENA_NEW(reader->arena, struct node), *name = ARENA_NEW(reader->arena, struct node);
    *map = *node;
    *name = (struct node){.kind = NODE_SCALAR,
                          .style = STYLE_QUOTED,
                          .place = node->key_place,
                          .key = SPAN("name"),
                          .key_place = node->key_place,
                          .text = node->key,
                          .next = node->first};
    map->first = name;
    map->last = node->last ? node->last : name;
    map->count++;
    return map;
}

static bool read_named(struct reader *reader, const struct setting *setting, const struct node *node, void *out)
{
    const struct settings_spec *spec = setting->sub;
    if (node->kind != NODE_MAP)
        return wrong_kind(reader, setting, node, "a map from names to settings");
    if (!count_fits(reader, setting, node))
        return false;
    char *items = arena_zarray(reader->arena, node->count ? node->count : 1, spec->size);
    bool good = true;
    size_t count = 0;
    for (const struct node *item = node->first; item; item = item->next) {
        const struct node *name = tree_get(item, SPAN("name"));
        if (name)
            report_error(reader->report, name->key_place, "\"name\" is given by the key \"%.*s\"; remove it",
                         SPAN_ARG(item->key));
        good &= !name && reader_fill(reader, spec, with_name(reader, item), items + count++ * spec->size);
    }
    store_array(setting, out, items, count);
    return good;
}

static bool fill(struct reader *reader, const struct settings_spec *spec, const struct node *node, bool typed,
                 void *out);

/* The registered type of a variants entry: what `type` says, else its own name. NULL after a report. */
static const struct settings_registry_entry *variant_type(struct reader *reader, const struct node *item,
                                                          size_t *ret_index)
{
    const struct node *type = tree_get(item, SPAN(TYPE_KEY));
    if (type && type->kind != NODE_SCALAR) {
        report_error(reader->report, type->place, "\"type\" must be text; this is %s", reader_kind(type));
        return NULL;
    }
    struct span name = type ? type->text : item->key;
    struct suggest suggest;
    suggest_init(&suggest, reader->arena, name);
    for (size_t i = 0; reader->filters && i < reader->filters->count; i++) {
        const struct settings_registry_entry *entry = &reader->filters->entries[i];
        if (span_equal(name, span_str(entry->name))) {
            *ret_index = i;
            return entry;
        }
        suggest_add(&suggest, span_str(entry->name));
    }
    struct span text = suggest.count ? suggest_text(&suggest) : SPAN("; none is built in");
    if (type)
        report_error(reader->report, type->place, "no filter type is called \"%.*s\"%.*s", SPAN_ARG(name),
                     SPAN_ARG(text));
    else
        report_error(reader->report, item->key_place,
                     "filter \"%.*s\" has no \"type\", and no filter type is called as it is%.*s", SPAN_ARG(name),
                     SPAN_ARG(text));
    return NULL;
}

static bool read_variant(struct reader *reader, const struct node *item, struct settings_variant *variant)
{
    variant->settings.node = item;
    variant->name = item->key;
    if (item->kind == NODE_MAP || item->kind == NODE_SCALAR)
        variant->entry = variant_type(reader, item, &variant->entry_index);
    if (item->kind == NODE_LIST)
        report_error(reader->report, item->place, "filter \"%.*s\" must be a map of settings; this is a list",
                     SPAN_ARG(item->key));
    if (!variant->entry) {
        /* One message is enough: it need not be called unused as well. */
        names_refer(reader->names, NULL, item->key, item->key_place);
        names_refer_all(reader->names, item);
        return false;
    }
    void *value = arena_zalloc(reader->arena, variant->entry->spec->size);
    variant->value = value;
    return fill(reader, variant->entry->spec, item, true, value);
}

static bool read_variants(struct reader *reader, const struct setting *setting, const struct node *node, void *out)
{
    if (node->kind != NODE_MAP)
        return wrong_kind(reader, setting, node, "a map from names to settings");
    if (!count_fits(reader, setting, node))
        return false;
    struct settings_variant *items = ARENA_ARRAY(reader->arena, struct settings_variant, node->count ? node->count : 1);
    bool good = true;
    size_t count = 0;
    for (const struct node *item = node->first; item; item = item->next)
        good &= read_variant(reader, item, &items[count++]);
    store_array(setting, out, items, count);
    return good;
}

static bool read_optional(struct reader *reader, const struct setting *setting, const struct node *node, void *out)
{
    if (!node)
        return true;
    void *value = arena_zalloc(reader->arena, setting->sub->size);
    bool good = reader_fill(reader, setting->sub, node, value);
    memcpy((char *)out + setting->offset, &value, sizeof(value));
    return good;
}

static bool read_object(struct reader *reader, const struct setting *setting, const struct node *node, void *out)
{
    if (setting->type == SETTING_OBJECT)
        return reader_fill(reader, setting->sub, node, (char *)out + setting->offset);
    if (setting->type == SETTING_OPTIONAL)
        return read_optional(reader, setting, node, out);
    if (!node)
        return true;
    if (setting->type == SETTING_OBJECTS)
        return read_objects(reader, setting, node, out);
    return setting->type == SETTING_NAMED ? read_named(reader, setting, node, out)
                                          : read_variants(reader, setting, node, out);
}

static bool read_setting(struct reader *reader, const struct settings_spec *spec, const struct setting *setting,
                         const struct node *node, void *out)
{
    const struct node *child = tree_get(node, span_str(setting->name));
    if (!child && (setting->flags & SETTING_REQUIRED)) {
        report_error(reader->report, node ? node->place : PLACE_NONE, "%s needs \"%s\"%s%s", spec->name, setting->name,
                     setting->example ? ", such as " : "", setting->example ? setting->example : "");
        return false;
    }
    if (is_object(setting->type))
        return read_object(reader, setting, child, out);
    if (child)
        return reader_value(reader, setting, child, out);
    reader_default(reader, setting, out);
    return true;
}

static bool fill(struct reader *reader, const struct settings_spec *spec, const struct node *node, bool typed,
                 void *out)
{
    if (node && node->kind != NODE_MAP) {
        const struct node *map = expand_shorthand(reader, spec, node);
        const struct setting *setting = map ? find_setting(spec, span_str(spec->shorthand)) : NULL;
        if (setting && setting->type == SETTING_ENUM && !is_choice(setting, node->text)) {
            not_short(reader, spec, setting, node);
            return false;
        }
        if (!map) {
            must_be_map(reader, spec, node);
            names_refer_all(reader->names, node);
            return false;
        }
        node = map;
    }
    /* Every settings struct begins with this. */
    struct settings head = {.node = node};
    memcpy(out, &head, sizeof(head));
    bool good = true;
    if (node) {
        good = known_keys(reader, spec, node, typed);
        /* An unknown key that was refused may be the misspelt one of them; one that was ignored is none of them. */
        if (good)
            good = one_of(reader, spec, node);
    }
    for (size_t i = 0; i < spec->count; i++)
        good &= read_setting(reader, spec, &spec->table[i], node, out);
    if (!good || !spec->check)
        return good;
    size_t errors = reader->report->errors;
    spec->check(out, reader->report);
    return reader->report->errors == errors;
}

bool reader_fill(struct reader *reader, const struct settings_spec *spec, const struct node *node, void *out)
{
    return fill(reader, spec, node, false, out);
}

struct place settings_place(const struct settings *settings, const char *key)
{
    const struct node *child = key ? tree_get(settings->node, span_str(key)) : NULL;
    if (child)
        return child->place;
    return settings->node ? settings->node->place : PLACE_NONE;
}

struct place settings_place_at(const struct settings *settings, const char *key, size_t index)
{
    const struct node *item = tree_at(tree_get(settings->node, span_str(key)), index);
    return item ? item->place : settings_place(settings, key);
}

bool settings_given(const struct settings *settings, const char *key)
{
    return tree_get(settings->node, span_str(key)) != NULL;
}
