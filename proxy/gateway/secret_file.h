/* SPDX-License-Identifier: Apache-2.0 */
/*
 * secret_file: the secret in a mounted file, read again when the file changes. Kubernetes swaps a symbolic link on the
 * way to it, so it is always looked at by its path.
 */
#ifndef POSTERN_GATEWAY_SECRET_FILE_H
#define POSTERN_GATEWAY_SECRET_FILE_H

#include <stdbool.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/compiler.h"
#include "base/span.h"

/* Larger files are no secret of ours. */
#define SECRET_FILE_BYTES ((size_t)64 * 1024)

/*
 * Appends the content to *out, without white space at either end: never empty, of visible ASCII and blanks only unless
 * `lines` (PEM). `path` is followed by a NUL. False, with nothing appended and *ret_reason (static or from strerror)
 * completing "the file
 * ...".
 */
MUST_CHECK bool secret_file_read(struct span path, bool lines, struct buffer *out, const char **ret_reason);

/* What tells that a file is another one. Zeroed: never seen. */
struct secret_mark {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed, modified;
};

/* Whether the file is another than *mark says (or cannot be looked at); *mark is then what it is now. */
MUST_CHECK bool secret_file_changed(struct span path, struct secret_mark *mark);

#endif
