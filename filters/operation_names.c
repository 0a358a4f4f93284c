/* SPDX-License-Identifier: Apache-2.0 */
#include "filters/operation_names.h"

#include "config/suggest.h"
#include "openai/operations.h"

static void report_unknown(struct span name, struct span also, struct place place, struct report *report)
{
    struct arena arena;
    struct suggest suggest;
    arena_init(&arena);
    suggest_init(&suggest, &arena, name);
    for (unsigned id = 0; id < OPERATION_ID_COUNT; id++)
        suggest_add(&suggest, operation_entry((enum operation_id)id)->name);
    if (also.len)
        suggest_add(&suggest, also);
    report_error(report, place, "there is no operation \"%.*s\"%.*s", SPAN_ARG(name), SPAN_ARG(suggest_text(&suggest)));
    arena_finish(&arena);
}

void operation_names_check(const struct settings *settings, const struct setting_list *list, struct span also,
                           struct report *report)
{
    for (size_t i = 0; i < list->count; i++)
        if (!operation_by_name(list->items[i]) && !(also.len && span_equal(list->items[i], also)))
            report_unknown(list->items[i], also, settings_place_at(settings, "operations", i), report);
}
