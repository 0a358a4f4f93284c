/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/reload.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "net/changes.h"
#include "net/loop.h"

/* What was refused may be fit later: an address is given up, a name resolves. */
#define TRY_AGAIN (10 * CLOCK_SECOND)

/* One reading, made by the thread and handed to the loop. */
struct reading {
    struct mail mail;
    struct reload *reload;
    struct snapshot *now; /* in force when it began; a reference */
    bool forced;
    struct trace trace;
    struct report report;
    bool same;             /* as the one in force */
    struct snapshot *next; /* NULL: refused, or the same */
};

struct reload {
    struct loop *loop;
    struct reload_options options;
    struct snapshot *now; /* a reference */
    struct changes *changes;
    struct timer again;
    pthread_t thread;
    struct reading *reading; /* under way; NULL: none */
    bool wanted, force;      /* another one when that is over */
    bool stopped;
};

const char *reload_result_word(enum reload_result result)
{
    static const char *const words[] = {
        [RELOAD_APPLIED] = "applied", [RELOAD_REFUSED] = "refused", [RELOAD_UNCHANGED] = "unchanged"};
    _Static_assert(ARRAY_LEN(words) == RELOAD_RESULTS, "every result has a word");
    return words[result];
}

/* ---- reading, on its thread ---- */

static void *read_it(void *arg)
{
    struct reading *reading = arg;
    const struct reload_options *options = &reading->reload->options;
    struct config *config;
    if (config_load_traced(options->path, options->settings, 0, &reading->trace, &reading->report, &config)) {
        const struct config *now = reading->now->config;
        reading->same = !reading->forced && memcmp(config->digest, now->digest, sizeof(now->digest)) == 0;
        if (reading->same) {
            config_free(config);
        } else {
            (void)config_compare(now, config, &reading->report);
            reading->next = snapshot_create(config, options->filters, false, &reading->report);
        }
    }
    loop_call(reading->reload->loop, &reading->mail);
    memory_blocks_drop();
    return NULL;
}

static void reading_free(struct reading *reading)
{
    snapshot_unref(reading->next);
    snapshot_unref(reading->now);
    report_finish(&reading->report);
    trace_finish(&reading->trace);
    free(reading);
}

/* ---- what came of it ---- */

void reload_log(const struct report *report)
{
    for (const struct report_entry *entry = report->first; entry; entry = entry->next) {
        struct buffer line = {0};
        report_print_place(entry->place, &line);
        if (buffer_len(&line))
            buffer_append(&line, SPAN(": "));
        buffer_append(&line, entry->text);
        struct span text = buffer_len(&line) ? buffer_span(&line) : SPAN("refused");
        log_write(entry->warning ? LOG_WARNING : LOG_ERROR, "config", "%.*s", SPAN_ARG(text));
        buffer_finish(&line);
    }
}

static void count(struct reload *reload, enum reload_result result)
{
    atomic_fetch_add_explicit(&reload->options.status->counts[result], 1, memory_order_relaxed);
}

static void succeeded(struct reload *reload)
{
    struct reload_status *status = reload->options.status;
    atomic_store(&status->at, clock_wall());
    atomic_store(&status->generation, reload->now->generation);
    atomic_store(&status->failing, false);
    buffer_finish(&status->errors);
    status->errors = (struct buffer){0};
    timer_clear(reload->loop, &reload->again);
}

static void applied(struct reload *reload, struct reading *reading)
{
    snapshot_unref(reload->now);
    reload->now = snapshot_ref(reading->next);
    reload_log(&reading->report);
    succeeded(reload);
    count(reload, RELOAD_APPLIED);
    log_write(LOG_INFO, "config", "configuration %llu is in force", (unsigned long long)reload->now->generation);
}

/* A refusal is said when it is new, not at each event that finds it again. */
static void refused(struct reload *reload, const struct reading *reading)
{
    struct reload_status *status = reload->options.status;
    struct buffer errors = {0};
    report_print(&reading->report, &errors);
    bool known = atomic_load(&status->failing) && span_equal(buffer_span(&errors), buffer_span(&status->errors));
    timer_set(reload->loop, &reload->again, loop_now(reload->loop) + TRY_AGAIN);
    if (known && !reading->forced) {
        buffer_finish(&errors);
        return;
    }
    buffer_finish(&status->errors);
    status->errors = errors;
    status->refused_at = clock_wall();
    atomic_store(&status->failing, true);
    count(reload, RELOAD_REFUSED);
    reload_log(&reading->report);
    log_write(LOG_ERROR, "config", "the new configuration was refused; the last good one stays in force");
}

