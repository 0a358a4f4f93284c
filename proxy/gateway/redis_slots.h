/* SPDX-License-Identifier: Apache-2.0 */
/*
 * redis_slots: what a Redis Cluster says about where keys are: the slot of a key, MOVED and ASK, the answer to CLUSTER
 * SLOTS (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/). Values in, values out.
 */
#ifndef POSTERN_GATEWAY_REDIS_SLOTS_H
#define POSTERN_GATEWAY_REDIS_SLOTS_H

#include "gateway/redis.h"

#define REDIS_SLOTS 16384
/* Nodes of one cluster, replicas included, that are taken notice of. */
#define REDIS_NODES 1024

/* "MOVED 3999 127.0.0.1:6381", "ASK 3999 host:6381", "MOVED 1 :6381" (same host as the one that says it). */
struct redis_redirect {
    bool ask;
    unsigned slot;
    struct redis_address address; /* empty host: that of the node that says it; in the text given */
};
MUST_CHECK bool redis_redirect_parse(struct span text, struct redis_redirect *ret);

/* One run of slots with the nodes that serve it, the master first. */
struct redis_range {
    unsigned first, last;
    const struct redis_value *nodes; /* each for redis_range_node */
    size_t node_count;               /* at least 1 */
};
/* The answer of CLUSTER SLOTS. False when it has not that shape or no range at all. */
MUST_CHECK bool redis_ranges_check(const struct redis_value *value);
/* The index-th range of a checked answer. */
struct redis_range redis_range(const struct redis_value *value, size_t index);
/* Where that node is; an empty host (unknown to the cluster itself) stands for the host of the node that was asked. */
struct redis_address redis_range_node(const struct redis_range *range, size_t index);

#endif
