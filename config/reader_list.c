/* SPDX-License-Identifier: Apache-2.0 */
#include "config/reader.h"

#include "base/table.h"
#include "config/suggest.h"
#include "config/value.h"

static bool must_be(struct reader *reader, const struct setting *setting, const struct node *node, const char *form)
{
    if (node->kind == NODE_SCALAR && node->style == STYLE_PLAIN && value_is_yaml_null(node->text))
        report_error(reader->report, node->place, "\"%s\" has no value; leave it out for the default", setting->name);
    else
        report_error(reader->report, node->place, "\"%s\" must be %s; this is %s", setting->name, form,
                     reader_kind(node));
    return false;
}

static bool count_fits(struct reader *reader, const struct setting *setting, const struct node *node)
{
    if ((setting->flags & SETTING_NOT_EMPTY) && node->count == 0) {
        report_error(reader->report, node->place, "\"%s\" is empty; leave it out or name something", setting->name);
        return false;
    }
    if (setting->max && node->count > setting->max) {
        report_error(reader->report, node->place, "\"%s\" must have at most %llu items, not %zu", setting->name,
                     (unsigned long long)setting->max, node->count);
        return false;
    }
    return true;
}

/* An item as text; plain words that other tools read as truth values need quotes. */
static bool item_text(struct reader *reader, const struct setting *setting, const struct node *item)
{
    bool truth;
    if (item->kind != NODE_SCALAR)
        report_error(reader->report, item->place, "\"%s\" takes text here; this is %s", setting->name,
                     reader_kind(item));
    else if (item->text.len == 0 || (item->style == STYLE_PLAIN && value_is_yaml_null(item->text)))
        report_error(reader->report, item->place, "\"%s\" has an empty item", setting->name);
    else if (item->style == STYLE_PLAIN && value_is_yaml_bool(item->text, &truth))
        report_error(reader->report, item->place, "\"%s\": quote \"%.*s\", since other tools read it as a truth value",
                     setting->name, SPAN_ARG(item->text));
    else
        return true;
    return false;
}

/* RFC 9110 section 5.6.2: token. */
static bool is_token(struct span text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c <= ' ' || c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", c))
            return false;
    }
    return text.len > 0;
}

static bool field_name(struct reader *reader, const struct setting *setting, struct place place, struct span *name)
{
    if (!(setting->flags & SETTING_FIELD_NAME))
        return true;
    if (!is_token(*name)) {
        report_error(reader->report, place, "\"%s\": \"%.*s\" is not the name of a header field", setting->name,
                     SPAN_ARG(*name));
        return false;
    }
    struct span copy = arena_copy(reader->arena, *name);
    char *bytes = (char *)(uintptr_t)copy.ptr;
    for (size_t i = 0; i < copy.len; i++)
        if (bytes[i] >= 'A' && bytes[i] <= 'Z')
            bytes[i] = (char)(bytes[i] + 'a' - 'A');
    *name = copy;
    return true;
}

/* A value that ends up in a header field must not be able to begin another one. */
static bool field_value(struct reader *reader, const struct setting *setting, const struct node *node)
{
    if (!(setting->flags & SETTING_FIELD_NAME))
        return true;
    for (size_t i = 0; i < node->text.len; i++)
        if (((unsigned char)node->text.ptr[i] < ' ' && node->text.ptr[i] != '\t') || node->text.ptr[i] == 0x7f) {
            report_error(reader->report, node->place, "\"%.*s\" holds a line break or control character",
                         SPAN_ARG(node->key));
            return false;
        }
    return true;
}

static bool unseen(struct reader *reader, const struct setting *setting, struct table *seen, const struct span *item,
                   struct place place)
{
    if (!(setting->flags & (SETTING_UNIQUE | SETTING_FIELD_NAME)))
        return true;
    if (!table_put(seen, *item, (void *)(uintptr_t)item))
        return true;
    report_error(reader->report, place, "\"%s\" names \"%.*s\" twice", setting->name, SPAN_ARG(*item));
    return false;
}