static void unchanged(struct reload *reload)
{
    bool recovered = atomic_load(&reload->options.status->failing);
    succeeded(reload);
    count(reload, RELOAD_UNCHANGED);
    if (recovered)
        log_write(LOG_INFO, "config", "the configuration is again the one in force");
}

/* What the reading looked at; after a refusal also what the one in force was made of, since it may stop early. */
static void watch_files(struct reload *reload, const struct reading *reading)
{
    const struct config *config = reload->now->config;
    struct span *paths = memory_array(reading->trace.count + config->file_count + 1, sizeof(*paths));
    size_t number = 0;
    for (size_t i = 0; i < config->file_count; i++)
        paths[number++] = config->files[i];
    for (const struct trace_path *path = reading->trace.first; path; path = path->next) {
        bool known = false;
        for (size_t i = 0; i < config->file_count && !known; i++)
            known = span_equal(config->files[i], path->path);
        if (!known)
            paths[number++] = path->path;
    }
    changes_set(reload->changes, paths, number);
    free(paths);
}

static void start(struct reload *reload, bool forced);

static void finished(struct mail *mail)
{
    struct reading *reading = CONTAINER_OF(mail, struct reading, mail);
    struct reload *reload = reading->reload;
    (void)pthread_join(reload->thread, NULL);
    reload->reading = NULL;
    if (reload->stopped) {
        reading_free(reading);
        return;
    }
    if (reading->next && reading->report.errors == 0 &&
        reload->options.take(reload->options.arg, snapshot_ref(reading->next), &reading->report))
        applied(reload, reading);
    else if (reading->same)
        unchanged(reload);
    else
        refused(reload, reading);
    watch_files(reload, reading);
    reading_free(reading);
    if (reload->wanted)
        start(reload, reload->force);
}

/* ---- starting ---- */

static void start(struct reload *reload, bool forced)
{
    if (reload->stopped)
        return;
    if (reload->reading) {
        reload->wanted = true;
        reload->force |= forced;
        return;
    }
    reload->wanted = reload->force = false;
    struct reading *reading = memory_zalloc(sizeof(*reading));
    reading->mail.run = finished;
    reading->reload = reload;
    reading->now = snapshot_ref(reload->now);
    reading->forced = forced;
    trace_init(&reading->trace);
    report_init(&reading->report);
    if (pthread_create(&reload->thread, NULL, read_it, reading) == 0) {
        reload->reading = reading;
        return;
    }
    log_write(LOG_ERROR, "config", "no thread to read the configuration with; trying again");
    timer_set(reload->loop, &reload->again, loop_now(reload->loop) + TRY_AGAIN);
    reading_free(reading);
}

static void changed(void *arg)
{
    start(arg, false);
}

static void again(struct timer *timer)
{
    start(CONTAINER_OF(timer, struct reload, again), false);
}

void reload_force(struct reload *reload)
{
    start(reload, true);
}

void reload_stop(struct reload *reload)
{
    reload->stopped = true;
    timer_clear(reload->loop, &reload->again);
    changes_destroy(reload->changes);
    reload->changes = NULL;
}

/* ---- life ---- */

struct reload *reload_create(struct loop *loop, const struct reload_options *options, struct snapshot *now)
{
    struct reload *reload = memory_zalloc(sizeof(*reload));
    reload->loop = loop;
    reload->options = *options;
    reload->now = snapshot_ref(now);
    reload->again.fire = again;
    reload->changes = changes_create(loop, false, changed, reload);
    succeeded(reload);
    changes_set(reload->changes, now->config->files, now->config->file_count);
    return reload;
}

void reload_destroy(struct reload *reload)
{
    if (!reload)
        return;
    if (reload->reading) {
        (void)pthread_join(reload->thread, NULL);
        reading_free(reload->reading);
    }
    timer_clear(reload->loop, &reload->again);
    changes_destroy(reload->changes);
    snapshot_unref(reload->now);
    buffer_finish(&reload->options.status->errors);
    free(reload);
}
