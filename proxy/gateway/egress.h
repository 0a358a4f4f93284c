/* SPDX-License-Identifier: Apache-2.0 */
/*
 * egress: by which proxy a host is reached: what `egress`, HTTPS_PROXY and NO_PROXY say (config/settings_limits.c). The
 * same for targets and for requests of Postern's own.
 */
#ifndef POSTERN_GATEWAY_EGRESS_H
#define POSTERN_GATEWAY_EGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/compiler.h"
#include "base/span.h"
#include "config/config.h"

/* An HTTP CONNECT proxy. An empty host: none, connect directly. */
struct egress {
    struct span host;
    uint16_t port;
    struct span authorization; /* value of Proxy-Authorization, or empty */
};

/*
 * How `host` (lower case, IPv6 without brackets) is reached over TLS (`secure`; plain connections never use a proxy).
 * Texts lie in the arena or the configuration. False: the environment's HTTPS_PROXY is not an http:// URL. With
 * `offline` the environment is not looked at.
 */
MUST_CHECK bool egress_find(const struct config *config, struct span host, uint16_t port, bool secure, bool offline,
                            struct arena *arena, struct egress *ret);

#endif
