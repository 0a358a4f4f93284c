/* SPDX-License-Identifier: Apache-2.0 */
/*
 * access_log: one JSON object per line and exchange: ids, listener, consumer, operation, model asked and served,
 * target, attempts with reasons, status, fault, tokens, times, own overhead. Never text of prompts or completions,
 * never credentials or queries, never header values other than ids and user agent; a path only where it is no
 * operation. What the line holds: gateway/access_log_line.c.
 *
 * Lines are collected per worker and written when about 64 KiB have gathered or after 200 ms: to a file with one system
 * call, to a pipe or terminal in pieces of whole lines up to PIPE_BUF, so that workers do not tear each other's lines.
 * A destination that does not take them loses lines, counted, rather than stopping the service. A file is created with
 * mode 0640 and only ever appended to.
 */
#ifndef POSTERN_GATEWAY_ACCESS_LOG_H
#define POSTERN_GATEWAY_ACCESS_LOG_H

#include "gateway/filter.h"

struct access_log;
struct config_log;
struct exchange;
struct worker;

/* `config` says where to; it must outlive the log or be replaced by access_log_adopt. */
MUST_CHECK struct access_log *access_log_create(struct worker *worker, const struct config_log *config);
/* Writes what is left, closes. NULL is allowed. */
void access_log_destroy(struct access_log *log);
/* A reload: another destination, or the same file opened again (log rotation). */
void access_log_adopt(struct access_log *log, const struct config_log *config);
void access_log_write(const struct exchange *exchange, enum outcome outcome);
/* Lines lost since the start. */
uint64_t access_log_lost(const struct access_log *log);

#endif
