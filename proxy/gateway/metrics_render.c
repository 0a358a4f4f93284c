/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "gateway/metrics.h"
#include "gateway/metrics_series.h"
#include "gateway/worker.h"

/* The sum of all workers' series of one key. */
struct merged {
    struct span labels;
    struct merged *next;
    uint64_t *values;
};

struct merging {
    struct arena arena;
    struct table by_key;
    struct merged *first[METRIC_FAMILY_COUNT];
};

static void merge_series(struct merging *all, const struct metrics_series *series)
{
    unsigned count = metrics_value_count(&metrics_families[series->family]);
    struct merged *merged = table_get(&all->by_key, series->key);
    if (!merged) {
        merged = ARENA_NEW(&all->arena, struct merged);
        merged->labels = series->labels;
        merged->values = ARENA_ARRAY(&all->arena, uint64_t, count);
        (void)table_put(&all->by_key, series->key, merged);
        /* A worker's newest series comes first; this puts the oldest first. */
        merged->next = all->first[series->family];
        all->first[series->family] = merged;
    }
    for (unsigned i = 0; i < count; i++)
        merged->values[i] += metrics_read(series, i);
}

static void merge(struct merging *all, const struct metrics_hub *hub)
{
    *all = (struct merging){0};
    arena_init(&all->arena);
    table_init(&all->by_key);
    const struct metrics *metrics = atomic_load_explicit(&hub->first, memory_order_acquire);
    for (; metrics; metrics = metrics->next) {
        const struct metrics_series *series = atomic_load_explicit(&metrics->first, memory_order_acquire);
        for (; series; series = atomic_load_explicit(&series->next, memory_order_relaxed))
            merge_series(all, series);
    }
}

static void merge_finish(struct merging *all)
{
    table_finish(&all->by_key);
    arena_finish(&all->arena);
}

/* ---- text ---- */

static void append_number(struct buffer *text, uint64_t number)
{
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    buffer_append(text, span_of(digits + at, sizeof(digits) - at));
}

/* µs as seconds, without trailing zeros. */
static void append_seconds(struct buffer *text, uint64_t micros)
{
    append_number(text, micros / CLOCK_SECOND);
    unsigned rest = (unsigned)(micros % CLOCK_SECOND);
    if (!rest)
        return;
    char digits[7] = {'.'};
    size_t len = 7;
    for (size_t i = 6; i > 0; i--, rest /= 10)
        digits[i] = (char)('0' + rest % 10);
    while (digits[len - 1] == '0')
        len--;
    buffer_append(text, span_of(digits, len));
}

static void append_amount(struct buffer *text, uint64_t amount, bool micros)
{
    if (micros)
        append_seconds(text, amount);
    else
        append_number(text, amount);
}

static void append_head(struct buffer *text, const char *name, const char *help, enum metrics_kind kind)
{
    static const char *const kinds[] = {
        [METRICS_COUNTER] = "counter", [METRICS_GAUGE] = "gauge", [METRICS_HISTOGRAM] = "histogram"};
    buffer_format(text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kinds[kind]);
}

static void append_name(struct buffer *text, const char *name, const char *suffix, struct span labels)
{
    buffer_append(text, span_str(name));
    buffer_append(text, span_str(suffix));
    if (labels.len) {
        buffer_append(text, SPAN("{"));
        buffer_append(text, labels);
        buffer_append(text, SPAN("}"));
    }
    buffer_append(text, SPAN(" "));
}

static void append_histogram(struct buffer *text, const struct metrics_family *family, const struct merged *merged)
{
    uint64_t count = 0;
    for (unsigned i = 0; i <= family->bound_count; i++) {
        count += merged->values[i];
        buffer_append(text, span_str(family->name));
        buffer_append(text, SPAN("_bucket{"));
        buffer_append(text, merged->labels);
        if (merged->labels.len)
            buffer_append(text, SPAN(","));
        buffer_append(text, SPAN("le=\""));
        if (i == family->bound_count)
            buffer_append(text, SPAN("+Inf"));
        else
            append_amount(text, family->bounds[i], family->micros);
        buffer_append(text, SPAN("\"} "));
        append_number(text, count);
        buffer_append(text, SPAN("\n"));
    }
    append_name(text, family->name, "_sum", merged->labels);
    append_amount(text, merged->values[family->bound_count + 1], family->micros);
    buffer_append(text, SPAN("\n"));
    append_name(text, family->name, "_count", merged->labels);
    append_number(text, count);
    buffer_append(text, SPAN("\n"));
}

