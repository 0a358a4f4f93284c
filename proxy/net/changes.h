/* SPDX-License-Identifier: Apache-2.0 */
/*
 * changes: tells that files may have changed, wherever symbolic links lead to them. For configuration and secrets that
 * Kubernetes mounts: there `file` leads to `..data/file`, `..data` to a directory with a time for its name, and an
 * update renames another link onto `..data`. An editor writes in place or renames over; all of these are seen.
 *
 * The kernel tells (inotify) of the directories that hold a link on the way, the file itself, or, for a directory,
 * anything in it. Files on network mounts are changed by other machines, of which it does not tell, and there may be no
 * inotify to be had: so the paths are also looked at, rarely or (then) often.
 */
#ifndef POSTERN_NET_CHANGES_H
#define POSTERN_NET_CHANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/span.h"

struct changes;
struct loop;

/* Several changes in a row are told once, when there was none for CHANGES_QUIET, after CHANGES_MOST at the latest. µs
 * of loop time. */
#define CHANGES_QUIET UINT64_C(20000)
#define CHANGES_MOST  UINT64_C(200000)
/* How often paths are looked at beside what the kernel tells, and without that. */
#define CHANGES_LOOK_SELDOM UINT64_C(10000000)
#define CHANGES_LOOK_OFTEN  UINT64_C(400000)

/* Something may have changed; nothing need have: whoever is told reads and compares. From a timer. */
typedef void changes_fn(void *arg);

/* Watches nothing yet. `look_only`: without inotify, as when the kernel gives none. */
MUST_CHECK struct changes *changes_create(struct loop *loop, bool look_only, changes_fn *fn, void *arg);
/*
 * The paths to watch from now on, files and directories, there or not; copied. When they are others than before, `fn`
 * is called once, for what changed between the caller's reading and this call.
 */
void changes_set(struct changes *changes, const struct span *paths, size_t count);
/* Whether the kernel tells of all that is watched; else it is looked often. */
bool changes_told(const struct changes *changes);
/* NULL is allowed. */
void changes_destroy(struct changes *changes);

#endif
