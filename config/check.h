/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check: what the parts of a configuration must be to each other: listeners that strangers reach, entries that nothing
 * can reach, references made into indexes. Each part's own rules stand with its table.
 */
#ifndef POSTERN_CONFIG_CHECK_H
#define POSTERN_CONFIG_CHECK_H

#include "config/report.h"

struct config;

/*
 * Reports what is wrong and completes target_index and workers. Parts that could not be read are passed over: their own
 * errors have been reported.
 */
void check_config(struct config *config, struct report *report);

#endif