static void append_family(struct buffer *text, const struct metrics_family *family, const struct merged *merged)
{
    if (merged)
        append_head(text, family->name, family->help, family->kind);
    for (; merged; merged = merged->next) {
        if (family->kind == METRICS_HISTOGRAM) {
            append_histogram(text, family, merged);
            continue;
        }
        append_name(text, family->name, "", merged->labels);
        append_amount(text, merged->values[0], family->micros);
        buffer_append(text, SPAN("\n"));
    }
}

/* ---- of the process ---- */

static uint64_t resident_bytes(void)
{
    unsigned long long size, resident;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file)
        return 0;
    int found = fscanf(file, "%llu %llu", &size, &resident);
    (void)fclose(file);
    long page = sysconf(_SC_PAGESIZE);
    return found == 2 && page > 0 ? (uint64_t)resident * (uint64_t)page : 0;
}

static void append_gauge(struct buffer *text, const char *name, const char *help, uint64_t value)
{
    append_head(text, name, help, METRICS_GAUGE);
    append_name(text, name, "", (struct span){0});
    append_number(text, value);
    buffer_append(text, SPAN("\n"));
}

/* Nothing where the configuration is part of the program. */
static void append_reload(struct buffer *text, const struct reload_status *reload)
{
    static const char total[] = "postern_config_reloads_total";
    uint64_t generation = atomic_load(&reload->generation);
    if (!generation)
        return;
    append_gauge(text, "postern_config_generation", "Which configuration of this process is in force, from 1.",
                 generation);
    append_gauge(text, "postern_config_last_reload_successful", "0 while the text that is there is refused.",
                 atomic_load(&reload->failing) ? 0 : 1);
    append_head(text, "postern_config_last_reload_success_timestamp_seconds",
                "When the text was last found good, since 1970.", METRICS_GAUGE);
    buffer_append(text, SPAN("postern_config_last_reload_success_timestamp_seconds "));
    append_seconds(text, atomic_load(&reload->at));
    buffer_append(text, SPAN("\n"));
    append_head(text, total, "Readings of the configuration, by what came of them.", METRICS_COUNTER);
    for (unsigned i = 0; i < RELOAD_RESULTS; i++)
        buffer_format(text, "%s{result=\"%s\"} %llu\n", total, reload_result_word((enum reload_result)i),
                      (unsigned long long)atomic_load(&reload->counts[i]));
}

static void append_process(struct buffer *text, struct process *process)
{
    append_gauge(text, "postern_held_bytes", "Bytes of request bodies that are held.",
                 atomic_load_explicit(&process->held, memory_order_relaxed));
    append_gauge(text, "postern_ready", "1 while /readyz says so.", atomic_load(&process->ready) ? 1 : 0);
    append_gauge(text, "postern_workers", "Threads that serve.", process->worker_count);
    append_head(text, "postern_build_info", "Always 1.", METRICS_GAUGE);
    buffer_append(text, SPAN("postern_build_info{version=\"" POSTERN_VERSION "\"} 1\n"));
    append_head(text, "postern_start_time_seconds", "When the process began, since 1970.", METRICS_GAUGE);
    buffer_append(text, SPAN("postern_start_time_seconds "));
    append_seconds(text, process->started_wall);
    buffer_append(text, SPAN("\n"));
    append_reload(text, &process->reload);
    append_gauge(text, "process_resident_memory_bytes", "Resident memory.", resident_bytes());
}

void metrics_render(struct process *process, struct buffer *text)
{
    struct merging all;
    merge(&all, process->metrics);
    for (unsigned i = 0; i < METRIC_FAMILY_COUNT; i++)
        append_family(text, &metrics_families[i], all.first[i]);
    append_process(text, process);
    merge_finish(&all);
}
