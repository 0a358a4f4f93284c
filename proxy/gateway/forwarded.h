/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forwarded: who the client is behind proxies that are trusted. X-Forwarded-For is read from the right, since each
 * trusted proxy appends the peer it saw; the first address that is not a trusted proxy's is the client. What stands
 * further left anybody may have written and is not looked at.
 */
#ifndef POSTERN_GATEWAY_FORWARDED_H
#define POSTERN_GATEWAY_FORWARDED_H

#include "base/arena.h"
#include "config/config.h"
#include "http/fields.h"
#include "net/address.h"

/* The client's address as text, in the arena; `peer` itself when it is not one of listener->trusted_peers or said
 * nothing usable. */
struct span forwarded_peer(struct arena *arena, const struct config_listener *listener, const struct fields *fields,
                           struct span peer);
/* A configured network as net/ knows it. */
struct address_range forwarded_range(const struct setting_network *network);

#endif
