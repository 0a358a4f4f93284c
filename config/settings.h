/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tables of the configuration itself, one per struct of config/config.h. Filters bring their own (struct
 * settings_registry).
 */
#ifndef POSTERN_CONFIG_SETTINGS_H
#define POSTERN_CONFIG_SETTINGS_H

#include "config/schema.h"

/* Offset and, for lists of objects, where their number goes. */
#define SETTING_AT(type, member)               .offset = offsetof(type, member)
#define SETTING_ITEMS_AT(type, member, number) .offset = offsetof(type, member), .count = offsetof(type, number)

extern const struct settings_spec config_listener_spec;
extern const struct settings_spec config_admin_spec;
extern const struct settings_spec config_credential_spec;
extern const struct settings_spec config_target_credential_spec;
extern const struct settings_spec config_target_spec;
extern const struct settings_spec config_target_limits_spec;
extern const struct settings_spec config_deployment_limits_spec;
extern const struct settings_spec config_mock_spec;
extern const struct settings_spec config_model_spec;
extern const struct settings_spec config_passthrough_spec;
extern const struct settings_spec config_store_spec;
extern const struct settings_spec config_limits_spec;
extern const struct settings_spec config_timeouts_spec;
extern const struct settings_spec config_attempts_spec;
extern const struct settings_spec config_drain_spec;
extern const struct settings_spec config_log_spec;
extern const struct settings_spec config_egress_spec;
extern const struct settings_spec config_dns_spec;

#endif
