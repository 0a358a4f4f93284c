/* SPDX-License-Identifier: Apache-2.0 */
/*
 * prometheus_text: a strict reader of the Prometheus text format 0.0.4, as strict as promtool's linter where that is
 * about correctness (cmocka's includes come first): https://prometheus.io/docs/instrumenting/exposition_formats/. Fails
 * the running test at the first fault.
 */
#ifndef POSTERN_TESTS_UNIT_GATEWAY_PROMETHEUS_TEXT_H
#define POSTERN_TESTS_UNIT_GATEWAY_PROMETHEUS_TEXT_H

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/span.h"
#include "base/table.h"

struct page_check {
    struct arena arena;
    struct table families, series; /* names seen */
    struct span family, kind;      /* under way */
    /* a histogram's series under way */
    struct span labels;
    double last_bound, last_count;
    bool infinite, summed;
    unsigned samples;
};

static void page_fault(const char *what, struct span line)
{
    fail_msg("%s: %.*s", what, SPAN_ARG(line));
}

static bool is_name(struct span name, bool colons)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool good = isalpha((unsigned char)c) || c == '_' || (colons && c == ':') || (i && isdigit((unsigned char)c));
        if (!good)
            return false;
    }
    return name.len > 0;
}

static void read_comment(struct page_check *check, struct span line)
{
    struct span rest = line, hash = {0}, word = {0}, name = {0};
    assert_true(span_split(&rest, ' ', &hash) && span_split(&rest, ' ', &word) && span_split(&rest, ' ', &name));
    if (!is_name(name, true) || rest.len == 0)
        page_fault("bad comment", line);
    if (span_equal(word, SPAN("HELP"))) {
        if (table_put(&check->families, name, check))
            page_fault("family twice", line);
        check->family = name;
        check->kind = (struct span){0};
        return;
    }
    if (!span_equal(word, SPAN("TYPE")) || !span_equal(name, check->family) || check->kind.len)
        page_fault("TYPE out of place", line);
    check->kind = rest;
    bool counter = span_equal(rest, SPAN("counter"));
    if (!counter && !span_equal(rest, SPAN("gauge")) && !span_equal(rest, SPAN("histogram")))
        page_fault("unknown type", line);
    if (counter != span_ends_with(name, SPAN("_total")))
        page_fault("counters and only counters end in _total", line);
}

/* One name="value" off the front of *rest. */
static void read_label(struct span *rest, struct span *ret_name, struct span *ret_value, struct span line)
{
    size_t equals = span_find(*rest, '=');
    *ret_name = span_take(*rest, equals);
    *rest = span_skip(*rest, equals + 1);
    if (!is_name(*ret_name, false) || rest->len == 0 || rest->ptr[0] != '"')
        page_fault("bad label name", line);
    size_t i = 1;
    while (i < rest->len && rest->ptr[i] != '"') {
        bool escape = rest->ptr[i] == '\\';
        if (escape && (i + 1 >= rest->len || !memchr("\\\"n", rest->ptr[i + 1], 3)))
            page_fault("bad escape", line);
        i += escape ? 2 : 1;
    }
    if (i >= rest->len)
        page_fault("unterminated label", line);
    *ret_value = span_of(rest->ptr + 1, i - 1);
    *rest = span_skip(*rest, i + 1);
}

static double to_number(struct page_check *check, struct span text, struct span line)
{
    char *end;
    if (span_equal(text, SPAN("+Inf")))
        return INFINITY;
    if (text.len == 0 || (!isdigit((unsigned char)text.ptr[0])))
        page_fault("bad number", line);
    double value = strtod(arena_copy(&check->arena, text).ptr, &end);
    if (*end)
        page_fault("bad number", line);
    return value;
}

static void finish_histogram(struct page_check *check, struct span line)
{
    if (check->labels.ptr && !(check->infinite && check->summed))
        page_fault("histogram ends without +Inf or _sum before", line);
    check->labels = (struct span){0};
    check->infinite = check->summed = false;
}

static void read_histogram(struct page_check *check, struct span suffix, struct span labels, struct span le,
                           double value, struct span line)
{
    if (span_equal(suffix, SPAN("_bucket"))) {
        if (!check->labels.ptr) {
            check->labels = labels;
            check->last_bound = -1;
            check->last_count = 0;
        }
        double bound = to_number(check, le, line);
        if (!span_equal(labels, check->labels) || bound <= check->last_bound || value < check->last_count)
            page_fault("bucket out of order", line);
        check->last_bound = bound;
        check->last_count = value;
        check->infinite = isinf(bound);
    } else if (span_equal(suffix, SPAN("_sum"))) {
        if (!check->infinite || !span_equal(labels, check->labels))
            page_fault("_sum out of place", line);
        check->summed = true;
    } else if (span_equal(suffix, SPAN("_count"))) {
        if (value != check->last_count || !span_equal(labels, check->labels))
            page_fault("_count differs from +Inf", line);
        finish_histogram(check, line);
    } else {
        page_fault("bad suffix", line);
    }
}

static void read_sample(struct page_check *check, struct span line)
{
    size_t brace = span_find(line, '{'), space = span_find(line, ' ');
    struct span name = span_take(line, brace < space ? brace : space), rest = span_skip(line, name.len), labels,
                le = {0};
    if (!is_name(name, true) || check->kind.len == 0 || !span_starts_with(name, check->family))
        page_fault("sample out of place", line);
    labels = span_of(rest.ptr, 0);
    if (brace < space) {
        struct span start = rest = span_skip(rest, 1), label, value;
        labels = start;
        do {
            size_t before = (size_t)(rest.ptr - start.ptr);
            read_label(&rest, &label, &value, line);
            labels = span_of(start.ptr, (size_t)(rest.ptr - start.ptr));
            if (span_equal(label, SPAN("le"))) {
                le = value;
                labels = span_of(start.ptr, before ? before - 1 : 0);
            }
        } while (rest.len && rest.ptr[0] == ',' && (rest = span_skip(rest, 1)).len);
        if (rest.len == 0 || rest.ptr[0] != '}')
            page_fault("unterminated labels", line);
        rest = span_skip(rest, 1);
    }
    if (table_put(&check->series, span_take(line, line.len - rest.len), check))
        page_fault("series twice", line);
    if (rest.len < 2 || rest.ptr[0] != ' ')
        page_fault("no value", line);
    double value = to_number(check, span_skip(rest, 1), line);
    check->samples++;
    struct span suffix = span_skip(name, check->family.len);
    if (span_equal(check->kind, SPAN("histogram")))
        read_histogram(check, suffix, labels, le, value, line);
    else if (suffix.len)
        page_fault("sample of no family", line);
}

/* Returns how many samples the page has. */
static inline unsigned check_page(struct span page)
{
    struct page_check check = {0};
    arena_init(&check.arena);
    table_init(&check.families);
    table_init(&check.series);
    assert_true(page.len && page.ptr[page.len - 1] == '\n');
    struct span rest = span_take(page, page.len - 1), line;
    while (span_split(&rest, '\n', &line)) {
        if (line.len == 0)
            page_fault("empty line", line);
        if (line.ptr[0] == '#') {
            finish_histogram(&check, line);
            read_comment(&check, line);
        } else {
            read_sample(&check, line);
        }
    }
    finish_histogram(&check, page);
    table_finish(&check.series);
    table_finish(&check.families);
    arena_finish(&check.arena);
    return check.samples;
}

#endif
