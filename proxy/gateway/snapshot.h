/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot: one loaded configuration made ready to serve: names resolved to pointers, models in a table, filters bound
 * to their types. Immutable and reference-counted (atomically: workers share it); an exchange keeps the one it started
 * with, so a reload never touches a live stream. What must outlive it (cool-downs, pools, filter instances) is matched
 * by name and lives elsewhere.
 */
#ifndef POSTERN_GATEWAY_SNAPSHOT_H
#define POSTERN_GATEWAY_SNAPSHOT_H

#include <stdatomic.h>

#include "base/arena.h"
#include "base/table.h"
#include "config/config.h"
#include "gateway/egress.h"
#include "gateway/filter.h"
#include "net/tls.h"
#include "openai/operations.h"

struct identity;
struct model_target;
struct target_limit;
struct target_state;

/* One named filter instance, as a listener or model uses it. */
struct filter_use {
    const struct filter_type *type;
    struct span name;
    const void *settings;
    unsigned index; /* of the instance in this snapshot: worker_instance finds it */
};

struct filter_list {
    struct filter_use *uses;
    unsigned count;
};

struct listener_use {
    struct span name;
    const struct config_listener *config; /* NULL for the admin listener and the control socket */
    struct filter_list filters;
    bool admin;   /* serves only what its filters answer; no access-log line, no operations */
    bool control; /* the control socket: may change things */
    bool serves;  /* its last filter answers everything (struct filter_type) */
    unsigned index;
    const struct model_target *stateful; /* where stateful operations without a model go; NULL: nowhere sure */
};

struct target {
    const struct config_target *config;
    struct span name;
    unsigned index;
    enum dialect dialect; /* for AS_CLIENT the api version comes from the call */
    bool api_as_client;
    struct span api_version;       /* dated Azure only */
    struct span base_path;         /* "/v1", "" ...; for Azure what precedes /openai */
    struct span authority;         /* Host */
    struct span provider;          /* gen_ai.provider.name: "openai", "azure.ai.openai", "postern.mock" */
    const struct setting_url *url; /* NULL for a mock */
    struct tls_context *tls;       /* NULL: plain */
    struct span alpn;
    bool h2_prior_knowledge;
    struct egress proxy;
    const struct identity *identity; /* NULL: no credential is sent */
};

/* One way to serve a model. */
struct model_target {
    const struct target *target;
    struct span deployment; /* empty: the name asked for */
    unsigned priority, weight;
    struct target_state *state;        /* cool-down, shared by all workers and snapshots */
    const struct target_limit *limits; /* gateway/target_limits.h */
    unsigned limit_count;
    struct span limit_store; /* a name in config.stores; empty: memory */
};

struct model_route {
    struct span name; /* as configured, "gpt-4o", "phi-*", "*": the model label of metrics */
    bool wildcard;
    struct model_target *targets; /* by priority */
    unsigned target_count;
    struct filter_list filters;
    const struct model_target *stateful; /* where stateful operations go; NULL: nowhere sure */
};

struct passthrough_route {
    struct span path;
    struct model_target target;
    struct filter_list filters;
};

struct snapshot {
    atomic_uint refs;
    uint64_t generation;  /* 1, 2, 3 ... of this process */
    uint64_t loaded_wall; /* µs since 1970 */
    struct config *config;
    struct arena arena;
    struct listener_use *listeners;
    unsigned listener_count;
    struct listener_use *admin, *control; /* NULL: none */
    struct identity *identities;          /* those of config.credentials, then those written at targets */
    unsigned identity_count;
    struct target *targets;
    unsigned target_count;
    struct model_route *models; /* in the order of the configuration */
    unsigned model_count;
    struct table exact; /* name -> model_route */
    struct passthrough_route *passthrough;
    unsigned passthrough_count;
    struct filter_use *instances; /* every named instance, by index */
    unsigned instance_count;
    unsigned filters_most;      /* most filters that one exchange can have */
    struct model_target *plain; /* one per target, without deployment: for passthrough and stateful operations */
    const struct model_target *only_target; /* when the configuration has just one target */
};

/* Which filter types exist; main passes filters/registry.c's. */
struct filter_registry {
    const struct filter_type *const *types; /* those a configuration may name */
    size_t count;
    const struct filter_type *admin; /* answers on the admin listener and the control socket */
};

/*
 * Builds a snapshot with one reference. Takes `config` over in either case. On failure NULL, with the problems in
 * `report`. CA files are read here; with `offline` not.
 */
MUST_CHECK struct snapshot *snapshot_create(struct config *config, const struct filter_registry *registry, bool offline,
                                            struct report *report);
struct snapshot *snapshot_ref(struct snapshot *snapshot);
/* NULL is allowed. The last one frees the configuration, wiping its secrets. */
void snapshot_unref(struct snapshot *snapshot);

#endif
