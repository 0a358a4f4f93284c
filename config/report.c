/* SPDX-License-Identifier: Apache-2.0 */
#include "config/report.h"

#include <stdarg.h>
#include <stdlib.h>

void report_init(struct report *report)
{
    *report = (struct report){0};
    arena_init(&report->arena);
    report->last = &report->first;
}

void report_finish(struct report *report)
{
    arena_finish(&report->arena);
    report_init(report);
}

static void add(struct report *report, struct place place, bool warning, const char *format, va_list args)
{
    struct report_entry *entry = ARENA_NEW(&report->arena, struct report_entry);
    /* The report outlives the tree when a load fails. */
    place.file = arena_copy(&report->arena, place.file);
    entry->place = place;
    entry->text = arena_vformat(&report->arena, format, args);
    entry->warning = warning;
    *report->last = entry;
    report->last = &entry->next;
    if (warning)
        report->warnings++;
    else
        report->errors++;
}

void report_error(struct report *report, struct place place, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add(report, place, false, format, args);
    va_end(args);
}

void report_warning(struct report *report, struct place place, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add(report, place, true, format, args);
    va_end(args);
}

static int compare_places(const struct place *a, const struct place *b)
{
    int order = span_compare(a->file, b->file);
    if (order != 0)
        return order;
    if (a->line != b->line)
        return a->line < b->line ? -1 : 1;
    return a->column < b->column ? -1 : a->column > b->column;
}

struct numbered {
    struct report_entry *entry;
    size_t number;
};

static int compare_numbered(const void *left, const void *right)
{
    const struct numbered *a = left, *b = right;
    int order = compare_places(&a->entry->place, &b->entry->place);
    if (order != 0)
        return order;
    return a->number < b->number ? -1 : 1;
}

void report_sort(struct report *report)
{
    size_t count = report->errors + report->warnings;
    if (count < 2)
        return;
    struct numbered *all = ARENA_ARRAY(&report->arena, struct numbered, count);
    size_t at = 0;
    for (struct report_entry *entry = report->first; entry; entry = entry->next) {
        all[at] = (struct numbered){.entry = entry, .number = at};
        at++;
    }
    qsort(all, count, sizeof(*all), compare_numbered);
    report->last = &report->first;
    for (size_t i = 0; i < count; i++) {
        *report->last = all[i].entry;
        report->last = &all[i].entry->next;
    }
    *report->last = NULL;
}

void report_print_place(struct place place, struct buffer *out)
{
    if (place.file.len == 0)
        return;
    buffer_append(out, place.file);
    if (place.line)
        buffer_format(out, ":%u:%u", place.line, place.column);
}

void report_print(const struct report *report, struct buffer *out)
{
    for (const struct report_entry *entry = report->first; entry; entry = entry->next) {
        report_print_place(entry->place, out);
        if (entry->place.file.len)
            buffer_append(out, SPAN(": "));
        if (entry->warning)
            buffer_append(out, SPAN("warning: "));
        buffer_append(out, entry->text);
        buffer_append(out, SPAN("\n"));
    }
}
