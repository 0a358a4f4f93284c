/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h2_server_limits: what a client may cost us on an HTTP/2 connection, from the configuration's `limits` and
 * `limits.http2`.
 */
#ifndef POSTERN_GATEWAY_H2_SERVER_LIMITS_H
#define POSTERN_GATEWAY_H2_SERVER_LIMITS_H

struct config_limits;
struct h2_limits;

/* A rate that is set brings its burst with it: the default's proportion of burst to rate stays. */
void h2_server_limits(struct h2_limits *ret, const struct config_limits *config);

#endif
