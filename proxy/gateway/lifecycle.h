/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lifecycle: a process from its first listener to its exit.
 *
 *   start    bind, start workers, ready
 *   SIGHUP   read the configuration again; a broken one changes nothing
 *   SIGTERM, SIGINT, or POST /drain on the control socket:
 *            unready at once; listeners stay open for drain.delay (endpoints take time to propagate, the application
 * may still be calling); then they close, connections get GOAWAY or Connection: close, and streams finish within
 *            drain.grace; what is left then is told so and cut. Exit 0. A second signal cuts at once; the first one
 *            after POST /drain does not.
 */
#ifndef POSTERN_GATEWAY_LIFECYCLE_H
#define POSTERN_GATEWAY_LIFECYCLE_H

#include "gateway/snapshot.h"

struct serve_options {
    const struct filter_registry *registry;
    const struct settings_registry *settings;
    const char *config_path; /* for SIGHUP; NULL: there is no file */
    /* Called once when everything listens; `ret` addresses may hold ports chosen by the kernel. */
    void (*ready)(const struct snapshot *snapshot, void *arg);
    void *arg;
};

/*
 * Serves until told to end. Takes the caller's reference to the snapshot. Returns the exit code: 0, or 1 when a
 * listener or a worker's thread cannot be had (said on the log).
 */
MUST_CHECK int lifecycle_serve(struct snapshot *snapshot, const struct serve_options *options);

#endif
