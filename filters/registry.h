/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry: the only list of filters. main hands it to the configuration (which settings exist) and to the gateway.
 */
#ifndef POSTERN_FILTERS_REGISTRY_H
#define POSTERN_FILTERS_REGISTRY_H

#include "gateway/snapshot.h"

extern const struct filter_registry filter_registry;

#endif
