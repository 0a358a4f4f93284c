/* SPDX-License-Identifier: Apache-2.0 */
/*
 * value: the spellings of single values, both ways. All parsers take the whole text, without blanks, and write *ret on
 * success only.
 */
#ifndef POSTERN_CONFIG_VALUE_H
#define POSTERN_CONFIG_VALUE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/compiler.h"
#include "base/span.h"
#include "config/schema.h"

/* "true" or "false". */
MUST_CHECK bool value_bool(struct span text, bool *ret);
/* Words that some YAML readers take for true or false: yes, no, on, off, true, false, in any case. */
bool value_is_yaml_bool(struct span text, bool *ret);
/* null, Null, NULL, ~ or nothing. */
bool value_is_yaml_null(struct span text);

/* "0", or digits and B, KiB, MiB or GiB: bytes. */
MUST_CHECK bool value_size(struct span text, uint64_t *ret);
/* Digits and d, h, m, s or ms, once or several times in falling order ("90s", "1m30s", "0s"): microseconds. */
MUST_CHECK bool value_duration(struct span text, uint64_t *ret);
/* Digits, or digits '.' digits. */
MUST_CHECK bool value_decimal(struct span text, double *ret);
/* "100000/minute"; the amount is above zero, a fraction only if `fraction`. */
MUST_CHECK bool value_rate(struct span text, bool fraction, struct setting_rate *ret);
/* A number as RFC 8259 section 6 spells it. */
bool value_is_json_number(struct span text);
/* What some YAML reader takes for a number though JSON does not: 010, 0x1F, 1_000, .5, +1, .inf. */
bool value_is_yaml_number(struct span text);

/* "unix:/path", "127.0.0.1:80", "[::1]:80". On failure *ret_reason completes "must be ...": static text. */
MUST_CHECK bool value_address(struct arena *arena, struct span text, struct setting_address *ret,
                              const char **ret_reason);
/* *ret_reason is static text that completes "the URL ...". */
MUST_CHECK bool value_url(struct arena *arena, struct span text, struct setting_url *ret, const char **ret_reason);
MUST_CHECK bool value_network(struct span text, struct setting_network *ret);

/* The shortest spelling that gives the same value: "64KiB", "90s", "4h". */
void value_print_size(uint64_t bytes, struct buffer *out);
void value_print_duration(uint64_t micros, struct buffer *out);

#endif
