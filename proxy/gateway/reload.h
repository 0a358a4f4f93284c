/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reload: the configuration as it changes. Its files, and the secrets and certificates it names, are watched
 * (net/changes.h); a change is read and checked by a thread of its own, so that no stream waits for a long text, and
 * offered to the owner when it is good. One that is broken changes nothing: it is said in the log, in /status and in
 * metrics, and the last good one stays until another text is there; one that was refused for what lies outside of the
 * files (an address in use) is tried again. A text that says the same as the one in force is not taken again.
 *
 * Lives on one loop, the first worker's.
 */
#ifndef POSTERN_GATEWAY_RELOAD_H
#define POSTERN_GATEWAY_RELOAD_H

#include "base/buffer.h"
#include "config/report.h"
#include "gateway/snapshot.h"

struct loop;
struct reload;

/* What has come of reloading, for /status and metrics. Written by the reload's thread. */
enum reload_result { RELOAD_APPLIED, RELOAD_REFUSED, RELOAD_UNCHANGED, RELOAD_RESULTS };
struct reload_status {
    _Atomic bool failing;        /* the last text was refused */
    _Atomic uint64_t at;         /* of the last good load, µs since 1970; the start counts */
    _Atomic uint64_t generation; /* in force */
    _Atomic uint64_t counts[RELOAD_RESULTS];
    uint64_t refused_at;  /* µs since 1970; this and the text: own thread only */
    struct buffer errors; /* why, a line each; empty unless failing */
};
/* "applied", "refused", "unchanged". */
const char *reload_result_word(enum reload_result result);

/* Every entry as a line of the log. */
void reload_log(const struct report *report);

struct reload_options {
    const char *path;
    const struct settings_registry *settings;
    const struct filter_registry *filters;
    struct reload_status *status; /* outlives the reload */
    /*
     * A good configuration: takes the reference and puts it in force, or returns false after a report_error (the
     * reference is given back then).
     */
    bool (*take)(void *arg, struct snapshot *next, struct report *report);
    void *arg;
};

/* Watches from now on. `now` is the snapshot in force. The status says so. */
MUST_CHECK struct reload *reload_create(struct loop *loop, const struct reload_options *options, struct snapshot *now);
/* Reads again at once, and takes the text also if it says the same: SIGHUP. */
void reload_force(struct reload *reload);
/* The configuration stays what it is from now on. */
void reload_stop(struct reload *reload);
/* Not while the loop runs: only before or after. Waits for a reading under way, and drops its outcome. NULL is allowed.
 */
void reload_destroy(struct reload *reload);

#endif
