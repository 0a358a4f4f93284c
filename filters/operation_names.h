/* SPDX-License-Identifier: Apache-2.0 */
/*
 * operation_names: lists of operations in settings, by the names that the access log uses.
 */
#ifndef POSTERN_FILTERS_OPERATION_NAMES_H
#define POSTERN_FILTERS_OPERATION_NAMES_H

#include "base/span.h"
#include "config/report.h"
#include "config/schema.h"

/*
 * Reports each item of `list`, the value of "operations" in `settings`, that is no operation, with those that are and
 * the nearest. `also`: one more word that is allowed, or empty.
 */
void operation_names_check(const struct settings *settings, const struct setting_list *list, struct span also,
                           struct report *report);

#endif
