/* SPDX-License-Identifier: Apache-2.0 */
#include "filters/registry.h"

/* Each is the one symbol that its file exports. */
extern const struct filter_type filter_admin;
extern const struct filter_type filter_authenticate;
extern const struct filter_type filter_authorize;
extern const struct filter_type filter_headers;
extern const struct filter_type filter_rate_limit;

/* In the order in which they usually stand in a configuration; the reference page follows it. */
static const struct filter_type *const types[] = {
    &filter_authenticate,
    &filter_authorize,
    &filter_rate_limit,
    &filter_headers,
};

const struct filter_registry filter_registry = {.types = types, .count = ARRAY_LEN(types), .admin = &filter_admin};
