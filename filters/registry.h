/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry: the only list of filters. main hands it to the configuration (which settings exist) and to the gateway.
 */
#ifndef POSTERN_FILTERS_REGISTRY_H
#define POSTERN_FILTERS_REGISTRY_H

#include "gateway/snapshot.h"

extern const struct filter_registry filter_registry;

/* The settings of all filters a configuration may name. The first call makes the list: before there are threads. */
const struct settings_registry *filter_settings(void);

#endif
