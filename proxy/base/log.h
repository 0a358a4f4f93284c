/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process's own log (not the access log, which is gateway/access_log.h): one line per event on standard error, as
 * text or as JSON. Never pass prompts, completions, credentials or header values here. Thread-safe: a line is one
 * write.
 *
 *     log_write(LOG_WARNING, "tls", "certificate %s not reloaded: %s", path, reason);
 */
#ifndef POSTERN_BASE_LOG_H
#define POSTERN_BASE_LOG_H

#include <stdbool.h>

#include "base/compiler.h"

/* Rising detail. DEBUG shows state changes of connections and exchanges. */
enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

enum log_format { LOG_TEXT, LOG_JSON };

void log_configure(enum log_level level, enum log_format format);
/* This level from now on, whatever log_configure says: the command line's. */
void log_pin(enum log_level level);
/* "error", "warning", "info", "debug". False for anything else. */
bool log_level_of(const char *name, enum log_level *ret);
/* Whether lines of this level are written: guard for costly arguments. */
bool log_enabled(enum log_level level);
/* `area` is a short lower-case word: the part that speaks (tls, pool, config). A line is cut at 2 KiB. */
void log_write(enum log_level level, const char *area, const char *format, ...) PRINTF_LIKE(3, 4);

#endif
