/* SPDX-License-Identifier: Apache-2.0 */
/*
 * router: from what a request asks for to what may serve it. Pure look-ups in a snapshot, and the order in which an
 * exchange's targets are tried.
 */
#ifndef POSTERN_GATEWAY_ROUTER_H
#define POSTERN_GATEWAY_ROUTER_H

#include <stdint.h>

#include "base/buffer.h"
#include "gateway/snapshot.h"

struct exchange;

/* The model's route: an exact name first, then the first pattern that fits. NULL when there is none. */
const struct model_route *router_model(const struct snapshot *snapshot, struct span name);
/* The passthrough with the longest matching path prefix, or NULL. */
const struct passthrough_route *router_passthrough(const struct snapshot *snapshot, struct span path);
/*
 * Where a stateful operation goes: the model's stateful target, the listener's, or the only target there is.
 * NULL: it cannot be told. `model` may be NULL.
 */
const struct model_target *router_stateful(const struct snapshot *snapshot, const struct listener_use *listener,
                                           const struct model_route *model);
/*
 * Orders a model's targets for one exchange into `ret` (room for target_count): by priority; within one priority by
 * weighted chance; those that cool down or rest at `now` behind all others, soonest first. Returns how many.
 */
unsigned router_order(const struct model_route *model, uint64_t now, uint64_t *random, const struct model_target **ret);

/*
 * The body of GET /v1/models, or with `azure` of /openai/models: the configured names without patterns, and of them
 * those that `shown` says yes to.
 */
typedef bool router_shown(const struct exchange *exchange, struct span model);
void router_list_models(const struct snapshot *snapshot, const struct exchange *exchange, router_shown *shown,
                        bool azure, struct buffer *json);
/* The body of GET /v1/models/{name}; false when there is no such model. */
bool router_show_model(const struct snapshot *snapshot, struct span name, bool azure, struct buffer *json);

#endif
