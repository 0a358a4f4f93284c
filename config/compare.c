/* SPDX-License-Identifier: Apache-2.0 */
#include "config/config.h"

#include "config/describe.h"
#include "config/tree.h"

/* Whether two nodes say the same; an absent scalar says its default. */
static bool same(const struct setting *setting, const struct node *a, const struct node *b)
{
    if (!a || !b) {
        const struct node *given = a ? a : b;
        return !given || (setting && setting->fallback && given->kind == NODE_SCALAR &&
                          span_equal(given->text, span_str(setting->fallback)));
    }
    if (a->kind != b->kind || a->count != b->count)
        return false;
    if (a->kind == NODE_SCALAR)
        return span_equal(a->text, b->text);
    const struct node *left = a->first, *right = b->first;
    for (; left && right; left = left->next, right = right->next) {
        if (a->kind == NODE_MAP && !span_equal(left->key, right->key))
            return false;
        if (!same(NULL, left, right))
            return false;
    }
    return true;
}

static struct place place_of(const struct node *node, const struct node *parent)
{
    return node ? node->place : parent ? parent->place : PLACE_NONE;
}

/* Without `spec` having anything that needs a restart, this walks a few dozen table rows and reports nothing. */
static size_t compare(const struct settings_spec *spec, const struct node *now, const struct node *next,
                      struct report *report)
{
    size_t found = 0;
    for (size_t i = 0; i < spec->count; i++) {
        const struct setting *setting = &spec->table[i];
        const struct settings_spec *below = describe_children(setting);
        const struct node *a = tree_get(now, span_str(setting->name)), *b = tree_get(next, span_str(setting->name));
        if (setting->reload == RELOAD_RESTART && !same(setting, a, b)) {
            report_warning(report, place_of(b, next),
                           "\"%s\" of %s cannot be changed by a reload; the old value stays until a restart",
                           setting->name, spec->name);
            found++;
        } else if (below && (setting->type == SETTING_OBJECT || setting->type == SETTING_OPTIONAL)) {
            found += compare(below, a, b, report);
        } else if (below && (a || b)) {
            /* Items are matched by their position. */
            const struct node *left = a ? a->first : NULL, *right = b ? b->first : NULL;
            for (; left && right; left = left->next, right = right->next)
                found += compare(below, left, right, report);
        }
    }
    return found;
}

size_t config_compare(const struct config *now, const struct config *next, struct report *report)
{
    return compare(&config_spec, now->settings.node, next->settings.node, report);
}