static bool read_list(struct reader *reader, const struct setting *setting, const struct node *node,
                      struct setting_list *ret)
{
    struct span *items = ARENA_ARRAY(reader->arena, struct span, node->count ? node->count : 1);
    struct table seen;
    size_t count = 0;
    bool good = true;
    table_init(&seen);
    for (const struct node *item = node->first; item; item = item->next, count++) {
        items[count] = item->text;
        if (!item_text(reader, setting, item) || !field_name(reader, setting, item->place, &items[count]) ||
            !unseen(reader, setting, &seen, &items[count], item->place)) {
            good = false;
            continue;
        }
        if (setting->refers)
            names_refer(reader->names, setting->refers, item->text, item->place);
    }
    table_finish(&seen);
    *ret = (struct setting_list){.items = items, .count = count};
    return good;
}

static bool read_enums(struct reader *reader, const struct setting *setting, const struct node *node, uint64_t *ret)
{
    bool good = true;
    for (const struct node *item = node->first; item; item = item->next) {
        unsigned i = 0;
        while (setting->choices[i] &&
               (item->kind != NODE_SCALAR || !span_equal(item->text, span_str(setting->choices[i]))))
            i++;
        if (setting->choices[i]) {
            *ret |= UINT64_C(1) << i;
            continue;
        }
        good = false;
        if (!item_text(reader, setting, item))
            continue;
        struct suggest suggest;
        suggest_init(&suggest, reader->arena, item->text);
        for (i = 0; setting->choices[i]; i++)
            suggest_add(&suggest, span_str(setting->choices[i]));
        report_error(reader->report, item->place, "\"%s\" cannot hold \"%.*s\"%.*s", setting->name,
                     SPAN_ARG(item->text), SPAN_ARG(suggest_text(&suggest)));
    }
    return good;
}

static bool read_networks(struct reader *reader, const struct setting *setting, const struct node *node,
                          struct setting_networks *ret)
{
    struct setting_network *items = ARENA_ARRAY(reader->arena, struct setting_network, node->count ? node->count : 1);
    size_t count = 0;
    bool good = true;
    for (const struct node *item = node->first; item; item = item->next, count++) {
        if (!item_text(reader, setting, item)) {
            good = false;
        } else if (!value_network(item->text, &items[count])) {
            report_error(
                reader->report, item->place,
                "\"%s\" must be a network such as 10.0.0.0/8 or fd00::/8 with zeros after the prefix, not \"%.*s\"",
                setting->name, SPAN_ARG(item->text));
            good = false;
        }
    }
    *ret = (struct setting_networks){.items = items, .count = count};
    return good;
}

static bool read_pairs(struct reader *reader, const struct setting *setting, const struct node *node,
                       struct setting_pairs *ret)
{
    struct setting_pair *items = ARENA_ARRAY(reader->arena, struct setting_pair, node->count ? node->count : 1);
    struct table seen;
    size_t count = 0;
    bool good = true;
    table_init(&seen);
    for (const struct node *child = node->first; child; child = child->next, count++) {
        items[count].name = child->key;
        items[count].value = child->text;
        if (!field_name(reader, setting, child->key_place, &items[count].name) ||
            !unseen(reader, setting, &seen, &items[count].name, child->key_place))
            good = false;
        if (setting->type == SETTING_JSONS)
            good &= reader_json(reader, child, &items[count].value);
        else if (!item_text(reader, setting, child) || !field_value(reader, setting, child))
            good = false;
    }
    table_finish(&seen);
    *ret = (struct setting_pairs){.items = items, .count = count};
    return good;
}

bool reader_collection(struct reader *reader, const struct setting *setting, const struct node *node, void *out)
{
    bool map = setting->type == SETTING_PAIRS || setting->type == SETTING_JSONS;
    if (node->kind != (map ? NODE_MAP : NODE_LIST))
        return must_be(reader, setting, node, map ? "a map: {name: value}" : "a list: [a, b]");
    if (!count_fits(reader, setting, node))
        return false;
    void *slot = (char *)out + setting->offset;
    switch (setting->type) {
    case SETTING_LIST:
        return read_list(reader, setting, node, slot);
    case SETTING_ENUMS:
        return read_enums(reader, setting, node, slot);
    case SETTING_NETWORKS:
        return read_networks(reader, setting, node, slot);
    default:
        return read_pairs(reader, setting, node, slot);
    }
}
