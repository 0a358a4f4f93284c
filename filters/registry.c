/* SPDX-License-Identifier: Apache-2.0 */
#include "filters/registry.h"

/* Each is the one symbol that its file exports. */
extern const struct filter_type filter_admin;
extern const struct filter_type filter_authenticate;
extern const struct filter_type filter_authorize;
extern const struct filter_type filter_cache;
extern const struct filter_type filter_headers;
extern const struct filter_type filter_inject;
extern const struct filter_type filter_rate_limit;

/* In the order in which they usually stand in a configuration; the reference page follows it. */
static const struct filter_type *const types[] = {
    &filter_authenticate, &filter_authorize, &filter_rate_limit, &filter_cache, &filter_headers, &filter_inject,
};

const struct settings_registry *filter_settings(void)
{
    static struct settings_registry_entry entries[ARRAY_LEN(types)];
    static struct settings_registry registry = {.entries = entries};
    if (registry.count)
        return &registry;
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        entries[i] = (struct settings_registry_entry){.name = types[i]->name,
                                                      .spec = types[i]->settings,
                                                      .flags = (types[i]->authenticates ? SETTINGS_AUTHENTICATES : 0u) |
                                                               (types[i]->serves ? SETTINGS_SERVES : 0u)};
    registry.count = ARRAY_LEN(types);
    return &registry;
}

const struct filter_registry filter_registry = {.types = types, .count = ARRAY_LEN(types), .admin = &filter_admin};
