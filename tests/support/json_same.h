/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_same: compares two JSON texts by value: members in any order, strings by what they decode to, numbers as they
 * are spelled. For small texts. cmocka's includes come first.
 */
#ifndef POSTERN_TESTS_SUPPORT_JSON_SAME_H
#define POSTERN_TESTS_SUPPORT_JSON_SAME_H

#include <stdbool.h>

#include "base/span.h"

/* False also when one of them is no valid JSON. */
bool json_same(struct span a, struct span b);
/* `a` is like `b`, from which the top-level member `missing` (plain name, NULL: none) was taken. Shows both if not. */
void assert_json_same(struct span a, struct span b, const char *missing, const char *what);

#endif
